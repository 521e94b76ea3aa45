"""How a GAN is trained: several updates in a step, rates of a player's own, averages; figures and warnings.

What a run leaves, and that it goes on to the same bits, is tested for every model in test_models_in_runs.py.
"""

import dataclasses
import warnings

import numpy as np
import pytest
from tasks import Duel
from test_loop import FULL, KillAt, Killed, finished, left_behind, run_in

import tinygen as tg
from tinygen import data, nn
from tinygen.metrics import mode_coverage
from tinygen.training import Session, TrainingConfig, session, train
from tinygen.training.gan_task import JUDGED, PATIENCE, GANTask
from tinygen.training.step import _noise, take_step

for library in ("sklearn", "matplotlib", "safetensors", "tqdm", "PIL"):
    pytest.importorskip(library)

POINTS = {"data": "ring", "hidden": 8, "layers": 1, "critic_hidden": 6, "critic_layers": 1, "batch": 10}
POINTS |= {"steps": 6, "evaluate_every": 3}
IMAGES = {"data": "digits", "channels": 2, "latent": 3, "batch": 20, "steps": 4, "evaluate_every": 2}


def generator(seed=0):
    return np.random.default_rng(seed)


def prepared(**settings):
    """A GANTask with its data, and its TrainingConfig."""
    task, config, *_ = session.prepared("gan", {**POINTS, **settings})
    return task, config


# several updates in a step


class Busy(Duel):
    """A duel whose critic makes three updates in a step, at a rate of its own; it notes what it is given."""

    def __init__(self, config, settings=None):
        super().__init__(config)
        critic, deceiver = self.players
        self.players = dataclasses.replace(critic, updates=3, settings=settings or {}), deceiver
        self.minibatches.size, self.minibatches.equal = 3 * 2, True
        self.seen = []

    def criticise(self, batch, rng):
        self.seen.append(("critic", batch[0].copy(), int(rng.bit_generator.random_raw())))
        return super().criticise(batch, rng)

    def deceive(self, batch, rng):
        self.seen.append(("generator", batch[0].copy(), int(rng.bit_generator.random_raw())))
        return super().deceive(batch, rng)


def test_each_update_has_a_minibatch_and_noise_of_its_own():
    config = TrainingConfig(steps=1, batch=2)
    task = Busy(config)
    (whole,) = task.batch(0)
    take_step(task, config.make_optimizers(task.players), (whole,), config, 0, lr=1e-3)
    names, batches, noise = zip(*task.seen)
    assert names == ("critic", "critic", "critic", "generator")
    assert np.array_equal(np.concatenate(batches[:3]), whole) and np.array_equal(batches[3], batches[0])
    assert len(set(noise)) == 4
    layers = [module for _, module in task.model.named_modules() if hasattr(module, "rng")]
    drawn = set()
    for update in range(3):
        drawn.add(int(_noise(task, 0, 5, 1, update).bit_generator.random_raw()))
        drawn |= {int(layer.rng.bit_generator.random_raw()) for layer in layers}
    assert len(drawn) == 3 * (1 + len(layers)) and len(layers) == 2


def test_every_update_moves_its_player():
    config = TrainingConfig(steps=1, batch=2)
    task, moved = Busy(config), []

    class Counted:
        """An optimizer that notes whose it is at each step."""

        def __init__(self, name, optimizer):
            self.name, self.optimizer = name, optimizer

        def __getattr__(self, name):
            return getattr(self.optimizer, name)

        def step(self):
            moved.append(self.name)
            self.optimizer.step()

    names = [player.name for player in task.players]
    optimizers = [Counted(*pair) for pair in zip(names, config.make_optimizers(task.players))]
    take_step(task, optimizers, task.batch(0), config, 0, lr=1e-3)
    assert moved == ["critic"] * 3 + ["generator"]
    assert [player.updates for player in prepared(critic_updates=3)[0].players] == [3, 1]


