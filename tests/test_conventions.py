"""The hard points, by hand and to second order: ties, kinks, norms at 0, nothing but -inf, losses, powers.

A row gives a function, where it is taken, and its value, gradient and second derivatives there.
"""

import math

import numpy as np
import pytest
from hard_points import check, derivatives, leaf, no_warnings

import tinygen as tg
from tinygen.autograd.ops import arithmetic

INF, NAN = math.inf, math.nan


# Ties share the gradient

# name: (function, x, value, gradient, second derivatives)
TIES = {
    "max": (tg.max, [3, 3, 1], 3, [0.5, 0.5, 0], 0),
    "max, all equal": (tg.max, [2, 2, 2, 2], 2, [0.25] * 4, 0),
    "max over an axis": (lambda x: tg.max(x, 0), [[1, 5], [1, 2]], [1, 5], [[0.5, 1], [0.5, 0]], 0),
    "max of -inf": (tg.max, [-INF, -INF], -INF, [0.5, 0.5], 0),
    "max squared": (lambda x: tg.max(x) ** 2, [3, 3], 9, [3, 3], [[0.5, 0.5], [0.5, 0.5]]),
    "min": (tg.min, [3, 1, 1], 1, [0, 0.5, 0.5], 0),
    "min, kept": (lambda x: tg.min(x, 1, True), [[1, 1], [1, 2]], [[1], [1]], [[0.5, 0.5], [1, 0]], 0),
    "maximum": (lambda x: tg.maximum(x[0], x[1]), [[1, 2], [1, 3]], [1, 3], [[0.5, 0], [0.5, 1]], 0),
    "minimum": (lambda x: tg.minimum(x[0], x[1]), [[1, 2], [1, 3]], [1, 2], [[0.5, 1], [0.5, 0]], 0),
    "maximum squared": (lambda x: tg.maximum(x[0], x[1]) ** 2, [2, 2], 4, [2, 2], [[0.5, 0.5], [0.5, 0.5]]),
    "maximum with a constant": (lambda x: tg.maximum(x, 1), [0, 1, 2], [1, 1, 2], [0, 0.5, 1], 0),
    "maximum with itself": (lambda x: tg.maximum(x, x), [1, 2], [1, 2], [1, 1], 0),
    "max_pool2d": (
        lambda x: tg.max_pool2d(x, 2),
        [[[[1, 4], [4, 4]]]],
        4,
        [[[[0, 1 / 3], [1 / 3, 1 / 3]]]],
        0,
    ),
}

# Kinks

KINKS = {
    "relu": (tg.relu, [-1, 0, 2], [0, 0, 2], [0, 0, 1], 0),
    "relu squared": (lambda x: tg.square(tg.relu(x)), [-1, 0, 2], [0, 0, 4], [0, 0, 4], [0, 0, 2]),
    "abs": (tg.abs, [-1, 0, 2], [1, 0, 2], [-1, 0, 1], 0),
    "sign": (tg.sign, [-1, 0, 2], [-1, 0, 1], [0, 0, 0], 0),
    "leaky_relu": (lambda x: tg.leaky_relu(x, 0.1), [-1, 0, 2], [-0.1, 0, 2], [0.1, 0.1, 1], 0),
    "elu": (lambda x: tg.elu(x, 2), [0, 2], [0, 2], [2, 1], [2, 0]),
    "clip": (lambda x: tg.clip(x, -1, 1), [-2, -1, 0, 1, 2], [-1, -1, 0, 1, 1], [0, 1, 1, 1, 0], 0),
    "clip below": (lambda x: tg.clip(x, low=0), [-1, 0, 2], [0, 0, 2], [0, 1, 1], 0),
    "clip above": (lambda x: tg.clip(x, high=0), [-1, 0, 2], [-1, 0, 0], [1, 1, 0], 0),
    "clip squared": (lambda x: tg.square(tg.clip(x, -1, 1)), [1, 2], [1, 1], [2, 0], [2, 0]),
}

# Norms at 0

# The Hessian of the norm of (3, 4), whose unit vector is (0.6, 0.8): (1 - u u^T) / 5.
BEND = np.zeros((4, 4))
BEND[2:, 2:] = (np.eye(2) - np.outer([0.6, 0.8], [0.6, 0.8])) / 5
ROWS = [[0, 0], [3, 4]], [0, 5], [[0, 0], [0.6, 0.8]], BEND
ROOT = 1 / math.sqrt(2)

