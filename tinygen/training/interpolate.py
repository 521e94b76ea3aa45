"""From one image to another through the codes of a VAE: in a straight line, and on a great circle.

    Shoemake, Animating rotation with quaternion curves (1985): spherical linear interpolation, slerp
    White, Sampling generative networks (2016), arXiv 1609.04468: why for codes

Codes of many dimensions drawn from N(0, I) have nearly one length. The middle of a straight line between two
of them is shorter, by about sqrt(2), so the decoder has hardly seen its like; a great circle keeps the
length. In few dimensions, and between means of q(z|x), which are shorter than the codes, that matters less.

Letters: T images of a path, J latent dimensions, H height, W width.
"""

import math
from dataclasses import dataclass

import numpy as np

from .. import data
from ..autograd import no_grad
from ..configuration import check, option
from . import plots


@dataclass(frozen=True, kw_only=True)
class Interpolating:
    """How a path is drawn."""

    steps: int = option(9, "images of a path, its ends among them", at_least=2)

    def __post_init__(self):
        check(self)


def straight(a, b, places):
    """Codes (T, J) on the line from a to b, (J,), at `places` (T,) from 0 to 1."""
    places = places[:, None]
    return (1 - places) * a + places * b


def spherical(a, b, places):
    """Codes (T, J) on the great circle from a to b, (J,), at `places` (T,) from 0 to 1.

    The direction turns evenly, and the length goes evenly from |a| to |b|. Between codes of one length this
    is Shoemake's formula. White puts codes of different lengths into it as they are, which between nearly
    opposite ones leads far out.

    Between opposite codes there are many great circles: taken is the one through the axis that a is farthest
    from. A code of length 0 has no direction, and a single dimension no circle: there it is the line.
    """
    lengths = np.linalg.norm([a, b], axis=1)
    if lengths.min() == 0 or len(a) == 1:
        return straight(a, b, places)
    u, v = a / lengths[0], b / lengths[1]
    across = v - (u @ v) * u
    if np.linalg.norm(across) < 1e-6:  # the same direction, or the opposite one
        axis = np.eye(len(u))[np.abs(u).argmin()]
        across = axis - (u @ axis) * u
    across /= np.linalg.norm(across)
    turns = places[:, None] * math.atan2(abs(v @ across), u @ v)
    return straight(*lengths[:, None], places) * (np.cos(turns) * u + np.sin(turns) * across)


PATHS = {"straight": straight, "spherical": spherical}


@dataclass(frozen=True)
class Path:
    """What the decoder makes of a path.

    codes   (T, J)
    images  (T, H, W), ink in [0, 1]
    """

    codes: np.ndarray
    images: np.ndarray

    @property
    def steps(self):
        """(T - 1,): how far neighbouring images are apart, the root of their summed squared differences."""
        return np.sqrt(np.square(np.diff(self.images.astype(np.float64), axis=0)).sum(axis=(1, 2)))

    @property
    def unevenness(self):
        """The largest step as a multiple of the mean step: 1 where the images change evenly."""
        return float(self.steps.max() / self.steps.mean())

    @property
    def detour(self):
        """The length of the path as a multiple of the distance of its ends: 1 where one image is faded into
        the other. What moves or turns takes a longer way."""
        direct = np.sqrt(np.square(self.images[-1].astype(np.float64) - self.images[0]).sum())
        return float(self.steps.sum() / direct)


@dataclass(frozen=True)
class Interpolation:
    """The two images (H, W) as the model sees them, how they are called, and the Path of each of PATHS."""

    ends: tuple
    names: tuple
    paths: dict
    held: str  # what the model is told on the whole way, in words, or ""

    def table(self):
        """What was measured, as lines."""
        lines = [f"{'path':10} unevenness  detour"]
        lines += [f"{name:10} {p.unevenness:10.3f} {p.detour:7.3f}" for name, p in self.paths.items()]
        return "\n".join(
            [
                *lines,
                "(unevenness: the largest step from an image to the next, of the mean step; 1 is even)",
                "(detour: the length of the path, of the distance of its ends; 1 is a mere fading over)",
                *([f"({self.held})"] if self.held else []),
            ]
        )

    def panel(self):
        """Both paths between the two images; see `plots.save_panels`."""
        rows = [np.concatenate([self.ends[:1], path.images, self.ends[1:]]) for path in self.paths.values()]
        title = f"From {self.names[0]} to {self.names[1]}"
        words = "through the means of their codes: above in a straight line, below on a great circle"
        return title, words, np.stack(rows)


@no_grad()
def interpolate(task, a, b, options, *, rng):
    """Decode the paths between two images.

    A model that is told something of an image encodes each with what is known of it. On the way it is told
    what is known of the first one: so only the code changes.

    Args:
        task: a VAETask; with its data, if one of a and b is a number.
        a, b: the number of a test image, or the path of a picture; str.
        options: an Interpolating.
        rng: draws what is random in looking at the images.

    Raises:
        ValueError: there is no such test image; a picture is none, or one of which a model is to be told more
            than it shows; or both ends decode to the same.
        FileNotFoundError: there is no such picture.
    """
    (first, c, _), (last, *_) = ends = [_end(task, word) for word in (a, b)]
    observed = task.model.observe(np.stack([first, last]), rng=rng)
    means = [
        task.model.encode(x[None], condition)[0].numpy()[0].astype(np.float64)
        for x, (_, condition, _) in zip(observed, ends)
    ]
    places, paths = np.linspace(0, 1, options.steps), {}
    for name, between in PATHS.items():
        codes = between(*means, places).astype(np.float32)
        paths[name] = Path(codes, task.model.generate(codes, c.repeat(len(codes), axis=0)).numpy())
    if np.array_equal(paths["straight"].images[0], paths["straight"].images[-1]):
        raise ValueError(
            f"interpolate: expected two images that decode differently, got {a} and {b}; choose others"
        )
    names = tuple(name for *_, name in ends)
    held = f"told on the whole way what is known of {names[0]}: {', '.join(task.given)}" if task.given else ""
    return Interpolation(np.clip(observed, 0, 1), names, paths, held)


def _end(task, word):
    """An image (H, W), what the model is told of it (1, K), and what it is called."""
    if not word.isdecimal():
        if task.given:
            raise ValueError(
                f"{word}: expected the number of a test image, as the model is told the "
                f"{' and '.join(task.given)} of an image, got a picture; give a number"
            )
        return data.read_picture(word, size=task.model.shape), np.zeros((1, 0), np.float32), word
    i = test_image(task, int(word))
    return task.test[i], task.test_given[i : i + 1], f"test image {i}"


def test_image(task, number):
    """`number`, if there is a test image of that number.

    Raises:
        ValueError: there is none.
    """
    if not number < len(task.test):
        raise ValueError(
            f"image: expected a test image from 0 to {len(task.test) - 1}, got {number}; choose another"
        )
    return number


def save_interpolation(interpolation, path):
    """Draw an Interpolation.

    Raises:
        OSError: it cannot be written.
    """
    plots.save_panels([interpolation.panel()], path)