def test_metrics_of_a_step_are_means_over_its_updates():
    config = TrainingConfig(steps=1, batch=2)
    task, losses = Busy(config), []
    criticise = task.players[0].loss

    def noted(batch, rng):
        loss, figures = criticise(batch, rng)
        losses.append(float(loss.numpy()))
        return loss, figures

    task.players = dataclasses.replace(task.players[0], loss=noted), task.players[1]
    found = take_step(task, config.make_optimizers(task.players), task.batch(0), config, 0, lr=0.0)
    assert len(losses) == 3 and found["critic_loss"] == pytest.approx(np.mean(losses), rel=1e-6)


def test_a_batch_that_is_not_one_minibatch_for_each_update_is_an_error():
    config = TrainingConfig(steps=1, batch=2)
    task = Busy(config)
    optimizers = config.make_optimizers(task.players)
    for rows in (1, 4):
        with pytest.raises(ValueError, match=f"rows for 3 minibatches of one size, .* got {rows}; let task"):
            take_step(task, optimizers, (task.points[:rows],), config, 0, lr=0.0)


def test_a_run_with_several_updates_ends_with_the_same_bits_wherever_it_was_stopped(tmp_path):
    whole = left_behind(finished(tmp_path / "whole", Busy, steps=9))
    for step in (1, 4, 8):
        with pytest.raises(Killed):
            finished(tmp_path / str(step), Busy, KillAt(step), steps=9)
        assert left_behind(finished(tmp_path / str(step), Busy, steps=9)) == whole


def test_a_player_has_settings_of_its_own_and_follows_the_same_schedule():
    config = TrainingConfig(steps=10, batch=2, lr=1e-3, beta1=0.8, schedule="cosine")
    task = Busy(config, {"lr": 4e-3, "beta1": 0.0})
    critic, deceiver = config.make_optimizers(task.players)
    assert critic.betas == (0.0, 0.999) and deceiver.betas == (0.8, 0.999)
    for step in (0, 7):
        lr = config.learning_rate(step, step / 10)
        take_step(task, [critic, deceiver], task.batch(step), config, step, lr=lr)
        assert deceiver.lr == lr and critic.lr == pytest.approx(4 * lr, rel=1e-12)
    with pytest.raises(ValueError, match="lr: expected a number above 0, got 0"):
        config.make_optimizers([dataclasses.replace(task.players[0], settings={"lr": 0})])
    with pytest.raises(TypeError, match="unexpected keyword argument 'rate'"):
        config.make_optimizers([dataclasses.replace(task.players[0], settings={"rate": 1})])


def test_a_schedule_may_end_above_the_rate_of_one_player():
    task, config = prepared(lr=1e-3, schedule="cosine", lr_end=5e-4, critic_lr=2e-4)
    assert [optimizer.lr for optimizer in config.make_optimizers(task.players)] == [2e-4, 1e-3]


def test_averages_may_be_of_one_player_alone(tmp_path):
    class Averaged(Duel):
        def __init__(self, config):
            super().__init__(config)
            self.averaged = self.model.generator

    config = TrainingConfig(**{**FULL, "steps": 8})
    task, run = Averaged(config), run_in(tmp_path / "run")
    train(task, config, run=run)
    arrays = run.load().arrays
    assert {name for name in arrays if name.startswith("ema.")} == {
        "ema.generator.weight",
        "ema.generator.bias",
    }
    assert not np.array_equal(arrays["ema.generator.weight"], arrays["model.generator.weight"])
    weights = run.weights()
    assert np.array_equal(weights["generator.weight"], arrays["ema.generator.weight"])
    assert np.array_equal(weights["critic.0.weight"], arrays["model.critic.0.weight"])
    ema = nn.EMA(task.model, decay=0.9, part=task.model.critic)
    assert list(ema.state_dict()) == [n for n, _ in task.model.named_parameters() if n.startswith("critic.")]


