"""Checkpoints: two files that belong together, and the two before them, so that one good pair always exists.

    checkpoint.safetensors   arrays by name                    previous.safetensors   those of the save before
    state.json               where the training stands, and    previous.json
                             the checksum of its arrays

A state names its arrays by their SHA-256, and not by a file's name: so whichever of the renames of a save is
the last before the power fails, a state and its arrays find each other again. Each file also holds its own
SHA-256, which tells one that was cut short or damaged, and then the pair before it serves. What is found is
first put under the current names (`settle`), because the next save renames over the previous ones.
"""

import contextlib
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..durable import flush, flush_folder, temporary_for
from ..extras import optional
from .safetensors_files import store

ARRAYS, STATE = "checkpoint.safetensors", "state.json"
PREVIOUS = {ARRAYS: "previous.safetensors", STATE: "previous.json"}


class Damaged(ValueError):
    """A file is there, and not what was written."""


@dataclass(frozen=True)
class Checkpoint:
    """What was saved, where it was found, and what is wrong with newer files: nothing if there is no problem.

    arrays    name -> NumPy array
    state     what JSON can hold
    problems  a line for each damaged or missing file
    files     the names under which the two were found, by their current names
    """

    arrays: dict
    state: dict
    problems: list
    files: dict


def save(folder, arrays, state):
    """Make `arrays` (name -> NumPy array) and `state` (what JSON can hold) the checkpoint in `folder`.

    Raises:
        OSError: the folder cannot be written, or the disk is full. The last checkpoint is as it was.
    """
    folder = Path(folder)
    waiting = {name: temporary_for(folder / name) for name in (ARRAYS, STATE)}
    try:  # all that needs room on the disk comes first
        sha256 = pack(waiting[ARRAYS], arrays)
        waiting[STATE].write_bytes(_sealed({**state, "arrays": sha256}))
        for temporary in waiting.values():
            flush(temporary)
        for name, temporary in waiting.items():  # from here on there are only renames
            if (folder / name).exists():
                os.replace(folder / name, folder / PREVIOUS[name])
            os.replace(temporary, folder / name)
        flush_folder(folder)
    finally:
        for temporary in waiting.values():
            temporary.unlink(missing_ok=True)


def load(folder):
    """The Checkpoint in `folder`: the last one that is whole.

    Raises:
        FileNotFoundError: nothing has been saved.
        Damaged: files are there and none is whole; all are named.
    """
    folder, problems = Path(folder), []
    for name in (STATE, PREVIOUS[STATE]):
        if not (folder / name).exists():
            continue
        try:
            state = _unsealed(folder / name)
            arrays, found = _arrays_of(folder, state.pop("arrays"), name)
            return Checkpoint(arrays, state, problems, {STATE: name, ARRAYS: found})
        except Damaged as error:
            problems.append(str(error))
        except FileNotFoundError:  # renamed at this moment, by who trains here
            continue
    if not problems and not (folder / PREVIOUS[ARRAYS]).exists():  # at most the first save was begun
        raise FileNotFoundError(f"{folder / ARRAYS}: nothing has been saved yet")
    problems = problems or [f"{folder / STATE}: is missing"]
    raise Damaged("; ".join(problems) + "; no whole checkpoint is left: train again")


def settle(folder):
    """Put the last whole pair under the current names, and return it. Only for who may write there.

    Raises:
        FileNotFoundError, Damaged: as `load`.
    """
    folder = Path(folder)
    try:
        found = load(folder)
    except FileNotFoundError:
        (folder / ARRAYS).unlink(missing_ok=True)  # of a first save that was cut short
        raise
    for name in (ARRAYS, STATE):  # in between, the state finds its arrays by their SHA-256
        if found.files[name] != name:
            os.replace(folder / found.files[name], folder / name)
    flush_folder(folder)
    return found


# The two kinds of file


def pack(path, arrays):
    """Write arrays (name -> NumPy array) into a safetensors file that holds their SHA-256; returns that."""
    sha256 = digest(arrays)
    store(path, arrays, {"sha256": sha256})
    return sha256


def unpacked(path):
    """The arrays (name -> NumPy array) in a file that `pack` wrote, and their SHA-256.

    Raises:
        FileNotFoundError: there is none.
        Damaged: it is none, or its content does not have the SHA-256 that it names.
    """
    safetensors = optional("safetensors")
    try:
        with _reading(path), safetensors.safe_open(path, framework="np") as file:
            named = (file.metadata() or {}).get("sha256")
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except safetensors.SafetensorError as error:
        raise Damaged(f"{path}: is damaged: it is no safetensors file ({error})") from error
    if digest(arrays) != named:
        raise Damaged(f"{path}: is damaged: its content does not have the SHA-256 that it names")
    return arrays, named


def digest(arrays):
    """The SHA-256 of arrays (name -> NumPy array) with their names, dtypes and shapes."""
    sha = hashlib.sha256()
    for name in sorted(arrays):
        array = np.asarray(arrays[name], order="C")
        sha.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        sha.update(array.reshape(-1).view(np.uint8).data)
    return sha.hexdigest()


def _arrays_of(folder, sha256, state_name):
    """The arrays with this SHA-256, and the name of the file that holds them."""
    problems = []
    for name in (ARRAYS, PREVIOUS[ARRAYS]):
        try:
            arrays, found = unpacked(folder / name)
        except FileNotFoundError:
            continue
        except Damaged as error:
            problems.append(str(error))
            continue
        if found == sha256:
            return arrays, name
    raise Damaged("; ".join(problems) or f"{folder / state_name}: the arrays that it names are missing")


def _sealed(state):
    """A state as JSON that holds its own checksum."""
    seal = hashlib.sha256(json.dumps(state).encode()).hexdigest()
    return (json.dumps({**state, "seal": seal}, indent=2) + "\n").encode()


def _unsealed(path):
    try:
        state = json.loads(_content(path))
        seal = state.pop("seal")
        whole = hashlib.sha256(json.dumps(state).encode()).hexdigest() == seal and "arrays" in state
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        whole = False
    if not whole:
        raise Damaged(f"{path}: is damaged: its content does not have the SHA-256 that it names")
    return state


def _content(path):
    """The bytes of a file; errors as of `_reading`."""
    with _reading(path):
        return Path(path).read_bytes()


@contextlib.contextmanager
def _reading(path):
    """In the block, Damaged is raised where something else has the file's name, or it cannot be read."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Damaged(f"{path}: cannot be read ({error.strerror})") from error
