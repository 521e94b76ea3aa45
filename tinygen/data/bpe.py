"""Byte pair encoding: the pieces of words that are frequent enough become tokens.

Text is cut into words, words into bytes. Training counts the pairs of neighbours, makes a token of the most
frequent pair, puts it wherever the pair stands, and starts again. Encoding repeats on a new word what was
learned, in the same order. Bytes stay tokens, so every text has an encoding.

    Sennrich, Haddow & Birch, Neural Machine Translation of Rare Words with Subword Units, arXiv:1508.07909,
        algorithm 1 (there on characters)
    Radford et al., Language Models are Unsupervised Multitask Learners (2019), section 2.2: bytes, and words
        that merges do not cross

The words are those of GPT-2, whose files are read and written too. Left out: other ways to cut words, and
dropout of merges.
"""

import functools
import heapq
import json
import re
import unicodedata
from collections import Counter, defaultdict
from itertools import groupby, pairwise
from pathlib import Path

from ..durable import write
from .token_files import naming, read_json, read_text, utf8
from .tokenizers import Tokenizer

CACHED = 1 << 16  # words that an encoder remembers: most of a text is a few of them, again and again


# Words


def words(text):
    """The words of `text`, in order; joined they are the text. The space before a word belongs to it.

    A word is 's, 't, 're, 've, 'm, 'll or 'd, or a run of letters, of numbers, of white space, or of anything
    else. White space before a word leaves its last character out: a space joins that word, another is alone.
    """
    return _pattern().findall(text)


@functools.cache
def _pattern():
    r"""GPT-2's pattern, with \p{L}, \p{N} and \s of Unicode written out as ranges, since `re` lacks them.

    Letters and numbers are general categories L and N, as this Python's Unicode has them: on characters newer
    than that, another Python may cut another way. Decoding does not depend on it.
    """
    ranges = defaultdict(str)  # L, N, ... -> the inside of a character class
    by_category = groupby(range(0x110000), lambda i: unicodedata.category(chr(i))[0])
    for category, run in by_category:  # a fifth of a second, hence the cache and not at import
        run = list(run)
        ranges[category] += f"{chr(run[0])}-{chr(run[-1])}"
    letter, number = ranges["L"], ranges["N"]
    # The property White_Space. Python's own \s has four separators more, U+001C to U+001F.
    space = r"\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
    return re.compile(
        rf"'s|'t|'re|'ve|'m|'ll|'d| ?[{letter}]+| ?[{number}]+| ?[^{space}{letter}{number}]+"
        rf"|[{space}]+(?![^{space}])|[{space}]+"
    )


# Pairs


def merge(ids, pair, new):
    """The list `ids` with `new` in place of `pair` wherever it stands, from left to right.

    >>> merge([1, 1, 1, 2], (1, 1), 9)
    [9, 1, 2]
    """
    left, right = pair
    out = []
    for i in ids:
        if i == right and out and out[-1] == left:
            out[-1] = new
        else:
            out.append(i)
    return out


def learn(counts, merges):
    """The merges that training makes of words: a list of pairs (left, right) of ids, in order.

    It takes the most frequent pair; of equally frequent ones that with the smaller left id, then that with
    the smaller right id. Ids below 256 are bytes, the first merge makes 256, the next 257.

    A merge makes only pairs with its own new token, so the count of a pair that was there before never rises.
    Hence no count in the heap is too low, and the first that is still true is the largest.

    Args:
        counts: a dict of word (bytes) -> how often it occurs.
        merges: how many; fewer come when no pair is left.
    """
    spelled, times = [list(word) for word in counts], list(counts.values())
    count, where = Counter(), defaultdict(set)  # of pairs; where: in which words, or was once
    for w, ids in enumerate(spelled):
        for pair in pairwise(ids):
            count[pair] += times[w]
            where[pair].add(w)
    heap = [(-n, pair) for pair, n in count.items()]
    heapq.heapify(heap)
    learned = []
    while heap and len(learned) < merges:
        n, pair = heapq.heappop(heap)
        if -n != count[pair]:
            if count[pair]:
                heapq.heappush(heap, (-count[pair], pair))
            continue
        new, born = 256 + len(learned), set()
        learned.append(pair)
        for w in where.pop(pair):
            before, after = spelled[w], merge(spelled[w], pair, new)
            for old in pairwise(before):
                count[old] -= times[w]
            for now in pairwise(after):
                count[now] += times[w]
                if new in now:
                    where[now].add(w)
                    born.add(now)
            spelled[w] = after
        for now in born:
            heapq.heappush(heap, (-count[now], now))
    return learned


