"""Normalisation by mean and variance: of rows (layer, group and RMS norm) and of channels (batch norm).

    u = (x - centre) scale      y = u weight + bias      centre = mean(x), scale = 1 / sqrt(var(x) + eps)
    h = g weight                dx = scale (h - mean(h) - u mean(h u))
    dweight = sum(g u)          dbias = sum(g)           over all that shares a weight

RMS norm is the same with centre = 0 and without mean(h).

At least 8 bytes an element of float32 must move forward (read x, write y) and 12 backward (read x and g,
write dx). Array code moves several times as much, a pass for each operation. Here what shares a mean is done
while it lies in the first cache, where it is read three times: for the mean; for the variance, which is a sum
of squared differences, as E[x^2] - E[x]^2 would lose all digits of a small one; for y.

- Rows: a task is a row. Gradients of the weights are sums over rows: each of 16 blocks of rows adds up its
  own, and these 16 are added in order, on however many threads.
- Channels of images: a task is a channel, whose pieces are rows of (B C, L).
- Channels of (B, C): neighbours in memory belong to different channels, so a task is 64 columns, and each
  sum runs down its column, in as many vectors.

The same bits for any number of threads ask for care about the compiler. It makes one code with threads and
one without, and where it may reorder a sum, or take a reciprocal for a division, it may do so in one of them
only. So only sums over a row may be reordered, each in a function of its own, which is compiled but once.
"""

import math

import numpy as np

from .compiled import Flag, ReadsRows, Scalar, WritesRows, inner, kernel, prange, suits
from .rows import row_sum, rows

BLOCKS = 16  # of rows, each with its own sums for the weights
COLUMNS = 64  # of a task: 256 bytes of a row


def moments(x, axes):
    """As in reference.py, over all axes but the second."""
    if not (suits(x) and x.size and x.ndim > 1 and axes == (0, *range(2, x.ndim))):
        return NotImplemented
    mean, variance = np.empty((2, x.shape[1]), x.dtype)
    if x.ndim == 2:
        _column_moments(np.ascontiguousarray(x), mean, variance, work=2 * x.size)
    else:
        _channel_moments(_planes(x), mean, variance, work=2 * x.size)
    return mean, variance


def normalise(x, weight, bias, axes, shape, eps):
    """As in reference.py, over the last axis or all but the second."""
    kind = _kind(x, axes, shape)
    if kind is None or not (suits(x, weight, bias) and x.size):
        return NotImplemented
    if kind == "rows":
        return _over_rows(x, weight, bias, eps, True)
    c = x.shape[1]
    out, (centre, scale) = np.empty(x.shape, x.dtype), np.empty((2, c), x.dtype)
    given = _or_constant(weight, 1, c, x), _or_constant(bias, 0, c, x), eps
    if kind == "columns":
        _normalise_columns(np.ascontiguousarray(x), *given, out, centre, scale, work=5 * x.size)
    else:
        _normalise_channels(_planes(x), *given, _planes(out), centre, scale, work=5 * x.size)
    kept = (1, c, *(1,) * (x.ndim - 2))
    return out, centre.reshape(kept), scale.reshape(kept)


def normalise_backward(g, x, weight, bias, centre, scale, axes, shape):
    """As in reference.py, over the last axis or all but the second."""
    kind = _kind(x, axes, shape)
    if kind is None or not (suits(x, g, weight, bias, centre, scale) and x.size):
        return NotImplemented
    if kind == "rows":
        dx, sums = _rows_backward(g, x, weight, centre, scale, True, weight is not None or bias is not None)
    else:
        c = x.shape[1]
        dx, sums = np.empty(x.shape, x.dtype), np.zeros((2, c), x.dtype)
        given = _or_constant(weight, 1, c, x), np.ascontiguousarray(centre), np.ascontiguousarray(scale)
        given = [array.reshape(-1) for array in given]
        if kind == "columns":
            both = np.ascontiguousarray(g), np.ascontiguousarray(x)
            _normalise_columns_backward(*both, *given, dx, sums, work=8 * x.size)
        else:
            g, x = _planes(g), _planes(x)
            ones = np.ones(x.shape[1], x.dtype)
            _normalise_channels_backward(g, x, given[0], ones, *given[1:], _planes(dx), sums, work=8 * x.size)
    return dx, None if weight is None else sums[0], None if bias is None else sums[1].copy()


