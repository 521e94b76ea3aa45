"""How a kernel becomes machine code: compiled by Numba on first use, kept on disk, run with threads or not.

    @kernel
    def scale(x: Reads[1], factor: Scalar, out: Writes[1]):
        for i in prange(len(x)):
            out[i] = x[i] * factor

    scale(x, 2.0, out, work=x.size)

The annotations are the signature: `Reads[n]` and `Writes[n]` are arrays of n axes and any strides in the
kernel's dtype; `ReadsRows[n]` and `WritesRows[n]` are contiguous ones, and only of those a loop over elements
becomes vector code (exp of 16 K takes 9 us, and 71 where the stride is a variable). `Scalar` is a number of
that dtype, `Flag` and `Size` are a bool and an integer, `Integers[n]` is an array of int64 and `FlagsRows[n]`
a contiguous one of bools. One function makes up to four machine codes, each when it is first needed: float32
and float64, with and without threads.

Threads are Numba's own pool. `prange` shares out its iterations among them, and a kernel's iterations are
cut by the problem and never by the number of threads, so that any number gives the same bits. A launch of the
pool takes 2 us with OpenMP and 100 us without, so `work`, an estimate of the scalar operations of the call,
decides whether to launch it. Three cautions:

- One launch at a time: two Python threads that launch Numba's `workqueue` pool at once abort the process.
- After a fork the child has no threads: once the parent's pool stands, which the first compilation with
  threads sees to, GNU OpenMP kills a child that launches. So a child runs alone.
- A folder that cannot be written, and a file in it that cannot be read, cost the cache, not the run.

Under NUMBA_DISABLE_JIT=1 a kernel is the Python function that it was written as, to step through it.
"""

import contextlib
import functools
import inspect
import math
import os
import sys
import threading
import time
import types as python_types
import zlib
from pathlib import Path

import llvmlite
import numba
import numpy as np
from llvmlite import binding
from numba import config, get_num_threads, njit, prange, set_num_threads, types

from .memory import keep_freed_memory

__all__ = [
    "DTYPES",
    "Flag",
    "FlagsRows",
    "Integers",
    "Reads",
    "ReadsRows",
    "Scalar",
    "Size",
    "Writes",
    "WritesRows",
    "inner",
    "kernel",
    "prange",
    "suits",
]

# Scalar operations from which the pool is launched: 10 us of work on one core at 3 a nanosecond. With OpenMP
# a launch pays from a third of that, with workqueue from ten times as much.
PARALLEL_WORK = 30_000

# What the compiler may do to arithmetic: fuse a multiplication with an addition, reorder sums, and take a
# reciprocal for a division. It may not assume that there are no NaN or infinities.
ARITHMETIC = {"contract", "reassoc", "arcp", "nsz"}


class _Array:
    """An annotation: `Reads[3]` is an array of 3 axes that the kernel reads."""

    def __init__(self, readonly, dtype=None, layout="A", axes=None):
        self.readonly, self.dtype, self.layout, self.axes = readonly, dtype, layout, axes

    def __getitem__(self, axes):
        return _Array(self.readonly, self.dtype, self.layout, axes)

    def __call__(self, dtype):
        return types.Array(self.dtype or dtype, self.axes, self.layout, readonly=self.readonly)


Reads, Writes, Integers = _Array(True), _Array(False), _Array(True, types.int64)
ReadsRows, WritesRows = _Array(True, layout="C"), _Array(False, layout="C")
FlagsRows = _Array(True, types.boolean, "C")


def Scalar(dtype):
    """An annotation: a number of the kernel's dtype."""
    return dtype


def Size(dtype):
    """An annotation: an integer."""
    return types.int64


def Flag(dtype):
    """An annotation: a bool."""
    return types.boolean


def inner(function=None, *, exact=False):
    """Compile a function that kernels call; with `exact`, sums stay in the order they are written in."""
    if function is None:
        return functools.partial(inner, exact=exact)
    arithmetic = {"contract"} if exact else ARITHMETIC
    return njit(function, nogil=True, error_model="numpy", fastmath=arithmetic)


def kernel(function):
    """Make a kernel of a function that writes its results into arrays it is given; see the module."""
    kinds = [parameter.annotation for parameter in inspect.signature(function).parameters.values()]
    leader = next(i for i, kind in enumerate(kinds) if getattr(kind, "dtype", 0) is None)
    # Bytes of a number -> the code. A dtype as the key takes 0.1 us to hash, and an object with __call__
    # instead of this closure would take 0.3 of the 0.6 us that a call costs.
    alone, threaded = {}, {}

    @functools.wraps(function)
    def run(*args, work):
        size = args[leader].itemsize
        if work >= PARALLEL_WORK and _Pool.usable:
            code = threaded.get(size) or made(size, True)
            with _Pool.lock:
                code(*args)
        else:
            code = alone.get(size) or made(size, False)
            code(*args)

    def made(size, threads):
        codes = threaded if threads else alone
        with _Pool.lock:
            if size not in codes:  # else another Python thread was quicker
                dtype = types.float32 if size == 4 else types.float64
                codes[size] = _compiled(function, kinds, dtype, threads)
        return codes[size]

    return run


