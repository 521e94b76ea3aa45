"""Attention whose scores never reach memory: a block of them is made, used, and made again for the gradient.

    forward     S = scale Q K^T + mask    P = exp(S - L), L the log-sum-exp of a row    O = P V
    backward    dV = P^T G    dP = G V^T    dS = P (dP - sum_e G O)    dQ = scale dS K    dK = scale dS^T Q

Of 2,048 tokens a head has 4 million scores: 16 MB to write, to read and write again for the softmax, and to
read once more, beside 1.5 MB of queries, keys and values of 64 numbers. So a task takes QUERIES queries, and
the keys KEYS at a time: their scores stay in the second cache. What has been summed so far is rescaled when a
later key has a higher score than all before (Milakov & Gimelshein 2018; Dao et al. 2022, FlashAttention,
algorithm 1). The backward computes P again from L, five products instead of four, which is cheaper than to
fetch it.

All products run on the register tile, with hardly a copy, since scores lie transposed, S^T[key, query]:

    S^T = K Q^T      A = K in place      B = Q^T, packed once a block; of G^T alike
    O = P V          A = P, which is S^T read by columns      B = V in place
    dV = P^T G       A = S^T by rows      B = G in place      dK = dS^T Q alike, and dQ = dS K as O

(what is in place is copied first if its rows are not contiguous, or no whole vectors),
and softmax runs down the columns: no sum goes across the lanes of a vector (scores.py). With `causal`
a product ends at the last key that one of its ROWS queries sees; later keys are not even read.

A row is contiguous, and the next one is anywhere. So queries, keys and values of all heads may lie side by
side, as one product makes them, and results and gradients are written side by side for the next: nothing is
cut apart, put together or added to zeros: a training step of a small GPT took 57.7 ms on one core, and 55.3.

2 T S (D + E) operations forward, 5/2 of that backward, on 4 (T + S) (D + E) bytes, and half with `causal`.
"""

import math

import numpy as np

from .compiled import DTYPES, Flag, Reads, Scalar, Writes, WritesRows, inner, kernel, prange, suits
from .gemm import with_four_axes
from .packing import pack_b
from .reference import in_heads
from .scores import differentials, exponentials, highest
from .tile import ROWS, SHORT, VECTOR_BYTES, VECTORS, at, columns, get, narrow_tile, put, short_tile, tile
from .vector_math import log

QUERIES = 96  # of a task: whole tiles of 4, 6, 8 or 12 rows, and of 4 to 32 columns
KEYS, KEYS_BACK = 384, 192  # 144 KiB of scores in float32; backward there are two blocks of them
PARTS = 8  # so many tasks are enough
FEW = 4  # queries that are multiplied without a tile
LOWEST = {dtype: np.finfo(dtype).min for dtype in DTYPES}  # below any score but -inf: see `highest`
NO_MASK = {dtype: np.empty((1, 1, 0, 0), dtype) for dtype in DTYPES}


