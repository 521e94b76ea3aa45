"""Matrix products: C = A B + bias, in a batch or alone, for operands of any strides.

    C[i, j] = sum over k of A[i, k] B[k, j]     A (M, K), B (K, N): 2 M N K operations on M K + K N + M N

Each number is used hundreds of times, so arithmetic is the limit, if only the numbers are near when they are
needed. The tile keeps C in registers; the loops around it keep the rest in the cache that can feed it:

    for each block of rows and columns of C          a task, for a thread
        for each DEPTH of k                          B's part, DEPTH x WIDTH, stays in the second cache
            for each ROWS of the block               A's part, ROWS x DEPTH, stays in the first
                for each tile of columns             and B streams past it, a vector in three cycles

What is left to gain or lose is packing (see packing.py), one move for each M / `height` multiplications:

- B's contiguous rows are packed by the first row of tiles, which has them in registers anyway: it took
  128 x 784 x 400 from 87 to 90 GFLOP/s on one core.
- A is not packed where it can be read along its rows. Where it cannot, all of A is, once, for all columns:
  each block of columns packing its own cost 384 x 2048 x 1536 a tenth.
- C is fetched while the tile computes what will be added to it, and rows ahead are while they are packed.

Blocks depend on the shapes alone, and a number of C is the sum of the same parts in the same order whoever
computes it: the same bits for any number of threads.
"""

import math

import numpy as np

from .compiled import Reads, ReadsRows, Size, WritesRows, kernel, prange, suits
from .packing import pack_a, pack_b, panel_height
from .tile import ROWS, at, columns, narrow_tile, packing_tile, tile

DEPTH, WIDTH = 256, 256  # 256 KiB of B in float32: half of the second cache, for A and C pass through it too
HEIGHT, TASKS = 192, 32  # rows from which B is worth packing once more, and how many tasks are enough
GROUP = 8  # panels of A that are packed together: 48 rows, so that a cache line is read once


