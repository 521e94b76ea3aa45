"""Mistakes in a primitive's rules: said at registration where possible, else at the first backward."""

import numpy as np
import pytest
from mistakes import nothing_is_lost, ones, refused  # noqa: F401

import tinygen as tg


def planted(**rules):
    """A primitive x * y with an option that its rules may ask for."""

    @tg.primitive
    def product(x, y, *, scale=1.0):
        return x * y * scale

    product.rules(**{"x": lambda g, y, scale: g * y * scale, "y": lambda g, x, scale: g * x * scale, **rules})
    return product


def test_a_rule_for_what_is_no_input():
    with refused(TypeError, "product: ", "'z'", "no input", "x, y"):
        planted(z=lambda g: g)


def test_a_rule_that_asks_for_what_is_not_there():
    with refused(TypeError, "product: ", "'x'", "'weight'", "out", "scale", "x_shape"):
        planted(x=lambda g, weight: g)


def test_rules_are_taken_all_or_none():
    product, x = planted(), ones(2)
    with pytest.raises(TypeError):
        product.rules(x=lambda g: g * 100.0, z=lambda g: g)
    product(x, 3.0).sum().backward()
    assert x.grad.tolist() == [3.0, 3.0]


def test_a_missing_rule():
    @tg.primitive
    def bare(x):
        return 2.0 * x

    assert bare(np.ones(1)).tolist() == [2.0]
    with refused(TypeError, "bare: ", "no derivative rule", "'x'", "stop_gradient", "bare.rules(x=...)"):
        bare(ones(1))
    assert bare(tg.stop_gradient(ones(1))).tolist() == [2.0]


BAD_ANSWERS = {
    "None": (lambda g: None, TypeError, "returned NoneType", "return an array"),
    "a string": (lambda g: "a", TypeError, "returned str", "return an array"),
    "a list": (lambda g: [1.0, 1.0], TypeError, "returned list", "return an array"),
    "too long": (
        lambda g: np.ones(3),
        ValueError,
        "shape (3,)",
        "input of shape (2,)",
        "return the input's shape",
    ),
    "too short": (
        lambda g: np.ones(1),
        ValueError,
        "shape (1,)",
        "input of shape (2,)",
        "return the input's shape",
    ),
    "a number": (lambda g: 1.0, ValueError, "shape ()", "input of shape (2,)", "return the input's shape"),
}


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("attributes", [False, True])
@pytest.mark.parametrize("answer", BAD_ANSWERS)
def test_a_rule_that_returns_something_else(answer, attributes, create_graph):
    rule, error, *words = BAD_ANSWERS[answer]
    product = planted(x=(lambda g, scale: rule(g)) if attributes else rule)
    x, w = ones(2), ones(2)
    y = product(x, w).sum()
    with refused(error, "product: ", *words):
        y.backward(create_graph=create_graph)
    assert x.grad is None and w.grad is None
    product.rules(x=lambda g, y, scale: g * y * scale)
    product(x, w).sum().backward()
    assert x.grad.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("answers", [(1.0,), None, 1.0])
def test_a_joint_rule_that_does_not_answer_for_each_input(answers):
    product = planted(all=lambda g, x, y: (g,) if isinstance(answers, tuple) else answers)
    with refused(TypeError, "product: ", "joint rule", "return a tuple", "x, y"):
        product(ones(2), ones(2)).sum().backward()


def test_a_forward_that_returns_nothing():
    @tg.primitive
    def forgetful(x):
        x * 2.0

    with refused(TypeError, "forgetful: ", "None"):
        forgetful(ones(2))
