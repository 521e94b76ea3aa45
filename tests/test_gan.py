"""The GAN: what a step of one player leaves of the other, packs and conditions, and its switches; see also
test_gan_losses.py, test_gan_training.py.
"""

import itertools

import numpy as np
import pytest
from watched import below, collected

import tinygen as tg
from tinygen import nn
from tinygen.models import GAN, GANConfig
from tinygen.models.gan_losses import LOSSES, OF_PROBABILITIES, gradient_penalty, r1
from tinygen.optim import Adam

POINTS = {"height": None, "width": 2, "latent": 2, "network": "mlp"}
POINTS |= {"hidden": 12, "layers": 2, "critic_hidden": 8, "critic_layers": 2, "pieces": 3}
IMAGES = {"height": 12, "width": 8, "latent": 5, "channels": 4}
KINDS = {
    "points": POINTS,
    "images": IMAGES,
    "batch norm in both": {**IMAGES, "critic_norm": "batch"},
    "all at once": {
        **IMAGES,
        "conditions": 3,
        "packing": 2,
        "critic_norm": "layer",
        "spectral_norm": True,
        "minibatch_std": True,
        "gradient_penalty": 10.0,
        "r1": 1.0,
        "label_smoothing": 0.1,
        "label_noise": 0.3,
    },
    "packs of points with labels": {**POINTS, "packing": 3, "conditions": 4},
}

FLOAT32_ALONE = {"float32", "bool", "int64"}


def generator(seed=0):
    return np.random.default_rng(seed)


