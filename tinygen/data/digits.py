"""The 1,797 handwritten digits that come with scikit-learn: 8x8 pixels, no download.

Each pixel counts the ink in a 4x4 block of a scan, 0 to 16. They are the test part of:

    Alpaydin & Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository (1998)
"""

import numpy as np

from ..extras import optional
from .splits import check_split, rows_of_split

TRAIN = 1500  # of 1,797; the remaining 297 are the test set
INK = " .'`:;~-+=ox*%&#@"  # a character for each of the 17 levels, from none to all


def digits(*, split="train"):
    """The digits of one split, in a fixed shuffled order.

    Args:
        split: "train" (1,500 images) or "test" (the other 297).

    Returns:
        images: float32 (N, 8, 8), ink in [0, 1]; the levels are multiples of 1/16.
        labels: int64 (N,), 0 to 9.

    Raises:
        ValueError: an unknown split.
        MissingLibrary: scikit-learn is not installed.
    """
    check_split("digits", split)
    bunch = optional("sklearn.datasets").load_digits()
    chosen = rows_of_split(len(bunch.images), split=split, seed=0, train=TRAIN)
    return (bunch.images[chosen] / 16).astype(np.float32), bunch.target[chosen].astype(np.int64)


def drawn_digits(*, split="train"):
    r"""The same digits drawn in characters, for a model of text: label, eight lines of pixels, blank line.

    A model that has read it draws what it is asked for: "7\n" is the beginning of a seven.

    Args:
        split: "train" (1,500 images) or "test" (the other 297).

    Returns:
        A str, 75 characters an image.

    Raises:
        ValueError, MissingLibrary: as for `digits`.
    """
    check_split("drawn_digits", split)
    images, labels = digits(split=split)
    levels = (images * 16).astype(int)
    drawn = ("\n".join("".join(INK[level] for level in line) for line in image) for image in levels.tolist())
    return "".join(f"{label}\n{picture}\n\n" for label, picture in zip(labels.tolist(), drawn))
