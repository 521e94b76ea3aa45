"""Hold a function at a hard point to its value, gradient and second derivatives, all given by hand.

Each derivative is taken by a plain backward and by a recorded one, and no backward may emit a warning.
"""

import contextlib
import warnings

import numpy as np

import tinygen as tg


@contextlib.contextmanager
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def leaf(x, dtype=np.float64):
    return tg.tensor(np.array(x, dtype), requires_grad=True)


def derivatives(y, x, cotangent):
    """The gradient of sum(y * cotangent), and its Hessian as a matrix: each plain, then recorded."""
    with no_warnings():
        plain = tg.gradients(y, x, cotangent, retain_graph=True).numpy()
        g = tg.gradients(y, x, cotangent, create_graph=True)
        hessians = np.zeros((2, x.size, x.size))
        if g.requires_grad:
            for i, direction in enumerate(np.eye(x.size).reshape(x.size, *x.shape)):
                rows = [
                    tg.gradients(g, x, direction, create_graph=kept, retain_graph=True)
                    for kept in (False, True)
                ]
                hessians[:, i] = [row.numpy().ravel() for row in rows]
    return plain, g.numpy(), *hessians


def check(f, x, value, gradient, second, cotangent=None, singular=False):
    """Assert what f gives at x.

    second: a matrix, or its diagonal where the rest is 0. cotangent: of f's result; ones by default.
    singular: computing the value may warn, as 1 / 0 does.
    """
    x = leaf(x)
    with np.errstate(all="ignore") if singular else no_warnings():
        y = f(x)
    np.testing.assert_allclose(y.numpy(), value, rtol=1e-12, atol=1e-12)
    cotangent = np.ones(y.shape) if cotangent is None else np.array(cotangent, float)
    plain, recorded, *hessians = derivatives(y, x, cotangent)
    second = np.array(second)
    second = second if second.shape == (x.size, x.size) else np.diag(np.broadcast_to(second.ravel(), x.size))
    for g in plain, recorded:
        assert g.shape == x.shape
        np.testing.assert_allclose(g, gradient, rtol=1e-12, atol=1e-12)
    for h in hessians:
        np.testing.assert_allclose(h, second, rtol=1e-12, atol=1e-12)
