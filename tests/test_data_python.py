"""Text, code and pairs from the Python that runs: what they promise, and a small library to the letter."""

import re
import sys
import sysconfig
import textwrap
from pathlib import Path

import pytest

from tinygen.data import python_text
from tinygen.data.python_text import python_docs, python_entries, python_source

TEXTS = (python_docs, python_source, python_entries)


@pytest.mark.parametrize("load", TEXTS)
def test_an_unknown_split_is_an_error(load):
    message = f"{load.__name__}: expected split 'train' or 'test', got 'valid'; choose one of them"
    with pytest.raises(ValueError, match=message):
        load(split="valid")


def whole(load):
    return load(split="train") + load(split="test")


@pytest.mark.parametrize("load, size", [(python_docs, 1e6), (python_source, 5e6)])
def test_the_texts_are_long_clean_and_cut_at_a_line(load, size):
    train, test = load(split="train"), load(split="test")
    total = len(train) + len(test)
    assert total > size
    assert train.startswith("Python 3." if load is python_docs else "# Python 3.")
    assert train.endswith("\n") and test.endswith("\n")
    assert 0 <= len(train) - 0.9 * total < 2000  # the line that the cut falls into
    assert "\0" not in train + test and "\r" not in train + test
    assert load() == train


def test_the_docs_hold_the_language_reference_and_the_docstrings_once():
    text = whole(python_docs)
    assert 'The "with" statement\n' in text
    assert "\njson.decoder.JSONDecoder.raw_decode\n\nDecode a JSON document from" in text
    assert "\n\nimportlib\n\n" in text and "\nimportlib.__init__\n" not in text
    assert text.count("\nUse this metaclass to create an ABC.") == 1


def test_the_source_holds_the_files_in_the_order_of_their_names():
    text = whole(python_source)
    names = [
        "__future__.py",
        "_weakrefset.py",
        "argparse.py",
        "json/decoder.py",
        "textwrap.py",
        "zipimport.py",
    ]
    places = [re.search(rf"^# {name}", text, re.MULTILINE).start() for name in names]
    assert places == sorted(places)
    with open(sys.modules["textwrap"].__file__, encoding="utf-8") as file:
        assert f"\n# textwrap.py\n{file.read().rstrip()}\n\n# this.py\n" in text
    assert not re.search(r"^# (test|idlelib|lib2to3|site-packages)/.*\.py$", text, re.MULTILINE)


def test_entries_are_well_formed_and_their_splits_are_disjoint():
    train, test = python_entries(split="train"), python_entries(split="test")
    assert len(train) > 1000 and 0.05 < len(test) / len(train + test) < 0.15
    for body, summary in train + test:
        assert 10 <= len(summary) <= 200 and re.fullmatch(r"\S.*[.!?]", summary)
        assert 40 <= len(body) <= 1500 and "\0" not in body
        assert body == body.strip("\n") == textwrap.dedent(body)
    for column in (0, 1):
        assert len({entry[column] for entry in train + test}) == len(train + test)
    assert python_entries() == train


# The same with a small library, of which everything is known


@pytest.fixture
def library(tmp_path, monkeypatch):
    """Writes files of a standard library, and makes Python take it for its own."""
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path) if name == "stdlib" else "")
    monkeypatch.setattr(python_text.platform, "python_version", lambda: "3.99.1")

    def write(files):
        always = {"ast.py": "", "pydoc_data/topics.py": "topics = {'b': 'B', 'a': 'A'}"}
        for name, content in (always | files).items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())

    return write


FILES = {
    "json/__init__.py": '"""JSON."""\nx = 1\n\n\n',
    "json/decoder.py": '''
class Decoder:
    """Decodes."""
    if True:
        def decode(self):
            """Decode it."""
            def inner():
                """Not seen."""
    else:
        async def decode_later(self):
            """Decode it."""
    def _hidden(self):
        """Not seen."""
    def __init__(self):
        """Not seen."""
''',
    "json/_private.py": '"""Private."""',
    "json/tests/test_json.py": '"""A test."""',
    "calendar.py": """try:
    def day():
        'A day, äh.'
except ImportError:
    class Month:
        'A month.'
""",
    "abc.py": b"# \xff is not UTF-8\n'''Latin.'''",
    "idlelib/editor.py": '"""A program."""',
    "site-packages/json.py": '"""Installed."""',
    "sitecustomize.py": '"""Of this machine."""',
}


def test_the_docs_of_a_small_library(library):
    library(FILES)
    assert whole(python_docs) == (
        "Python 3.99.1\n\nA\n\nB\n\ncalendar.day\n\nA day, äh.\n\ncalendar.Month\n\nA month.\n\n"
        "json\n\nJSON.\n\njson.decoder.Decoder\n\nDecodes.\n\njson.decoder.Decoder.decode\n\nDecode it.\n"
    )


