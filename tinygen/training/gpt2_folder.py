"""GPT-2 in a folder, as the transformers library keeps it: made into a run, and written from one.

    config.json                     sizes; models/gpt2.py has what they mean, and the names of the weights
    model.safetensors               the weights; or model.safetensors.index.json, a dict that says in which of
                                    several files each is
    vocab.json, merges.txt          the tokenizer, see data/gpt2_files.py

    github.com/huggingface/transformers: models/gpt2

Everything is checked before anything is written, and a tensor at a time is read and turned. Left out:
pytorch_model.bin, which is pickled code, and the single tokenizer.json of later releases.
"""

import dataclasses
import json
from pathlib import Path

import numpy as np

from .. import __version__, data
from ..data.gpt2_files import VOCAB, read_gpt2, write_gpt2
from ..data.token_files import blaming, read_json
from ..durable import replacing, whole, write
from ..models import gpt2
from .config import TrainingConfig
from .gpt_task import GPTTask, saved_tokenizer
from .loop import TrainingState
from .options import from_settings
from .runs import Run
from .safetensors_files import store, stored
from .session import trained

CONFIG, WHOLE, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
END = "<|endoftext|>"  # the name of GPT-2's token between texts
FIX = "get the files of the model again, all from one place"


def import_gpt2(folder, *, out, name=None):
    """Make a run of the GPT-2 in `folder`, which can do what any run of a GPT can, but go on with a training.

    Args:
        out, name: the folder that holds runs, and this one's name there (None: the next that is free).

    Returns:
        The Run.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is damaged, the files do not fit together, or a GPT here cannot be what they say;
            names the file, and the field or the weight.
        OSError: the run cannot be written. Of this, too, nothing is left behind.
    """
    folder = Path(folder)
    fields = read_json(folder / CONFIG, FIX)
    with blaming(folder / CONFIG):
        config = gpt2.config_from(fields)
    tokenizer = read_gpt2(folder)
    if tokenizer.vocab_size != config.vocabulary:
        raise ValueError(
            f"{folder / VOCAB}: expected {config.vocabulary} tokens, the vocab_size of {CONFIG}, got "
            f"{tokenizer.vocab_size}; make them equal: tokens that were added later, and rows that no token "
            "has, want a name here"
        )
    weights = _weights(folder, config)
    usual = from_settings(TrainingConfig, {**GPTTask.by_path, "data": str(folder.resolve())})
    saved = {
        "tinygen": __version__,
        "model": "gpt",
        "gpt": dataclasses.asdict(config),
        "data": {
            "imported": "gpt2",
            "tokenizer": "bpe",
            "merges": len(tokenizer.merges) or None,
            "vocabulary": tokenizer.vocab_size,
        },
        "training": dataclasses.asdict(usual),  # there was none; `evaluate` takes its batch and seed from it
    }
    run = Run.create(out, saved, saved_tokenizer(tokenizer), name=name, prefix=f"gpt-{folder.resolve().name}")
    with whole(run.folder):  # a run without weights is none
        arrays = {f"model.{name}": array for name, array in weights.items()}
        run.save(arrays, dataclasses.asdict(TrainingState()))
    return run


def _weights(folder, config):
    """Our name -> array in float32, of the weights in a folder."""
    found, place = _found(folder)
    with blaming(place):
        names = gpt2.matched({name: tensor.shape for name, tensor in found.items()}, config)
    weights = {own: gpt2.turned(own, _numbers(found[name])) for own, name in names.items()}
    head = weights.pop(gpt2.HEAD, None) if config.tied else None  # some files have it twice
    if head is not None and not np.array_equal(head, weights["wte.weight"]):
        raise ValueError(
            f"{place}: expected {gpt2.HEAD} to be wte.weight, since {CONFIG} ties them, got another; "
            'say there: "tie_word_embeddings": false'
        )
    return weights


def _numbers(tensor):
    """A Stored tensor of floats, read, in float32. It is exact but for float64."""
    array, what = tensor.read(), f"{tensor.path}: {tensor.name}"
    if array.dtype.kind != "f":
        raise ValueError(
            f"{what}: expected floating-point numbers, got {tensor.dtype}; "
            "get the model as it was before it was quantised"
        )
    if not np.isfinite(array).all():
        raise ValueError(f"{what}: expected finite numbers, got others; {FIX}")
    return array.astype(np.float32, copy=False)


def _found(folder):
    """All tensors of a model, name -> Stored, and the file that says which there are."""
    file, index = folder / WHOLE, folder / INDEX
    if file.exists():
        return stored(file)[0], file
    if not index.exists():
        raise FileNotFoundError(
            f"{file}: expected the weights, or {INDEX}, got neither; get them, or let transformers write "
            "them: GPT2LMHeadModel.from_pretrained(FOLDER).save_pretrained(FOLDER)"
        )
    files = read_json(index, FIX)
    files = files.get("weight_map") if isinstance(files, dict) else None
    if not isinstance(files, dict) or not all(map(_is_name, files.values())):
        raise ValueError(
            f"{index}: expected weight_map, a dict of weight -> name of a file beside it, got another; {FIX}"
        )
    tensors = {}
    for file in sorted(set(files.values())):
        if not (folder / file).exists():
            raise FileNotFoundError(f"{folder / file}: expected, since {INDEX} names it, got none; {FIX}")
        tensors |= stored(folder / file)[0]
    absent = next((name for name in files if name not in tensors), None)
    if absent:
        raise ValueError(f"{folder / files[absent]}: expected {absent}, as {INDEX} says, got none; {FIX}")
    return tensors, index


def _is_name(file):
    """Whether it names a file, and is no path that leads elsewhere."""
    return isinstance(file, str) and Path(file).name == file


def export_gpt2(run_folder, folder, *, which="last"):
    """Write a run's GPT into a new folder, as transformers' GPT2LMHeadModel and GPT2Tokenizer are kept.

    Args:
        run_folder, which: of the run, and its weights, as for `session.trained`.
        folder: the new one.

    Returns:
        The folder's Path.

    Raises:
        FileExistsError: there is such a folder, or file.
        ValueError: the run is none of a GPT, or of one that GPT-2's files have no words for; names what.
        OSError: it cannot be written. Of this, too, nothing is left behind.
    """
    run, task, saved = trained(run_folder, which)
    if saved["model"] != "gpt":
        raise ValueError(f"{run.folder}: expected a run of gpt, got one of {saved['model']}; choose another")
    with blaming(run.folder):
        tokenizer = _as_bpe(task.tokenizer)
        config = gpt2.config_to(task.model.config, end=tokenizer.specials.get(END))
    folder = Path(folder)
    try:
        folder.mkdir(parents=True)
    except FileExistsError as error:
        raise FileExistsError(
            f"{folder}: expected a new name, got one that is there; choose another"
        ) from error
    with whole(folder):
        write_gpt2(tokenizer, folder)
        with replacing(folder / WHOLE) as temporary:
            store(temporary, gpt2.published(task.model), {"format": "pt"})  # transformers asks for it
        write(folder / CONFIG, (json.dumps(config, indent=2) + "\n").encode())
    return folder


def _as_bpe(tokenizer):
    """The same tokenizer as byte pair encoding, which with no merges is one of bytes."""
    if isinstance(tokenizer, data.ByteTokenizer):
        return data.BPETokenizer([], specials=list(tokenizer.specials))
    if not isinstance(tokenizer, data.BPETokenizer):
        raise ValueError(
            f"tokenizer: expected bpe or bytes, which GPT-2's files can say, got {tokenizer.kind}; "
            "train a GPT with --tokenizer bpe"
        )
    return tokenizer
