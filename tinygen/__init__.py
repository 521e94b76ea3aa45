"""tinygen: generative models from scratch in NumPy, on a reverse-mode autograd of its own.

    import tinygen as tg
    x = tg.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    (x @ x.T).tanh().sum().backward()
    x.grad

Operations are functions of this namespace under their NumPy names; given arrays they return arrays.
"""

import importlib

from . import arrays, autograd, kernels
from .autograd import *  # noqa: F403
from .autograd.ops import *  # noqa: F403

__version__ = "0.1.0"

_LAZY = ("data", "metrics", "models", "nn", "optim", "testing", "training")  # imported when first asked for


def __getattr__(name):
    if name in _LAZY:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"tinygen has no {name!r}; see dir(tinygen)")


def __dir__():
    return sorted([*globals(), *_LAZY])


__all__ = ["arrays", "kernels", *autograd.__all__, *autograd.ops.__all__]
