"""Tokenizers: text comes back as it was, training against the obvious algorithm, files good and bad."""

import doctest
import functools
import json
import os
import re
import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygen.data import bpe, tokenizers
from tinygen.data.bpe import BPETokenizer, learn, learn_plainly, replace_pair, words
from tinygen.data.tokenizers import ByteTokenizer, CharacterTokenizer, Tokenizer, load_tokenizer

SPECIALS = ("<|endoftext|>", "<pad>")
SAMPLE = (
    "The cat's hat, that cat that sat: the cat's. Die Katze läuft, die Katzen laufen. "
    "“½ of Ⅷ” 你好、你好。 naïve cafe\u0301 🙂🙂 👩‍👧\n\n\tif x  == 10:\r\n    return\xa0x <|endoftext|><pad>"
)
TEXT = st.text(st.characters(exclude_categories=["Cs"]))  # every str that UTF-8 can write
PIECES = ["cat", "hat", "that", "aaa", "'s", "'S", "ä", "你好", "🙂", "½", "<pad>", ",", " ", "\n"]
PROSE = st.lists(st.sampled_from(PIECES)).map("".join)


@functools.cache
def kinds():
    """A tokenizer of each kind; the last with the ids of a foreign file."""
    trained = BPETokenizer.train(SAMPLE, number=60, specials=SPECIALS)
    ids = np.random.default_rng(5).permutation(trained.vocab_size).tolist()
    return {
        "characters": CharacterTokenizer.train(SAMPLE, specials=SPECIALS),
        "bytes": ByteTokenizer(specials=SPECIALS),
        "bpe": trained,
        "bpe, other ids": BPETokenizer(trained.merges, specials=SPECIALS, ids=ids),
    }


@pytest.fixture(params=list(kinds()))
def tokenizer(request):
    return kinds()[request.param]


# what every kind promises


@given(TEXT | PROSE)
def test_bytes_and_pairs_give_every_text_back(text):
    for name in ("bytes", "bpe", "bpe, other ids"):
        tokenizer = kinds()[name]
        for specials in (False, True):
            ids = tokenizer.encode(text, specials=specials)
            assert ids.dtype == np.int64 and ids.ndim == 1
            assert tokenizer.decode(ids) == text
            assert tokenizer.decode_bytes(ids) == text.encode()


@given(st.text(sorted(set(SAMPLE))))
def test_characters_give_back_every_text_of_their_alphabet(text):
    ids = kinds()["characters"].encode(text)
    assert ids.dtype == np.int64 and ids.shape == (len(text),)
    assert kinds()["characters"].decode(ids) == text


@given(st.data(), st.sampled_from(list(kinds())))
def test_a_stream_of_any_tokens_joins_to_what_decode_gives(data, name):
    tokenizer = kinds()[name]
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size - 1)))
    stream = tokenizer.stream()
    for _ in range(2):  # after a flush it is as new
        assert "".join([stream.push(i) for i in ids]) + stream.flush() == tokenizer.decode(ids)


def test_a_stream_never_shows_half_a_character():
    stream = ByteTokenizer().stream()
    assert [stream.push(i) for i in "a€🙂".encode()] == ["a", "", "", "€", "", "", "", "🙂"]
    assert stream.flush() == ""
    assert [stream.push(i) for i in "€".encode()[:2]] == ["", ""] and stream.flush() == "\ufffd"
    with pytest.raises(ValueError, match="expected ids from 0 to 255, got 256"):
        stream.push(256)


def test_a_cut_character_is_replaced_in_text_and_exact_in_bytes():
    ids = ByteTokenizer().encode("x€")[:-1]
    assert ByteTokenizer().decode(ids) == "x\ufffd"
    assert ByteTokenizer().decode_bytes(ids) == b"x\xe2\x82"


def test_tokens_are_numbered_ordinary_then_special():
    small = CharacterTokenizer.train("banana", specials=SPECIALS)
    assert small.tokens == (b"a", b"b", b"n", b"<|endoftext|>", b"<pad>")
    assert small.specials == {"<|endoftext|>": 3, "<pad>": 4} and small.vocab_size == 5
    assert small.encode("banana").tolist() == [1, 0, 2, 0, 2, 0]
    assert ByteTokenizer(specials=["<bos>"]).specials == {"<bos>": 256}
    assert BPETokenizer([(b"a", b"n")], specials=["<eos>"]).specials == {"<eos>": 257}
    assert repr(small) == "<CharacterTokenizer of 5 tokens, 2 special>"


