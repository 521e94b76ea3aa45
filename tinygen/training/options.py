"""Command-line options from configuration dataclasses: name, type, default and help are those of the fields.

The fields are those of `configuration.option`.
"""

import argparse
import dataclasses
import difflib

from ..configuration import kind_of


class Mistake(ValueError):
    """Something that the user can put right; the message says how."""


class _Parser(argparse.ArgumentParser):
    """argparse, but a Mistake is raised where it would print its usage and exit."""

    def error(self, message):
        raise Mistake(message.removeprefix("argument "))


def parse(program, argv, configs, *, recipes=None, sources=(), without=(), operands=()):
    """The options given in `argv`, as a dict; those not given are not in it.

    Args:
        program: how the command is called, such as "tinygen train vae".
        argv: what follows it.
        configs: dataclasses, whose fields are the options.
        recipes: for the help, a dict of data set -> settings that replace the fields' defaults there; the
            last one is for any other data.
        sources: for the help, the names that the option `data` may have beside a path.
        without: names of fields that are no options.
        operands: pairs of a name and what it means, of arguments that are no options and may be left out. One
            whose name ends in ... is all that are given, as a list.

    Raises:
        Mistake: an unknown option, with the nearest known one, or a value of another type.
    """
    parser = _Parser(prog=program, allow_abbrev=False, argument_default=argparse.SUPPRESS)
    known = [f for config in configs for f in dataclasses.fields(config) if f.name not in without]
    for name, meaning in operands:
        parser.add_argument(name, nargs="*" if name.endswith("...") else "?", help=meaning)
    for field in known:
        kind = kind_of(field)
        choices = field.metadata.get("choices")
        text = field.metadata["help"] + (f": {', '.join(choices)}" if choices else "")
        text += f": {', '.join(sources)}, or a path" if field.name == "data" and sources else ""
        text += _default(field, kind, recipes or {})
        if kind is bool and field.default:
            parser.add_argument(_flag(field), action=argparse.BooleanOptionalAction, help=text)
        elif kind is bool:
            parser.add_argument(_flag(field), action="store_true", help=text)
        else:
            read = _chooser(field.name, choices) if choices else READERS[kind]
            parser.add_argument(_flag(field), type=read, metavar=field.name.upper(), help=text)
    given, rest = parser.parse_known_intermixed_args(argv)
    if rest and rest[0].startswith("-"):
        choose("option", rest[0].partition("=")[0], list(parser._option_string_actions))
    if rest:
        raise Mistake(f"expected an option, got {rest[0]!r}; {program} --help tells them")
    return vars(given)


def _flag(field):
    """How an option is written: lr_end is --lr-end."""
    return f"--{field.name.replace('_', '-')}"


def _default(field, kind, recipes):
    """The part of an option's help that says its default."""
    if field.name == "data" and recipes:
        return f" (default: {next(iter(recipes))})"
    values = {name: settings.get(field.name, field.default) for name, settings in recipes.items()}
    usual = next(reversed(values.values()), field.default)  # the last recipe is that for any other data
    words = [_said(usual)] if usual is not None else []
    words += [f"{_said(value)} for {name}" for name, value in values.items() if value != usual]
    told = kind is not bool or any(field.name in settings for settings in recipes.values())
    return f" (default: {', '.join(words)})" if words and told else ""


def _said(value):
    """A default in words; a text that is no word in quotes."""
    is_word = not isinstance(value, str) or value.replace("-", "").isalnum()
    return str(value if value is not None else "none") if is_word else repr(value)


def from_settings(config, settings):
    """The dataclass `config` made from those entries of `settings`, name -> value, that are its fields."""
    names = [field.name for field in dataclasses.fields(config)]
    return config(**{name: settings[name] for name in names if name in settings})


def choose(what, name, known):
    """`name`, when it is one of `known`.

    Raises:
        Mistake: it is not; the message names the nearest that is, or all.
    """
    if name in known:
        return name
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"there is: {', '.join(known)}"
    raise Mistake(f"unknown {what} {name!r}; {hint}")


def _chooser(what, known):
    def read(text):
        try:
            return choose(what, text, known)
        except Mistake as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read


def _reader(kind, expected):
    def read(text):
        try:
            return kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}") from None

    return read


READERS = {str: str, int: _reader(int, "a whole number"), float: _reader(float, "a number")}
