"""A case: one computation, done by every library that is installed, checked, then timed in turns.

What was chosen, so that nobody is favoured:

- All get the same float32 arrays, the same threads (through the variables that they read at import), and give
  a result in memory: JAX is waited for. Each is written as its users write it.
- Results are compared with those of plain NumPy in float64 before anything is timed.
- Forward alone keeps nothing for a backward; backward alone runs again and again on what one forward kept.
- A sample is a batch of calls of at least 10 ms. Pools of two libraries in one process disturb each other:
  OpenMP's threads and OpenBLAS's go on spinning for a while after a call, and take the cores from the next
  candidate. So before its batch a candidate waits for 20 ms in which nobody works, and then runs for 2 ms
  untimed, which wakes its own threads and fetches its data.
- A library's first call, in which it compiles, is timed apart.
"""

import contextlib
import functools
import importlib.util
import os
import time
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

import tinygen as tg
from tinygen import kernels

from . import measure

OURS = "tinygen"


class Unequal(Exception):
    """A library computed something else."""


@dataclass
class Case:
    """One computation.

    Args:
        functions: a library's name -> a function of its namespace, which returns what computes.
        kind: what is computed, "forward" or "backward" or in other words.
        shape: as it is printed.
        work: floating-point operations, or bytes that must move: `unit` says which.
        inputs: float32 (or integer) arrays.
        wrt: places of the inputs whose gradients are computed; None: the forward.
        traffic: bytes that must move, where work counts operations.
    """

    kind: str
    shape: str
    work: float
    functions: dict
    inputs: list
    wrt: tuple | None = None
    unit: str = "GFLOP/s"
    traffic: float = 0.0
    tolerance: float = 2e-5
    first: dict = field(default_factory=dict)

    @property
    def name(self):
        return f"{self.shape} {self.kind}"

    def candidate(self, library):
        """A function without arguments that lets a library compute the case."""
        return library.candidate(self)

    def cotangent(self):
        """A gradient of the result, for a backward."""
        shape = np.shape(self.functions[OURS](tg)(*self.inputs))
        return np.asarray(np.random.default_rng(1).standard_normal(shape), np.float32)

    def truth(self):
        """The result in float64, by the reference kernels."""
        wide = [x.astype(np.float64) if x.dtype.kind == "f" else x for x in self.inputs]
        return NumPy().candidate(self, wide)()


# The libraries


class Tinygen:
    """Ours, as a user calls it: on arrays, and backwards through `vjp`."""

    name, package, context = OURS, "tinygen", staticmethod(contextlib.nullcontext)

    def candidate(self, case, inputs=None):
        """A function without arguments that computes the case, and returns an array or several."""
        inputs, f = inputs or case.inputs, case.functions[OURS](tg)
        if case.wrt is None:
            return functools.partial(f, *inputs)

        def of_some(*xs):
            every = list(inputs)
            for i, x in zip(case.wrt, xs):
                every[i] = x
            return f(*every)

        y, pullback = tg.vjp(of_some, *[inputs[i] for i in case.wrt])
        return functools.partial(pullback, case.cotangent().astype(y.dtype))


class NumPy(Tinygen):
    """NumPy's own function, or our reference kernels, which are plain NumPy."""

    name, package = "NumPy", "numpy"

    def candidate(self, case, inputs=None):
        if "NumPy" in case.functions and case.wrt is None:
            return functools.partial(case.functions["NumPy"](np), *(inputs or case.inputs))
        with kernels.use("reference"):
            function = super().candidate(case, inputs)

        def plain():
            with kernels.use("reference"):
                return function()

        return plain


class PyTorch:
    name, package = "PyTorch", "torch"

    def __init__(self):
        import torch

        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or torch.get_num_threads()))
        self.m = torch

    def candidate(self, case):
        f, inputs = case.functions[self.name](self.m), [self.m.from_numpy(x) for x in case.inputs]
        if case.wrt is None:
            return functools.partial(f, *inputs)
        leaves = [inputs[i].requires_grad_() for i in case.wrt]
        y, g = f(*inputs), self.m.from_numpy(np.asarray(case.cotangent()))
        return lambda: self.m.autograd.grad(y, leaves, g, retain_graph=True)


