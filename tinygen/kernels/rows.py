"""Softmax, its logarithm, and losses, over the last axis: rows that are read as seldom as possible.

    softmax          y = exp(x - max) / sum exp(x - max)        dx = y (g - sum(g y))
    log_softmax      y = x - max - log sum exp(x - max)         dx = g - exp(y) sum(g)
    cross-entropy    L - x_target, with L = log sum exp x       dx = g (p - [class = target]), p = exp(x - L)
    Bernoulli        sum y x - log(1 + exp x), for bits y       dx = g (y - p), p = sigmoid(x)

From memory a row comes once. Then it lies in a cache, and is read there to find its maximum, to sum its
exponentials, to scale them. An exponential takes 0.6 ns, and each element needs one: softmax keeps those that
it sums. Cross-entropy writes nothing of the size of its logits on the way forward, only L, with which the way
back computes each p anew, for less than it would cost to store and fetch it.

For B elements of float32, softmax moves 8 B bytes (reads x, writes y) and its backward 12 B (reads g and y,
writes dx); cross-entropy and the Bernoulli's log-probability move 4 B, and their backward 8 B. The latter
would move 20 B and 28 B as an elementwise loss and a sum.
"""

import math

import numpy as np
from llvmlite import ir
from numba.extending import intrinsic, overload

from .compiled import Flag, Integers, ReadsRows, Scalar, Size, WritesRows, inner, kernel, prange, suits
from .vector_math import choose, decay, exp, log, log1p, sigmoid

EXP = 8  # scalar operations that an exponential counts for


# Softmax


def softmax(x, axis):
    """As in reference.py, over the last axis."""
    return _over_rows(x, axis, False)


def log_softmax(x, axis):
    """As in reference.py, over the last axis."""
    return _over_rows(x, axis, True)


def softmax_backward(g, out, axis):
    """As in reference.py, over the last axis."""
    return _over_rows(out, axis, False, g)


def log_softmax_backward(g, out, axis):
    """As in reference.py, over the last axis."""
    return _over_rows(out, axis, True, g)


def _over_rows(x, axis, logarithm, g=None):
    if not (suits(x, g) and x.size and x.ndim and axis in (-1, x.ndim - 1)):
        return NotImplemented
    made = np.empty(x.shape, x.dtype)
    if g is None:
        _softmax(rows(x), logarithm, rows(made), work=EXP * x.size)
    else:
        _softmax_backward(rows(g), rows(x), logarithm, rows(made), work=EXP * x.size)
    return made


def rows(x):
    """x (..., C) as a contiguous (B, C)."""
    return np.ascontiguousarray(x).reshape(-1, x.shape[-1])


@kernel
def _softmax(x: ReadsRows[2], logarithm: Flag, out: WritesRows[2]):
    for i in prange(len(x)):
        if logarithm:
            log_softmax_row(x, i, out)
        else:
            softmax_row(x, i, out)


@inner(exact=True)
def softmax_row(x, i, out):
    top = finite_max(x, i)
    for j in range(x.shape[1]):
        out[i, j] = exp(x[i, j] - top)
    total = row_sum(out, i)
    share = x.dtype.type(1) / choose(total == 0, x.dtype.type(1), total)
    for j in range(x.shape[1]):
        out[i, j] *= share


@inner(exact=True)
def log_softmax_row(x, i, out):
    top = finite_max(x, i)
    log_total = log(total_of_exp(x, i, top))
    for j in range(x.shape[1]):
        out[i, j] = x[i, j] - top - log_total


@kernel
def _softmax_backward(g: ReadsRows[2], out: ReadsRows[2], logarithm: Flag, dx: WritesRows[2]):
    for i in prange(len(g)):
        if logarithm:
            log_softmax_row_backward(g, out, i, dx)
        else:
            softmax_row_backward(g, out, i, dx)


@inner(exact=True)
def softmax_row_backward(g, out, i, dx):
    total = row_product(g, out, i)
    for j in range(g.shape[1]):
        dx[i, j] = out[i, j] * (g[i, j] - total)


