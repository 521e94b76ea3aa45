"""The gradient of a maximum or minimum over one axis: each cotangent goes to where its extreme was found.

    dx[a, k, b] = g[a, b] [x[a, k, b] = out[a, b]] / ties[a, b],    ties = how many k hold the extreme

An array of any shape is (A, n, B), with the axis in the middle, so each step along k is a run of B numbers.
The ties are counted where dx[a, 0] will be, and a task is one a: x of it is read twice, the second time from
the first cache. Of float32 at least 8 bytes an element move: x is read, dx is written.

Array code has four passes, each with an array of the size of x: 150 us for 200 x 5 x 200, a layer of maxout,
and 55 here. With a function for each of the two loops over k it was 114: most of that was their being called.
Along the last axis, B = 1, there are no runs, and it is left to array code.
"""

import numpy as np

from .compiled import ReadsRows, WritesRows, inner, kernel, prange, suits
from .vector_math import choose

LEAST = 8  # numbers of a run: a vector of float32


def share_of_ties(g, x, out, axis):
    """As the rule of `max` in autograd/ops/reductions.py, over one axis that is not the last."""
    if type(axis) is not int or not (suits(x, g, out) and x.size):
        return NotImplemented
    axis %= x.ndim
    after = x.size // int(np.prod(x.shape[: axis + 1]))
    if after < LEAST:
        return NotImplemented
    found = np.empty(x.shape, x.dtype)
    sides = [np.ascontiguousarray(array).reshape(-1, after) for array in (g, out)]
    around = [array.reshape(-1, x.shape[axis], after) for array in (np.ascontiguousarray(x), found)]
    _share_of_ties(*sides, *around, work=4 * x.size)
    return found


@kernel
def _share_of_ties(g: ReadsRows[2], out: ReadsRows[2], x: ReadsRows[3], dx: WritesRows[3]):
    one, none = x.dtype.type(1), x.dtype.type(0)
    for a in prange(len(g)):
        for b in range(x.shape[2]):
            dx[a, 0, b] = choose(x[a, 0, b] == out[a, b], one, none)
        for k in range(1, x.shape[1]):
            for b in range(x.shape[2]):
                dx[a, 0, b] += choose(x[a, k, b] == out[a, b], one, none)
        divide(g[a], dx[a, 0])
        for k in range(1, x.shape[1]):
            for b in range(x.shape[2]):  # a product: NaN, which has 0 of 0 ties, stays NaN
                dx[a, k, b] = dx[a, 0, b] * choose(x[a, k, b] == out[a, b], one, none)
        for b in range(x.shape[2]):
            dx[a, 0, b] *= choose(x[a, 0, b] == out[a, b], one, none)


@inner(exact=True)
def divide(g, ties):
    for b in range(len(g)):
        ties[b] = g[b] / ties[b]
