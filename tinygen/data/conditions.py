"""What is known of images beside their pixels, for models that are told it: labels, or factors of sprites."""

import numpy as np

from .sprites import FACTORS, SIZES


def known(labels, source):
    """The names of what is known of images, and how many values each has: name -> number.

    Args:
        labels: integers (N,), one label an image; (N, F), several factors; or None.
        source: the name or path of the data set; only of "sprites" the factors have names.
    """
    if labels is None:
        return {}
    if source == "sprites":
        return dict(zip(FACTORS, SIZES))
    columns = labels.reshape(len(labels), -1)
    names = ["label"] if columns.shape[1] == 1 else [f"factor-{i + 1}" for i in range(columns.shape[1])]
    return dict(zip(names, (columns.max(axis=0) + 1).tolist()))


def one_hot(values, sizes):
    """Rows of zeros with a one for each value: what a model takes as a condition.

    Args:
        values: integers (N, F).
        sizes: how many values each of the F has.

    Returns:
        float32 (N, sum of sizes).

    Raises:
        ValueError: a number of columns that is not F, or a value outside [0, size).
    """
    values = np.asarray(values)
    if values.ndim != 2 or values.shape[1] != len(sizes):
        raise ValueError(f"one_hot: expected values (N, {len(sizes)}), got {values.shape}; one for each size")
    rows = np.zeros((len(values), sum(sizes)), np.float32)
    start = 0
    for column, size in zip(values.T, sizes):
        if ((column < 0) | (column >= size)).any():
            worst = column[(column < 0) | (column >= size)][0]
            raise ValueError(
                f"one_hot: expected values from 0 to {size - 1}, got {worst}; choose one of them"
            )
        rows[np.arange(len(values)), start + column] = 1
        start += size
    return rows


def grey_levels(images):
    """How many equally spaced levels of [0, 1] suffice for the pixels: 2, 17, or 256 in all other cases."""
    for levels in (2, 17):
        scaled = images * np.float32(levels - 1)
        if np.abs(scaled - np.rint(scaled)).max(initial=0) < 1e-4:
            return levels
    return 256