@inner(exact=True)
def log_softmax_row_backward(g, out, i, dx):
    total = row_sum_of_alive(g, out, i)
    for j in range(g.shape[1]):
        dx[i, j] = choose(out[i, j] == -math.inf, g.dtype.type(0), g[i, j] - exp(out[i, j]) * total)


# Sums over a row: only these may be reordered, each compiled but once


@inner
def row_sum(x, i):
    total = x.dtype.type(0)
    for j in range(x.shape[1]):
        total += x[i, j]
    return total


@inner
def row_product(x, y, i):
    total = x.dtype.type(0)
    for j in range(x.shape[1]):
        total += x[i, j] * y[i, j]
    return total


@inner
def row_sum_of_alive(x, logarithms, i):
    """The sum of x where a logarithm is not -inf."""
    total = x.dtype.type(0)
    for j in range(x.shape[1]):
        total += choose(logarithms[i, j] == -math.inf, x.dtype.type(0), x[i, j])
    return total


@inner
def total_of_exp(x, i, top):
    """The sum of exp(x - top) over row i, and 1 where there is nothing but -inf."""
    total = x.dtype.type(0)
    for j in range(x.shape[1]):
        total += exp(x[i, j] - top)
    return choose(total == 0, x.dtype.type(1), total)


@inner
def finite_max(x, i):
    """The maximum of row i, and 0 for an infinite one: x - max is never inf - inf."""
    top = x[i, 0]
    for j in range(x.shape[1]):
        top = larger(top, x[i, j])
    return choose(abs(top) == math.inf, x.dtype.type(0), top)


def larger(x, y):
    """The larger of two numbers, NaN if one is NaN, which a loop can take of 8 pairs at once."""
    return np.maximum(x, y)


@overload(larger)
def _larger(x, y):
    return lambda x, y: _llvm_maximum(x, y)


@intrinsic
def _llvm_maximum(typing, x, y):
    def generate(context, build, signature, arguments):
        kind = arguments[0].type
        name = f"llvm.maximum.f{x.bitwidth}"
        function = build.module.globals.get(name)
        function = function or ir.Function(build.module, ir.FunctionType(kind, [kind, kind]), name)
        return build.call(function, arguments)

    return x(x, x), generate


# Cross-entropy


def cross_entropy(logits, targets, ignore_index, label_smoothing):
    """As in reference.py."""
    if not (suits(logits) and logits.size and type(targets) is np.ndarray):
        return NotImplemented
    loss = np.empty(targets.shape, logits.dtype)
    log_total = np.empty((*targets.shape, 1), logits.dtype)
    outside = np.zeros(1, logits.dtype)
    settings = ignore_index, label_smoothing
    arrays = loss.reshape(-1), log_total.reshape(-1), outside
    _cross_entropy(rows(logits), _integers(targets), *settings, *arrays, work=EXP * logits.size)
    return NotImplemented if outside[0] else (loss, log_total)


def _integers(targets):
    return np.ascontiguousarray(targets, np.int64).reshape(-1)


@kernel
def _cross_entropy(
    logits: ReadsRows[2],
    targets: Integers[1],
    ignore_index: Size,
    smoothing: Scalar,
    loss: WritesRows[1],
    log_total: WritesRows[1],
    outside: WritesRows[1],
):
    for i in prange(len(logits)):
        log_total[i] = log_of_total(logits, i)
        loss[i] = logits.dtype.type(0)
        if 0 <= targets[i] < logits.shape[1]:
            if targets[i] != ignore_index:
                loss[i] = row_loss(logits, i, targets[i], log_total[i], smoothing)
        elif targets[i] != ignore_index:
            outside[0] = 1  # of all threads that write it, each writes this


@inner(exact=True)
def log_of_total(x, i):
    top = finite_max(x, i)
    return log(total_of_exp(x, i, top)) + top


@inner(exact=True)
def row_loss(x, i, target, log_total, smoothing):
    loss = (x.dtype.type(1) - smoothing) * (log_total - x[i, target])
    if smoothing != 0:
        loss += smoothing * (log_total - row_sum(x, i) / x.dtype.type(x.shape[1]))
    return loss


