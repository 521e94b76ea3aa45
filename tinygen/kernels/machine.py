"""What this machine can do at most: its multiply-adds in registers, and its memory. Measured, not looked up.

    arithmetic   the register tile of tinygen.kernels.tile, on operands that stay in the first cache
    read         a sum over one array, of 256 MB unless told otherwise
    triad        a = b + s c over three arrays of half that size, 128 MB. Counted are the three arrays, as
                 McCalpin's STREAM does; what the processor fetches of `a` before it writes comes on top.

The best of many tries counts: a peak is what nothing disturbed. So a measurement must hold many tries: with
0.05 s each, arithmetic came out anywhere between 89 and 180 GFLOP/s on one machine, triad between 12 and 55
GB/s. Arrays must be larger than the last cache, or it is the cache that is measured.
"""

import time
from functools import partial

import numpy as np

from .compiled import Reads, ReadsRows, Scalar, Size, Writes, WritesRows, inner, kernel, prange
from .tile import ROWS, VECTOR_BYTES, VECTORS, at, tile

DEPTH = 256  # of the tile: 16 KB of B, and A of a few more
TASKS, TIMES = 64, 200
PIECE = 1 << 18  # elements, a megabyte of them


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


KINDS = "arithmetic", "read", "triad"


def peaks(threads, seconds=1.0, megabytes=256, kinds=KINDS):
    """What one core and all threads reach, in about 2 x `seconds` for each kind.

    Args:
        threads: how many the kernels may run on; only noted in the result.
        seconds: that each of the measurements takes; below 0.3 they are noise.
        megabytes: of the array that is read; those of the triad have half of it each. They take 1.5 times as
            much memory together.
        kinds: which of KINDS are measured.

    Returns:
        {"arithmetic": GFLOP/s, "read": GB/s, "triad": GB/s, "threads": threads}; each of the kinds is a dict
        of "one" core and "all" threads. "all" is at least "one": where threads only disturb each other, one
        core is what all of them can do.

    Raises:
        ValueError: fewer than 2 megabytes.
    """
    if megabytes < 2:
        raise ValueError(f"peaks: expected at least 2 megabytes, got {megabytes}; exceed the last cache")
    x, sums = np.ones((megabytes, PIECE), np.float32), np.empty(megabytes, np.float32)
    half = megabytes // 2
    a, b, c = x[:half], x[half : 2 * half], np.ones((half, PIECE), np.float32)
    left = np.zeros((TASKS, ROWS, DEPTH), np.float32)
    right = np.zeros((TASKS, DEPTH, VECTORS * VECTOR_BYTES // 4), np.float32)
    out = np.zeros((TASKS, ROWS, right.shape[2]), np.float32)
    calls = {  # how much each does or moves, and how
        "arithmetic": (
            2 * TIMES * left.size * right.shape[2],
            lambda work: multiply_add(left, right, out, TIMES, work=work),
        ),
        "read": (x.nbytes, lambda work: read(x, sums, work=work)),
        "triad": (3 * a.nbytes, lambda work: triad(b, c, 3.0, a, work=work)),
    }
    found = {}
    for kind in kinds:
        amount, call = calls[kind]
        one, every = [amount / _least(partial(call, work), seconds) / 1e9 for work in (0, float("inf"))]
        found[kind] = {"one": one, "all": max(one, every)}
    return found | {"threads": threads}


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
