"""Elementwise kernels equal the formulas that they stand in for, in every layout and at special values."""

import inspect
import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numba import config

import tinygen as tg
from tinygen import kernels
from tinygen.autograd import tensor
from tinygen.kernels import elementwise
from tinygen.testing import strategies

TOLERANCE = {np.float32: 1e-5, np.float64: 1e-12}
SPECIAL = [math.nan, math.inf, -math.inf, 0.0, -0.0, 1e-30, -1e-30, 30.0, -30.0, 700.0, -700.0]

# Name -> (the kernel, the formula, how many arrays, other arguments). An operation's formula is its forward,
# that of a gradient its rule: each behind the `accelerated` that puts the kernel in its place.
FORWARD = "exp log erf tanh sigmoid softplus relu leaky_relu silu gelu".split()
BACKWARD = "tanh sigmoid softplus relu leaky_relu silu gelu".split()
OPTIONS = {"leaky_relu": [(0.01,), (0.2,)], "gelu": [("none",), ("tanh",)]}


def _cases():
    found = {}

    def add(name, formula, count):
        for options in OPTIONS.get(name.removesuffix("_backward"), [()]):
            label = "-".join([name, *map(str, options)])
            found[label] = getattr(elementwise, name), inspect.unwrap(formula), count, options

    for name in FORWARD:
        add(name, getattr(tg, name).primitive.forward, 1)
    for name in BACKWARD:
        add(f"{name}_backward", getattr(tg, name).primitive.by_input["x"][0], 2)
    add("bce_with_logits", tg.bce_with_logits.primitive.forward, 2)
    add("bce_with_logits_backward", tg.bce_with_logits.primitive.by_input["logits"][0], 3)
    return found


CASES = _cases()
every_case = pytest.mark.parametrize("name", CASES)
few = settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])


