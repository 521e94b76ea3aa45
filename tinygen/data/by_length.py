"""Minibatches of sentences that are about equally long, so that little is computed for filling.

Letters: N examples, L lengths that each has (its source's and its target's).
"""

import numpy as np

from .batches import epoch_and_place

PADDING = -100  # what fills rows up: no token, and no target that counts


def padded(rows):
    """Sequences of integers as one array, int32 (N, longest), filled up at the end with PADDING."""
    longest = max((len(row) for row in rows), default=0)
    table = np.full((len(rows), longest), PADDING, np.int32)
    for row, tokens in zip(table, rows):
        row[: len(tokens)] = tokens
    return table


def cropped(table):
    """int64 rows of a padded table, as wide as the longest of them."""
    return table[:, : max(1, int((table != PADDING).sum(axis=1).max()))].astype(np.int64)


class BatchesByLength:
    """The rows of minibatches of examples of about one length, in a new order every epoch.

        batches = BatchesByLength(lengths, tokens=4096, rng=lambda epoch: np.random.default_rng([0, epoch]))
        rows = batches.at(step)

    Examples are sorted by their last length, equal ones by the one before; which of those that have all
    lengths in common meet in a minibatch is drawn in each epoch, and so is the order of minibatches. So every
    epoch has as many, and every example once.

    Args:
        lengths: integers (N, L), at least 1.
        tokens: that fit into a minibatch, where each example counts as the longest length in it. An example
            with more is alone.
        rng: a function from the number of an epoch to the np.random.Generator that draws its order.

    Raises:
        ValueError: no examples, or tokens below 1.
    """

    def __init__(self, lengths, *, tokens, rng):
        self.lengths, self.rng = np.asarray(lengths), rng
        if not len(self.lengths) or tokens < 1:
            raise ValueError(
                f"BatchesByLength: expected at least one example and one token, got {len(self.lengths)} and "
                f"{tokens}; 4096 tokens are usual"
            )
        self.epoch, self.order, self.places = None, None, None
        longest = self.lengths[np.lexsort(self.lengths.T)].max(axis=1)
        # The sorted lengths are the same in every epoch, and so is where they are cut.
        self.cuts, width = [0], 0
        for i, length in enumerate(longest.tolist()):
            width = max(width, length)
            if i > self.cuts[-1] and (i + 1 - self.cuts[-1]) * width > tokens:
                self.cuts.append(i)
                width = length
        self.cuts.append(len(longest))

    def __len__(self):
        """How many minibatches an epoch has."""
        return len(self.cuts) - 1

    def at(self, step):
        """The examples of a step's minibatch, counted from 0 over all epochs: their numbers, int64.

        Raises:
            ValueError: a negative step.
        """
        epoch, place = epoch_and_place(step, len(self))
        if epoch != self.epoch:
            rng = self.rng(epoch)
            mixed = rng.permutation(len(self.lengths))
            self.order = mixed[np.lexsort(self.lengths[mixed].T)]  # a stable sort: ties stay mixed
            self.epoch, self.places = epoch, rng.permutation(len(self))
        cut = self.places[place]
        return self.order[self.cuts[cut] : self.cuts[cut + 1]]
