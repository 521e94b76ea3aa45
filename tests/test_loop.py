"""The training loop: whatever stops it, it ends with the same bits; what it reports, and when it stops."""

import contextlib
import dataclasses
import math
import os
import signal
import threading

import numpy as np
import pytest
from tasks import Duel, Regression

import tinygen as tg
from tinygen import optim
from tinygen.autograd.primitive import REGISTRY
from tinygen.training import Player, Run, TrainingConfig, checkpoint, stream, streams, train
from tinygen.training.checkpoint import Damaged
from tinygen.training.progress import Silent
from tinygen.training.step import _noise, take_step
from tinygen.training.task import means

pytest.importorskip("safetensors")

FULL = {
    "steps": 30,
    "batch": 10,
    "accumulate": 3,
    "optimizer": "adamw",
    "schedule": "cosine",
    "warmup": 4,
    "clip": 1.0,
    "ema": 0.9,
    "evaluate_every": 4,
    "save_seconds": 0,
}
TASKS = {"regression": Regression, "duel": Duel}


class Killed(BaseException):
    """What no handler catches."""


class KillAt(Silent):
    """Ends the training in the middle of the loop, after a number of steps."""

    def __init__(self, steps):
        self.left = steps

    def step(self, metrics, *, done):
        self.left -= 1
        if self.left < 0:
            raise Killed


def run_in(folder):
    """A run there, new or old."""
    folder.mkdir(exist_ok=True)
    return Run(folder)


def finished(folder, make=Regression, progress=None, **settings):
    """Train to the end in a folder; the run."""
    config = TrainingConfig(**{**FULL, **settings})
    run = run_in(folder)
    train(make(config), config, run=run, progress=progress)
    return run


def left_behind(run):
    """All that a run leaves, but the seconds it took."""
    found = run.load()
    arrays, state = found.arrays, found.state
    assert found.problems == []
    del state["seconds"]
    files = {p.name: p.read_bytes() for p in sorted(run.path("samples").iterdir())}
    files |= {name: run.path(name).read_bytes() for name in ("metrics.csv", "best.safetensors")}
    return {name: (a.dtype, a.shape, a.tobytes()) for name, a in arrays.items()}, state, files


# going on


@pytest.mark.parametrize("task", TASKS)
def test_a_run_that_was_stopped_ends_with_the_bits_of_one_that_was_not(tmp_path, task):
    whole = left_behind(finished(tmp_path / "whole", TASKS[task]))
    assert any("running_mean" in name for name in whole[0]) == (task == "regression")
    rng = np.random.default_rng(5)
    for attempt in range(4):
        folder = tmp_path / f"stopped-{attempt}"
        # Saved now and then, so that steps are lost, and metrics and samples are ahead of the checkpoint.
        settings = {"save_seconds": 0 if attempt % 2 else 1e-3 * attempt}
        for _ in range(3):
            with pytest.raises(Killed):
                finished(folder, TASKS[task], KillAt(int(rng.integers(0, 9))), **settings)
        assert left_behind(finished(folder, TASKS[task])) == whole


def test_a_run_that_is_killed_before_its_first_step_begins_anew(tmp_path):
    with pytest.raises(Killed):
        finished(tmp_path / "stopped", progress=KillAt(0), save_seconds=1e9)
    assert left_behind(finished(tmp_path / "stopped")) == left_behind(finished(tmp_path / "whole"))


@pytest.mark.parametrize("name", ["replace", "fsync"])
def test_killed_anywhere_in_a_save_the_run_goes_on(tmp_path, monkeypatch, name):
    """Every other rename, or flush, is the last thing that happens, or the first that does not."""
    whole = left_behind(finished(tmp_path / "whole", steps=5))
    real = getattr(os, name)
    monkeypatch.setattr(os, name, counted := Counted(real))
    finished(tmp_path / "counted", steps=5)
    assert counted.calls > 20
    for at in range(1, counted.calls + 1, 2):
        folder = tmp_path / f"{at}"
        monkeypatch.setattr(os, name, Counted(real, last=at, done=at % 4 == 1))
        with pytest.raises(Killed):
            finished(folder, steps=5)
        monkeypatch.setattr(os, name, real)
        assert left_behind(finished(folder, steps=5)) == whole, at


