"""Data by path: images as idx, npz and folders of pictures; text, bytes, pairs; mistakes told by file."""

import gzip
import re
import struct
import sys
import tempfile
import zipfile
from pathlib import Path, PurePosixPath, PureWindowsPath

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp

from tinygen.data.files import read_bytes, read_pairs, read_text
from tinygen.data.images import read_images
from tinygen.data.paths import by_name, nearest
from tinygen.extras import MissingLibrary

BYTES = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=6))


def idx(array, code=0x08):
    """The bytes of an idx file, of an array that is big-endian already."""
    return struct.pack(f">HBB{array.ndim}I", 0, code, array.ndim, *array.shape) + array.tobytes()


def save(path, values, mode=None, **options):
    """Write an array as a picture, of the format that the name ends with; its folder is made."""
    image = pytest.importorskip("PIL.Image")
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = image.fromarray(np.asarray(values))
    (picture if mode is None else picture.convert(mode)).save(path, **options)


def only(path, **options):
    """The only image that `path` holds."""
    images, labels = read_images(path, **options)
    assert images.dtype == np.float32 and images.shape[0] == 1 and labels is None
    assert images.min() >= 0 and images.max() <= 1
    return images[0]


def refused(read, path, message, error=ValueError, **options):
    """Reading `path` fails: the message begins with it, has `message` (a pattern), and says what to do."""
    with pytest.raises(error) as caught:
        read(path, **options)
    assert re.match(rf"{re.escape(str(path))}[^;]*: expected [^;]*{message}", str(caught.value)), caught.value
    assert re.search(r"; \S", str(caught.value)) and "\n" not in str(caught.value), caught.value


@pytest.fixture
def rng():
    return np.random.default_rng(5)


# what all have in common


@pytest.mark.parametrize("read", [read_images, read_text, read_bytes, read_pairs])
def test_a_path_that_is_missing_is_told_with_what_is_near(tmp_path, read):
    (tmp_path / "letters.txt").write_text("a")
    near = rf"got nothing of that name; did you mean {re.escape(str(tmp_path / 'letters.txt'))}\?"
    with pytest.raises(FileNotFoundError, match=near):
        read(tmp_path / "leters.txt")
    with pytest.raises(FileNotFoundError, match=r"got nothing of that name; check the name"):
        read(str(tmp_path / "01"))
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*below either"):
        read(tmp_path / "below" / "letters.txt")


@pytest.mark.parametrize("read", [read_images, read_text, read_bytes, read_pairs])
def test_an_empty_path_is_not_the_working_folder(tmp_path, monkeypatch, read):
    (tmp_path / "a.txt").write_text("a\tb")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ValueError, match=r"^path: expected a file or a folder, got an empty name; check the n"
    ):
        read("")


@pytest.mark.parametrize("read", [read_images, read_text, read_bytes, read_pairs])
def test_a_link_that_leads_to_nothing_is_told_as_that(tmp_path, read):
    (tmp_path / "link").symlink_to("nothing")
    message = "a file or a folder, got a link to nothing, where there is nothing; correct or remove the link"
    refused(read, tmp_path / "link", message.partition(";")[0], error=FileNotFoundError)
    with pytest.raises(FileNotFoundError, match=message):
        read(tmp_path / "link")


def test_names_come_in_the_same_order_on_every_system():
    """A path of Windows compares without case, and any path by its parts: "a/b" before "a.txt"."""
    for kind in (PureWindowsPath, PurePosixPath):
        folder = kind("data")
        names = ["B.png", "a.png", "a/c.png", "ab.png"]
        assert by_name([folder / name for name in reversed(names)], folder) == [
            folder / name for name in names
        ]


def test_the_nearest_name_is_one_that_is_near():
    assert nearest("leters", ["numbers", "letters"]) == "letters"
    assert nearest("x", ["numbers", "letters"]) is None and nearest("x", []) is None


