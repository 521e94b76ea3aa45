"""The picture of a Traversal: in a row the images of a dimension, and what it tells of each factor.

Colours go with the share that is told, in proportion; the factor that a dimension has found is framed.
"""

import numpy as np

from .look_picture import shaded
from .plots import FRAME, GAP, GREY, HEADER, INK, MARGIN, Page, image_grid, save_figure
from .traverse import told

LABELS, BETWEEN = 84, 48  # screen pixels: of the dimensions' names and KL, and from the images to the shares
CELL, NAMES, TELLS = 86, 22, 120  # of a share, of the factors' names (their height), and of what stands above
FRAMED = np.array([[-1, 1, 1, -1, -1], [-1, -1, 1, 1, -1]])  # the way around a square, x and y


def save_traversal(traversal, title, path):
    """Draw a Traversal.

    Args:
        traversal: see traverse.py.
        title: above it.
        path: where to write the PNG.

    Raises:
        OSError: it cannot be written.
    """
    names = traversal.names
    ends = np.zeros((1, len(traversal.places), *traversal.ends.shape[1:]), np.float32)
    ends[0, :2] = traversal.ends
    grid = image_grid(np.concatenate([ends, traversal.images]))
    row = (len(grid) + GAP) / (len(traversal.images) + 1)  # from one to the next
    left, top = MARGIN + LABELS, HEADER + NAMES
    shares = left + grid.shape[1] + BETWEEN
    subtitle = f"z from {traversal.places[0]:g} to {traversal.places[-1]:g}, the others as in the first image"
    right = shares + max(CELL * len(names), TELLS) if names else left + grid.shape[1]
    width = max(right, MARGIN + 7 * len(subtitle), MARGIN + 10 * len(title)) + MARGIN
    page = Page(width, top + len(grid) + (NAMES if names else 0) + MARGIN)

    page.head(MARGIN, title, subtitle)
    page.images(left, top, grid)
    page.write(MARGIN, top + row / 2 - GAP, f"image {traversal.number}", size=9.5, weight="bold")
    page.write(MARGIN, top + row / 2 + GAP, "and decoded", size=9.5, color=GREY)
    drawn = traversal.order[: len(traversal.images)].tolist()
    for i, j in enumerate(drawn, 1):
        middle = top + row * i + (row - GAP) / 2
        page.write(MARGIN, middle - GAP, f"z{j}", size=11, weight="bold")
        page.write(MARGIN, middle + GAP, f"{traversal.kl[j]:.2f} nats", size=9.5, color=GREY)
    if names:
        below = top + row * (len(drawn) + 1)
        axes = page.axes(shares, top + row - GAP / 2, CELL * len(names), row * len(drawn))
        _matrix(axes, traversal, drawn)
        page.write(shares, top + row - GAP / 2 - 36, "What it tells", size=12.5, weight="bold")
        for f, (name, gap) in enumerate(zip(names, traversal.information.gaps)):
            middle = shares + CELL * (f + 0.5)
            page.write(middle, top + row - GAP / 2 - 12, name, size=9.5, color=GREY, ha="center")
            page.write(middle, below + 4, f"gap {gap:.2f}", size=9.5, color=GREY, ha="center")
    save_figure(page.figure, path)


def _matrix(axes, traversal, drawn):
    """The shares of the dimensions `drawn`, in rows, with their numbers."""
    shares, found = traversal.information.shares[drawn], traversal.information.found
    axes.imshow(shaded(np.clip(shares, 1e-9, 1) ** 2), interpolation="none", aspect="auto")  # it takes roots
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color(FRAME)
    for (i, f), share in np.ndenumerate(shares):
        style = {"size": 9.5, "ha": "center", "va": "center"}
        axes.text(f, i, told(share), color="white" if share > 0.5 else INK, **style)
        if found[f] == drawn[i]:
            x, y = 0.46 * FRAMED
            axes.plot(f + x, i + y, color=INK, lw=2)
