"""The idx format of MNIST, plain or gzipped. Reading only; MNIST itself is in named.py.

An idx file is two zero bytes, a byte for the type, a byte for the number of dimensions, then each size as
four bytes, then every value; numbers are big-endian.

    LeCun, Cortes & Burges, The MNIST database of handwritten digits: "The IDX file format"
"""

import math

import numpy as np

from .paths import contents

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
DIMENSIONS = range(1, 65)  # NumPy has no arrays of more than 64


def read_idx(path):
    """The array in an idx file, of native byte order and of the type and shape that its header gives.

    A gzipped file is known by its first bytes, whatever its name.

    Raises:
        FileNotFoundError: there is no such file.
        IsADirectoryError: it is a folder.
        ValueError: an empty path or file, not an idx file, damaged, of more than 64 dimensions, or longer or
            shorter than its header says; names the file.
    """
    content = contents(path)
    if not content:
        raise ValueError(f"{path}: expected an idx file, got an empty one; get the file again")
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in TYPES or content[3] not in DIMENSIONS:
        raise ValueError(
            f"{path}: expected the magic number of an idx file (00 00, a type from 08 to 0e, 1 to 64 (40) "
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