def made(settings, count=12):
    """A GAN, and the arguments of its discriminator's loss, float32."""
    config = GANConfig(**settings)
    model, rng = GAN(config, rng=generator()), generator(1)
    x, c = rng.random((count, *config.shape), dtype=np.float32), None
    if config.conditions:
        c = np.eye(config.conditions, dtype=np.float32)[np.arange(count) % config.conditions]
    return model, (x, model.noise(count, rng=rng), c), model.draws(count // config.packing, rng=rng)


def left_of(module):
    """All that a module holds, byte for byte: weights, buffers, gradients."""
    arrays = module.state_dict() | {
        f"gradient of {name}": p.grad.numpy() for name, p in module.named_parameters() if p.grad is not None
    }
    return {name: array.tobytes() for name, array in arrays.items()}


# the two players


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_of_one_player_leaves_the_other_as_it_was_byte_for_byte(kind):
    model, inputs, draws = made(KINDS[kind])
    for module in (model.generator, model.discriminator):  # gradients that must not be touched
        for parameter in module.parameters():
            parameter.grad = tg.tensor(np.full(parameter.shape, 0.5, np.float32))
    losses = (
        (model.discriminator, model.generator, lambda: model.discriminator_loss(*inputs, **draws)[0]),
        (model.generator, model.discriminator, lambda: model.generator_loss(*inputs[1:])),
    )
    for mine, other, loss in losses:
        optimizer = Adam(mine.parameters(), lr=1e-2)
        optimizer.zero_grad()
        before, own = left_of(other), left_of(mine)
        loss().backward()
        optimizer.step()
        assert left_of(other) == before and any(name.startswith("gradient") for name in before)
        assert all(left_of(mine)[name] != array for name, array in own.items() if name.endswith("weight"))


def test_running_statistics_move_in_a_players_own_steps():
    model, inputs, draws = made(KINDS["batch norm in both"])
    norms = [
        next(part for _, part in module.named_modules() if isinstance(part, nn.BatchNorm))
        for module in (model.generator, model.discriminator)
    ]
    moved = []
    for loss in (
        lambda: model.discriminator_loss(*inputs, **draws),
        lambda: model.generator_loss(*inputs[1:]),
    ):
        before = [norm.running_mean.copy() for norm in norms]
        loss()
        moved.append([not np.array_equal(norm.running_mean, old) for norm, old in zip(norms, before)])
    assert moved == [[False, True], [True, False]]


@pytest.mark.parametrize("kind", KINDS)
def test_the_generators_graph_is_not_built_in_the_discriminators_step(kind):
    model, inputs, draws = made(KINDS[kind])
    forward, outputs = model.generator.forward, []
    model.generator.forward = lambda z, c=None: (outputs.append(forward(z, c)), outputs[-1])[1]
    loss, _ = model.discriminator_loss(*inputs, **draws)
    assert [out.node for out in outputs] == [None]
    leaves = {node for node in below(loss.node) if node.plan is None}
    own = {parameter.node for parameter in model.discriminator.parameters()}
    assert leaves & own and not leaves & {parameter.node for parameter in model.generator.parameters()}
    model.generator_loss(*inputs[1:])
    assert outputs[1].node is not None


def test_the_generator_gets_the_gradient_of_its_loss_through_the_discriminator():
    model, (_, z, _), _ = made({**POINTS, "loss": "hinge"})
    model.astype(np.float64)
    z = z.astype(np.float64)
    model.generator_loss(z).backward()
    parameter = model.generator.layers[0].weight
    direction, values = generator(4).standard_normal(parameter.shape), parameter.numpy().copy()
    sides = []
    for sign in (1, -1):
        parameter.assign(values + sign * 1e-6 * direction)
        sides.append(float(-model.discriminator(model.packs(model.generator(z))).numpy().mean()))
    assert float((parameter.grad.numpy() * direction).sum()) == pytest.approx(
        (sides[0] - sides[1]) / 2e-6, rel=1e-5
    )


@pytest.mark.parametrize("loss", LOSSES)
def test_both_losses_have_the_right_gradient_in_float64(loss):
    """By the last layer of the discriminator, penalties included, and by the generator's first norm."""
    extra = {"gradient_penalty": 2.0, "r1": 0.5, "packing": 3, "conditions": 4}
    model, inputs, draws = made({**POINTS, "loss": loss, **extra})
    model.astype(np.float64)
    inputs = [array.astype(np.float64) for array in inputs]
    t = draws["t"].astype(np.float64)
    for module in (model.generator, model.discriminator):  # larger weights: what is small hides mistakes
        for parameter in module.parameters():
            parameter.assign(parameter.numpy() + generator(9).standard_normal(parameter.shape) / 4)

    def by(layer, name, value):
        def f(values):
            setattr(layer, name, values)
            return value()

        tg.testing.gradcheck(f, getattr(layer, name).numpy())

    last, first = model.discriminator.layers[-1], model.generator.layers[1]
    by(first, "weight", lambda: model.generator_loss(*inputs[1:]))
    first.weight = nn.Parameter(first.weight.data)
    by(last, "weight", lambda: model.discriminator_loss(*inputs, t=t)[0])


# what the discriminator sees


@pytest.mark.parametrize("kind", KINDS)
def test_shapes(kind):
    model, (x, z, c), _ = made(KINDS[kind])
    config = model.config
    assert model.generate(z, c).shape == (12, *config.shape)
    logits = model.discriminator(model.packs(model.signal(x)), model.packs(c))
    assert logits.shape == (12 // config.packing,)
    if config.height:
        images = model.generate(50 * z, c).numpy()
        assert images.min() >= 0 and images.max() <= 1 and model.signal(x).min() < 0


def test_a_pack_is_judged_as_a_whole_and_by_the_order_in_it():
    model, (x, *_), _ = made({**POINTS, "packing": 3})
    packs = model.packs(x)
    assert packs.shape == (4, 3, 2) and np.array_equal(np.asarray(packs)[1, 2], x[5])
    logits = model.discriminator(packs).numpy()
    x[5] += 1
    changed = model.discriminator(model.packs(x)).numpy()
    assert (np.flatnonzero(changed != logits) == [1]).all()
    with pytest.raises(ValueError, match="expected a multiple of packing, 3, as the number of examples, got"):
        model.packs(x[:11])


def test_a_condition_reaches_both_networks():
    for kind in ("packs of points with labels", "all at once"):
        model, (x, z, c), _ = made(KINDS[kind])
        other = np.roll(c, 1, axis=1)
        model.eval()
        assert not np.allclose(model.generate(z, c).numpy(), model.generate(z, other).numpy())
        packs = model.packs(model.signal(x))
        logits = [model.discriminator(packs, model.packs(labels)).numpy() for labels in (c, other)]
        assert (logits[0] != logits[1]).all()


def test_real_and_fake_are_judged_apart_where_a_batch_matters_and_else_together():
    """The same logits either way, but where a batch is looked at as a whole."""
    for extra in ({}, {"minibatch_std": True}, {"critic_norm": "batch"}):
        model, (x, z, _), _ = made({**IMAGES, **extra})
        calls, forward = [], model.discriminator.forward
        model.discriminator.forward = lambda x, c=None: (calls.append(len(x)), forward(x, c))[1]  # noqa: B023
        _, figures = model.discriminator_loss(x, z)
        assert calls == ([12, 12] if extra else [24])
        logits = forward(model.packs(model.signal(x)), None).numpy()
        assert figures["real"] == pytest.approx((1 / (1 + np.exp(-logits))).mean(), rel=1e-5)


def test_noise_is_an_argument_so_that_a_loss_is_a_function():
    model, inputs, draws = made(KINDS["all at once"])
    states, losses = model.state_dict(), []
    for _ in range(2):
        model.load_state_dict(states)  # spectral norm's u moves
        losses.append(float(model.discriminator_loss(*inputs, **draws)[0].numpy()))
    assert losses[0] == losses[1]
    assert draws["t"].dtype == draws["flips"].dtype == np.float32 and set(draws["flips"].ravel()) == {0, 1}
    assert GAN(GANConfig(**POINTS), rng=generator()).draws(3, rng=generator()) == {"t": None, "flips": None}


# the switches


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("network", [POINTS, IMAGES], ids=["points", "images"])
def test_losses_and_figures_are_those_of_what_is_judged(network, loss):
    """Each pack beside its own labels, and penalties where they belong, with their weights."""
    settings = {"loss": loss, "packing": 3, "conditions": 4, "gradient_penalty": 2.0, "r1": 0.5}
    model, (x, z, c), draws = made({**network, **settings})
    for parameter in model.parameters():  # small weights would hide which label is beside which example
        if parameter.ndim > 1:
            parameter.assign(parameter.numpy() * 10)

    def judge(packs):
        return model.discriminator(packs, model.packs(c))

    with model.generator.held():
        real, fake = model.packs(model.signal(x)), model.packs(model.generator(z, c).numpy())
    said = {"real": judge(real).numpy(), "fake": judge(fake).numpy()}
    penalties = gradient_penalty(judge, real, fake, draws["t"]).item(), r1(judge, real).item()
    of_discriminator, of_generator = LOSSES[loss]
    total, figures = model.discriminator_loss(x, z, c, **draws)
    expected = float(of_discriminator(**said)) + 2 * penalties[0] + 0.5 * penalties[1]
    assert float(total.numpy()) == pytest.approx(expected, rel=1e-4)
    deceiving = float(of_generator(said["fake"]))
    assert float(model.generator_loss(z, c).numpy()) == pytest.approx(deceiving, rel=1e-4)
    assert (figures["penalty"].item(), figures["r1"].item()) == pytest.approx(penalties, rel=1e-4)
    for name, logits in said.items():
        mean = (1 / (1 + np.exp(-logits)) if loss in OF_PROBABILITIES else logits).mean()
        assert figures[name] == pytest.approx(mean, rel=1e-4)
    assert ("accuracy" in figures) == (loss != "wasserstein")


def test_accuracy_counts_what_is_right_on_both_sides():
    real, fake = np.float32([1.0, 0.6, -1.0, 0.2]), np.float32([-1.0, -0.5, -0.2, 0.7])
    for loss, right in (("minimax", 3 + 3), ("hinge", 3 + 3), ("least-squares", 2 + 3)):
        model = GAN(GANConfig(**POINTS, loss=loss), rng=generator())
        assert model.figures(real, fake)["accuracy"] == right / 8


def test_what_is_drawn_has_the_distribution_that_it_should():
    model = GAN(GANConfig(**POINTS, gradient_penalty=1.0, label_noise=0.2), rng=generator())
    draws = model.draws(20_000, rng=generator())
    np.testing.assert_allclose(draws["flips"].mean(axis=1), 0.2, atol=0.01)
    deciles = np.linspace(0.1, 0.9, 9)
    np.testing.assert_allclose(np.quantile(draws["t"], deciles), deciles, atol=0.015)
    z = model.noise(50_000, rng=generator())
    assert abs(z.mean()) < 0.01 and z.std() == pytest.approx(1, abs=0.01)
    assert (abs(z) > 2).mean() == pytest.approx(0.0455, abs=0.003)


def test_ink_comes_out_as_it_goes_in():
    model, (x, z, _), _ = made(IMAGES)
    model.generator = lambda z, c: tg.tensor(model.signal(x))
    np.testing.assert_allclose(model.generate(z).numpy(), x, atol=1e-6)


def test_labels_are_smoothed_for_real_examples_alone_and_swapped_where_flips_say():
    def opinionated(**settings):
        """At the start every logit is almost 0, and "real" costs as much as "fake"."""
        model, inputs, _ = made({**POINTS, **settings})
        for parameter in model.discriminator.parameters():
            parameter.assign(parameter.numpy() * 20)
        return model, inputs

    model, inputs = opinionated()
    x, z, _ = inputs
    with model.generator.held():
        fake = model.discriminator(model.packs(model.generator(z))).numpy()
    real = model.discriminator(model.packs(x)).numpy()
    log_d, log_not = (lambda v: -np.log1p(np.exp(-v))), (lambda v: -np.log1p(np.exp(v)))
    assert abs(real - fake).max() > 0.1
    smooth, inputs = opinionated(label_smoothing=0.1)
    expected = -(0.9 * log_d(real) + 0.1 * log_not(real)).mean() - log_not(fake).mean()
    assert float(smooth.discriminator_loss(*inputs)[0].numpy()) == pytest.approx(expected, rel=1e-5)
    flips = np.zeros((2, 12), np.float32)
    flips[0, :5], flips[1, 3:] = 1, 1
    swapped = -np.where(flips[0], log_not(real), log_d(real)).mean()
    swapped -= np.where(flips[1], log_d(fake), log_not(fake)).mean()
    noisy, inputs = opinionated(label_noise=0.4)
    assert float(noisy.discriminator_loss(*inputs, flips=flips)[0].numpy()) == pytest.approx(
        swapped, rel=1e-5
    )


def test_every_layer_of_the_discriminator_is_normalised_by_its_stretch():
    for settings in (POINTS, IMAGES):
        model, *_ = made({**settings, "spectral_norm": True})
        parts = [part for _, part in model.discriminator.named_modules()]
        heavy = [part for part in parts if isinstance(part, (nn.Linear, nn.Conv2d))]
        normed = [part.layer for part in parts if isinstance(part, nn.SpectralNorm)]
        assert heavy == normed and len(heavy) > 1
        assert not any(isinstance(part, nn.SpectralNorm) for _, part in model.generator.named_modules())


SIDES = {(8, 8): 1, (28, 28): 3, (32, 32): 3, (9, 5): 2, (3, 3): 1}  # how often they are halved


@pytest.mark.parametrize("sides", SIDES)
def test_dcgan_halves_sides_of_any_size_and_comes_back(sides):
    height, width = sides
    model, (x, z, _), _ = made({"height": height, "width": width, "latent": 3, "channels": 2}, count=2)
    assert model.generate(z).shape == (2, *sides)
    model.discriminator_loss(x, z)[0].backward()
    kinds = [
        [type(part) for _, part in module.named_modules()]
        for module in (model.generator, model.discriminator)
    ]
    assert kinds[0].count(nn.ConvTranspose2d) == kinds[1].count(nn.Conv2d) == SIDES[sides]
    assert [k.count(nn.Linear) for k in kinds] == [1, 1] and nn.MaxPool2d not in kinds[1]


def test_dcgan_has_the_papers_norms_and_the_paper_s_initial_weights():
    model, *_ = made({"height": 32, "width": 32, "latent": 10, "channels": 32, "critic_norm": "batch"})
    norms = [
        sum(isinstance(part, nn.BatchNorm) for _, part in module.named_modules())
        for module in (model.generator, model.discriminator)
    ]
    assert norms == [3, 2]  # all but the generator's last layer, all but the discriminator's first and last
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1 and parameter.size > 1000:
            assert float(parameter.numpy().std()) == pytest.approx(0.02, rel=0.05), name


@pytest.mark.parametrize("network", [POINTS, IMAGES], ids=["points", "images"])
@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
def test_a_layer_has_a_bias_unless_batch_norm_takes_it_off_again(network, norm):
    model, *_ = made({**network, "generator_norm": norm, "critic_norm": norm})
    without = 0
    for module in (model.generator, model.discriminator):
        layers = [part for part in module.layers if not isinstance(part, nn.Reshape)]
        for layer, following in itertools.pairwise([*layers, None]):
            if hasattr(layer, "bias") and not isinstance(layer, nn.BatchNorm | nn.GroupNorm):
                assert (layer.bias is None) == isinstance(following, nn.BatchNorm)
                without += layer.bias is None
    assert bool(without) == (norm == "batch")


def test_images_end_in_a_tanh_and_points_do_not():
    for settings, bounded in ((POINTS, False), ({**POINTS, "height": 4}, True), (IMAGES, True)):
        model, (_, z, _), _ = made(settings)
        for parameter in model.generator.parameters():
            parameter.assign(parameter.numpy() * 50)
        assert (abs(model.generator(z).numpy()).max() <= 1) == bounded


@pytest.mark.parametrize("network", [POINTS, IMAGES], ids=["points", "images"])
def test_a_layer_norm_is_over_all_of_an_example(network):
    model, *_ = made({**network, "generator_norm": "layer", "critic_norm": "layer"})
    norms = [part for _, part in model.named_modules() if isinstance(part, nn.GroupNorm)]
    assert norms and all(norm.groups == 1 for norm in norms)


def test_a_maxout_of_one_piece_is_a_leaky_relu_of_dcgans_slope():
    model, *_ = made({**POINTS, "pieces": 1})
    leaky = [part for _, part in model.discriminator.named_modules() if isinstance(part, nn.LeakyReLU)]
    assert len(leaky) == 2
    np.testing.assert_allclose(leaky[0](np.float32([-1, 1])), [-0.2, 1], rtol=1e-6)


def test_the_networks_for_points_are_pacgans():
    model = GAN(GANConfig(height=None, width=2, latent=2, network="mlp", packing=4), rng=generator())
    shapes = [p.shape for p in model.discriminator.parameters()]
    assert shapes == [(1000, 8), (1000,), (1000, 200), (1000,), (1000, 200), (1000,), (1, 200), (1,)]
    shapes = [p.shape for p in model.generator.parameters() if p.ndim > 1]
    assert shapes == [(400, 2), (400, 400), (400, 400), (400, 400), (2, 400)]


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"latent": 0}, "latent: expected at least 1, got 0"),
        ({"loss": "logistic"}, "loss: expected one of minimax, non-saturating, least-squares, hinge, wasser"),
        ({"hidden": 5}, "hidden: is not used by the network dcgan; leave it out"),
        ({"network": "mlp", "channels": 5}, "channels: is not used by the network mlp; leave it out"),
        ({"spectral_norm": "no"}, "spectral_norm: expected True or False, got 'no'; give one"),
        ({"label_noise": 0.9}, "label_noise: expected at least 0 and below 0.5, got 0.9"),
        ({"loss": "hinge", "label_smoothing": 0.1}, "label_smoothing: is not used by the loss hinge; .*-sat"),
        ({"loss": "wasserstein", "label_noise": 0.1}, "label_noise: is not used by the loss wasserstein"),
        ({"critic_norm": "batch", "r1": 1.0}, "critic_norm: expected layer or none beside a penalty on the"),
        ({"critic_norm": "batch", "gradient_penalty": 1.0}, "critic_norm: .* got batch; choose one"),
        ({"height": None, "width": 2}, "network: expected images for dcgan, got points; choose mlp"),
    ],
)
def test_settings_that_do_not_fit_are_errors(settings, message):
    with pytest.raises(ValueError, match=message):
        GANConfig(**settings)


