"""The package's operations, for tests to run through, and one way to call them all."""

import inspect

from tinygen import REGISTRY
from tinygen.autograd.engine import Tensor, wrap
from tinygen.autograd.tensor import as_leaf

OPERATIONS = [name for name in REGISTRY if name.startswith("tinygen.")]


def short(name):
    """How a test is called: sum, for tinygen.autograd.ops.reductions.sum."""
    return name.rpartition(".")[2]


def call(operation, inputs, attrs):
    """The results of an operation as a list. An attribute may stand ahead of the inputs, as einsum's does."""
    attrs = dict(attrs)
    first = next(iter(inspect.signature(operation).parameters))
    ahead = [attrs.pop(first)] if first not in operation.domains.inputs else []
    out = operation(*ahead, *inputs, **attrs)
    return list(out) if isinstance(out, (list, tuple)) else [out]


def is_real(x):
    """True for a floating array of any library: what a gradient is taken of."""
    return x is not None and x.dtype.kind == "f"


def as_leaves(inputs):
    """The inputs with the floating ones as leaves, over the same arrays: nothing is copied."""
    return [as_leaf(wrap(x)) if is_real(x) else x for x in inputs]


def tensors(values):
    return [x for x in values if isinstance(x, Tensor)]
