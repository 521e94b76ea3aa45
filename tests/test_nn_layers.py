"""Layers: examples by hand, first values, errors. test_nn_torch.py compares them with PyTorch's."""

import math

import numpy as np
import pytest

import tinygen as tg
from tinygen import nn


def generator(seed=0):
    return np.random.default_rng(seed)


# By hand


def test_batch_norm_by_hand():
    norm = nn.BatchNorm(1, eps=0.0, momentum=0.5)
    x = np.array([[1.0], [3.0]], np.float32)
    assert norm(x).tolist() == [[-1.0], [1.0]]
    assert norm.running_mean.tolist() == [1.0]  # half of 0, half of 2
    assert norm.running_var.tolist() == [1.5]  # half of 1, half of the unbiased 2
    norm.eval()
    assert np.allclose(norm(x).numpy(), (x - 1) / math.sqrt(1.5), rtol=1e-6)


def test_batch_norm_with_the_momentum_of_0_or_1_keeps_or_forgets_the_past():
    x = np.array([[1.0], [3.0]], np.float32)
    for momentum, mean, var in ((0, 0, 1), (1, 2, 2)):
        norm = nn.BatchNorm(1, momentum=momentum)
        norm(x)
        assert (norm.running_mean.tolist(), norm.running_var.tolist()) == ([mean], [var])


def test_batch_norm_leaves_old_running_statistics_to_whoever_holds_them():
    norm = nn.BatchNorm(2)
    held = norm.running_mean
    norm(np.ones((3, 2), np.float32))
    assert held.tolist() == [0, 0]


def test_batch_norm_keeps_the_dtype_of_its_running_statistics():
    norm = nn.BatchNorm(2)
    norm(np.ones((3, 2), np.float64))
    assert norm.running_mean.dtype == norm.running_var.dtype == np.float32


def test_dropout_takes_a_mask():
    dropout = nn.Dropout(0.75, rng=generator())
    mask = np.array([[1, 0, 1], [0, 0, 1]])
    assert dropout(np.ones((2, 3), np.float32), mask).tolist() == [[4, 0, 4], [0, 0, 4]]
    x = tg.tensor(np.ones((2, 3), np.float32), requires_grad=True)
    dropout(x, mask=mask).sum().backward()
    assert x.grad.tolist() == [[4, 0, 4], [0, 0, 4]]


def test_dropout_draws_masks_from_its_generator_while_training_and_does_nothing_else():
    dropout = nn.Dropout(0.25, rng=generator())
    x = tg.tensor(np.ones((100, 100), np.float32))
    first, second = dropout(x).numpy(), dropout(x).numpy()
    assert first.dtype == np.float32
    assert np.array_equal(np.unique(first), np.array([0, 1 / 0.75], np.float32))
    assert abs((first == 0).mean() - 0.25) < 0.02  # 4.6 standard deviations
    assert not np.array_equal(first, second)
    assert np.array_equal(first, nn.Dropout(0.25, rng=generator())(x).numpy())
    assert nn.Dropout(0, rng=generator())(x) is x
    state = dropout.rng.bit_generator.state
    assert dropout.eval()(x) is x
    assert dropout(x, mask=np.zeros(x.shape)) is x
    assert dropout.rng.bit_generator.state == state


def test_reshape_and_flatten_keep_the_batch():
    x = np.arange(12.0, dtype=np.float32).reshape(2, 6)
    assert nn.Reshape(3, 2)(x).shape == nn.Reshape(3, -1)(x).shape == (2, 3, 2)
    assert nn.Flatten()(np.zeros((0, 3, 2))).shape == (0, 6)
    assert np.array_equal(nn.Flatten()(nn.Reshape(1, 2, 3)(x)), x)


def test_sequential_is_a_list():
    first, second = nn.Linear(2, 2, rng=generator()), nn.Tanh()
    net = nn.Sequential(first, second, tg.square)
    assert len(net) == 3
    assert list(net) == [first, second, tg.square]
    assert net[0] is first
    assert net[-1] is tg.square
    assert isinstance(net[1:], nn.Sequential)
    assert net[1:](np.array([[0.5]], np.float32)) == pytest.approx(math.tanh(0.5) ** 2)


# First values


def test_default_weights_lie_within_one_over_the_root_of_fan_in_and_have_its_variance():
    layers = [
        (nn.Linear(100, 200, rng=generator()), 100),
        (nn.Conv2d(8, 64, 5, groups=2, rng=generator()), 4 * 25),
        (nn.ConvTranspose2d(64, 8, 5, groups=2, rng=generator()), 4 * 25),
    ]
    for layer, fan_in in layers:
        bound = 1 / math.sqrt(fan_in)
        for values in (layer.weight.data, layer.bias.data):
            assert values.dtype == np.float32
            assert np.abs(values).max() <= np.float32(bound)
            assert np.abs(values).max() > 0.7 * bound
        assert layer.weight.data.var() == pytest.approx(bound**2 / 3, rel=0.05)
        assert abs(layer.weight.data.mean()) < 0.02 * bound


