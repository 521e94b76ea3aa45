"""Looking inside a Transformer: where its attention goes, and what it expects of each token.

    Bahdanau, Cho & Bengio, Neural machine translation by jointly learning to align and translate (2015),
    arXiv 1409.0473: figure 3, the first such maps
    Shannon, A mathematical theory of communication (1948), section 6: entropy
    Jain & Wallace, Attention is not explanation (2019), arXiv 1902.10186: what a map does not prove

The model does not know that it is watched: attention is one operation, and an Observer hears of its calls.

    with no_grad(), observing(maps := AttentionMaps()):
        logits = model(tokens)
    maps.weights  # one array for each call, in order

Left out: what a head does with what it sees (its values and W^O), and which token is the cause of which.

Letters: B batch, H heads, T tokens that look, S tokens that are looked at, N guesses, V vocabulary.
"""

import math
from dataclasses import dataclass

import numpy as np

from .. import arrays
from ..autograd import ops
from ..autograd.modes import Observer


class AttentionMaps(Observer):
    """Keeps the weights of every call of attention that it is told of: softmax(q k^T / sqrt(D) + mask).

    The fused operation never has them in memory. But weights times the identity are the weights, so the
    operation itself tells them, if it is asked again with the identity for values.

    Attributes:
        weights: a list of arrays, (B, H, T, S) in a Transformer, in the order of the calls. A row sums to 1,
            or is 0 where a token may see nothing.
    """

    def __init__(self):
        self.weights = []

    def result(self, primitive, values, attrs, out, node):
        if primitive is ops.self_attention.primitive:
            qkv, mask = values
            batch, tokens, width = qkv.shape
            heads, size = attrs["heads"], width // 3 // attrs["heads"]
            q, k, _ = qkv.reshape(batch, tokens, 3, heads, size).transpose(2, 0, 3, 1, 4)
            attrs = {name: value for name, value in attrs.items() if name != "heads"}
        elif primitive is ops.attention.primitive:
            q, k, _, mask = values
        else:
            return
        identity = arrays.of(k).eye(k.shape[-2], dtype=k.dtype)
        # Plain arrays: no Tensor is made, nothing is recorded, and no observer hears of this call.
        self.weights.append(ops.attention(q, k, identity, mask, **attrs))


@dataclass(frozen=True)
class Guesses:
    """What a model expected before each of N tokens came; arrays (N,).

    surprisal    -log2 p(token), in bits: what the token costs an ideal compressor
    entropy      -sum p log2 p, in bits from 0 to log2 V: the surprisal that the model expected
    best         the likeliest token
    probability  that of the likeliest token
    right        whether the likeliest token is the one that came, booleans
    """

    surprisal: np.ndarray
    entropy: np.ndarray
    best: np.ndarray
    probability: np.ndarray
    right: np.ndarray


def guesses(logits, tokens):
    """The Guesses that finite `logits` (N, V) are of `tokens` (N,), computed in float64.

    Raises:
        ValueError: other shapes.
    """
    logits, tokens = np.asarray(logits, np.float64), np.asarray(tokens)
    if logits.ndim != 2 or tokens.shape != logits.shape[:1]:
        raise ValueError(
            f"guesses: expected logits (N, V) and tokens (N,), got {logits.shape} and {tokens.shape}; "
            "give those of one text"
        )
    bits = (0.0 - ops.log_softmax(logits, axis=-1)) / math.log(2)  # 0 - x: a certain token costs 0, not -0
    best = bits.argmin(axis=-1)
    return Guesses(
        surprisal=bits[np.arange(len(tokens)), tokens],
        entropy=(ops.softmax(logits, axis=-1) * bits).sum(axis=-1),
        best=best,
        probability=2.0 ** -bits.min(axis=-1),
        right=best == tokens,
    )
