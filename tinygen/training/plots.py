"""Pictures: the curves of a training, and panels of small images. matplotlib, without its global state.

A Figure is made directly, not through pyplot: no backend is chosen, no window opens, and a program that
imports us keeps its own settings. Images are laid out in whole screen pixels and drawn unresampled, so every
pixel of a digit is a sharp square.
"""

import numpy as np

from ..durable import replacing
from ..extras import optional

TILE, GAP = 56, 8  # screen pixels: the side of a small image, and the space between two
MARGIN, HEADER = 28, 76  # around a panel, and above it for its title
TITLES = {"kl": "KL divergence"}  # of what is not called by its own name
INK, GREY, TRAIN, TEST = "#1b1f24", "#68707a", "#9db8d9", "#1f5fa8"
FRAME, GRID = "#c8cdd3", "#e6e9ed"


def save_panels(panels, path):
    """Draw panels side by side, each a grid of grey images under its title.

    Args:
        panels: (title, subtitle, images) each. Images are an array (rows, columns, height, width), ink in
            [0, 1]; in one of (pairs, 2, columns, height, width) the two rows of a pair stand close together.
        path: where to write the PNG.
    """
    grids = [image_grid(images) for _, _, images in panels]
    width = sum(grid.shape[1] for grid in grids) + MARGIN * (len(grids) + 1)
    height = max(grid.shape[0] for grid in grids) + HEADER + MARGIN
    page, left = Page(width, height), MARGIN
    for (title, subtitle, _), grid in zip(panels, grids, strict=True):
        page.images(left, HEADER, grid)
        page.head(left, title, subtitle)
        left += grid.shape[1] + MARGIN
    save_figure(page.figure, path)


def in_rows(images, columns):
    """Images (N, H, W) for `save_panels`, (rows, columns, H, W); a last row that is not full has blanks."""
    rows = -(-len(images) // columns)
    filled = np.zeros((rows * columns, *images.shape[1:]), np.float32)
    filled[: len(images)] = images
    return filled.reshape(rows, columns, *images.shape[1:])


def in_pairs(above, below, columns):
    """Two arrays of images (N, H, W) for `save_panels`, (pairs, 2, columns, H, W)."""
    return np.stack([in_rows(above, columns), in_rows(below, columns)], axis=1)


class Page:
    """A figure in pixels from its upper left corner."""

    def __init__(self, width, height):
        self.width, self.height = width, height
        self.figure = new_figure(width / 100, height / 100)

    def axes(self, left, top, width, height):
        box = left / self.width, 1 - (top + height) / self.height, width / self.width, height / self.height
        axes = self.figure.add_axes(box)
        axes.tick_params(length=0, colors=GREY, labelsize=8.5)
        axes.spines[:].set_color(FRAME)
        return axes

    def images(self, left, top, grid):
        """Ink in [0, 1], (height, width) in screen pixels."""
        grey = np.round(255 * (1 - grid)).astype(np.uint8)  # a colour map would round less well
        bottom = self.height - top - len(grid)
        self.figure.figimage(grey[:, :, None].repeat(3, axis=2), left, bottom, origin="upper")

    def write(self, x, y, text, **style):
        """Text whose middle is at height y; a dollar is a dollar."""
        style = {"size": 12.5, "color": INK, "va": "center", "parse_math": False, **style}
        self.figure.text(x / self.width, 1 - y / self.height, drawable(text), **style)

    def head(self, x, title, subtitle):
        self.write(x, 30, title, size=17, weight="bold")
        self.write(x, 58, subtitle, color=GREY)


def drawable(text):
    """Text whose characters the font has; the others escaped."""
    manager = optional("matplotlib.font_manager")
    font = manager.get_font(manager.findfont(manager.FontProperties()))
    known = font.get_char_index
    return "".join(c if known(ord(c)) else c.encode("unicode_escape").decode() for c in text)


def image_grid(images):
    """One array (height, width), ink in [0, 1], of images in rows and columns with GAP between them."""
    if images.ndim == 4:
        images, near = images[:, None], GAP
    else:
        near = GAP // 2
    groups, per_group, columns, h, w = images.shape
    scale = max(1, round(TILE / max(h, w)))
    images = images.repeat(scale, axis=-2).repeat(scale, axis=-1)
    h, w = scale * h, scale * w
    # Rows of a group are `near` apart, and groups so far that the whole is as high as a plain grid.
    rows = groups * per_group
    spare = GAP * (rows - 1) - near * groups * (per_group - 1)
    far = spare / max(1, groups - 1)
    grid = np.zeros((rows * h + GAP * (rows - 1), columns * w + GAP * (columns - 1)), np.float32)
    for i, j, k in np.ndindex(groups, per_group, columns):
        top = round(i * (per_group * h + (per_group - 1) * near + far)) + j * (h + near)
        grid[top : top + h, k * (w + GAP) : k * (w + GAP) + w] = images[i, j, k]
    return grid


def save_curves(rows, path, *, unit, units):
    """Draw every figure against the epoch, on training and on test data where there are both.

    Args:
        rows: dicts with `epoch` and any number of `train_NAME` and `test_NAME`.
        path: where to write the PNG.
        unit: of the losses, such as "nats an image"; what follows a comma has no room here.
        units: of metrics that have another one, name -> unit.
    """
    names = list(
        dict.fromkeys(key.partition("_")[2] for key in rows[0] if key.startswith(("train_", "test_")))
    )
    columns, short = min(4, len(names)), unit.partition(",")[0]
    height = -(-len(names) // columns)
    figure = new_figure(4.2 * columns, 3.8 * height)
    grid = figure.subplots(height, columns, squeeze=False).ravel()
    for axes, name in zip(grid, names):
        _curve(axes, rows, name, "norm" if name.endswith("gradient") else units.get(name, short))
    for axes in grid[len(names) :]:
        axes.remove()
    figure.axes[0].legend(frameon=False, fontsize=11, labelcolor=INK)
    figure.tight_layout(w_pad=2)
    save_figure(figure, path)


def _curve(axes, rows, name, unit):
    epochs, mark = [row["epoch"] for row in rows], "o" if len(rows) < 3 else None  # a line needs two points
    drawn = []
    for split, what, color in (("train", "training data", TRAIN), ("test", "test data", TEST)):
        if f"{split}_{name}" in rows[0]:
            values = [row[f"{split}_{name}"] for row in rows]
            axes.plot(epochs, values, color=color, label=what, lw=2, marker=mark)
            drawn += values
    title = TITLES.get(name, name.replace("_", " ").capitalize())
    axes.set_title(title, loc="left", size=14, weight="bold", color=INK)
    axes.set_xlabel("epoch", size=11, color=GREY)
    axes.set_ylabel(unit, size=11, color=GREY)
    axes.tick_params(colors=GREY, labelsize=10)
    axes.grid(color=GRID)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FRAME)
    axes.set_xlim(0, 1.02 * epochs[-1])
    axes.set_ylim(*_range(drawn))


def _range(values):
    """Limits that show where a curve settles: the first epochs may leave the picture at the top."""
    low, high = min(values), max(values)
    settled = 4 * (np.percentile(values, 75) - low) if len(values) > 20 else 0.0
    top = min(high, low + settled) if settled else high
    room = 0.06 * (top - low) or 1.0
    return low - room, top + room


def new_figure(width, height):
    """An empty figure of this size in hundreds of pixels."""
    return optional("matplotlib.figure").Figure(figsize=(width, height), dpi=100, facecolor="white")


def save_figure(figure, path):
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=figure.dpi, metadata={"Software": None})
