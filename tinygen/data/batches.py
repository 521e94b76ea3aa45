"""Shuffled minibatches with random access by step, so that a run can resume anywhere."""

import operator


class Minibatches:
    """The minibatches of a training: arrays in pieces of a few rows, in a new order every epoch.

        minibatches = Minibatches(x, labels, size=100, rng=lambda epoch: np.random.default_rng([seed, epoch]))
        for step in range(3 * len(minibatches)):      # three epochs
            x, labels = minibatches.at(step)

    Each epoch has every row once. Its last minibatch holds what is left, so it may be smaller.

    Args:
        arrays: (N, ...) each, the same N of at least 1.
        size: rows of a minibatch.
        rng: a function from the number of an epoch to the np.random.Generator that draws its order.
        equal: all minibatches have `size` rows; what is left at the end of an epoch is left out.

    Raises:
        ValueError: no rows, arrays of different lengths, or a size that is not a whole number of at least 1;
            with `equal`, fewer rows than that.
    """

    def __init__(self, *arrays, size, rng, equal=False):
        _check("Minibatches", arrays, size)
        if not len(arrays[0]):
            raise ValueError("Minibatches: expected at least one row, got none; is the data set empty?")
        if equal and len(arrays[0]) < size:
            raise ValueError(
                f"Minibatches: expected at least {size} rows, one minibatch, got {len(arrays[0])}; "
                "choose a smaller size"
            )
        self.arrays, self.size, self.rng, self.equal = arrays, size, rng, equal
        self.epoch, self.order = None, None  # the epoch that was asked for last, and its order of the rows

    def __len__(self):
        """How many minibatches an epoch has."""
        whole, left = divmod(len(self.arrays[0]), self.size)
        return whole if self.equal or not left else whole + 1

    def at(self, step):
        """The minibatch of a step, counted from 0 over all epochs: a tuple of matching rows of the arrays.

        Raises:
            ValueError: a negative step.
        """
        epoch, place = epoch_and_place(step, len(self))
        if epoch != self.epoch:
            self.epoch, self.order = epoch, self.rng(epoch).permutation(len(self.arrays[0]))
        rows = self.order[place * self.size : (place + 1) * self.size]
        return tuple(array[rows] for array in self.arrays)


def epoch_and_place(step, minibatches):
    """The epoch of a step, and its place there, both from 0, where an epoch has so many minibatches.

    Raises:
        ValueError: a negative step.
    """
    if step < 0:
        raise ValueError(f"at: expected a step of at least 0, got {step}; steps count over all epochs")
    return divmod(step, minibatches)


def in_order(*arrays, size):
    """Tuples of `size` matching rows of `arrays`, one after the other, from first to last: for evaluations.

    Returns:
        An iterator; its last tuple holds what is left.

    Raises:
        ValueError: arrays of different lengths, or a size that is not a whole number of at least 1.
    """
    _check("in_order", arrays, size)
    starts = range(0, len(arrays[0]), size)
    return (tuple(array[start : start + size] for array in arrays) for start in starts)


def _check(who, arrays, size):
    lengths = sorted({len(array) for array in arrays})
    if len(lengths) != 1:
        raise ValueError(f"{who}: expected arrays of one length, got {lengths}; pass matching rows")
    try:
        whole = not isinstance(size, bool) and operator.index(size) >= 1
    except TypeError:
        whole = False
    if not whole:
        raise ValueError(f"{who}: expected a whole number of at least 1 as size, got {size!r}; 100 is usual")
