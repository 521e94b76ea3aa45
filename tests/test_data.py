"""The data sets: splits, ranges and dtypes; idx files good and bad; minibatches; missing libraries."""

import gzip
import re
import struct
import sys

import numpy as np
import pytest

from tinygen import data
from tinygen.data.digits import INK
from tinygen.extras import MissingLibrary


def idx(array, code=0x08):
    """The bytes of an idx file."""
    header = struct.pack(f">HBB{array.ndim}I", 0, code, array.ndim, *array.shape)
    return header + array.astype(data.idx.TYPES[code]).tobytes()


@pytest.fixture
def images(rng):
    return rng.integers(0, 256, (5, 4, 3), dtype=np.uint8)


@pytest.fixture
def rng():
    return np.random.default_rng(7)


# digits


def test_digits_have_the_promised_shapes_dtypes_and_ranges():
    pytest.importorskip("sklearn")
    for split, count in (("train", 1500), ("test", 297)):
        images, labels = data.digits(split=split)
        assert images.shape == (count, 8, 8) and images.dtype == np.float32
        assert images.min() == 0 and images.max() == 1
        assert labels.shape == (count,) and labels.dtype == np.int64
        assert set(labels.tolist()) == set(range(10))


def test_the_splits_of_digits_divide_the_whole_set_and_stay_the_same():
    load_digits = pytest.importorskip("sklearn.datasets").load_digits
    both = [data.digits(split="train"), data.digits(split="test")]
    rows = np.concatenate([np.column_stack([x.reshape(len(x), -1) * 16, y]) for x, y in both])
    whole = np.column_stack([load_digits().data, load_digits().target])
    assert sorted(map(tuple, rows)) == sorted(map(tuple, whole))
    (_, train), (_, test) = both
    assert (train[:12].tolist(), test[:12].tolist()) == (
        [0, 6, 3, 8, 1, 8, 4, 1, 5, 8, 9, 7],
        [4, 2, 1, 0, 2, 6, 9, 0, 6, 4, 2, 6],
    )  # as they always were


def test_a_shuffled_split_holds_every_digit_in_its_share():
    pytest.importorskip("sklearn")
    assert np.bincount(data.digits(split="test")[1]).min() >= 20  # 29.7 of each expected


def test_drawn_digits_are_the_same_digits_as_text():
    for split in ("train", "test"):
        images, labels = data.digits(split=split)
        blocks = data.drawn_digits(split=split).removesuffix("\n\n").split("\n\n")
        assert [int(block[0]) for block in blocks] == labels.tolist()
        read = [[INK.index(c) for c in line] for block in blocks for line in block.split("\n")[1:]]
        assert np.array_equal(np.array(read).reshape(-1, 8, 8) / 16, images)
    assert len(set(INK)) == 17
    with pytest.raises(ValueError, match="drawn_digits: expected split"):
        data.drawn_digits(split="all")


@pytest.mark.parametrize("load", [data.digits, data.mnist])
def test_an_unknown_split_is_an_error(load):
    with pytest.raises(ValueError, match="expected split 'train' or 'test', got 'valid'"):
        load(split="valid")


def test_a_missing_library_is_an_error_that_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)  # what makes Python say that it is not there
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(
        MissingLibrary, match=r'scikit-learn is not installed; do: pip install "tinygen\[app\]"'
    ):
        data.digits()


# idx files


@pytest.mark.parametrize("code", data.idx.TYPES)
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_read_idx_gives_back_what_was_written(tmp_path, rng, code, pack):
    array = rng.integers(0, 100, (2, 3, 4)).astype(data.idx.TYPES[code])
    path = tmp_path / "file"
    path.write_bytes(pack(idx(array, code)))
    read = data.read_idx(path)
    assert np.array_equal(read, array)
    assert read.dtype == array.dtype.newbyteorder("=") and read.dtype.isnative


