"""The command line: `tinygen train vae`, `tinygen sample RUN`, and so on; see USAGE.

The options of a training are the fields of its configuration dataclasses (training/options.py), so each is
declared, explained and checked in one place. A mistake of the user ends in one line on stderr and exit code
2, never in a traceback.
"""

import contextlib
import json
import shutil
import sys
import warnings
from dataclasses import dataclass, field

import numpy as np

from . import __version__
from .extras import MissingLibrary
from .training import registry, session, tour
from .training.checkpoint import Damaged
from .training.config import TrainingConfig
from .training.options import Mistake, choose, parse, take
from .training.profile import profile
from .training.progress import progress
from .training.recipes import MODELS
from .training.session import Session

USAGE = """\
usage: tinygen COMMAND ...

  tinygen tour               train a model of each family on data that are here, and look at them on one page
  tinygen train MODEL        train a model; leaves all that it learned in a run folder (MODEL: {models})
  tinygen train --resume RUN go on with a training that was stopped
  tinygen sample RUN         let the model in a run folder make something new
  tinygen evaluate RUN       measure it on data that it was not trained on
  tinygen profile MODEL      what a training step spends its time on, beside what this machine can do
  tinygen ops [OPERATION]    the operations of the engine, each with its derivative

Each of them says more with --help. tinygen --version says which version this is.
"""


def _option(default, text, choices=None):
    metadata = {"help": text} | ({"choices": choices} if choices else {})
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a training leaves what it learns, and what it says."""

    name: str | None = _option(
        None, "of the run: its folder in OUT (default: like vae-digits-1, counting up)"
    )
    out: str = _option("runs", "folder that holds runs")
    quiet: bool = _option(False, "show no progress, and print the run folder only")


@dataclass(frozen=True, kw_only=True)
class Resumption:
    """What may differ when a run goes on. A length is that of the whole training."""

    steps: int | None = _option(None, "updates of the weights in all, instead of the length it began with")
    epochs: int | None = _option(None, "passes over the training data in all, likewise")
    minutes: float | None = _option(None, "minutes of training in all, likewise")
    quiet: bool = _option(False, "show no progress, and print the run folder only")


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """What `sample` draws."""

    seed: int = _option(0, "of what is drawn")
    count: int = _option(64, "how many")
    checkpoint: str = _option("last", "whose weights", ("last", "best"))

    def __post_init__(self):
        _at_least(self, seed=0, count=1)


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What `evaluate` measures."""

    checkpoint: str = _option("last", "whose weights", ("last", "best"))
    data: str | None = _option(None, "another data set, or path (default: what the run was trained on)")
    json: bool = _option(False, "print one line of JSON")


@dataclass(frozen=True, kw_only=True)
class Profiling:
    """How `profile` measures."""

    repeats: int = _option(10, "steps that are watched; medians are shown")
    json: bool = _option(False, "print one line of JSON")

    def __post_init__(self):
        _at_least(self, repeats=1)


def _at_least(config, **bounds):
    for name, least in bounds.items():
        if getattr(config, name) < least:
            raise ValueError(f"{name}: expected at least {least}, got {getattr(config, name)}")


def main(argv=None):
    """Run the command line on `argv` (by default the program's arguments) and return the exit code."""
    warnings.showwarning = lambda message, *rest, **more: _say(f"warning: {message}")
    try:
        return _main(sys.argv[1:] if argv is None else list(argv))
    except BrokenPipeError:  # whoever read our output, such as `head`, has enough
        sys.stdout = None
        return 0
    except (Mistake, MissingLibrary, Damaged, OSError) as error:
        return _fail(error, 2)
    except FloatingPointError as error:
        return _fail(error, 1)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)


def _main(argv):
    if not argv or argv[0] in ("-h", "--help"):
        print(USAGE.format(models=", ".join(MODELS)), end="")
        return 0
    if argv[0] == "--version":
        print(f"tinygen {__version__}")
        return 0
    return COMMANDS[choose("command", argv[0], [*COMMANDS, "--help", "--version"])](argv[1:])


def _fail(message, code):
    _say(message)
    return code


def _say(message):
    print("tinygen:", *str(message).split(), file=sys.stderr)  # on one line, whatever the message


# train


def _train(argv):
    if not argv or argv[0] in ("-h", "--help"):
        print("usage: tinygen train MODEL [options]\n       tinygen train --resume RUN [options]\n")
        print(f"MODEL is one of: {', '.join(MODELS)}. Each of the two tells its options with --help.")
        return 0
    if argv[0] == "--resume":
        folder, given = _run_folder("train --resume", argv[1:], Resumption)
        quiet = given.pop("quiet", False)
        with _mistakes():
            begun = Session.resume(folder, given)
    else:
        model = choose("model", argv[0], [*MODELS, "--resume"])
        recipe = MODELS[model]
        configs = TrainingConfig, recipe.sizes, Place
        given = parse(
            f"tinygen train {model}", argv[1:], configs, recipes=recipe.settings, without=recipe.derived
        )
        place = take(Place, given)
        quiet = place.quiet
        with _mistakes():
            begun = Session.begin(model, given, out=place.out, name=place.name)
    return _trained(begun, quiet)


