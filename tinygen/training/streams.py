"""Random streams: what is drawn depends on the seed, on what it is for, and on the step, and on nothing else.

So no state of a generator has to be saved for a training to go on as if it had never stopped, an evaluation
or a picture in between shifts nothing, and any single step can be repeated: to look for a NaN, or to profile.
"""

import numpy as np

PURPOSES = ("weights", "order", "noise", "evaluation", "pictures")


def stream(seed, purpose, *place):
    """A np.random.Generator for one of PURPOSES, at a place (whole numbers such as the step).

    Streams of different purposes or places are independent of one another. Making one takes 15 us.
    """
    key = (PURPOSES.index(purpose), *place)
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
