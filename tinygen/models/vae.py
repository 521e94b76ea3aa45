"""The variational autoencoder: two small networks, and one bound on the likelihood that trains both.

    Kingma & Welling, Auto-Encoding Variational Bayes (2014), arXiv 1312.6114; equation numbers are theirs

An image x is taken to come from a hidden code z: z ~ N(0, I), then x ~ p(x|z), which is the decoder. The
encoder q(z|x) guesses the code of an image. What is minimised is the negative of their bound L (eq. 3):

    -L(x) = KL(q(z|x) || N(0, I)) - E_q(z|x)[log p(x|z)]  >=  -log p(x)

Differences from the paper: ReLU where it has tanh, as in PyTorch's basic VAE example, and one sample of z an
image, which the paper recommends for minibatches of 100. Left out: convolutions, and decoders other than
Bernoulli.

Letters: B batch, D pixels of an image, H hidden units, J latent dimensions.
"""

from dataclasses import dataclass

import numpy as np

from .. import nn
from ..autograd import ops
from ..configuration import check, option


@dataclass(frozen=True, kw_only=True)
class VAEConfig:
    """The sizes of a VAE, each at least 1. PyTorch's example has 784, 400 and 20, for MNIST.

    Raises:
        ValueError: a size below 1.
    """

    inputs: int = option(64, "pixels of an image", at_least=1)
    hidden: int = option(128, "hidden units of the encoder, and of the decoder", at_least=1)
    latent: int = option(8, "dimensions of the code z", at_least=1)

    def __post_init__(self):
        check(self)


class VAE(nn.Module):
    """A Gaussian encoder and a Bernoulli decoder, each with one hidden layer.

    Parameters, of the shapes that PyTorch's example has (its names in brackets), each with a bias beside it:

        encoder.weight       (H, D) [fc1]        decoder.weight  (H, J) [fc3]
        mean.weight          (J, H) [fc21]       pixels.weight   (D, H) [fc4]
        log_variance.weight  (J, H) [fc22]

    Args:
        config: the sizes, a VAEConfig.
        rng: the np.random.Generator that draws the weights.
    """

    def __init__(self, config, *, rng):
        self.config = config
        self.encoder = nn.Linear(config.inputs, config.hidden, rng=rng)
        self.mean = nn.Linear(config.hidden, config.latent, rng=rng)
        self.log_variance = nn.Linear(config.hidden, config.latent, rng=rng)
        self.decoder = nn.Linear(config.latent, config.hidden, rng=rng)
        self.pixels = nn.Linear(config.hidden, config.inputs, rng=rng)

    def encode(self, x):
        """The parameters of q(z|x) = N(mu, diag(exp(log_var))): appendix C.2, eq. 12.

        Args:
            x: (B, D), pixels in [0, 1].

        Returns:
            mu, log_var: (B, J) each.

        Raises:
            ValueError: x is not (B, D).
        """
        if len(x.shape) != 2 or x.shape[1] != self.config.inputs:
            raise ValueError(
                f"VAE.encode: expected images of shape (B, {self.config.inputs}), got {tuple(x.shape)}; "
                "flatten each to a row"
            )
        h = ops.relu(self.encoder(x))
        return self.mean(h), self.log_variance(h)

    def reparameterise(self, mu, log_var, eps):
        """z = mu + sigma * eps: a sample of q(z|x) where eps is one of N(0, I); section 2.4. All (B, J)."""
        return mu + ops.exp(0.5 * log_var) * eps

    def decode(self, z):
        """The logits (B, D) of the pixels' Bernoulli distributions, from codes z (B, J): appendix C.1."""
        return self.pixels(ops.relu(self.decoder(z)))

    def loss(self, x, eps):
        """The negative bound -L(x) and its two terms, in nats an image: the mean over the batch.

        It is eq. 10 with one sample of z, the form of the estimator (eq. 7) in which the KL term is exact.

        The pixels are grey, but a Bernoulli variable is 0 or 1. Like PyTorch's example we put grey levels
        into the formula all the same. That trains well and compares easily; it is no likelihood of grey
        images, so -L bounds none, and even a decoder that returns the image itself pays for the entropy of
        its grey levels.

        Args:
            x: (B, D), pixels in [0, 1].
            eps: (B, J), drawn from N(0, I), as `noise` does.

        Returns:
            total, reconstruction, kl: scalars; total = reconstruction + kl.

        Raises:
            ValueError: x is not (B, D), or eps is not (B, J).
        """
        mu, log_var = self.encode(x)
        if tuple(eps.shape) != tuple(mu.shape):
            raise ValueError(
                f"VAE.loss: expected noise of shape {tuple(mu.shape)}, got {tuple(eps.shape)}; use VAE.noise"
            )
        logits = self.decode(self.reparameterise(mu, log_var, eps))
        # Eq. 11: -log p(x|z) = -sum_i [x_i log y_i + (1 - x_i) log(1 - y_i)] with y = sigmoid(logits)
        reconstruction = ops.sum(ops.bce_with_logits(logits, x)) / len(x)
        # Appendix B: KL = -1/2 sum_j [1 + log sigma_j^2 - mu_j^2 - sigma_j^2]
        kl = ops.sum(nn.kl_standard_normal(mu, log_var)) / len(x)
        return reconstruction + kl, reconstruction, kl

    def noise(self, count, *, rng):
        """float32 (count, J) from N(0, I), drawn from `rng`: the `eps` of `loss`, the `z` of `generate`."""
        return rng.standard_normal((count, self.config.latent), dtype=np.float32)

    def generate(self, z):
        """The pixel means (B, D), in [0, 1], of images with codes z (B, J), and no draws from them."""
        return ops.sigmoid(self.decode(z))
