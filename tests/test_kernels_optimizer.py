"""The kernels of the optimizers: held to the plain ones, and never seen by whoever holds the old values."""

import gc
import math

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tinygen import kernels, optim
from tinygen.kernels import optimizer, reference
from tinygen.testing import strategies

SETTINGS = {"keep": 0.9, "betas": (0.8, 0.95), "eps": 1e-8}


def lists(rng, shapes, dtypes):
    """Parameters, gradients and moments, as `adam` takes them."""
    made = [[rng.normal(size=shape).astype(dtype) for shape, dtype in zip(shapes, dtypes)] for _ in range(4)]
    made[3] = [np.abs(v) for v in made[3]]
    return made


def moved(adam, made, settings=SETTINGS):
    """Copies of the arrays, after a step by `adam`."""
    xs, gs, ms, vs = [[np.copy(x, order="K") for x in each] for each in made]
    rates = [0.1 / (1 + i) for i in range(len(xs))]
    corrections = [0.5 / (1 + i) for i in range(len(xs))]
    with np.errstate(all="ignore"):
        adam(xs, gs, ms, vs, settings["keep"], rates, corrections, settings["betas"], settings["eps"])
    return xs, ms, vs


def assert_same(mine, theirs):
    for xs, ys in zip(mine, theirs):
        for x, y in zip(xs, ys):
            assert x.dtype == y.dtype
            np.testing.assert_allclose(x, y, rtol=1e-12 if x.dtype == np.float64 else 2e-6, atol=1e-6)


@given(
    st.lists(
        st.tuples(strategies.shapes(), st.sampled_from((np.float32, np.float64))), min_size=1, max_size=5
    ),
    strategies.generators(),
    st.sampled_from(strategies.LAYOUTS),
)
def test_adam_equals_the_plain_one_on_any_list(drawn, rng, layout):
    made = lists(rng, *zip(*drawn))
    made[1] = [strategies.frozen(strategies.relayout(g, layout)) for g in made[1]]
    assert_same(moved(optimizer.adam, made), moved(reference.adam, made))


@given(strategies.generators(), st.sampled_from((np.float32, np.float64)))
def test_several_pieces_and_remainders(rng, dtype):
    sizes = [(optimizer.PIECE + 5,), (3,), (0,), (2, optimizer.PIECE)]
    made = lists(rng, sizes, [dtype] * 4)
    assert_same(moved(optimizer.adam, made), moved(reference.adam, made))
    found = optimizer.sums_of_squares(made[0])
    np.testing.assert_allclose(found, [np.square(x, dtype=np.float64).sum() for x in made[0]], rtol=1e-6)
    assert all(type(total) is float for total in found)


def test_any_number_of_threads_gives_the_same_bits():
    made = lists(np.random.default_rng(0), [(70_001,), (40, 50), (100_000,)], [np.float32] * 3)
    found = []
    for threads in (1, numba.config.NUMBA_NUM_THREADS):
        before = numba.get_num_threads()
        numba.set_num_threads(threads)
        try:
            found.append((moved(optimizer.adam, made), optimizer.sums_of_squares(made[0])))
        finally:
            numba.set_num_threads(before)
    for one, other in zip(found[0][0], found[1][0]):
        for x, y in zip(one, other):
            np.testing.assert_array_equal(x, y)
    assert found[0][1] == found[1][1]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e30, 1e-30])
def test_extremes_are_as_in_the_plain_one(bad):
    made = lists(np.random.default_rng(0), [(37,)], [np.float32])
    made[1][0][::5] = bad
    assert_same(moved(optimizer.adam, made), moved(reference.adam, made))


def test_no_neighbour_is_touched():
    whole = [np.full(64, 7.0, np.float32) for _ in range(4)]
    moved_views = [[x[8:-8]] for x in whole]
    optimizer.adam(*moved_views, 1.0, [0.1], [1.0], (0.9, 0.99), 1e-8)
    for i, x in enumerate(whole):
        assert (x[:8] == 7).all() and (x[-8:] == 7).all()
        assert (x[8:-8] != 7).all() == (i != 1)


def test_the_sums_of_squares():
    xs = [np.array([3.0, 4.0], np.float32), np.empty(0), np.full((2, 3), 2.0)[:, ::2], np.ones(2, np.float16)]
    assert optimizer.sums_of_squares(xs) == [25, 0, 16, 2] == reference.sums_of_squares(xs)
    with np.errstate(over="ignore"):
        assert optimizer.sums_of_squares([np.full(3, 1e200), np.ones(1)]) == [math.inf, 1]
    assert math.isnan(optimizer.sums_of_squares([np.array([1.0, math.nan])])[0])


def test_an_array_begins_where_numpy_says():
    x = np.arange(6.0)
    seen = optimizer.elements_in_numpy(id(x), 2, 3, x)
    assert seen.ctypes.data == x.ctypes.data + 16
    assert seen.tolist() == [2, 3, 4]


