"""A whole training step of real models: the loss, its gradients, their norm clipped, the optimizer's move.

    GPT   nanoGPT's setting for a CPU, and one of 11 million parameters: no biases, no dropout, one matrix for
          tokens in and out; AdamW that decays matrices alone, gradients clipped to a norm of 1
    VAE   PyTorch's example for MNIST, Adam

Counted are the operations of products, forward and backward. Batch and noise are the same at every step, for
the step is measured, and not a data loader. Compared before anything is timed: the loss, the gradient of
every parameter, and the losses after one, two and three steps. (Whether a peer clips does not show in them:
Adam divides by the gradient's size, and hardly notices a factor.)

Peers: PyTorch as it is and by torch.compile (steps_torch.py), and JAX, with the whole step under one jit that
gives its old arrays away (steps_jax.py). Each has models of its own, written as its users write them, which
begin with our weights.
"""

import importlib
from dataclasses import dataclass

import numpy as np

from tinygen import kernels
from tinygen.models import GPT, GPTConfig
from tinygen.models.vae import VAE, VAEConfig
from tinygen.optim import AdamW, clip_by_norm

from .cases import Case, as_arrays

LR, BETAS, EPS = 1e-3, (0.9, 0.99), 1e-8
NANOGPT = GPTConfig(vocabulary=65, context=64, layers=4, heads=4, width=128, bias=False)
LARGE = GPTConfig(vocabulary=65, context=256, layers=6, heads=6, width=384, bias=False)
MNIST = VAEConfig(height=28, width=28, hidden=400, latent=20)


@dataclass
class Step(Case):
    """Training of a model on the same batch, `inputs`, again and again. What takes its steps has two methods:

        gradients()    the loss and the gradient of every parameter, in the order of `weights`
        __call__()     takes a step, and returns the loss that there was before

    Args:
        config: a GPTConfig or a VAEConfig, which says what model it is.
        decay: the weight decay of matrices, AdamW's.
        clip: the most that the norm of all gradients may be, or None.
    """

    config: object = None
    decay: float = 0.0
    clip: float | None = None

    def model(self):
        """Ours, as all begin."""
        kind = GPT if isinstance(self.config, GPTConfig) else VAE
        return kind(self.config, rng=np.random.default_rng(0))

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
            return self.results(Trainer(self, np.float64))


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


def _peer(module, **options):
    """A function of a case, which imports what a library's own process needs, and no other."""
    return lambda case: importlib.import_module(f".{module}", __package__).Trainer(case, **options)


TRAINERS = {
    "tinygen": Trainer,
    "PyTorch": _peer("steps_torch"),
    "torch.compile": _peer("steps_torch", compiled=True),
    "JAX": _peer("steps_jax"),
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
