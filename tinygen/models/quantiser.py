"""A vector quantiser: each vector is replaced by the nearest of K codes, and learning goes on through that.

    van den Oord, Vinyals & Kavukcuoglu, Neural discrete representation learning (2017), arXiv 1711.00937:
        eq. 1 to 3, and appendix A.1, where a code is a moving average of the vectors that chose it
    Dhariwal et al., Jukebox: a generative model for music (2020), arXiv 2005.00341: random restarts of codes
        that are hardly chosen any more
    Bengio, Léonard & Courville, Estimating or propagating gradients through stochastic neurons (2013),
        arXiv 1308.3432: the straight-through estimator

Calling it changes nothing, `update` does. So a loss stays a function that can be tested, and a minibatch in
pieces moves the codebook once, as the optimizer's step moves the weights, and not once a piece.

Left out: several codebooks for one vector (residual or product quantisation), codes on a sphere, a Gumbel
softmax.

Letters: N vectors, D numbers of each, K codes; * stands for any leading axes.
"""

import numpy as np

from .. import nn
from ..autograd import ops, stop_gradient
from ..autograd.ops.arithmetic import raw

LEARN = ("average", "gradient")
SMOOTHING = 1e-5  # of the counts, in vectors
SCORES = 1 << 18  # numbers that are compared at a time: 1 MB of float32


