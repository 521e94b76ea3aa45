"""Two-dimensional convolution, pooling and upsampling.

Letters: B images in the batch, C channels in, D channels out, H x W pixels, kh x kw elements of a kernel.
Images are (B, C, H, W), kernels (D, C / groups, kh, kw).

A convolution is a sum over triples (image x, kernel w, result g): S = sum g . conv(x, w). Its three partial
derivatives are the convolution itself (with respect to g), the gradient of the image and the gradient of the
kernel, and each is linear in two of the three. So three primitives, each the derivative of the others, reach
every order.
"""

import itertools

from ... import kernels
from ..domain import Values
from ..primitive import composite, primitive
from .reductions import max as max_
from .reductions import mean
from .shapes import repeat, reshape, stack


def pair(value, what):
    """An int or a pair of ints as a pair."""
    both = value if isinstance(value, (tuple, list)) else (value, value)
    if len(both) != 2 or not all(isinstance(n, int) for n in both):
        raise ValueError(f"expected {what} to be an int or a pair of ints, got {value!r}")
    return tuple(both)


def _geometry(stride, padding, dilation, groups):
    geometry = kernels.Geometry(
        pair(stride, "stride"), pair(padding, "padding"), pair(dilation, "dilation"), groups
    )
    if min(geometry.stride) < 1 or min(geometry.dilation) < 1 or min(geometry.padding) < 0 or groups < 1:
        raise ValueError(
            f"expected stride, dilation and groups of at least 1 and padding of at least 0, got {geometry}"
        )
    return geometry


def out_size(n, k, stride, padding, dilation):
    """How many places a kernel of size k has along an axis of size n."""
    return (n + 2 * padding - dilation * (k - 1) - 1) // stride + 1


def _check(name, x, weight, bias, groups, transposed=False):
    """Raise where shapes do not fit; kernels are (D, C / groups, ...), transposed (C, D / groups, ...)."""
    if x.ndim != 4 or weight.ndim != 4:
        raise ValueError(
            f"{name}: expected images (B, C, H, W) and kernels of 4 axes, got {x.shape} and {weight.shape}"
        )
    many, few = weight.shape[0], weight.shape[1] * groups
    channels, channels_out = (many, few) if transposed else (few, many)
    if x.shape[1] != channels:
        raise ValueError(
            f"{name}: a kernel of shape {weight.shape} takes {channels} channels, got images {x.shape}"
        )
    if many % groups:
        what = "channels" if transposed else "kernels"
        raise ValueError(f"{name}: {many} {what} cannot be shared out to {groups} groups; use a multiple")
    if bias is not None and bias.shape != (channels_out,):
        raise ValueError(f"{name}: expected a bias of shape ({channels_out},), got {bias.shape}")


@primitive
def convolve(x, w, /, geometry):
    """The convolution itself: x (B, C, H, W), w (D, C / groups, kh, kw) -> (B, D, H', W')."""
    return kernels.convolve(x, w, geometry)


@primitive
def convolve_image(g, w, /, geometry, shape):
    """Its gradient with respect to the image of `shape`: a transposed convolution of g (B, D, H', W')."""
    return kernels.convolve_image(g, w, geometry, shape)


@primitive
def convolve_kernel(x, g, /, geometry, shape):
    """Its gradient with respect to the kernel of `shape`: a correlation of the image with g."""
    return kernels.convolve_kernel(x, g, geometry, shape)


def _convolve_to(x, w, geometry, shape):
    """The part of a convolution that has `shape`; the image may be larger than that calls for."""
    out = convolve(x, w, geometry)
    return out if out.shape == shape else out[:, :, : shape[2], : shape[3]]


convolve.rules(
    x=lambda g, w, x_shape, geometry: convolve_image(g, w, geometry, x_shape),
    w=lambda g, x, w_shape, geometry: convolve_kernel(x, g, geometry, w_shape),
)
convolve_image.rules(
    g=lambda h, w, g_shape, geometry: _convolve_to(h, w, geometry, g_shape),
    w=lambda h, g, w_shape, geometry: convolve_kernel(h, g, geometry, w_shape),
)
convolve_kernel.rules(
    x=lambda h, g, x_shape, geometry: convolve_image(g, h, geometry, x_shape),
    g=lambda h, x, g_shape, geometry: _convolve_to(x, h, geometry, g_shape),
)
_PLAIN, _RICH = _geometry(1, 0, 1, 1), _geometry((2, 1), (1, 0), (1, 2), 2)
convolve.domain("2 2 4 3, 3 2 2 2", geometry=(_PLAIN,))
convolve.domain("1 4 4 5, 2 2 2 3", geometry=(_RICH,))
convolve_image.domain("2 3 3 2, 3 2 2 2", geometry=(_PLAIN,), shape=((2, 2, 4, 3),))
convolve_image.domain("1 2 3 1, 2 2 2 3", geometry=(_RICH,), shape=((1, 4, 4, 5),))
convolve_image.domain("1 2 2 1, 2 2 2 3", geometry=(_RICH,), shape=((1, 4, 5, 5),))
convolve_kernel.domain("2 2 4 3, 2 3 3 2", geometry=(_PLAIN,), shape=((3, 2, 2, 2),))
convolve_kernel.domain("1 4 4 5, 1 2 3 1", geometry=(_RICH,), shape=((2, 2, 2, 3),))