@pytest.mark.parametrize("read", [read_bytes, read_pairs])
def test_a_folder_is_no_file(tmp_path, read):
    refused(read, tmp_path, "a file, got a folder", error=IsADirectoryError)


@pytest.mark.parametrize("read", [read_text, read_pairs])
def test_gzip_data_that_is_cut_short(tmp_path, read):
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"some\ttext")[:-5])
    refused(read, tmp_path / "a.txt.gz", "whole gzip data")


@pytest.mark.parametrize("read", [read_text, read_pairs, read_images])
def test_gzip_data_with_a_block_that_is_damaged(tmp_path, read):
    """After the header of 10 bytes comes the type of the first block, which zlib refuses on its own."""
    content = bytearray(gzip.compress(b"some\ttext"))
    content[10] |= 0b110  # a type that is reserved
    (tmp_path / "a.gz").write_bytes(content)
    refused(read, tmp_path / "a.gz", "whole gzip data, got Error -3 while decompressing data: invalid block")


# text


@given(
    text=st.text(st.characters(codec="utf-8", exclude_characters="\r"), min_size=1),
    mark=st.booleans(),
    pack=st.booleans(),
)
def test_text_comes_back_as_it_was_written(text, mark, pack):
    content = b"\xef\xbb\xbf" * (mark or text[0] == "\ufeff") + text.encode()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "file")
        path.write_bytes(gzip.compress(content) if pack else content)
        assert read_text(path) == text


def test_every_end_of_a_line_is_one_character(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"dos\r\nold mac\runix\n\n")
    assert read_text(tmp_path / "a.txt") == "dos\nold mac\nunix\n\n"


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_what_is_no_utf8_is_told_with_its_place(tmp_path, mark, pack):
    path, content = tmp_path / "latin.txt", mark + "schön\r\ngrün".encode("latin-1")
    path.write_bytes(pack(content))
    at = len(mark) + 3
    refused(read_text, path, f"UTF-8, got 0xf6 at byte {at}; convert it, or read it as bytes")
    assert content[at] == 0xF6


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf", gzip.compress(b"")])
def test_an_empty_file_is_no_text(tmp_path, content):
    (tmp_path / "a.txt").write_bytes(content)
    refused(read_text, tmp_path / "a.txt", "text, got none")
    refused(read_pairs, tmp_path / "a.txt", "lines of source, tab, target, got none")


def test_the_text_of_a_folder_is_that_of_its_files_in_order(tmp_path):
    files = {
        "b.TXT": "second\n",
        "b/a.md": "between\n",
        "a/z.md": "first\n",
        "c.py": "third",
        "d.rst": "last\n",
        "empty.txt": "",
        "picture.png": "no",
        ".hidden.txt": "no",
        ".git/x.txt": "no",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert read_text(tmp_path) == "first\n\nsecond\n\nbetween\n\nthird\nlast\n"
    (tmp_path / "c.py").write_bytes(b"\xff")
    with pytest.raises(ValueError, match=r"c.py: expected UTF-8, got 0xff at byte 0"):
        read_text(tmp_path)


def test_a_folder_without_text(tmp_path):
    (tmp_path / "a.png").write_text("x")
    refused(read_text, tmp_path, "files with text that end in .txt, .md, .rst, .py, got none")


# bytes


@given(content=st.binary(min_size=1))
def test_bytes_are_those_of_the_file(content):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "file")
        path.write_bytes(content)
        values = read_bytes(path)
    assert values.dtype == np.uint8 and values.tobytes() == content
    values += 1  # it is the caller's own


def test_bytes_of_a_gzipped_file_stay_packed_and_none_are_an_error(tmp_path):
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"abc", mtime=0))
    assert read_bytes(tmp_path / "a.gz").tobytes() == gzip.compress(b"abc", mtime=0)
    (tmp_path / "empty").write_bytes(b"")
    refused(read_bytes, tmp_path / "empty", "at least one byte, got an empty file")


# pairs

