"""The gradient of max and min over an axis: the kernel gives the bits of the rule that it stands in for."""

import inspect

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygen as tg
from tinygen import kernels
from tinygen.autograd.ops import reductions
from tinygen.kernels import extremes
from tinygen.testing import strategies

rule = inspect.unwrap(reductions.share_of_ties)


def inputs(x, axis, rng):
    """A cotangent, x, and its maximum over an axis."""
    out = x.max(axis=axis)
    return rng.standard_normal(out.shape).astype(x.dtype), x, out


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_it_has_the_bits_of_the_rule(data):
    """Values are few, so that many tie; in any layout."""
    dtype, rng = data.draw(st.sampled_from((np.float32, np.float64))), data.draw(strategies.generators())
    shape = data.draw(st.sampled_from(((3, 8), (1, 9), (2, 5, 8), (4, 3, 2, 5), (2, 3, 40))))
    axis = data.draw(st.integers(-len(shape), 0 if len(shape) < 3 else 1))
    x = strategies.relayout(
        rng.integers(0, 3, shape).astype(dtype), data.draw(st.sampled_from(strategies.LAYOUTS))
    )
    g, x, out = (strategies.frozen(array) for array in inputs(x, axis, rng))
    found = extremes.share_of_ties(g, x, out, axis)
    if int(np.prod(shape[axis % len(shape) + 1 :])) < extremes.LEAST:
        assert found is NotImplemented
    else:
        assert found.dtype == dtype and np.array_equal(found, rule(g, x, out, axis))


def test_ties_share_and_the_shares_add_up():
    x = np.repeat([[1.0, 3.0, 3.0, 0.0, 3.0]], 8, axis=0).T[None].copy()
    g = np.full((1, 8), 6.0)
    found = extremes.share_of_ties(g, x, x.max(axis=1), 1)
    assert found[0, :, 0].tolist() == [0, 2, 2, 0, 2] and (found.sum(axis=1) == g).all()


def test_nan_stays_nan_and_infinity_is_an_extreme_like_others():
    x = np.zeros((1, 3, 8))
    x[0, 1, :2], x[0, 2, 3] = [np.nan, np.inf], -np.inf
    g, _, out = inputs(x, 1, np.random.default_rng(0))
    with np.errstate(invalid="ignore", divide="ignore"):
        np.testing.assert_array_equal(extremes.share_of_ties(g, x, out, 1), rule(g, x, out, 1))
    assert np.isnan(extremes.share_of_ties(g, x, out, 1)[0, :, 0]).all()


def test_any_number_of_threads_gives_the_same_bits():
    rng = np.random.default_rng(0)
    g, x, out = inputs(rng.integers(0, 4, (60, 5, 90)).astype(np.float32), 1, rng)
    for count in range(1, min(3, kernels.most_threads()) + 1):
        with kernels.use("numba", threads=count):
            assert np.array_equal(
                kernels.accelerated(rule, "share_of_ties")(g, x, out, 1), rule(g, x, out, 1)
            )


def test_what_is_left_to_the_rule():
    x = np.ones((2, 3, 8))
    g = out = np.ones((2, 8))
    assert extremes.share_of_ties(g, x, out, 1) is not NotImplemented
    for others in (
        (g, x, out, None),
        (g, x, out, (1,)),
        (g.astype(np.float32), x, out, 1),
        (g, x[:0], out, 1),
    ):
        assert extremes.share_of_ties(*others) is NotImplemented
    assert extremes.share_of_ties(np.ones((2, 3)), x, np.ones((2, 3)), 2) is NotImplemented
    assert extremes.share_of_ties(g, x.astype(int), out, 1) is NotImplemented


@pytest.mark.parametrize("name", ["max", "min"])
def test_a_plain_backward_is_the_recorded_one(name):
    rng = np.random.default_rng(0)
    x = tg.tensor(rng.integers(0, 3, (7, 4, 30)).astype(float), requires_grad=True)
    cotangent = rng.random((7, 30))
    with kernels.use("numba"):
        found = [
            tg.gradients(getattr(tg, name)(x, axis=-2), x, cotangent, create_graph=graph).numpy()
            for graph in (False, True)
        ]
    assert np.array_equal(*found) and (found[0] != 0).any()
