"""Files by name: your folder, the cache, a host in this process that fails in every way; the named sets."""

import gzip
import hashlib
import http.server
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tinygen import durable
from tinygen.data import downloads
from tinygen.data.downloads import REMOTE, Remote, find
from tinygen.data.named import multi30k, tinyshakespeare
from tinygen.extras import MissingLibrary

pytest.importorskip("pooch")

NAME, CONTENT = "multi30k/val.de.gz", bytes(range(256)) * 40


class Host(http.server.ThreadingHTTPServer):
    """Gives `files`, by path, and counts what was asked for. `fault` says how it fails, if it does."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.asked, self.fault = {f"/{NAME}": CONTENT}, [], None
        self.go_on = threading.Event()  # what a host waits for that is silent or stalls
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request, client_address):
        """Says nothing: a client that hangs up is what some tests are about."""


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        host = self.server
        host.asked.append(self.path)
        content = host.files.get(self.path)
        if content is None or host.fault in (404, 503):
            return self.send_error(host.fault or 404)
        if host.fault == "silent":
            return host.go_on.wait(60)
        if host.fault == "another file":
            content, host.fault = content[::-1], None
        if host.fault == "moved":
            self.send_response(302)
            self.send_header("Location", "/elsewhere")
            host.files["/elsewhere"], host.fault = content, None
            return self.end_headers()
        if host.fault == "hangs up":
            return None
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        if host.fault == "packs" and "gzip" in self.headers["Accept-Encoding"]:
            self.send_header("Content-Encoding", "gzip")  # said of a .gz, it makes a client unpack it
        self.end_headers()
        self.wfile.write(content if host.fault in (None, "packs") else content[: len(content) // 2])
        if host.fault == "stalls":
            host.go_on.wait(60)
        return None

    def log_message(self, *args):
        """Says nothing."""


@pytest.fixture
def host():
    """A running Host, stopped at the end."""
    with Host() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.go_on.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def cache(tmp_path, monkeypatch, host):
    """An empty cache folder. The host stands for all others, and has a small file in place of NAME."""
    monkeypatch.delenv("TINYGEN_DATA", raising=False)
    monkeypatch.setenv("TINYGEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TINYGEN_MIRROR", host.url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setitem(REMOTE, NAME, remote(CONTENT, REMOTE[NAME].url))
    return tmp_path / "cache"


def remote(content, url="http://nowhere.invalid/"):
    """What REMOTE would say of `content`."""
    return Remote(url, hashlib.sha256(content).hexdigest(), len(content))


def inside(folder):
    """The files at any depth, hidden ones too."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# the table


def test_every_known_file_has_its_url_checksum_and_size():
    assert len(REMOTE) == 4 + 1 + 9
    for name, (url, sha256, size) in REMOTE.items():
        assert re.fullmatch(r"https://[\w.-]+/[\w./-]+", url), name
        assert url.endswith(name.rpartition("/")[2]) or name == "tinyshakespeare.txt"
        assert re.fullmatch(r"[0-9a-f]{64}", sha256) and 4_000 < size < 10_000_000, name
    assert len({remote.sha256 for remote in REMOTE.values()}) == len({r.url for r in REMOTE.values()}) == 14
    assert REMOTE["multi30k/train.fr.gz"].url.endswith("/dataset/master/data/task1/raw/train.fr.gz")


# where a file is looked for


def test_a_file_of_your_folder_comes_first_and_as_it_is(tmp_path, monkeypatch, host, cache):
    find(NAME)
    monkeypatch.setenv("TINYGEN_DATA", str(tmp_path / "mine"))
    folder = tmp_path / "mine" / "multi30k"
    folder.mkdir(parents=True)
    (folder / "val.de").write_bytes(b"not gzipped, and not what the host has")
    assert find(NAME) == folder / "val.de"
    (folder / "val.de.gz").write_bytes(b"nor this")
    assert find(NAME) == folder / "val.de.gz"
    assert len(host.asked) == 1


def test_only_a_transfer_needs_pooch_and_asks_for_it_first(tmp_path, monkeypatch, cache, capsys):
    find(NAME)
    capsys.readouterr()
    monkeypatch.setitem(sys.modules, "pooch", None)
    assert find(NAME).read_bytes() == CONTENT
    (cache / NAME).unlink()
    with pytest.raises(MissingLibrary, match=r'pooch is not installed; do: pip install "tinygen\[app\]"'):
        find(NAME)
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("TINYGEN_DATA", str(tmp_path))
    (tmp_path / "tinyshakespeare.txt").write_text("To be")
    assert find("tinyshakespeare.txt").read_text() == "To be"


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch, cache):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("TINYGEN_CACHE", "~/own")
    assert find(NAME) == tmp_path / "own" / NAME
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "tinyshakespeare.txt").write_text("To be")
    monkeypatch.setenv("TINYGEN_DATA", "~/mine")
    assert find("tinyshakespeare.txt") == tmp_path / "mine" / "tinyshakespeare.txt"
    monkeypatch.setenv("TINYGEN_DATA", "~nobody-of-this-name/mine")
    with pytest.raises(FileNotFoundError, match="TINYGEN_DATA: expected a folder, got ~nobody-of-this-name/"):
        find(NAME)


