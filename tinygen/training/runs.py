"""A run folder: everything that one training leaves behind, each file written whole or not at all.

runs/NAME/config.json               what is needed to repeat the run
          metrics.csv               a row for every evaluation
          checkpoint.safetensors    the last state: weights, optimizer, averages; see checkpoint.py
          state.json                and where the training stands
          best.safetensors          the weights of the best evaluation
          samples/000015.png, ...   what the model made after so many steps; .txt for text
          samples.png, curves.png   pictures of the end
          report.html               all of it on one page
"""

import contextlib
import csv
import io
import itertools
import json
from pathlib import Path

from ..durable import locked, sweep, write
from ..extras import optional
from . import checkpoint

BEST = "best.safetensors"


class Run:
    """The folder of one run. `Run.create` makes a new one, `Run.open` finds one that is there."""

    def __init__(self, folder):
        self.folder = Path(folder)

    @classmethod
    def create(cls, out, *, prefix, name=None):
        """Make the folder `out/name`; without a name, the first of prefix-1, prefix-2, ... that is free.

        Raises:
            FileExistsError: there is a run of that name; nothing is ever overwritten.
            ValueError: the name is no plain folder name.
            OSError: the folder cannot be made.
            MissingLibrary: one that a run needs later is not installed.
        """
        for library in ("safetensors.numpy", "matplotlib.figure", "tqdm"):
            optional(library)  # what is missing is better told now than after hours of training
        if name is not None and (name in ("", ".", "..") or Path(name).name != name):
            raise ValueError(f"name: expected a plain folder name, got {name!r}; --out names the one around")
        out = Path(out)
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OSError(
                f"{out}: no folder can be made here ({error.strerror}); choose another --out"
            ) from error
        for candidate in [name] if name is not None else (f"{prefix}-{i}" for i in itertools.count(1)):
            folder = out / candidate
            try:
                folder.mkdir()  # itself the test for what is free: two runs that start at once differ
                break
            except FileExistsError as error:
                if name is not None:
                    raise FileExistsError(
                        f"{folder}: there is such a run; choose another --name, "
                        f"or go on with it: tinygen train --resume {folder}"
                    ) from error
            except OSError as error:
                raise OSError(
                    f"{out}: no run can be made here ({error.strerror}); choose another --out"
                ) from error
        return cls(folder)

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
            OSError: another process trains here, or, at any time in the block, a file cannot be written. What
                was saved before stays.
        """
        try:
            with locked(self.path(".lock")):
                self.path("samples").mkdir(exist_ok=True)
                sweep(self.folder)
                sweep(self.path("samples"))
                yield
        except BlockingIOError as error:
            raise BlockingIOError(f"{self.folder}: another process is training here; let it end") from error
        except OSError as error:
            raise OSError(
                f"{self.folder}: cannot be written ({error.strerror or error}); what was saved before is "
                f"intact: put that right, and go on with: tinygen train --resume {self.folder}"
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
        except ValueError as error:
            raise ValueError(f"{path}: expected JSON as `tinygen train` writes it; {error}") from error

    # metrics

    def metrics(self):
        """The rows of metrics.csv, dicts of numbers; none as long as there is no such file.

        Raises:
            ValueError: it is not as it was written.
        """
        path = self.path("metrics.csv")
        if not path.is_file():
            return []
        try:
            rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")), strict=True))
            return [{name: float(value) for name, value in row.items()} for row in rows]
        except (ValueError, TypeError, csv.Error) as error:
            raise ValueError(
                f"{path}: expected a table of numbers as `tinygen train` writes it; {error}"
            ) from error

    def save_metrics(self, rows):
        """Write metrics.csv from rows, dicts of numbers with the same keys; seven digits of each are kept."""
        text = io.StringIO()
        table = csv.DictWriter(text, fieldnames=list(rows[0]) if rows else [], lineterminator="\n")
        table.writeheader()
        table.writerows({key: f"{value:.7g}" for key, value in row.items()} for row in rows)
        write(self.path("metrics.csv"), text.getvalue().encode())

    # what was learned

    def save(self, arrays, state):
        """Save a checkpoint, see checkpoint.py."""
        checkpoint.save(self.folder, arrays, state)

    def load(self):
        """The arrays and the state of the last whole checkpoint, and what is wrong with a newer one."""
        return checkpoint.load(self.folder)

    def save_best(self, weights):
        """Write best.safetensors from a dict of name -> array."""
        write(self.path(BEST), checkpoint.packed(weights))

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
        arrays = self.load()[0]
        own, averaged = (
            {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
            for prefix in ("model.", "ema.")
        )
        return own | averaged
