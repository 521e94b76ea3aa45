"""A whole training step of real models: the loss, its gradients, their norm clipped, the optimizer's move.

    GPT   nanoGPT's setting for a CPU, and one of 11 million parameters: no biases, no dropout, one matrix for
          tokens in and out; AdamW that decays matrices alone, gradients clipped to a norm of 1
    VAE   PyTorch's example for MNIST, Adam
    GAN   a DCGAN for MNIST, 32 filters, batch norm in both networks, Adam: a step of each player

Counted are the operations of products, forward and backward. Batch and noise are the same at every step, for
the step is measured, and not a data loader. Compared before anything is timed: the loss, the gradient of
every parameter, and the losses after one, two and three steps. (Whether a peer clips does not show in them:
Adam divides by the gradient's size, and hardly notices a factor.)

Peers: PyTorch as it is and by torch.compile (steps_torch.py), and JAX, with the whole step under one jit that
gives its old arrays away (steps_jax.py; no GAN). Each has models of its own, written as its users write them,
which begin with our weights.
"""

import importlib
import math
from dataclasses import dataclass

import numpy as np

from tinygen import kernels
from tinygen.models import GAN, GPT, GANConfig, GPTConfig
from tinygen.models.image_networks import halvings
from tinygen.models.vae import VAE, VAEConfig
from tinygen.optim import Adam, AdamW, clip_by_norm

from .cases import Case, as_arrays

LR, BETAS, EPS = 1e-3, (0.9, 0.99), 1e-8
GAN_ADAM = {"lr": 2e-4, "betas": (0.5, 0.999), "eps": EPS}  # DCGAN's
NANOGPT = GPTConfig(vocabulary=65, context=64, layers=4, heads=4, width=128, bias=False)
LARGE = GPTConfig(vocabulary=65, context=256, layers=6, heads=6, width=384, bias=False)
MNIST = VAEConfig(height=28, width=28, hidden=400, latent=20)
DCGAN = GANConfig(height=28, width=28, latent=100, channels=32, critic_norm="batch")
MODELS = {GPTConfig: GPT, VAEConfig: VAE, GANConfig: GAN}


@dataclass
class Step(Case):
    """Training of a model on the same batch, `inputs`, again and again. What takes its steps has two methods:

        gradients()    the loss and the gradient of every parameter, in the order of `weights`
        __call__()     takes a step, and returns the loss that there was before

    Args:
        config: a GPTConfig, a VAEConfig or a GANConfig, which says what model it is.
        decay: the weight decay of matrices, AdamW's.
        clip: the most that the norm of all gradients may be, or None.
    """

    config: object = None
    decay: float = 0.0
    clip: float | None = None

    def model(self):
        """Ours, as all begin."""
        return MODELS[type(self.config)](self.config, rng=np.random.default_rng(0))

    def weights(self):
        """name -> array, for the peers, whose VAE is five layers in a row."""
        ours = self.model().named_parameters()
        theirs = ((name.replace("layers.0.", "").replace("decoder.pixels", "pixels"), p) for name, p in ours)
        return {name: parameter.numpy().copy() for name, parameter in theirs}

    def serves(self, name):
        return name in self.functions

    def candidate(self, library):
        return self.functions[library.name](self)

    def results(self, candidate):
        gradients = [x.copy() for x in as_arrays(candidate.gradients())]  # before a step changes them
        candidate()
        return [*gradients, *as_arrays([candidate() for _ in range(3)])]

    def truth(self):
        with kernels.use("reference"):
            return self.results(self.functions["tinygen"](self, np.float64))


class Trainer:
    """Ours."""

    def __init__(self, case, dtype=np.float32):
        self.model, self.clip = case.model().astype(dtype), case.clip
        self.batch = [x.astype(dtype) if x.dtype.kind == "f" else x for x in case.inputs]
        settings = {"lr": LR, "betas": BETAS, "eps": EPS, "weight_decay": case.decay, "matrices_only": True}
        self.optimizer = AdamW(self.model.parameters(), **settings)

    def backward(self):
        self.optimizer.zero_grad()
        loss = self.model.loss(*self.batch)
        loss = loss[0] if isinstance(loss, tuple) else loss  # a VAE also tells the parts of it
        loss.backward()
        return loss.numpy()

    def gradients(self):
        return [self.backward(), *[parameter.grad.numpy() for parameter in self.model.parameters()]]

    def __call__(self):
        loss = self.backward()
        if self.clip:
            clip_by_norm(self.optimizer.parameters, self.clip)
        self.optimizer.step()
        return loss


