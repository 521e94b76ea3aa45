"""Two kernels for the tests of launching, to import here and in processes of their own."""

import math

import numpy as np

from tinygen.kernels.compiled import Reads, Scalar, Writes, kernel, prange

ALWAYS, NEVER = math.inf, 0  # work that is shared among threads, and work that is not


@kernel
def scale(x: Reads[1], factor: Scalar, out: Writes[1]):
    """out = x factor."""
    for i in prange(len(x)):
        out[i] = x[i] * factor


@kernel
def norms(x: Reads[2], out: Writes[1]):
    """The norm of each row: sums whose order would show, were it to depend on the threads."""
    for i in prange(len(x)):
        total = x.dtype.type(0)
        for j in range(x.shape[1]):
            total += x[i, j] * x[i, j]
        out[i] = np.sqrt(total)


def scaled(dtype=np.float32, work=ALWAYS, count=1000):
    """True when a launch of `scale` gives what NumPy gives."""
    x = np.arange(count, dtype=dtype)
    out = np.full_like(x, np.nan)
    scale(x, 3.0, out, work=work)
    return bool((out == x * dtype(3)).all())
