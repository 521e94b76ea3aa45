"""GPT-2's files: read with their ids, written and read back, refused by name; the alphabet of their bytes."""

import doctest
import json

import numpy as np
import pytest

from tinygen.data import byte_alphabet
from tinygen.data.bpe import BPETokenizer
from tinygen.data.byte_alphabet import BYTE_ALPHABET
from tinygen.data.gpt2_files import read_gpt2, write_gpt2

SPECIALS = ("<|endoftext|>", "<pad>")
SAMPLE = (
    "The cat's hat, that cat that sat: the cat's. Die Katze läuft, die Katzen laufen. "
    "“½ of Ⅷ” 你好、你好。 naïve cafe\u0301 🙂🙂 👩‍👧\n\n\tif x  == 10:\r\n    return\xa0x <|endoftext|><pad>"
)


def gpt2(folder, merges, *, specials=("<|endoftext|>",), change=lambda vocab: vocab):
    """Write files as GPT-2's are: ids by the printable alphabet, then merges, then special tokens."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    alphabet = [chr(b) for b in printable] + [chr(256 + i) for i in range(256 - len(printable))]
    tokens = [*alphabet, *(line.replace(" ", "") for line in merges), *specials]
    (folder / "vocab.json").write_text(json.dumps(change({token: i for i, token in enumerate(tokens)})))
    lines = ["#version: 0.2", *merges, ""]
    (folder / "merges.txt").write_text("\n".join(lines), encoding="utf-8")


MERGES = ["Ġ t", "Ġt h", "Ġth e", "# #", "â Ĥ"]


def test_files_of_gpt2_are_read_with_their_ids(tmp_path):
    gpt2(tmp_path, MERGES)
    tokenizer = read_gpt2(tmp_path)
    assert tokenizer.vocab_size == 262 and tokenizer.specials == {"<|endoftext|>": 261}
    known = {
        0: b"!",
        32: b"A",
        64: b"a",
        93: b"~",
        94: b"\xa1",
        187: b"\xff",
        188: b"\0",
        198: b"\n",
        220: b" ",
    }
    assert {i: tokenizer.tokens[i] for i in known} == known  # the ids of bytes in GPT-2's own files
    text = " the ##\n€!"
    assert tokenizer.encode(text).tolist() == [258, 220, 259, 198, 260, tokenizer.encode("€")[-1], 0]
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.encode("a<|endoftext|>", specials=True).tolist() == [64, 261]
    gpt2(tmp_path, [], specials=("<s>", "<pad>"))
    assert list(read_gpt2(tmp_path).specials.items()) == [("<s>", 256), ("<pad>", 257)]


def test_the_example_of_the_alphabet():
    assert doctest.testmod(byte_alphabet) == (0, 1)


def test_the_byte_alphabet_is_printable_and_covers_all_bytes():
    assert sorted(BYTE_ALPHABET) == list(range(256)) and len(set(BYTE_ALPHABET.values())) == 256
    assert all(c.isprintable() and not c.isspace() for c in BYTE_ALPHABET.values())
    assert sum(c == chr(b) for b, c in BYTE_ALPHABET.items()) == 188
    assert "".join(BYTE_ALPHABET[b] for b in b" \n\t\0\xad") == "ĠĊĉĀŃ"


@pytest.mark.parametrize("other_ids", [False, True])
def test_files_of_gpt2_go_out_and_come_back(tmp_path, other_ids):
    tokenizer, folder = BPETokenizer.train(SAMPLE, number=60, specials=SPECIALS), tmp_path / "new" / "folder"
    if other_ids:
        ids = np.random.default_rng(5).permutation(tokenizer.vocab_size).tolist()
        tokenizer = BPETokenizer(tokenizer.merges, specials=SPECIALS, ids=ids)
    write_gpt2(tokenizer, folder)
    assert sorted(path.name for path in folder.iterdir()) == ["merges.txt", "vocab.json"]
    read = read_gpt2(folder)
    for what in ("tokens", "merges", "specials"):
        assert getattr(read, what) == getattr(tokenizer, what)
    assert read.encode(SAMPLE).tolist() == tokenizer.encode(SAMPLE).tolist()


def test_files_of_gpt2_may_lack_the_header_have_other_newlines_and_no_merges(tmp_path):
    gpt2(tmp_path, MERGES)
    (tmp_path / "merges.txt").write_bytes("\r\n".join(MERGES).encode())
    assert [b" ".join(pair) for pair in read_gpt2(tmp_path).merges][:2] == [b"  t", b" t h"]
    write_gpt2(BPETokenizer([]), tmp_path)
    assert read_gpt2(tmp_path).vocab_size == 256


@pytest.mark.parametrize("name", ["Ġt", "a"])
def test_a_special_token_named_like_an_ordinary_one_does_not_go_into_files_of_gpt2(tmp_path, name):
    message = (
        f"write_gpt2: expected names of special tokens that no ordinary token has, got '{name}'; give it"
    )
    with pytest.raises(ValueError, match=message):
        write_gpt2(BPETokenizer([(b" ", b"t")], specials=["<pad>", name]), tmp_path)
    assert list(tmp_path.iterdir()) == []


def without(key):
    return lambda vocab: {k: v for k, v in vocab.items() if k != key}


@pytest.mark.parametrize(
    "change, message",
    [
        (without("a"), "expected ids for all bytes and for all that merges.txt makes, got none for 'a'; get"),
        (without("Ġth"), "got none for 'Ġth'; get vocab.json and merges.txt again, both from one place"),
        (lambda vocab: vocab | {"a": 3}, "expected ids with each of 0 to 261 once"),
        (lambda vocab: vocab | {"more": 400}, "expected ids with each of 0 to 262 once"),
        (lambda vocab: vocab | {"a": "64"}, "expected a dict of token -> id, got something else; get"),
        (lambda vocab: list(vocab), "expected a dict of token -> id"),
        (lambda vocab: vocab | {"": 262}, "specials: expected different names, none empty"),
    ],
)
def test_a_vocabulary_that_does_not_fit_is_refused(tmp_path, change, message):
    gpt2(tmp_path, MERGES, change=change)
    with pytest.raises(ValueError, match=f"vocab.json: .*{message}"):
        read_gpt2(tmp_path)


@pytest.mark.parametrize(
    "content, message",
    [
        ("", "merges: expected two tokens in GPT-2's alphabet with a space between, got '' as merge 1; get"),
        ("#version: 0.2\n\nĠ t\n", "got '' as merge 1"),
        ("#version: 0.2\nĠ t\nĠ t h\n", "got 'Ġ t h' as merge 2"),
        ("#version: 0.2\nĠt h\nĠ t\n", "got b' t' in merge 1"),
        ("#version: 0.2\nĠ t\nĠ t\n", "got b' t' again in merge 2"),
    ],
)
def test_merges_that_are_damaged_are_refused(tmp_path, content, message):
    gpt2(tmp_path, MERGES)
    (tmp_path / "merges.txt").write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=f"merges.txt: .*{message}"):
        read_gpt2(tmp_path)


@pytest.mark.parametrize("name", ["vocab.json", "merges.txt"])
def test_files_of_gpt2_are_named_when_missing_or_no_text(tmp_path, name):
    gpt2(tmp_path, MERGES)
    (tmp_path / name).write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=f"{name}: expected UTF-8, got .*; get vocab.json and merges"):
        read_gpt2(tmp_path)
    (tmp_path / name).unlink()
    (tmp_path / name).mkdir()
    with pytest.raises(IsADirectoryError, match=f"{name}: expected a file, got a folder; name a file in it"):
        read_gpt2(tmp_path)
    (tmp_path / name).rmdir()
    with pytest.raises(FileNotFoundError, match=f"{name}: .*got nothing of that name; get vocab.json"):
        read_gpt2(tmp_path)
