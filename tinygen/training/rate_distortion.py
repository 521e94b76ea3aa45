"""Where trained VAEs stand between rate and distortion: a point for each run, as a table and as a picture.

    Alemi et al., Fixing a broken ELBO (2018), arXiv 1711.00464
    Higgins et al., beta-VAE (2017): beta moves a model along the curve

    rate        KL(q(z|x) || p(z)): nats that the code tells of an image
    distortion  -E_q[log p(x|z)]: nats that an image still costs to who knows the code

Their sum is -ELBO, so points of one sum lie on a line: equally good as bounds on -log p(x), and different in
how much the code tells. Both are means over the test images.
"""

from dataclasses import dataclass
from pathlib import Path

from ..autograd import no_grad
from ..models import VAEConfig
from .plots import FRAME, GREY, GRID, INK, TEST, new_figure, save_figure
from .streams import stream


@dataclass(frozen=True)
class Point:
    """A run; rate and distortion are in nats an image."""

    name: str
    config: VAEConfig
    rate: float
    distortion: float

    @property
    def label(self):
        """What sets it apart, in few words."""
        config, words = self.config, [f"\N{GREEK SMALL LETTER BETA} {self.config.beta:g}"]
        words += [f"{config.free_bits:g} free"] if config.free_bits else []
        words += [f"independence {config.independence:g}"] if config.independence else []
        words += [f"{config.samples} samples"] if config.samples > 1 else []
        return ", ".join(words)


def check_alike(runs):
    """Refuse to compare what cannot be compared.

    Args:
        runs: (name, config.json as a dict) each.

    Raises:
        ValueError: fewer than two; one twice; or other data, likelihood or condition than the first's.
    """
    names = [name for name, _ in runs]
    if len({Path(name).resolve() for name in names}) < max(2, len(names)):
        raise ValueError(
            f"rate-distortion: expected two or more different runs, got {', '.join(names) or 'none'}; "
            "do: tinygen rate-distortion RUN RUN ..."
        )
    for name, saved in runs[1:]:
        for what, of in KINDS.items():
            ours, theirs = of(saved), of(runs[0][1])
            if ours != theirs:
                raise ValueError(
                    f"rate-distortion: expected runs of one {what}, got {theirs} of {names[0]} and {ours} of "
                    f"{name}; leave one of them out"
                )


# What has to be the same for the nats of two runs to mean the same, and how config.json tells it.
KINDS = {
    "likelihood": lambda saved: saved["vae"]["likelihood"],
    "condition": lambda saved: ", ".join(sorted(saved["data"]["given"])) or "none",
    "data set": lambda saved: f"{saved['training']['data']} ({saved['data']['sha256'][:8]})",
}


@no_grad()
def point(run, task, saved):
    """The Point of a run: its task with its data, and what its config.json says."""
    found = task.evaluate(stream(saved["training"]["seed"], "evaluation"))
    return Point(run.folder.name, task.model.config, found["kl"], found["reconstruction"])


def table(points):
    """The points as lines, from the smallest rate."""
    width = max(8, *(len(point.name) for point in points))
    lines = [f"{'run':{width}}  {'beta':>6}  {'rate':>8}  {'distortion':>10}  {'-ELBO':>8}"]
    for p in sorted(points, key=lambda point: point.rate):
        total = p.rate + p.distortion
        lines.append(
            f"{p.name:{width}}  {p.config.beta:6g}  {p.rate:8.3f}  {p.distortion:10.3f}  {total:8.3f}"
        )
    return "\n".join(lines)


def save_rate_distortion(points, words, path):
    """Draw the points, and the line of the best sum.

    Args:
        points: a list of Point.
        words: of the axes, what is counted.
        path: where to write the PNG.

    Raises:
        OSError: it cannot be written.
    """
    figure = new_figure(7.2, 5.6)
    axes = figure.add_axes((0.11, 0.12, 0.85, 0.74))
    points = sorted(points, key=lambda point: point.rate)
    rates, distortions = ([getattr(p, of) for p in points] for of in ("rate", "distortion"))
    axes.plot(rates, distortions, "o", color=TEST, ms=7, clip_on=False)
    for p in points:
        style = {"size": 10, "color": INK, "parse_math": False, "textcoords": "offset points"}
        axes.annotate(p.label, (p.rate, p.distortion), (8, 4), **style)
    low, high = axes.get_ylim()
    best = min(p.rate + p.distortion for p in points)
    axes.axline((0, best), slope=-1, color=GREY, lw=1, ls="--", label=f"rate + distortion = {best:.2f}")
    axes.set_ylim(low, high)
    axes.set_xlim(0, 1.18 * max(*rates, 1e-3))  # labels have room
    figure.text(0.11, 0.95, "Rate and distortion", size=17, weight="bold", color=INK, va="center")
    figure.text(0.11, 0.9, words, size=10.5, color=GREY, va="center", parse_math=False)
    axes.set_xlabel("rate: nats an image that the code tells", size=11, color=GREY)
    axes.set_ylabel("distortion: nats an image that are left", size=11, color=GREY)
    axes.tick_params(colors=GREY, labelsize=10)
    axes.grid(color=GRID)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FRAME)
    axes.legend(frameon=False, fontsize=10, labelcolor=GREY)
    save_figure(figure, path)
