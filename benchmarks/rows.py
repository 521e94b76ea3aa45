"""What works on rows or channels: softmax, normalisation, cross-entropy, maxout, as a GPT or a GAN has it.

Bound by memory, as long as each row is fetched once. Counted: what must move, as for elementwise operations.
"""

import numpy as np

from .cases import Case


def jax_layer_norm(jax):
    def layer_norm(x, weight, bias):
        centred = x - x.mean(-1, keepdims=True)
        return centred * jax.lax.rsqrt((centred * centred).mean(-1, keepdims=True) + 1e-5) * weight + bias

    return layer_norm


def jax_batch_norm(jax):
    def batch_norm(x, weight, bias):
        centred = x - x.mean((0, 2, 3), keepdims=True)
        scale = jax.lax.rsqrt((centred * centred).mean((0, 2, 3), keepdims=True) + 1e-5)
        return centred * scale * weight[:, None, None] + bias[:, None, None]

    return batch_norm


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
    "batch_norm": {
        "tinygen": lambda tg: tg.batch_norm,
        "PyTorch": lambda torch: lambda x, w, b: torch.nn.functional.batch_norm(x, None, None, w, b, True),
        "JAX": jax_batch_norm,
    },
    "max": {  # of the pieces of a maxout
        "tinygen": lambda tg: lambda x: tg.max(x, 1),
        "PyTorch": lambda torch: lambda x: torch.amax(x, 1),
        "JAX": lambda jax: lambda x: jax.numpy.max(x, 1),
    },
    "cross_entropy": {
        "tinygen": lambda tg: tg.cross_entropy,
        "PyTorch": lambda torch: torch.nn.functional.cross_entropy,
        "JAX": jax_cross_entropy,
    },
}
# name, shape; arrays of that size that move forward, and backward
SHAPES = (
    ("softmax", (12_288, 256), 2, 3),
    ("softmax", (128, 64), 2, 3),
    ("layer_norm", (2048, 384), 2, 3),
    ("layer_norm", (768, 128), 2, 3),
    ("batch_norm", (64, 32, 14, 14), 2, 3),
    ("cross_entropy", (2048, 65), 1, 2),
    ("cross_entropy", (2048, 4096), 1, 2),
    ("max", (200, 5, 200), 1, 2),
)


def cases():
    rng = np.random.default_rng(0)
    for kind in ("forward", "backward"):
        for name, shape, forward, backward in SHAPES:
            inputs = [rng.standard_normal(shape, np.float32)]
            moved = forward if kind == "forward" else backward
            if name.endswith("norm"):
                channels = shape[1] if name == "batch_norm" else shape[-1]
                inputs += [rng.standard_normal(channels, np.float32) for _ in ("weight", "bias")]
            wrt = tuple(range(len(inputs))) if kind == "backward" else None
            if name == "cross_entropy":
                inputs.append(rng.integers(0, shape[1], shape[0]))
            text = f"{name} {'x'.join(map(str, shape))}"
            yield Case(kind, text, moved * inputs[0].nbytes, FUNCTIONS[name], inputs, wrt, unit="GB/s")
