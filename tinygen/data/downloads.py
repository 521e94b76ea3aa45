"""Files known by name: from your folder, else from the cache, else from the network, once.

`find("mnist/train-images-idx3-ubyte.gz")` looks into three places, one after the other:

    $TINYGEN_DATA      a folder of yours; what lies there is taken as it is, gzipped or not
    $TINYGEN_CACHE     the cache, by default where the system keeps them (~/.cache/tinygen on Linux)
    the file's host    or $TINYGEN_MIRROR/mnist/train-images-idx3-ubyte.gz, for those behind a proxy

A file of the cache is checked against its SHA-256 at every use (6 ms for the largest), and a damaged one is
downloaded again. Only a transfer needs pooch. Left out: resuming one; the largest file has 10 MB.
"""

import contextlib
import hashlib
import os
import sys
from pathlib import Path
from typing import NamedTuple

from ..durable import replacing, sweep
from ..extras import optional
from .paths import nearest

HOSTS = {  # how a name begins -> what stands there in the URL
    "mnist/": "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "multi30k/": "https://raw.githubusercontent.com/multi30k/dataset/master/data/task1/raw/",
    "tinyshakespeare.txt": (
        "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
    ),
}
# SHA-256, bytes, name. Those of MNIST are of the files as first published. Other compressions of the same
# images go round, which this refuses from the network and takes from $TINYGEN_DATA.
SUMS = """\
440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609 9912422 mnist/train-images-idx3-ubyte.gz
3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c   28881 mnist/train-labels-idx1-ubyte.gz
8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6 1648877 mnist/t10k-images-idx3-ubyte.gz
f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6    4542 mnist/t10k-labels-idx1-ubyte.gz
86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed 1115394 tinyshakespeare.txt
726e39b2fa9eb9ffb6dc763fb35a179f80fae06ffc5d28b6ace5faa883de28a6  637044 multi30k/train.de.gz
d79cfa999dd4c51d2cb42499b6796d5a882c3a8a961923c25a898c90f8bbd56f  568929 multi30k/train.en.gz
622e75069e9f4c577425c4f277116ce66e63a2401c0a2312d90073cb12379a3c  604242 multi30k/train.fr.gz
f0cba2f995189cf5770f29a8a9a537a3ad3f51657ad873405082ff6863a5e75a   24681 multi30k/val.de.gz
14f7d25ddd868909a9213e361768460edcacdd6ab9d1e77b92560dc10c10dc28   21650 multi30k/val.en.gz
ca3106f1a72390591d25f6c45cb4cd39dec4cd3f123e099748a3ce5256c160e9   23001 multi30k/val.fr.gz
9204244e408ccb38d2a55cfcd344df15005fc42a07a6e55ca6c52b6ababb8cc8   22890 multi30k/test_2016_flickr.de.gz
611d361c6334bc7246101d48097c13cf5c4413c5befc793cc629934359d532d9   21077 multi30k/test_2016_flickr.en.gz
6d326e188d259fb1d04ac19eae3af956559b3a0b93d7635e56c90987c40c8b90   22310 multi30k/test_2016_flickr.fr.gz
"""
TIMEOUT = 30.0  # seconds without a byte, after which a host is given up
DAY = 86_400.0  # seconds without a byte, after which whoever wrote an unfinished file is dead


class Remote(NamedTuple):
    """A file on the network: where, and how it is known to be the right one."""

    url: str
    sha256: str
    bytes: int


def _remotes():
    for sha256, size, name in map(str.split, SUMS.splitlines()):
        start, url = next((start, url) for start, url in HOSTS.items() if name.startswith(start))
        yield name, Remote(url + name.removeprefix(start), sha256, int(size))


REMOTE = dict(_remotes())


