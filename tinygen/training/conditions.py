"""What a conditional model is told of each example: chosen by `--condition`, asked for by `--given`.

Of an example a label may be known, or several factors; see data/conditions.py. The model is told some of
them, each as a row of zeros with a one.
"""

from dataclasses import dataclass

import numpy as np

from .. import data
from ..configuration import check, option
from .options import choose


@dataclass(frozen=True, kw_only=True)
class ConditionConfig:
    """What a conditional model is told of each example."""

    condition: str | None = option(
        None, "what is given of each example: label, or factors of sprites such as shape,scale"
    )


@dataclass(frozen=True, kw_only=True)
class Asking:
    """What a conditional model is asked for; with it begins how such a model samples."""

    given: str | None = option(
        None, "for a conditional model, what they are to be, as numbers: 7, or 2,0 (default: of all kinds)"
    )

    def __post_init__(self):
        check(self)


def chosen(condition, labels, source):
    """What a model is told: name -> how many values, in the order of `condition`, a comma between names.

    Args:
        condition: such as "label"; None for nothing.
        labels: of all examples, or None; see `data.known`.
        source: what the data are called, for the message.

    Raises:
        ValueError: nothing of that name is known of the examples, or a name stands there twice.
    """
    if condition is None:
        return {}
    known, names = data.known(labels), [name.strip() for name in condition.split(",")]
    if not known:
        raise ValueError(
            f"condition: expected data with labels, got {source}, which have none; give others, or train "
            "without a condition"
        )
    if len(set(names)) < len(names):
        raise ValueError(f"condition: expected each name once, got {condition!r}; leave one out")
    return {choose("condition", name, known): known[name] for name in names}


def rows(labels, given, count):
    """One-hot rows (N, K) of what is `given` of N = `count` examples, out of their labels; K may be 0."""
    if not given:
        return np.zeros((count, 0), np.float32)
    names = list(data.known(labels))
    columns = labels.reshape(count, -1)[:, [names.index(name) for name in given]]
    return data.one_hot(columns, list(given.values()))


def asked(text, given):
    """The values that are asked for, (1, F), or None for all kinds.

    Raises:
        ValueError: they are not one whole number in range for each of what is given.
    """
    if text is None:
        return None
    if not given:
        raise ValueError("given: is not used by a model without condition; leave it out")
    words = [word.strip() for word in text.split(",")]
    if len(words) != len(given) or not all(
        word.isdecimal() and int(word) < size for word, size in zip(words, given.values())
    ):
        expected = " and ".join(f"{name} from 0 to {size - 1}" for name, size in given.items())
        between = ", with a comma between" if len(given) > 1 else ""
        raise ValueError(f"given: expected {expected}{between}, got {text!r}; change it")
    return np.array([[int(word) for word in words]])
