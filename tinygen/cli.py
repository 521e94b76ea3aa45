"""The command line: `tinygen train vae`, `tinygen sample RUN`, and so on; see USAGE.

The options of a training are the fields of its configuration dataclasses (training/options.py), so each is
declared, explained and checked in one place. A mistake of the user ends in one line on stderr and exit code
2, never in a traceback.
"""

import contextlib
import dataclasses
import io
import json
import os
import shutil
import signal
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

import numpy as np

from . import __version__
from .configuration import check, option
from .extras import MissingLibrary
from .models import BeamConfig
from .training import export_gpt2, import_gpt2, registry, session, tour
from .training.checkpoint import Damaged
from .training.finetuning import finetune, finetuning_options
from .training.interpolate import Interpolating, interpolate, save_interpolation
from .training.look_picture import save_look
from .training.options import Mistake, choose, from_settings, parse
from .training.profile import profile
from .training.progress import progress
from .training.rate_distortion import check_alike, point, save_rate_distortion, table
from .training.recipes import MODELS
from .training.runs import Run
from .training.session import Session
from .training.traverse import Traversing, traverse
from .training.traverse_picture import save_traversal
from .training.vae_task import VAETask

USAGE = """\
usage: tinygen COMMAND ...

  tour                train a model of each family on data that are here, and
                      look at them on one page
  train MODEL         train a model; all that it learns is left in a run folder
                      (MODEL: {models})
  train --resume RUN  go on with a training that was stopped
  finetune RUN        begin a new run with what another one learned, on other
                      data: all of it, or with --lora RANK small updates
  sample RUN          let the model in a run folder make something new
  translate RUN TEXT  let a translator translate a text, or each line of stdin
  evaluate RUN        measure it on data that it was not trained on
  look RUN            draw where its attention goes while it reads a text, and
                      which tokens surprise it
  interpolate RUN A B draw what lies between two images in the codes of a VAE
  traverse RUN        draw what each dimension of its code does, and which known
                      factors it tells
  rate-distortion RUN RUN ...
                      draw how much the codes of several VAEs tell, and what
                      they leave untold
  import gpt2 FOLDER  make a run of a GPT-2 that others have trained
  export RUN FOLDER   write a GPT as the transformers library reads it
  profile MODEL       what a training step spends its time on, beside what this
                      machine can do
  ops [OPERATION]     the operations of the engine, each with its derivative

tinygen COMMAND --help says more. tinygen --version says which version this is.
"""
RUN = "RUN", "a run folder, such as runs/gpt-python-docs-1"


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a training leaves what it learns, and what it says."""

    name: str | None = option(None, "of the run: its folder in OUT (default: like vae-digits-1, counting up)")
    out: str = option("runs", "folder that holds runs")
    quiet: bool = option(False, "show no progress, and print the run folder only")


@dataclass(frozen=True, kw_only=True)
class Resumption:
    """What may differ when a run goes on. A length is that of the whole training."""

    steps: int | None = option(None, "updates of the weights in all, instead of the length it began with")
    epochs: int | None = option(None, "passes over the training data in all, likewise")
    minutes: float | None = option(None, "minutes of training in all, likewise")
    quiet: bool = option(False, "show no progress, and print the run folder only")


BEST = "whose weights: of the last step, or of the best evaluation, whose test figures flatter them"


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """What `sample` does for every model, and `look` too."""

    seed: int = option(0, "of what is drawn", at_least=0)
    checkpoint: str = option("last", BEST, choices=("last", "best"))

    def __post_init__(self):
        check(self)


@dataclass(frozen=True, kw_only=True)
class Translation:
    """What `translate` does beside the search."""

    checkpoint: str = option("last", BEST, choices=("last", "best"))

    def __post_init__(self):
        check(self)


@dataclass(frozen=True, kw_only=True)
class Viewing(Sampling):
    """What commands do that draw what they see inside a model."""

    picture: str | None = option(
        None, "where it is drawn, a PNG (default: in the run folder, called after the command)"
    )


@dataclass(frozen=True, kw_only=True)
class Comparing:
    """What `rate-distortion` does."""

    checkpoint: str = option("last", BEST, choices=("last", "best"))
    picture: str | None = option(
        None, "where it is drawn, a PNG (default: rate-distortion.png beside the first run)"
    )

    def __post_init__(self):
        check(self)


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What `evaluate` measures."""

    checkpoint: str = option("last", BEST, choices=("last", "best"))
    data: str | None = option(None, "another data set, or path (default: what the run was trained on)")
    quality: bool = option(False, "of images: judge what it makes too, by FID, KID, recall, classes, copies")
    json: bool = option(False, "print one line of JSON")