SIDE = (
    st.text(st.characters(codec="utf-8", exclude_characters="\r\n\t"), min_size=1).map(str.strip).filter(bool)
)


@given(
    pairs=st.lists(st.tuples(SIDE, SIDE), min_size=1), end=st.sampled_from(["", "\n"]), space=st.booleans()
)
def test_pairs_come_back_as_they_were_written(pairs, end, space):
    space = " " * space
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "pairs.tsv")
        path.write_bytes(("\n".join(f"{space}{a}\t{b}{space}" for a, b in pairs) + end).encode("utf-8-sig"))
        assert read_pairs(path) == pairs


@pytest.mark.parametrize("line", ["no tab", "two\ttabs\there", "\tno source", "no target\t ", ""])
def test_a_line_that_is_no_pair_is_told_by_its_number(tmp_path, line):
    (tmp_path / "a.tsv").write_text(f"eins\tone\n{line}\ndrei\tthree\n")
    refused(
        read_pairs,
        tmp_path / "a.tsv",
        f"source, tab, target in line 2, got {re.escape(repr(line))}; correct it",
    )


# images: idx and npz


@given(values=BYTES, pack=st.booleans())
def test_an_idx_file_of_bytes_gives_values_from_0_to_1(values, pack):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "images")
        path.write_bytes(gzip.compress(idx(values)) if pack else idx(values))
        images, labels = read_images(path)
    assert labels is None and images.dtype == np.float32
    np.testing.assert_array_equal(np.rint(images * 255), values)
    assert images.min() >= 0 and images.max() <= 1 and (values.max() < 255 or images.max() == 1)


def test_an_idx_file_that_holds_no_images(tmp_path):
    path = tmp_path / "file"
    for array, code, message in (
        (np.arange(5, dtype=np.uint8), 0x08, r"shape \(N, height, width\), none of them 0, got \(5,\)"),
        (np.zeros((0, 3, 3), np.uint8), 0x08, r"got \(0, 3, 3\)"),
        (np.zeros((2, 3, 3), ">i4"), 0x0C, "uint8, or floats in .*, got int32"),
        (np.full((2, 3, 3), 3, ">f4"), 0x0D, r"floats in \[0, 1\], got 3 to 3"),
    ):
        path.write_bytes(idx(array, code))
        refused(read_images, path, message)
    path.write_bytes(b"\x89PNG....")
    refused(read_images, path, "magic number of an idx file")


FLOATS = hnp.arrays(
    st.sampled_from([np.float16, np.float32, np.float64]), (2, 3, 4), elements=st.floats(0, 1, width=16)
)


@given(values=FLOATS, name=st.sampled_from(["images", "x", "x_train", "anything"]))
def test_an_npz_of_floats_stays_as_it_is(values, name):
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder, "a.npz"), **{name: values})
        images, labels = read_images(Path(folder, "a.npz"))
    assert labels is None and images.dtype == np.float32
    np.testing.assert_array_equal(images, values)


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("names", [("images", "labels"), ("x", "y"), ("x_train", "y_train"), ("digits", "y")])
def test_an_npz_may_have_labels(tmp_path, rng, names, write):
    values, classes = rng.integers(0, 256, (3, 4, 5), dtype=np.uint8), np.array([2, 0, 1], np.uint8)
    write(tmp_path / "a.npz", more=np.zeros(7), **dict(zip(names, (values, classes))))
    images, labels = read_images(tmp_path / "a.npz")
    np.testing.assert_array_equal(images, values / np.float32(255))
    assert labels.dtype == np.int64 and labels.tolist() == [2, 0, 1]


def test_an_npz_of_two_splits_gives_the_one_to_train_on(tmp_path, rng):
    train, test = (rng.random((n, 2, 2)) for n in (3, 4))
    np.savez(tmp_path / "a.npz", x_test=test, y_test=np.arange(4), x_train=train, y_train=np.arange(3))
    images, labels = read_images(tmp_path / "a.npz")
    assert len(images) == 3 and labels.tolist() == [0, 1, 2]