def _trained(begun, quiet):
    """Train, draw, and say what came of it; the exit code."""
    run, task = begun.run, begun.task
    if not quiet:
        count = task.model.num_parameters
        print(f"{run.folder}: {count:,} parameters; Ctrl-C stops and saves", file=sys.stderr)
    with progress(quiet=quiet) as shown:
        ending, at = begun.train(shown)
    if isinstance(ending, int):  # a signal
        print(f"stopped at step {at.step:,}, and saved; go on with: tinygen train --resume {run.folder}")
        return 128 + ending
    lead = begun.lead(at)
    begun.finish(lead)
    if quiet:
        print(run.folder)
        return 0
    figures = {name: value for name, value in run.metrics()[-1].items() if name.startswith("test_")}
    words = ", ".join(f"{name.replace('_', ' ')} {value:.5g}" for name, value in figures.items())
    print(
        f"trained for {lead}\n{words} ({task.unit})\n"
        f"all of it on one page: {run.path('report.html')}\nmore: tinygen sample {run.folder}"
    )
    return 0


# what a trained model can do


def _sample(argv):
    folder, given = _run_folder("sample", argv, Sampling)
    with _mistakes():
        options = take(Sampling, given)
        run, task, _ = session.trained(folder, options.checkpoint)
    path = run.path(f"samples-{options.seed}.png")
    task.sample(path, count=options.count, rng=np.random.default_rng(options.seed))
    print(path)
    return 0


def _evaluate(argv):
    folder, given = _run_folder("evaluate", argv, Evaluation)
    with _mistakes():
        options = take(Evaluation, given)
        figures, task = session.evaluated(folder, options.checkpoint, options.data)
    if options.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name.replace('_', ' '):16} {value:.6g}")
        print(f"({task.unit}, on {len(task.test):,} examples not trained on)")
    return 0


def _run_folder(command, argv, options):
    """The run folder that comes first in `argv`, and the options given after it."""
    folder = argv[0] if argv and not argv[0].startswith("-") else None
    given = parse(
        f"tinygen {command} RUN", argv[1:] if folder else argv, (options,)
    )  # --help needs no folder
    if folder is None:
        raise Mistake(
            f"{command}: expected a run folder first, got none; do: tinygen {command} runs/vae-digits-1"
        )
    return folder, given


# looking inside


def _profile(argv):
    if not argv or argv[0] in ("-h", "--help"):
        print("usage: tinygen profile MODEL [options]\n")
        print(f"MODEL is one of: {', '.join(MODELS)}. tinygen profile MODEL --help tells its options.")
        return 0
    model = choose("model", argv[0], MODELS)
    recipe = MODELS[model]
    configs = TrainingConfig, recipe.sizes, Profiling
    given = parse(
        f"tinygen profile {model}", argv[1:], configs, recipes=recipe.settings, without=recipe.derived
    )
    with _mistakes():
        options = take(Profiling, given)
        task, config, _ = session.prepared(model, given)
    found = profile(session.one_step(task, config), repeats=options.repeats)
    print(json.dumps(found.to_dict()) if options.json else found.table(_columns()))
    return 0


def _ops(argv):
    name = argv[0] if argv and not argv[0].startswith("-") else None
    parse("tinygen ops [OPERATION]", argv[1:] if name else argv, ())
    if name is None:
        print(registry.listing(_columns()))
    else:
        with _mistakes():
            print(registry.describe(name))
    return 0


def _columns():
    """How wide a table may be: as the terminal; 100 in a file."""
    return shutil.get_terminal_size((100, 24)).columns if sys.stdout.isatty() else 100


def _tour(argv):
    given = parse("tinygen tour", argv, (tour.TourOptions,))
    with _mistakes():
        options = take(tour.TourOptions, given)
    page, stopped = tour.tour(options)
    print(page)
    return 128 + stopped if stopped else 0


@contextlib.contextmanager
def _mistakes():
    """Settings and files come from the user: a ValueError about them is a Mistake, any other our bug."""
    try:
        yield
    except ValueError as error:
        raise Mistake(error) from error


COMMANDS = {
    "tour": _tour,
    "train": _train,
    "sample": _sample,
    "evaluate": _evaluate,
    "profile": _profile,
    "ops": _ops,
}