class VectorQuantiser(nn.Module):
    """A codebook of K vectors, drawn from N(0, 1/D) until `update` sees the first vectors.

        codes   (K, D)  the codebook: a Parameter where `learn` is "gradient", else a buffer
        counts  (K,)    how many vectors choose each code, a moving average over updates
        sums    (K, D)  the sum of those vectors, likewise; where `learn` is "average"

    Args:
        codes, size: K and D.
        learn: "average", by appendix A.1; or "gradient", by the second term of eq. 3, `codebook_loss`.
        decay: gamma of A.1: the averages are over about the last 1 / (1 - decay) updates.
        restart: a code whose count falls below this part of an even share is dead, and begins again as a
            vector of the minibatch; 0 for never.
        rng: the np.random.Generator that draws the codebook.

    Raises:
        ValueError: a size below 1, an unknown `learn`, `decay` or `restart` outside of [0, 1).
        TypeError: `rng` is no Generator.
    """

    def __init__(self, codes, size, *, learn="average", decay=0.99, restart=0.05, rng):
        nn.layers.check_sizes("VectorQuantiser", codes=codes, size=size)
        if learn not in LEARN:
            raise ValueError(
                f"VectorQuantiser: expected learn to be one of {', '.join(LEARN)}, got {learn!r}; choose one"
            )
        for name, value in {"decay": decay, "restart": restart}.items():
            if not 0 <= value < 1:
                raise ValueError(f"VectorQuantiser: expected 0 <= {name} < 1, got {value}; change it")
        self.learn, self.decay, self.restart = learn, decay, restart
        drawn = nn.init.normal((codes, size), std=size**-0.5, rng=rng)
        self.counts = np.zeros(codes, np.float32)
        if learn == "gradient":
            self.buffers = ("counts",)
            self.codes = nn.Parameter(drawn)
        else:
            self.buffers = ("codes", "counts", "sums")
            self.codes, self.sums = drawn, np.zeros((codes, size), np.float32)

    def nearest(self, z):
        """The number of the code nearest to each vector of z (*, D), the first of several: (*), eq. 1.

        Distances are compared by |z - e|^2 = |z|^2 - 2 (z e - |e|^2 / 2), of which only the bracket depends
        on the code: a product of matrices and its largest column. No array (N, K, D) is made, nor the whole
        of (N, K). The price is rounding: a code may win that is further away by some 1e-7 of |z|^2 + |e|^2.

        Raises:
            ValueError: z is not (*, D).
        """
        z, codes = raw(z), raw(self.codes)
        if not z.shape or z.shape[-1] != codes.shape[1]:
            raise ValueError(
                f"VectorQuantiser: expected vectors (*, {codes.shape[1]}), got {tuple(z.shape)}; "
                "move their axis last"
            )
        rows, at_once = z.reshape(-1, z.shape[-1]), max(1, SCORES // len(codes))
        length = -0.5 * ops.sum(ops.square(codes), axis=1)
        parts = [rows[i : i + at_once] for i in range(0, max(1, len(rows)), at_once)]
        found = [ops.argmax(ops.linear(part, codes, length), axis=1) for part in parts]
        return ops.concatenate(found).reshape(z.shape[:-1])

    def forward(self, z):
        """z (*, D) with each vector replaced by its nearest code, and the numbers of those codes, (*).

        To a derivative of any order it is the identity of z: the straight-through estimator, section 3.2.
        Nothing reaches the codebook through it.

        Raises:
            ValueError: z is not (*, D).
        """
        indices = self.nearest(z)
        # z - stop_gradient(z) is exactly 0, so these are the codes to the last bit: as when one decodes
        # their numbers. The usual z + stop_gradient(e - z) rounds.
        return self.look_up(indices) + (z - stop_gradient(z)), indices

    def look_up(self, indices):
        """The codes (*, D) of these numbers (*), without a way back to the codebook."""
        return ops.embedding(raw(self.codes), indices)

    def commitment(self, z, indices):
        """|z - sg(e)|^2 for vectors z (*, D) that chose the codes `indices` (*): (*).

        It is the last term of eq. 3, without beta, and keeps the encoder from running away from the codebook.

        Raises:
            ValueError: the shapes do not fit.
        """
        _check("commitment", z, indices)
        return ops.sum(ops.square(z - self.look_up(indices)), axis=-1)

    def codebook_loss(self, z, indices):
        """|sg(z) - e|^2, the second term of eq. 3, (*): only the codebook learns by it.

        Raises:
            ValueError: the shapes do not fit.
        """
        _check("codebook_loss", z, indices)
        return ops.sum(ops.square(stop_gradient(z) - ops.embedding(self.codes, indices)), axis=-1)

    def update(self, z, indices, *, rng):
        """Let the codebook follow vectors z (*, D) that chose the codes `indices` (*), and restart dead ones.

        With n_k vectors of the minibatch that chose code k (A.1):

            N_k <- gamma N_k + (1 - gamma) n_k     m_k <- gamma m_k + (1 - gamma) (their sum)
            e_k <- m_k / N_k

        with the counts smoothed, which the paper does not mention, so that a small one divides, too:
        (N_k + eps) N / (N + K eps), where N = sum_k N_k.

        Both averages begin at 0, so the first vectors count in full, and no code is alive at first: with
        restarts, the first update fills the codebook with the vectors that it sees, which Jukebox does, too.
        A code that was never chosen, and is not restarted, stays where it was drawn.

        Args:
            rng: the np.random.Generator that draws which vectors dead codes begin again as, without
                repetition if there are enough. Such a code's count is just not that of a dead one: unless the
                next minibatch chooses it, it begins once more. (With an even share of the counts it stayed
                where it was for 140 updates while the encoder moved on: of 128 codes 5 were in use after 30
                steps on digits, with a count at the limit 28.)

        Raises:
            ValueError: the shapes do not fit, or there is no vector.
        """
        z = raw(z)
        _check("update", z, indices, least=1)
        rows, indices = z.reshape(-1, z.shape[-1]), indices.reshape(-1)
        codes, ones = raw(self.codes), ops.ones_like(rows[:, 0])
        self.counts = self._moved(self.counts, ops.scatter_add(ones, indices, self.counts.shape))
        if self.learn == "average":
            self.sums = self._moved(self.sums, ops.scatter_add(rows, indices, codes.shape))
            total = self.counts.sum()
            smoothed = (self.counts + SMOOTHING) * total / (total + len(codes) * SMOOTHING)
            codes = ops.where(self.counts[:, None] > 0, self.sums / smoothed[:, None], codes)
        dead = self.counts < self.restart * self.counts.mean()
        if dead.any():
            codes = self._restarted(codes, dead, rows, rng)
        if self.learn == "average":
            self.codes = codes
        elif dead.any():
            self.codes.assign(codes)

    def _moved(self, average, new):
        return self.decay * average + (1 - self.decay) * new

    def _restarted(self, codes, dead, rows, rng):
        """The codebook with its dead codes replaced by rows; their counts and sums are made to fit."""
        number = int(dead.sum())
        drawn = rng.choice(len(rows), number, replace=number > len(rows))
        count, codes = self.restart * self.counts.mean(), codes.copy()
        codes[dead] = rows[drawn]
        self.counts = ops.where(dead, count, self.counts)
        if self.learn == "average":
            self.sums = ops.where(dead[:, None], count * codes, self.sums)
        return codes


def _check(who, z, indices, least=0):
    """Refuse codes (*) that are not one for each of vectors (*, D)."""
    if tuple(z.shape[:-1]) != tuple(indices.shape) or indices.size < least:
        vectors = "at least one vector" if least else "the vectors"
        raise ValueError(
            f"VectorQuantiser.{who}: expected a code for each of {vectors}, got "
            f"{tuple(indices.shape)} codes for vectors {tuple(z.shape)}; give what it was called with"
        )


def perplexity(counts):
    """exp of the entropy of how often each of K codes occurs, in codes: from 1, only one, to K, all alike.

    Args:
        counts: (K,), not all of them 0.
    """
    return float(ops.exp(entropy(counts)))


def entropy(counts):
    """The entropy in nats of each row of counts (*, K), none of which is all 0: (*), from 0 to log K."""
    share = counts / counts.sum(axis=-1, keepdims=True)
    return ops.sum(share * ops.log(1 / ops.where(share > 0, share, 1.0)), axis=-1)
