"""Every data set by its name, sorted by what it is made of; and files of the user's in the same form.

    IMAGES   float32 (N, height, width), ink in [0, 1], and a label for each, or several factors
    POINTS   float32 (N, 2), and the mode that each belongs to
    TEXTS    a string
    PAIRS    a list of (source, target) strings

A name stands for a function of `split`, "train" or "test"; `load_images` and its like give both splits at
once, of a name or of a path. A tenth of a file that knows no splits is for the test: of images and pairs one
in ten, of text and bytes the end.
"""

import numpy as np

from .digits import digits
from .files import read_bytes, read_pairs, read_text
from .gaussians import grid, ring
from .images import read_images
from .named import mnist, multi30k, tinyshakespeare
from .python_text import python_docs, python_entries, python_source
from .sequences import addition, copying, number_words, sorting
from .splits import SPLITS, divided
from .sprites import sprites

IMAGES = {"digits": digits, "mnist": mnist, "sprites": sprites}
POINTS = {"ring": ring, "grid": grid}
TEXTS = {"tinyshakespeare": tinyshakespeare, "python-docs": python_docs, "python-source": python_source}
PAIRS = {
    "number-words": number_words,
    "addition": addition,
    "copying": copying,
    "sorting": sorting,
    "multi30k": multi30k,
    "python-entries": python_entries,
}


def load_images(source, *, size=None):
    """Images to train on and images to test on.

    Args:
        source: a name in IMAGES, or a path that `read_images` reads.
        size: (height, width) to make images from a folder equal.

    Returns:
        (images, labels), (images, labels): of the training and of the test. Labels of a path may be None.

    Raises:
        ValueError, OSError, MissingLibrary: as the function of that name, or `read_images`.
    """
    if source in IMAGES:
        return _both(IMAGES[source])
    images, labels = read_images(source, size=size)
    if len(images) < 2:
        raise ValueError(
            f"{source}: expected at least 2 images, one to train and one to test on, got 1; add more"
        )
    rows = [_rows(len(images), split) for split in SPLITS]
    return tuple((images[chosen], None if labels is None else labels[chosen]) for chosen in rows)


def load_points(source):
    """(points, modes) to train on and to test on, of a name in POINTS.

    Raises:
        ValueError: there is no such name.
    """
    if source not in POINTS:
        raise ValueError(f"points: expected one of {', '.join(POINTS)}, got {source!r}; choose one of them")
    return _both(POINTS[source])


def load_text(source):
    """Text to train on and text to test on, of a name in TEXTS or of a path that `read_text` reads.

    Raises:
        ValueError, OSError, MissingLibrary: as the function of that name, or `read_text`.
    """
    return _both(TEXTS[source]) if source in TEXTS else _cut(read_text(source))


def load_bytes(source):
    """Bytes to train on and bytes to test on, uint8 (N,): those of a text in UTF-8, or of any file.

    Raises:
        ValueError, OSError, MissingLibrary: as the function of that name, or `read_bytes`.
    """
    if source in TEXTS:
        return tuple(np.frombuffer(text.encode(), np.uint8) for text in load_text(source))
    return _cut(read_bytes(source))


def load_pairs(source):
    """Pairs to train on and pairs to test on, of a name in PAIRS or of a path that `read_pairs` reads.

    Raises:
        ValueError, OSError, MissingLibrary: as the function of that name, or `read_pairs`.
    """
    if source in PAIRS:
        return _both(PAIRS[source])
    pairs = read_pairs(source)
    if len(pairs) < 2:
        raise ValueError(
            f"{source}: expected at least 2 pairs, one to train and one to test on, got 1; add more"
        )
    return tuple([pairs[i] for i in _rows(len(pairs), split).tolist()] for split in SPLITS)


def _both(function):
    return tuple(function(split=split) for split in SPLITS)


def _rows(n, split):
    """The rows of one split, of a file that knows none; both have at least one."""
    return divided(n, split=split, seed=0)


def _cut(sequence):
    """The first nine tenths, and the rest."""
    at = len(sequence) * 9 // 10
    return sequence[:at], sequence[at:]
