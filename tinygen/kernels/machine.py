"""What this machine can do at most: its multiply-adds in registers, and its memory. Measured, not looked up.

    arithmetic   the register tile of tinygen.kernels.tile, on operands that stay in the first cache
    read         a sum over 256 MB
    triad        a = b + s c over three arrays of 128 MB. Counted are the three arrays, as McCalpin's STREAM
                 does; what the processor fetches of `a` before it writes there comes on top.

The best of many tries counts: a peak is what nothing disturbed.
"""

import time

import numpy as np

from .compiled import Reads, ReadsRows, Scalar, Size, Writes, WritesRows, inner, kernel, prange
from .tile import ROWS, VECTOR_BYTES, VECTORS, at, tile

DEPTH = 256  # of the tile: 16 KB of B, and A of a few more
TASKS, TIMES = 64, 200
PIECE = 1 << 18  # elements


@kernel
def multiply_add(a: Reads[3], b: Reads[3], c: Writes[3], times: Size):
    """The tile, `times` times on each of the operands."""
    height, depth, width = a.shape[1], a.shape[2], b.shape[2]
    for task in prange(len(a)):
        left, right = at(a, task * height * depth), at(b, task * depth * width)
        result = at(c, task * height * width)
        for _ in range(times):
            tile(left, depth, 1, right, width, result, width, depth, True)


@inner
def _sum(x):
    total = x.dtype.type(0)
    for i in range(len(x)):
        total += x[i]
    return total


@kernel
def read(x: ReadsRows[2], out: Writes[1]):
    """The sum of each row."""
    for i in prange(len(x)):
        out[i] = _sum(x[i])


@kernel
def triad(b: ReadsRows[2], c: ReadsRows[2], s: Scalar, a: WritesRows[2]):
    """a = b + s c."""
    for i in prange(len(b)):
        for j in range(b.shape[1]):
            a[i, j] = b[i, j] + s * c[i, j]


def peaks(threads, seconds=1.0):
    """{"arithmetic": GFLOP/s, "read": GB/s, "triad": GB/s}, each for "one" core and for "all" threads."""
    width = 1 << 26 if seconds > 0.5 else 1 << 24
    a, b, c = (np.ones(width // 2, np.float32).reshape(-1, PIECE) for _ in range(3))
    x, sums = np.ones(width, np.float32).reshape(-1, PIECE), np.empty(width // PIECE, np.float32)
    left = np.zeros((TASKS, ROWS, DEPTH), np.float32)
    right = np.zeros((TASKS, DEPTH, VECTORS * VECTOR_BYTES // 4), np.float32)
    out = np.zeros((TASKS, ROWS, right.shape[2]), np.float32)
    flops = 2 * TIMES * left.size * right.shape[2]
    found = {}
    for who, work in [("one", 0), ("all", float("inf"))]:
        found[who] = {
            "arithmetic": flops
            / _least(lambda w=work: multiply_add(left, right, out, TIMES, work=w), seconds),
            "read": x.nbytes / _least(lambda w=work: read(x, sums, work=w), seconds),
            "triad": 3 * a.nbytes / _least(lambda w=work: triad(b, c, 3.0, a, work=w), seconds),
        }
    return {
        name: {who: found[who][name] / 1e9 for who in found} for name in ("arithmetic", "read", "triad")
    } | {"threads": threads}


def _least(call, seconds):
    """The least time of one call, among as many as `seconds` hold."""
    call()
    best, until = float("inf"), time.perf_counter() + seconds
    while True:
        start = time.perf_counter()
        call()
        end = time.perf_counter()
        best = min(best, end - start)
        if end > until:
            return best