def test_the_name_of_a_special_token_is_ordinary_text_unless_asked(tokenizer):
    text = "cat<pad><|endoftext|>cat<pad"
    first, second = tokenizer.specials.values()
    assert not {first, second} & set(tokenizer.encode(text).tolist())
    ids = tokenizer.encode(text, specials=True)
    assert [i for i in ids.tolist() if i in (first, second)] == [second, first]
    assert tokenizer.decode(ids) == tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.encode("<pad>", specials=True).tolist() == [second]


def test_of_several_names_the_longest_counts_and_dots_are_dots():
    tokenizer = ByteTokenizer(specials=["<a", "<a>", "<a>.", "x.z"])
    assert tokenizer.encode("<a><a>.<axyz", specials=True).tolist() == [257, 258, 256, *b"xyz"]


def test_a_token_can_be_read():
    tokenizer = ByteTokenizer(specials=["<pad>"])
    shown = {97: "a", 32: " ", 10: r"\n", 0x1B: r"\x1b", 0xE2: r"\xe2", 256: "<pad>"}
    assert {i: tokenizer.token(i) for i in shown} == shown
    assert [CharacterTokenizer("ä\u200b\\").token(i) for i in range(3)] == ["ä", r"\u200b", "\\"]


@pytest.mark.parametrize("empty", [[], (), np.zeros(0), np.zeros(0, np.int64)])
def test_no_tokens_are_no_text(tokenizer, empty):
    assert tokenizer.decode(empty) == "" and tokenizer.encode("").shape == (0,)
    assert tokenizer.encode("").dtype == np.int64


# mistakes


@pytest.mark.parametrize(
    "ids, message",
    [
        ([1, 2, 400], "expected ids from 0 to 257, got 400 at position 2; use the tokenizer that made them"),
        ([-1], "expected ids from 0 to 257, got -1 at position 0"),
        (7, r"expected whole numbers of shape \(T,\), got int64 of shape \(\); give the ids of one text"),
        ([[1], [2]], r"got int64 of shape \(2, 1\)"),
        ([1.0], r"got float64 of shape \(1,\)"),
        ([True], "got bool"),
        ([2**70], "got object"),
        ("abc", "got <U3"),
    ],
)
def test_ids_that_no_token_has_are_an_error(ids, message):
    tokenizer = ByteTokenizer(specials=SPECIALS)
    for decode in (tokenizer.decode, tokenizer.decode_bytes):
        with pytest.raises(ValueError, match=f"decode: .*{message}"):
            decode(ids)
    with pytest.raises(ValueError, match="decode: expected ids from 0 to 257, got 258"):
        tokenizer.token(258)


def test_an_unknown_character_is_named_with_its_place_and_what_to_do():
    message = re.escape(
        "encode: expected characters of the training text, got 'é' (U+00E9) at position 8; "
        "train on text that contains it, or use ByteTokenizer"
    )
    tokenizer = CharacterTokenizer.train("caf", specials=["<pad>"])
    with pytest.raises(ValueError, match=message):
        tokenizer.encode("caf<pad>é", specials=True)


def test_a_lone_surrogate_is_an_error_everywhere(tokenizer):
    message = r"expected text that UTF-8 can write, got the lone surrogate '\\ud800' at position 1; read"
    for call in (tokenizer.encode, CharacterTokenizer, BPETokenizer.train):
        with pytest.raises(ValueError, match=message):
            call("a\ud800")
    with pytest.raises(ValueError, match=f"specials: {message}"):
        ByteTokenizer(specials=["a\ud800"])
    with pytest.raises(ValueError, match="lone surrogate"):
        CharacterTokenizer.train("a\ud800")


def test_encode_takes_no_bytes(tokenizer):
    with pytest.raises(TypeError, match="encode: expected a str, got bytes; decode bytes first"):
        tokenizer.encode(b"cat")


@pytest.mark.parametrize("specials", ["<pad>", ["<pad>", "<pad>"], [""], [3], 5, None])
def test_names_of_special_tokens_are_checked(specials):
    message = r"specials: expected different names, none empty, got .*; give a tuple such as \('<\|endoftext"
    for kind, *needed in ((ByteTokenizer,), (CharacterTokenizer, "abc"), (BPETokenizer, [])):
        with pytest.raises(ValueError, match=message):
            kind(*needed, specials=specials)


