"""How a classifier is trained: on images of which something is known, to guess it. See task.py.

It makes nothing, so it has no samples. Its pictures show what it takes for what.
"""

from typing import ClassVar

import numpy as np

from .. import data
from ..metrics.features import seen
from ..models import Classifier, ClassifierConfig
from . import plots
from .image_task import ImageTask, described
from .streams import stream
from .task import Player, means

SHOWN = 10  # classes of a picture
MNIST = {"epochs": 5, "batch": 64, "lr": 3e-3, "schedule": "cosine", "warmup": 100}


class ClassifierTask(ImageTask):
    """A classifier of images, any of data.IMAGES or a file or folder of images with labels."""

    model_config, derived = ClassifierConfig, ("height", "width", "classes")
    data_config, sampling = None, None
    settings: ClassVar = {
        "digits": {**MNIST, "hidden": 64, "epochs": 60, "batch": 50},
        "mnist": MNIST,
        "sprites": {**MNIST, "dropout": 0.1, "epochs": 15},
    }
    by_path: ClassVar = MNIST
    monitor, unit = "loss", "nats an image"
    units: ClassVar = {"accuracy": "share"}

    def __init__(self, model, names):
        """`names`: of the factors that it guesses, such as ["label"]."""
        self.model, self.names = model, names
        self.players = (Player("model", model, self.loss),)
        self.remarks = ()

    @staticmethod
    def load(source, settings, files=None):
        (train, train_known), (test, test_known) = data.load_images(source)
        if train_known is None:
            raise ValueError(
                f"{source}: expected images with labels to learn, got none; give a folder with a subfolder "
                "for each class, or an .npz with labels"
            )
        both = np.concatenate([train_known, test_known])  # a class may be in the test images alone
        if both.min() < 0:
            raise ValueError(f"{source}: expected labels from 0 on, got {both.min()}; number them from 0")
        arrays = {
            "train": train,
            "train_known": train_known.reshape(len(train), -1),
            "test": test,
            "test_known": test_known.reshape(len(test), -1),
        }
        return arrays, {**described(train, test), "known": data.known(both)}, {}

    @classmethod
    def config_for(cls, settings, data_info):
        return super().config_for({**settings, "classes": tuple(data_info["known"].values())}, data_info)

    @classmethod
    def make(cls, config, data_info, files, *, rng):
        return cls(Classifier(config, rng=rng), list(data_info["known"]))

    def check(self, data_info, other):
        ours, theirs = data_info["known"], other["known"]
        if data_info["shape"] != other["shape"]:
            raise ValueError(f"expected images of shape {data_info['shape']}, got {other['shape']}")
        if list(ours) != list(theirs) or any(theirs[name] > size for name, size in ours.items()):
            raise ValueError(f"expected images of which at most is known: {ours}, got {theirs}")

    def set_data(self, arrays, config):
        self.test, self.test_known = arrays["test"], arrays["test_known"]
        self.minibatches = data.Minibatches(
            arrays["train"],
            arrays["train_known"],
            size=config.batch,
            rng=lambda epoch: stream(config.seed, "order", epoch),
        )
        self.steps_per_epoch = len(self.minibatches)
        self.batch = self.minibatches.at

    def loss(self, batch, rng):
        """-log p in nats an image, and the share of guesses that are right, over all factors."""
        images, known = batch
        loss, logits = self.model.loss(images, known)
        right = [guesses.numpy().argmax(axis=1) == known[:, f] for f, guesses in enumerate(logits)]
        return loss, {"accuracy": np.mean(right)}

    def evaluate(self, rng):
        return means(self.players[0], data.in_order(self.test, self.test_known, size=500), rng)

    def measure(self, rng):
        self.remarks = tuple(
            _mistakes(name, self.test_known[:, f], guesses.argmax(axis=1))
            for f, (name, guesses) in enumerate(zip(self.names, seen(self.model, self.test)[1]))
        )
        return self.evaluate(rng)

    def samples(self, path, rng):
        """Draws what it takes for what, by its first factor: a row for a class, a column for a guess."""
        guesses = seen(self.model, self.test)[1][0]
        images = confusions(self.test, self.test_known[:, 0], guesses[:, :SHOWN])
        words = f"the test image of each {self.names[0]}, by rows, that is most taken for each, by columns"
        plots.save_panels([("What it takes for what", words, images)], path.with_name(f"{path.name}.png"))

    def final_samples(self, run, rng):
        self.samples(run.path("samples"), rng)
        return run.path("samples.png")


def confusions(images, known, guesses):
    """The image of each class of which a classifier is most sure that it is of each class.

    Args:
        images: (N, H, W).
        known: integers (N,), their classes; images of class K and above are left out.
        guesses: (N, K), probabilities.

    Returns:
        (K, K, H, W): row i, column j has the image of class i that is most taken for j. It is blank where no
        image of class i is taken for j.
    """
    count, taken = guesses.shape[1], guesses.argmax(axis=1)
    found = np.zeros((count, count, *images.shape[1:]), np.float32)
    for i, j in np.ndindex(count, count):
        (rows,) = np.nonzero((known == i) & (taken == j))
        if len(rows):
            found[i, j] = images[rows[guesses[rows, j].argmax()]]
    return found


def _mistakes(name, known, taken):
    """How many guesses of a factor are wrong, and the most frequent mistakes, in words."""
    wrong = known != taken
    pairs, counts = np.unique(np.stack([known, taken])[:, wrong], axis=1, return_counts=True)
    often = np.argsort(-counts, kind="stable")[:3]
    told = ", ".join(f"{pairs[0, i]} taken for {pairs[1, i]} ({counts[i]})" for i in often)
    return f"{name}: {wrong.sum():,} of {len(known):,} wrong" + (f"; most often {told}" if told else "")
