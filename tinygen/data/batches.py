"""Minibatches: arrays in pieces of a few rows, in a new order every epoch."""

import math


class Minibatches:
    """The minibatches of a training. Any step's can be had at once, so a training can go on from anywhere.

        minibatches = Minibatches(x, labels, size=100, rng=lambda epoch: np.random.default_rng([seed, epoch]))
        for step in range(3 * len(minibatches)):      # three epochs
            x, labels = minibatches.at(step)

    Each epoch has every row once. Its last minibatch holds what is left, so it may be smaller.

    Args:
        arrays: (N, ...) each, the same N of at least 1.
        size: rows of a minibatch.
        rng: a function from the number of an epoch to the np.random.Generator that draws its order.

    Raises:
        ValueError: no rows, arrays of different lengths, or a size below 1.
    """

    def __init__(self, *arrays, size, rng):
        lengths = sorted({len(array) for array in arrays})
        if len(lengths) != 1:
            raise ValueError(f"Minibatches: expected arrays of one length, got {lengths}; pass matching rows")
        if not lengths[0]:
            raise ValueError("Minibatches: expected at least one row, got none; is the data set empty?")
        if size < 1:
            raise ValueError(f"Minibatches: expected a size of at least 1, got {size}; 100 is usual")
        self.arrays, self.size, self.rng = arrays, size, rng
        self.epoch, self.order = None, None  # the epoch that was asked for last, and its order of the rows

    def __len__(self):
        """How many minibatches an epoch has."""
        return math.ceil(len(self.arrays[0]) / self.size)

    def at(self, step):
        """The minibatch of a step, counted from 0 over all epochs: a tuple of matching rows of the arrays."""
        epoch, place = divmod(step, len(self))
        if epoch != self.epoch:
            self.epoch, self.order = epoch, self.rng(epoch).permutation(len(self.arrays[0]))
        rows = self.order[place * self.size : (place + 1) * self.size]
        return tuple(array[rows] for array in self.arrays)


def in_order(*arrays, size):
    """Yield tuples of `size` matching rows of `arrays`, from the first to the last: for evaluations."""
    for start in range(0, len(arrays[0]), size):
        yield tuple(array[start : start + size] for array in arrays)