@dataclass(frozen=True, kw_only=True)
class Exporting:
    """What `export` writes."""

    checkpoint: str = option("last", BEST, choices=("last", "best"))


@dataclass(frozen=True, kw_only=True)
class Profiling:
    """How `profile` measures."""

    repeats: int = option(10, "steps that are watched; medians are shown", at_least=1)
    json: bool = option(False, "print one line of JSON")

    def __post_init__(self):
        check(self)


def main(argv=None):
    """Run the command line on `argv` (by default the program's arguments) and return the exit code."""
    _mend_streams()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = lambda message, *rest, **more: _say(f"warning: {message}")
            code = _main(sys.argv[1:] if argv is None else list(argv))
            sys.stdout.flush()
            return code
    except BrokenPipeError:  # whoever read our output, such as `head`, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (Mistake, MissingLibrary, Damaged, OSError) as error:
        return _fail(error, 2)
    except FloatingPointError as error:
        return _fail(error, 1)
    except MemoryError as error:
        return _fail(f"expected enough memory, got {error or 'none'}; choose smaller sizes", 1)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)


def _mend_streams():
    """Streams that were closed before we began lead nowhere; names that no encoding has are escaped."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, io.TextIOWrapper(io.FileIO(os.devnull, "w")))
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


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
    line = " ".join(part.strip() for part in str(message).splitlines())  # one, whatever the message
    with contextlib.suppress(OSError):  # nobody may be listening
        print("tinygen:", line, file=sys.stderr, flush=True)


# train


def _train(argv):
    if not argv or argv[0] in ("-h", "--help"):
        print("usage: tinygen train MODEL [options]\n       tinygen train --resume RUN [options]\n")
        print(f"MODEL is one of: {', '.join(MODELS)}. Both list their options with --help.")
        return 0
    if argv[0].partition("=")[0] == "--resume":
        rest = [*filter(None, [argv[0].partition("=")[2]]), *argv[1:]]
        folder, given = _run_folder("train --resume", rest, Resumption)
        quiet = given.pop("quiet", False)
        with _mistakes():
            begun = Session.resume(folder, given)
    else:
        model = choose("model", argv[0], [*MODELS, "--resume"])
        given = _options("train", model, argv[1:], Place)
        place = from_settings(Place, given)
        quiet = place.quiet
        with _mistakes():
            begun = Session.begin(model, _without(Place, given), out=place.out, name=place.name)
    return _trained(begun, quiet)


def _finetune(argv):
    folder = _run_among(argv)
    with _mistakes():
        saved = session.rebuilt(Run.open(folder))[1] if folder else {}
        configs, more = finetuning_options(saved.get("model", "gpt"))
    given = parse("tinygen finetune", argv, (*configs, Place), operands=(RUN,), **more)
    folder = _required("finetune", given.pop("RUN", None))
    place = from_settings(Place, given)
    with _mistakes():
        begun = finetune(folder, _without(Place, given), out=place.out, name=place.name)
    return _trained(begun, place.quiet)


def _options(command, model, argv, more, without=()):
    """The options of a command on a model: those of its training and sizes, and of the dataclass `more`."""
    recipe = MODELS[model]
    return parse(
        f"tinygen {command} {model}",
        argv,
        (*session.configurations(recipe), more),
        recipes={**recipe.settings, "a path": recipe.by_path},
        sources=recipe.sources,
        without={*recipe.derived, *without},
    )


def _without(config, given):
    """The entries of `given` that are no fields of the dataclass `config`."""
    names = {field.name for field in dataclasses.fields(config)}
    return {name: value for name, value in given.items() if name not in names}


def _trained(begun, quiet):
    """Train, draw, and say what came of it; the exit code."""
    run, task, name = begun.run, begun.task, quote(str(begun.run.folder))
    title = f"{run.folder}: {task.model.num_parameters:,} parameters; Ctrl-C stops and saves"
    with progress(title, quiet=quiet) as shown:
        ending, state = begun.train(shown)
    if isinstance(ending, signal.Signals):
        with contextlib.suppress(OSError):  # the terminal may be the reason
            print(f"stopped at step {state.step:,}, and saved; go on with: tinygen train --resume {name}")
        return 128 + ending
    lead = begun.lead(state)
    begun.finish(lead)
    if quiet:
        print(run.folder)
        return 0
    row = (run.metrics() or [{}])[-1]
    words = ", ".join(f"{name.replace('_', ' ')} {row[name]:.5g}" for name in row if name.startswith("test_"))
    more = "evaluate" if task.sampling is None else "sample"
    print(
        f"trained for {lead}\n{words} (losses in {task.unit})\n"
        f"all of it on one page: {run.path('report.html')}\nmore: tinygen {more} {name}"
    )
    return 0


# what a trained model can do


def _sample(argv):
    folder, recipe, given = _run_and_recipe("sample", argv, Sampling, "sampling")
    with _mistakes():
        options = from_settings(Sampling, given)
        run, task, _ = session.trained(folder, options.checkpoint)
        if recipe.sampling is None:
            raise Mistake(
                f"sample: expected a model that makes something, got the classifier of {folder}; "
                f"do: tinygen evaluate {quote(folder)}"
            )
        how = from_settings(recipe.sampling, given)
        rng = np.random.default_rng(options.seed)
        print(task.sample(run.path(f"samples-{options.seed}"), how, rng=rng))
    return 0


def _translate(argv):
    given = parse(
        "tinygen translate",
        argv,
        (Translation, BeamConfig),
        operands=(RUN, ("TEXT", "to translate (default: each line of standard input)")),
    )
    folder, text = _required("translate", given.pop("RUN", None)), given.pop("TEXT", None)
    with _mistakes():
        options, search = from_settings(Translation, given), from_settings(BeamConfig, given)
        _, task, _ = session.trained(folder, options.checkpoint)
        if not hasattr(task, "translated"):
            raise ValueError(
                f"{folder}: expected a translator, got another model; do: tinygen sample {quote(folder)}"
            )
        if text is not None:
            print(task.translated([text], search)[0])
            return 0
        if isinstance(sys.stdin, io.TextIOWrapper):  # what is no text is told with its line
            sys.stdin.reconfigure(errors="surrogateescape")
        for number, line in enumerate(sys.stdin or (), 1):
            try:  # a line for each, also for an empty one: they stay side by side
                found = task.translated([line.strip()], search)[0] if line.strip() else ""
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from error
            print(" ".join(found.splitlines()), flush=True)
    return 0


def _run_among(argv):
    """The first argument that is a run folder, before it is known which options there are; or None."""
    return next((word for word in argv if Path(word, "config.json").is_file()), None)


def _run_and_recipe(command, argv, common, own):
    """The run folder in `argv`, its model's task, and the options given.

    They are those of the dataclass `common` and, as only the run can tell, of the one that the task has under
    the name `own`.
    """
    folder = _run_among(argv)
    with _mistakes():
        recipe = type(session.rebuilt(Run.open(folder))[0]) if folder else None
    configs = (common, *filter(None, [getattr(recipe, own, None)]))
    given = parse(f"tinygen {command}", argv, configs, operands=(RUN,))
    return _required(command, given.pop("RUN", None)), recipe, given


def _evaluate(argv):
    folder, recipe, given = _run_and_recipe("evaluate", argv, Evaluation, "measuring")
    with _mistakes():
        options, kind = from_settings(Evaluation, given), getattr(recipe, "measuring", None)
        how = from_settings(kind, given) if kind else None
        metrics, task = session.evaluated(
            folder, options.checkpoint, options.data, how, judged=options.quality
        )
    if options.json:
        print(json.dumps(metrics))
    else:
        width = max(16, *map(len, metrics))
        for name, value in metrics.items():
            print(f"{name.replace('_', ' '):{width}} {value:.6g}")
        for line in (*task.remarks, f"losses in {task.unit}; on data not trained on"):
            print(f"({line})")
    return 0


# from others and to others


def _import(argv):
    if not argv or argv[0] in ("-h", "--help"):
        print("usage: tinygen import gpt2 FOLDER [options]\n")
        print("FOLDER is one of the transformers library. tinygen import gpt2 --help tells the options.")
        return 0
    choose("kind of model", argv[0], ["gpt2"])
    operand = "FOLDER", "with config.json, model.safetensors, vocab.json and merges.txt"
    given = parse("tinygen import gpt2", argv[1:], (Place,), without=("quiet",), operands=(operand,))
    folder = given.pop("FOLDER", None)
    if folder is None:
        raise Mistake("import gpt2: expected a folder, got none; do: tinygen import gpt2 FOLDER")
    place = from_settings(Place, given)
    with _mistakes():
        run = import_gpt2(folder, out=place.out, name=place.name)
    print(f"{run.folder}\nlet it write: tinygen sample {quote(str(run.folder))}")
    return 0


def _export(argv):
    operands = RUN, ("FOLDER", "to write, which is not there yet")
    given = parse("tinygen export", argv, (Exporting,), operands=operands)
    run, folder = given.pop("RUN", None), given.pop("FOLDER", None)
    if folder is None:
        raise Mistake("export: expected a run folder and a new one, got fewer; do: tinygen export RUN FOLDER")
    with _mistakes():
        print(export_gpt2(run, folder, which=from_settings(Exporting, given).checkpoint))
    return 0


def _run_folder(command, argv, *options):
    """The run folder in `argv`, and the options given."""
    given = parse(f"tinygen {command}", argv, options, operands=(RUN,))
    return _required(command, given.pop("RUN", None)), given


def _required(command, folder):
    if folder is None:
        raise Mistake(
            f"{command}: expected a run folder, got none; do: tinygen {command} runs/gpt-python-docs-1"
        )
    return folder


# looking inside


def _look(argv):
    folder, recipe, given = _run_and_recipe("look", argv, Viewing, "looking")
    with _mistakes():
        options = from_settings(Viewing, given)
        run, task, saved = session.trained(folder, options.checkpoint)
        if recipe.looking is None:
            raise Mistake(
                f"look: expected a model with attention, got the {saved['model']} of {folder}; "
                "train one with: tinygen train gpt"
            )
        how = from_settings(recipe.looking, given)
        seen = task.look(how, rng=np.random.default_rng(options.seed))
        path = Path(options.picture) if options.picture else run.path("look.png")
        save_look(seen, f"What {run.folder.resolve().name} looks at", path)
    print(f"{seen.table()}\n{path}")
    return 0


def _interpolate(argv):
    ends = [(name, "the number of a test image, or a picture, its ink white") for name in ("A", "B")]
    given = parse("tinygen interpolate", argv, (Viewing, Interpolating), operands=(RUN, *ends))
    folder, a, b = (given.pop(name, None) for name in ("RUN", "A", "B"))
    if b is None:
        raise Mistake("interpolate: expected a run folder and two images; do: tinygen interpolate RUN 0 1")
    with _mistakes():
        options, how = from_settings(Viewing, given), from_settings(Interpolating, given)
        run, task, _ = _vae("interpolate", folder, options.checkpoint, data=a.isdecimal() or b.isdecimal())
        found = interpolate(task, a, b, how, rng=np.random.default_rng(options.seed))
        path = Path(options.picture) if options.picture else run.path("interpolate.png")
        save_interpolation(found, path)
    print(f"{found.table()}\n{path}")
    return 0


def _traverse(argv):
    folder, given = _run_folder("traverse", argv, Viewing, Traversing)
    with _mistakes():
        options, how = from_settings(Viewing, given), from_settings(Traversing, given)
        run, task, _ = _vae("traverse", folder, options.checkpoint)
        found = traverse(task, how, rng=np.random.default_rng(options.seed))
        path = Path(options.picture) if options.picture else run.path("traverse.png")
        save_traversal(found, f"What each dimension of {run.folder.resolve().name} draws", path)
    print(f"{found.table()}\n{path}")
    return 0


def _rate_distortion(argv):
    given = parse("tinygen rate-distortion", argv, (Comparing,), operands=(("RUN...", "of VAEs"),))
    folders = given.pop("RUN...", [])
    with _mistakes():
        options = from_settings(Comparing, given)
        runs = [_vae("rate-distortion", folder, options.checkpoint, data=False) for folder in folders]
        check_alike([(str(run.folder), saved) for run, _, saved in runs])
        points = []
        for run, *_ in runs:
            points.append(point(*_vae("rate-distortion", run.folder, options.checkpoint)))
        run, task, saved = runs[0]
        path = Path(options.picture) if options.picture else run.folder.parent / "rate-distortion.png"
        save_rate_distortion(points, f"{saved['training']['data']}, {task.unit}", path)
    print(f"{table(points)}\n({task.unit})\n{path}")
    return 0


def _vae(command, folder, which, *, data=True):
    """A VAE's run, its task, with or without its data, and what its config.json says."""
    run, task, saved = (session.trained_with_data if data else session.trained)(folder, which)
    if not isinstance(task, VAETask):
        raise Mistake(
            f"{command}: expected a VAE, got the {saved['model']} of {folder}; "
            "train one with: tinygen train vae"
        )
    return run, task, saved


