"""Activations, forward and backward, on the widest arrays of a GPT (2048 x 1536) and on small ones.

They are bound by memory. Counted: what must move, the input and the result forward, and backward the
cotangent, what was kept, and the gradient. Small ones live in a cache, and may exceed the speed of memory.
"""

import numpy as np

from .cases import Case

SHAPES = ((2048, 1536), (128, 400))
FUNCTIONS = {
    "gelu": {
        "tinygen": lambda tg: tg.gelu,
        "PyTorch": lambda torch: torch.nn.functional.gelu,
        "JAX": lambda jax: lambda x: jax.nn.gelu(x, approximate=False),
    },
    **{
        name: {
            "tinygen": lambda tg, name=name: getattr(tg, name),
            "PyTorch": lambda torch, where=where, name=name: getattr(where(torch), name),
            "JAX": lambda jax, name=name: getattr(jax.nn, name),
        }
        for name, where in {
            "tanh": lambda torch: torch,
            "sigmoid": lambda torch: torch,
            "silu": lambda torch: torch.nn.functional,
            "relu": lambda torch: torch.nn.functional,
        }.items()
    },
}


def cases():
    rng = np.random.default_rng(0)
    for kind, wrt, moved in [("forward", None, 2), ("backward", (0,), 3)]:
        for name, functions in FUNCTIONS.items():
            for shape in SHAPES:
                x = rng.standard_normal(shape, dtype=np.float32)
                text = f"{name} {shape[0]}x{shape[1]}"
                yield Case(kind, text, moved * x.nbytes, functions, [x], wrt, unit="GB/s")
