"""What stderr shows while a model trains: a bar on a terminal, plain lines in a log, or nothing."""

import sys
import time

from ..extras import optional

EVERY = 2.0  # seconds between two plain lines, so that a short epoch does not fill a log


class Silent:
    """Shows nothing. And the interface: a context manager, told of every step and evaluation.

    `done` is the fraction of the whole training that is behind us, in [0, 1].
    """

    def __enter__(self):
        return self

    def __exit__(self, *error):
        """The training is over, in whatever way."""

    def begin(self, done):
        """The training begins, or goes on, from here."""

    def step(self, loss, *, done):
        """A step, with its training loss."""

    def evaluated(self, row, *, done):
        """An evaluation, with its row of metrics."""


class Lines(Silent):
    """A line for an evaluation: the epoch, both losses, the rate, and the time left."""

    def __init__(self, stream):
        self.stream, self.started, self.last = stream, time.monotonic(), -EVERY
        self.steps, self.start = 0, 0.0

    def begin(self, done):
        self.started, self.start = time.monotonic(), done

    def step(self, loss, *, done):
        self.steps += 1

    def evaluated(self, row, *, done):
        now = time.monotonic()
        if done < 1 and now - self.last < EVERY:
            return
        self.last, seconds = now, max(now - self.started, 1e-9)
        left = seconds * (1 - done) / max(done - self.start, 1e-9)
        losses = "".join(f", {key} {row[name]:.4g}" for key, name in _losses(row))
        rate = _rate(self.steps / seconds)
        print(
            f"epoch {row['epoch']:.4g}, step {row['step']:,}{losses}, {rate}, {_duration(left)} left",
            file=self.stream,
            flush=True,
        )


class Bar(Silent):
    """A tqdm bar: losses, rate, and the time left. It fits 60 columns."""

    FORMAT = "{percentage:3.0f}% |{bar}| {desc}{remaining} left"
    PARTS = 1000  # of the whole, since a training is measured in steps or in minutes

    def __init__(self, stream):
        self.stream, self.bar, self.steps, self.test = stream, None, 0, ""

    def begin(self, done):
        start = int(done * self.PARTS)
        self.started = time.monotonic()
        self.bar = optional("tqdm").tqdm(
            total=self.PARTS, initial=start, file=self.stream, bar_format=self.FORMAT, dynamic_ncols=True
        )

    def step(self, loss, *, done):
        self.steps += 1
        parts = int(done * self.PARTS) - self.bar.n
        if parts > 0 or self.steps == 1:
            rate = self.steps / max(time.monotonic() - self.started, 1e-9)
            self.bar.set_description_str(f"loss {loss:.4g}{self.test}, {_rate(rate)}, ", refresh=False)
            self.bar.update(parts)

    def evaluated(self, row, *, done):
        if "test_loss" in row:
            self.test = f", test {row['test_loss']:.4g}"

    def __exit__(self, *error):
        if self.bar is not None:
            self.bar.close()


def _losses(row):
    """(how it is called, its column) of what is worth a line: the losses on training and test data."""
    return [(name.replace("train_", "").replace("_", " "), name) for name in row if name.endswith("loss")]


def _rate(rate):
    """Such as 1,234 steps/s or 0.12 steps/s."""
    return f"{rate:,.0f} steps/s" if rate >= 10 else f"{rate:.2g} steps/s"


def _duration(seconds):
    """Such as 5 s, 3:05 or 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}" if minutes else f"{rest} s"


def progress(*, quiet=False):
    """The one that suits: nothing when `quiet`, a bar when stderr is a terminal, plain lines otherwise."""
    if quiet:
        return Silent()
    return Bar(sys.stderr) if sys.stderr.isatty() else Lines(sys.stderr)
