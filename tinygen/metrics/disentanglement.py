"""Which latent dimension tells which known factor of the data: mutual information, and the gap to the next.

    Chen, Li, Grosse & Duvenaud, Isolating sources of disentanglement in VAEs (2018), arXiv 1802.04942,
        section 4.1: the mutual information gap (MIG)
    Locatello et al., Challenging common assumptions in the unsupervised learning of disentangled
        representations (2019), arXiv 1811.12359: from posterior means, in 20 bins of equal width
    Vinh, Epps & Bailey, Information theoretic measures for clusterings comparison (2010): what is adjusted
        for chance

    MIG = mean over factors f of [I(z_1; f) - I(z_2; f)] / H(f)

where z_1 and z_2 are the two latents that tell most of f. It is 1 where each factor has a latent to itself
that tells all of it, and near 0 where none tells anything, or several tell the same.

From N images the information of independent numbers comes out too large, by about (bins - 1) (values - 1) /
2N nats: for a latent and one of 16 orientations in 1,229 images 0.12, which is 4 % of what there is to know.
So we shuffle the factors, which leaves chance alone, and measure from there:

    share = (I - I_0) / (H - I_0)    with I_0 the mean of I over shufflings

which is 0 for noise, on average, and still 1 for a latent that tells all. With it in place of I / H the gap
is a little larger than Chen et al.'s: I_0 cancels in the difference, and is missing from the divisor.

Left out: the other scores of Locatello et al., which train a classifier on the code.

Letters: N images, J latent dimensions, K factors.
"""

from dataclasses import dataclass

import numpy as np

BINS = 20
TELLING = 0.1  # a latent that tells less than a tenth of a factor has not found it
BEYOND_CHANCE = 5  # standard deviations of what chance tells


@dataclass(frozen=True)
class Information:
    """What each latent dimension tells of each factor.

    shares   (J, K): of what there is to know; 1 is all, and 0 what chance tells, so noise is below it, too
    chance   (J, K): the standard deviation of the shares of shuffled factors
    entropy  (K,): what there is to know of each factor, in nats
    """

    shares: np.ndarray
    chance: np.ndarray
    entropy: np.ndarray

    @property
    def gaps(self):
        """(K,): by how much the latent that tells most of a factor is ahead of the next, or of chance."""
        ordered = np.sort(np.concatenate([np.zeros((1, self.shares.shape[1])), self.shares]), axis=0)
        return ordered[-1] - ordered[-2]

    @property
    def gap(self):
        """The mutual information gap: the mean over the factors."""
        return float(self.gaps.mean())

    @property
    def found(self):
        """For each factor the latent that has found it, or None: a list of K.

        Latent j has found factor f when f is what j tells most of, no other latent tells more of f, and it
        tells a tenth of it at least, and that by five standard deviations more than chance. So a latent finds
        one factor at most, and a factor that two latents tell equally is found by either.
        """
        best, subject = self.shares.argmax(axis=0), self.shares.argmax(axis=1)
        least = np.maximum(TELLING, BEYOND_CHANCE * self.chance)
        found = [subject[j] == f and self.shares[j, f] >= least[j, f] for f, j in enumerate(best)]
        return [int(j) if there else None for j, there in zip(best, found)]


