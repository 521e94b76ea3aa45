"""The switchboard: which implementation of a kernel runs. Arrays in, arrays out; no Tensor is known here.

    reference   plain array code, in reference.py: the definition, and what every other implementation is
                tested against

Operations call `kernels.attention(...)` and the like; `with use("reference"):` overrides the choice.
"""

import contextlib
from contextvars import ContextVar

from . import reference
from .reference import Geometry, may_see

__all__ = ["Geometry", "implementations", "may_see", "use", *reference.KERNELS]

_IMPLEMENTATIONS = {"reference": reference}
_choice = ContextVar("tinygen_kernels", default="reference")


def implementations():
    """The names that `use` accepts."""
    return tuple(_IMPLEMENTATIONS)


@contextlib.contextmanager
def use(name):
    """`with use(name):` run kernels of that implementation only.

    Raises:
        ValueError: there is no such implementation.
    """
    if name not in _IMPLEMENTATIONS:
        raise ValueError(f"use: there are no {name!r} kernels; choose from {', '.join(_IMPLEMENTATIONS)}")
    token = _choice.set(name)
    try:
        yield
    finally:
        _choice.reset(token)


def _switch(name):
    def kernel(*args):
        return getattr(_IMPLEMENTATIONS[_choice.get()], name)(*args)

    kernel.__name__, kernel.__doc__ = name, getattr(reference, name).__doc__
    return kernel


globals().update({name: _switch(name) for name in reference.KERNELS})
