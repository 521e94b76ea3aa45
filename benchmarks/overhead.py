"""What recording costs: python -m benchmarks.overhead [--quick] [--rounds N] [--json FILE]

On four numbers there is next to no arithmetic, so what is timed is all the rest: the way from the call to the
kernel, the tape, and the walk back. Two rows, float32, one thread, each peer eager and asked for gradients:

    multiply   z = x * y, both tracked, in a plain loop
    chain      100 operations, one after another, and their sum; then backward to both inputs

The control is NumPy itself, which records nothing and has no way back: the least that anything over it costs.
Values and gradients are compared with exact ones before anything is timed. Every figure is a median over the
rounds, and every ratio the median of the ratios within a round (see measure.py), its quartiles beside it.

JAX records only inside a transformation, so its loop runs inside `jax.vjp`, and without `jit`: it is built to
be compiled, and this is not what it is good at. HIPS autograd likewise records inside `make_vjp`.
"""

import argparse
import functools
import importlib.util
import json
import statistics
import sys
import time

from . import measure

SIZE = 4
BASE = "PyTorch"
TO_REACH = {"multiply": 0.6, "chain": 0.7}
PACKAGES = ("tinygen", "numpy", "torch", "jax", "jaxlib", "mygrad", "autograd")


# The same lines for everybody: `m` is the peer's namespace.


def product(m, x, y):
    """The first row, summed so that it has a gradient to check."""
    return (x * y).sum()


def chain(m, x, w):
    """The second row: 100 operations on few numbers, and a sum. Values stay in [-2, 2]; w is positive."""
    h = x
    for _ in range(10):
        h = h * w
        h = h + x
        h = m.tanh(h)
        h = h - w
        h = m.exp(h)
        h = m.sqrt(h)
        h = h / w
        h = -h
        h = m.sin(h)
        h = h * h
    return h.sum()


def inputs():
    """x and w (or y), float32."""
    import numpy as np

    rng = np.random.default_rng(0)
    return rng.uniform(-1, 1, SIZE).astype(np.float32), rng.uniform(0.5, 1.5, SIZE).astype(np.float32)


class Peer:
    """One candidate: how its library makes tracked leaves, differentiates, and opens a scope that records."""

    name = package = None

    def multiplying(self, repeats):
        """Seconds that `repeats` recorded multiplies take."""
        return self.recording(functools.partial(_multiply, repeats=repeats))

    def recording(self, body):
        """body(x, y) with x and y tracked."""
        return body(*self.leaves)


def _multiply(x, y, repeats):
    start = time.perf_counter()
    for _ in range(repeats):
        z = x * y
    wait = getattr(z, "block_until_ready", None)  # JAX may still be at it
    if wait:
        wait()
    return time.perf_counter() - start


class NumPy(Peer):
    """The control: no tape, and for the chain no way back."""

    name, package = "NumPy, untracked", "numpy"

    def __init__(self):
        import numpy as np

        self.m, self.leaves = np, inputs()

    def differentiate(self, function):
        return function(self.m, *self.leaves), None


class _Backward(Peer):
    """The libraries whose tensors know `backward` and `grad`."""

    def differentiate(self, function):
        x, y = self.leaves
        x.grad = y.grad = None
        value = function(self.m, x, y)
        value.backward()
        return value, (x.grad, y.grad)


class Tinygen(_Backward):
    name = package = "tinygen"

    def __init__(self):
        import tinygen as tg

        self.m, self.leaves = tg, [tg.tensor(x, requires_grad=True) for x in inputs()]


class PyTorch(_Backward):
    name, package = "PyTorch", "torch"

    def __init__(self):
        import torch

        torch.set_num_threads(1)
        self.m, self.leaves = torch, [torch.tensor(x, requires_grad=True) for x in inputs()]


class MyGrad(_Backward):
    name, package = "MyGrad", "mygrad"

    def __init__(self):
        import mygrad

        self.m, self.leaves = mygrad, [mygrad.tensor(x) for x in inputs()]

    def differentiate(self, function):
        x, y = self.leaves
        x.null_grad()
        y.null_grad()
        value = function(self.m, x, y)
        value.backward()
        return value, (x.grad, y.grad)


class Autograd(Peer):
    name, package = "HIPS autograd", "autograd"

    def __init__(self):
        import autograd

        self.m, self.leaves = importlib.import_module("autograd.numpy"), inputs()
        self.make_vjp, self.value_and_grad = autograd.make_vjp, autograd.value_and_grad

    def differentiate(self, function):
        return self.value_and_grad(functools.partial(function, self.m), argnum=(0, 1))(*self.leaves)

    def recording(self, body):
        return _smuggled(body, lambda function: self.make_vjp(function, argnum=(0, 1))(*self.leaves))


