"""Activations, and erf and dropout: elementwise.

What is @accelerated is a formula, for any array library and for Tensors, in whose place a compiled kernel
runs on NumPy arrays of some size: for a derivative that is in a plain backward.
"""

import math

from ... import arrays
from ...kernels import accelerated
from ..domain import Values
from ..primitive import primitive
from .arithmetic import NONZERO, exp, square, where

SQRT_2, SQRT_2_OVER_PI, TWO_OVER_SQRT_PI = math.sqrt(2), math.sqrt(2 / math.pi), 2 / math.sqrt(math.pi)


@primitive
@accelerated
def tanh(x):
    """The hyperbolic tangent, in (-1, 1)."""
    return arrays.of(x).tanh(x)


tanh.rules(x=accelerated(lambda g, out: g - g * (out * out), "tanh_backward"))
tanh.domain()


@primitive
@accelerated
def sigmoid(x):
    """1 / (1 + exp(-x)), in (0, 1); never overflows."""
    lib = arrays.of(x)
    small = lib.exp(-lib.abs(x))
    return lib.where(x >= 0, 1, small) / (1 + small)


sigmoid.rules(x=accelerated(lambda g, out: g * (out * (1 - out)), "sigmoid_backward"))
sigmoid.domain()


@primitive
@accelerated
def softplus(x):
    """log(1 + exp(x)), a smooth relu."""
    lib = arrays.of(x)
    return lib.maximum(x, 0) + lib.log1p(lib.exp(-lib.abs(x)))


softplus.rules(x=accelerated(lambda g, x: g * sigmoid(x), "softplus_backward"))
softplus.domain()


@primitive
@accelerated
def relu(x):
    """max(x, 0); its gradient at 0 is 0."""
    return arrays.of(x).maximum(x, 0)


relu.rules(x=accelerated(lambda g, out: where(out > 0, g, 0.0), "relu_backward"))
relu.domain(x=NONZERO)


@primitive
@accelerated
def leaky_relu(x, /, slope=0.01):
    """x where it is positive, slope * x elsewhere (at 0 too)."""
    return arrays.of(x).where(x > 0, x, slope * x)


leaky_relu.rules(x=accelerated(lambda g, x, slope: where(x > 0, g, slope * g), "leaky_relu_backward"))
leaky_relu.domain(x=NONZERO, slope=(0.01, 0.2))


@primitive
def elu(x, /, alpha=1.0):
    """x where it is positive, alpha (exp(x) - 1) elsewhere (Clevert et al. 2016)."""
    lib = arrays.of(x)
    return lib.where(x > 0, x, alpha * lib.expm1(lib.minimum(x, 0)))


elu.rules(x=lambda g, x, alpha: where(x > 0, g, g * (alpha * exp(where(x > 0, 0.0, x)))))
elu.domain(x=NONZERO, alpha=(1.0, 0.5))


@primitive
@accelerated
def silu(x):
    """x sigmoid(x), also called swish (Elfwing et al. 2018)."""
    return x * sigmoid(x)


@accelerated
def silu_backward(g, x):
    s = sigmoid(x)
    return g * (s * (1 + x * (1 - s)))


silu.rules(x=silu_backward)
silu.domain()


# erf by rational approximations on three intervals. W. J. Cody, Rational Chebyshev approximations for the
# error function, Mathematics of Computation 23 (1969), tables 2 to 4: coefficients from the highest power of
# the argument down.
# fmt: off
_ERF_SMALL = (
    (1.85777706184603153e-1, 3.16112374387056560e0, 1.13864154151050156e2, 3.77485237685302021e2,
     3.20937758913846947e3),
    (1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3, 2.84423683343917062e3),
)
_ERFC_MIDDLE = (
    (2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594e0, 6.61191906371416295e1,
     2.98635138197400131e2, 8.81952221241769090e2, 1.71204761263407058e3, 2.05107837782607147e3,
     1.23033935479799725e3),
    (1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2, 1.62138957456669019e3,
     3.29079923573345963e3, 4.36261909014324716e3, 3.43936767414372164e3, 1.23033935480374942e3),
)
_ERFC_LARGE = (
    (1.63153871373020978e-2, 3.05326634961232344e-1, 3.60344899949804439e-1, 1.25781726111229246e-1,
     1.60837851487422766e-2, 6.58749161529837803e-4),
    (1.0, 2.56852019228982242e0, 1.87295284992346725e0, 5.27905102951428412e-1, 6.05183413124413191e-2,
     2.33520497626869185e-3),
)
# fmt: on


