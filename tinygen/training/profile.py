"""Where the time of a training step goes: each operation, forward and backward, against the machine's peaks.

    from tinygen.training.profile import lap, profile

    def step():
        eps = model.noise(len(x), rng=rng)
        lap("noise")
        loss, *_ = model.loss(x, eps)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        lap("optimizer")

    print(profile(step).table(80))

An observer (autograd/modes.py) is told when a result or a gradient is there, not when its making began. So
time is measured between events: what passes between one operation's end and the next one's end counts to the
latter, the Python between them included. `lap` cuts off what belongs to no operation; without it, the noise
above would be time of the first operation. Operations on plain arrays are not told of.

What runs during a backward pass counts to backward: a rule; with create_graph, the operations that the
rule consists of, under their own names; in a checkpoint, what it computes again.

Watching costs time. What the watcher does itself is measured and in no row; what it cannot measure, its being
called and the clock being read, makes the rows longer than the step is unwatched. So the rate of the whole
step is taken over an unwatched one.

The roofline of an operation is the time that its arithmetic would take at the machine's peak (of float32), or
its memory traffic, whichever is longer: Williams, Waterman & Patterson, Roofline (2009). The traffic is what
a cold cache would cost, so an operation whose arrays lie in a cache may reach more than 100 % of it.

Left out: how much memory is in use; arrays on a GPU, which are computed after the event that tells of them.
"""

import dataclasses
import functools
import statistics
import textwrap
import time
from dataclasses import dataclass

from ..autograd.modes import Observer, current_mode, observing
from .work import backward_bytes, backward_flops, forward_bytes, forward_flops, gradient_flops

PHASES = ("forward", "backward", "elsewhere")
PASS, REST = "(backward pass)", "(rest of the step)"
NARROWEST = 40  # columns of a table


@dataclass
class Row:
    """What one operation does in one phase of a step.

    operation   its name; in brackets, or named by `lap`, what is no operation
    phase       "forward", "backward" or "elsewhere"
    calls       forward, how often it ran; backward, how many of its nodes passed gradients on
    seconds     of all calls together
    bytes       moved to and from memory, if nothing is in a cache
    flops       floating-point operations of products; other arithmetic is not counted
    """

    operation: str
    phase: str
    calls: int = 0
    seconds: float = 0.0
    bytes: int = 0
    flops: int = 0


