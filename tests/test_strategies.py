"""What the strategies draw: every awkward array, inputs that fit a domain, mostly what is worth testing."""

import types

import numpy as np
import pytest
from hypothesis import HealthCheck, find, given, settings
from hypothesis import strategies as st

import tinygen as tg
from tinygen.autograd.domain import AXES, AXIS, SOME_AXIS, Domain, Values
from tinygen.testing import strategies

any_draw = settings(max_examples=2000, suppress_health_check=list(HealthCheck), derandomize=True)


def domain_of(shapes=None, /, names=("x", "y", "z"), **choices):
    """Something that `strategies.inputs` takes for an operation, with one case."""
    domain = Domain("planted", names)
    domain.add(shapes, **choices)
    return types.SimpleNamespace(domains=domain)


def find_inputs(operation, wanted):
    """Fail unless inputs and attributes are drawn for which `wanted(inputs, attrs)` holds."""
    find(strategies.inputs(operation), lambda drawn: wanted(*drawn), settings=any_draw)


# Arrays

AWKWARD = {
    "0-d": lambda a: a.ndim == 0,
    "empty": lambda a: a.size == 0,
    "contiguous": lambda a: a.size > 2 and a.flags.c_contiguous,
    "column-major": lambda a: a.ndim > 1 and a.size > 2 and a.flags.f_contiguous and not a.flags.c_contiguous,
    "neither": lambda a: a.ndim > 2 and a.size > 7 and not a.flags.c_contiguous and not a.flags.f_contiguous,
    "strided": lambda a: a.ndim == 1 and a.size > 2 and a.strides[0] == 2 * a.itemsize,
    "reversed": lambda a: a.size > 2 and a.strides[0] < 0,
    "inside a buffer": lambda a: a.size > 2 and a.flags.c_contiguous and np.size(a.base) > a.size,
    "broadcast": lambda a: a.size > 2 and 0 in a.strides,
    "float32": lambda a: a.size > 2 and a.dtype == np.float32,
    "float64": lambda a: a.size > 2 and a.dtype == np.float64,
    "3 axes": lambda a: a.ndim == 3 and a.size > 7,
    "negative": lambda a: a.size > 2 and a.max() < 0,
}


@pytest.mark.parametrize("kind", AWKWARD)
def test_arrays_of_every_kind_are_drawn(kind):
    find(strategies.arrays(), AWKWARD[kind], settings=any_draw)


@given(strategies.arrays())
def test_arrays_are_read_only_and_in_range(array):
    assert isinstance(array, np.ndarray) and array.dtype in (np.float32, np.float64)
    assert not array.flags.writeable
    assert ((array >= -2.0) & (array <= 2.0)).all()


@given(st.sampled_from(strategies.LAYOUTS), strategies.arrays(layout="c"))
def test_relayout_moves_values_about_and_keeps_them(layout, array):
    moved = strategies.relayout(array, layout)
    assert moved.dtype == array.dtype and moved.shape == array.shape
    np.testing.assert_array_equal(moved, array)


@pytest.mark.parametrize("layout", [name for name in strategies.LAYOUTS if name != "c"])
def test_relayout_gives_another_layout(layout):
    array = np.arange(24.0).reshape(2, 3, 4)
    moved = strategies.relayout(array, layout)
    assert not moved.flags.c_contiguous or moved.base is not None
    with pytest.raises(ValueError, match=r"relayout: expected one of c, fortran.*'sideways'"):
        strategies.relayout(array, "sideways")


@given(strategies.arrays(shape=(3, None), low=0.5, high=1.0, dtype=np.float64))
def test_arrays_of_a_given_shape_range_and_dtype(array):
    assert array.shape[0] == 3 and array.ndim == 2 and 0 <= array.shape[1] <= 4
    assert array.dtype == np.float64 and ((array >= 0.5) & (array <= 1.0)).all()


@given(strategies.arrays(avoid=(0.0, 0.5)))
def test_values_keep_away_from_kinks(array):
    for point in (0.0, 0.5):
        assert (np.abs(array.astype(np.float64) - point) > 0.9 * strategies.MARGIN).all()


@given(strategies.arrays(distinct=True, dtype=np.float64))
def test_distinct_values_keep_away_from_each_other(array):
    values = np.sort(array.ravel())
    assert not values.size or np.diff(values).min(initial=np.inf) > 1e-3


