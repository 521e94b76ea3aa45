"""A block of a Transformer for the next token of a text, in one call: bound by calls, or by memory.

    q, k, v = W_a norm(x) + b_a            k and v are added to K and V
    x += W_o softmax(K q / sqrt(D) + mask) V + b_o
    x += W_2 act(W_1 norm(x) + b_1) + b_2  with post-norm, x = norm(x + ...) instead

Each weight is read once, for one multiplication and addition a text: 24 C^2 operations on 48 C^2 bytes of
weights (F = 4 C), and 4 S C on 8 S C bytes of keys and values. So from memory a token comes no faster than
the weights do. And where they lie in a cache calls take the time: a block is 16 operations, each of 2 to 12
us, around 21 us of work for a width of 128. So this is one kernel, and the end, norm and logits, another.

All its products are `linear_rows` of matvec.py; scores are the keys times a query, with the mask for a bias.

Letters: B texts, C width, H heads, D = C / H, S tokens with the new one, F hidden units.
"""

import math

import numpy as np

from .compiled import Flag, ReadsRows, Scalar, Size, WritesRows, inner, kernel, prange, suits
from .elementwise import gelu_exact, gelu_tanh, relu, silu
from .matvec import MOST, PRODUCTS, TASK, linear_rows, or_zeros
from .norms import normalised_row
from .rows import softmax_row
from .vector_math import scalar

LAUNCHES = 5  # of threads, in a block
ACTIVATIONS = {"gelu": 0, "gelu-tanh": 1, "relu": 2, "swiglu": 3}
_gelu, _gelu_tanh, _relu, _silu = [scalar(f.__wrapped__) for f in (gelu_exact, gelu_tanh, relu, silu)]


def block_step(x, values, place, block, turn, mask):
    """As autograd/ops/decoding.py says."""
    if block.ready is None:
        block.ready = _checked(block)
    if block.ready is NotImplemented or len(x) > MOST or not suits(x, values):
        return NotImplemented
    cos, sin = turn or (or_zeros(None, 0, x.dtype),) * 2
    mask = or_zeros(mask, values.shape[2], x.dtype)  # the same zeros for every token, whatever its place
    mask = mask.reshape(-1, mask.shape[-1])
    work = len(x) * (block.size + 2 * x.shape[1] * place) / PRODUCTS / LAUNCHES
    out = np.empty(x.shape, x.dtype)
    _block_step(np.ascontiguousarray(x), *block.ready, cos, sin, mask, place, out, work=work)
    return out


def _checked(block):
    """The arguments that stay the same from token to token: no copies, for weights may change in place."""
    given = block.arrays
    if not suits(*given) or not all([array is None or array.flags.c_contiguous for array in given]):
        return NotImplemented
    *layers, keys, values = given
    pairs = zip(layers[::2], layers[1::2])
    arrays = [array for w, bias in pairs for array in (w, or_zeros(bias, len(w), w.dtype))]
    return *arrays, block.eps, block.centred, block.post_norm, ACTIVATIONS[block.activation], keys, values


def norm_linear(x, matrix, weight, bias, eps, centred):
    """As autograd/ops/decoding.py says."""
    if len(x) > MOST or not suits(x, matrix, weight, bias) or not matrix.flags.c_contiguous:
        return NotImplemented
    out = np.empty((len(x), len(matrix)), x.dtype)
    zeros = or_zeros(None, len(matrix), x.dtype)
    weight, bias = np.ascontiguousarray(weight), or_zeros(bias, len(weight), x.dtype)
    work = len(x) * matrix.size / PRODUCTS
    _norm_linear(np.ascontiguousarray(x), weight, bias, eps, centred, matrix, zeros, out, work=work)
    return out


