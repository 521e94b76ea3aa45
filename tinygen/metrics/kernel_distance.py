"""KID: how far two sets of features are apart, without bias, and how sure that is.

    Binkowski, Sutherland, Arbel & Gretton, Demystifying MMD GANs (2018), arXiv 1801.01401: the distance
    Gretton et al., A kernel two-sample test (2012), eq. 3: the unbiased estimate
    Zaremba, Gretton & Blaschko, B-tests (2013), arXiv 1307.1954: from disjoint subsets

The squared maximum mean discrepancy, for x, x' of the data and y, y' of the samples,

    KID = E k(x, x') + E k(y, y') - 2 E k(x, y)    with    k(x, y) = (x . y / D + 1)^3

compares means, variances and skewness of the features. The estimate is right on average at any N, unlike FID;
so it may be negative, and around 0 it is.

How sure it is: rows are dealt into 20 subsets, and the 20 estimates from them are independent. Their mean has
the standard error that they show, and near enough a normal distribution, by which Student's t gives an
interval; that also holds where both distributions are equal, where the variance of the estimate from all rows
at once has another law. Where they differ, that estimate has, to first order, the same error; where they are
equal, or nearly so, ours has up to sqrt(20) times its error, the price of an interval that holds. The subsets
of Binkowski et al. overlap, so that their spread depends on how many rows a subset has.

Left out: other kernels. A shift of the features, or another scale, changes the figure.
"""

from dataclasses import dataclass

import numpy as np

from .feature_sets import feature_sets

SUBSETS = 20
T = 2.093  # Student's t for 95 % and 19 degrees of freedom


@dataclass(frozen=True)
class KernelDistance:
    """An estimate of KID, and its standard error: what other rows of the same kind would change."""

    value: float
    error: float

    @property
    def interval(self):
        """(low, high), which has the true distance in it in 95 % of cases."""
        return self.value - T * self.error, self.value + T * self.error


def kid(real, fake, *, rng):
    """The KernelDistance of two sets of features.

    Args:
        real, fake: (N, D) and (M, D), independent of each other, each with at least 2 rows for each of 20
            subsets. Rows that are left over, up to 19, do not count. A set against itself, which is not
            independent, comes out below 0, by 2 / N of k(x, x) - k(x, x').
        rng: the np.random.Generator that deals the rows.

    Raises:
        ValueError: fewer rows, other shapes, or numbers that are not finite.
    """
    real, fake = feature_sets("kid", real, fake, least=2 * SUBSETS)
    pairs = zip(_dealt(real, rng), _dealt(fake, rng))
    estimates = np.array([_discrepancy(x, y) for x, y in pairs])
    return KernelDistance(float(estimates.mean()), float(estimates.std(ddof=1) / np.sqrt(SUBSETS)))


def _dealt(rows, rng):
    """The rows in 20 disjoint subsets of one size, at random."""
    size = len(rows) // SUBSETS
    return rows[rng.permutation(len(rows))[: size * SUBSETS]].reshape(SUBSETS, size, -1)


def _discrepancy(x, y):
    """The unbiased estimate from x (n, D) and y (m, D): no row is compared with itself."""
    within = sum(_off_diagonal_mean(_kernel(rows, rows)) for rows in (x, y))
    return within - 2 * _kernel(x, y).mean()


def _kernel(x, y):
    return (x @ y.T / x.shape[1] + 1) ** 3


def _off_diagonal_mean(matrix):
    n = len(matrix)
    return (matrix.sum() - np.trace(matrix)) / (n * (n - 1))
