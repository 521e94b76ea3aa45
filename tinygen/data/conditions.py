"""What is known of images beside their pixels, for models that are told it: labels, or factors of sprites."""

import numpy as np

from .sprites import FACTORS, SIZES


def known(labels):
    """The names of what is known of images, and how many values each has: name -> number.

    Args:
        labels: integers (N,), one label an image; (N, F), the factors of sprites, the only images that have
            several; or None.
    """
    if labels is None:
        return {}
    return dict(zip(FACTORS, SIZES)) if labels.ndim > 1 else {"label": int(labels.max()) + 1}


def one_hot(values, sizes):
    """Rows of zeros with a one for each value: what a model takes as a condition.

    Args:
        values: integers (N, F).
        sizes: how many values each of the F has.

    Returns:
        float32 (N, sum of sizes).

    Raises:
        ValueError: a number of columns that is not F, values that are not whole, or one outside [0, size).
    """
    values = np.asarray(values)
    if values.ndim != 2 or values.shape[1] != len(sizes):
        raise ValueError(f"one_hot: expected values (N, {len(sizes)}), got {values.shape}; one for each size")
    if not np.issubdtype(values.dtype, np.integer):
        raise ValueError(f"one_hot: expected whole numbers, got {values.dtype}; convert them")
    rows = np.zeros((len(values), sum(sizes)), np.float32)
    start = 0
    for column, size in zip(values.T, sizes):
        if ((column < 0) | (column >= size)).any():
            worst = column[(column < 0) | (column >= size)][0]
            raise ValueError(
                f"one_hot: expected values from 0 to {size - 1}, got {worst}; number them from 0"
            )
        rows[np.arange(len(values)), start + column] = 1
        start += size
    return rows


def grey_levels(images):
    """How many equally spaced levels of [0, 1] suffice for the pixels: 2, 17, or 256 in all other cases."""
    parts = [images[i : i + 1000] for i in range(0, len(images), 1000)]  # mostly the first decides
    for levels in (2, 17):
        if all(_whole(part * np.float32(levels - 1)) for part in parts):
            return levels
    return 256


def _whole(x):
    return np.abs(x - np.rint(x)).max(initial=0) < 1e-4
