"""A run folder: everything that one training leaves behind, each file written whole or not at all.

runs/NAME/config.json               what is needed to repeat the run
          metrics.csv               a row for every evaluation
          checkpoint.safetensors    the last state: weights, optimizer, averages; see checkpoint.py
          state.json                and where the training stands
          best.safetensors          the weights of the best evaluation
          base.safetensors          of a fine-tuning: the weights that it began with
          samples/000015.png, ...   what the model made after so many steps; .txt for text
          samples.png, curves.png   pictures of the end
          animation.png             of a GAN: all samples, one after the other
          report.html               all of it on one page
          look.png                  what `tinygen look` saw last; likewise interpolate.png, traverse.png
"""

import contextlib
import csv
import io
import json
from itertools import count
from pathlib import Path
from shlex import quote

from ..durable import locked, replacing, sweep, whole, write
from ..extras import optional
from . import checkpoint
from .checkpoint import Damaged

BEST, BASE = "best.safetensors", "base.safetensors"


class Run:
    """The folder of one run. `Run.create` makes a new one, `Run.open` finds one that is there."""

    def __init__(self, folder):
        self.folder, self._is_alone = Path(folder), False

    @classmethod
    def create(cls, out, config, files=None, *, prefix, name=None):
        """Make the folder `out/name` with a config.json; without a name, the first free one of prefix-1, ...

        `files`, name -> bytes, are written there too.

        Raises:
            FileExistsError: there is a run of that name; nothing is ever overwritten.
            ValueError: the name is no plain folder name.
            OSError: the folder cannot be made.
            MissingLibrary: one that a run needs later is not installed.
        """
        check_libraries()
        if name is not None and (name in ("", ".", "..") or Path(name).name != name):
            raise ValueError(f"name: expected a plain folder name, got {name!r}; --out names the one around")
        run = cls(first_free(out, [name] if name is not None else (f"{prefix}-{i}" for i in count(1))))
        with whole(run.folder):
            for file, content in (files or {}).items():
                write(run.path(file), content)
            run.save_config(config)
        return run

    @classmethod
    def open(cls, folder):
        """The run in `folder`.

        Raises:
            FileNotFoundError: there is no such folder, or it holds no run.
        """
        run = cls(folder)
        if not run.path("config.json").is_file():
            what = "there is no config.json in it" if run.folder.is_dir() else "there is no such folder"
            raise FileNotFoundError(f"{folder}: expected a run folder, but {what}; `tinygen train` makes one")
        return run

    def path(self, name):
        """The path of a file in this folder."""
        return self.folder / name

    @contextlib.contextmanager
    def alone(self):
        """Be the only one who trains in this folder during the block; what a killed one left is removed.

        Raises:
            OSError: another process trains here, or the folder cannot be written.
        """
        if self._is_alone:
            yield
            return
        with contextlib.ExitStack() as held:
            try:
                with self.writing():
                    held.enter_context(locked(self.path(".lock")))
                    self.path("samples").mkdir(exist_ok=True)
                    sweep(self.folder)
                    sweep(self.path("samples"))
            except BlockingIOError as error:
                raise BlockingIOError(
                    f"{self.folder}: another process is training here; let it end"
                ) from error
            self._is_alone = True
            try:
                yield
            finally:
                self._is_alone = False

    @contextlib.contextmanager
    def writing(self):
        """In the block, an OSError says that this folder cannot be written, and what to do."""
        try:
            yield
        except BlockingIOError:
            raise
        except OSError as error:
            raise OSError(
                f"{error.filename or self.folder}: cannot be written ({error.strerror or error}); what was "
                f"saved before is intact: mend that, then: tinygen train --resume {quote(str(self.folder))}"
            ) from error

    # configuration

    def save_config(self, config):
        """Write config.json from plain dicts, lists, strings and numbers."""
        write(self.path("config.json"), (json.dumps(config, indent=2) + "\n").encode())

    def config(self):
        """What config.json says.

        Raises:
            ValueError: it is not JSON.
        """
        path = self.path("config.json")
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}: expected JSON as `tinygen train` writes it; {error}") from error

    # metrics

    def metrics(self):
        """The rows of metrics.csv, dicts of numbers; none as long as there is no such file.

        Raises:
            Damaged: it is not as it was written.
        """
        path = self.path("metrics.csv")
        if not path.is_file():
            return []
        try:
            table = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")), strict=True)
            rows = [{name: _number(text) for name, text in row.items() if text != ""} for row in table]
            if not {"epoch", "step"} <= set(table.fieldnames or ()):
                raise ValueError("without the columns epoch and step")
            return rows
        except (ValueError, TypeError, AttributeError, csv.Error) as error:
            raise Damaged(
                f"{path}: expected a table of numbers as `tinygen train` writes it, got another "
                f"({error}); delete it to go on without"
            ) from error

    def save_metrics(self, rows):
        """Write metrics.csv from rows, dicts of numbers; whole numbers exactly, of others seven digits."""
        text = io.StringIO()
        names = dict.fromkeys(name for row in rows for name in row)
        table = csv.DictWriter(text, fieldnames=list(names), restval="", lineterminator="\n")
        table.writeheader()
        table.writerows(
            {name: str(value) if isinstance(value, int) else f"{value:.7g}" for name, value in row.items()}
            for row in rows
        )
        write(self.path("metrics.csv"), text.getvalue().encode())

    # what was learned

    def save(self, arrays, state):
        """Save a checkpoint, see checkpoint.py."""
        checkpoint.save(self.folder, arrays, state)

    def load(self):
        """The last Checkpoint that is whole."""
        return checkpoint.load(self.folder)

    def save_best(self, weights):
        """Write best.safetensors from a dict of name -> array."""
        self._save_weights(BEST, weights)

    def save_base(self, weights):
        """Write base.safetensors, the weights that a fine-tuning began with, from a dict of name -> array."""
        self._save_weights(BASE, weights)

    def _save_weights(self, file, weights):
        with replacing(self.path(file)) as temporary:
            checkpoint.pack(temporary, weights)

    def weights(self, which="last"):
        """The model's weights, name -> array: "last" or "best". The averaged ones, where the run averages.

        Raises:
            FileNotFoundError: the run has not saved any yet.
            Damaged: the file, and for "last" the one before it, are damaged.
        """
        if which == "best":
            if not self.path(BEST).is_file():
                raise FileNotFoundError(f"{self.path(BEST)}: no evaluation has been saved; choose the last")
            return checkpoint.unpacked(self.path(BEST))[0]
        arrays = self.load().arrays
        own, averaged = (
            {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
            for prefix in ("model.", "ema.")
        )
        return own | averaged

    def base(self):
        """The weights that a fine-tuning began with, name -> array.

        Raises:
            FileNotFoundError: they are not there.
            Damaged: their file is damaged.
        """
        if not self.path(BASE).is_file():
            raise FileNotFoundError(
                f"{self.path(BASE)}: expected the weights that this run began with, got no such file; "
                "bring it back, or fine-tune again"
            )
        return checkpoint.unpacked(self.path(BASE))[0]


def check_libraries():
    """Find out now, and not after hours of training, whether a library is missing.

    Raises:
        MissingLibrary: one that a training needs is not installed.
    """
    for library in ("safetensors.numpy", "PIL.Image", "matplotlib.figure", "tqdm"):
        optional(library)


def first_free(out, names):
    """Make the first folder of `names` in `out` that is not there yet, and return its path.

    Raises:
        FileExistsError: all are there.
        OSError: none can be made.
    """
    try:
        Path(out).mkdir(parents=True, exist_ok=True)
        for name in names:
            folder = Path(out, name)
            with contextlib.suppress(FileExistsError):
                folder.mkdir()  # itself the test for what is free: two runs that start at once differ
                return folder
    except OSError as error:
        raise OSError(
            f"{out}: no folder can be made here ({error.strerror}); choose another --out"
        ) from error
    raise FileExistsError(
        f"{folder}: there is such a run; choose another --name, "
        f"or go on: tinygen train --resume {quote(str(folder))}"
    )


def _number(text):
    """A cell of metrics.csv."""
    return int(text) if text.lstrip("-").isdigit() else float(text)