def test_where_no_number_tells_the_last_evaluation_is_the_best(tmp_path):
    class Unjudged(Duel):
        monitor = None

    run = finished(tmp_path / "run", Unjudged, steps=8)
    assert run.load().state["best"] == {"step": 8}
    assert all(np.array_equal(array, run.weights("best")[name]) for name, array in run.weights().items())


def test_equal_minibatches_leave_out_what_is_left():
    x = np.arange(10)
    minibatches = data.Minibatches(x, size=4, rng=generator, equal=True)
    assert len(minibatches) == 2 and all(len(minibatches.at(step)[0]) == 4 for step in range(6))
    assert len(set(np.concatenate([minibatches.at(2)[0], minibatches.at(3)[0]]))) == 8
    with pytest.raises(ValueError, match="expected at least 11 rows, one minibatch, got 10; choose"):
        data.Minibatches(x, size=11, rng=generator, equal=True)


# the task


@pytest.mark.parametrize("settings", [{}, {"packing": 2, "critic_updates": 3, "gradient_penalty": 1.0}])
def test_a_step_of_a_task_leaves_the_other_player_and_a_batch_has_what_the_step_needs(settings):
    task, config = prepared(**settings)
    own = task.model.config
    assert len(task.batch(0)[0]) == 10 * own.packing * own.critic_updates
    assert task.steps_per_epoch == 100_000 // (10 * own.packing * own.critic_updates)
    before = {}
    for turn, other in ((0, task.model.generator), (1, task.model.discriminator)):
        before[turn] = {name: array.tobytes() for name, array in other.state_dict().items()}
        player = task.players[turn]
        task.players, both = (player,), task.players
        take_step(task, config.make_optimizers([player]), task.batch(0), config, 0, lr=1e-2)
        task.players = both
        assert {name: array.tobytes() for name, array in other.state_dict().items()} == before[turn]
        assert turn or all(p.grad is None for p in other.parameters())


def test_pieces_of_a_minibatch_give_the_gradient_of_the_whole():
    """Packs stay whole. Here each example has its own noise, whatever the pieces."""
    gradients = []
    for pieces in (1, 2, 5):
        task, config = prepared(packing=2, accumulate=pieces, generator_norm="none")
        z = task.model.noise(20, rng=generator(1))
        rows = {array.tobytes(): noise for array, noise in zip(task.batch(0)[0], z)}
        criticise = task.players[0].loss

        def loss(batch, rng):
            noise = np.stack([rows[row.tobytes()] for row in batch[0]])  # noqa: B023
            task.model.noise = lambda count, rng: noise  # noqa: B023
            return criticise(batch, rng)  # noqa: B023

        task.players = (dataclasses.replace(task.players[0], loss=loss),)
        take_step(task, config.make_optimizers(task.players), task.batch(0), config, 0, lr=0.0)
        gradients.append([p.grad.numpy() for p in task.model.discriminator.parameters()])
    for other in gradients[1:]:
        for whole, pieces in zip(gradients[0], other):
            np.testing.assert_allclose(pieces, whole, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"accumulate": 3}, "accumulate: expected a divisor of the batch, 10, so that no pack is cut, got 3"),
        (
            {"batch": 30_000, "packing": 4},
            "batch: expected at most 25000, as a step needs .* 100,000 .* got 30000",
        ),
        (
            {"accumulate": 10, "packing": 2, "critic_norm": "batch"},
            "batch: expected at least 2 in each of 10 pieces, as batch norm needs, got 10; choose a larger",
        ),
        ({"batch": 1}, "batch: expected at least 2 in each of 1 pieces, as batch norm needs, got 1; choose"),
        ({"condition": "colour"}, "unknown condition 'colour'; there is: label"),
        ({"classes": 3}, "unknown setting 'classes'"),
        ({"network": "dcgan"}, "hidden: is not used by the network dcgan"),
    ],
)
def test_settings_that_do_not_fit_are_errors(settings, message):
    with pytest.raises(ValueError, match=message):
        prepared(**settings)