# Who holds the old values keeps them


def parameter(n=1000):
    x = tg.tensor(np.linspace(1, 2, n, dtype=np.float32), requires_grad=True)
    x.grad = tg.tensor(np.ones(n, np.float32))
    return x


HOLDERS = {
    "the array": lambda x: x.data,
    "a view": lambda x: x.data[::2],
    "a view of a view": lambda x: x.data[::2][1:],
    "what numpy() gives": lambda x: x.numpy(),
    "memory": lambda x: memoryview(x.data),
    "another tensor": tg.stop_gradient,
    "a result that is a view": lambda x: x.reshape(10, -1),
    "a graph": lambda x: x * x,
    "a graph of another array": lambda x: (x * 2.0 + 1.0) @ x,
}


def values(held):
    if isinstance(held, tg.Tensor) and held.node is not None and held.node.parents:
        node = held.node
        kept = [y for y in node.kept if isinstance(y, np.ndarray)]
        return np.concatenate([np.ravel(y) for y in [held.data, *kept]])
    return np.array(held.numpy() if isinstance(held, tg.Tensor) else held)


@pytest.mark.parametrize("implementation", kernels.implementations())
@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize("make", [optim.Adam, optim.AdamW])
def test_values_seen_by_others_stay(make, holder, implementation):
    x = parameter()
    optimizer_ = make([x], lr=0.1)
    with kernels.use(implementation):
        optimizer_.step()
        held = HOLDERS[holder](x)
        before = values(held)
        optimizer_.step()
        optimizer_.step()
    np.testing.assert_array_equal(values(held), before)
    assert x.data[0] < 0.8


@pytest.mark.parametrize("implementation", kernels.implementations())
def test_values_that_nobody_holds_are_moved_in_place(implementation):
    x = parameter()
    where, gradient = x.data.ctypes.data, x.grad.data.ctypes.data
    with kernels.use(implementation):
        optim.clip_by_norm([x], 0.1)
        optim.AdamW([x]).step()
    assert x.data.ctypes.data == where
    assert x.grad.data.ctypes.data == gradient


def test_gradients_seen_by_others_are_not_scaled():
    for hold in (
        lambda x: x.grad,
        lambda x: x.grad.data,
        lambda x: x.grad.data[1:],
        lambda x: x.grad.numpy(),
    ):
        x = parameter()
        held = hold(x)
        assert optim.clip_by_norm([x], 0.1) == pytest.approx(math.sqrt(1000))
        assert (np.asarray(held) == 1).all()
        assert np.allclose(x.grad.data, 0.1 / math.sqrt(1000))


def test_memory_of_somebody_else_is_copied():
    x, memory = parameter(), bytearray(np.ones(1000, np.float32))
    x.data = np.frombuffer(memory, np.float32)
    optim.Adam([x], lr=0.1).step()
    assert memory == bytearray(np.ones(1000, np.float32))
    assert np.allclose(x.data, 0.9)


def test_a_graph_older_than_a_step_in_place_raises():
    x = parameter()
    loss = (x + 1.0).sum()  # keeps nothing of x, so that the step is in place
    where = x.data.ctypes.data
    optim.Adam([x]).step()
    assert x.data.ctypes.data == where
    with pytest.raises(RuntimeError, match="was updated after"):
        loss.backward()


def test_training_steps_are_in_place_and_leave_no_garbage():
    x = parameter()
    optimizer_ = optim.AdamW([x])
    gc.collect()
    places = set()
    for _ in range(3):
        optimizer_.zero_grad()
        loss = tg.sum(tg.square(x) * x)
        loss.backward()
        optim.clip_by_norm([x], 1.0)
        optimizer_.step()
        places.add(x.data.ctypes.data)
    assert len(places) == 1
    assert gc.collect() == 0


@pytest.mark.parametrize("make", [optim.Adam, optim.AdamW])
def test_a_run_is_the_same_by_either_implementation(make):
    rng = np.random.default_rng(0)
    start = rng.normal(size=(7, 100))
    gradients = rng.normal(size=(20, 7, 100))
    ends = []
    for implementation in kernels.implementations():
        x = tg.tensor(np.asfortranarray(start), requires_grad=True)
        y = tg.tensor(start.astype(np.float32), requires_grad=True)
        optimizer_ = make([x, y], lr=0.01)
        with kernels.use(implementation):
            for i, g in enumerate(gradients):
                x.grad = None if i % 3 == 0 else tg.tensor(g.T.copy().T)
                y.grad = tg.tensor(g.astype(np.float32))
                optim.clip_by_norm([x, y], 5.0)
                optimizer_.step()
        ends.append((x.numpy().copy(), y.numpy().copy()))
    np.testing.assert_allclose(ends[0][0], ends[1][0], rtol=1e-6)  # clipped by a norm with float32 in it
    np.testing.assert_allclose(ends[0][1], ends[1][1], rtol=1e-4, atol=1e-6)
