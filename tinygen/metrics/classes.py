"""Which classes samples belong to, as a classifier sees them: does a generator make all ten digits?

    Salimans et al., Improved techniques for training GANs (2016), arXiv 1606.03498, section 4: a classifier
        as the judge, here without their score

Left out: the Inception score, which is exp of a mean KL divergence: it says neither which class is missing
nor that the digits look like any.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ClassSpread:
    """How samples spread over K classes.

    shares      (K,): of samples to which the classifier gives each class, sum 1
    confidence  the mean probability of the class that it gives, from 1 / K to 1: low where samples are like
                none, but high does not mean that they look right
    """

    shares: np.ndarray
    confidence: float

    @property
    def bounds(self):
        """Half and one and a half times what each class would have if all had as much; for ten 5 and 15 %."""
        return 0.5 / len(self.shares), 1.5 / len(self.shares)

    @property
    def even(self):
        """Whether all classes are there, each with a share within the bounds."""
        low, high = self.bounds
        return bool(((self.shares >= low) & (self.shares <= high)).all())


def class_spread(probabilities):
    """The ClassSpread of samples.

    Args:
        probabilities: (N, K), a row for each sample, each with sum 1.

    Raises:
        ValueError: not of that shape, or rows that are no probabilities.
    """
    p = np.asarray(probabilities, np.float64)
    rows = p.ndim == 2 and len(p) and (p >= 0).all() and np.allclose(p.sum(axis=-1), 1, atol=1e-3)
    if not rows:
        raise ValueError(
            f"class_spread: expected rows of probabilities (N, K), at least one, got {p.shape} from "
            f"{p.min(initial=np.inf):.3g} to {p.max(initial=-np.inf):.3g}; take the softmax of logits"
        )
    counts = np.bincount(p.argmax(axis=1), minlength=p.shape[1])
    return ClassSpread(counts / len(p), float(p.max(axis=1).mean()))
