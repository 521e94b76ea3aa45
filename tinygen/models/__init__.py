"""Generative models: a paper a file."""

from .vae import VAE, VAEConfig

__all__ = ["VAE", "VAEConfig"]
