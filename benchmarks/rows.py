"""What works on rows: softmax, normalisation, cross-entropy, at the sizes of a GPT.

Bound by memory, as long as each row is fetched once. Counted: what must move, as for elementwise operations.
"""

import numpy as np

from .cases import Case


def normed(rng, rows, width):
    x, weight, bias = (
        rng.standard_normal(shape, dtype=np.float32) for shape in ((rows, width), (width,), (width,))
    )
    return [x, weight, bias]


def jax_layer_norm(jax):
    def layer_norm(x, weight, bias):
        centred = x - x.mean(-1, keepdims=True)
        return centred * jax.lax.rsqrt((centred * centred).mean(-1, keepdims=True) + 1e-5) * weight + bias

    return layer_norm


def jax_cross_entropy(jax):
    jnp = jax.numpy

    def cross_entropy(logits, targets):
        log_p = jax.nn.log_softmax(logits, -1)
        return -jnp.take_along_axis(log_p, targets[:, None], -1).mean()

    return cross_entropy


FUNCTIONS = {
    "softmax": {
        "tinygen": lambda tg: lambda x: tg.softmax(x, -1),
        "PyTorch": lambda torch: lambda x: torch.softmax(x, -1),
        "JAX": lambda jax: jax.nn.softmax,
    },
    "layer_norm": {
        "tinygen": lambda tg: tg.layer_norm,
        "PyTorch": lambda torch: lambda x, w, b: torch.nn.functional.layer_norm(x, w.shape, w, b),
        "JAX": jax_layer_norm,
    },
    "cross_entropy": {
        "tinygen": lambda tg: tg.cross_entropy,
        "PyTorch": lambda torch: torch.nn.functional.cross_entropy,
        "JAX": jax_cross_entropy,
    },
}
# name, rows, width; arrays of that size that move forward, and backward
SHAPES = (
    ("softmax", 12_288, 256, 2, 3),
    ("softmax", 128, 64, 2, 3),
    ("layer_norm", 2048, 384, 2, 3),
    ("layer_norm", 768, 128, 2, 3),
    ("cross_entropy", 2048, 65, 1, 2),
    ("cross_entropy", 2048, 4096, 1, 2),
)


def cases():
    rng = np.random.default_rng(0)
    for kind in ("forward", "backward"):
        for name, rows, width, forward, backward in SHAPES:
            inputs, moved = normed(rng, rows, width), forward if kind == "forward" else backward
            if name != "layer_norm":
                inputs = inputs[:1]
            wrt = tuple(range(len(inputs))) if kind == "backward" else None
            if name == "cross_entropy":
                inputs.append(rng.integers(0, width, rows))
            text = f"{name} {rows}x{width}"
            yield Case(kind, text, moved * 4 * rows * width, FUNCTIONS[name], inputs, wrt, unit="GB/s")
