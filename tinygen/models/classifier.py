"""A classifier of small images: convolutions, a layer of features, and a guess at what is known of them.

    LeCun, Bottou, Bengio & Haffner, Gradient-based learning applied to document recognition (1998)
    Srivastava et al., Dropout (2014): of the features, while it is trained

It is here to judge what generators make: its features tell images apart by what they show, where pixels do
not (metrics/features.py). So it is plain. What is known may be one label, a digit from 0 to 9, or several
factors, of which each has guesses of its own.

Left out: batch normalisation, which makes the features of an image depend on its company while training, and
distortions of the training images, with which 99.7 % of MNIST can be had.

Letters: B batch, H height, W width, D features, F factors, K guesses of all factors together.
"""

import itertools
from dataclasses import dataclass

from .. import nn
from ..autograd import ops
from ..configuration import check, option
from .image_networks import ConvEncoder


@dataclass(frozen=True, kw_only=True)
class ClassifierConfig:
    """What a classifier is made of; of MNIST's digits by default.

    Raises:
        ValueError: a value out of its range.
    """

    height: int = option(28, "pixels", at_least=1)
    width: int = option(28, "pixels", at_least=1)
    classes: tuple = option((10,), "how many values each factor has")
    channels: int = option(16, "of the largest feature maps", at_least=1)
    hidden: int = option(128, "D, features of an image", at_least=1)
    dropout: float = option(0.3, "share of the features that are left out in training", at_least=0, below=1)

    def __post_init__(self):
        object.__setattr__(self, "classes", tuple(self.classes))  # a list, where it was read from a file
        check(self)
        if not self.classes or not all(isinstance(size, int) and size >= 2 for size in self.classes):
            raise ValueError(
                f"classes: expected at least 2 values of each factor, got {list(self.classes)}; "
                "give images of several kinds"
            )


class Classifier(nn.Module):
    """Images to features, and features to a logit for every value of every factor.

    encoder  a ConvEncoder (image_networks.py)
    guess    (K, D), the linear layer behind it

    Args:
        config: a ClassifierConfig.
        rng: the np.random.Generator that draws the weights.
    """

    def __init__(self, config, *, rng):
        self.config = config
        self.shape = config.height, config.width
        self.encoder = ConvEncoder(
            self.shape, channels=config.channels, hidden=config.hidden, activation="relu", rng=rng
        )
        self.dropout = nn.Dropout(config.dropout, rng=rng)
        self.guess = nn.Linear(config.hidden, sum(config.classes), rng=rng)

    def features(self, images):
        """What it sees in images (B, H, W) in [0, 1]: (B, D), at least 0.

        Raises:
            ValueError: images of another shape.
        """
        if len(images.shape) != 3 or tuple(images.shape[1:]) != self.shape:
            raise ValueError(
                f"Classifier: expected images of shape (B, {self.shape[0]}, {self.shape[1]}), got "
                f"{tuple(images.shape)}; resize them, or train one on such"
            )
        return self.encoder(images)

    def forward(self, images):
        """The logits of images (B, H, W): a list of F, (B, values of the factor) each."""
        return self.logits(self.features(images))

    def logits(self, features):
        """Those of features (B, D), cut into factors."""
        ends = list(itertools.accumulate(self.config.classes))
        numbers = self.guess(self.dropout(features))
        return [numbers[:, end - size : end] for end, size in zip(ends, self.config.classes)]

    def loss(self, images, known):
        """-log p(known|image), in nats an image: the mean over the batch, of the sum over factors.

        Args:
            images: (B, H, W) in [0, 1].
            known: integers (B, F), each from 0 to below its factor's number in `classes`.

        Returns:
            loss: a scalar.
            logits: those of `forward`.

        Raises:
            ValueError: another shape of either.
        """
        if tuple(known.shape) != (len(images), len(self.config.classes)):
            raise ValueError(
                f"Classifier.loss: expected {(len(images), len(self.config.classes))} whole numbers, got "
                f"{tuple(known.shape)}; give what is known of each image, a column a factor"
            )
        logits = self.forward(images)
        losses = [ops.cross_entropy(guesses, known[:, f]) for f, guesses in enumerate(logits)]
        return sum(losses[1:], losses[0]), logits
