"""Layers over images (B, C, H, W): B batch, C channels, H height, W width.

Sizes, strides, paddings and dilations are one integer for both directions, or a pair (vertical, horizontal).
What is computed, and of what size H', W' the result is, is told at the operations of the same names.
"""

from ..autograd import ops
from .layers import check_sizes, weight_and_bias
from .module import Module


class Conv2d(Module):
    """Cross-correlation of (B, in_channels, H, W) with a learnt weight, to (B, out_channels, H', W').

    The weight has shape (out_channels, in_channels / groups, height, width). `bias`, `rng` and `init` are as
    for `Linear`.

    Raises:
        ValueError: `groups` does not divide both channels, or a size is not a positive integer.
        TypeError: `rng` is no Generator.
    """

    def __init__(
        self,
        in_channels,
        out_channels,
        kernel_size,
        *,
        stride=1,
        padding=0,
        dilation=1,
        groups=1,
        bias=True,
        rng,
        init=None,
    ):
        height, width = _check("Conv2d", in_channels, out_channels, kernel_size, groups)
        self.in_channels, self.out_channels, self.kernel_size = in_channels, out_channels, kernel_size
        self.stride, self.padding, self.dilation, self.groups = stride, padding, dilation, groups
        shape = out_channels, in_channels // groups, height, width
        self.weight, self.bias = weight_and_bias(shape, out_channels, bias, rng, init)

    def forward(self, x):
        return ops.conv2d(
            x,
            self.weight,
            self.bias,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
        )


class ConvTranspose2d(Module):
    """The transpose of a convolution, which enlarges: (B, in_channels, H, W) to (B, out_channels, H', W').

    The weight has shape (in_channels, out_channels / groups, height, width). `bias`, `rng` and `init` are as
    for `Linear`, with fans counted by that shape, as PyTorch counts them: fan_in is out_channels / groups *
    height * width.

    Args:
        output_padding: rows and columns added at the result's far end, where `stride` leaves its size open.

    Raises:
        ValueError: `groups` does not divide both channels, or a size is not a positive integer.
        TypeError: `rng` is no Generator.
    """

    def __init__(
        self,
        in_channels,
        out_channels,
        kernel_size,
        *,
        stride=1,
        padding=0,
        output_padding=0,
        dilation=1,
        groups=1,
        bias=True,
        rng,
        init=None,
    ):
        height, width = _check("ConvTranspose2d", in_channels, out_channels, kernel_size, groups)
        self.in_channels, self.out_channels, self.kernel_size = in_channels, out_channels, kernel_size
        self.stride, self.padding, self.output_padding = stride, padding, output_padding
        self.dilation, self.groups = dilation, groups
        shape = in_channels, out_channels // groups, height, width
        self.weight, self.bias = weight_and_bias(shape, out_channels, bias, rng, init)

    def forward(self, x):
        return ops.conv_transpose2d(
            x,
            self.weight,
            self.bias,
            stride=self.stride,
            padding=self.padding,
            output_padding=self.output_padding,
            dilation=self.dilation,
            groups=self.groups,
        )


class MaxPool2d(Module):
    """The largest of each window of `size`, one window every `stride` (by default `size`) elements."""

    def __init__(self, size, *, stride=None):
        self.size, self.stride = size, stride

    def forward(self, x):
        return ops.max_pool2d(x, size=self.size, stride=self.stride)


class AvgPool2d(Module):
    """The mean of each window of `size`, one window every `stride` (by default `size`) elements."""

    def __init__(self, size, *, stride=None):
        self.size, self.stride = size, stride

    def forward(self, x):
        return ops.avg_pool2d(x, size=self.size, stride=self.stride)


class Upsample(Module):
    """Each element repeated `scale` times each way: (B, C, H, W) to (B, C, scale * H, scale * W)."""

    def __init__(self, scale):
        self.scale = scale

    def forward(self, x):
        return ops.upsample(x, scale=self.scale)


def _check(layer, in_channels, out_channels, kernel_size, groups):
    """The kernel's (height, width), after checking that these sizes make sense together."""
    is_pair = isinstance(kernel_size, (tuple, list)) and len(kernel_size) == 2
    height, width = kernel_size if is_pair else (kernel_size, kernel_size)
    check_sizes(layer, in_channels=in_channels, out_channels=out_channels, groups=groups)
    check_sizes(layer, kernel_size=height)
    check_sizes(layer, kernel_size=width)
    if in_channels % groups or out_channels % groups:
        raise ValueError(
            f"{layer}: expected groups to divide the channels, got groups={groups} for {in_channels} in and "
            f"{out_channels} out; change one"
        )
    return height, width
