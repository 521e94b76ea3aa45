"""How a GAN is trained: on images, or on points of the plane whose modes can be counted. See task.py.

The discriminator moves first, then the generator. `batch` counts what the discriminator judges: with packing
these are packs. No loss says how good a generator is. Points are judged by where they are (metrics/modes.py);
images take a classifier to be judged (`tinygen evaluate RUN --quality`), which no training waits for: of them
the last weights count as the best.

Averages, where a run keeps any, are those of the generator alone. The running statistics of its batch norm
stay those of its last weights, which are near enough. Evaluations are of the averaged generator: their losses
tell what the discriminator says of a generator that it has never met.
"""

import warnings
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .. import data
from ..autograd import no_grad
from ..configuration import option
from ..metrics.modes import mode_coverage
from ..metrics.neighbours import spacing
from ..models import GAN, GANConfig
from ..models.gan_losses import OF_PROBABILITIES
from . import conditions, gan_pictures, plots, vae_pictures
from .options import from_settings
from .profile import lap
from .streams import stream
from .task import Player, finite

JUDGED, IMAGES_JUDGED = 2500, 500  # examples of an evaluation: of points PacGAN's number
PATIENCE = 5  # evaluations in a row that have to look bad before it is said
PACGAN = {  # its experiments on points
    "network": "mlp",
    "latent": 2,
    "batch": 100,
    "steps": 400_000,
    "evaluate_every": 1000,
    "lr": 1e-4,
    "beta1": 0.8,
}
DCGAN = {"lr": 2e-4, "beta1": 0.5, "ema": 0.999}
HELD = {**DCGAN, "batch": 128, "r1": 1.0}  # by a penalty in place of a norm: slower, and keeps its balance


@dataclass(frozen=True, kw_only=True)
class GANSampling(conditions.Asking):
    """What is made."""

    count: int | None = option(None, "how many images (64), or points (2500)", at_least=1)


