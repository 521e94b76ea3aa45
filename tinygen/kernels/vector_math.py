"""exp, log, tanh and their like in plain arithmetic, so that the loops around them become vector code.

A function of the C library handles one number at a time, and so does a loop that calls it. Additions,
products, comparisons and shifts of bits the compiler turns into instructions on 8 numbers at once, as long as
nothing branches. So of a choice both sides are computed, and one is taken. The method is always the same: an
exact identity brings the argument into a short interval, a polynomial is summed there, and the identity is
undone.

    exp(x)      = 2^n exp(r)                 x = n log 2 + r, |r| < 0.35     the Taylor series
    log(x)      = n log 2 + log(1 + f)       x = 2^n (1 + f), |f| < 0.42     the series of atanh
    1 - Phi(x)  = exp(-x^2 / 2) h P(2h - 1)  h = a / (a + x), x >= 0         P was fitted, see below
    erf(x)      = x + x P(x^2)               |x| < 0.8                       the Taylor series

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

NaN gives NaN, infinities give their limits, and what overflows is infinite. exp passes through the subnormal
numbers to 0, as in NumPy, which costs it a second factor 2^n; the others take its decaying half alone, and
are 0 where exp(-|x|) is below 2^-126 or 2^-1022.

Lost: `a if condition else b` for `choose(condition, a, b)` becomes a branch where a or b is long, and erf in
float32 dropped from 0.63 to 0.21 a ns. Without "forceinline" the compiler leaves the longest as calls:
softplus in float64 dropped from 0.22 to 0.05. Horner's rule makes a chain as long as the polynomial, of which
the processor overlaps too few: gelu in float32 takes 1.2 times as long, erf in float64 1.5 times.
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
    return ByDtype(_polynomial(np.float32, float32), _polynomial(np.float64, float64))


def _polynomial(real, coefficients):
    coefficients = [real(c) for c in coefficients]

    def evaluate(x):
        return _in_pairs(coefficients, x, lambda c, d, x: c + d * x, lambda x: x * x)

    @intrinsic
    def in_vectors(typing, x):
        def generate(context, build, signature, arguments):
            def fused(c, d, x):
                return build.fadd(build.fmul(d, x, flags=("contract",)), c, flags=("contract",))

            kind = context.get_value_type(x)
            constants = [kind(float(c)) for c in coefficients]
            return _in_pairs(constants, arguments[0], fused, lambda x: build.fmul(x, x))

        return x(x), generate

    overload(evaluate, jit_options=EXACT)(lambda x: lambda x: in_vectors(x))
    return evaluate


def _in_pairs(terms, x, fused, square):
    """(c0 + c1 x) + (c2 + c3 x) x^2 + ...: neighbours at once, then pairs of them, and so on (Estrin).

    Horner's ((c3 x + c2) x + c1) x + c0 takes as many steps, but each waits for the one before.
    """
    while len(terms) > 1:
        pairs = [terms[i : i + 2] for i in range(0, len(terms), 2)]
        terms = [fused(pair[0], pair[1], x) if len(pair) > 1 else pair[0] for pair in pairs]
        x = square(x) if len(terms) > 1 else x
    return terms[0]


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
    """(n, 2 ** n) for the integer n next to x, if that is the exponent of a normal number."""
    shifted = x + (1.5 * UNIT + BIAS)
    return shifted - (1.5 * UNIT + BIAS), BITS(REAL(shifted).view(BITS) << MANTISSA).view(REAL)


@scalar
def with_sign(x, y):
    """|x| with the sign of y."""
    return BITS(REAL(x).view(BITS) & ~SIGN | REAL(y).view(BITS) & SIGN).view(REAL)


# Exponentials

LOG2_E = 1 / math.log(2)
LN2_HIGH, LN2_LOW = 0.693359375, -2.1219444005469057e-4  # their sum; HIGH has 9 bits: n * HIGH is exact
EXP_LOW, EXP_HIGH = ByDtype(-104.0, -746.0), ByDtype(89.0, 710.0)  # 0 and infinity from here on
DECAY_LOW = ByDtype(-87.0, -708.0)  # from here on nearly 2^-126 and 2^-1022
TANH_HIGH = ByDtype(20.0, 40.0)  # twice where tanh is 1
# exp(r) = 1 + r + r^2 P(r)
EXP = polynomial([1 / math.factorial(k) for k in range(2, 8)], [1 / math.factorial(k) for k in range(2, 14)])


@scalar
def exp(x):
    """e ** x."""
    x = choose(x < EXP_LOW, EXP_LOW, x)  # so written, NaN stays
    x = choose(x > EXP_HIGH, EXP_HIGH, x)
    half, power = nearest(x * (0.5 * LOG2_E))  # 2^n in two factors: 2^-149 and 2^128 are no normal numbers
    rest, other = nearest(x * LOG2_E - half)
    n = half + rest
    r = x - n * LN2_HIGH - n * LN2_LOW
    return (1.0 + r * (1.0 + r * EXP(r))) * power * other


@scalar
def decay(x):
    """e ** x for x <= 0, and 0 where that is no normal number: half the work of exp."""
    n, power = nearest(x * LOG2_E)
    r = x - n * LN2_HIGH - n * LN2_LOW
    return choose(x < DECAY_LOW, 0.0, (1.0 + r * (1.0 + r * EXP(r))) * power)


@scalar
def tanh(x):
    """m / (m + 2) for m = exp(2 |x|) - 1, or 1 - 2 / (m + 2), and the sign of x."""
    y = 2.0 * abs(x)
    y = choose(y > TANH_HIGH, TANH_HIGH, y)
    n, power = nearest(y * LOG2_E)
    r = y - n * LN2_HIGH - n * LN2_LOW
    m = (r + r * r * EXP(r)) * power + (power - 1.0)
    small = m < 1.0
    out = choose(small, m, 2.0) / (m + 2.0)
    return with_sign(choose(small, out, 1.0 - out), x)


@scalar
def sigmoid(x):
    """1 / (1 + exp(-x))."""
    e = decay(-abs(x))
    return choose(x >= 0.0, 1.0, e) / (1.0 + e)


# Logarithms

INFINITY, NAN = math.inf, math.nan
SMALLEST = ByDtype(2.0**-126, 2.0**-1022)  # of the normal numbers
ROOT_2 = math.sqrt(2)
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
    return choose(x > 0.0, x, 0.0) + log1p(decay(-abs(x)))


# The normal distribution

EDGE = 3 * ROOT_2
# fmt: off
# P interpolates at Chebyshev's nodes, computed with 60 digits, from x = 0 to where the tail underflows, at 15
# and 38: it is off by 6.5e-9 and 9.5e-17 of its value.
TAIL = polynomial(
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
def upper(x, e):
    """1 - Phi(x) for x >= 0 and e = exp(-x^2 / 2)."""
    h = EDGE / (EDGE + x)
    return e * (h * TAIL(2.0 * h - 1.0))


@scalar
def erf(x):
    """The error function 2 / sqrt(pi) int_0^x exp(-t^2) dt."""
    z = x * x
    large = with_sign(1.0 - 2.0 * upper(abs(x) * ROOT_2, decay(-z)), x)
    return choose(z < 0.64, x + x * ERF(z), large)


@scalar
def normal(x):
    """The normal distribution function Phi(x), accurate in both tails, and exp(-x^2 / 2) beside it."""
    e = decay(-0.5 * (x * x))
    tail = upper(abs(x), e)
    return choose(x < 0.0, tail, 1.0 - tail), e
