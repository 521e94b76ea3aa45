"""Files that are whole or not there, and a lock that dies with its owner."""

import functools
import os
import subprocess
import sys
import threading

import pytest

from tinygen.durable import locked, replacing, sweep, temporary_for, write


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "file"
    write(path, b"old")
    with pytest.raises(RuntimeError, match="killed"), replacing(path) as temporary:
        temporary.write_bytes(b"ne")
        raise RuntimeError("killed")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]
    write(path, b"new")
    assert path.read_bytes() == b"new" and list(tmp_path.iterdir()) == [path]


def test_what_is_written_is_flushed_before_it_is_renamed_and_the_folder_after(tmp_path, monkeypatch):
    calls, fsync, replace = [], os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (calls.append(os.fstat(handle).st_ino), fsync(handle)))
    monkeypatch.setattr(os, "replace", lambda old, new: (calls.append("rename"), replace(old, new)))
    write(tmp_path / "file", b"content")
    folder = [tmp_path.stat().st_ino] if os.name == "posix" else []
    assert calls == [(tmp_path / "file").stat().st_ino, "rename", *folder]


def test_a_missing_folder_is_an_error_that_names_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="file: expected a folder to write into, got none; make"):
        write(tmp_path / "none" / "file", b"")


@functools.cache
def dead_process():
    """The number of a process that is no more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def leftover(path):
    """The temporary name of a process that was killed."""
    own = temporary_for(path)
    return own.with_name(own.name.replace(f"-{os.getpid()}-", f"-{dead_process()}-", 1))


def test_sweep_removes_what_a_killed_process_left_and_nothing_else(tmp_path):
    write(tmp_path / "file", b"")
    leftover(tmp_path / "file").write_bytes(b"half")
    (living := temporary_for(tmp_path / "file")).write_bytes(b"half")
    sweep(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([tmp_path / "file", living])


def test_threads_that_write_one_file_do_not_meet(tmp_path):
    """Each holds its temporary file open until all have one: by one name they would be one file."""
    path, together, seen = tmp_path / "file", threading.Barrier(4, timeout=20), []

    def write_own(content):
        with replacing(path) as temporary:
            together.wait()
            temporary.write_bytes(content)
            together.wait()
            seen.append((temporary, temporary.read_bytes() == content))
            together.wait()

    contents = [bytes([i]) * 100 for i in range(4)]
    threads = [threading.Thread(target=write_own, args=[content]) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({temporary for temporary, _ in seen}) == 4 and all(same for _, same in seen)
    assert path.read_bytes() in contents and list(tmp_path.iterdir()) == [path]


def test_sweep_spares_what_is_younger_than_the_age(tmp_path):
    for name in ("old", "new"):
        leftover(tmp_path / name).write_bytes(b"half")
    os.utime(leftover(tmp_path / "old"), (0, 0))
    sweep(tmp_path, age=86_400)
    assert list(tmp_path.iterdir()) == [leftover(tmp_path / "new")]


def test_two_that_sweep_at_once_do_no_harm(tmp_path, monkeypatch):
    path = temporary_for(tmp_path / "file")
    path.write_bytes(b"half")
    listed = list(tmp_path.glob("*"))
    path.unlink()  # by the other, after this one has listed it
    monkeypatch.setattr(type(path), "glob", lambda *args: listed)
    sweep(tmp_path)
    sweep(tmp_path, age=86_400)
    assert listed == [path] and not path.exists()


def test_a_lock_has_one_owner_and_dies_with_it(tmp_path):
    path = tmp_path / "lock"
    hold = f"with locked({str(path)!r}): print(1, flush=True); input()"
    code = f"from tinygen.durable import locked\n{hold}"
    with locked(path), pytest.raises(BlockingIOError), locked(path):
        pass
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as owner:
        assert owner.stdout.readline().strip() == b"1"
        with pytest.raises(BlockingIOError), locked(path):
            pass
        owner.kill()
        owner.wait()
        with locked(path):
            pass
