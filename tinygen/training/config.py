"""How a model is trained, and for how long: one dataclass, whose fields are options of `tinygen train`."""

import math
from dataclasses import dataclass, field

from ..optim import SGD, Adam, AdamW, constant, inverse_sqrt, warmup_cosine

# What each optimizer, and each schedule, can make use of: another option beside it is a mistake.
OPTIMIZERS = {
    "adam": (Adam, ("beta1", "beta2")),
    "adamw": (AdamW, ("beta1", "beta2", "weight_decay")),
    "sgd": (SGD, ("momentum", "weight_decay")),
}
SCHEDULES = {"constant": ("warmup",), "cosine": ("warmup", "lr_end"), "inverse-sqrt": ("warmup",)}


def _option(default, text, choices=None):
    metadata = {"help": text} | ({"choices": tuple(choices)} if choices else {})
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How a model is trained, and for how long: `steps`, `epochs`, `minutes`, or whichever ends first.

    Raises:
        ValueError: a setting is out of its range or unused by the optimizer or schedule chosen, or no length
            is given.
    """

    data: str = _option("digits", "name of a data set, or path of a file or folder")
    steps: int | None = _option(None, "updates of the weights")
    epochs: int | None = _option(None, "passes over the training data")
    minutes: float | None = _option(None, "train for this long; of several lengths, the one that ends first")
    batch: int = _option(100, "examples in a minibatch")
    accumulate: int = _option(
        1, "pieces in which a minibatch is computed, one after the other, to save memory"
    )
    optimizer: str = _option("adam", "who moves the weights", OPTIMIZERS)
    lr: float = _option(1e-3, "learning rate, at its peak")
    beta1: float | None = _option(None, "how slowly the mean gradient moves (adam, adamw: 0.9)")
    beta2: float | None = _option(None, "how slowly the mean square moves (adam, adamw: 0.999)")
    momentum: float | None = _option(None, "of sgd (0)")
    weight_decay: float | None = _option(None, "of adamw (0.01) and sgd (0)")
    schedule: str = _option("constant", "of the learning rate", SCHEDULES)
    warmup: int = _option(0, "steps in which the learning rate rises to its peak")
    lr_end: float | None = _option(None, "where cosine ends (0)")
    clip: float | None = _option(None, "largest norm of the gradient, which is scaled down to it")
    ema: float | None = _option(
        None, "decay of averaged weights, such as 0.999, which are then the ones used"
    )
    evaluate_every: int | None = _option(None, "steps from one evaluation to the next (default: an epoch)")
    save_seconds: float = _option(30.0, "at most this much work is lost when the process is killed")
    seed: int = _option(0, "of the weights, the order of the data and all noise")

    def __post_init__(self):
        for name in ("steps", "epochs", "batch", "accumulate", "evaluate_every"):
            _check(name, getattr(self, name), "at least 1", lambda value: value >= 1)
        for name in ("minutes", "lr", "clip"):
            _check(name, getattr(self, name), "a number above 0", lambda value: 0 < value < math.inf)
        for name in ("warmup", "lr_end", "save_seconds", "seed", "weight_decay"):
            _check(name, getattr(self, name), "at least 0", lambda value: 0 <= value < math.inf)
        for name in ("beta1", "beta2", "momentum", "ema"):
            _check(name, getattr(self, name), "at least 0 and below 1", lambda value: 0 <= value < 1)
        for name, known in (("optimizer", OPTIMIZERS), ("schedule", SCHEDULES)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name}: expected one of {', '.join(known)}, got {getattr(self, name)!r}")
        if self.steps is None and self.epochs is None and self.minutes is None:
            raise ValueError("training: expected a length; give steps, epochs or minutes")
        if self.lr_end is not None and self.lr_end > self.lr:
            raise ValueError(f"lr_end: expected at most lr, {self.lr}, got {self.lr_end}")
        used = {*OPTIMIZERS[self.optimizer][1], *SCHEDULES[self.schedule]}
        for name in ("beta1", "beta2", "momentum", "weight_decay", "lr_end"):
            if getattr(self, name) is not None and name not in used:
                raise ValueError(
                    f"{name}: is not used by optimizer {self.optimizer} with schedule {self.schedule}; "
                    "leave it out, or choose others"
                )

    def make_optimizer(self, parameters):
        """The optimizer of these parameters."""
        kind, names = OPTIMIZERS[self.optimizer]
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        if "beta1" in names:
            given["betas"] = given.pop("beta1", 0.9), given.pop("beta2", 0.999)
        return kind(parameters, lr=self.lr, **given)

    def last_step(self, steps_per_epoch):
        """The number of steps after which the training is over, or None when only the minutes end it."""
        ends = [self.steps, self.epochs and math.ceil(self.epochs * steps_per_epoch)]
        return min((end for end in ends if end), default=None)

    def done(self, step, seconds, steps_per_epoch):
        """The fraction of the training that is over after so many steps and seconds, in [0, 1]."""
        last = self.last_step(steps_per_epoch)
        by_steps, by_time = (
            step / last if last else 0.0,
            seconds / (60 * self.minutes) if self.minutes else 0.0,
        )
        return min(1.0, max(by_steps, by_time))

    def learning_rate(self, step, done):
        """The learning rate at a step, counted from 0, when the fraction `done` of the training is over.

        Where only minutes tell the length, cosine expects the steps to come to be as quick as those before.
        """
        if self.schedule == "inverse-sqrt":
            return inverse_sqrt(step, peak=self.lr, warmup=max(1, self.warmup))
        if step < self.warmup:
            return self.lr * (step + 1) / (self.warmup + 1)
        if self.schedule == "constant":
            return constant(step, peak=self.lr)
        total = max(self.warmup + 1, step / done if done else math.inf)
        return warmup_cosine(step, peak=self.lr, floor=self.lr_end or 0.0, warmup=self.warmup, total=total)


def _check(name, value, expected, holds):
    if value is not None and not holds(value):
        raise ValueError(f"{name}: expected {expected}, got {value}")
