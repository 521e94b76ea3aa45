"""The VQ-VAE: an autoencoder whose code is a small grid of numbers, each the name of a vector in a codebook.

    van den Oord, Vinyals & Kavukcuoglu, Neural discrete representation learning (2017), arXiv 1711.00937

The encoder makes a vector z_e(x) for each place of a grid, the quantiser (quantiser.py) replaces it by the
nearest code e, and the decoder draws the image from the codes. What is minimised is their eq. 3,

    L = -log p(x|e) + |sg(z_e(x)) - e|^2 + beta |z_e(x) - sg(e)|^2,

in nats an image, sums over pixels and over places; sg stops the gradient. Where codes are moving averages
(their appendix A.1, here the default) the second term is left out, and `VectorQuantiser.update` moves them.

The posterior is one grid of codes, with certainty. So for any distribution p of grids, which may be learnt
when all else is, an image costs -log p(x|e) - log p(e) >= -log p(x) nats. Here p takes the places to be
independent: a code is as likely at a place as it is there in the images to train on. A prior that knows a
code's neighbours, such as their PixelCNN, needs fewer nats, and its samples hang together; it is what is left
out here. So are conditions.

Letters: B batch, H height, W width, h and w rows and columns of the grid, D numbers of a code, K codes.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .. import nn
from ..autograd import Tensor, ops
from ..configuration import check, option
from .likelihoods import LIKELIHOODS
from .quantiser import LEARN, VectorQuantiser


@dataclass(frozen=True, kw_only=True)
class VQVAEConfig:
    """The sizes of a VQ-VAE, and how its codebook learns. The paper has 256 channels, and 512 codes.

    Raises:
        ValueError: a value out of its range, or more halvings than the image has room for.
    """

    height: int = option(8, "pixels", at_least=1)
    width: int = option(8, "pixels", at_least=1)
    levels: int = option(256, "grey levels of a pixel", at_least=2)
    halvings: int = option(2, "times that height and width are halved, to the grid of codes", at_least=1)
    channels: int = option(64, "of the feature maps", at_least=1)
    blocks: int = option(2, "residual blocks of the encoder, and of the decoder", at_least=0)
    codes: int = option(128, "vectors in the codebook", at_least=1)
    latent: int = option(16, "numbers of each", at_least=1)
    likelihood: str = option("cross-entropy", "what pixels are taken to be", choices=LIKELIHOODS)
    beta: float = option(0.25, "weight of the commitment of the encoder to its codes", at_least=0)
    codebook: str = option(
        "average", "how a code learns: as the average of vectors near it, or by its gradient", choices=LEARN
    )
    decay: float = option(
        0.99, "of the averages that codes, and counts of their use, are", at_least=0, below=1
    )
    restart: float = option(
        0.05, "part of an even share of use below which a code begins again; 0 for never", at_least=0, below=1
    )

    def __post_init__(self):
        check(self)
        if min(self.height, self.width) >> self.halvings < 1:
            raise ValueError(
                f"halvings: expected a grid of at least one place, got {self.halvings} for images of "
                f"{self.height} x {self.width}; choose fewer"
            )

    @property
    def grid(self):
        """(h, w), the places of codes: (7, 7) for images of 28 x 28, halved twice."""
        return self.height >> self.halvings, self.width >> self.halvings


class Losses(NamedTuple):
    """The loss in nats an image, its terms without weights, and what the codebook's update is to be given.

    loss, reconstruction, commitment  scalars: means over the batch
    z      (B, h, w, D)  what the encoder said
    codes  (B, h, w)     the numbers of the codes it chose
    """

    loss: Tensor
    reconstruction: Tensor
    commitment: Tensor
    z: Tensor
    codes: np.ndarray


class VQVAE(nn.Module):
    """Convolutions to a grid of codes and back.

    A buffer, `occurrences` (h, w, K), says how often each code occurs at each place in the images that it is
    trained on; `count` sets it.

    Args:
        config: a VQVAEConfig.
        rng: the np.random.Generator that draws the weights and the codebook.
    """

    buffers = ("occurrences",)

    def __init__(self, config, *, rng):
        self.config, self.shape = config, (config.height, config.width)
        self.likelihood = LIKELIHOODS[config.likelihood](config.levels)
        self.encoder = _encoder(config, rng)
        self.quantiser = VectorQuantiser(
            config.codes,
            config.latent,
            learn=config.codebook,
            decay=config.decay,
            restart=config.restart,
            rng=rng,
        )
        self.decoder = _decoder(config, self.likelihood.numbers, rng)
        self.occurrences = np.zeros((*config.grid, config.codes), np.float32)

    def observe(self, x, *, rng):
        """Images x (B, H, W) in [0, 1] as the likelihood models them; see likelihoods.py."""
        return self.likelihood.observe(x, rng=rng)

    def encode(self, x):
        """z_e(x), (B, h, w, D), of images x (B, H, W) as `observe` returns them.

        Raises:
            ValueError: x has another shape.
        """
        if tuple(x.shape[1:]) != self.shape:
            raise ValueError(
                f"VQVAE.encode: expected images of shape (B, {self.shape[0]}, {self.shape[1]}), got "
                f"{tuple(x.shape)}; reshape them"
            )
        return ops.moveaxis(self.encoder(ops.expand_dims(x, 1)), 1, -1)

    def decode(self, e):
        """The distribution of the pixels (B, H, W), from vectors of the codebook e (B, h, w, D)."""
        return self.likelihood.distribution(self._numbers(e))

    def _numbers(self, e):
        return self.decoder(ops.moveaxis(e, -1, 1))

    def loss(self, x):
        """Losses of images x (B, H, W), as `observe` returns them: eq. 3, with one sum over all of an image.

        No code is moved by it: give z and codes to `quantiser.update` after the optimizer's step.

        Raises:
            ValueError: x has another shape.
        """
        z = self.encode(x)
        e, codes = self.quantiser(z)
        reconstruction = -ops.sum(self.likelihood.log_prob(self._numbers(e), x)) / len(x)
        commitment = ops.sum(self.quantiser.commitment(z, codes)) / len(x)
        loss = reconstruction + self.config.beta * commitment
        if self.config.codebook == "gradient":
            loss = loss + ops.sum(self.quantiser.codebook_loss(z, codes)) / len(x)
        return Losses(loss, reconstruction, commitment, z, codes)

    def codes(self, x):
        """The grids of codes (B, h, w) of images x (B, H, W), as `observe` returns them."""
        return self.quantiser.nearest(self.encode(x))

    def generate(self, codes):
        """The mean images (B, H, W), in [0, 1], of grids of codes (B, h, w); no draws from them.

        Raises:
            ValueError: no such grids.
        """
        self._check("generate", codes)
        return self.likelihood.grey(self.decode(self.quantiser.look_up(codes)).mean)

    def _check(self, who, codes):
        """Refuse what are no grids of codes, (B, h, w)."""
        grid, count = self.config.grid, self.config.codes
        if len(codes.shape) != 3 or tuple(codes.shape[1:]) != grid:
            raise ValueError(
                f"VQVAE.{who}: expected grids of codes (B, {grid[0]}, {grid[1]}), got {tuple(codes.shape)}; "
                "give what VQVAE.codes returns"
            )
        if codes.size and not (codes.min() >= 0 and codes.max() < count):
            raise ValueError(
                f"VQVAE.{who}: expected codes from 0 to {count - 1}, got {codes.min()} to {codes.max()}; "
                "give what VQVAE.codes returns"
            )

    # the prior, in which places do not know each other

    def count(self, grids):
        """Let `occurrences` be those in grids of codes (B, h, w), an iterable of such arrays.

        Raises:
            ValueError: one of them is no such array. Nothing has been changed.
        """
        counted = np.zeros(self.occurrences.shape, self.occurrences.dtype)
        for codes in grids:
            self._check("count", codes)
            ones = np.ones(codes.shape, counted.dtype)
            counted += ops.scatter_add(ones, self._at(codes), counted.shape)
        self.occurrences = counted

    def prior(self):
        """p of each code at each place, (h, w, K): as counted, with one more image shared by all codes.

        So no code is impossible, and before anything is counted all are alike.
        """
        counted, codes = self.occurrences, self.config.codes
        return (counted + 1 / codes) / (counted.sum(axis=-1, keepdims=True) + 1)

    def code_length(self, codes):
        """-log p(codes) in nats an image, (B,), of grids (B, h, w), under `prior`.

        Raises:
            ValueError: no such grids.
        """
        self._check("code_length", codes)
        return -ops.sum(ops.log(self.prior()[self._at(codes)]), axis=(1, 2))

    def _at(self, codes):
        """Where in an array (h, w, K) each of the codes (B, h, w) stands: an index."""
        h, w = self.config.grid
        return np.arange(h)[:, None], np.arange(w), codes

    def draw(self, count, *, rng):
        """Grids of codes, integers (count, h, w), each place drawn by itself from `prior`, by one number."""
        below = ops.cumsum(self.prior(), axis=-1)[..., :-1]
        return (rng.random((count, *self.config.grid, 1)) >= below).sum(axis=-1)


class _Residual(nn.Module):
    """x + a 3x3 and a 1x1 convolution of it, a ReLU before each: section 4.1."""

    def __init__(self, channels, *, rng):
        self.wide = nn.Conv2d(channels, channels, 3, padding=1, rng=rng)
        self.narrow = nn.Conv2d(channels, channels, 1, rng=rng)

    def forward(self, x):
        return x + self.narrow(ops.relu(self.wide(ops.relu(x))))


def _encoder(config, rng):
    """(B, 1, H, W) to (B, D, h, w): convolutions that halve, 4x4 as theirs, residual blocks, and one 1x1."""
    wide, steps = config.channels, []
    for stage in range(config.halvings):
        steps += [nn.ReLU()] if stage else []
        steps.append(nn.Conv2d(wide if stage else 1, wide, 4, stride=2, padding=1, rng=rng))
    steps += [_Residual(wide, rng=rng) for _ in range(config.blocks)]
    return nn.Sequential(*steps, nn.ReLU(), nn.Conv2d(wide, config.latent, 1, rng=rng))


def _decoder(config, numbers, rng):
    """(B, D, h, w) to (B, numbers, H, W): a 3x3 convolution, residual blocks, and the halvings backwards."""
    wide = config.channels
    steps = [nn.Conv2d(config.latent, wide, 3, padding=1, rng=rng)]
    steps += [_Residual(wide, rng=rng) for _ in range(config.blocks)]
    for stage in reversed(range(config.halvings)):
        # Two rows come of one row; and one more, where there was an odd one that the halving dropped.
        added = (config.height >> stage) % 2, (config.width >> stage) % 2
        outputs = wide if stage else numbers
        step = nn.ConvTranspose2d(wide, outputs, 4, stride=2, padding=1, output_padding=added, rng=rng)
        steps += [nn.ReLU(), step]
    return nn.Sequential(*steps)