def information(codes, factors, *, within=None, bins=BINS, shuffles=100, rng):
    """The Information of latent codes on the factors of their images.

    Some factors have a meaning only together with another: the number of an orientation is another angle for
    a square, that looks the same after a quarter turn, than for a heart. A latent that knows the angle would
    be taken to know little, as the numbers of different shapes contradict each other. What it knows is
    I(z; f | g) of H(f | g): measured among the images of each value of g, in bins of their own, and averaged.

    Args:
        codes: (N, J), the means of q(z|x).
        factors: (N, K), whole numbers.
        within: a dict of a factor to the one within whose values it is measured, both as columns.
        bins: equal parts of each latent's range. A single code far out leaves fewer of them to the others.
        shuffles: how often chance is tried.
        rng: the np.random.Generator that shuffles.

    Raises:
        ValueError: shapes that do not fit; codes that are not finite; or a factor of which nothing can be
            known, as it has one value, or chance tells it already.
    """
    codes, factors = np.asarray(codes, np.float64), np.asarray(factors)
    if codes.ndim != 2 or factors.ndim != 2 or len(codes) != len(factors) or not len(codes):
        raise ValueError(
            f"information: expected codes (N, J) and factors (N, K), got {codes.shape} and {factors.shape}; "
            "give both of the same images"
        )
    if not np.isfinite(codes).all():
        raise ValueError(
            "information: expected codes that are finite, got NaN or infinity; look at the encoder"
        )
    columns = []
    for f in range(factors.shape[1]):
        factor, group = _numbered(factors[:, f]), np.zeros(len(factors), np.int64)
        if f in (within or {}):
            group = _numbered(factors[:, within[f]])
        columns.append(
            _column(_binned(codes, group, bins), factor, group, shuffles=shuffles, rng=rng, name=f)
        )
    return Information(*(np.stack(part, axis=-1) for part in zip(*columns)))


def _column(binned, factor, group, *, shuffles, rng, name):
    """Shares and chance (J,), and the entropy, of one factor (N,) within the groups (N,)."""
    entropy = _mutual_information(factor[:, None], factor, group)[0]  # a factor tells all of itself
    told = _mutual_information(binned, factor, group)
    by_chance = np.stack(
        [_mutual_information(binned, _shuffled(factor, group, rng), group) for _ in range(shuffles)]
    )
    unknown = entropy - by_chance.mean(axis=0)
    if not (unknown > 1e-6).all():
        raise ValueError(
            f"information: expected factor {name} to have several values, and more images than chance can "
            f"tell apart, got {len(factor)} images and {entropy:.3g} nats to know; leave it out, or give more"
        )
    return (told - by_chance.mean(axis=0)) / unknown, by_chance.std(axis=0) / unknown, entropy


def _numbered(column):
    """The values of a column, counted from 0."""
    return np.unique(column, return_inverse=True)[1].reshape(-1)


def _binned(codes, group, bins):
    """The bin of each number of (N, J), from 0: of `bins` equal parts of a latent's range in the group."""
    binned = np.empty(codes.shape, np.int64)
    for g in range(group.max() + 1):
        mine = codes[group == g]
        low, width = mine.min(axis=0), np.ptp(mine, axis=0)
        share = (mine - low) / np.where(width > 0, width, 1)  # a latent that is constant fills one bin
        binned[group == g] = np.minimum(share * bins, bins - 1)
    return binned


def _shuffled(factor, group, rng):
    """The factor's values dealt out anew, within each group."""
    place = np.lexsort((rng.random(len(factor)), group))  # the images group by group, each in a random order
    dealt = np.empty_like(factor)
    dealt[np.argsort(group, kind="stable")] = factor[place]
    return dealt


def _mutual_information(binned, factor, group):
    """I(z_j; f | g) in nats of each column of (N, J), from the counts; factor and group are (N,), from 0."""
    count, (n, latents) = int(binned.max()) + 1, binned.shape
    values, groups = int(factor.max()) + 1, int(group.max()) + 1
    cells = ((np.arange(latents) * groups + group[:, None]) * values + factor[:, None]) * count + binned
    joint = np.bincount(cells.ravel(), minlength=latents * groups * values * count)
    joint = joint.reshape(latents, groups, values, count) / n  # p(g, f, z_j)
    both = joint.sum(axis=(2, 3), keepdims=True)
    apart = joint.sum(axis=2, keepdims=True) * joint.sum(axis=3, keepdims=True)
    # sum p(g, f, z) log [p(g, f, z) p(g) / (p(g, z) p(g, f))]; where nothing was counted, 0 log 0 = 0
    ratio = np.divide(joint * both, apart, out=np.ones_like(joint), where=joint > 0)
    return (joint * np.log(ratio)).sum(axis=(1, 2, 3))
