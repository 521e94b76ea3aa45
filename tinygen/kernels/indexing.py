"""Rows added at indices, some of them repeated: what an embedding's gradient is.

    out[index[i]] += x[i]        for i in order

The least that must move is x once, and for each index the row of `out` that it names, read and written.
NumPy's `add.at` goes through the elements one by one, 10 to 20 ns each. Here a row is vectors.

Two threads may not add to one row at a time, nor in an order of their own. So a task is not a part of the
indices but of the columns: it walks all indices in order, and nobody else writes its columns.
"""

import numpy as np

from .compiled import Integers, ReadsRows, WritesRows, inner, kernel, prange, suits

COLUMNS = 32  # of a task: of float32, two lines of the cache


def scatter_add(x, index, shape):
    """As in reference.py, for one array of integers, which picks along the first axis."""
    if not (suits(x) and type(index) is np.ndarray and index.dtype.kind in "iu" and x.size and len(shape)):
        return NotImplemented
    if x.shape != (*index.shape, *shape[1:]):
        return NotImplemented
    out, outside = np.zeros(shape, x.dtype), np.zeros(1, x.dtype)
    given = np.ascontiguousarray(x).reshape(index.size, -1), np.ascontiguousarray(index, np.int64).reshape(-1)
    _scatter_add(*given, out.reshape(shape[0], -1), outside, work=x.size)
    return NotImplemented if outside[0] else out


@kernel
def _scatter_add(x: ReadsRows[2], index: Integers[1], out: WritesRows[2], outside: WritesRows[1]):
    for task in prange((x.shape[1] + COLUMNS - 1) // COLUMNS):
        mine = slice(task * COLUMNS, min(task * COLUMNS + COLUMNS, x.shape[1]))
        for i in range(len(index)):
            row = index[i] + len(out) if index[i] < 0 else index[i]
            if 0 <= row < len(out):
                add(x[i, mine], out[row, mine])
            else:
                outside[0] = 1  # whichever task writes it, it writes this


@inner(exact=True)
def add(x, total):
    for j in range(len(x)):
        total[j] += x[j]