class _Pool:
    """What is known of Numba's threads."""

    lock = threading.RLock()  # a signal's handler, or a finaliser, may run kernels between two lines of ours
    usable = config.NUMBA_NUM_THREADS > 1


def _after_fork():
    _Pool.lock = threading.RLock()
    pool = sys.modules.get("numba.np.ufunc.parallel")
    _Pool.usable = _Pool.usable and not getattr(pool, "_is_initialized", pool is not None)


if hasattr(os, "register_at_fork"):
    # A fork waits for a compilation or a launch of another thread, which would stay half done in the child.
    os.register_at_fork(
        before=lambda: _Pool.lock.acquire(),
        after_in_parent=lambda: _Pool.lock.release(),
        after_in_child=_after_fork,
    )


def most_threads():
    """How many threads a kernel may run on: NUMBA_NUM_THREADS, and after a fork perhaps 1."""
    return config.NUMBA_NUM_THREADS if _Pool.usable else 1


@contextlib.contextmanager
def forced_threads(count):
    """Within it kernels run on `count` threads, however little their work is; 1 is none but the caller's."""
    global PARALLEL_WORK
    if not 1 <= count <= most_threads():
        raise ValueError(
            f"use: expected 1 to {most_threads()} threads, got {count}; set NUMBA_NUM_THREADS for more"
        )
    before = PARALLEL_WORK, get_num_threads() if count > 1 else None  # to ask starts the pool
    PARALLEL_WORK = -math.inf if count > 1 else math.inf
    try:
        if count > 1:
            set_num_threads(count)
        yield
    finally:
        PARALLEL_WORK = before[0]
        if count > 1:
            set_num_threads(before[1])


def _renamed(function, dtype, threads):
    """A copy of a kernel under a name of its own for Numba's cache, which keeps an index for each name.

    The name holds all that tells one machine code from another, so that an index has one entry. Numba's key
    forgets the threads, and what the kernel calls: a change of tile.py has to recompile all that is built on
    it. And it numbers the entries of an index without a lock: two processes that add to one at once may leave
    it pointing at each other's code.
    """
    copy = python_types.FunctionType(function.__code__, function.__globals__, function.__name__)
    copy.__module__ = function.__module__
    copy.__qualname__ = "-".join(
        [function.__name__, str(dtype), "threads" if threads else "alone", _fingerprint()]
    )
    return copy


@functools.cache
def _fingerprint():
    """Of the kernels' sources, the compiler, and the processor that it compiles for."""
    sources = [path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py"))]
    compiler = numba.__version__, llvmlite.__version__, config.CPU_NAME, config.CPU_FEATURES
    processor = binding.get_host_cpu_name(), binding.get_host_cpu_features().flatten()
    return f"{zlib.crc32(b''.join([*sources, repr((compiler, processor)).encode()])):08x}"


def _compiled(function, kinds, dtype, threads):
    """Make, or load, the machine code for one dtype, with or without threads."""
    if config.DISABLE_JIT:
        return np.errstate(all="ignore")(function)  # machine code does not warn either
    keep_freed_memory()
    signature = types.void(*[kind(dtype) for kind in kinds])
    options = {"nogil": True, "error_model": "numpy", "fastmath": ARITHMETIC, "parallel": threads}
    start = time.perf_counter()
    try:
        code = njit([signature], cache=True, **options)(_renamed(function, dtype, threads))
    except Exception:  # no folder to write to, a full disk, a broken file; or the kernel is wrong: see below
        code = njit([signature], **options)(function)
    took = time.perf_counter() - start
    if took > 1:
        with contextlib.suppress(OSError):  # nobody may be listening
            print(f"tinygen: compiled {function.__name__} in {took:.1f} s", file=sys.stderr, flush=True)
    return code


def suits(*arrays):
    """True for NumPy arrays that one kernel may take: all float32 or all float64; None counts for nothing.

    Byte order and alignment have to be the machine's own.
    """
    dtype = arrays[0].dtype
    return dtype in DTYPES and all(
        [x is None or type(x) is np.ndarray and x.dtype == dtype and x.flags.aligned for x in arrays]
    )


DTYPES = (np.dtype(np.float32), np.dtype(np.float64))  # of native byte order: another one is not equal
