"""Every data set by its name, sorted by what it is made of; and files of the user's in the same form.

    IMAGES   float32 (N, height, width), ink in [0, 1], and a label for each, or several factors
    POINTS   float32 (N, 2), and the mode that each belongs to
    TEXTS    a string
    PAIRS    a list of (source, target) strings

A name stands for a function of `split`, "train" or "test"; `load_images` and its like give both splits at
once, of a name or of a path. A tenth of a file that knows no splits is for the test: of images and pairs one
in ten, of text and bytes the end.
"""

from .digits import digits, drawn_digits
from .files import byte_array, read_bytes, read_pairs, read_text
from .gaussians import grid, ring
from .images import read_images
from .named import mnist, multi30k, tinyshakespeare
from .paths import existing, nearest
from .python_text import python_docs, python_entries, python_source
from .sequences import addition, copying, number_words, sorting
from .splits import SPLITS, rows_of_split
from .sprites import sprites

IMAGES = {"digits": digits, "mnist": mnist, "sprites": sprites}
POINTS = {"ring": ring, "grid": grid}
TEXTS = {
    "tinyshakespeare": tinyshakespeare,
    "python-docs": python_docs,
    "python-source": python_source,
    "drawn-digits": drawn_digits,
}
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
        ValueError: a size for a name; a single image; and as `read_images`.
        FileNotFoundError: neither a name nor a path; the message has the names.
        OSError, MissingLibrary: as the function of that name, or `read_images`.
    """
    if source in IMAGES:
        if size is not None:
            raise ValueError(
                f"load_images: expected no size for {source}, whose images have one, got {size!r}; omit it"
            )
        return _both(IMAGES[source])
    images, labels = read_images(existing(source, named=IMAGES), size=size)
    _check_enough(source, images, "images")
    rows = [_rows(len(images), split) for split in SPLITS]
    return tuple((images[chosen], None if labels is None else labels[chosen]) for chosen in rows)


def load_points(source):
    """(points, modes) to train on and to test on, of a name in POINTS.

    Raises:
        ValueError: there is no such name.
    """
    if source not in POINTS:
        near = nearest(str(source), POINTS)
        hint = f"did you mean {near!r}?" if near else "choose one of them"
        raise ValueError(f"load_points: expected one of {', '.join(POINTS)}, got {source!r}; {hint}")
    return _both(POINTS[source])


def load_text(source):
    """Text to train on and text to test on, of a name in TEXTS or of a path that `read_text` reads.

    Raises:
        ValueError: a single character; and as `read_text`.
        FileNotFoundError: neither a name nor a path; the message has the names.
        OSError, MissingLibrary: as the function of that name, or `read_text`.
    """
    if source in TEXTS:
        return _both(TEXTS[source])
    return _cut(source, read_text(existing(source, named=TEXTS)), "characters")


def load_bytes(source):
    """Bytes to train on and bytes to test on, uint8 (N,): of a name in TEXTS, in UTF-8, or of any file.

    Raises:
        ValueError: a single byte; and as `read_bytes`.
        FileNotFoundError: neither a name nor a path; the message has the names.
        OSError, MissingLibrary: as the function of that name, or `read_bytes`.
    """
    if source in TEXTS:
        return tuple(byte_array(text.encode()) for text in _both(TEXTS[source]))
    return _cut(source, read_bytes(existing(source, named=TEXTS)), "bytes")


def load_pairs(source):
    """Pairs to train on and pairs to test on, of a name in PAIRS or of a path that `read_pairs` reads.

    Raises:
        ValueError: a single pair; and as `read_pairs`.
        FileNotFoundError: neither a name nor a path; the message has the names.
        OSError, MissingLibrary: as the function of that name, or `read_pairs`.
    """
    if source in PAIRS:
        return _both(PAIRS[source])
    pairs = read_pairs(existing(source, named=PAIRS))
    _check_enough(source, pairs, "pairs")
    return tuple([pairs[i] for i in _rows(len(pairs), split).tolist()] for split in SPLITS)


def _both(function):
    return tuple(function(split=split) for split in SPLITS)


def _rows(n, split):
    """The rows of one split, of a file that knows none; both have at least one."""
    return rows_of_split(n, split=split, seed=0)


def _check_enough(source, examples, what):
    if len(examples) < 2:
        raise ValueError(
            f"{source}: expected at least 2 {what}, one to train and one to test on, got 1; add more"
        )


def _cut(source, sequence, what):
    """The first nine tenths, and the rest; both have at least one."""
    _check_enough(source, sequence, what)
    at = len(sequence) * 9 // 10
    return sequence[:at], sequence[at:]
