"""Files that are whole or not there at all, whatever kills the program; and a lock that dies with its owner.

A file is written under a temporary name, flushed to the disk, renamed, and the folder flushed too: the rename
is atomic, so nobody ever meets half a file, and after a power cut the name leads to the old content or to the
new one. A program that is killed leaves its temporary file; `sweep` removes those.
"""

import contextlib
import os
import shutil
import threading
import time
from pathlib import Path

TEMPORARY = ".unfinished-"  # how the names of temporary files begin


def write(path, content):
    """Replace the file at `path` by `content` (bytes): whole, or not at all.

    Raises:
        OSError: it cannot be written, and is as it was.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(content)


@contextlib.contextmanager
def replacing(path):
    """Yield a temporary path beside `path`; after the block it is flushed to the disk and renamed `path`.

    Raises:
        FileNotFoundError: there is no folder for it.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: expected a folder to write into, got none; make {path.parent}")
    temporary = temporary_for(path)
    try:
        yield temporary
        flush(temporary)
        os.replace(temporary, path)
        flush_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def whole(folder):
    """After an error in the block, a new folder is removed, with all that has been written into it."""
    try:
        yield
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def temporary_for(path):
    """The temporary name, of this process and thread alone, that stands for `path`."""
    return path.with_name(f"{TEMPORARY}{os.getpid()}-{threading.get_ident()}-{path.name}")


def flush(path):
    """Wait until the content of a file is on the disk."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def flush_folder(folder):
    """Wait until the names in a folder are on the disk, where the system can do that (Windows cannot)."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def sweep(folder, *, age=0):
    """Remove what programs that were killed have left in a folder.

    Where the system tells, what a living process of this machine writes at this moment stays. Where others
    may write too, give an age that no write reaches.

    Args:
        age: seconds; what was written to more recently stays.

    Raises:
        OSError: a file cannot be removed.
    """
    now = time.time()
    for path in Path(folder).glob(f"{TEMPORARY}*"):
        with contextlib.suppress(FileNotFoundError):  # somebody else has removed or renamed it
            if not _is_being_written(path) and (not age or now - path.stat().st_mtime > age):
                path.unlink()


def _is_being_written(path):
    """Whether the process that a temporary name tells of is alive, and may still be at it."""
    pid = path.name.removeprefix(TEMPORARY).partition("-")[0]
    if os.name != "posix" or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is somebody else's
        pass
    return True


@contextlib.contextmanager
def locked(path):
    """Hold the lock file `path` during the block. The system lets go of it when the process ends, however.

    Raises:
        BlockingIOError: somebody else holds it.
    """
    with open(path, "a+b") as file:
        if os.name == "posix":
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            import msvcrt

            try:
                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            except OSError as error:
                raise BlockingIOError(*error.args) from error
        yield
