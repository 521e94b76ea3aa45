"""What the tokenizers read their files with: errors that name the file and the fix."""

import contextlib
import json
from pathlib import Path


def utf8(what, text):
    """The bytes of `text`.

    Raises:
        ValueError: a lone surrogate, half of a pair that UTF-16 needs and that UTF-8 has no bytes for.
    """
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{what}: expected text that UTF-8 can write, got the lone surrogate {text[error.start]!r} "
            f"at position {error.start}; read the text in its own encoding, or take that out"
        ) from error


@contextlib.contextmanager
def naming(path):
    """Within it, the message of a ValueError begins with the file that is to blame."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def read_text(path, fix):
    """The text of a UTF-8 file; FileNotFoundError and ValueError name it and end with `fix`."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: expected a file, got none; {fix}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected UTF-8, got {error}; {fix}") from error


def read_json(path, fix):
    """What a JSON file says; errors as of `read_text`."""
    text = read_text(path, fix)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # the latter from a thousand brackets
        raise ValueError(f"{path}: expected JSON, got a damaged file ({error}); {fix}") from error