def test_wrong_shapes_are_errors_that_say_what_was_expected():
    model, (x, z, _), _ = made(IMAGES)
    with pytest.raises(
        ValueError, match=r"GAN: expected examples of shape \(N, 12, 8\), got \(12, 96\); resh"
    ):
        model.discriminator_loss(x.reshape(12, -1), z)
    with pytest.raises(ValueError, match=r"expected noise for as many fakes as examples, 12, got 4; draw"):
        model.discriminator_loss(x, z[:4])
    t, flips = np.zeros(12, np.float32), np.zeros((2, 12), np.float32)
    for settings, draws, message in (
        ({"gradient_penalty": 1.0}, {}, r"expected t of shape \(12,\), got none; take it from GAN\.draws"),
        ({"gradient_penalty": 1.0}, {"t": t[:1]}, r"expected t of shape \(12,\), got \(1,\)"),
        ({"r1": 1.0}, {"t": t}, r"expected no t, got \(12,\)"),
        ({"label_noise": 0.1}, {}, r"expected flips of shape \(2, 12\), got none"),
        ({"label_noise": 0.1}, {"flips": flips[:, :1]}, r"expected flips of shape \(2, 12\), got \(2, 1\)"),
        ({"loss": "hinge"}, {"flips": flips}, r"expected no flips, got \(2, 12\)"),
    ):
        model, (x, z, _), _ = made({**POINTS, **settings})
        with pytest.raises(ValueError, match=rf"GAN\.discriminator_loss: {message}"):
            model.discriminator_loss(x, z, **draws)
    model, (x, z, c), _ = made({**POINTS, "conditions": 4})
    for use, name in (
        (lambda c: model.discriminator_loss(x, z, c), "discriminator_loss"),
        (lambda c: model.generator_loss(z, c), "generator_loss"),
        (lambda c: model.generate(z, c), "generate"),
    ):
        for bad, got in ((None, "None"), (c[:, :3], r"\(12, 3\)"), (c[:5], r"\(5, 4\)")):
            with pytest.raises(
                ValueError, match=rf"GAN\.{name}: expected rows of shape \(12, 4\) as condition, got {got}"
            ):
                use(bad)


