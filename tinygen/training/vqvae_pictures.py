"""What a trained VQ-VAE has learnt, as images: reconstructions, samples, and its codebook."""

import numpy as np

from ..autograd import no_grad
from ..models import perplexity
from .plots import GAP, TILE, in_pairs, in_rows

SIDE = 8  # rows and columns of a panel
AVERAGED = 1000  # images that what a code draws is averaged over
CHART = SIDE * TILE + (SIDE - 1) * GAP  # pixels: as large as a panel


@no_grad()
def panels(model, images, *, rng):
    """The four panels of samples.png: (title, subtitle, images) each, see `plots.save_panels`.

    Args:
        model: a VQVAE that has counted codes.
        images: test images (N, H, W) in [0, 1]. The first ones are shown, good or bad.
        rng: draws the codes of the samples, and what is random in looking at images.
    """
    seen = model.observe(images[:AVERAGED], rng=rng)
    codes = model.codes(seen)
    shown = np.arange(SIDE * SIDE // 2) % len(seen)  # again from the first, where there are fewer
    pairs = in_pairs(seen[shown], model.generate(codes[shown]).numpy(), SIDE)
    return [
        ("Reconstructions", "test images, and below each what its codes draw", np.clip(pairs, 0, 1)),
        sample_panel(model, count=SIDE * SIDE, rng=rng),
        strokes_panel(model, codes),
        usage_panel(model.occurrences.sum(axis=(0, 1))),
    ]


@no_grad()
def sample_panel(model, *, count, rng):
    """A panel of `count` images whose codes are drawn from the prior, each place by itself."""
    images = model.generate(model.draw(count, rng=rng)).numpy()
    words = "each place draws its code without knowing the others"
    return "Samples", words, in_rows(images, max(SIDE, round(np.sqrt(count))))


def strokes_panel(model, codes):
    """A panel of what is drawn around a code, on average over its places in grids of codes (B, h, w).

    Of the codes that occur there the most frequent, the first of them first. A tile has its place and the
    eight around it.
    """
    h, w = (side // places for side, places in zip(model.shape, model.config.grid))
    drawn, count = np.pad(model.generate(codes).numpy(), ((0, 0), (h, h), (w, w))), model.config.codes
    total = np.zeros((count, 3 * h, 3 * w), np.float32)
    times = np.bincount(codes.reshape(-1), minlength=count)
    for i, j in np.ndindex(*model.config.grid):
        np.add.at(total, codes[:, i, j], drawn[:, i * h : (i + 3) * h, j * w : (j + 3) * w])
    order = np.argsort(-times, kind="stable")[: min(SIDE * SIDE, np.count_nonzero(times))]
    tiles = np.zeros((SIDE * SIDE, 3 * h, 3 * w), np.float32)
    tiles[: len(order)] = total[order] / times[order, None, None]
    words = "on average, at and around each place where it occurs"
    return "What a code draws", words, tiles.reshape(SIDE, SIDE, 3 * h, 3 * w)


def usage_panel(counts):
    """A panel of bars: how often each code (K,) occurs, the most frequent first."""
    share = np.sort(counts / counts.sum())[::-1]
    at = np.arange(CHART) * len(share) // CHART  # the code of each column of pixels
    height = np.ceil(CHART * share / share[0])  # a code that occurs at all has a pixel
    bars = (np.arange(CHART)[::-1, None] < height[at]).astype(np.float32)
    words = (
        f"{100 * (share > 0).mean():.0f} % of {len(share)} codes, perplexity {perplexity(counts):.3g}, "
        f"most {100 * share[0]:.2g} %"
    )
    return "How often they occur", words, bars[None, None]
