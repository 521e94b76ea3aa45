"""Text and code that every Python brings along: its language reference, its docstrings, its library's source.

No download, and nearly 2 MB of English and 10 MB of code. Nothing is imported to find it: the files of the
standard library are read, and their docstrings are found with `ast`. Modules written in C have no part here.

Unlike the other data sets, these depend on the Python that runs, and a little on who built it. The first line
of both texts names the version; for `python_entries` record `sys.version` yourself. Compare results only
between equal versions.
"""

import ast
import hashlib
import platform
import re
import sys
import sysconfig
import textwrap
from functools import cache
from pathlib import Path

from .paths import by_name
from .splits import check_split

# Tests, and programs beside the library. The topics of the language reference are text, in one huge literal.
LEFT_OUT = set("test tests idlelib lib2to3 turtledemo pydoc_data".split())

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
SUMMARY, BODY = range(10, 201), range(40, 1501)  # characters of an entry's parts


def python_docs(*, split="train"):
    """The topics of the language reference, then the docstrings of the standard library's public modules.

    A docstring stands below the full name of what it describes; one that occurs again is left out. The first
    90 % of the text train, up to the end of a line; so the test text is of the last modules in the alphabet.

    Args:
        split: "train" or "test".

    Returns:
        A str.

    Raises:
        ValueError: an unknown split.
        FileNotFoundError: this Python came without the source files of its library.
    """
    check_split("python_docs", split)
    return _part(_docs(_library()), split)


def python_source(*, split="train"):
    """The source of the standard library's modules in Python, private ones too, in the order of their names.

    Before each file a line names it: "# json/decoder.py". Left out are tests, the programs of LEFT_OUT, files
    that are not UTF-8, and what is not part of the library, such as installed packages. The first 90 % of the
    text train, up to the end of a line; so the test text is of the last modules in the alphabet.

    Args:
        split: "train" or "test".

    Returns:
        A str.

    Raises:
        ValueError: an unknown split.
        FileNotFoundError: this Python came without the source files of its library.
    """
    check_split("python_source", split)
    files = [f"# {name}\n{text.rstrip()}\n" for name, text in _sources(_library())]
    return _part("\n".join([f"# Python {platform.python_version()}\n", *files]), split)


def python_entries(*, split="train"):
    """Docstrings of functions, classes and methods, cut in two to learn to summarise: (body, summary) pairs.

    The summary is the first sentence, 10 to 200 characters in one line. The body is the rest, 40 to 1,500
    characters, and has whole paragraphs after the one of the summary. Each body occurs once, and so does each
    summary. A hash of the body puts about one in ten into the test set, whatever else there is, so an entry
    that two versions of Python share is in the same split of both.

    Args:
        split: "train" or "test".

    Returns:
        A list of pairs of str, in the order of the modules' names.

    Raises:
        ValueError: an unknown split.
        FileNotFoundError: this Python came without the source files of its library.
    """
    check_split("python_entries", split)
    entries, seen = [], set()
    for _, text, is_module in _docstrings(_library()):
        body, summary = _entry(text)
        fits = not is_module and len(summary) in SUMMARY and len(body) in BODY
        if fits and seen.isdisjoint([body, summary]):
            seen.update([body, summary])
            entries.append((body, summary))
    return [entry for entry in entries if _is_test(entry[0]) == (split == "test")]


def _part(text, split):
    """The first nine tenths of `text`, up to the end of the line there, or what comes after them."""
    cut = text.index("\n", len(text) * 9 // 10) + 1
    return text[:cut] if split == "train" else text[cut:]


def _is_test(text):
    """True for one text in ten. Python's own hash of a string is another in every process."""
    return hashlib.sha256(text.encode()).digest()[0] * 10 < 256


def _entry(text):
    """(body, summary) of a docstring; empty strings when it has no first sentence, or no other paragraph."""
    first, *rest = re.split(r"\n\s*\n", text.strip(), maxsplit=1)
    # A sentence ends with a full stop before white space, but not with that of "e.g. " or "a.k.a. ".
    match = re.match(r"(.*?(?<!\.\w)[.!?])(?:\s+(.*))?$", first, re.DOTALL)
    if match is None or not rest:
        return "", ""
    summary, more = match.groups(default="")
    rest = textwrap.dedent(rest[0])  # where the first line alone has no margin, get_docstring leaves one
    return "\n\n".join(filter(None, [more, rest])), " ".join(summary.split())


# The files of the standard library


def _library():
    """The folder of the standard library."""
    folder = Path(sysconfig.get_path("stdlib"))
    for path in (folder / "ast.py", folder / "pydoc_data" / "topics.py"):
        if not path.is_file():
            raise FileNotFoundError(
                f"python_text: expected the source of Python's library, got no {path}; "
                "run a Python that has it, such as one from python.org"
            )
    return folder


def _sources(folder):
    """Yield (name, text) of each Python file that is not left out, in the order of the names with slashes."""
    files = []
    # Only the library's own modules: installed packages, often in a folder here, may be ten times as many.
    for module in sys.stdlib_module_names - LEFT_OUT:
        if (file := folder / f"{module}.py").is_file():
            files.append(file)
        files += (folder / module).rglob("*.py")
    for file in by_name(files, folder):
        name = file.relative_to(folder).as_posix()
        if LEFT_OUT.isdisjoint(name.removesuffix(".py").split("/")):
            try:
                yield name, file.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue


@cache
def _docs(folder):
    """The whole text of python_docs."""
    tree = ast.parse((folder / "pydoc_data" / "topics.py").read_text(encoding="utf-8"))
    topics = next(ast.literal_eval(node.value) for node in tree.body if isinstance(node, ast.Assign))
    parts = {text.strip(): None for _, text in sorted(topics.items())}
    for name, text, _ in _docstrings(folder):
        parts.setdefault(text, name)
    named = [f"{name}\n\n{text}\n" if name else f"{text}\n" for text, name in parts.items()]
    return "\n".join([f"Python {platform.python_version()}\n", *named])


@cache
def _docstrings(folder):
    """(full name, text, whether of a module) of each docstring of a public thing in a public module."""
    found = []
    for name, text in _sources(folder):
        module = name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        if all(_is_public(part) for part in module.split(".")):
            found += _documented(ast.parse(text), module)
    return found


def _documented(node, name):
    """Yield what _docstrings promises of `node` and of the public things in it, in the order of the file."""
    if text := ast.get_docstring(node):
        yield name, text, isinstance(node, ast.Module)
    if not isinstance(node, _FUNCTIONS):  # what a function defines within is its own affair
        for child in _definitions(node):
            if _is_public(child.name):
                yield from _documented(child, f"{name}.{child.name}")


def _definitions(node):
    """Yield the functions and classes among the statements of `node`, those under an `if` or a `try` too."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (*_FUNCTIONS, ast.ClassDef)):
            yield child
        elif isinstance(child, (ast.stmt, ast.ExceptHandler)):
            yield from _definitions(child)


def _is_public(name):
    return not name.startswith("_")
