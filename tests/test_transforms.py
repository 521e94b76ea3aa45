"""grad, vjp, jvp, hvp, jacobian, hessian, checkpoint, gradients."""

import numpy as np
import pytest

import tinygen as tg

X = np.array([0.3, -1.2, 2.0])


def cubic(x):
    return (x**3).sum()


def test_grad_of_any_order():
    def f(t):
        return tg.sin(t) * t

    t, sin, cos = 0.7, np.sin(0.7), np.cos(0.7)
    for expected in (sin + t * cos, 2 * cos - t * sin, -3 * sin - t * cos, -4 * cos + t * sin):
        f = tg.grad(f)
        assert f(np.array(t)).item() == pytest.approx(expected, rel=1e-12)


def test_no_perturbation_confusion():
    """d/dx [x d/dy (x + y) at y = x] is 1; confusing y with x gives 2."""
    assert tg.grad(lambda x: x * tg.grad(lambda y: x + y)(x))(1.0).item() == 1.0


def test_value_and_grad_with_argnums_and_aux():
    def f(x, y):
        return ((x * y).sum(), x + y)

    (value, aux), (dx, dy) = tg.value_and_grad(f, (0, 1), has_aux=True)(X, X + 1)
    assert value.item() == pytest.approx((X * (X + 1)).sum()) and not value.requires_grad
    np.testing.assert_allclose(aux.numpy(), 2 * X + 1)
    np.testing.assert_allclose(dx.numpy(), X + 1)
    np.testing.assert_allclose(dy.numpy(), X)


def test_grad_inside_a_loss_reaches_parameters():
    """A gradient penalty: the gradient with respect to an input, differentiated with respect to a weight."""
    w = tg.tensor(np.array([1.0, 2.0, 2.0]), requires_grad=True)
    slope = tg.grad(lambda x: (w * x).sum())(X)
    ((tg.norm(slope) - 1) ** 2).backward()
    np.testing.assert_allclose(w.grad.numpy(), 2 * (3 - 1) * np.array([1.0, 2.0, 2.0]) / 3)


def test_grad_under_no_grad_gives_plain_values():
    w = tg.tensor(X, requires_grad=True)
    with tg.no_grad():
        g = tg.grad(lambda x: (w * x * x).sum())(X)
    np.testing.assert_allclose(g.numpy(), 2 * X * X)
    assert not g.requires_grad


def test_grad_leaves_the_argument_alone():
    x = tg.tensor(X, requires_grad=True)
    g = tg.grad(cubic)(x)
    assert x.grad is None and g.requires_grad
    g.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 6 * X)


def test_grad_of_a_constant_is_zero():
    assert tg.grad(lambda x: tg.tensor(1.0))(X).tolist() == [0.0, 0.0, 0.0]


def test_vjp_and_jvp():
    def f(x):
        return tg.stack([x[0] * x[1], tg.exp(x[2])])

    y, pullback = tg.vjp(f, X)
    jacobian = np.array([[X[1], X[0], 0], [0, 0, np.exp(X[2])]])
    g, v = np.array([2.0, -1.0]), np.array([1.0, 0.5, -2.0])
    np.testing.assert_allclose(pullback(g).numpy(), g @ jacobian)
    np.testing.assert_allclose(pullback(2 * g).numpy(), 2 * g @ jacobian)  # any number of times
    y2, dy = tg.jvp(f, (X,), (v,))
    np.testing.assert_allclose(dy.numpy(), jacobian @ v)
    np.testing.assert_allclose(y2.numpy(), y.numpy())
    assert not (y.requires_grad or dy.requires_grad)
    np.testing.assert_allclose(tg.jacobian(f)(X).numpy(), jacobian)


def test_vjp_of_several_inputs():
    _, pullback = tg.vjp(lambda x, y: x * y, X, X + 1)
    dx, dy = pullback(np.ones(3))
    np.testing.assert_allclose((dx.numpy(), dy.numpy()), (X + 1, X))


def test_jvp_of_several_inputs_some_unused():
    _, dy = tg.jvp(lambda x, y, z: x * y, (X, X, X), (np.ones(3), np.zeros(3), np.ones(3)))
    np.testing.assert_allclose(dy.numpy(), X)
    _, none = tg.jvp(lambda x: tg.zeros_like(x), (X,), (X,))
    assert none.tolist() == [0.0, 0.0, 0.0]


