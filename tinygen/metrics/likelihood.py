"""How likely a model with hidden codes finds data: log p(x) by importance sampling, and what goes with it.

    Burda, Grosse & Salakhutdinov, Importance weighted autoencoders (2016), arXiv 1509.00519: log p(x) by
        5,000 samples, active units (section 5)
    Kong, A note on importance sampling using standardized weights (1992): the effective sample size
    Theis, van den Oord & Bethge, A note on the evaluation of generative models (2016), arXiv 1511.01844,
        section 3.1: bits a dimension of dequantised data

Of a code z only p(x, z) is known. With samples of any q(z) that is not zero where p(x, z) is not,

    p(x) = E_q[w]  with  w = p(x, z) / q(z),   so   log p(x) ~ log (w_1 + ... + w_k) / k

The better q(z|x) fits p(z|x), the more alike the weights, and the fewer samples are enough. A weight is never
seen, only its logarithm: exp(-5000) is 0.

Left out: annealed importance sampling, which needs fewer samples where q fits badly.

Letters: N images, k samples, B images of a block, J latent dimensions.
"""

import math
from dataclasses import dataclass

import numpy as np

from ..nn import kl_standard_normal

ACTIVE = 0.01  # Burda et al.: a unit whose mean varies less over the data says nothing of them


@dataclass(frozen=True)
class LogLikelihood:
    """Estimates of log p(x) of N images, in nats.

    log_p      (N,) float64
    effective  (N,) float64, from 1 to k: as many samples with equal weights would do as well. Where only a
               few are effective, q misses where p is, log_p is too low, and every error below too hopeful.
    samples    k
    """

    log_p: np.ndarray
    effective: np.ndarray
    samples: int

    @property
    def mean(self):
        """Of log_p over the images."""
        return float(self.log_p.mean())

    @property
    def variance(self):
        """(N,): of each log_p, as the noise of the samples moves it.

        To first order var(log mean w) = var(w) / (k E[w]^2), of which the weights themselves tell both.
        """
        return (self.samples / self.effective - 1) / (self.samples - 1)

    @property
    def standard_error(self):
        """Of the mean, as that of all images of this kind; infinite for a single image.

        These are some images of many, and the estimates differ from image to image by what the images are and
        by the noise of the samples. Both are in it; `monte_carlo_error` is the second alone.
        """
        count = len(self.log_p)
        return float(self.log_p.std(ddof=1)) / math.sqrt(count) if count > 1 else math.inf

    @property
    def monte_carlo_error(self):
        """The standard error of the mean as that of these very images: what other noise would change."""
        return math.sqrt(self.variance.sum()) / len(self.log_p)

    @property
    def shortfall(self):
        """By how much the mean is expected to lie below log p(x), to first order.

        The logarithm is concave: of a mean that is right on average it is too low, by var / 2. More images do
        not help against it, more samples do.
        """
        return float(self.variance.mean()) / 2


