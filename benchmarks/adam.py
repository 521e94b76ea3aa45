"""A step of AdamW: over 10 million parameters in ten arrays, and over 100 small arrays.

Bound by memory, or by what a hundred launches cost. Counted: 28 bytes a parameter (x, g, m and v are read;
x, m and v are written). Every library updates in place, JAX by giving its old arrays away (donate_argnums).
"""

import functools
import math

import numpy as np

import tinygen as tg
from tinygen import kernels

from . import cases as cases_of
from .cases import Case

LR, BETAS, EPS, DECAY = 1e-3, (0.9, 0.999), 1e-8, 0.01
SETS = {"10 of 1000x1000": [(1000, 1000)] * 10, "100 of 64x64 and 64": [(64, 64), (64,)] * 50}


class Adam(Case):
    """A case whose candidates keep a state: each call is the next step. The first is checked."""

    def truth(self):
        """The first step in float64, in which m / (1 - b1) = g and v / (1 - b2) = g^2."""
        half = len(self.inputs) // 2
        xs, gs = ([x.astype(np.float64) for x in part] for part in (self.inputs[:half], self.inputs[half:]))
        return [x * (1 - LR * DECAY) - LR * g / (abs(g) + EPS) for x, g in zip(xs, gs)]

    def candidate(self, library):
        half = len(self.inputs) // 2
        return STEPPERS[library.name](library, self.inputs[:half], self.inputs[half:])


def _ours(library, xs, gs):
    parameters = [tg.tensor(x, requires_grad=True) for x in xs]
    for parameter, g in zip(parameters, gs):
        parameter.grad = tg.tensor(g)
    optimizer = tg.optim.AdamW(parameters, lr=LR, betas=BETAS, eps=EPS, weight_decay=DECAY)

    def step():
        optimizer.step()
        return [parameter.numpy() for parameter in parameters]

    return step


def _numpy(library, xs, gs):
    step = _ours(library, xs, gs)

    def plain():
        with kernels.use("reference"):
            return step()

    return plain


def _torch(library, xs, gs):
    torch = library.m
    parameters = [torch.from_numpy(x.copy()).requires_grad_() for x in xs]
    for parameter, g in zip(parameters, gs):
        parameter.grad = torch.from_numpy(g)
    optimizer = torch.optim.AdamW(parameters, lr=LR, betas=BETAS, eps=EPS, weight_decay=DECAY, fused=True)

    def step():
        optimizer.step()
        return [parameter.detach() for parameter in parameters]

    return step


def _jax(library, xs, gs):
    jax = library.m
    jnp = jax.numpy

    @functools.partial(jax.jit, donate_argnums=(0, 2, 3))
    def update(xs, gs, ms, vs, rate, correction):
        b1, b2 = BETAS
        ms = [b1 * m + (1 - b1) * g for m, g in zip(ms, gs)]
        vs = [b2 * v + (1 - b2) * g * g for v, g in zip(vs, gs)]
        xs = [
            x * (1 - LR * DECAY) - rate * m / (jnp.sqrt(v / correction) + EPS) for x, m, v in zip(xs, ms, vs)
        ]
        return xs, ms, vs

    state = [[jnp.array(x) for x in xs], *([jnp.zeros_like(x) for x in xs] for _ in range(2))]
    gs, t = [jnp.asarray(g) for g in gs], 0

    def step():
        nonlocal t
        t += 1
        rate, correction = LR / (1 - BETAS[0] ** t), 1 - math.pow(BETAS[1], t)
        state[:] = jax.block_until_ready(update(state[0], gs, state[1], state[2], rate, correction))
        return state[0]

    return step


STEPPERS = {cases_of.OURS: _ours, "NumPy": _numpy, "PyTorch": _torch, "JAX": _jax}


def cases():
    rng = np.random.default_rng(0)
    for name, shapes in SETS.items():
        arrays = [rng.standard_normal(shape, dtype=np.float32) for _ in range(2) for shape in shapes]
        count = sum(x.size for x in arrays) // 2
        yield Adam("step", name, 28 * count, STEPPERS, arrays, unit="GB/s")
