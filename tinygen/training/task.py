"""A task: what a model is trained to do. The loop knows tasks; each family of models has one in recipes.py.

model            the nn.Module whose parameters and buffers are saved, players' networks and all
players          those who learn, in turn, at every step: one, or for a GAN two
steps_per_epoch  minibatches in a pass over the data
batch(step)      the minibatch of a step, a tuple of arrays with one row an example
evaluate(rng)    figures on data that is not trained on, name -> float
judge            the figure of `evaluate` that says which weights are best: the lower, the better
unit             of the losses, such as "nats an image"
snapshot(path, rng)   leave what the model makes now in a file, path plus .png or .txt
portrait(run, rng)    the pictures of the end; the paths of the files, the first of which stands for the run
"""

from collections.abc import Callable
from dataclasses import dataclass

from .. import nn


@dataclass(frozen=True)
class Player:
    """Parameters, and the loss that they go down on.

    name     such as "model" or "discriminator"
    module   whose parameters move
    loss     (batch, rng) -> the loss, a scalar Tensor that is a mean over the batch, and other figures to
             show, name -> scalar. All noise is drawn from `rng`.
    """

    name: str
    module: nn.Module
    loss: Callable


def means(loss, batches, rng):
    """The means of a loss and its figures over batches, name -> float: what `evaluate` usually is.

    Raises:
        FloatingPointError: one of them is not finite.
    """
    sums, seen = {}, 0
    for batch in batches:
        seen += len(batch[0])
        for name, value in figures(loss(batch, rng), "in an evaluation").items():
            sums[name] = sums.get(name, 0.0) + value * len(batch[0])
    return {name: total / seen for name, total in sums.items()}


def figures(answer, where):
    """What a loss returned, as a dict of floats.

    Raises:
        FloatingPointError: one is not finite.
    """
    loss, others = answer
    found = {"loss": float(loss)} | {name: float(value) for name, value in others.items()}
    for name, value in found.items():
        if not abs(value) < float("inf"):
            raise FloatingPointError(f"{where}: expected finite losses, got {name} = {value}")
    return found