def log_likelihood(log_weights, count, *, latent, samples=5000, at_once=1000, rng, told=None):
    """Estimate log p(x) of each of `count` images by importance sampling.

    The noise is drawn image after image. So an estimate depends neither on the images that follow nor, but
    for rounding, on `at_once`.

    Args:
        log_weights: (rows, eps) -> (k, B), log p(x, z) - log q(z|x) in nats, where `rows` is a slice of B
            images, and z the code that eps (k, B, J) gives, float32 from N(0, I). It gets parts of the k.
        count: N, at least 1.
        latent: J.
        samples: k, at least 2.
        at_once: codes that are weighed in one call.
        rng: the np.random.Generator that draws the noise.
        told: called with the share that is done, in (0, 1], after each call of log_weights.

    Returns:
        A LogLikelihood.

    Raises:
        ValueError: a number below its least, or log weights of another shape.
        FloatingPointError: a weight is NaN or infinite, or all those of an image are 0.
    """
    for name, number, least in (("count", count, 1), ("samples", samples, 2), ("at_once", at_once, 1)):
        if number < least:
            raise ValueError(f"log_likelihood: expected {name} of at least {least}, got {number}; give more")
    # A block is several images with all their samples, or a part of the samples of one. So the noise is drawn
    # image by image whatever the blocks.
    images, part = max(1, at_once // samples), min(samples, at_once)
    log_p, effective = np.empty(count), np.empty(count)
    for start in range(0, count, images):
        rows = slice(start, min(start + images, count))
        sums = _Sums(rows.stop - rows.start)
        for first in range(0, samples, part):
            shape = rows.stop - rows.start, min(part, samples - first), latent
            eps = rng.standard_normal(shape, dtype=np.float32).swapaxes(0, 1)
            logs = np.asarray(log_weights(rows, eps), np.float64)
            if logs.shape != eps.shape[:2]:
                raise ValueError(
                    f"log_likelihood: expected log weights of shape {eps.shape[:2]}, got {logs.shape}; "
                    "give one a sample and image"
                )
            sums.add(logs)
            if told is not None:
                told((start + (rows.stop - start) * min(first + part, samples) / samples) / count)
        log_p[rows], effective[rows] = sums.log_mean(), sums.effective()
        for i, found in enumerate(log_p[rows], start):
            if not math.isfinite(found):
                raise FloatingPointError(
                    "log_likelihood: expected log weights that are numbers, and not -inf alone, got log p = "
                    f"{found} for image {i}; look at what the decoder makes of it"
                )
    return LogLikelihood(log_p, effective, samples)


class _Sums:
    """Sums of weights w and of w^2 for each of B images, as logarithms come in; none is ever too large.

    Kept are the highest logarithm so far, and the sums in units of its weight.
    """

    def __init__(self, count):
        self.highest, self.total, self.squares = np.full(count, -np.inf), np.zeros(count), np.zeros(count)
        self.samples = 0

    def add(self, logs):
        """More log weights, float64 (k, B)."""
        highest = np.maximum(self.highest, logs.max(axis=0))
        with np.errstate(invalid="ignore"):  # infinity - infinity: NaN, which the caller sees at the end
            # As long as all weights are 0 there is no highest, and any unit will do.
            unit = np.where(highest == -np.inf, 0.0, highest)
            shrink, weights = np.exp(self.highest - unit), np.exp(logs - unit)
        self.total = self.total * shrink + weights.sum(axis=0)
        self.squares = self.squares * shrink**2 + (weights**2).sum(axis=0)
        self.highest, self.samples = highest, self.samples + len(logs)

    def log_mean(self):
        with np.errstate(divide="ignore"):  # log 0, of an image whose weights are all 0
            return self.highest + np.log(self.total / self.samples)

    def effective(self):
        """(sum w)^2 / sum w^2, which rounding alone makes more than k."""
        with np.errstate(invalid="ignore"):  # 0 / 0, likewise
            return np.minimum(self.total**2 / self.squares, self.samples)


def bits_per_dimension(nats, dimensions, *, log_levels=0.0):
    """Nats an image as bits a number of the image.

    For images of `levels` grey levels, made continuous as x = (level + u) / levels with u uniform in [0, 1):

        -log2 P(levels of x) <= E_u[-log2 p(x)] + D log2 levels

    P is a probability and p a density of D numbers, whose cells have volume levels^-D; the rest is Jensen's
    inequality (Theis et al.). So the offset makes a model of dequantised images comparable with
    one of the levels themselves.

    Args:
        nats: -log p(x) of an image, a number or an array.
        dimensions: D, the numbers of an image.
        log_levels: the logarithm of the levels of dequantised images in [0, 1]; 0 where `nats` are of a
            probability, or of a density as it is, whose bits may be negative.
    """
    return (nats / dimensions + log_levels) / math.log(2)


def active_units(mu):
    """Which latent dimensions depend on the data, booleans (J,): those whose mean varies by more than ACTIVE.

    Burda et al.: A_u = Cov_x(E_q(u|x)[u]) > 0.01, for which they found any threshold of that size to do.

    Args:
        mu: (N, J), the means of q(z|x) over the data.
    """
    return np.asarray(mu, np.float64).var(axis=0) > ACTIVE


def kl_per_dimension(mu, log_var):
    """Nats (J,) that each latent dimension tells of an image: KL(q(z_j|x) || N(0, 1)), the mean over images.

    Args:
        mu, log_var: (N, J), of q(z|x) = N(mu, diag(exp(log_var))).

    Raises:
        ValueError: the shapes differ.
    """
    return kl_standard_normal(np.asarray(mu, np.float64), np.asarray(log_var, np.float64)).mean(axis=0)
