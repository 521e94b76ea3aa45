"""Layers and losses against PyTorch's, with the same weights; and float32 that stays float32."""

import numpy as np
import pytest

import tinygen as tg
from tinygen import nn


def generator(seed=0):
    return np.random.default_rng(seed)


# Layers
#
# name: (our layer, PyTorch's, shape of the input), made with the random generator and with torch.nn.

LAYERS = {
    "linear": (lambda r: nn.Linear(5, 3, rng=r), lambda t: t.Linear(5, 3), (4, 5)),
    "linear, no bias, three axes": (
        lambda r: nn.Linear(5, 3, bias=False, rng=r),
        lambda t: t.Linear(5, 3, bias=False),
        (2, 4, 5),
    ),
    "sequential": (
        lambda r: nn.Sequential(nn.Linear(5, 8, rng=r), nn.ReLU(), nn.Linear(8, 2, rng=r)),
        lambda t: t.Sequential(t.Linear(5, 8), t.ReLU(), t.Linear(8, 2)),
        (4, 5),
    ),
    "relu": (lambda r: nn.ReLU(), lambda t: t.ReLU(), (4, 5)),
    "leaky relu": (lambda r: nn.LeakyReLU(0.2), lambda t: t.LeakyReLU(0.2), (4, 5)),
    "leaky relu, default": (lambda r: nn.LeakyReLU(), lambda t: t.LeakyReLU(), (4, 5)),
    "elu": (lambda r: nn.ELU(0.5), lambda t: t.ELU(0.5), (4, 5)),
    "elu, default": (lambda r: nn.ELU(), lambda t: t.ELU(), (4, 5)),
    "silu": (lambda r: nn.SiLU(), lambda t: t.SiLU(), (4, 5)),
    "gelu": (lambda r: nn.GELU(), lambda t: t.GELU(), (4, 5)),
    "gelu, tanh": (lambda r: nn.GELU(approximate="tanh"), lambda t: t.GELU(approximate="tanh"), (4, 5)),
    "tanh": (lambda r: nn.Tanh(), lambda t: t.Tanh(), (4, 5)),
    "sigmoid": (lambda r: nn.Sigmoid(), lambda t: t.Sigmoid(), (4, 5)),
    "softplus": (lambda r: nn.Softplus(), lambda t: t.Softplus(), (4, 5)),
    "layer norm": (lambda r: nn.LayerNorm(6), lambda t: t.LayerNorm(6), (3, 4, 6)),
    "layer norm, no bias": (
        lambda r: nn.LayerNorm(6, eps=1e-3, bias=False),
        lambda t: t.LayerNorm(6, eps=1e-3, bias=False),
        (4, 6),
    ),
    "rms norm": (lambda r: nn.RMSNorm(6), lambda t: t.RMSNorm(6, eps=1e-6), (3, 4, 6)),
    "group norm": (lambda r: nn.GroupNorm(2, 6), lambda t: t.GroupNorm(2, 6), (3, 6, 4, 5)),
    "batch norm 1d": (lambda r: nn.BatchNorm(6), lambda t: t.BatchNorm1d(6), (8, 6)),
    "batch norm 2d": (
        lambda r: nn.BatchNorm(6, eps=1e-3, momentum=0.3),
        lambda t: t.BatchNorm2d(6, eps=1e-3, momentum=0.3),
        (3, 6, 4, 5),
    ),
    "conv": (lambda r: nn.Conv2d(2, 3, 3, rng=r), lambda t: t.Conv2d(2, 3, 3), (2, 2, 6, 5)),
    "conv, all settings": (
        lambda r: nn.Conv2d(
            4, 6, (3, 2), stride=(2, 1), padding=(1, 2), dilation=(1, 2), groups=2, bias=False, rng=r
        ),
        lambda t: t.Conv2d(
            4, 6, (3, 2), stride=(2, 1), padding=(1, 2), dilation=(1, 2), groups=2, bias=False
        ),
        (2, 4, 7, 6),
    ),
    "transposed conv, default": (
        lambda r: nn.ConvTranspose2d(2, 3, 4, rng=r),
        lambda t: t.ConvTranspose2d(2, 3, 4),
        (2, 2, 3, 4),
    ),
    "transposed conv": (
        lambda r: nn.ConvTranspose2d(2, 3, 4, stride=2, padding=1, rng=r),
        lambda t: t.ConvTranspose2d(2, 3, 4, stride=2, padding=1),
        (2, 2, 3, 4),
    ),
    "transposed conv, all settings": (
        lambda r: nn.ConvTranspose2d(
            4,
            6,
            (3, 2),
            stride=(2, 3),
            padding=(1, 0),
            output_padding=(1, 2),
            dilation=(2, 1),
            groups=2,
            rng=r,
        ),
        lambda t: t.ConvTranspose2d(
            4, 6, (3, 2), stride=(2, 3), padding=(1, 0), output_padding=(1, 2), dilation=(2, 1), groups=2
        ),
        (2, 4, 3, 4),
    ),
    "max pool": (lambda r: nn.MaxPool2d(2), lambda t: t.MaxPool2d(2), (2, 3, 5, 6)),
    "max pool, strided": (
        lambda r: nn.MaxPool2d((3, 2), stride=(1, 2)),
        lambda t: t.MaxPool2d((3, 2), stride=(1, 2)),
        (2, 3, 5, 6),
    ),
    "average pool": (lambda r: nn.AvgPool2d(3, stride=2), lambda t: t.AvgPool2d(3, stride=2), (2, 3, 7, 6)),
    "upsample": (lambda r: nn.Upsample(2), lambda t: t.Upsample(scale_factor=2), (2, 3, 3, 2)),
    "flatten": (lambda r: nn.Flatten(), lambda t: t.Flatten(), (2, 3, 4, 5)),
}