class GANTrainer:
    """Ours, of a GAN: first the discriminator moves, then the generator, against the one that has moved."""

    def __init__(self, case, dtype=np.float32):
        self.gan = case.model().astype(dtype)
        self.x, *self.noise = [x.astype(dtype) for x in case.inputs]
        players = self.gan.discriminator, self.gan.generator
        self.optimizers = [Adam(player.parameters(), **GAN_ADAM) for player in players]

    def backward(self, turn):
        self.optimizers[turn].zero_grad()
        if turn:
            loss = self.gan.generator_loss(self.noise[1])
        else:
            loss, _ = self.gan.discriminator_loss(self.x, self.noise[0])
        loss.backward()
        return loss.numpy()

    def gradients(self):
        losses = np.stack([self.backward(turn) for turn in (0, 1)])
        return [losses, *[parameter.grad.numpy() for parameter in self.gan.parameters()]]

    def __call__(self):
        losses = []
        for turn, optimizer in enumerate(self.optimizers):
            losses.append(self.backward(turn))
            optimizer.step()
        return np.stack(losses)


def _peer(module, trainer="Trainer", **options):
    """A function of a case, which imports what a library's own process needs, and no other."""
    return lambda case: getattr(importlib.import_module(f".{module}", __package__), trainer)(case, **options)


TRAINERS = {
    "tinygen": Trainer,
    "PyTorch": _peer("steps_torch"),
    "torch.compile": _peer("steps_torch", compiled=True),
    "JAX": _peer("steps_jax"),
}

GAN_TRAINERS = {
    "tinygen": GANTrainer,
    "PyTorch": _peer("steps_torch", "GANTrainer"),
    "torch.compile": _peer("steps_torch", "GANTrainer", compiled=True),
}


def gpt_work(config, batch):
    """Operations of the products of a step: of each token with each weight, and those of causal attention.

    A product forward has two backward; attention 2.5 times as much, since it makes its scores again.
    """
    tokens, pairs = batch * config.context, batch * config.context * (config.context + 1) // 2
    weights = config.layers * 12 * config.width**2 + config.vocabulary * config.width
    return 6 * tokens * weights + 14 * config.layers * pairs * config.width


def vae_work(config, batch):
    """Operations of the products of a step; the gradient of the images is not asked for."""
    first = config.height * config.width * config.hidden
    return batch * (2 * 2 * first + 6 * (3 * config.latent * config.hidden + first))


def gan_work(config, batch):
    """Operations of the products of a step of each player, of a DCGAN."""
    sizes = halvings(config.shape)
    widths = [1, *(config.channels << stage for stage in range(len(sizes) - 1))]
    # Multiplications for an image: of the convolutions, which are each other's mirror, and of both networks.
    each = [25 * m * n * math.prod(size) for m, n, size in zip(widths, widths[1:], sizes[1:])]
    features = widths[-1] * math.prod(sizes[-1])
    g, d = sum(each) + config.latent * features, sum(each) + features
    discriminator = g + 2 * (3 * d - each[0])  # of images real and made; their gradients are not asked for
    generator = 3 * g - config.latent * features + 2 * d  # of the discriminator the gradients of images alone
    return 2 * batch * (discriminator + generator)


def cases():
    rng = np.random.default_rng(0)
    for config, batch in ((NANOGPT, 12), (LARGE, 8)):
        tokens = rng.integers(0, config.vocabulary, (batch, config.context + 1))
        shape = f"GPT {config.layers}x{config.width}, {batch}x{config.context}"
        inputs, settings = [tokens[:, :-1], tokens[:, 1:]], {"config": config, "decay": 0.1, "clip": 1.0}
        yield Step("step", shape, gpt_work(config, batch), TRAINERS, inputs, **settings)
    noise = rng.standard_normal((1, 128, MNIST.latent), dtype=np.float32)
    inputs, shape = [rng.random((128, 28, 28), np.float32), noise], "VAE 784-400-20, 128"
    yield Step("training", shape, vae_work(MNIST, 128), TRAINERS, inputs, config=MNIST)
    inputs = [rng.random((64, 28, 28), np.float32), *rng.standard_normal((2, 64, 100), dtype=np.float32)]
    # Of 800,000 numbers some are so near the kink of leaky ReLU that rounding takes them across: then the
    # gradients of the first layer, else equal to 1e-6, differ by 1e-3, and a game lets that grow.
    settings = {"config": DCGAN, "tolerance": 5e-3}
    yield Step("step", "DCGAN 28x28x32, 64", gan_work(DCGAN, 64), GAN_TRAINERS, inputs, **settings)
