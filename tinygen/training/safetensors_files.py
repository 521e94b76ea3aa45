"""Safetensors files, read and written one array at a time, so that a large model is in memory once.

    8 bytes     the size of the header
    header      JSON: name -> dtype, shape, and where its numbers begin and end; "__metadata__" -> strings
    numbers     of one array after the other, little-endian, rows first

    The format: github.com/huggingface/safetensors, README.md

The library checks what is read, and decides what a file looks like: ours have its very bytes. Its own reader
and writer have all arrays in memory once or twice more, and for NumPy know no bfloat16.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..extras import optional

DTYPES = {  # in the library's order; arrays of the last come first in a file, so that all are aligned
    "BOOL": "?",
    "U8": "<u1",
    "I8": "<i1",
    "I16": "<i2",
    "U16": "<u2",
    "F16": "<f2",
    "I32": "<i4",
    "U32": "<u4",
    "F32": "<f4",
    "F64": "<f8",
    "I64": "<i8",
    "U64": "<u8",
}
METADATA = "__metadata__"


@dataclass(frozen=True)
class Stored:
    """An array in a file: its name, its dtype as the file calls it, its shape, and the byte it begins at."""

    path: Path
    name: str
    dtype: str
    shape: tuple
    start: int

    def read(self):
        """The array. bfloat16, which NumPy has not, comes as float32: the same numbers.

        Raises:
            ValueError: another dtype that NumPy has not.
        """
        if self.dtype == "BF16":  # the upper half of a float32
            return (self._read("<u2").astype(np.uint32) << 16).view(np.float32)
        if self.dtype not in DTYPES:
            raise ValueError(
                f"{self.path}: {self.name}: expected one of {', '.join(DTYPES)} or BF16, got {self.dtype}; "
                "convert it to one of them"
            )
        return self._read(DTYPES[self.dtype])

    def _read(self, dtype):
        return np.fromfile(self.path, dtype, math.prod(self.shape), offset=self.start).reshape(self.shape)


def stored(path):
    """The arrays in a file, name -> Stored, and its metadata, a dict of strings.

    Raises:
        ValueError: it is no safetensors file, or not a whole one.
        OSError: it cannot be read.
    """
    safetensors = optional("safetensors")
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        try:
            with safetensors.safe_open(path, framework="np"):  # all is there, nothing twice, nothing overlaps
                header = json.loads(file.read(size))
        except safetensors.SafetensorError as error:
            raise ValueError(
                f"{path}: expected a whole safetensors file, got another ({error}); get it again"
            ) from error
    metadata = header.pop(METADATA, {})
    return {
        name: Stored(Path(path), name, of["dtype"], tuple(of["shape"]), 8 + size + of["data_offsets"][0])
        for name, of in header.items()
    }, metadata


def store(path, arrays, metadata):
    """Write arrays (name -> NumPy array of any layout) and metadata (name -> str) into a new file.

    Raises:
        OSError: it cannot be written.
    """
    little = {name: array.dtype.newbyteorder("<") for name, array in arrays.items()}
    ranks = {np.dtype(dtype): rank for rank, dtype in enumerate(DTYPES.values())}
    names = sorted(arrays, key=lambda name: (-ranks[little[name]], name))
    header, end = {METADATA: metadata}, 0
    for name in names:
        begin, end = end, end + arrays[name].nbytes
        header[name] = {
            "dtype": list(DTYPES)[ranks[little[name]]],
            "shape": list(arrays[name].shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in names:
            whole = np.asarray(arrays[name], little[name], order="C")
            file.write(whole.reshape(-1).view(np.uint8).data)