def test_what_your_folder_lacks_comes_from_the_cache_or_the_host(tmp_path, monkeypatch, host, cache):
    (tmp_path / "mine").mkdir()
    monkeypatch.setenv("TINYGEN_DATA", str(tmp_path / "mine"))
    assert find(NAME) == cache / NAME and find(NAME).read_bytes() == CONTENT
    assert host.asked == [f"/{NAME}"] and inside(tmp_path / "mine") == []


def test_a_file_is_downloaded_once_and_told_in_one_line(host, cache, capsys):
    assert find(NAME) == cache / NAME
    assert capsys.readouterr() == (
        "",
        f"tinygen: downloading {host.url}/{NAME} (10,240 bytes) to {cache / NAME}\n",
    )
    assert (cache / NAME).read_bytes() == CONTENT and inside(cache) == [NAME]
    assert find(NAME) == cache / NAME and host.asked == [f"/{NAME}"]
    assert capsys.readouterr() == ("", "")


def test_the_mirror_may_end_in_a_slash_and_may_redirect(monkeypatch, host, cache):
    monkeypatch.setenv("TINYGEN_MIRROR", f"{host.url}/")
    host.fault = "moved"
    assert find(NAME).read_bytes() == CONTENT
    assert host.asked == [f"/{NAME}", "/elsewhere"]


def test_a_gzipped_file_comes_as_it_is_from_a_host_that_packs_transfers(monkeypatch, host, cache):
    packed = gzip.compress(CONTENT)
    monkeypatch.setitem(REMOTE, NAME, remote(packed))
    host.files[f"/{NAME}"], host.fault = packed, "packs"
    assert find(NAME).read_bytes() == packed


def test_without_a_mirror_the_file_comes_from_its_own_host(monkeypatch, host, cache):
    monkeypatch.delenv("TINYGEN_MIRROR")
    monkeypatch.setitem(REMOTE, NAME, REMOTE[NAME]._replace(url=f"{host.url}/other/place"))
    host.files["/other/place"] = CONTENT
    assert find(NAME).read_bytes() == CONTENT


def test_without_a_setting_the_cache_is_where_the_system_keeps_caches(tmp_path, monkeypatch, cache):
    monkeypatch.delenv("TINYGEN_CACHE")
    monkeypatch.setattr(downloads, "_system_cache", lambda: tmp_path / "system" / "tinygen")
    assert find(NAME) == tmp_path / "system" / "tinygen" / NAME


@pytest.mark.parametrize(
    "platform, variable, folder",
    [
        ("linux", "XDG_CACHE_HOME", ".cache"),
        ("win32", "LOCALAPPDATA", "AppData/Local"),
        ("darwin", None, "Library/Caches"),
    ],
)
def test_each_system_has_its_place_for_caches(tmp_path, monkeypatch, platform, variable, folder):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "platform", platform)
        assert downloads._system_cache() == tmp_path / folder / "tinygen"
        if variable:
            patch.setenv(variable, str(tmp_path / "elsewhere"))
            assert downloads._system_cache() == tmp_path / "elsewhere" / "tinygen"


def test_a_damaged_file_of_the_cache_is_downloaded_again(host, cache, capsys):
    find(NAME)
    for spoilt in (CONTENT[:-1], b"", CONTENT[:-1] + b"?"):
        (cache / NAME).write_bytes(spoilt)
        capsys.readouterr()
        assert find(NAME).read_bytes() == CONTENT
        first, second = capsys.readouterr().err.splitlines()
        assert first == f"tinygen: {cache / NAME} is damaged" and "downloading" in second
    assert len(host.asked) == 4


@pytest.mark.parametrize(
    "name, hint",
    [
        ("mnist/train-images", "did you mean 'mnist/train-images-idx3-ubyte.gz'?"),
        ("../../etc/passwd", "there is: mnist/train-images-idx3-ubyte.gz, "),
    ],
)
def test_an_unknown_name_is_an_error(name, hint):
    with pytest.raises(ValueError) as caught:
        find(name)
    assert f"find: expected the name of a known file, got {name!r}; {hint}" in str(caught.value)