def test_the_ending_of_an_npz_may_be_in_capitals(tmp_path):
    np.savez(tmp_path / "a.npz", images=HALF)
    (tmp_path / "a.npz").rename(tmp_path / "A.NPZ")
    np.testing.assert_array_equal(read_images(tmp_path / "A.NPZ")[0], HALF)


def test_an_npz_may_hold_files_that_are_no_arrays(tmp_path, rng):
    np.savez(tmp_path / "a.npz", digits=rng.random((2, 3, 4)))
    with zipfile.ZipFile(tmp_path / "a.npz", "a") as archive:
        archive.writestr("images", "a text of that name")
    assert read_images(tmp_path / "a.npz")[0].shape == (2, 3, 4)


HALF = np.full((2, 3, 3), 0.5)
BAD_NPZ = {
    "colour": (
        {"images": np.zeros((2, 3, 3, 3), np.uint8)},
        r"shape \(N, height, width\).*got \(2, 3, 3, 3\)",
    ),
    "no images": ({"a": np.zeros(3)}, "under the name images, x, x_train, or a single array .*, got a"),
    "two of them": ({"a": HALF, "b": HALF}, "a single array of three dimensions, got a, b"),
    "nothing at all": ({}, "a single array of three dimensions, got no array"),
    "integers": ({"images": np.zeros((2, 3, 3), np.int64)}, "uint8, or floats in .*, got int64"),
    "0 to 255": ({"images": HALF * 510}, r"floats in \[0, 1\], got 255 to 255; scale"),
    "-1 to 1": ({"images": HALF - 1}, r"got -0.5 to -0.5; scale"),
    "NaN": ({"images": np.where(np.eye(3), np.nan, HALF)}, "got nan to nan"),
    "infinity": ({"images": np.where(np.eye(3), np.inf, HALF)}, "got 0.5 to inf"),
    "few labels": (
        {"x": HALF, "y": np.arange(1)},
        r"2 whole numbers, one an image, got int64 of shape \(1,\)",
    ),
    "soft labels": ({"x": HALF, "y": np.zeros(2)}, r"got float64 of shape \(2,\); give each"),
    "one-hot labels": ({"x": HALF, "y": np.eye(2, dtype=int)}, r"got int64 of shape \(2, 2\)"),
    "pickles": ({"images": np.array([[[{}]]])}, "plain arrays, got Object arrays cannot be loaded"),
}


@pytest.mark.parametrize("arrays, message", BAD_NPZ.values(), ids=BAD_NPZ)
def test_a_bad_npz_is_refused_by_its_name(tmp_path, arrays, message):
    np.savez(tmp_path / "a.npz", **arrays)
    refused(read_images, tmp_path / "a.npz", message)


@pytest.mark.parametrize("spoil", [lambda good: good[:-30], lambda good: b"", lambda good: b"PK" + good[5:]])
def test_a_damaged_npz_is_refused_by_its_name(tmp_path, spoil):
    np.savez(tmp_path / "a.npz", images=HALF)
    (tmp_path / "a.npz").write_bytes(spoil((tmp_path / "a.npz").read_bytes()))
    refused(read_images, tmp_path / "a.npz", "an .npz of plain arrays, got ")


# images: folders


@given(values=BYTES, ending=st.sampled_from(["png", "bmp", "tif", "PGM"]))
def test_a_folder_of_grey_pictures_gives_their_values(values, ending):
    with tempfile.TemporaryDirectory() as folder:
        for i, image in enumerate(values):
            save(Path(folder, f"{i}.{ending}"), image)
        images, labels = read_images(folder)
    assert labels is None and images.dtype == np.float32
    np.testing.assert_array_equal(images, values / np.float32(255))