def test_the_source_of_a_small_library(library):
    library({name: text for name, text in FILES.items() if name != "json/decoder.py"})
    assert whole(python_source) == (
        "# Python 3.99.1\n\n# ast.py\n\n\n# calendar.py\n" + FILES["calendar.py"] + "\n# json/__init__.py\n"
        '"""JSON."""\nx = 1\n\n# json/_private.py\n"""Private."""\n'
    )


MORE = "\n\nIt goes on with a paragraph of some length, such as this."


@pytest.mark.parametrize(
    "docstring, summary, body",
    [
        ("Return the day." + MORE, "Return the day.", MORE.strip()),
        ("Return the\nday. Or so." + MORE, "Return the day.", "Or so." + MORE),
        ("Use e.g. a b.c file." + MORE, "Use e.g. a b.c file.", MORE.strip()),
        ("Read bytes into b. Or so." + MORE, "Read bytes into b.", "Or so." + MORE),
        ("Is it a day?\n  \n" + MORE, "Is it a day?", MORE.strip()),
        (
            "Return the day.\n\n    Code first.\n\n      Code after it, long enough.",
            "Return the day.",
            "Code first.\n\n  Code after it, long enough.",
        ),
        ("Return the day" + MORE, None, None),  # no sentence
        ("Return the day. And then something of some length, but in one paragraph.", None, None),
        ("A day." + MORE, None, None),  # too short
        (200 * "x" + "." + MORE, None, None),  # too long
        ("Return the day.\n\nMore.", None, None),
        ("Return the day.\n\n" + 1501 * "x", None, None),
        ("Return the day.\n\n" + 1500 * "x", "Return the day.", 1500 * "x"),
    ],
)
def test_an_entry_is_cut_after_its_first_sentence(library, docstring, summary, body):
    library({"calendar.py": f"def day():\n    {docstring!r}\n"})
    assert whole(python_entries) == ([] if summary is None else [(body, summary)])


def test_the_docstring_of_a_module_is_no_entry(library):
    library({"calendar.py": repr("Return the day." + MORE)})
    assert whole(python_entries) == []


def function(name, summary, body):
    return f"def {name}():\n    {summary + chr(10) * 2 + body!r}\n"


def test_each_body_and_each_summary_is_an_entry_once(library):
    first, second = (
        f"A body that is long enough for an entry, the {nth} one." for nth in ("first", "second")
    )
    library(
        {
            "calendar.py": function("a", "Return this.", first) + function("b", "Return that.", first),
            "json/decoder.py": function("c", "Return this.", second) + function("d", "Return it.", second),
        }
    )
    assert sorted(whole(python_entries)) == sorted([(first, "Return this."), (second, "Return it.")])


def test_the_split_of_an_entry_does_not_depend_on_the_others(library, tmp_path):
    bodies = [f"Body number {i} is long enough to be the body of an entry." for i in range(60)]
    code = [function(f"f{i}", f"Return number {i}.", body) for i, body in enumerate(bodies)]
    library({"calendar.py": "".join(code)})
    test = python_entries(split="test")
    python_text._docstrings.cache_clear()  # it remembers by the folder
    library({"calendar.py": "", "json/decoder.py": "".join(code[:29:-1])})
    assert 0 < len(test) < 20
    assert set(python_entries(split="test")) == {entry for entry in test if entry[0] in bodies[30:]}


def test_the_split_of_an_entry_is_what_it_always_was(library):
    """A change of these moves entries from the training set of published runs into the test set."""
    bodies = [f"Body number {i} is long enough to be the body of an entry." for i in (8, 9)]
    library({"calendar.py": "".join(function(f"f{i}", f"Return {i} numbers.", bodies[i]) for i in (0, 1))})
    assert [body for body, _ in python_entries(split="train")] == bodies[:1]
    assert [body for body, _ in python_entries(split="test")] == bodies[1:]


def test_what_is_installed_beside_the_library_is_not_even_walked(library, tmp_path, monkeypatch):
    library(FILES)
    walked, rglob = [], Path.rglob
    monkeypatch.setattr(
        Path, "rglob", lambda self, *args: (walked.append(self.relative_to(tmp_path)), rglob(self, *args))[1]
    )
    assert "# json/__init__.py" in whole(python_source)
    assert Path("json") in walked
    assert {str(path) for path in walked} <= sys.stdlib_module_names


@pytest.mark.parametrize("load", TEXTS)
@pytest.mark.parametrize("missing", ["ast.py", "pydoc_data/topics.py"])
def test_a_python_without_its_sources_is_an_error_that_says_so(library, tmp_path, load, missing):
    library(FILES)
    (tmp_path / missing).unlink()
    message = f"python_text: expected the source of Python's library, got no .*{missing[-6:]}; run a Python"
    with pytest.raises(FileNotFoundError, match=message):
        load()
