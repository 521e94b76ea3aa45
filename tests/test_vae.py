"""The VAE: its equations by hand and by Monte Carlo, its gradient by PyTorch, what a step leaves behind."""

import math
import warnings

import numpy as np
import pytest
from watched import below, collected, seen, watched

import tinygen as tg
from tinygen import data
from tinygen.models import VAE, VAEConfig
from tinygen.models.image_networks import ACTIVATIONS
from tinygen.models.likelihoods import LIKELIHOODS
from tinygen.models.vae import total_correlation
from tinygen.optim import Adam
from tinygen.training import Session, conditions, session
from tinygen.training.vae_task import VAESampling

SMALL = VAEConfig(height=4, width=3, hidden=7, latent=3)


def generator(seed=0):
    return np.random.default_rng(seed)


def model_and_input(count=5, config=SMALL):
    """A VAE, images and noise, float32."""
    model = VAE(config, rng=generator())
    x = generator(1).random((count, config.height, config.width), dtype=np.float32)
    return model, x, model.noise(config.samples, count, rng=generator(2))


def by_hand(state, x, eps):
    """(total, reconstruction, kl) in float64 NumPy, written with logs and exps as the paper has them."""
    w = {name: array.astype(np.float64) for name, array in state.items()}

    def linear(name, x):
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    x, eps = x.reshape(len(x), -1).astype(np.float64), eps[0]
    h = np.maximum(linear("encoder.layers.0", x), 0)
    mu, sigma = linear("mean", h), np.exp(linear("log_variance", h) / 2)
    y = 1 / (
        1 + np.exp(-linear("decoder.pixels", np.maximum(linear("decoder.layers.0", mu + sigma * eps), 0)))
    )
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
    model = VAE(VAEConfig(height=2, width=2, hidden=2, latent=2), rng=generator())
    z = np.asarray(model.reparameterise(mu, log_var, model.noise(count, rng=generator(4))))
    variance = np.exp(log_var[0])
    np.testing.assert_allclose(z.mean(axis=0), mu[0], atol=5 * math.sqrt(variance.max() / count))
    np.testing.assert_allclose(z.var(axis=0), variance, rtol=5 * math.sqrt(2 / count))


def test_generated_pixels_are_the_sigmoid_of_the_logits():
    model, _, (z,) = model_and_input()
    pixels = model.generate(z * 100).numpy()
    assert pixels.shape == (5, 4, 3) and pixels.min() >= 0 and pixels.max() <= 1
    logits = model.decode(z).logits.numpy()
    np.testing.assert_allclose(model.generate(z).numpy(), 1 / (1 + np.exp(-logits)), rtol=1e-6)


def test_extreme_logits_and_black_and_white_pixels_keep_the_loss_and_gradients_finite():
    model, x, eps = model_and_input()
    model.decoder.pixels.bias.assign(np.where(np.arange(12) % 2, 1e4, -1e4).astype(np.float32))
    total, _, _ = model.loss(np.round(x), eps)
    total.backward()
    assert np.isfinite(total.numpy())
    assert all(np.isfinite(p.grad.numpy()).all() for p in model.parameters())


def test_parameters_have_the_shapes_of_pytorchs_example():
    model = VAE(VAEConfig(height=28, width=28, hidden=400, latent=20), rng=generator())
    shapes = {name: p.shape for name, p in model.named_parameters()}
    assert shapes == {
        "encoder.layers.0.weight": (400, 784),
        "encoder.layers.0.bias": (400,),
        "mean.weight": (20, 400),
        "mean.bias": (20,),
        "log_variance.weight": (20, 400),
        "log_variance.bias": (20,),
        "decoder.layers.0.weight": (400, 20),
        "decoder.layers.0.bias": (400,),
        "decoder.pixels.weight": (784, 400),
        "decoder.pixels.bias": (784,),
    }


