"""How a VAE is trained: on images, to a bound on their likelihood. See task.py."""

import warnings
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .. import data
from ..configuration import option
from ..metrics import active_units
from ..models import VAE, VAEConfig
from . import conditions, plots, vae_pictures
from .image_task import ImageTask, described
from .profile import lap
from .streams import stream
from .task import Player, means
from .vae_measures import VAEMeasuring, measured


@dataclass(frozen=True, kw_only=True)
class VAESampling(conditions.Asking):
    """What is drawn."""

    count: int = option(64, "how many images", at_least=1)


class VAETask(ImageTask):
    """A VAE on images, any of data.IMAGES or a file or folder of images."""

    model_config, derived = VAEConfig, ("height", "width", "levels", "conditions")
    data_config, sampling, measuring = conditions.ConditionConfig, VAESampling, VAEMeasuring
    settings: ClassVar = {
        "digits": {"hidden": 128, "latent": 8, "epochs": 400, "batch": 100, "lr": 3e-3},
        "mnist": {"hidden": 400, "latent": 20, "epochs": 10, "batch": 128, "lr": 1e-3},  # PyTorch's example
        "sprites": {"hidden": 512, "latent": 10, "epochs": 40, "batch": 64, "lr": 2e-3, "schedule": "cosine"},
    }
    by_path: ClassVar = {"hidden": 400, "latent": 20, "epochs": 20, "batch": 128, "lr": 1e-3}
    monitor = "loss"
    units: ClassVar = {"active_units": "dimensions of the code"}
    at_once, codes_at_once = 500, 2500  # of an evaluation; which noise an image gets depends on them

    def __init__(self, model, given):
        """`given`: the names of what the model is told of an image, and how many values each has."""
        self.model, self.given = model, given
        self.players = (Player("model", model, self.loss),)
        self.unit = f"nats an image, {model.likelihood.words}"
        self.remarks, self.steps, self.collapsed = (), 0, 0  # steps, and how often

    @staticmethod
    def load(source, settings, files=None):
        (train, train_known), (test, test_known) = data.load_images(source)
        arrays, both = {"train": train, "test": test}, None
        if test_known is not None:
            arrays["test_known"] = test_known
            both = np.concatenate([train_known, test_known])  # a class may be in the test images alone
        condition = settings.get("condition")
        told = conditions.chosen(condition, both, source)
        if told:
            arrays["train_known"] = train_known
        return arrays, {**described(train, test), "condition": condition, "given": told}, {}

    @classmethod
    def config_for(cls, settings, data_info):
        told = {"conditions": sum(data_info["given"].values())}
        return super().config_for({**settings, **told}, data_info)

    @classmethod
    def make(cls, config, data_info, files, *, rng):
        return cls(VAE(config, rng=rng), data_info["given"])

    def check(self, data_info, other):
        super().check(data_info, other)
        for name, size in data_info["given"].items():
            if other["given"][name] > size:
                raise ValueError(
                    f"expected {name} from 0 to {size - 1}, got up to {other['given'][name] - 1}"
                )

    def set_data(self, arrays, config):
        self.train, self.test, self.known = arrays["train"], arrays["test"], arrays.get("test_known")
        self.test_given = conditions.rows(self.known, self.given, len(self.test))
        self.minibatches = data.Minibatches(
            self.train,
            conditions.rows(arrays.get("train_known"), self.given, len(self.train)),
            size=config.batch,
            rng=lambda epoch: stream(config.seed, "order", epoch),
        )
        self.steps_per_epoch = len(self.minibatches)

    def batch(self, step):
        """Images, what is given of them, and the weight of the KL term at this step, for each of them."""
        self.steps = step + 1
        x, c = self.minibatches.at(step)
        rising = min(1.0, (step + 1) / max(1, self.model.config.kl_warmup))
        return x, c, np.full(len(x), rising, np.float32)

    def loss(self, batch, rng):
        x, c, weight = batch
        x = self.model.observe(x, rng=rng)
        eps = self.model.noise(self.model.config.samples, len(x), rng=rng)
        lap("(noise)")
        loss, reconstruction, kl = self.model.loss(x, eps, c, weight=float(weight[0]))
        return loss, {"reconstruction": reconstruction, "kl": kl}

    def evaluate(self, rng):
        size = min(self.at_once, max(1, self.codes_at_once // self.model.config.samples))
        whole = np.ones(len(self.test), np.float32)
        batches = data.in_order(self.test, self.test_given, whole, size=size)
        found = means(self.players[0], batches, rng)
        active = self.active_units(rng)
        if self.steps >= self.steps_per_epoch:
            self._warn_of_collapse(active)
        return found | {"active_units": active}

    def _warn_of_collapse(self, active):
        """Warn at the second evaluation, none of the first epoch, that finds hardly a dimension in use."""
        config = self.model.config
        if active > config.latent // 10:
            return
        self.collapsed += 1
        if self.collapsed == 2:
            one = "" if config.samples == 1 else "samples 1 with "
            warnings.warn(
                f"the posterior has collapsed: {active} of {config.latent} dimensions of the code are in "
                "use, and the decoder learns one picture for all; try "
                f"{one}kl_warmup, free_bits or a smaller beta",
                stacklevel=3,
            )

    def active_units(self, rng):
        """How many dimensions of the code are in use: their posterior mean varies with the image."""
        return int(active_units(self.codes(rng)[0]).sum())

    def codes(self, rng):
        """mu and log_var (N, J), arrays, of all test images."""
        batches = data.in_order(self.test, self.test_given, size=self.at_once)
        parts = [self.encoded(x, c, rng) for x, c in batches]
        return [np.concatenate(part) for part in zip(*parts)]

    def encoded(self, x, c, rng):
        """mu and log_var (B, J), arrays, of images."""
        return [t.numpy() for t in self.model.encode(self.model.observe(x, rng=rng), c)]

    def measure(self, rng, options=None):
        found, self.remarks = measured(self, options or VAEMeasuring(), rng=rng)
        return found

    def made(self, count, rng):
        """So many images (N, H, W), an array: of random codes, given what is known of the test images."""
        c = np.resize(self.test_given, (count, self.test_given.shape[1]))
        parts = data.in_order(self.model.noise(count, rng=rng), c, size=self.at_once)
        return np.concatenate([self.model.generate(*part).numpy() for part in parts])

    def samples(self, path, rng):
        self.sample(path, VAESampling(), rng=rng)

    def sample(self, path, options, *, rng):
        path = path.with_name(f"{path.name}.png")
        values = conditions.asked(options.given, self.given)
        panel = vae_pictures.sample_panel(self.model, self.given, values, count=options.count, rng=rng)
        plots.save_panels([panel], path)
        return path

    def final_samples(self, run, rng):
        panels = vae_pictures.panels(self, rng=rng)
        plots.save_panels(panels, run.path("samples.png"))
        return run.path("samples.png")
