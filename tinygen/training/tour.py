"""The tour: a model of each family trained on data that need no network, and one page to look at."""

import html
import itertools
import signal
from dataclasses import dataclass

from ..configuration import check, option
from ..durable import write
from .progress import progress
from .recipes import MODELS
from .report import page, picture
from .runs import first_free
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
    (
        "gan",
        "digits",
        "A generative adversarial network: one network draws digits from random numbers, another tells them "
        "from real ones, and each learns from what the other does. Nobody tells the first what a digit is.",
    ),
    (
        "gpt",
        "python-docs",
        "A Transformer reads Python's own documentation, and learns to guess which token comes next. A token "
        "is a piece of a word, and the pieces are learned, too. Then it writes documentation of its own: it "
        "knows the form, and nothing else.",
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

    minutes: float = option(1.0, "train each model for at most so long", above=0)
    out: str = option("runs", "folder that holds runs")
    quiet: bool = option(False, "show no progress, and print the page's path only")

    def __post_init__(self):
        check(self)


def tour(options):
    """Train every stop, write the page, and return its path, and the signal that ended it early or None.

    Raises:
        OSError: the folder cannot be made or written.
    """
    folder = first_free(options.out, (f"tour-{number}" for number in itertools.count(1)))
    done, stopped = [], None
    for number, stop in enumerate(STOPS, start=1):
        model, data, _ = stop
        usual = MODELS[model].settings[data]
        lengths = {name: usual[name] for name in LENGTHS if name in usual} | {"minutes": options.minutes}
        session = Session.begin(model, {"data": data, **lengths}, out=folder, name=f"{model}-{data}")
        title = f"tour {number}/{len(STOPS)}: {model} on {data}"
        with progress(title, quiet=options.quiet) as shown:
            ending, state = session.train(shown)
        if isinstance(ending, signal.Signals):
            stopped = ending
            break
        lead = session.lead(state)
        done.append((stop, session, lead, session.finish(lead)))
    path = folder / "index.html"
    write(path, _page(done))
    return path, stopped


def _page(done):
    parts = []
    for (model, data, words), session, lead, samples in done:
        name, task, figures = session.run.folder.name, session.task, f"Trained for {lead}"
        if task.monitor:
            value, unit = session.run.metrics()[-1][f"test_{task.monitor}"], task.units.get(task.monitor)
            figures += f": test {task.monitor} {value:.4g} {unit or task.unit}"
        report = f'<a href="{name}/report.html">Curves, samples over time, configuration, operations</a>'
        shown = f"<p>{html.escape(words)}</p>{picture(samples)}<p>{html.escape(figures)}. {report}.</p>"
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
