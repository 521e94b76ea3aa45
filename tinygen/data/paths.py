"""What every reader of a path begins with: the file is there, and its bytes, unpacked if they are gzipped."""

import difflib
import gzip
import zlib
from pathlib import Path


def existing(path):
    """`path` as a Path, once it is sure that something is there.

    Raises:
        FileNotFoundError: nothing is; the message has the nearest name of the same folder, if one is near.
    """
    path = Path(path)
    if path.exists():
        return path
    if not path.parent.is_dir():
        hint = f"there is no folder {path.parent} either"
    else:
        near = difflib.get_close_matches(path.name, [other.name for other in path.parent.iterdir()], n=1)
        hint = f"did you mean {path.parent / near[0]}?" if near else "check the name"
    raise FileNotFoundError(f"{path}: expected a file or a folder, got nothing of that name; {hint}")


def contents(path):
    """The bytes of a file. A gzipped one is unpacked; it is known by its first bytes, whatever its name.

    Raises:
        FileNotFoundError: there is no such file.
        IsADirectoryError: it is a folder.
        ValueError: gzip data that is damaged or cut short.
    """
    raw = raw_contents(path)
    if raw[:2] != b"\x1f\x8b":
        return raw
    try:
        return gzip.decompress(raw)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path}: expected whole gzip data, got {error}; get the file again") from error


def raw_contents(path):
    """The bytes of a file as they are.

    Raises:
        FileNotFoundError: there is no such file.
        IsADirectoryError: it is a folder.
    """
    if existing(path).is_dir():
        raise IsADirectoryError(f"{path}: expected a file, got a folder; name a file in it")
    return Path(path).read_bytes()
