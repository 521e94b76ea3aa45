"""How a VQ-VAE is trained: on images, to draw them again from grids of codes. See task.py.

What an evaluation tells, over all test images:

    reconstruction  -log p(x|codes), nats an image: the distortion
    commitment      |z_e(x) - e|^2, summed over the places of an image; the loss has beta of it
    bound           reconstruction, and -log p(codes) by the prior that samples are drawn from; nats an image
    rate            bits an image: the entropy of how often codes occur, times the places; at most log2 K each
    usage           part of the codes that occur at all
    perplexity      exp of that entropy: as many codes, all alike, would tell as much

Usage and perplexity are told of the images to train on, too. Their codes are counted at every evaluation, for
the prior; without gradient or decoder that takes a few percent of an epoch.
"""

import math
import warnings
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .. import data
from ..autograd import no_grad
from ..configuration import check, option
from ..models import VQVAE, VQVAEConfig, perplexity
from . import plots, vqvae_pictures
from .image_task import ImageTask
from .streams import stream
from .task import Player, means


@dataclass(frozen=True, kw_only=True)
class VQVAESampling:
    """What is drawn."""

    count: int = option(64, "how many images", at_least=1)

    def __post_init__(self):
        check(self)


class VQVAETask(ImageTask):
    """A VQ-VAE on images, any of data.IMAGES or a file or folder of images."""

    model_config, derived = VQVAEConfig, ("height", "width", "levels")
    data_config, sampling = None, VQVAESampling
    settings: ClassVar = {
        "digits": {"channels": 32, "codes": 64, "decay": 0.95, "epochs": 60, "batch": 50, "lr": 2e-3},
        "mnist": {"channels": 32, "epochs": 5, "batch": 128, "lr": 1e-3},
        "sprites": {"channels": 32, "epochs": 10, "batch": 64, "lr": 1e-3},
    }
    by_path: ClassVar = {"epochs": 10, "batch": 64, "lr": 1e-3}
    monitor = "loss"
    units: ClassVar = {
        "commitment": "squared distance, an image",
        "rate": "bits an image",
        "usage": "part of the codes",
        "perplexity": "codes",
    }
    at_once = 500  # images of an evaluation; what is random in looking at them depends on it

    def __init__(self, model):
        self.model, self.seen = model, []
        self.players = (Player("model", model, self.loss, after=self.after),)
        self.unit = f"nats an image, {model.likelihood.words}"
        self.remarks, self.steps, self.warned = (), 0, False

    @classmethod
    def make(cls, config, data_info, files, *, rng):
        return cls(VQVAE(config, rng=rng))

    def set_data(self, arrays, config):
        self.train, self.test = arrays["train"], arrays["test"]
        self.minibatches = data.Minibatches(
            self.train, size=config.batch, rng=lambda epoch: stream(config.seed, "order", epoch)
        )
        self.steps_per_epoch = len(self.minibatches)

    def batch(self, step):
        self.steps = step + 1
        return self.minibatches.at(step)

    # a step

    def loss(self, batch, rng):
        found = self._losses(batch, rng)
        self.seen.append((found.z.numpy(), found.codes))  # of each piece of the minibatch
        return found.loss, {"reconstruction": found.reconstruction, "commitment": found.commitment}

    def _losses(self, batch, rng):
        return self.model.loss(self.model.observe(batch[0], rng=rng))

    def after(self, rng):
        """The codebook's move, once a step, by all that the encoder said in it."""
        z, codes = map(np.concatenate, zip(*self.seen))
        self.seen.clear()
        self.model.quantiser.update(z, codes, rng=rng)

    # what comes of it

    def evaluate(self, rng):
        """The figures of `measure`, and usage and perplexity of the training images, whose codes are counted.

        Warns, once and not before the first epoch is over, when less than 1/20 of the codes are in use there,
        or the perplexity is below 2. Then a place tells less than the answer to one question, and the
        decoder draws much the same picture for all; a code that nobody chooses never learns to be chosen.
        Fewer than 4 codes are not judged: with those it may be what was asked for.
        """
        self.model.count(self._codes(self.train, rng))
        used = self.model.occurrences.sum(axis=(0, 1))
        told = {"train_usage": _usage(used), "train_perplexity": perplexity(used)}
        if self.steps >= self.steps_per_epoch and not self.warned:
            self._warn_of_collapse(told["train_usage"], told["train_perplexity"])
        return self.measure(rng) | told

    def _warn_of_collapse(self, usage, spread):
        codes = self.model.config.codes
        if codes >= 4 and (usage < 1 / 20 or spread < 2):
            self.warned = True
            warnings.warn(
                f"the codebook has collapsed: {round(usage * codes)} of {codes} codes are in use, with a "
                f"perplexity of {spread:.3g}; try a smaller lr, or a larger restart than "
                f"{self.model.config.restart:g}",
                stacklevel=3,
            )

    @no_grad()
    def _codes(self, images, rng):
        """Yield the grids of codes (B, h, w) of images (N, H, W), some at a time."""
        for (x,) in data.in_order(images, size=self.at_once):
            yield self.model.codes(self.model.observe(x, rng=rng))

    def measure(self, rng):
        model, grids = self.model, []

        def judged(batch, rng):
            found = self._losses(batch, rng)
            grids.append(found.codes)
            bound = found.reconstruction + model.code_length(found.codes).mean()
            parts = {"reconstruction": found.reconstruction, "commitment": found.commitment}
            return found.loss, {**parts, "bound": bound}

        batches = data.in_order(self.test, size=self.at_once)
        told = means(Player("test", model, judged), batches, rng)
        used = np.bincount(np.concatenate(grids).reshape(-1), minlength=model.config.codes)
        places, per_place = math.prod(model.config.grid), math.log2(perplexity(used))
        prior = (told["bound"] - told["reconstruction"]) / math.log(2)
        self.remarks = (
            f"a grid of codes: {places} places, {places * math.log2(model.config.codes):.4g} bits if all "
            f"codes were alike, {places * per_place:.4g} by how often each occurs, {prior:.4g} by how often "
            "it occurs at each place in training",
        )
        rate = {"rate": places * per_place}
        return told | rate | {"usage": _usage(used), "perplexity": perplexity(used)}

    def made(self, count, rng):
        """So many images (N, H, W), an array, of codes drawn from the prior."""
        parts = data.in_order(self.model.draw(count, rng=rng), size=self.at_once)
        return np.concatenate([self.model.generate(codes).numpy() for (codes,) in parts])

    def samples(self, path, rng):
        self.sample(path, VQVAESampling(), rng=rng)

    def sample(self, path, options, *, rng):
        path = path.with_name(f"{path.name}.png")
        plots.save_panels([vqvae_pictures.sample_panel(self.model, count=options.count, rng=rng)], path)
        return path

    def final_samples(self, run, rng):
        plots.save_panels(vqvae_pictures.panels(self.model, self.test, rng=rng), run.path("samples.png"))
        return run.path("samples.png")


def _usage(counts):
    """The part of codes that occur, in [0, 1]."""
    return float((counts > 0).mean())
