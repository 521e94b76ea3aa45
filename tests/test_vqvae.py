"""The VQ-VAE: its loss by hand and by PyTorch, its prior, what a step moves, and what a training tells."""

import itertools
import math
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from watched import collected

import tinygen as tg
from tinygen import data
from tinygen.models import VQVAE, VQVAEConfig, perplexity
from tinygen.training import Session, plots, session, vqvae_pictures
from tinygen.training.recipes import MODELS
from tinygen.training.step import take_step

SMALL = {"height": 9, "width": 8, "halvings": 1, "channels": 5, "blocks": 1, "codes": 7, "latent": 3}


def generator(seed=0):
    return np.random.default_rng(seed)


def model_and_images(count=4, dtype=np.float64, **options):
    """A VQVAE and images, with codes near to what its encoder says, so that several are chosen."""
    config = VQVAEConfig(**{**SMALL, **options})
    model = VQVAE(config, rng=generator()).astype(dtype)
    x = generator(1).random((count, config.height, config.width)).astype(dtype)
    said = model.encode(x).numpy().reshape(-1, config.latent)
    picked = said[np.linspace(0, len(said) - 1, config.codes).astype(int)] + 0.01
    model.load_state_dict({**model.state_dict(), "quantiser.codes": picked.astype(dtype)})
    return model, x


# sizes


@pytest.mark.parametrize(
    "height, width, halvings, grid",
    [(8, 8, 1, (4, 4)), (8, 8, 2, (2, 2)), (28, 28, 2, (7, 7)), (32, 32, 2, (8, 8)), (29, 30, 3, (3, 3))],
)
def test_any_image_comes_back_in_its_size_from_a_grid_of_codes(height, width, halvings, grid):
    sizes = {"height": height, "width": width, "halvings": halvings, "channels": 4}
    model = VQVAE(VQVAEConfig(**sizes, codes=6, latent=3), rng=generator())
    x = generator(1).random((2, height, width), dtype=np.float32)
    assert model.encode(x).shape == (2, *grid, 3) and model.config.grid == grid
    codes = model.codes(x)
    assert codes.shape == (2, *grid) and model.occurrences.shape == (*grid, 6)
    images = model.generate(codes).numpy()
    assert images.shape == x.shape and images.dtype == np.float32
    assert 0 <= images.min() < images.max() <= 1


def test_each_pixel_reaches_the_code_and_each_code_the_pixels():
    """Odd sizes too, where a halving leaves a row over."""
    model, x = model_and_images(count=1, height=7, width=5)
    sensitivity = tg.grad(lambda x: (model.encode(x) ** 2).sum())(x)
    assert (np.asarray(sensitivity) != 0).all()
    e = model.quantiser.look_up(model.codes(x))
    assert (np.asarray(tg.grad(lambda e: model.decode(e).log_prob(x).sum())(e)) != 0).all()


def test_mistakes_are_told():
    model, x = model_and_images()
    with pytest.raises(ValueError, match=r"VQVAE.encode: expected images of shape \(B, 9, 8\), got"):
        model.encode(x.reshape(4, -1))
    with pytest.raises(ValueError, match="halvings: expected a grid of at least one place, got 3 for"):
        VQVAEConfig(height=7, width=20, halvings=3)
    with pytest.raises(ValueError, match="codebook: expected one of average, gradient, got 'ema'"):
        VQVAEConfig(codebook="ema")
    with pytest.raises(ValueError, match="decay: expected at least 0 and below 1, got 1"):
        VQVAEConfig(decay=1.0)
    with pytest.raises(ValueError, match="count: expected at least 1, got 0"):
        MODELS["vqvae"].sampling(count=0)


