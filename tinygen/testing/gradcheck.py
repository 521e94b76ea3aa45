"""Check derivatives against central differences, to any order.

Along a random direction v and for a random cotangent c, the scalar function phi(t) = c . f(x + t v) has the
derivative c . J v, which the rules must give. Two step sizes are compared first: where they disagree, or
where the slopes from left and right do, the point is a kink, and no derivative is to be had. The check of
order n is the check of order n - 1 on the gradient itself, as a function of the inputs and the cotangent.

It returns nothing, so that it cannot be forgotten inside an `assert`; it raises.
"""

import functools
import inspect

import numpy as np

from ..autograd import Tensor, enable_grad, gradients, no_grad, tensor
from ..autograd.engine import wrap
from ..autograd.ops import zeros_like

STEP = 1e-4  # truncation of the extrapolated difference is of order STEP**4, rounding of order 1e-16 / STEP
KINK = 1e-5  # smooth functions differ between the steps by about STEP**2
RTOL, ATOL = 1e-6, 1e-8


class GradientError(AssertionError):
    """A derivative that is not what differences say."""


class KinkError(GradientError):
    """A point where the function has no derivative, so that nothing can be checked there."""


def gradcheck(f, *inputs, order=2, rng=None):
    """Raise unless all derivatives of f up to `order` agree with central differences at `inputs`, in float64.

    Args:
        f: a function of Tensors that returns a Tensor, or a tuple or list of them.
        inputs: arrays, Tensors, numbers; floating ones are differentiated, the others are passed as they are.
        order: how many times to differentiate.
        rng: np.random.Generator for directions and cotangents; a fixed one by default.

    Raises:
        KinkError: f has a kink at, or within 1e-4 of, the inputs.
        GradientError: names the function, the order, the input and the index where rule and difference are
            furthest apart.
        ValueError: no input is floating, the order is below 1, or a value of f is not finite.
    """
    if order < 1:
        raise ValueError(f"gradcheck: expected an order of at least 1, got {order}")
    rng = np.random.default_rng(0) if rng is None else rng
    inputs = [_as_input(x) for x in inputs]
    names = _input_names(f, len(inputs))
    if not any(map(_is_real, inputs)):
        raise ValueError(f"gradcheck: {_name(f)} was given no floating input; pass floats")
    for level in range(1, order + 1):
        f, inputs, names = _check_first_order(f, inputs, names, rng, level)


def _as_input(x):
    """Floating inputs as float64 arrays that nobody can write to; the others as they are."""
    array = np.array(x.data if isinstance(x, Tensor) else x) if not isinstance(x, (str, type(None))) else x
    if isinstance(array, np.ndarray) and array.dtype.kind == "f":
        array = array.astype(np.float64)
    if isinstance(array, np.ndarray):
        array.flags.writeable = False
    return array


def _is_real(x):
    return isinstance(x, np.ndarray) and x.dtype.kind == "f"


def _name(f):
    return _name(f.func) if isinstance(f, functools.partial) else getattr(f, "__name__", repr(f))


def _input_names(f, count):
    try:
        names = [p.name for p in inspect.signature(f).parameters.values() if p.kind is not p.KEYWORD_ONLY]
    except (TypeError, ValueError):
        names = []
    return [names[i] if len(names) > i and len(names) >= count else f"input {i}" for i in range(count)]


def _outputs(f, inputs):
    """f's results as a list of float64 arrays, without a tape."""
    with no_grad(), np.errstate(all="ignore"):  # what is not finite is said better by the caller
        results = f(*[wrap(x) if isinstance(x, np.ndarray) else x for x in inputs])
    return [np.asarray(y) for y in (results if isinstance(results, (tuple, list)) else [results])]


