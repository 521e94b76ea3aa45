"""How a Transformer is told where its tokens stand: four codes, and none.

    learned     a vector for each place, added to the tokens (Gehring et al. 2017; GPT-2)
    sinusoidal  sines and cosines of many wavelengths, added to the tokens (Vaswani et al. 2017, section 3.5)
    rotary      queries and keys are turned by angles that grow with the place, so that their product depends
                on the distance alone (Su et al., RoFormer, 2021, arXiv 2104.09864)
    alibi       scores go down in proportion to the distance (Press et al., Train short, test long, 2022)

The first two have no word for a place beyond the context. The others know distances only.

Letters: B batch, T tokens, S keys, C width, H heads, D head size.
"""

import copy
import math

import numpy as np

from ..autograd import ops

POSITIONS = ("learned", "sinusoidal", "rotary", "alibi", "none")


def sinusoidal_table(places, width):
    """float32 (places, C): section 3.5 of Vaswani et al.

    PE(pos, 2i) = sin(pos / 10000^(2i / C)),   PE(pos, 2i + 1) = cos(pos / 10000^(2i / C))
    """
    angles = _angles(places, width)
    table = np.zeros((places, width), np.float32)
    table[:, 0::2], table[:, 1::2] = np.sin(angles), np.cos(angles)[:, : width // 2]
    return table


def _angles(places, width):
    """float64 (places, ceil(width / 2)): pos / 10000^(2i / width)."""
    return np.outer(np.arange(places), 10000.0 ** (-np.arange(0, width, 2) / width))


class Rotary:
    """Turns pairs of numbers of a query or key by the angle of its place: eq. 34 of Su et al.

    Pairs are (i, i + D/2), as in GPT-NeoX and LLaMA, where the paper has neighbours; for a network that
    learns its weights that is only another order.
    """

    def __init__(self, places, size):
        angles = _angles(places, size).astype(np.float32)  # (places, D / 2)
        self.cos, self.sin = np.cos(angles), np.sin(angles)

    def at(self, start):
        """The same for texts whose first token stands at place `start`."""
        later = copy.copy(self)
        later.cos, later.sin = self.cos[start:], self.sin[start:]
        return later

    def __call__(self, x):
        """x (B, H, T, D), whose first token stands at place 0."""
        cos, sin = (table[: x.shape[-2]].astype(x.dtype) for table in (self.cos, self.sin))
        first, second = ops.split(x, 2, axis=-1)
        return ops.concatenate(first * cos - second * sin, first * sin + second * cos, axis=-1)


def alibi_slopes(heads):
    """float32 (H,): 2^(-8/H), 2^(-16/H), ..., 2^-8 for a power of two (Press et al., section 3).

    For other numbers of heads, as their code has it: those of the power of two below, then every other one of
    the power above.
    """
    power = 2 ** math.floor(math.log2(heads))
    slopes = [2.0 ** (-8 * (i + 1) / power) for i in range(power)]
    more = [2.0 ** (-4 * (2 * i + 1) / power) for i in range(heads - power)]
    return np.array(slopes + more, np.float32)


def alibi_bias(slopes, tokens, keys):
    """float32 (H, T, S): -slope |t - s|, where the last token stands at the last key."""
    places = np.arange(keys - tokens, keys)[:, None]
    return -slopes[:, None, None] * np.abs(places - np.arange(keys)).astype(np.float32)
