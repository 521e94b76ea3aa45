"""What the tests of bad input share: how a mistake is expected, and that nothing is lost by it."""

import re

import numpy as np
import pytest

import tinygen as tg
from tinygen.autograd.engine import current_mode


@pytest.fixture(autouse=True)
def nothing_is_lost():
    """Around each test: modes are restored, a graph from before still works, and new ones can be made."""
    x = tg.tensor([1.0, -2.0], requires_grad=True)
    earlier, state = (x * tg.exp(x)).sum(), np.geterr()
    yield
    assert current_mode().recording and not current_mode().observers
    assert np.geterr() == state
    earlier.backward()
    np.testing.assert_allclose(x.grad.numpy(), np.exp([1.0, -2.0]) * [2.0, -1.0], rtol=1e-6)
    assert tg.grad(lambda x: (x**3).sum())(np.float64(2.0)).item() == 12.0


def ones(*shape):
    """A float32 leaf of ones."""
    return tg.tensor(np.ones(shape, np.float32), requires_grad=True)


def integers(*shape):
    """Zeros that are integers."""
    return tg.tensor(np.zeros(shape, int))


def refused(error, *words):
    """A context in which `error` is expected, with all of `words` in its message, in this order."""
    return pytest.raises(error, match="(?s)" + ".*".join(map(re.escape, words)))
