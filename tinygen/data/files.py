"""Text, bytes and pairs of strings of your own, by path. Images are in images.py.

A gzipped file is unpacked, except by `read_bytes`. Left out: other encodings than UTF-8, and files that do
not fit into memory.
"""

import numpy as np

from .paths import contents, existing, raw_contents

TEXT = (".txt", ".md", ".rst", ".py")  # how the names of the files end that are the text of a folder


def read_text(path):
    """The text of a UTF-8 file, or of all .txt, .md, .rst and .py files below a folder.

    Every end of a line becomes "\\n", and a byte order mark goes. The files of a folder come in the order of
    their paths, joined by "\\n"; hidden and empty ones are left out.

    Raises:
        FileNotFoundError: there is nothing at `path`; the message has the nearest name, if one is near.
        ValueError: no text there, damaged gzip data, or no UTF-8: the message has the file and the byte.
    """
    path = existing(path)
    if not path.is_dir():
        text, expected = _decoded(path), "text"
    else:
        files = [file for file in path.rglob("*") if file.suffix in TEXT and file.is_file()]
        seen = [file for file in files if not any(part[0] == "." for part in file.relative_to(path).parts)]
        text = "\n".join(filter(None, map(_decoded, sorted(seen))))
        expected = f"files with text that end in {', '.join(TEXT)}"
    if not text:
        raise ValueError(f"{path}: expected {expected}, got none; is it the right path?")
    return text


def read_bytes(path):
    """The bytes of a file as they are: uint8 (N,), N at least 1.

    Raises:
        FileNotFoundError: there is no such file; the message has the nearest name, if one is near.
        IsADirectoryError: it is a folder.
        ValueError: it is empty.
    """
    content = raw_contents(path)
    if not content:
        raise ValueError(f"{path}: expected at least one byte, got an empty file; is it the right path?")
    return np.frombuffer(bytearray(content), np.uint8)  # of a bytearray, so that it can be written to


def read_pairs(path):
    """The lines of a UTF-8 file, each of them source, tab, target: a list of (source, target) strings.

    White space at either end of a side goes.

    Raises:
        FileNotFoundError: there is no such file; the message has the nearest name, if one is near.
        IsADirectoryError: it is a folder.
        ValueError: empty, no UTF-8, or a line with no tab, with several, or with nothing on one side: the
            message has the line.
    """
    text = _decoded(path)
    if not text:
        raise ValueError(f"{path}: expected lines of source, tab, target, got none; is it the right path?")
    pairs = []
    for number, line in enumerate(lines(text), 1):
        sides = tuple(side.strip() for side in line.split("\t"))
        if len(sides) != 2 or not all(sides):
            raise ValueError(
                f"{path}: expected source, tab, target in line {number}, got {line[:60]!r}; correct it"
            )
        pairs.append(sides)
    return pairs


def lines(text):
    """The lines of `text`, cut at "\\n" alone: splitlines also cuts at what a sentence may hold, U+2028."""
    return text.removesuffix("\n").split("\n")


def _decoded(path):
    content = contents(path)
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: expected UTF-8, got 0x{content[error.start]:02x} at byte {error.start:,}; "
            "convert it, or read it as bytes"
        ) from error
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
