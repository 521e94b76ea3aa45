"""What `tinygen train gpt` takes: text (gpt_task.py) or pairs (pairs_task.py). The data decide which."""

from typing import ClassVar

from .. import data
from .gpt_task import GPTTask
from .options import from_settings
from .pairs_task import SUMMARY, PairsConfig, PairsTask

FINETUNING = {
    "batch": 32,
    "steps": 1000,
    "optimizer": "adamw",
    "lr": 3e-4,
    "beta2": 0.99,
    "weight_decay": 0.1,
    "clip": 1.0,
    "schedule": "cosine",
    "warmup": 50,
    "evaluate_every": 250,
}


class GPTRecipe(GPTTask):
    """A GPT on any of data.TEXTS or data.PAIRS, on a file, or, with `pairs`, on a file of pairs.

    For finetuning.py there is besides

        finetuning, finetuning_otherwise   the settings that are good for a data set, and for any other
        lora                               what replaces them where updates are trained instead of weights
        kept                               the settings that stay as they were: the tokenizer's
    """

    data_config = PairsConfig
    sources = data.TEXTS | data.PAIRS
    settings: ClassVar = {**GPTTask.settings, **PairsTask.settings}
    finetuning: ClassVar = {"python-entries": {**FINETUNING, **SUMMARY}}
    finetuning_otherwise: ClassVar = FINETUNING
    lora: ClassVar = {"lr": 3e-3}  # about ten times that of the weights
    kept = ("tokenizer", "merges")

    @staticmethod
    def load(source, settings, files=None):
        config = from_settings(PairsConfig, settings)
        if config.pairs and source in data.TEXTS:
            raise ValueError(
                f"pairs: expected a path or one of {', '.join(data.PAIRS)}, got {source}; leave it out"
            )
        if config.pairs or source in data.PAIRS:
            return PairsTask.load(source, settings, files)
        for name in ("between", "end", "exact_on"):
            if getattr(config, name) is not None:
                raise ValueError(f"{name}: is not used by text; leave it out, or choose pairs")
        return GPTTask.load(source, settings, files)

    @staticmethod
    def make(config, data_info, files, *, rng):
        kind = PairsTask if data_info.get("pairs") else GPTTask
        return kind.make(config, data_info, files, rng=rng)
