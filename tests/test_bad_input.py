"""Mistakes with tensors, graphs and modes: the right error, which names what it got and the fix.

After every error the world is as before (`nothing_is_lost`, around each test): modes and NumPy's error state
are restored, and a graph that was recorded earlier can be walked.
"""

import copy
import inspect
import re

import numpy as np
import pytest
from mistakes import nothing_is_lost, ones, refused  # noqa: F401

import tinygen as tg
from tinygen.autograd.engine import current_mode

# Tensors


@pytest.mark.parametrize("values", [[1, 2], [True], np.zeros(3, np.uint8)])
def test_integers_cannot_require_a_gradient(values):
    with refused(TypeError, "tensor: ", "floating", str(np.asarray(values).dtype), "dtype=np.float32"):
        tg.tensor(values, requires_grad=True)
    assert not tg.tensor(values).requires_grad


def test_integer_inputs_of_grad():
    with refused(TypeError, "grad: ", "floating", "int64", "pass floats"):
        tg.grad(lambda x: x.sum())(np.ones(3, int))


def test_a_tensor_cast_to_integers_is_off_the_tape():
    assert not ones(3).astype("int32").requires_grad
    assert ones(3).astype("float64").requires_grad


@pytest.mark.parametrize("values", ["a", None, 1j, {}, object()])
def test_what_is_no_number(values):
    with refused(TypeError, "tensor: ", "real numbers"):
        tg.tensor(values)


def test_item_assignment_names_what_to_use_instead():
    x = ones(3)
    with refused(TypeError, "item assignment", "where", "index_add"):
        x[0] = 5.0
    assert x.tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("function", "fix"),
    [
        (lambda t: np.exp(t), "tinygen.exp"),
        (lambda t: np.exp(t, where=True), "tinygen.exp"),
        (lambda t: np.add.reduce(t), "numpy()"),
        (lambda t: np.concatenate([t]), "tinygen.concatenate"),
        (lambda t: np.sum(t), "tinygen.sum"),
        (lambda t: np.sort(t), ".numpy() first"),
        (lambda t: np.dot(t, t), ".numpy() first"),
    ],
)
def test_numpy_functions_refuse_tensors(function, fix):
    with refused(TypeError, "np.", "would lose the gradient", fix):
        function(ones(3))


def test_the_fix_for_a_numpy_function_exists():
    with pytest.raises(TypeError) as caught:
        np.dot(ones(3), ones(3))
    for name in re.findall(r"tinygen\.(\w+)", str(caught.value)):
        assert hasattr(tg, name)


def test_numpy_arrays_on_the_left_are_served():
    x, two = ones(3), np.full(3, 2.0, np.float32)
    for y in (
        two * x,
        two / x,
        x * two,
        two[0] * x,
        np.multiply(two, x),
    ):  # NumPy calls the last as it calls the first
        assert isinstance(y, tg.Tensor) and y.requires_grad and y.tolist() == [2.0, 2.0, 2.0]
    assert (two > x).tolist() == [True, True, True]
    array = np.ones(3)
    with pytest.raises(TypeError):
        array += x
    assert array.tolist() == [1.0, 1.0, 1.0]


def test_assign_checks():
    x = ones(3)
    with refused(ValueError, "assign: ", "(3,)", "(4,)"):
        x.assign(np.ones(4))
    with refused(TypeError, "assign: ", "leaves", "requires_grad=True"):
        (x * 2).assign(np.ones(3))
    assert x.tolist() == [1.0, 1.0, 1.0]
    x.assign([3.0, 4.0, 5.0])
    assert x.tolist() == [3.0, 4.0, 5.0]


def test_a_tensor_of_many_is_no_number():
    for convert in (float, int):
        with refused(ValueError, "item: ", "one element", "(3,)", ".numpy()"):
            convert(ones(3))
    with refused(TypeError, "0-d"):
        list(ones())
    assert float(ones()) == 1.0


def test_a_copied_leaf_has_gradients_of_its_own():
    x = ones(2)
    for y in (copy.deepcopy(x), copy.copy(x)):
        (y * 3.0).sum().backward()
        assert x.grad is None and y.grad.tolist() == [3.0, 3.0]


# Backward


