"""The engine: long chains, many paths, cycles, freeing, versions, modes, threads."""

import asyncio
import contextlib
import threading
import weakref

import numpy as np
import pytest
from watched import collected

import tinygen as tg
from tinygen.autograd.engine import Leaf
from tinygen.autograd.modes import current_mode
from tinygen.autograd.tensor import NOT_DIFFERENTIABLE


def leaf(*values, dtype=np.float64):
    return tg.tensor(np.array(values, dtype), requires_grad=True)


def test_the_taste_of_the_readme():
    x = tg.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    loss = (x @ x.T).tanh().sum()
    loss.backward()
    g = 1 - np.tanh(x.numpy() @ x.numpy().T) ** 2
    np.testing.assert_allclose(np.asarray(x.grad), (g + g.T) @ x.numpy(), rtol=1e-4, atol=1e-6)
    assert x.grad.dtype == np.float32


def test_a_leaf_used_twice_gets_both_gradients():
    x = leaf(3.0)
    (x * x + x).sum().backward()
    assert x.grad.item() == 7.0


def test_one_operation_with_the_same_tensor_twice():
    q = tg.tensor(np.random.default_rng(0).standard_normal((3, 2)), requires_grad=True)
    tg.testing.gradcheck(lambda q: tg.attention(q, q, q, causal=True), q, order=2)


def test_a_chain_of_100_000_operations():
    x = leaf(1.0)
    y = x
    for _ in range(100_000):
        y = y + 0.0
    y.sum().backward(retain_graph=True)
    y.sum().backward()
    assert x.grad.item() == 2.0
    del y  # nothing recurses when it goes


def test_a_long_chain_that_is_never_walked_can_be_dropped():
    y = leaf(1.0)
    for _ in range(100_000):
        y = y * 1.0
    alive = weakref.ref(y)
    del y
    assert alive() is None


def test_a_ladder_of_two_to_the_sixty_paths():
    x = leaf(1.0)
    y = x
    for _ in range(60):
        y = y + y
    y.sum().backward()
    assert x.grad.item() == 2.0**60


def test_second_derivative_of_a_long_chain():
    x = leaf(1.0)
    y = x
    for _ in range(2_000):
        y = y * 1.0
    (g,) = tg.gradients((y * y).sum(), [x], create_graph=True)
    g.sum().backward()
    assert x.grad.item() == pytest.approx(2.0)


# Nothing is left behind


def small_step(**options):
    rng = np.random.default_rng(0)
    w = tg.tensor(rng.standard_normal((4, 3)), requires_grad=True)
    x = rng.standard_normal((5, 3))
    h = tg.layer_norm(tg.tanh(tg.linear(x, w)))
    loss = tg.cross_entropy(h, np.array([0, 1, 2, 3, 0]))
    loss.backward(**options)
    return w


def test_a_step_leaves_no_cycles():
    assert collected(small_step) == 0


def test_a_step_with_create_graph_leaves_no_cycles():
    assert collected(lambda: small_step(create_graph=True).grad.sum().backward()) == 0


def test_an_error_leaves_no_cycles():
    def step():
        with contextlib.suppress(ValueError):
            tg.matmul(leaf(1.0, 2.0), leaf(1.0, 2.0, 3.0))

    assert collected(step) == 0


def test_transforms_leave_no_cycles():
    x = np.arange(3.0)

    def f(x):
        return (tg.softmax(x) * x).sum()

    def step():
        tg.hessian(f)(x)
        tg.jvp(f, (x,), (x,))
        tg.checkpoint(f, leaf(1.0, 2.0)).backward()

    assert collected(step) == 0


def test_backward_frees_what_the_graph_kept():
    x = leaf(1.0, 2.0)
    h = tg.exp(x)
    kept = weakref.ref(h.data)
    loss = h.sum()
    del h
    assert kept() is not None
    loss.backward()
    assert kept() is None


# Freeing, versions, buffers


def test_a_second_backward_needs_retain_graph():
    x = leaf(2.0)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.item() == 8.0
    with pytest.raises(RuntimeError, match="freed by an earlier backward; pass retain_graph=True"):
        y.backward()


def test_gradients_at_a_tensor_whose_own_graph_is_freed():
    x = leaf(2.0)
    h = x * x
    h.sum().backward()
    again = (h * h).sum()
    assert tg.gradients(again, h).item() == 8.0


def test_a_parameter_newer_than_its_graph_is_named():
    w = tg.tensor([1.0, 2.0], requires_grad=True, name="encoder.weight")
    loss = (w * w).sum()
    w.assign(np.array([5.0, 5.0]))
    with pytest.raises(
        RuntimeError, match=r"parameter 'encoder\.weight' of shape \(2,\) was updated after multiply used it"
    ):
        loss.backward()
    (w * w).sum().backward()
    assert w.grad.tolist() == [10.0, 10.0]


def test_assign_leaves_older_views_alone():
    w = tg.tensor([1.0, 2.0], requires_grad=True)
    seen, stopped = w.numpy(), tg.stop_gradient(w)
    new = np.array([3.0, 4.0], np.float32)
    w.assign(new)
    new[0] = 7.0
    assert seen.tolist() == stopped.tolist() == [1.0, 2.0] and w.tolist() == [3.0, 4.0]
    assert w.dtype == np.float32


