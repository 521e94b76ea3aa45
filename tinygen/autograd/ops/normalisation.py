"""Normalisations: fused, with the definition beside them as their reference."""

import math

from ... import kernels
from ..primitive import composite, primitive
from .arithmetic import sqrt, square
from .reductions import mean
from .shapes import reshape


def _normalise_reference(x, weight=None, bias=None, *, axes, shape, eps):
    """y = (x - mean) / sqrt(var + eps) * weight + bias over `axes`; weight and bias go to `shape`."""
    centred = x - mean(x, axes, True)
    y = centred / sqrt(mean(square(centred), axes, True) + eps)
    y = y if weight is None else y * reshape(weight, shape)
    return y if bias is None else y + reshape(bias, shape)


@primitive(reference=_normalise_reference, saves=("centre", "scale"))
def normalise(x, weight=None, bias=None, *, axes, shape, eps):
    """What layer, batch and group normalisation share: see `_normalise_reference`."""
    return kernels.normalise(x, weight, bias, axes, shape, eps)


normalise.rules(
    all=lambda g, x, weight, bias, centre, scale, axes, shape: kernels.normalise_backward(
        g, x, weight, bias, centre, scale, axes, shape
    )
)
normalise.domain("3 4, 4, 4", axes=((1,),), shape=((4,),), eps=(1e-5,))
normalise.domain("2 3 4, 3, -", axes=((0, 2),), shape=((1, 3, 1),), eps=(1e-3,))


@composite
def layer_norm(x, weight=None, bias=None, *, eps=1e-5):
    """Normalise the last axis (Ba et al. 2016): x (..., C), weight, bias (C,) or None; biased variance."""
    if not x.ndim:
        raise ValueError("layer_norm: expected (..., C), got a 0-d array; give it an axis")
    _check("layer_norm", weight, bias, x.shape[-1])
    return normalise(x, weight, bias, axes=(-1,), shape=(-1,), eps=eps)


layer_norm.domain("3 4, 4, 4", eps=(1e-5,))
layer_norm.domain("2 2 5, -, -", eps=(1e-3,))


@composite
def batch_norm(x, weight=None, bias=None, *, eps=1e-5):
    """Normalise each channel with the statistics of the batch (Ioffe & Szegedy 2015, algorithm 1).

    x is (B, C) or (B, C, ...), weight and bias (C,) or None; the variance is biased.
    """
    if x.ndim < 2:
        raise ValueError(f"batch_norm: expected (B, C, ...), got shape {x.shape}")
    _check("batch_norm", weight, bias, x.shape[1])
    axes = (0, *range(2, x.ndim))
    return normalise(x, weight, bias, axes=axes, shape=(1, -1, *(1,) * (x.ndim - 2)), eps=eps)


batch_norm.domain("4 3, 3, 3", eps=(1e-5,))
batch_norm.domain("3 2 2 2, 2, 2", eps=(1e-3,))


def batch_moments(x):
    """The mean and the biased variance of each channel, (C,) both, of an array x (B, C, ...). No Tensor."""
    return kernels.moments(x, (0, *range(2, x.ndim)))


@composite
def group_norm(x, weight=None, bias=None, *, groups, eps=1e-5):
    """Normalise each example's channels in `groups` groups (Wu & He 2018): x (B, C, ...), weight and bias
    (C,) or None.

    Raises:
        ValueError: `groups` does not divide C.
    """
    if x.ndim < 2 or groups < 1 or x.shape[1] % groups:
        raise ValueError(
            f"group_norm: expected (B, C, ...) with C a multiple of {groups}, got shape {x.shape}"
        )
    _check("group_norm", weight, bias, x.shape[1])
    grouped = reshape(x, (x.shape[0], groups, math.prod(x.shape[1:]) // groups))
    out = reshape(normalise(grouped, None, None, axes=(-1,), shape=(-1,), eps=eps), x.shape)
    shape = (1, -1, *(1,) * (x.ndim - 2))
    out = out if weight is None else out * reshape(weight, shape)
    return out if bias is None else out + reshape(bias, shape)


group_norm.domain("2 4 3, 4, 4", groups=(1, 2), eps=(1e-5,))


def _rms_norm_reference(x, weight=None, *, eps=1e-5):
    """y = x / sqrt(mean(x**2) + eps) * weight."""
    y = x / sqrt(mean(square(x), -1, True) + eps)
    return y if weight is None else y * weight


@primitive(reference=_rms_norm_reference, saves=("scale",))
def rms_norm(x, weight=None, *, eps=1e-5):
    """Divide by the root mean square of the last axis (Zhang & Sennrich 2019): x (..., C), weight (C,)."""
    _check("rms_norm", weight, None, x.shape[-1])
    return kernels.rms_norm(x, weight, eps)


rms_norm.rules(all=lambda g, x, weight, scale: kernels.rms_norm_backward(g, x, weight, scale))
rms_norm.domain("3 4, 4", eps=(1e-5,))
rms_norm.domain("2 2 5, -", eps=(1e-3,))


def _check(name, weight, bias, channels):
    for what, value in (("weight", weight), ("bias", bias)):
        if value is not None and value.shape != (channels,):
            raise ValueError(f"{name}: expected a {what} of shape ({channels},), got {tuple(value.shape)}")
