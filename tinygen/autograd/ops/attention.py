"""Scaled dot-product attention (Vaswani et al. 2017, equation 1), fused, its definition beside it.

Letters: T queries, S keys, D head size, E value size; leading axes (batch, heads) broadcast.
"""

import math

from ... import arrays, kernels
from ..domain import Values
from ..primitive import primitive
from .arithmetic import raw, where
from .reductions import softmax
from .shapes import swapaxes


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
    if mask is not None:
        mask = arrays.as_array(mask)
        if mask.dtype.kind not in "bf":
            raise TypeError(
                f"attention: expected a boolean or floating mask, got {mask.dtype}; use mask.astype(bool)"
            )
        sizes = q.shape[-2], k.shape[-2]
        if any(n not in (1, size) for n, size in zip(mask.shape[::-1], sizes[::-1])):
            raise ValueError(
                f"attention: expected a mask that broadcasts to (..., {sizes[0]}, {sizes[1]}), got "
                f"{mask.shape}; pass its rows of these queries and columns of these keys"
            )
    return kernels.attention(q, k, v, mask, causal, _scale(scale, q))


def _attention_all(g, q, k, v, mask, out, log_total, tracked, causal, scale):
    kept = q, k, v, mask, out, log_total
    return kernels.attention_backward(g, *kept, causal, _scale(scale, q), tracked[3])


attention.rules(all=_attention_all)
attention.domain("*B T D, *B S D, *B S E, -", causal=(False,), scale=(None, 0.5))
attention.domain("2 T D, 2 T D, 2 T E, -", causal=(True,))
attention.domain("2 2 D, 2 4 D, 2 4 E, 2 4", mask=Values(kind="bool"), causal=(False, True))
attention.domain("2 2 3 D, 1 4 D, 1 4 E, 3 4", mask=Values(), causal=(False, True))
