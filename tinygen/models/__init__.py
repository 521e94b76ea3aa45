"""Generative models: a paper a file."""

from .gpt import GPT, GPTConfig
from .sampling import SamplingConfig, generate, greedy, until
from .vae import VAE, VAEConfig

__all__ = ["GPT", "GPTConfig", "SamplingConfig", "VAE", "VAEConfig", "generate", "greedy", "until"]
