"""A case: one computation, done by every library that is installed, checked, then timed in turns.

What was chosen, so that nobody is favoured:

- All get the same float32 arrays, the same threads (through the variables that they read at import), and give
  a result in memory: JAX is waited for. Each is written as its users write it.
- Results are compared with those of plain NumPy in float64 before anything is timed.
- Forward alone keeps nothing for a backward; backward alone runs again and again on what one forward kept.
- Each library has a process of its own, and they take turns. In one process the threads of two OpenMP pools
  and of OpenBLAS end up on one core, and stay there: a product of 60 us took 8 ms, whoever computed it.
- Threads of OpenMP, ours and PyTorch's, and of OpenBLAS are bound to cores. After a pause two may wake up on
  one, where one spins while the other works: 240 us became 4.4 ms, and of PyTorch 600 us became 1.2 ms.
- A sample is a batch of calls of at least 10 ms. Threads go on spinning for a while after a call, OpenBLAS's
  unless told otherwise so long that the next library took twice its time. So before its batch a library waits
  for 20 ms in which nobody works, and then runs for 10 ms untimed, in which its threads wake up and spread.
- A library's first call, in which it compiles, is timed apart.
"""

import contextlib
import functools
import importlib
import importlib.util
import multiprocessing
import os
import shutil
import sys
import time
import traceback
from dataclasses import dataclass
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
        work: floating-point operations, bytes that must move, or tokens: `unit` says which.
        inputs: float32 (or integer) arrays.
        wrt: places of the inputs whose gradients are computed; None: the forward.
        traffic: bytes that must move, where work counts something else.
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

    @property
    def name(self):
        return f"{self.shape} {self.kind}"

    def serves(self, name):
        """Whether a library takes part. NumPy does where it has no function: it has our reference kernels."""
        return name in self.functions or name == "NumPy"

    def candidate(self, library):
        """A function without arguments that lets a library compute the case."""
        return library.candidate(self)

    def results(self, candidate):
        """What is compared, of a candidate that has not been called before."""
        return candidate()

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


class Compiled(PyTorch):
    """PyTorch by way of torch.compile, which writes C++ and has it compiled."""

    name = "torch.compile"

    @staticmethod
    def runs_here():
        usual = "clang++" if sys.platform == "darwin" else "g++"
        return shutil.which(os.environ.get("CXX", usual)) is not None


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


LIBRARIES = {library.name: library for library in (Tinygen, NumPy, PyTorch, Compiled, JAX)}


def installed():
    """The names of those that are here, ours first."""
    found = [name for name, library in LIBRARIES.items() if importlib.util.find_spec(library.package)]
    return [name for name in found if name != Compiled.name or Compiled.runs_here()]


@functools.lru_cache(maxsize=1)
def cases_of(family):
    """All cases of a family; in every process the same, on the same arrays."""
    return list(importlib.import_module(f".{family}", __package__).cases())


class Bench:
    """Where one library works."""

    def __init__(self, name):
        self.library, self.turn = LIBRARIES[name](), None

    def prepare(self, family, place, effort):
        """Compute a case for the first time: (seconds, results), or None where the library cannot."""
        case = cases_of(family)[place]
        if not case.serves(self.library.name):
            return None
        candidate = case.candidate(self.library)
        start = time.perf_counter()
        results = case.results(candidate)
        took = time.perf_counter() - start
        results = [x.copy() for x in as_arrays(results)]  # before a later call changes them in place
        self.turn = turn(candidate, effort)
        return took, results

    def sample(self):
        """Seconds a call."""
        return self.turn()


# For the libraries' threads, which read it when they are loaded: each keeps to its core, and goes to sleep
# 2 ** 20 cycles after its work, which is longer than any pause between calls.
GOOD_NEIGHBOURS = {"OMP_PROC_BIND": "true", "OPENBLAS_THREAD_TIMEOUT": "20"}


def bind_threads():
    """What OMP_PROC_BIND does, for OpenBLAS, which started its threads when NumPy was imported."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        for i, thread in enumerate(sorted(map(int, os.listdir("/proc/self/task")))):
            os.sched_setaffinity(thread, {cores[i % len(cores)]})


class Worker:
    """A bench in a process of its own, which ends when this is closed."""

    def __init__(self, name):
        context = multiprocessing.get_context("spawn")
        self.name, (self.pipe, theirs) = name, context.Pipe()
        self.process = context.Process(target=_serve, args=(name, theirs), daemon=True)
        before = dict(os.environ)
        os.environ.update(GOOD_NEIGHBOURS)
        try:
            self.process.start()
        finally:
            os.environ.clear()
            os.environ.update(before)
        theirs.close()

    def prepare(self, *args):
        return self._ask("prepare", *args)

    def sample(self):
        return self._ask("sample")

    def _ask(self, *request):
        try:
            self.pipe.send(request)
            answer = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join()
            raise RuntimeError(f"{self.name}: its process ended with {self.process.exitcode}") from None
        if isinstance(answer, Exception):
            raise RuntimeError(f"{self.name}: {answer}")
        return answer

    def close(self):
        self.pipe.close()
        self.process.join()


def _serve(name, pipe):
    bench = Bench(name)
    if name == "NumPy":
        bind_threads()
    with contextlib.suppress(EOFError):
        while True:
            method, *args = pipe.recv()
            try:
                answer = getattr(bench, method)(*args)
            except Exception as error:
                traceback.print_exc()
                answer = RuntimeError(repr(error))  # the error itself may not travel
            pipe.send(answer)


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
    warmup: float = 0.010


def measured(family, place, benches, effort):
    """Check a case, then time it in turns: what goes into the JSON.

    Args:
        benches: name -> a Bench, or a Worker.

    Raises:
        Unequal: a library computes something else.
    """
    case = cases_of(family)[place]
    truth, first, turns = case.truth(), {}, {}
    for name, bench in benches.items():
        prepared = bench.prepare(family, place, effort)
        if prepared is not None:
            first[name], results = prepared
            check(f"{case.name}: {name}", results, truth, case.tolerance)
            turns[name] = bench.sample
    return {
        "unit": case.unit,
        "work": case.work,
        "traffic": case.traffic,
        "first": first,
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