def attention(q, k, v, mask, causal, scale, out=None):
    """As in reference.py; the result goes into `out`, (B, H, T, E) with contiguous rows, if there is one."""
    if not _suits(q, k, v, mask):
        return NotImplemented
    width = v.shape[-1]
    batch, (q, k, v, numbers) = _batched(q, k, _in_vectors(v), mask)
    out = np.empty((*q.shape[:3], width), q.dtype) if out is None else out
    log_total = np.empty(q.shape[:3], q.dtype)
    rules = numbers, _is_hard(mask), causal, scale
    _attention(q, k, v, *rules, LOWEST[q.dtype], out, log_total, work=q.size * k.shape[2] // 4)
    return out.reshape(*batch, *out.shape[2:]), log_total.reshape(*batch, q.shape[2], 1)


def attention_backward(g, q, k, v, mask, out, log_total, causal, scale, mask_too=True, into=None):
    """As in reference.py; gradients go `into` three arrays with four axes and contiguous rows, if given."""
    if mask_too and mask is not None and mask.dtype.kind == "f":
        return NotImplemented
    if not (_suits(q, k, v, mask) and suits(q, g, out, log_total)):
        return NotImplemented
    given = q, k, v, mask, *map(_in_vectors, (g, q, k, out)), log_total
    batch, (q, k, v, numbers, g, q_rows, k_rows, out, log_total) = _batched(*given)
    heads, keys = q.shape[0] * q.shape[1], k.shape[2]
    parts = max(1, min(-(-PARTS // heads), -(-keys // KEYS_BACK)))
    dq, dk, dv = into or [np.empty(x.shape, q.dtype) for x in (q, k, v)]
    dqs = dq[None] if parts == 1 else np.empty((parts, *q.shape), q.dtype)
    rules = numbers, _is_hard(mask), causal, scale
    _attention_backward(g, q_rows, k_rows, v, out, log_total, *rules, dqs, dk, dv, work=q.size * keys // 2)
    if parts > 1:
        np.sum(dqs, axis=0, out=dq)
    return *[x.reshape(*batch, *x.shape[2:]) for x in (dq, dk, dv)], None


def self_attention(qkv, mask, heads, causal, scale):
    """As in reference.py: every head is read, and written, where it lies."""
    batch, tokens, width = qkv.shape
    out = np.empty((batch, tokens, width // 3), qkv.dtype)
    done = attention(*in_heads(qkv, 3, heads), mask, causal, scale, *in_heads(out, 1, heads))
    return done if done is NotImplemented else (out, done[1])


def self_attention_backward(g, qkv, mask, out, log_total, heads, causal, scale, mask_too=True):
    """As in reference.py; the three gradients are written into one array."""
    dqkv, ((g,), (out,)) = np.empty(qkv.shape, qkv.dtype), [in_heads(x, 1, heads) for x in (g, out)]
    kept = *in_heads(qkv, 3, heads), mask, out, log_total
    done = attention_backward(g, *kept, causal, scale, mask_too, in_heads(dqkv, 3, heads))
    return done if done is NotImplemented else (dqkv, done[3])


def _suits(q, k, v, mask):
    usable = mask is None or suits(mask) and mask.dtype == q.dtype or mask.dtype == np.bool_
    return suits(q, k, v) and usable and all([x.size for x in (q, k, v)])


def _is_hard(mask):
    """True for a mask of booleans: what it hides is -inf, whatever the score."""
    return mask is not None and mask.dtype == np.bool_


def _in_vectors(x):
    """x with rows that the tile can read as its B: whole vectors; a copy only where they are not."""
    lanes = VECTOR_BYTES // x.itemsize * (1 if VECTORS == 2 else VECTORS)
    if x.strides[-1] == x.itemsize and x.shape[-1] % lanes == 0:
        return x
    padded = np.zeros((*x.shape[:-1], -(-x.shape[-1] // lanes) * lanes), x.dtype)
    padded[..., : x.shape[-1]] = x
    return padded


def _batched(q, k, v, mask, *others):
    """The leading axes of the result, and all with two of them; a mask as numbers to add."""
    arrays = [q, k, v, *others]
    if mask is not None:
        shown, hidden = q.dtype.type(0), q.dtype.type(-math.inf)
        mask = np.where(mask, shown, hidden) if _is_hard(mask) else mask
        arrays.append(np.broadcast_to(mask, np.broadcast_shapes(mask.shape, (q.shape[-2], k.shape[-2]))))
    batch = q.shape[:-2]
    if any([x.shape[:-2] != batch for x in arrays]):
        batch = np.broadcast_shapes(*[x.shape[:-2] for x in arrays])
    arrays = [with_four_axes(x, batch) for x in arrays]
    numbers = NO_MASK[q.dtype] if mask is None else arrays.pop()
    return batch, (*arrays[:3], numbers, *arrays[3:])


# What forward and backward share. From here on there is one head: arrays are (rows, columns). A block starts
# with query 0, which sees `past` keys before its own.


@inner
def row_of(x, i):
    """A pointer to x[i, 0]."""
    return at(x, i * x.strides[0] // x.itemsize)


@inner
def mask_of(mask, i, j):
    """The mask of a head; where there is none, one for all."""
    return mask[i % mask.shape[0], j % mask.shape[1]]


@inner
def in_turn(i, count):
    """The places 0, count - 1, 1, count - 2, ...: with `causal` any stretch of them has like work."""
    return count - 1 - i // 2 if i % 2 else i // 2


@inner
def seen_by(query, causal, past, keys):
    """How many keys a query sees."""
    return max(0, min(keys, past + query + 1)) if causal else keys


@inner
def rows_for(query, wide, causal, past, first, stop):
    """How many keys after `first`, to `stop` at most, a panel of `wide` queries needs the scores of.

    As many as the last query sees of a group of ROWS that begins in the panel, in whole tiles.
    """
    last = (query + wide + ROWS - 1) // ROWS * ROWS - 1
    rows = seen_by(last, causal, past, stop) - first
    return max(0, min((rows + ROWS - 1) // ROWS * ROWS, stop - first))


@inner
def turn(x, factor, panels):
    """panels[column, row] = factor x[row, column], in panels as wide as the tile."""
    row, step = x.strides[0] // x.itemsize, x.strides[1] // x.itemsize
    pack_b(at(x, 0), step, row, x.shape[1], x.shape[0], panels)
    for i in range(len(panels)):
        panels[i] *= factor


@inner
def last_rows(x):
    """The rows of x that fill no tile, in one of their own."""
    edge = np.zeros((ROWS, x.shape[1]), x.dtype)
    for t in range(len(x) // ROWS * ROWS, len(x)):
        edge[t % ROWS] = x[t]
    return edge


@inner
def products(x, edge, first, rows, panel, s):
    """s[t, column] = x[first + t] . panel[:, column] for t < rows, and for the rest of a tile."""
    depth, row, step = x.shape[1], x.strides[0] // x.itemsize, x.strides[1] // x.itemsize
    for t in range(0, rows, ROWS):
        target = at(s, t * QUERIES)
        if first + t + ROWS <= len(x):
            tile(row_of(x, first + t), row, step, panel, columns(x), target, QUERIES, depth, False)
        else:
            tile(at(edge, 0), depth, 1, panel, columns(x), target, QUERIES, depth, False)


@inner
def dots(x, first, rows, q, scale, s):
    """The same for a few queries, as when text is written word by word: they would leave a tile empty."""
    for t in range(rows):
        for i in range(len(q)):
            put(s, t * QUERIES + i, scale * dot(row_of(x, first + t), row_of(q, i), q.shape[1]))


@inner
def dot(x, y, count):
    total = get(x, 0) * get(y, 0)
    for i in range(1, count):
        total += get(x, i) * get(y, i)
    return total


@inner
def hide(s, first, rows, query, mask, hard, causal, past):
    """The mask, on the scores of `rows` keys from `first` on and of a panel of queries from `query` on."""
    wide = columns(mask)
    if mask.size:
        row, step = mask.strides[0] // mask.itemsize, mask.strides[1] // mask.itemsize
        for t in range(rows):
            line, here = at(s, t * QUERIES), at(row_of(mask, query), (first + t) * step)
            if row == 0 and get(here, 0) == 0:
                continue
            for x in range(min(wide, len(mask) - query)):
                value = get(here, x * row)
                put(line, x, value if hard and value < 0 else get(line, x) + value)
    if causal:
        for t in range(max(0, past + query + 1 - first), rows):
            line = at(s, t * QUERIES)
            for x in range(min(wide, first + t - past - query)):
                put(line, x, -math.inf)


# Forward


@kernel
def _attention(
    q: Reads[4],
    k: Reads[4],
    v: Reads[4],
    mask: Reads[4],
    hard: Flag,
    causal: Flag,
    scale: Scalar,
    lowest: Scalar,
    out: Writes[4],
    log_total: WritesRows[3],
):
    blocks = (q.shape[2] + QUERIES - 1) // QUERIES
    for task in prange(q.shape[0] * q.shape[1] * blocks):
        head, start = task // blocks, in_turn(task % blocks, blocks) * QUERIES
        i, j = head // q.shape[1], head % q.shape[1]
        mine, past = slice(start, min(start + QUERIES, q.shape[2])), start + k.shape[2] - q.shape[2]
        rules = mask_of(mask, i, j)[mine], hard, causal, past
        attend(q[i, j, mine], k[i, j], v[i, j], rules, scale, lowest, out[i, j, mine], log_total[i, j, mine])


@inner
def attend(q, k, v, rules, scale, lowest, out, log_total):
    """A block of queries of one head, and all keys. x counts queries, t keys, e the numbers of a value."""
    (_, _, causal, past), (count, depth), (keys, width) = rules, q.shape, v.shape
    wide, dtype, value_row = columns(q), q.dtype, v.strides[0] // v.itemsize
    few = count <= FEW and q.strides[1] == k.strides[1] == q.itemsize
    panels = np.empty(0 if few else (count + wide - 1) // wide * wide * depth, dtype)
    if not few:
        turn(q, scale, panels)
    edge, s, sums = last_rows(k), np.empty(KEYS * QUERIES, dtype), np.zeros((QUERIES, width), dtype)
    top, total, old = np.full(QUERIES, lowest), np.zeros(QUERIES, dtype), np.empty(QUERIES, dtype)
    for first in range(0, seen_by(count - 1, causal, past, keys), KEYS):
        stop = min(first + KEYS, keys)
        old[:] = top
        for x in range(0, count, wide):
            rows, block = rows_for(x, wide, causal, past, first, stop), at(s, x)
            if rows:
                if few:
                    dots(k, first, rows, q, scale, block)
                else:
                    products(k, edge, first, rows, at(panels, x * depth), block)
                hide(block, first, rows, x, *rules)
                highest(block, QUERIES, rows, at(top, x))
                if first:
                    rescale(total, sums, old, top, x, min(x + wide, count))
                exponentials(block, QUERIES, rows, at(top, x), at(total, x))
        x = 0
        while x < count:
            tall = SHORT if count - x <= ROWS - SHORT and width % wide == 0 else ROWS
            length = seen_by(min(x + tall, count) - 1, causal, past, stop) - first
            for e in range(0, width if length > 0 else 0, wide):
                here, target, p = at(row_of(v, first), e), at(sums, x * width + e), at(s, x)
                if tall == SHORT:
                    short_tile(p, 1, QUERIES, here, value_row, target, width, length, first > 0)
                elif e + wide <= width:
                    tile(p, 1, QUERIES, here, value_row, target, width, length, first > 0)
                else:
                    narrow_tile(p, 1, QUERIES, here, value_row, target, width, length, first > 0)
            x += tall
    for x in range(count):
        alive = total[x] != 0
        share = dtype.type(1) / (total[x] if alive else dtype.type(1))
        line = row_of(out, x)
        for e in range(out.shape[1]):
            put(line, e, sums[x, e] * share)
        log_total[x] = log(total[x]) + top[x] if alive else -math.inf


@inner
def rescale(total, sums, old, top, first, last):
    """What was summed with exp(s - old), as if it had been exp(s - top)."""
    for x in range(first, last):
        if top[x] != old[x]:
            factor = np.exp(old[x] - top[x])
            total[x] *= factor
            for e in range(sums.shape[1]):
                sums[x, e] *= factor


# Backward


@kernel
def _attention_backward(
    g: Reads[4],
    q: Reads[4],
    k: Reads[4],
    v: Reads[4],
    out: Reads[4],
    log_total: Reads[4],
    mask: Reads[4],
    hard: Flag,
    causal: Flag,
    scale: Scalar,
    dq: Writes[5],
    dk: Writes[4],
    dv: Writes[4],
):
    parts, blocks = len(dq), (k.shape[2] + KEYS_BACK - 1) // KEYS_BACK
    for task in prange(q.shape[0] * q.shape[1] * parts):
        head, part = task // parts, in_turn(task % parts, parts)
        i, j = head // q.shape[1], head % q.shape[1]
        start, stop = part * blocks // parts * KEYS_BACK, (part + 1) * blocks // parts * KEYS_BACK
        given = g[i, j], q[i, j], k[i, j], v[i, j], out[i, j], log_total[i, j, :, 0]
        rules = mask_of(mask, i, j), hard, causal, scale
        into = dq[part, i, j], dk[i, j], dv[i, j]
        attend_backward(*given, rules, start, min(stop, k.shape[2]), *into)


@inner
def attend_backward(g, q, k, v, out, log_total, rules, start, stop, dq, dk, dv):
    """What the keys from `start` to `stop` give to dq, and all of their dk and dv.

    dS is to carry the scale for dq and dk: g's panels and delta do.
    """
    mask, hard, causal, scale = rules
    (many, depth), (keys, width), dtype, size = q.shape, v.shape, q.dtype, q.itemsize
    wide, g_row, q_row, k_row = columns(q), g.strides[0] // size, q.strides[0] // size, k.strides[0] // size
    k_edge, v_edge, edge = last_rows(k), last_rows(v), np.empty(ROWS * wide, dtype)
    q_panels, g_panels = np.empty(QUERIES * depth, dtype), np.empty(QUERIES * width, dtype)
    p, d = np.empty(KEYS_BACK * QUERIES, dtype), np.empty(KEYS_BACK * QUERIES, dtype)
    top, delta = np.zeros(QUERIES, dtype), np.zeros(QUERIES, dtype)
    clear(dq, 0, many)
    clear(dk, start, stop)
    clear(dv, start, stop)
    for q0 in range(0, many, QUERIES):
        mine, past = slice(q0, min(q0 + QUERIES, many)), q0 + keys - many
        count = mine.stop - q0
        if seen_by(count - 1, causal, past, keys) <= start:
            continue
        turn(q[mine], scale, q_panels)
        turn(g[mine, :width], scale, g_panels)
        for x in range(count):
            alive = log_total[q0 + x] != -math.inf
            top[x] = log_total[q0 + x] if alive else dtype.type(0)
            delta[x] = dot(row_of(g, q0 + x), row_of(out, q0 + x), width) * scale
        for first in range(start, min(stop, seen_by(count - 1, causal, past, keys)), KEYS_BACK):
            end = min(first + KEYS_BACK, stop)
            for x in range(0, count, wide):
                rows = rows_for(x, wide, causal, past, first, end)
                if rows:
                    products(k, k_edge, first, rows, at(q_panels, x * depth), at(p, x))
                    products(v, v_edge, first, rows, at(g_panels, x * width), at(d, x))
                    hide(at(p, x), first, rows, x, mask[mine], hard, causal, past)
                    differentials(at(p, x), at(d, x), QUERIES, rows, at(top, x), at(delta, x))
            for t in range(first, end, ROWS):
                since = max(0, t - past) // wide * wide if causal else 0  # queries before see none of these
                length, rows, block = count - since, min(ROWS, end - t), (t - first) * QUERIES + since
                if length > 0:
                    g_here, q_here = row_of(g, q0 + since), row_of(q, q0 + since)
                    add_product(at(p, block), QUERIES, 1, g_here, g_row, dv, t, rows, length, edge)
                    add_product(at(d, block), QUERIES, 1, q_here, q_row, dk, t, rows, length, edge)
            for x in range(0, count, ROWS):
                rows = min(ROWS, count - x)
                length = seen_by(x + rows - 1, causal, past, end) - first
                if length > 0:
                    k_here = row_of(k, first)
                    add_product(at(d, x), 1, QUERIES, k_here, k_row, dq, q0 + x, rows, length, edge)


@inner
def clear(x, first, stop):
    """x[first:stop] = 0, a row at a time: of the whole the compiler cannot know that rows are contiguous."""
    zero = x.dtype.type(0)
    for t in range(first, stop):
        row = row_of(x, t)
        for e in range(x.shape[1]):
            put(row, e, zero)


@inner
def add_product(a, row, step, b, ldb, c, first, rows, length, edge):
    """c[first : first + rows] += A B: whole tiles in place, others by way of `edge`."""
    wide, width, ldc = columns(c), c.shape[1], c.strides[0] // c.itemsize
    for e in range(0, width, wide):
        some = min(wide, width - e)
        if rows == ROWS and some == wide:
            tile(a, row, step, at(b, e), ldb, at(row_of(c, first), e), ldc, length, True)
            continue
        if some * VECTORS > wide:
            tile(a, row, step, at(b, e), ldb, at(edge, 0), wide, length, False)
        else:
            narrow_tile(a, row, step, at(b, e), ldb, at(edge, 0), wide, length, False)
        for y in range(rows):
            line = at(row_of(c, first + y), e)
            for z in range(some):
                put(line, z, get(line, z) + edge[y * wide + z])
