"""Reverse-mode automatic differentiation: the engine, the operations, and transforms of functions."""

from . import ops
from .engine import Tensor
from .modes import anomaly, enable_grad, no_grad
from .primitive import REGISTRY, composite, primitive
from .tensor import stop_gradient, tensor
from .transforms import checkpoint, grad, gradients, hessian, hvp, jacobian, jvp, value_and_grad, vjp

__all__ = [
    "REGISTRY",
    "Tensor",
    "anomaly",
    "checkpoint",
    "composite",
    "enable_grad",
    "grad",
    "gradients",
    "hessian",
    "hvp",
    "jacobian",
    "jvp",
    "no_grad",
    "ops",
    "primitive",
    "stop_gradient",
    "tensor",
    "value_and_grad",
    "vjp",
]
