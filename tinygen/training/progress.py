"""What stderr shows while a model trains: a bar on a terminal, plain lines in a log, or nothing."""

import contextlib
import io
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

    def step(self, metrics, *, done):
        """A step, with its training metrics, name -> float."""

    def evaluated(self, row, *, done):
        """An evaluation, with its row of metrics."""


class Lines(Silent):
    """A line for an evaluation: the epoch, both losses, the rate, and the time left."""

    def __init__(self, stream, title):
        self.stream, self.title, self.started, self.last = stream, title, time.monotonic(), -EVERY
        self.steps, self.start = 0, 0.0

    def begin(self, done):
        print(self.title, file=self.stream, flush=True)
        self.started, self.start = time.monotonic(), done

    def step(self, metrics, *, done):
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

    def __init__(self, stream, title):
        self.stream, self.title, self.bar, self.steps, self.test = stream, title, None, 0, ""

    def begin(self, done):
        print(self.title, file=self.stream)
        start = int(done * self.PARTS)
        self.started = time.monotonic()
        self.bar = optional("tqdm").tqdm(
            total=self.PARTS, initial=start, file=self.stream, bar_format=self.FORMAT, dynamic_ncols=True
        )

    def step(self, metrics, *, done):
        self.steps += 1
        parts = int(done * self.PARTS) - self.bar.n
        if parts > 0 or self.steps == 1:
            rate = self.steps / max(time.monotonic() - self.started, 1e-9)
            losses = ", ".join(f"{value:.4g}" for name, value in metrics.items() if name.endswith("loss"))
            self.bar.set_description_str(f"loss {losses}{self.test}, {_rate(rate)}, ", refresh=False)
            self.bar.update(parts)

    def evaluated(self, row, *, done):
        if "test_loss" in row:
            self.test = f", test {row['test_loss']:.4g}"

    def __exit__(self, *error):
        if self.bar is not None:
            self.bar.close()


class _Forgiving:
    """A stream on which nobody may be listening any more: no reason to stop a training."""

    def __init__(self, stream):
        self.stream = stream

    def __getattr__(self, name):
        return getattr(self.stream, name)

    def write(self, text):
        with contextlib.suppress(OSError, ValueError):
            self.stream.write(text)

    def flush(self):
        with contextlib.suppress(OSError, ValueError):
            self.stream.flush()


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


def progress(title, *, quiet=False):
    """The one that suits: nothing when `quiet`, a bar when stderr is a terminal, plain lines otherwise.

    `title` is a line that is shown when the training begins.
    """
    if quiet or sys.stderr is None:
        return Silent()
    return (Bar if sys.stderr.isatty() else Lines)(_Forgiving(sys.stderr), title)


@contextlib.contextmanager
def telling(title):
    """In the block, a function to be told which share of some work is done, in (0, 1].

    It shows the share and the time left on stderr, on one line of a terminal, if the work takes longer than
    EVERY seconds.
    """
    stream, started = _Forgiving(sys.stderr or io.StringIO()), time.monotonic()
    terminal, last, widest = stream.isatty(), started, 0

    def tell(done):
        nonlocal last, widest
        now = time.monotonic()
        if now - last >= EVERY:
            line = f"{title}: {done:.0%}, {_duration((now - started) * (1 - done) / done)} left"
            last, widest = now, max(widest, len(line))
            stream.write(f"{line:{widest}}\r" if terminal else f"{line}\n")
            stream.flush()

    try:
        yield tell
    finally:
        if terminal and widest:
            stream.write(f"{'':{widest}}\r")
            stream.flush()