class BPETokenizer(Tokenizer):
    """Byte pair encoding. Ids: the 256 bytes by value, then the merges in their order, then special tokens.

    No two merges may make the same bytes. Training never learns such: a stretch of bytes, as long as no token
    reaches over its ends, merges alike wherever it stands. So what becomes one token does so in one way.

    Args:
        merges: pairs (left, right) of bytes, each part one byte or made by an earlier pair.
        specials: names of special tokens.
        ids: other ids for the tokens, in that order: each number below the vocabulary size once.

    Raises:
        ValueError: merges that do not build on one another, or ids that are not such numbers.
    """

    kind, needs = "bpe", ("merges", "ids")

    def __init__(self, merges, *, specials=(), ids=None):
        made = {bytes([b]): b for b in range(256)}
        self._merged = {}  # (left, right) -> new: the smaller, the earlier it was learned
        for i, (left, right) in enumerate(merges):
            for part in (left, right):
                if part not in made:
                    raise ValueError(
                        f"BPETokenizer: expected parts that are bytes or made by earlier merges, got "
                        f"{part!r} in merge {i + 1}; give all merges, in the order in which they were learned"
                    )
            if left + right in made:
                raise ValueError(
                    f"BPETokenizer: expected a merge that makes a new token, got {left + right!r} again in "
                    f"merge {i + 1}; leave it out"
                )
            self._merged[made[left], made[right]] = made[left + right] = len(made)
        super().__init__(list(made), specials)
        self.merges = [tuple(pair) for pair in merges]
        every = range(len(self.tokens))
        self._ids = tuple(every if ids is None else ids)  # of the tokens in the order of merging
        if any(type(i) is not int for i in self._ids) or sorted(self._ids) != list(every):
            raise ValueError(
                f"BPETokenizer: expected ids with each of 0 to {len(self.tokens) - 1} once, got others; "
                "give an id for each byte, merge and special token"
            )
        self.tokens = tuple(token for _, token in sorted(zip(self._ids, self.tokens)))
        self.specials = {name: self._ids[i] for name, i in self.specials.items()}
        self._cache = {}

    @classmethod
    def train(cls, text, *, merges=1000, specials=()):
        """Learn `merges` merges from `text`, fewer if every word is one token before; ties as in `learn`.

        A merge costs a walk over each different word that holds its pair. So text without white space and
        punctuation, which is one long word, takes long: about n m steps for n bytes and m merges.

        Raises:
            ValueError: a negative number of merges, or a lone surrogate.
        """
        if merges < 0:
            raise ValueError(f"train: expected at least 0 merges, got {merges}; 1000 suits a megabyte")
        utf8("train", text)
        counts = {word.encode(): n for word, n in Counter(words(text)).items()}
        spelled = [bytes([b]) for b in range(256)]
        pairs = []
        for left, right in learn(counts, merges):
            pairs.append((spelled[left], spelled[right]))
            spelled.append(spelled[left] + spelled[right])
        return cls(pairs, specials=specials)

    def _ordinary(self, text, start):
        ids = []
        for word in words(text):
            known = self._cache.get(word)
            if known is None:
                known = [self._ids[i] for i in self._merge_all(list(word.encode()))]
                if len(self._cache) < CACHED:
                    self._cache[word] = known
            ids += known
        return ids

    def _merge_all(self, ids):
        """Merge the pair that was learned first, again and again, until no pair was learned.

        A walk over the word for each merge that it holds: 3 s for 100,000 letters at random and 1,000 merges.
        """
        while len(ids) > 1:
            pair = min(pairwise(ids), key=lambda pair: self._merged.get(pair, len(self.tokens)))
            if pair not in self._merged:
                break
            ids = merge(ids, pair, self._merged[pair])
        return ids

    def _entries(self):
        ids = list(self._ids)
        return {
            "merges": [_line(pair) for pair in self.merges],
            "ids": None if ids == sorted(ids) else ids,  # None: in order
        }

    @classmethod
    def _from_entries(cls, *, merges, specials, ids):
        if not isinstance(merges, list) or not (ids is None or isinstance(ids, list)):
            raise ValueError("BPETokenizer: expected lists of merges and ids, got others; `save` it again")
        return cls(_pairs(merges), specials=specials, ids=ids)

    @classmethod
    def from_gpt2(cls, folder):
        """The tokenizer in `vocab.json` and `merges.txt` of `folder`, the files of GPT-2; ids are theirs.

        vocab.json is a dict of token -> id. merges.txt has a line `#version`, then a merge a line. Both write
        bytes as BYTE_ALPHABET says. A token that is neither a byte nor made by a merge is special.

        Raises:
            FileNotFoundError: a file is missing.
            ValueError: a file is damaged, or they do not fit together; names the file.
        """
        vocab, merges = Path(folder) / "vocab.json", Path(folder) / "merges.txt"
        id_of, lines = read_json(vocab, FIX), read_text(merges, FIX).removesuffix("\n").split("\n")
        with naming(merges):
            plain = cls(_pairs(lines[lines[0].startswith("#version") :]))
        if not isinstance(id_of, dict) or any(type(i) is not int for i in id_of.values()):
            raise ValueError(f"{vocab}: expected a dict of token -> id, got something else; {FIX}")
        ordinary = [_spelled(token) for token in plain.tokens]
        missing = [token for token in ordinary if token not in id_of]
        if missing:
            raise ValueError(
                f"{vocab}: expected ids for all bytes and for all that merges.txt makes, "
                f"got none for {missing[0]!r}; {FIX}"
            )
        specials = sorted(id_of.keys() - set(ordinary), key=lambda name: id_of[name])
        with naming(vocab):
            return cls(plain.merges, specials=specials, ids=[id_of[token] for token in ordinary + specials])

    def to_gpt2(self, folder):
        """Write `vocab.json` and `merges.txt` into `folder`, made if need be; `from_gpt2` reads them.

        Raises:
            ValueError: a special token is named as an ordinary one is written there.
            OSError: they cannot be written.
        """
        name_of = {i: name for name, i in self.specials.items()}
        vocab = {name_of.get(i) or _spelled(token): i for i, token in enumerate(self.tokens)}
        if len(vocab) < len(self.tokens):
            ordinary = {_spelled(token) for i, token in enumerate(self.tokens) if i not in name_of}
            got = next(name for name in self.specials if name in ordinary)
            raise ValueError(
                f"to_gpt2: expected names of special tokens that no ordinary token has, got {got!r}; "
                "give it a name with marks, such as <|endoftext|>"
            )
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write(folder / "vocab.json", json.dumps(vocab, ensure_ascii=False).encode())
        write(folder / "merges.txt", ("\n".join(["#version: 0.2", *map(_line, self.merges)]) + "\n").encode())