def test_hessian_and_hvp():
    def f(x):
        return (tg.softmax(x) * x**2).sum()

    hessian = tg.hessian(f)(X).numpy()
    np.testing.assert_allclose(hessian, hessian.T, rtol=1e-12, atol=1e-12)
    v = np.array([1.0, -1.0, 0.5])
    np.testing.assert_allclose(tg.hvp(f, X, v).numpy(), hessian @ v)
    np.testing.assert_allclose(tg.hessian(cubic)(X).numpy(), np.diag(6 * X))


def test_jacobian_of_a_matrix_function():
    a = np.arange(6.0).reshape(2, 3)
    found = tg.jacobian(lambda x: x.T @ x)(a).numpy()
    assert found.shape == (3, 3, 2, 3)
    v = np.random.default_rng(0).standard_normal((2, 3))
    np.testing.assert_allclose(np.tensordot(found, v, 2), v.T @ a + a.T @ v)


def test_jvp_differentiates_again():
    """The derivative of t -> f'(x + t v) . v is v^T H v."""
    v = np.array([1.0, 2.0, -1.0])
    second = tg.grad(lambda t: tg.jvp(cubic, (X + t * v,), (v,))[1])(np.array(0.0))
    assert second.item() == pytest.approx((6 * X * v * v).sum())


def test_gradients_at_several_places_one_below_another():
    x = tg.tensor(X, requires_grad=True)
    h = x * x
    y = (h * x).sum()
    dh, dx = tg.gradients(y, [h, x])
    np.testing.assert_allclose(dh.numpy(), X)
    np.testing.assert_allclose(dx.numpy(), 3 * X**2)
    unused = tg.tensor(X, requires_grad=True)
    assert tg.gradients((x * 2).sum(), [unused])[0].tolist() == [0.0, 0.0, 0.0]
    assert x.grad is None


def test_gradients_of_several_outputs_with_cotangents():
    x = tg.tensor(X, requires_grad=True)
    g = tg.gradients([x * 2, x * x], x, [np.ones(3), np.full(3, 10.0)])
    np.testing.assert_allclose(g.numpy(), 2 + 20 * X)


def block(x, w):
    return tg.tanh(tg.tanh(x @ w) @ w)


def test_checkpoint_gives_the_same_gradients_and_keeps_less():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((4, 3)), rng.standard_normal((3, 3))

    def gradients(call):
        x, w, closed = (tg.tensor(v, requires_grad=True) for v in (a, b, b))
        y = call(lambda x, w: block(x, w) @ closed, x * 1.0, w)
        (y * y).sum().backward()
        return [t.grad.numpy() for t in (x, w, closed)]

    for got, expected in zip(gradients(tg.checkpoint), gradients(lambda f, *xs: f(*xs))):
        np.testing.assert_allclose(got, expected, rtol=1e-12)

    runs = []
    x = tg.tensor(a, requires_grad=True)
    y = tg.checkpoint(lambda x: runs.append(1) or tg.exp(tg.exp(x)), x)
    assert y.node.parents == (x.node,) and len(runs) == 1
    y.sum().backward()
    assert len(runs) == 2


def test_checkpoint_has_second_derivatives():
    tg.testing.gradcheck(lambda x, w: tg.checkpoint(block, x, w), X.reshape(1, 3), np.eye(3) * 0.5, order=2)


def test_checkpoint_under_no_grad_just_calls():
    with tg.no_grad():
        assert not tg.checkpoint(cubic, tg.tensor(X, requires_grad=True)).requires_grad


def test_stop_gradient():
    x = tg.tensor(X, requires_grad=True)
    (x * tg.stop_gradient(x)).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), X)


def test_checkpoint_passes_arrays_as_arrays_both_times():
    mask, kinds = np.array([1.0, 0.0, 1.0]), []
    x = tg.tensor(X, requires_grad=True)
    tg.checkpoint(lambda x, m: kinds.append(type(m)) or x * np.maximum(m, 0), x, mask).sum().backward()
    assert kinds == [np.ndarray, np.ndarray] and x.grad.tolist() == mask.tolist()


def test_hvp_wants_a_vector_of_the_same_shape():
    with pytest.raises(ValueError, match=r"hvp: expected v of the shape of x, \(3,\), got \(2, 3\)"):
        tg.hvp(cubic, X, np.ones((2, 3)))


def test_jvp_wants_tuples():
    with pytest.raises(TypeError, match=r"jvp: expected a tuple of inputs and one of tangents"):
        tg.jvp(cubic, X, X)
