"""What a classifier sees in images: the features that sets of images are compared by, and its guesses.

    Heusel et al., GANs trained by a two time-scale update rule (2017): features of a network for photographs
    Binkowski et al., Demystifying MMD GANs (2018), section 5: of one for the digits of MNIST, like ours

Distances of features are no better than the network that they come from, and mean something only beside
others of the very same network. Ours is a small classifier (models/classifier.py), without its last layer.
"""

import numpy as np

from ..autograd import no_grad, ops
from ..data import in_order

AT_ONCE = 500  # images; the features of one do not depend on the others


@no_grad()
def seen(model, images):
    """Features and guesses.

    Args:
        model: a Classifier that is switched to evaluation.
        images: (N, H, W), ink in [0, 1], at least one.

    Returns:
        features: float32 (N, D).
        guesses: for each factor the probabilities of its values, float32 (N, values).

    Raises:
        ValueError: images of another size than the classifier's.
    """
    features, guesses = [], []
    for (some,) in in_order(np.asarray(images, np.float32), size=AT_ONCE):
        found = model.features(some)
        features.append(found.numpy())
        guesses.append([ops.softmax(logits, axis=-1).numpy() for logits in model.logits(found)])
    return np.concatenate(features), [np.concatenate(factor) for factor in zip(*guesses)]
