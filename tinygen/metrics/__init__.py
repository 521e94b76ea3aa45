"""Measures of what generative models make, beyond their own losses."""

from .bleu import bleu
from .disentanglement import Information, information
from .likelihood import LogLikelihood, active_units, bits_per_dimension, kl_per_dimension, log_likelihood
from .modes import Coverage, mode_coverage

__all__ = [
    "Coverage",
    "Information",
    "LogLikelihood",
    "active_units",
    "bits_per_dimension",
    "bleu",
    "information",
    "kl_per_dimension",
    "log_likelihood",
    "mode_coverage",
]
