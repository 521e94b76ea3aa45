"""Sprites: 12,288 small images of one shape each, drawn from five known factors. No download.

After dSprites, with fewer scales, orientations and positions, and 32 pixels a side instead of 64:

    Matthey, Higgins, Hassabis & Lerchner, dSprites: Disentanglement testing Sprites dataset (2017)

Two things differ. The ink is antialiased. And in dSprites a square turned by 90 degrees is another
combination of factors with the same image; here the 16 orientations divide the turn after which the shape
looks the same again, so all images differ. The price is that a step of the orientation turns a square by
5.625 degrees, an ellipse by 11.25 and a heart by 22.5.

What is left out: colour, and positions between whole pixels.
"""

import numpy as np

from .splits import check_split, rows_of_split

SHAPES = ("square", "ellipse", "heart")
SIDES = (5, 7, 9, 11)  # by scale: the side of the square, in pixels; each shape has its area, 25 to 121
TURNS = (90, 180, 360)  # by shape: degrees after which it looks the same; 16 orientations divide them
FACTORS = ("shape", "scale", "orientation", "x", "y")
SIZES = (len(SHAPES), len(SIDES), 16, 8, 8)

FRAME, PATCH, STEP = 32, 18, 2  # pixels: the image, a part that holds any sprite, from position to position
FINE = 4  # samples a pixel, in each direction
SEED = 0


def sprites(*, split="train"):
    """The sprites of one split: every combination of factors is in one of the two, once.

    Args:
        split: "train" (11,059 images) or "test" (the other 1,229), in a fixed shuffled order.

    Returns:
        images: float32 (N, 32, 32), ink in [0, 1]; the levels are multiples of 1/16.
        factors: int64 (N, 5), in the order of FACTORS, each from 0 to below its number in SIZES.

    Raises:
        ValueError: an unknown split.
    """
    check_split("sprites", split)
    chosen = rows_of_split(int(np.prod(SIZES)), split=split, seed=SEED)
    factors = np.stack(np.unravel_index(chosen, SIZES), axis=1).astype(np.int64)
    return render(factors), factors


def render(factors):
    """The images of any factors, such as `render((2, 3, 0, 4, 4))`, a large heart near the middle.

    The orientation turns the shape counter-clockwise; x grows to the right and y downwards, 2 pixels a step.
    The centre of mass is at (9 + 2 x, 9 + 2 y) pixels from the upper left corner of the frame.

    Args:
        factors: integers (..., 5), in the order of FACTORS.

    Returns:
        float32 (..., 32, 32), ink in [0, 1].

    Raises:
        TypeError: factors that are not integers.
        ValueError: not five of them, or one out of its range.
    """
    rows = _checked(factors)
    drawings, drawing = np.unique(rows[:, :3], axis=0, return_inverse=True)  # each is drawn once, then placed
    patches = np.array([_patch(*which) for which in drawings.tolist()])
    drawing = drawing.reshape(-1)  # NumPy 2.0 gives it two dimensions
    images = np.zeros((len(rows), FRAME, FRAME), np.float32)
    for image, patch, (x, y) in zip(images, patches[drawing], (STEP * rows[:, 3:]).tolist()):
        image[y : y + PATCH, x : x + PATCH] = patch
    return images.reshape(*np.shape(factors)[:-1], FRAME, FRAME)


def _checked(factors):
    """`factors` as rows, int64 (N, 5)."""
    factors = np.asarray(factors)
    if factors.ndim == 0 or factors.shape[-1] != len(SIZES):
        raise ValueError(
            f"render: expected {len(SIZES)} factors in the last axis, got shape {factors.shape}; "
            f"give {', '.join(FACTORS)}"
        )
    if factors.size and not np.issubdtype(factors.dtype, np.integer):
        raise TypeError(f"render: expected integers, got {factors.dtype}; factors are counted from 0")
    rows = factors.reshape(-1, len(SIZES)).astype(np.int64)
    for name, size, column in zip(FACTORS, SIZES, rows.T):
        outside = column[(column < 0) | (column >= size)]
        if len(outside):
            raise ValueError(
                f"render: expected {name} from 0 to {size - 1}, got {outside[0]}; choose another"
            )
    return rows


def _patch(shape, scale, orientation):
    """The sprite in the middle of a patch, float32 (18, 18): the share of each pixel's samples inside it."""
    samples = (np.arange(PATCH * FINE) + 0.5) / FINE - PATCH / 2
    x, y = np.meshgrid(samples, -samples)  # the plane of mathematics, y upwards
    turn = np.deg2rad(TURNS[shape] * orientation / SIZES[2])
    # Turning the shape by an angle is turning the samples back by it.
    u = (np.cos(turn) * x + np.sin(turn) * y) / SIDES[scale]
    v = (np.cos(turn) * y - np.sin(turn) * x) / SIDES[scale]
    inside = _INSIDE[shape](u, v)
    return inside.reshape(PATCH, FINE, PATCH, FINE).mean(axis=(1, 3)).astype(np.float32)


# Each shape has area 1 and its centre of mass at the origin, and fits into a circle of radius 0.8: at the
# largest scale 8.8 pixels, which is why a patch of 18 holds it at any angle.


def _square(u, v):
    return (np.abs(u) <= 0.5) & (np.abs(v) <= 0.5)


def _ellipse(u, v):
    """Twice as wide as high: half axes a and a / 2 with pi a^2 / 2 = 1."""
    return u**2 + 4 * v**2 <= 2 / np.pi


def _heart(u, v):
    """A square of side 1 that stands on its corner, and half a disc on each of its upper sides.

    Its area is 1 + pi/4. Half a disc of radius r has its centre of mass 4 r / (3 pi) from its straight edge,
    so the two, of area pi/4 together, have theirs (1/2 + 2/(3 pi)) / sqrt(2) above the middle of the square.
    """
    area = 1 + np.pi / 4
    centre = np.pi / 4 * (1 / 2 + 2 / (3 * np.pi)) / np.sqrt(2) / area
    u, v = np.sqrt(area) * u, np.sqrt(area) * v + centre
    p, q = (v + u) / np.sqrt(2), (v - u) / np.sqrt(2)  # along the sides of the square
    square = (np.abs(p) <= 0.5) & (np.abs(q) <= 0.5)
    return square | ((p - 0.5) ** 2 + q**2 <= 0.25) | (p**2 + (q - 0.5) ** 2 <= 0.25)


_INSIDE = (_square, _ellipse, _heart)
