"""Matrix products: C = A B + bias, in a batch or alone, for operands of any strides.

    C[i, j] = sum over k of A[i, k] B[k, j]     A (M, K), B (K, N): 2 M N K operations on M K + K N + M N

Each number is used hundreds of times, so arithmetic is the limit, if only the numbers are near when they are
needed. The tile keeps C in registers; the loops around it keep the rest in the cache that can feed it:

    for each block of rows and columns of C          a task, for a thread
        for each `depth` of k                        B's part, depth x width, stays in the second cache
            for each ROWS of the block               A's part, ROWS x depth, stays in the first
                for each tile of columns             and B streams past it

What is left to gain or lose is packing (see packing.py), for B one move for each `height` multiplications:

- B's contiguous rows are packed by the first row of tiles, which has them in registers anyway: it took
  128 x 784 x 400 from 87 to 90 GFLOP/s on one core.
- A is not packed where it can be read along its rows, and has enough of them for a tile. Where it cannot,
  each task packs its own, some rows at a time. Once for all columns, by all threads before the rest, was
  less to move, but each then waits for what lies in the other's cache: 512 x 768 x 128 on two cores of a
  Zen 4 took 592 us, and takes 503.
- C is prefetched when a tile starts, and the next rows of what is packed while it is.

A few rows times W^T are products with vectors, and go to matvec.py, which reads W once, in place.

Where the work is small, the rest counts: a call took 11 us, and takes 4 since shapes are given axes without
broadcasting; threads are launched from half a million multiplications on. An odd number of tasks is worth
nothing to two cores. What is left below the last whole tile goes by short ones: 64 rows take 64, and not 72.

Blocks depend on the shapes alone, and a number of C is the sum of the same parts in the same order whoever
computes it: the same bits for any number of threads.
"""

import functools
import math

import numpy as np

from .compiled import Reads, ReadsRows, Size, WritesRows, inner, kernel, prange, suits
from .matvec import MOST, few_rows
from .packing import pack_a, pack_b, panel_height
from .tile import ROWS, SHORT, VECTOR_BYTES, VECTORS, at, columns, narrow_tile, packing_tile, short_tile, tile

# depth x width numbers of B, at most DEPTH x WIDTH of float32: 384 KiB, or 256 where vectors are shorter.
DEPTH, WIDTH = 384 if VECTOR_BYTES == 64 else 256, 256
HEIGHT, TASKS = 384, 16  # rows from which B is worth packing once more, and how many tasks are enough
PRODUCTS = 16  # multiplications that take as long as one scalar operation
GROUP = 8  # panels of A that are packed together: so many rows that a cache line is read once


@kernel
def _product(
    a: Reads[4], b: Reads[4], bias: ReadsRows[1], c: WritesRows[3], height: Size, width: Size, depth: Size
):
    """C[x y] = A[x, y] B[x, y] (+ bias), a block of `height` x `width` of it a task."""
    batch, m, n = a.shape[1], c.shape[1], c.shape[2]
    down, across = (m + height - 1) // height, (n + width - 1) // width
    for task in prange(len(c) * down * across):
        which, top, left = task // (down * across), task // across % down * height, task % across * width
        x, y, right = which // batch, which % batch, min(left + width, n)
        block = c[which, top : min(top + height, m), left:right]
        multiply(a[x, y, top:], b[x, y, :, left:right], block, depth)
        if len(bias):
            for i in range(len(block)):
                for j in range(left, right):
                    c[which, top + i, j] += bias[j]


