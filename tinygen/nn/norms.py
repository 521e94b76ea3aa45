"""Normalisation: subtract a mean, divide by a standard deviation, then scale by a weight and add a bias.

What the mean runs over tells them apart: BatchNorm the batch (and space) for each channel, LayerNorm and
RMSNorm the features of each position, GroupNorm a group of channels of each image.
B batch, C channels, H height, W width.

    Ioffe & Szegedy, Batch Normalization (2015)
    Ba, Kiros & Hinton, Layer Normalization (2016)
    Wu & He, Group Normalization (2018)
    Zhang & Sennrich, Root Mean Square Layer Normalization (2019)
"""

import numpy as np

from ..autograd import ops
from ..autograd.ops.arithmetic import raw
from ..autograd.ops.normalisation import batch_moments
from .layers import check_sizes
from .module import Module
from .parameter import Parameter


class LayerNorm(Module):
    """(x - mean) / sqrt(var + eps) over the last axis, of `features` elements, times weight, plus bias.

    Source: Ba et al., eq. 4. bias=False leaves the bias out.
    """

    def __init__(self, features, *, eps=1e-5, bias=True):
        check_sizes("LayerNorm", features=features)
        self.features, self.eps = features, eps
        self.weight = Parameter(np.ones(features, np.float32))
        self.bias = Parameter(np.zeros(features, np.float32)) if bias else None

    def forward(self, x):
        return ops.layer_norm(x, self.weight, self.bias, eps=self.eps)


class RMSNorm(Module):
    """x / sqrt(mean(x^2) + eps) over the last axis, of `features` elements, times weight.

    Source: Zhang & Sennrich, eq. 4; eps is not theirs, and keeps a row of zeros finite.
    """

    def __init__(self, features, *, eps=1e-6):
        check_sizes("RMSNorm", features=features)
        self.features, self.eps = features, eps
        self.weight = Parameter(np.ones(features, np.float32))

    def forward(self, x):
        return ops.rms_norm(x, self.weight, eps=self.eps)


class GroupNorm(Module):
    """(B, C, ...) normalised over space and over each of `groups` equal groups of channels (Wu & He, eq. 7).

    Raises:
        ValueError: `groups` does not divide `channels`, or a size is not a positive integer.
    """

    def __init__(self, groups, channels, *, eps=1e-5):
        check_sizes("GroupNorm", groups=groups, channels=channels)
        if channels % groups:
            raise ValueError(
                f"GroupNorm: expected groups to divide channels, got {groups} and {channels}; change one"
            )
        self.groups, self.channels, self.eps = groups, channels, eps
        self.weight = Parameter(np.ones(channels, np.float32))
        self.bias = Parameter(np.zeros(channels, np.float32))

    def forward(self, x):
        return ops.group_norm(x, self.weight, self.bias, groups=self.groups, eps=self.eps)


class BatchNorm(Module):
    """Each channel of (B, C) normalised over the batch, or of (B, C, H, W) over batch and space.

    Training uses the batch's mean and (biased) variance, and moves `running_mean` and `running_var` towards
    its mean and its unbiased variance, by the share `momentum`: Ioffe & Szegedy's algorithms 1 and 2, with an
    exponential average in place of their average over batches. Evaluation uses the running ones. It is what
    PyTorch does.

    Raises:
        ValueError: a setting is out of its range; when called, x has not C = `features` channels, or when
            training has only one element a channel.
    """

    buffers = ("running_mean", "running_var")

    def __init__(self, features, *, eps=1e-5, momentum=0.1):
        check_sizes("BatchNorm", features=features)
        if not 0 <= momentum <= 1:
            raise ValueError(
                f"BatchNorm: expected 0 <= momentum <= 1, got {momentum}; it is the share of the new batch"
            )
        self.features, self.eps, self.momentum = features, eps, momentum
        self.weight = Parameter(np.ones(features, np.float32))
        self.bias = Parameter(np.zeros(features, np.float32))
        self.running_mean = np.zeros(features, np.float32)
        self.running_var = np.ones(features, np.float32)

    def forward(self, x):
        if len(x.shape) < 2 or x.shape[1] != self.features:
            raise ValueError(
                f"BatchNorm: expected (B, {self.features}, ...), got {tuple(x.shape)}; channels are axis 1"
            )
        if self.training:
            self._follow(raw(x))
            return ops.batch_norm(x, self.weight, self.bias, eps=self.eps)
        along = (1, self.features, *[1] * (len(x.shape) - 2))
        scale = ops.divide(self.weight, ops.sqrt(self.running_var + self.eps))
        centred = ops.subtract(x, self.running_mean.reshape(along))
        return ops.add(ops.multiply(centred, ops.reshape(scale, along)), ops.reshape(self.bias, along))

    def _follow(self, batch):
        """Move the running statistics towards those of an array (B, C, ...). Nothing is recorded."""
        count = batch.size // self.features
        if count < 2:
            raise ValueError(
                f"BatchNorm: expected more than one element a channel to train on, got {tuple(batch.shape)}; "
                "use a larger batch, or eval()"
            )
        mean, variance = batch_moments(batch)
        self._move("running_mean", mean)
        self._move("running_var", variance * (count / (count - 1)))

    def _move(self, name, new):
        old = getattr(self, name)
        setattr(self, name, ((1 - self.momentum) * old + self.momentum * new).astype(old.dtype))
