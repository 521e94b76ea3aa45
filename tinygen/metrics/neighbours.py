"""Are samples like the data, and all of the data? By nearest neighbours among features.

    Kynkaanniemi et al., Improved precision and recall metric for assessing generative models (2019),
        arXiv 1904.06991: eq. 1 and 2, with 3 neighbours
    Naeem et al., Reliable fidelity and diversity metrics for generative models (2020), arXiv 2002.09797:
        density and coverage, eq. 4 and 5, with 5 neighbours

Around each row of a set lies a ball that reaches to its k-th nearest neighbour in the set; together they are
where the set is.

    precision   the share of samples that lie in a ball of the data: what is made is good
    recall      the share of the data that lies in a ball of the samples: what there is, is made
    density     how many balls of the data a sample lies in, over k: precision that one outlier cannot raise
    coverage    the share of the data whose own ball has a sample in it: recall that one cannot

Precision, recall and coverage are in [0, 1], density is not bounded. For samples that are as the data are,
density is 1, coverage 1 - 2^-k for large sets of one size (0.97), and precision and recall depend on the
features, as far below 1 as the data are from their own like.

Rotating all features, or shifting them, changes none of the four; nor does a change of scale.

Letters: N rows of data, M samples, D features.
"""

from dataclasses import dataclass

import numpy as np

from .feature_sets import feature_sets

AT_ONCE = 1 << 22  # distances that are in memory at once: 32 MB
TIE = 1e-12  # of the largest squared norm: what two orders of adding may make of one squared distance


@dataclass(frozen=True)
class Neighbourhoods:
    """What `neighbourhoods` found; see above."""

    precision: float
    recall: float
    density: float
    coverage: float


def neighbourhoods(real, fake, *, manifold=3, ball=5, at_once=AT_ONCE):
    """The Neighbourhoods of two sets of features.

    Args:
        real, fake: (N, D) and (M, D).
        manifold: k of precision and recall.
        ball: k of density and coverage.
        at_once: distances that are in memory at once, at least those of one row. Time, not the result,
            depends on it.

    Raises:
        ValueError: a k below 1, no more rows than the larger k, other shapes, or numbers that are not finite.
    """
    if min(manifold, ball) < 1:
        raise ValueError(
            f"neighbourhoods: expected manifold and ball of at least 1, got {manifold} and {ball}; 3 and 5 "
            "are usual"
        )
    real, fake = feature_sets("neighbourhoods", real, fake, least=max(manifold, ball) + 1)
    centre = real.mean(axis=0)  # distances come out of products, and those of small numbers lose less
    real, fake = real - centre, fake - centre
    # Where a row lies right on a ball, as all do that were used to make it, rounding must not decide.
    tie = TIE * max(np.square(rows).sum(axis=1).max() for rows in (real, fake))
    reach, reach_dense = (radii + tie for radii in _radii(real, (manifold, ball), at_once))
    (reach_fake,) = (radii + tie for radii in _radii(fake, (manifold,), at_once))
    good, balls, nearest = 0, 0, np.full(len(real), np.inf)
    found = np.zeros(len(real), bool)
    for rows, squares in blocks(fake, real, at_once):
        good += int((squares <= reach).any(axis=1).sum())
        balls += int((squares <= reach_dense).sum())
        nearest = np.minimum(nearest, squares.min(axis=0))
        found |= (squares <= reach_fake[rows, None]).any(axis=0)
    return Neighbourhoods(
        precision=good / len(fake),
        recall=float(found.mean()),
        density=balls / (ball * len(fake)),
        coverage=float((nearest <= reach_dense).mean()),
    )


def spacing(x):
    """The median distance of a row of x (N, D), N > 1, to its nearest other: 0 if most are there twice."""
    (squares,) = _radii(x, (1,), AT_ONCE)
    return float(np.sqrt(np.median(squares)))


def blocks(x, y, at_once=AT_ONCE):
    """Squared distances of the rows of x (N, D) and y (M, D), some rows of x at a time.

    |x - y|^2 = |x|^2 + |y|^2 - 2 x . y, which is a matrix product, and about ten times faster than to
    subtract; the error is that of the numbers' dtype, of the squared norms and not of the distance.

    Yields:
        rows: a slice of x.
        squares: (rows, M), at least 0, in the dtype of x and y.
    """
    step = max(1, at_once // len(y))
    ours, theirs = (np.square(rows).sum(axis=1) for rows in (x, y))
    for start in range(0, len(x), step):
        rows = slice(start, start + step)
        squares = x[rows] @ y.T
        squares *= -2
        squares += ours[rows, None]
        squares += theirs
        yield rows, np.maximum(squares, 0, out=squares)


def _radii(x, ks, at_once):
    """For each k the squared distance (N,) of every row to its k-th nearest other row."""
    found = np.empty((len(ks), len(x)))
    for rows, squares in blocks(x, x, at_once):
        here = np.arange(rows.start, rows.start + len(squares))
        squares[np.arange(len(squares)), here] = np.inf  # not to itself
        nearest = np.partition(squares, [k - 1 for k in ks], axis=1)
        found[:, rows] = nearest[:, [k - 1 for k in ks]].T
    return found
