"""The data sets: splits, ranges and dtypes; idx files good and bad; minibatches; missing libraries."""

import gzip
import struct
import sys

import numpy as np
import pytest

from tinygen import data
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
    assert np.array_equal(data.digits()[0], data.digits(split="train", seed=0)[0])
    assert not np.array_equal(data.digits()[1], data.digits(seed=1)[1])


def test_a_shuffled_split_holds_every_digit_in_its_share():
    pytest.importorskip("sklearn")
    assert np.bincount(data.digits(split="test")[1]).min() >= 20  # 29.7 of each expected


@pytest.mark.parametrize("load", [data.digits, data.mnist])
def test_an_unknown_split_is_an_error(load):
    with pytest.raises(ValueError, match="expected split 'train' or 'test', got 'valid'"):
        load(split="valid")


def test_a_missing_library_is_an_error_that_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)  # what makes Python say that it is not there
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(MissingLibrary, match=r'sklearn is not installed; do: pip install "tinygen\[app\]"'):
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


def test_read_idx_reads_no_rows_at_all(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(idx(np.zeros((0, 28, 28))))
    assert data.read_idx(path).shape == (0, 28, 28)


BAD = {
    "empty": (lambda good: b"", "expected an idx file, got an empty one"),
    "three bytes": (lambda good: good[:3], "magic number.*got 00 00 08"),
    "wrong magic": (lambda good: b"\x89PNG" + good[4:], "magic number.*got 89 50 4e 47"),
    "unknown type": (lambda good: b"\0\0\x0a\x03" + good[4:], "magic number.*got 00 00 0a 03"),
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
def mnist_folder(tmp_path, monkeypatch, images):
    """A TINYGEN_DATA with five images to train on, and the same, not gzipped, to test on."""
    folder = tmp_path / "mnist"
    folder.mkdir()
    for name, array in (("images-idx3-ubyte", images), ("labels-idx1-ubyte", np.arange(5))):
        (folder / f"train-{name}.gz").write_bytes(gzip.compress(idx(array)))
        (folder / f"t10k-{name}").write_bytes(idx(array))
    monkeypatch.setenv("TINYGEN_DATA", str(tmp_path))
    return folder


@pytest.mark.parametrize("split", ["train", "test"])
def test_mnist_is_found_plain_and_gzipped(mnist_folder, images, split):
    x, labels = data.mnist(split=split)
    assert x.dtype == np.float32 and labels.dtype == np.int64
    assert np.array_equal(labels, np.arange(5))
    np.testing.assert_allclose(x, images / 255, rtol=1e-6)


def test_mnist_says_what_to_set(monkeypatch):
    monkeypatch.delenv("TINYGEN_DATA", raising=False)
    with pytest.raises(
        FileNotFoundError, match=r"set it to the folder that holds mnist/train-images-idx3-ubyte.gz"
    ):
        data.mnist()


def test_mnist_names_the_file_that_is_missing(mnist_folder):
    (mnist_folder / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"t10k-labels-idx1-ubyte.gz, got no such file; set TINYGEN_DATA"
    ):
        data.mnist(split="test")


def test_mnist_refuses_labels_that_do_not_fit_the_images(mnist_folder):
    (mnist_folder / "t10k-labels-idx1-ubyte").write_bytes(idx(np.arange(4)))
    with pytest.raises(
        ValueError, match=r"labels-idx1-ubyte: expected 5 labels, one an image, got shape \(4,\)"
    ):
        data.mnist(split="test")


def test_mnist_refuses_images_that_are_none(mnist_folder):
    (mnist_folder / "t10k-images-idx3-ubyte").write_bytes(idx(np.arange(5)))
    with pytest.raises(ValueError, match=r"images-idx3-ubyte: expected bytes of shape \(N, height, width\)"):
        data.mnist(split="test")


# minibatches


def test_minibatches_give_every_row_once_and_keep_rows_together(rng):
    x, y = np.arange(23), np.arange(23) * 10
    batches = list(data.minibatches(x, y, size=5, rng=rng))
    assert [len(a) for a, _ in batches] == [5, 5, 5, 5, 3]
    order = np.concatenate([a for a, _ in batches])
    assert sorted(order) == list(range(23))
    assert np.array_equal(np.concatenate([b for _, b in batches]), order * 10)


def test_minibatches_shuffle_anew_each_epoch_and_repeat_with_the_seed():
    def epochs(seed):
        rng = np.random.default_rng(seed)
        return [
            np.concatenate([a for (a,) in data.minibatches(np.arange(50), size=8, rng=rng)]) for _ in "ab"
        ]

    first, second = epochs(3)
    assert not np.array_equal(first, np.arange(50)) and not np.array_equal(first, second)
    assert np.array_equal(first, epochs(3)[0]) and np.array_equal(second, epochs(3)[1])


def test_minibatches_check_their_arguments_at_the_call(rng):
    with pytest.raises(ValueError, match=r"one length, got \[3, 4\]"):
        data.minibatches(np.arange(3), np.arange(4), size=2, rng=rng)
    with pytest.raises(ValueError, match="a size of at least 1, got 0"):
        data.minibatches(np.arange(3), size=0, rng=rng)