class GANTask:
    """A GAN on images, any of data.IMAGES or a file or folder of images, or on points, any of data.POINTS."""

    model_config, derived = GANConfig, ("height", "width", "conditions")
    data_config, sampling, looking, files = conditions.ConditionConfig, GANSampling, None, ()
    sources: ClassVar = {**data.IMAGES, **data.POINTS}
    settings: ClassVar = {
        "digits": {**HELD, "latent": 32, "channels": 64, "epochs": 200, "batch": 100},
        "mnist": {
            **DCGAN,
            "latent": 100,
            "channels": 32,
            "critic_norm": "batch",
            "epochs": 10,
            "batch": 64,
            "evaluate_every": 200,
        },
        "sprites": {**HELD, "channels": 32, "epochs": 40},
        "grid": PACGAN,
        "ring": PACGAN,
    }
    by_path: ClassVar = {**HELD, "channels": 32, "epochs": 20}

    def __init__(self, model, given, mixture):
        """A task that has no data as yet.

        Args:
            model: a GAN.
            given: the names of what it is told of an example, and how many values each has.
            mixture: the name of the one in data.MIXTURES that points are from; None for images.
        """
        self.model, self.given, self.averaged = model, given, model.generator
        self.means, self.std = data.MIXTURES[mixture] if mixture else (None, None)
        config = model.config
        critic = {} if config.critic_lr is None else {"lr": config.critic_lr}
        self.players = (
            Player(
                *("discriminator", model.discriminator, self.criticise),
                updates=config.critic_updates,
                settings=critic,
            ),
            Player("generator", model.generator, self.deceive),
        )
        self.of_points = config.height is None
        self.monitor = "distance" if self.of_points else None
        said = "probability" if config.loss in OF_PROBABILITIES else "logit"
        self.unit = "nats" if config.loss in OF_PROBABILITIES else "units of the logit"
        self.units = {
            **dict.fromkeys(("discriminator_real", "discriminator_fake"), f"{said}, mean"),
            **dict.fromkeys(("discriminator_accuracy", "high_quality"), "share"),
            "discriminator_penalty": "squared slope",
            "discriminator_r1": "squared slope",
            "modes": "found",
            "distance": "total variation",
            "kl": "nats",
            "spread": "that of the data is 1",
            "diversity": "distance of two alike, that of the data is 1",
        }
        self.remarks, self.bad, self.warned = (), {}, set()
        self.right = []  # the discriminator's accuracy, in each update since the last evaluation
        if config.loss == "wasserstein" and not (
            config.gradient_penalty or config.spectral_norm or config.r1
        ):
            warnings.warn(
                "loss wasserstein: nothing bounds the critic's slope, so that its loss may fall without end; "
                "add gradient_penalty 10, or spectral_norm",
                stacklevel=2,
            )

    @staticmethod
    def load(source, settings, files=None):
        (train, train_known), (test, test_known) = (
            data.load_points(source) if source in data.POINTS else data.load_images(source)
        )
        both = None if train_known is None else np.concatenate([train_known, test_known])
        given = conditions.chosen(settings.get("condition"), both, source)
        arrays = {"train": train, "test": test}
        if given:
            arrays |= {"train_known": train_known, "test_known": test_known}
        data_info = {
            "shape": list(train.shape[1:]),
            "train": len(train),
            "test": len(test),
            "mixture": source if source in data.MIXTURES else None,
            "condition": settings.get("condition"),
            "given": given,
        }
        return arrays, data_info, {}

    @classmethod
    def config_for(cls, settings, data_info):
        *height, width = data_info["shape"]
        derived = {"height": height[0] if height else None, "width": width}
        derived["conditions"] = sum(data_info["given"].values())
        return from_settings(cls.model_config, {**settings, **derived})

    @classmethod
    def make(cls, config, data_info, files, *, rng):
        return cls(GAN(config, rng=rng), data_info["given"], data_info["mixture"])

    @staticmethod
    def check(data_info, other):
        for name, what in (("shape", "of shape"), ("mixture", "from"), ("given", "of which is known:")):
            if data_info[name] != other[name]:
                raise ValueError(f"expected examples {what} {data_info[name]}, got {other[name]}")

    def set_data(self, arrays, config):
        """Takes the data.

        Raises:
            ValueError: fewer examples than a step or an evaluation needs, or a minibatch that cannot be cut
                into equal pieces.
        """
        own = self.model.config
        if config.batch % config.accumulate:
            raise ValueError(
                f"accumulate: expected a divisor of the batch, {config.batch}, so that no pack is cut, got "
                f"{config.accumulate}; change one of them"
            )
        # One row has no statistics, but each pixel of an image counts. The discriminator comes second: where
        # both have batch norm, its rows, which are packs, are fewer.
        packs = config.batch // config.accumulate
        normed = {own.generator_norm: packs * own.packing, own.critic_norm: packs}
        if own.network == "mlp" and normed.get("batch", 2) < 2:
            raise ValueError(
                f"batch: expected at least 2 in each of {config.accumulate} pieces, as batch norm needs, got "
                f"{config.batch}; choose a larger batch, or a smaller accumulate"
            )
        rows = config.batch * own.packing * own.critic_updates
        if rows > len(arrays["train"]):
            raise ValueError(
                f"batch: expected at most {len(arrays['train']) // (own.packing * own.critic_updates)}, as a "
                f"step needs batch x packing x critic_updates of {len(arrays['train']):,} examples, got "
                f"{config.batch}; choose a smaller one, or give more data"
            )
        if len(arrays["test"]) < 2:
            raise ValueError(
                f"data: expected at least 2 test examples, whose distance tells how much they vary, got "
                f"{len(arrays['test'])}; give more data"
            )
        self.train, self.test = arrays["train"], arrays["test"]
        self.test_given = conditions.rows(arrays.get("test_known"), self.given, len(self.test))
        self.minibatches = data.Minibatches(
            self.train,
            conditions.rows(arrays.get("train_known"), self.given, len(self.train)),
            size=rows,
            rng=lambda epoch: stream(config.seed, "order", epoch),
            equal=True,
        )
        self.steps_per_epoch = len(self.minibatches)
        self.batch = self.minibatches.at

    # the two players

    def criticise(self, batch, rng):
        """What the discriminator lowers."""
        (x, c), model = batch, self.model
        z, draws = model.noise(len(x), rng=rng), model.draws(len(x) // model.config.packing, rng=rng)
        lap("(noise)")
        loss, figures = model.discriminator_loss(x, z, c, **draws)
        self.right.append(figures.get("accuracy", 0.0))
        return loss, figures

    def deceive(self, batch, rng):
        """What the generator lowers. Of the batch it uses what is given of the examples, and their number."""
        x, c = batch
        z = self.model.noise(len(x), rng=rng)
        lap("(noise)")
        return self.model.generator_loss(z, c), {}

    # how it is judged

    def evaluate(self, rng):
        """Both losses on test data, and what is known of the samples."""
        packing = self.model.config.packing
        count = min(JUDGED if self.of_points else IMAGES_JUDGED, len(self.test)) // packing * packing
        found, judge = {}, self.model.discriminator
        right, self.right = self.right, []
        # Its batch norm judges by batches of one kind, as it learns: the running statistics are of both.
        mode = judge.training
        with judge.held():
            judge.train()
            for player in self.players if count > packing else ():  # a single pack has no statistics
                loss, figures = player.loss((self.test[:count], self.test_given[:count]), rng)
                found |= {f"{player.name}_{name}": value for name, value in {"loss": loss, **figures}.items()}
        (judge.train if mode else judge.eval)()
        found |= self.coverage(rng) if self.of_points else self.diversity(rng)
        found = finite(found, "in an evaluation")
        self.right = []
        self._watch(found, float(sum(right)) / len(right) if right else 0.0)
        return found

    def made(self, count, rng):
        """So many examples (N, *shape), an array; given what is known of the test data, in their order."""
        c = np.resize(self.test_given, (count, self.test_given.shape[1]))
        parts = data.in_order(self.model.noise(count, rng=rng), c, size=JUDGED)  # 10,000 at once take 1 GB
        return np.concatenate([self.model.generate(z, c).numpy() for z, c in parts])

    def coverage(self, rng):
        """Which modes the generated points find."""
        made = self.made(JUDGED, rng)
        found = mode_coverage(made, self.means, self.std)
        self.remarks = (
            f"{found.modes} of {len(self.means)} modes by {JUDGED:,} samples; one within 3 standard "
            "deviations finds a mode, and is of high quality",
        )
        names = "modes", "high_quality", "kl", "distance"
        spread = float(made.std(axis=0).mean() / self.test.std(axis=0).mean())
        return {name: getattr(found, name) for name in names} | {"spread": spread}

    def diversity(self, rng):
        """How far apart the most alike are, over that of the data: tells repetition, not a lost class."""
        self.remarks = (
            "no figure here tells how good images are, so the best are the last; --quality judges them",
        )
        count = min(IMAGES_JUDGED, len(self.test))
        real, fake = self.test[:count], self.made(count, rng)
        real, fake = (spacing(images.reshape(count, -1)) for images in (real, fake))
        return {"diversity": fake / real if real else 1.0}

    def _watch(self, found, right):
        """Say, once each, when evaluation after evaluation shows that the game is lost.

        `right` is the discriminator's accuracy in training, against the generator that learns from it. Of a
        Wasserstein critic it is 0: one that is always right is what that loss needs.
        """
        config, variety = self.model.config, found["spread" if self.of_points else "diversity"]
        self._warn(
            "discriminator",
            right > 0.99,
            f"the discriminator is right about {right:.1%} of examples, and the generator can learn little "
            "from it",
            {
                "r1 1": not config.r1 and config.critic_norm != "batch",
                "spectral_norm": not config.spectral_norm,
                "label_smoothing 0.1": not config.label_smoothing and config.loss in OF_PROBABILITIES,
                "a smaller critic_lr": True,
            },
        )
        bad, told = variety < 0.3, f"samples vary {variety:.0%} as much as the data"
        if self.of_points and found["high_quality"] > 0.5 and found["modes"] <= len(self.means) / 2:
            modes, share = found["modes"], found["high_quality"]
            bad, told = True, f"{share:.0%} of samples are good, and at {modes} of {len(self.means)} modes"
        wasserstein = "loss wasserstein with gradient_penalty 10 and critic_updates 5"
        self._warn(
            "collapse",
            bad,
            f"modes have collapsed: {told}",
            {
                "packing 4": config.packing == 1,
                "minibatch_std": not config.minibatch_std,
                wasserstein: config.loss != "wasserstein" and config.critic_norm != "batch",
                "a smaller lr": True,
            },
        )

    def _warn(self, name, bad, message, ways):
        """Warn of what is `bad` for the PATIENCE-th time, and name the ways out that this run can go."""
        self.bad[name] = self.bad.get(name, 0) + 1 if bad else 0
        if self.bad[name] >= PATIENCE and name not in self.warned:
            self.warned.add(name)
            *ways, last = (way for way, open_to_it in ways.items() if open_to_it)
            warnings.warn(
                f"{message}; try {', '.join([*ways, 'or ' + last] if ways else [last])}", stacklevel=2
            )

    def measure(self, rng):
        return self.evaluate(rng)

    # what it shows

    def samples(self, path, rng):
        self.sample(path, GANSampling(), rng=rng)

    @no_grad()
    def sample(self, path, options, *, rng):
        path = path.with_name(f"{path.name}.png")
        values = conditions.asked(options.given, self.given)
        if self.of_points:
            count = options.count or JUDGED
            c = None
            if values is not None:
                c = data.one_hot(np.repeat(values, count, axis=0), list(self.given.values()))
            elif self.given:
                size = sum(self.given.values())
                c = data.one_hot(np.arange(count)[:, None] % size, [size])
            points = self.model.generate(self.model.noise(count, rng=rng), c).numpy()
            gan_pictures.save_points(points, self.means, path, title=f"{count:,} samples")
            return path
        _, words, images = vae_pictures.sample_panel(
            self.model, self.given, values, count=options.count or 64, rng=rng
        )
        plots.save_panels([("Samples", words.replace("decoded", "generated"), images)], path)
        return path

    def final_samples(self, run, rng):
        """The picture of the end; and beside it an animation of all pictures of the run."""
        path = self.sample(run.path("samples"), GANSampling(), rng=rng)
        pictures = [found for found in run.path("samples").iterdir() if found.stem.isdigit()]
        pictures.sort(key=lambda found: int(found.stem))
        gan_pictures.save_animation([*pictures, path], run.path("animation.png"))
        return path
