"""Measures of what generative models make, beyond their own losses."""

from .bleu import bleu
from .modes import Coverage, mode_coverage

__all__ = ["Coverage", "bleu", "mode_coverage"]
