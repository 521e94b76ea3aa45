"""What a trained VAE has learnt, as images: reconstructions, samples, and a walk through its codes."""

from statistics import NormalDist

import numpy as np

from ..autograd import no_grad

SIDE = 8  # rows and columns of a panel
STOPS = 10  # of a walk where there are no classes


@no_grad()
def panels(model, images, labels, *, rng):
    """The three panels of samples.png: (title, subtitle, images) each, see `plots.save_panels`.

    Args:
        model: a VAE.
        images: test images (N, height, width) in [0, 1]. The first ones are shown, good or bad.
        labels: their classes (N,), or None.
        rng: draws the codes of the samples.
    """
    mu, _ = model.encode(images.reshape(len(images), -1))
    pairs = _pairs(model, images, mu)
    return [
        ("Reconstructions", "test images, and below each what its code decodes to", pairs),
        sample_panel(model, images.shape[1:], count=SIDE * SIDE, rng=rng),
        _manifold(model, images.shape[1:]) if mu.shape[1] == 2 else _walk(model, images, mu.numpy(), labels),
    ]


@no_grad()
def sample_panel(model, shape, *, count, rng):
    """A panel of `count` images of `shape` (height, width) whose codes are drawn from the prior, N(0, I)."""
    columns = max(SIDE, round(np.sqrt(count)))
    rows = -(-count // columns)
    images = np.zeros((rows * columns, *shape), np.float32)  # a last row that is not full ends in blanks
    images[:count] = _decoded(model, model.noise(count, rng=rng), shape)
    return "Samples", "decoded from random codes z ~ N(0, I)", images.reshape(rows, columns, *shape)


def _pairs(model, images, mu):
    """The first 32 images, each above the decoded mean of its code."""
    shown = np.arange(SIDE * SIDE // 2) % len(images)  # again from the first, where there are fewer
    shown = np.stack([images[shown], _decoded(model, mu[shown], images.shape[1:])])
    return shown.reshape(2, SIDE // 2, SIDE, *images.shape[1:]).swapaxes(0, 1)


def _walk(model, images, mu, labels):
    """Through the codes in straight lines of equally many steps.

    From a typical image of each class to that of the next; without classes, from one test image to the next.
    """
    if labels is None:
        stops, what = mu[:STOPS], "from one test image to another"
    else:
        classes = np.unique(labels)
        stops, what = [_most_central(mu[labels == k]) for k in classes], f"from {classes[0]} to {classes[-1]}"
    where = np.linspace(0, len(stops) - 1, SIDE * SIDE)  # for ten digits, seven steps from each to the next
    start = np.minimum(where.astype(int), max(0, len(stops) - 2))
    share = (where - start)[:, None].astype(np.float32)
    stops = np.stack([*stops, stops[-1]])  # so that a single one has a next
    codes = (1 - share) * stops[start] + share * stops[start + 1]
    walk = _decoded(model, codes, images.shape[1:]).reshape(SIDE, SIDE, *images.shape[1:])
    return "A walk through the codes", f"in straight lines {what}", walk


def _most_central(codes):
    """The row of (N, J) that is nearest to the mean of all."""
    return codes[((codes - codes.mean(axis=0)) ** 2).sum(axis=1).argmin()]


def _manifold(model, shape):
    """Every place of a two-dimensional code, evenly by its probability: figure 4 of Kingma & Welling."""
    places = [NormalDist().inv_cdf((i + 0.5) / SIDE) for i in range(SIDE)]
    codes = np.array([(x, -y) for y in places for x in places], np.float32)
    plane = _decoded(model, codes, shape).reshape(SIDE, SIDE, *shape)
    return "All codes", "the plane of z, evenly by probability", plane


def _decoded(model, codes, shape):
    return model.generate(codes).numpy().reshape(-1, *shape)