@composite
def conv2d(x, weight, bias=None, *, stride=1, padding=0, dilation=1, groups=1):
    """Cross-correlation of images with kernels, as every deep learning library has it.

    Args:
        x: (B, C, H, W). weight: (D, C / groups, kh, kw). bias: (D,) or None.
        stride, padding, dilation: an int, or a pair for height and width.

    Returns:
        (B, D, H', W') with H' = (H + 2 padding - dilation (kh - 1) - 1) // stride + 1.

    Raises:
        ValueError: channels that do not match, or a kernel larger than the padded image.
    """
    geometry = _geometry(stride, padding, dilation, groups)
    _check("conv2d", x, weight, bias, groups)
    sizes = zip(x.shape[2:], weight.shape[2:], geometry.stride, geometry.padding, geometry.dilation)
    if any(out_size(*size) < 1 for size in sizes):
        raise ValueError(
            f"conv2d: a kernel {weight.shape[2:]} does not fit images {x.shape[2:]}; add padding"
        )
    out = convolve(x, weight, geometry)
    return out if bias is None else out + reshape(bias, (1, -1, 1, 1))


conv2d.domain("2 2 4 5, 3 2 2 3, 3", stride=(1, 2), padding=(0, 1), dilation=(1,))
conv2d.domain("1 4 5 4, 2 2 2 2, -", stride=((2, 1),), padding=((0, 1),), dilation=(1, 2), groups=(2,))


@composite
def conv_transpose2d(x, weight, bias=None, *, stride=1, padding=0, output_padding=0, dilation=1, groups=1):
    """The transpose of `conv2d`: each input pixel paints a kernel. Used to enlarge images.

    Args:
        x: (B, C, H, W). weight: (C, D / groups, kh, kw). bias: (D,) or None.
        output_padding: rows and columns added at the end, where a stride leaves the size open.

    Returns:
        (B, D, H', W') with H' = (H - 1) stride - 2 padding + dilation (kh - 1) + output_padding + 1.

    Raises:
        ValueError: channels that do not match, or an output padding that is not smaller than stride or
            dilation.
    """
    geometry = _geometry(stride, padding, dilation, groups)
    _check("conv_transpose2d", x, weight, bias, groups, transposed=True)
    extra = pair(output_padding, "output_padding")
    if any(e < 0 or e >= max(s, d) for e, s, d in zip(extra, geometry.stride, geometry.dilation)):
        raise ValueError(f"conv_transpose2d: output_padding {extra} must be smaller than stride or dilation")
    sizes = zip(x.shape[2:], weight.shape[2:], geometry.stride, geometry.padding, geometry.dilation, extra)
    size = tuple((n - 1) * s - 2 * p + d * (k - 1) + e + 1 for n, k, s, p, d, e in sizes)
    if min(size) < 1:
        raise ValueError(f"conv_transpose2d: the result would have size {size}; use less padding")
    out = convolve_image(x, weight, geometry, (x.shape[0], weight.shape[1] * groups, *size))
    return out if bias is None else out + reshape(bias, (1, -1, 1, 1))


conv_transpose2d.domain("2 3 3 2, 3 2 2 3, 2", stride=(1, 2), padding=(0, 1))
conv_transpose2d.domain(
    "1 4 2 3, 4 1 2 2, -", stride=(2,), output_padding=(0, 1), groups=(2,), dilation=(1, 2)
)


def _windows(name, x, size, stride):
    """The k x k shifted pictures that pooling reduces: (k * k, B, C, H', W')."""
    size = pair(size, "size")
    stride = size if stride is None else pair(stride, "stride")
    if min(*size, *stride) < 1:
        raise ValueError(f"expected size and stride of at least 1, got {size} and {stride}")
    if x.ndim != 4:
        raise ValueError(f"{name}: expected images (B, C, H, W), got shape {x.shape}")
    height, width = (out_size(n, k, s, 0, 1) for n, k, s in zip(x.shape[2:], size, stride))
    if height < 1 or width < 1:
        raise ValueError(f"{name}: a window {size} does not fit images {x.shape[2:]}; use a smaller one")
    (rows, columns), taps = stride, itertools.product(range(size[0]), range(size[1]))
    down, across = rows * (height - 1) + 1, columns * (width - 1) + 1
    return stack([x[:, :, i : i + down : rows, j : j + across : columns] for i, j in taps])


@composite
def max_pool2d(x, /, size, stride=None):
    """The maximum of each window: (B, C, H, W) -> (B, C, H', W'). Ties share the gradient.

    Args:
        size, stride: of the window, an int or a pair; `stride` defaults to `size`.
    """
    return max_(_windows("max_pool2d", x, size, stride), 0)


@composite
def avg_pool2d(x, /, size, stride=None):
    """The mean of each window: (B, C, H, W) -> (B, C, H', W'). `stride` defaults to `size`."""
    return mean(_windows("avg_pool2d", x, size, stride), 0)


@composite
def upsample(x, /, scale):
    """Each pixel repeated by whole factors (nearest neighbour): (B, C, H, W) -> (B, C, s H, s W)."""
    rows, columns = pair(scale, "scale")
    if x.ndim != 4 or min(rows, columns) < 1:
        raise ValueError(f"expected images (B, C, H, W) and a scale of at least 1, got {x.shape} and {scale}")
    return repeat(repeat(x, rows, 2), columns, 3)


max_pool2d.domain("1 2 4 5", x=Values(distinct=True), size=(2, (2, 1)), stride=(None, 1))
avg_pool2d.domain("1 2 4 5", size=(2, (2, 1)), stride=(None, 1))
upsample.domain("1 2 2 3", scale=(1, 2, (1, 3)))
