"""Checkpoints: two files that belong together, and the two before them, so that one good pair always exists.

    checkpoint.safetensors   arrays by name                    previous.safetensors   those of the save before
    state.json               where the training stands, and    previous.json
                             the checksum of its arrays

A state names its arrays by their SHA-256, and not by a file's name: so whichever of the renames of a save is
the last before the power fails, a state and its arrays find each other again. Each file also holds its own
SHA-256, which tells one that was cut short or damaged, and then the pair before it serves. What is found is
first put under the current names (`settle`), because the next save renames over the previous ones.
"""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..durable import flush, flush_folder, temporary_for
from ..extras import optional

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
    content, sha256 = packed(arrays)
    new = {ARRAYS: content, STATE: _sealed({**state, "arrays": sha256})}
    waiting = {name: temporary_for(folder / name) for name in new}
    try:
        for name, temporary in waiting.items():  # all that needs room on the disk comes first
            temporary.write_bytes(new[name])
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


def packed(arrays):
    """The bytes of a safetensors file of arrays (name -> NumPy array) that holds their SHA-256, and that."""
    whole = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    sha256 = digest(whole)
    return optional("safetensors.numpy").save(whole, metadata={"sha256": sha256}), sha256


def unpacked(path):
    """The arrays (name -> NumPy array) in a file that `packed` made, and their SHA-256.

    Raises:
        FileNotFoundError: there is none.
        Damaged: it is none, or its content does not have the SHA-256 that it names.
    """
    content = _content(path)
    safetensors = optional("safetensors")
    try:
        arrays = optional("safetensors.numpy").load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        named = header.get("__metadata__", {}).get("sha256")
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
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
    """The bytes of a file; Damaged where something else has its name, or it cannot be read."""
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Damaged(f"{path}: cannot be read ({error.strerror})") from error
