"""Scaled dot-product attention (Vaswani et al. 2017, equation 1), fused, its definition beside it.

`self_attention` is the same for a text over itself, whose queries, keys and values one product has made: it
takes and gives what the products before and after it give and take, so that nothing is moved in between.

Letters: B batch, H heads, T queries, S keys, D head size, E value size, C = H D; leading axes (batch, heads)
broadcast.
"""

import math

from ... import arrays, kernels
from ..domain import Values
from ..primitive import primitive
from .arithmetic import raw, where
from .reductions import softmax
from .shapes import reshape, swapaxes


def _scale(scale, q):
    return 1 / math.sqrt(q.shape[-1]) if scale is None else float(scale)


def _attention_reference(q, k, v, mask=None, *, causal=False, scale=None):
    """softmax(q k^T scale + mask) v, with softmax over the keys that may be seen."""
    scores = q @ swapaxes(k, -1, -2) * _scale(scale, q)
    if mask is not None and mask.dtype.kind == "f":
        scores, mask = scores + mask, None
    see = kernels.may_see(raw(q), raw(k), raw(mask), causal)
    scores = scores if see is None else where(see, scores, -math.inf)
    return softmax(scores, -1) @ v


def _checked(name, mask, *sizes):
    """A mask as an array, or None, whose last axes broadcast to `sizes`."""
    if mask is None:
        return None
    mask = arrays.as_array(mask)
    if mask.dtype.kind not in "bf":
        raise TypeError(
            f"{name}: expected a boolean or floating mask, got {mask.dtype}; use mask.astype(bool)"
        )
    if any(n not in (1, size) for n, size in zip(mask.shape[::-1], sizes[::-1])):
        raise ValueError(
            f"{name}: expected a mask that broadcasts to (..., {', '.join(map(str, sizes))}), got "
            f"{mask.shape}; pass its rows of these queries and columns of these keys"
        )
    return mask


@primitive(reference=_attention_reference, saves=("log_total",))
def attention(q, k, v, mask=None, *, causal=False, scale=None):
    """Each query's mean of the values, weighted by softmax(q k^T scale).

    Args:
        q: (..., T, D). k: (..., S, D). v: (..., S, E). Leading axes broadcast.
        mask: booleans (True: may be seen) or numbers added to the scores, broadcasting to (..., T, S).
        causal: query t sees keys up to t + S - T only.
        scale: of the scores; 1 / sqrt(D) by default.

    Returns:
        (..., T, E). A query that may see nothing gets 0, with gradient 0.

    Raises:
        ValueError: sizes that do not match. TypeError: a mask of integers.
    """
    if min(q.ndim, k.ndim, v.ndim) < 2 or q.shape[-1] != k.shape[-1] or k.shape[-2] != v.shape[-2]:
        raise ValueError(
            "attention: expected q (..., T, D), k (..., S, D) and v (..., S, E), "
            f"got {q.shape}, {k.shape} and {v.shape}"
        )
    mask = _checked("attention", mask, q.shape[-2], k.shape[-2])
    return kernels.attention(q, k, v, mask, causal, _scale(scale, q))


def _attention_all(g, q, k, v, mask, out, log_total, tracked, causal, scale):
    kept = q, k, v, mask, out, log_total
    return kernels.attention_backward(g, *kept, causal, _scale(scale, q), tracked[3])


attention.rules(all=_attention_all)
attention.domain("*B T D, *B S D, *B S E, -", causal=(False,), scale=(None, 0.5))
attention.domain("2 T D, 2 T D, 2 T E, -", causal=(True,))
attention.domain("2 2 D, 2 4 D, 2 4 E, 2 4", mask=Values(kind="bool"), causal=(False, True))
attention.domain("2 2 3 D, 1 4 D, 1 4 E, 3 4", mask=Values(), causal=(False, True))


def _self_attention_reference(qkv, mask=None, *, heads, causal=False, scale=None):
    """attention(q, k, v) of each head, put side by side."""
    batch, tokens, width = qkv.shape
    apart = reshape(qkv, (batch, tokens, 3, heads, width // (3 * heads)))
    q, k, v = (swapaxes(apart[:, :, i], 1, 2) for i in range(3))  # (B, H, T, D) each
    out = _attention_reference(q, k, v, mask, causal=causal, scale=scale)
    return reshape(swapaxes(out, 1, 2), (batch, tokens, width // 3))


@primitive(reference=_self_attention_reference, saves=("log_total",))
def self_attention(qkv, mask=None, *, heads, causal=False, scale=None):
    """Attention of a text over itself, of several heads: `attention` of each, put side by side.

    Args:
        qkv: (B, T, 3C): C = H D numbers of queries, those of one head after those of another, then as many
            of keys, and of values.
        mask: as for `attention`, broadcasting to (B, H, T, T).
        heads: H.
        causal: token t sees tokens up to t only.
        scale: of the scores; 1 / sqrt(D) by default.

    Returns:
        (B, T, C). A token that may see nothing gets 0, with gradient 0.

    Raises:
        ValueError: sizes that do not match, or heads that do not divide C. TypeError: a mask of integers.
    """
    if qkv.ndim != 3 or heads < 1 or qkv.shape[-1] % (3 * heads):
        raise ValueError(
            f"self_attention: expected (B, T, 3C) with C a multiple of {heads} heads, got {qkv.shape}; put "
            "queries, keys and values side by side on the last axis"
        )
    batch, tokens, width = qkv.shape
    mask = _checked("self_attention", mask, batch, heads, tokens, tokens)
    if mask is not None and mask.ndim > 4:
        raise ValueError(
            f"self_attention: expected a mask of 4 axes at most, (B, H, T, T), got {mask.shape}; reshape it"
        )
    scale = 1 / math.sqrt(width // (3 * heads)) if scale is None else float(scale)
    return kernels.self_attention(qkv, mask, heads, causal, scale)


def _self_attention_all(g, qkv, mask, out, log_total, tracked, heads, causal, scale):
    scale = 1 / math.sqrt(qkv.shape[-1] // (3 * heads)) if scale is None else float(scale)
    return kernels.self_attention_backward(g, qkv, mask, out, log_total, heads, causal, scale, tracked[1])


self_attention.rules(all=_self_attention_all)
self_attention.domain("2 T 12, -", heads=(1, 2), causal=(False, True), scale=(None, 0.5))
self_attention.domain("2 3 6, 3 3", mask=Values(kind="bool"), heads=(2,), causal=(False, True))
self_attention.domain("2 3 6, 2 3 3", mask=Values(), heads=(2,), causal=(False, True))
