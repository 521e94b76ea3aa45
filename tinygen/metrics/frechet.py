"""The Frechet distance of two Gaussians, and of two sets of features by their Gaussians: FID.

    Frechet, Sur la distance de deux lois de probabilite (1957)
    Dowson & Landau, The Frechet distance between multivariate normal distributions (1982): the closed form
    Heusel et al., GANs trained by a two time-scale update rule (2017), arXiv 1706.08500, eq. 6: FID
    Chong & Forsyth, Effectively unbiased FID (2020), arXiv 1911.07023: how it falls with more samples

    d^2 = |mu_1 - mu_2|^2 + tr(C_1 + C_2 - 2 (C_1 C_2)^(1/2))

The product C_1 C_2 is not symmetric, and a square root of it comes out complex where rounding makes an
eigenvalue negative. But with the symmetric root R_i of C_i, tr (C_1 C_2)^(1/2) is tr (R_1 C_2 R_1)^(1/2), the
sum of the singular values of R_1 R_2: none is negative. The eigenvalues of R_1 C_2 R_1 are their squares, and
rounding of 1e-16 there is 1e-8 in their roots. Features often depend on one another, so that many are near 0:
by eigenvalues, 128 features of rank 64 with variances of 45 in all are -1e-6 from themselves; here, -4e-14.

FID falls with the number of samples N, by about a constant / N, whatever the samples are: the covariance of a
few never has the right shape. So FIDs are comparable at one N and with one network of features, and a
figure is complete with both.

Left out: Inception's features, which are of photographs; the extrapolation to infinite N.
"""

import numpy as np

from .feature_sets import feature_sets


def gaussian_of(features):
    """The mean (D,) and the unbiased covariance (D, D) of features (N, D), float64.

    Raises:
        ValueError: N is below 2.
    """
    if len(features) < 2:
        raise ValueError(f"gaussian_of: expected at least 2 rows, got {len(features)}; one has no covariance")
    mean = features.mean(axis=0, dtype=np.float64)
    centred = features - mean
    return mean, centred.T @ centred / (len(features) - 1)


def frechet_distance(one, other):
    """d^2 between two Gaussians, at least 0.

    Args:
        one, other: pairs of a mean (D,) and a covariance (D, D). A variance may be 0.

    Raises:
        ValueError: shapes that do not fit, numbers that are not finite, or a covariance that is not symmetric
            or has a negative variance in some direction, by more than rounding.
    """
    pairs = [[np.asarray(part, np.float64) for part in pair] for pair in (one, other)]
    (mean, covariance), (mean_2, covariance_2) = pairs
    size = mean.shape
    if len(size) != 1 or mean_2.shape != size or {covariance.shape, covariance_2.shape} != {size * 2}:
        raise ValueError(
            "frechet_distance: expected means (D,) and covariances (D, D), got "
            f"{mean.shape}, {covariance.shape} and {mean_2.shape}, {covariance_2.shape}; give two such pairs"
        )
    if not all(np.isfinite(part).all() for pair in pairs for part in pair):
        raise ValueError(
            "frechet_distance: expected finite means and covariances, got some that are not; look for what "
            "overflowed in the features"
        )
    overlap = np.linalg.svd(_root(covariance) @ _root(covariance_2), compute_uv=False).sum()
    apart = np.square(mean - mean_2).sum()
    return float(max(0.0, apart + np.trace(covariance) + np.trace(covariance_2) - 2 * overlap))


def _root(covariance):
    """The symmetric matrix whose square is the covariance."""
    values, vectors = np.linalg.eigh(covariance)
    rounding = 1e-10 * np.abs(values).max(initial=0)
    if np.abs(covariance - covariance.T).max(initial=0) > rounding or values.min(initial=0) < -rounding:
        raise ValueError(
            "frechet_distance: expected covariances that are symmetric, and no variance below 0, got "
            f"{values.min():.3g} along some direction, or another matrix; see gaussian_of"
        )
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T


def fid(real, fake):
    """The Frechet distance of two sets of features, each taken for a Gaussian: 0 where those are equal.

    Args:
        real, fake: (N, D) and (M, D), at least D + 1 each: the covariance of fewer is flat in some direction.
            The figure depends on both numbers.

    Raises:
        ValueError: fewer rows, other shapes, or numbers that are not finite.
    """
    least = max(2, np.shape(real)[-1] + 1) if np.ndim(real) else 2
    real, fake = feature_sets("fid", real, fake, least=least)
    return frechet_distance(gaussian_of(real), gaussian_of(fake))
