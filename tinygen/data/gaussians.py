"""Points in the plane from a mixture of Gaussians: a ring of 8 modes and a grid of 25. No download.

They show at a glance which modes a generator has lost. The settings are those of:

    Lin, Khetan, Fanti & Oh, PacGAN: The power of two samples in generative adversarial networks,
    NeurIPS 2018, arXiv 1712.04086, the experiments on synthetic data

The normal draws are those of Box & Muller, A note on the generation of random normal deviates (1958). Its
logarithm and cosine may differ between machines in the last bit of float64, which the rounding to float32
nearly always hides.
"""

import numpy as np

from .splits import SPLITS, check_split, random_uint64

_EIGHTHS = np.arange(8) * (2 * np.pi / 8)
RING_MEANS = np.stack([np.cos(_EIGHTHS), np.sin(_EIGHTHS)], axis=1)  # (8, 2), counter-clockwise from (1, 0)
GRID_MEANS = np.array([(x, y) for x in range(-4, 5, 2) for y in range(-4, 5, 2)], float)  # (25, 2)
RING_STD, GRID_STD = 0.01, 0.05  # of each coordinate around its mean
RING_MEANS.flags.writeable = GRID_MEANS.flags.writeable = False

MIXTURES = {"ring": (RING_MEANS, RING_STD), "grid": (GRID_MEANS, GRID_STD)}

COUNTS = {"train": 100_000, "test": 10_000}
RING_SEED, GRID_SEED = 0, 1


def ring(*, split="train"):
    """Eight modes on the unit circle, with a standard deviation of 0.01.

    Args:
        split: "train" (100,000 points) or "test" (10,000), drawn from independent streams.

    Returns:
        points: float32 (N, 2), shuffled.
        labels: int64 (N,), the row of RING_MEANS that each point was drawn around; equally many of each.

    Raises:
        ValueError: an unknown split.
    """
    check_split("ring", split)
    return _draw(RING_MEANS, RING_STD, split, RING_SEED)


def grid(*, split="train"):
    """Twenty-five modes, two apart from (-4, -4) to (4, 4), with a standard deviation of 0.05.

    Args:
        split: "train" (100,000 points) or "test" (10,000), drawn from independent streams.

    Returns:
        points: float32 (N, 2), shuffled.
        labels: int64 (N,), the row of GRID_MEANS that each point was drawn around; equally many of each.

    Raises:
        ValueError: an unknown split.
    """
    check_split("grid", split)
    return _draw(GRID_MEANS, GRID_STD, split, GRID_SEED)


def _draw(means, std, split, seed):
    """Points and labels of one split. Its stream is cut in three: the order, the radii and the angles."""
    n = COUNTS[split]
    order, radii, angles = random_uint64(3 * n, seed=(seed, SPLITS.index(split))).reshape(3, n)
    labels = np.argsort(order, kind="stable").astype(np.int64) % len(means)
    radius = np.sqrt(-2 * np.log(_uniform(radii)))
    angle = 2 * np.pi * _uniform(angles)
    noise = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return (means[labels] + std * noise).astype(np.float32), labels


def _uniform(raw):
    """The upper 52 bits of uint64 as float64 in the open interval (0, 1): never 0, whose logarithm is -inf.

    52 bits, not 53: with 53 the added half would not fit, and the largest value would round to 1.
    """
    return ((raw >> np.uint64(12)) + 0.5) * 2.0**-52
