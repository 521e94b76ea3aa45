"""Windows: pieces of a long row of tokens, and for each token the one that comes next.

Letters: N tokens of the text, B windows of a minibatch, T tokens of a window.
"""

import numpy as np


class Windows:
    """Minibatches of windows that begin anywhere in a text, at random. Any step's can be had at once.

        windows = Windows(tokens, length=64, size=12, rng=lambda step: np.random.default_rng([seed, step]))
        x, y = windows.at(step)      # y[b, t] is the token after x[b, t]

    Args:
        tokens: integers (N,), N > length.
        length: T. size: B.
        rng: a function from the step to the np.random.Generator that draws where its windows begin.

    Raises:
        ValueError: a text of fewer than T + 1 tokens, or a length or size below 1.
    """

    def __init__(self, tokens, *, length, size, rng):
        if length < 1 or size < 1:
            raise ValueError(f"Windows: expected length and size of at least 1, got {length} and {size}")
        if len(tokens) <= length:
            raise ValueError(
                f"Windows: expected more than {length:,} tokens, one window and the next token, got "
                f"{len(tokens):,}; give a longer text or a shorter length"
            )
        self.tokens, self.length, self.size, self.rng = tokens, length, size, rng

    @property
    def per_epoch(self):
        """How many minibatches hold as many tokens as the text has, a float."""
        return len(self.tokens) / (self.size * self.length)

    def at(self, step):
        """The minibatch of a step: tokens and the tokens after them, int64 (B, T) each."""
        starts = self.rng(step).integers(0, len(self.tokens) - self.length, self.size)
        rows = self.tokens[starts[:, None] + np.arange(self.length + 1)].astype(np.int64)
        return rows[:, :-1], rows[:, 1:]


def windows_in_order(tokens, *, length, size, ignore=-100):
    """Yield (x, y), int64 (up to B, T) each, that have every token but the first once as a target.

    The last window is filled up with zeros, which have the target `ignore`.

    Raises:
        ValueError: `length` or `size` is below 1.
    """
    if min(length, size) < 1:
        raise ValueError(f"windows_in_order: expected length and size of at least 1, got {length} and {size}")
    count = max(1, -(-(len(tokens) - 1) // length))
    x, y = np.zeros(count * length, np.int64), np.full(count * length, ignore, np.int64)
    x[: len(tokens) - 1], y[: len(tokens) - 1] = tokens[:-1], tokens[1:]
    x, y = x.reshape(count, length), y.reshape(count, length)
    for start in range(0, count, size):
        yield x[start : start + size], y[start : start + size]
