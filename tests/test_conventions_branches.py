"""Where nothing comes back: branches not taken, queries that see nothing. And products with zeros.

Zero absorbs in the singular rules, those of sqrt, log, divide, power and norm. A multiply is not guarded:
the gradient of where(x > 0, x * log(x), 0) is NaN at 0.
"""

import itertools
import math

import numpy as np
import pytest
from hard_points import check, leaf, no_warnings

import tinygen as tg

INF, NAN = math.inf, math.nan

# Branches not taken

LOG4 = math.log(4)
# name: (a function that is infinite or NaN at bad points, its slope at 4, its second derivative at 4)
BRANCHES = {
    "sqrt": (tg.sqrt, 1 / 4, -1 / 32),
    "log": (tg.log, 1 / 4, -1 / 16),
    "log1p": (lambda x: tg.log1p(x - 1), 1 / 4, -1 / 16),
    "1 / x": (lambda x: 1 / x, -1 / 16, 1 / 32),
    "reciprocal": (tg.reciprocal, -1 / 16, 1 / 32),
    "x / x": (lambda x: x / x, 0.0, 0.0),
    "x ** -1": (lambda x: x**-1, -1 / 16, 1 / 32),
    "x ** -2": (lambda x: x**-2, -1 / 32, 3 / 128),
    "x ** 0.5": (lambda x: x**0.5, 1 / 4, -1 / 32),
    "x ** 1.5": (lambda x: x**1.5, 3.0, 3 / 8),
    "x ** -0.5": (lambda x: x**-0.5, -1 / 16, 3 / 128),
    "x ** x": (lambda x: x**x, 256 * (1 + LOG4), 256 * ((1 + LOG4) ** 2 + 1 / 4)),
    "4 ** (8 / x)": (lambda x: 4 ** (8 / x), -8 * LOG4, 4 * (LOG4**2 + LOG4)),
    "log(sqrt(x))": (lambda x: tg.log(tg.sqrt(x)), 1 / 8, -1 / 32),
    "sqrt(log(x))": (lambda x: tg.sqrt(tg.log(x)), LOG4**-0.5 / 8, -(LOG4**-0.5 + LOG4**-1.5 / 2) / 32),
    "1 / sqrt(x)": (lambda x: 1 / tg.sqrt(x), -1 / 16, 3 / 128),
    "log(x) / x": (lambda x: tg.log(x) / x, (1 - LOG4) / 16, (2 * LOG4 - 3) / 64),
    "norm": (lambda x: tg.norm(tg.stack([x, x]), 0), math.sqrt(2), 0.0),
}
BAD = [-INF, -1.0, -0.0, 0.0, NAN, INF]


@pytest.mark.parametrize("name", BRANCHES)
def test_a_branch_not_taken_sends_nothing_back(name):
    f, slope, bend = BRANCHES[name]
    x = np.array([*BAD, 4])
    by_hand = [(x == 4) * d for d in (f(np.array(4.0)), slope, bend)]
    check(lambda x: tg.where(x == 4, f(x), 0.0), x, *by_hand, singular=True)
    check(lambda x: tg.where(x != 4, 0.0, f(x)), x, *by_hand, singular=True)


@pytest.mark.parametrize("name", BRANCHES)
def test_a_zero_cotangent_stays_zero(name):
    f, slope, bend = BRANCHES[name]
    x = np.array([*BAD, 4])
    with np.errstate(all="ignore"):
        value = f(x)
    check(f, x, value, (x == 4) * slope, (x == 4) * bend, cotangent=x == 4, singular=True)


def test_rows_not_taken_send_nothing_back_through_a_norm():
    x = [[0, 0], [INF, 0], [NAN, 1], [3, 4]]
    gradient, second = [[0, 0], [0, 0], [0, 0], [0.6, 0.8]], np.zeros((8, 8))
    second[6:, 6:] = (np.eye(2) - np.outer([0.6, 0.8], [0.6, 0.8])) / 5
    check(
        lambda x: tg.norm(x, 1), x, [0, INF, NAN, 5], gradient, second, cotangent=[0, 0, 0, 1], singular=True
    )
    taken = np.array([False, False, False, True])
    check(lambda x: tg.where(taken, tg.norm(x, 1), 0.0), x, [0, 0, 0, 5], gradient, second, singular=True)


# Products with zeros


def without(x, *left_out):
    """The product of the elements of x except some."""
    return math.prod(value for i, value in enumerate(x) if i not in left_out)


