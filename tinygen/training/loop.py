"""The training loop: minibatches, a loss, a step; an evaluation and a checkpoint at the end of every epoch.

It serves models whose `loss(x, eps)` is (total, reconstruction, kl) in nats an example. Each kind of random
draw has a stream of its own, spawned from one seed: weights, order of the data, noise in training, noise in
evaluation, pictures. So an evaluation never shifts the training, and the same seed repeats a run to the bit.
"""

import contextlib
import math
import signal
import threading
import time
from dataclasses import dataclass, field

import numpy as np

from ..autograd import no_grad
from ..data import minibatches
from ..optim import Adam
from .progress import Silent

STREAMS = ("weights", "order", "noise", "evaluation", "pictures")
LOSSES = ("loss", "reconstruction", "kl")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How a model is trained, and for how long: `epochs`, `minutes`, or whichever of the two ends first.

    Raises:
        ValueError: a setting is out of its range, or no length is given.
    """

    data: str = field(default="digits", metadata={"help": "digits, or mnist found in $TINYGEN_DATA"})
    epochs: int | None = field(default=None, metadata={"help": "passes over the training data"})
    minutes: float | None = field(
        default=None, metadata={"help": "train for this long; beside epochs, whichever ends first"}
    )
    batch: int = field(default=100, metadata={"help": "images in a minibatch"})
    lr: float = field(default=1e-3, metadata={"help": "learning rate of Adam"})
    seed: int = field(default=0, metadata={"help": "of the weights, the order of the data and all noise"})

    def __post_init__(self):
        for name in ("epochs", "batch"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}: expected at least 1, got {value}")
        for name in ("minutes", "lr"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{name}: expected a number above 0, got {value}")
        if self.seed < 0:
            raise ValueError(f"seed: expected at least 0, got {self.seed}")
        if self.epochs is None and self.minutes is None:
            raise ValueError("training: expected a length; give epochs or minutes")


def streams(seed):
    """A dict with a np.random.Generator for each name in STREAMS, independent of one another."""
    children = np.random.SeedSequence(seed).spawn(len(STREAMS))
    return {name: np.random.default_rng(child) for name, child in zip(STREAMS, children, strict=True)}


def train(model, train_x, test_x, config, *, run, progress=None):
    """Train `model` in place, and leave metrics and a checkpoint in `run` after every epoch.

    Args:
        model: a module with `loss(x, eps)` and `noise(n, rng=)`, such as a VAE.
        train_x, test_x: float32 (N, inputs).
        run: where to leave what was learned, a Run.

    Returns:
        The last row of metrics, and what ended the training: "epochs", "minutes" or "interrupted".

    Raises:
        FloatingPointError: a loss that is not finite; the checkpoint of the last epoch stays.
    """
    random, progress = streams(config.seed), progress or Silent()
    optimizer = Adam(model.parameters(), lr=config.lr)
    steps_per_epoch = math.ceil(len(train_x) / config.batch)
    step, row, ending, started = 0, {}, None, time.monotonic()
    # A loss that overflows is an error below, which says more than NumPy's warning would.
    with interruption() as interrupted, np.errstate(over="ignore", invalid="ignore"):
        while ending is None:
            sums, seen = np.zeros(len(LOSSES)), 0
            for (x,) in minibatches(train_x, size=config.batch, rng=random["order"]):
                losses = model.loss(x, model.noise(len(x), rng=random["noise"]))
                values = _finite(losses, f"at step {step + 1} (epoch {step // steps_per_epoch + 1})")
                optimizer.zero_grad()
                losses[0].backward()
                optimizer.step()
                step, sums, seen = step + 1, sums + values * len(x), seen + len(x)
                ending, done = _ending(step, steps_per_epoch, time.monotonic() - started, config, interrupted)
                progress.step(values[0], done=done)
                if ending:
                    break
            test = evaluate(model, test_x, seed=config.seed)
            run.save_weights(model.state_dict())  # not before the evaluation, which raises if they are bad
            row = {"epoch": step / steps_per_epoch, "step": step}
            row |= {f"train_{name}": float(value) for name, value in zip(LOSSES, sums / seen)}
            row |= {f"test_{name}": float(value) for name, value in zip(LOSSES, test)}
            run.add_metrics(row)
            progress.evaluated(row, done=done)
    return row, ending


def _finite(losses, where):
    """The three losses as an array, or a FloatingPointError that says where they were not finite."""
    values = np.array([float(loss.numpy()) for loss in losses])
    if not np.isfinite(values).all():
        raise FloatingPointError(
            f"train: expected a finite loss, got reconstruction {values[1]} and KL {values[2]} {where}; "
            "try a smaller lr"
        )
    return values


def _ending(step, steps_per_epoch, seconds, config, interrupted):
    """What ends the training after this step (None: nothing yet), and the fraction of it that is done."""
    by_steps = step / (config.epochs * steps_per_epoch) if config.epochs else 0.0
    by_time = seconds / (60 * config.minutes) if config.minutes else 0.0
    done = min(1.0, max(by_steps, by_time))
    if interrupted.is_set():
        return "interrupted", done
    return "epochs" if by_steps >= 1 else "minutes" if by_time >= 1 else None, done


@no_grad()
def evaluate(model, x, *, seed, size=500):
    """Mean (total, reconstruction, kl) over the rows of x, in nats an example, as an array of three.

    The noise comes from a stream made anew from `seed`: every evaluation of a run sees the same noise, so a
    difference between two epochs is a difference between two models.

    Raises:
        FloatingPointError: a loss that is not finite.
    """
    rng, sums = streams(seed)["evaluation"], np.zeros(len(LOSSES))
    for start in range(0, len(x), size):
        part = x[start : start + size]
        losses = model.loss(part, model.noise(len(part), rng=rng))
        sums += len(part) * _finite(losses, "in an evaluation")
    return sums / len(x)


@contextlib.contextmanager
def interruption():
    """Yield an event that Ctrl-C sets, so that the step is finished and saved. A second one acts as ever."""
    interrupted = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # only that one may handle signals
        yield interrupted
        return

    def handle(number, frame):
        interrupted.set()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, before)
