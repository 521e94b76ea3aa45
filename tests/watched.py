"""An array that notes the dtype of every array made from it: temporaries inside of operations included."""

import numpy as np

seen = set()  # names of dtypes


class Watched(np.ndarray):
    def __array_finalize__(self, source):
        seen.add(self.dtype.name)


def watched(array):
    """The same numbers, watched."""
    return array.view(Watched)