# How files write bytes


def _byte_alphabet():
    """A dict of byte -> the character that stands for it in GPT-2's files: printable, and no white space.

    188 bytes are such characters in Latin-1 and stay. The others take those from U+0100 on, in order, so that
    a space is written as U+0120 and a newline as U+010A.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in printable]
    return {b: chr(b) for b in printable} | {b: chr(0x100 + i) for i, b in enumerate(others)}


BYTE_ALPHABET = _byte_alphabet()
BYTES = {character: b for b, character in BYTE_ALPHABET.items()}
FIX = "get vocab.json and merges.txt again, both from one place"


def _spelled(token):
    """Bytes, written in the alphabet."""
    return "".join([BYTE_ALPHABET[b] for b in token])


def _line(pair):
    """A merge, as a line of merges.txt."""
    return f"{_spelled(pair[0])} {_spelled(pair[1])}"


def _pairs(lines):
    """The merges in such lines: pairs of bytes."""
    pairs = []
    for i, line in enumerate(lines):
        try:
            left, right = line.split(" ")
            pairs.append((bytes([BYTES[c] for c in left]), bytes([BYTES[c] for c in right])))
        except (AttributeError, KeyError, ValueError) as error:
            raise ValueError(
                f"merges: expected two tokens in GPT-2's alphabet with a space between, got {line!r} "
                f"as merge {i + 1}; get the file again"
            ) from error
    return pairs
