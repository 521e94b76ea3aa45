"""Distributions of single numbers, given by tensors of their parameters: what a decoder says of each pixel.

    Bernoulli             0 or 1
    ContinuousBernoulli   density on [0, 1]       Loaiza-Ganem & Cunningham (2019), arXiv 1907.06845
    Normal                density on all numbers
    DiscretisedLogistic   L levels in [0, 1]      Salimans, Karpathy, Chen & Kingma (2017), arXiv 1701.05517

Each has `log_prob(x)`, in nats, for every element; `sample(rng=)`, an array; and its `mean`. Probabilities
sum to one, and densities integrate to one; so each is a likelihood, which cross-entropy with grey targets is
not. `log_prob` is differentiable, to any order, in the parameters. Samples have no gradient: one that has it
is a function of its noise, `mu + sigma * eps`.
"""

import math

import numpy as np

from .. import arrays
from ..autograd import ops
from ..autograd.ops.arithmetic import raw

LOG_2PI = math.log(2 * math.pi)


class Bernoulli:
    """x is 1 with probability sigmoid(logits), else 0.

    Args:
        logits: of any shape.
    """

    def __init__(self, logits):
        self.logits = logits

    def log_prob(self, x):
        """x log p + (1 - x) log(1 - p), for x of 0 and 1, which broadcasts with the logits."""
        return -ops.bce_with_logits(self.logits, x)

    def sample(self, *, rng):
        p = _array(self.mean)
        return (rng.random(p.shape, dtype=p.dtype) < p).astype(p.dtype)

    @property
    def mean(self):
        return ops.sigmoid(self.logits)


class ContinuousBernoulli:
    """The density on [0, 1] that is proportional to e^(x * logits), with their lambda = sigmoid(logits).

    The Bernoulli's formula, put on grey levels, does not integrate to one. Their constant C(lambda) mends
    that: in logits, log C = log(l / tanh(l / 2)), which is log 2 at 0.

    Args:
        logits: of any shape.
    """

    def __init__(self, logits):
        self.logits = logits

    def log_prob(self, x):
        """l x - log((e^l - 1) / l), for x in [0, 1], which broadcasts with the logits l."""
        return self.logits * x - _log_total(self.logits)

    def sample(self, *, rng):
        """By the inverse of the distribution function: x = log(1 + u (e^l - 1)) / l."""
        l = _array(self.logits)  # noqa: E741
        u = rng.random(l.shape, dtype=l.dtype)
        size = np.maximum(abs(l), np.finfo(l.dtype).tiny ** 0.5)
        falling = np.log1p(u * np.expm1(-size)) / -size  # for -|l|, where nothing overflows
        return np.clip(np.where(l > 0, 1 - falling, falling), 0, 1).astype(l.dtype)

    @property
    def mean(self):
        """1 / (1 - e^-l) - 1 / l: the derivative of the log of the total."""
        l = self.logits  # noqa: E741
        small = abs(raw(l)) < 0.5
        near, far = ops.where(small, l, 0.0), ops.abs(ops.where(small, 1.0, l))
        series = 0.5 + near * _taylor(ops.square(near), MEAN_SERIES)
        closed = 1 / far + ops.exp(-far) / ops.expm1(-far)  # for -|l|
        return ops.where(small, series, ops.where(raw(l) > 0, 1 - closed, closed))


# Near 0 the closed forms are differences of large numbers, or have derivatives that are: there, Taylor's
LOG_SERIES = 1 / 6, -1 / 180, 1 / 2835, -1 / 37800, 1 / 467775, -691 / 3831077250  # of log(sinh(h) / h) / h^2
MEAN_SERIES = 1 / 12, -1 / 720, 1 / 30240, -1 / 1209600, 1 / 47900160  # of the mean less a half, over l


def _log_total(l):  # noqa: E741
    """log((e^l - 1) / l) = l / 2 + log(sinh(h) / h), h = |l| / 2: the log of the integral of e^(l x)."""
    small = abs(raw(l)) < 0.5
    square = ops.square(ops.where(small, l, 0.0)) / 4
    series = square * _taylor(square, LOG_SERIES)
    far = ops.where(small, 1.0, l)
    size = ops.abs(far)
    closed = ops.relu(far) + ops.log(-ops.expm1(-size) / size)
    return ops.where(small, l / 2 + series, closed)


def _taylor(square, terms):
    """terms[0] + terms[1] * square + terms[2] * square^2 + ..."""
    total = 0.0
    for term in reversed(terms):
        total = term + square * total
    return total


