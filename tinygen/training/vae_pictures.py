"""What a trained VAE has learnt, as images: reconstructions, samples, and a walk through its codes."""

from statistics import NormalDist

import numpy as np

from .. import data
from ..autograd import no_grad
from .plots import in_pairs, in_rows

SIDE = 8  # rows and columns of a panel
STOPS = 10  # of a walk where there are no classes


@no_grad()
def panels(task, *, rng):
    """The panels of samples.png: (title, subtitle, images) each, see `plots.save_panels`.

    Reconstructions and samples; and for a model that is told nothing, which alone has one space of codes for
    all images, a walk through that.

    Args:
        task: a VAETask with its data. The first test images are shown, good or bad.
        rng: draws the codes of the samples, and what is random in looking at images.
    """
    model = task.model
    shown = np.arange(SIDE * SIDE // 2) % len(task.test)  # again from the first, where there are fewer
    observed, c = model.observe(task.test[shown], rng=rng), task.test_given[shown]
    pairs = in_pairs(observed, model.generate(model.encode(observed, c)[0], c).numpy(), SIDE)
    found = [
        ("Reconstructions", "test images, and below each what its code decodes to", np.clip(pairs, 0, 1)),
        sample_panel(model, task.given, None, count=SIDE * SIDE, rng=rng),
    ]
    if task.given:
        return found
    if model.config.latent == 2:
        return [*found, _manifold(model)]
    labels = task.known if task.known is not None and task.known.ndim == 1 else None  # factors: no classes
    return [*found, _walk(model, task.codes(rng)[0], labels)]


@no_grad()
def sample_panel(model, given, values, *, count, rng):
    """A panel of `count` images whose codes are drawn from the prior, N(0, I).

    Args:
        model: a VAE.
        given: the names of what it is told of an image, and how many values each has.
        values: (1, F), one for each name: what all images are to be. With None, where the model is told one
            thing, each column has a value of it and each row a code; where it is told several, all is drawn.
        count: how many images.
        rng: draws them.
    """
    sizes = list(given.values())
    columns = sizes[0] if len(sizes) == 1 and values is None else max(SIDE, round(np.sqrt(count)))
    words, c = "decoded from random codes z ~ N(0, I)", None
    z = model.noise(count, rng=rng)
    if values is not None:
        c = data.one_hot(np.repeat(values, count, axis=0), sizes)
        words += ", given " + ", ".join(f"{name} {value}" for name, value in zip(given, values[0]))
    elif len(sizes) == 1:
        at = np.arange(count)
        z, c = z[at // columns], data.one_hot(at[:, None] % columns, sizes)
        words = f"a row has one random code, a column one {next(iter(given))}"
    elif sizes:
        c = data.one_hot(np.stack([rng.integers(size, size=count) for size in sizes], axis=1), sizes)
        words += f", and of random {' and '.join(given)}"
    return "Samples", words, in_rows(model.generate(z, c).numpy(), columns)


def _walk(model, mu, labels):
    """Through the codes in straight lines of equally many steps.

    From a typical image of each class to that of the next; without classes, from one test image to the next.
    """
    if labels is None:
        stops, what = mu[:STOPS], "from one test image to another"
    else:
        classes = np.unique(labels)
        stops, what = [_most_central(mu[labels == k]) for k in classes], f"from {classes[0]} to {classes[-1]}"
    where = np.linspace(0, len(stops) - 1, SIDE * SIDE)  # for ten digits, seven steps from each to the next
    start = where.astype(int)
    share = (where - start)[:, None].astype(np.float32)
    stops = np.stack([*stops, stops[-1]])  # so that the last one has a next
    walk = model.generate((1 - share) * stops[start] + share * stops[start + 1]).numpy()
    return "A walk through the codes", f"in straight lines {what}", in_rows(walk, SIDE)


def _most_central(codes):
    """The row of (N, J) that is nearest to the mean of all."""
    return codes[((codes - codes.mean(axis=0)) ** 2).sum(axis=1).argmin()]


def _manifold(model):
    """Every place of a two-dimensional code, evenly by its probability: figure 4 of Kingma & Welling."""
    places = [NormalDist().inv_cdf((i + 0.5) / SIDE) for i in range(SIDE)]
    codes = np.array([(x, -y) for y in places for x in places], np.float32)
    return "All codes", "the plane of z, evenly by probability", in_rows(model.generate(codes).numpy(), SIDE)
