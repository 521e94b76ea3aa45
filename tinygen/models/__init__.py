"""Generative models, and the classifier that judges what they make: a paper a file."""

from .beam import BeamConfig, Hypothesis, beam_search
from .classifier import Classifier, ClassifierConfig
from .gan import GAN, GANConfig
from .gpt import GPT, GPTConfig
from .looking import AttentionMaps, Guesses, guesses
from .quantiser import VectorQuantiser, perplexity
from .sampling import SamplingConfig, generate, greedy, until
from .translator import Translator, TranslatorConfig
from .vae import VAE, VAEConfig
from .vqvae import VQVAE, VQVAEConfig

__all__ = [
    "GAN",
    "GPT",
    "VAE",
    "VQVAE",
    "AttentionMaps",
    "BeamConfig",
    "Classifier",
    "ClassifierConfig",
    "GANConfig",
    "GPTConfig",
    "Guesses",
    "Hypothesis",
    "SamplingConfig",
    "Translator",
    "TranslatorConfig",
    "VAEConfig",
    "VQVAEConfig",
    "VectorQuantiser",
    "beam_search",
    "generate",
    "greedy",
    "guesses",
    "perplexity",
    "until",
]