def cross_entropy_backward(g, logits, targets, log_total, ignore_index, label_smoothing):
    """As in reference.py."""
    if not (suits(logits, g, log_total) and logits.size and type(targets) is np.ndarray):
        return NotImplemented
    d = np.empty(logits.shape, logits.dtype)
    given = np.ascontiguousarray(g).reshape(-1), rows(logits), _integers(targets), rows(log_total)
    _cross_entropy_backward(*given, ignore_index, label_smoothing, rows(d), work=EXP * logits.size)
    return d


@kernel
def _cross_entropy_backward(
    g: ReadsRows[1],
    logits: ReadsRows[2],
    targets: Integers[1],
    log_total: ReadsRows[2],
    ignore_index: Size,
    smoothing: Scalar,
    d: WritesRows[2],
):
    for i in prange(len(logits)):
        if targets[i] == ignore_index:
            d[i] = 0
        else:
            row_loss_backward(g[i], logits, i, targets[i], log_total[i, 0], smoothing, d)


@inner(exact=True)
def row_loss_backward(g, x, i, target, log_total, smoothing, d):
    zero, one = x.dtype.type(0), x.dtype.type(1)
    spread = smoothing / x.dtype.type(x.shape[1])  # what each class gets of the target's weight
    hit = 0 <= target < x.shape[1] and x[i, target] != -math.inf
    weight = one - smoothing if hit else zero
    if smoothing != 0:
        weight += spread * row_count_of_alive(x, i)
    for j in range(x.shape[1]):
        own = choose(x[i, j] == -math.inf, zero, spread)
        d[i, j] = (exp(x[i, j] - log_total) * weight - own) * g
    if hit:
        d[i, target] = (exp(x[i, target] - log_total) * weight - (one - smoothing + spread)) * g


@inner
def row_count_of_alive(x, i):
    total = x.dtype.type(0)
    for j in range(x.shape[1]):
        total += choose(x[i, j] == -math.inf, x.dtype.type(0), x.dtype.type(1))
    return total


# Bernoulli


def bernoulli_log_prob(logits, x):
    """As in reference.py."""
    if not _bits_of(logits, x):
        return NotImplemented
    out = np.empty(logits.shape[:-1], logits.dtype)
    _bernoulli(rows(logits), rows(x), out.reshape(-1), work=EXP * logits.size)
    return out


def _bits_of(logits, x):
    """Whether the rows of x serve the rows of the logits in turn."""
    suited = suits(logits, x) and logits.size and x.ndim
    return suited and logits.shape[max(0, logits.ndim - x.ndim) :] == x.shape


@kernel
def _bernoulli(logits: ReadsRows[2], x: ReadsRows[2], out: WritesRows[1]):
    for i in prange(len(logits)):
        out[i] = bernoulli_row(logits, i, x, i % len(x))


@inner
def bernoulli_row(logits, i, x, k):
    total = logits.dtype.type(0)
    for j in range(logits.shape[1]):
        l = logits[i, j]  # noqa: E741
        total += l * x[k, j] - choose(l > 0.0, l, 0.0) - log1p(decay(-abs(l)))
    return total


def bernoulli_log_prob_backward(g, logits, x):
    """As in reference.py."""
    if not (suits(logits, g) and _bits_of(logits, x)):
        return NotImplemented
    d = np.empty(logits.shape, logits.dtype)
    given = np.ascontiguousarray(g).reshape(-1), rows(logits), rows(x)
    _bernoulli_backward(*given, rows(d), work=EXP * logits.size)
    return d


@kernel
def _bernoulli_backward(g: ReadsRows[1], logits: ReadsRows[2], x: ReadsRows[2], d: WritesRows[2]):
    for i in prange(len(logits)):
        bernoulli_row_backward(g[i], logits, i, x, i % len(x), d)


@inner(exact=True)
def bernoulli_row_backward(g, logits, i, x, k, d):
    for j in range(logits.shape[1]):
        d[i, j] = g * (x[k, j] - sigmoid(logits[i, j]))
