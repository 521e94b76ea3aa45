"""How a model is trained, and for how long: one dataclass, whose fields are options of `tinygen train`."""

import dataclasses
import math
from dataclasses import dataclass
from typing import ClassVar

from ..configuration import check, option
from ..optim import SGD, Adam, AdamW, inverse_sqrt, warmup_cosine

# What each optimizer, and each schedule, can make use of: another option beside it is a mistake.
OPTIMIZERS = {
    "adam": (Adam, ("beta1", "beta2")),
    "adamw": (AdamW, ("beta1", "beta2", "weight_decay")),
    "sgd": (SGD, ("momentum", "weight_decay")),
}
SCHEDULES = {"constant": (), "cosine": ("lr_end",), "inverse-sqrt": ()}


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How a model is trained, and for how long: `steps`, `epochs`, `minutes`, or whichever ends first.

    Raises:
        ValueError: a setting is out of its range or unused by the optimizer or schedule chosen, the warmup is
            as long as `steps`, or no length is given.
    """

    data: str = option("digits", "what to train on")
    steps: int | None = option(None, "updates of the weights", at_least=1)
    epochs: int | None = option(None, "passes over the training data", at_least=1)
    minutes: float | None = option(
        None, "train for this long; of several lengths, the one that ends first", above=0
    )
    batch: int = option(100, "examples in a minibatch; of a translator tokens, of a GAN packs", at_least=1)
    accumulate: int = option(
        1, "pieces in which a minibatch is computed, one after the other, to save memory", at_least=1
    )
    optimizer: str = option("adam", "update rule", choices=OPTIMIZERS)
    lr: float = option(1e-3, "learning rate, at its peak", above=0)
    beta1: float | None = option(
        None, "decay of the mean of gradients (adam, adamw: 0.9)", at_least=0, below=1
    )
    beta2: float | None = option(
        None, "decay of the mean of squares (adam, adamw: 0.999)", at_least=0, below=1
    )
    momentum: float | None = option(None, "of sgd (0)", at_least=0, below=1)
    weight_decay: float | None = option(None, "of adamw (0.01; matrices only) and sgd (0)", at_least=0)
    schedule: str = option("constant", "of the learning rate", choices=SCHEDULES)
    warmup: int = option(0, "steps in which the learning rate rises to its peak", at_least=0)
    lr_end: float | None = option(None, "where cosine ends (0)", at_least=0)
    clip: float | None = option(
        None, "largest norm of the gradient; a larger one is scaled down to it", above=0
    )
    ema: float | None = option(
        None, "decay of averaged weights, such as 0.999; they are then the ones used", at_least=0, below=1
    )
    evaluate_every: int | None = option(
        None, "steps from one evaluation to the next (default: an epoch)", at_least=1
    )
    save_seconds: float = option(
        30.0, "from one checkpoint to the next; what is lost when the process is killed", at_least=0
    )
    seed: int = option(0, "of the weights, the order of the data and all noise", at_least=0)

    uses: ClassVar = {
        "optimizer": {name: settings for name, (_, settings) in OPTIMIZERS.items()},
        "schedule": SCHEDULES,
    }

    def __post_init__(self):
        check(self)
        if self.steps is None and self.epochs is None and self.minutes is None:
            raise ValueError("training: expected a length, got none; give steps, epochs or minutes")
        if self.steps is not None and self.warmup >= self.steps:
            raise ValueError(
                f"warmup: expected fewer than the {self.steps} steps, got {self.warmup}; change one"
            )
        if self.lr_end is not None and self.lr_end > self.lr:
            raise ValueError(f"lr_end: expected at most lr, {self.lr}, got {self.lr_end}; change one of them")

    def make_optimizers(self, players):
        """The optimizer of each player, with its own settings.

        Raises:
            ValueError: as for the settings of a TrainingConfig.
        """
        # An lr_end, which may be above the lr of one player, is the schedule's, and no optimizer's.
        return [
            dataclasses.replace(self, **{"lr_end": None, **player.settings}).make_optimizer(
                player.module.parameters()
            )
            for player in players
        ]

    def make_optimizer(self, parameters):
        """The optimizer of these parameters."""
        kind, names = OPTIMIZERS[self.optimizer]
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        if self.optimizer == "adamw":
            given["matrices_only"] = True
        if "beta1" in names:
            given["betas"] = given.pop("beta1", 0.9), given.pop("beta2", 0.999)
        return kind(parameters, lr=self.lr, **given)

    def last_step(self, steps_per_epoch):
        """The number of steps after which the training is over, or None when only the minutes end it."""
        ends = [self.steps, self.epochs and math.ceil(self.epochs * steps_per_epoch)]
        return min((end for end in ends if end), default=None)

    def done(self, step, seconds, steps_per_epoch):
        """The fraction of the training that is done after so many steps and seconds, in [0, 1]."""
        last = self.last_step(steps_per_epoch)
        by_steps, by_time = (
            step / last if last else 0.0,
            seconds / (60 * self.minutes) if self.minutes else 0.0,
        )
        return min(1.0, max(by_steps, by_time))

    def learning_rate(self, step, done):
        """The learning rate at a step, counted from 0, when the fraction `done` of the training is done.

        Cosine ends where the training does; where minutes end it, its speed so far is expected to last.
        """
        if self.schedule == "inverse-sqrt":
            return inverse_sqrt(step, peak=self.lr, warmup=max(1, self.warmup))
        floor = self.lr if self.schedule == "constant" else self.lr_end or 0.0
        total = max(self.warmup + 1, step / done if done else math.inf)
        return warmup_cosine(step, peak=self.lr, floor=floor, warmup=self.warmup, total=total)