def test_wrong_shapes_and_sizes_are_errors_that_say_what_was_expected():
    model, x, eps = model_and_input()
    with pytest.raises(ValueError, match=r"encode: expected images of shape \(B, 4, 3\), got \(5, 3, 4\)"):
        model.encode(x.reshape(5, 3, 4))
    with pytest.raises(ValueError, match=r"VAE.loss: expected noise of shape \(k, 5, 3\), got \(1, 1, 3\)"):
        model.loss(x, eps[:, :1])
    with pytest.raises(ValueError, match="latent: expected at least 1, got 0"):
        VAEConfig(latent=0)


def test_codes_of_another_size_and_noise_of_no_samples_are_told():
    model, x, eps = model_and_input()
    for z in (eps[0, :, :2], eps[0, 0], eps):
        with pytest.raises(ValueError, match=r"VAE.decode: expected codes of shape \(B, 3\), got "):
            model.generate(z)
    with pytest.raises(ValueError, match=r"loss: expected noise of shape \(k, 5, 3\), got \(0, 5, 3\)"):
        model.loss(x, eps[:0])


# the gradient


def test_loss_and_gradients_agree_with_pytorch():
    torch = pytest.importorskip("torch")
    model, x, eps = model_and_input()
    model.astype(np.float64)
    total, _, _ = model.loss(x.astype(np.float64), eps.astype(np.float64))
    total.backward()
    weights = {n: torch.tensor(array, requires_grad=True) for n, array in model.state_dict().items()}
    x, eps = (torch.tensor(array, dtype=torch.float64) for array in (x.reshape(len(x), -1), eps[0]))

    def linear(name, x):
        return torch.nn.functional.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

    h = torch.relu(linear("encoder.layers.0", x))
    mu, log_var = linear("mean", h), linear("log_variance", h)
    z = mu + torch.exp(0.5 * log_var) * eps
    y = torch.sigmoid(linear("decoder.pixels", torch.relu(linear("decoder.layers.0", z))))
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
    nodes = below(node)
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

    assert collected(step, times=3) == 0


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


# the bound of several samples


IWAE = VAEConfig(height=4, width=3, hidden=7, latent=3, likelihood="bernoulli", samples=6)


def test_the_bound_of_several_samples_is_that_of_the_paper():
    model, x, eps = model_and_input(config=IWAE)
    x = model.observe(x, rng=generator(3))
    loss, reconstruction, kl = (float(value.numpy()) for value in model.loss(x, eps))
    mu, log_var = (t.numpy().astype(np.float64) for t in model.encode(x))
    log_w = np.zeros((6, len(x)))
    for i, each in enumerate(eps.astype(np.float64)):
        z = mu + np.exp(log_var / 2) * each
        log_p = np.asarray(model.decode(z.astype(np.float32)).log_prob(x).numpy()).sum(axis=(1, 2))
        log_prior = (-(z**2) / 2 - math.log(2 * math.pi) / 2).sum(axis=1)
        log_q = (-(each**2) / 2 - log_var / 2 - math.log(2 * math.pi) / 2).sum(axis=1)
        log_w[i] = log_p + log_prior - log_q
    np.testing.assert_allclose(model.log_weights(x, eps).numpy(), log_w, rtol=1e-4)
    assert loss == pytest.approx(-np.log(np.exp(log_w).mean(axis=0)).mean(), rel=1e-5)
    assert kl == pytest.approx(float(model.loss(x, eps[:1])[2].numpy()))
    each = [float(model.loss(x, eps[i : i + 1])[1].numpy()) for i in range(6)]
    assert reconstruction == pytest.approx(np.mean(each), rel=1e-5)
    assert loss < reconstruction + kl  # the bound is nearer, but the KL among them is exact: equal it is not


