"""The blocks of a Transformer: attention with several heads, the network of each position, and their sums.

    Vaswani et al., Attention is all you need (2017), arXiv 1706.03762; sections and equations are theirs
    Radford et al., Language models are unsupervised multitask learners (2019): GPT-2, norms before sublayers
    Xiong et al., On layer normalization in the Transformer architecture (2020): pre- and post-norm compared
    Hendrycks & Gimpel, Gaussian error linear units (2016); Shazeer, GLU variants improve Transformer (2020)

A block attends to its own text, as a decoder-only GPT does (gpt.py), and to another one too where it is made
for that (translator.py). Where tokens stand is told by one of the codes of positions.py.

The weights of attention are not dropped out, only what comes out of a sublayer, and the sums of tokens and
places (section 5.4): the fused operation never has them in memory.

Letters: B batch, T tokens that ask, S tokens that are asked, C width, H heads, D = C / H, F hidden units.
"""

import functools
import math
from dataclasses import dataclass

from .. import nn
from ..autograd import ops
from ..autograd.ops.arithmetic import raw
from ..autograd.ops.decoding import BlockArrays, block_step
from ..configuration import check, option
from .positions import POSITIONS, Rotary, alibi_bias, alibi_slopes, sinusoidal_table

ACTIVATIONS = {"gelu": "none", "gelu-tanh": "tanh", "relu": None, "swiglu": None}
NORMS = {"layer": nn.LayerNorm, "rms": nn.RMSNorm}


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """What all Transformers here have in common.

    Raises:
        ValueError: a size below 1, heads that do not divide the width, a probability outside [0, 1), or an
            unknown choice.
    """

    vocabulary: int = option(256, "different tokens", at_least=1)
    context: int = option(64, "tokens that it sees at once, at most", at_least=1)
    layers: int = option(4, "blocks, one after the other", at_least=1)
    heads: int = option(4, "of attention; they divide the width", at_least=1)
    width: int = option(128, "numbers of each token between the blocks", at_least=1)
    feed_forward: int | None = option(
        None, "hidden units of each position's network (default: 4 widths)", at_least=1
    )
    dropout: float = option(
        0.0, "share of a sublayer's results that is dropped in training", at_least=0, below=1
    )
    bias: bool = option(True, "biases in linear layers and layer norms")
    norm: str = option("layer", "how each token is normalised", choices=NORMS)
    post_norm: bool = option(False, "norms after the sums, as in the first Transformer, not before sublayers")
    activation: str = option("gelu", "of each position's network", choices=ACTIVATIONS)
    positions: str = option("learned", "how a token's place is told", choices=POSITIONS)
    initial: str = option("gpt-2", "how weights of linear layers begin", choices=("gpt-2", "xavier"))
    label_smoothing: float = option(
        0.0, "share of the probability that training gives to all tokens alike", at_least=0, below=1
    )
    tied: bool = option(True, "one matrix to look tokens up with and to guess the next")

    def __post_init__(self):
        check(self)
        if self.width % self.heads:
            raise ValueError(
                f"heads: expected a divisor of the width, {self.width}, got {self.heads}; change one of them"
            )
        if self.positions == "rotary" and self.width // self.heads % 2:
            raise ValueError(
                f"positions: expected heads of an even size for rotary, got {self.width // self.heads}; "
                "choose a width that is a multiple of 2 heads"
            )

    @property
    def hidden(self):
        """F. SwiGLU has three matrices instead of two, so 2/3 of the units make as many weights (Shazeer)."""
        if self.feed_forward:
            return self.feed_forward
        return 4 * self.width if self.activation != "swiglu" else -(-8 * self.width // 3 // 8) * 8


def norm(config):
    """The normalisation that a configuration asks for."""
    if config.norm == "rms":
        return nn.RMSNorm(config.width)
    return nn.LayerNorm(config.width, bias=config.bias)


def linear(config, inputs, outputs, *, rng, residual=False):
    """A layer as GPT-2 begins: weights of std 0.02, less where the result is added to the sum of all blocks.

    There it is 0.02 / sqrt(number of such additions), so that the sum of a deep network starts as large as
    that of a shallow one (GPT-2, section 2.3). "xavier" is Glorot & Bengio's, which goes by the layer's sizes
    and lets narrow networks start with stronger opinions: what most translators do. W^Q, W^K and W^V, which
    are one matrix here, count as one.
    """
    if config.initial == "xavier":
        return nn.Linear(inputs, outputs, bias=config.bias, rng=rng, init=nn.init.xavier_uniform)
    std = 0.02 / math.sqrt(2 * config.layers) if residual else 0.02
    init = functools.partial(nn.init.normal, std=std)
    return nn.Linear(inputs, outputs, bias=config.bias, rng=rng, init=init)


class Attention(nn.Module):
    """Attention with several heads (section 3.2.2), of a text over itself or over another.

    c_attn  (3C, C): W^Q, W^K and W^V of all heads, one above the other
    c_proj  (C, C): W^O
    """

    def __init__(self, config, *, rng):
        self.heads = config.heads
        self.c_attn = linear(config, config.width, 3 * config.width, rng=rng)
        self.c_proj = linear(config, config.width, config.width, rng=rng, residual=True)
        self.drop = nn.Dropout(config.dropout, rng=rng)

    def forward(self, x, memory=None, *, mask=None, causal=False, turn=None, cache=None):
        """x (B, T, C) -> (B, T, C).

        Args:
            memory: (B, S, C), what is asked instead of x itself.
            mask: booleans that broadcast to (B, H, T, S), True where a token may be seen; or numbers that
                are added to the scores.
            causal: a token sees those before it, and itself.
            turn: a function of queries or keys (B, H, T, D) that puts their places into them, as a Rotary.
            cache: where the keys and values of earlier tokens are kept, and these added; see cache.py.
        """
        width = x.shape[-1]
        if memory is None and turn is None and cache is None:  # nothing has to come between: nothing is moved
            seen = ops.self_attention(self.c_attn(x), mask, heads=self.heads, causal=causal)
            return self.drop(self.c_proj(seen))
        if memory is None:
            q, k, v = (self._heads(part) for part in ops.split(self.c_attn(x), 3, axis=-1))
        elif cache is not None and cache.full:  # the memory does not change: its keys and values are there
            q, k, v = self._heads(self._part(x, 0, width)), None, None
        else:
            q = self._heads(self._part(x, 0, width))
            k, v = (self._heads(part) for part in ops.split(self._part(memory, width, 3 * width), 2, axis=-1))
        if turn is not None:
            q, k = turn(q), turn(k)
        if cache is not None:
            k, v = cache.extended(k, v)
        # eq. 1: softmax(Q K^T / sqrt(D)) V, of each head
        seen = ops.attention(q, k, v, mask, causal=causal)  # (B, H, T, D)
        joined = ops.reshape(ops.swapaxes(seen, 1, 2), x.shape)  # (B, T, C)
        return self.drop(self.c_proj(joined))

    def _part(self, x, start, stop):
        """The rows from `start` to `stop` of c_attn alone, applied to x."""
        bias = self.c_attn.bias
        return ops.linear(x, self.c_attn.weight[start:stop], None if bias is None else bias[start:stop])

    def _heads(self, x):
        """(B, T, C) -> (B, H, T, D)."""
        batch, tokens, width = x.shape
        return ops.swapaxes(ops.reshape(x, (batch, tokens, self.heads, width // self.heads)), 1, 2)


class FeedForward(nn.Module):
    """The network of each position (section 3.3): C -> F -> C, the same for all.

    W_2 act(W_1 x + b_1) + b_2                  (eq. 2, with ReLU there)
    W_2 (silu(W_1 x) * (V x))                   SwiGLU (Shazeer, eq. 6)
    """

    def __init__(self, config, *, rng):
        self.activation = config.activation
        gated = config.activation == "swiglu"
        self.c_fc = linear(config, config.width, config.hidden * (2 if gated else 1), rng=rng)
        self.c_proj = linear(config, config.hidden, config.width, rng=rng, residual=True)
        self.drop = nn.Dropout(config.dropout, rng=rng)

    def forward(self, x):
        """x (B, T, C) -> (B, T, C)."""
        h = self.c_fc(x)
        if self.activation == "swiglu":
            gate, h = ops.split(h, 2, axis=-1)
            h = ops.silu(gate) * h
        elif self.activation == "relu":
            h = ops.relu(h)
        else:
            h = ops.gelu(h, approximate=ACTIVATIONS[self.activation])
        return self.drop(self.c_proj(h))


class Block(nn.Module):
    """Sublayers around a sum that runs through all blocks: attention, attention over a memory, feed-forward.

    Pre-norm:  x + sublayer(norm(x))       GPT-2, and everybody since: trains without care
    Post-norm: norm(x + sublayer(x))       Vaswani et al., section 3.1

    Args:
        crossed: whether it attends to a memory too, as a decoder does to its encoder (section 3.2.3).
    """

    def __init__(self, config, *, rng, crossed=False):
        self.post_norm = config.post_norm
        self.ln_1 = norm(config)
        self.attn = Attention(config, rng=rng)
        if crossed:
            self.ln_cross = norm(config)
            self.cross = Attention(config, rng=rng)
        self.ln_2 = norm(config)
        self.mlp = FeedForward(config, rng=rng)

    def forward(self, x, memory=None, *, mask=None, memory_mask=None, causal=False, turn=None, cache=None):
        """x (B, T, C), and a memory (B, S, C) if there is one -> (B, T, C); the rest as for Attention."""
        own, other = cache or (None, None)
        if own is not None and memory is None and x.shape[1] == 1 and not self.training:
            stepped = self._step(x, own, mask, turn)
            if stepped is not NotImplemented:
                return stepped
        x = self._add(x, self.ln_1, lambda x: self.attn(x, mask=mask, causal=causal, turn=turn, cache=own))
        if memory is not None:
            x = self._add(x, self.ln_cross, lambda x: self.cross(x, memory, mask=memory_mask, cache=other))
        return self._add(x, self.ln_2, self.mlp)

    def _step(self, x, cache, mask, turn):
        """`forward` for the next token of a text, x (B, 1, C), in one operation, if that can."""
        if isinstance(turn, Rotary):
            turn = turn.cos[0].astype(x.dtype, copy=False), turn.sin[0].astype(x.dtype, copy=False)
        elif turn is not None:
            return NotImplemented
        layers = self.ln_1, self.attn.c_attn, self.attn.c_proj, self.ln_2, self.mlp.c_fc, self.mlp.c_proj
        if any(isinstance(layer, nn.LoRA) for layer in layers):  # more than its weight
            return NotImplemented
        batch, _, width = x.shape
        room = cache.room(batch, self.attn.heads, 1, width // self.attn.heads, x.dtype)
        arrays = [raw(part) for layer in layers for part in (layer.weight, getattr(layer, "bias", None))]
        arrays += room
        if cache.block is None or not cache.block.has(arrays):
            cache.block = BlockArrays(
                arrays,
                eps=self.ln_1.eps,
                centred=isinstance(self.ln_1, nn.LayerNorm),
                post_norm=self.post_norm,
                activation=self.mlp.activation,
            )
        out = block_step(x, cache.length, cache.block, turn=turn, mask=mask)
        if out is not NotImplemented:
            cache.length += 1
        return out

    def _add(self, x, norm, sublayer):
        return norm(x + sublayer(x)) if self.post_norm else x + sublayer(norm(x))


class Stack(nn.Module):
    """Blocks, one after the other, and a norm, over tokens that are told their places.

    wpe   (context, C), the places, where they are learned
    h     the blocks
    ln_f  the last norm, GPT-2's; above post-norm blocks it is one more than in the paper's figure 1

    Args:
        crossed: whether the blocks attend to a memory too.
    """

    def __init__(self, config, *, rng, crossed=False):
        self.config = config
        if config.positions == "learned":
            init = functools.partial(nn.init.normal, std=0.02)
            self.wpe = nn.Embedding(config.context, config.width, rng=rng, init=init)
        elif config.positions == "sinusoidal":
            self._places = sinusoidal_table(config.context, config.width)
        elif config.positions == "rotary":
            self._rotary = Rotary(config.context, config.width // config.heads)
        elif config.positions == "alibi":
            self._slopes = alibi_slopes(config.heads)
        self.drop = nn.Dropout(config.dropout, rng=rng)
        self.h = [Block(config, rng=rng, crossed=crossed) for _ in range(config.layers)]
        self.ln_f = norm(config)

    def through(self, x, memory=None, **options):
        """`blocks`, and the last norm."""
        return self.ln_f(self.blocks(x, memory, **options))

    def blocks(self, x, memory=None, *, mask=None, memory_mask=None, causal=False, cache=None):
        """Tokens as vectors, (B, T, C), and a memory (B, S, C) if there is one -> (B, T, C).

        Args:
            mask: booleans that broadcast to (B, H, T, T), True where a token may be seen.
            memory_mask: the same for the memory, to (B, H, T, S).
            causal: a token sees those before it, and itself.
            cache: a Cache: the tokens go on where those before ended, and are added to it.
        """
        start, count = cache.length if cache else 0, x.shape[1]
        turn = None
        if self.config.positions == "learned":
            x = x + self.wpe.weight[start : start + count]
        elif self.config.positions == "sinusoidal":
            x = x + self._places[start : start + count].astype(x.dtype)
        elif self.config.positions == "rotary":
            turn = self._rotary.at(start)
        elif self.config.positions == "alibi":
            bias = alibi_bias(self._slopes, count, start + count).astype(x.dtype)
            mask = bias if mask is None else ops.where(mask, bias, -math.inf)
        x = self.drop(x)
        for i, block in enumerate(self.h):
            own = cache and cache.blocks[i]
            x = block(x, memory, mask=mask, memory_mask=memory_mask, causal=causal, turn=turn, cache=own)
        return x
