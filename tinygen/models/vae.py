"""The variational autoencoder: an encoder, a decoder, and a bound on the likelihood that trains both.

    Kingma & Welling, Auto-Encoding Variational Bayes (2014), arXiv 1312.6114; equation numbers are theirs
    Burda, Grosse & Salakhutdinov, Importance Weighted Autoencoders (2016), arXiv 1509.00519 [IWAE]
    Higgins et al., beta-VAE (2017): the KL term weighted
    Chen, Li, Grosse & Duvenaud, Isolating sources of disentanglement (2018), arXiv 1802.04942: beta-TCVAE
    Kingma et al., Improved Variational Inference with Inverse Autoregressive Flow (2016), arXiv 1606.04934,
    appendix C.8: free bits
    Sohn, Lee & Yan, Learning Structured Output Representation (2015): a condition given to both networks

An image x is taken to come from a hidden code z: z ~ N(0, I), then x ~ p(x|z), which is the decoder. The
encoder q(z|x) guesses the code of an image. What is minimised is the negative of their bound L (eq. 3):

    -L(x) = KL(q(z|x) || N(0, I)) - E_q(z|x)[log p(x|z)]  >=  -log p(x)

With k samples of z an image, the bound of IWAE (eq. 8 there) is nearer to log p(x), the more the larger k:

    L_k(x) = E[log 1/k sum_i w_i]  <=  log p(x),    w_i = p(x, z_i) / q(z_i|x),    L_1 = L

What p(x|z) is, likelihoods.py tells; what the two networks are, image_networks.py.

Differences from the first paper: by default ReLU where it has tanh, as in PyTorch's basic VAE example. Left
out: posteriors other than a diagonal Gaussian, and a prior that is learned.

Letters: B batch, H height, W width, J latent dimensions, K numbers that describe a condition, k samples.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .. import nn
from ..autograd import ops
from ..configuration import check, option
from .image_networks import ACTIVATIONS, ConvDecoder, ConvEncoder, MLPDecoder, MLPEncoder, checked_condition
from .likelihoods import LIKELIHOODS


@dataclass(frozen=True, kw_only=True)
class VAEConfig:
    """What a VAE is made of, and which bound trains it. PyTorch's example for MNIST: 28, 28, 400 and 20.

    Raises:
        ValueError: a value out of its range, or one that nothing makes use of.
    """

    height: int = option(8, "pixels", at_least=1)
    width: int = option(8, "pixels", at_least=1)
    levels: int = option(256, "grey levels of a pixel", at_least=2)
    conditions: int = option(0, "numbers that describe what is given of an image", at_least=0)
    network: str = option("mlp", "linear layers, or convolutions", choices=("mlp", "conv"))
    hidden: int = option(128, "units of a hidden layer", at_least=1)
    layers: int | None = option(None, "hidden layers of the encoder, and of the decoder (mlp: 1)", at_least=1)
    channels: int | None = option(None, "of the largest feature maps (conv: 32)", at_least=1)
    activation: str = option("relu", "of hidden layers", choices=ACTIVATIONS)
    latent: int = option(8, "dimensions of the code z", at_least=1)
    likelihood: str = option("cross-entropy", "what pixels are taken to be", choices=LIKELIHOODS)
    samples: int = option(1, "k, codes an image: the importance-weighted bound, from 2 on", at_least=1)
    beta: float = option(1.0, "weight of the KL term", at_least=0)
    independence: float = option(
        0.0, "weight of the dimensions' dependence on one another; beta-TCVAE's beta - 1", at_least=0
    )
    free_bits: float = option(
        0.0, "nats of KL in each dimension of the code that cost nothing, against collapse", at_least=0
    )
    kl_warmup: int = option(
        0, "steps in which the KL term's weight rises from 0, against collapse", at_least=0
    )

    uses: ClassVar = {"network": {"mlp": ("layers",), "conv": ("channels",)}}

    def __post_init__(self):
        check(self)
        for name, unused in (("beta", 1.0), ("independence", 0.0), ("free_bits", 0.0), ("kl_warmup", 0)):
            if self.samples > 1 and getattr(self, name) != unused:
                raise ValueError(
                    f"{name}: is not used with several samples, whose bound has no KL term of its own to be "
                    "weighed; leave it out, or take 1 sample"
                )


class VAE(nn.Module):
    """A Gaussian encoder, and a decoder to a distribution of each pixel.

    With one hidden layer, the parameters have the shapes of PyTorch's example (its names in brackets), each
    with a bias beside it, for D = H * W pixels and h hidden units:

        encoder.layers.0.weight  (h, D) [fc1]        decoder.layers.0.weight  (h, J) [fc3]
        mean.weight              (J, h) [fc21]       decoder.pixels.weight    (D, h) [fc4]
        log_variance.weight      (J, h) [fc22]

    Args:
        config: a VAEConfig.
        rng: the np.random.Generator that draws the weights.
    """

    def __init__(self, config, *, rng):
        self.config = config
        self.shape = config.height, config.width
        self.likelihood = LIKELIHOODS[config.likelihood](config.levels)
        common = {
            "hidden": config.hidden,
            "activation": config.activation,
            "conditions": config.conditions,
            "rng": rng,
        }
        if config.network == "mlp":
            encoder, decoder = MLPEncoder, MLPDecoder
            common["layers"] = config.layers or 1
        else:
            encoder, decoder = ConvEncoder, ConvDecoder
            common["channels"] = config.channels or 32
        self.encoder = encoder(self.shape, **common)
        self.mean = nn.Linear(config.hidden, config.latent, rng=rng)
        self.log_variance = nn.Linear(config.hidden, config.latent, rng=rng)
        self.decoder = decoder(config.latent, self.shape, numbers=self.likelihood.numbers, **common)

    def observe(self, x, *, rng):
        """Images x (B, H, W) in [0, 1] as the likelihood models them; see likelihoods.py."""
        return self.likelihood.observe(x, rng=rng)

    def encode(self, x, c=None):
        """The parameters of q(z|x) = N(mu, diag(exp(log_var))): appendix C.2, eq. 12.

        Args:
            x: (B, H, W), as `observe` returns them.
            c: (B, K), what is given of each image; None will do where K is 0.

        Returns:
            mu, log_var: (B, J) each.

        Raises:
            ValueError: x or c has another shape.
        """
        if tuple(x.shape[1:]) != self.shape:
            raise ValueError(
                f"VAE.encode: expected images of shape (B, {self.shape[0]}, {self.shape[1]}), got "
                f"{tuple(x.shape)}; reshape them"
            )
        h = self.encoder(x, self._checked("encode", c, len(x)))
        return self.mean(h), self.log_variance(h)

    def reparameterise(self, mu, log_var, eps):
        """z = mu + sigma * eps: a sample of q(z|x) where eps is one of N(0, I); section 2.4. All (..., J)."""
        return mu + ops.exp(0.5 * log_var) * eps

    def decode(self, z, c=None):
        """The distribution of the pixels (B, H, W), from codes z (B, J) and what is given, c (B, K).

        Raises:
            ValueError: z or c has another shape.
        """
        if tuple(z.shape[1:]) != (self.config.latent,):
            raise ValueError(
                f"VAE.decode: expected codes of shape (B, {self.config.latent}), got {tuple(z.shape)}; use "
                "VAE.noise"
            )
        return self.likelihood.distribution(self.decoder(z, self._checked("decode", c, len(z))))

    def loss(self, x, eps, c=None, *, weight=1.0):
        """What is minimised, and the two terms of -L(x), in nats an image: means over the batch.

        With one sample it is eq. 10, the form of the estimator (eq. 7) in which the KL term is exact:
        reconstruction + weight * (beta * kl + independence * `total_correlation`), where of each dimension of
        the code a KL below `free_bits`, on average over the batch, counts as that much. Of a minibatch in
        pieces that average, and the total correlation, are of a piece: fewer codes than it could be.
        With k samples it is -L_k, in which nothing is weighted and nothing free.

        Args:
            x: (B, H, W), as `observe` returns them.
            eps: (k, B, J), drawn from N(0, I), as `noise` does.
            c: (B, K).
            weight: of the KL term, beside beta; it rises from 0 to 1 in a warmup.

        Returns:
            loss, reconstruction, kl: scalars.

        Raises:
            ValueError: x, eps or c has another shape.
        """
        mu, log_var, z, reconstructions = self._sampled("loss", x, eps, c)
        # Appendix B: KL = -1/2 sum_j [1 + log sigma_j^2 - mu_j^2 - sigma_j^2]
        per_dimension = ops.sum(nn.kl_standard_normal(mu, log_var), axis=0) / len(x)
        reconstruction, kl = -ops.sum(reconstructions) / (len(eps) * len(x)), ops.sum(per_dimension)
        if len(eps) > 1:
            log_weights = reconstructions + _log_ratio(z, log_var, eps)
            bound = ops.logsumexp(log_weights, axis=0) - math.log(len(eps))
            return -ops.sum(bound) / len(x), reconstruction, kl
        config = self.config
        cost = ops.sum(ops.maximum(per_dimension, config.free_bits)) if config.free_bits else kl
        cost = config.beta * cost
        if config.independence:
            cost = cost + config.independence * total_correlation(z[0], mu, log_var)
        return reconstruction + weight * cost, reconstruction, kl

    def log_weights(self, x, eps, c=None):
        """log w_i = log p(x, z_i) - log q(z_i|x), (k, B), in nats: of IWAE, eq. 8.

        Arguments and errors are those of `loss`. Their log mean exp over i bounds log p(x), in expectation.
        """
        _, log_var, z, reconstructions = self._sampled("log_weights", x, eps, c)
        return reconstructions + _log_ratio(z, log_var, eps)

    def _sampled(self, who, x, eps, c):
        """mu and log_var (B, J), z_i = mu + sigma * eps_i, (k, B, J), and log p(x|z_i), (k, B)."""
        mu, log_var = self.encode(x, c)
        if len(eps.shape) != 3 or not len(eps) or tuple(eps.shape[1:]) != tuple(mu.shape):
            raise ValueError(
                f"VAE.{who}: expected noise of shape (k, {mu.shape[0]}, {mu.shape[1]}), got "
                f"{tuple(eps.shape)}; use VAE.noise"
            )
        count, (batch, latent) = len(eps), mu.shape
        z = self.reparameterise(mu, log_var, eps)
        c = ops.tile(c, (count, 1)) if self.config.conditions else None
        numbers = self.decoder(ops.reshape(z, (count * batch, latent)), c)
        return mu, log_var, z, self.likelihood.log_prob(numbers, x)

    def _checked(self, who, c, count):
        return checked_condition(f"VAE.{who}", c, count, self.config.conditions)

    def noise(self, *sizes, rng):
        """float32 (*sizes, J) from N(0, I), drawn from `rng`: the `eps` of `loss`, the `z` of `generate`."""
        return rng.standard_normal((*sizes, self.config.latent), dtype=np.float32)

    def generate(self, z, c=None):
        """The mean images (B, H, W), in [0, 1], of codes z (B, J) and c (B, K); no draws from them."""
        return self.likelihood.grey(self.decode(z, c).mean)


def _log_ratio(z, log_var, eps):
    """log p(z) - log q(z|x), (k, B), at z = mu + sigma * eps. The 2 pi of both Gaussians cancel."""
    return 0.5 * ops.sum(ops.square(eps) + log_var - ops.square(z), axis=-1)


def total_correlation(z, mu, log_var):
    """How far the dimensions of codes are from independent, in nats: KL(q(z) || prod_j q(z_j)), a scalar.

    Chen et al., eq. 2, with q(z) the mixture of the posteriors q(z|x_m) of this batch in place of that of all
    data. So it is biased, as their estimates are: the posterior of each code is among the B.

    Args:
        z: codes (B, J), one of each posterior.
        mu, log_var: (B, J), of the posteriors.
    """
    log_q = nn.Normal(mu, log_var).log_prob(ops.expand_dims(z, 1))  # (B, B, J): each code by each posterior
    joint = ops.logsumexp(ops.sum(log_q, axis=-1), axis=1)
    apart = ops.sum(ops.logsumexp(log_q, axis=1), axis=-1)
    return ops.mean(joint - apart) + (z.shape[1] - 1) * math.log(len(z))
