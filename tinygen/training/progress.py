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

    def step(self, loss, *, done):
        """A step, with its training loss in nats an image."""

    def evaluated(self, row, *, done):
        """An evaluation, with its row of metrics."""


class Lines(Silent):
    """A line for an evaluation: the epoch, both losses, the rate, and the time left."""

    def __init__(self, stream):
        self.stream, self.started, self.last = stream, time.monotonic(), -EVERY

    def evaluated(self, row, *, done):
        now = time.monotonic()
        if done < 1 and now - self.last < EVERY:
            return
        self.last, seconds = now, now - self.started
        rate, left = row["step"] / max(seconds, 1e-9), seconds / done - seconds if done else 0
        print(
            f"epoch {row['epoch']:.4g}: loss {row['train_loss']:.2f}, test {row['test_loss']:.2f} nats, "
            f"{rate:.0f} steps/s, {left:.0f} s left",
            file=self.stream,
            flush=True,
        )


class Bar(Silent):
    """A tqdm bar: losses, rate, and the time left."""

    FORMAT = "{desc} {percentage:3.0f}% {bar}{postfix}, {elapsed} gone, {remaining} left"
    PARTS = 1000  # of the whole, since a training is measured in steps or in minutes

    def __init__(self, stream, title):
        self.started, self.steps, self.test = time.monotonic(), 0, ""
        self.bar = optional("tqdm").tqdm(
            total=self.PARTS, desc=title, file=stream, bar_format=self.FORMAT, dynamic_ncols=True
        )

    def step(self, loss, *, done):
        self.steps += 1
        parts = int(done * self.PARTS) - self.bar.n
        if parts > 0 or self.steps == 1:
            rate = self.steps / max(time.monotonic() - self.started, 1e-9)
            self.bar.set_postfix_str(f"loss {loss:.2f}{self.test} nats, {rate:.0f} steps/s", refresh=False)
            self.bar.update(parts)

    def evaluated(self, row, *, done):
        self.test = f", test {row['test_loss']:.2f}"

    def __exit__(self, *error):
        self.bar.close()


def progress(title, *, quiet=False):
    """The one that suits: nothing when `quiet`, a bar when stderr is a terminal, plain lines otherwise."""
    if quiet:
        return Silent()
    return Bar(sys.stderr, title) if sys.stderr.isatty() else Lines(sys.stderr)
