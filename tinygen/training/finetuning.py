"""Fine-tuning: a run that begins with what another one has learned, and its tokenizer, on other data.

The folder of the new run holds all that it needs, so it is resumed, sampled and measured like any other, even
if the run that it began with, which is only read, is there no more. It may train all weights, or by LoRA
(nn/lora.py) small updates of them; its checkpoints hold the weights as well as the updates.

    Radford et al., Improving language understanding by generative pre-training (2018), section 3.2
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from .. import __version__
from ..configuration import check, option
from ..durable import whole
from .checkpoint import digest
from .config import TrainingConfig
from .options import choose, from_settings
from .recipes import MODELS
from .runs import Run
from .session import Session, begin_with, complete, configurations, files_of, trained
from .streams import stream


@dataclass(frozen=True, kw_only=True)
class Finetuning:
    """What a fine-tuning begins with, and what it trains.

    Raises:
        ValueError: a setting is out of its range, or not used.
    """

    checkpoint: str = option(
        "last",
        "the weights to begin with: of the last step, or of the best evaluation",
        choices=("last", "best"),
    )
    lora: int | None = option(
        None, "train updates of this rank, such as 8, instead of the weights (Hu et al., 2021)", at_least=1
    )
    alpha: float | None = option(None, "of lora: updates are scaled by alpha / rank (2 ranks)", above=0)

    def __post_init__(self):
        check(self)
        if self.alpha is not None and self.lora is None:
            raise ValueError("alpha: is not used without lora; leave it out, or give a rank as lora")


def finetune(folder, given, *, out, name=None):
    """Make the folder of a run that goes on from another one; a Session.

    Args:
        folder: of the run that it begins with. Nothing is written there.
        given: a dict of settings, which replace the recipe's; fields of TrainingConfig, of Finetuning, and
            of what is told about the data, but the tokenizer.
        out, name: the folder that holds runs, and this one's name there (None: the next that is free).

    Raises:
        ValueError: a setting, the data or the run are not what they should be.
        OSError: the run or the data cannot be found, or no folder be made.
    """
    how = from_settings(Finetuning, given)
    base, learned, before = trained(folder, how.checkpoint)
    recipe = recipe_of(before["model"])
    known = [field.name for kind in kinds(recipe) for field in dataclasses.fields(kind)]
    for setting in given:
        choose("setting", setting, [name for name in known if name not in recipe.kept])
    more = recipe.lora if how.lora else {}
    usual = {source: {**settings, **more} for source, settings in recipe.finetuning.items()}
    otherwise = {**recipe.finetuning_otherwise, **more}
    settings = complete(given, usual, otherwise, recipe.sources, kinds(recipe))
    settings |= {name: before["data"][name] for name in recipe.kept}
    config = from_settings(TrainingConfig, settings)
    arrays, data_info, files = recipe.load(config.data, settings, files_of(base, recipe))
    rng = stream(config.seed, "weights")
    task = recipe.make(learned.model.config, data_info, files, rng=rng)
    weights = learned.model.state_dict()
    alpha = None if how.lora is None else how.alpha or 2.0 * how.lora
    finetuned = {
        "run": str(base.folder.resolve()),
        "checkpoint": how.checkpoint,
        "lora": how.lora,
        "alpha": alpha,
    }
    begin_with(task.model, weights, finetuned, rng=rng)
    task.set_data(arrays, config)
    saved = {
        "tinygen": __version__,
        "model": before["model"],
        before["model"]: before[before["model"]],
        "data": {**data_info, "sha256": digest(arrays)},
        "finetuned": finetuned,
        "training": dataclasses.asdict(config),
    }
    prefix = f"{base.folder.resolve().name}-{Path(config.data).stem}"
    run = Run.create(out, saved, files, name=name, prefix=prefix)
    with whole(run.folder):  # a run without the weights that it begins with is none
        run.save_base(weights)
    return Session(run, task, config)


def recipe_of(model):
    """The recipe of a model that can be fine-tuned.

    Raises:
        ValueError: it cannot.
    """
    able = [name for name, recipe in MODELS.items() if hasattr(recipe, "finetuning")]
    if model not in able:
        raise ValueError(
            f"finetune: expected a run of {' or '.join(able)}, got one of {model}; train that one longer: "
            "tinygen train --resume RUN --steps N"
        )
    return MODELS[model]


def kinds(recipe):
    """The dataclasses whose fields are the settings of a fine-tuning: the sizes of the model stay."""
    return [*(kind for kind in configurations(recipe) if kind is not recipe.model_config), Finetuning]


def finetuning_options(model):
    """For `options.parse`: the dataclasses of a fine-tuning of a run of `model`, and its other arguments.

    Raises:
        ValueError: such a run cannot be fine-tuned.
    """
    recipe = recipe_of(model)
    otherwise = recipe.finetuning_otherwise
    more = {
        "recipes": {**recipe.finetuning, "lora": {**otherwise, **recipe.lora}, "other data": otherwise},
        "sources": recipe.sources,
        "without": recipe.kept,
    }
    return kinds(recipe), more