@pytest.mark.parametrize("where", ["log_variance.weight", "mean.weight", "encoder.layers.0.weight"])
def test_the_bound_has_right_gradients_also_with_the_noise_in_each_sample(where):
    config = VAEConfig(height=2, width=2, hidden=3, latent=2, likelihood="bernoulli", samples=3)
    model, x, eps = model_and_input(count=2, config=config)
    model.astype(np.float64)
    weight, eps = dict(model.named_parameters())[where].numpy(), eps.astype(np.float64)
    x = np.round(x).astype(np.float64)
    if where.startswith("encoder"):
        layer = model.encoder.layers[0]
    else:
        layer = getattr(model, where.partition(".")[0])

    def loss(w):
        layer.weight = w
        return model.loss(x, eps)[0]

    tg.testing.gradcheck(loss, weight, order=2)


def test_each_of_several_codes_is_decoded_with_what_is_known_of_its_own_image():
    config = VAEConfig(height=4, width=3, hidden=7, latent=3, conditions=4, samples=3, likelihood="bernoulli")
    model, x, eps = model_and_input(config=config)
    for parameter in model.parameters():  # larger weights than at the start: else a condition says little
        parameter.assign(parameter.data * 4)
    x, c = np.round(x), np.eye(4, dtype=np.float32)[[0, 3, 1, 1, 2]]
    together = model.log_weights(x, eps, c).numpy()
    for b in range(5):
        alone = model.log_weights(x[b : b + 1], eps[:, b : b + 1], c[b : b + 1]).numpy()
        np.testing.assert_allclose(together[:, b], alone[:, 0], rtol=1e-4)
    mixed = model.log_weights(x, eps, c[::-1].copy()).numpy()
    assert np.abs(mixed - together)[:, [0, 1, 3, 4]].min(axis=0).max() > 0.1


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_a_task_draws_the_pixels_and_as_many_codes_as_it_is_told(likelihood):
    settings = {"samples": 3, "likelihood": likelihood, "condition": "label", "hidden": 8}
    task, *_ = session.prepared("vae", settings)
    model, (x, c, weight) = task.model, task.batch(0)
    rng = generator(5)
    seen = model.observe(x, rng=rng)
    expected = model.loss(seen, model.noise(3, len(x), rng=rng), c)[0]
    got, _ = task.loss((x, c, weight), generator(5))
    assert float(got.numpy()) == pytest.approx(float(expected.numpy()), rel=1e-6)
    rng = generator(6)
    seen = model.observe(task.test, rng=rng)
    expected = model.loss(seen, model.noise(3, len(seen), rng=rng), task.test_given)[0]
    found = task.evaluate(generator(6))
    assert found["loss"] == pytest.approx(float(expected.numpy()), rel=1e-6)
    mu, _ = model.encode(model.observe(task.test, rng=generator(7)), task.test_given)
    np.testing.assert_allclose(task.codes(generator(7))[0], mu.numpy(), rtol=1e-5, atol=1e-6)


# what is weighted, and what is free


def test_beta_and_a_warmup_weigh_the_kl_and_nothing_else():
    config = VAEConfig(height=4, width=3, hidden=7, latent=3, beta=4.0)
    model, x, eps = model_and_input(config=config)
    loss, reconstruction, kl = (float(v.numpy()) for v in model.loss(x, eps))
    assert loss == pytest.approx(reconstruction + 4 * kl, rel=1e-6)
    half = float(model.loss(x, eps, weight=0.5)[0].numpy())
    assert half == pytest.approx(reconstruction + 2 * kl, rel=1e-6)


def test_free_bits_are_free_in_each_dimension_and_have_no_gradient_there():
    config = VAEConfig(height=4, width=3, hidden=7, latent=3, free_bits=0.5)
    model, x, eps = model_and_input(config=config)
    model.mean.weight.assign(np.zeros((3, 7), np.float32))
    model.log_variance.weight.assign(np.zeros((3, 7), np.float32))
    model.log_variance.bias.assign(np.zeros(3, np.float32))
    model.mean.bias.assign(np.float32([2.0, 0.1, 0.0]))  # KL 2, 0.005 and 0
    loss, reconstruction, kl = model.loss(x, eps)
    assert float(kl.numpy()) == pytest.approx(2.005, rel=1e-5)
    assert float((loss - reconstruction).numpy()) == pytest.approx(3.0, rel=1e-5)
    gradient = tg.gradients(loss - reconstruction, [model.mean.bias])[0]
    np.testing.assert_allclose(np.asarray(gradient), [2.0, 0.0, 0.0], atol=1e-6)


