"""A task: what a model is trained to do. The loop knows nothing else of a model; recipes.py has the tasks.

For the loop (loop.py), a task has

    model            the nn.Module whose parameters and buffers are saved, all players' networks in it
    players          the networks that are trained, in this order, at every step: one, or for a GAN two
    averaged         the part of the model whose averages are kept, where a run keeps any; all of it, unless
                     there is this attribute
    steps_per_epoch  minibatches in a pass over the data, a number that may be a fraction
    batch(step)      the minibatch of a step, a tuple of arrays with one row an example. Where players make
                     several updates in a step, so many minibatches, of one size, in one
    evaluate(rng)    metrics on data that it is not trained on, name -> number; all noise drawn from `rng`.
                     Names that begin with train_ are of data that it is trained on
    measure(rng)     the same for a model that is trained: on all data, as they are reported; with a second
                     argument, of the dataclass `measuring`, where the task has one
    remarks          lines that say more of what `measure` returned last
    monitor          the metric of `evaluate` by which the best weights are known: the lower, the better. None
                     where no number tells: then the last evaluation is the best
    unit             of the losses, such as "nats an image"
    units            of metrics that have another one, name -> unit
    samples(path, rng)   writes what the model makes now into a file: `path` with .png or .txt added

and for the command line (session.py, cli.py), whose class it is made of, besides

    model_config, derived   the dataclass of the model's sizes; which of its fields the data decide
    sources, settings       the data sets by name; for each, the settings that are good there
    by_path                 the settings for data by path
    data_config             the dataclass of how data are read, or None
    files                   the names of the files of a run that `make` needs
    load(source, settings, files)   arrays by name; what config.json says of them, a dict; and those files,
                            name -> bytes: new ones, unless there are some of an earlier run
    config_for(settings, data_info)   the model_config for such data
    make(config, data_info, files, rng=)   a task with a new model, as yet without data
    set_data(arrays, config)          gives it the data
    check(data_info, other)           refuses data of another kind than it was trained on
    sampling                the dataclass of how it samples; None for a model that makes nothing
    made(count, rng)        so many images (N, H, W) that it makes, an array, for `evaluate --quality`; only a
                            model of images has it
    measuring               the dataclass of how it is measured; may be missing
    sample(path, options, rng=)       writes what the model makes into a file, whose path it returns
    final_samples(run, rng)           the picture of the end, as the path of its file
    translated(texts, search)         translations of a list of texts; only a translator has it
    looking                 the dataclass of what `look` is asked for; None for a model without attention
    look(options, rng=)     what one sees inside the model while it reads a text: a Look, see look.py
"""

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, field

from .. import nn


def rows(batch):
    """How many examples a minibatch has."""
    return len(batch[0])


@dataclass(frozen=True)
class Player:
    """A network, and the loss that it learns by.

    name      such as "model" or "discriminator"
    module    whose parameters move
    loss      (batch, rng) -> the loss, a scalar Tensor that is a mean over the batch, and other metrics,
              name -> scalar. All noise is drawn from `rng`. It leaves the other players as they are: their
              weights, their buffers and their gradients; `nn.Module.held` is for that.
    weight    batch -> what the mean is over: rows, or for instance tokens that count
    updates   how many it makes in a step, one after the other: the first on the first minibatch of the batch,
              the second on the second, and so on
    settings  what of TrainingConfig is other for its optimizer, name -> value, such as {"lr": 4e-4}. Its
              learning rate follows the same schedule.
    after     rng -> None: what else moves in a step, once its parameters have; None for nothing
    """

    name: str
    module: nn.Module
    loss: Callable
    weight: Callable = rows
    updates: int = 1
    settings: dict = field(default_factory=dict)
    after: Callable | None = None


def means(player, batches, rng):
    """The means of a player's loss and metrics over batches, name -> float: what `evaluate` usually is.

    Raises:
        FloatingPointError: one of them is not finite.
    """
    sums, total = {}, 0
    for batch in batches:
        weight = player.weight(batch)
        total += weight
        for name, value in metrics_of(player.loss(batch, rng), "in an evaluation").items():
            sums[name] = sums.get(name, 0.0) + value * weight
    return {name: value / total for name, value in sums.items()}


def perplexity(loss):
    """e^loss; infinite where no float is so large, which ends a training as any number that is not finite."""
    return math.exp(loss) if loss < math.log(sys.float_info.max) else math.inf


def metrics_of(answer, where):
    """What a loss returned, as a dict of floats; `where` is told in the error.

    Raises:
        FloatingPointError: one of them is not finite.
    """
    loss, others = answer
    return finite({"loss": loss} | others, where)


def finite(metrics, where):
    """Metrics, name -> number or scalar Tensor, as floats.

    Raises:
        FloatingPointError: one of them is not finite.
    """
    found = {name: float(value) for name, value in metrics.items()}
    for name, value in found.items():
        if not math.isfinite(value):
            raise FloatingPointError(f"{where}: expected finite numbers, got {name} = {value}")
    return found