NORMS = {
    "norm": (tg.norm, [0, 0], 0, [0, 0], 0),
    "norm of rows": (lambda x: tg.norm(x, 1), *ROWS),
    "sqrt of a sum of squares": (lambda x: tg.sqrt(tg.sum(x**2, 1)), *ROWS),
    "root as a power": (lambda x: tg.sum(x * x, 1) ** 0.5, *ROWS),
    "length": (lambda x: tg.sqrt(tg.square(x[:, 0]) + tg.square(x[:, 1])), *ROWS),
    "norm squared": (lambda x: tg.square(tg.norm(x)), [0, 3], 9, [0, 6], 2),
    "sqrt": (tg.sqrt, [0, 4], [0, 2], [0, 0.25], [0, -1 / 32]),
    "std": (tg.std, [2, 2, 2], 0, [0, 0, 0], 0),
    # Of two numbers the standard deviation is |a - b| / 2, or with ddof=1 |a - b| / sqrt(2): straight lines.
    "std of rows": (lambda x: tg.std(x, 1), [[1, 1], [0, 2]], [0, 1], [[0, 0], [-0.5, 0.5]], 0),
    "std, ddof": (lambda x: tg.std(x, 1, 1), [[1, 1], [0, 2]], [0, 2 * ROOT], [[0, 0], [-ROOT, ROOT]], 0),
    "one example": (lambda x: tg.std(x, 0), [[1, 2]], [0, 0], [[0, 0]], 0),
}

# Nothing but -inf

# The second row has p = (1/4, 3/4), for which p_0' = 3/16 and p_0'' = 3/32 along x_0 - x_1.
LOG4, LOG3_4 = math.log(4), math.log(3 / 4)
MIXED = [[-INF, -INF], [0, math.log(3)]]
PULL = np.zeros((4, 4))
PULL[2:, 2:] = [[1, -1], [-1, 1]]


def _logsumexp(x):
    return tg.logsumexp(x, -1)


def _weighted(x):
    """p_0 + 2 p_1 = 2 - p_0, where there is anything."""
    return tg.softmax(x) @ np.array([1, 2])


NOTHING = {
    "logsumexp": (_logsumexp, [-INF, -INF], -INF, [0, 0], 0),
    "logsumexp of rows": (_logsumexp, MIXED, [-INF, LOG4], [[0, 0], [1 / 4, 3 / 4]], 3 / 16 * PULL),
    "logsumexp beside -inf": (_logsumexp, [-INF, 1], 1, [0, 1], 0),
    "softmax": (tg.softmax, [-INF, -INF], [0, 0], [0, 0], 0),
    "softmax of rows": (_weighted, MIXED, [0, 1.75], [[0, 0], [-3 / 16, 3 / 16]], -3 / 32 * PULL),
    "softmax beside -inf": (_weighted, [-INF, 1], 2, [0, 0], 0),
    "log_softmax": (tg.log_softmax, [-INF, -INF], [-INF, -INF], [0, 0], 0),
    "log_softmax of rows": (
        *(tg.log_softmax, MIXED, [[-INF, -INF], [-LOG4, LOG3_4]]),
        *([[0, 0], [1 / 2, -1 / 2]], -6 / 16 * PULL),
    ),
    "log_softmax beside -inf": (tg.log_softmax, [-INF, 1], [-INF, 0], [0, 0], 0),
}

# Losses


def _entropy(*targets, **options):
    return lambda x: tg.cross_entropy(x, np.array(targets), **options)


def _bits(*targets):
    return lambda x: tg.bce_with_logits(x, np.array(targets))


