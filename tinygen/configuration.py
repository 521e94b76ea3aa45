"""Fields of configuration dataclasses that explain and check themselves. Floor 0.

    @dataclass(frozen=True, kw_only=True)
    class Size:
        width: int = option(128, "numbers of each token", at_least=1)

        def __post_init__(self):
            check(self)

The command line makes its options, and their help, of such fields (training/options.py).
"""

import dataclasses
import math


def option(default, text, *, choices=None, at_least=None, above=None, below=None):
    """A field with its default, what it means, and which values it may have beside None.

    Args:
        default: its value unless told otherwise.
        text: what it means, in a few words.
        choices: the strings that it may be.
        at_least, above, below: bounds of a number, which is finite besides.
    """
    bounds = {"at least": at_least, "a number above": above, "below": below}
    metadata = {
        "help": text,
        "bounds": {words: bound for words, bound in bounds.items() if bound is not None},
    }
    if choices is not None:
        metadata["choices"] = tuple(choices)
    return dataclasses.field(default=default, metadata=metadata)


_HOLDS = {
    "at least": lambda value, bound: value >= bound,
    "a number above": lambda value, bound: value > bound,
    "below": lambda value, bound: value < bound,
}


def check(config):
    """Hold every field of a configuration to its choices and bounds, and whole numbers to be whole.

    Raises:
        ValueError: one of them is not as it may be.
    """
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        choices, bounds = field.metadata.get("choices"), field.metadata.get("bounds", {})
        if value is None:
            continue
        if choices and value not in choices:
            raise ValueError(f"{field.name}: expected one of {', '.join(choices)}, got {value!r}; choose one")
        if "int" in str(field.type) and (isinstance(value, bool) or not isinstance(value, int)):
            raise ValueError(f"{field.name}: expected a whole number, got {value!r}; round it")
        if bounds and not (math.isfinite(value) and all(_HOLDS[w](value, b) for w, b in bounds.items())):
            expected = " and ".join(f"{words} {bound}" for words, bound in bounds.items())
            raise ValueError(f"{field.name}: expected {expected}, got {value}; change it")