@pytest.mark.parametrize("characters", ["", "aba", ["a", "b"], None])
def test_an_alphabet_is_different_characters(characters):
    message = r"CharacterTokenizer: expected a str of different characters, got .*; CharacterTokenizer.train"
    with pytest.raises(ValueError, match=message):
        CharacterTokenizer(characters)


# words


def test_letters_numbers_and_white_space_are_those_of_unicode_for_every_code_point():
    """All code points, sorted into four piles here: each pile is one word, and a word has one class."""
    piles = {"L": [], "N": [], "else": [], "space": []}
    for c in map(chr, range(0x110000)):
        category = unicodedata.category(c)[0]
        space = c.isspace() and c not in "\x1c\x1d\x1e\x1f"  # white space to Python and not to Unicode
        piles["space" if space else category if category in "LN" else "else"].append(c)
    whole = ["".join(pile) for pile in piles.values()]
    assert words("".join(whole)) == whole


@pytest.mark.parametrize(
    "text, expected",
    [
        ("", []),
        ("Hello world!", ["Hello", " world", "!"]),
        ("we're I'll don't it's I'd I'm you've", "we|'re| I|'ll| don|'t| it|'s| I|'d| I|'m| you|'ve"),
        ("IT'S 'tis o'clock", "IT|'|S| '|tis| o|'|clock"),  # GPT-2's contractions are lower case
        ("a  b   c", ["a", " ", " b", "  ", " c"]),
        ("a\n\n b", ["a", "\n\n", " b"]),
        ("a\n\nb", ["a", "\n", "\n", "b"]),
        ("a \t", ["a", " \t"]),
        ("a\xa0b\u3000\u2028c", ["a", "\xa0", "b", "\u3000", "\u2028", "c"]),
        (" \x1c\x1f a", [" \x1c\x1f", " a"]),
        ("x2 12½Ⅷ② 10,000", ["x", "2", " 12½Ⅷ②", " 10", ",", "000"]),
        ("snake_case __init__", ["snake", "_", "case", " __", "init", "__"]),
        ("cafe\u0301s", ["cafe", "\u0301", "s"]),  # a combining accent is no letter
        ("你好、世界 한국어", ["你好", "、", "世界", " 한국어"]),
        (" 🙂👩‍👧!", [" 🙂👩‍👧!"]),
    ],
)
def test_words_by_hand(text, expected):
    assert words(text) == (expected.split("|") if isinstance(expected, str) else expected)


@given(TEXT | PROSE | st.text(" \n\t\xa0'sa1-\x1c"))
def test_words_join_to_the_text(text):
    assert "".join(words(text)) == text
    assert "" not in words(text)


# training


def test_a_pair_is_replaced_from_left_to_right():
    assert replace_pair([1, 1, 1, 2], (1, 1), 9) == [9, 1, 2]
    assert replace_pair([1, 2, 1, 2, 2, 1], (1, 2), 9) == [9, 9, 2, 1]
    assert replace_pair([1], (1, 1), 9) == [1] and replace_pair([], (1, 1), 9) == []


def test_the_dictionary_of_the_paper():
    """Algorithm 1 of Sennrich et al. on its own dictionary, without marks at the ends of words."""
    text = " ".join(5 * ["low"] + 2 * ["lower"] + 6 * ["newest"] + 3 * ["widest"])
    merges = BPETokenizer.train(text.replace(" ", "\n"), number=7).merges
    expected = ["e s", "es t", "l o", "lo w", "e w", "n ew", "new est"]  # 9, 9, 7, 7, 6, 6 and 6 times
    assert [b" ".join(pair).decode() for pair in merges] == expected


def test_the_worked_example_of_byte_pair_encoding():
    tokenizer = BPETokenizer.train("aaabdaaabac", number=3)
    assert tokenizer.merges == [(b"a", b"a"), (b"a", b"b"), (b"aa", b"ab")]
    assert tokenizer.encode("aaabdaaabac").tolist() == [258, 100, 258, 97, 99]
    assert [tokenizer.token(i) for i in (256, 257, 258)] == ["aa", "ab", "aaab"]
    assert doctest.testmod(bpe) == (0, 2)  # none failed; the one of `learn_plainly` is the same example