def test_data_of_another_kind_are_refused(tmp_path):
    begun = Session.begin("gan", POINTS, out=tmp_path, name="points")
    begun.train()
    for source, message in (
        ("digits", r"digits: expected examples of shape \[2\], got \[8, 8\]; give data like ring"),
        ("grid", "grid: expected examples from ring, got grid"),
    ):
        with pytest.raises(ValueError, match=message):
            session.evaluated(tmp_path / "points", source=source)
    begun = Session.begin("gan", {**IMAGES, "condition": "label"}, out=tmp_path, name="images")
    begun.train()
    other = tmp_path / "other.npz"
    np.savez(other, images=np.zeros((20, 8, 8), np.uint8), labels=np.arange(20) % 3)
    with pytest.raises(ValueError, match=r"examples of which is known: {'label': 10}, got {'label': 3}"):
        session.evaluated(tmp_path / "images", source=str(other))


@pytest.mark.parametrize("settings", [{"packing": 2}, {"critic_norm": "batch"}, {"generator_norm": "none"}])
def test_a_piece_of_one_pack_will_do_where_no_norm_needs_more(settings):
    accumulate = 1 if "critic_norm" in settings else 10
    task, config = prepared(**settings, accumulate=accumulate)
    take_step(task, config.make_optimizers(task.players), task.batch(0), config, 0, lr=1e-3)
    assert all(p.grad is not None for player in task.players for p in player.module.parameters())


def test_what_is_known_of_an_example_stays_beside_it():
    task, _ = prepared(condition="label")
    for x, c in (task.batch(0), (task.test, task.test_given)):
        distances = np.square(x[:, None] - task.means).sum(axis=-1)
        assert np.array_equal(c.argmax(axis=1), distances.argmin(axis=1))
    told = []
    task.model.generate = lambda z, c: (told.append(c), tg.tensor(np.zeros((len(z), 2), np.float32)))[1]
    task.made(len(task.test) + 7, generator())
    assert np.array_equal(np.concatenate(told), np.concatenate([task.test_given, task.test_given[:7]]))


def test_the_loss_gets_all_that_the_model_draws():
    task, _ = prepared(label_noise=0.4, gradient_penalty=1.0)
    lower, drawn = task.model.discriminator_loss, []
    task.model.discriminator_loss = lambda *given, **draws: (drawn.append(draws), lower(*given, **draws))[1]
    task.criticise(task.batch(0), generator())
    assert {name: array.shape for name, array in drawn[0].items()} == {"t": (10,), "flips": (2, 10)}


@pytest.mark.parametrize("count, losses", [(2500, True), (6, True), (5, False)])
def test_an_evaluation_cuts_no_pack_and_tells_losses_of_two_at_least(count, losses):
    task, _ = prepared(packing=3, critic_norm="batch")
    task.test, task.test_given = task.test[:count], task.test_given[:count]
    task.model.eval()
    found = task.evaluate(generator())
    assert ("discriminator_loss" in found) == ("generator_loss" in found) == losses and "modes" in found


def test_what_is_evaluated_of_points(tmp_path):
    begun = Session.begin("gan", {**POINTS, "r1": 0.5}, out=tmp_path)
    begun.train()
    row = begun.run.metrics()[-1]
    for name in ("loss", "real", "fake", "accuracy", "r1"):
        assert f"train_discriminator_{name}" in row and f"test_discriminator_{name}" in row
    assert row["train_discriminator_gradient"] > 0 and row["train_generator_gradient"] > 0
    task = begun.task
    task.model.eval()
    found = task.evaluate(generator(3))
    points = task.model.generate(task.model.noise(JUDGED, rng=_after_losses(task))).numpy()
    expected = mode_coverage(points, *data.MIXTURES["ring"])
    assert [found[name] for name in ("modes", "kl")] == pytest.approx([expected.modes, expected.kl])
    best = min(row["test_distance"] for row in begun.run.metrics())
    assert task.monitor == "distance" and begun.run.load().state["best"]["distance"] == pytest.approx(best)
    assert f"{expected.modes} of 8 modes by 2,500 samples" in task.remarks[0]