def test_a_folder_that_is_none_is_an_error_and_no_reason_to_download(tmp_path, monkeypatch, host, cache):
    monkeypatch.setenv("TINYGEN_DATA", str(tmp_path / "tpyo"))
    with pytest.raises(
        FileNotFoundError, match=r"TINYGEN_DATA: expected a folder, got .*tpyo; correct or unset"
    ):
        find(NAME)
    assert host.asked == []


# what goes wrong on the way


def refused(cache, name=NAME):
    """What the ConnectionError of a download says that must fail, leaving no file behind."""
    with pytest.raises(ConnectionError) as caught:
        find(name)
    message = str(caught.value)
    url = f"{os.environ['TINYGEN_MIRROR']}/{name}"
    start, fix = (
        f"{name}: expected it from {url}, got ",
        (
            f"; try again, or set TINYGEN_DATA to a folder that holds {name}, "
            "or TINYGEN_MIRROR to the URL of another host"
        ),
    )
    assert message.startswith(start) and message.endswith(fix) and "\n" not in message, message
    assert inside(cache) == [] and list(cache.rglob(".*")) == []
    return message.removeprefix(start).removesuffix(fix)


@pytest.mark.parametrize(
    "fault, message",
    [
        (404, "the answer 404 Not Found"),
        (503, "the answer 503 Service Unavailable"),
        ("breaks off", "IncompleteRead(5120 bytes read, 5120 more expected)"),
        ("hangs up", "Remote end closed connection without response"),
        (
            "another file",
            f"another file: 10,240 bytes with SHA-256 {remote(CONTENT[::-1]).sha256} "
            f"instead of 10,240 bytes with SHA-256 {remote(CONTENT).sha256}",
        ),
    ],
)
def test_a_host_that_fails_leaves_nothing_and_the_next_try_works(host, cache, fault, message):
    host.fault = fault
    assert refused(cache) == message
    host.fault = None
    assert find(NAME).read_bytes() == CONTENT


@pytest.mark.parametrize("fault", ["silent", "stalls"])
def test_a_host_that_says_nothing_more_is_given_up(monkeypatch, host, cache, fault):
    monkeypatch.setattr(downloads, "TIMEOUT", 0.05)
    host.fault = fault
    assert refused(cache) == "timed out"


def test_a_host_that_cannot_be_reached(monkeypatch, cache):
    with socket.socket() as taken:  # bound and not listening: nobody else can answer there
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("TINYGEN_MIRROR", f"http://127.0.0.1:{taken.getsockname()[1]}")
        assert refused(cache) == "Connection refused"


def test_a_host_that_is_unknown(monkeypatch, cache):
    def unknown(*args, **kwargs):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("TINYGEN_MIRROR", "http://nowhere.invalid")
    assert refused(cache) == "Name or service not known"


def test_a_mirror_that_is_no_url(monkeypatch, cache):
    monkeypatch.setenv("TINYGEN_MIRROR", "somewhere")
    assert refused(cache).startswith(f"Invalid URL 'somewhere/{NAME}': No scheme supplied")


def test_the_cause_is_not_looked_for_in_what_the_caller_is_busy_with(host, cache):
    host.fault = "hangs up"
    try:
        raise KeyError("of the caller")
    except KeyError:
        assert refused(cache) == "Remote end closed connection without response"


def test_a_damaged_file_stays_where_it_is_when_there_is_no_network(host, cache):
    find(NAME)
    (cache / NAME).write_bytes(b"damaged")
    host.fault = 503
    for _ in "ab":  # and is not taken for a good one the second time
        with pytest.raises(ConnectionError, match="the answer 503"):
            find(NAME)


# what goes wrong on the disk


def test_a_cache_that_cannot_be_made(tmp_path, monkeypatch, host, cache):
    (tmp_path / "file").write_text("here already")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        monkeypatch.setenv("TINYGEN_CACHE", str(folder))
        with pytest.raises(
            OSError, match=r"in the cache, got (File exists|Not a directory); .* set TINYGEN_CACHE"
        ):
            find(NAME)
    assert host.asked == []


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_cache_that_cannot_be_written(cache):
    cache.mkdir()
    cache.chmod(0o500)
    with pytest.raises(
        OSError, match=r"val.de.gz: expected to read or write it .*, got Permission denied; make room"
    ):
        find(NAME)
    cache.chmod(0o700)


def test_a_folder_in_the_place_of_the_file(cache):
    (cache / NAME).mkdir(parents=True)
    with pytest.raises(
        OSError, match=r"val.de.gz: expected to read or write it in the cache, got Is a directory"
    ):
        find(NAME)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no file here that is always full")
def test_a_disk_that_is_full(monkeypatch, cache):
    """The file for the transfer leads to a device that has no room."""

    def full(path):
        part = path.with_name(f"{durable.TEMPORARY}full")
        part.symlink_to("/dev/full")
        return part

    monkeypatch.setattr(durable, "temporary_for", full)
    with pytest.raises(
        OSError, match=r"got No space left on device; make room or give permission there, or set"
    ):
        find(NAME)
    assert inside(cache) == [] and list(cache.rglob(".*")) == []