def assert_close(ours, theirs, tolerance):
    """Equal to `tolerance`, relative to the largest element (or to 1, if that is larger)."""
    ours, theirs = np.asarray(ours), theirs.detach().numpy()
    assert ours.dtype == theirs.dtype
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= tolerance * max(1.0, np.abs(theirs).max())


def randomize(module, rng):
    """Move every weight off its first value: ones and zeros would hide a mistake."""
    for parameter in module.parameters():
        parameter.assign(parameter.data + rng.normal(size=parameter.shape).astype(parameter.dtype) * 0.3)


def load_into_torch(torch, module, theirs):
    state = {name: torch.tensor(array) for name, array in module.state_dict().items()}
    missing = theirs.load_state_dict(state, strict=False).missing_keys
    assert all(name.endswith("num_batches_tracked") for name in missing)


@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-6), ("float64", 1e-12)])
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_equals_pytorchs(name, dtype, tolerance):
    torch = pytest.importorskip("torch")
    make_ours, make_theirs, shape = LAYERS[name]
    rng = generator(1)
    ours, theirs = make_ours(rng).astype(dtype), make_theirs(torch.nn).to(getattr(torch, dtype))
    randomize(ours, rng)
    load_into_torch(torch, ours, theirs)
    values = rng.normal(size=shape).astype(dtype)
    x, x_theirs = tg.tensor(values, requires_grad=True), torch.tensor(values, requires_grad=True)

    y, y_theirs = ours(x), theirs(x_theirs)
    assert_close(y, y_theirs, tolerance)
    for buffer in ours.buffers:
        assert_close(getattr(ours, buffer), getattr(theirs, buffer), tolerance)
    assert y.shape == ours(values).shape  # an array serves as well

    cotangent = rng.normal(size=y.shape).astype(dtype)
    y.backward(cotangent)
    y_theirs.backward(torch.tensor(cotangent))
    tolerance *= 10  # gradients of weights are sums over the batch and space
    assert_close(x.grad, x_theirs.grad, tolerance)
    gradients = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    assert [name for name, _ in ours.named_parameters()] == list(gradients)
    for name, parameter in ours.named_parameters():
        assert_close(parameter.grad, gradients[name], tolerance)


