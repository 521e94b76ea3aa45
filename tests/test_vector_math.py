"""The elementary functions of the kernels are as exact as they say, for numbers of every size, and vectorise.

The oracles are NumPy in float64 for float32, and for float64 Python's decimal numbers of 60 digits.
"""

import decimal
import math
import platform
import re

import numpy as np
import pytest
from numba import config

from tinygen.kernels import vector_math
from tinygen.kernels.compiled import inner

# Worst errors in ulp as the header of vector_math.py gives them: function -> (float32, float64).
STATED = {
    "exp": (1.0, 1.0),
    "log": (0.9, 0.9),
    "log1p": (1.1, 1.1),
    "tanh": (2.5, 2.5),
    "sigmoid": (2.4, 2.4),
    "softplus": (1.7, 1.7),
    "erf": (1.9, 1.9),
}
DOMAIN = {"log1p": (0, 1)}
DECAYS = ("sigmoid", "softplus")  # like exp(x): they are 0 instead of subnormal
EVERY = 4099 if not config.DISABLE_JIT else 4_000_037  # a prime: of the 2^32 float32 numbers, so many apart
POINTS = 1000 if not config.DISABLE_JIT else 100


def mapped(name):
    """A function of `vector_math` over arrays, in a loop as kernels have it."""
    function = getattr(vector_math, name)

    @inner(exact=True)
    def loop(x, out):
        for i in range(len(x)):
            out[i] = function(x[i])

    def over(x):
        out = np.empty_like(x)
        with np.errstate(all="ignore"):
            loop(x, out)
        return out

    over.loop = loop
    return over


def in_domain(name, x):
    low, high = DOMAIN.get(name, (-math.inf, math.inf))
    if name in DECAYS:
        low = -87 if x.dtype == np.float32 else -708
    return x[(x >= low) & (x <= high)]


# The oracles


def in_numpy(name, x):
    """The function of float64 numbers, far better than float32 needs it."""
    with np.errstate(all="ignore"):
        if name == "sigmoid":
            e = np.exp(-abs(x))
            return np.where(x >= 0, 1, e) / (1 + e)
        if name == "softplus":
            return np.maximum(x, 0) + np.log1p(np.exp(-abs(x)))
        if name == "erf":
            return np.array([math.erf(value) for value in x])
        return getattr(np, name)(x)


def in_decimals(name, x):
    """The function of one decimal number."""
    if name == "exp":
        return x.exp()
    if name == "log":
        return x.ln()
    if name == "log1p":
        return (1 + x).ln() if x > decimal.Decimal("1e-25") else x - x * x / 2
    if name == "tanh":
        e = (-2 * abs(x)).exp()
        return ((1 - e) / (1 + e)).copy_sign(x) if abs(x) > decimal.Decimal("1e-25") else x
    if name == "sigmoid":
        return 1 / (1 + (-x).exp())
    if name == "softplus":
        e = (-abs(x)).exp()
        return max(x, decimal.Decimal(0)) + in_decimals("log1p", e)
    if abs(x) > 6:
        return decimal.Decimal(1).copy_sign(x)
    term = total = x
    for k in range(1, 200):
        term *= -x * x / k
        total += term / (2 * k + 1)
    return total * 2 / decimal.Decimal("3.14159265358979323846264338327950288419716939937510582097494").sqrt()


# Errors


def errors_in_float32(name, x):
    """(error in ulp, argument) of the worst of these numbers."""
    got, want = mapped(name)(x).astype(np.float64), in_numpy(name, x.astype(np.float64))
    with np.errstate(over="ignore"):
        rounded = want.astype(np.float32)
    special = ~np.isfinite(rounded)
    np.testing.assert_array_equal(got[special], rounded[special].astype(np.float64))
    error = np.abs(got[~special] - want[~special]) / np.spacing(np.abs(rounded[~special]))
    worst = np.argmax(error)
    return error[worst], x[~special][worst]


def numbers_in_float64(rng):
    """Numbers of all sizes, and of those where something happens."""
    bits = rng.integers(0, 2**64, POINTS, np.uint64, endpoint=False).view(np.float64)
    near = [rng.uniform(-scale, scale, POINTS) for scale in (0.2, 1, 6, 40, 740)]
    small = rng.choice([-1, 1], POINTS) * 2.0 ** rng.uniform(-60, 0, POINTS)
    return np.concatenate([bits[np.isfinite(bits)], *near, small])