def test_an_evaluation_judges_by_the_statistics_of_its_batches_and_moves_none():
    task, _ = prepared(critic_norm="batch")
    task.model.eval()
    judge, before = task.model.discriminator, task.model.state_dict()
    found = task.evaluate(generator(3))
    assert not judge.training
    after = task.model.state_dict()
    assert any("running" in name for name in after)
    assert all(np.array_equal(after[name], before[name]) for name in before)
    judge.train()
    count = min(JUDGED, len(task.test))
    loss, _ = task.criticise((task.test[:count], task.test_given[:count]), generator(3))
    assert found["discriminator_loss"] == pytest.approx(float(loss), abs=1e-6)


def _after_losses(task):
    """The stream of `generator(3)` as an evaluation's losses leave it."""
    rng = generator(3)
    for player in task.players:
        player.loss((task.test[:JUDGED], task.test_given[:JUDGED]), rng)
    return rng


@pytest.mark.parametrize("data_set", ["images", "points"])
def test_a_run_leaves_pictures_and_an_animation_of_them(tmp_path, data_set):
    from PIL import Image

    settings = {**(IMAGES if data_set == "images" else POINTS), "condition": "label"}
    begun = Session.begin("gan", settings, out=tmp_path, name="run")
    begun.train()
    begun.finish("lead")
    pictures = sorted(path.name for path in begun.run.path("samples").iterdir())
    assert pictures == (
        ["000002.png", "000004.png"] if data_set == "images" else ["000003.png", "000006.png"]
    )
    with (
        Image.open(begun.run.path("animation.png")) as moving,
        Image.open(begun.run.path("samples") / pictures[0]) as first,
        Image.open(begun.run.path("samples.png")) as still,
    ):
        assert moving.n_frames >= 2 and moving.size == still.size
        assert np.array_equal(np.asarray(moving.convert("RGB")), np.asarray(first.convert("RGB")))
        moving.seek(moving.n_frames - 1)
        assert np.array_equal(np.asarray(moving.convert("RGB")), np.asarray(still.convert("RGB")))
    assert b"What it made, in time" in begun.run.path("report.html").read_bytes()
    sizes = {}
    for given, count in (("7", 3), (None, None)):
        run, task, _ = session.trained(tmp_path / "run")
        options = task.sampling(given=given, count=count)
        sizes[given] = Image.open(task.sample(run.path("made"), options, rng=generator())).size
    assert all(side > 100 for size in sizes.values() for side in size)
    with pytest.raises(ValueError, match="given: expected label from 0 to"):
        task.sample(run.path("made"), task.sampling(given="70,1"), rng=generator())


def test_points_given_a_mode_are_asked_for_that_one(tmp_path):
    task, _ = prepared(condition="label")
    asked = []
    task.model.generate = lambda z, c: (asked.append(c), tg.tensor(np.zeros((len(z), 2), np.float32)))[1]
    task.sample(tmp_path / "one", task.sampling(given="5", count=4), rng=generator())
    task.sample(tmp_path / "all", task.sampling(count=16), rng=generator())
    assert (asked[0].argmax(axis=1) == 5).all() and len(asked[0]) == 4
    assert np.bincount(asked[1].argmax(axis=1)).tolist() == [2] * 8


def test_images_given_a_label_are_asked_for_that_one_and_as_many_as_told(tmp_path):
    task, *_ = session.prepared("gan", {**IMAGES, "condition": "label"})
    asked = []
    task.model.generate = lambda z, c: (asked.append(c), tg.tensor(np.zeros((len(z), 8, 8), np.float32)))[1]
    task.sample(tmp_path / "sevens", task.sampling(given="7", count=3), rng=generator())
    assert [len(c) for c in asked] == [3] and (asked[0].argmax(axis=1) == 7).all()


