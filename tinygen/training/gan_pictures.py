"""What a GAN makes, as pictures: points over the modes that they should find, and samples over time."""

from ..durable import replacing
from ..extras import optional
from .plots import GREY, INK, TEST, new_figure, save_figure

FRAME, LAST = 500, 2500  # milliseconds that a picture of an animation is shown


def save_points(points, means, path, *, title):
    """Draw points (N, 2), and rings around the means (K, 2) of the mixture that they should be from: a PNG.

    The part of the plane that is shown depends on the means alone, so that pictures can be compared.
    """
    reach = 1.25 * float(abs(means).max())
    figure = new_figure(5.2, 5.6)
    axes = figure.subplots()
    axes.scatter(*means.T, s=190, facecolors="none", edgecolors="#c8cdd3", linewidths=1.2)
    axes.scatter(*points.T, s=5, color=TEST, alpha=0.35, linewidths=0)
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    axes.set_title(title, loc="left", size=12.5, color=INK)
    axes.tick_params(colors=GREY, labelsize=9)
    axes.spines[:].set_color("#c8cdd3")
    figure.tight_layout()
    save_figure(figure, path)


def save_animation(pictures, path):
    """Write PNG pictures of one size, their paths in order of time, as one animated PNG that repeats.

    Whatever does not know of animations shows the first. Left out is GIF: it has 256 colours, and is larger.
    """
    image = optional("PIL.Image")
    frames = [image.open(picture).convert("RGB") for picture in pictures]
    with replacing(path) as temporary:
        frames[0].save(
            temporary,
            format="PNG",
            save_all=True,
            append_images=frames[1:],
            duration=[FRAME] * (len(frames) - 1) + [LAST],
            loop=0,
        )