def test_read_idx_reads_as_many_dimensions_as_numpy_has(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(idx(np.full((1,) * 64, 7)))
    assert data.read_idx(path).shape == (1,) * 64 and data.read_idx(path).item() == 7


def test_read_idx_reads_no_rows_at_all(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(idx(np.zeros((0, 28, 28))))
    assert data.read_idx(path).shape == (0, 28, 28)


BAD = {
    "empty": (lambda good: b"", "expected an idx file, got an empty one"),
    "three bytes": (lambda good: good[:3], "magic number.*got 00 00 08"),
    "wrong magic": (lambda good: b"\x89PNG" + good[4:], "magic number.*got 89 50 4e 47"),
    "unknown type": (lambda good: b"\0\0\x0a\x03" + good[4:], "magic number.*got 00 00 0a 03"),
    "65 dimensions": (lambda good: b"\0\0\x08\x41" + bytes(4 * 65), "1 to 64 .* dimensions.*got 00 00 08 41"),
    "no dimensions": (lambda good: b"\0\0\x08\x00" + good[4:], "magic number.*got 00 00 08 00"),
    "short header": (lambda good: good[:10], "expected a header of 16 bytes, got 10"),
    "truncated": (lambda good: good[:-1], r"expected 76 bytes for shape \(5, 4, 3\), got 75"),
    "too long": (lambda good: good + b"\0", r"expected 76 bytes for shape \(5, 4, 3\), got 77"),
    "absurd sizes": (lambda good: good[:4] + b"\xff" * 12 + good[16:], r"for shape \(4294967295, .* got 76"),
    "truncated gzip": (lambda good: gzip.compress(good)[:-12], "expected whole gzip data"),
    "damaged gzip": (lambda good: gzip.compress(good)[:-8] + b"12345678", "expected whole gzip data"),
    "gzip header only": (lambda good: b"\x1f\x8b", "expected whole gzip data"),
    "gzip of nothing": (lambda good: gzip.compress(b""), "expected an idx file, got an empty one"),
}


@pytest.mark.parametrize("spoil, message", BAD.values(), ids=BAD)
def test_read_idx_refuses_a_bad_file_by_its_name(tmp_path, images, spoil, message):
    path = tmp_path / "some-images-idx3-ubyte"
    path.write_bytes(spoil(idx(images)))
    with pytest.raises(ValueError, match=f"some-images-idx3-ubyte: .*{message}"):
        data.read_idx(path)


# MNIST


@pytest.fixture
def scans(rng):
    return rng.integers(0, 256, (5, 28, 28), dtype=np.uint8)


@pytest.fixture
def mnist_folder(tmp_path, monkeypatch, scans):
    """A TINYGEN_DATA with five images to train on, and the same, not gzipped, to test on."""
    folder = tmp_path / "mnist"
    folder.mkdir()
    for name, array in (("images-idx3-ubyte", scans), ("labels-idx1-ubyte", np.arange(5))):
        (folder / f"train-{name}.gz").write_bytes(gzip.compress(idx(array)))
        (folder / f"t10k-{name}").write_bytes(idx(array))
    monkeypatch.setenv("TINYGEN_DATA", str(tmp_path))
    return folder


@pytest.mark.parametrize("split", ["train", "test"])
def test_mnist_is_found_plain_and_gzipped(mnist_folder, scans, split):
    x, labels = data.mnist(split=split)
    assert x.dtype == np.float32 and labels.dtype == np.int64
    assert np.array_equal(labels, np.arange(5))
    np.testing.assert_allclose(x, scans / 255, rtol=1e-6)


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """No folder of data, an empty cache, and in place of every host a URL that is none."""
    pytest.importorskip("pooch")
    monkeypatch.delenv("TINYGEN_DATA", raising=False)
    monkeypatch.setenv("TINYGEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TINYGEN_MIRROR", "nowhere")


def test_mnist_says_what_to_set(nowhere):
    with pytest.raises(
        ConnectionError, match=r"set TINYGEN_DATA to a folder that holds mnist/train-images-idx3-ubyte.gz"
    ):
        data.mnist()


def test_mnist_names_the_file_that_is_missing(nowhere, mnist_folder):
    (mnist_folder / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(
        ConnectionError,
        match=r"^mnist/t10k-labels-idx1-ubyte.gz: expected it from nowhere/.* set TINYGEN_DATA",
    ):
        data.mnist(split="test")


def test_mnist_refuses_labels_that_do_not_fit_the_images(mnist_folder):
    (mnist_folder / "t10k-labels-idx1-ubyte").write_bytes(idx(np.arange(4)))
    with pytest.raises(
        ValueError, match=r"labels-idx1-ubyte: expected 5 labels, one an image, got shape \(4,\)"
    ):
        data.mnist(split="test")


@pytest.mark.parametrize("shape", [(5,), (5, 28, 27), (5, 784), (5, 28, 28, 1)])
def test_mnist_refuses_images_of_another_shape(mnist_folder, shape):
    (mnist_folder / "t10k-images-idx3-ubyte").write_bytes(idx(np.zeros(shape)))
    with pytest.raises(
        ValueError, match=r"images-idx3-ubyte: expected bytes of shape \(N, 28, 28\), got uint8"
    ):
        data.mnist(split="test")


def test_mnist_refuses_images_that_are_not_bytes(mnist_folder, scans):
    (mnist_folder / "t10k-images-idx3-ubyte").write_bytes(idx(scans, 0x0D))
    with pytest.raises(ValueError, match=r"bytes of shape \(N, 28, 28\), got float32 of shape \(5, 28, 28\)"):
        data.mnist(split="test")


# minibatches


def minibatches(*arrays, size, seed=0):
    return data.Minibatches(*arrays, size=size, rng=lambda epoch: np.random.default_rng([seed, epoch]))


def test_minibatches_give_every_row_once_an_epoch_and_keep_rows_together():
    x, y = np.arange(23), np.arange(23) * 10
    batches = minibatches(x, y, size=5)
    assert len(batches) == 5
    for epoch in range(2):
        found = [batches.at(5 * epoch + i) for i in range(5)]
        assert [len(a) for a, _ in found] == [5, 5, 5, 5, 3]
        order = np.concatenate([a for a, _ in found])
        assert sorted(order) == list(range(23))
        assert np.array_equal(np.concatenate([b for _, b in found]), order * 10)


def test_minibatches_shuffle_anew_each_epoch_and_any_step_is_the_same_whenever_it_is_asked_for():
    x = np.arange(50)
    batches = minibatches(x, size=8, seed=3)
    steps = [batches.at(step)[0] for step in range(21)]
    first, second = np.concatenate(steps[:7]), np.concatenate(steps[7:14])
    assert not np.array_equal(first, x) and not np.array_equal(first, second)
    for step in (20, 3, 8, 0, 14):
        assert np.array_equal(minibatches(x, size=8, seed=3).at(step)[0], steps[step])
        assert np.array_equal(batches.at(step)[0], steps[step])
    assert not np.array_equal(minibatches(x, size=8, seed=4).at(0)[0], steps[0])


def test_minibatches_check_their_arguments():
    with pytest.raises(ValueError, match=r"one length, got \[3, 4\]"):
        minibatches(np.arange(3), np.arange(4), size=2)
    for size in (0, -1, 2.5, 2.0, "2", None, True):
        message = f"expected a whole number of at least 1 as size, got {size!r}; 100 is usual"
        with pytest.raises(ValueError, match=f"^Minibatches: {message}"):
            minibatches(np.arange(3), size=size)
        with pytest.raises(ValueError, match=f"^in_order: {message}"):
            data.in_order(np.arange(3), size=size)
    assert len(minibatches(np.arange(3), size=np.int64(2))) == 2
    with pytest.raises(ValueError, match=r"^in_order: expected arrays of one length, got \[3, 4\]"):
        data.in_order(np.arange(3), np.arange(4), size=2)
    with pytest.raises(ValueError, match=r"^at: expected a step of at least 0, got -1; steps count over all"):
        minibatches(np.arange(3), size=2).at(-1)
    with pytest.raises(ValueError, match="at least one row, got none"):
        minibatches(np.zeros((0, 3)), size=2)


def test_in_order_gives_the_rows_from_first_to_last():
    parts = list(data.in_order(np.arange(7), np.arange(7) * 2, size=3))
    assert [a.tolist() for a, _ in parts] == [[0, 1, 2], [3, 4, 5], [6]]
    assert [b.tolist() for _, b in parts] == [[0, 2, 4], [6, 8, 10], [12]]


# windows


def test_windows_begin_anywhere_and_targets_are_the_next_tokens():
    windows = data.Windows(np.arange(9), length=4, size=500, rng=lambda step: np.random.default_rng(step))
    x, y = windows.at(3)
    assert x.shape == y.shape == (500, 4) and x.dtype == np.int64
    assert np.array_equal(y, x + 1)
    assert set(x[:, 0].tolist()) == {0, 1, 2, 3, 4} and y.max() == 8
    assert np.array_equal(windows.at(3)[0], x) and not np.array_equal(windows.at(4)[0], x)
    assert windows.per_epoch == 9 / 2000


@pytest.mark.parametrize("count", [2, 5, 9, 10])
def test_windows_in_order_have_every_token_but_the_first_once_as_a_target(count):
    x, y = (np.concatenate(part) for part in zip(*data.windows_in_order(np.arange(count), length=4, size=2)))
    counted = y != -100
    assert y[counted].tolist() == list(range(1, count)) and np.array_equal(x[counted] + 1, y[counted])
    assert x.shape[1] == 4 and (x[~counted] == 0).all()


@pytest.mark.parametrize("sizes", [{"length": 0, "size": 2}, {"length": 4, "size": 0}])
def test_windows_in_order_of_no_size_are_an_error(sizes):
    with pytest.raises(ValueError, match="windows_in_order: expected length and size of at least 1, got"):
        next(data.windows_in_order(np.arange(9), **sizes))


def test_windows_check_their_arguments():
    def make(**given):
        return data.Windows(np.arange(5), **{"size": 2, "rng": None, **given})

    with pytest.raises(ValueError, match="more than 5 tokens, one window and the next token, got 5"):
        make(length=5)
    with pytest.raises(ValueError, match="length and size of at least 1, got 0 and 2"):
        make(length=0)


# the catalogue


@pytest.mark.parametrize("name", ["digits", "sprites"])
def test_images_by_name_are_both_splits(name):
    pytest.importorskip("sklearn")
    for split, (images, labels) in zip(("train", "test"), data.load_images(name)):
        expected = data.IMAGES[name](split=split)
        assert np.array_equal(images, expected[0]) and np.array_equal(labels, expected[1])


def test_of_images_by_path_a_tenth_is_for_the_test(tmp_path, rng):
    path = tmp_path / "images"
    array = np.arange(40 * 6, dtype=np.uint8).reshape(40, 2, 3)
    path.write_bytes(idx(array))
    (train, none), (test, _) = data.load_images(path)
    assert none is None and (len(train), len(test)) == (36, 4)
    both = np.concatenate([train, test]).reshape(40, -1)
    assert sorted(map(tuple, both * 255)) == sorted(map(tuple, array.reshape(40, -1)))
    np.savez(tmp_path / "both.npz", images=array, labels=np.arange(40))
    (train, labels), _ = data.load_images(tmp_path / "both.npz")
    assert np.array_equal(np.round(train * 255), array[labels])
    path.write_bytes(idx(array[:1]))
    with pytest.raises(ValueError, match=f"^{path}: expected at least 2 images, .* got 1; add more"):
        data.load_images(path)


def test_the_rows_of_a_file_are_divided_as_they_always_were(tmp_path):
    """A run that is resumed reads its file again, and has to find the same rows in the same order."""
    path = tmp_path / "pairs.tsv"
    path.write_text("".join(f"{i}\t.\n" for i in range(20)), encoding="utf-8")
    train, test = ([int(source) for source, _ in part] for part in data.load_pairs(path))
    assert train == [11, 3, 13, 2, 15, 1, 18, 19, 17, 8, 6, 0, 7, 14, 4, 10, 12, 16] and test == [5, 9]


def test_a_size_is_for_pictures_of_a_folder_and_not_for_a_name(tmp_path):
    image = pytest.importorskip("PIL.Image")
    for i in range(3):
        image.fromarray(np.full((2 + i, 5), 51 * i, np.uint8)).save(tmp_path / f"{i}.png")
    (train, _), (test, _) = data.load_images(tmp_path, size=(4, 6))
    assert train.shape == (2, 4, 6) and test.shape == (1, 4, 6)
    message = r"^load_images: expected no size for digits, whose images have one, got \(4, 4\); omit it"
    with pytest.raises(ValueError, match=message):
        data.load_images("digits", size=(4, 4))


def test_text_bytes_and_pairs_by_path_are_divided_too(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("0123456789" * 3, encoding="utf-8")
    assert data.load_text(path) == ("0123456789" * 2 + "0123456", "789")
    assert [part.tobytes() for part in data.load_bytes(path)] == [b"0123456789" * 2 + b"0123456", b"789"]
    path.write_text("".join(f"{i}\t{2 * i}\n" for i in range(20)), encoding="utf-8")
    train, test = data.load_pairs(path)
    assert (len(train), len(test)) == (18, 2)
    assert sorted([*train, *test], key=lambda pair: int(pair[0])) == [(f"{i}", f"{2 * i}") for i in range(20)]
    path.write_text("a\tb\n", encoding="utf-8")
    with pytest.raises(ValueError, match=f"^{path}: expected at least 2 pairs, .* got 1; add more"):
        data.load_pairs(path)


def test_text_and_bytes_have_something_to_train_on_and_something_to_test_on(tmp_path):
    path = tmp_path / "text.txt"
    for load, what in ((data.load_text, "characters"), (data.load_bytes, "bytes")):
        path.write_text("x", encoding="utf-8")
        message = f"^{path}: expected at least 2 {what}, one to train and one to test on, got 1; add more"
        with pytest.raises(ValueError, match=message):
            load(path)
        path.write_text("xy", encoding="utf-8")
        assert [len(part) for part in load(path)] == [1, 1]


def test_bytes_are_the_callers_own_whatever_they_come_from(tmp_path):
    (tmp_path / "file").write_bytes(b"0123456789")
    for source in (tmp_path / "file", "python-docs"):
        for part in data.load_bytes(source):
            assert part.dtype == np.uint8 and part.flags.writeable


def test_what_has_a_name_comes_by_it():
    assert data.load_pairs("addition") == (data.addition(split="train"), data.addition(split="test"))
    assert np.array_equal(data.load_points("ring")[1][0], data.ring(split="test")[0])
    assert data.load_bytes("python-docs")[1].tobytes().decode() == data.load_text("python-docs")[1]


@pytest.mark.parametrize(
    "load, known, wrong, near",
    [
        (data.load_images, data.IMAGES, "mnits", "mnist"),
        (data.load_text, data.TEXTS, "tiny-shakespeare", "tinyshakespeare"),
        (data.load_bytes, data.TEXTS, "python_docs", "python-docs"),
        (data.load_pairs, data.PAIRS, "number_words", "number-words"),
    ],
)
def test_a_misspelt_name_is_told_with_the_names_and_the_nearest(
    tmp_path, monkeypatch, load, known, wrong, near
):
    monkeypatch.chdir(tmp_path)
    names = ", ".join(known)
    start = "expected a file or a folder, or one of"
    for given, hint in ((wrong, rf"did you mean {near}\?"), ("0", "check the name")):
        with pytest.raises(FileNotFoundError, match=f"^{given}: {start} {names}, got nothing .*; {hint}"):
            load(given)
    (tmp_path / "letters").write_text("x")
    with pytest.raises(FileNotFoundError, match=rf"; did you mean {re.escape(str(tmp_path / 'letters'))}\?"):
        load(tmp_path / "leters")
    with pytest.raises(ValueError, match=f"^path: {start} {names}, got an empty name; check the name"):
        load("")


def test_points_have_names_only():
    with pytest.raises(
        ValueError, match=r"^load_points: expected one of ring, grid, got 'rign'; did you mean 'ring'\?"
    ):
        data.load_points("rign")
    with pytest.raises(ValueError, match=r"^load_points: .* got 'xx'; choose one of them"):
        data.load_points("xx")
