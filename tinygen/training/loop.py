"""The training loop: a minibatch, a loss, a step; now and then an evaluation and a checkpoint.

A run that was stopped anywhere, by Ctrl-C or by kill -9, goes on from its last checkpoint and ends with the
same bits as one that never stopped: with the same NumPy, and a length in steps or epochs (minutes are of the
clock). Two things make that easy. What is random at a step depends on the seed and on the step alone
(streams.py). And a checkpoint holds everything else that a step changes: parameters and buffers, the
optimizers' moments, the averages, and a `TrainingState`.
"""

import contextlib
import dataclasses
import signal
import threading
import time
import warnings
from dataclasses import dataclass, field

import numpy as np

from ..autograd import no_grad
from ..nn import EMA
from . import checkpoint
from .checkpoint import Damaged
from .options import Mistake
from .progress import Silent
from .step import ADVICE, take_step
from .streams import stream
from .task import finite


@dataclass
class TrainingState:
    """Where a training stands.

    step         updates made
    seconds      of training, evaluations and saves included
    evaluations  made
    sums         for each metric of the steps since the last evaluation, its sum and how many steps had it
    best         the step of the best evaluation so far, and the monitored metric there, if one is
    """

    step: int = 0
    seconds: float = 0.0
    evaluations: int = 0
    sums: dict = field(default_factory=dict)
    best: dict | None = None

    def add(self, metrics):
        """Count the metrics of a step."""
        for name, value in metrics.items():
            total, count = self.sums.get(name, (0.0, 0))
            self.sums[name] = total + value, count + 1


def train(task, config, *, run, progress=None, begun=None):
    """Train from where `run` stands to the end, and leave metrics, samples and checkpoints in its folder.

    Args:
        task: see task.py. Its model is trained in place, and has the averaged weights at the end, if any.
        config: a TrainingConfig.
        run: a Run; a new one, or one that was stopped.
        progress: who is told, see progress.py.
        begun: called once it is sure that the training can go on.

    Returns:
        ending: "steps" or "minutes", or the signal.Signals that stopped it.
        state: the TrainingState.

    Raises:
        FloatingPointError: a loss, a gradient, a weight or a moment is not finite; of a step, the operation
            that first made such a number is named. The last checkpoint stays, and is good.
        OSError: the folder cannot be written, or somebody else trains there. The last checkpoint stays.
        Damaged: there is a checkpoint or a table of metrics, and it cannot be read.
        Mistake, a ValueError: more steps are made than the length of the training.
        ValueError: players of one name.
    """
    _check_names(task.players)
    progress = progress or Silent()
    optimizers = config.make_optimizers(task.players)
    part = getattr(task, "averaged", task.model)
    averages = EMA(task.model, decay=config.ema, part=part) if config.ema else None
    every = config.evaluate_every or max(1, round(task.steps_per_epoch))
    last = config.last_step(task.steps_per_epoch)
    # What overflows is an error below, which says more than NumPy's warning would.
    with run.alone(), interruption() as signals, np.errstate(over="ignore", invalid="ignore"):
        state = _restore(run, task, optimizers, averages)
        rows = _rows_until(run, state)
        if last and last < state.step:
            raise Mistake(
                f"{run.folder}: expected a length of at least the {state.step:,} steps that are made, "
                f"got {last:,}; give a longer one"
            )
        if begun:
            begun()
        before, started = state.seconds, time.monotonic()
        done = config.done(state.step, state.seconds, task.steps_per_epoch)
        over, saved, lr = _over(state, done, last), started, config.learning_rate(state.step, done)
        progress.begin(done)

        def evaluate():
            with averages.applied() if averages else contextlib.nullcontext():
                rows.append(_evaluate(task, state, lr, run, config.seed, last=bool(over)))
            with run.writing():
                run.save_metrics(rows)
            progress.evaluated(rows[-1], done=done)

        if over and state.sums:  # the run was stopped, and then given a length that ends right there
            evaluate()
            _save(run, task, optimizers, averages, state)
        while not over and not signals:
            lr = config.learning_rate(state.step, done)
            metrics = take_step(task, optimizers, task.batch(state.step), config, state.step, lr=lr)
            if averages:
                averages.update()
            state.add(metrics)
            state.step, state.seconds = state.step + 1, before + time.monotonic() - started
            done = config.done(state.step, state.seconds, task.steps_per_epoch)
            over = _over(state, done, last)
            progress.step(metrics, done=done)
            if over or state.step % every == 0:
                evaluate()
            if over or signals or time.monotonic() - saved >= config.save_seconds:
                _save(run, task, optimizers, averages, state)
                saved = time.monotonic()
        if averages:
            averages.assign()
        return over or signals.pop(0), state


def _over(state, done, last):
    """What ends the training here: "steps", "minutes", or nothing yet."""
    return "steps" if last and state.step >= last else "minutes" if done >= 1 else None


