"""Safetensors files: the bytes that the library writes, read one array at a time, refused when not whole."""

import re

import numpy as np
import pytest

from tinygen.training.safetensors_files import store, stored

library = pytest.importorskip("safetensors.numpy")

RNG = np.random.default_rng(0)
ARRAYS = {
    "turned": RNG.standard_normal((3, 5), dtype=np.float32).T,
    "bytes": np.arange(7, dtype=np.int8),
    "a number": np.array(3.0),
    "nothing": np.zeros((0, 2), np.float32),
    "truth": np.array([True, False, True]),
    "half": RNG.standard_normal((2, 3)).astype(np.float16)[:, ::-1],
    'q"\n\u00e9': np.arange(3),
    "unsigned": np.arange(4, dtype=np.uint16),
}


def written(tmp_path):
    store(tmp_path / "file", ARRAYS, {"sha256": "0"})
    return tmp_path / "file"


def test_a_file_has_the_bytes_that_the_library_writes(tmp_path):
    whole = {name: np.asarray(array, order="C") for name, array in ARRAYS.items()}
    assert written(tmp_path).read_bytes() == library.save(whole, metadata={"sha256": "0"})


def test_arrays_come_back_as_they_were(tmp_path):
    found, metadata = stored(written(tmp_path))
    assert metadata == {"sha256": "0"} and set(found) == set(ARRAYS)
    for name, array in ARRAYS.items():
        read = found[name].read()
        assert read.dtype == array.dtype and read.shape == array.shape == found[name].shape
        assert np.array_equal(read, array)


def test_numbers_of_the_other_byte_order_are_turned(tmp_path):
    store(tmp_path / "file", {"big": np.arange(5, dtype=">i4")}, {})
    assert stored(tmp_path / "file")[0]["big"].read().tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("cut", [0, 5, 100, -1])
def test_a_file_that_is_cut_short_is_named(tmp_path, cut):
    path = written(tmp_path)
    path.write_bytes(path.read_bytes()[:cut])
    message = rf"^{re.escape(str(path))}: expected a whole safetensors file, got another \(.*\); get it again"
    with pytest.raises(ValueError, match=message):
        stored(path)


def test_a_dtype_that_numpy_has_not_is_named(tmp_path):
    path = tmp_path / "file"
    store(path, {"odd": np.zeros(4, np.uint8)}, {})
    content = path.read_bytes().replace(b'"U8"', b'"F8_E4M3"')
    header = content[8 : content.index(b"}}") + 2]
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    odd = stored(path)[0]["odd"]
    message = r": odd: expected one of BOOL, .*, U64 or BF16, got F8_E4M3; convert it to one of them"
    with pytest.raises(ValueError, match=message):
        odd.read()
