"""Pairs as rows for a model that reads from left to right: a prompt, then its answer, which alone is learnt.

    tokens     2 7 + 5 8 = 8 5 $          of the row "27+58=85$"
    x          2 7 + 5 8 = 8 5            what the model reads
    y          . . . . . 8 5 $            what it is to guess; a dot is -100, which counts for nothing

Rows end with padding, whose targets are -100 too. No answer's token sees it, since it comes after.

Radford et al., Improving language understanding by generative pre-training (2018), section 3.3: a task with
two texts becomes one text, with a delimiter between them. Left out: several pairs in one row.

Letters: N rows, T tokens that are read.
"""

import numpy as np

from .by_length import PADDING


def pair_rows(prompts, answers, *, room):
    """Tokens and targets, int32 (N, T) each, T those of the longest row.

    Args:
        prompts, answers: N rows of tokens each, none empty.
        room: of a longer prompt only so many tokens are kept, the last ones. An answer is never cut.
    """
    rows = [np.concatenate([prompt[-room:], answer]) for prompt, answer in zip(prompts, answers)]
    x = np.zeros((len(rows), max(map(len, rows)) - 1), np.int32)
    y = np.full_like(x, PADDING)
    for i, (row, answer) in enumerate(zip(rows, answers)):
        x[i, : len(row) - 1] = row[:-1]
        y[i, len(row) - 1 - len(answer) : len(row) - 1] = answer
    return x, y


def trimmed_rows(x, y):
    """A minibatch of `pair_rows`, int64, without the columns of padding that all its rows have."""
    used = np.flatnonzero((y >= 0).any(axis=0))[-1] + 1
    return x[:, :used].astype(np.int64), y[:, :used].astype(np.int64)
