"""Files that are whole or not there, and a lock that dies with its owner."""

import os
import subprocess
import sys

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


def test_sweep_removes_what_a_killed_process_left_and_nothing_else(tmp_path):
    write(tmp_path / "file", b"")
    temporary_for(tmp_path / "file").write_bytes(b"half")
    assert len(list(tmp_path.iterdir())) == 2
    sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


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