def _check_first_order(f, inputs, names, rng, level):
    """Check f once; return its gradient as a function of (inputs, cotangents), to be checked in turn."""
    real = [i for i, x in enumerate(inputs) if _is_real(x)]
    values = _outputs(f, inputs)
    for y in values:
        if not np.isfinite(y).all():
            raise ValueError(f"gradcheck: {_name(f)} is not finite at these inputs; choose others")
    cotangents = [rng.standard_normal(y.shape) for y in values]
    directions = {i: rng.standard_normal(inputs[i].shape) for i in real}
    pulled = _gradient(f, inputs, real, cotangents)
    claimed = sum(float(np.vdot(g, directions[i])) for i, g in zip(real, pulled))

    size = sum(float(np.abs(c * y).sum()) for c, y in zip(cotangents, values))
    measured, spread = _slope(f, inputs, directions, cotangents, size, names, level)
    gap = abs(claimed - measured)
    if not gap <= RTOL * abs(measured) + ATOL * max(1.0, size):
        if gap <= spread:
            raise KinkError(
                f"{_name(f)}: order {level}: the second derivative jumps here; choose other inputs"
            )
        raise GradientError(
            _worst(f, inputs, real, cotangents, pulled, size, names, level, claimed, measured)
        )

    count = len(inputs)

    @functools.wraps(f)
    def gradient(*args):
        return _gradient(f, args[:count], real, args[count:], create_graph=True)

    gradient.__signature__ = inspect.Signature()
    more = [
        f"the cotangent of order {level}" if len(cotangents) == 1 else f"cotangent {k}"
        for k in range(len(cotangents))
    ]
    return gradient, [*inputs, *map(_as_input, cotangents)], [*names, *more]


def _gradient(f, inputs, real, cotangents, create_graph=False):
    """The vector-Jacobian product of f as arrays, or as Tensors that can be differentiated again."""
    with enable_grad():
        leaves = list(inputs)
        for i in real:
            x = leaves[i]
            leaves[i] = x if isinstance(x, Tensor) and x.node is not None else tensor(x, requires_grad=True)
        results = f(*leaves)
        results = results if isinstance(results, (tuple, list)) else [results]
        if not all(isinstance(y, Tensor) for y in results):
            raise TypeError(f"gradcheck: {_name(f)} must return Tensors; compute with tinygen's functions")
        pairs = [(y, c) for y, c in zip(results, cotangents) if y.node is not None]
        if not pairs:
            found = [zeros_like(leaves[i]) for i in real]
        else:
            outputs, weights = zip(*pairs)
            found = gradients(outputs, [leaves[i] for i in real], weights, create_graph=create_graph)
    return found if create_graph else [np.asarray(g) for g in found]


def _slope(f, inputs, directions, cotangents, size, names, level):
    """d/dt sum(cotangent f(inputs + t directions)) at 0, by Richardson; and how far its two steps differ.

    Raises:
        KinkError: the steps, or the slopes to the left and to the right, disagree.
    """

    def phi(t):
        moved = [np.asarray(x + t * directions[i]) if i in directions else x for i, x in enumerate(inputs)]
        return sum(float(np.vdot(c, y)) for c, y in zip(cotangents, _outputs(f, moved)))

    here = phi(0.0)
    (wide_left, wide_right), (left, right) = [(phi(-h), phi(h)) for h in (STEP, STEP / 2)]
    wide, narrow = (wide_right - wide_left) / (2 * STEP), (right - left) / STEP
    # The jump of the slope at 0: proportional to the step for a smooth function, constant at a kink.
    wide_jump = (wide_right - 2 * here + wide_left) / STEP
    jump = (right - 2 * here + left) / (STEP / 2)
    scale = max(1.0, abs(narrow), size)
    if not abs(wide - narrow) < KINK * scale or not abs(wide_jump - 2 * jump) < KINK * scale:
        where = ", ".join(names[i] for i in directions)
        raise KinkError(
            f"{_name(f)}: order {level}: a kink at this {where}: slopes {wide:.6g} and {narrow:.6g} with "
            f"steps {STEP:g} and {STEP / 2:g}, jump {jump:.3g}; choose inputs away from it"
        )
    return (4 * narrow - wide) / 3, abs(wide - narrow)


def _worst(f, inputs, real, cotangents, pulled, size, names, level, claimed, measured):
    """The message of a failed check: every element is measured alone, and the worst one named."""
    worst = (0.0, None)
    for i, g in zip(real, pulled):
        for index in np.ndindex(g.shape):
            direction = np.zeros(g.shape)
            direction[index] = 1.0
            try:
                slope, _ = _slope(f, inputs, {i: direction}, cotangents, size, names, level)
            except KinkError:
                continue
            gap = abs(slope - g[index])
            if not gap <= worst[0]:  # a NaN is worst of all
                worst = np.inf if np.isnan(gap) else gap, (names[i], index, float(g[index]), slope)
    place = ""
    if worst[1]:
        name, index, rule, slope = worst[1]
        at = ", ".join(map(str, index))
        place = f"; worst at {name}[{at}]: the rule gives {rule:.9g}, differences {slope:.9g}"
    sides = f"the rules give {claimed:.9g}, differences {measured:.9g}"
    return f"{_name(f)}: order {level}: along a random direction {sides}{place}"