def test_the_total_correlation_is_the_formula_written_out():
    rng = generator(7)
    mu, log_var, z = rng.normal(size=(3, 6, 4))
    density = np.exp(-((z[:, None] - mu) ** 2) / (2 * np.exp(log_var)) - log_var / 2) / math.sqrt(2 * math.pi)
    joint, apart = density.prod(axis=2).mean(axis=1), density.mean(axis=1).prod(axis=1)
    assert float(total_correlation(z, mu, log_var)) == pytest.approx(np.log(joint / apart).mean(), rel=1e-12)
    tg.testing.gradcheck(total_correlation, z, mu, log_var, order=2)


def test_the_total_correlation_of_independent_and_of_equal_dimensions():
    rng = generator(8)
    one = rng.normal(size=(50, 1))
    narrow = np.full((50, 2), -30.0)
    assert float(total_correlation(one, one, narrow[:, :1])) == pytest.approx(0, abs=1e-12)
    same = np.zeros((50, 3))
    assert float(total_correlation(rng.normal(size=(50, 3)), same, same)) == pytest.approx(0, abs=1e-12)
    twice = np.concatenate([one, one], axis=1)
    assert float(total_correlation(twice, twice, narrow)) == pytest.approx(math.log(50), rel=1e-6)


def test_independence_adds_its_share_of_the_total_correlation():
    config = VAEConfig(height=4, width=3, hidden=7, latent=3, independence=5.0, beta=2.0)
    model, x, eps = model_and_input(config=config)
    loss, reconstruction, kl = (float(v.numpy()) for v in model.loss(x, eps, weight=0.5))
    mu, log_var = model.encode(x)
    extra = float(total_correlation(model.reparameterise(mu, log_var, eps[0]), mu, log_var).numpy())
    assert loss == pytest.approx(reconstruction + 0.5 * (2 * kl + 5 * extra), rel=1e-5)


def test_free_bits_are_of_the_mean_over_the_batch_and_weighted_as_the_kl_is():
    config = VAEConfig(height=1, width=1, hidden=1, latent=2, free_bits=0.5, beta=3.0)
    model = VAE(config, rng=generator())
    weights = {
        "encoder.layers.0.weight": [[1]],
        "mean.weight": [[2], [0.2]],
        "log_variance.weight": [[0], [0]],
    }
    for name, parameter in model.named_parameters():
        parameter.assign(np.array(weights.get(name, np.zeros(parameter.shape)), np.float32))
    x = np.float32([1, 0]).reshape(2, 1, 1)  # KL of the first 2 and 0.02, of the second 0: on average 1, 0.01
    loss, reconstruction, kl = (
        float(v.numpy()) for v in model.loss(x, np.zeros((1, 2, 2), np.float32), weight=0.5)
    )
    assert kl == pytest.approx(1.01, rel=1e-5)
    assert loss - reconstruction == pytest.approx(3 * 0.5 * (1 + 0.5), rel=1e-5)


def test_settings_without_use_are_refused():
    for name, value in (("beta", 2.0), ("independence", 1.0), ("free_bits", 0.1), ("kl_warmup", 3)):
        with pytest.raises(ValueError, match=f"{name}: is not used with several samples"):
            VAEConfig(samples=5, **{name: value})
    with pytest.raises(ValueError, match="layers: is not used by the network conv"):
        VAEConfig(network="conv", layers=2)
    with pytest.raises(ValueError, match="channels: is not used by the network mlp"):
        VAEConfig(channels=8)


# networks and conditions


