"""How weights begin: functions `(shape, *, rng, ...)` from a shape to a float32 NumPy array.

A layer's weight has shape (out, in), or (out, in, height, width) for a convolution. Its fans count the
products that meet in one output, fan_in = in * height * width, and the outputs that one input reaches,
fan_out = out * height * width.

    Glorot & Bengio, Understanding the difficulty of training deep feedforward neural networks (2010)
    He, Zhang, Ren & Sun, Delving deep into rectifiers (2015)
    Saxe, McClelland & Ganguli, Exact solutions to the ... dynamics of learning in deep linear networks (2014)
    Mezzadri, How to generate random matrices from the classical compact groups (2007)
"""

import math

import numpy as np


def fans(shape):
    """(fan_in, fan_out) of a weight of this shape.

    Raises:
        ValueError: the shape has fewer than two axes.
    """
    if len(shape) < 2:
        raise ValueError(
            f"fans: expected a weight of shape (out, in, ...), got {tuple(shape)}; use uniform or normal"
        )
    receptive = math.prod(shape[2:])
    return shape[1] * receptive, shape[0] * receptive


def check_rng(who, rng):
    """Raise TypeError unless `rng` is a NumPy Generator: draws from a hidden state cannot be repeated."""
    if not isinstance(rng, np.random.Generator):
        raise TypeError(
            f"{who}: expected rng to be a np.random.Generator, got {rng!r}; pass np.random.default_rng(seed)"
        )


def zeros(shape, *, rng=None):
    """All 0. Takes and ignores `rng`, so that it can stand where the others can."""
    return np.zeros(shape, np.float32)


def ones(shape, *, rng=None):
    """All 1. Takes and ignores `rng`, so that it can stand where the others can."""
    return np.ones(shape, np.float32)


def uniform(shape, *, rng, low=-1.0, high=1.0):
    """Uniform in [low, high]."""
    check_rng("uniform", rng)
    if not low <= high:
        raise ValueError(f"uniform: expected low <= high, got {low} and {high}; swap them")
    return rng.random(shape, dtype=np.float32) * float(high - low) + float(low)


def normal(shape, *, rng, mean=0.0, std=1.0):
    """Normal with this mean and standard deviation."""
    check_rng("normal", rng)
    if not std >= 0:
        raise ValueError(
            f"normal: expected std >= 0, got {std}; it is a standard deviation, not its logarithm"
        )
    return rng.standard_normal(shape, dtype=np.float32) * float(std) + float(mean)


def fan_in_uniform(shape, *, rng):
    """Uniform in +-1 / sqrt(fan_in), of variance 1 / (3 fan_in): the default of Linear and convolutions.

    It is PyTorch's default too, and the "standard initialization" that Glorot & Bengio start from (eq. 1).
    """
    bound = 1 / math.sqrt(fans(shape)[0])
    return uniform(shape, rng=rng, low=-bound, high=bound)


def xavier_uniform(shape, *, rng, gain=1.0):
    """Uniform with variance gain^2 * 2 / (fan_in + fan_out) (Glorot & Bengio, eq. 16)."""
    bound = gain * math.sqrt(6 / sum(fans(shape)))
    return uniform(shape, rng=rng, low=-bound, high=bound)


def xavier_normal(shape, *, rng, gain=1.0):
    """Normal with variance gain^2 * 2 / (fan_in + fan_out) (Glorot & Bengio, eq. 12)."""
    return normal(shape, rng=rng, std=gain * math.sqrt(2 / sum(fans(shape))))


def kaiming_uniform(shape, *, rng, slope=0.0, fan="in"):
    """Uniform with variance 2 / ((1 + slope^2) fan), for a ReLU, or a leaky one of that slope.

    Source: He et al., eq. 10, and 15 for a slope.
    `fan` is "in", which keeps the variance of activations, or "out", which keeps that of gradients (eq. 14).
    """
    bound = math.sqrt(3) * _kaiming_std(shape, slope, fan)
    return uniform(shape, rng=rng, low=-bound, high=bound)


def kaiming_normal(shape, *, rng, slope=0.0, fan="in"):
    """Normal with variance 2 / ((1 + slope^2) fan); see `kaiming_uniform`."""
    return normal(shape, rng=rng, std=_kaiming_std(shape, slope, fan))


def _kaiming_std(shape, slope, fan):
    if fan not in ("in", "out"):
        raise ValueError(f"kaiming: expected fan to be 'in' or 'out', got {fan!r}; 'in' is the usual choice")
    return math.sqrt(2 / ((1 + slope**2) * fans(shape)[fan == "out"]))


def orthogonal(shape, *, rng, gain=1.0):
    """gain times a random matrix with orthonormal rows, or columns where these are fewer (Saxe et al.).

    A convolution's weight counts as the matrix (out, in * height * width).
    """
    check_rng("orthogonal", rng)
    rows, columns = shape[0], fans(shape)[0]
    gaussian = rng.standard_normal((max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(gaussian)
    # The signs of a QR are LAPACK's choice; these make the draw uniform (Mezzadri, section 5).
    q *= np.sign(np.diag(r))
    q = q.T if rows < columns else q
    return (gain * q).reshape(shape).astype(np.float32)