# Inputs from a domain


@given(strategies.inputs(domain_of()))
def test_without_shapes_inputs_broadcast_together(drawn):
    inputs, attrs = drawn
    assert len(inputs) == 3 and attrs == {}
    np.broadcast_shapes(*[x.shape for x in inputs])
    assert not any(x.flags.writeable for x in inputs)


@given(strategies.inputs(domain_of("*B n 3, *B k n, -")))
def test_letters_and_batches_agree(drawn):
    (x, y, z), _ = drawn
    assert z is None and x.shape[-1] == 3
    assert x.shape[:-2] == y.shape[:-2] and x.shape[-2] == y.shape[-1]
    assert 0 not in x.shape


PICKING = domain_of("n k, 5", x=Values(kind="bool"), y=Values(kind="index", high="k"), names=("x", "y"))
APART = domain_of("3, 3", x=Values(distinct=True), y=Values(distinct=True), names=("x", "y"))


@given(strategies.inputs(PICKING))
def test_booleans_and_indices(drawn):
    (x, y), _ = drawn
    assert x.dtype == bool and y.dtype.kind == "i"
    assert ((y >= -x.shape[1]) & (y < x.shape[1])).all()


@given(strategies.inputs(APART))
def test_distinct_inputs_are_distinct_from_each_other(drawn):
    (x, y), _ = drawn
    assert np.diff(np.sort(np.concatenate([x, y]))).min() > 1e-3


AXIS_CHOICES = {
    "axis": (AXIS, lambda a: a is None or isinstance(a, int), [None, 0, 1, -1, -2]),
    "some axis": (SOME_AXIS, lambda a: isinstance(a, int), [0, 1, -1, -2]),
    "axes": (AXES, lambda a: a is None or isinstance(a, (int, tuple)), [None, 0, -1, (0, 1)]),
}


@pytest.mark.parametrize("name", AXIS_CHOICES)
def test_axes_are_drawn_to_fit(name):
    choice, allowed, expected = AXIS_CHOICES[name]
    operation = domain_of("n m", names=("x",), axis=choice)

    @given(strategies.inputs(operation))
    def check(drawn):
        assert allowed(drawn[1]["axis"])

    check()
    for value in expected:
        find_inputs(operation, lambda inputs, attrs, value=value: attrs["axis"] == value)


def test_attributes_may_depend_on_the_shapes():
    operation = domain_of("n m", names=("x",), shape=lambda shapes: [shapes[0][::-1]], mode=("a", "b"))

    @given(strategies.inputs(operation))
    def check(drawn):
        (x,), attrs = drawn
        assert attrs["shape"] == x.shape[::-1] and attrs["mode"] in ("a", "b")

    check()
    for mode in ("a", "b"):
        find_inputs(operation, lambda inputs, attrs, mode=mode: attrs["mode"] == mode)


def test_every_case_of_a_domain_is_drawn():
    operation = domain_of("1", names=("x",))
    operation.domains.add("2")
    operation.domains.add("3")
    for size in (1, 2, 3):
        find_inputs(operation, lambda inputs, attrs, size=size: inputs[0].shape == (size,))


def shapes_drawn(operation, count):
    """The shapes of the inputs of that many draws."""
    seen = []

    @settings(max_examples=count, derandomize=True)
    @given(strategies.inputs(operation))
    def collect(drawn):
        seen.append([x.shape for x in drawn[0]])

    collect()
    return seen


@pytest.mark.parametrize("name", ["exp", "add", "sum"])
def test_most_draws_are_worth_testing(name):
    """Arrays of one element or none, which cannot show a wrong axis or layout, do not fill the test."""
    wholes = [np.broadcast_shapes(*shapes) for shapes in shapes_drawn(getattr(tg, name), 100)]
    sizes = [int(np.prod(whole)) for whole in wholes]
    assert sum(size > 1 for size in sizes) >= len(sizes) / 2
    assert () in wholes and 0 in sizes


def test_binary_operations_are_drawn_broadcasting():
    draws = shapes_drawn(tg.add, 100)
    stretched = [x for x, y in draws if x != y and np.prod(np.broadcast_shapes(x, y)) > 1]
    assert len(stretched) >= len(draws) / 4
