"""exp, log, tanh and their like in plain arithmetic, so that the loops around them become vector code.

A function of the C library handles one number at a time, and so does a loop that calls it. Additions,
products, comparisons and shifts of bits the compiler turns into instructions on 8 numbers at once, as long as
nothing branches. So of a choice both sides are computed, and one is taken. The method is always the same: an
exact identity brings the argument into a short interval, a polynomial is summed there, and the identity is
undone.

    exp(x)  = 2^n exp(r)                x = n log 2 + r, |r| < 0.35      the Taylor series
    log(x)  = n log 2 + log(1 + f)      x = 2^n (1 + f), |f| < 0.42      the series of atanh
    erfc(u) = exp(-u^2) t P(t - 1)      t = 6 / (3 + u)                  P was fitted, see below
    erf(x)  = x + x P(x^2), |x| < 0.8, where 1 - erfc(x) loses digits    the Taylor series

n is read off the bits of a number: adding 1.5 * 2^23 to a float32 leaves it rounded to an integer, in the
last bits, and shifted by 23 these are the exponent of 2^n. Arithmetic keeps the order that it is written in,
or x - n * HIGH - n * LOW, the log 2 in two parts, would be neither exact nor of use.

The worst errors, in units of the last place, over float32 numbers of every size and float64 ones at random
(tests/test_vector_math.py), and elements per ns on one core of an EPYC of Zen 3, in the first cache:

                exp    log    log1p   tanh   sigmoid   softplus   erf
    float32     0.91   0.87   1.00    2.31   2.25      1.60       1.56     ulp
    float64     0.90   0.82   1.07    2.46   2.35      1.56       1.33     ulp
    float32     1.7    1.2    2.7     1.1    1.3       0.75       0.63     a ns (NumPy's exp: 0.44)
    float64     0.6    0.4    0.7     0.5    0.5       0.22       0.19     a ns (NumPy's exp: 0.20)

NaN gives NaN, infinities give their limits, what overflows is infinite, and what underflows passes through
the subnormal numbers to 0, as in NumPy: the second factor 2^n in exp is what that costs.

Lost: `a if condition else b` for `choose(condition, a, b)` becomes a branch where a or b is long, and erf in
float32 drops from 0.63 to 0.21 a ns. Without "forceinline" the compiler leaves the longest as calls: softplus
in float64 drops from 0.22 to 0.05.
"""

import functools
import math
import types as python_types

import numpy as np
from numba import types
from numba.extending import intrinsic, overload

__all__ = ["erf", "exp", "log", "log1p", "normal", "scalar", "sigmoid", "softplus", "tanh"]

EXACT = {"fastmath": {"contract"}, "error_model": "numpy", "nogil": True, "forceinline": True}


# One text for float32 and float64


class ByDtype:
    """A constant whose value depends on the dtype that is computed in."""

    def __init__(self, float32, float64):
        self.values = {np.float32: float32, np.float64: float64}


def scalar(function):
    """A function of numbers, compiled for float32 and for float64 from one text.

    Its float literals and float constants take the dtype of its first argument: NumPy does so, but Numba
    would compute in float64 whatever meets one. A ByDtype stands for its value. What the function calls has
    to stand above it. Called from Python it runs as Python.
    """
    versions = {real: _in_dtype(function, real) for real in (np.float32, np.float64)}

    @functools.wraps(function)
    def call(x, *others):
        return versions[np.float32 if isinstance(x, np.float32) else np.float64](x, *others)

    @overload(call, jit_options=EXACT, strict=False)
    def compiled(x, *others):
        return versions[np.float32 if x == types.float32 else np.float64]

    return call


def _in_dtype(function, real):
    def typed(value):
        value = value.values[real] if isinstance(value, ByDtype) else value
        return real(value) if type(value) is float else value

    code = function.__code__
    code = code.replace(co_consts=tuple(map(typed, code.co_consts)))
    names = {name: typed(value) for name, value in function.__globals__.items()}
    return python_types.FunctionType(code, names, function.__name__)


REAL, BITS = ByDtype(np.float32, np.float64), ByDtype(np.uint32, np.uint64)


def polynomial(float32, float64):
    """The polynomials, one for each dtype, with these coefficients: the constant first."""
    return ByDtype(_horner(np.float32, float32), _horner(np.float64, float64))