def test_the_networks_are_as_large_as_they_are_told_to_be():
    def shapes(**settings):
        model = VAE(VAEConfig(height=8, width=6, hidden=5, latent=2, **settings), rng=generator())
        return {name: p.shape for name, p in model.named_parameters() if p.ndim > 1}

    deep, wide = shapes(layers=3, likelihood="gaussian"), shapes(network="conv", channels=3, conditions=4)
    assert [deep[f"encoder.layers.{i}.weight"] for i in (0, 2, 4)] == [(5, 48), (5, 5), (5, 5)]
    assert [deep[f"decoder.layers.{i}.weight"] for i in (0, 2, 4)] == [(5, 2), (5, 5), (5, 5)]
    assert deep["decoder.pixels.weight"] == (96, 5)
    assert wide["encoder.convolutions.0.weight"] == (3, 1, 3, 3)  # to 4 x 3
    assert wide["encoder.features.0.weight"] == (5, 3 * 4 * 3 + 4)
    assert [wide[f"decoder.layers.{i}.weight"] for i in (0, 2)] == [(5, 2 + 4), (3 * 4 * 3, 5)]


@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_all_layers_have_the_activation_that_is_chosen(network):
    for activation, kind in ACTIVATIONS.items():
        config = VAEConfig(height=5, width=9, hidden=4, latent=2, network=network, activation=activation)
        modules = [type(module) for _, module in VAE(config, rng=generator()).named_modules()]
        found = [module for module in modules if module in ACTIVATIONS.values()]
        assert set(found) == {kind} and len(found) == {"mlp": 2, "conv": 6}[network]


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("shape", [(8, 8), (28, 28), (32, 32), (5, 9), (1, 1)])
def test_convolutions_bring_any_size_back(shape, likelihood):
    height, width = shape
    sizes = {
        "channels": 2,
        "hidden": 6,
        "latent": 2,
        "likelihood": likelihood,
        "levels": 17,
        "activation": "tanh",
    }
    config = VAEConfig(height=height, width=width, network="conv", **sizes)
    model, x, eps = model_and_input(count=3, config=config)
    loss, *_ = model.loss(model.observe(x, rng=generator(9)), eps)
    loss.backward()
    assert all(np.abs(p.grad.numpy()).max() > 0 for p in model.parameters() if p.ndim > 1)
    assert {array.dtype for array in (loss, *[p.grad for p in model.parameters()])} == {np.dtype(np.float32)}
    images = model.generate(eps[0]).numpy()
    assert images.shape == (3, *shape) and images.min() >= 0 and images.max() <= 1


@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_a_condition_reaches_encoder_and_decoder(network):
    config = VAEConfig(height=8, width=8, hidden=7, latent=3, conditions=4, network=network)
    model, x, eps = model_and_input(config=config)
    one, other = np.eye(4, dtype=np.float32)[[0] * 5], np.eye(4, dtype=np.float32)[[3] * 5]
    for function in (lambda c: model.encode(x, c)[0], lambda c: model.generate(eps[0], c)):
        assert np.abs(function(one).numpy() - function(other).numpy()).max() > 1e-4
    with pytest.raises(ValueError, match=r"encode: expected rows of shape \(5, 4\) as condition, got None"):
        model.loss(x, eps)
    with pytest.raises(ValueError, match=r"decode: expected rows of shape \(5, 4\) as condition, got \(5, 3"):
        model.decode(eps[0], one[:, :3])
    plain, nothing = model_and_input()[0], np.zeros((5, 0), np.float32)
    with pytest.raises(ValueError, match=r"expected rows of shape \(5, 0\) as condition, got \(5, 4\)"):
        plain.decode(eps[0], one)
    np.testing.assert_array_equal(plain.generate(eps[0], nothing).numpy(), plain.generate(eps[0]).numpy())


def trained(tmp_path, **settings):
    for library in ("sklearn", "safetensors", "matplotlib", "tqdm"):
        pytest.importorskip(library)
    begun = Session.begin("vae", {"hidden": 64, **settings}, out=tmp_path)
    begun.train()
    return begun