class Normal:
    """N(mu, exp(log_var)): log_var is the log of the variance, not of the standard deviation.

    Args:
        mu, log_var: of shapes that broadcast.
    """

    def __init__(self, mu, log_var):
        self.mu, self.log_var = mu, log_var

    def log_prob(self, x):
        """-1/2 [log 2 pi + log_var + (x - mu)^2 / exp(log_var)]."""
        return -0.5 * (LOG_2PI + self.log_var + ops.square(x - self.mu) * ops.exp(-self.log_var))

    def sample(self, *, rng):
        mu, sigma = _array(self.mu), np.exp(0.5 * _array(self.log_var))
        eps = rng.standard_normal(np.broadcast_shapes(mu.shape, sigma.shape), dtype=mu.dtype)
        return mu + sigma * eps

    @property
    def mean(self):
        return self.mu


class DiscretisedLogistic:
    """A logistic distribution whose mass is gathered at L equally spaced levels of [0, 1]: their eq. 2.

    A level has the mass that lies within half a step of it; the first and the last have besides all that lies
    beyond them.

    Args:
        mu: the centre, of any shape.
        log_scale: log s, of the same shape; the standard deviation before rounding is s pi / sqrt(3). Where
            1 / s is too large for a number (in float32 below -88) there is no log_prob.
        levels: L, at least 2; 256 for images of bytes.

    Raises:
        ValueError: fewer than two levels.
    """

    def __init__(self, mu, log_scale, *, levels):
        if levels < 2:
            raise ValueError(
                f"DiscretisedLogistic: expected at least 2 levels, got {levels}; 256 for images of bytes"
            )
        self.mu, self.log_scale, self.levels = mu, log_scale, levels

    def log_prob(self, x):
        """log[F(x + step/2) - F(x - step/2)], F the logistic distribution function.

        With the edges b > a of the step, in units of the scale from the centre, and w = b - a, the difference
        of the two sigmoids is sigmoid(b) sigmoid(-a) (1 - e^-w), whose factors keep their digits in both
        tails. So does the logarithm of the last one as log w + log((1 - e^-w) / w), where w is too small for
        a number: log w is known without it.

        Args:
            x: levels k / (L - 1), which broadcast with the centre.
        """
        step = 1 / (self.levels - 1)
        per_scale = ops.exp(-self.log_scale)
        width = step * per_scale
        b = (x - self.mu) * per_scale + width / 2
        first, last = raw(x) < step / 2, raw(x) > 1 - step / 2
        below_b = ops.where(last, 0.0, ops.softplus(-b))  # -log F(b); at the last level F is 1
        above_a = ops.where(first, 0.0, ops.softplus(b - width))
        inner = ops.where(first | last, 0.0, math.log(step) - self.log_scale + _log_total(-width))
        return inner - below_b - above_a

    def sample(self, *, rng):
        mu, s = _array(self.mu), np.exp(_array(self.log_scale))
        u = rng.random(mu.shape, dtype=mu.dtype)
        with np.errstate(divide="ignore"):  # u may be 0
            x = mu + s * (np.log(u) - np.log1p(-u))
        return (np.rint(np.clip(x, 0, 1) * (self.levels - 1)) / (self.levels - 1)).astype(mu.dtype)

    @property
    def mean(self):
        """The mean after rounding: the step, times the sum over all edges of the mass above each."""
        step, per_scale = 1 / (self.levels - 1), ops.exp(-self.log_scale)
        total = 0.0
        for edge in range(self.levels - 1):
            total = total + ops.sigmoid((self.mu - (edge + 0.5) * step) * per_scale)
        return step * total


def kl_standard_normal(mu, log_var):
    """KL(N(mu, exp(log_var)) || N(0, 1)) in nats, elementwise: sum over the axis of a diagonal Gaussian.

    Source: Kingma & Welling, Auto-Encoding Variational Bayes (2014), appendix B; sigma^2 = exp(log_var).

    Raises:
        ValueError: the shapes differ.
    """
    if tuple(mu.shape) != tuple(log_var.shape):
        raise ValueError(
            f"kl_standard_normal: expected two equal shapes, got {tuple(mu.shape)} and "
            f"{tuple(log_var.shape)}; reshape one"
        )
    # -1/2 (1 + log sigma^2 - mu^2 - sigma^2); expm1 keeps the digits of what nearly cancels for sigma near 1
    return 0.5 * (ops.square(mu) + (ops.expm1(log_var) - log_var))


def _array(x):
    """A NumPy array: samples are drawn by NumPy's generators, whatever library the parameters are of."""
    return arrays.to_numpy(raw(x))
