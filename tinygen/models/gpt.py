"""GPT: a Transformer that reads from left to right, and guesses at each token which one comes next.

    Radford et al., Improving language understanding by generative pre-training (2018): eq. 1 and 2
    Radford et al., Language models are unsupervised multitask learners (2019): GPT-2

Parameters have the names of GPT-2's published weights (wte, wpe, h.0.attn.c_attn, ...). Those of its linear
layers are published transposed, as (in, out).

Letters: B batch, T tokens, C width, V vocabulary.
"""

import functools
from dataclasses import dataclass

from .. import nn
from ..autograd import ops
from ..autograd.ops.decoding import norm_linear
from .cache import Cache
from .transformer import Stack, TransformerConfig


@dataclass(frozen=True, kw_only=True)
class GPTConfig(TransformerConfig):
    """The sizes of a GPT; nanoGPT's smallest by default. GPT-2 has 50257, 1024, 12, 12, 768 and gelu-tanh.

    Raises:
        ValueError: as TransformerConfig.
    """


class GPT(Stack):
    """A decoder-only Transformer: h_0 = U W_e + W_p, h_l = block(h_{l-1}), P(u) = softmax(h_n W_e^T) (eq. 2).

    wte      (V, C)  W_e, the tokens; and, unless the configuration unties it, the matrix that guesses
    wpe      (context, C)  W_p, the places, where they are learned
    h        the blocks
    ln_f     the last norm, GPT-2's
    lm_head  (V, C), where it is not wte
    """

    def __init__(self, config, *, rng):
        init = functools.partial(nn.init.normal, std=0.02)
        self.wte = nn.Embedding(config.vocabulary, config.width, rng=rng, init=init)
        super().__init__(config, rng=rng)
        if not config.tied:
            self.lm_head = nn.Linear(config.width, config.vocabulary, bias=False, rng=rng, init=init)

    def forward(self, tokens, *, cache=None):
        """The logits (B, T, V) of the token after each of `tokens`, integers (B, T).

        Args:
            cache: of `new_cache`: `tokens` go on where those before ended, and are added to it.

        Raises:
            ValueError: more tokens than the context holds, or not (B, T).
        """
        return self.logits(self.hidden(tokens, cache=cache))

    def next_logits(self, tokens, *, cache=None):
        """The last of the logits, (B, V), without the others; arguments and errors as for `forward`."""
        x = self._up_to_last_norm(tokens, cache)[:, -1]
        norm, head = self.ln_f, self.wte if self.config.tied else self.lm_head
        if isinstance(head, nn.LoRA):  # more than its weight
            return self.logits(norm(x))
        bias, centred = getattr(norm, "bias", None), isinstance(norm, nn.LayerNorm)
        out = norm_linear(x, norm.weight, bias, head.weight, eps=norm.eps, centred=centred)
        return out if out is not NotImplemented else self.logits(norm(x))

    def hidden(self, tokens, *, cache=None):
        """What the last norm gives for each of `tokens`, (B, T, C); arguments and errors as for `forward`."""
        return self.ln_f(self._up_to_last_norm(tokens, cache))

    def _up_to_last_norm(self, tokens, cache):
        start = cache.length if cache else 0
        if len(tokens.shape) != 2 or start + tokens.shape[1] > self.config.context:
            raise ValueError(
                f"GPT: expected tokens (B, T) with at most {self.config.context} of them in a row, got "
                f"{tuple(tokens.shape)} after {start}; give the last ones only"
            )
        return self.blocks(self.wte(tokens), causal=True, cache=cache)

    def logits(self, hidden):
        """(..., C) -> (..., V)."""
        return ops.linear(hidden, self.wte.weight) if self.config.tied else self.lm_head(hidden)

    def loss(self, tokens, targets, *, reduction="mean"):
        """The cross-entropy of `targets` (B, T), each after its token of `tokens` (B, T), in nats: eq. 1.

        A target of -100 counts for nothing. While training, labels are smoothed as the configuration says.
        """
        smoothing = self.config.label_smoothing if self.training else 0.0
        return ops.cross_entropy(self(tokens), targets, label_smoothing=smoothing, reduction=reduction)

    def new_cache(self):
        """An empty cache for a text of up to `context` tokens."""
        return Cache(self.config.layers, self.config.context)
