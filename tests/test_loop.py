"""The training loop: whatever stops it, it ends with the same bits; what it reports, and when it stops."""

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
from tinygen.training import Run, TrainingConfig, loop, stream, train
from tinygen.training.checkpoint import Damaged
from tinygen.training.progress import Silent

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

    def step(self, loss, *, done):
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
    arrays, state, problems = run.load()
    assert problems == []
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
        timer = threading.Timer(0.005 + 0.04 * rng.random(), os.kill, (child, signal.SIGKILL))
        timer.start()
        _, status = os.waitpid(child, 0)
        timer.cancel()
        timer.join()
        if not os.WIFSIGNALED(status):
            break
        kills += 1
        assert kills < 1000
    assert kills > 2
    assert left_behind(run_in(tmp_path / "killed")) == whole
    assert [p for p in (tmp_path / "killed").iterdir() if p.name.startswith(".unfinished")] == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_the_step_end_and_saves(tmp_path, number):
    class Interrupt(Silent):
        sent = False

        def step(self, loss, *, done):
            if done > 0.3 and not self.sent:  # of the tenth step, so that the eleventh is the last
                self.sent = True
                os.kill(os.getpid(), number)

    config = TrainingConfig(**{**FULL, "save_seconds": 1e9})
    run, before = run_in(tmp_path / "run"), signal.getsignal(number)
    ending, at = train(Regression(config), config, run=run, progress=Interrupt())
    assert ending is number and at.step == 11
    assert run.load()[1]["step"] == 11 and signal.getsignal(number) is before
    assert [row["step"] for row in run.metrics()] == [4, 8]
    assert left_behind(finished(tmp_path / "run")) == left_behind(finished(tmp_path / "whole"))


def test_a_longer_length_goes_on_where_a_shorter_ended(tmp_path):
    settings = {"schedule": "constant", "evaluate_every": 5}
    finished(tmp_path / "run", steps=10, **settings)
    assert left_behind(finished(tmp_path / "run", **settings)) == left_behind(
        finished(tmp_path / "whole", **settings)
    )


def test_two_trainings_do_not_share_a_folder(tmp_path):
    config = TrainingConfig(**FULL)

    class Second(Silent):
        def step(self, loss, *, done):
            with pytest.raises(BlockingIOError, match="another process is training here"):
                train(Regression(config), config, run=run_in(tmp_path / "run"))

    train(Regression(config), config, run=run_in(tmp_path / "run"), progress=Second())
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
    assert Run(tmp_path / "state.json").load()[1]["step"] == 6


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
        def step(self, loss, *, done):
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
    assert run_in(tmp_path / "run").load()[1]["step"] == 9
    assert left_behind(finished(tmp_path / "run")) == left_behind(finished(tmp_path / "whole"))


# what a step is


def test_how_often_it_evaluates_does_not_change_the_training(tmp_path):
    often, seldom = (finished(tmp_path / str(n), evaluate_every=n) for n in (1, 30))
    a, b = often.load()[0], seldom.load()[0]
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
            figures = loop._gradient(task, 0, optimizer, task.batch(step), setting, step)
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
    arrays = run.load()[0]
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
    assert run.load()[1]["best"]["step"] == run.metrics()[best]["step"]
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


# how it ends


def test_epochs_steps_and_minutes_end_it_whichever_is_first(tmp_path):
    steps = {
        "epochs": finished(tmp_path / "a", steps=None, epochs=3),
        "both": finished(tmp_path / "b", steps=5, epochs=3),
        "minutes": finished(tmp_path / "c", steps=None, minutes=1e-7),
    }
    assert {name: run.load()[1]["step"] for name, run in steps.items()} == {
        "epochs": 12,
        "both": 5,
        "minutes": 1,
    }
    assert all(run.metrics()[-1]["step"] == run.load()[1]["step"] for run in steps.values())


def test_a_loss_that_is_not_finite_names_the_operation_and_the_line(tmp_path):
    config = TrainingConfig(**FULL)
    task, run = Regression(config), run_in(tmp_path / "run")
    bad = stream(0, "order", 0).permutation(len(task.x))[33]  # in the fourth minibatch
    task.x[bad, 0] = np.inf
    with pytest.raises(
        FloatingPointError, match=r"train: step 4: the result of linear is not finite .*tasks.py:\d+ in .*lr"
    ):
        train(task, config, run=run)
    arrays, state, _ = run.load()
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
        arrays = run_in(tmp_path / str(save)).load()[0]
        assert all(np.isfinite(array).all() for array in arrays.values())


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"epochs": 0}, "epochs: expected at least 1, got 0"),
        ({"epochs": 1, "batch": -3}, "batch: expected at least 1, got -3"),
        ({"epochs": 1, "accumulate": 0}, "accumulate: expected at least 1, got 0"),
        ({"epochs": 1, "lr": math.nan}, "lr: expected a number above 0, got nan"),
        ({"minutes": math.inf}, "minutes: expected a number above 0, got inf"),
        ({"epochs": 1, "seed": -1}, "seed: expected at least 0, got -1"),
        ({"epochs": 1, "ema": 1.0}, "ema: expected at least 0 and below 1, got 1.0"),
        ({"epochs": 1, "schedule": "cosin"}, "schedule: expected one of constant, cosine, inverse-sqrt, got"),
        ({"epochs": 1, "weight_decay": 0.1}, "weight_decay: is not used by optimizer adam with schedule"),
        ({"epochs": 1, "lr_end": 0.1}, "lr_end: .* 0.1"),
        ({}, "expected a length; give steps, epochs or minutes"),
    ],
)
def test_settings_out_of_range_are_errors(settings, message):
    with pytest.raises(ValueError, match=message):
        TrainingConfig(**settings)
