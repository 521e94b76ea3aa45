"""What every reader of a path begins with: it exists, its bytes, unpacked if gzipped, and their text."""

import difflib
import gzip
import os
import zlib
from pathlib import Path


def nearest(name, known):
    """The one of the strings `known` that is most like `name`, or None if none is like it."""
    return next(iter(difflib.get_close_matches(name, known, n=1)), None)


def existing(path, *, named=(), fix="check the name"):
    """`path` as a Path, checked to exist.

    Args:
        named: the names that may be given instead of a path; the message lists them.
        fix: what the message says to do where nothing of a similar name is there.

    Raises:
        ValueError: an empty string, which as a path would be the working folder.
        FileNotFoundError: there is nothing at `path`, or only a link that leads to nothing; the message has
            the nearest of the names, or of the files in the same folder, if one is near.
    """
    expected = "a file or a folder" + (f", or one of {', '.join(named)}" if named else "")
    if path == "":
        raise ValueError(f"path: expected {expected}, got an empty name; {fix}")
    given, path = str(path), Path(path)
    if path.exists():
        return path
    got = "nothing of that name"
    if path.is_symlink():
        got = f"a link to {os.readlink(path)}, where there is nothing"
        hint = "correct or remove the link"
    elif near := nearest(given, named):
        hint = f"did you mean {near}?"
    elif not path.parent.is_dir():
        hint = f"there is no folder {path.parent} either"
    elif near := nearest(path.name, [other.name for other in path.parent.iterdir()]):
        hint = f"did you mean {path.parent / near}?"
    else:
        hint = fix
    raise FileNotFoundError(f"{path}: expected {expected}, got {got}; {hint}")


def contents(path):
    """The bytes of a file. A gzipped one is unpacked; it is known by its first bytes, whatever its name.

    Raises:
        FileNotFoundError: there is no such file.
        IsADirectoryError: it is a folder.
        ValueError: an empty path, or gzip data that is damaged or cut short.
    """
    raw = raw_contents(path)
    if raw[:2] != b"\x1f\x8b":
        return raw
    try:
        return gzip.decompress(raw)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path}: expected whole gzip data, got {error}; get the file again") from error


def raw_contents(path, *, fix="check the name"):
    """The bytes of a file as they are.

    Args:
        fix: what the message says to do where the file is missing.

    Raises:
        FileNotFoundError: there is no such file.
        IsADirectoryError: it is a folder.
        ValueError: an empty path.
    """
    path = existing(path, fix=fix)
    if path.is_dir():
        raise IsADirectoryError(f"{path}: expected a file, got a folder; name a file in it")
    return path.read_bytes()


def decoded(content, path, *, fix):
    """The text of UTF-8 `content`, without a byte order mark, every end of a line as "\\n".

    Args:
        path: the file that it came from, for the message.
        fix: what the message says to do.

    Raises:
        ValueError: not UTF-8; the message has the file and the byte.
    """
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        at = error.start
        raise ValueError(f"{path}: expected UTF-8, got 0x{content[at]:02x} at byte {at:,}; {fix}") from error
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def by_name(paths, folder):
    """`paths`, sorted by their names below `folder`: by code points, with slashes, on every system.

    Paths themselves compare without case on Windows, and with it elsewhere.
    """
    return sorted(paths, key=lambda path: path.relative_to(folder).as_posix())