@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-6), ("float64", 1e-12)])
@pytest.mark.parametrize("shape", [(8, 6), (3, 6, 4, 5)])
def test_running_statistics_and_evaluation_of_batch_norm_equal_pytorchs(shape, dtype, tolerance):
    torch = pytest.importorskip("torch")
    rng = generator(2)
    ours = nn.BatchNorm(6, momentum=0.2).astype(dtype)
    theirs = (torch.nn.BatchNorm1d if len(shape) == 2 else torch.nn.BatchNorm2d)(6, momentum=0.2)
    theirs = theirs.to(getattr(torch, dtype))
    randomize(ours, rng)
    load_into_torch(torch, ours, theirs)
    for _ in range(3):
        values = (rng.normal(size=shape) * 3 + 1).astype(dtype)
        ours(values)
        theirs(torch.tensor(values))
    assert_close(ours.running_mean, theirs.running_mean, tolerance)
    assert_close(ours.running_var, theirs.running_var, tolerance)
    ours.eval(), theirs.eval()
    before = ours.running_mean
    assert_close(ours(values), theirs(torch.tensor(values)), tolerance)
    assert ours.running_mean is before


def test_embedding_equals_pytorchs():
    torch = pytest.importorskip("torch")
    ours, theirs = nn.Embedding(7, 3, rng=generator()), torch.nn.Embedding(7, 3)
    load_into_torch(torch, ours, theirs)
    indices = generator().integers(0, 7, (4, 5))
    y, y_theirs = ours(indices), theirs(torch.tensor(indices))
    assert_close(y, y_theirs, 0)
    y.sum().backward(), y_theirs.sum().backward()
    assert_close(ours.weight.grad, theirs.weight.grad, 0)


def test_default_weights_have_pytorchs_bounds():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    pairs = [
        (nn.Linear(30, 400, rng=generator()), torch.nn.Linear(30, 400)),
        (nn.Conv2d(8, 600, (3, 5), groups=4, rng=generator()), torch.nn.Conv2d(8, 600, (3, 5), groups=4)),
        (nn.ConvTranspose2d(8, 600, 3, rng=generator()), torch.nn.ConvTranspose2d(8, 600, 3)),
        (nn.Embedding(300, 20, rng=generator()), torch.nn.Embedding(300, 20)),
    ]
    for ours, theirs in pairs:
        theirs = theirs.state_dict()
        for name, array in ours.state_dict().items():
            assert array.shape == tuple(theirs[name].shape)
            assert array.std() == pytest.approx(theirs[name].std().item(), rel=0.1)
            if not isinstance(ours, nn.Embedding):
                assert np.abs(array).max() == pytest.approx(theirs[name].abs().max().item(), rel=0.1)


# Losses


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", ["mse_loss", "l1_loss", "binary_cross_entropy_with_logits"])
def test_a_loss_equals_pytorchs(name, reduction):
    torch = pytest.importorskip("torch")
    rng = generator(3)
    x, y = rng.normal(size=(4, 5)), rng.random((4, 5))
    ours_x, theirs_x = tg.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    ours = getattr(nn, name)(ours_x, y, reduction=reduction)
    theirs = getattr(torch.nn.functional, name)(theirs_x, torch.tensor(y), reduction=reduction)
    assert_close(ours, theirs, 1e-12)
    ours.sum().backward(), theirs.sum().backward()
    assert_close(ours_x.grad, theirs_x.grad, 1e-12)


def test_the_kl_divergence_equals_pytorchs():
    torch = pytest.importorskip("torch")
    rng = generator(4)
    mu, log_var = rng.normal(size=(3, 4)), rng.normal(size=(3, 4))
    q = torch.distributions.Normal(torch.tensor(mu), torch.tensor(log_var).mul(0.5).exp())
    theirs = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0))
    assert_close(nn.kl_standard_normal(mu, log_var), theirs, 1e-12)


# No float64


@pytest.mark.parametrize("name", LAYERS)
def test_float32_stays_float32(name):
    make, _, shape = LAYERS[name]
    layer = make(generator())
    x = tg.tensor(generator().normal(size=shape).astype(np.float32), requires_grad=True)
    for y in (layer(x), layer.eval()(x)):
        assert y.dtype == np.float32
        y.sum().backward()
        assert {parameter.grad.dtype for parameter in layer.parameters()} | {x.grad.dtype} == {
            np.dtype(np.float32)
        }
    assert {array.dtype for array in layer.state_dict().values()} <= {np.dtype(np.float32)}
