"""Published data sets by name: MNIST, tiny Shakespeare, Multi30k. Each file is found by downloads.py.

    LeCun, Bottou, Bengio & Haffner, Gradient-Based Learning Applied to Document Recognition (1998)
    Karpathy, The Unreasonable Effectiveness of Recurrent Neural Networks (2015): tiny Shakespeare
    Elliott, Frank, Sima'an & Specia, Multi30K: Multilingual English-German Image Descriptions (2016)
    Elliott, Frank, Barrault, Bougares & Specia, Findings of the Second Shared Task on Multimodal Machine
        Translation and Multilingual Image Description (2017): Multi30k in French

Left out: the photographs that the sentences of Multi30k describe, and its later test sets.
"""

import numpy as np

from .downloads import find
from .files import lines, read_text
from .idx import read_idx
from .images import unit_interval
from .splits import check_split

MNIST = {"train": "train", "test": "t10k"}  # how the files name the splits
MULTI30K = {"train": "train", "validation": "val", "test": "test_2016_flickr"}
LANGUAGES = ("de", "en", "fr")


def mnist(*, split="train"):
    """The handwritten digits of MNIST.

    Args:
        split: "train" (60,000 images) or "test" (10,000).

    Returns:
        images: float32 (N, 28, 28), ink in [0, 1].
        labels: int64 (N,), 0 to 9.

    Raises:
        ValueError: an unknown split, a damaged file, or images and labels that do not fit together.
        OSError, MissingLibrary: a file is not there and cannot be downloaded; see downloads.find.
    """
    check_split("mnist", split)
    image_file = find(f"mnist/{MNIST[split]}-images-idx3-ubyte.gz")
    label_file = find(f"mnist/{MNIST[split]}-labels-idx1-ubyte.gz")
    images, labels = read_idx(image_file), read_idx(label_file)
    if images.dtype != np.uint8 or images.shape[1:] != (28, 28):
        got = f"{images.dtype} of shape {images.shape}"
        raise ValueError(f"{image_file}: expected bytes of shape (N, 28, 28), got {got}; get the file again")
    if labels.shape != images.shape[:1]:
        raise ValueError(
            f"{label_file}: expected {len(images):,} labels, one an image, got shape {labels.shape}; "
            "get both files again"
        )
    return unit_interval(images), labels.astype(np.int64)


def tinyshakespeare(*, split="train"):
    """A million characters of Shakespeare's plays, as one string.

    Args:
        split: "train" (the first 90 %, 1,003,854 characters) or "test" (the rest, 111,540), which is how
            nanoGPT divides them into training and validation.

    Raises:
        ValueError: an unknown split, or a file that is not UTF-8.
        OSError, MissingLibrary: the file is not there and cannot be downloaded; see downloads.find.
    """
    check_split("tinyshakespeare", split)
    text = read_text(find("tinyshakespeare.txt"))
    train = int(len(text) * 0.9)
    return text[:train] if split == "train" else text[train:]


def multi30k(*, split="train", source="de", target="en"):
    """Sentences that describe photographs, each in two languages.

    Args:
        split: "train" (29,000 pairs), "validation" (1,014) or "test" (1,000, the set called 2016 Flickr).
        source, target: "de" (translations), "en" (the original descriptions) or "fr" (translations).

    Returns:
        A list of (source, target) strings, without space at either end.

    Raises:
        ValueError: an unknown split or language, or two files that do not have the same number of lines.
        OSError, MissingLibrary: a file is not there and cannot be downloaded; see downloads.find.
    """
    check_split("multi30k", split, tuple(MULTI30K))
    for name, language in (("source", source), ("target", target)):
        if language not in LANGUAGES:
            languages = "'de', 'en' or 'fr'"
            raise ValueError(f"multi30k: expected {name} {languages}, got {language!r}; choose one of them")
    files = [find(f"multi30k/{MULTI30K[split]}.{language}.gz") for language in (source, target)]
    sides = [[line.strip() for line in lines(read_text(file))] for file in files]
    counts = [len(side) for side in sides]
    if counts[0] != counts[1]:
        raise ValueError(
            f"{files[1]}: expected {counts[0]:,} lines, as in {files[0]}, got {counts[1]:,}; "
            "get both files again"
        )
    return list(zip(*sides))
