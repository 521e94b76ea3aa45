"""The idx format of MNIST, plain or gzipped, and MNIST itself from a folder. Nothing is downloaded here.

An idx file is two zero bytes, a byte for the type, a byte for the number of dimensions, then each size as
four bytes, then every value; numbers are big-endian.

    LeCun, Cortes & Burges, The MNIST database of handwritten digits: "The IDX file format"
"""

import gzip
import math
import os
import zlib
from pathlib import Path

import numpy as np

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
FILES = {"train": "train", "test": "t10k"}  # how the files of MNIST name the splits


def read_idx(path):
    """The array in an idx file, of native byte order and of the type and shape that its header gives.

    A gzipped file is known by its first bytes, whatever its name.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: empty, no idx file, damaged, or longer or shorter than its header says; names the file.
    """
    content = Path(path).read_bytes()
    if content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"{path}: expected whole gzip data, got {error}; get the file again") from error
    if not content:
        raise ValueError(f"{path}: expected an idx file, got an empty one; get the file again")
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in TYPES or content[3] == 0:
        raise ValueError(
            f"{path}: expected the magic number of an idx file (00 00, a type from 08 to 0e, a number of "
            f"dimensions), got {content[:4].hex(' ')}; is it another kind of file?"
        )
    dtype, header = np.dtype(TYPES[content[2]]), 4 + 4 * content[3]
    if len(content) < header:
        raise ValueError(
            f"{path}: expected a header of {header:,} bytes, got {len(content):,}; get the file again"
        )
    shape = np.frombuffer(content[4:header], ">u4").tolist()
    expected = header + math.prod(shape) * dtype.itemsize  # of Python integers: no header makes it overflow
    if len(content) != expected:
        raise ValueError(
            f"{path}: expected {expected:,} bytes for shape {tuple(shape)}, got {len(content):,}; "
            "get the file again"
        )
    values = np.frombuffer(content, dtype, offset=header).reshape(shape)
    return values.astype(dtype.newbyteorder("="))


def mnist(*, split="train"):
    """MNIST from the folder `mnist` in `$TINYGEN_DATA`: four idx files, plain or ending in .gz.

    Args:
        split: "train" (60,000 images) or "test" (10,000).

    Returns:
        images: float32 (N, 28, 28), ink in [0, 1].
        labels: int64 (N,), 0 to 9.

    Raises:
        ValueError: an unknown split, a damaged file, or images and labels that do not fit together.
        FileNotFoundError: TINYGEN_DATA is not set, or a file is missing there.
    """
    if split not in FILES:
        raise ValueError(f"mnist: expected split 'train' or 'test', got {split!r}; choose one of them")
    image_name, label_name = f"{FILES[split]}-images-idx3-ubyte", f"{FILES[split]}-labels-idx1-ubyte"
    folder = os.environ.get("TINYGEN_DATA")
    if not folder:
        raise FileNotFoundError(
            "mnist: expected TINYGEN_DATA in the environment, got nothing; "
            f"set it to the folder that holds mnist/{image_name}.gz"
        )
    image_file = _find(Path(folder) / "mnist" / image_name)
    label_file = _find(Path(folder) / "mnist" / label_name)
    images, labels = read_idx(image_file), read_idx(label_file)
    if images.dtype != np.uint8 or images.ndim != 3:
        got = f"{images.dtype} of shape {images.shape}"
        raise ValueError(f"{image_file}: expected bytes of shape (N, height, width), got {got}; get it again")
    if labels.shape != images.shape[:1]:
        raise ValueError(
            f"{label_file}: expected {len(images):,} labels, one an image, got shape {labels.shape}; "
            "get both files again"
        )
    return images.astype(np.float32) / np.float32(255), labels.astype(np.int64)


def _find(path):
    """`path` with .gz after it, or as it is, whichever exists."""
    for candidate in (path.with_name(path.name + ".gz"), path):
        if candidate.is_file():
            return candidate
    raise FileNotFoundError(
        f"mnist: expected {path}.gz, got no such file; set TINYGEN_DATA to the folder that holds mnist/"
    )