def save_until_killed(folder, monkeypatch, at):
    """Settle, then save five times, until a rename ends it. What is settled fits together."""
    with contextlib.suppress(FileNotFoundError):
        found = checkpoint.settle(folder)
        assert found.arrays["a"][0] == found.state["step"]
    with monkeypatch.context() as patch, contextlib.suppress(Killed):
        patch.setattr(os, "replace", Counted(os.replace, last=at))
        for step in range(5):
            checkpoint.save(folder, {"a": np.full(3, step, np.float32)}, {"step": step})
    for path in folder.glob(".unfinished*"):
        path.unlink()


@pytest.mark.parametrize("first", range(1, 9))
def test_a_second_kill_loses_nothing_either(tmp_path, monkeypatch, first):
    """A save renames over what the one before it left, which must not be the only good pair."""
    for second in range(1, 10):
        folder = tmp_path / f"{second}"
        folder.mkdir()
        save_until_killed(folder, monkeypatch, first)
        save_until_killed(folder, monkeypatch, second)
        if max(first, second) > 2:  # else nothing was ever saved whole
            found = checkpoint.settle(folder)
            assert found.arrays["a"][0] == found.state["step"], second


@pytest.mark.parametrize("spoilt", ["checkpoint.safetensors", "state.json"])
def test_a_kill_after_damage_loses_nothing_either(tmp_path, monkeypatch, spoilt):
    for at in range(1, 10):
        folder = tmp_path / f"{at}"
        folder.mkdir()
        save_until_killed(folder, monkeypatch, None)
        spoil(folder / spoilt, "flipped")
        save_until_killed(folder, monkeypatch, at)
        found = checkpoint.settle(folder)
        assert found.arrays["a"][0] == found.state["step"], at


class Counted:
    """A function that counts its calls, and ends the process at the `last`, before or after it was done."""

    def __init__(self, function, *, last=None, done=False):
        self.function, self.last, self.done, self.calls = function, last, done, 0

    def __call__(self, *args):
        self.calls += 1
        if self.calls == self.last and not self.done:
            raise Killed
        result = self.function(*args)
        if self.calls == self.last:
            raise Killed
        return result


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a process that can be killed")
@pytest.mark.parametrize("task", TASKS)
def test_kill_minus_nine_at_any_moment_loses_nothing(tmp_path, task):
    """A real SIGKILL after a random time, again and again, most of them in the middle of a save."""
    settings = {"steps": 60, "evaluate_every": 9}
    whole = left_behind(finished(tmp_path / "whole", TASKS[task], **settings))
    rng, kills = np.random.default_rng(3), 0
    while True:
        child = os.fork()
        if child == 0:
            try:
                finished(tmp_path / "killed", TASKS[task], **settings)
            finally:
                os._exit(0)
        wait = 0.005 + 0.04 * rng.random() * (
            1 + kills / 10
        )  # the longer the slower the machine turns out to be
        timer = threading.Timer(wait, os.kill, (child, signal.SIGKILL))
        timer.start()
        _, status = os.waitpid(child, 0)
        timer.cancel()
        timer.join()
        if not os.WIFSIGNALED(status):
            break
        kills += 1
        assert kills < 1000
    assert kills >= 1
    assert left_behind(run_in(tmp_path / "killed")) == whole
    assert [p for p in (tmp_path / "killed").iterdir() if p.name.startswith(".unfinished")] == []


class Interrupt(Silent):
    """Sends a signal while a step is reported, which is then the last: it is finished and saved."""

    def __init__(self, number, step):
        self.number, self.left = number, step

    def step(self, metrics, *, done):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), self.number)


