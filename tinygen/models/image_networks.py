"""Encoders and decoders of images, of linear layers or of convolutions: what autoencoders are made of.

An encoder takes images and makes `hidden` features of each; a decoder takes codes, and makes of each a
number for every pixel, or several. Both may take what is known of the image, c, such as a one-hot label.

The convolutions follow the guidelines of DCGAN (Radford, Metz & Chintala 2016, arXiv 1511.06434, section 3):
no pooling, but strides of 2, and twice the channels where there is half the side. Left out is batch
normalisation, which makes the code of an image depend on its company.

Letters: B batch, H height, W width, C channels, J numbers of a code, K numbers that describe a condition.
"""

import itertools
import math

from .. import nn
from ..autograd import ops

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "silu": nn.SiLU}
SMALLEST = 4  # pixels: the longer side from which on nothing is halved


def with_condition(x, c):
    """The rows of x (B, N), each followed by that of c (B, K); x itself where c is None."""
    return x if c is None else ops.concatenate([x, c], axis=1)


def checked_condition(who, c, count, numbers):
    """c (count, numbers), or None where there are no numbers.

    Raises:
        ValueError: it has another shape; `who` was called with it.
    """
    if c is None and not numbers:
        return None
    if c is None or tuple(c.shape) != (count, numbers):
        raise ValueError(
            f"{who}: expected rows of shape {(count, numbers)} as condition, got "
            f"{None if c is None else tuple(c.shape)}; see `conditions` of its configuration"
        )
    return c if numbers else None


class MLPEncoder(nn.Module):
    """Images (B, H, W) to features (B, hidden), by `layers` linear layers, each with its activation."""

    def __init__(self, shape, *, hidden, layers, activation, conditions=0, rng):
        sizes = [math.prod(shape) + conditions, *[hidden] * layers]
        self.layers = _perceptron(sizes, activation, rng)

    def forward(self, images, c=None):
        return self.layers(with_condition(ops.reshape(images, (len(images), -1)), c))


class MLPDecoder(nn.Module):
    """Codes (B, J) to (B, numbers, H, W), by `layers` linear layers with activations, and one without."""

    def __init__(self, latent, shape, *, numbers, hidden, layers, activation, conditions=0, rng):
        self.shape = numbers, *shape
        self.layers = _perceptron([latent + conditions, *[hidden] * layers], activation, rng)
        self.pixels = nn.Linear(hidden, math.prod(self.shape), rng=rng)

    def forward(self, z, c=None):
        return ops.reshape(self.pixels(self.layers(with_condition(z, c))), (len(z), *self.shape))


class ConvEncoder(nn.Module):
    """Images (B, H, W) to features (B, hidden), by convolutions that halve the sides, and a linear layer.

    Each halves what it is given, rounded up, until neither side is above 4; the first has `channels`
    channels, and each further one twice as many.
    """

    def __init__(self, shape, *, channels, hidden, activation, conditions=0, rng):
        sizes, widths = halvings(shape), [1]
        widths += [channels << stage for stage in range(len(sizes) - 1)]
        steps = []
        for before, after in itertools.pairwise(widths):
            steps += [nn.Conv2d(before, after, 3, stride=2, padding=1, rng=rng), ACTIVATIONS[activation]()]
        self.convolutions = nn.Sequential(*steps)
        self.features = _perceptron([widths[-1] * math.prod(sizes[-1]) + conditions, hidden], activation, rng)

    def forward(self, images, c=None):
        maps = self.convolutions(ops.expand_dims(images, 1))
        return self.features(with_condition(ops.reshape(maps, (len(images), -1)), c))


class ConvDecoder(nn.Module):
    """Codes (B, J) to (B, numbers, H, W): a ConvEncoder backwards, by transposed convolutions."""

    def __init__(self, latent, shape, *, numbers, channels, hidden, activation, conditions=0, rng):
        sizes = halvings(shape)[::-1]
        widths = [channels << stage for stage in reversed(range(len(sizes) - 1))] + [numbers]
        self.smallest = widths[0], *sizes[0]
        self.layers = _perceptron([latent + conditions, hidden, math.prod(self.smallest)], activation, rng)
        steps = []
        for before, after, size in zip(widths, widths[1:], sizes[1:]):
            # Two rows come of one row; where the number of rows is odd, one less.
            added = tuple(1 - side % 2 for side in size)
            steps += [
                nn.ConvTranspose2d(before, after, 3, stride=2, padding=1, output_padding=added, rng=rng),
                ACTIVATIONS[activation](),
            ]
        self.convolutions = nn.Sequential(*steps[:-1])

    def forward(self, z, c=None):
        maps = self.layers(with_condition(z, c))
        return self.convolutions(ops.reshape(maps, (len(z), *self.smallest)))


def halvings(shape):
    """The sizes (height, width) from `shape` down, each half of the one before it, rounded up; 28 14 7 4."""
    sizes = [tuple(shape)]
    while max(sizes[-1]) > SMALLEST or len(sizes) == 1:
        sizes.append(tuple(-(-side // 2) for side in sizes[-1]))
    return sizes


def _perceptron(sizes, activation, rng):
    """Linear layers of these sizes, each followed by its activation."""
    steps = []
    for before, after in itertools.pairwise(sizes):
        steps += [nn.Linear(before, after, rng=rng), ACTIVATIONS[activation]()]
    return nn.Sequential(*steps)
