"""Measures of what generative models make, beyond their own losses."""

from .bleu import bleu
from .classes import ClassSpread, class_spread
from .disentanglement import Information, information
from .frechet import fid, frechet_distance, gaussian_of
from .kernel_distance import KernelDistance, kid
from .likelihood import LogLikelihood, active_units, bits_per_dimension, kl_per_dimension, log_likelihood
from .memorisation import Memorisation, memorisation
from .modes import Coverage, mode_coverage
from .neighbours import Neighbourhoods, neighbourhoods

__all__ = [
    "ClassSpread",
    "Coverage",
    "Information",
    "KernelDistance",
    "LogLikelihood",
    "Memorisation",
    "Neighbourhoods",
    "active_units",
    "bits_per_dimension",
    "bleu",
    "class_spread",
    "fid",
    "frechet_distance",
    "gaussian_of",
    "information",
    "kid",
    "kl_per_dimension",
    "log_likelihood",
    "memorisation",
    "mode_coverage",
    "neighbourhoods",
]