def test_the_plain_algorithm_counts_words_and_breaks_ties_by_the_smaller_ids():
    assert learn_plainly({b"ab": 2, b"cd": 3}, 5) == [(99, 100), (97, 98)]
    assert learn_plainly({b"cd": 2, b"ab": 2, b"ac": 2}, 2) == [(97, 98), (97, 99)]
    assert learn_plainly({b"aaaa": 1}, 9) == [(97, 97), (256, 256)]
    assert learn_plainly({}, 9) == learn_plainly({b"ab": 1}, 0) == []


def replaced(ids, pair, new):
    """`replace_pair`, another way."""
    i, out = 0, []
    while i < len(ids):
        found = tuple(ids[i : i + 2]) == pair
        out.append(new if found else ids[i])
        i += 2 if found else 1
    return out


WORD = st.binary(min_size=1, max_size=12) | st.text("ab", min_size=1).map(str.encode)


@given(st.dictionaries(WORD, st.integers(1, 5), max_size=12), st.integers(0, 40))
def test_training_is_the_plain_algorithm_but_faster(word_counts, number):
    assert learn(word_counts, number) == learn_plainly(word_counts, number)


@given(st.text("ab c'ä\n") | PROSE, st.integers(0, 30))
def test_training_on_text_is_the_plain_algorithm_on_its_words(text, number):
    tokenizer = BPETokenizer.train(text, number=number)
    learned = learn_plainly({word.encode(): n for word, n in Counter(words(text)).items()}, number)
    tokens = tokenizer.tokens
    assert tokenizer.merges == [(tokens[left], tokens[right]) for left, right in learned]
    ids = [i for word in words(text) for i in merged_in_order(list(word.encode()), learned)]
    assert tokenizer.encode(text).tolist() == ids


def merged_in_order(ids, learned):
    """A word after all merges of a training, one after the other: what training itself made of it."""
    for new, pair in enumerate(learned, 256):
        ids = replaced(ids, pair, new)
    return ids


def test_training_stops_when_every_word_is_a_token():
    tokenizer = BPETokenizer.train("cat cat", number=1000)
    assert tokenizer.vocab_size == 256 + 3
    assert [tokenizer.token(i) for i in tokenizer.encode("cat cat")] == ["cat", " cat"]
    assert BPETokenizer.train("", number=5).merges == []


def test_training_checks_its_arguments():
    with pytest.raises(ValueError, match="train: expected at least 0 merges, got -1; 1000 suits a megabyte"):
        BPETokenizer.train("cat", number=-1)
    for number in (1.5, "5", None, True):
        with pytest.raises(TypeError, match=f"train: expected an int as number of merges, got {number!r}; "):
            BPETokenizer.train("cat", number=number)
    for kind in (BPETokenizer, CharacterTokenizer):
        for text, got in ((b"abc", "bytes"), (["a", "b"], "list")):
            with pytest.raises(TypeError, match=f"train: expected a str, got {got}; decode bytes first"):
                kind.train(text)


def test_encoding_remembers_words_but_not_without_end(monkeypatch):
    monkeypatch.setattr(bpe, "CACHED", 2)
    tokenizer = BPETokenizer(kinds()["bpe"].merges)
    for _ in range(2):
        assert tokenizer.encode(SAMPLE).tolist() == kinds()["bpe"].encode(SAMPLE).tolist()
    assert len(tokenizer._cache) == 2


@pytest.mark.parametrize(
    "merges, message",
    [
        (
            [("a", "b")],
            r"expected pairs \(left, right\) of bytes, got \('a', 'b'\) as merge 1; BPETokenizer.tr",
        ),
        ([(b"a", b"b"), (b"a",)], r"pairs \(left, right\) of bytes, got \(b'a',\) as merge 2"),
        ([b"ab"], r"pairs \(left, right\) of bytes, got b'ab' as merge 1"),
        ([([b"a"], b"b")], r"pairs \(left, right\) of bytes, got \(\[b'a'\], b'b'\) as merge 1"),
        ([5], r"pairs \(left, right\) of bytes, got 5 as merge 1"),
        (
            [(b"a", b"b"), (b"ab", b"cd")],
            "parts that are bytes or made by earlier merges, got b'cd' in merge 2; give",
        ),
        ([(b"ab", b"c"), (b"a", b"b")], "got b'ab' in merge 1; .* in the order in which they were learned"),
        ([(b"", b"a")], "got b'' in merge 1"),
        ([(b"a", b"b")] * 2, "a merge that makes a new token, got b'ab' again in merge 2; leave it out"),
        ([(b"a", b"b"), (b"b", b"c"), (b"ab", b"c"), (b"a", b"bc")], "got b'abc' again in merge 4"),
    ],
)
def test_merges_have_to_build_on_one_another(merges, message):
    with pytest.raises(ValueError, match=f"BPETokenizer: .*{message}"):
        BPETokenizer(merges)


