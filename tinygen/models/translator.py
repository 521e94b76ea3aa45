"""The translator: an encoder reads a sentence at once, a decoder writes another, looking back at it.

    Vaswani et al., Attention is all you need (2017), arXiv 1706.03762: figure 1; sections and equations are
    theirs
    Press & Wolf, Using the output embedding to improve language models (2017), arXiv 1608.05859: one matrix
    for both languages and for the guess

A token below zero is no token: it fills rows up to one length, and nobody sees it.

Letters: B sentences, S source tokens, T target tokens, C width, V vocabulary, which both languages share.
"""

import functools
import math
from dataclasses import dataclass

from .. import nn
from ..autograd import ops
from .cache import Cache
from .transformer import Stack, TransformerConfig


@dataclass(frozen=True, kw_only=True)
class TranslatorConfig(TransformerConfig):
    """The sizes of a translator: `layers` counts the blocks of the encoder, and the decoder has as many.

    Raises:
        ValueError: as TransformerConfig.
    """


class Translator(nn.Module):
    """An encoder and a decoder, each a stack of blocks; the decoder's attend to what the encoder made.

    wte      (V, C)  the tokens, in both languages; and, unless untied, the matrix that guesses (section 3.4)
    encoder  a Stack: each token of the source sees all others
    decoder  a Stack: each token of the target sees those before it, and the memory (section 3.2.3)
    lm_head  (V, C), where it is not wte
    """

    def __init__(self, config, *, rng):
        self.config = config
        init = functools.partial(nn.init.normal, std=config.width**-0.5)
        self.wte = nn.Embedding(config.vocabulary, config.width, rng=rng, init=init)
        self.encoder = Stack(config, rng=rng)
        self.decoder = Stack(config, rng=rng, crossed=True)
        if not config.tied:
            self.lm_head = nn.Linear(config.width, config.vocabulary, bias=False, rng=rng, init=init)

    def forward(self, source, target):
        """The logits (B, T, V) of the token after each of `target`.

        Args:
            source: integers (B, S), filled up with numbers below 0; at least one token a row.
            target: integers (B, T), what is written so far.

        Raises:
            ValueError: more tokens than the context holds, or not of two axes.
        """
        return self.logits(self.decode(target, *self.encode(source)))

    def encode(self, source):
        """A source (B, S) as memory (B, S, C), and which of it may be seen, booleans (B, 1, 1, S).

        Raises:
            ValueError: more tokens than the context holds, or not of two axes.
        """
        self._check("source", source, 0)
        mask = (source >= 0)[:, None, None, :]
        return self.encoder.through(self._embedded(source), mask=mask), mask

    def decode(self, target, memory, memory_mask, *, cache=None):
        """What the last norm gives for each token of `target` (B, T), (B, T, C); for the rest see `encode`.

        Args:
            cache: of `new_cache`: `target` goes on where those before ended, and is added to it.

        Raises:
            ValueError: more tokens than the context holds, or not of two axes.
        """
        self._check("target", target, cache.length if cache else 0)
        return self.decoder.through(
            self._embedded(target), memory, memory_mask=memory_mask, causal=True, cache=cache
        )

    def logits(self, hidden):
        """(..., C) -> (..., V)."""
        return ops.linear(hidden, self.wte.weight if self.config.tied else self.lm_head.weight)

    def loss(self, source, target, *, reduction="mean"):
        """The cross-entropy of `target` given `source`, in nats, each token after those before it.

        Args:
            source: integers (B, S), filled up with numbers below 0.
            target: integers (B, T + 1), the start, a sentence and its end, filled up with -100. The start is
                given, not guessed.
            reduction: "mean" over the targets that count, "sum", or "none".

        While training, labels are smoothed as the configuration says (section 5.4).

        Raises:
            ValueError: as for `forward`.
        """
        smoothing = self.config.label_smoothing if self.training else 0.0
        logits = self(source, target[:, :-1])
        return ops.cross_entropy(logits, target[:, 1:], label_smoothing=smoothing, reduction=reduction)

    def new_cache(self, tokens, sources):
        """An empty cache for targets of up to so many tokens, and a memory of so many."""
        return Cache(self.config.layers, tokens, sources)

    def _embedded(self, tokens):
        """(B, T) -> (B, T, C), times sqrt(C) (section 3.4).

        A row of the matrix has about length 1, which suits a guess; its numbers become as large as sines.
        """
        return self.wte(ops.maximum(tokens, 0)) * math.sqrt(self.config.width)

    def _check(self, what, tokens, start):
        if len(tokens.shape) != 2 or start + tokens.shape[1] > self.config.context:
            raise ValueError(
                f"Translator: expected a {what} of two axes with at most {self.config.context} tokens in a "
                f"row, got {tuple(tokens.shape)} after {start} tokens; shorten it, or train with a larger "
                "context"
            )
