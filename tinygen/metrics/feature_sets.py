"""Two sets of features to compare, those of data and those of samples: checked, and in float64."""

import numpy as np


def feature_sets(who, real, fake, *, least):
    """Both sets as float64.

    Args:
        who: what compares them, for the errors.
        real, fake: (N, D) and (M, D).
        least: how many rows each has to have.

    Returns:
        real, fake: float64.

    Raises:
        ValueError: other shapes, too few rows, or numbers that are not finite.
    """
    real, fake = np.asarray(real, np.float64), np.asarray(fake, np.float64)
    if real.ndim != 2 or fake.ndim != 2 or real.shape[1] != fake.shape[1]:
        raise ValueError(
            f"{who}: expected features (N, D) and (M, D), got {real.shape} and {fake.shape}; "
            "take both from one network"
        )
    for name, rows in (("real", real), ("fake", fake)):
        if len(rows) < least:
            raise ValueError(f"{who}: expected at least {least} {name} rows, got {len(rows)}; give more")
        if not np.isfinite(rows).all():
            raise ValueError(
                f"{who}: expected finite features, got NaN or infinity among the {name} ones; "
                "look at the images that they are of"
            )
    return real, fake