@pytest.mark.parametrize("last", [[], [254], [256], [-1], [255.0], ["255"], [None], [255, 255]])
def test_other_ids_have_to_be_complete(last):
    message = "BPETokenizer: expected ids with each of 0 to 255 once, got others; give an id for each byte"
    with pytest.raises(ValueError, match=message):
        BPETokenizer([], ids=[*range(255), *last])


SHAKESPEARE = Path(os.environ.get("TINYGEN_DATA", "no folder")) / "tinyshakespeare.txt"


@pytest.mark.skipif(not SHAKESPEARE.is_file(), reason="needs tinyshakespeare.txt in $TINYGEN_DATA")
def test_tinyshakespeare():
    text = SHAKESPEARE.read_text(encoding="utf-8")
    tokenizer = BPETokenizer.train(text)
    assert [tokenizer.token(i) for i in range(256, 264)] == [" t", "he", " a", "ou", " s", " m", "in", " w"]
    ids = tokenizer.encode(text)
    assert tokenizer.vocab_size == 1256 and tokenizer.decode(ids) == text
    assert 2.5 < len(text) / len(ids) < 2.6  # characters a token
    assert CharacterTokenizer.train(text).vocab_size == 65
    part = text[:4000]
    counts = {word.encode(): n for word, n in Counter(words(part)).items()}
    assert learn(counts, 200) == learn_plainly(counts, 200)


# files


def same(a, b):
    """Whether two tokenizers do the same."""
    return type(a) is type(b) and (a.tokens, a.specials, a.to_dict()) == (b.tokens, b.specials, b.to_dict())


