"""Data sets, as NumPy arrays. Floor 0: no autograd here.

An image set is a function of `split`, "train" or "test". It gives images float32 (N, height, width), ink in
[0, 1], and labels int64 (N,).
"""

from .batches import minibatches
from .digits import digits
from .idx import mnist, read_idx

__all__ = ["IMAGES", "digits", "minibatches", "mnist", "read_idx"]

IMAGES = {"digits": digits, "mnist": mnist}  # the image sets that a model can be trained on, by name
