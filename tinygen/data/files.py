"""Text, bytes and pairs of strings of your own, by path. Images are in images.py.

A gzipped file is unpacked, except by `read_bytes`. Left out: other encodings than UTF-8, and files that do
not fit into memory.
"""

import numpy as np

from .paths import by_name, contents, decoded, existing, raw_contents

TEXT = (".txt", ".md", ".rst", ".py")  # the endings of a folder's files that are its text, in any case


def read_text(path):
    """The text of a UTF-8 file, or of all .txt, .md, .rst and .py files below a folder.

    Every end of a line becomes "\\n", and a byte order mark is removed. The files of a folder come in the
    order of their paths (by code points, with slashes), joined by "\\n"; hidden and empty ones are left out.

    Raises:
        FileNotFoundError: there is nothing at `path`; the message has the nearest name, if one is near.
        ValueError: an empty path, no text there, damaged gzip data, or not UTF-8: the message has the file
            and the byte.
    """
    path = existing(path)
    if not path.is_dir():
        text, expected = _decoded(path), "text"
    else:
        files = [file for file in path.rglob("*") if file.suffix.lower() in TEXT and file.is_file()]
        seen = [file for file in files if not any(part[0] == "." for part in file.relative_to(path).parts)]
        text = "\n".join(filter(None, map(_decoded, by_name(seen, path))))
        expected = f"files with text that end in {', '.join(TEXT)}"
    if not text:
        raise ValueError(f"{path}: expected {expected}, got none; is it the right path?")
    return text


def read_bytes(path):
    """The bytes of a file as they are: uint8 (N,), N at least 1.

    Raises:
        FileNotFoundError: there is no such file; the message has the nearest name, if one is near.
        IsADirectoryError: it is a folder.
        ValueError: an empty path or file.
    """
    content = raw_contents(path)
    if not content:
        raise ValueError(f"{path}: expected at least one byte, got an empty file; is it the right path?")
    return byte_array(content)


def byte_array(content):
    """Bytes as uint8 (N,), the caller's own: NumPy lets nobody write to an array over `bytes`."""
    return np.frombuffer(bytearray(content), np.uint8)


def read_pairs(path):
    """The lines of a UTF-8 file, each of them source, tab, target: a list of (source, target) strings.

    White space at either end of a side is removed.

    Raises:
        FileNotFoundError: there is no such file; the message has the nearest name, if one is near.
        IsADirectoryError: it is a folder.
        ValueError: an empty path or file, not UTF-8, or a line with no tab, with several, or with nothing on
            one side: the message has the line.
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
    return decoded(contents(path), path, fix="convert it, or read it as bytes")