def test_subfolders_are_classes_and_names_give_the_order(tmp_path):
    files = {"dog/b.png": 4, "dog/a.png": 3, "cat/10.png": 0, "cat/2.png": 1, "cat/z.bmp": 2, "eel/a.png": 5}
    for name, value in files.items():
        save(tmp_path / name, np.full((2, 3), value, np.uint8))
    for name in ("README.txt", ".DS_Store", "cat/notes.md", "cat/._2.png", ".cache/x.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("not a picture")
    images, labels = read_images(tmp_path)
    assert np.rint(images[:, 0, 0] * 255).tolist() == [0, 1, 2, 3, 4, 5]
    assert labels.dtype == np.int64 and labels.tolist() == [0, 0, 0, 1, 1, 2]


def test_a_jpeg_is_read(tmp_path):
    save(tmp_path / "a.jpg", np.full((8, 8), 100, np.uint8))
    np.testing.assert_allclose(only(tmp_path), 100 / 255, atol=1 / 255)


GREYS = np.array([[0, 51, 255], [102, 204, 153]], np.uint8)


@pytest.mark.parametrize("mode", ["L", "RGB", "P", "LA", "RGBA"])
def test_every_mode_of_a_grey_picture_gives_the_same(tmp_path, mode):
    save(tmp_path / "a.png", GREYS, mode)
    np.testing.assert_array_equal(only(tmp_path), GREYS / np.float32(255))


def test_a_palette_is_looked_up(tmp_path):
    image = pytest.importorskip("PIL.Image")
    picture = image.new("P", (2, 1))
    picture.putpalette([255, 255, 255, 51, 51, 51])
    picture.putdata([1, 0])
    picture.save(tmp_path / "a.png")
    np.testing.assert_array_equal(only(tmp_path), np.float32([[51, 255]]) / np.float32(255))
    picture.save(tmp_path / "a.png", transparency=1)  # what was dark is not there
    np.testing.assert_array_equal(only(tmp_path), [[1, 1]])


def test_two_colours_are_black_and_white(tmp_path):
    save(tmp_path / "a.png", GREYS > 100)
    np.testing.assert_array_equal(only(tmp_path), GREYS > 100)


def test_transparent_pixels_lie_on_white(tmp_path):
    rgba = np.zeros((1, 3, 4), np.uint8)  # black, of three opacities
    rgba[0, :, 3] = 0, 102, 255
    save(tmp_path / "a.png", rgba)
    np.testing.assert_allclose(only(tmp_path), [[1, 0.6, 0]], atol=0.51 / 255)


@pytest.mark.parametrize("ending", ["png", "tif", "pgm"])
def test_all_of_16_bits_count(tmp_path, ending):
    values = np.array([[0, 1, 255], [256, 40_000, 65_535]], np.uint16)
    save(tmp_path / f"a.{ending}", values.astype(np.int32) if ending == "pgm" else values)  # for Pillow 10
    np.testing.assert_allclose(only(tmp_path), values / 65535, rtol=1e-6)


def test_more_than_16_bits_and_floats_out_of_range_are_errors(tmp_path):
    save(tmp_path / "a.tif", np.array([[0, 70_000]], np.int32))
    with pytest.raises(
        ValueError, match=r"a.tif: expected a picture, got 0 to 70000, which is more than 16 bits"
    ):
        read_images(tmp_path)
    save(tmp_path / "a.tif", np.array([[0, 0.5]], np.float32))
    np.testing.assert_array_equal(only(tmp_path), [[0, 0.5]])
    save(tmp_path / "a.tif", np.array([[0, 1.5]], np.float32))
    with pytest.raises(ValueError, match=r"a.tif: expected floats in \[0, 1\], got 0 to 1.5"):
        read_images(tmp_path)


def test_a_photograph_is_turned_as_its_camera_says(tmp_path):
    exif = pytest.importorskip("PIL.Image").Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    save(tmp_path / "a.png", GREYS, exif=exif)
    np.testing.assert_array_equal(only(tmp_path), np.rot90(GREYS, -1) / np.float32(255))


@given(values=BYTES, height=st.integers(1, 8), width=st.integers(1, 8))
def test_a_resized_picture_has_the_size_and_stays_in_its_range(values, height, width):
    with tempfile.TemporaryDirectory() as folder:
        save(Path(folder, "a.png"), values[0])
        image = only(folder, size=(height, width))
    assert image.shape == (height, width)
    grey = values[0] / np.float32(255)
    assert grey.min() - 1e-6 <= image.min() and image.max() <= grey.max() + 1e-6
    if grey.shape == (height, width):
        np.testing.assert_array_equal(image, grey)


def test_a_resized_picture_is_interpolated_between_its_pixels(tmp_path):
    save(tmp_path / "a.png", np.array([[0, 255]], np.uint8))
    np.testing.assert_allclose(only(tmp_path, size=(1, 4)), [[0, 0.25, 0.75, 1]], atol=1e-6)


def test_pictures_of_several_sizes_need_a_size(tmp_path):
    save(tmp_path / "a.png", np.zeros((2, 3), np.uint8))
    save(tmp_path / "b.png", np.full((4, 6), 51, np.uint8))
    with pytest.raises(ValueError) as caught:
        read_images(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path / 'b.png'}: expected 3 x 2 pixels, as in a.png, got 6 x 4; resize all with size=(2, 3)"
    )
    images, _ = read_images(tmp_path, size=(2, 3))
    np.testing.assert_allclose(images, np.stack([np.zeros((2, 3)), np.full((2, 3), 0.2)]), rtol=1e-6)


