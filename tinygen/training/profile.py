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

What runs during a walk back counts to backward: a rule; with create_graph, the operations that the rule
consists of, under their own names; in a checkpoint, what it computes again.

The limit of an operation is the time that its arithmetic would take at the machine's peak (of float32), or
its memory traffic, whichever is longer: Williams, Waterman & Patterson, Roofline (2009). The traffic is what
a cold cache would cost, so an operation whose arrays lie in a cache may reach more than 100 % of that limit.

Left out: how much memory is in use; arrays on a GPU, which are computed after the event that tells of them.
"""

import dataclasses
import functools
import statistics
import textwrap
import time
from dataclasses import dataclass

from ..autograd.modes import Observer, current_mode, observing
from .work import backward_flops, forward_bytes, forward_flops, is_view, size

PHASES = ("forward", "backward", "elsewhere")
WALK, REST, WATCHING = "(walk back)", "(rest of the step)", "(the profiler)"
NARROWEST = 40  # columns of a table


@dataclass
class Row:
    """What one operation does in one phase of a step.

    operation   its name; in brackets, or named by `lap`, what is no operation
    phase       "forward", "backward" or "elsewhere"
    calls       how often it ran; in a walk back also how many of its results sent gradients on
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
    """A step, taken apart. Each figure of a row is a median over the repeats.

    rows         a Row for every operation and phase, the longest first
    undisturbed  seconds of a step that nobody watched
    repeats      how many steps were watched
    threads      how many the kernels may run on
    peaks        of that many: {"arithmetic": GFLOP/s, "triad": GB/s}, see kernels/machine.py
    """

    rows: list
    undisturbed: float
    repeats: int
    threads: int
    peaks: dict

    @property
    def seconds(self):
        """The whole step, watched: the sum of all rows."""
        return sum(row.seconds for row in self.rows)

    def of_limit(self, row):
        """The part of the machine's limit that `row` reaches, 1 for all of it; None if nothing is counted."""
        least = max(row.flops / self.peaks["arithmetic"], row.bytes / self.peaks["triad"]) / 1e9
        return least / row.seconds if least and row.seconds else None

    def to_dict(self):
        """All of it as plain dicts, lists and numbers, for JSON; times in seconds."""
        rows = [dataclasses.asdict(row) | {"of_limit": self.of_limit(row)} for row in self.rows]
        return dataclasses.asdict(self) | {"rows": rows, "seconds": self.seconds}

    def table(self, width=None):
        """The rows as text, with totals below. Columns are left out until it fits into `width` characters.

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
            "of limit": [_percent(self.of_limit(row)) for row in self.rows],
        }
        width = width or _width(columns)
        for spare in ("GB/s", "GFLOP/s", "calls", "of limit"):
            if _width(columns) > width:
                del columns[spare]
        room = max(4, width - _width({name: columns[name] for name in columns if name != "operation"}) - 2)
        columns["operation"] = [name[:room] for name in columns["operation"]]
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
        """What stands below the table, in two lines: the times, and the speed beside the machine's."""
        parts = {p: sum(row.seconds for row in self.rows if row.phase == p) for p in PHASES}
        flops, arithmetic = sum(row.flops for row in self.rows), self.peaks["arithmetic"]
        reached = flops / self.seconds / 1e9 if self.seconds else 0.0
        return (
            ", ".join(f"{phase} {1e3 * seconds:.3f} ms" for phase, seconds in parts.items())
            + f"; the step {1e3 * self.seconds:.3f} ms, unwatched {1e3 * self.undisturbed:.3f} ms",
            f"{reached:.1f} GFLOP/s, {reached / arithmetic:.1%} of the peak; {self.threads} "
            f"thread{'s' if self.threads > 1 else ''} can do {arithmetic:.0f} GFLOP/s and move "
            f"{self.peaks['triad']:.1f} GB/s",
        )


def _percent(part):
    return "" if part is None else f"{part:.1%}"


def _rate(count, seconds):
    return f"{count / seconds / 1e9:.1f}" if count and seconds else ""


def _widths(columns):
    return [max(map(len, (name, *cells))) for name, cells in columns.items()]


def _width(columns):
    """Of the whole table, two spaces between its columns."""
    return sum(_widths(columns)) + 2 * (len(columns) - 1)