def assert_equal_to_formula(name, inputs):
    fast, formula, _, options = CASES[name]
    dtype = inputs[0].dtype.type
    with kernels.use("reference"), np.errstate(all="ignore"):
        want = np.asarray(formula(*inputs, *options))
    with np.errstate(all="ignore"):
        got = fast(*inputs, *options)
    assert type(got) is np.ndarray and got.shape == want.shape and got.dtype == dtype
    assert not any(np.shares_memory(got, x) for x in inputs)
    np.testing.assert_allclose(got, want, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    return got


@every_case
@few
@given(st.data())
def test_it_equals_the_formula(name, data):
    """Any shape and layout, each input its own; the inputs are frozen."""
    shape, dtype = data.draw(strategies.shapes()), data.draw(st.sampled_from((np.float32, np.float64)))
    low = 0.1 if name == "log" else -4.0
    inputs = [
        data.draw(strategies.arrays(shape, dtype=dtype, low=low, high=4.0)) for _ in range(CASES[name][2])
    ]
    assert_equal_to_formula(name, inputs)


@every_case
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_special_values(name, dtype):
    """Each with each."""
    x = np.array(SPECIAL, dtype)
    inputs = np.meshgrid(*[x] * CASES[name][2], indexing="ij")
    assert_equal_to_formula(name, inputs)


@pytest.mark.parametrize("layout", ["fortran", "permuted"])
def test_a_permuted_array_keeps_its_order(layout):
    x = strategies.relayout(np.linspace(-2, 2, 24).reshape(2, 3, 4), layout)
    assert elementwise.tanh(x).strides == x.strides
    assert elementwise.tanh_backward(x, x).strides == x.strides
    assert elementwise.dropout(x, np.ones(x.shape, bool)).strides == x.strides
    assert elementwise.tanh_backward(x, np.ascontiguousarray(x)).strides == x.strides


@every_case
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_result_depends_on_nothing_but_its_element(name, dtype):
    """Not on where it lies, in a vector or after the last whole one, nor on the number of threads."""
    fast, _, count, options = CASES[name]
    inputs = list(
        np.random.default_rng(0).uniform(0.01, 8, (count, 107 if config.DISABLE_JIT else 1007)).astype(dtype)
    )
    whole = fast(*inputs, *options)
    for cut in (1, 2, 13, 50):
        np.testing.assert_array_equal(fast(*[x[cut:-cut] for x in inputs], *options), whole[cut:-cut])
    for threads in range(1, kernels.most_threads() + 1):
        with kernels.use("numba", threads=threads):
            np.testing.assert_array_equal(fast(*inputs, *options), whole)


@few
@given(st.data())
def test_dropout(data):
    dtype, p = (
        data.draw(st.sampled_from((np.float32, np.float64))),
        data.draw(st.sampled_from((0.0, 0.1, 0.5))),
    )
    x = data.draw(strategies.arrays(dtype=dtype))
    mask = data.draw(strategies.generators()).random(x.shape) < 0.5
    mask = strategies.relayout(np.asarray(mask), data.draw(st.sampled_from(strategies.LAYOUTS)))
    got = elementwise.dropout(x, strategies.frozen(mask), p)
    assert got.dtype == dtype and got.shape == x.shape
    np.testing.assert_allclose(got, np.where(mask, x / (1 - p), 0), rtol=2 * np.finfo(dtype).eps)


def test_dropout_of_nan_and_infinity_is_a_product():
    x = np.array([math.nan, math.inf, -math.inf, 1.0])
    with np.errstate(invalid="ignore"):
        got = elementwise.dropout(x, np.zeros(4, bool))
    np.testing.assert_array_equal(got, [math.nan, math.nan, math.nan, 0])


@few
@given(st.data())
def test_where(data):
    """Bit for bit what NumPy chooses, in every layout; either side may be a number."""
    dtype, rng = data.draw(st.sampled_from((np.float32, np.float64))), data.draw(strategies.generators())
    x = data.draw(strategies.arrays(dtype=dtype))
    layouts = st.sampled_from(strategies.LAYOUTS)
    condition = strategies.relayout(np.asarray(rng.random(x.shape) < 0.5), data.draw(layouts))
    y = strategies.relayout(rng.standard_normal(x.shape).astype(dtype), data.draw(layouts))
    for sides in ((x, y), (x, 0.0), (-1.5, x), (2, x), (x, math.inf)):
        got = elementwise.where(strategies.frozen(condition), *sides)
        assert got.dtype == dtype and got.tobytes() == np.where(condition, *sides).tobytes()
        assert not np.shares_memory(got, x)


def test_where_sends_nothing_of_what_is_not_chosen():
    bad = np.array([math.nan, math.inf, -math.inf, 1.0])
    for sides, expected in (((bad, 0.0), [0, 0, 0, 0]), ((0.0, bad), bad), ((bad, bad[::-1]), bad[::-1])):
        np.testing.assert_array_equal(elementwise.where(np.zeros(4, bool), *sides), expected)


X = np.ones((2, 3))
LEFT = {
    "a number": lambda: elementwise.tanh(1.0),
    "a NumPy scalar": lambda: elementwise.tanh(np.float32(1)),
    "integers": lambda: elementwise.relu(np.ones(3, int)),
    "float16": lambda: elementwise.exp(np.ones(3, np.float16)),
    "the other byte order": lambda: elementwise.exp(np.ones(3, np.dtype(float).newbyteorder())),
    "two dtypes": lambda: elementwise.tanh_backward(X, X.astype(np.float32)),
    "two shapes": lambda: elementwise.tanh_backward(X, X[:1]),
    "a number among arrays": lambda: elementwise.bce_with_logits(X, 1.0),
    "an unknown form": lambda: elementwise.gelu(X, "neither"),
    "no mask": lambda: elementwise.dropout(X),
    "a mask of numbers": lambda: elementwise.dropout(X, X, 0.5),
    "a mask to broadcast": lambda: elementwise.dropout(X, np.ones(3, bool), 0.5),
    "an impossible p": lambda: elementwise.dropout(X, np.ones(X.shape, bool), 1.0),
    "a tensor": lambda: elementwise.silu(tensor(X)),
    "a choice by numbers": lambda: elementwise.where(X, X, X),
    "a choice between numbers": lambda: elementwise.where(X > 0, 1.0, 0.0),
    "a choice that broadcasts": lambda: elementwise.where(np.ones(3, bool), X, 0.0),
    "a choice between dtypes": lambda: elementwise.where(X > 0, X, X.astype(np.float32)),
    "a choice of a NumPy scalar": lambda: elementwise.where(X > 0, X, np.float64(1)),
}


@pytest.mark.parametrize("name", LEFT)
def test_what_is_left_to_the_formula(name):
    assert LEFT[name]() is NotImplemented


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("form, beyond", [("none", math.erfc), ("tanh", None)])
def test_gelu_keeps_its_digits_in_the_lower_tail(form, beyond, dtype):
    """x Phi(x) at -8 is -5e-15, of which 1 + erf(x) or 1 + tanh(x) would leave nothing."""
    x = np.linspace(-8, -3, 51).astype(dtype)
    if beyond:
        want = [0.5 * v * math.erfc(-v / math.sqrt(2)) for v in x.tolist()]
    else:
        want = [v / (1 + math.exp(-2 * math.sqrt(2 / math.pi) * (v + 0.044715 * v**3))) for v in x.tolist()]
    np.testing.assert_allclose(elementwise.gelu(x, form), want, rtol=200 * np.finfo(dtype).eps)


PULLED = {
    **{name: getattr(tg, name) for name in (*BACKWARD, "exp", "erf")},
    "gelu, tanh": lambda x: tg.gelu(x, approximate="tanh"),
    "bce_with_logits": lambda x: tg.bce_with_logits(x, tg.sigmoid(-x)),
    "dropout": lambda x: tg.dropout(x, np.arange(x.size).reshape(x.shape) % 3 > 0, p=0.3),
}


@pytest.mark.parametrize("name", PULLED)
def test_a_plain_backward_is_the_recorded_one(name):
    """The first runs the kernel, the second the formula, which is differentiated again."""
    rng = np.random.default_rng(0)
    x, cotangent = tensor(rng.standard_normal((4, 5)), requires_grad=True), rng.standard_normal((4, 5))
    with kernels.use("numba"):
        plain = tg.gradients(PULLED[name](x), x, cotangent)
        recorded = tg.gradients(PULLED[name](x), x, cotangent, create_graph=True)
    np.testing.assert_allclose(plain.numpy(), recorded.numpy(), rtol=1e-12, atol=1e-14)
