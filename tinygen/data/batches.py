"""Minibatches: one pass over arrays in a shuffled order."""


def minibatches(*arrays, size, rng):
    """Yield tuples of `size` matching rows of `arrays`: each row once, in an order drawn from `rng`.

    The last batch holds what is left, so it may be smaller. Call again for another epoch in another order.

    Args:
        arrays: (N, ...) each, the same N.
        rng: a np.random.Generator.

    Raises:
        ValueError: arrays of different lengths, or a size below 1.
    """
    lengths = sorted({len(array) for array in arrays})
    if len(lengths) != 1:
        raise ValueError(f"minibatches: expected arrays of one length, got {lengths}; pass matching rows")
    if size < 1:
        raise ValueError(f"minibatches: expected a size of at least 1, got {size}; 100 is usual")
    return _walk(arrays, rng.permutation(lengths[0]), size)


def _walk(
    arrays, order, size
):  # apart, so that the checks above happen at the call and not at the first batch
    for start in range(0, len(order), size):
        rows = order[start : start + size]
        yield tuple(array[rows] for array in arrays)