FACTORS = {
    "no zero": [2.0, -3.0, 0.5, 4.0],
    "one zero": [2.0, 0.0, 0.5, 4.0],
    "two zeros": [2.0, 0.0, 0.0, 4.0],
    "three zeros": [0.0, 0.0, 0.0, 4.0],
    "the first": [0.0, 2.0, 3.0, 4.0],
    "the last": [2.0, 3.0, 4.0, 0.0],
    "alone": [0.0],
}


@pytest.mark.parametrize("name", FACTORS)
def test_products_are_exact_with_zeros(name):
    x = FACTORS[name]
    n = range(len(x))
    gradient = [without(x, i) for i in n]
    second = [[0.0 if i == j else without(x, i, j) for j in n] for i in n]
    check(tg.prod, x, math.prod(x), gradient, second)
    check(lambda x: tg.prod(x.reshape((1, -1)), axis=1), x, [math.prod(x)], gradient, second)


@pytest.mark.parametrize("name", FACTORS)
def test_running_products_are_exact_with_zeros(name):
    x = FACTORS[name]
    n = range(len(x))
    weights = [1.0, -2.0, 3.0, 0.5][: len(x)]
    heads = [(w, x[: k + 1]) for k, w in enumerate(weights)]  # each result is the product of a head
    gradient = [sum(w * without(head, i) for w, head in heads if i < len(head)) for i in n]
    second = np.zeros((len(x), len(x)))
    for i, j in itertools.permutations(n, 2):
        second[i, j] = sum(w * without(head, i, j) for w, head in heads if max(i, j) < len(head))
    value = [math.prod(head) for _, head in heads]
    check(lambda x: tg.cumprod(x, 0), x, value, gradient, second, cotangent=weights)


def test_products_over_an_axis_with_zeros_in_one_row():
    rows, second = [[3, 0, 4], [1, 2, 3]], np.zeros((6, 6))
    second[:3, :3] = [[0, 4, 0], [4, 0, 3], [0, 3, 0]]
    second[3:, 3:] = [[0, 3, 2], [3, 0, 1], [2, 1, 0]]
    check(lambda x: tg.prod(x, axis=1), rows, [0, 6], [[0, 12, 0], [6, 3, 2]], second)


# Queries that may see nothing

# Three queries, two keys; the first query sees nothing, the others what they see without it.
HIDDEN = {
    "boolean": {"mask": np.array([[False, False], [True, False], [True, True]])},
    "additive": {"mask": np.array([[-INF, -INF], [0.0, 1.0], [0.5, -INF]])},
    "causal": {"causal": True},
    "both": {"mask": np.array([[True, True], [True, True], [False, True]]), "causal": True},
}


def attention_to_second_order(q, k, v, mask=None, causal=False):
    """The output, its gradients by q, k, v and a floating mask, and gradients of those."""
    rng = np.random.default_rng(1)
    q, k, v = map(leaf, (q, k, v))
    mask = leaf(mask) if mask is not None and mask.dtype != bool else mask
    own = [q, k, v] + [mask] * isinstance(mask, tg.Tensor)
    with no_warnings():
        out = tg.attention(q, k, v, mask, causal=causal)
        g = rng.standard_normal((3, 2))[
            -len(q) :
        ]  # the same for the other queries, with or without the first
        plain = tg.gradients(out, own, g, retain_graph=True)
        recorded = tg.gradients(out, own, g, create_graph=True)
        directions = [rng.standard_normal((3, 2))[-len(x) :] for x in own]
        second = tg.gradients(recorded, own, directions)
    for a, b in zip(plain, recorded):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12, atol=1e-12)
    return [x.numpy() for x in (out, *recorded, *second)]


@pytest.mark.parametrize("kind", HIDDEN)
def test_a_query_that_may_see_nothing(kind):
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal((n, 2)) for n in (3, 2, 2))
    options = HIDDEN[kind]
    rest = {name: value[1:] if name == "mask" else value for name, value in options.items()}
    with_it = attention_to_second_order(q, k, v, **options)
    without_it = attention_to_second_order(q[1:], k, v, **rest)
    for whole, part in zip(with_it, without_it, strict=True):
        if len(whole) == 3:  # of the queries, or of the mask: the first gets exactly nothing
            assert not whole[0].any()
            whole = whole[1:]
        np.testing.assert_allclose(whole, part, rtol=1e-12, atol=1e-12)


def test_when_nobody_may_see_anything():
    x = np.ones((2, 2))
    for options in {"mask": np.zeros((2, 2), bool)}, {"mask": np.full((2, 2), -INF)}:
        for result in attention_to_second_order(x, x, x, **options):
            assert not result.any()