@pytest.mark.parametrize("size", [28, (28,), (0, 28), (28.0, 28.0), "28", (28, 28, 1), (True, 2)])
def test_a_size_that_is_none_is_an_error(tmp_path, size):
    with pytest.raises(ValueError, match=r"read_images: expected size=\(height, width\) in pixels, got "):
        read_images(tmp_path, size=size)


def test_a_size_is_for_folders_only(tmp_path):
    (tmp_path / "file").write_bytes(idx(np.zeros((1, 2, 2), np.uint8)))
    refused(read_images, tmp_path / "file", "a folder of pictures to resize, got a file", size=(2, 2))


def test_a_folder_that_holds_no_set_of_pictures(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    refused(read_images, tmp_path, "pictures such as a.png, got none")
    save(tmp_path / "cat" / "a.png", GREYS)
    (tmp_path / "dog").mkdir()
    refused(read_images, tmp_path, "pictures of a class, got none")
    save(tmp_path / "b.png", GREYS)
    refused(read_images, tmp_path, r"pictures or subfolders of them, got both \(b.png, cat/\)")


@pytest.mark.parametrize(
    "spoil",
    [lambda good: good[:-40], lambda good: good[:20], lambda good: b"", lambda good: b"GIF" + good[3:]],
    ids=["cut short", "header only", "empty", "no PNG"],
)
def test_a_damaged_picture_is_told_by_its_file(tmp_path, rng, spoil):
    save(tmp_path / "a.png", rng.integers(0, 256, (9, 9), dtype=np.uint8))
    save(tmp_path / "b.png", rng.integers(0, 256, (9, 9), dtype=np.uint8))
    (tmp_path / "b.png").write_bytes(spoil((tmp_path / "b.png").read_bytes()))
    with pytest.raises(
        ValueError, match=r"b.png: expected a picture, got .+; get the file again, or remove it"
    ):
        read_images(tmp_path)


def test_pillow_is_needed_for_folders_only(tmp_path, monkeypatch):
    np.savez(tmp_path / "a.npz", images=HALF)
    for name in ("PIL", "PIL.Image"):
        monkeypatch.setitem(sys.modules, name, None)
    assert len(read_images(tmp_path / "a.npz")[0]) == 2
    with pytest.raises(MissingLibrary, match=r'pillow is not installed; do: pip install "tinygen\[app\]"'):
        read_images(tmp_path)
