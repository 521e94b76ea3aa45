"""gradcheck rejects wrong rules, says where they are wrong, and tells a kink from a mistake."""

import numpy as np
import pytest
from hypothesis import given
from planted import WRONG_RULES, plant

import tinygen as tg
from tinygen.testing import GradientError, KinkError, gradcheck, strategies


@pytest.mark.parametrize("name", WRONG_RULES)
def test_gradcheck_rejects_wrong_rules(name):
    operation = WRONG_RULES[name]
    x, y = np.random.default_rng(0).uniform(0.3, 2.0, (2, 3, 3))
    if name == "no broadcast":
        with pytest.raises(GradientError):
            gradcheck(lambda x: operation(x, axis=1), x)
    elif name == "mean for sum":
        with pytest.raises(GradientError):
            gradcheck(operation, x[0], y)
    else:
        with pytest.raises(GradientError):
            gradcheck(operation, *(x, y)[: len(operation.domains.inputs)])


def wrong_at(index):
    def rule(g):
        spoiled = np.full(g.shape, 2.0)
        spoiled[index] = 2.25
        return g * spoiled

    return rule


def test_gradcheck_names_the_operation_the_input_and_the_worst_index():
    def doubled(x, y):
        return 2.0 * x + 2.0 * y

    operation = plant(doubled, x=lambda g: 2.0 * g, y=wrong_at((1, 2)))
    x = np.random.default_rng(0).normal(size=(2, 3))
    words = r"^doubled: order 1: .* worst at y\[1, 2\]: the rule gives \S+, differences \S+$"
    with pytest.raises(GradientError, match=words):
        gradcheck(operation, x, x)


def test_gradcheck_names_the_order():
    with pytest.raises(GradientError, match=r"^cube: order 2: "):
        gradcheck(WRONG_RULES["second derivative cut"], np.array([0.5, 1.0]))
    gradcheck(WRONG_RULES["second derivative cut"], np.array([0.5, 1.0]), order=1)


def test_gradcheck_returns_nothing():
    assert gradcheck(tg.tanh, np.array([0.5, 1.0])) is None


KINKS = {
    "abs at 0": (tg.abs, [[0.0, 1.0]], 1),
    "abs near 0": (tg.abs, [[3e-5, 1.0]], 1),
    "relu at 0": (tg.relu, [[0.0, 1.0]], 1),
    "clip at its bound": (lambda x: tg.clip(x, -1.0, 1.0), [[1.0, 0.5]], 1),
    "a tie": (lambda x: x.max(), [[1.0, 1.0, 0.0]], 1),
    "maximum of equals": (tg.maximum, [[1.0, 2.0], [1.0, 0.0]], 1),
    "norm at 0": (tg.norm, [[0.0, 0.0]], 1),
    "a kink of the gradient": (lambda x: x * tg.abs(x), [[0.0, 1.0]], "[12]"),
    "a jump": (tg.sign, [[0.0]], 1),
}


@pytest.mark.parametrize("name", KINKS)
def test_kinks_are_reported_as_kinks(name):
    f, inputs, order = KINKS[name]
    with pytest.raises(KinkError, match=f"order {order}: .*(a kink at|jumps).*choose"):
        gradcheck(f, *map(np.array, inputs))


@given(strategies.arrays(avoid=(0.0,), dtype=np.float64))
def test_away_from_kinks_nothing_is_reported(x):
    gradcheck(tg.abs, x)
    gradcheck(tg.relu, x)
    gradcheck(lambda x: x * tg.abs(x), x)


STEEP = {
    "waves": lambda x: tg.sin(10 * x),
    "growth": lambda x: tg.exp(3 * x),
    "a high step": lambda x: 1e6 * tg.tanh(x),
    "nearly nothing": lambda x: 1e-6 * x,
}


@pytest.mark.parametrize("name", STEEP)
def test_steep_and_flat_functions_are_no_kinks(name):
    gradcheck(STEEP[name], np.linspace(-1, 1, 5), order=3)


def test_gradcheck_takes_what_functions_take():
    gradcheck(lambda x, n, mode: x**n if mode == "power" else x, np.array([1.5]), 3, "power")
    gradcheck(lambda x, y: [x * y, tg.exp(x).sum()], np.array([1.5, 2.0]), tg.tensor([0.5, 1.0]))
    gradcheck(tg.embedding, np.ones((3, 2)), np.array([0, 2, 0]))
    with pytest.raises(ValueError, match=r"gradcheck: exp .*no floating input; pass floats"):
        gradcheck(tg.exp, np.array([1, 2]))
    with pytest.raises(ValueError, match=r"gradcheck: log is not finite .*choose others"):
        gradcheck(tg.log, np.array([0.0, 1.0]))


def test_gradcheck_computes_in_float64_and_leaves_inputs_alone():
    seen = []

    def spy(x):
        seen.append(x.dtype)
        return x * x

    x = np.array([1.0, 2.0], np.float32)
    gradcheck(spy, x)
    assert set(seen) == {np.dtype(np.float64)} and x.tolist() == [1.0, 2.0] and x.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        gradcheck(lambda x: (x.data.__iadd__(1.0), x)[1] * 1.0, x)


def test_gradcheck_draws_the_same_directions_each_time():
    told = []
    for _ in range(2):
        with pytest.raises(GradientError) as caught:
            gradcheck(WRONG_RULES["another sign"], np.array([0.5, 1.0]))
        told.append(str(caught.value))
    assert told[0] == told[1]
    with pytest.raises(GradientError) as caught:
        gradcheck(WRONG_RULES["another sign"], np.array([0.5, 1.0]), rng=np.random.default_rng(7))
    assert str(caught.value) != told[0]


def test_gradcheck_of_a_function_that_does_not_depend_on_its_input():
    gradcheck(lambda x: tg.tensor([1.0, 2.0]), np.ones(2), order=2)


def test_gradcheck_blames_the_element_with_the_nan():
    wrong = plant(lambda x: x * 1.0, x=lambda g: g * np.array([np.nan, 1.0, 1.0]))
    with pytest.raises(GradientError, match=r"worst at x\[0\]: the rule gives nan"):
        gradcheck(wrong, np.ones(3), order=1)


def test_gradcheck_of_no_order_is_refused():
    with pytest.raises(ValueError, match="expected an order of at least 1, got 0"):
        gradcheck(tg.exp, np.ones(2), order=0)