@kernel
def _norm_linear(
    x: ReadsRows[2],
    weight: ReadsRows[1],
    bias: ReadsRows[1],
    eps: Scalar,
    centred: Flag,
    matrix: ReadsRows[2],
    zeros: ReadsRows[1],
    out: WritesRows[2],
):
    given = np.empty_like(x)
    enter(x, weight, bias, eps, centred, False, given)
    for task in prange((len(matrix) + TASK - 1) // TASK):
        linear_rows(matrix, zeros, given, task * TASK, (task + 1) * TASK, False, out)


@kernel
def _block_step(
    x: ReadsRows[2],
    norm_1: ReadsRows[1],
    shift_1: ReadsRows[1],
    w_a: ReadsRows[2],
    b_a: ReadsRows[1],
    w_o: ReadsRows[2],
    b_o: ReadsRows[1],
    norm_2: ReadsRows[1],
    shift_2: ReadsRows[1],
    w_1: ReadsRows[2],
    b_1: ReadsRows[1],
    w_2: ReadsRows[2],
    b_2: ReadsRows[1],
    eps: Scalar,
    centred: Flag,
    post_norm: Flag,
    activation: Size,
    keys: WritesRows[4],
    values: WritesRows[4],
    cos: ReadsRows[1],
    sin: ReadsRows[1],
    mask: ReadsRows[2],
    place: Size,
    out: WritesRows[2],
):
    batch, width, hidden = len(x), x.shape[1], w_2.shape[1]
    heads = keys.shape[1]
    given, qkv, seen = np.empty_like(x), np.empty((batch, 3 * width), x.dtype), np.empty_like(x)
    ahead, units = np.empty((batch, len(w_1)), x.dtype), np.empty((batch, hidden), x.dtype)
    copy_rows(x, out)
    enter(out, norm_1, shift_1, eps, centred, post_norm, given)
    for task in prange((3 * width + TASK - 1) // TASK):
        linear_rows(w_a, b_a, given, task * TASK, (task + 1) * TASK, False, qkv)
    for task in prange(batch * heads):
        attend(qkv, task // heads, task % heads, cos, sin, mask, place, keys, values, seen)
    for task in prange((width + TASK - 1) // TASK):
        linear_rows(w_o, b_o, seen, task * TASK, (task + 1) * TASK, True, out)
    leave(out, norm_1, shift_1, eps, centred, post_norm, given)
    enter(out, norm_2, shift_2, eps, centred, post_norm, given)
    for task in prange((hidden + TASK - 1) // TASK):
        first, stop = task * TASK, min((task + 1) * TASK, hidden)
        for part in range(0, len(w_1), hidden):
            linear_rows(w_1, b_1, given, part + first, part + stop, False, ahead)
        activate(ahead, first, stop, activation, units)
    for task in prange((width + TASK - 1) // TASK):
        linear_rows(w_2, b_2, units, task * TASK, (task + 1) * TASK, True, out)
    leave(out, norm_2, shift_2, eps, centred, post_norm, given)


@inner(exact=True)
def copy_rows(x, out):
    for b in range(len(x)):
        for j in range(x.shape[1]):
            out[b, j] = x[b, j]


@inner(exact=True)
def enter(x, weight, bias, eps, centred, post_norm, out):
    """What a sublayer is given: norm(x), or x itself."""
    if post_norm:
        copy_rows(x, out)
    else:
        for b in range(len(x)):
            normalised_row(x, b, weight, bias, eps, centred, out)


@inner(exact=True)
def leave(x, weight, bias, eps, centred, post_norm, spare):
    """The norm after the sum, if it stands there."""
    if post_norm:
        copy_rows(x, spare)
        for b in range(len(x)):
            normalised_row(spare, b, weight, bias, eps, centred, x)


@inner(exact=True)
def attend(qkv, b, h, cos, sin, mask, place, keys, values, seen):
    """Head h of text b: its key and value go into the cache, what its query sees into `seen`."""
    size = keys.shape[3]
    width, start, factor = seen.shape[1], h * size, qkv.dtype.type(1 / math.sqrt(size))
    q = np.empty((1, size), qkv.dtype)
    turned(qkv[b, start : start + size], cos, sin, q[0])
    turned(qkv[b, width + start : width + start + size], cos, sin, keys[b, h, place])
    for d in range(size):
        q[0, d] *= factor
        values[b, h, place, d] = qkv[b, 2 * width + start + d]
        seen[b, start + d] = 0
    scores = np.empty((2, place + 1), qkv.dtype)
    linear_rows(keys[b, h, : place + 1], mask[h % len(mask)], q, 0, place + 1, False, scores)
    softmax_row(scores[:1], 0, scores[1:])
    add_weighted(scores[1], values[b, h], seen[b, start : start + size])


@inner(exact=True)
def turned(x, cos, sin, out):
    """x, or with tables of rotary places (i, i + D/2) turned by its angle: positions.py."""
    half = len(cos)
    for i in range(half, len(x) - half):
        out[i] = x[i]
    for i in range(half):
        out[i], out[i + half] = x[i] * cos[i] - x[i + half] * sin[i], x[i] * sin[i] + x[i + half] * cos[i]


@inner
def add_weighted(p, v, out):
    """out += p V, four rows of V for each time that `out` is read and written."""
    whole = len(p) // 4 * 4
    for s in range(0, whole, 4):
        p0, p1, p2, p3 = p[s], p[s + 1], p[s + 2], p[s + 3]
        for d in range(len(out)):
            out[d] += (p0 * v[s, d] + p1 * v[s + 1, d]) + (p2 * v[s + 2, d] + p3 * v[s + 3, d])
    for s in range(whole, len(p)):
        for d in range(len(out)):
            out[d] += p[s] * v[s, d]


@inner(exact=True)
def activate(x, first, stop, activation, out):
    """out = act(x), of the hidden units from `first` to `stop`; a gate's other half lies F behind."""
    for b in range(len(x)):
        if activation == 0:
            for i in range(first, stop):
                out[b, i] = _gelu(x[b, i])
        elif activation == 1:
            for i in range(first, stop):
                out[b, i] = _gelu_tanh(x[b, i])
        elif activation == 2:
            for i in range(first, stop):
                out[b, i] = _relu(x[b, i])
        else:
            for i in range(first, stop):
                out[b, i] = _silu(x[b, i]) * x[b, out.shape[1] + i]
