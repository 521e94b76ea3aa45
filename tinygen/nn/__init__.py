"""Layers, and what they are made of: modules, parameters, initialisers, losses and distributions."""

from . import init
from .activations import ELU, GELU, LeakyReLU, Maxout, ReLU, Sigmoid, SiLU, Softplus, Tanh
from .distributions import Bernoulli, ContinuousBernoulli, DiscretisedLogistic, Normal, kl_standard_normal
from .ema import EMA
from .images import AvgPool2d, Conv2d, ConvTranspose2d, MaxPool2d, Upsample
from .layers import Dropout, Embedding, Flatten, Linear, Reshape, Sequential
from .lora import LoRA, adapt, merge
from .losses import binary_cross_entropy_with_logits, l1_loss, mse_loss
from .minibatch import MinibatchStd
from .module import Module
from .norms import BatchNorm, GroupNorm, LayerNorm, RMSNorm
from .parameter import Parameter
from .spectral import SpectralNorm

__all__ = [
    "ELU",
    "EMA",
    "GELU",
    "AvgPool2d",
    "BatchNorm",
    "Bernoulli",
    "ContinuousBernoulli",
    "DiscretisedLogistic",
    "Normal",
    "Conv2d",
    "ConvTranspose2d",
    "Dropout",
    "Embedding",
    "Flatten",
    "GroupNorm",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LoRA",
    "MaxPool2d",
    "Maxout",
    "MinibatchStd",
    "Module",
    "Parameter",
    "RMSNorm",
    "ReLU",
    "Reshape",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softplus",
    "SpectralNorm",
    "Tanh",
    "Upsample",
    "adapt",
    "binary_cross_entropy_with_logits",
    "init",
    "kl_standard_normal",
    "l1_loss",
    "merge",
    "mse_loss",
]
