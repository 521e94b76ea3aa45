"""How a VAE is trained: on images, to a bound on their likelihood. See task.py."""

import math
from dataclasses import dataclass
from typing import ClassVar

from .. import data
from ..configuration import check, option
from ..models import VAE, VAEConfig
from . import plots, vae_pictures
from .options import from_settings
from .profile import lap
from .streams import stream
from .task import Player, means


@dataclass(frozen=True, kw_only=True)
class VAESampling:
    """What is drawn."""

    count: int = option(64, "how many images", at_least=1)

    def __post_init__(self):
        check(self)


class VAETask:
    """A VAE on images, any of data.IMAGES or a file or folder of images."""

    model_config, derived = VAEConfig, ("inputs",)
    data_config, sampling, looking, files = None, VAESampling, None, ()
    sources = data.IMAGES
    settings: ClassVar = {
        "digits": {"hidden": 128, "latent": 8, "epochs": 400, "batch": 100, "lr": 3e-3},
        "mnist": {"hidden": 400, "latent": 20, "epochs": 10, "batch": 128, "lr": 1e-3},  # PyTorch's example
        "sprites": {"hidden": 512, "latent": 10, "epochs": 40, "batch": 64, "lr": 2e-3, "schedule": "cosine"},
    }
    by_path: ClassVar = {"hidden": 400, "latent": 20, "epochs": 20, "batch": 128, "lr": 1e-3}
    monitor, unit = "loss", "nats an image"
    remarks = ()
    units: ClassVar = {}
    at_once = 500  # images of an evaluation that are computed together; which noise they get depends on it

    def __init__(self, model, shape):
        self.model, self.shape = model, shape
        self.players = (Player("model", model, self.loss),)

    @staticmethod
    def load(source, settings, files=None):
        (train, _), (test, labels) = data.load_images(source)
        arrays = {"train": train, "test": test} | ({} if labels is None else {"labels": labels})
        return arrays, {"shape": list(train.shape[1:]), "train": len(train), "test": len(test)}, {}

    @classmethod
    def config_for(cls, settings, data_info):
        return from_settings(cls.model_config, {**settings, "inputs": math.prod(data_info["shape"])})

    @classmethod
    def make(cls, config, data_info, files, *, rng):
        return cls(VAE(config, rng=rng), tuple(data_info["shape"]))

    @staticmethod
    def check(data_info, other):
        if data_info["shape"] != other["shape"]:
            raise ValueError(f"expected images of shape {data_info['shape']}, got {other['shape']}")

    def set_data(self, arrays, config):
        self.train, self.test = (arrays[name].reshape(len(arrays[name]), -1) for name in ("train", "test"))
        labels = arrays.get("labels")
        self.labels = labels if labels is not None and labels.ndim == 1 else None  # factors are no classes
        self.minibatches = data.Minibatches(
            self.train, size=config.batch, rng=lambda epoch: stream(config.seed, "order", epoch)
        )
        self.steps_per_epoch = len(self.minibatches)
        self.batch = self.minibatches.at

    def loss(self, batch, rng):
        (x,) = batch
        eps = self.model.noise(len(x), rng=rng)
        lap("(noise)")
        loss, reconstruction, kl = self.model.loss(x, eps)
        return loss, {"reconstruction": reconstruction, "kl": kl}

    def evaluate(self, rng):
        return means(self.players[0], data.in_order(self.test, size=self.at_once), rng)

    def measure(self, rng):
        return self.evaluate(rng)

    def samples(self, path, rng):
        self.sample(path, VAESampling(), rng=rng)

    def sample(self, path, options, *, rng):
        path = path.with_name(f"{path.name}.png")
        panel = vae_pictures.sample_panel(self.model, self.shape, count=options.count, rng=rng)
        plots.save_panels([panel], path)
        return path

    def final_samples(self, run, rng):
        images = self.test.reshape(-1, *self.shape)
        panels = vae_pictures.panels(self.model, images, self.labels, rng=rng)
        plots.save_panels(panels, run.path("samples.png"))
        return run.path("samples.png")