def _horner(real, coefficients):
    first, *others = [real(c) for c in reversed(coefficients)]

    def evaluate(x):
        total = first
        for c in others:
            total = total * x + c
        return total

    @intrinsic
    def fused(typing, x):
        def generate(context, build, signature, arguments):
            kind = context.get_value_type(x)
            total = kind(float(first))
            for c in others:
                product = build.fmul(total, arguments[0], flags=("contract",))
                total = build.fadd(product, kind(float(c)), flags=("contract",))
            return total

        return x(x), generate

    overload(evaluate, jit_options=EXACT)(lambda x: lambda x: fused(x))
    return evaluate


def choose(condition, x, y):
    """x if condition else y, with both computed: of `if` the compiler makes a branch, when x or y is long."""
    return x if condition else y


@intrinsic
def _select(typing, condition, x, y):
    def generate(context, build, signature, arguments):
        return build.select(*arguments)

    return x(types.boolean, x, x), generate


overload(choose)(lambda condition, x, y: lambda condition, x, y: _select(condition, x, y))


# Bits of floating numbers: sign, exponent + BIAS, MANTISSA bits after the point

MANTISSA, BIAS = ByDtype(np.uint32(23), np.uint64(52)), ByDtype(127.0, 1023.0)
UNIT = ByDtype(2.0**23, 2.0**52)  # from here on numbers are integers: they end in the last bit
SIGN = ByDtype(np.uint32(1 << 31), np.uint64(1 << 63))
FRACTION = ByDtype(np.uint32((1 << 23) - 1), np.uint64((1 << 52) - 1))
ONE = ByDtype(np.float32(1).view(np.uint32), np.float64(1).view(np.uint64))
UNIT_BITS = ByDtype(np.float32(2**23).view(np.uint32), np.float64(2**52).view(np.uint64))


@scalar
def nearest(x):
    """The integer next to x, for |x| < 2^22 or 2^51."""
    return x + 1.5 * UNIT - 1.5 * UNIT


@scalar
def power_of_two(n):
    """2 ** n for an integer n that is the exponent of a normal number."""
    return BITS(REAL(n + (1.5 * UNIT + BIAS)).view(BITS) << MANTISSA).view(REAL)


@scalar
def with_sign(x, y):
    """|x| with the sign of y."""
    return BITS(REAL(x).view(BITS) & ~SIGN | REAL(y).view(BITS) & SIGN).view(REAL)


# Exponentials

LOG2_E = 1 / math.log(2)
LN2_HIGH, LN2_LOW = 0.693359375, -2.1219444005469057e-4  # their sum; HIGH has 9 bits: n * HIGH is exact
EXP_LOW, EXP_HIGH = ByDtype(-104.0, -746.0), ByDtype(89.0, 710.0)  # 0 and infinity from here on
TANH_HIGH = ByDtype(20.0, 40.0)  # twice where tanh is 1
# exp(r) = 1 + r + r^2 P(r)
EXP = polynomial([1 / math.factorial(k) for k in range(2, 8)], [1 / math.factorial(k) for k in range(2, 14)])


@scalar
def exp(x):
    """e ** x."""
    x = choose(x < EXP_LOW, EXP_LOW, x)  # so written, NaN stays
    x = choose(x > EXP_HIGH, EXP_HIGH, x)
    n = nearest(x * LOG2_E)
    r = x - n * LN2_HIGH - n * LN2_LOW
    half = nearest(n * 0.5)  # in two steps: neither 2^-149 nor 2^128 is a normal number
    return (1.0 + r * (1.0 + r * EXP(r))) * power_of_two(half) * power_of_two(n - half)


@scalar
def tanh(x):
    """m / (m + 2) for m = exp(2 |x|) - 1, or 1 - 2 / (m + 2), and the sign of x."""
    y = 2.0 * abs(x)
    y = choose(y > TANH_HIGH, TANH_HIGH, y)
    n = nearest(y * LOG2_E)
    r = y - n * LN2_HIGH - n * LN2_LOW
    power = power_of_two(n)
    m = (r + r * r * EXP(r)) * power + (power - 1.0)
    small = m < 1.0
    out = choose(small, m, 2.0) / (m + 2.0)
    return with_sign(choose(small, out, 1.0 - out), x)


@scalar
def sigmoid(x):
    """1 / (1 + exp(-x))."""
    e = exp(-abs(x))
    return choose(x >= 0.0, 1.0, e) / (1.0 + e)


