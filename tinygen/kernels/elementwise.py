"""Activations, and what else treats each element alone: y[i] = f(x[i]), and back, dx[i] = g[i] f'(x[i]).

A function is written for numbers, and `over_arrays` puts the loop around it. It is fast for three reasons:

- One pass. Array code walks through memory for each of its operations: the gradient of gelu takes 40 walks,
  each of 8 to 12 bytes for an element of float32 and with a new array at its end. Here 12 bytes move, once: g
  and x are read, dx is written.
- Vector code, for 8 elements of float32 at a time: see vector_math.py.
- All cores, each with a part of the array.

What is left is arithmetic while the arrays lie in a cache, and beyond that memory: relu and gelu then take
nearly the same time.

The functions reuse what they can. The gradient of gelu is made of Phi(x) and exp(-x^2 / 2), and the second
comes out on the way to the first. The tanh in gelu's approximation is a sigmoid, 1 + tanh(y) = 2 sigmoid(2y),
for half the work, and without the loss of digits in that sum where tanh(y) is near -1.

Each has the name and the arguments of the operation in autograd/ops that it stands in for, or of that
operation's gradient; the operation's own formula is what it is tested against.
"""

import functools
import inspect
import math
import types as python_types

import numpy as np

from . import vector_math
from .compiled import Flag, FlagsRows, ReadsRows, Scalar, WritesRows, kernel, prange, suits
from .vector_math import choose, decay, log1p, normal, scalar

# The loops

f = None  # what a loop applies: in each kernel its own


def _of_one(x: ReadsRows[1], out: WritesRows[1]):
    for i in prange(len(out)):
        out[i] = f(x[i])


def _of_two(x: ReadsRows[1], y: ReadsRows[1], out: WritesRows[1]):
    for i in prange(len(out)):
        out[i] = f(x[i], y[i])


def _of_three(x: ReadsRows[1], y: ReadsRows[1], z: ReadsRows[1], out: WritesRows[1]):
    for i in prange(len(out)):
        out[i] = f(x[i], y[i], z[i])


def over_arrays(function):
    """Make of a function of numbers one of arrays, for arrays of one shape and dtype.

    For anything else it returns NotImplemented.
    """
    loop = (_of_one, _of_two, _of_three)[len(inspect.signature(function).parameters) - 1]
    names = {**globals(), "f": scalar(function)}
    around = python_types.FunctionType(loop.__code__, names, function.__name__)  # with an f of its own
    around.__annotations__ = loop.__annotations__
    run = kernel(around)

    @functools.wraps(function)
    def call(*xs):
        rows, out = _rows(*xs)
        if out is not NotImplemented:
            run(*rows, work=WORK * out.size)
        return out

    return call


WORK = 10  # scalar operations that an element counts for: from 3000 of them threads pay


def _rows(*xs):
    """The arrays and one for the result as rows, and the result; its rows are part of it.

    A permuted array is a row too, in the order of its memory, and the result gets the same order. Of arrays
    that lie otherwise a copy is made.
    """
    first = xs[0]
    if type(first) is not np.ndarray or not suits(*xs):
        return None, NotImplemented
    shape, contiguous = first.shape, True
    for x in xs:
        if x.shape != shape:
            return None, NotImplemented
        contiguous = contiguous and x.flags.c_contiguous
    if contiguous:
        out = np.empty(shape, first.dtype)
        return [x.reshape(-1) for x in (*xs, out)], out
    out = np.empty_like(first)
    return [_row(x, out) for x in (*xs, out)], out


def _row(x, like):
    if x.strides != like.strides:
        x = _copied(x, like)
    return x.ravel("K")


def _copied(x, like):
    """x with its elements in the order of those of `like`."""
    copy = np.empty_like(like, dtype=x.dtype)
    copy[...] = x
    return copy


# Exponentials


@over_arrays
def exp(x):
    return vector_math.exp(x)


@over_arrays
def log(x):
    return vector_math.log(x)


@over_arrays
def erf(x):
    return vector_math.erf(x)


@over_arrays
def tanh(x):
    return vector_math.tanh(x)


@over_arrays
def tanh_backward(g, out):
    return g - g * (out * out)


@over_arrays
def sigmoid(x):
    return vector_math.sigmoid(x)


@over_arrays
def sigmoid_backward(g, out):
    return g * (out * (1.0 - out))


@over_arrays
def softplus(x):
    return vector_math.softplus(x)


@over_arrays
def softplus_backward(g, x):
    return g * vector_math.sigmoid(x)


# Activations


@over_arrays
def relu(x):
    return choose(x < 0.0, 0.0, x)  # so written, NaN stays


@over_arrays
def relu_backward(g, out):
    return choose(out > 0.0, g, 0.0)


@over_arrays
def silu(x):
    return x * vector_math.sigmoid(x)


