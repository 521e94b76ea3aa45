"""Operations planted for the tests of the prover's kit, right and wrong, and the contract's verdict."""

import numpy as np
from hypothesis import Phase, settings

import tinygen as tg
from tinygen.autograd.domain import AXES, SOME_AXIS
from tinygen.autograd.ops.arithmetic import raw
from tinygen.testing import contract


def plant(forward, domain=None, shapes=None, reference=None, **rules):
    """A primitive of the tests' own; `shapes` and `domain` make its only case."""
    operation = tg.primitive(forward, reference=reference)
    operation.rules(**rules)
    operation.domain(shapes, **(domain or {}))
    return operation


def verdict(operation, **options):
    """What the contract says against an operation, or None. The first bad example will do."""
    now = settings.default
    settings.register_profile("as before", now)
    settings.register_profile("verdict", now, phases=(Phase.generate,), report_multiple_bugs=False)
    settings.load_profile("verdict")
    try:
        contract(operation, **options)()
    except Exception as error:  # a broken law, or an error that a frozen array raises
        return f"{type(error).__name__}: {error}"
    finally:
        settings.load_profile("as before")
    return None


def cube(x):
    return x * x * x


def twice(x):
    return 2.0 * x


def product(x, y):
    return x * y


def on_array(rule):
    """A rule that spoils something in a plain backward, and is right when it records."""
    return lambda g: 2.0 * g if isinstance(g, tg.Tensor) else rule(g)


RIGHT = {
    "cube": plant(cube, x=lambda g, x: g * (3 * x * x)),
    "product": plant(product, x=lambda g, y: g * y, y=lambda g, x: g * x),
    "a joint rule": plant(product, all=lambda g, x, y: (g * y, g * x)),
    "one gradient for two": plant(lambda x, y: x + y, all=lambda g: (g, g)),
    "a view of the cotangent": plant(lambda x: x, x=lambda g: g),
    "zeros": plant(lambda x: np.round(x), x=lambda g: tg.zeros_like(g)),
    "fused": plant(cube, reference=lambda x: x * x * x, x=lambda g, x: g * (3 * x * x)),
}


def narrowed(g, x_shape):
    """The mean where the sum belongs."""
    lead = tuple(range(g.ndim - len(x_shape)))
    return g.mean(axis=lead) if lead and g.size else g


def total(x, /, axis=None):
    return x.sum(axis=axis)


def cumulated(x, /, axis=0):
    return x.cumsum(axis=axis)


WRONG_RULES = {
    "scaled by 1.001": plant(cube, x=lambda g, x: 1.001 * g * (3 * x * x)),
    "scaled by 0.999": plant(twice, x=lambda g: 0.999 * (2.0 * g)),
    "another sign": plant(cube, x=lambda g, x: -g * (3 * x * x)),
    "a dropped term": plant(lambda x: x * np.exp(x), x=lambda g, x: g * (x * tg.exp(x))),
    "a dropped term of one input": plant(lambda x, y: x * y + x, x=lambda g, y: g * y, y=lambda g, x: g * x),
    "inputs exchanged": plant(product, x=lambda g, x: g * x, y=lambda g, y: g * y),
    "half of a power": plant(lambda x, y: x * y * y, x=lambda g, y: g * y * y, y=lambda g, x, y: g * x * y),
    "no broadcast": plant(total, {"axis": AXES}, x=lambda g, x_shape: tg.broadcast_to(g, x_shape)),
    "mean for sum": plant(lambda x, y: x + y, x=narrowed, y=lambda g: g),
    "not turned round": plant(cumulated, {"axis": SOME_AXIS}, "n m", x=lambda g, axis: tg.cumsum(g, axis)),
    "a constant": plant(twice, x=lambda g: tg.zeros_like(g) + 2.0),
    "an added constant": plant(twice, x=lambda g: 2.0 * g + 1e-6),
    "not linear": plant(twice, x=lambda g: 2.0 * g + 1e-4 * g * g),
    "second derivative cut": plant(cube, x=lambda g, x: g * (3 * tg.stop_gradient(x) * x)),
    "second derivative gone": plant(cube, x=lambda g, x: g * (3 * raw(x) * raw(x))),
    "cut off from the cotangent": plant(twice, x=lambda g: tg.stop_gradient(g) * 2.0),
}