@pytest.mark.parametrize("name", STATED)
def test_error_in_float32(name):
    x = np.arange(0, 2**32, EVERY, dtype=np.uint64).astype(np.uint32).view(np.float32)
    x = np.concatenate([x, np.linspace(-10, 10, len(x) // 4, dtype=np.float32)])
    error, at = errors_in_float32(name, in_domain(name, x))
    assert error <= STATED[name][0], f"{error:.2f} ulp at {at!r}"


@pytest.mark.parametrize("name", STATED)
def test_error_in_float64(name):
    x = in_domain(name, numbers_in_float64(np.random.default_rng(0)))
    x = x[(x > 0) if name == "log" else (x < 709.7)]
    got = mapped(name)(x)
    with decimal.localcontext(decimal.Context(prec=60, Emin=-(10**6), Emax=10**6)) as context:
        context.traps[decimal.Subnormal] = False
        bounded = [
            decimal.Decimal(min(max(value, -1e4), 1e4)) if name != "log" else decimal.Decimal(value)
            for value in x.tolist()
        ]
        want = [in_decimals(name, value) for value in bounded]
        if name == "softplus":
            want = [max(w, decimal.Decimal(value)) for w, value in zip(want, x.tolist())]
        ulp = np.spacing(np.abs(np.array([float(w) for w in want])))
        error = [
            float(abs(decimal.Decimal(g) - w) / decimal.Decimal(u))
            for g, w, u in zip(got.tolist(), want, ulp.tolist())
        ]
    worst = int(np.argmax(error))
    assert error[worst] <= STATED[name][1], f"{error[worst]:.2f} ulp at {x[worst]!r}"


SPECIAL = [math.nan, -math.inf, math.inf, 0.0, -0.0]
SUBNORMAL = {np.float32: 2.0**-149, np.float64: 2.0**-1074}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", STATED)
def test_ends(name, dtype):
    """NaN, infinities, zeros with their signs, subnormal numbers, and what over- and underflows."""
    tiny, large = SUBNORMAL[dtype], float(np.finfo(dtype).max)
    x = np.array([*SPECIAL, tiny, 3 * tiny, -tiny, large, -large, -90.0, 89.0, -100.0, 100.0], dtype)
    x = x if name != "log1p" else x[[0, 3, 5, 6]]
    atol = {"exp": tiny, **dict.fromkeys(DECAYS, np.exp(-87 if dtype is np.float32 else -708))}.get(name, 0)
    want = in_numpy(name, x.astype(np.float64))
    with np.errstate(all="ignore"):
        got, want = mapped(name)(x), want.astype(dtype)
    np.testing.assert_allclose(got, want, rtol=4 * np.finfo(dtype).eps, atol=atol)
    if name in ("tanh", "erf"):
        np.testing.assert_array_equal(np.signbit(got[1:]), np.signbit(x[1:]))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_normal_is_accurate_in_the_lower_tail(dtype):
    """Where 1 + erf would have lost everything. An error of x^2 is one of the exponent: x^2 / 2 ulp more."""

    @inner(exact=True)
    def loop(x, out):
        for i in range(len(x)):
            out[0, i], out[1, i] = vector_math.normal(x[i])

    x = np.linspace(-12, 12, 97).astype(dtype)
    out = np.empty((2, len(x)), dtype)
    loop(x, out)
    want = [0.5 * math.erfc(-value / math.sqrt(2)) for value in x.tolist()]
    tolerance = (4 + x**2) * np.finfo(dtype).eps
    assert (np.abs(out[0] - want) <= tolerance * want).all()
    assert (
        np.abs(out[1] - np.exp(-(x.astype(float) ** 2) / 2))
        <= tolerance * np.exp(-(x.astype(float) ** 2) / 2)
    ).all()


@pytest.mark.parametrize("name", STATED)
def test_the_function_runs_without_numba(name):
    """On one number, and in its dtype: to be stepped through in a debugger."""
    function = getattr(vector_math, name)
    for dtype in (np.float32, np.float64):
        x = dtype(0.7)
        assert type(function(x)) is dtype
        np.testing.assert_allclose(
            function(x), in_numpy(name, np.array([0.7]))[0], rtol=4 * np.finfo(dtype).eps
        )


@pytest.mark.skipif(config.DISABLE_JIT, reason="nothing is compiled")
@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="reads the names of x86 instructions"
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", STATED)
def test_the_loop_around_it_is_vector_code(name, dtype):
    over = mapped(name)
    over(np.linspace(0, 1, 9, dtype=dtype))
    (code,) = over.loop.inspect_asm().values()
    suffix = "ps" if dtype is np.float32 else "pd"
    assert re.search(rf"\tv?(mul|fmadd\d+){suffix}\t", code), "no product of vectors"
