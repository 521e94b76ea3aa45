"""The data sets that are made here: what each promises, that its splits divide it, that it never changes."""

import hashlib
import itertools
import re
import sys
import sysconfig
import textwrap

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygen.data import python_text
from tinygen.data.gaussians import GRID_DEVIATION, GRID_MEANS, RING_DEVIATION, RING_MEANS, grid, ring
from tinygen.data.python_text import python_docs, python_entries, python_source
from tinygen.data.sequences import addition, copying, english, german, number_words, sorting
from tinygen.data.splits import check_split, divided, raw_words
from tinygen.data.sprites import FACTORS, SHAPES, SIDES, SIZES, render, sprites

SPLITS = ("train", "test")
TASKS = (number_words, addition, copying, sorting)
TEXTS = (python_docs, python_source, python_entries)


@pytest.mark.parametrize("load", [sprites, ring, grid, *TASKS, *TEXTS])
def test_an_unknown_split_is_an_error(load):
    message = f"{load.__name__}: expected split 'train' or 'test', got 'valid'; choose one of them"
    with pytest.raises(ValueError, match=message):
        load(split="valid")


# Splits


@given(st.integers(1, 300), st.integers(0, 5), st.data())
def test_the_splits_divide_the_rows(n, seed, data):
    train = data.draw(st.none() | st.integers(0, n))
    parts = [divided(n, split=split, seed=seed, train=train) for split in SPLITS]
    assert sorted(np.concatenate(parts).tolist()) == list(range(n))
    assert len(parts[0]) == (n * 9 // 10 if train is None else train)
    assert parts[0].dtype == parts[1].dtype == np.int64


def test_random_words_are_what_they_always_were():
    assert raw_words(2, seed=0).tolist() == [11749869230777074271, 4976686463289251617]
    assert raw_words(2, seed=(1, 1)).tolist() == [6121965077920697375, 11287488425574791786]


@pytest.mark.parametrize("split", [None, "", "Train", 0])
def test_only_two_splits_are_known(split):
    with pytest.raises(ValueError, match=f"^somebody: expected split 'train' or 'test', got {split!r}"):
        check_split("somebody", split)
    assert [check_split("somebody", good) for good in SPLITS] == [None, None]


def digest(*parts):
    """A short hash of arrays and strings, the same on machines of any byte order."""
    whole = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            part = part.astype(part.dtype.newbyteorder("<")).tobytes()
        whole.update(part if isinstance(part, bytes) else repr(part).encode())
    return whole.hexdigest()[:12]


KNOWN = {
    "sprites": "8c197cb7d163",
    "number_words": "944bdac0c069",
    "addition": "f3c3b7104c20",
    "copying": "a1668330473e",
    "sorting": "5dd2b1b9800c",
}


@pytest.mark.parametrize("load", [sprites, *TASKS])
def test_the_data_are_what_they_always_were(load):
    """A change of these breaks every published number that was trained on them."""
    made = [load(split=split) for split in SPLITS]
    parts = [part for pair in made for part in pair] if load is sprites else made
    assert digest(*parts) == KNOWN[load.__name__]


# Sprites

FOLD = np.array([4, 2, 3])  # a shape turned by an angle turns its moment of z^fold by fold times the angle


@pytest.fixture(scope="module")
def all_sprites():
    """Images and factors of both splits together."""
    return [np.concatenate(parts) for parts in zip(*(sprites(split=split) for split in SPLITS))]


@pytest.fixture(scope="module")
def moments(all_sprites):
    """Of each sprite: its ink, its centre of mass in pixels, the phase of its moment of z^fold in radians."""
    images, factors = all_sprites
    y, x = np.mgrid[:32, :32] + 0.5
    ink = images.sum(axis=(1, 2), dtype=float)
    centre = np.stack([(images * x).sum(axis=(1, 2)), (images * y).sum(axis=(1, 2))], axis=1) / ink[:, None]
    z = (x - centre[:, 0, None, None]) - 1j * (y - centre[:, 1, None, None])  # y upwards
    phase = np.angle((images * z ** FOLD[factors[:, 0], None, None]).sum(axis=(1, 2)))
    return ink, centre, phase


def test_sprites_have_the_promised_shapes_dtypes_and_ranges():
    for split, count in (("train", 11_059), ("test", 1_229)):
        images, factors = sprites(split=split)
        assert images.shape == (count, 32, 32) and images.dtype == np.float32
        assert images.min() == 0 and images.max() == 1 and not (images * 16 % 1).any()
        assert factors.shape == (count, len(FACTORS)) and factors.dtype == np.int64
        for name, size, column in zip(FACTORS, SIZES, factors.T):
            assert set(column.tolist()) == set(range(size)), name


def test_every_combination_of_factors_occurs_once_and_no_two_images_are_equal(all_sprites):
    images, factors = all_sprites
    assert sorted(map(tuple, factors.tolist())) == list(np.ndindex(SIZES))
    assert len({image.tobytes() for image in images}) == len(images) == 12_288


def test_the_area_of_a_sprite_follows_from_its_scale_alone(all_sprites, moments):
    expected = np.array(SIDES)[all_sprites[1][:, 1]] ** 2
    assert np.abs(moments[0] / expected - 1).max() < 0.06  # 1.25 of 25 pixels, by the samples
    assert np.abs(moments[0] / expected - 1).mean() < 0.01


def test_the_centre_of_a_sprite_follows_from_its_position_alone(all_sprites, moments):
    assert np.abs(moments[1] - (9 + 2 * all_sprites[1][:, 3:])).max() < 0.06  # of a pixel


def test_sprites_are_turned_by_sixteenths_of_the_turn_that_changes_nothing(all_sprites, moments):
    shape, scale, angle = all_sprites[1].T[:3]
    upright = np.array([np.pi, 0, np.pi / 2])[shape]  # corners at 45 degrees, at 0, and the tip at -90
    expected = upright + FOLD[shape] * np.deg2rad(np.array([90, 180, 360])[shape] * angle / 16)
    error = np.abs(np.angle(np.exp(1j * (moments[2] - expected))))
    assert error.max() < 0.2  # half a step of the angle, for the smallest
    assert error[scale == 3].max() < 0.03


@given(st.integers(0, 3), st.integers(0, 15), st.integers(0, 7), st.integers(0, 7))
def test_a_heart_turned_by_four_angles_is_its_image_turned_by_90_degrees(scale, angle, x, y):
    turned = render((2, scale, (angle + 4) % 16, y, 7 - x))
    assert np.array_equal(turned, np.rot90(render((2, scale, angle, x, y))))


def test_a_square_that_was_drawn_by_hand():
    """Side 5 and centre (9, 9): whole pixels from 7 to 10, and half pixels around them."""
    image = render((SHAPES.index("square"), 0, 0, 0, 0))
    line = np.zeros(32)
    line[6:12] = 0.5, 1, 1, 1, 1, 0.5
    assert np.array_equal(image, np.outer(line, line))


def test_render_keeps_leading_axes(all_sprites):
    images, factors = all_sprites
    assert np.array_equal(render(factors[:6].reshape(2, 3, 5)), images[:6].reshape(2, 3, 32, 32))
    assert np.array_equal(render(factors[0].tolist()), images[0])
    assert render(np.zeros((0, 5))).shape == (0, 32, 32)


def test_no_sample_of_a_sprite_lies_so_near_to_its_edge_that_rounding_decides(monkeypatch):
    """Which is why every machine draws the same: neither the angle nor the size matters to 1 in 10^9."""
    module = sys.modules["tinygen.data.sprites"]
    every = np.array([(*which, 4, 4) for which in np.ndindex(SIZES[:3])])
    images, draw = render(every), module._patch
    for turn, growth in itertools.product((-1e-9, 1e-9), repeat=2):
        monkeypatch.setattr(module, "SIDES", tuple(side * (1 + growth) for side in SIDES))
        monkeypatch.setattr(
            module, "_patch", lambda shape, scale, angle, by=turn: draw(shape, scale, angle + by)
        )
        assert np.array_equal(render(every), images)


@pytest.mark.parametrize(
    "factors, error, message",
    [
        (
            5,
            ValueError,
            r"expected 5 factors in the last axis, got shape \(\); give shape, scale, angle, x, y",
        ),
        ([0, 0, 0, 0], ValueError, r"expected 5 factors in the last axis, got shape \(4,\)"),
        ([0, 0, 0, 0, 0.5], TypeError, "expected integers, got float64; factors are counted from 0"),
        ([True] * 5, TypeError, "expected integers, got bool"),
        ([3, 0, 0, 0, 0], ValueError, "expected shape from 0 to 2, got 3"),
        ([[0] * 5, [0, 0, -1, 0, 0]], ValueError, "expected angle from 0 to 15, got -1"),
    ],
)
def test_render_refuses_what_are_no_factors(factors, error, message):
    with pytest.raises(error, match=f"^render: {message}"):
        render(factors)


# Gaussians

MIXTURES = [(ring, RING_MEANS, RING_DEVIATION), (grid, GRID_MEANS, GRID_DEVIATION)]


@pytest.mark.parametrize("split, count", [("train", 100_000), ("test", 10_000)])
@pytest.mark.parametrize("load, means, deviation", MIXTURES)
def test_each_mode_has_its_share_its_mean_and_its_deviation(load, means, deviation, split, count):
    points, labels = load(split=split)
    assert points.shape == (count, 2) and points.dtype == np.float32
    assert labels.shape == (count,) and labels.dtype == np.int64
    share = count // len(means)
    assert np.bincount(labels).tolist() == [share] * len(means)
    noise = (points - means[labels]) / deviation
    for mode in range(len(means)):
        x, y = noise[labels == mode].T
        # Five standard errors, of a mean, a standard deviation and a correlation.
        assert max(abs(x.mean()), abs(y.mean())) < 5 / np.sqrt(share)
        assert max(abs(x.std() - 1), abs(y.std() - 1)) < 5 / np.sqrt(2 * share)
        assert abs((x * y).mean()) < 5 / np.sqrt(share)


@pytest.mark.parametrize("load, means, deviation", MIXTURES)
def test_the_noise_is_normal_in_its_tails_too(load, means, deviation):
    points, labels = load()
    noise = np.abs(points - means[labels]).ravel() / deviation
    for bound, share in ((1, 0.317311), (2, 0.045500), (3, 0.002700)):  # of a normal distribution outside
        assert abs((noise > bound).mean() - share) < 5 * np.sqrt(share / noise.size)


def test_the_modes_are_where_the_paper_has_them():
    assert sorted(map(tuple, GRID_MEANS.tolist())) == list(itertools.product([-4, -2, 0, 2, 4], repeat=2))
    np.testing.assert_allclose(np.linalg.norm(RING_MEANS, axis=1), 1)
    np.testing.assert_allclose(RING_MEANS[[0, 2, 4, 6]], [(1, 0), (0, 1), (-1, 0), (0, -1)], atol=1e-15)
    assert not RING_MEANS.flags.writeable and not GRID_MEANS.flags.writeable


@pytest.mark.parametrize("load", [ring, grid])
def test_the_points_of_the_splits_are_different_shuffled_and_always_the_same(load):
    (train, labels), (test, _) = load(split="train"), load(split="test")
    assert not set(map(tuple, train.tolist())) & set(map(tuple, test.tolist()))
    assert len(set(labels[:100].tolist())) > 7  # neither sorted
    assert np.abs(np.corrcoef(labels[:-1], labels[1:])[0, 1]) < 5 / np.sqrt(len(labels))  # nor in turns
    again = load()
    assert np.array_equal(again[0], train) and np.array_equal(again[1], labels)


def test_the_first_points_are_what_they_always_were():
    first = [[-0.0014762537, 1.0098827], [-1.0004877, 0.017592140]]
    np.testing.assert_allclose(ring()[0][:2], first, rtol=1e-6)
    first = [[-0.066823423, -4.0234685], [-2.0316203, -2.0280240]]
    np.testing.assert_allclose(grid()[0][:2], first, rtol=1e-6)


# Sequences


@pytest.mark.parametrize(
    "n, british, word",
    [
        (0, "zero", "null"),
        (1, "one", "eins"),
        (12, "twelve", "zwölf"),
        (16, "sixteen", "sechzehn"),
        (17, "seventeen", "siebzehn"),
        (21, "twenty-one", "einundzwanzig"),
        (30, "thirty", "dreißig"),
        (66, "sixty-six", "sechsundsechzig"),
        (77, "seventy-seven", "siebenundsiebzig"),
        (100, "one hundred", "einhundert"),
        (101, "one hundred and one", "einhunderteins"),
        (555, "five hundred and fifty-five", "fünfhundertfünfundfünfzig"),
        (1_000, "one thousand", "eintausend"),
        (1_001, "one thousand and one", "eintausendeins"),
        (1_100, "one thousand one hundred", "eintausendeinhundert"),
        (2_437, "two thousand four hundred and thirty-seven", "zweitausendvierhundertsiebenunddreißig"),
        (21_000, "twenty-one thousand", "einundzwanzigtausend"),
        (101_011, "one hundred and one thousand and eleven", "einhunderteintausendelf"),
        (
            999_999,
            "nine hundred and ninety-nine thousand nine hundred and ninety-nine",
            "neunhundertneunundneunzigtausendneunhundertneunundneunzig",
        ),
    ],
)
def test_numbers_that_were_written_by_hand(n, british, word):
    assert english(n) == british
    assert german(n) == word


ENGLISH = dict(zip("zero one two three four five six seven eight nine ten eleven twelve".split(), range(13)))
ENGLISH |= {"thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16, "seventeen": 17, "eighteen": 18}
ENGLISH |= {"nineteen": 19, "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60}
ENGLISH |= {"seventy": 70, "eighty": 80, "ninety": 90}
GERMAN_UNITS = dict(zip("ein zwei drei vier fünf sechs sieben acht neun".split(), range(1, 10)))
GERMAN = GERMAN_UNITS | {"null": 0, "eins": 1, "zehn": 10, "elf": 11, "zwölf": 12, "dreizehn": 13}
GERMAN |= {"vierzehn": 14, "fünfzehn": 15, "sechzehn": 16, "siebzehn": 17, "achtzehn": 18, "neunzehn": 19}
GERMAN |= {"zwanzig": 20, "dreißig": 30, "vierzig": 40, "fünfzig": 50, "sechzig": 60}
GERMAN |= {"siebzig": 70, "achtzig": 80, "neunzig": 90}


def read_english(text):
    """The number that a calculator reaches which multiplies by every hundred and stores at every thousand."""
    stored, shown = 0, 0
    for word in text.replace("-", " ").split():
        if word == "thousand":
            stored, shown = 1000 * shown, 0
        elif word != "and":
            shown = 100 * shown if word == "hundred" else shown + ENGLISH[word]
    return stored + shown


def read_german(word):
    """The number of a German word, cut at its largest part first."""
    for name, size in (("tausend", 1000), ("hundert", 100)):
        if name in word:
            count, _, rest = word.partition(name)
            return size * read_german(count) + (read_german(rest) if rest else 0)
    if word in GERMAN:
        return GERMAN[word]
    units, _, tens = word.partition("und")
    return GERMAN_UNITS[units] + GERMAN[tens]


@given(st.integers(0, 999_999))
def test_number_words_read_back_as_their_number(n):
    """So no two numbers have the same words."""
    assert read_english(english(n)) == n
    assert read_german(german(n)) == n


@given(st.integers(0, 999_999))
def test_number_words_are_spelled_as_they_should(n):
    assert re.fullmatch("[a-z]+([ -][a-z]+)*", english(n))
    assert not re.search(r"\band (hundred|thousand|and)|^and|\band$", english(n))
    assert re.fullmatch("[a-zßöü]+", german(n))
    assert german(n).endswith("eins") == (n % 100 == 1)
    assert german(n).count("eins") <= 1


@pytest.mark.parametrize("say", [english, german])
def test_numbers_without_words_are_errors(say):
    for n in (-1, 1_000_000):
        with pytest.raises(
            ValueError, match=f"^{say.__name__}: expected 0 <= n < 1,000,000, got {n:,}; larger"
        ):
            say(n)
    for n in (1.0, True, np.int64(3)):
        with pytest.raises(
            TypeError, match=rf"^{say.__name__}: expected an int, got .*; convert it with int\(\)"
        ):
            say(n)


def both(task):
    """The pairs of both splits, after the checks that hold for every task."""
    train, test = task(split="train"), task(split="test")
    pairs = train + test
    assert len({source for source, _ in pairs}) == len(pairs)
    assert (task(split="train"), task(split="test")) == (train, test)
    return train, test


def test_number_words_are_all_the_numbers_below_ten_thousand():
    train, test = both(number_words)
    assert (len(train), len(test)) == (9_000, 1_000)
    assert sorted(read_english(source) for source, _ in train + test) == list(range(10_000))
    assert all(read_english(source) == read_german(target) for source, target in train + test)
    assert train != sorted(train)


def test_addition_is_all_the_sums():
    train, test = both(addition)
    assert (len(train), len(test)) == (9_000, 1_000)
    sums = {f"{a}+{b}": str(a + b) for a in range(100) for b in range(100)}
    assert dict(train + test) == sums
    assert sums["27+58"] == "85"


@pytest.mark.parametrize("task, answer", [(copying, list), (sorting, sorted)])
def test_copying_and_sorting_answer_rightly_for_strings_of_every_length(task, answer):
    train, test = both(task)
    assert (len(train), len(test)) == (10_000, 1_000)
    for pairs in (train, test):
        assert all(target == "".join(answer(source)) for source, target in pairs)
        assert all(re.fullmatch("[a-z]{1,12}", source) for source, _ in pairs)
        lengths = np.bincount([len(source) for source, _ in pairs], minlength=13)
        assert lengths[3:].min() > 0.07 * len(pairs)  # 1 in 12, and more for the short ones that run out
    lengths = np.bincount([len(source) for source, _ in train + test])
    assert lengths[1] == 26 and lengths[2] > 676 / 2
    letters = np.bincount([ord(letter) - ord("a") for source, _ in train for letter in source])
    assert len(letters) == 26 and letters.min() > 0.9 * letters.mean()


def test_sorting_has_the_strings_of_copying():
    assert [source for source, _ in sorting()] == [source for source, _ in copying()]
    assert [source for source, _ in sorting(split="test")] == [source for source, _ in copying(split="test")]


# Text of Python


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


@pytest.mark.parametrize("load", TEXTS)
@pytest.mark.parametrize("missing", ["ast.py", "pydoc_data/topics.py"])
def test_a_python_without_its_sources_is_an_error_that_says_so(library, tmp_path, load, missing):
    library(FILES)
    (tmp_path / missing).unlink()
    message = f"python_text: expected the source of Python's library, got no .*{missing[-6:]}; run a Python"
    with pytest.raises(FileNotFoundError, match=message):
        load()