# interruptions, and several at once


def test_ctrl_c_in_the_middle_leaves_nothing(monkeypatch, cache):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(downloads, "_sha256", interrupted)  # when the file has come, and is not yet checked
        with pytest.raises(KeyboardInterrupt):
            find(NAME)
    assert inside(cache) == [] and list(cache.rglob(".*")) == []
    assert find(NAME).read_bytes() == CONTENT


def test_a_process_that_is_killed_in_the_middle_leaves_nothing_that_is_taken_for_the_file(host, cache):
    host.fault = "stalls"
    command = [sys.executable, "-c", f"from tinygen.data.downloads import find; find({NAME!r})"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, cwd=Path(__file__).parent.parent) as process:
        process.stderr.readline()  # it has begun
        while not host.asked:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    host.go_on.set()
    (left,) = (cache / NAME).parent.iterdir()
    assert left.name.startswith(durable.TEMPORARY)
    host.fault = None
    assert find(NAME).read_bytes() == CONTENT
    assert left.exists()  # it might be of a transfer that goes on
    (cache / NAME).unlink()
    os.utime(left, (0, 0))
    assert find(NAME).read_bytes() == CONTENT
    assert inside(cache) == [NAME] and list(cache.rglob(".*")) == []


def test_what_cannot_be_swept_is_no_reason_to_fail(monkeypatch, cache):
    def refused(folder, *, age):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(downloads, "sweep", refused)
    assert find(NAME).read_bytes() == CONTENT


def test_several_at_once_all_get_the_whole_file(host, cache):
    start, got = threading.Barrier(8), []

    def one():
        start.wait()
        got.append(find(NAME).read_bytes())

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [CONTENT] * 8 and inside(cache) == [NAME]


# the named sets of text


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A TINYGEN_DATA of small files in the place of the real ones."""
    (tmp_path / "multi30k").mkdir()
    for language, text in (
        ("de", " ein Hund\neine\u2028Katze \n"),
        ("en", "a dog\na cat\n"),
        ("fr", "un chien"),
    ):
        (tmp_path / "multi30k" / f"val.{language}.gz").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "tinyshakespeare.txt").write_text("".join(map(chr, range(64, 64 + 19))))
    monkeypatch.setenv("TINYGEN_DATA", str(tmp_path))
    return tmp_path


def test_tinyshakespeare_is_divided_as_nanogpt_does_it(mine):
    train, test = tinyshakespeare(), tinyshakespeare(split="test")
    assert (train, test) == ("@ABCDEFGHIJKLMNOP", "QR")  # int(19 * 0.9) is 17


def test_multi30k_pairs_lines_and_strips_them(mine):
    expected = [("ein Hund", "a dog"), ("eine\u2028Katze", "a cat")]
    assert multi30k(split="validation") == expected
    assert multi30k(split="validation", source="en", target="de") == [pair[::-1] for pair in expected]


def test_multi30k_refuses_files_that_do_not_fit_together(mine):
    with pytest.raises(ValueError, match=r"val.fr.gz: expected 2 lines, as in .*val.en.gz, got 1; get both"):
        multi30k(split="validation", source="en", target="fr")


def test_the_named_sets_refuse_what_they_do_not_have(mine):
    with pytest.raises(
        ValueError, match="tinyshakespeare: expected split 'train' or 'test', got 'validation'"
    ):
        tinyshakespeare(split="validation")
    with pytest.raises(
        ValueError, match="multi30k: expected split 'train', 'validation' or 'test', got 'val'"
    ):
        multi30k(split="val")
    for side in ("source", "target"):
        with pytest.raises(
            ValueError, match=f"multi30k: expected {side} 'de', 'en' or 'fr', got 'cs'; choose"
        ):
            multi30k(**{side: "cs"})


REAL = Path(os.environ.get("TINYGEN_DATA", ""), "multi30k").is_dir()


@pytest.mark.skipif(not REAL, reason="TINYGEN_DATA names no folder with the real files")
def test_the_real_files_have_the_promised_sizes(monkeypatch):
    monkeypatch.setenv("TINYGEN_MIRROR", "none")  # no test asks the network, whatever is missing
    for split, count in (("train", 29_000), ("validation", 1_014), ("test", 1_000)):
        for source in ("de", "fr"):
            pairs = multi30k(split=split, source=source)
            assert len(pairs) == count and all(side for pair in pairs for side in pair)
    train, test = tinyshakespeare(), tinyshakespeare(split="test")
    assert (len(train), len(test)) == (1_003_854, 111_540)
    assert train.startswith("First Citizen:\nBefore we proceed")
