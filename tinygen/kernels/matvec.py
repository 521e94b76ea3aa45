"""Products of a matrix with one vector, or with few: each row of the matrix is read once, from its place.

    y[b, i] = sum over k of W[i, k] x[b, k] + bias[i]       W (N, K), x (B, K): 2 B N K operations on N K

Each number of W is used B times, so memory is the limit, and packing, as for the register tile, would move
it twice more. The rows are taken one after the other: their memory is one stream, which the processor fetches
ahead. Lost: four rows at once, to load x but once for them, are four streams, and gave 9 GB/s from memory in
place of 29 on one core of a Zen 4, and 66 in place of 75 from the last cache. In us, with W
of 1536 x 384, and what the register tile took: B = 1 27, 2 55 (213), 4 148 (215), 8 196 (219), 12 378 (201).
"""

import functools

import numpy as np

from .compiled import ReadsRows, WritesRows, inner, kernel, prange

MOST = 8  # rows of x; the products of more are for the register tile
TASK = 16  # rows of W
PRODUCTS = 4  # multiplications that take as long as one scalar operation


def few_rows(x, w, bias=None):
    """x (B, K), w (N, K), bias (N,) -> (B, N): contiguous ones, none of them empty."""
    out = np.empty((len(x), len(w)), x.dtype)
    _few_rows(x, w, or_zeros(bias, len(w), x.dtype), out, work=len(x) * w.size / PRODUCTS)
    return out


def or_zeros(x, n, dtype):
    """x, contiguous; for None n zeros that are not to be written to."""
    return _zeros(n, dtype) if x is None else np.ascontiguousarray(x)


@functools.lru_cache(100)
def _zeros(n, dtype):
    zeros = np.zeros(n, dtype)
    zeros.flags.writeable = False
    return zeros


@kernel
def _few_rows(x: ReadsRows[2], w: ReadsRows[2], bias: ReadsRows[1], out: WritesRows[2]):
    for task in prange((len(w) + TASK - 1) // TASK):
        linear_rows(w, bias, x, task * TASK, (task + 1) * TASK, False, out)


@inner(exact=True)
def linear_rows(w, bias, x, first, stop, more, out):
    """out[:, i] (+)= x w[i] + bias[i] for the rows i of w from `first` to `stop`, or to its last."""
    for i in range(first, min(stop, len(w))):
        for b in range(len(x)):
            y = row_dot(w, i, x, b, bias[i])
            out[b, i] = out[b, i] + y if more else y


@inner
def row_dot(w, i, x, b, total):
    """total + w[i] x[b]: the one sum that may be reordered. Compiled once, it has the same bits anywhere."""
    for k in range(w.shape[1]):
        total += w[i, k] * x[b, k]
    return total