# Logarithms

INFINITY, NAN = math.inf, math.nan
SMALLEST = ByDtype(2.0**-126, 2.0**-1022)  # of the normal numbers
ROOT_2, ROOT_HALF = math.sqrt(2), math.sqrt(0.5)
# log(1 + f) = f - s (f - R) with s = f / (2 + f) and R = 2/3 s^2 + 2/5 s^4 + ...
LOG = polynomial([2 / k for k in range(3, 11, 2)], [2 / k for k in range(3, 23, 2)])
LOG1P = polynomial([2 / k for k in range(3, 17, 2)], [2 / k for k in range(3, 37, 2)])


@scalar
def log(x):
    """The natural logarithm."""
    subnormal = x < SMALLEST
    bits = REAL(choose(subnormal, x * UNIT, x)).view(BITS)
    n = BITS(bits >> MANTISSA | UNIT_BITS).view(REAL) - (UNIT + BIAS)
    n = choose(subnormal, n - REAL(MANTISSA), n)
    m = BITS(bits & FRACTION | ONE).view(REAL)  # in [1, 2)
    large = m > ROOT_2
    m = choose(large, m * 0.5, m)
    n = choose(large, n + 1.0, n)
    f = m - 1.0
    s = f / (2.0 + f)
    z = s * s
    out = n * LN2_HIGH + (f - (s * (f - z * LOG(z)) - n * LN2_LOW))
    out = choose(x < INFINITY, out, x)  # so written, NaN stays
    return choose(x > 0.0, out, choose(x == 0.0, -INFINITY, NAN))


@scalar
def log1p(x):
    """log(1 + x) for 0 <= x <= 1."""
    s = x / (2.0 + x)
    z = s * s
    return x - s * (x - z * LOG1P(z))


@scalar
def softplus(x):
    """log(1 + exp(x))."""
    return choose(x > 0.0, x, 0.0) + log1p(exp(-abs(x)))


# The normal distribution

# fmt: off
# erfc(u) = exp(-u^2) t P(t - 1) with t = 6 / (3 + u), for u >= 0. P interpolates at Chebyshev's nodes from 0
# to where erfc underflows, 10.5 and 27, computed with 60 digits: off by 6.5e-9 and 9.5e-17 of the value.
ERFC = polynomial(
    [0.179001151, 0.147232411, 0.0983714079, 0.0517444197, 0.0199211796, 0.00447290429, -0.00020286822,
     -0.000513272024, -8.28570396e-5, 5.55250592e-5],
    [0.17900115118138996, 0.14723240886164707, 0.098371392850680487, 0.051744543650114662,
     0.019921293548039253, 0.0044712057701387026, -0.00020206944090280306, -0.00050567699153639341,
     -9.1384919101557854e-5, 4.6129571420456532e-5, 1.7926750542667824e-5, -5.0660159763976979e-6,
     -2.9112130193105125e-6, 7.9044406971862257e-7, 4.5978761984054842e-7, -1.6423662723352333e-7,
     -6.6698955873283988e-8, 3.5997115556485043e-8, 6.9708193208229176e-9, -6.164167756261796e-9,
     -1.8429498454921867e-10, 4.8098462570201662e-10],
)
# fmt: on
TAYLOR_ERF = [
    2 / math.sqrt(math.pi) * (-1) ** k / (math.factorial(k) * (2 * k + 1)) - (k == 0) for k in range(16)
]
ERF = polynomial(TAYLOR_ERF[:9], TAYLOR_ERF)


@scalar
def erfc_given(u, e):
    """1 - erf(u) for u >= 0 and e = exp(-u^2)."""
    t = 6.0 / (3.0 + u)
    return e * (t * ERFC(t - 1.0))


@scalar
def erf(x):
    """The error function 2 / sqrt(pi) int_0^x exp(-t^2) dt."""
    z = x * x
    large = with_sign(1.0 - erfc_given(abs(x), exp(-z)), x)
    return choose(z < 0.64, x + x * ERF(z), large)


@scalar
def normal(x):
    """The normal distribution function Phi(x), accurate in both tails, and exp(-x^2 / 2) beside it."""
    e = exp(-0.5 * (x * x))
    tail = 0.5 * erfc_given(abs(x) * ROOT_HALF, e)
    return choose(x < 0.0, tail, 1.0 - tail), e
