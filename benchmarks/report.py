"""From rounds of seconds to tables, and to what became slower between two runs."""

import math
import statistics

from . import measure

OURS = "tinygen"
CONTROLS = ("NumPy, untracked",)  # they do less, and are nobody's peer
SLOWER = 1.05  # less is not worth a word, whatever the quartiles say


def best_peer(record):
    """The other library with the lowest median, or None."""
    peers = {name: each for name, each in record["seconds"].items() if name not in (OURS, *CONTROLS)}
    return min(peers, key=lambda name: statistics.median(peers[name])) if peers else None


def ratio(record, peer=None):
    """Our time over the best (or a named) peer's, round by round: its quartiles, or None without a peer."""
    peer = peer or best_peer(record)
    return measure.ratios(record["seconds"][OURS], record["seconds"][peer]) if peer else None


def speed(record, name=OURS):
    """GFLOP/s, GB/s or tokens/s of a library, by its median; None where nothing is counted."""
    if not record.get("work") or name not in record["seconds"]:
        return None
    unit = 1 if record["unit"] == "tokens/s" else 1e9
    return record["work"] / statistics.median(record["seconds"][name]) / unit


def share(record, peaks):
    """The part of the peak that is reached: of arithmetic, or of memory (more than 1 in a cache)."""
    if not record.get("work"):
        return None
    if record["unit"] == "tokens/s":
        return record["traffic"] / statistics.median(record["seconds"][OURS]) / 1e9 / peaks["read"]["all"]
    return speed(record) / peaks["arithmetic" if record["unit"] == "GFLOP/s" else "triad"]["all"]


def family_table(title, records, peaks):
    """One family as text: a row a case, then the geometric mean of the ratios, and the worst."""
    names = [OURS]
    for record in records.values():
        names += [name for name in record["seconds"] if name not in names]
    unit = next(iter(records.values()))["unit"]
    rows = []
    for case, record in records.items():
        cells = [case]
        for name in names:
            each = record["seconds"].get(name)
            figure = speed(record, name)
            cells.append(
                "-" if not each else f"{figure:.1f}" if figure else time_text(statistics.median(each))
            )
        part, quartiles, first = share(record, peaks), ratio(record), record.get("first", {}).get(OURS)
        cells.append(time_text(statistics.median(record["seconds"][OURS])))
        cells.append(f"{part:.0%}" if part else "")
        cells.append(best_peer(record) or "")
        cells.append("{1:.2f} ({0:.2f} to {2:.2f})".format(*quartiles) if quartiles else "")
        cells.append(f"{first:.2f} s" if first else "")
        rows.append(cells)
    header = ["", *names, "a call", "of peak", "best peer", "time / its (quartiles)", "first call"]
    lines = [f"{title}{f', {unit}' if unit else ''}", measure.table(rows, header)]
    each = {case: ratio(record)[1] for case, record in records.items() if best_peer(record)}
    if each:
        worst = max(each, key=each.get)
        lines.append(f"geometric mean {geometric_mean(each.values()):.2f}, worst {each[worst]:.2f}: {worst}")
    return "\n".join(lines)


def geometric_mean(values):
    return math.exp(statistics.fmean(map(math.log, values)))


def time_text(seconds):
    """0.0123 as 12.3 ms."""
    for scale, unit in [(1, "s"), (1e-3, "ms")]:
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} us"


def became_slower(old, new):
    """What is slower in `new` by more than the noise, a line each; both are what the JSON holds.

    A machine is not the same from day to day, but it is the same for everybody: so the ratio to the best peer
    of the old run is compared, and seconds only where there is none. Slower is: the whole middle half of the
    new rounds lies above that of the old ones, and the median by more than SLOWER.
    """
    lines = []
    for family, records in new["families"].items():
        for case, record in records.items():
            before = old["families"].get(family, {}).get(case)
            if before is None:
                continue
            peer = best_peer(before)
            peer = peer if peer in record["seconds"] else None
            was, now = quartiles(before, peer), quartiles(record, peer)
            if now[0] > was[2] and now[1] > SLOWER * was[1]:
                what = f"x {peer}" if peer else "s"
                lines.append(f"{family} {case}: {now[1]:.3g} {what}, was {was[1]:.3g}")
    return lines


def quartiles(record, peer):
    """Of the ratio to a peer, or of the seconds."""
    ours = record["seconds"][OURS]
    return ratio(record, peer) if peer else measure.ratios(ours, [1.0] * len(ours))


def roofline(results, path):
    """A picture: speed over operations a byte, under what the machine can do. Hollow: the best peer."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import matplotlib.ticker
    import numpy as np

    peaks, points = results["peaks"], []
    for family, records in results["families"].items():
        for case, record in records.items():
            if record["unit"] == "GFLOP/s" and record.get("traffic"):
                points.append((family, case, record["work"] / record["traffic"], record))
    figure, axes = plt.subplots(figsize=(11, 6), layout="constrained")
    x = np.geomspace(1, 1.5 * max([p[2] for p in points], default=100), 200)
    for who, style in [("all", "-"), ("one", ":")]:
        limit = np.minimum(peaks["arithmetic"][who], x * peaks["triad"][who])
        name = f"{peaks['threads']} threads" if who == "all" else "one core"
        axes.plot(
            x,
            limit,
            style,
            color="black",
            linewidth=1.2,
            label=f"limit, {name}: {peaks['arithmetic'][who]:.0f} GFLOP/s, {peaks['triad'][who]:.0f} GB/s",
        )
    colours = dict(zip(dict.fromkeys(p[0] for p in points), plt.colormaps["tab10"].colors))
    for family, colour in colours.items():
        mine = [(a, record) for f, _, a, record in points if f == family]
        axes.scatter(
            [a for a, _ in mine], [speed(r) for _, r in mine], s=36, color=colour, label=f"{family}, ours"
        )
        theirs = [(a, speed(r, best_peer(r)), speed(r)) for a, r in mine if best_peer(r)]
        axes.scatter(
            [t[0] for t in theirs],
            [t[1] for t in theirs],
            s=46,
            facecolors="none",
            edgecolors=[colour],
            label=f"{family}, best peer",
        )
        for a, peer, ours in theirs:
            axes.plot([a, a], [peer, ours], color=colour, linewidth=0.6, alpha=0.6)
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="floating-point operations a byte that must move",
        ylabel="GFLOP/s",
        title=f"{results['environment']['machine']}, {peaks['threads']} threads, float32",
    )
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_locator(matplotlib.ticker.LogLocator(subs=(2, 3, 5)))
    axes.yaxis.set_minor_formatter("{x:g}")
    axes.grid(True, which="both", linewidth=0.3, alpha=0.5, zorder=0)
    figure.legend(fontsize=8, loc="outside right upper", frameon=False)
    figure.savefig(path, dpi=130)
    plt.close(figure)
