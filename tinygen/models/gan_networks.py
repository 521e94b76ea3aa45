"""The networks of a GAN: generators from noise to examples, discriminators from packs of examples to logits.

    Lin, Khetan, Fanti & Oh, PacGAN (2018), arXiv 1712.04086, section 4.1: networks for points in the plane
    Radford, Metz & Chintala, Unsupervised representation learning with deep convolutional generative
        adversarial networks (2016), arXiv 1511.06434, section 3 and figure 1: the guidelines of DCGAN
    Mirza & Osindero, Conditional generative adversarial nets (2014), arXiv 1411.1784: a label beside the rest

    mlp     generator: linear layers with batch norm and ReLU; discriminator: maxout and no norm. PacGAN's
            sizes are the defaults.
    dcgan   strided convolutions of 5x5, the transposed kind in the generator, and no other hidden layers;
            ReLU there, leaky ReLU of slope 0.2 in the discriminator

Weights begin normal with a standard deviation of 0.02, and biases at 0, as in both papers' code. A condition
stands beside the noise, and beside each example: more numbers of a point, constant channels of an image.
Images come and go in [-1, 1], the range of the tanh at the generator's end.

Letters: B packs that the discriminator judges, m examples in a pack, J numbers of noise, K numbers that
describe a condition.
"""

import functools
import itertools
import math

from .. import nn
from ..autograd import ops
from .image_networks import halvings, with_condition

normal = functools.partial(nn.init.normal, std=0.02)
Down = functools.partial(nn.Conv2d, kernel_size=5, stride=2, padding=2)
Up = functools.partial(nn.ConvTranspose2d, kernel_size=5, stride=2, padding=2)


def generator(config, *, rng):
    """The generator of a GANConfig: z (B, J), and a condition (B, K) or None, to examples (B, *shape)."""
    return {"mlp": MLPGenerator, "dcgan": ConvGenerator}[config.network](config, rng=rng)


def discriminator(config, *, rng):
    """The discriminator of a GANConfig: packs (B, m, *shape), and conditions (B, m, K) or None, to (B,)."""
    return {"mlp": MLPDiscriminator, "dcgan": ConvDiscriminator}[config.network](config, rng=rng)


class MLPGenerator(nn.Module):
    """Linear layers with norms and ReLU, and a last one: for points as it is, for images through tanh."""

    def __init__(self, config, *, rng):
        sizes, layers = [config.latent + config.conditions, *[config.hidden] * config.layers], []
        for inputs, outputs in itertools.pairwise(sizes):
            layers += _normed(nn.Linear, inputs, outputs, norm=config.generator_norm, rng=rng)
            layers.append(nn.ReLU())
        layers.append(nn.Linear(sizes[-1], math.prod(config.shape), rng=rng, init=normal))
        if len(config.shape) == 2:
            layers.append(nn.Tanh())
        self.layers = nn.Sequential(*layers, nn.Reshape(*config.shape))

    def forward(self, z, c=None):
        return self.layers(with_condition(z, c))


class MLPDiscriminator(nn.Module):
    """Maxout layers (of one piece: leaky ReLU) over all numbers of a pack at once, and a linear one."""

    def __init__(self, config, *, rng):
        inputs, layers = config.packing * (math.prod(config.shape) + config.conditions), []
        for _ in range(config.critic_layers):
            outputs = config.pieces * config.critic_hidden
            layer, *its_norm = _normed(nn.Linear, inputs, outputs, norm=config.critic_norm, rng=rng)
            activation = nn.Maxout(config.pieces) if config.pieces > 1 else nn.LeakyReLU(0.2)
            layers += [_bounded(layer, config, rng), *its_norm, activation]
            inputs = config.critic_hidden
        if config.minibatch_std:
            layers.append(nn.MinibatchStd())
        self.layers = nn.Sequential(*layers, _logit(inputs + config.minibatch_std, config, rng))

    def forward(self, x, c=None):
        x = ops.reshape(x, (len(x), -1))
        c = None if c is None else ops.reshape(c, (len(x), -1))
        return self.layers(with_condition(x, c))[:, 0]


class ConvGenerator(nn.Module):
    """Noise becomes a small image of many channels, whose sides are doubled and channels halved each time.

    Sides of 28 come of 4, 7 and 14; of 32 of 4, 8 and 16; of 8 of 4. The last hidden image has `channels`.
    """

    def __init__(self, config, *, rng):
        sizes = halvings(config.shape)[::-1]
        widths = [config.channels << stage for stage in reversed(range(len(sizes) - 1))]
        inputs, outputs = config.latent + config.conditions, widths[0] * math.prod(sizes[0])
        layers = [  # no bias before batch norm here either, as in the authors' code
            nn.Linear(inputs, outputs, bias=config.generator_norm != "batch", rng=rng, init=normal),
            nn.Reshape(widths[0], *sizes[0]),
            *_norm(config.generator_norm, widths[0]),
            nn.ReLU(),
        ]
        for before, after, size in zip(widths, [*widths[1:], 1], sizes[1:]):
            # Two rows come of one row; where the number of rows is odd, one less.
            up = functools.partial(Up, output_padding=tuple(1 - side % 2 for side in size))
            last = size == sizes[-1]
            layers += _normed(up, before, after, norm="none" if last else config.generator_norm, rng=rng)
            layers.append(nn.Tanh() if last else nn.ReLU())
        self.layers = nn.Sequential(*layers)

    def forward(self, z, c=None):
        return self.layers(with_condition(z, c))[:, 0]


class ConvDiscriminator(nn.Module):
    """The generator's mirror: sides are halved and channels doubled. The images of a pack are its channels.

    The first layer has no norm: DCGAN's has none.
    """

    def __init__(self, config, *, rng):
        sizes = halvings(config.shape)
        widths = [config.packing * (1 + config.conditions)]
        widths += [config.channels << stage for stage in range(len(sizes) - 1)]
        layers = []
        for stage, (before, after) in enumerate(itertools.pairwise(widths)):
            norm = config.critic_norm if stage else "none"
            layer, *its_norm = _normed(Down, before, after, norm=norm, rng=rng)
            layers += [_bounded(layer, config, rng), *its_norm, nn.LeakyReLU(0.2)]
        if config.minibatch_std:
            layers.append(nn.MinibatchStd())
        features = (widths[-1] + config.minibatch_std) * math.prod(sizes[-1])
        self.layers = nn.Sequential(*layers, nn.Flatten(), _logit(features, config, rng))

    def forward(self, x, c=None):
        if c is not None:
            planes = ops.reshape(c, (len(x), -1, 1, 1))
            planes = ops.broadcast_to(planes, (*planes.shape[:2], *x.shape[2:]))
            x = ops.concatenate([x, planes], axis=1)
        return self.layers(x)[:, 0]


def _norm(kind, channels):
    """The layer that normalises these channels, in a list, which is empty for none."""
    if kind == "none":
        return []
    return [nn.BatchNorm(channels) if kind == "batch" else nn.GroupNorm(1, channels)]  # all of an example


def _normed(layer, inputs, outputs, *, norm, rng):
    """A layer and its norm, if any. Before batch norm, which would take it off again, there is no bias."""
    return [layer(inputs, outputs, bias=norm != "batch", rng=rng, init=normal), *_norm(norm, outputs)]


def _bounded(layer, config, rng):
    """A layer of the discriminator, under spectral normalisation where the configuration has it."""
    return nn.SpectralNorm(layer, rng=rng) if config.spectral_norm else layer


def _logit(inputs, config, rng):
    """The discriminator's last layer."""
    return _bounded(nn.Linear(inputs, 1, rng=rng, init=normal), config, rng)
