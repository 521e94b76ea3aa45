"""The VAE: its equations by hand and by Monte Carlo, its gradient by PyTorch, what a step leaves behind."""

import gc
import math

import numpy as np
import pytest
from watched import seen, watched

import tinygen as tg
from tinygen.models import VAE, VAEConfig
from tinygen.optim import Adam
from tinygen.training import Session

SMALL = VAEConfig(inputs=12, hidden=7, latent=3)


def generator(seed=0):
    return np.random.default_rng(seed)


def model_and_input(count=5, config=SMALL):
    """A VAE, images and noise, float32."""
    model = VAE(config, rng=generator())
    return (
        model,
        generator(1).random((count, config.inputs), dtype=np.float32),
        model.noise(count, rng=generator(2)),
    )


def by_hand(state, x, eps):
    """(total, reconstruction, kl) in float64 NumPy, written with logs and exps as the paper has them."""
    w = {name: array.astype(np.float64) for name, array in state.items()}

    def linear(name, x):
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    h = np.maximum(linear("encoder", x.astype(np.float64)), 0)
    mu, sigma = linear("mean", h), np.exp(linear("log_variance", h) / 2)
    y = 1 / (1 + np.exp(-linear("pixels", np.maximum(linear("decoder", mu + sigma * eps), 0))))
    log_p = (x * np.log(y) + (1 - x) * np.log(1 - y)).sum(axis=1)
    kl = -0.5 * (1 + np.log(sigma**2) - mu**2 - sigma**2).sum(axis=1)
    return (kl - log_p).mean(), -log_p.mean(), kl.mean()


# the equations


def test_the_loss_is_the_formula_of_the_paper():
    model, x, eps = model_and_input()
    got = [float(value.numpy()) for value in model.loss(x, eps)]
    np.testing.assert_allclose(got, by_hand(model.state_dict(), x, eps), rtol=1e-5)


def test_the_kl_term_is_what_monte_carlo_estimates():
    model, x, eps = model_and_input(count=1)
    for parameter in model.parameters():  # larger weights than at the start: else the KL is almost zero
        parameter.assign(parameter.data * 4)
    mu, log_var = (t.numpy().astype(np.float64) for t in model.encode(x))
    kl = float(model.loss(x, eps)[2].numpy())
    z = mu + np.exp(log_var / 2) * generator(3).standard_normal((400_000, SMALL.latent))
    # log q(z|x) - log p(z); both have the same 2 pi
    ratio = 0.5 * (z**2 - (z - mu) ** 2 / np.exp(log_var) - log_var).sum(axis=1)
    error = ratio.std() / math.sqrt(len(ratio))
    assert kl > 1
    assert abs(ratio.mean() - kl) < 5 * error < 0.05 * kl


def test_samples_of_the_code_have_the_mean_and_variance_that_the_encoder_says():
    count = 200_000
    mu, log_var = np.float32([[1.5, -0.5]]), np.float32([[-1.0, 0.8]])
    model = VAE(VAEConfig(inputs=4, hidden=2, latent=2), rng=generator())
    z = np.asarray(model.reparameterise(mu, log_var, model.noise(count, rng=generator(4))))
    variance = np.exp(log_var[0])
    np.testing.assert_allclose(z.mean(axis=0), mu[0], atol=5 * math.sqrt(variance.max() / count))
    np.testing.assert_allclose(z.var(axis=0), variance, rtol=5 * math.sqrt(2 / count))


def test_generated_pixels_are_the_sigmoid_of_the_logits():
    model, _, z = model_and_input()
    pixels = model.generate(z * 100).numpy()
    assert pixels.shape == (5, SMALL.inputs) and pixels.min() >= 0 and pixels.max() <= 1
    logits = model.decode(z).numpy()
    np.testing.assert_allclose(model.generate(z).numpy(), 1 / (1 + np.exp(-logits)), rtol=1e-6)


def test_extreme_logits_and_black_and_white_pixels_keep_the_loss_and_gradients_finite():
    model, x, eps = model_and_input()
    model.pixels.bias.assign(np.where(np.arange(SMALL.inputs) % 2, 1e4, -1e4).astype(np.float32))
    total, _, _ = model.loss(np.round(x), eps)
    total.backward()
    assert np.isfinite(total.numpy())
    assert all(np.isfinite(p.grad.numpy()).all() for p in model.parameters())


def test_parameters_have_the_shapes_of_pytorchs_example():
    model = VAE(VAEConfig(inputs=784, hidden=400, latent=20), rng=generator())
    shapes = {name: p.shape for name, p in model.named_parameters()}
    assert shapes == {
        "encoder.weight": (400, 784),
        "encoder.bias": (400,),
        "mean.weight": (20, 400),
        "mean.bias": (20,),
        "log_variance.weight": (20, 400),
        "log_variance.bias": (20,),
        "decoder.weight": (400, 20),
        "decoder.bias": (400,),
        "pixels.weight": (784, 400),
        "pixels.bias": (784,),
    }