def test_a_file_gives_the_tokenizer_back(tokenizer, tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text("old")
    tokenizer.save(path)
    read = load_tokenizer(path)
    assert same(read, tokenizer) and list(tmp_path.iterdir()) == [path]
    assert read.encode(SAMPLE, specials=True).tolist() == tokenizer.encode(SAMPLE, specials=True).tolist()
    embedded = json.loads(json.dumps({"tokenizer": tokenizer.to_dict()}))["tokenizer"]
    for kind in (Tokenizer, type(tokenizer)):
        assert same(kind.from_dict(embedded), tokenizer)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_any_alphabet_survives_its_file(text):
    alphabet = CharacterTokenizer.train(text, specials=[text])
    read = Tokenizer.from_dict(json.loads(json.dumps(alphabet.to_dict(), ensure_ascii=False)))
    assert same(read, alphabet) and read.encode(text, specials=True).tolist() == [len(set(text))]


def test_a_file_can_be_read_by_people(tmp_path):
    BPETokenizer([(b" ", b"a"), (b"\xe2", b"\x82")], specials=["<ä>"]).save(tmp_path / "t")
    assert json.loads((tmp_path / "t").read_text(encoding="utf-8")) == {
        "format": "tinygen tokenizer",
        "version": 1,
        "kind": "bpe",
        "specials": ["<ä>"],
        "merges": ["Ġ a", "â Ĥ"],
        "ids": None,
    }
    assert "<ä>" in (tmp_path / "t").read_text(encoding="utf-8")


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "t"
    ByteTokenizer().save(path)
    before = path.read_bytes()

    def full(number):
        raise OSError("No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        ByteTokenizer(specials=SPECIALS).save(path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_save_and_load_name_what_is_not_there(tmp_path):
    path = tmp_path / "no" / "t"
    message = f"{path}: expected a folder to write into, got none; make {path.parent}"
    with pytest.raises(FileNotFoundError, match=message):
        ByteTokenizer().save(path)
    with pytest.raises(FileNotFoundError, match=f"{path}: .*got nothing of that name; there is no folder"):
        load_tokenizer(path)
    path = tmp_path / "t"
    with pytest.raises(FileNotFoundError, match=f"{path}: .*got nothing of that name; write it with `save`"):
        load_tokenizer(path)
    with pytest.raises(IsADirectoryError, match=f"{tmp_path}: expected a file, got a folder; name a file in"):
        load_tokenizer(tmp_path)


ABSENT = object()


def changed(**entries):
    """A damage: other entries in the file, or none where ABSENT is given."""

    def spoil(good):
        content = json.loads(good) | entries
        return json.dumps({key: content[key] for key in content if content[key] is not ABSENT}).encode()

    return spoil


BAD = {
    "empty": (lambda good: b"", r"expected JSON, got a damaged file .*; write it with `save`"),
    "cut": (lambda good: good[:-3], "expected JSON, got a damaged file"),
    "brackets": (lambda good: b"[" * 100_000, "expected JSON, got a damaged file"),
    "an endless number": (lambda good: b"1" * 10_000, "expected JSON, got a damaged file"),
    "Latin-1": (lambda good: '"é"'.encode("latin-1"), "expected UTF-8, got .*; write it with `save`"),
    "a list": (lambda good: b"[]", 'expected "format": "tinygen tokenizer", got none; give what `save`'),
    "another format": (changed(format="other"), 'expected "format": "tinygen tokenizer"'),
    "no format": (changed(format=ABSENT), 'expected "format": "tinygen tokenizer"'),
    "a later version": (changed(version=2), "expected version 1, got 2; use the tinygen that wrote it"),
    "another kind": (changed(kind="words"), "expected kind characters or bytes or bpe, got 'words'; give"),
    "a kind of no name": (changed(kind=[1]), r"expected kind .* got \[1\]"),
    "no merges": (changed(merges=ABSENT), "entries specials, merges, ids, got specials, ids; write it"),
    "one more": (changed(more=1), "expected entries specials, merges, ids, got specials, merges, ids, more"),
    "merges of a kind": (changed(merges="abc"), "expected lists of merges and ids, got others; `save` it"),
    "ids of a kind": (changed(ids=5), "expected lists of merges and ids"),
    "a merge in one piece": (changed(merges=["ab"]), "merges: expected two .*, got 'ab' as merge 1; get"),
    "a merge of three": (changed(merges=["a b", "a b c"]), "got 'a b c' as merge 2"),
    "a merge of no text": (changed(merges=[["a", "b"]]), r"got \['a', 'b'\] as merge 1"),
    "outside the alphabet": (changed(merges=["a \u4f60"]), "got 'a 你' as merge 1"),
    "a merge of nothing": (changed(merges=["ab c"]), "made by earlier merges, got b'ab' in merge 1"),
    "the same id": (changed(ids=[0] * 258), "expected ids with each of 0 to"),
    "ids of two kinds": (changed(ids=[0, "a", None]), "expected ids with each of 0 to"),
    "names": (changed(specials="<pad>"), "specials: expected different names"),
    "half a pair": (changed(specials=["\ud800"]), "specials: .* lone surrogate"),
}


@pytest.mark.parametrize("spoil, message", BAD.values(), ids=BAD)
def test_a_bad_file_is_refused_by_its_name(tmp_path, spoil, message):
    path = tmp_path / "some.json"
    kinds()["bpe, other ids"].save(path)
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(ValueError, match=f"some.json: .*{message}"):
        load_tokenizer(path)


def test_a_kind_is_read_back_once_its_class_is_defined(monkeypatch):
    monkeypatch.setattr(tokenizers, "KINDS", dict(tokenizers.KINDS))  # what is entered here goes away again

    class Reversed(ByteTokenizer):
        kind = "bytes, reversed"

    class Same(Reversed):
        """Without a kind of its own: files are read as those of its parent."""

    assert type(Tokenizer.from_dict(Reversed().to_dict())) is Reversed
    assert type(Tokenizer.from_dict(Same().to_dict())) is Reversed
    with pytest.raises(TypeError, match="Again: expected a kind that no other class has, got 'bytes, rev"):

        class Again(ByteTokenizer):
            kind = "bytes, reversed"


def test_a_kind_refuses_the_file_of_another():
    with pytest.raises(ValueError, match="tokenizer: expected kind bpe, got 'bytes'; give one of that kind"):
        BPETokenizer.from_dict(ByteTokenizer().to_dict())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from(list(kinds())), st.data())
def test_whatever_an_entry_is_changed_to_it_is_a_tokenizer_or_a_value_error(name, data):
    content = kinds()[name].to_dict()
    content[data.draw(st.sampled_from(list(content)))] = data.draw(JSON)
    try:
        assert Tokenizer.from_dict(content).decode([0]) is not None
    except ValueError as error:
        form = r"(?s)(tokenizer|specials|merges|\w+Tokenizer): expected .*, got .*; "
        assert re.match(form, str(error))
