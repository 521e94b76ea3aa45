"""Convolutions of a DCGAN on 28 x 28 images, batch 64: forward, and the gradients of image and kernel.

Work: 2 operations for each (image, filter, pixel of the smaller picture, channel, element of the kernel).
"""

import numpy as np

from .cases import Case

BATCH = 64
# name, channels in and out, pixels in a row of the input, kernel, stride, padding
LAYERS = (
    ("conv", 1, 32, 28, 4, 2, 1),
    ("conv", 32, 64, 14, 4, 2, 1),
    ("conv", 64, 64, 14, 3, 1, 1),
    ("transposed", 64, 32, 7, 4, 2, 1),
    ("transposed", 32, 1, 14, 4, 2, 1),
)


def functions(name, stride, padding):
    ours = "conv2d" if name == "conv" else "conv_transpose2d"

    def torch_function(torch):
        f = getattr(torch.nn.functional, ours)
        return lambda x, w: f(x, w, stride=stride, padding=padding)

    def jax_function(jax):
        def conv(x, w):
            pads = [(padding, padding)] * 2
            return jax.lax.conv_general_dilated(x, w, (stride, stride), pads)

        def transposed(x, w):  # the gradient of a convolution at its image
            size = [(n - 1) * stride - 2 * padding + w.shape[2] for n in x.shape[2:]]
            image = jax.numpy.zeros((x.shape[0], w.shape[1], *size), x.dtype)
            return jax.vjp(lambda image: conv(image, w), image)[1](x)[0]

        return conv if name == "conv" else transposed

    return {
        "tinygen": lambda tg: lambda x, w: getattr(tg, ours)(x, w, stride=stride, padding=padding),
        "PyTorch": torch_function,
        "JAX": jax_function,
    }


def cases():
    rng = np.random.default_rng(0)
    for kind, wrt in [("forward", None), ("image gradient", (0,)), ("kernel gradient", (1,))]:
        for name, c, d, size, k, stride, padding in LAYERS:
            small, large = size // stride, size
            channels = (d, c, k, k)
            if name == "transposed":
                small, large, channels = size, size * stride, (c, d, k, k)
            x = rng.standard_normal((BATCH, c, size, size), dtype=np.float32)
            w = rng.standard_normal(channels, dtype=np.float32)
            elements = BATCH * (channels[0] * small**2 + channels[1] * large**2) + w.size
            yield Case(
                kind,
                f"{name} {c}->{d} {size}x{size} {k}x{k}/{stride}",
                2 * BATCH * small**2 * w.size,
                functions(name, stride, padding),
                [x, w],
                wrt,
                traffic=4 * elements,
            )