def test_wrong_shapes_and_sizes_are_errors_that_say_what_was_expected():
    model, x, eps = model_and_input()
    with pytest.raises(ValueError, match=r"VAE.encode: expected images of shape \(B, 12\), got \(5, 3, 4\)"):
        model.encode(x.reshape(5, 3, 4))
    with pytest.raises(ValueError, match=r"VAE.loss: expected noise of shape \(5, 3\), got \(1, 3\)"):
        model.loss(x, eps[:1])
    with pytest.raises(ValueError, match="latent: expected at least 1, got 0"):
        VAEConfig(latent=0)


# the gradient


def test_loss_and_gradients_agree_with_pytorch():
    torch = pytest.importorskip("torch")
    model, x, eps = model_and_input()
    model.astype(np.float64)
    total, _, _ = model.loss(x.astype(np.float64), eps.astype(np.float64))
    total.backward()
    weights = {n: torch.tensor(array, requires_grad=True) for n, array in model.state_dict().items()}
    x, eps = (torch.tensor(array, dtype=torch.float64) for array in (x, eps))

    def linear(name, x):
        return torch.nn.functional.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

    h = torch.relu(linear("encoder", x))
    mu, log_var = linear("mean", h), linear("log_variance", h)
    y = torch.sigmoid(linear("pixels", torch.relu(linear("decoder", mu + torch.exp(0.5 * log_var) * eps))))
    bce = torch.nn.functional.binary_cross_entropy(y, x, reduction="sum")
    expected = (bce - 0.5 * torch.sum(1 + log_var - mu**2 - log_var.exp())) / len(x)
    expected.backward()
    np.testing.assert_allclose(total.numpy(), expected.detach().numpy(), rtol=1e-12)
    for name, parameter in model.named_parameters():
        np.testing.assert_allclose(parameter.grad.numpy(), weights[name].grad.numpy(), rtol=1e-9, atol=1e-12)


def test_the_loss_has_the_right_second_derivative():
    model, x, eps = model_and_input(count=2)
    model.astype(np.float64)
    bias, x, eps = model.mean.bias.numpy(), x.astype(np.float64), eps.astype(np.float64)

    def loss(b):
        model.mean.bias = b
        return model.loss(x, eps)[0]

    tg.testing.gradcheck(loss, bias, order=2)


# a step


def on_the_tape(node):
    """Names of the dtypes of all results and kept arrays below a node."""
    nodes, stack = {node}, [node]
    while stack:
        for parent in stack.pop().parents:
            if parent not in nodes:
                nodes.add(parent)
                stack.append(parent)
    kept = [array for n in nodes for array in n.kept or () if isinstance(array, np.ndarray)]
    return {array.dtype.name for array in kept} | {n.dtype.name for n in nodes}


def test_a_float32_step_makes_no_float64_array():
    """Every array made from a weight, an image, the noise or a moment is looked at, temporaries too."""
    model, x, eps = model_and_input()
    x, eps = watched(x), watched(eps)
    optimizer = Adam(model.parameters(), lr=1e-3)
    optimizer.state = [[watched(moment) for moment in moments] for moments in optimizer.state]
    seen.clear()
    for _ in range(2):
        model.convert(watched)
        losses = model.loss(x, eps)
        seen.update(on_the_tape(losses[0].node))  # np.where, alone, makes arrays that are not watched
        losses[0].backward()
        assert {p.grad.dtype for p in model.parameters()} == {np.dtype(np.float32)}
        optimizer.step()
        optimizer.zero_grad()
    assert {value.dtype for value in losses} == {np.dtype(np.float32)}
    assert seen <= {"float32", "bool", "int64"} and "float32" in seen


def test_a_step_leaves_no_reference_cycle():
    model, x, eps = model_and_input()
    optimizer = Adam(model.parameters(), lr=1e-3)

    def step():
        optimizer.zero_grad()
        model.loss(x, eps)[0].backward()
        optimizer.step()

    step()  # what is made once (plans, moments) is made here
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            step()
        assert gc.collect() == 0
    finally:
        gc.enable()


# training


def test_two_epochs_lower_the_loss_on_data_not_trained_on(tmp_path):
    for library in ("sklearn", "safetensors", "matplotlib", "tqdm"):
        pytest.importorskip(library)
    begun = Session.begin("vae", {"hidden": 64, "epochs": 2}, out=tmp_path)
    before = begun.task.evaluate(generator())
    assert before["loss"] > 40  # 64 pixels at ln 2 nats: a decoder that says grey everywhere
    ending, _ = begun.train()
    rows = begun.run.metrics()
    assert ending == "steps" and [row["epoch"] for row in rows] == [1, 2]
    assert rows[1]["test_loss"] < rows[0]["test_loss"] and rows[1]["test_loss"] < 31
    assert rows[1]["test_loss"] == pytest.approx(
        rows[1]["test_reconstruction"] + rows[1]["test_kl"], rel=1e-5
    )