@no_grad()
def _evaluate(task, state, lr, run, seed, last):
    """A row of metrics. The best weights are saved, and samples at each doubling of evaluations and last."""
    task.model.eval()
    try:
        try:
            test = finite(task.evaluate(stream(seed, "evaluation")), "in an evaluation")
        except FloatingPointError as error:
            raise FloatingPointError(f"train: step {state.step:,}: {error}{ADVICE}") from None
        state.evaluations += 1
        with run.writing():
            watched = {task.monitor: test[task.monitor]} if task.monitor else {}
            if not (state.best and watched) or watched[task.monitor] < state.best[task.monitor]:
                state.best = {"step": state.step} | watched
                run.save_best(task.model.state_dict())
            if last or state.evaluations & (state.evaluations - 1) == 0:
                task.samples(run.path("samples") / f"{state.step:06}", stream(seed, "pictures"))
    finally:
        task.model.train()
    row = {"epoch": state.step / task.steps_per_epoch, "step": state.step, "lr": lr}
    row |= {f"train_{name}": total / count for name, (total, count) in state.sums.items()}
    state.sums = {}
    return row | {
        name if name.startswith("train_") else f"test_{name}": value for name, value in test.items()
    }


# saving and restoring


def _save(run, task, optimizers, averages, state):
    """Save a checkpoint, unless a number in it is not finite."""
    arrays = {f"model.{name}": array for name, array in task.model.state_dict().items()}
    if averages:
        arrays |= {f"ema.{name}": array for name, array in averages.state_dict().items()}
    for player, optimizer in zip(task.players, optimizers):
        moments = optimizer.state_dict().items()
        arrays |= {f"optimizer.{player.name}.{name}": array for name, array in moments}
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise FloatingPointError(f"train: step {state.step:,}: {name} is not finite{ADVICE}")
    with run.writing():
        run.save(arrays, dataclasses.asdict(state))


def _restore(run, task, optimizers, averages):
    """The TrainingState of the run's last checkpoint, and everything brought back from it; or the start."""
    try:
        found = checkpoint.settle(run.folder)
    except FileNotFoundError:
        _save(run, task, optimizers, averages, state := TrainingState())  # that it cannot be done is told now
        return state
    step = found.state.get("step")
    for problem in found.problems:
        warnings.warn(f"{problem}; going on from the checkpoint before, of step {step:,}", stacklevel=3)

    def below(prefix):
        return {n.removeprefix(prefix): array for n, array in found.arrays.items() if n.startswith(prefix)}

    try:
        task.model.load_state_dict(below("model."))
        for player, optimizer in zip(task.players, optimizers):
            optimizer.load_state_dict(below(f"optimizer.{player.name}."))
        if averages:
            averages.load_state_dict(below("ema."), steps=step)
        return TrainingState(**found.state)
    except (ValueError, TypeError) as error:
        raise Damaged(
            f"{run.folder}: config.json and the checkpoint do not belong together; {error}"
        ) from error


def _rows_until(run, state):
    """The rows of metrics up to where the training stands. Those after it, and samples, are made again."""
    for path in run.path("samples").iterdir():
        if path.stem.isdigit() and int(path.stem) > state.step:
            path.unlink()
    rows = [row for row in run.metrics() if row["step"] <= state.step]
    if len(rows) != state.evaluations:
        warnings.warn(
            f"{run.path('metrics.csv')}: has {len(rows)} of {state.evaluations} rows; going on without those",
            stacklevel=3,
        )
    return rows


def _check_names(players):
    """A player's name is part of the names in a checkpoint."""
    names = [player.name for player in players]
    if len(set(names)) != len(names) or any("." in name for name in names):
        raise ValueError(f"train: expected players of different names without dots, got {names}; rename one")


@contextlib.contextmanager
def interruption():
    """Yield a list to which the first signal to stop is added, so that the step is finished and saved.

    They are Ctrl-C, `kill`, and a terminal that is closed. A second one does what it would have done without
    us, and so does a first one that is still in the list at the end: it came too late to stop anything.
    """
    signals = []
    if threading.current_thread() is not threading.main_thread():  # only that one may handle signals
        yield signals
        return
    kinds = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {kind: signal.getsignal(kind) for kind in kinds}
    # What is ignored, as nohup has it, or handled by somebody else's C code stays as it is.
    before = {kind: old for kind, old in before.items() if old not in (signal.SIG_IGN, None)}

    def restore():
        for kind, old in before.items():
            signal.signal(kind, old)

    def handle(number, frame):
        signals.append(signal.Signals(number))
        restore()

    for kind in before:
        signal.signal(kind, handle)
    try:
        yield signals
    finally:
        restore()
    if signals:
        signal.raise_signal(signals[0])
