"""What the pixels of an image are taken to be, given its code: the last layer's numbers as a distribution.

A grey level k of L, stored as x = k / (L - 1) in [0, 1], can be looked at in several ways. Each is a
likelihood of something else, so the figures of one are not to be compared with those of another:

    bernoulli             the probability that a pixel is ink, black or white. It is drawn anew, with
                          probability x, at each look at the image (Salakhutdinov & Murray 2008).
    logistic              one of L levels: a probability of the image itself, comparable in bits a pixel
    gaussian              a real number. Noise fills the gap to the next level: x = (k + u) / L, u in [0, 1).
    continuous-bernoulli  a real number in [0, 1], filled up likewise
    cross-entropy         the Bernoulli's formula with x as it is, as PyTorch's basic VAE example has it. This
                          is no likelihood: even the image itself costs the entropy of its grey levels.

Filled up with noise, a density bounds a probability: -log P(k) <= E_u[-log p(x)] + log L for each pixel
(Theis, van den Oord & Bethge 2016, arXiv 1511.01844, section 3.1). Without the noise, a narrow density on one
of the levels would be worth any number of nats.
"""

import math

import numpy as np

from .. import nn
from ..autograd import ops


class Pixels:
    """What pixels are taken to be. Each kind says how they are observed and what the decoder says of them.

    Args:
        levels: L, how many grey levels a pixel may have.
    """

    numbers = 1  # that the decoder says of each pixel
    words = ""  # what the figures measure, for who reads them
    normalised = True  # probabilities sum to one, or densities integrate to one
    counts_levels = True  # L is part of what the figures mean

    def __init__(self, levels):
        self.levels = levels

    def observe(self, x, *, rng):
        """The images x, in [0, 1], as they are modelled; what is random in that is drawn anew from `rng`.

        Raises:
            ValueError: they are bytes, or other integers.
        """
        if x.dtype.kind != "f":
            raise ValueError(f"observe: expected images in [0, 1], got {x.dtype}; divide bytes by 255")
        return self._observed(x, rng)

    def _observed(self, x, rng):
        return x

    def distribution(self, numbers):
        """The distribution of the pixels (B, H, W), from what the decoder says, (B, numbers, H, W)."""
        raise NotImplementedError

    def log_prob(self, numbers, x):
        """log p(x|z), in nats an image, for k codes of each: (k, B) of numbers (k * B, numbers, H, W)."""
        batch, size = x.shape[0], math.prod(x.shape[1:])
        x = ops.tile(x, (len(numbers) // batch, 1, 1))
        pixels = self.distribution(numbers).log_prob(x)
        return ops.sum(ops.reshape(pixels, (-1, batch, size)), axis=-1)

    def grey(self, mean):
        """A mean of this distribution as a grey level, in [0, 1]."""
        return mean

    @property
    def log_levels(self):
        """Nats a pixel by which a figure grows where it is to bound the probability of grey levels."""
        return 0.0


class CrossEntropyPixels(Pixels):
    """The Bernoulli's formula on grey pixels."""

    words = "cross-entropy with grey pixels, no likelihood"
    normalised = counts_levels = False

    def distribution(self, numbers):
        return nn.Bernoulli(_only(numbers))

    def log_prob(self, numbers, x):
        """As for all, in one pass over the logits and without copies of x."""
        batch, size = x.shape[0], math.prod(x.shape[1:])
        return ops.bernoulli_log_prob(ops.reshape(numbers, (-1, batch, size)), ops.reshape(x, (batch, size)))


class BernoulliPixels(CrossEntropyPixels):
    """Ink or no ink."""

    words = "Bernoulli likelihood, pixels binarised anew at each look"
    normalised = True

    def _observed(self, x, rng):
        return (rng.random(x.shape, dtype=np.float32) < x).astype(np.float32)


class LogisticPixels(Pixels):
    """One of L grey levels."""

    numbers = 2

    def __init__(self, levels):
        super().__init__(levels)
        self.words = f"discretised logistic likelihood of {levels} grey levels"
        # A scale of a thousandth of a step puts all within it. A smaller one gains nothing, and its inverse
        # would become too large for a number.
        self.floor = -math.log(levels - 1) - 7

    def _observed(self, x, rng):
        return np.rint(x * np.float32(self.levels - 1)) / np.float32(self.levels - 1)

    def distribution(self, numbers):
        # The sigmoid keeps the centre within the range. At the start a scale is about a tenth of it.
        log_scale = _above(self.floor, numbers[:, 1] - math.log(10))
        return nn.DiscretisedLogistic(ops.sigmoid(numbers[:, 0]), log_scale, levels=self.levels)


class _Dequantised(Pixels):
    """Grey levels filled up with noise to real numbers."""

    def _observed(self, x, rng):
        noise = rng.random(x.shape, dtype=np.float32)
        return (x * np.float32(self.levels - 1) + noise) / np.float32(self.levels)

    def grey(self, mean):
        """(L x - 1/2) / (L - 1): the noise taken away again, on average."""
        return ops.clip((mean * self.levels - 0.5) / (self.levels - 1), 0.0, 1.0)

    @property
    def log_levels(self):
        return math.log(self.levels)


class GaussianPixels(_Dequantised):
    """A real number with a variance of its own."""

    numbers = 2

    def __init__(self, levels):
        super().__init__(levels)
        self.words = f"Gaussian density of {levels} grey levels with noise between them"
        # The noise alone has this variance; a smaller one can only be a mistake of the decoder.
        self.floor = -math.log(12 * levels**2)

    def distribution(self, numbers):
        return nn.Normal(numbers[:, 0], _above(self.floor, numbers[:, 1]))


class ContinuousBernoulliPixels(_Dequantised):
    """A real number in [0, 1]."""

    def __init__(self, levels):
        super().__init__(levels)
        self.words = f"continuous Bernoulli density of {levels} grey levels with noise between them"

    def distribution(self, numbers):
        return nn.ContinuousBernoulli(_only(numbers))


def _above(floor, x):
    """x far above the floor, and never below it: a bound that is smooth, so that a gradient leads back."""
    return floor + ops.softplus(x - floor)


def _only(numbers):
    """(B, 1, H, W) as (B, H, W): a view, where an index would cost a copy on the way back."""
    return ops.squeeze(numbers, 1)


LIKELIHOODS = {
    "cross-entropy": CrossEntropyPixels,
    "bernoulli": BernoulliPixels,
    "logistic": LogisticPixels,
    "gaussian": GaussianPixels,
    "continuous-bernoulli": ContinuousBernoulliPixels,
}
