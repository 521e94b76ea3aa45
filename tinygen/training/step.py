"""One training step: for each player in turn the gradient of its loss, clipped, and the optimizer's move.

It is a function of the seed and the step's number, so it can be done again: to look for the first number that
was not finite, or to be profiled.
"""

import math

import numpy as np

from ..autograd import anomaly
from ..optim import clip_by_norm
from .profile import lap
from .streams import stream
from .task import metrics_of, rows

ADVICE = "; what was saved before is good: try a smaller lr, or clip"  # for numbers that are not finite


def take_step(task, optimizers, batch, config, number, *, lr):
    """Move every player's parameters, each as often as it has updates in a step.

    Args:
        task: see task.py.
        optimizers: one for each of its players.
        batch: a tuple of arrays with one row an example, as `task.batch` returns it.
        config: a TrainingConfig.
        number: of the step, counted from 0.
        lr: the learning rate.

    Returns:
        Each player's metrics, name -> float: its loss, what else its loss tells, and `gradient`, the norm of
        its gradient before clipping; means over its updates. With several players the names begin with the
        player's.

    Raises:
        FloatingPointError: one of them is not finite. What made it so is named, and this player's parameters
            have not moved in this update, and those of the players after it not at all.
        ValueError: the batch is not one minibatch for each update, of one size.
    """
    found, minibatches = {}, _minibatches(batch, max(player.updates for player in task.players))
    for turn, (player, optimizer) in enumerate(zip(task.players, optimizers)):
        optimizer.lr = lr * (player.settings.get("lr", config.lr) / config.lr)
        prefix = f"{player.name}_" if len(task.players) > 1 else ""
        for update in range(player.updates):
            own = _gradient(task, turn, optimizer, minibatches[update], config, number, update)
            for name, value in own.items():
                found[prefix + name] = found.get(prefix + name, 0.0) + value / player.updates
            optimizer.step()
            lap("(optimizer)")
        if player.after:
            player.after(stream(config.seed, "noise", number, turn, 0))  # layers count from 1
            lap("(after the step)")
    return found


def _minibatches(batch, count):
    """A batch cut into so many minibatches of one size; views."""
    if count == 1:
        return [batch]
    size, left = divmod(rows(batch), count)
    if left or not size:
        raise ValueError(
            f"take_step: expected rows for {count} minibatches of one size, one for each update of a player, "
            f"got {rows(batch)}; let task.batch return so many"
        )
    return [tuple(array[i * size : (i + 1) * size] for array in batch) for i in range(count)]


def _gradient(task, turn, optimizer, batch, config, number, update):
    """Give one player's parameters their gradients on a minibatch, clipped; its metrics.

    A batch in several pieces gives the gradient of the whole, for a loss that is a mean: each piece's counts
    by its share of the weight. What a layer computes over a batch, such as its statistics, is over a piece.
    """
    player = task.players[turn]
    size, weight = rows(batch), player.weight(batch)

    def accumulate():
        rng, found = _noise(task, config.seed, number, turn, update), {}
        optimizer.zero_grad()
        lap("(random streams)")
        for some in np.array_split(np.arange(size), min(config.accumulate, size)):
            piece = batch if len(some) == size else tuple(array[some] for array in batch)
            share = player.weight(piece) / weight
            answer = player.loss(piece, rng)
            for name, value in metrics_of(answer, player.name).items():
                found[name] = found.get(name, 0.0) + value * share
            (answer[0] if share == 1 else answer[0] * share).backward()
            lap("(gradients kept)")
        return found

    try:
        found = accumulate()
        found["gradient"] = clip_by_norm(optimizer.parameters, config.clip or math.inf)
        lap("(norm and clip)")
    except FloatingPointError as error:
        raise _first_cause(task, accumulate, error, number) from None
    return found


def _noise(task, seed, number, turn, update=0):
    """The stream of a player's noise in an update; layers that draw for themselves get their own."""

    def place(i):  # 0 for the player, from 1 on for the layers; saved runs have the first update's
        return (number, turn, i, update) if update else (number, turn, i) if i else (number, turn)

    for i, (_, module) in enumerate(task.model.named_modules(), start=1):
        if hasattr(module, "rng"):
            module.rng = stream(seed, "noise", *place(i))
    return stream(seed, "noise", *place(0))


def _first_cause(task, accumulate, error, number):
    """The error to raise instead of `error`: where in this step a number first was not finite."""
    where = f"train: step {number + 1:,}"
    for name, parameter in task.model.named_parameters():
        if not np.isfinite(parameter.numpy()).all():
            return FloatingPointError(f"{where}: parameter {name} is not finite after an update{ADVICE}")
    try:
        with anomaly():  # the same numbers again, each looked at
            accumulate()
    except FloatingPointError as cause:
        error = cause
    return FloatingPointError(f"{where}: {error}{ADVICE}")