def test_backward_of_a_non_scalar():
    x = ones(3)
    y = x * 2.0
    with refused(ValueError, "backward: ", "(3,)", "reduce to a scalar"):
        y.backward()
    with refused(ValueError, "backward: ", "(4,)", "(3,)", "make them equal"):
        y.backward(np.ones(4))
    assert x.grad is None
    y.backward(np.ones(3))  # nothing was lost
    assert x.grad.tolist() == [2.0, 2.0, 2.0]


def test_backward_of_an_untracked_tensor():
    with refused(RuntimeError, "backward: ", "not recorded", "requires_grad=True"):
        tg.tensor([1.0]).backward()
    x = ones(1)
    with tg.no_grad():
        y = x * 2.0
    with refused(RuntimeError, "backward: ", "not recorded", "no_grad"):
        y.backward()
    (x * 2.0).backward()
    assert x.grad.tolist() == [2.0]


def test_a_freed_graph():
    x = ones(2)
    y = tg.exp(x)
    y.sum().backward()
    held = x.grad
    for again in (
        lambda: y.sum().backward(),
        lambda: tg.gradients(y.sum(), x),
        lambda: tg.exp(y).sum().backward(),
    ):
        with refused(RuntimeError, "backward: ", "exp", "freed", "retain_graph=True"):
            again()
    assert x.grad is held
    tg.exp(x).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 2 * np.exp([1.0, 1.0]), rtol=1e-6)


def test_a_stale_graph_names_the_parameter():
    x, w = ones(2), tg.tensor([2.0, 3.0], requires_grad=True, name="layers.0.weight")
    y = (x * w).sum()
    w.assign([0.0, 0.0])
    with refused(
        RuntimeError, "backward: ", "'layers.0.weight'", "(2,)", "multiply", "compute the loss again"
    ):
        y.backward()
    assert x.grad is None and w.grad is None
    (x * w).sum().backward()
    assert x.grad.tolist() == [0.0, 0.0] and w.grad.tolist() == [1.0, 1.0]


# Anomaly


def here(offset=0):
    """The caller's file and line, as an error names them."""
    frame = inspect.currentframe().f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno + offset} in {frame.f_code.co_name}"


def test_anomaly_in_the_forward_pass():
    x = tg.tensor([0.0, -1.0, 1.0], requires_grad=True)
    with tg.anomaly(), np.errstate(all="ignore"):
        with refused(FloatingPointError, "the result of log is not finite (2 of 3", here(1)):
            tg.log(x)
        assert current_mode().observers
        assert tg.exp(x).sum().item() > 0


def test_anomaly_names_the_users_line_through_a_composite():
    x = tg.tensor([[np.nan, 1.0]], requires_grad=True)
    with tg.anomaly(), refused(FloatingPointError, "normalise", here(1)):
        tg.layer_norm(x)


def test_anomaly_in_the_backward_pass():
    x = tg.tensor([1e30, 1.0], requires_grad=True)
    with tg.anomaly():
        y = tg.reciprocal(x)
        line = here(1)
        z = (y * np.array([1.0, np.float32(3e38)], np.float32) * 1.0).sum()
        with refused(FloatingPointError, "the gradient that multiply passes", "(2,)", line):
            z.backward(np.float32(3e38))
    assert x.grad is None


def test_anomaly_in_a_recorded_backward_pass():
    x = tg.tensor([1.0], requires_grad=True)
    with tg.anomaly(), refused(FloatingPointError, "multiply", here(1)):
        (x * np.float32(3e38)).sum().backward(np.float32(10.0), create_graph=True)


def test_anomaly_of_a_graph_from_outside_says_that_its_line_is_unknown():
    x = tg.tensor([1.0], requires_grad=True)
    y = (x * np.float32(3e38)).sum()
    with tg.anomaly(), refused(FloatingPointError, "multiply", "recorded outside `anomaly`"):
        y.backward(np.float32(10.0))


def test_without_anomaly_nothing_is_said():
    with np.errstate(all="ignore"):
        assert np.isnan(tg.log(tg.tensor([-1.0])).item())


def test_an_error_inside_a_transform_restores_the_mode():
    def failing(x):
        raise KeyError("inside")

    with tg.no_grad():
        for transform in (tg.grad(failing), tg.jacobian(failing), lambda x: tg.vjp(failing, x)):
            with pytest.raises(KeyError, match="inside"):
                transform(np.ones(3))
            assert not current_mode().recording
