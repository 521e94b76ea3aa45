"""Arithmetic, powers, exponentials and comparisons: elementwise, broadcasting as NumPy does.

Singular rules (divide, log, sqrt, power) follow one convention: a zero cotangent stays zero, 0 * inf = 0, so
that a branch that was not taken sends nothing back. A product and two quotients make it so. Each is closed
under differentiation (its derivative is written in the three again): the convention holds at every order.
"""

import math

from ... import arrays
from ...kernels import accelerated
from ..domain import Values
from ..engine import Tensor, wrap
from ..primitive import composite, primitive

POSITIVE = Values(0.3, 3.0)
NONZERO = Values(avoid=(0.0,))


def raw(x):
    """The array of a Tensor, and anything else as it is: for parts of a rule that are constants."""
    return x.data if isinstance(x, Tensor) else x


def zeros_like(x):
    """Zeros of x's shape and dtype; a Tensor for a Tensor. Nothing is recorded."""
    zeros = arrays.of(raw(x)).zeros_like(raw(x))
    return wrap(zeros) if isinstance(x, Tensor) else zeros


def ones_like(x):
    """Ones of x's shape and dtype; a Tensor for a Tensor. Nothing is recorded."""
    ones = arrays.of(raw(x)).ones_like(raw(x))
    return wrap(ones) if isinstance(x, Tensor) else ones


@primitive
def add(x, y):
    """x + y."""
    return x + y


add.rules(x=lambda g: g, y=lambda g: g)
add.domain()


@primitive
def subtract(x, y):
    """x - y."""
    return x - y


subtract.rules(x=lambda g: g, y=lambda g: -g)
subtract.domain()


@primitive
def multiply(x, y):
    """x * y."""
    return x * y


multiply.rules(x=lambda g, y: g * y, y=lambda g, x: g * x)
multiply.domain()


@primitive
def negative(x):
    """-x."""
    return -x


negative.rules(x=lambda g: -g)
negative.domain()


@primitive
def absorbing_product(x, y):
    """x * y where zero absorbs whatever it meets: 0 * inf = 0 * nan = 0."""
    out = x * y
    return out if arrays.surely_finite(out) else arrays.of(x, y).where((x == 0) | (y == 0), 0, out)


absorbing_product.rules(x=lambda g, y: absorbing_product(g, y), y=lambda g, x: absorbing_product(g, x))
absorbing_product.domain()


@primitive
def absorbing_quotient(x, y):
    """x / y where a zero numerator absorbs: 0 / 0 = 0 / nan = 0, and 1 / 0 = inf as ever."""
    out = x / y
    return out if arrays.surely_finite(out) else arrays.of(x, y).where(x == 0, 0, out)


absorbing_quotient.rules(
    x=lambda g, y: absorbing_quotient(g, y),
    y=lambda g, y, out: -absorbing_product(absorbing_quotient(g, y), out),
)
absorbing_quotient.domain(y=POSITIVE)


@primitive
def guarded_quotient(x, y):
    """x / y, and 0 where either is 0: the derivative of a norm at the origin is taken as 0."""
    out = x / y
    return out if arrays.surely_finite(out) else arrays.of(x, y).where((x == 0) | (y == 0), 0, out)


guarded_quotient.rules(
    x=lambda g, y: guarded_quotient(g, y), y=lambda g, y, out: -absorbing_product(guarded_quotient(g, y), out)
)
guarded_quotient.domain(y=POSITIVE)


@primitive
def divide(x, y):
    """x / y."""
    return x / y


divide.rules(
    x=lambda g, y: absorbing_quotient(g, y),
    y=lambda g, y, out: -absorbing_product(absorbing_quotient(g, y), out),
)
divide.domain(y=POSITIVE)
divide.domain(y=Values(-3.0, -0.3))


def _power_x(g, x, y):
    """d x**y / dx = y x**(y-1). The rule of a constant exponent neither divides 0 by 0 nor takes a log."""
    if isinstance(y, (int, float)):
        if y == 0:
            return zeros_like(g)
        if y == 1:
            return g
        if 0 < y < 1:  # infinite at 0, where the gradient is 0 as for sqrt
            return y * guarded_quotient(absorbing_product(g, power(x, y)), x)
        return absorbing_product(g, y * power(x, y - 1))
    return absorbing_product(g, absorbing_product(y, power(x, y - 1)))


def _power_y(g, x, out):
    """d x**y / dy = x**y log(x), and 0 at x = 0."""
    return absorbing_product(absorbing_product(g, out), log(where(x == 0, ones_like(x), x)))


@primitive
def power(x, y):
    """x ** y, for any x if y is a constant integer, else x >= 0. 0 ** 0 is 1 with gradient 0."""
    return x**y


