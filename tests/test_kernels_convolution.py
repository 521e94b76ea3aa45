"""The kernels of convolution held to the plain ones: any geometry, group, layout and number of threads."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import config

from tinygen import kernels
from tinygen.kernels import Geometry, convolution, reference
from tinygen.testing import strategies

DTYPES = np.float32, np.float64
NEAR = {np.float32: 1e-4, np.float64: 1e-12}


@st.composite
def problems(draw):
    """(x, w, g, geometry) with images that are larger than one kernel, by up to a few pixels or by many."""
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    few, many = draw(st.sampled_from([1, 2, 5])), draw(st.sampled_from([1, 4, 5, 12, 13]))
    pair = lambda *values: st.tuples(st.sampled_from(values), st.sampled_from(values))  # noqa: E731
    size, stride, padding, dilation = (
        draw(pair(1, 2, 3, 4)),
        draw(pair(1, 2, 3)),
        draw(pair(0, 1, 2)),
        draw(pair(1, 2)),
    )
    more = draw(pair(0, 1, 3, 8, 33 if not config.DISABLE_JIT else 9))
    height, width = (max(1, d * (k - 1) + 1 + n - 2 * p) for k, n, p, d in zip(size, more, padding, dilation))
    dtype, layout = draw(st.sampled_from(DTYPES)), draw(st.sampled_from(strategies.LAYOUTS))
    geometry = Geometry(stride, padding, dilation, groups)
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    x = rng.standard_normal((draw(st.integers(1, 3)), groups * few, height, width)).astype(dtype)
    w = rng.standard_normal((groups * many, few, *size)).astype(dtype)
    g = rng.standard_normal(reference.convolve(x, w, geometry).shape).astype(dtype)
    return *[strategies.frozen(strategies.relayout(a, layout)) for a in (x, w, g)], geometry


def near(mine, right, dtype):
    assert (mine.dtype, mine.shape) == (dtype, right.shape)
    np.testing.assert_allclose(mine, right, rtol=NEAR[dtype], atol=NEAR[dtype] * 3)


def agree(x, w, g, geometry):
    wide = [a.astype(np.float64) for a in (x, w, g)]
    dtype = x.dtype.type
    near(convolution.convolve(x, w, geometry), reference.convolve(*wide[:2], geometry), dtype)
    image = reference.convolve_image(wide[2], wide[1], geometry, x.shape)
    near(convolution.convolve_image(g, w, geometry, x.shape), image, dtype)
    kernel = reference.convolve_kernel(wide[0], wide[2], geometry, w.shape)
    near(convolution.convolve_kernel(x, g, geometry, w.shape), kernel, dtype)


# What the lanes of the tile are:
TURNING = pytest.mark.parametrize("turning", [-math.inf, math.inf], ids=["channels", "pixels"])


@TURNING
@given(problem=problems())
def test_any_geometry_and_layout(turning, problem):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(convolution, "TURNING", turning)
        agree(*problem)


# Many images, many channels, many pixels: several tasks, blocks of rows, bands of pixels, and parts of a sum.
LARGE = [
    ((9, 3, 20, 17), (100, 3, 3, 3), Geometry((1, 1), (1, 1), (1, 1), 1)),
    ((2, 14, 40, 40), (8, 7, 5, 4), Geometry((2, 1), (2, 0), (1, 2), 2)),
    ((33, 20, 5, 5), (30, 20, 4, 4), Geometry((2, 2), (1, 1), (1, 1), 1)),
]


@pytest.mark.parametrize("shape, kernel_shape, geometry", LARGE)
@pytest.mark.parametrize("planes", [None, 1])
@TURNING
def test_several_tasks_and_the_same_bits_for_any_threads(
    shape, kernel_shape, geometry, planes, turning, monkeypatch
):
    monkeypatch.setattr(convolution, "TURNING", turning)
    if planes:  # bytes: an image at a time
        monkeypatch.setattr(convolution, "PLANES", planes)
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal(shape).astype(np.float32), rng.standard_normal(kernel_shape).astype(np.float32)
    g = rng.standard_normal(reference.convolve(x, w, geometry).shape).astype(np.float32)
    wide = [a.astype(np.float64) for a in (x, w, g)]
    right = (
        reference.convolve(*wide[:2], geometry),
        reference.convolve_image(wide[2], wide[1], geometry, x.shape),
        reference.convolve_kernel(wide[0], wide[2], geometry, w.shape),
    )
    found = []
    for threads in {1, min(2, kernels.most_threads())}:
        with kernels.use("numba", threads=threads):
            mine = (
                convolution.convolve(x, w, geometry),
                convolution.convolve_image(g, w, geometry, x.shape),
                convolution.convolve_kernel(x, g, geometry, w.shape),
            )
        for a, b in zip(mine, right):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * np.abs(b).max())
        found.append(mine)
    for one, other in zip(found[0], found[-1]):
        np.testing.assert_array_equal(one, other)


@TURNING
def test_an_image_larger_than_any_kernel_reaches_and_no_pixels_at_all(turning, monkeypatch):
    monkeypatch.setattr(convolution, "TURNING", turning)
    geometry = Geometry((3, 3), (0, 0), (1, 1), 1)
    w, g = np.ones((2, 1, 1, 1)), np.ones((1, 2, 2, 2))
    image = convolution.convolve_image(g, w, geometry, (1, 1, 6, 6))
    np.testing.assert_array_equal(image, reference.convolve_image(g, w, geometry, (1, 1, 6, 6)))
    assert image.sum() == 8
    empty = np.ones((0, 1, 6, 6))
    assert convolution.convolve(empty, w, geometry).shape == (0, 2, 2, 2)
    assert convolution.convolve_image(g[:0], w, geometry, empty.shape).shape == empty.shape
    assert not convolution.convolve_kernel(empty, g[:0], geometry, w.shape).any()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("place", ["x", "w", "g"])
@TURNING
def test_what_is_not_finite_shows_where_it_does_by_definition(bad, place, turning, monkeypatch):
    monkeypatch.setattr(convolution, "TURNING", turning)
    rng, geometry = np.random.default_rng(0), Geometry((2, 1), (1, 1), (1, 1), 1)
    arrays = {"x": rng.standard_normal((2, 3, 6, 7)), "w": rng.standard_normal((4, 3, 3, 2))}
    arrays["g"] = rng.standard_normal(reference.convolve(*arrays.values(), geometry).shape)
    arrays[place][1, 1, 1, 1] = bad
    x, w, g = arrays.values()
    with np.errstate(invalid="ignore"), kernels.use("numba"):
        for name, given in [
            ("convolve", (x, w, geometry)),
            ("convolve_image", (g, w, geometry, x.shape)),
            ("convolve_kernel", (x, g, geometry, w.shape)),
        ]:
            right, mine = getattr(reference, name)(*given), getattr(kernels, name)(*given)
            np.testing.assert_array_equal(np.isnan(mine), np.isnan(right))
            np.testing.assert_array_equal(np.isinf(mine), np.isinf(right))


@pytest.mark.parametrize("channels, size, turned", [(64, 4, True), (16, 28, False), (20, 12, False)])
def test_channels_are_in_the_lanes_where_more_of_them_are_kept(channels, size, turned):
    geometry = Geometry((1, 1), (1, 1), (1, 1), 1)
    field = convolution._field((size, size), (1, 1), convolution._offsets((3, 3), geometry))
    assert convolution._turning_pays(field, (size, size), channels, 9 * 16, 4) == turned


def test_it_leaves_to_the_reference_what_is_not_its_own():
    x, w, geometry = np.ones((1, 2, 4, 4)), np.ones((3, 2, 2, 2)), Geometry((1, 1), (0, 0), (1, 1), 1)
    for other in (x.astype(np.float32), x.astype(">f8"), x.astype(int)):
        assert convolution.convolve(other, w, geometry) is NotImplemented
        assert convolution.convolve_kernel(other, np.ones((1, 3, 3, 3)), geometry, w.shape) is NotImplemented
        np.testing.assert_array_equal(kernels.convolve(other, w, geometry), np.full((1, 3, 3, 3), 8))
    w[0, 0, 0, 0] = math.inf
    assert convolution.convolve_image(np.ones((1, 3, 3, 3)), w, geometry, x.shape) is NotImplemented


@pytest.mark.skipif(config.DISABLE_JIT, reason="views of memory do not grow")
@pytest.mark.parametrize("stride", [1, 2])
@TURNING
def test_it_writes_nowhere_else(stride, turning, monkeypatch):
    """Results lie in the middle of arrays, with numbers on both sides that must stay."""
    frames, numpy = [], convolution.np

    class Framed:
        def __getattr__(self, name):
            return getattr(numpy, name)

        def empty(self, shape, dtype):
            whole = np.full(np.prod(shape) + 200, 7, dtype)
            frames.append(whole)
            return whole[100:-100].reshape(shape)

    rng, geometry = np.random.default_rng(0), Geometry((stride,) * 2, (1, 1), (1, 1), 1)
    x, w = rng.standard_normal((3, 5, 9, 9)), rng.standard_normal((13, 5, 3, 3))
    g = reference.convolve(x, w, geometry)
    monkeypatch.setattr(convolution, "TURNING", turning)
    agree(x, w, g, geometry)  # compiles
    monkeypatch.setattr(convolution, "np", Framed())
    agree(x, w, g, geometry)
    assert len(frames) == (8 if turning < 0 else 6)  # planes and results, and turned kernels
    for whole in frames:
        assert (whole[:100] == 7).all()
        assert (whole[-100:] == 7).all()
