"""How a kernel becomes machine code: compiled by Numba on first use, kept on disk, run with threads or not.

    @kernel
    def scale(x: Reads[1], factor: Scalar, out: Writes[1]):
        for i in prange(len(x)):
            out[i] = x[i] * factor

    scale(x, 2.0, out, work=x.size)

The annotations are the signature: `Reads[n]` and `Writes[n]` are arrays of n axes and any strides in the
kernel's dtype, `Scalar` is a number of that dtype, `Flag` and `Size` are a bool and an integer, and
`Integers[n]` an array of int64. One function makes up to four machine codes, each when it is first needed:
float32 and float64, with and without threads.

Threads are Numba's own pool. `prange` shares out its iterations among them, and a kernel's iterations are
cut by the problem and never by the number of threads, so that any number gives the same bits. A launch of the
pool takes 2 us with OpenMP and 100 us without, so `work`, an estimate of the scalar operations of the call,
decides whether to launch it. Three cautions:

- One launch at a time: two Python threads that launch Numba's `workqueue` pool at once abort the process.
- After a fork the child has no threads: GNU OpenMP kills a child that launches, so a child runs alone.
- A folder that cannot be written costs the cache, not the run.

Under NUMBA_DISABLE_JIT=1 a kernel is the Python function that it was written as, to step through it.
"""

import functools
import inspect
import os
import sys
import threading
import time
import types as python_types
import zlib
from pathlib import Path

import numpy as np
from numba import config, njit, prange, types

__all__ = ["Flag", "Integers", "Reads", "Scalar", "Size", "Writes", "inner", "kernel", "prange", "suits"]

# Scalar operations from which the pool is launched: 10 us of work on one core at 3 a nanosecond. With OpenMP
# a launch pays from a third of that, with workqueue from ten times as much.
PARALLEL_WORK = 30_000

# What the compiler may do to arithmetic: fuse a multiplication with an addition, reorder sums, and take a
# reciprocal for a division. It may not assume that there are no NaN or infinities.
ARITHMETIC = {"contract", "reassoc", "arcp", "nsz"}


class _Array:
    """An annotation: `Reads[3]` is an array of 3 axes that the kernel reads."""

    def __init__(self, readonly, dtype=None, axes=None):
        self.readonly, self.dtype, self.axes = readonly, dtype, axes

    def __getitem__(self, axes):
        return _Array(self.readonly, self.dtype, axes)

    def __call__(self, dtype):
        return types.Array(self.dtype or dtype, self.axes, "A", readonly=self.readonly)


Reads, Writes, Integers = _Array(True), _Array(False), _Array(True, types.int64)


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
    return functools.update_wrapper(Kernel(function), function)


class Kernel:
    """A function over arrays, and the machine codes made of it so far."""

    def __init__(self, function):
        parameters = inspect.signature(function).parameters.values()
        self.function, self.kinds = function, [p.annotation for p in parameters]
        self.leader = next(i for i, kind in enumerate(self.kinds) if getattr(kind, "dtype", 0) is None)
        self.codes = {}  # (dtype, with threads?) -> the compiled function

    def __call__(self, *args, work):
        threads = work >= PARALLEL_WORK and not _Pool.lost
        dtype = args[self.leader].dtype
        code = self.codes.get((dtype, threads)) or self.compile(dtype, threads)
        if threads:
            with _Pool.lock:
                _Pool.launched = True
                code(*args)
        else:
            code(*args)

    def compile(self, dtype, threads):
        """Make, or load, the machine code for arrays of `dtype`."""
        if config.DISABLE_JIT:
            code = self.function
        else:
            numba_dtype = types.float32 if dtype == np.float32 else types.float64
            signature = types.void(*[kind(numba_dtype) for kind in self.kinds])
            code = _compiled(_renamed(self.function, threads), signature, threads)
        self.codes[dtype, threads] = code
        return code


class _Pool:
    """What is known of Numba's threads."""

    lock = threading.Lock()
    launched = False  # by this process, or by a parent before it forked
    lost = False  # the threads stayed with the parent


def _after_fork():
    _Pool.lock = threading.Lock()  # another thread of the parent may have held it
    _Pool.lost = _Pool.launched


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _renamed(function, threads):
    """A copy of a kernel under a name of its own for Numba's cache, which keeps a file for each name.

    The name says whether threads are used, which Numba's key forgets, and which sources the kernels had: a
    change of tile.py has to recompile the kernels that are built on it, and Numba looks at one file only.
    """
    copy = python_types.FunctionType(function.__code__, function.__globals__, function.__name__)
    copy.__module__ = function.__module__
    copy.__qualname__ = f"{function.__name__}-{'threads' if threads else 'alone'}-{_fingerprint()}"
    return copy


@functools.cache
def _fingerprint():
    sources = sorted(Path(__file__).parent.glob("*.py"))
    return f"{zlib.crc32(b''.join(path.read_bytes() for path in sources)):08x}"


def _compiled(function, signature, threads):
    options = {"nogil": True, "error_model": "numpy", "fastmath": ARITHMETIC, "parallel": threads}
    start = time.perf_counter()
    try:
        code = njit([signature], cache=True, **options)(function)
    except (RuntimeError, OSError):  # no folder to keep it in
        code = njit([signature], **options)(function)
    took = time.perf_counter() - start
    if took > 1:
        print(f"tinygen: compiled {function.__name__} in {took:.1f} s", file=sys.stderr, flush=True)
    return code


def suits(*arrays):
    """True for NumPy arrays that one kernel may take: all float32 or all float64; None counts for nothing.

    Byte order and alignment have to be the machine's own.
    """
    dtype = arrays[0].dtype
    return dtype in _DTYPES and all(
        [x is None or type(x) is np.ndarray and x.dtype == dtype and x.flags.aligned for x in arrays]
    )


_DTYPES = (np.dtype(np.float32), np.dtype(np.float64))  # of native byte order: another one is not equal