def test_an_initialiser_of_ones_own_sets_the_weight_and_starts_the_bias_at_zero():
    for layer in (
        nn.Linear(3, 4, rng=generator(), init=nn.init.ones),
        nn.Conv2d(3, 4, 2, rng=generator(), init=nn.init.ones),
        nn.ConvTranspose2d(3, 4, 2, rng=generator(), init=nn.init.ones),
    ):
        assert (layer.weight.data == 1).all()
        assert layer.bias.data.tolist() == [0] * 4
    assert (nn.Embedding(3, 4, rng=generator(), init=nn.init.ones).weight.data == 1).all()


def test_the_same_seed_draws_the_same_layer():
    first, second, third = (nn.Linear(3, 4, rng=generator(seed)).state_dict() for seed in (1, 1, 2))
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert not any(np.array_equal(first[name], third[name]) for name in first)


# Errors

R = generator()
BATCH = np.zeros((4, 3), np.float32)
ERRORS = [
    (
        lambda: nn.Linear(0, 3, rng=R),
        ValueError,
        "Linear: expected in_features to be an integer of at least 1, got 0",
    ),
    (
        lambda: nn.Linear(2, 1.5, rng=R),
        ValueError,
        "Linear: expected out_features to be an integer .*, got 1.5",
    ),
    (lambda: nn.Linear(2, 3, rng=7), TypeError, r"expected rng to be a np\.random\.Generator, got 7; pass"),
    (lambda: nn.Embedding(0, 3, rng=R), ValueError, "Embedding: expected num_embeddings"),
    (lambda: nn.Dropout(1, rng=R), ValueError, r"Dropout: expected 0 <= p < 1, got 1; it is"),
    (
        lambda: nn.Dropout(0.5, rng=None),
        TypeError,
        r"Dropout: expected rng to be a np\.random\.Generator, got None",
    ),
    (
        lambda: nn.Sequential([nn.ReLU()]),
        TypeError,
        r"Sequential: expected modules or functions, got \[.*\] at 0; unpack",
    ),
    (lambda: nn.LayerNorm(0), ValueError, "LayerNorm: expected features"),
    (lambda: nn.RMSNorm(-1), ValueError, "RMSNorm: expected features"),
    (lambda: nn.BatchNorm(0), ValueError, "BatchNorm: expected features"),
    (lambda: nn.BatchNorm(3, momentum=1.5), ValueError, "BatchNorm: expected 0 <= momentum <= 1, got 1.5"),
    (
        lambda: nn.BatchNorm(4)(BATCH),
        ValueError,
        r"BatchNorm: expected \(B, 4, \.\.\.\), got \(4, 3\); channels are axis 1",
    ),
    (lambda: nn.BatchNorm(4)(np.zeros(4)), ValueError, r"BatchNorm: expected \(B, 4, \.\.\.\), got \(4,\)"),
    (
        lambda: nn.BatchNorm(3)(BATCH[:1]),
        ValueError,
        r"BatchNorm: expected more than one element a channel .*\(1, 3\)",
    ),
    (lambda: nn.GroupNorm(2, 3), ValueError, "GroupNorm: expected groups to divide channels, got 2 and 3"),
    (
        lambda: nn.GELU(approximate="fast"),
        ValueError,
        "GELU: expected approximate to be 'none' or 'tanh', got 'fast'",
    ),
    (
        lambda: nn.Conv2d(3, 4, 0, rng=R),
        ValueError,
        "Conv2d: expected kernel_size to be an integer of at least 1, got 0",
    ),
    (
        lambda: nn.Conv2d(3, 4, (1, 2, 3), rng=R),
        ValueError,
        r"Conv2d: expected kernel_size .*, got \(1, 2, 3\)",
    ),
    (
        lambda: nn.Conv2d(3, 4, 2, groups=2, rng=R),
        ValueError,
        "Conv2d: expected groups to divide the channels, got groups=2",
    ),
    (
        lambda: nn.ConvTranspose2d(4, 3, 2, groups=2, rng=R),
        ValueError,
        "ConvTranspose2d: expected groups to divide",
    ),
]


@pytest.mark.parametrize("call, kind, message", ERRORS)
def test_a_mistake_gets_a_clear_error(call, kind, message):
    with pytest.raises(kind, match=message):
        call()
