"""Checkpoints: two files that belong together, and the two before them, so that one good pair always exists.

    checkpoint.safetensors   arrays by name                    previous.safetensors   those of the save before
    state.json               where the training stands, and    previous.json
                             the checksum of its arrays

A state names its arrays by their SHA-256, and not by a file's name: so whichever of the renames of a save is
the last before the power fails, a state and its arrays find each other again. Each file also holds its own
SHA-256, which tells one that was cut short or damaged, and then the pair before it serves.
"""

import hashlib
import json
import os
from pathlib import Path

import numpy as np

from ..durable import flush_folder, temporary_for
from ..extras import optional

ARRAYS, STATE = "checkpoint.safetensors", "state.json"
PREVIOUS = {ARRAYS: "previous.safetensors", STATE: "previous.json"}


class Damaged(ValueError):
    """A file is there, and not what was written."""


def save(folder, arrays, state):
    """Make `arrays` (name -> NumPy array) and `state` (what JSON can hold) the checkpoint in `folder`.

    Raises:
        OSError: the folder cannot be written, or the disk is full. The last checkpoint is as it was.
    """
    content = packed(arrays)
    new = {ARRAYS: content, STATE: _sealed({**state, "arrays": _digest(arrays)})}
    waiting = {name: temporary_for(Path(folder) / name) for name in new}
    try:
        for name, temporary in waiting.items():  # all that needs room on the disk comes first
            _write_flushed(temporary, new[name])
        for name, temporary in waiting.items():  # from here on there are only renames
            path = Path(folder) / name
            if path.exists():
                os.replace(path, path.with_name(PREVIOUS[name]))
            os.replace(temporary, path)
        flush_folder(folder)
    finally:
        for temporary in waiting.values():
            temporary.unlink(missing_ok=True)


def load(folder):
    """The checkpoint in `folder`.

    Returns:
        arrays, state: as they were given to `save`; and a list of what is wrong with newer files, a line
        each: empty if this is the last checkpoint that was saved.

    Raises:
        FileNotFoundError: nothing has been saved.
        Damaged: files are there and none is whole; all are named.
    """
    folder, problems = Path(folder), []
    for name in (STATE, PREVIOUS[STATE]):
        path = folder / name
        if not path.exists():
            continue
        try:
            state = _unsealed(path)
            digest = state.pop("arrays")
            return _arrays_of(folder, digest, name), state, problems
        except Damaged as error:
            problems.append(str(error))
    if not problems and not (folder / PREVIOUS[ARRAYS]).exists():  # at most the first save was begun
        raise FileNotFoundError(f"{folder / ARRAYS}: nothing has been saved yet")
    raise Damaged(
        "; ".join(problems or [f"{folder / STATE}: is missing"])
        + "; no whole checkpoint is left: train again"
    )


def packed(arrays):
    """`arrays` (name -> NumPy array) as the bytes of a safetensors file that holds their SHA-256."""
    whole = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    return optional("safetensors.numpy").save(whole, metadata={"sha256": _digest(whole)})


def unpacked(path):
    """The arrays (name -> NumPy array) in a file that `packed` made, and their SHA-256.

    Raises:
        Damaged: it is none, or its content does not have the SHA-256 that it names.
    """
    content = Path(path).read_bytes()
    safetensors = optional("safetensors")
    try:
        arrays = optional("safetensors.numpy").load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        named = header.get("__metadata__", {}).get("sha256")
    except (safetensors.SafetensorError, ValueError) as error:
        raise Damaged(f"{path}: is damaged: it is no safetensors file ({error})") from error
    if _digest(arrays) != named:
        raise Damaged(f"{path}: is damaged: its content does not have the SHA-256 that it names")
    return arrays, named


def _digest(arrays):
    """The SHA-256 of arrays with their names, dtypes and shapes."""
    sha = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        sha.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        sha.update(array.reshape(-1).view(np.uint8).data)
    return sha.hexdigest()


def _arrays_of(folder, digest, state_name):
    """The arrays with this SHA-256, whatever the file is called."""
    problems = []
    for name in (ARRAYS, PREVIOUS[ARRAYS]):
        try:
            arrays, found = unpacked(folder / name)
        except FileNotFoundError:
            continue
        except Damaged as error:
            problems.append(str(error))
            continue
        if found == digest:
            return arrays
    raise Damaged("; ".join(problems) or f"{folder / state_name}: the arrays that it names are missing")


def _sealed(state):
    """A state as JSON that holds its own checksum."""
    seal = hashlib.sha256(json.dumps(state).encode()).hexdigest()
    return (json.dumps({**state, "seal": seal}, indent=2) + "\n").encode()


def _unsealed(path):
    try:
        state = json.loads(path.read_bytes())
        seal = state.pop("seal")
        whole = hashlib.sha256(json.dumps(state).encode()).hexdigest() == seal
    except (ValueError, KeyError, AttributeError, TypeError):
        whole = False
    if not whole:
        raise Damaged(f"{path}: is damaged: its content does not have the SHA-256 that it names")
    return state


def _write_flushed(path, content):
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
