"""The classifiers that judge what others make: each trained once, on first use, and kept in the cache.

Figures such as FID can be compared only where the very same network has seen both. So there is one for each
data set, what `tinygen train classifier --data NAME` makes, and its name is part of every figure:

    mnist v1 3f2a91c0    the data set, the version of the recipe, and how the SHA-256 of the weights begins

The version is that of the settings in classifier_task.py; whoever changes them there raises it here. Training
is the same to the bit for any number of threads, with one version of NumPy and Numba on one kind of CPU. On
another kind, where the registers are wider or narrower, sums are added up in another order, and the weights
differ in their last digits, so the checksum differs too. Such figures are alike, and not the same:
compare within one machine, or copy the folder in the cache.

A judge is an ordinary run, in $TINYGEN_CACHE/classifiers/mnist-v1: `tinygen evaluate` measures it. One that
was interrupted goes on next time. With NAME-unfinished renamed to NAME only at the end, what has that name is
trained to the end; that it is whole, its checksum says.
"""

import contextlib
import errno
import os
import shutil
import signal
from dataclasses import dataclass

from ..autograd import enable_grad
from ..data.downloads import cache_folder
from ..models import Classifier
from .checkpoint import digest
from .classifier_task import ClassifierTask
from .progress import progress

VERSION = 1


@dataclass(frozen=True)
class Judge:
    """A trained classifier.

    model    in evaluation
    name     such as "mnist v1 3f2a91c0"; figures by judges of different names are not comparable
    factors  the names of what it guesses, such as ["label"]
    """

    model: Classifier
    name: str
    factors: list


def judge(source, *, quiet=False):
    """The Judge of images like those of a data set. The first time it is trained.

    On two cores that takes 32 s for mnist (99.1 % of the test images are recognised), 3 s for digits (98.0 %)
    and 20 s for sprites (96.9 % of the values of factors).

    Args:
        source: "digits", "mnist" or "sprites".
        quiet: show no progress on stderr.

    Raises:
        ValueError: another source; or what is in the cache is damaged.
        KeyboardInterrupt: its training was interrupted. It will go on next time.
        OSError: the data cannot be found, the cache not be written, or another process trains it just now.
        MissingLibrary: one that a training needs is not installed.
    """
    if source not in ClassifierTask.settings:
        raise ValueError(
            f"judge: expected images of {', '.join(ClassifierTask.settings)}, got {source}, which no "
            "classifier here is trained on; train on one of those"
        )
    from . import session  # it knows every task, and a task may ask for a judge

    place, name = cache_folder() / "classifiers", f"{source}-v{VERSION}"
    if not (place / name).is_dir():
        _make_writable(place)
        _train(source, place, name, quiet)
    with _replaceable(place / name):
        _, task, _ = session.trained(place / name)
    checksum = digest(task.model.state_dict())[:8]
    return Judge(task.model, f"{source} v{VERSION} {checksum}", task.names)


def _make_writable(place):
    """Make a folder of the cache, if need be.

    Raises:
        OSError: nothing can be written there.
    """
    try:
        place.mkdir(parents=True, exist_ok=True)
        if not os.access(place, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise OSError(
            f"{place}: expected to write a classifier into the cache, got {error.strerror}; give permission "
            "there, or set TINYGEN_CACHE to another folder"
        ) from error


@contextlib.contextmanager
def _replaceable(folder):
    """In the block, whatever is wrong with a run in the cache is told with a way out.

    Raises:
        ValueError: something is wrong with it.
    """
    try:
        yield
    except (ValueError, FileNotFoundError) as error:
        raise ValueError(f"{error}; remove {folder}, and it is trained again") from error


@enable_grad()
def _train(source, place, name, quiet):
    """Train it in a folder of another name, or go on there, and rename that."""
    from .session import Session

    unfinished = place / f"{name}-unfinished"
    if (unfinished / "config.json").is_file():
        with _replaceable(unfinished):
            begun = Session.resume(unfinished)
    else:
        shutil.rmtree(unfinished, ignore_errors=True)  # killed before it was a run
        begun = Session.begin("classifier", {"data": source}, out=place, name=unfinished.name)
    title = f"{place / name}: the classifier that judges {source}, trained once; Ctrl-C stops and saves"
    with progress(title, quiet=quiet) as shown:
        ending, _ = begun.train(shown)
    if isinstance(ending, signal.Signals):
        raise KeyboardInterrupt
    begun.run.folder.rename(place / name)