@kernel
def _product(
    a: Reads[4],
    b: Reads[4],
    bias: ReadsRows[1],
    c: WritesRows[1],
    n: Size,
    height: Size,
    width: Size,
    depth: Size,
):
    """C[x, y] = A[x, y] B[x, y] (+ bias), a block of `height` x `width` of it a task."""
    batch, m, length = a.shape[1], a.shape[2], a.shape[3]
    count, size, wide, high = a.shape[0] * batch, c.itemsize, columns(c), panel_height(c)
    down, across, cuts = (m + height - 1) // height, (n + width - 1) // width, (length + depth - 1) // depth
    a_row, a_step = a.strides[2] // size, a.strides[3] // size
    b_row, b_column = b.strides[2] // size, b.strides[3] // size

    # An A that is read across its rows goes into panels, all of it, some panels a task.
    in_place = a_step == 1 and m >= ROWS
    panel, layer, groups = (
        high * (depth + 2),
        (m + ROWS - 1) // ROWS,
        (m + GROUP * ROWS - 1) // (GROUP * ROWS),
    )
    panels = np.empty(0 if in_place else count * cuts * layer * panel, c.dtype)
    for task in prange(0 if in_place else count * cuts * groups):
        which, k, top = task // (cuts * groups), task // groups % cuts * depth, task % groups * GROUP * ROWS
        source = at(a, (which // batch * a.strides[0] + which % batch * a.strides[1]) // size)
        target = at(panels, (task // groups * layer + top // ROWS) * panel)
        rows, deep = min(GROUP * ROWS, m - top), min(depth, length - k)
        pack_a(at(source, top * a_row + k * a_step), a_row, a_step, rows, m - top, deep, target, high, panel)

    for task in prange(count * down * across):
        which = task // (down * across)
        top, left = task // across % down * height, task % across * width
        bottom, right = min(top + height, m), min(left + width, n)
        a_start = at(a, (which // batch * a.strides[0] + which % batch * a.strides[1]) // size)
        b_start = at(
            b, (which // batch * b.strides[0] + which % batch * b.strides[1]) // size + left * b_column
        )
        b_panels = np.empty((right - left + wide - 1) // wide * wide * min(depth, length), c.dtype)
        edge = np.empty(ROWS * wide, c.dtype)
        # Where rows of B are contiguous, the first row of tiles packs them while it multiplies.
        fresh = (right - left) // wide * wide if b_column == 1 else 0
        for k in range(0, length, depth):
            deep = min(depth, length - k)
            here = at(b_start, k * b_row)
            pack_b(
                at(here, fresh * b_column),
                b_row,
                b_column,
                deep,
                right - left - fresh,
                b_panels[fresh * deep :],
            )
            for i in range(top, bottom, ROWS):
                rows, first = min(ROWS, bottom - i), i
                source, row, step = (
                    at(panels, ((which * cuts + k // depth) * layer + i // ROWS) * panel),
                    1,
                    high,
                )
                if in_place:
                    first = min(i, m - ROWS)
                    source, row, step = at(a_start, first * a_row + k * a_step), a_row, a_step
                for j in range(left, right, wide):
                    whole = rows == ROWS and j + wide <= right
                    target, ldc = at(c, (which * m + i) * n + j), n
                    if not whole:
                        target, ldc = at(edge, 0), wide
                    more, packed = whole and k > 0, at(b_panels, (j - left) * deep)
                    if i == top and j - left < fresh:
                        unpacked = at(here, j - left)
                        packing_tile(source, row, step, unpacked, b_row, packed, target, ldc, deep, more)
                    elif 2 * (right - j) > wide:
                        tile(source, row, step, packed, wide, target, ldc, deep, more)
                    else:
                        narrow_tile(source, row, step, packed, wide, target, ldc, deep, more)
                    if not whole:
                        for y in range(rows):
                            for x in range(min(wide, right - j)):
                                place, value = (
                                    (which * m + i + y) * n + j + x,
                                    edge[(i - first + y) * wide + x],
                                )
                                c[place] = c[place] + value if k else value
        for i in range(top, bottom if len(bias) else top):
            for j in range(left, right):
                c[(which * m + i) * n + j] += bias[j]


def matmul(x, y, bias=None):
    """x (..., M, K) @ y (..., K, N) + bias (N,) -> (..., M, N); a 1-D x is a row, a 1-D y a column."""
    if not suits(x, y, bias):
        return NotImplemented
    a, b = x[None] if x.ndim == 1 else x, y[:, None] if y.ndim == 1 else y
    if b.ndim == 2 and a.ndim > 2 and a.flags.c_contiguous:
        out = _batch(a.reshape(-1, a.shape[-1]), b, bias).reshape(*a.shape[:-1], b.shape[-1])
    else:
        out = _batch(a, b, bias)
    if x.ndim == 1:
        out = out[..., 0, :]
    return out[..., 0] if y.ndim == 1 else out


def _batch(a, b, bias):
    batch = () if a.ndim == b.ndim == 2 else np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    (m, k), n = a.shape[-2:], b.shape[-1]
    out = np.empty((*batch, m, n), a.dtype)
    if not out.size or not k:
        out[...] = 0 if bias is None else bias
        return out
    a, b = with_four_axes(a, batch), with_four_axes(b, batch)
    bias = np.empty(0, a.dtype) if bias is None else np.ascontiguousarray(bias)
    width = _even(n, WIDTH, 16)
    others = a.shape[0] * a.shape[1] * -(-n // width)
    parts = max(1, min(TASKS // others, m // HEIGHT), min(2 // others, m // 48))
    height = _even(m, -(-m // parts), ROWS)
    _product(a, b, bias, out.reshape(-1), n, height, width, _even(k, DEPTH, 1), work=2 * out.size * k)
    return out


def with_four_axes(x, batch):
    """x as a batch of two axes and a matrix; a copy only where more axes do not merge into one."""
    if len(batch) > 2:
        return np.broadcast_to(x, (*batch, *x.shape[-2:])).reshape(1, math.prod(batch), *x.shape[-2:])
    return np.broadcast_to(x, ((1, 1, *batch)[-2:]) + x.shape[-2:])


def _even(n, most, unit):
    """`n` cut into the fewest parts of at most `most`: how large they are, all alike, in whole units."""
    parts = -(-n // most)
    return -(-n // parts // unit) * unit
