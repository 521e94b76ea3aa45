"""Layers, losses and optimizers on a strict array library: NumPy's bits, and nothing crosses."""

import numpy as np
import pytest
from strict_arrays import StrictArray, crossing, strict, to_strict

import tinygen as tg
from tinygen import nn, optim

IMAGES, ROWS = (2, 4, 5, 5), (3, 4)
LAYERS = {
    "Linear": (lambda rng: nn.Linear(4, 3, rng=rng), ROWS),
    "Conv2d": (lambda rng: nn.Conv2d(4, 3, 3, padding=1, rng=rng), IMAGES),
    "ConvTranspose2d": (lambda rng: nn.ConvTranspose2d(4, 2, 2, stride=2, rng=rng), IMAGES),
    "MaxPool2d": (lambda rng: nn.MaxPool2d(2), IMAGES),
    "AvgPool2d": (lambda rng: nn.AvgPool2d(2), IMAGES),
    "Upsample": (lambda rng: nn.Upsample(2), IMAGES),
    "LayerNorm": (lambda rng: nn.LayerNorm(4), ROWS),
    "RMSNorm": (lambda rng: nn.RMSNorm(4), ROWS),
    "GroupNorm": (lambda rng: nn.GroupNorm(2, 4), IMAGES),
    "BatchNorm": (lambda rng: nn.BatchNorm(4), IMAGES),
    "BatchNorm, evaluated": (lambda rng: nn.BatchNorm(4).eval(), IMAGES),
    "Flatten": (lambda rng: nn.Flatten(), IMAGES),
    "Reshape": (lambda rng: nn.Reshape(10, 10), IMAGES),
    **{
        kind.__name__: (lambda rng, kind=kind: kind(), ROWS)
        for kind in (nn.ELU, nn.GELU, nn.LeakyReLU, nn.ReLU, nn.Sigmoid, nn.SiLU, nn.Softplus, nn.Tanh)
    },
}


@pytest.mark.parametrize("name", LAYERS)
def test_layer_on_strict_arrays(name):
    make, shape = LAYERS[name]
    values = np.random.default_rng(1).normal(size=shape).astype(np.float32)

    def run(convert):
        layer = make(np.random.default_rng(0)).convert(convert)
        x = tg.tensor(convert(values), requires_grad=True)
        with crossing(), tg.kernels.use("reference"):  # which strict arrays go to anyway
            y = layer(x)
            (y * y).sum().backward()
        leaves = [x, *layer.parameters()]
        assert all(type(t.data) is type(x.data) for t in (y, *(leaf.grad for leaf in leaves)))
        return [y.numpy(), *(leaf.grad.numpy() for leaf in leaves), *layer.state_dict().values()]

    for mine, theirs in zip(run(strict.asarray), run(np.asarray), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_embedding_and_dropout_on_strict_arrays():
    table = nn.Embedding(5, 3, rng=np.random.default_rng(0)).convert(strict.asarray)
    drop = nn.Dropout(0.5, rng=np.random.default_rng(0))
    indices = strict.asarray(np.array([4, 0, 4]))
    with crossing(to_device=1):  # the mask, which is drawn by NumPy
        drop(table(indices)).sum().backward()
    mask = np.random.default_rng(0).random((3, 3), dtype="float32") >= 0.5
    expected = np.zeros((5, 3), np.float32)
    np.add.at(expected, [4, 0, 4], mask * np.float32(2.0))
    np.testing.assert_array_equal(table.weight.grad.numpy(), expected)


LOSSES = {
    "mse_loss": nn.mse_loss,
    "l1_loss": nn.l1_loss,
    "binary_cross_entropy_with_logits": lambda x, y: nn.binary_cross_entropy_with_logits(x, tg.sigmoid(y)),
    "kl_standard_normal": lambda x, y: nn.kl_standard_normal(x, y).sum(),
}


@pytest.mark.parametrize("name", LOSSES)
def test_loss_on_strict_arrays(name):
    x, y = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    expected_value, expected = tg.value_and_grad(LOSSES[name])(x, y)
    moved = to_strict(x), to_strict(y)
    with crossing():
        value, gradient = tg.value_and_grad(LOSSES[name])(*moved)
    np.testing.assert_array_equal(value.numpy(), expected_value.numpy())
    np.testing.assert_array_equal(gradient.numpy(), expected.numpy())
    assert isinstance(gradient.data, StrictArray)


def training(optimizer, convert, steps=3):
    """The losses and parameters of a few steps, as NumPy arrays; `convert` moves arrays to a library."""
    rng = np.random.default_rng(0)
    net = nn.Sequential(
        nn.Linear(4, 8, rng=rng),
        nn.LayerNorm(8),
        nn.GELU(),
        nn.Dropout(0.25, rng=rng),
        nn.Linear(8, 3, rng=rng),
    )
    net.convert(convert)
    opt = optimizer(net.parameters())
    x, targets = convert(rng.normal(size=(5, 4)).astype(np.float32)), convert(rng.integers(0, 3, 5))
    masks = [convert((rng.random((5, 8)) > 0.25).astype(np.float32)) for _ in range(steps)]
    losses = []

    def step(mask):
        opt.zero_grad()
        hidden = net[:3](x)
        logits = net[4](net[3](hidden, mask))
        log_p = tg.log_softmax(logits)
        loss = -tg.take_along_axis(log_p, targets[:, None], axis=-1).mean() + 0.01 * (logits * logits).mean()
        loss.backward()
        opt.step()
        losses.append(loss)

    with crossing():
        for mask in masks:
            step(mask)
    assert all(type(p.data) is type(x) for p in net.parameters())
    return [loss.numpy() for loss in losses] + [p.numpy() for p in net.parameters()]


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
        lambda p: optim.Adam(p, lr=1e-2),
        lambda p: optim.AdamW(p, lr=1e-2, weight_decay=0.1),
    ],
    ids=["SGD", "Adam", "AdamW"],
)
def test_training_steps_on_strict_arrays(optimizer):
    expected = training(optimizer, np.asarray)
    got = training(optimizer, strict.asarray)
    for mine, theirs in zip(got, expected, strict=True):
        assert mine.dtype == np.float32
        np.testing.assert_array_equal(mine, theirs)
    assert not np.array_equal(expected[0], expected[1]), "the loss did not move"


def test_clipping_on_strict_arrays():
    def clipped(convert):
        parameter = nn.Parameter(convert(np.array([3.0, 4.0], np.float32)))
        (parameter * parameter).sum().backward()
        optim.clip_by_norm([parameter], 1.0)
        return parameter.grad

    assert isinstance(clipped(strict.asarray).data, StrictArray)
    np.testing.assert_array_equal(clipped(strict.asarray).numpy(), clipped(np.asarray).numpy())