@over_arrays
def silu_backward(g, x):
    s = vector_math.sigmoid(x)
    return g * (s * (1.0 + x * (1.0 - s)))


SLOPE, CUBIC = 2 * math.sqrt(2 / math.pi), 0.044715
DENSITY = 1 / math.sqrt(2 * math.pi)


@over_arrays
def gelu_exact(x):
    return x * normal(x)[0]


@over_arrays
def gelu_exact_backward(g, x):
    below, e = normal(x)
    return g * (below + x * (e * DENSITY))


@over_arrays
def gelu_tanh(x):
    return x * vector_math.sigmoid(SLOPE * (x + CUBIC * (x * x * x)))


@over_arrays
def gelu_tanh_backward(g, x):
    z = CUBIC * (x * x)
    s = vector_math.sigmoid(SLOPE * (x + z * x))
    return g * (s + (s * (1.0 - s)) * (SLOPE * x * (1.0 + 3.0 * z)))


def gelu(x, approximate="none"):
    form = {"none": gelu_exact, "tanh": gelu_tanh}.get(approximate)
    return form(x) if form else NotImplemented


def gelu_backward(g, x, approximate):
    return (gelu_exact_backward if approximate == "none" else gelu_tanh_backward)(g, x)


@kernel
def _leaky_relu(x: ReadsRows[1], slope: Scalar, out: WritesRows[1]):
    for i in prange(len(out)):
        out[i] = choose(x[i] > 0, x[i], slope * x[i])


def leaky_relu(x, slope=0.01):
    rows, out = _rows(x)
    if out is not NotImplemented:
        _leaky_relu(rows[0], float(slope), rows[1], work=WORK * out.size)
    return out


@kernel
def _leaky_relu_backward(g: ReadsRows[1], x: ReadsRows[1], slope: Scalar, out: WritesRows[1]):
    for i in prange(len(out)):
        out[i] = choose(x[i] > 0, g[i], slope * g[i])


def leaky_relu_backward(g, x, slope):
    rows, out = _rows(g, x)
    if out is not NotImplemented:
        _leaky_relu_backward(rows[0], rows[1], float(slope), rows[2], work=WORK * out.size)
    return out


@kernel
def _where(condition: FlagsRows[1], x: ReadsRows[1], y: ReadsRows[1], out: WritesRows[1]):
    for i in prange(len(out)):
        out[i] = choose(condition[i], x[i], y[i])


@kernel
def _where_else(condition: FlagsRows[1], wanted: Flag, x: ReadsRows[1], other: Scalar, out: WritesRows[1]):
    for i in prange(len(out)):
        out[i] = choose(condition[i] == wanted, x[i], other)


def where(condition, x, y):
    """Of booleans, and arrays of their shape; one of x and y may be a Python number.

    NumPy jumps at every element, and at random ones guesses wrong half of the time: 3.5 ns each. Here both
    sides are read, and nothing jumps.
    """
    if type(condition) is not np.ndarray or condition.dtype != bool:
        return NotImplemented
    chosen = [side for side in (x, y) if type(side) not in (int, float)]
    if not chosen:
        return NotImplemented
    rows, out = _rows(*chosen)
    if out is NotImplemented or condition.shape != out.shape:
        return NotImplemented
    if not (condition.flags.c_contiguous and out.flags.c_contiguous):
        condition = _copied(condition, out)
    flags, work = condition.ravel("K"), WORK * out.size
    if len(chosen) == 2:
        _where(flags, *rows, work=work)
    else:
        first = chosen[0] is x
        _where_else(flags, first, rows[0], float(y if first else x), rows[1], work=work)
    return out


# Losses and noise


@over_arrays
def bce_with_logits(logits, targets):
    return choose(logits > 0.0, logits, 0.0) - logits * targets + log1p(decay(-abs(logits)))


@over_arrays
def bce_with_logits_backward(g, logits, targets):
    return g * (vector_math.sigmoid(logits) - targets)


@kernel
def _dropout(x: ReadsRows[1], mask: FlagsRows[1], scale: Scalar, out: WritesRows[1]):
    for i in prange(len(out)):
        out[i] = x[i] * choose(mask[i], scale, x.dtype.type(0))  # NaN times 0 is NaN


def dropout(x, mask=None, p=0.5):
    """Masks of booleans only."""
    if type(mask) is not np.ndarray or mask.dtype != bool or not 0 <= p < 1:
        return NotImplemented
    rows, out = _rows(x)
    if out is NotImplemented or mask.shape != out.shape:
        return NotImplemented
    if not (mask.flags.c_contiguous and out.flags.c_contiguous):
        mask = _copied(mask, out)
    _dropout(rows[0], mask.ravel("K"), 1 / (1 - p), rows[1], work=WORK * out.size)
    return out