def _ratio(z, coefficients):
    """A rational function by Horner's rule."""
    top, bottom = 0 * z, 0 * z
    for c in coefficients[0]:
        top = top * z + c
    for c in coefficients[1]:
        bottom = bottom * z + c
    return top / bottom


@primitive
@accelerated
def erf(x):
    """The error function 2/sqrt(pi) int_0^x exp(-t^2) dt, to about the last bit of float64."""
    lib = arrays.of(x)
    size = lib.abs(x)
    small = x * _ratio(lib.minimum(size, 0.46875) ** 2, _ERF_SMALL)
    middle = lib.clip(size, 0.46875, 4)
    middle = 1 - lib.exp(-middle * middle) * _ratio(middle, _ERFC_MIDDLE)
    large = lib.clip(size, 4, 6)  # erf(6) is 1 to the last bit
    z = 1 / (large * large)
    large = 1 - lib.exp(-large * large) / large * (1 / math.sqrt(math.pi) - z * _ratio(z, _ERFC_LARGE))
    beyond = lib.sign(x) * lib.where(size <= 4, middle, large)
    return lib.where(size <= 0.46875, small, lib.where(size == size, beyond, x))


erf.rules(x=lambda g, x: g * (TWO_OVER_SQRT_PI * exp(-square(x))))
erf.domain()


@primitive
@accelerated
def gelu(x, /, approximate="none"):
    """x Phi(x), with Phi the normal distribution function (Hendrycks & Gimpel 2016).

    Args:
        approximate: "none" for the exact form, "tanh" for 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))).
    """
    if approximate == "none":
        return 0.5 * x * (1 + erf(x * (1 / SQRT_2)))
    if approximate == "tanh":
        return 0.5 * x * (1 + arrays.of(x).tanh(SQRT_2_OVER_PI * (x + 0.044715 * x * x * x)))
    raise ValueError(f"expected approximate 'none' or 'tanh', got {approximate!r}")


@accelerated
def gelu_backward(g, x, approximate):
    if approximate == "none":  # Phi(x) + x phi(x)
        return g * (
            0.5 * (1 + erf(x * (1 / SQRT_2))) + x * (exp(-0.5 * square(x)) * (1 / math.sqrt(2 * math.pi)))
        )
    t = tanh(SQRT_2_OVER_PI * (x + 0.044715 * x * x * x))
    return g * (0.5 * (1 + t) + 0.5 * x * (1 - t * t) * (SQRT_2_OVER_PI * (1 + 3 * 0.044715 * x * x)))


gelu.rules(x=gelu_backward)
gelu.domain(approximate=("none", "tanh"))


@primitive
@accelerated
def dropout(x, mask=None, *, p=0.5):
    """x with the elements where `mask` is 0 dropped, the others scaled by 1 / (1 - p) (Srivastava et al.
    2014).

    Args:
        mask: zeros and ones that broadcast with x, drawn by the caller with P(0) = p; None drops nothing.

    Raises:
        ValueError: p outside [0, 1).
    """
    if not 0 <= p < 1:
        raise ValueError(f"dropout: expected 0 <= p < 1, got {p}; p is the share that is dropped")
    return x if mask is None else x * mask * float(1 / (1 - p))


dropout.rules(x=lambda g, mask, p: dropout(g, mask, p=p), mask=lambda g, x, p: g * x * float(1 / (1 - p)))
dropout.domain("*, -", p=(0.1, 0.5))
dropout.domain("*B n, *B n", mask=Values(kind="bool"), p=(0.5,))