def test_a_conditional_vae_draws_what_it_is_told(tmp_path):
    begun = trained(tmp_path, epochs=40, condition="label", latent=4)
    task, model = begun.task, begun.task.model
    model.eval()
    c = np.eye(10, dtype=np.float32).repeat(30, axis=0)
    drawn = model.generate(model.noise(len(c), rng=generator()), c).numpy().reshape(len(c), -1)
    images, labels = task.train.reshape(len(task.train), -1), task.minibatches.arrays[1].argmax(axis=1)
    nearest = ((drawn[:, None] - images[None]) ** 2).sum(axis=2).argmin(axis=1)
    assert (labels[nearest] == c.argmax(axis=1)).mean() > 0.9


def test_factors_of_sprites_may_be_given_in_any_order():
    task, *_ = session.prepared("vae", {"data": "sprites", "condition": "scale,shape", "hidden": 8})
    assert task.given == {"scale": 4, "shape": 3}
    c = conditions.rows(np.array([[2, 1, 0, 0, 0]]), task.given, 1)
    assert c.tolist() == [[0, 1, 0, 0, 0, 0, 1]]
    assert data.known(np.array([0, 4, 1])) == {"label": 5} and data.known(None) == {}


@pytest.mark.parametrize(
    "settings, told",
    [
        ({"condition": "lable"}, "unknown condition 'lable'; did you mean label"),
        ({"condition": "label,shape"}, "unknown condition 'shape'"),
        ({"condition": ""}, "unknown condition ''; there is: label"),
        ({"condition": "label, label"}, "condition: expected each name once, got 'label, label'; leave one"),
    ],
)
def test_a_condition_that_is_not_known_is_refused(settings, told):
    with pytest.raises(ValueError, match=told):
        session.prepared("vae", settings)


@pytest.mark.parametrize("given", [*("10", "-1", "1,2", "7,", "", "seven", "²")])
def test_what_cannot_be_given_is_refused(tmp_path, given):
    task, *_ = session.prepared("vae", {"condition": "label", "hidden": 8})
    with pytest.raises(ValueError, match=f"given: expected label from 0 to 9, got {given!r}; change it"):
        task.sample(tmp_path / "x", VAESampling(given=given), rng=generator())
    two = {"shape": 3, "scale": 4}
    assert conditions.asked(" 2 ,0", two).tolist() == [[2, 0]] and conditions.asked(None, two) is None
    with pytest.raises(ValueError, match="shape from 0 to 2 and scale from 0 to 3, with a comma between"):
        conditions.asked("2,4", two)
    with pytest.raises(ValueError, match="given: is not used by a model without condition; leave it out"):
        conditions.asked("2", {})


def test_convolutions_have_twice_the_channels_where_there_is_half_the_side():
    model = VAE(VAEConfig(height=28, width=28, network="conv", channels=3), rng=generator())
    encoder, decoder = (
        [p.shape[:2] for p in part.convolutions.parameters() if p.ndim > 1]
        for part in (model.encoder, model.decoder)
    )
    assert encoder == [(3, 1), (6, 3), (12, 6)]  # to 14, 7 and 4
    assert decoder == [(12, 6), (6, 3), (3, 1)]  # of a transposed convolution the inputs come first
    usual = VAE(VAEConfig(network="conv"), rng=generator())
    assert usual.encoder.convolutions[0].weight.shape == (32, 1, 3, 3)


def test_an_activation_is_the_one_of_its_name():
    assert {name: kind.__name__.lower() for name, kind in ACTIVATIONS.items()} == {n: n for n in ACTIVATIONS}


