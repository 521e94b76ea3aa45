"""Choosing the next token, again and again: how a language model writes.

    temperature         divides the logits: below 1 bolder, above 1 more at random; 0 takes the likeliest
    top_k               only the k likeliest (Fan et al., Hierarchical neural story generation, 2018)
    top_p               only the fewest that together have this probability (Holtzman et al., The curious case
                        of neural text degeneration, 2020: nucleus sampling)
    min_p               only those with at least this share of the likeliest one's probability (Nguyen et al.,
                        Turning up the heat, 2024, arXiv 2407.01082)
    repetition_penalty  logits of tokens that have been written are divided by it if positive, else multiplied
                        (Keskar et al., CTRL, 2019, section 4.1)

They are applied in this order: penalty, temperature, top_k, top_p, min_p. Letters: B batch, V vocabulary.
"""

from dataclasses import dataclass

import numpy as np

from ..autograd import no_grad
from ..configuration import check, option


@dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """How the next token is chosen.

    Raises:
        ValueError: a setting is out of its range.
    """

    temperature: float = option(
        1.0, "below 1 bolder, above 1 more at random; 0 takes the likeliest token", at_least=0
    )
    top_k: int | None = option(None, "choose among so many of the likeliest", at_least=1)
    top_p: float | None = option(
        None, "choose among the fewest that together have this probability, at most 1", above=0
    )
    min_p: float | None = option(
        None, "choose among those with this share of the likeliest one's probability, at most 1", at_least=0
    )
    repetition_penalty: float = option(1.0, "above 1, tokens that were written become less likely", above=0)

    def __post_init__(self):
        check(self)
        for name in ("top_p", "min_p"):
            if (getattr(self, name) or 0) > 1:
                raise ValueError(
                    f"{name}: expected at most 1, got {getattr(self, name)}; it is a probability"
                )


def probabilities(logits, config, *, written=()):
    """The distribution that the next token is drawn from.

    Args:
        logits: an array (V,).
        config: a SamplingConfig.
        written: the tokens so far, integers, for the repetition penalty.

    Returns:
        float64 (V,), which sum to 1.
    """
    logits = np.array(logits, np.float64)
    if config.repetition_penalty != 1 and len(written):
        seen = np.unique(written)
        factor = np.where(logits[seen] > 0, 1 / config.repetition_penalty, config.repetition_penalty)
        logits[seen] *= factor
    if config.temperature == 0:
        return np.eye(1, len(logits), int(logits.argmax()))[0]
    p = np.exp((logits - logits.max()) / config.temperature)
    p /= p.sum()
    if config.top_k is not None or config.top_p is not None:
        order = np.argsort(-p, kind="stable")  # the likeliest first, of equals the first
    if config.top_k is not None:
        p[order[config.top_k :]] = 0
        p /= p.sum()
    if config.top_p is not None:
        before = np.cumsum(p[order]) - p[order]
        p[order[before >= config.top_p]] = 0  # the first one always stays
        p /= p.sum()
    if config.min_p is not None:
        p[p < config.min_p * p.max()] = 0
        p /= p.sum()
    return p


def draw(p, rng):
    """A token drawn from the distribution `p`, float64 (V,), by one random number."""
    stretch = np.cumsum(p)
    return int(np.searchsorted(stretch, rng.random() * stretch[-1], side="right"))


def choose(logits, config, rng, *, written=()):
    """The next token, an integer: the likeliest, without a random number, or one that is drawn by one.

    Arguments as for `probabilities`.
    """
    if config.temperature == 0 and config.repetition_penalty == 1:
        return int(logits.argmax())
    return draw(probabilities(logits, config, written=written), rng)


def window(count, context):
    """Where the part of `count` tokens begins that a model sees which sees at most `context` at once.

    When the room is used up, the older half is forgotten: so the cache is filled anew only once in half a
    context, and what is seen depends on `count` alone, with a cache or without.
    """
    half = max(1, context // 2)
    return max(0, -(-(count - context) // half) * half)


@no_grad()
def generate(model, prompt, *, sampling, rngs, cached=True):
    """Yield the tokens after a prompt, int64 (B,) each, without end: whoever consumes them decides.

    Rows do not touch each other: each draws from a generator of its own, and gets the tokens that it would
    get alone.

    Args:
        model: a GPT in evaluation mode, or what has its `config.context`, `new_cache` and `next_logits`.
        prompt: integers (B, T), at least one of them.
        sampling: a SamplingConfig.
        rngs: B np.random.Generators.
        cached: False computes all that is seen for each token again, which takes longer and gives the same.

    Raises:
        ValueError: an empty prompt, or another number of generators.
    """
    tokens = np.array(prompt, np.int64)
    if tokens.ndim != 2 or tokens.shape[1] == 0 or len(rngs) != len(tokens):
        raise ValueError(
            f"generate: expected a prompt (B, T) with T of at least 1, and B generators, got {tokens.shape} "
            f"and {len(rngs)}; begin with a token that stands for the start"
        )
    texts, cache, start = tokens.tolist(), None, -1
    while True:
        now = window(len(texts[0]), model.config.context)
        first = len(texts[0]) - 1  # what the cache does not hold
        if not cached or now != start:
            cache, start, first = model.new_cache() if cached else None, now, now
        new = np.array([text[first:] for text in texts])
        logits = model.next_logits(new, cache=cache).numpy()
        for row, text, rng in zip(logits, texts, rngs):
            text.append(choose(row, sampling, rng, written=text))
        yield np.array([text[-1] for text in texts])


@no_grad()
def greedy(model, prompts):
    """Yield the likeliest tokens after several prompts, int64 (B,) each, until the context is full.

    The prompts may differ in length and need no padding: all rows begin together, and where a prompt is
    longer, its own token is read instead of the one that was written. Such a row has -1 in what is yielded.

    Args:
        model: as for `generate`.
        prompts: B rows of integers, each of at least one and at most `context` of them.

    Raises:
        ValueError: a prompt is empty, or longer than the context.
    """
    lengths = np.array([len(prompt) for prompt in prompts])
    context = model.config.context
    if not 1 <= min(lengths, default=0) <= max(lengths) <= context:
        raise ValueError(
            f"greedy: expected prompts of 1 to {context} tokens, got {lengths.tolist()}; give the last ones"
        )
    given = np.zeros((len(prompts), max(lengths)), np.int64)
    for row, prompt in zip(given, prompts):
        row[: len(prompt)] = prompt
    cache, new = model.new_cache(), given[:, : min(lengths)]
    for count in range(min(lengths), context + 1):
        hidden = model.hidden(new, cache=cache)
        token = model.logits(hidden[:, -1]).numpy().argmax(axis=-1)
        reading = count < lengths
        yield np.where(reading, -1, token)
        token[reading] = given[reading, min(count, given.shape[1] - 1)]
        new = token[:, None]


def until(pieces, stop):
    """Yield pieces of text up to the string `stop`, and nothing of it, however it is cut; all, if it is None.

    What may be the beginning of `stop` is held back until it is clear.
    """
    held = ""
    for piece in pieces:
        held += piece
        if stop and stop in held:
            yield held[: held.index(stop)]
            return
        keep = next((n for n in range(len(stop or "") - 1, 0, -1) if held.endswith(stop[:n])), 0)
        yield held[: len(held) - keep]
        held = held[len(held) - keep :]
    yield held