def test_leaves_share_no_buffer_and_gradients_are_values():
    x, y = leaf(1.0, 2.0), leaf(3.0, 4.0)
    cotangent = np.ones(2)
    (x + y).backward(cotangent)
    assert not np.shares_memory(x.grad.data, y.grad.data)
    assert not np.shares_memory(x.grad.data, cotangent)
    first = x.grad
    (x + y).backward(cotangent)
    assert first.tolist() == [1.0, 1.0] and x.grad.tolist() == [2.0, 2.0]


def test_a_joint_rule_that_gives_one_array_to_two_leaves():
    @tg.primitive
    def both(x, y):
        return x + y

    both.rules(all=lambda g: (h := g * 1.0, h))
    x, y = leaf(1.0), leaf(2.0)
    both(x, y).backward(np.ones(1))
    assert not np.shares_memory(x.grad.data, y.grad.data)
    (both(x, y) + x).backward(np.ones(1))
    assert (x.grad.item(), y.grad.item()) == (3.0, 2.0)


def test_a_joint_rule_may_ask_which_inputs_are_tracked():
    asked = []

    @tg.primitive
    def scaled(x, y):
        return x * y

    scaled.rules(all=lambda g, x, y, tracked: (asked.append(tracked), (g * y, g * x))[1])
    x, y = leaf(3.0), leaf(5.0)
    scaled(x, np.array([7.0])).backward(np.ones(1))
    scaled(np.array([2.0]), y).backward(np.ones(1))
    scaled(x, y).backward(np.ones(1))
    assert asked == [(True, False), (False, True), (True, True)]
    assert (x.grad.item(), y.grad.item()) == (12.0, 5.0)


def test_zero_dimensional_gradients_accumulate():
    x = tg.tensor(np.array(2.0), requires_grad=True)
    (x * 1.0 + x * 2.0 + x * 3.0 + x * 4.0).backward()
    assert x.grad.item() == 10.0 and isinstance(x.grad.data, np.ndarray)


def test_only_rules_of_inputs_that_need_a_gradient_run():
    ran = []

    @tg.primitive
    def product(x, y):
        return x * y

    product.rules(x=lambda g, y: ran.append("x") or g * y, y=lambda g, x: ran.append("y") or g * x)
    x, y = leaf(2.0), leaf(3.0)
    product(x, np.array([3.0])).sum().backward()
    assert ran == ["x"]
    tg.gradients(product(x, y).sum(), y)
    assert ran == ["x", "y"]


def test_what_is_kept_is_what_the_rules_of_tracked_inputs_ask_for():
    x, constant = leaf(1.0, 2.0), np.array([3.0, 4.0])
    assert [a is constant for a in (x * constant).node.kept] == [True]
    assert (x + x).node.kept == ()
    assert tg.sum(x).node.kept == ((2,),)  # a shape, not the array


# Modes


def test_no_grad_records_nothing_and_is_restored_after_an_error():
    x = leaf(1.0)
    with pytest.raises(ValueError, match="boom"), tg.no_grad():
        assert not (x * x).requires_grad
        with tg.enable_grad():
            assert (x * x).requires_grad
        raise ValueError("boom")
    assert (x * x).requires_grad


def test_no_grad_as_a_decorator_of_functions_generators_and_coroutines():
    x = leaf(1.0)

    @tg.no_grad()
    def function():
        return (x * x).requires_grad

    @tg.no_grad()
    def generator():
        received = yield (x * x).requires_grad
        try:
            yield received, (x * x).requires_grad
        except KeyError:
            yield "caught", (x * x).requires_grad
        return "end"

    @tg.no_grad()
    async def coroutine():
        await asyncio.sleep(0)
        return (x * x).requires_grad

    assert function() is False
    steps = generator()
    assert next(steps) is False
    assert (x * x).requires_grad  # the consumer's mode is its own
    assert steps.send("hello") == ("hello", False)
    assert steps.throw(KeyError()) == ("caught", False)
    with pytest.raises(StopIteration, match="end"):
        next(steps)
    assert (x * x).requires_grad

    async def main():
        inner, outer = await asyncio.gather(coroutine(), records(x))
        return inner, outer

    assert asyncio.run(main()) == (False, True)


async def records(x):
    await asyncio.sleep(0)
    return (x * x).requires_grad


