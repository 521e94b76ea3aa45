"""The moving average of a module's parameters."""

import numpy as np
import pytest

from tinygen import nn


def linear(seed=0):
    return nn.Linear(3, 2, rng=np.random.default_rng(seed))


def test_the_average_is_the_formula():
    net, rng = linear(), np.random.default_rng(1)
    ema, expected = nn.EMA(net, decay=0.8), net.weight.numpy().astype(np.float64)
    for t in range(1, 80):
        net.weight.assign(rng.standard_normal((2, 3)).astype(np.float32))
        ema.update()
        decay = min(0.8, (1 + t) / (10 + t))
        expected = decay * expected + (1 - decay) * net.weight.numpy()
    np.testing.assert_allclose(ema.state_dict()["weight"], expected, rtol=1e-5, atol=1e-7)
    assert ema.state_dict()["weight"].dtype == np.float32


def test_inside_applied_the_module_has_the_averages_and_afterwards_its_own_even_after_an_error():
    net = linear()
    ema, before = nn.EMA(net, decay=0.5), net.state_dict()
    net.weight.assign(net.weight.numpy() + 1)
    own = net.weight.numpy().copy()
    with pytest.raises(RuntimeError, match="stop"), ema.applied():
        assert np.array_equal(net.weight.numpy(), before["weight"])
        raise RuntimeError("stop")
    assert np.array_equal(net.weight.numpy(), own)


def test_averages_share_no_memory_with_the_parameters():
    net = linear()
    ema, before = nn.EMA(net, decay=0.5), net.weight.numpy().copy()
    with ema.applied():
        pass
    net.weight.assign(net.weight.numpy() * 3)
    assert np.array_equal(ema.state_dict()["weight"], before)
    ema.state_dict()["weight"][:] = 7
    assert np.array_equal(ema.state_dict()["weight"], before)


def test_averages_go_on_from_what_was_saved():
    one, other = linear(), linear(1)
    first, second = nn.EMA(one, decay=0.9), nn.EMA(other, decay=0.9)
    for _ in range(5):
        one.weight.assign(one.weight.numpy() * 2)
        first.update()
    other.load_state_dict(one.state_dict())
    second.load_state_dict(first.state_dict(), steps=5)
    for net, ema in ((one, first), (other, second)):
        net.weight.assign(net.weight.numpy() + 1)
        ema.update()
    assert np.array_equal(first.state_dict()["weight"], second.state_dict()["weight"])
    with pytest.raises(ValueError, match="expected the averages of this module's parameters"):
        second.load_state_dict({"weight": np.zeros((2, 3))}, steps=1)


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_a_decay_out_of_range_is_an_error(decay):
    with pytest.raises(ValueError, match="expected 0 <= decay < 1"):
        nn.EMA(linear(), decay=decay)
