"""A Look: what one sees inside a trained Transformer while it reads a text; as data, and as a table.

A task makes it (`look` of task.py), look_picture.py draws it. It serves a model that reads one text, and one
that reads a source and writes a target: each map has its own tokens, that look and that are looked at.
"""

import math
import unicodedata
from dataclasses import dataclass

import numpy as np

from ..configuration import option
from ..models import Guesses

WIDEST = 24  # columns of a token in the table


@dataclass(frozen=True, kw_only=True)
class Looking:
    """What is looked at."""

    text: str | None = option(None, "that the model reads (default: one that it writes)")
    layers: str | None = option(None, "that are drawn, such as 1,3 or 2-4 (default: all)")


@dataclass(frozen=True)
class Map:
    """Where the tokens of one layer look.

    title    such as "layer 1"
    rows     labels of the T tokens that look
    columns  labels of the S tokens that are looked at
    weights  (H, T, S), of each head; rows sum to 1
    """

    title: str
    rows: list
    columns: list
    weights: np.ndarray


@dataclass(frozen=True)
class Look:
    """Everything that is shown.

    maps        a list of Map
    text        labels of N + 1 tokens; the first has nothing before it, so nobody guessed it
    guesses     the Guesses of the N others
    best        labels of the N tokens that were thought the likeliest
    vocabulary  different tokens that there are
    """

    maps: list
    text: list
    guesses: Guesses
    best: list
    vocabulary: int

    def cost(self):
        """The mean surprisal of the text, and that of a model that knows nothing, in words."""
        mean, blind = self.guesses.surprisal.mean(), math.log2(self.vocabulary)
        return f"{mean:.2f} bits a token; a blind guess costs {blind:.2f}"

    def table(self):
        """The text as lines, a token each: its surprisal, the entropy of the guess, and the best guess."""
        told = self.guesses
        rows = [("", "token", "surprisal", "entropy", "best guess", ""), ("0", _cut(self.text[0]), *4 * [""])]
        for i, (token, best) in enumerate(zip(self.text[1:], self.best, strict=True)):
            figures = (f"{x[i]:.2f}" for x in (told.surprisal, told.entropy))
            rows.append((str(i + 1), _cut(token), *figures, _cut(best), f"{told.probability[i]:.2f}"))
        widths = [max(map(_columns, column)) for column in zip(*rows, strict=True)]
        left = (False, True, False, False, True, False)
        lines = ("  ".join(map(_padded, row, widths, left)).rstrip() for row in rows)
        right = np.count_nonzero(told.right)
        return "\n".join((*lines, "", f"{self.cost()}; {right} of {len(self.best)} guessed right"))


def labels(tokenizer, tokens):
    """Tokens for people to read, spaces too; what cannot be seen is escaped."""
    return [tokenizer.token(int(i)).replace(" ", "\N{OPEN BOX}") for i in tokens]


def chosen(layers, count):
    """Which of `count` layers the option `layers` names, as indices from 0, in order; all for None.

    Raises:
        ValueError: it names none, or one that is not there.
    """
    if layers is None:
        return list(range(count))
    found = set()
    for part in layers.split(","):
        first, _, last = (number.strip() for number in part.partition("-"))
        ends = [int(number) for number in (first, last or first) if number.isdecimal()]
        if len(ends) < 2 or not 1 <= ends[0] <= ends[1] <= count:
            raise ValueError(
                f"layers: expected numbers from 1 to {count}, such as 1 or 1-{count}, with commas between, "
                f"got {layers!r}; name some that are there"
            )
        found |= set(range(ends[0] - 1, ends[1]))
    return sorted(found)


def _cut(text):
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 1]}\N{HORIZONTAL ELLIPSIS}"


def _columns(text):
    """The columns that a text takes in a terminal: two for each wide character, none for an accent."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text
    )


def _padded(text, width, left):
    space = " " * (width - _columns(text))
    return text + space if left else space + text
