"""The switchboard: which implementation of a kernel runs. Arrays in, arrays out; no Tensor is known here.

    reference   plain array code, in reference.py: the definition, what every other implementation is tested
                against, and what runs on array libraries other than NumPy
    numba       compiled for this processor on first use, for NumPy arrays of float32 or float64

Operations call `kernels.attention(...)` and the like. Left alone, an array of a few hundred elements goes to
the reference, which has answered before a compiled kernel is loaded, and everything else to Numba;
`with use("reference"):` or `use("numba"):` overrides that.
"""

import contextlib
import functools
import importlib
from contextvars import ContextVar

import numpy as np

from . import reference
from .reference import Geometry, may_see

__all__ = ["Geometry", "accelerated", "implementations", "may_see", "most_threads", "use", *reference.KERNELS]

# Kernel -> the module of its fast implementation. It has the arguments and results of the reference, and
# returns NotImplemented for what it leaves to it, before it has changed anything.
_COMPILED = {
    name: module
    for module, names in {
        "fused_attention": "attention attention_backward self_attention self_attention_backward",
        "convolution": "convolve convolve_image convolve_kernel",
        "gemm": "matmul",
        "decoding": "block_step norm_linear",
        "extremes": "share_of_ties",
        "indexing": "scatter_add",
        "optimizer": "adam sums_of_squares",
        "rows": "softmax softmax_backward log_softmax log_softmax_backward "
        "cross_entropy cross_entropy_backward bernoulli_log_prob bernoulli_log_prob_backward",
        "norms": "moments normalise normalise_backward rms_norm rms_norm_backward",
        "elementwise": "exp log erf tanh tanh_backward sigmoid sigmoid_backward softplus softplus_backward "
        "relu relu_backward leaky_relu leaky_relu_backward silu silu_backward gelu gelu_backward "
        "bce_with_logits bce_with_logits_backward dropout where",
    }.items()
    for name in names.split()
}


class _Numba:
    """The fast implementations, each imported when it is first asked for, and Numba with the first."""

    def __getattr__(self, name):
        home = _COMPILED.get(name)
        try:
            module = importlib.import_module(f".{home}", __package__) if home else reference
        except AttributeError as error:  # whoever asks for an attribute would take it that there is none
            raise ImportError(
                f"tinygen: Numba cannot be imported: {error}; rename your file, if one is called as a module "
                "of Python's or Numba's is"
            ) from error
        found = getattr(module, name)
        setattr(self, name, found)
        return found


_IMPLEMENTATIONS = {"reference": reference, "numba": _Numba()}

# The larger of the first two arguments has at least so many elements, or the reference is as quick. Arrays in
# a list count together. A norm is a dozen passes in the reference: 21 us for a row of 128, and compiled 8.
_WORTHWHILE = 512
_SOONER = {"normalise": 64, "rms_norm": 64}

_choice = ContextVar("tinygen_kernels", default="automatic")


def implementations():
    """The names that `use` accepts."""
    return tuple(_IMPLEMENTATIONS)


def most_threads():
    """The largest number of threads that `use` accepts; it imports Numba."""
    return _compiled().most_threads()


@contextlib.contextmanager
def use(name, *, threads=None):
    """`with use(name):` run kernels of that implementation only, where it has them.

    Args:
        threads: how many a compiled kernel runs on, however little its work, from 1 to NUMBA_NUM_THREADS.
            That holds for the whole process, and is for tests: left alone, only what pays is shared out.

    Raises:
        ValueError: there is no such implementation, or there are not so many threads.
    """
    if name not in _IMPLEMENTATIONS:
        raise ValueError(f"use: there are no {name!r} kernels; choose from {', '.join(implementations())}")
    token = _choice.set(name)
    try:
        with _compiled().forced_threads(threads) if threads is not None else contextlib.nullcontext():
            yield
    finally:
        _choice.reset(token)


def _compiled():
    return importlib.import_module(".compiled", __package__)


def accelerated(plain, name=None):
    """The function `plain`, in array code, or in its place the kernel `name` where that is to run.

    The kernel is called as `plain` is; its name, left out, is that of the function.
    """
    name = name or plain.__name__
    least = _SOONER.get(name, _WORTHWHILE)

    @functools.wraps(plain)
    def kernel(*args, **options):
        choice = _choice.get()
        if choice == "reference" or choice == "automatic" and not _worthwhile(args, least):
            return plain(*args, **options)
        fast = _IMPLEMENTATIONS["numba" if choice == "automatic" else choice]
        out = getattr(fast, name, plain)(*args, **options)
        return plain(*args, **options) if out is NotImplemented else out

    return kernel


def _worthwhile(args, least):
    if type(args[0]) is list:
        return sum([x.size for x in args[0]]) >= least
    for x in args[:2]:  # noqa: SIM110 `any` of a generator takes 0.3 us more
        if type(x) is np.ndarray and x.size >= least:
            return True
    return False


globals().update({name: accelerated(getattr(reference, name)) for name in reference.KERNELS})
