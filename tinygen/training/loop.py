"""The training loop: a minibatch, a loss, a step; now and then an evaluation and a checkpoint.

A run that was stopped anywhere, by Ctrl-C or by kill -9, goes on from its last checkpoint and ends with the
same bits as one that never stopped. Two things make that easy. What is random at a step depends on the seed
and on the step alone (streams.py). And a checkpoint holds everything else that a step changes: parameters and
buffers, the optimizers' moments, the averages, and a `Standing`.
"""

import contextlib
import dataclasses
import math
import signal
import threading
import time
import warnings
from dataclasses import dataclass, field

import numpy as np

from ..autograd import anomaly, no_grad
from ..nn import EMA
from ..optim import clip_by_norm
from .checkpoint import Damaged
from .progress import Silent
from .streams import stream
from .task import figures


@dataclass
class Standing:
    """Where a training stands.

    step         updates made
    seconds      spent on them
    evaluations  made
    sums, seen   each figure of the steps since the last evaluation, summed, and how many steps those are
    best         the evaluation with the best judged figure so far: its step and the figure
    """

    step: int = 0
    seconds: float = 0.0
    evaluations: int = 0
    sums: dict = field(default_factory=dict)
    seen: int = 0
    best: dict | None = None


def train(task, config, *, run, progress=None):
    """Train from where `run` stands to the end, and leave metrics, samples and checkpoints in its folder.

    Args:
        task: see task.py. Its model is trained in place.
        config: a TrainingConfig.
        run: a Run; a new one, or one that was stopped.
        progress: who is told, see progress.py.

    Returns:
        What ended the training, "steps", "minutes" or the signal.Signals that stopped it, and the Standing.

    Raises:
        FloatingPointError: a loss, a gradient or a weight is not finite; the first operation that made one is
            named. The last checkpoint stays, and is good.
        OSError: the folder cannot be written, or somebody else trains there. The last checkpoint stays.
        Damaged: there is a checkpoint, and it cannot be read.
    """
    progress = progress or Silent()
    optimizers = [config.make_optimizer(player.module.parameters()) for player in task.players]
    averages = EMA(task.model, decay=config.ema) if config.ema else None
    every = config.evaluate_every or max(1, round(task.steps_per_epoch))
    # What overflows is an error below, which says more than NumPy's warning would.
    with run.alone(), interruption() as interrupted, np.errstate(over="ignore", invalid="ignore"):
        at = _restore(run, task, optimizers, averages)
        rows = [row for row in run.metrics() if row["step"] <= at.step]
        before, started = at.seconds, time.monotonic()
        done = config.done(at.step, at.seconds, task.steps_per_epoch)
        ending, saved = _ending(done, at, config, task, interrupted), started
        progress.begin(done)
        while ending is None:
            lr = config.learning_rate(at.step, done)
            batch = task.batch(at.step)
            for turn, optimizer in enumerate(optimizers):
                optimizer.lr = lr
                found = _gradient(task, turn, optimizer, batch, config, at.step)
                optimizer.step()
                for name, value in found.items():
                    at.sums[name] = at.sums.get(name, 0.0) + value
            if averages:
                averages.update()
            at.step, at.seen, at.seconds = at.step + 1, at.seen + 1, before + time.monotonic() - started
            done = config.done(at.step, at.seconds, task.steps_per_epoch)
            ending = _ending(done, at, config, task, interrupted)
            progress.step(next(iter(found.values())), done=done)
            if at.step % every == 0 or ending in ("steps", "minutes"):
                with averages.applied() if averages else contextlib.nullcontext():
                    row = _evaluate(task, at, lr, run, config.seed, last=ending is not None)
                rows.append(row)
                run.save_metrics(rows)
                progress.evaluated(row, done=done)
            if ending or time.monotonic() - saved >= config.save_seconds:
                _save(run, task, optimizers, averages, at)
                saved = time.monotonic()
        # The samples and the figures of the end are those of the averaged weights, too.
        if averages:
            for name, parameter in task.model.named_parameters():
                parameter.assign(averages.averages[name])
    return ending, at


def _gradient(task, turn, optimizer, batch, config, step):
    """Give one player's parameters their gradients on a batch, clipped; its figures, the gradient's norm too.

    A batch in several pieces gives the gradient of the whole: each piece's counts by its share of the rows.
    """
    player, size = task.players[turn], len(batch[0])

    def accumulate():
        rng, found = _noise(task, config.seed, step, turn), {}
        optimizer.zero_grad()
        for rows in np.array_split(np.arange(size), min(config.accumulate, size)):
            whole = len(rows) == size
            answer = player.loss(batch if whole else tuple(array[rows] for array in batch), rng)
            for name, value in figures(answer, player.name).items():
                found[name] = found.get(name, 0.0) + value * len(rows) / size
            (answer[0] if whole else answer[0] * (len(rows) / size)).backward()
        return found

    try:
        found = accumulate()
        found["gradient"] = clip_by_norm(optimizer.parameters, config.clip or math.inf)
    except FloatingPointError as error:
        raise _first_cause(task, accumulate, error, step) from None
    alone = len(task.players) == 1
    return found if alone else {f"{player.name}_{name}": value for name, value in found.items()}


