"""What can be trained, on what, and with which settings unless told otherwise: a task for each family.

A recipe is a class of tasks (task.py) that also knows how to begin: the dataclass of its model's sizes, the
settings that are good for each data set, and how data become a model and a task.
"""

import hashlib
import math
from typing import ClassVar

import numpy as np

from .. import data
from ..models import VAE, VAEConfig
from . import gallery, plots
from .options import take
from .streams import stream
from .task import Player, means


class VAETask:
    """A VAE on images, any of data.IMAGES or a file or folder of images."""

    sizes, derived = VAEConfig, {"inputs"}  # the model's configuration, and what of it the data decide
    sources = data.IMAGES
    settings: ClassVar = {
        "digits": {"hidden": 128, "latent": 8, "epochs": 400, "batch": 100, "lr": 3e-3},
        "mnist": {"hidden": 400, "latent": 20, "epochs": 10, "batch": 128, "lr": 1e-3},  # PyTorch's example
        "sprites": {"hidden": 512, "latent": 10, "epochs": 40, "batch": 64, "lr": 2e-3, "schedule": "cosine"},
    }
    otherwise: ClassVar = {"hidden": 400, "latent": 20, "epochs": 20, "batch": 128, "lr": 1e-3}
    judge, unit = "loss", "nats an image"

    def __init__(self, model, shape):
        self.model, self.shape = model, shape
        self.players = (Player("model", model, self.loss),)

    @staticmethod
    def load(source):
        """The data: a dict of arrays, and what config.json says of them."""
        (train, _), (test, labels) = data.load_images(source)
        arrays = {"train": train, "test": test} | ({} if labels is None else {"labels": labels})
        return arrays, {"shape": list(train.shape[1:]), "train": len(train), "test": len(test)}

    @classmethod
    def fitted(cls, settings, about):
        """The sizes of a model for such data."""
        return take(cls.sizes, {**settings, "inputs": math.prod(about["shape"])})

    @classmethod
    def make(cls, sizes, about, *, rng):
        """A task with a new model, as yet without data: enough to draw samples."""
        return cls(VAE(sizes, rng=rng), tuple(about["shape"]))

    def give(self, arrays, config):
        """Add the data."""
        self.train, self.test = (arrays[name].reshape(len(arrays[name]), -1) for name in ("train", "test"))
        labels = arrays.get("labels")
        self.labels = (
            labels if labels is not None and labels.ndim == 1 else None
        )  # several factors are no class
        self.minibatches = data.Minibatches(
            self.train, size=config.batch, rng=lambda epoch: stream(config.seed, "order", epoch)
        )
        self.steps_per_epoch = len(self.minibatches)
        self.batch = self.minibatches.at

    def loss(self, batch, rng):
        (x,) = batch
        loss, reconstruction, kl = self.model.loss(x, self.model.noise(len(x), rng=rng))
        return loss, {"reconstruction": reconstruction, "kl": kl}

    def evaluate(self, rng):
        return means(self.loss, data.in_order(self.test, size=500), rng)

    def snapshot(self, path, rng):
        self.sample(path.with_suffix(".png"), count=gallery.SIDE**2, rng=rng)

    def sample(self, path, *, count, rng):
        """Draw `count` images into one picture."""
        plots.save_panels([gallery.sample_panel(self.model, self.shape, count=count, rng=rng)], path)

    def portrait(self, run, rng):
        images = self.test.reshape(-1, *self.shape)
        plots.save_panels(gallery.panels(self.model, images, self.labels, rng=rng), run.path("samples.png"))
        return run.path("samples.png")


MODELS = {"vae": VAETask}


def fingerprint(arrays):
    """The SHA-256 of a dict of arrays: whether data are still what a run began with."""
    sha = hashlib.sha256()
    for name in sorted(arrays):
        sha.update(f"{name} {arrays[name].dtype.str} {arrays[name].shape}".encode())
        sha.update(np.ascontiguousarray(arrays[name]).reshape(-1).view(np.uint8).data)
    return sha.hexdigest()
