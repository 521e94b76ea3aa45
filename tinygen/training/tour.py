"""The tour: a model of each family trained on data that need no network, and one page to look at."""

import html
import itertools
import math
import sys
from dataclasses import dataclass, field
from pathlib import Path

from ..durable import write
from .progress import progress
from .recipes import MODELS
from .report import page, picture
from .session import LENGTHS, Session

# model, data, what the page says of it
STOPS = (
    (
        "vae",
        "digits",
        "A variational autoencoder presses each handwritten digit into eight numbers, and learns to draw it "
        "again from them. Once trained, random numbers make new digits, and a straight line between two "
        "codes turns one digit into another.",
    ),
    (
        "vae",
        "sprites",
        "The same model on drawn shapes that differ in five known ways: shape, size, angle and place. "
        "It is told none of them, and finds room for them in ten numbers.",
    ),
)


ONWARD = [
    ("tinygen train vae --help", "every option of a training"),
    ("tinygen profile vae", "what a training step spends its time on"),
    ("tinygen ops", "the operations of the engine, each with its derivative"),
]


@dataclass(frozen=True, kw_only=True)
class TourOptions:
    """How the tour is made."""

    minutes: float = field(default=1.0, metadata={"help": "train each model for at most so long"})
    out: str = field(default="runs", metadata={"help": "folder that holds runs"})
    quiet: bool = field(default=False, metadata={"help": "show no progress, and print the page's path only"})

    def __post_init__(self):
        if not 0 < self.minutes < math.inf:
            raise ValueError(f"minutes: expected a number above 0, got {self.minutes}")


def tour(options):
    """Train every stop, write the page, and return its path, and the signal that ended it early or None.

    Raises:
        OSError: the folder cannot be made or written.
    """
    folder = _new_folder(Path(options.out))
    done, ending = [], None
    for number, stop in enumerate(STOPS, start=1):
        model, data, _ = stop
        if not options.quiet:
            print(f"tour {number}/{len(STOPS)}: {model} on {data}", file=sys.stderr)
        usual = MODELS[model].settings[data]
        lengths = {name: usual[name] for name in LENGTHS if name in usual} | {"minutes": options.minutes}
        session = Session.begin(model, {"data": data, **lengths}, out=folder, name=f"{model}-{data}")
        with progress(quiet=options.quiet) as shown:
            ending, at = session.train(shown)
        if isinstance(ending, int):  # a signal
            break
        lead = session.lead(at)
        done.append((stop, session, lead, session.finish(lead)))
    path = folder / "index.html"
    write(path, _page(done))
    return path, ending if isinstance(ending, int) else None


def _new_folder(out):
    """The first of out/tour-1, out/tour-2, ... that is free, made."""
    for number in itertools.count(1):
        folder = out / f"tour-{number}"
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError as error:
            if not folder.exists():  # something above it is a file
                raise OSError(f"{out}: no folder can be made here; choose another --out") from error
        except OSError as error:
            raise OSError(
                f"{out}: no folder can be made here ({error.strerror}); choose another --out"
            ) from error
    raise AssertionError("unreachable")


def _page(done):
    parts = []
    for (model, data, words), session, lead, portrait in done:
        name, row = session.run.folder.name, session.run.metrics()[-1]
        figures = f"Trained for {lead}: test loss {row['test_loss']:.4g} {session.task.unit}."
        report = f'<a href="{name}/report.html">Curves, samples over time, configuration, operations</a>'
        shown = f"<p>{html.escape(words)}</p>{picture(portrait)}<p>{html.escape(figures)} {report}.</p>"
        parts.append((f"{model.upper()}: {data}", shown))
    onward = [
        (f"tinygen sample {session.run.folder}", "more of what it makes") for _, session, *_ in done
    ] + ONWARD
    width = max(len(command) for command, _ in onward)
    text = "\n".join(f"{command:{width}}   {what}" for command, what in onward)
    parts.append(("Where to go from here", f"<pre>{html.escape(text)}</pre>"))
    return page(
        "A tour of tinygen",
        "Generative models from scratch in NumPy, trained on this machine just now",
        parts,
    )
