"""Does a generator repeat its training images? By how much nearer samples are to those than to others.

    Theis, van den Oord & Bethge, A note on the evaluation of generative models (2016), arXiv 1511.01844,
        section 3.4: why a nearest neighbour alone tells little
    Meehan, Chaudhuri & Dasgupta, A non-parametric test to detect data-copying in generative models (2020),
        arXiv 2004.05675: comparing with data that were held out

For an image x let

    r(x) = |x - nearest training image| / |x - nearest held-out image|

A copy has r near 0. Blur, which brings an image nearer to all others, brings it nearer to both; by the first
distance alone the mean of all images would look like a copy of one. What r may be where nothing is copied the
held-out images tell, each left out of its own comparison.

Distances are of pixels, so a copy that is shifted by a few is not found. Left out: distances of features,
which would find it, and which take images for near that nobody would call copies.

Letters: N samples, H height, W width.
"""

from dataclasses import dataclass

import numpy as np

from .neighbours import AT_ONCE, blocks


@dataclass(frozen=True)
class Memorisation:
    """What `memorisation` found.

    share      of samples with r at most as small as that of a few held-out images; the copies are in it
    expected   the share of held-out images: as many samples would be so near where nothing is copied
    judged     how many held-out images that is a share of
    ratios     (N,) float64, r of each sample
    nearest    (N,) integers: its nearest training image
    distance   (N,) float64: how far that is, in units of ink: the root of the sum over squared pixels
    """

    share: float
    expected: float
    judged: int
    ratios: np.ndarray
    nearest: np.ndarray
    distance: np.ndarray

    @property
    def error(self):
        """The standard error of the share where nothing is copied: of N samples, and of what is expected."""
        p = self.expected
        return float(np.sqrt(p * (1 - p) * (1 / len(self.ratios) + 1 / self.judged)))

    def most_alike(self, count):
        """The numbers of the samples that are most like copies, the most suspicious first: (count,)."""
        return np.argsort(self.ratios, kind="stable")[:count]


def memorisation(samples, train, held_out, *, quantile=0.01, judged=2000, at_once=AT_ONCE):
    """The Memorisation of samples: which share of them repeats training images.

    Args:
        samples: (N, H, W), ink in [0, 1].
        train: (.., H, W), what the generator has seen.
        held_out: (.., H, W), at least 2, of the same kind and not seen.
        quantile: the share of held-out images whose r counts as near, in (0, 1).
        judged: how many held-out images, the first ones, tell what r may be. All of them are compared with.
        at_once: distances that are in memory at once.

    Raises:
        ValueError: other shapes, no images, numbers that are not finite, integers in one set beside fractions
            in another, or a quantile out of its range.
    """
    sets = {"samples": samples, "train": train, "held_out": held_out}
    sets = {name: np.asarray(images) for name, images in sets.items()}
    whole = {name: x.dtype.kind != "f" for name, x in sets.items()}
    if len(set(whole.values())) > 1:
        told = ", ".join(f"{x.dtype} {name}" for name, x in sets.items())
        raise ValueError(f"memorisation: expected images of one scale, got {told}; divide bytes by 255")
    sets = {name: x.astype(np.float32) if whole[name] else x for name, x in sets.items()}
    for name, x in sets.items():
        if not np.isfinite(x).all():
            raise ValueError(
                f"memorisation: expected finite images, got NaN or infinity among {name}; look for what made "
                "them"
            )
    shapes = {name: images.shape for name, images in sets.items()}
    if len({shape[1:] for shape in shapes.values()}) > 1 or not all(map(len, sets.values())):
        told = ", ".join(f"{shape} {name}" for name, shape in shapes.items())
        raise ValueError(f"memorisation: expected images of one size in each set, got {told}; give such")
    if len(held_out) < 2 or judged < 1:
        raise ValueError(
            f"memorisation: expected at least 2 held-out images, to judge 1 or more by the others, got "
            f"{len(held_out)} to judge {judged}; give more"
        )
    if not 0 < quantile < 1:
        raise ValueError(f"memorisation: expected 0 < quantile < 1, got {quantile}; 0.01 is usual")
    samples, train, held_out = (images.reshape(len(images), -1) for images in sets.values())
    nearest, distance = _nearest(samples, train, at_once)
    _, elsewhere = _nearest(samples, held_out, at_once)
    some = held_out[:judged]
    _, usual = _nearest(some, train, at_once)
    _, usual_elsewhere = _nearest(some, held_out, at_once, itself=True)
    ratios, usual_ratios = _ratios(distance, elsewhere), _ratios(usual, usual_elsewhere)
    near = np.quantile(usual_ratios, quantile, method="higher")
    return Memorisation(
        share=float((ratios <= near).mean()),
        expected=float((usual_ratios <= near).mean()),
        judged=len(some),
        ratios=ratios,
        nearest=nearest,
        distance=distance,
    )


def _ratios(distance, elsewhere):
    """r; 1 where an image is found in both sets."""
    ratios = np.ones(len(distance))
    np.divide(distance, elsewhere, out=ratios, where=elsewhere > 0)
    return np.where((elsewhere == 0) & (distance > 0), np.inf, ratios)


def _nearest(x, y, at_once, *, itself=False):
    """Of each row of x the nearest row of y, and its distance; not its own, where x is the beginning of y.

    The search is by matrix products in the images' dtype, that of what it found is computed by subtracting,
    in float64: so it is exactly 0 for a copy.
    """
    found = np.empty(len(x), np.int64)
    for rows, squares in blocks(x, y, at_once):
        if itself:
            squares[np.arange(len(squares)), np.arange(rows.start, rows.start + len(squares))] = np.inf
        found[rows] = squares.argmin(axis=1)
    difference = x.astype(np.float64) - y[found]
    return found, np.sqrt(np.square(difference).sum(axis=1))
