"""How good the images are that a generator makes: what `tinygen evaluate RUN --quality` tells.

All figures but one are of features that the judge of the data set sees (judges.py), samples beside as many
test images, which the generator has not seen. A figure is named with its judge and with N, the number of
samples: by another judge, or at another N, it would be another. What the best possible generator gets at this
N, training images in place of samples tell. The figure that is not of features is that of copies: of pixels.

A network has no unit for its features, and KID's kernel adds a 1 to their products. So they are divided by
their root mean square over the test images. Then samples whose features are all 0 have about the number of
features as their FID.
"""

import numpy as np

from .. import metrics
from ..metrics.features import seen

MOST = 10_000  # samples; for twice as many, neighbours would take four times as long


def quality(samples, train, test, by, rng):
    """Judge samples of images.

    Args:
        samples: float32 (.., H, W), ink in [0, 1], what a generator made.
        train: float32 (.., H, W), what it was trained on.
        test: float32 (.., H, W), images of the same kind that it has not seen.
        by: the Judge of their data set, see judges.py.
        rng: the np.random.Generator that deals rows to KID's subsets, and picks training images.

    Returns:
        metrics: name -> float; each name says by which judge, and N, the least of the three numbers of images
            and 10,000.
        remarks: lines that say more of them.

    Raises:
        ValueError: images of another size than the judge's, or too few of them.
    """
    count = min(len(samples), len(train), len(test), MOST)
    samples, label = samples[:count], f"({by.name}, N {count:,})"
    real, _ = seen(by.model, test[:count])
    fake, guesses = seen(by.model, samples)
    ideal, _ = seen(by.model, train[rng.permutation(len(train))[:count]])
    unit = np.sqrt(np.square(real).mean(dtype=np.float64)) or 1.0
    found, distance = _compared(real / unit, fake / unit, rng)
    best, best_distance = _compared(real / unit, ideal / unit, rng)
    best = ", ".join(f"{name} {value:.4g}" for name, value in best.items())
    remarks = [
        f"KID {label}: {_interval(distance)} in 95 % of cases",
        f"training images in place of samples {label}: {best}; KID {_interval(best_distance)}",
    ]
    for factor, probabilities in zip(by.factors, guesses):
        spread = metrics.class_spread(probabilities)
        found[f"rarest {factor}"] = spread.shares.min()
        remarks.append(f"{factor} {label}: {_spread(spread)}")
    found = {f"{name} {label}": float(value) for name, value in found.items()}
    copies = metrics.memorisation(samples, train, test)
    found[f"copies (pixels, N {count:,})"] = copies.share
    return found, [*remarks, f"copies (pixels, N {count:,}): {_copies(copies)}"]


def _compared(real, fake, rng):
    """What features tell of samples, name -> number; and the KernelDistance."""
    fid, distance = metrics.fid(real, fake), metrics.kid(real, fake, rng=rng)
    near = metrics.neighbourhoods(real, fake)
    return {
        "FID": fid,
        "KID": distance.value,
        "KID error": distance.error,
        "precision": near.precision,
        "recall": near.recall,
        "density": near.density,
        "coverage": near.coverage,
    }, distance


def _interval(distance):
    low, high = distance.interval
    return f"from {low:.3g} to {high:.3g}"


def _spread(spread):
    """A ClassSpread in words."""
    low, high = spread.bounds
    shares = ", ".join(f"{value} {share:.1%}" for value, share in enumerate(spread.shares))
    verdict = "all" if spread.even else "not all"
    return (
        f"{shares}; {verdict} {len(spread.shares)} have {100 * low:.3g} to {100 * high:.3g} %; "
        f"mean confidence {spread.confidence:.3f}"
    )


def _copies(found):
    """A Memorisation in words."""
    (worst,) = found.most_alike(1)
    return (
        f"{found.share:.2%} of samples are so much nearer to a training image than to any test image as "
        f"{found.expected:.2%} of test images are, give or take {found.error:.2%}; most alike are sample "
        f"{worst} and training image {found.nearest[worst]}, {found.distance[worst]:.3g} apart, "
        f"{found.ratios[worst]:.2g} of the distance to a test image"
    )
