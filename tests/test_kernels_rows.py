"""The kernels over rows and channels: held to the plain ones, in every layout, at NaN and infinities."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tinygen import kernels
from tinygen.kernels import norms, reference, rows
from tinygen.testing import strategies

DTYPES = (np.float32, np.float64)


def assert_close(mine, theirs, scale=1.0):
    """Equal to 1e-12 or, in float32, to what sums of so few numbers of about `scale` may lose."""
    assert type(mine) is type(theirs)
    for x, y in zip(mine, theirs, strict=True) if type(mine) is tuple else [(mine, theirs)]:
        assert (x is None) == (y is None)
        if x is not None:
            assert (x.shape, x.dtype) == (y.shape, y.dtype)
            tolerance = 1e-12 if x.dtype == np.float64 else 1e-5
            np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance * scale)


def quietly(function, *args):
    with np.errstate(all="ignore"):
        return function(*args)


# Softmax and cross-entropy


@st.composite
def logits(draw, values=False):
    """Rows of every length, some with infinities or NaN, in any layout; with `values`, two such arrays."""
    shape = (*draw(strategies.shapes(2, low=1)), draw(st.sampled_from((1, 2, 7, 16, 33, 65, 100))))
    dtype = draw(st.sampled_from(DTYPES))
    x = np.array(draw(strategies.arrays(shape=shape, dtype=dtype, low=-5, high=5, layout="c")))
    flat = x.reshape(-1, shape[-1])
    match draw(st.sampled_from(("finite", "masked", "dead", "infinite", "nan", "large"))):
        case "masked":
            flat[:, ::2] = -math.inf
        case "dead":
            flat[0] = -math.inf
        case "infinite":
            flat[0, -1] = math.inf
        case "nan":
            flat[0, 0] = math.nan
        case "large":
            flat *= 1e4
    return strategies.frozen(strategies.relayout(x, draw(st.sampled_from(strategies.LAYOUTS))))


@given(logits(), strategies.generators(), st.sampled_from(("softmax", "log_softmax")))
def test_softmax_equals_the_plain_one(x, rng, name):
    axis = -1 if rng.random() < 0.5 else x.ndim - 1
    out = quietly(getattr(reference, name), x, axis)
    assert_close(quietly(getattr(rows, name), x, axis), out, 1e4)
    g = np.broadcast_to(rng.normal(size=x.shape[-1]).astype(x.dtype), x.shape)
    theirs = quietly(getattr(reference, name + "_backward"), g, out, axis)
    assert_close(quietly(getattr(rows, name + "_backward"), g, out, axis), theirs, 10)


@given(logits(), strategies.generators(), st.sampled_from((0.0, 0.1, 1.0)), st.sampled_from((-100, 0)))
def test_cross_entropy_equals_the_plain_one(x, rng, smoothing, ignored):
    targets = rng.integers(0, x.shape[-1], x.shape[:-1])
    targets = np.where(rng.random(targets.shape) < 0.2, ignored, targets).astype(
        rng.choice((np.int32, np.int64))
    )
    loss, log_total = quietly(reference.cross_entropy, x, targets, ignored, smoothing)
    assert_close(quietly(rows.cross_entropy, x, targets, ignored, smoothing), (loss, log_total), 1e4)
    given = rng.normal(size=targets.shape).astype(x.dtype), x, targets, log_total, ignored, smoothing
    theirs = quietly(reference.cross_entropy_backward, *given)
    assert_close(quietly(rows.cross_entropy_backward, *given), theirs, 10)


@given(logits(), strategies.generators(), st.sampled_from((1, 3)), st.sampled_from((0, 1)))
def test_bernoulli_equals_the_plain_one(x, rng, times, grey):
    """Also for several rows of logits to one of bits."""
    bits = rng.random(x.shape).astype(x.dtype)
    bits = bits if grey else np.rint(bits)
    many = np.stack([x + i for i in range(times)]) if times > 1 else x
    theirs = np.asarray(quietly(reference.bernoulli_log_prob, many, bits))
    assert_close(quietly(rows.bernoulli_log_prob, many, bits), theirs, 1e4)
    g = rng.normal(size=theirs.shape).astype(x.dtype)
    expected = quietly(reference.bernoulli_log_prob_backward, g, many, bits)
    assert_close(quietly(rows.bernoulli_log_prob_backward, g, many, bits), expected, 10)


def test_what_is_left_to_the_plain_ones():
    for shape in ((2, 4), (4,), (5, 3, 3), ()):
        bits = np.ones(shape)
        assert rows.bernoulli_log_prob(np.ones((3, 3)), bits) is NotImplemented
        assert rows.bernoulli_log_prob_backward(np.ones(3), np.ones((3, 3)), bits) is NotImplemented
    assert rows.bernoulli_log_prob(np.ones((0, 3)), np.ones(3)) is NotImplemented
    x, t = np.ones((3, 4)), np.array([0, 1, 2])
    for left in (x.astype(np.float16), np.ones((3, 0)), np.ones((0, 3)), np.array(1.0)):
        assert rows.softmax(left, -1) is NotImplemented
    assert rows.softmax(x, 0) is rows.softmax(x, (0, 1)) is rows.softmax(x, None) is NotImplemented
    for outside in (4, -1, 2**40):
        assert rows.cross_entropy(x, np.array([0, outside, 2]), -100, 0.0) is NotImplemented
    assert rows.cross_entropy(np.ones((0, 3)), t[:0], -100, 0.0) is NotImplemented
    for axes, shape in (((0,), (-1,)), ((0, 1), (1, -1)), ((1,), (1, -1)), ((-2,), (4,)), (1, (4,))):
        assert norms.normalise(x, None, None, axes, shape, 1e-5) is NotImplemented
        assert norms.normalise_backward(x, x, None, None, x, x, axes, shape) is NotImplemented


def test_a_loss_of_many_rows_is_that_of_each():
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(1000, 65)).astype(np.float32), rng.integers(0, 65, 1000)
    loss, log_total = rows.cross_entropy(x, t, -100, 0.1)
    for i in (0, 499, 500, 999):
        one, total = rows.cross_entropy(x[i : i + 1], t[i : i + 1], -100, 0.1)
        assert one == loss[i] and total == log_total[i]


# Normalisation

CASES = {  # shape of x, axes, shape of the weights in it
    "one row": ((7,), (-1,), (-1,)),
    "short rows": ((5, 3), (1,), (3,)),
    "rows": ((3, 50, 33), (2,), (-1,)),
    "many rows": ((301, 16), (-1,), (-1,)),
    "columns": ((9, 70), (0,), (1, -1)),
    "few columns": ((40, 3), (0,), (1, 3)),
    "channels": ((4, 3, 5, 7), (0, 2, 3), (1, -1, 1, 1)),
    "sequences": ((2, 6, 40), (0, 2), (1, 6, 1)),
    "pixels": ((8, 2, 1, 1), (0, 2, 3), (1, -1, 1, 1)),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CASES)
@given(
    strategies.generators(),
    st.sampled_from(strategies.LAYOUTS),
    st.booleans(),
    st.booleans(),
    st.sampled_from((0.0, 100.0)),
)
def test_normalise_equals_the_plain_one(name, dtype, rng, layout, weighted, biased, offset):
    size, axes, shape = CASES[name]
    channels = size[-1:] if len(shape) == 1 else size[1:2]
    x = strategies.relayout((rng.normal(size=size) + offset).astype(dtype), layout)
    g = strategies.frozen(strategies.relayout(rng.normal(size=size).astype(dtype), layout))
    weight = rng.normal(size=channels).astype(dtype) if weighted else None
    bias = rng.normal(size=channels).astype(dtype) if biased else None
    theirs = reference.normalise(x, weight, bias, axes, shape, 1e-3)
    loss = 1 + offset  # digits that subtracting a mean of `offset` loses
    assert_close(norms.normalise(x, weight, bias, axes, shape, 1e-3), theirs, 10 * loss)
    given = g, x, weight, bias, *theirs[1:], axes, shape
    assert_close(norms.normalise_backward(*given), reference.normalise_backward(*given), 200)


@pytest.mark.parametrize("size", [(4, 3, 5, 7), (2, 6, 40), (8, 2, 1, 1), (1, 1, 1, 1), (30, 150), (1, 64)])
@given(strategies.generators(), st.sampled_from(DTYPES), st.sampled_from(strategies.LAYOUTS))
def test_moments_equal_the_plain_ones(size, rng, dtype, layout):
    axes = (0, *range(2, len(size)))
    x = strategies.frozen(strategies.relayout((rng.normal(size=size) + 3).astype(dtype), layout))
    assert_close(norms.moments(x, axes), reference.moments(x, axes), 10)


def test_moments_leave_to_the_reference_what_is_not_of_channels():
    x = np.ones((4, 3, 5))
    for other, axes in (
        (x, (0, 1)),
        (x[0], (1,)),
        (x[0, 0], (0,)),
        (x[:0], (0, 2)),
        (x.astype(np.float16), (0, 2)),
    ):
        assert norms.moments(other, axes) is NotImplemented


@given(strategies.generators(), st.sampled_from(DTYPES), st.sampled_from(strategies.LAYOUTS), st.booleans())
def test_rms_norm_equals_the_plain_one(rng, dtype, layout, weighted):
    x = strategies.relayout(rng.normal(size=(4, 30, 19)).astype(dtype), layout)
    g, weight = (
        rng.normal(size=x.shape).astype(dtype),
        rng.normal(size=19).astype(dtype) if weighted else None,
    )
    theirs = reference.rms_norm(x, weight, 1e-5)
    assert_close(norms.rms_norm(x, weight, 1e-5), theirs, 10)
    given = g, x, weight, theirs[1]
    assert_close(norms.rms_norm_backward(*given), reference.rms_norm_backward(*given), 100)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", CASES)
def test_what_is_not_finite_spreads_as_in_the_plain_one(name, bad):
    size, axes, shape = CASES[name]
    x = np.random.default_rng(0).normal(size=size)
    x.flat[0] = bad
    theirs = quietly(reference.normalise, x, None, None, axes, shape, 1e-5)
    assert_close(norms.normalise(x, None, None, axes, shape, 1e-5), theirs)
    given = np.ones(size), x, None, None, *theirs[1:], axes, shape
    assert_close(norms.normalise_backward(*given), quietly(reference.normalise_backward, *given))


def test_a_constant_row_has_variance_zero():
    x = np.full((600, 37), 1e4, np.float32)
    out, centre, scale = norms.normalise(x, None, None, (-1,), (-1,), 1e-5)
    np.testing.assert_allclose(scale, 1 / math.sqrt(1e-5), rtol=1e-2)
    assert (np.abs(out) < 0.5).all() and (centre == 1e4).all()


# All of them


def test_any_number_of_threads_gives_the_same_bits():
    rng = np.random.default_rng(0)
    x, g = rng.normal(size=(2, 300, 333)).astype(np.float32)
    t, weight = rng.integers(0, 333, 300), rng.normal(size=333).astype(np.float32)
    images = x[:, :330].reshape(30, 10, 10, 33)
    channels = (0, 2, 3), (1, -1, 1, 1)

    def everything():
        out, logarithm = rows.softmax(x, -1), rows.log_softmax(x, -1)
        yield from (out, logarithm, rows.softmax_backward(g, out, -1))
        yield rows.log_softmax_backward(g, logarithm, -1)
        loss, log_total = rows.cross_entropy(x, t, -100, 0.1)
        yield from (loss, log_total, rows.cross_entropy_backward(loss, x, t, log_total, -100, 0.1))
        y, scale = norms.rms_norm(x, weight, 1e-5)
        yield from (y, scale, *norms.rms_norm_backward(g, x, weight, scale))
        for z, weights, how in (
            (x, weight, ((-1,), (-1,))),
            (x, weight, ((0,), (1, -1))),
            (images, weight[:10], channels),
        ):
            made = norms.normalise(z, weights, weights, *how, 1e-5)
            yield from made
            yield from norms.normalise_backward(z * z, z, weights, weights, *made[1:], *how)
        yield from norms.moments(images, channels[0])
        yield from norms.moments(x, (0,))

    found = []
    for count in range(1, min(3, kernels.most_threads()) + 1):
        with kernels.use("numba", threads=count):
            found.append(list(everything()))
    for other in found[1:]:
        for one, another in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(one, another)


def test_what_is_given_stays_and_results_have_memory_of_their_own():
    rng = np.random.default_rng(0)
    x = strategies.frozen(rng.normal(size=(20, 33)))
    weight = strategies.frozen(rng.normal(size=33))
    made = norms.normalise(x, weight, weight, (-1,), (-1,), 1e-5)
    results = [*made, *norms.normalise_backward(x, x, weight, weight, *made[1:], (-1,), (-1,))]
    results += [rows.softmax(x, -1), rows.log_softmax(x, -1)]
    for i, one in enumerate(results):
        assert one.flags.writeable
        assert not any(np.shares_memory(one, other) for other in [x, weight, *results[:i]])


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "layer_norm", "cross_entropy"])
def test_operations_reach_their_kernels(name, monkeypatch):
    called = []
    home = norms if name == "layer_norm" else rows
    kernel = "normalise" if name == "layer_norm" else name
    for each in (kernel, kernel + "_backward"):
        original = getattr(home, each)
        monkeypatch.setattr(
            kernels._IMPLEMENTATIONS["numba"],
            each,
            lambda *args, each=each, original=original: called.append(each) or original(*args),
            raising=False,
        )
    x = tg.tensor(np.random.default_rng(0).normal(size=(30, 33)), requires_grad=True)
    call = getattr(tg, name)
    loss = call(x, np.zeros(30, int)) if name == "cross_entropy" else call(x)
    tg.sum(loss * loss).backward()
    assert called == [kernel, kernel + "_backward"]