# a step


@pytest.mark.parametrize("kind", KINDS)
def test_a_float32_step_is_float32_throughout(kind):
    """Everything on the tape and kept by it, gradients, and what buffers become."""
    model, inputs, draws = made(KINDS[kind])
    losses = model.discriminator_loss(*inputs, **draws)[0], model.generator_loss(*inputs[1:])
    for loss in losses:
        nodes = below(loss.node)
        kept = [array for node in nodes for array in node.kept or () if isinstance(array, np.ndarray)]
        assert {array.dtype.name for array in kept} | {node.dtype.name for node in nodes} <= FLOAT32_ALONE
        loss.backward()
    assert {p.grad.dtype.name for p in model.parameters()} == {"float32"}
    assert {array.dtype.name for array in model.state_dict().values()} == {"float32"}


def test_a_step_leaves_no_reference_cycle():
    model, inputs, draws = made(KINDS["all at once"])

    def step():
        model.zero_grad()
        model.discriminator_loss(*inputs, **draws)[0].backward()
        model.generator_loss(*inputs[1:]).backward()

    assert collected(step, times=2) == 0


@pytest.mark.parametrize("loss", LOSSES)
def test_steps_of_a_player_lower_its_loss_with_every_loss(loss):
    model, (x, z, _), _ = made({**POINTS, "loss": loss})
    for module, value in (
        (model.discriminator, lambda: model.discriminator_loss(x, z)[0]),
        (model.generator, lambda: model.generator_loss(z)),
    ):
        optimizer, losses = Adam(module.parameters(), lr=1e-2), []
        for _ in range(30):
            optimizer.zero_grad()
            losses.append(value())
            losses[-1].backward()
            optimizer.step()
        assert float(losses[-1].numpy()) < float(losses[0].numpy()) - 0.01
