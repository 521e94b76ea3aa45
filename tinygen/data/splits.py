"""What the data sets share: the two splits, and random draws that stay the same for good.

NumPy promises that the raw output of a bit generator never change, but not what a Generator makes of them
(NEP 19, Random number generator policy). A data set that is made here has to be the same in every release and
on every machine, so it is made of raw output alone.
"""

import numpy as np

SPLITS = ("train", "test")


def check_split(who, split, known=SPLITS):
    """Refuse a `split` that is none of `known`, "train" and "test" unless given.

    Args:
        who: the function that was asked for it, for the message.
        known: the names of at least two splits.

    Raises:
        ValueError: an unknown split.
    """
    if split not in known:
        *others, last = map(repr, known)
        expected = f"{', '.join(others)} or {last}"
        raise ValueError(f"{who}: expected split {expected}, got {split!r}; choose one of them")


def random_uint64(n, *, seed):
    """`n` random numbers, uint64 (n,), each of the 2**64 values as likely as any other.

    Args:
        seed: a whole number of at least 0, or several: (1, 0) and (1, 1) give independent streams.
    """
    return np.random.PCG64(seed).random_raw(n)


def rows_of_split(n, *, split, seed, train=None):
    """The rows that one split takes of `n`, in a fixed shuffled order: int64 (train,) or (n - train,).

    Args:
        split: "train" or "test"; together they take every row once.
        seed: of the order.
        train: how many rows train; nine tenths, rounded down, unless given.
    """
    order = np.argsort(random_uint64(n, seed=seed), kind="stable").astype(np.int64)
    train = n * 9 // 10 if train is None else train
    return order[:train] if split == "train" else order[train:]