def test_images_given_a_label_are_asked_for_that_one_and_as_many_as_told(tmp_path):
    task, *_ = session.prepared("vae", {"condition": "label", "hidden": 8})
    asked = []

    def generate(z, c):
        asked.append(c)
        return tg.tensor(np.zeros((len(z), 8, 8), np.float32))

    task.model.generate = generate
    task.sample(tmp_path / "sevens", task.sampling(given="7", count=3), rng=generator())
    task.sample(tmp_path / "all", task.sampling(count=20), rng=generator())
    assert [len(c) for c in asked] == [3, 20]
    assert (asked[0].argmax(axis=1) == 7).all()
    assert np.bincount(asked[1].argmax(axis=1)).tolist() == [2] * 10


# warmup and collapse


def test_the_weight_of_the_kl_rises_in_the_warmup():
    task, *_ = session.prepared("vae", {"kl_warmup": 4, "hidden": 8})
    assert [float(task.batch(step)[2][0]) for step in (0, 1, 3, 4, 100)] == [0.25, 0.5, 1.0, 1.0, 1.0]
    assert float(session.prepared("vae", {"hidden": 8})[0].batch(0)[2][0]) == 1.0
    loss, parts = task.loss(task.batch(1), generator())
    reconstruction, kl = (float(parts[name].numpy()) for name in ("reconstruction", "kl"))
    assert float(loss.numpy()) == pytest.approx(reconstruction + 0.5 * kl, rel=1e-6) and kl > 1e-3
    found = task.evaluate(generator())  # and is whole in an evaluation
    assert found["loss"] == pytest.approx(found["reconstruction"] + found["kl"], rel=1e-6)


def test_a_collapsed_posterior_is_told_once_and_a_healthy_one_is_not(tmp_path):
    with pytest.warns(
        UserWarning, match=r"posterior has collapsed: 0 of 8 dimensions .* try kl_warmup"
    ) as seen:
        begun = trained(tmp_path, epochs=6, beta=200.0)
    assert len(seen) == 1
    assert begun.run.metrics()[-1]["test_active_units"] == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        begun = trained(tmp_path, epochs=6)
    assert begun.run.metrics()[-1]["test_active_units"] >= 6


def test_a_collapse_is_no_news_in_the_first_epoch_and_the_advice_can_be_followed():
    for settings, advice in (({}, "; try kl_warmup"), ({"samples": 2}, "; try samples 1 with kl_warmup")):
        task, *_ = session.prepared("vae", {"hidden": 8, **settings})
        task.model.mean.weight.assign(np.zeros((8, 8), np.float32))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            task.batch(task.steps_per_epoch - 2)
            task.evaluate(generator())
            task.evaluate(generator())
            task.batch(task.steps_per_epoch - 1)
            task.evaluate(generator())
        with pytest.warns(UserWarning, match=f"0 of 8 dimensions of the code are in use, .*{advice}"):
            task.evaluate(generator())


@pytest.mark.parametrize(
    "latent, active, collapsed", [(9, 0, True), (9, 1, False), (20, 2, True), (20, 3, False)]
)
def test_a_posterior_has_collapsed_where_no_more_than_a_tenth_of_it_is_in_use(
    latent, active, collapsed, recwarn
):
    task, *_ = session.prepared("vae", {"hidden": 4, "latent": latent})
    for _ in range(3):
        task._warn_of_collapse(active)
    told = [str(warning.message) for warning in recwarn]
    assert len(told) == collapsed
    assert all(f"{active} of {latent} dimensions of the code are in use" in words for words in told)


@pytest.mark.filterwarnings("ignore:.*has collapsed")
def test_free_bits_and_a_warmup_each_bring_dimensions_back(tmp_path):
    found = {}
    for name, settings in {"hard": {}, "free": {"free_bits": 0.3}, "warm": {"kl_warmup": 600}}.items():
        given = {"hidden": 64, "latent": 8, "beta": 6.0, "epochs": 6, **settings}
        begun = Session.begin("vae", given, out=tmp_path, name=name)
        begun.train()
        found[name] = begun.run.metrics()[-1]["test_active_units"]
    assert found["hard"] <= 1 and found["free"] >= 6 and found["warm"] >= 6
