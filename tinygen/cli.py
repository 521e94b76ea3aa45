"""The command line: `tinygen train vae`, `tinygen sample RUN`.

The options of a training are the fields of its configuration dataclasses (options.py), so each is declared,
explained and checked in one place. A mistake of the user ends in one line on stderr and exit code 2, never in
a traceback.
"""

import contextlib
import dataclasses
import sys
import time
from dataclasses import dataclass, field

import numpy as np

from . import __version__, data
from .extras import MissingLibrary
from .training import gallery, plots
from .training.loop import TrainingConfig, streams, train
from .training.options import Mistake, choose, parse, take
from .training.progress import progress
from .training.recipes import MODELS
from .training.runs import Run

USAGE = """\
usage: tinygen COMMAND ...

  tinygen train MODEL    train a model; leaves its weights and pictures in a run folder (MODEL: vae)
  tinygen sample RUN     draw new images from the model in a run folder

Each of them says more with --help. tinygen --version says which version this is.
"""
INTERRUPTED = 130  # the exit code of a program that Ctrl-C ended


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """What `train` does besides training."""

    name: str | None = field(
        default=None,
        metadata={"help": "name of the run: its folder in OUT (default: like vae-digits-1, counting up)"},
    )
    out: str = field(default="runs", metadata={"help": "folder that holds runs"})
    quiet: bool = field(default=False, metadata={"help": "show no progress, and print the run folder only"})


@dataclass(frozen=True, kw_only=True)
class SampleOptions:
    """What `sample` draws."""

    seed: int = field(default=0, metadata={"help": "of the random codes"})
    count: int = field(default=64, metadata={"help": "how many images"})

    def __post_init__(self):
        for name, least in (("seed", 0), ("count", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}: expected at least {least}, got {getattr(self, name)}")


def main(argv=None):
    """Run the command line on `argv` (by default the program's arguments) and return the exit code."""
    try:
        return _main(sys.argv[1:] if argv is None else list(argv))
    except (Mistake, MissingLibrary, OSError) as error:
        return _fail(error, 2)
    except FloatingPointError as error:
        return _fail(error, 1)
    except KeyboardInterrupt:
        return _fail("interrupted", INTERRUPTED)


def _main(argv):
    if not argv or argv[0] in ("-h", "--help"):
        print(USAGE, end="")
        return 0
    if argv[0] == "--version":
        print(f"tinygen {__version__}")
        return 0
    return COMMANDS[choose("command", argv[0], [*COMMANDS, "--help", "--version"])](argv[1:])


def _fail(message, code):
    print("tinygen:", *str(message).split(), file=sys.stderr)  # on one line, whatever the message
    return code


def _train(argv):
    if not argv or argv[0] in ("-h", "--help"):
        print(f"usage: tinygen train MODEL [options]\n\nMODEL is one of: {', '.join(MODELS)}")
        print("tinygen train MODEL --help tells its options.")
        return 0
    name = choose("model", argv[0], MODELS)
    recipe = MODELS[name]
    configs = TrainingConfig, recipe.config, TrainOptions
    given = parse(f"tinygen train {name}", argv[1:], configs, recipes=recipe.settings, without={"inputs"})
    dataset = choose("data set", given.get("data", TrainingConfig.data), recipe.settings)
    settings = {"data": dataset, **recipe.settings[dataset], **given}
    if "minutes" in given and "epochs" not in given:
        settings["epochs"] = None  # the time alone ends it
    with _mistakes():
        config, options = take(TrainingConfig, settings), take(TrainOptions, settings)
        images, _ = data.IMAGES[dataset](split="train")
        test_images, test_labels = data.IMAGES[dataset](split="test")
        model_config = take(recipe.config, {**settings, "inputs": images[0].size})
        run = Run.create(options.out, name=options.name, prefix=f"{name}-{dataset}")
    run.save_config(
        {
            "tinygen": __version__,
            "model": name,
            "image": images.shape[1:],
            name: dataclasses.asdict(model_config),
            "training": dataclasses.asdict(config),
        }
    )
    random, started = streams(config.seed), time.monotonic()
    model = recipe.model(model_config, rng=random["weights"])
    x, test_x = (array.reshape(len(array), -1) for array in (images, test_images))
    with progress(run.folder.name, quiet=options.quiet) as shown:
        row, ending = train(model, x, test_x, config, run=run, progress=shown)
    seconds = time.monotonic() - started
    plots.save_curves(run.metrics(), run.path("curves.png"))
    panels = gallery.panels(model, test_images, test_labels, rng=random["pictures"])
    plots.save_panels(panels, run.path("samples.png"))
    if options.quiet:
        print(run.folder)
    else:
        how = "interrupted, and saved," if ending == "interrupted" else "trained"
        print(
            f"{how} after {row['epoch']:.4g} epochs, {row['step']:,} steps, {seconds:.1f} s\n"
            f"test loss {row['test_loss']:.2f} nats an image: "
            f"reconstruction {row['test_reconstruction']:.2f}, KL divergence {row['test_kl']:.2f}\n"
            f"pictures: {run.path('samples.png')}, {run.path('curves.png')}\n"
            f"more images: tinygen sample {run.folder}"
        )
    return INTERRUPTED if ending == "interrupted" else 0


def _sample(argv):
    folder = None if not argv or argv[0].startswith("-") else argv[0]
    given = parse("tinygen sample RUN", argv[1:] if folder else argv, (SampleOptions,))
    if folder is None:
        raise Mistake("sample: expected a run folder first, got none; do: tinygen sample runs/vae-digits-1")
    with _mistakes():
        options, run = take(SampleOptions, given), Run.open(folder)
        model, shape = _load(run)
    path = run.path(f"samples-{options.seed}.png")
    rng = np.random.default_rng(options.seed)
    plots.save_panels([gallery.sample_panel(model, shape, count=options.count, rng=rng)], path)
    print(path)
    return 0


def _load(run):
    """The model of a run, with its weights, and the shape of its images.

    Raises:
        ValueError: config.json is not one that `train` wrote, or the checkpoint belongs to another model.
    """
    config = run.config()
    try:
        name, shape = config["model"], tuple(config["image"])
        recipe = MODELS[name]
        model = recipe.model(recipe.config(**config[name]), rng=np.random.default_rng(0))
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{run.path('config.json')}: expected what `tinygen train` writes, got another file ({error!r})"
        ) from error
    model.load_state_dict(run.weights())
    return model, shape


@contextlib.contextmanager
def _mistakes():
    """Settings and files come from the user: a ValueError about them is a Mistake, any other our bug."""
    try:
        yield
    except ValueError as error:
        raise Mistake(error) from error


COMMANDS = {"train": _train, "sample": _sample}