class _Watcher(Observer):
    """Fills in Rows during one step, from its own making to `finish`."""

    def __init__(self, clock):
        self.clock, self.rows = clock, {}
        self.walks = []  # of the walks that we are in, whether a graph is built
        self.node = self.read = None  # orders of the nodes last told of, and last seen to read what was kept
        self.flops = {}  # order of a node -> operations of its forward
        self.since = clock()  # the last event, or the end of our own work on it

    def _row(self, operation, phase):
        """The row, with the time since the last event added; from now on time is our own, until `_go_on`."""
        self.entered = self.clock()
        row = self.rows.setdefault((operation, phase), Row(operation, phase))
        row.seconds += self.entered - self.since
        return row

    def _go_on(self):
        self.since = self.clock()
        own = self.rows.setdefault((WATCHING, "elsewhere"), Row(WATCHING, "elsewhere"))
        own.calls += 1
        own.seconds += self.since - self.entered

    def result(self, primitive, values, attrs, out, node):
        row = self._row(primitive.name, "backward" if self.walks else "forward")
        flops = forward_flops(primitive, values, attrs, out)
        row.calls += 1
        row.bytes += forward_bytes(values, out)
        row.flops += flops
        if flops and node is not None:
            self.flops[node.order] = flops
        self._go_on()

    def gradient(self, node, parent, g, cotangent):
        row = self._row(node.plan.name, "backward")
        first, self.node = node.order != self.node, node.order
        row.calls += first
        if not self.walks[-1]:  # else the rule's own operations have been told of, and counted
            row.flops += backward_flops(node, parent, self.flops.get(node.order, 0), first=first)
            if not is_view(g, cotangent):  # else it was passed on as it is, and nothing moved
                row.bytes += size(g)
                if self.read != node.order:
                    row.bytes += size(cotangent) + size(node.kept)
                    self.read = node.order
        self._go_on()

    def walk_begins(self, create_graph):
        self._row(WALK, "backward").calls += 1
        self.walks.append(create_graph)
        self.node = self.read = None
        self._go_on()

    def walk_ends(self):
        self._row(WALK, "backward")
        self.walks.pop()
        self.node = self.read = None
        self._go_on()

    def lap(self, name):
        self._row(name, "elsewhere").calls += 1
        self._go_on()

    def finish(self):
        """The rows, the step being over."""
        self._row(REST, "elsewhere").calls += 1
        return self.rows


def lap(name):
    """In a step that is profiled: what has passed since the last operation or lap counts to `name`.

    Anywhere else it does nothing, so it may stay in the step.
    """
    for observer in current_mode().observers:
        if isinstance(observer, _Watcher):
            observer.lap(name)


def profile(step, *, repeats=5, warmup=2, threads=None, peaks=None, clock=time.perf_counter):
    """Run a training step again and again, watched and unwatched in turns, and say where its time goes.

    Every call really trains: `step` is called `warmup + 2 * repeats` times. Watching changes nothing of what
    it computes.

    Args:
        step: a function without arguments, forward and backward of one step; it may call `lap`.
        repeats: how many steps are watched, and how many not; medians are taken.
        warmup: steps before, in which kernels are compiled and memory is claimed.
        threads: how many the kernels run on, which decides what peaks they are compared with: 1, or all that
            there are (None).
        peaks: what `kernels.machine.peaks` returned, where it is known; else they are measured, once.
        clock: a function that returns seconds.

    Returns:
        A Profile.

    Raises:
        ValueError: `repeats` below 1, `warmup` below 0, or a number of threads that was not measured.
    """
    for name, value, least in (("repeats", repeats, 1), ("warmup", warmup, 0)):
        if value < least:
            raise ValueError(f"profile: expected {name} of at least {least}, got {value}; give a larger one")
    peaks = peaks or _peaks()
    threads = peaks["threads"] if threads is None else threads
    if threads not in (1, peaks["threads"]):
        raise ValueError(
            f"profile: expected 1 thread or all {peaks['threads']}, got {threads}; set NUMBA_NUM_THREADS"
        )
    for _ in range(warmup):
        step()
    undisturbed, watched = [], []
    for _ in range(repeats):
        start = clock()
        step()
        undisturbed.append(clock() - start)
        watcher = _Watcher(clock)
        with observing(watcher):
            step()
        watched.append(watcher.finish())
    who = "one" if threads == 1 else "all"
    return Profile(
        rows=sorted(_medians(watched), key=lambda row: -row.seconds),
        undisturbed=statistics.median(undisturbed),
        repeats=repeats,
        threads=threads,
        peaks={name: peaks[name][who] for name in ("arithmetic", "triad")},
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
    """The machine's peaks, measured once, in about 0.3 s: machine.py imports Numba, so not before."""
    from ..kernels import machine, most_threads

    return machine.peaks(most_threads(), seconds=0.05)
