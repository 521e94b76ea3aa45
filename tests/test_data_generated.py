"""The data sets that are made here: what each promises, that its splits divide it, that it never changes."""

import hashlib
import itertools
import re
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygen.data.gaussians import GRID_MEANS, GRID_STD, RING_MEANS, RING_STD, _uniform, grid, ring
from tinygen.data.sequences import addition, copying, english, german, number_words, sorting
from tinygen.data.splits import check_split, random_uint64, rows_of_split
from tinygen.data.sprites import FACTORS, SHAPES, SIDES, SIZES, render, sprites

SPLITS = ("train", "test")
TASKS = (number_words, addition, copying, sorting)


@pytest.mark.parametrize("load", [sprites, ring, grid, *TASKS])
def test_an_unknown_split_is_an_error(load):
    message = f"{load.__name__}: expected split 'train' or 'test', got 'valid'; choose one of them"
    with pytest.raises(ValueError, match=message):
        load(split="valid")


# Splits


@given(st.integers(1, 300), st.integers(0, 5), st.data())
def test_the_splits_divide_the_rows(n, seed, data):
    train = data.draw(st.none() | st.integers(0, n))
    parts = [rows_of_split(n, split=split, seed=seed, train=train) for split in SPLITS]
    assert sorted(np.concatenate(parts).tolist()) == list(range(n))
    assert len(parts[0]) == (n * 9 // 10 if train is None else train)
    assert parts[0].dtype == parts[1].dtype == np.int64


def test_random_numbers_are_what_they_always_were():
    assert random_uint64(2, seed=0).tolist() == [11749869230777074271, 4976686463289251617]
    assert random_uint64(2, seed=(1, 1)).tolist() == [6121965077920697375, 11287488425574791786]


@pytest.mark.parametrize("split", [None, "", "Train", 0])
def test_only_two_splits_are_known_unless_others_are_given(split):
    with pytest.raises(ValueError, match=f"^somebody: expected split 'train' or 'test', got {split!r}"):
        check_split("somebody", split)
    assert [check_split("somebody", good) for good in SPLITS] == [None, None]
    with pytest.raises(ValueError, match=f"^somebody: expected split 'a', 'b' or 'c', got {split!r}; choose"):
        check_split("somebody", split, ("a", "b", "c"))
    assert check_split("somebody", "b", ("a", "b", "c")) is None


def test_the_rows_of_the_splits_are_what_they_always_were():
    """A run on files of the user's that is resumed depends on them, and so does its test set."""
    train = [11, 3, 13, 2, 15, 1, 18, 19, 17, 8, 6, 0, 7, 14, 4, 10, 12, 16]
    assert rows_of_split(20, split="train", seed=0).tolist() == train
    assert rows_of_split(20, split="test", seed=0).tolist() == [5, 9]


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
            r"expected 5 factors in the last axis, got shape \(\); give shape, scale, orientation, x, y",
        ),
        ([0, 0, 0, 0], ValueError, r"expected 5 factors in the last axis, got shape \(4,\)"),
        ([0, 0, 0, 0, 0.5], TypeError, "expected integers, got float64; factors are counted from 0"),
        ([True] * 5, TypeError, "expected integers, got bool"),
        ([3, 0, 0, 0, 0], ValueError, "expected shape from 0 to 2, got 3"),
        ([[0] * 5, [0, 0, -1, 0, 0]], ValueError, "expected orientation from 0 to 15, got -1"),
    ],
)
def test_render_refuses_what_are_no_factors(factors, error, message):
    with pytest.raises(error, match=f"^render: {message}"):
        render(factors)


# Gaussians

MIXTURES = [(ring, RING_MEANS, RING_STD), (grid, GRID_MEANS, GRID_STD)]


@pytest.mark.parametrize("split, count", [("train", 100_000), ("test", 10_000)])
@pytest.mark.parametrize("load, means, std", MIXTURES)
def test_each_mode_has_its_share_its_mean_and_its_std(load, means, std, split, count):
    points, labels = load(split=split)
    assert points.shape == (count, 2) and points.dtype == np.float32
    assert labels.shape == (count,) and labels.dtype == np.int64
    share = count // len(means)
    assert np.bincount(labels).tolist() == [share] * len(means)
    noise = (points - means[labels]) / std
    for mode in range(len(means)):
        x, y = noise[labels == mode].T
        # Five standard errors, of a mean, a standard deviation and a correlation.
        assert max(abs(x.mean()), abs(y.mean())) < 5 / np.sqrt(share)
        assert max(abs(x.std() - 1), abs(y.std() - 1)) < 5 / np.sqrt(2 * share)
        assert abs((x * y).mean()) < 5 / np.sqrt(share)


@pytest.mark.parametrize("load, means, std", MIXTURES)
def test_the_noise_is_normal_in_its_tails_too(load, means, std):
    points, labels = load()
    noise = np.abs(points - means[labels]).ravel() / std
    for bound, share in ((1, 0.317311), (2, 0.045500), (3, 0.002700)):  # of a normal distribution outside
        assert abs((noise > bound).mean() - share) < 5 * np.sqrt(share / noise.size)


def test_uniform_draws_never_reach_their_ends():
    """The logarithm of 0 is -inf."""
    low, high = _uniform(np.array([0, 2**64 - 1], np.uint64)).tolist()
    assert (low, high) == (2.0**-53, 1 - 2.0**-53)
    assert 0 < low < high < 1


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
