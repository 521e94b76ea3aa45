"""The 1,797 handwritten digits that come with scikit-learn: 8x8 pixels, no download.

Each pixel counts the ink in a 4x4 block of a scan, 0 to 16. They are the test part of:

    Alpaydin & Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository (1998)
"""

import numpy as np

from ..extras import optional

TRAIN = 1500  # of 1,797; the remaining 297 are the test set


def digits(*, split="train", seed=0):
    """The digits of one split, in a fixed shuffled order.

    Args:
        split: "train" (1,500 images) or "test" (the other 297).
        seed: of the shuffle that divides them. Two splits are disjoint only under the same seed.

    Returns:
        images: float32 (N, 8, 8), ink in [0, 1]; the levels are multiples of 1/16.
        labels: int64 (N,), 0 to 9.

    Raises:
        ValueError: an unknown split.
        MissingLibrary: scikit-learn is not installed.
    """
    if split not in ("train", "test"):
        raise ValueError(f"digits: expected split 'train' or 'test', got {split!r}; choose one of them")
    bunch = optional("sklearn.datasets").load_digits()
    order = np.random.default_rng(seed).permutation(len(bunch.images))
    chosen = order[:TRAIN] if split == "train" else order[TRAIN:]
    return (bunch.images[chosen] / 16).astype(np.float32), bunch.target[chosen].astype(np.int64)
