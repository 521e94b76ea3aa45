"""Beam search: the translation that a model finds likeliest, or nearly: several beginnings are kept alive.

    Sutskever, Vinyals & Le, Sequence to sequence learning with neural networks (2014), section 3.2
    Wu et al., Google's neural machine translation system (2016), arXiv 1609.08144, eq. 14: length penalty
    Huang, Zhao & Ma, When to finish? Optimal beam search for neural text generation (2017): when to stop

At each token, of all continuations of all beginnings the likeliest K are kept; those that end leave the beam.
A beam of 1 takes the likeliest token each time. Long sentences are less likely than short ones just for being
long, so what is compared at the end is log P / lp(length), with lp(n) = ((5 + n) / 6)^alpha.

Left out: coverage of the source, and sampling, which sampling.py does for a GPT.

Letters: B sentences, K beams, V vocabulary.
"""

from dataclasses import dataclass

import numpy as np

from ..autograd import no_grad, ops
from ..configuration import check, option


@dataclass(frozen=True, kw_only=True)
class BeamConfig:
    """How a translation is looked for.

    Raises:
        ValueError: a setting is out of its range.
    """

    beams: int = option(5, "beginnings that are kept; 1 takes the likeliest token each time", at_least=1)
    length_penalty: float = option(
        0.6, "alpha: 0 compares log-probabilities, above it long translations are favoured", at_least=0
    )

    def __post_init__(self):
        check(self)


@dataclass(frozen=True)
class Hypothesis:
    """A translation that has ended.

    tokens  a tuple of ints, without start and end
    log_p   the log-probability of it and its end, in nats
    score   log_p / lp(number of tokens and the end): what is compared
    """

    tokens: tuple
    log_p: float
    score: float


def length_penalty(n, alpha):
    """lp(n), eq. 14 of Wu et al."""
    return ((5 + n) / 6) ** alpha


@no_grad()
def beam_search(model, source, *, start, end, search, limit):
    """The best translations of each source sentence that the search finds, at most K, the best first.

    It stops when no beginning that is alive can do better than the best that has ended, so a beam wide enough
    to lose nothing finds the best that there is within the limit. A beginning may become as long as that, so
    the search often goes on for some tokens after the best has ended. Sentences do not touch each other.

    Args:
        model: a Translator in evaluation mode.
        source: integers (B, S), filled up with numbers below 0.
        start, end: tokens that begin and end a target; the first is never written.
        search: a BeamConfig.
        limit: tokens of a translation at most, its end included; there it ends, whatever the model says. An
            int, or integers (B,).

    Returns:
        B lists of Hypothesis.

    Raises:
        ValueError: a limit below 1 or above the model's context, or a source that the model refuses.
    """
    limits = np.broadcast_to(limit, len(source))
    if not ((limits >= 1) & (limits <= model.config.context)).all():
        raise ValueError(
            f"beam_search: expected a limit from 1 to the context, {model.config.context}, got {limit}; "
            "change it"
        )
    beams, alpha = search.beams, search.length_penalty
    memory, mask = model.encode(source)
    ended = [[] for _ in source]
    # Rows are beginnings, K for each sentence that is not done. Only one is alive at first: all are alike.
    sentences = np.arange(len(source))
    rows = np.repeat(sentences, beams)
    memory, mask, cache = memory.numpy()[rows], mask[rows], model.new_cache(int(max(limits)), source.shape[1])
    written = np.full((len(rows), 1), start, np.int64)
    log_p = np.where(np.arange(beams) == 0, 0.0, -np.inf)[None].repeat(len(source), axis=0)  # (B, K)
    for length in range(1, int(max(limits)) + 1):
        hidden = model.decode(written[:, -1:], memory, mask, cache=cache)
        logits = model.logits(hidden[:, -1]).numpy().astype(np.float64)
        step = ops.log_softmax(logits)  # (B K, V)
        step[:, start] = -np.inf
        over = np.repeat(length == limits[sentences], beams)  # for these only the end is left
        step[np.ix_(over, np.arange(step.shape[1]) != end)] = -np.inf
        vocabulary = step.shape[1]
        total = (log_p.reshape(-1, 1) + step).reshape(len(sentences), -1)  # (B, K V)
        chosen = likeliest(total, beams)
        log_p = np.take_along_axis(total, chosen, axis=1)
        parents = (chosen // vocabulary + beams * np.arange(len(sentences))[:, None]).reshape(-1)
        tokens = chosen % vocabulary
        written = np.concatenate([written[parents], tokens.reshape(-1, 1)], axis=1)
        for i, k in zip(*np.nonzero((tokens == end) & (log_p > -np.inf))):
            text = tuple(written[i * beams + k, 1:-1].tolist())
            score = log_p[i, k] / length_penalty(length, alpha)
            ended[sentences[i]].append(Hypothesis(text, float(log_p[i, k]), float(score)))
        log_p[tokens == end] = -np.inf
        # A beginning can at best be continued with probability 1, and be as long as is allowed.
        bound = log_p.max(axis=1) / length_penalty(limits[sentences], alpha)
        best = np.array([max((h.score for h in ended[i]), default=-np.inf) for i in sentences])
        going = np.flatnonzero(bound > best)
        if not len(going):
            break
        kept = (going[:, None] * beams + np.arange(beams)).reshape(-1)
        sentences, log_p, written = sentences[going], log_p[going], written[kept]
        memory, mask = memory[kept], mask[kept]
        cache.keep(parents[kept])
    return [sorted(hypotheses, key=lambda h: -h.score)[:beams] for hypotheses in ended]


def likeliest(total, count):
    """The columns of the `count` largest numbers of each row, the largest first; of equals the first."""
    chosen = []
    for row in total:
        columns = np.flatnonzero(row >= np.partition(row, -count)[-count])  # all equals at the border too
        chosen.append(columns[np.argsort(-row[columns], kind="stable")][:count])
    return np.stack(chosen)