SOME, NONE = [[1, 2], [3, 4]], [[0, 0], [0, 0]]
HUGE = [1e4, 1e4, 1e4, -1e4, -1e4, -1e4]
LOSSES = {
    "all ignored": (_entropy(-100, -100), SOME, 0, NONE, 0),
    "all ignored, summed": (_entropy(5, 5, ignore_index=5, reduction="sum"), SOME, 0, NONE, 0),
    "all ignored, each": (_entropy(-1, -1, ignore_index=-1, reduction="none"), SOME, [0, 0], NONE, 0),
    "all ignored, smoothed": (_entropy(-100, -100, label_smoothing=0.1), SOME, 0, NONE, 0),
    # The mean is over the one that counts: its gradient is p - (1, 0), with p as above.
    "one ignored": (_entropy(-100, 0), [[5, -5], MIXED[1]], LOG4, [[0, 0], [-3 / 4, 3 / 4]], 3 / 16 * PULL),
    "a class ruled out": (
        *(_entropy(1, 1), [[-INF, 1], MIXED[1]], -LOG3_4 / 2),
        *([[0, 0], [1 / 8, -1 / 8]], 3 / 32 * PULL),
    ),
    "nothing but -inf": (_entropy(0), [[-INF, -INF]], INF, [[0, 0]], 0),
    "bits at 1e4": (
        _bits(0, 1, 0.5, 0, 1, 0.5),
        HUGE,
        [1e4, 0, 5e3, 0, 1e4, 5e3],
        [1, 0, 0.5, 0, -1, -0.5],
        0,
    ),
    "bits at 0": (_bits(0, 1), [0, 0], [math.log(2), math.log(2)], [0.5, -0.5], 0.25),
}

POINTS = {**TIES, **KINKS, **NORMS, **NOTHING, **LOSSES}
assert len(POINTS) == sum(map(len, (TIES, KINKS, NORMS, NOTHING, LOSSES)))


@pytest.mark.parametrize("point", POINTS)
def test_value_gradient_and_second_derivatives(point):
    check(*POINTS[point])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bits_stay_finite_in_either_dtype(dtype):
    x = leaf([-1e4, -100.0, 0.0, 100.0, 1e4], dtype)
    for target in 0.0, 1.0, 0.3:
        plain, recorded, *hessians = derivatives(tg.bce_with_logits(x, target), x, np.ones(5))
        expected = np.array([0.0, 0.0, 0.5, 1.0, 1.0]) - target
        np.testing.assert_allclose([plain, recorded], [expected] * 2, atol=1e-6)
        np.testing.assert_allclose(hessians, [np.diag([0.0, 0.0, 0.25, 0.0, 0.0])] * 2, atol=1e-6)


# Powers


def _slope(x, n):
    """n x ** (n - 1), where 0 times anything is 0, and a root's slope at 0 is 0."""
    return 0.0 if n == 0 or x == 0 and n < 1 else n * x ** (n - 1)


def _bend(x, n):
    """n (n - 1) x ** (n - 2), with the same exceptions."""
    return 0.0 if n in (0, 1) or x == 0 and n < 2 else n * (n - 1) * x ** (n - 2)


KINDS = (int, float, np.int64, np.float32, np.float64)
POWERS = [
    *((kind(n), [-2.0, 0.0, 3.0]) for n in (0, 1, 2, 3) for kind in KINDS),
    *((kind(n), [-2.0, 3.0]) for n in (-1, -2) for kind in KINDS),
    *((kind(n), [0.0, 4.0]) for n in (0.5, 1.5, 2.5) for kind in (float, np.float32, np.float64)),
]


@pytest.mark.parametrize("n, x", POWERS)
def test_a_constant_exponent_never_touches_log(n, x, monkeypatch):
    monkeypatch.setattr(arithmetic, "log", None)  # whoever calls it raises
    by_hand = [[f(a, float(n)) for a in x] for f in (pow, _slope, _bend)]
    check(lambda x: x**n, x, *by_hand)
    check(lambda x: tg.power(x, n), x, *by_hand)


def test_a_constant_array_of_exponents():
    n, x = np.array([2.0, 0.0, 1.0, 3.0]), [-2, 0, 0, -3]
    check(lambda x: tg.power(x, n), x, [4, 1, 0, -27], [-4, 0, 1, 27], [2, 0, 0, -18])


@pytest.mark.parametrize("x, y, dx, dy", [(0, 0, 0, 0), (0, 1, 1, 0), (0, 2, 0, 0), (1, 0, 0, 0)])
def test_a_variable_exponent_at_zero(x, y, dx, dy):
    out = (base := leaf(x)) ** (exponent := leaf(y))
    assert out.item() == x**y
    with no_warnings():
        assert [g.item() for g in tg.gradients(out, [base, exponent])] == [dx, dy]
