"""Generative models: a paper a file."""

from .beam import BeamConfig, Hypothesis, beam_search
from .gan import GAN, GANConfig
from .gpt import GPT, GPTConfig
from .looking import AttentionMaps, Guesses, guesses
from .sampling import SamplingConfig, generate, greedy, until
from .translator import Translator, TranslatorConfig
from .vae import VAE, VAEConfig

__all__ = [
    "GAN",
    "GPT",
    "VAE",
    "AttentionMaps",
    "BeamConfig",
    "GANConfig",
    "GPTConfig",
    "Guesses",
    "Hypothesis",
    "SamplingConfig",
    "Translator",
    "TranslatorConfig",
    "VAEConfig",
    "beam_search",
    "generate",
    "greedy",
    "guesses",
    "until",
]