@pytest.fixture
def handlers(monkeypatch):
    """SIGINT as in a program that somebody runs in a terminal, even where the tests run behind a `&`."""
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("step", [1, 8, 11, 28, 29])
def test_a_signal_lets_the_step_end_and_saves(tmp_path, handlers, number, step):
    config = TrainingConfig(**{**FULL, "save_seconds": 1e9})
    run, before = run_in(tmp_path / "run"), signal.getsignal(number)
    ending, state = train(Regression(config), config, run=run, progress=Interrupt(number, step))
    assert ending is number and state.step == step
    assert run.load().state["step"] == step and signal.getsignal(number) is before
    assert [row["step"] for row in run.metrics()] == list(range(4, step + 1, 4))
    assert left_behind(finished(tmp_path / "run")) == left_behind(finished(tmp_path / "whole"))


def test_a_signal_that_comes_when_the_training_is_over_is_passed_on(tmp_path, handlers):
    config = TrainingConfig(**FULL)
    with pytest.raises(KeyboardInterrupt):
        train(Regression(config), config, run=run_in(tmp_path / "run"), progress=Interrupt(signal.SIGINT, 30))
    assert left_behind(run_in(tmp_path / "run")) == left_behind(finished(tmp_path / "whole"))


def test_a_second_signal_does_what_it_would_have_done(tmp_path, handlers):
    class Twice(Silent):
        def step(self, metrics, *, done):
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    config = TrainingConfig(**FULL)
    with pytest.raises(KeyboardInterrupt):
        train(Regression(config), config, run=run_in(tmp_path / "run"), progress=Twice())
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_signal_that_is_ignored_stays_ignored(tmp_path, handlers):
    """As nohup has it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    config = TrainingConfig(**FULL)
    progress = Interrupt(signal.SIGINT, 8)
    assert train(Regression(config), config, run=run_in(tmp_path / "run"), progress=progress)[0] == "steps"


def test_a_length_that_ends_where_the_run_was_stopped_gets_its_evaluation(tmp_path):
    with pytest.raises(Killed):
        finished(tmp_path / "run", progress=KillAt(7))
    run = finished(tmp_path / "run", steps=7)
    assert [row["step"] for row in run.metrics()] == [4, 7] and run.load().state["sums"] == {}
    assert run.path("samples/000007.txt").exists()
    with pytest.raises(ValueError, match="expected a length of at least the 7 steps that are made, got 6"):
        finished(tmp_path / "run", steps=6)


def test_samples_of_steps_that_are_lost_go(tmp_path):
    finished(tmp_path / "run", steps=8)
    for name in ("checkpoint.safetensors", "state.json"):
        finished(tmp_path / "shorter", steps=4, warmup=0)
        run_in(tmp_path / "run").path(name).write_bytes(run_in(tmp_path / "shorter").path(name).read_bytes())
    run_in(tmp_path / "run").path("samples/notes.txt").write_text("mine")
    names = [path.name for path in finished(tmp_path / "run", steps=5).path("samples").iterdir()]
    assert sorted(names) == ["000004.txt", "000005.txt", "notes.txt"]


def test_a_longer_length_goes_on_where_a_shorter_ended(tmp_path):
    settings = {"schedule": "constant", "evaluate_every": 5}
    finished(tmp_path / "run", steps=10, **settings)
    assert left_behind(finished(tmp_path / "run", **settings)) == left_behind(
        finished(tmp_path / "whole", **settings)
    )


def test_two_trainings_do_not_share_a_folder(tmp_path):
    config = TrainingConfig(**FULL)

    class Second(Silent):
        def step(self, metrics, *, done):
            with pytest.raises(BlockingIOError, match="another process is training here"):
                train(Regression(config), config, run=run_in(tmp_path / "run"))

    train(Regression(config), config, run=run_in(tmp_path / "run"), progress=Second())
    finished(tmp_path / "run")


def test_checkpoints_come_at_their_time(tmp_path, monkeypatch):
    saves, save = [], checkpoint.save
    monkeypatch.setattr(checkpoint, "save", lambda *args: (saves.append(args[2]["step"]), save(*args)))
    finished(tmp_path / "run", save_seconds=1e9)
    finished(tmp_path / "often", steps=3, warmup=0)
    assert saves == [0, 30, 0, 1, 2, 3]


def test_metrics_that_are_missing_are_told_and_damaged_ones_stop_the_run(tmp_path):
    with pytest.raises(Killed):
        finished(tmp_path / "run", progress=KillAt(9))
    run_in(tmp_path / "run").path("metrics.csv").unlink()
    with pytest.warns(UserWarning, match=r"metrics.csv: has 0 of 2 rows; going on without"):
        run = finished(tmp_path / "run", steps=12)
    assert [row["step"] for row in run.metrics()] == [12]
    run.path("metrics.csv").write_text("nonsense")
    with pytest.raises(Damaged, match=r"metrics.csv: .*delete it to go on without"):
        finished(tmp_path / "run")


# damage


def spoil(path, how):
    content = path.read_bytes()
    at = len(content) * 2 // 3
    flipped = content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :]
    path.write_bytes({"truncated": content[:at], "flipped": flipped, "empty": b"", "text": b"{}"}[how])


@pytest.mark.parametrize("how", ["truncated", "flipped", "empty", "text"])
@pytest.mark.parametrize("name", ["checkpoint.safetensors", "state.json"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_serves(tmp_path, name, how):
    whole = left_behind(finished(tmp_path / "whole"))
    with pytest.raises(Killed):
        finished(tmp_path / "run", progress=KillAt(7))
    spoil(tmp_path / "run" / name, how)
    with pytest.warns(
        UserWarning, match=rf"{name}: is damaged: .*; going on from the checkpoint before, of step 6"
    ):
        run = finished(tmp_path / "run")
    assert left_behind(run) == whole


def test_a_missing_file_of_a_checkpoint_is_named_too(tmp_path):
    for name in ("checkpoint.safetensors", "state.json"):
        with pytest.raises(Killed):
            finished(tmp_path / name, progress=KillAt(7))
        (tmp_path / name / name).unlink()
    with pytest.warns(UserWarning, match=r"state.json: the arrays that it names are missing; going on"):
        finished(tmp_path / "checkpoint.safetensors", steps=8)
    assert Run(tmp_path / "state.json").load().state["step"] == 6


def test_where_nothing_is_whole_all_that_is_damaged_is_named(tmp_path):
    run = finished(tmp_path / "run")
    for name in ("checkpoint.safetensors", "previous.safetensors"):
        spoil(run.path(name), "flipped")
    before = {path.name: path.read_bytes() for path in run.folder.iterdir() if path.is_file()}
    with pytest.raises(Damaged, match=r"checkpoint.safetensors: .*previous.safetensors: .*train again"):
        finished(tmp_path / "run")
    assert {path.name: path.read_bytes() for path in run.folder.iterdir() if path.is_file()} == before


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    finished(tmp_path / "run")
    with pytest.raises(Damaged, match=r"config.json and the checkpoint do not belong together"):
        finished(tmp_path / "run", Duel)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="limits the size of a file, in a process of its own")
def test_a_disk_that_is_full_leaves_the_last_checkpoint(tmp_path):
    import resource

    config = TrainingConfig(**FULL)

    class Full(Silent):
        def step(self, metrics, *, done):
            if done > 0.3:
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    child = os.fork()
    if child == 0:
        code = 1
        try:
            train(Regression(config), config, run=run_in(tmp_path / "run"), progress=Full())
        except OSError as error:
            told = r"run: cannot be written (File too large); what was saved before is intact"
            code = 0 if told in str(error) and "--resume" in str(error) else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert run_in(tmp_path / "run").load().state["step"] == 9
    assert left_behind(finished(tmp_path / "run")) == left_behind(finished(tmp_path / "whole"))


# what a step is


def test_how_often_it_evaluates_does_not_change_the_training(tmp_path):
    often, seldom = (finished(tmp_path / str(n), evaluate_every=n) for n in (1, 30))
    a, b = often.load().arrays, seldom.load().arrays
    assert all(np.array_equal(a[name], b[name]) for name in a)
    assert len(often.metrics()) == 30 and len(seldom.metrics()) == 1
    assert often.metrics()[-1]["test_loss"] == seldom.metrics()[-1]["test_loss"]


@pytest.mark.parametrize("pieces", [2, 3, 7, 99])
def test_pieces_of_a_batch_give_the_gradient_of_the_whole(pieces):
    """In float64, where sums in another order differ little; batches of 10, and one of 6."""
    config = TrainingConfig(steps=1, batch=10, accumulate=pieces)
    whole = dataclasses.replace(config, accumulate=1)
    for step in range(4):
        found = []
        for setting in (config, whole):
            task = Regression(setting, plain=True)
            task.model.astype(np.float64)
            optimizer = setting.make_optimizer(task.model.parameters())
            figures = take_step(task, [optimizer], task.batch(step), setting, step, lr=0.0)
            found.append((figures, [p.grad.numpy() for p in task.model.parameters()]))
        assert found[0][0] == pytest.approx(found[1][0], rel=1e-6)
        for g, expected in zip(found[0][1], found[1][1]):
            np.testing.assert_allclose(g, expected, rtol=1e-6)
    assert len(task.batch(3)[0]) == 6


def test_clipping_bounds_a_step_and_the_norm_before_it_is_reported(tmp_path):
    config = TrainingConfig(steps=1, batch=10, optimizer="sgd", lr=0.5, clip=1e-3)
    task = Regression(config, plain=True)
    before = [p.numpy().copy() for p in task.model.parameters()]
    train(task, config, run=run_in(tmp_path / "run"))
    moved = [p.numpy() - b for p, b in zip(task.model.parameters(), before)]
    assert math.sqrt(sum(float((m**2).sum()) for m in moved)) == pytest.approx(0.5e-3, rel=1e-3)
    assert run_in(tmp_path / "run").metrics()[0]["train_gradient"] > 0.01


def test_the_learning_rate_follows_its_schedule(tmp_path):
    run = finished(tmp_path / "run", evaluate_every=1)
    expected = [optim.warmup_cosine(t, peak=1e-3, floor=0, warmup=4, total=30) for t in range(30)]
    np.testing.assert_allclose([row["lr"] for row in run.metrics()], expected, rtol=1e-6)
    config = TrainingConfig(steps=9, schedule="inverse-sqrt", warmup=3, lr=0.1)
    assert config.learning_rate(5, 0.5) == optim.inverse_sqrt(5, peak=0.1, warmup=3)
    config = TrainingConfig(steps=9, warmup=3, lr=0.1)
    assert [config.learning_rate(t, t / 9) for t in (0, 2, 3, 8)] == pytest.approx([0.025, 0.075, 0.1, 0.1])
    config = TrainingConfig(minutes=1, schedule="cosine", lr=0.1, lr_end=0.01)
    assert config.learning_rate(50, 0.5) == pytest.approx(0.055) and config.learning_rate(0, 0.0) == 0.1


def test_averaged_weights_are_those_that_are_judged_and_kept(tmp_path):
    config = TrainingConfig(**{**FULL, "evaluate_every": 30})
    task, run = Regression(config), run_in(tmp_path / "run")
    train(task, config, run=run)
    arrays = run.load().arrays
    weights = run.weights()
    assert not np.array_equal(arrays["model.last.weight"], weights["last.weight"])
    assert np.array_equal(arrays["ema.last.weight"], weights["last.weight"])
    assert np.array_equal(arrays["model.norm.running_mean"], weights["norm.running_mean"])
    assert all(np.array_equal(task.model.state_dict()[name], array) for name, array in weights.items())
    assert all(np.array_equal(run.weights("best")[name], array) for name, array in weights.items())
    task.model.eval()
    judged = task.evaluate(stream(0, "evaluation"))["loss"]
    assert judged == pytest.approx(run.metrics()[-1]["test_loss"], rel=1e-6)


def test_the_best_weights_are_those_of_the_best_evaluation(tmp_path):
    run = finished(tmp_path / "run", lr=0.3, schedule="constant", ema=None, clip=None, evaluate_every=2)
    losses = [row["test_loss"] for row in run.metrics()]
    best = int(np.argmin(losses))
    assert 0 < best < len(losses) - 1, "a training whose end is not its best is needed"
    assert run.load().state["best"]["step"] == run.metrics()[best]["step"]
    config = TrainingConfig(steps=1, batch=10)
    task = Regression(config)
    task.model.load_state_dict(run.weights("best"))
    task.model.eval()
    assert task.evaluate(stream(0, "evaluation"))["loss"] == pytest.approx(losses[best], rel=1e-6)


def test_metrics_of_two_players_are_told_apart(tmp_path):
    row = finished(tmp_path / "run", Duel).metrics()[-1]
    assert {"train_critic_loss", "train_generator_loss", "train_generator_gradient", "test_loss"} <= set(row)


def test_samples_are_left_at_each_doubling_of_evaluations_and_at_the_end(tmp_path):
    run = finished(tmp_path / "run", steps=30, evaluate_every=1)
    names = sorted(path.name for path in run.path("samples").iterdir())
    assert names == [f"{step:06}.txt" for step in (1, 2, 4, 8, 16, 30)]
    assert len({path.read_text() for path in run.path("samples").iterdir()}) == 1  # the same noise each time


def test_streams_are_what_they_were(tmp_path):
    """A saved run depends on them: of another purpose, seed or place they differ, and they never change."""
    first = {name: int(stream(0, name, 1).bit_generator.random_raw()) for name in streams.PURPOSES}
    assert first == {
        "weights": 6729429447121830309,
        "order": 10868409920998321208,
        "noise": 5403977206170709550,
        "evaluation": 2162175121081297100,
        "pictures": 1868130949432030126,
    }
    others = [stream(1, "noise", 1), stream(0, "noise", 2), stream(0, "noise", 1, 0), stream(0, "noise")]
    assert len({first["noise"], *(int(one.bit_generator.random_raw()) for one in others)}) == 5


def test_every_player_and_every_layer_that_draws_has_noise_of_its_own():
    task = Duel(TrainingConfig(steps=1))
    seen = []
    for number in range(2):
        for turn in range(2):
            seen.append(_noise(task, 0, number, turn))
            seen += [module.rng for _, module in task.model.named_modules() if hasattr(module, "rng")]
    assert len(seen) == 12
    assert len({int(rng.bit_generator.random_raw()) for rng in seen}) == 12


def test_what_the_optimizer_can_use_reaches_it():
    parameters = Regression(TrainingConfig(steps=1), plain=True).model.parameters()

    def made(**settings):
        return TrainingConfig(steps=1, lr=0.25, **settings).make_optimizer(parameters)

    adamw = made(optimizer="adamw", beta1=0.5, beta2=0.75, weight_decay=0.125)
    assert type(adamw) is optim.AdamW and adamw.betas == (0.5, 0.75) and adamw.weight_decay == 0.125
    sgd = made(optimizer="sgd", momentum=0.5, weight_decay=0.125)
    assert type(sgd) is optim.SGD and sgd.momentum == 0.5 and sgd.weight_decay == 0.125
    assert made().betas == (0.9, 0.999) and made(beta1=0.5).betas == (0.5, 0.999) and made().lr == 0.25


def test_minutes_are_minutes():
    config = TrainingConfig(minutes=2)
    assert config.done(10**9, 60, 1) == 0.5 and config.done(0, 120, 1) == 1
    assert TrainingConfig(minutes=2, steps=10).done(9, 60, 1) == 0.9


def test_players_need_names_of_their_own(tmp_path):
    task = Duel(TrainingConfig(steps=1))
    for name in ("critic", "a.b"):
        task.players = (task.players[0], dataclasses.replace(task.players[1], name=name))
        with pytest.raises(ValueError, match="players of different names without dots"):
            train(task, TrainingConfig(steps=1), run=run_in(tmp_path / "run"))


def test_pieces_count_by_their_weight():
    """Where the mean is over something else than rows, as over tokens that are no padding."""
    player = Player(
        "model", None, lambda batch, rng: (batch[0].mean(), {}), weight=lambda batch: batch[0].size
    )
    batches = [(np.ones(3),), (np.full(1, 5.0),)]
    assert means(player, batches, None) == {"loss": 2.0}
    config = TrainingConfig(steps=1, batch=8, accumulate=3)
    task = Regression(config, plain=True)
    mask = np.array([1, 0, 0, 1, 1, 1, 0, 1], np.float32)[:, None]

    def loss(batch, rng):
        x, y, mask = batch
        error = (task.model(x) - y) * mask
        return (error * error).sum() * (1 / max(mask.sum(), 1)), {}

    task.players = (Player("model", task.model, loss, weight=lambda batch: float(batch[2].sum())),)
    found = []
    for pieces in (1, 3):
        setting = dataclasses.replace(config, accumulate=pieces)
        optimizer = setting.make_optimizer(task.model.parameters())
        metrics = take_step(task, [optimizer], (task.x[:8], task.y[:8], mask), setting, 0, lr=0.0)
        found.append((metrics, task.model.weight.grad.numpy()))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-4)


def test_an_evaluation_records_nothing_for_a_derivative(tmp_path):
    recorded = []

    class Watching(Regression):
        def evaluate(self, rng):
            recorded.append(self.loss(self.test, rng)[0].requires_grad)
            return super().evaluate(rng)

    config = TrainingConfig(**{**FULL, "steps": 5})
    train(Watching(config), config, run=run_in(tmp_path / "run"))
    assert recorded == [False, False]


def test_what_else_moves_in_a_step_comes_last_and_has_noise_of_its_own():
    config = TrainingConfig(steps=2, batch=10, optimizer="sgd")
    task, drawn = Regression(config, plain=True), []
    before = task.model.weight.numpy().copy()
    regress = task.loss

    def loss(batch, rng):
        drawn.append(int(rng.bit_generator.random_raw()))
        return regress(batch, rng)

    def after(rng):
        drawn.append(int(rng.bit_generator.random_raw()))
        assert not np.array_equal(task.model.weight.numpy(), before)

    task.players = (Player("model", task.model, loss, after=after),)
    for step in range(2):
        take_step(task, config.make_optimizers(task.players), task.batch(step), config, step, lr=0.1)
    assert len(set(drawn)) == len(drawn) == 4
    assert drawn[1] == int(stream(config.seed, "noise", 0, 0, 0).bit_generator.random_raw())


# how it ends


def test_epochs_steps_and_minutes_end_it_whichever_is_first(tmp_path):
    steps = {
        "epochs": finished(tmp_path / "a", steps=None, epochs=3),
        "both": finished(tmp_path / "b", steps=5, epochs=3),
        "minutes": finished(tmp_path / "c", steps=None, minutes=1e-7),
    }
    assert {name: run.load().state["step"] for name, run in steps.items()} == {
        "epochs": 12,
        "both": 5,
        "minutes": 1,
    }
    assert all(run.metrics()[-1]["step"] == run.load().state["step"] for run in steps.values())


def test_a_loss_that_is_not_finite_names_the_operation_and_the_line(tmp_path):
    config = TrainingConfig(**FULL)
    task, run = Regression(config), run_in(tmp_path / "run")
    bad = stream(0, "order", 0).permutation(len(task.x))[33]  # in the fourth minibatch
    task.x[bad, 0] = np.inf
    with pytest.raises(
        FloatingPointError, match=r"train: step 4: the result of linear is not finite .*tasks.py:\d+ in .*lr"
    ):
        train(task, config, run=run)
    arrays, state = run.load().arrays, run.load().state
    assert state["step"] == 3 and all(np.isfinite(array).all() for array in arrays.values())


def test_a_gradient_that_is_not_finite_names_the_operation(tmp_path):
    class Steep(Regression):
        def loss(self, batch, rng):
            loss, others = super().loss(batch, rng)
            return loss + steep(self.model.weight).sum(), others

    @tg.primitive
    def steep(x):
        return x * 0

    steep.rules(x=lambda g, x: g * math.inf)
    config = TrainingConfig(steps=2, batch=10)
    with pytest.raises(FloatingPointError, match=r"step 1: the gradient that steep passes .* is not finite"):
        train(Steep(config, plain=True), config, run=run_in(tmp_path / "run"))
    REGISTRY.pop(f"{__name__}.steep")


def test_an_update_that_is_not_finite_is_told_and_not_saved(tmp_path):
    settings = {
        "optimizer": "sgd",
        "lr": 1e38,
        "clip": None,
        "ema": None,
        "schedule": "constant",
        "warmup": 0,
    }
    for save in (0, 1e9):
        with pytest.raises(FloatingPointError, match=r"step .* not finite.*; what was saved before is good"):
            finished(tmp_path / str(save), save_seconds=save, **settings)
        arrays = run_in(tmp_path / str(save)).load().arrays
        assert all(np.isfinite(array).all() for array in arrays.values())


def test_a_moment_that_is_not_finite_is_told_and_not_saved(tmp_path):
    class Steep(Regression):
        def loss(self, batch, rng):
            loss, others = super().loss(batch, rng)
            return loss * 1e25, others

    config = TrainingConfig(steps=3, batch=10)
    with pytest.raises(FloatingPointError, match=r"step 3: optimizer.model.v.\d is not finite"):
        train(Steep(config, plain=True), config, run=run_in(tmp_path / "run"))
    assert run_in(tmp_path / "run").load().state["step"] == 0


def test_an_evaluation_that_is_not_finite_is_told_with_its_step(tmp_path):
    class Blind(Regression):
        def evaluate(self, rng):
            return {"loss": float("nan")}

    config = TrainingConfig(**FULL)
    with pytest.raises(FloatingPointError, match=r"step 4: in an evaluation: .* loss = nan; what was saved"):
        train(Blind(config), config, run=run_in(tmp_path / "run"))


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"epochs": 0}, "epochs: expected at least 1, got 0"),
        ({"epochs": 1, "batch": -3}, "batch: expected at least 1, got -3"),
        ({"epochs": 1, "accumulate": 0}, "accumulate: expected at least 1, got 0"),
        ({"epochs": 1, "lr": math.nan}, "lr: expected a number above 0, got nan"),
        ({"minutes": math.inf}, "minutes: expected a number above 0, got inf"),
        ({"epochs": 1, "seed": -1}, "seed: expected at least 0, got -1"),
        ({"steps": 5, "warmup": 5}, "warmup: expected fewer than the 5 steps, got 5"),
        ({"steps": 2.5}, "steps: expected a whole number, got 2.5"),
        ({"steps": True}, "steps: expected a whole number, got True"),
        ({"epochs": 1, "lr": "1e-3"}, "lr: expected a number, got '1e-3'; give one"),
        ({"epochs": 1, "warmup": -1}, "warmup: expected at least 0, got -1"),
        ({"epochs": 1, "save_seconds": -1}, "save_seconds: expected at least 0, got -1"),
        ({"epochs": 1, "ema": 1.0}, "ema: expected at least 0 and below 1, got 1.0"),
        ({"epochs": 1, "schedule": "cosin"}, "schedule: expected one of constant, cosine, inverse-sqrt, got"),
        ({"epochs": 1, "weight_decay": 0.1}, "weight_decay: is not used by the optimizer adam; .* or sgd"),
        ({"epochs": 1, "lr_end": 0.1}, "lr_end: is not used by the schedule constant; .*, or choose cosine"),
        ({}, "expected a length, got none; give steps, epochs or minutes"),
    ],
)
def test_settings_out_of_range_are_errors(settings, message):
    with pytest.raises(ValueError, match=message):
        TrainingConfig(**settings)