def _noise(task, seed, step, turn):
    """The stream of a player's noise at a step; layers that draw for themselves get their own."""
    for i, (_, module) in enumerate(task.model.named_modules(), start=1):
        if hasattr(module, "rng"):
            module.rng = stream(seed, "noise", step, turn, i)
    return stream(seed, "noise", step, turn)


def _first_cause(task, accumulate, error, step):
    """The error to raise instead of `error`, which says where a number at this step first was not finite."""
    where = f"train: step {step + 1:,}"
    tail = "; what was saved before is good: try a smaller lr, or clip"
    for name, parameter in task.model.named_parameters():
        if not np.isfinite(parameter.numpy()).all():
            return FloatingPointError(f"{where}: parameter {name} is not finite after the last update{tail}")
    try:
        with anomaly():  # the same numbers again, each looked at
            accumulate()
    except FloatingPointError as cause:
        error = cause
    return FloatingPointError(f"{where}: {error}{tail}")


def _ending(done, at, config, task, interrupted):
    """What ends the training at this place; None: nothing yet."""
    if interrupted:
        return interrupted[0]
    last = config.last_step(task.steps_per_epoch)
    return "steps" if last and at.step >= last else "minutes" if done >= 1 else None


@no_grad()
def _evaluate(task, at, lr, run, seed, last):
    """A row of metrics. The best weights are saved, and samples at each doubling of evaluations and last."""
    task.model.eval()
    try:
        test = task.evaluate(stream(seed, "evaluation"))
        at.evaluations += 1
        if at.best is None or test[task.judge] < at.best[task.judge]:
            at.best = {"step": at.step, task.judge: test[task.judge]}
            run.save_best(task.model.state_dict())
        if last or at.evaluations & (at.evaluations - 1) == 0:
            task.snapshot(run.path("samples") / f"{at.step:06}", stream(seed, "pictures"))
    finally:
        task.model.train()
    row = {"epoch": at.step / task.steps_per_epoch, "step": at.step, "lr": lr}
    row |= {f"train_{name}": total / at.seen for name, total in at.sums.items()}
    at.sums, at.seen = {}, 0
    return row | {f"test_{name}": value for name, value in test.items()}


# saving and restoring


def _save(run, task, optimizers, averages, at):
    """Save a checkpoint, unless a weight is not finite."""
    arrays = {f"model.{name}": array for name, array in task.model.state_dict().items()}
    if averages:
        arrays |= {f"ema.{name}": array for name, array in averages.state_dict().items()}
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise FloatingPointError(
                f"train: step {at.step:,}: {name} is not finite; what was saved before is good: "
                "try a smaller lr, or clip"
            )
    for player, optimizer in zip(task.players, optimizers):
        arrays |= {f"optimizer.{player.name}.{name}": a for name, a in optimizer.state_dict().items()}
    run.save(arrays, dataclasses.asdict(at))


def _restore(run, task, optimizers, averages):
    """The Standing of the run's last checkpoint, everything brought back from it; of a new run the start."""
    try:
        arrays, state, problems = run.load()
    except FileNotFoundError:
        _save(run, task, optimizers, averages, at := Standing())  # better to find now that it cannot be done
        return at
    for problem in problems:
        warnings.warn(
            f"{problem}; going on from the checkpoint before, of step {state['step']:,}", stacklevel=3
        )

    def below(prefix):
        return {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}

    try:
        task.model.load_state_dict(below("model."))
        for player, optimizer in zip(task.players, optimizers):
            optimizer.load_state_dict(below(f"optimizer.{player.name}."))
        if averages:
            averages.load_state_dict(below("ema."), steps=state["step"])
    except ValueError as error:
        raise Damaged(
            f"{run.folder}: config.json and the checkpoint do not belong together; {error}"
        ) from error
    return Standing(**state)


@contextlib.contextmanager
def interruption():
    """Yield a list to which the first signal to stop is added, so that the step is finished and saved.

    They are Ctrl-C, `kill`, and a terminal that is closed. A second one acts as ever.
    """
    interrupted = []
    if threading.current_thread() is not threading.main_thread():  # only that one may handle signals
        yield interrupted
        return

    def handle(number, frame):
        interrupted.append(signal.Signals(number))
        for kind, handler in before.items():
            signal.signal(kind, handler)

    kinds = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {kind: signal.getsignal(kind) for kind in kinds}
    before = {
        kind: handler for kind, handler in before.items() if handler is not signal.SIG_IGN
    }  # as by nohup
    for kind in before:
        signal.signal(kind, handle)
    try:
        yield interrupted
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