NO_PART_OF_A_STEP = (
    *("steps", "epochs", "minutes", "schedule", "warmup", "lr", "lr_end"),
    *("ema", "evaluate_every", "save_seconds"),
)


def _profile(argv):
    if not argv or argv[0] in ("-h", "--help"):
        print("usage: tinygen profile MODEL [options]\n")
        print(f"MODEL is one of: {', '.join(MODELS)}. tinygen profile MODEL --help tells its options.")
        return 0
    model = choose("model", argv[0], MODELS)
    given = _options("profile", model, argv[1:], Profiling, without=NO_PART_OF_A_STEP)
    with _mistakes():
        options = from_settings(Profiling, given)
        task, config, *_ = session.prepared(model, _without(Profiling, given))
    found = profile(session.one_step(task, config), repeats=options.repeats)
    print(json.dumps(found.to_dict()) if options.json else found.table(_columns()))
    return 0


def _ops(argv):
    given = parse("tinygen ops", argv, (), operands=(("OPERATION", "tell all of this one, such as matmul"),))
    name = given.get("OPERATION")
    if name is None:
        print(registry.listing(_columns()))
    else:
        with _mistakes():
            print(registry.describe(name, _columns()))
    return 0


def _columns():
    """How wide a table may be: as the terminal or $COLUMNS say; 100 where neither does."""
    return max(40, shutil.get_terminal_size((100, 24)).columns)


def _tour(argv):
    given = parse("tinygen tour", argv, (tour.TourOptions,))
    with _mistakes():
        options = from_settings(tour.TourOptions, given)
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
    "finetune": _finetune,
    "sample": _sample,
    "translate": _translate,
    "evaluate": _evaluate,
    "look": _look,
    "interpolate": _interpolate,
    "traverse": _traverse,
    "rate-distortion": _rate_distortion,
    "import": _import,
    "export": _export,
    "profile": _profile,
    "ops": _ops,
}
