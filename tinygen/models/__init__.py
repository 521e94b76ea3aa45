"""Generative models: a paper a file."""

from .gpt import GPT, GPTConfig
from .looking import AttentionMaps, Guesses, guesses
from .sampling import SamplingConfig, generate, until
from .vae import VAE, VAEConfig

__all__ = [
    "AttentionMaps",
    "GPT",
    "GPTConfig",
    "Guesses",
    "SamplingConfig",
    "VAE",
    "VAEConfig",
    "generate",
    "guesses",
    "until",
]