@dataclass(frozen=True)
class Profile:
    """A step, taken apart. Each figure, also of a row, is a median over the repeats.

    rows       a Row for every operation and phase, the longest first
    unwatched  seconds of a step that nobody watched
    profiler   seconds of a watched step that the watcher took for itself, which are in no row
    repeats    how many steps were watched
    threads    how many the kernels may run on
    peaks      of that many: {"arithmetic": GFLOP/s, "triad": GB/s}, see kernels/machine.py
    """

    rows: list
    unwatched: float
    profiler: float
    repeats: int
    threads: int
    peaks: dict

    @property
    def seconds(self):
        """All rows together: a sum of medians, and so the time of no step in particular."""
        return sum(row.seconds for row in self.rows)

    def of_roofline(self, row):
        """The part of the machine's limit that `row` reaches, 1 for all of it; None if nothing is counted."""
        least = max(row.flops / self.peaks["arithmetic"], row.bytes / self.peaks["triad"]) / 1e9
        return least / row.seconds if least and row.seconds else None

    def to_dict(self):
        """All of it as plain dicts, lists and numbers, for JSON; times in seconds."""
        rows = [dataclasses.asdict(row) | {"of_roofline": self.of_roofline(row)} for row in self.rows]
        return dataclasses.asdict(self) | {"rows": rows, "seconds": self.seconds}

    def table(self, width=None):
        """The rows as text, with totals below, in lines of at most `width` characters.

        Columns are left out until it fits, and then long names are cut off at "...".

        Raises:
            ValueError: a width of less than 40.
        """
        if width is not None and width < NARROWEST:
            raise ValueError(f"table: expected a width of at least {NARROWEST}, got {width}; use a wider one")
        columns = {
            "operation": [row.operation for row in self.rows],
            "phase": [row.phase for row in self.rows],
            "calls": [f"{row.calls}" for row in self.rows],
            "ms": [f"{1e3 * row.seconds:.3f}" for row in self.rows],
            "share": [_percent(row.seconds / self.seconds if self.seconds else None) for row in self.rows],
            "GFLOP/s": [_rate(row.flops, row.seconds) for row in self.rows],
            "GB/s": [_rate(row.bytes, row.seconds) for row in self.rows],
            "of roofline": [_percent(self.of_roofline(row)) for row in self.rows],
        }
        width = width or _width(columns)
        for spare in ("GB/s", "GFLOP/s", "calls", "of roofline"):
            if _width(columns) > width:
                del columns[spare]
        room = max(4, width - _width({name: columns[name] for name in columns if name != "operation"}) - 2)
        columns["operation"] = [_cut(name, room) for name in columns["operation"]]
        widths = _widths(columns)
        lines = []
        for cells in [tuple(columns), *zip(*columns.values(), strict=True)]:
            left = [cell.ljust(n) for cell, n in zip(cells[:2], widths[:2], strict=True)]
            right = [cell.rjust(n) for cell, n in zip(cells[2:], widths[2:], strict=True)]
            lines.append("  ".join(left + right).rstrip())
        for total in self._totals():
            lines += ["", *textwrap.wrap(total, width)]
        return "\n".join(lines)

    def _totals(self):
        """What stands below the table, in three parts: the phases, the speed, and what watching cost."""
        parts = {p: sum(row.seconds for row in self.rows if row.phase == p) for p in PHASES}
        flops, arithmetic = sum(row.flops for row in self.rows), self.peaks["arithmetic"]
        reached = flops / self.unwatched / 1e9 if self.unwatched else 0.0
        return (
            ", ".join(f"{phase} {1e3 * seconds:.3f} ms" for phase, seconds in parts.items())
            + f"; all rows {1e3 * self.seconds:.3f} ms"
            + (f", {self.seconds / self.unwatched:.1%} of the step unwatched" if self.unwatched else ""),
            f"{reached:.1f} GFLOP/s, {reached / arithmetic:.1%} of the peak; {self.threads} "
            f"thread{'s' if self.threads > 1 else ''} can do {arithmetic:.0f} GFLOP/s and move "
            f"{self.peaks['triad']:.1f} GB/s",
            f"unwatched {1e3 * self.unwatched:.3f} ms; watched {1e3 * (self.seconds + self.profiler):.3f} "
            f"ms, of which the profiler {1e3 * self.profiler:.3f} ms",
        )


def _cut(name, room):
    return name if len(name) <= room else f"{name[: room - 3]}..."


def _percent(part):
    return "" if part is None else f"{part:.1%}"


def _rate(count, seconds):
    return f"{count / seconds / 1e9:.1f}" if count and seconds else ""


def _widths(columns):
    return [max(map(len, (name, *cells))) for name, cells in columns.items()]


def _width(columns):
    """Of the whole table, two spaces between its columns."""
    return sum(_widths(columns)) + 2 * (len(columns) - 1)


@dataclass
class _Pass:
    """A backward pass that is under way. Passes nest, and each goes on where it was.

    recorded  a graph is built: the rules' own operations are told of, and counted, one by one
    node      order of the node that was told of last; nodes come one by one, so another order is another node
    read      order of the node that was last seen to read its cotangent and what was kept
    """

    recorded: bool
    node: int | None = None
    read: int | None = None