@inner
def multiply(a, b, c, depth):
    """C = A B; of A there may be more rows than of C, which the tile may read."""
    (rows, width), (length, room), wide, high = c.shape, (b.shape[0], len(a)), columns(c), panel_height(c)
    a_row, a_step = a.strides[0] // c.itemsize, a.strides[1] // c.itemsize
    b_row, b_column = b.strides[0] // c.itemsize, b.strides[1] // c.itemsize
    ldc, group, deepest = c.strides[0] // c.itemsize, GROUP * ROWS, min(depth, length)
    in_place = a_step == 1 and room >= ROWS
    b_panels = np.empty((width + wide - 1) // wide * wide * deepest, c.dtype)
    a_panels = np.empty(0 if in_place else GROUP * high * deepest, c.dtype)
    edge = np.empty(ROWS * wide, c.dtype)
    # Where rows of B are contiguous, the first row of tiles packs them while it multiplies.
    fresh = width // wide * wide if b_column == 1 else 0
    for k in range(0, length, depth):
        deep, b_here = min(depth, length - k), at(b, k * b_row)
        panel = high * deep
        pack_b(at(b_here, fresh * b_column), b_row, b_column, deep, width - fresh, b_panels[fresh * deep :])
        i = 0
        while i < rows:
            tall = SHORT if i > 0 and rows - i <= ROWS - SHORT else ROWS
            # Where A is read in place, the last tile starts earlier, at `first`, and its last rows count.
            here, first = min(tall, rows - i), i
            if in_place:
                first = min(i, room - tall)
                source, row, step = at(a, first * a_row + k * a_step), a_row, a_step
            else:
                if i % group == 0:
                    some, source = min(group, rows - i), at(a, i * a_row + k * a_step)
                    pack_a(source, a_row, a_step, some, room - i, deep, at(a_panels, 0), high, panel)
                source, row, step = at(a_panels, i % group // ROWS * panel + i % ROWS), 1, high
            for j in range(0, width, wide):
                whole = here == tall and j + wide <= width
                target, ld = at(c, i * ldc + j), ldc
                if not whole:
                    target, ld = at(edge, 0), wide
                more, packed = whole and k > 0, at(b_panels, j * deep)
                if i == 0 and j < fresh:
                    packing_tile(source, row, step, at(b_here, j), b_row, packed, target, ld, deep, more)
                elif tall == SHORT:
                    short_tile(source, row, step, packed, wide, target, ld, deep, more)
                elif (width - j) * VECTORS > wide:
                    tile(source, row, step, packed, wide, target, ld, deep, more)
                else:
                    narrow_tile(source, row, step, packed, wide, target, ld, deep, more)
                for y in range(0 if whole else here):
                    for x in range(min(wide, width - j)):
                        value = edge[(i - first + y) * wide + x]
                        c[i + y, j + x] = c[i + y, j + x] + value if k else value
            i += tall


def matmul(x, y, bias=None):
    """x (..., M, K) @ y (..., K, N) + bias (N,) -> (..., M, N); a 1-D x is a row, a 1-D y a column."""
    if not suits(x, y, bias):
        return NotImplemented
    if y.ndim == 2 and 0 < x.size <= MOST * len(y) and y.flags.f_contiguous and x.flags.c_contiguous:
        return few_rows(x.reshape(-1, len(y)), y.T, bias).reshape(*x.shape[:-1], y.shape[1])
    a, b = x[None] if x.ndim == 1 else x, y[:, None] if y.ndim == 1 else y
    if b.ndim == 2 and a.ndim > 2 and a.flags.c_contiguous:
        out = _batch(a.reshape(-1, a.shape[-1]), b, bias).reshape(*a.shape[:-1], b.shape[-1])
    else:
        out = _batch(a, b, bias)
    if x.ndim == 1:
        out = out[..., 0, :]
    return out[..., 0] if y.ndim == 1 else out


def _batch(a, b, bias):
    batch = a.shape[:-2]
    if batch != b.shape[:-2]:
        batch = np.broadcast_shapes(batch, b.shape[:-2])
    (m, k), n = a.shape[-2:], b.shape[-1]
    out = np.empty((*batch, m, n), a.dtype)
    if not out.size or not k:
        out[...] = 0 if bias is None else bias
        return out
    a, b, c = with_four_axes(a, batch), with_four_axes(b, batch), out.reshape(-1, m, n)
    bias = np.empty(0, a.dtype) if bias is None else np.ascontiguousarray(bias)
    blocks = _block(len(c), m, n, k, c.itemsize, a.strides[3] != a.itemsize)
    _product(a, b, bias, c, *blocks, work=out.size * k / PRODUCTS)
    return out


def with_four_axes(x, batch):
    """x as a batch of two axes and a matrix; a copy only where more axes do not merge into one."""
    if len(batch) > 2:
        return np.broadcast_to(x, (*batch, *x.shape[-2:])).reshape(1, math.prod(batch), *x.shape[-2:])
    if x.shape[:-2] == batch:
        return x[(None,) * (2 - len(batch))]
    return np.broadcast_to(x, ((1, 1, *batch)[-2:]) + x.shape[-2:])


@functools.lru_cache(1000)
def _block(count, m, n, k, size, packs):
    """(height, width, depth) of the blocks that are tasks, in each of `count` products of these sizes."""
    depth = _even(k, (DEPTH * 2 // 3 if packs else DEPTH) * 4 // size, 1)
    across = -(-n // (DEPTH * 4 // size * WIDTH // depth))
    down = max(1, min(TASKS // (count * across), m // HEIGHT) // 2 * 2)
    if count * across * down % 2:  # an odd number of tasks leaves half of the cores waiting for the last
        # Two rows of blocks pack B twice; columns share a line of the cache in each row of C, 50 ns each.
        down, across = (2, across) if m >= n or n * k < 300 * m else (1, across + 1)
    return _even(m, -(-m // down), ROWS), _even(n, -(-n // across), 16), depth


def _even(n, most, unit):
    """`n` cut into the fewest parts of at most `most`: their size, all alike, rounded up to whole units."""
    parts = -(-n // most)
    return -(-n // parts // unit) * unit
