"""A run folder: everything that one training leaves behind, each file written whole or not at all.

    runs/NAME/config.json              what is needed to repeat the run
              metrics.csv              a row for every evaluation
              checkpoint.safetensors   the weights, by name
              curves.png, samples.png  pictures, see plots.py

A file is written under a temporary name, flushed to the disk and renamed, so that nobody ever meets half a
file, even when a run is killed. Left out: optimizer moments and random streams, so a run cannot be continued
yet.
"""

import contextlib
import csv
import io
import itertools
import json
import os
from pathlib import Path

import numpy as np

from ..extras import optional


class Run:
    """The folder of one run. `Run.create` makes a new one, `Run.open` finds one that is there."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self._rows = []

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
                    raise FileExistsError(f"{folder}: there is such a run; choose another --name") from error
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

    def add_metrics(self, row):
        """Add a row, a dict of numbers with the same keys each time, to metrics.csv."""
        self._rows.append(row)
        text = io.StringIO()
        table = csv.DictWriter(text, fieldnames=list(self._rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows({key: f"{value:.7g}" for key, value in row.items()} for row in self._rows)
        write(self.path("metrics.csv"), text.getvalue().encode())

    def metrics(self):
        """The rows added so far."""
        return list(self._rows)

    def save_weights(self, weights):
        """Write checkpoint.safetensors from a dict of name -> array."""
        whole = {name: np.ascontiguousarray(array) for name, array in weights.items()}
        write(self.path("checkpoint.safetensors"), optional("safetensors.numpy").save(whole))

    def weights(self):
        """The dict of name -> array in checkpoint.safetensors.

        Raises:
            FileNotFoundError: the run has not saved one yet.
            ValueError: the file is damaged.
        """
        path = self.path("checkpoint.safetensors")
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no checkpoint yet; one is saved after each epoch")
        safetensors = optional("safetensors")
        try:
            return optional("safetensors.numpy").load(path.read_bytes())
        except safetensors.SafetensorError as error:
            raise ValueError(f"{path}: the checkpoint is damaged ({error}); train again") from error


def write(path, content):
    """Replace the file at `path` by `content` (bytes): whole, or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


@contextlib.contextmanager
def replacing(path):
    """Yield a temporary path beside `path`; after the block it is flushed to the disk and renamed `path`."""
    path = Path(path)
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
