"""What the tokenizers read their files with: errors that name the file and the fix."""

import contextlib
import json

from .paths import decoded, raw_contents


def utf8(who, text):
    """The bytes of `text`.

    Args:
        who: the function that was given it, for the message.

    Raises:
        TypeError: not a str.
        ValueError: a lone surrogate, half of a pair that UTF-16 needs and that UTF-8 has no bytes for.
    """
    if not isinstance(text, str):
        raise TypeError(f"{who}: expected a str, got {type(text).__name__}; decode bytes first")
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{who}: expected text that UTF-8 can write, got the lone surrogate {text[error.start]!r} "
            f"at position {error.start}; read the text in its own encoding, or take that out"
        ) from error


@contextlib.contextmanager
def blaming(path):
    """Within it, the message of a ValueError begins with the file that is to blame."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def file_text(path, fix):
    """The text of a UTF-8 file.

    Args:
        fix: what messages say to do about a file that is missing or damaged.

    Raises:
        FileNotFoundError: there is no such file.
        IsADirectoryError: it is a folder.
        ValueError: not UTF-8; names the file.
    """
    return decoded(raw_contents(path, fix=fix), path, fix=fix)


def read_json(path, fix):
    """What a JSON file says; errors as of `file_text`, and a ValueError for other content than JSON."""
    text = file_text(path, fix)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # the latter from a thousand brackets
        raise ValueError(f"{path}: expected JSON, got a damaged file ({error}); {fix}") from error