class _Watcher(Observer):
    """Fills in Rows during one step, from its own making to `finish`; counts its `own` seconds apart."""

    def __init__(self, clock):
        self.clock, self.rows, self.own = clock, {}, 0.0
        self.passes = []  # that we are in, the innermost last
        self.each = {}  # order of a node -> operations of each of its gradients
        self.since = clock()  # the last event, or the end of our own work on it

    def _row(self, operation, phase):
        """The row, with the time since the last event added; from now on time is our own, until `_go_on`."""
        self.entered = self.clock()
        row = self.rows.setdefault((operation, phase), Row(operation, phase))
        row.seconds += self.entered - self.since
        return row

    def _go_on(self):
        self.since = self.clock()
        self.own += self.since - self.entered

    def result(self, primitive, values, attrs, out, node):
        row = self._row(primitive.name, "backward" if self.passes else "forward")
        row.calls += 1
        row.bytes += forward_bytes(primitive, values, attrs, out)
        row.flops += forward_flops(primitive, values, attrs, out)
        each = gradient_flops(primitive, values, attrs, out) if node is not None else 0
        if each:
            self.each[node.order] = each
        self._go_on()

    def gradient(self, node, parent, g, cotangent):
        row, now = self._row(node.plan.name, "backward"), self.passes[-1]
        first, now.node = node.order != now.node, node.order
        row.calls += first
        if not now.recorded:
            row.flops += backward_flops(node, parent, self.each.get(node.order, 0), first=first)
            moved = backward_bytes(node, g, cotangent, first=node.order != now.read)
            if moved:
                row.bytes += moved
                now.read = node.order
        self._go_on()

    def backward_begins(self, create_graph):
        self._row(PASS, "backward").calls += 1
        self.passes.append(_Pass(create_graph))
        self._go_on()

    def backward_ends(self):
        self._row(PASS, "backward")
        self.passes.pop()
        self._go_on()

    def lap(self, name):
        self._row(name, "elsewhere").calls += 1
        self._go_on()

    def finish(self):
        """Whatever is left of the step, which is over, goes to a row of its own."""
        self._row(REST, "elsewhere").calls += 1
        return self


def lap(name):
    """In a step that is profiled: what has passed since the last operation or lap counts to `name`.

    Anywhere else it does nothing, so it may stay in the step.
    """
    for observer in current_mode().observers:
        if isinstance(observer, _Watcher):
            observer.lap(name)


def profile(step, *, repeats=5, warmup=2, peaks=None, clock=time.perf_counter):
    """Run a training step again and again, watched and unwatched in turns, and say where its time goes.

    Every call really trains: `step` is called `warmup + 2 * repeats` times. Watching changes nothing of what
    it computes.

    Args:
        step: a function without arguments, forward and backward of one step; it may call `lap`.
        repeats: how many steps are watched, and how many not; medians are taken.
        warmup: steps before, in which kernels are compiled and memory is claimed.
        peaks: what `kernels.machine.peaks` returned, where it is known; else they are measured, once, which
            takes some 3 s and 400 MB.
        clock: a function that returns seconds.

    Returns:
        A Profile.

    Raises:
        ValueError: `repeats` below 1, or `warmup` below 0.
    """
    for name, value, least in (("repeats", repeats, 1), ("warmup", warmup, 0)):
        if value < least:
            raise ValueError(f"profile: expected {name} of at least {least}, got {value}; give a larger one")
    peaks = peaks or _peaks()
    for _ in range(warmup):
        step()
    unwatched, watched = [], []
    for _ in range(repeats):
        start = clock()
        step()
        unwatched.append(clock() - start)
        watcher = _Watcher(clock)
        with observing(watcher):
            step()
        watched.append(watcher.finish())
    return Profile(
        rows=sorted(_medians([watcher.rows for watcher in watched]), key=lambda row: -row.seconds),
        unwatched=statistics.median(unwatched),
        profiler=statistics.median(watcher.own for watcher in watched),
        repeats=repeats,
        threads=peaks["threads"],
        peaks={name: peaks[name]["all"] for name in ("arithmetic", "triad")},
    )


def _medians(steps):
    """A Row for each that occurs in any of the steps; where it did not, it took nothing."""
    keys = dict.fromkeys(key for rows in steps for key in rows)
    for key in keys:
        each = [rows.get(key, Row(*key)) for rows in steps]
        counts = {
            n: statistics.median_low([getattr(row, n) for row in each]) for n in ("calls", "bytes", "flops")
        }
        yield Row(*key, seconds=statistics.median(row.seconds for row in each), **counts)


@functools.cache
def _peaks():
    """The machine's peaks, measured once: machine.py imports Numba, so not before."""
    from ..kernels import machine, most_threads

    return machine.peaks(most_threads(), seconds=0.15, megabytes=128, kinds=("arithmetic", "triad"))
