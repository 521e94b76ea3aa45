"""Losses: examples by hand, and errors. test_nn_torch.py compares them with PyTorch's."""

import math

import numpy as np
import pytest

from tinygen import nn


def test_losses_by_hand():
    x, y = np.array([1.0, 2.0], np.float32), np.array([0.0, 4.0], np.float32)
    assert nn.mse_loss(x, y) == 2.5
    assert nn.l1_loss(x, y, reduction="sum") == 3
    assert nn.l1_loss(x, y, reduction="none").tolist() == [1, 2]
    zero = np.zeros(2, np.float32)
    assert nn.binary_cross_entropy_with_logits(zero, zero) == pytest.approx(math.log(2), rel=1e-6)


def test_the_kl_divergence_is_the_integral_that_it_stands_for():
    mu, log_var = np.array([0.0, 0.7, -1.5]), np.array([0.0, -1.0, 0.8])
    z = np.linspace(-15, 15, 200_001)[:, None]
    density = np.exp(-((z - mu) ** 2) / (2 * np.exp(log_var))) / np.sqrt(2 * math.pi * np.exp(log_var))
    log_ratio = np.log(np.maximum(density, 1e-300)) - (-(z**2) / 2 - math.log(2 * math.pi) / 2)
    integral = (density * log_ratio).sum(0) * (z[1, 0] - z[0, 0])
    assert np.allclose(nn.kl_standard_normal(mu, log_var), integral, rtol=1e-9, atol=1e-12)


def test_the_kl_divergence_keeps_its_digits_near_zero():
    # It is log_var^2 / 4 in the limit. Written with exp instead of expm1, float32 gives 1.2e-7 here.
    log_var = np.full(1, 5e-4, np.float32)
    assert nn.kl_standard_normal(np.zeros(1, np.float32), log_var) == pytest.approx(6.25e-8, rel=1e-3)


BATCH = np.zeros((4, 3), np.float32)
ERRORS = [
    (
        lambda: nn.mse_loss(BATCH, BATCH[0]),
        ValueError,
        r"mse_loss: expected two equal shapes, got \(4, 3\) and \(3,\)",
    ),
    (lambda: nn.l1_loss(BATCH, BATCH[0]), ValueError, "l1_loss: expected two equal shapes"),
    (
        lambda: nn.binary_cross_entropy_with_logits(BATCH, BATCH[0]),
        ValueError,
        "_with_logits: expected two equal shapes",
    ),
    (
        lambda: nn.kl_standard_normal(BATCH, BATCH[0]),
        ValueError,
        "kl_standard_normal: expected two equal shapes",
    ),
    (
        lambda: nn.mse_loss(BATCH, BATCH, reduction="avg"),
        ValueError,
        "mse_loss: expected reduction to be .*, got 'avg'",
    ),
    (
        lambda: nn.l1_loss(BATCH, BATCH, reduction=None),
        ValueError,
        "l1_loss: expected reduction to be .*, got None",
    ),
    (
        lambda: nn.binary_cross_entropy_with_logits(BATCH, BATCH, reduction="avg"),
        ValueError,
        "binary_cross_entropy_with_logits: expected reduction to be",
    ),
]


@pytest.mark.parametrize("call, kind, message", ERRORS)
def test_a_mistake_gets_a_clear_error(call, kind, message):
    with pytest.raises(kind, match=message):
        call()