# warnings


def fed(task, modes=8, share=0.9, accuracy=0.6):
    """Make a task see such figures."""
    return task._watch({"spread": 1.0, "modes": modes, "high_quality": share}, accuracy)


def test_collapse_and_a_discriminator_that_wins_are_told_once_each_with_numbers_and_a_way_out():
    task, _ = prepared()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(PATIENCE - 1):
            fed(task, modes=3)
        fed(task, modes=8)  # it was a moment
        for _ in range(PATIENCE - 1):
            fed(task, modes=3, accuracy=0.999)
        fed(task, modes=2, share=0.1)  # scattered: not learnt yet, not collapsed
        for _ in range(PATIENCE):
            fed(task, modes=5)  # more than half are no collapse
    with pytest.warns(
        UserWarning, match=r"modes have collapsed: 90% of samples are good, and at 4 of 8 modes"
    ):
        for _ in range(PATIENCE):
            fed(task, modes=4)
    with pytest.warns(UserWarning, match=r"the discriminator is right about 99.9% of examples, .*; try r1 1"):
        for _ in range(PATIENCE):
            fed(task, accuracy=0.999)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3 * PATIENCE):
            fed(task, modes=1, accuracy=1.0)


def warned(task, message):
    """The figures of the last of as many evaluations as it takes to be warned so."""
    task.model.eval()
    with pytest.warns(UserWarning, match=message):
        for _ in range(PATIENCE):
            found = task.evaluate(generator())
    return found


def test_a_generator_of_two_images_and_no_others_is_told():
    task, *_ = session.prepared("gan", IMAGES)
    two = task.test[:2]
    task.model.generate = lambda z, c: tg.tensor(two[np.arange(len(z)) % 2])
    found = warned(task, r"collapsed: samples vary 0% as much as the data; try packing 4, minibatch_std, ")
    assert found["diversity"] < 1e-3 and task.monitor is None and "the best are the last" in task.remarks[0]


def test_the_data_themselves_are_as_diverse_as_the_data():
    task, *_ = session.prepared("gan", IMAGES)
    task.model.generate = lambda z, c: tg.tensor(task.train[: len(z)])
    assert task.diversity(generator())["diversity"] == pytest.approx(1, abs=0.15)


def test_a_generator_of_one_point_between_the_modes_is_told():
    task, _ = prepared()
    task.model.generate = lambda z, c: tg.tensor(np.full((len(z), 2), 0.4, np.float32))
    found = warned(task, "modes have collapsed: samples vary 0% as much as the data; try packing 4")
    assert found["modes"] == 0 and found["spread"] < 1e-4


def test_the_discriminator_is_judged_by_what_it_says_of_the_generator_that_it_plays():
    task, config = prepared(ema=0.5)
    heard = []
    task._watch = lambda found, accuracy: heard.append(accuracy)
    for right in ([1.0, 0.9], [0.3]):
        task.right = list(right)
        task.evaluate(generator())
        assert heard.pop() == pytest.approx(np.mean(right)) and task.right == []
    take_step(task, config.make_optimizers(task.players), task.batch(0), config, 0, lr=0.1)
    assert len(task.right) == 1 and 0 <= float(task.right[0]) <= 1


def test_the_ways_out_are_those_that_this_run_can_go():
    for settings, name, ways in (
        ({}, "discriminator", "r1 1, spectral_norm, label_smoothing 0.1, or a smaller critic_lr"),
        ({"critic_norm": "batch", "loss": "hinge"}, "discriminator", "spectral_norm, or a smaller critic_lr"),
        ({"r1": 1.0, "spectral_norm": True, "loss": "hinge"}, "discriminator", "a smaller critic_lr"),
        ({"critic_norm": "batch", "packing": 2}, "collapse", "minibatch_std, or a smaller lr"),
        (
            {"packing": 2, "minibatch_std": True},
            "collapse",
            "loss wasserstein with gradient_penalty 10 and critic_updates 5, or a smaller lr",
        ),
    ):
        task, _ = prepared(**settings)
        bad = {"modes": 1} if name == "collapse" else {"accuracy": 1.0}
        with pytest.warns(UserWarning, match=f"; try {ways}$"):
            for _ in range(PATIENCE):
                fed(task, **bad)


