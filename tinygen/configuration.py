"""Fields of configuration dataclasses that explain and check themselves. Floor 0.

    @dataclass(frozen=True, kw_only=True)
    class Size:
        width: int = option(128, "numbers of each token", at_least=1)

        def __post_init__(self):
            check(self)

The command line makes its options, and their help, of such fields (training/options.py).

What some options are for depends on another one's choice. A class says so by `uses`, for each such option the
names that each of its choices makes use of:

        uses: ClassVar = {"optimizer": {"sgd": ("momentum",), "adam": ("beta1", "beta2")}}
"""

import dataclasses
import math
import numbers
import typing


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


_KINDS = {bool: "True or False", int: "a whole number", float: "a number"}


def kind_of(field):
    """The type of a field's values, beside None."""
    return next(kind for kind in (*typing.get_args(field.type), field.type) if kind is not type(None))


def _is(kind, value):
    if kind is bool or isinstance(value, bool):
        return kind is bool and isinstance(value, bool)
    return isinstance(value, numbers.Real if kind is float else kind)


def check(config):
    """Hold every field of a configuration to its choices, its bounds, and the kind of value that it has.

    Raises:
        ValueError: one of them is not as it may be, or is not None and of no use beside what is chosen.
    """
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        choices, bounds = field.metadata.get("choices"), field.metadata.get("bounds", {})
        if value is None:
            continue
        if choices and value not in choices:
            raise ValueError(f"{field.name}: expected one of {', '.join(choices)}, got {value!r}; choose one")
        kind = kind_of(field)
        if kind in _KINDS and not _is(kind, value):
            raise ValueError(f"{field.name}: expected {_KINDS[kind]}, got {value!r}; give one")
        if bounds and not (math.isfinite(value) and all(_HOLDS[w](value, b) for w, b in bounds.items())):
            expected = " and ".join(f"{words} {bound}" for words, bound in bounds.items())
            raise ValueError(f"{field.name}: expected {expected}, got {value}; change it")
    for name, option, others in unused(config, vars(config)):
        if getattr(config, name) is not None:
            raise ValueError(
                f"{name}: is not used by the {option} {getattr(config, option)}; leave it out, or choose "
                f"{' or '.join(others)}"
            )


def unused(configuration, settings):
    """What the choices among `settings`, a dict, have no use for.

    Args:
        configuration: an object, or its class, with `uses` or without.

    Yields:
        name: of a field.
        option: whose choice has no use for it.
        others: the choices that have.
    """
    for option, uses in getattr(configuration, "uses", {}).items():
        if (chosen := settings.get(option)) in uses:
            for name in dict.fromkeys(name for names in uses.values() for name in names):
                if name not in uses[chosen]:
                    yield name, option, [choice for choice, names in uses.items() if name in names]
