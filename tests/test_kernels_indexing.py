"""Rows added at indices: held to NumPy's `add.at`, with repetitions, negative indices and bad ones."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tinygen import kernels
from tinygen.kernels import indexing, reference
from tinygen.testing import strategies


@given(
    strategies.generators(),
    st.sampled_from(((), (1,), (7,), (32,), (3, 25), (100,))),
    st.sampled_from(((1,), (6,), (3, 4), ())),
    st.sampled_from(strategies.LAYOUTS),
    st.sampled_from((np.float32, np.float64)),
    st.sampled_from((np.int64, np.int32, np.uint8)),
)
def test_scatter_add_equals_add_at(rng, row, count, layout, dtype, kind):
    index = rng.integers(0 if kind == np.uint8 else -5, 5, count).astype(kind)
    x = strategies.frozen(
        strategies.relayout(rng.normal(size=(*np.shape(index), *row)).astype(dtype), layout)
    )
    if type(index) is np.ndarray:
        found = indexing.scatter_add(x, index, (5, *row))
        np.testing.assert_array_equal(found, reference.scatter_add(x, index, (5, *row)))  # the same order
        assert found.dtype == dtype and found.flags.writeable


def test_any_number_of_threads_gives_the_same_bits():
    rng = np.random.default_rng(0)
    x, index = rng.normal(size=(500, 200)).astype(np.float32), rng.integers(0, 9, 500)
    for count in range(1, min(3, kernels.most_threads()) + 1):
        with kernels.use("numba", threads=count):
            found = indexing.scatter_add(x, index, (9, 200))
        np.testing.assert_array_equal(found, reference.scatter_add(x, index, (9, 200)))


def test_what_is_left_to_the_plain_one():
    x = np.ones((2, 3))
    for index in ([0, 1], (np.array([0, 1]),), np.array([True, True]), np.array([0, 5]), np.array([0, -6])):
        assert indexing.scatter_add(x, index, (5, 3)) is NotImplemented
    for other in (x.astype(int), np.ones((0, 3)), np.ones(3), np.ones((2, 1))):
        assert indexing.scatter_add(other, np.array([0, 1]), (5, 3)) is NotImplemented
    with kernels.use("numba"), pytest.raises(IndexError):
        kernels.scatter_add(x, np.array([0, 5]), (5, 3))


def test_nan_and_infinities_stay_in_their_rows():
    x = np.array([[np.nan, 1], [np.inf, 2], [-np.inf, 3]])
    found = indexing.scatter_add(x, np.array([0, 2, 2]), (4, 2))
    np.testing.assert_array_equal(found, [[np.nan, 1], [0, 0], [np.nan, 5], [0, 0]])


def test_an_embedding_gets_the_sums_of_its_rows():
    weight = tg.tensor(np.zeros((6, 128)), requires_grad=True)
    tg.sum(tg.embedding(weight, np.array([[1, 5, 1], [1, 0, -1]]))).backward()
    assert weight.grad.data[:, 0].tolist() == [1, 3, 0, 0, 0, 2]