def find(name):
    """The path of a known file, downloaded if it is not here yet.

    A download is announced on stderr. Only a whole file with the right checksum gets its name in the cache:
    an interrupted call leaves nothing that a later one would take for the file, and two at once do no harm.

    Args:
        name: one of REMOTE, such as "mnist/train-images-idx3-ubyte.gz" or "tinyshakespeare.txt".

    Raises:
        ValueError: an unknown name.
        FileNotFoundError: TINYGEN_DATA is set, but there is no such folder.
        MissingLibrary: the file has to be downloaded, and pooch is not installed.
        ConnectionError: the file cannot be downloaded, or another one came in its place.
        OSError: the cache cannot be read or written.
    """
    if name not in REMOTE:
        near = nearest(str(name), REMOTE)
        hint = f"did you mean {near!r}?" if near else f"there is: {', '.join(REMOTE)}"
        raise ValueError(f"find: expected the name of a known file, got {name!r}; {hint}")
    folder = _folder("TINYGEN_DATA")
    if folder and not folder.is_dir():
        raise FileNotFoundError(f"TINYGEN_DATA: expected a folder, got {folder}; correct or unset it")
    for candidate in (name, name.removesuffix(".gz")) if folder else ():
        if (folder / candidate).is_file():
            return folder / candidate
    path = cache_folder() / name
    try:
        if not path.exists():
            _download(name, path)
        elif _sha256(path) != REMOTE[name].sha256:
            print(f"tinygen: {path} is damaged", file=sys.stderr)
            _download(name, path)
    except OSError as error:
        if error.errno is None:
            raise  # of the network, and told by _download
        raise OSError(
            f"{path}: expected to read or write it in the cache, got {error.strerror}; "
            "make room or give permission there, or set TINYGEN_CACHE to another folder"
        ) from error
    return path


def cache_folder():
    """Where is kept what can be had again: $TINYGEN_CACHE, or tinygen's folder among the system's caches."""
    return _folder("TINYGEN_CACHE") or _system_cache()


def _folder(variable):
    """The folder that an environment variable names, "~" and "~user" expanded; None where it is not set."""
    folder = os.environ.get(variable)
    return Path(os.path.expanduser(folder)) if folder else None


def _system_cache():
    """Where the system keeps what programs can do without: tinygen's folder there."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.path.expanduser(base), "tinygen")


def _download(name, path):
    """Bring the file `name` to `path`, whole or not at all."""
    optional("pooch")  # asked for before anything is announced or made
    remote, mirror = REMOTE[name], os.environ.get("TINYGEN_MIRROR")
    url = f"{mirror.rstrip('/')}/{name}" if mirror else remote.url
    print(f"tinygen: downloading {url} ({remote.bytes:,} bytes) to {path}", file=sys.stderr, flush=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(OSError):  # what another user left is no reason to fail
        sweep(path.parent, age=DAY)  # a living transfer writes every TIMEOUT seconds, or it is given up
    with replacing(path) as part:
        trouble = _transfer(url, part) or _difference(remote, part)
        if trouble:
            raise ConnectionError(
                f"{name}: expected it from {url}, got {trouble}; try again, or set TINYGEN_DATA to a folder "
                f"that holds {name}, or TINYGEN_MIRROR to the URL of another host"
            )


def _transfer(url, part):
    """Write what `url` gives into the file `part`; what went wrong on the network, in a few words, or None.

    Raises:
        OSError: something on the disk went wrong.
    """
    handled = sys.exc_info()[1]  # what a caller is busy with is no cause of ours
    # Without the header some hosts send a .gz as a compressed transfer of its content, and it comes unpacked.
    transfer = optional("pooch").HTTPDownloader(timeout=TIMEOUT, headers={"Accept-Encoding": "identity"})
    try:
        transfer(url, str(part), None)
    except OSError as error:
        if error.errno is not None:
            raise  # requests, which does the transfer, numbers none of its errors: this one is of the disk
        response = getattr(error, "response", None)
        if response is not None:
            return f"the answer {response.status_code} {response.reason}"
        cause = error  # each layer wraps the one below; the innermost says what happened, and says it shortly
        while (deeper := cause.__cause__ or cause.__context__) not in (None, handled):
            cause = deeper
        return getattr(cause, "strerror", None) or str(cause)
    return None


def _difference(remote, part):
    """How the file `part` differs from what it should be, in a few words, or None."""
    sha256 = _sha256(part)
    if sha256 == remote.sha256:
        return None
    return (
        f"another file: {part.stat().st_size:,} bytes with SHA-256 {sha256} "
        f"instead of {remote.bytes:,} bytes with SHA-256 {remote.sha256}"
    )


def _sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()
