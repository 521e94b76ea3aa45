"""Generative adversarial networks: a generator makes examples, a discriminator tells them from real ones.

    Goodfellow et al., Generative adversarial nets (2014), arXiv 1406.2661; eq. 1 is the game that they play

        min_G max_D  V(D, G) = E_x[log D(x)] + E_z[log(1 - D(G(z)))]

The networks are those of gan_networks.py, the losses and penalties those of gan_losses.py. Around them, each
a switch of the configuration:

    packing                m examples are judged at once: Lin et al., PacGAN (2018), arXiv 1712.04086
    minibatch_std          the discriminator sees how much a batch varies: Karras et al. (2018)
    spectral_norm          its weights stretch nothing: Miyato et al. (2018)
    gradient_penalty, r1   its slope is held near 1: Gulrajani et al. (2017); near 0: Mescheder et al. (2018)
    label_smoothing        of real examples it is told 0.9, not 1: Salimans et al. (2016)
    label_noise            now and then it is told the opposite of what is so
    critic_lr              the two learn at rates of their own: Heusel et al. (2017), arXiv 1706.08500
    critic_updates         several of its steps before one of the generator: Arjovsky et al. (2017)

Settings call the discriminator a critic, whatever its loss. A step of one player leaves the other byte for
byte as it was: weights, gradients, and buffers too, so each network's running statistics are those of its own
steps. Real examples and fakes meet batch norm and minibatch std in batches of their own, as in the code of
Radford et al. (2016): the statistics of one batch of both would tell of each example what the others are.

Left out: networks that grow, attention, and networks that map the noise.

Letters: B packs, m examples in a pack, N = B m examples, J numbers of noise, K numbers of a condition.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .. import nn
from ..autograd import ops
from ..autograd.ops.arithmetic import raw
from ..configuration import check, option
from .gan_losses import LOSSES, OF_PROBABILITIES, UNDECIDED, gradient_penalty, r1
from .gan_networks import discriminator, generator
from .image_networks import checked_condition

NORMS = ("none", "batch", "layer")
SIZES = {  # of each network, where nothing else is said; those of mlp are PacGAN's
    "mlp": {"hidden": 400, "layers": 4, "critic_hidden": 200, "critic_layers": 3, "pieces": 5},
    "dcgan": {"channels": 64},
}


@dataclass(frozen=True, kw_only=True)
class GANConfig:
    """The networks of a GAN, and what keeps their game in balance.

    Raises:
        ValueError: a setting is out of its range, or not used by the loss or the network chosen; dcgan for
            points; or a penalty on the slope of a discriminator with batch norm.
    """

    height: int | None = option(8, "pixels of an image; none for points", at_least=1)
    width: int = option(8, "pixels of an image; coordinates of a point", at_least=1)
    conditions: int = option(0, "numbers that describe what is given of an example", at_least=0)
    latent: int = option(64, "numbers of the noise z", at_least=1)
    network: str = option("dcgan", "linear layers, or convolutions", choices=SIZES)
    hidden: int | None = option(None, "units of the generator's layers (mlp: 400)", at_least=1)
    layers: int | None = option(None, "how many those are (mlp: 4)", at_least=1)
    critic_hidden: int | None = option(None, "units of the discriminator's layers (mlp: 200)", at_least=1)
    critic_layers: int | None = option(None, "how many those are (mlp: 3)", at_least=1)
    pieces: int | None = option(None, "of the discriminator's maxout; 1: leaky ReLU (mlp: 5)", at_least=1)
    channels: int | None = option(None, "of the largest feature maps (dcgan: 64)", at_least=1)
    generator_norm: str = option("batch", "of the generator's layers", choices=NORMS)
    critic_norm: str = option("none", "of the discriminator's layers", choices=NORMS)
    loss: str = option("non-saturating", "what the two players lower", choices=LOSSES)
    gradient_penalty: float = option(
        0.0, "weight of (slope - 1)^2 between real examples and fakes, such as 10", at_least=0
    )
    r1: float = option(0.0, "gamma: gamma / 2 times the squared slope at real examples", at_least=0)
    spectral_norm: bool = option(False, "divide the discriminator's weights by their largest stretch")
    minibatch_std: bool = option(False, "let the discriminator see how much a batch varies")
    packing: int = option(1, "examples that the discriminator judges at once", at_least=1)
    label_smoothing: float = option(0.0, "what is missing to 1 for real examples", at_least=0, below=1)
    label_noise: float = option(
        0.0, "share of what the discriminator judges of which it is told the opposite", at_least=0, below=0.5
    )
    critic_updates: int = option(
        1, "of the discriminator in a step, each on a minibatch of its own", at_least=1
    )
    critic_lr: float | None = option(None, "learning rate of the discriminator, at its peak (lr)", above=0)

    uses: ClassVar = {"network": SIZES}

    def __post_init__(self):
        check(self)
        for name, value in SIZES[self.network].items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        for name in ("label_smoothing", "label_noise"):
            if getattr(self, name) and self.loss not in OF_PROBABILITIES:
                raise ValueError(
                    f"{name}: is not used by the loss {self.loss}; leave it out, or choose "
                    f"{' or '.join(OF_PROBABILITIES)}"
                )
        if self.critic_norm == "batch" and (self.gradient_penalty or self.r1):
            raise ValueError(
                "critic_norm: expected layer or none beside a penalty on the slope, which is that of each "
                "example by itself, got batch; choose one of them, or gradient_penalty 0 and r1 0"
            )
        if self.network == "dcgan" and self.height is None:
            raise ValueError("network: expected images for dcgan, got points; choose mlp")

    @property
    def shape(self):
        """Of an example: (height, width), or (width,) for points."""
        return (self.width,) if self.height is None else (self.height, self.width)


class GAN(nn.Module):
    """Two networks, and what each of them lowers.

    generator      z (N, J), and a condition (N, K) or None, to examples (N, *shape), images in [-1, 1]
    discriminator  packs (B, m, *shape), and conditions (B, m, K) or None, to logits (B,)

    Args:
        config: a GANConfig.
        rng: the np.random.Generator that draws the weights.
    """

    def __init__(self, config, *, rng):
        self.config, self.shape = config, config.shape
        self.generator = generator(config, rng=rng)
        self.discriminator = discriminator(config, rng=rng)

    def discriminator_loss(self, x, z, c=None, *, t=None, flips=None):
        """What the discriminator lowers. The generator only makes the fakes: nothing of it is recorded.

        Args:
            x: examples (N, *shape), images with ink in [0, 1].
            z: noise (N, J), as `noise` draws it.
            c: conditions (N, K) of both, one-hot float32; None will do where K is 0.
            t: (B,) in [0, 1], where on the way from a fake to an example the gradient penalty is taken.
            flips: (2, B), 1 where the discriminator is told the opposite, of real examples and of fakes; else
                0. `draws` draws both, where the configuration needs them.

        Returns:
            loss: a scalar Tensor, penalties included.
            figures: name -> scalar; `real` and `fake`, what the discriminator says of them on average (a
                probability where the loss is one of probabilities, else the logit); `accuracy`, the share of
                which it is right, but for Wasserstein; and the penalties.

        Raises:
            ValueError: the shapes do not fit together, N is no multiple of m, or what `draws` draws for this
                configuration is not there.
        """
        config, c = self.config, self._checked("discriminator_loss", c, len(z))
        if len(z) != len(x):
            raise ValueError(
                f"GAN.discriminator_loss: expected noise for as many fakes as examples, {len(x)}, got "
                f"{len(z)}; draw it by GAN.noise"
            )
        with self.generator.held():
            fake = self.packs(raw(self.generator(z, c)))
        real, c = self.packs(self.signal(x)), self.packs(c)
        self._check_draws(len(real), t=t, flips=flips)
        logits = self._judged(real, fake, c)
        total = LOSSES[config.loss][0](*logits, *self._targets(flips))
        figures = self.figures(*map(raw, logits))

        def critic(x):
            return self.discriminator(x, c)

        if config.gradient_penalty:
            figures["penalty"] = gradient_penalty(critic, real, fake, t)
            total = total + config.gradient_penalty * figures["penalty"]
        if config.r1:
            figures["r1"] = r1(critic, real)
            total = total + config.r1 * figures["r1"]
        return total, figures

    def generator_loss(self, z, c=None):
        """What the generator lowers, a scalar Tensor. Gradients pass the discriminator, and none stays there.

        Args:
            z: noise (N, J).
            c: conditions (N, K); None will do where K is 0.
        """
        c = self._checked("generator_loss", c, len(z))
        fake = self.packs(self.generator(z, c))
        with self.discriminator.held():
            return LOSSES[self.config.loss][1](self.discriminator(fake, self.packs(c)))

    def _checked(self, who, c, count):
        return checked_condition(f"GAN.{who}", c, count, self.config.conditions)

    def _check_draws(self, packs, **given):
        """Refuse what `draws` would not draw: missing, of another shape, or without use."""
        config = self.config
        needed = {
            "t": (packs,) if config.gradient_penalty else None,
            "flips": (2, packs) if config.label_noise else None,
        }
        for name, expected in needed.items():
            got = None if given[name] is None else tuple(given[name].shape)
            if got != expected:
                what = f"{name} of shape {expected}" if expected else f"no {name}"
                raise ValueError(
                    f"GAN.discriminator_loss: expected {what}, got {got or 'none'}; take it from GAN.draws"
                )

    def _judged(self, real, fake, c):
        """The logits of real packs and of fake ones: one call, where nothing is computed over a batch."""
        if self.config.critic_norm == "batch" or self.config.minibatch_std:
            return self.discriminator(real, c), self.discriminator(fake, c)
        logits = self.discriminator(
            ops.concatenate([real, fake]), None if c is None else ops.concatenate([c, c])
        )
        return logits[: len(real)], logits[len(real) :]

    def _targets(self, flips):
        """What the discriminator is to say of real examples and of fakes, where that is not 1 and 0."""
        if flips is None and not self.config.label_smoothing:
            return ()
        sure, flips = 1 - self.config.label_smoothing, (0.0, 0.0) if flips is None else flips
        return sure * (1 - flips[0]), sure * flips[1]

    def figures(self, real, fake):
        """`real`, `fake` and `accuracy` of arrays of logits; see `discriminator_loss`."""
        loss, found = self.config.loss, {}
        if loss in UNDECIDED:
            found["accuracy"] = ((real > UNDECIDED[loss]).mean() + (fake < UNDECIDED[loss]).mean()) / 2
        if loss in OF_PROBABILITIES:
            real, fake = ops.sigmoid(real), ops.sigmoid(fake)
        return {"real": real.mean(), "fake": fake.mean()} | found

    def packs(self, x):
        """(N, ...) as (B, m, ...), each pack of examples that follow one another; None stays None.

        Raises:
            ValueError: N is no multiple of m.
        """
        if x is None:
            return None
        m = self.config.packing
        if x.shape[0] % m:
            raise ValueError(
                f"GAN: expected a multiple of packing, {m}, as the number of examples, got {x.shape[0]}; "
                "give that many"
            )
        return ops.reshape(x, (x.shape[0] // m, m, *x.shape[1:]))

    def signal(self, x):
        """Examples as the networks have them: images from [0, 1] to [-1, 1], points as they are.

        Raises:
            ValueError: x is not (N, *shape).
        """
        if tuple(x.shape[1:]) != self.shape:
            raise ValueError(
                f"GAN: expected examples of shape (N, {', '.join(map(str, self.shape))}), got "
                f"{tuple(x.shape)}; reshape them"
            )
        return x if self.config.height is None else 2 * x - 1

    def noise(self, *sizes, rng):
        """float32 (*sizes, J) from N(0, I), drawn from `rng`: the `z` of both losses, and of `generate`."""
        return rng.standard_normal((*sizes, self.config.latent), dtype=np.float32)

    def draws(self, packs, *, rng):
        """What else the discriminator's loss draws for B packs: `t` and `flips`, None where not needed."""
        t = flips = None
        if self.config.gradient_penalty:
            t = rng.random(packs, dtype=np.float32)
        if self.config.label_noise:
            flips = (rng.random((2, packs), dtype=np.float32) < self.config.label_noise).astype(np.float32)
        return {"t": t, "flips": flips}

    def generate(self, z, c=None):
        """Examples (N, *shape) of noise z (N, J) and conditions (N, K), or None where K is 0.

        Images have ink in [0, 1].

        Raises:
            ValueError: c has another shape.
        """
        x = self.generator(z, self._checked("generate", c, len(z)))
        return x if self.config.height is None else 0.5 * (x + 1)
