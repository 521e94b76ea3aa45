"""What each dimension of a VAE's code does: what it draws when changed alone, and which factors it tells.

    Higgins et al., beta-VAE (2017), figure 1: traversals
    Chen, Li, Grosse & Duvenaud (2018), arXiv 1802.04942: what it tells; see metrics/disentanglement.py

A picture of one image shows what a dimension does there. Information counts over all test images whether
different values of a factor have different codes, whatever the change looks like.

Letters: N test images, J latent dimensions, R of them that are drawn, T steps, K factors, H height, W width.
"""

from dataclasses import dataclass

import numpy as np

from .. import data, metrics
from ..autograd import no_grad
from ..configuration import check, option
from .interpolate import test_image

# The number of an orientation is another angle for another shape (data/sprites.py), and so is told within it.
WITHIN = {"orientation": "shape"}
FEWEST = 100  # test images; from less, chance tells nearly all


@dataclass(frozen=True, kw_only=True)
class Traversing:
    """What is drawn."""

    image: int = option(0, "the test image whose code is changed", at_least=0)
    latents: int = option(16, "dimensions that are drawn, those with the largest KL", at_least=1)
    steps: int = option(9, "images of each, evenly from -SPAN to SPAN", at_least=2)
    span: float = option(3.0, "standard deviations of the prior", above=0)

    def __post_init__(self):
        check(self)


@dataclass(frozen=True)
class Traversal:
    """Everything that is shown.

    number       of the test image
    ends         (2, H, W), it and what its code decodes to, ink in [0, 1]
    places       (T,), the values that a dimension is given
    order        (J,), the dimensions by their KL, the largest first
    kl           (J,), nats, the mean over the test images
    images       (R, T, H, W), of the first R in that order
    names        of the K factors that are known of the images; none where nothing is known
    information  on them, a metrics.Information, or None
    """

    number: int
    ends: np.ndarray
    places: np.ndarray
    order: np.ndarray
    kl: np.ndarray
    images: np.ndarray
    names: list
    information: metrics.Information | None

    def finder(self, j):
        """The name of the factor that dimension j has found, or ""."""
        if self.information is None or j not in self.information.found:
            return ""
        return self.names[self.information.found.index(j)]

    def table(self):
        """Each dimension as a line: its KL, and what it tells of each factor."""
        rows = [["", "KL, nats", *self.names, *(["finds"] if self.names else [])]]
        for j in self.order.tolist():
            shares = [] if self.information is None else map(told, self.information.shares[j])
            rows.append([f"z{j}", f"{self.kl[j]:.2f}", *shares, self.finder(j)])
        if self.information is not None:
            rows.append(["gap", "", *map(told, self.information.gaps), f"mean {self.information.gap:.3f}"])
        widths = [max(map(len, column)) for column in zip(*map(_filled(rows), rows))]
        lines = ["  ".join(text.rjust(width) for text, width in zip(row, widths)).rstrip() for row in rows]
        return "\n".join([*lines, *(f"({line})" for line in self.explained())])

    def explained(self):
        """What the columns of factors mean, as lines."""
        if self.information is None:
            return []
        within = [f"{f} within {g}" for f, g in WITHIN.items() if f in self.names and g in self.names]
        return [
            "; ".join(["what it tells of a factor: 0 is chance, 1 all there is to know", *within]),
            "it finds what it tells most of, if no other tells more and it is a tenth at least",
            "gap: from the dimension that tells most of a factor to the next; the mean is the MIG",
        ]


def told(share):
    """A share of what there is to know, in words."""
    return f"{round(share, 2) + 0.0:.2f}"  # -0.00 would be read as a figure


def _filled(rows):
    """A function that makes a row as long as the longest of `rows`."""
    width = max(map(len, rows))
    return lambda row: row + [""] * (width - len(row))


@no_grad()
def traverse(task, options, *, rng):
    """Change each dimension of the code of one test image, the others held; a Traversal.

    The dimension takes values of the prior N(0, 1) from -span to span, whatever it was.

    Args:
        task: a VAETask with its data.
        options: a Traversing.
        rng: draws what is random in looking at the images, and shuffles factors.

    Raises:
        ValueError: there is no such test image.
    """
    model, i = task.model, test_image(task, options.image)
    mu, log_var = task.codes(rng)
    kl = metrics.kl_per_dimension(mu, log_var)
    order = np.argsort(-kl, kind="stable")
    c = task.test_given[i : i + 1]
    observed = model.observe(task.test[i : i + 1], rng=rng)
    code = model.encode(observed, c)[0].numpy()
    places = np.linspace(-options.span, options.span, options.steps, dtype=np.float32)
    drawn = order[: options.latents]
    codes = np.tile(code, (len(drawn), len(places), 1))
    for row, j in zip(codes, drawn):
        row[:, j] = places
    codes = np.concatenate([code, codes.reshape(-1, code.shape[1])])
    images = model.generate(codes, c.repeat(len(codes), axis=0)).numpy()
    ends = np.clip(np.stack([observed[0], images[0]]), 0, 1)
    images = images[1:].reshape(len(drawn), len(places), *model.shape)
    return Traversal(i, ends, places, order, kl, images, *_information(task, mu, rng))


def _information(task, mu, rng):
    """The names of what is known of the test images, where they differ, and what their codes tell of it."""
    if task.known is None or len(mu) < FEWEST:
        return [], None
    known = task.known.reshape(len(mu), -1)
    differs = np.ptp(known, axis=0) > 0
    names = list(data.known(task.known))
    names = [name for name, there in zip(names, differs) if there]
    within = {names.index(f): names.index(g) for f, g in WITHIN.items() if f in names and g in names}
    return names, metrics.information(mu, known[:, differs], within=within, rng=rng) if names else None