class JAX:
    name, package = "JAX", "jax"

    def __init__(self):
        import jax

        self.m = jax

    def candidate(self, case):
        jax = self.m
        f, inputs = case.functions[self.name](jax), [jax.numpy.asarray(x) for x in case.inputs]
        if case.wrt is None:
            f = jax.jit(f)
            return lambda: jax.block_until_ready(f(*inputs))

        def of_some(*xs):
            every = list(inputs)
            for i, x in zip(case.wrt, xs):
                every[i] = x
            return f(*every)

        _, pullback = jax.jit(functools.partial(jax.vjp, of_some))(*[inputs[i] for i in case.wrt])
        pull, g = jax.jit(lambda pullback, g: pullback(g)), jax.numpy.asarray(case.cotangent())
        return lambda: jax.block_until_ready(pull(pullback, g))


def libraries():
    """One of each that is installed, ours first."""
    return [kind() for kind in (Tinygen, NumPy, PyTorch, JAX) if importlib.util.find_spec(kind.package)]


# Checking and timing


def check(name, got, truth, tolerance):
    """Compare one library's results with the true ones, relative to the largest element of each.

    Raises:
        Unequal: they differ, in number, shape or value.
    """
    got, truth = as_arrays(got), as_arrays(truth)
    if len(got) != len(truth):
        raise Unequal(f"{name}: {len(got)} results, and {len(truth)} are right")
    for i, (mine, right) in enumerate(zip(got, truth)):
        if mine.shape != right.shape:
            raise Unequal(f"{name}: result {i} is {mine.shape}, and {right.shape} is right")
        if mine.dtype == np.float64:
            raise Unequal(f"{name}: result {i} is float64, and float32 is to be measured")
        scale = float(np.abs(right).max(initial=0)) or 1.0
        error = float(np.abs(mine - right).max(initial=0)) / scale
        if not error <= tolerance:
            raise Unequal(f"{name}: result {i} is off by {error:.1e} of the largest element")


def as_arrays(results):
    """Results of any library as a list of NumPy arrays."""
    if not isinstance(results, (tuple, list)):
        results = [results]
    return [np.asarray(x.detach() if hasattr(x, "detach") else x) for x in results if x is not None]


class Effort(NamedTuple):
    """How long to measure: turns of each candidate; seconds of a sample, and of pause and warm-up before."""

    rounds: int = 20
    sample: float = 0.010
    pause: float = 0.020
    warmup: float = 0.002


def measured(case, libraries, effort):
    """Check a case, then time it: what goes into the JSON.

    Raises:
        Unequal: a library computes something else.
    """
    truth, first, samples = case.truth(), {}, {}
    for library in libraries:
        if library.name in case.functions or library.name == "NumPy":
            candidate = case.candidate(library)
            start = time.perf_counter()
            result = candidate()
            first[library.name] = time.perf_counter() - start
            check(f"{case.name}: {library.name}", result, truth, case.tolerance)
            samples[library.name] = candidate
    return record(case, samples, effort, first)


def record(case, candidates, effort, first=None):
    """Time candidates, functions without arguments, in turns."""
    turns = {name: turn(candidate, effort) for name, candidate in candidates.items()}
    return {
        "unit": case.unit,
        "work": case.work,
        "traffic": case.traffic,
        "first": first or {},
        "seconds": measure.interleave(turns, rounds=effort.rounds),
    }


def turn(candidate, effort):
    """A function that takes one sample: seconds a call, after a pause and a warm-up; see the module."""
    count = functools.partial(measure.timed, candidate)
    repeats = measure.repeats_for(count, most=1_000_000, seconds=effort.sample)
    warming = max(1, int(repeats * effort.warmup / effort.sample))

    def sample():
        time.sleep(effort.pause)
        count(warming)
        return count(repeats) / repeats

    return sample