power.rules(x=_power_x, y=_power_y)
power.domain(x=POSITIVE)


@primitive
def square(x):
    """x ** 2."""
    return x * x


square.rules(x=lambda g, x: g * (x + x))  # NumPy adds arrays three times as fast as it multiplies by a number
square.domain()


@primitive
def sqrt(x):
    """The square root of x >= 0; at 0 its gradient is taken as 0, as for norm and std."""
    return arrays.of(x).sqrt(x)


sqrt.rules(x=lambda g, out: guarded_quotient(g, out + out))
sqrt.domain(x=POSITIVE)


@primitive
@accelerated
def exp(x):
    """e ** x."""
    return arrays.of(x).exp(x)


exp.rules(x=lambda g, out: g * out)
exp.domain()


@primitive
def expm1(x):
    """e ** x - 1, accurate near 0."""
    return arrays.of(x).expm1(x)


expm1.rules(x=lambda g, out: g * (out + 1))
expm1.domain()


@primitive
@accelerated
def log(x):
    """The natural logarithm of x >= 0."""
    return arrays.of(x).log(x)


log.rules(x=lambda g, x: absorbing_quotient(g, x))
log.domain(x=POSITIVE)


@primitive
def log1p(x):
    """log(1 + x) for x >= -1, accurate near 0."""
    return arrays.of(x).log1p(x)


log1p.rules(x=lambda g, x: absorbing_quotient(g, 1 + x))
log1p.domain(x=Values(-0.6, 2.0))


@primitive
def sin(x):
    """The sine of x in radians."""
    return arrays.of(x).sin(x)


sin.rules(x=lambda g, x: g * cos(x))
sin.domain()


@primitive
def cos(x):
    """The cosine of x in radians."""
    return arrays.of(x).cos(x)


cos.rules(x=lambda g, x: -(g * sin(x)))
cos.domain()


@primitive
def abs(x):
    """|x|; its gradient at 0 is 0."""
    return arrays.of(x).abs(x)


abs.rules(x=lambda g, x: g * sign(x))
abs.domain(x=NONZERO)


@primitive
def sign(x):
    """-1, 0 or 1; its gradient is 0 everywhere."""
    return arrays.of(x).sign(x)


sign.rules(x=lambda g: zeros_like(g))
sign.domain(x=NONZERO)


def _larger_share(g, x, y):
    """The part of g that goes to x in maximum(x, y): all where x > y, half at a tie."""
    return where(raw(x) > raw(y), g, where(raw(x) == raw(y), 0.5 * g, 0.0))


@primitive
def maximum(x, y):
    """The larger of x and y; the gradient is shared equally at ties, and NaN wins."""
    return arrays.of(x, y).maximum(x, y)


maximum.rules(x=lambda g, x, y: _larger_share(g, x, y), y=lambda g, x, y: _larger_share(g, y, x))
maximum.domain(x=Values(distinct=True), y=Values(distinct=True))


@primitive
def minimum(x, y):
    """The smaller of x and y; the gradient is shared equally at ties, and NaN wins."""
    return arrays.of(x, y).minimum(x, y)


minimum.rules(x=lambda g, x, y: _larger_share(g, y, x), y=lambda g, x, y: _larger_share(g, x, y))
minimum.domain(x=Values(distinct=True), y=Values(distinct=True))


@primitive
def clip(x, /, low=None, high=None):
    """x, at least `low` and at most `high` (None: no bound); the gradient passes at the bounds."""
    return arrays.of(x).clip(x, low, high)


def _clip_x(g, x, low, high):
    x = raw(x)
    return where(
        (x >= (-math.inf if low is None else low)) & (x <= (math.inf if high is None else high)), g, 0.0
    )


clip.rules(x=_clip_x)
clip.domain(x=Values(avoid=(-1.0, 0.5)), low=(None, -1.0), high=(0.5,))


@primitive
@accelerated
def where(condition, x, y):
    """x where `condition` holds, else y. What is not chosen gets gradient 0, whatever it is."""
    out = arrays.of(condition, x, y).where(condition, x, y)
    numbers = isinstance(x, (int, float)) and isinstance(y, (int, float))  # Python's, which are float32 here
    return out.astype("float32") if numbers and out.dtype == "float64" else out


where.rules(x=lambda g, condition: where(condition, g, 0.0), y=lambda g, condition: where(condition, 0.0, g))
where.domain(condition=Values(kind="bool"))


@primitive
def astype(x, /, dtype):
    """x in another floating dtype; the gradient comes back in x's own."""
    return x.astype(dtype)


astype.rules(x=lambda g: g)
astype.domain(dtype=("float64",))


@composite
def reciprocal(x):
    """1 / x."""
    return divide(1.0, x)


reciprocal.domain(x=POSITIVE)