def test_averages_are_those_of_the_generator(tmp_path):
    begun = Session.begin("gan", {**POINTS, "ema": 0.5}, out=tmp_path)
    begun.train()
    kept = {name.removeprefix("ema.") for name in begun.run.load().arrays if name.startswith("ema.")}
    assert kept == {f"generator.{name}" for name, _ in begun.task.model.generator.named_parameters()}


def test_a_wasserstein_critic_without_bound_is_told():
    with pytest.warns(UserWarning, match="nothing bounds the critic's slope, .*; add gradient_penalty 10"):
        prepared(loss="wasserstein")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for bound in ({"gradient_penalty": 1.0}, {"spectral_norm": True}, {"r1": 1.0}):
            prepared(loss="wasserstein", **bound)


def test_a_single_test_image_is_too_few(tmp_path):
    np.savez(tmp_path / "few.npz", images=generator().random((9, 8, 8)))
    with pytest.raises(ValueError, match=r"data: expected at least 2 test examples, .* got 1; give"):
        session.prepared("gan", {"data": str(tmp_path / "few.npz"), "batch": 4})


# how modes are counted


def test_coverage_by_hand():
    means, std = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [10.0, 10.0]]), 1.0
    points = [[0, 2.9], [0.5, 0], [0, 3.1], [10, 0], [12, 2], [1, 9]]  # the third is just outside
    found = mode_coverage(np.float32(points), means, std)
    assert found.counts.tolist() == [2, 2, 1, 0] and found.modes == 3 and found.high_quality == 5 / 6
    q = np.array([3, 2, 1]) / 6
    assert found.kl == pytest.approx((q * np.log(4 * q)).sum())
    assert found.distance == pytest.approx(1 - (0.25 + 0.25 + 1 / 6))
    perfect = mode_coverage(means, means, std)
    assert (perfect.modes, perfect.high_quality, perfect.kl, perfect.distance) == (4, 1, 0, 0)
    single = mode_coverage(means[:1], means, std)
    assert single.kl == pytest.approx(np.log(4)) and single.distance == 0.75
    for bad in (np.zeros((0, 2)), np.zeros((3, 3)), np.zeros(2)):
        with pytest.raises(ValueError, match=r"mode_coverage: expected points \(N, 2\), at least one, got"):
            mode_coverage(bad, means, std)
    with pytest.raises(ValueError, match="mode_coverage: expected finite points, got NaN or infinity; look"):
        mode_coverage([[0, np.nan]], means, std)


@pytest.mark.parametrize("name", data.MIXTURES)
def test_the_data_themselves_cover_all_modes(name):
    points, _ = data.POINTS[name](split="test")
    found = mode_coverage(points[:JUDGED], *data.MIXTURES[name])
    assert found.modes == len(data.MIXTURES[name][0]) and found.high_quality > 0.98 and found.kl < 0.02
    strewn = generator().uniform(-5, 5, (JUDGED, 2))
    if name == "grid":  # why modes alone would be no measure
        lost = mode_coverage(strewn, *data.MIXTURES[name])
        assert lost.modes > 15 and lost.distance > 0.9 > 0.1 > found.distance


def test_every_setting_of_every_recipe_is_one_of_its_fields():
    known = {f.name for kind in session.configurations(GANTask) for f in dataclasses.fields(kind)}
    for settings in (*GANTask.settings.values(), GANTask.by_path):
        assert set(settings) <= known