def test_the_networks_and_the_codebook_are_as_they_are_told_to_be():
    sizes = {"halvings": 2, "channels": 6, "blocks": 3, "codes": 9, "latent": 5}
    config = VQVAEConfig(height=16, width=12, **sizes, likelihood="gaussian", decay=0.6, restart=0.3)
    model, block = VQVAE(config, rng=generator()), [(6, 6, 3, 3), (6, 6, 1, 1)]
    encoder, decoder = (
        [p.shape for p in part.parameters() if p.ndim > 1] for part in (model.encoder, model.decoder)
    )
    assert encoder == [(6, 1, 4, 4), (6, 6, 4, 4), *block * 3, (5, 6, 1, 1)]
    assert decoder == [(6, 5, 3, 3), *block * 3, (6, 6, 4, 4), (6, 2, 4, 4)]
    # Between any two convolutions of a network there is a ReLU; a block begins with one.
    blocks = ["_Residual"] * 3
    kinds = [[type(step).__name__ for step in part] for part in (model.encoder, model.decoder)]
    assert kinds[0] == ["Conv2d", "ReLU", "Conv2d", *blocks, "ReLU", "Conv2d"]
    assert kinds[1] == ["Conv2d", *blocks, "ReLU", "ConvTranspose2d", "ReLU", "ConvTranspose2d"]
    book = model.quantiser
    assert (book.codes.shape, book.decay, book.restart, book.learn) == ((9, 5), 0.6, 0.3, "average")


def test_grids_of_another_size_or_of_codes_that_there_are_not_are_told():
    model, _ = model_and_images(halvings=2, codes=4)
    for bad, told in (
        (np.zeros((3, 3, 3), int), r"grids of codes \(B, 2, 2\), got \(3, 3, 3\)"),
        (np.zeros((3, 1, 2), int), r"grids of codes \(B, 2, 2\), got \(3, 1, 2\)"),
        (np.zeros((2, 2), int), r"grids of codes \(B, 2, 2\), got \(2, 2\)"),
        (np.full((3, 2, 2), -1), "codes from 0 to 3, got -1 to -1"),
        (np.full((3, 2, 2), 4), "codes from 0 to 3, got 4 to 4"),
    ):
        for method in (model.generate, model.code_length, lambda codes: model.count([codes])):
            with pytest.raises(ValueError, match=f"VQVAE.*: expected {told}; give what VQVAE.codes"):
                method(bad)


# the loss


