"""Layers and losses: PyTorch as oracle with the same weights, hand-checkable examples, and errors."""

import math

import numpy as np
import pytest

import tinygen as tg
from tinygen import nn


def generator(seed=0):
    return np.random.default_rng(seed)


# ------------------------------------------------------------------ against PyTorch, with the same weights
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


# ------------------------------------------------------------------ by hand


def test_batch_norm_by_hand():
    norm = nn.BatchNorm(1, eps=0.0, momentum=0.5)
    x = np.array([[1.0], [3.0]], np.float32)
    assert norm(x).tolist() == [[-1.0], [1.0]]
    assert norm.running_mean.tolist() == [1.0]  # half of 0, half of 2
    assert norm.running_var.tolist() == [1.5]  # half of 1, half of the unbiased 2
    norm.eval()
    assert np.allclose(norm(x).numpy(), (x - 1) / math.sqrt(1.5), rtol=1e-6)


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


# ------------------------------------------------------------------ first values


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


# ------------------------------------------------------------------ losses


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


def test_the_kl_divergence_equals_pytorchs_and_keeps_its_digits_near_zero():
    torch = pytest.importorskip("torch")
    rng = generator(4)
    mu, log_var = rng.normal(size=(3, 4)), rng.normal(size=(3, 4))
    q = torch.distributions.Normal(torch.tensor(mu), torch.tensor(log_var).mul(0.5).exp())
    theirs = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0))
    assert_close(nn.kl_standard_normal(mu, log_var), theirs, 1e-12)
    tiny = np.float32(
        1e-3
    )  # KL is log_var^2 / 4 to first order; the plain formula in float32 gives 0 or 3e-8 around it
    assert nn.kl_standard_normal(np.zeros(1, np.float32), np.full(1, tiny)) == pytest.approx(2.5e-7, rel=1e-2)


# ------------------------------------------------------------------ no float64


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


# ------------------------------------------------------------------ errors

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
