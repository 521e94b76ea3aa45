"""Causal attention, forward and backward, and what it needs in memory for 16,384 tokens.

B x H x T x D: batch, heads, time, head size. Half of the scores count: 2 B H T^2 D operations forward, and
backward, of five products instead of two, 5 B H T^2 D.

Peers: NumPy is the definition in arrays; PyTorch its scaled_dot_product_attention; JAX the definition under
jit, since its dot_product_attention wants the heads elsewhere and does the same on a CPU.
"""

import os
import resource
import subprocess
import sys

import numpy as np

import tinygen as tg

from .cases import Case

SHAPES = ((16, 4, 64, 32), (8, 6, 256, 64), (2, 12, 1024, 64), (1, 8, 2048, 64))
LONG = (1, 1, 16_384, 64)
MOST_MEMORY = 10  # times the inputs: q, k and v


def jax_attention(jax):
    jnp = jax.numpy

    def attention(q, k, v):
        t = q.shape[-2]
        scores = jnp.einsum("bhtd,bhsd->bhts", q, k) / np.float32(np.sqrt(q.shape[-1]))
        scores = jnp.where(np.tril(np.ones((t, t), bool)), scores, -jnp.inf)
        return jnp.einsum("bhts,bhsd->bhtd", jax.nn.softmax(scores, -1), v)

    return attention


FUNCTIONS = {
    "tinygen": lambda tg: lambda q, k, v: tg.attention(q, k, v, causal=True),
    "PyTorch": lambda torch: (
        lambda q, k, v: torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    ),
    "JAX": jax_attention,
}


def inputs(shape):
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape, dtype=np.float32) for _ in range(3)]


def cases():
    for kind, wrt, products in [("forward", None, 2), ("backward", (0, 1, 2), 5)]:
        for b, h, t, d in SHAPES:
            work, arrays = products * b * h * t * t * d, (4, 8)[wrt is not None]
            traffic = arrays * 4 * b * h * t * d
            shape = f"{b}x{h}x{t}x{d}"
            yield Case(kind, shape, work, FUNCTIONS, inputs((b, h, t, d)), wrt, traffic=traffic)


def memory():
    """(bytes by which a fresh process grew in a forward and backward of LONG, bytes of the inputs)."""
    done = subprocess.run(
        [sys.executable, "-m", __name__], capture_output=True, text=True, check=True, timeout=500
    )
    grown, size = map(int, done.stdout.split())
    return grown, size


def _grow():
    """In the fresh process: a small one first, which compiles, then the long one."""
    for shape in ((1, 1, 256, LONG[-1]), LONG):
        xs = inputs(shape)
        before = peak()
        _, pullback = tg.vjp(FUNCTIONS["tinygen"](tg), *xs)
        pullback(np.ones(shape, np.float32))
    print(peak() - before, sum(x.nbytes for x in xs))


def peak():
    """The most bytes that this process has had in memory."""
    if os.path.exists("/proc/self/status"):  # getrusage there begins with the peak of the parent
        with open("/proc/self/status") as lines:
            return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    _grow()