@pytest.mark.parametrize("codebook", ["average", "gradient"])
def test_loss_and_gradients_agree_with_pytorch(codebook):
    torch = pytest.importorskip("torch")
    model, x = model_and_images(codebook=codebook, likelihood="bernoulli", beta=0.3)
    x = np.round(x)
    found = model.loss(x)
    found.loss.backward()
    weights = {n: torch.tensor(array, requires_grad=True) for n, array in model.state_dict().items()}

    def layers(part, names, h):
        """A network, told by the names of its steps: a number is that of a convolution, r a ReLU."""
        for name in names.split():
            w = {key: weights.get(f"{part}.{name}.{key}") for key in ("weight", "bias")}
            if name == "r":
                h = torch.relu(h)
            elif name.startswith("block"):
                inner = layers(part, f"r {name[5:]}.wide r {name[5:]}.narrow", h)
                h = h + inner
            elif w["weight"].shape[2] == 4 and part == "decoder":
                h = torch.nn.functional.conv_transpose2d(
                    h, *w.values(), stride=2, padding=1, output_padding=(1, 0)
                )
            elif w["weight"].shape[2] == 4:
                h = torch.nn.functional.conv2d(h, *w.values(), stride=2, padding=1)
            else:
                h = torch.nn.functional.conv2d(h, *w.values(), padding=w["weight"].shape[2] // 2)
        return h

    pixels = torch.tensor(x)
    z = layers("encoder", "0 block1 r 3", pixels[:, None]).movedim(1, -1)
    book = weights["quantiser.codes"]
    chosen = torch.cdist(z.reshape(-1, 3), book).argmin(1).reshape(z.shape[:-1])
    assert np.array_equal(chosen.numpy(), found.codes) and len(set(found.codes.ravel())) > 3
    e = book[chosen]
    logits = layers("decoder", "0 block1 r 3", (z + (e - z).detach()).movedim(-1, 1))[:, 0]
    bce = torch.nn.functional.binary_cross_entropy_with_logits(logits, pixels, reduction="sum")
    expected = bce + 0.3 * ((z - e.detach()) ** 2).sum()
    if codebook == "gradient":
        expected = expected + ((z.detach() - e) ** 2).sum()
    expected = expected / len(x)
    expected.backward()
    np.testing.assert_allclose(found.loss.numpy(), expected.detach().numpy(), rtol=1e-12)
    named = dict(model.named_parameters())
    assert ("quantiser.codes" in named) == (codebook == "gradient")
    for name, parameter in named.items():
        np.testing.assert_allclose(
            parameter.grad.numpy(), weights[name].grad.numpy(), rtol=1e-9, atol=1e-12, err_msg=name
        )


@pytest.mark.parametrize("likelihood", ["cross-entropy", "logistic", "gaussian", "continuous-bernoulli"])
def test_the_loss_is_equation_3_by_hand_whatever_pixels_are_taken_to_be(likelihood):
    model, x = model_and_images(likelihood=likelihood, levels=17, beta=0.4)
    x = model.observe((np.round(16 * x) / 16).astype(np.float32), rng=generator(2)).astype(np.float64)
    found = model.loss(x)
    z, e = model.encode(x).numpy(), model.quantiser.codes[found.codes]
    commitment = ((z - e) ** 2).sum() / len(x)
    distortion = -model.decode(e).log_prob(x).numpy().sum() / len(x)
    assert float(found.reconstruction.numpy()) == pytest.approx(distortion, rel=1e-12)
    assert float(found.commitment.numpy()) == pytest.approx(commitment, rel=1e-12)
    assert float(found.loss.numpy()) == pytest.approx(distortion + 0.4 * commitment, rel=1e-12)


def test_what_the_decoder_sees_are_the_codes_to_the_bit():
    """So what is drawn again from codes is what was measured."""
    model, x = model_and_images(dtype=np.float32)
    logits = model.decode(model.quantiser(model.encode(x))[0]).logits.numpy()
    from_codes = model.decode(model.quantiser.look_up(model.codes(x))).logits.numpy()
    np.testing.assert_array_equal(logits, from_codes)
    np.testing.assert_array_equal(model.generate(model.codes(x)).numpy(), tg.sigmoid(from_codes))


def test_the_decoders_gradient_is_exact_to_second_order():
    model, x = model_and_images(count=2)
    bias = model.decoder[0].bias.numpy()

    def loss(b):
        model.decoder[0].bias = b
        return model.loss(x).loss

    tg.testing.gradcheck(loss, bias, order=2)


# the prior


def test_the_prior_is_what_was_counted_and_one_image_of_all_codes():
    model, _ = model_and_images(halvings=2, codes=4)
    np.testing.assert_array_equal(model.prior(), np.full((2, 2, 4), 0.25))  # before anything is counted
    grids = np.array([[[0, 1], [2, 3]], [[0, 1], [2, 2]], [[0, 3], [2, 1]]])
    model.count([grids[:2], grids[2:]])
    p = model.prior()
    np.testing.assert_allclose(p.sum(axis=-1), 1)
    np.testing.assert_allclose(p[0, 0], [3.25 / 4, 0.25 / 4, 0.25 / 4, 0.25 / 4])
    np.testing.assert_allclose(p[1, 1], [0.25 / 4, 1.25 / 4, 1.25 / 4, 1.25 / 4])
    expected = [-math.log(math.prod(p[i, j, g[i, j]] for i in (0, 1) for j in (0, 1))) for g in grids]
    np.testing.assert_allclose(model.code_length(grids), expected)
    model.count([grids[:1]])
    assert model.occurrences.sum() == 4  # counted anew


def test_what_is_drawn_has_the_frequencies_of_the_prior():
    model, _ = model_and_images(halvings=2, codes=4)
    model.count([generator(3).choice(4, p=[0.7, 0.2, 0.1, 0], size=(50, 2, 2))])
    drawn, p = model.draw(20_000, rng=generator(4)), model.prior()
    assert drawn.shape == (20_000, 2, 2)
    for place in np.ndindex(2, 2):
        seen = np.bincount(drawn[(slice(None), *place)], minlength=4) / 20_000
        np.testing.assert_allclose(seen, p[place], atol=5 * np.sqrt(p.max() / 20_000))
    together = np.mean(drawn[:, 0, 0] == drawn[:, 0, 1])
    assert together == pytest.approx((p[0, 0] * p[0, 1]).sum(), abs=0.02)  # one does not know the other


# a step


def begun(**settings):
    """A task with its data, its configuration and optimizers: a small VQ-VAE on digits."""
    small = {"channels": 8, "blocks": 1, "codes": 16, "latent": 4, "steps": 10, "lr": 1e-3}
    task, config, *_ = session.prepared("vqvae", {**small, **settings})
    return task, config, [config.make_optimizer(player.module.parameters()) for player in task.players]


@pytest.fixture
def digits():
    pytest.importorskip("sklearn")


@pytest.mark.parametrize("codebook", ["average", "gradient"])
def test_a_minibatch_in_pieces_moves_everything_as_the_whole_does(digits, codebook):
    states = []
    for pieces in (1, 2, 3):
        task, config, optimizers = begun(accumulate=pieces, codebook=codebook, optimizer="sgd")
        for step in range(2):
            take_step(task, optimizers, task.batch(step), config, step, lr=1e-4)
        assert task.seen == []
        states.append(task.model.state_dict())
    for other, (name, array) in itertools.product(states[1:], states[0].items()):
        np.testing.assert_allclose(other[name], array, rtol=1e-3, atol=1e-6, err_msg=name)


def test_a_step_updates_the_codebook_once_and_an_evaluation_does_not(digits):
    task, config, optimizers = begun(decay=0.75)
    take_step(task, optimizers, task.batch(0), config, 0, lr=0.0)
    state, places = task.model.state_dict(), 50 * 2 * 2
    dead = state["quantiser.counts"] == state["quantiser.counts"].min()
    assert state["quantiser.counts"][~dead].sum() == pytest.approx(0.25 * places, rel=1e-5)
    task.model.eval()
    task.evaluate(generator())
    after = task.model.state_dict()
    assert after.pop("occurrences").sum() == len(task.train) * 4 and state.pop("occurrences").sum() == 0
    assert all(np.array_equal(array, state[name]) for name, array in after.items())


def test_a_float32_step_stays_in_float32_and_leaves_no_reference_cycle(digits):
    task, config, optimizers = begun()

    def step():
        take_step(task, optimizers, task.batch(0), config, 0, lr=1e-3)

    assert collected(step) == 0
    assert {array.dtype.name for array in task.model.state_dict().values()} == {"float32"}
    assert {p.grad.dtype.name for p in task.model.parameters()} == {"float32"}
    assert task.model.loss(task.batch(0)[0]).loss.dtype == np.float32


def test_what_is_learned_counted_and_judged_is_what_the_likelihood_observes(digits):
    task, *_ = begun(likelihood="bernoulli")
    model, (x,) = task.model, task.batch(0)
    said = model.encode(task.train[:40]).numpy().reshape(-1, 4)[::10]
    model.load_state_dict({**model.state_dict(), "quantiser.codes": said})
    expected = model.loss(model.observe(x, rng=generator(5))).loss
    assert float(task.loss((x,), generator(5))[0].numpy()) == pytest.approx(float(expected.numpy()), rel=1e-6)
    rng = generator(6)
    parts = data.in_order(task.train, size=task.at_once)
    codes = np.concatenate([model.codes(model.observe(part, rng=rng)) for (part,) in parts])
    expected = model.loss(model.observe(task.test, rng=rng))
    found = task.evaluate(generator(6))
    np.testing.assert_array_equal(
        model.occurrences.sum(axis=(0, 1)), np.bincount(codes.reshape(-1), minlength=16)
    )
    assert found["loss"] == pytest.approx(float(expected.loss.numpy()), rel=1e-6)


# what a training tells


def test_the_figures_of_an_evaluation_are_those_of_the_definitions(digits):
    task, *_ = begun(likelihood="logistic")
    model = task.model.eval()
    said = model.encode(task.train[:12]).numpy().reshape(-1, 4)[::3]
    model.load_state_dict({**model.state_dict(), "quantiser.codes": said})
    found, codes = task.evaluate(generator()), model.codes(task.test)
    counts = np.bincount(codes.ravel(), minlength=16)
    p = counts[counts > 0] / counts.sum()
    entropy = -(p * np.log(p)).sum()
    assert found["perplexity"] == pytest.approx(math.exp(entropy), rel=1e-9) and 5 < found["perplexity"] < 16
    assert found["usage"] == len(p) / 16
    assert found["rate"] == pytest.approx(4 * entropy / math.log(2), rel=1e-9)
    counts = np.bincount(model.codes(task.train).ravel(), minlength=16)
    np.testing.assert_array_equal(model.occurrences.sum(axis=(0, 1)), counts)
    assert found["train_perplexity"] == pytest.approx(perplexity(counts), rel=1e-5)
    assert found["train_usage"] == (counts > 0).mean()
    distortion = -model.decode(model.quantiser.look_up(codes)).log_prob(task.test).numpy().sum(axis=(1, 2))
    assert found["reconstruction"] == pytest.approx(distortion.mean(), rel=1e-5)
    assert found["bound"] == pytest.approx((distortion + model.code_length(codes)).mean(), rel=1e-5)
    (remark,) = task.remarks
    assert "4 places, 16 bits if all" in remark and f"{found['rate']:.4g} by how often each" in remark
    assert not any(name.startswith("train_") for name in task.measure(generator()))


def test_a_planted_collapse_is_told_once_and_not_in_the_first_epoch(digits):
    task, *_ = begun(restart=0.0, codes=40)
    away = task.model.quantiser.codes + 1e3
    away[3] = 0
    task.model.load_state_dict({**task.model.state_dict(), "quantiser.codes": away})
    task.model.eval()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        task.batch(task.steps_per_epoch - 2)
        task.evaluate(generator())
    task.batch(task.steps_per_epoch - 1)
    told = "the codebook has collapsed: 1 of 40 codes are in use, with a perplexity of 1; try a"
    with pytest.warns(UserWarning, match=told):
        task.evaluate(generator())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        task.evaluate(generator())


def test_many_codes_of_which_few_are_in_use_are_a_collapse_too_and_a_small_codebook_is_none(digits):
    for codes, alive, collapsed in ((100, 4, True), (80, 4, False), (4, 1, True), (3, 1, False)):
        task, *_ = begun(restart=0.0, codes=codes)
        said = task.model.encode(task.train).numpy().reshape(-1, 4)
        far = np.full((codes, 4), 1e3, np.float32)
        far[:alive] = np.quantile(said, np.linspace(0.1, 0.9, alive), axis=0)
        task.model.load_state_dict({**task.model.state_dict(), "quantiser.codes": far})
        task.batch(task.steps_per_epoch)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = task.evaluate(generator())
        assert found["train_usage"] == alive / codes and (alive == 1 or found["train_perplexity"] > 2)
        assert any("has collapsed" in str(warning.message) for warning in caught) == collapsed


def test_two_epochs_lower_the_loss_and_keep_the_codebook_in_use(tmp_path, digits):
    for library in ("safetensors", "matplotlib", "tqdm"):
        pytest.importorskip(library)
    begun = Session.begin("vqvae", {"channels": 16, "codes": 32, "epochs": 2}, out=tmp_path)
    before = begun.task.evaluate(generator())
    assert before["loss"] > 40  # 64 pixels at ln 2 nats: a decoder that says grey everywhere
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # and no collapse is told
        ending, _ = begun.train()
    rows = begun.run.metrics()
    assert ending == "steps" and [row["epoch"] for row in rows] == [1, 2]
    assert rows[1]["test_loss"] < rows[0]["test_loss"] < 35 and rows[1]["test_loss"] < 29
    assert rows[1]["test_usage"] > 0.5 and rows[1]["train_usage"] > 0.5
    assert 10 < rows[1]["train_perplexity"] <= 32
    assert rows[1]["test_rate"] == pytest.approx(4 * math.log2(rows[1]["test_perplexity"]), rel=1e-5)
    assert rows[1]["test_bound"] > rows[1]["test_reconstruction"] > rows[1]["test_loss"] - 3


# pictures


def test_the_bars_of_the_usage_panel_are_the_sorted_shares():
    title, words, bars = vqvae_pictures.usage_panel(np.array([1.0, 0.0, 4.0, 3.0]))
    side = vqvae_pictures.CHART
    assert bars.shape == (1, 1, side, side)
    heights = bars[0, 0].sum(axis=0)
    expected = np.ceil(side * np.array([1, 0.75, 0.25, 0])).repeat(side // 4)
    np.testing.assert_array_equal(heights, expected)
    assert bars[0, 0, -1, 0] == 1  # they stand on the ground
    assert words.startswith("75 % of 4 codes, perplexity") and words.endswith("most 50 %") and title


@pytest.mark.parametrize("codes", [5, 100])
def test_what_a_code_draws_is_the_average_around_its_places(codes):
    model, x = model_and_images(count=20, codes=codes, dtype=np.float32)
    grids = generator(2).choice(
        codes, p=generator(3).dirichlet(np.ones(codes)), size=(20, *model.config.grid)
    )
    grids[grids == 2] = 3  # which does not occur
    title, words, tiles = vqvae_pictures.strokes_panel(model, grids)
    drawn, around = model.generate(grids).numpy(), {}
    for b, i, j in np.ndindex(*grids.shape):  # places of 2 x 2 pixels
        tile = np.zeros((6, 6))
        for y, x in np.ndindex(6, 6):
            if 0 <= 2 * i - 2 + y < 9 and 0 <= 2 * j - 2 + x < 8:
                tile[y, x] = drawn[b, 2 * i - 2 + y, 2 * j - 2 + x]
        around.setdefault(grids[b, i, j], []).append(tile)
    order = sorted(around, key=lambda k: (-len(around[k]), k))[:64]
    expected = [np.mean(around[k], axis=0) for k in order] + [np.zeros((6, 6))] * (64 - len(order))
    assert len(order) == min(64, len(around)) and 2 not in order and title and words
    np.testing.assert_allclose(tiles.reshape(64, 6, 6), expected, rtol=1e-5, atol=1e-7)


def test_the_picture_of_the_end_has_four_panels_of_few_images_too():
    model, x = model_and_images(count=3, dtype=np.float32)
    model.count([model.codes(x)])
    panels = vqvae_pictures.panels(model, x, rng=generator())
    assert [panel[2].shape[-2:] for panel in panels[:2]] == [(9, 8)] * 2 and len(panels) == 4
    pairs = panels[0][2]
    np.testing.assert_array_equal(pairs[:, 0].reshape(-1, 9, 8)[:6], np.concatenate([x, x]))
    np.testing.assert_allclose(pairs[0, 1, :3], model.generate(model.codes(x)).numpy(), rtol=1e-5)


def test_as_many_images_are_drawn_as_told_and_the_picture_of_the_end_is_of_test_images(
    tmp_path, digits, monkeypatch
):
    task, *_ = begun()
    task.model.count([task.model.codes(task.train)])
    saved = []
    monkeypatch.setattr(plots, "save_panels", lambda panels, path: saved.append(panels))
    task.sample(tmp_path / "few", task.sampling(count=70), rng=generator())
    ((_, _, images),) = saved[0]
    assert images.shape == (9, 8, 8, 8) and images[8, 5].any() and not images[8, 6].any()
    task.final_samples(SimpleNamespace(path=tmp_path.joinpath), generator())
    np.testing.assert_array_equal(saved[1][0][2][:, 0].reshape(-1, 8, 8), task.test[:32])