class JAX(Peer):
    name, package = "JAX, no jit", "jax"

    def __init__(self):
        import jax

        self.m, self.leaves = jax.numpy, [jax.numpy.asarray(x) for x in inputs()]
        self.vjp, self.value_and_grad, self.wait = jax.vjp, jax.value_and_grad, jax.block_until_ready

    def differentiate(self, function):
        return self.wait(
            self.value_and_grad(functools.partial(function, self.m), argnums=(0, 1))(*self.leaves)
        )

    def recording(self, body):
        return _smuggled(body, lambda function: self.vjp(function, *self.leaves))


def _smuggled(body, transform):
    """What `body` returns when it runs inside a transformation, which wants a result of its own."""
    answers = []

    def traced(x, y):
        answers.append(body(x, y))
        return x * y

    transform(traced)
    return answers[0]


PEERS = (NumPy, Tinygen, PyTorch, JAX, MyGrad, Autograd)


def exact(function):
    """Value and gradients in float64, by nobody's rules: f'(x) = Im f(x + ih) / h (Squire & Trapp 1998)."""
    import numpy as np

    x, w = (leaf.astype(np.complex128) for leaf in inputs())
    h = 1e-30j
    steps = np.eye(SIZE) * h
    gradients = [[function(np, x + s, w) for s in steps], [function(np, x, w + s) for s in steps]]
    return function(np, x, w).real, np.imag(gradients) / h.imag


def disagreement(peer, function):
    """What is wrong with a peer's value or gradients of `function`, in words; None when nothing is."""
    import numpy as np

    where = f"{peer.name}: {function.__name__}"
    value, gradients = peer.differentiate(function)
    expected, slopes = exact(function)
    checks = [("value", value, expected)]
    if gradients is not None:
        checks += [(f"gradient {i}", gradient, slopes[i]) for i, gradient in enumerate(gradients)]
    for what, got, wanted in checks:
        got = np.asarray(got.detach() if hasattr(got, "detach") else got)
        if got.dtype != np.float32:
            return f"{where}: the {what} is {got.dtype}, and float32 is to be measured"
        scale = np.abs(wanted).max()
        if got.shape != np.shape(wanted) or not np.abs(got - wanted).max() <= 1e-5 * scale:
            return f"{where}: the {what} is {got}, and {wanted} is right"
    return None


def measured(peers, *, rounds, most, seconds):
    """row -> peer's name -> seconds a time, in each round."""
    rows = {
        "multiply": {peer.name: peer.multiplying for peer in peers},
        "chain": {peer.name: functools.partial(_differentiating, peer) for peer in peers},
    }
    found = {}
    for row, samples in rows.items():
        turns = {}
        for name, sample in samples.items():
            repeats = measure.repeats_for(sample, most=most[row], seconds=seconds)
            turns[name] = functools.partial(_each, sample, repeats)
        found[row] = measure.interleave(turns, rounds=rounds)
    return found


def _differentiating(peer, repeats):
    return measure.timed(functools.partial(peer.differentiate, chain), repeats)


def _each(sample, repeats):
    """Seconds a time."""
    return sample(repeats) / repeats


def report(found, environment):
    """The tables, as text."""
    e = environment
    lines = [
        f"{e['machine']}, {e['cores']} cores, load {e['load']}; {e['system']}",
        f"Python {e['python']}; threads of each library: {e['threads']}; garbage collector on",
        ", ".join(f"{name} {version}" for name, version in e["versions"].items()),
    ]
    titles = {
        "multiply": f"z = x * y, {SIZE} float32, tracked",
        "chain": f"100 operations on {SIZE} float32 and a sum, forward and backward (NumPy: forward only)",
    }
    for row, times in found.items():
        base = times.get(BASE)
        cells = []
        for name, each in times.items():
            low, middle, high = measure.ratios(each, base or each)
            ratio = f"{middle:.2f} ({low:.2f} to {high:.2f})" if base else "-"
            cells.append((name, f"{statistics.median(each) * 1e6:.2f}", ratio))
        goal = f"  [to reach: tinygen at most {TO_REACH[row]} x {BASE}]"
        lines += ["", titles[row] + goal, measure.table(cells, ("", "us", f"/ {BASE} (quartiles)"))]
    return "\n".join(lines)


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.overhead", description="What recording costs."
    )
    parser.add_argument("--quick", action="store_true", help="three short rounds: does it run, do all agree?")
    parser.add_argument("--rounds", type=int, default=100, help="turns of every peer (default: 100)")
    parser.add_argument("--json", metavar="FILE", help="also write every figure of every round")
    options = parser.parse_args(argv)

    measure.limit_threads(1)
    peers = [peer() for peer in PEERS if importlib.util.find_spec(peer.package)]
    wrong = [w for peer in peers for function in (product, chain) if (w := disagreement(peer, function))]
    if wrong:
        print(*wrong, sep="\n", file=sys.stderr)
        return 1

    environment = measure.environment(PACKAGES)
    if options.quick:
        found = measured(peers, rounds=3, most={"multiply": 200, "chain": 3}, seconds=0.02)
    else:
        found = measured(peers, rounds=options.rounds, most={"multiply": 5_000, "chain": 20}, seconds=0.05)
    print(report(found, environment))
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"environment": environment, "seconds": found, "to_reach": TO_REACH}, file, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