def _kind(x, axes, shape):
    """Which of our cases this is: "rows", "columns", "channels" or None."""
    if x.ndim and axes in ((-1,), (x.ndim - 1,)) and shape in ((-1,), x.shape[-1:]):
        return "rows"
    if x.ndim < 2 or axes != (0, *range(2, x.ndim)):
        return None
    ones = (1,) * (x.ndim - 2)
    if shape not in ((1, -1, *ones), (1, x.shape[1], *ones)):
        return None
    return "columns" if math.prod(x.shape[2:]) == 1 and x.ndim == 2 else "channels"


def _or_constant(weight, value, n, x):
    return np.full(n, value, x.dtype) if weight is None else np.ascontiguousarray(weight)


def rms_norm(x, weight, eps):
    """As in reference.py."""
    if not (suits(x, weight) and x.size and x.ndim):
        return NotImplemented
    out, _, scale = _over_rows(x, weight, None, eps, False)
    return out, scale


def rms_norm_backward(g, x, weight, scale):
    """As in reference.py."""
    if not (suits(x, g, weight, scale) and x.size and x.ndim):
        return NotImplemented
    dx, sums = _rows_backward(g, x, weight, scale, scale, False, weight is not None)
    return dx, None if weight is None else sums[0]


# Rows


def _over_rows(x, weight, bias, eps, centred):
    n = x.shape[-1]
    out, (centre, scale) = np.empty(x.shape, x.dtype), np.empty((2, x.size // n), x.dtype)
    given = rows(x), _or_constant(weight, 1, n, x), _or_constant(bias, 0, n, x)
    _normalise_rows(*given, eps, centred, rows(out), centre, scale, work=5 * x.size)
    kept = (*x.shape[:-1], 1)
    return out, centre.reshape(kept), scale.reshape(kept)


@kernel
def _normalise_rows(
    x: ReadsRows[2],
    weight: ReadsRows[1],
    bias: ReadsRows[1],
    eps: Scalar,
    centred: Flag,
    out: WritesRows[2],
    centre: WritesRows[1],
    scale: WritesRows[1],
):
    for i in prange(len(x)):
        centre[i], scale[i] = normalised_row(x, i, weight, bias, eps, centred, out)


@inner(exact=True)
def normalised_row(x, i, weight, bias, eps, centred, out):
    n = x.dtype.type(x.shape[1])
    c = row_sum(x, i) / n if centred else x.dtype.type(0)
    s = x.dtype.type(1) / np.sqrt(row_squares(x, i, c) / n + eps)
    for j in range(x.shape[1]):
        out[i, j] = (x[i, j] - c) * s * weight[j] + bias[j]
    return c, s


@inner
def row_squares(x, i, c):
    total = x.dtype.type(0)
    for j in range(x.shape[1]):
        total += (x[i, j] - c) * (x[i, j] - c)
    return total


def _rows_backward(g, x, weight, centre, scale, centred, wanted):
    """dx and, where they are `wanted`, the sums for weight and bias, (2, C)."""
    n = x.shape[-1]
    dx, partial = np.empty(x.shape, x.dtype), np.zeros((min(BLOCKS, x.size // n), 2, n), x.dtype)
    given = rows(g), rows(x), _or_constant(weight, 1, n, x), rows(centre), rows(scale)
    _normalise_rows_backward(*given, centred, wanted, rows(dx), partial, work=8 * x.size)
    return dx, partial.sum(axis=0) if wanted else partial[0]


@kernel
def _normalise_rows_backward(
    g: ReadsRows[2],
    x: ReadsRows[2],
    weight: ReadsRows[1],
    centre: ReadsRows[2],
    scale: ReadsRows[2],
    centred: Flag,
    wanted: Flag,
    dx: WritesRows[2],
    partial: WritesRows[3],
):
    for block in prange(len(partial)):
        for i in range(block * len(x) // len(partial), (block + 1) * len(x) // len(partial)):
            row_backward(g, x, i, weight, centre[i, 0], scale[i, 0], centred, dx)
            if wanted:
                add_row(g, x, i, centre[i, 0], scale[i, 0], centred, partial[block, 0], partial[block, 1])


@inner(exact=True)
def row_backward(g, x, i, weight, c, s, centred, dx):
    n = x.dtype.type(x.shape[1])
    c = c if centred else x.dtype.type(0)
    sum_h, sum_hu = row_sums(g, x, i, weight, c, s)
    mean_h, mean_hu = sum_h / n if centred else x.dtype.type(0), sum_hu / n
    for j in range(x.shape[1]):
        dx[i, j] = s * (g[i, j] * weight[j] - mean_h - (x[i, j] - c) * s * mean_hu)


@inner
def row_sums(g, x, i, weight, c, s):
    """The sums of h = g weight and of h u over row i."""
    sum_h = sum_hu = x.dtype.type(0)
    for j in range(x.shape[1]):
        h = g[i, j] * weight[j]
        sum_h += h
        sum_hu += h * ((x[i, j] - c) * s)
    return sum_h, sum_hu


@inner(exact=True)
def add_row(g, x, i, c, s, centred, sum_gu, sum_g):
    c = c if centred else x.dtype.type(0)
    for j in range(x.shape[1]):
        sum_gu[j] += g[i, j] * ((x[i, j] - c) * s)
        sum_g[j] += g[i, j]


# Channels of images


def _planes(x):
    """x (B, C, ...) as a contiguous (B C, L)."""
    return np.ascontiguousarray(x).reshape(x.shape[0] * x.shape[1], -1)


@kernel
def _channel_moments(x: ReadsRows[2], mean: WritesRows[1], variance: WritesRows[1]):
    for k in prange(len(mean)):
        mean[k], variance[k] = channel_moments(x, k, len(mean))


@inner(exact=True)
def channel_moments(x, k, channels):
    n = x.dtype.type(x.size // channels)
    total = squares = x.dtype.type(0)
    for i in range(k, len(x), channels):
        total += row_sum(x, i)
    c = total / n
    for i in range(k, len(x), channels):
        squares += row_squares(x, i, c)
    return c, squares / n


@kernel
def _normalise_channels(
    x: ReadsRows[2],
    weight: ReadsRows[1],
    bias: ReadsRows[1],
    eps: Scalar,
    out: WritesRows[2],
    centre: WritesRows[1],
    scale: WritesRows[1],
):
    for k in prange(len(weight)):
        centre[k], scale[k] = normalised_channel(x, k, len(weight), weight[k], bias[k], eps, out)


@inner(exact=True)
def normalised_channel(x, k, channels, weight, bias, eps, out):
    c, variance = channel_moments(x, k, channels)
    s = x.dtype.type(1) / np.sqrt(variance + eps)
    for i in range(k, len(x), channels):
        for j in range(x.shape[1]):
            out[i, j] = (x[i, j] - c) * s * weight + bias
    return c, s


@kernel
def _normalise_channels_backward(
    g: ReadsRows[2],
    x: ReadsRows[2],
    weight: ReadsRows[1],
    ones: ReadsRows[1],
    centre: ReadsRows[1],
    scale: ReadsRows[1],
    dx: WritesRows[2],
    sums: WritesRows[2],
):
    for k in prange(len(weight)):
        given = weight[k], ones, centre[k], scale[k]
        sums[0, k], sums[1, k] = channel_backward(g, x, k, len(weight), *given, dx)


@inner(exact=True)
def channel_backward(g, x, k, channels, weight, ones, c, s, dx):
    n = x.dtype.type(x.size // channels)
    sum_g = sum_gu = x.dtype.type(0)
    for i in range(k, len(x), channels):
        more_g, more_gu = row_sums(g, x, i, ones, c, s)
        sum_g += more_g
        sum_gu += more_gu
    mean_g, mean_gu = sum_g / n, sum_gu / n
    for i in range(k, len(x), channels):
        for j in range(x.shape[1]):
            dx[i, j] = s * weight * (g[i, j] - mean_g - (x[i, j] - c) * s * mean_gu)
    return sum_gu, sum_g


# Channels of (B, C)


@kernel
def _column_moments(x: ReadsRows[2], mean: WritesRows[1], variance: WritesRows[1]):
    for block in prange((x.shape[1] + COLUMNS - 1) // COLUMNS):
        mine = slice(block * COLUMNS, min(block * COLUMNS + COLUMNS, x.shape[1]))
        column_moments(x, mine, mean[mine], variance[mine])


@inner(exact=True)
def column_moments(x, mine, mean, variance):
    n = x.dtype.type(len(x))
    for k in range(len(mean)):
        mean[k] = variance[k] = x.dtype.type(0)
    for b in range(len(x)):
        x_b = x[b, mine]
        for k in range(len(mean)):
            mean[k] += x_b[k]
    for k in range(len(mean)):
        mean[k] /= n
    for b in range(len(x)):
        x_b = x[b, mine]
        for k in range(len(mean)):
            variance[k] += (x_b[k] - mean[k]) * (x_b[k] - mean[k])
    for k in range(len(mean)):
        variance[k] /= n


@kernel
def _normalise_columns(
    x: ReadsRows[2],
    weight: ReadsRows[1],
    bias: ReadsRows[1],
    eps: Scalar,
    out: WritesRows[2],
    centre: WritesRows[1],
    scale: WritesRows[1],
):
    for block in prange((x.shape[1] + COLUMNS - 1) // COLUMNS):
        mine = slice(block * COLUMNS, min(block * COLUMNS + COLUMNS, x.shape[1]))
        normalised_columns(x, mine, weight[mine], bias[mine], eps, out, centre[mine], scale[mine])


@inner(exact=True)
def normalised_columns(x, mine, weight, bias, eps, out, c, s):
    column_moments(x, mine, c, s)
    for k in range(len(c)):
        s[k] = x.dtype.type(1) / np.sqrt(s[k] + eps)
    for b in range(len(x)):
        x_b, y_b = x[b, mine], out[b, mine]
        for k in range(len(c)):
            y_b[k] = (x_b[k] - c[k]) * s[k] * weight[k] + bias[k]


@kernel
def _normalise_columns_backward(
    g: ReadsRows[2],
    x: ReadsRows[2],
    weight: ReadsRows[1],
    centre: ReadsRows[1],
    scale: ReadsRows[1],
    dx: WritesRows[2],
    sums: WritesRows[2],
):
    for block in prange((x.shape[1] + COLUMNS - 1) // COLUMNS):
        mine = slice(block * COLUMNS, min(block * COLUMNS + COLUMNS, x.shape[1]))
        given = weight[mine], centre[mine], scale[mine]
        columns_backward(g, x, mine, *given, dx, sums[0, mine], sums[1, mine])


@inner(exact=True)
def columns_backward(g, x, mine, weight, c, s, dx, sum_gu, sum_g):
    share = x.dtype.type(1) / x.dtype.type(len(x))
    for b in range(len(x)):
        x_b, g_b = x[b, mine], g[b, mine]
        for k in range(len(c)):
            sum_gu[k] += g_b[k] * ((x_b[k] - c[k]) * s[k])
            sum_g[k] += g_b[k]
    for b in range(len(x)):
        x_b, g_b, dx_b = x[b, mine], g[b, mine], dx[b, mine]
        for k in range(len(c)):
            u = (x_b[k] - c[k]) * s[k]
            dx_b[k] = s[k] * weight[k] * (g_b[k] - sum_g[k] * share - u * (sum_gu[k] * share))