def test_two_threads_with_different_modes():
    x, found, barrier = leaf(1.0), {}, threading.Barrier(2)

    def record(name):
        barrier.wait()
        found[name] = [(x * x).requires_grad for _ in range(500)]

    def quiet(name):
        with tg.no_grad():
            record(name)

    threads = [
        threading.Thread(target=quiet, args=("quiet",)),
        threading.Thread(target=record, args=("loud",)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {"quiet": [False] * 500, "loud": [True] * 500}


def test_anomaly_names_the_operation_and_the_line():
    x = leaf(0.0, 1.0)
    with tg.anomaly():
        assert current_mode().observers
        with (
            np.errstate(divide="ignore"),
            pytest.raises(FloatingPointError, match=r"log is not finite .*test_engine\.py:\d+ in"),
        ):
            tg.log(x)
        y = tg.divide(1.0, leaf(1e-200)).sum()
        with pytest.raises(FloatingPointError, match=r"gradient that divide passes .*test_engine\.py:\d+ in"):
            y.backward()
    assert not current_mode().observers


# Methods


def test_every_public_method_records_or_is_listed():
    """A method that silently leaves the tape would lose gradients."""
    calls = {
        "astype": ("float64",), "clip": (-1.0, 1.0), "cumprod": (0,), "cumsum": (0,), "expand_dims": (0,),
        "moveaxis": (0, 1), "repeat": (2,), "reshape": (4,), "roll": (1,), "swapaxes": (0, 1),
        "take": (np.array([0, 1]),),
    }  # fmt: skip
    for name in dir(tg.Tensor):
        if name.startswith("_") or name in NOT_DIFFERENTIABLE:
            continue
        x = tg.tensor([[0.5, 0.25], [0.75, 0.1]], requires_grad=True)
        found = getattr(x, name)
        found = found(*calls.get(name, ())) if callable(found) else found
        assert found.requires_grad, name
        found.sum().backward()
        assert x.grad is not None, name
    assert set(NOT_DIFFERENTIABLE) <= set(dir(tg.Tensor))


def test_operators_with_numbers_arrays_and_tensors_on_either_side():
    x, a = leaf(1.0, 2.0), np.array([3.0, 5.0])
    for got, expected in [
        (2 + x, [3, 4]), (x - 1, [0, 1]), (1 - x, [0, -1]), (a - x, [2, 3]), (x * a, [3, 10]),
        (a / x, [3, 2.5]), (x**2, [1, 4]), (2**x, [2, 4]), (a @ x, 13), (-x, [-1, -2]), (abs(-x), [1, 2]),
        (+x, [1, 2]),
    ]:  # fmt: skip
        assert isinstance(got, tg.Tensor) and got.requires_grad
        np.testing.assert_allclose(got.numpy(), expected)


def test_augmented_assignment_rebinds():
    x = leaf(1.0)
    y = x
    y += 1.0
    assert x.item() == 1.0 and y.item() == 2.0 and y is not x


def test_values_are_read_only_and_copied_in():
    array = np.ones(2)
    x = tg.tensor(array)
    array[0] = 5.0
    assert x.tolist() == [1.0, 1.0]
    with pytest.raises(ValueError, match="read-only"):
        x.numpy()[0] = 2.0
    with pytest.raises(ValueError, match="read-only"):
        np.asarray(x)[0] = 2.0


def test_comparisons_give_booleans_and_indexing_takes_tensors():
    x = leaf(1.0, 2.0, 3.0)
    assert (x > 1.5).tolist() == [False, True, True] and (x == x).all()
    assert x[x > 1.5].sum().item() == 5.0
    x[tg.tensor([0, 0, 2])].sum().backward()
    assert x.grad.tolist() == [2.0, 0.0, 1.0]
    assert [float(v) for v in x] == [1.0, 2.0, 3.0] and len(x) == 3


def test_a_dead_leaf_needs_no_gradient():
    x, y = leaf(1.0), leaf(2.0)
    product = x * y
    del y
    product.sum().backward()
    assert x.grad.item() == 2.0


def test_leaves_are_nodes_without_a_plan():
    x = leaf(1.0)
    assert isinstance(x.node, Leaf) and x.node.plan is None and x.requires_grad
    assert repr(x) == "tensor([1.], dtype=float64, requires_grad=True)" and "from multiply" in repr(x * x)


def test_gradients_are_nobody_elses_buffer():
    """A pullback's answer stays when the cotangent is overwritten, and two answers never share memory."""
    cotangent = np.ones(2)
    _, pullback = tg.vjp(lambda x: x + 1.0, np.zeros(2))
    g = pullback(cotangent)
    a, b = leaf(1.0, 2.0), leaf(3.0, 4.0)
    da, db = tg.gradients(a + b, [a, b], cotangent)
    cotangent[:] = 5.0
    assert g.tolist() == da.tolist() == db.tolist() == [1.0, 1.0]
    assert not np.shares_memory(da.data, db.data)


def test_an_option_that_is_tracked_is_refused():
    slope = leaf(0.1)
    with pytest.raises(TypeError, match="leaky_relu: option 'slope' takes no gradient; pass stop_gradient"):
        tg.leaky_relu(leaf(-1.0), slope=slope)
    assert tg.leaky_relu(leaf(-1.0), slope=tg.stop_gradient(slope)).tolist() == [-0.1]


def test_an_input_with_a_default_is_refused():
    with pytest.raises(TypeError, match="scaled: input 'factor' has a default; put a `/` before it"):

        @tg.primitive
        def scaled(x, factor=2.0):
            return x * factor


def test_no_grad_refuses_what_it_cannot_hold():
    with pytest.raises(TypeError, match="no_grad: cannot decorate an asynchronous generator"):

        @tg.no_grad()
        async def rows():
            yield 1
