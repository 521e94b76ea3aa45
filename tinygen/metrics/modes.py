"""How much of a mixture of Gaussians a generator covers: modes found, samples near one, and how evenly.

    Lin, Khetan, Fanti & Oh, PacGAN (2018), arXiv 1712.04086, section 4.1: the first three figures

Left out: how samples lie within a mode; a generator that puts all on its mean is as good here as the data.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Coverage:
    """What `mode_coverage` found.

    counts        integers (K,): samples of high quality at each mode
    modes         how many have at least one
    high_quality  the share of samples that lie near a mode, in [0, 1]
    kl            KL(q || p) in nats, q the share of all samples to which a mode is the nearest, p even:
                  from 0 to log K
    distance      the total variation distance, in [0, 1], of where the samples are (at one of the modes, or
                  near none) from where the data are. It alone notices all that can be wrong: points that are
                  strewn evenly find most modes, and those of a single mode are all of high quality.
    """

    counts: np.ndarray
    modes: int
    high_quality: float
    kl: float
    distance: float


def mode_coverage(points, means, std, *, within=3.0):
    """The Coverage of a mixture of equally many points around each of `means`.

    Args:
        points: (N, D), what a generator made, N at least 1.
        means: (K, D).
        std: the standard deviation of each coordinate around a mean.
        within: how many of those away from its mode a sample is still of high quality.

    Raises:
        ValueError: no points, points and means of different D, or coordinates that are not finite.
    """
    points, means = np.asarray(points, np.float64), np.asarray(means, np.float64)
    if points.ndim != 2 or not len(points) or points.shape[1:] != means.shape[1:]:
        raise ValueError(
            f"mode_coverage: expected points (N, {means.shape[1]}), at least one, got {points.shape}; "
            "give as many coordinates as the means have"
        )
    if not np.isfinite(points).all():
        raise ValueError(
            "mode_coverage: expected finite points, got NaN or infinity; look for what overflowed in them"
        )
    distances = np.sqrt(((points[:, None] - means) ** 2).sum(axis=-1))  # (N, K)
    nearest, count, even = distances.argmin(axis=1), len(means), 1 / len(means)
    good = distances.min(axis=1) < within * std
    counts = np.bincount(nearest[good], minlength=count)
    q = np.bincount(nearest, minlength=count) / len(points)
    return Coverage(
        counts=counts,
        modes=int((counts > 0).sum()),
        high_quality=float(good.mean()),
        kl=float((q[q > 0] * np.log(q[q > 0] / even)).sum()),
        distance=float(1 - np.minimum(counts / len(points), even).sum()),
    )
