"""Measures of what generative models make, beyond their own losses."""

from .bleu import bleu

__all__ = ["bleu"]
