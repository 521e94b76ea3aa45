"""Byte pair encoding: the pieces of words that are frequent enough become tokens.

Text is cut into words, words into bytes. Training counts the pairs of neighbours, makes a token of the most
frequent pair, puts it wherever the pair stands, and starts again. Encoding repeats on a new word what was
learned, in the same order. Bytes stay tokens, so every text has an encoding.

    Sennrich, Haddow & Birch, Neural Machine Translation of Rare Words with Subword Units, arXiv:1508.07909,
        algorithm 1 (there on characters)
    Radford et al., Language Models are Unsupervised Multitask Learners (2019), section 2.2: bytes, and words
        that merges do not cross

The words are those of GPT-2, whose files gpt2_files.py reads. Left out: other ways to cut words, and dropout
of merges.
"""

import functools
import heapq
import re
import unicodedata
from collections import Counter, defaultdict
from itertools import groupby, pairwise

from .byte_alphabet import lines_to_pairs, pair_to_line
from .token_files import utf8
from .tokenizers import Tokenizer

CACHED = 1 << 16  # words that an encoder remembers: most of a text is a few of them, again and again


# Words


def words(text):
    """The words of `text`, in order; joined they are the text. The space before a word belongs to it.

    A word is 's, 't, 're, 've, 'm, 'll or 'd, or a run of letters, of numbers, of white space, or of anything
    else. A run of white space before a word leaves out its last character: if that is a space it begins the
    word, otherwise it is a word of its own.
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


# Training


def replace_pair(ids, pair, new):
    """The list `ids` with `new` in place of `pair` wherever it stands, from left to right.

    >>> replace_pair([1, 1, 1, 2], (1, 1), 9)
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


def learn_plainly(word_counts, number):
    """The merges that training makes of words: algorithm 1, as the paper has it.

    Count all pairs, merge the most frequent one everywhere, start again. Of equally frequent pairs that with
    the smaller left id comes first, then that with the smaller right id. Ids below 256 are bytes, the first
    merge makes 256, the next 257.

        aaabdaaabac     aa stands 4 times, twice in each aaa, others at most twice:   X = 256 = aa
        XabdXabac       Xa and ab twice; the left ids are 256 and 97, so ab wins:     Y = 257 = ab
        XYdXYac         XY twice, and nothing else:                                   Z = 258 = aaab
        ZdZac           as ids 258 100 258 97 99

    >>> learn_plainly({b"aaabdaaabac": 1}, 3)
    [(97, 97), (97, 98), (256, 257)]

    Args:
        word_counts: a dict of word (bytes) -> how often it occurs.
        number: how many merges; fewer come when no pair is left.

    Returns:
        A list of pairs (left, right) of ids, in the order in which they were made.
    """
    ids_of = {word: list(word) for word in word_counts}
    learned = []
    while len(learned) < number:
        pair_counts = Counter()
        for word, ids in ids_of.items():
            for pair in pairwise(ids):
                pair_counts[pair] += word_counts[word]
        if not pair_counts:
            break
        best = min(pair_counts, key=lambda pair: (-pair_counts[pair], pair))
        new = 256 + len(learned)
        ids_of = {word: replace_pair(ids, best, new) for word, ids in ids_of.items()}
        learned.append(best)
    return learned


def learn(word_counts, number):
    """What `learn_plainly` gives, a hundred times sooner: counts are kept, and only what a merge changes.

    Two things are added. An index from each pair to the words that hold it, or held it once, says where to
    merge. A heap says which pair is next. A merge creates only pairs that contain the new token; older counts
    can only fall. So heap entries may be too high, never too low: an entry that equals its count is the
    maximum, one that does not is pushed back with its count.

    Seconds on one core of an AMD EPYC server, for the 15,057 different words of tiny Shakespeare:

        merges     learn_plainly     learn
         1,000                39       0.5
         5,000               174       0.8

    The first merges touch the most words, so that the later ones cost little here, and as much as ever there.
    """
    ids_of, times = [list(word) for word in word_counts], list(word_counts.values())
    pair_counts, words_with_pair = Counter(), defaultdict(set)
    for w, ids in enumerate(ids_of):
        for pair in pairwise(ids):
            pair_counts[pair] += times[w]
            words_with_pair[pair].add(w)
    heap = [(-count, pair) for pair, count in pair_counts.items()]
    heapq.heapify(heap)
    learned = []
    while heap and len(learned) < number:
        negative, best = heapq.heappop(heap)
        count = pair_counts[best]
        if count != -negative:
            if count:
                heapq.heappush(heap, (-count, best))
            continue
        new, new_pairs = 256 + len(learned), set()
        for w in words_with_pair.pop(best):
            before, after = ids_of[w], replace_pair(ids_of[w], best, new)
            for pair in pairwise(before):
                pair_counts[pair] -= times[w]
            for pair in pairwise(after):
                pair_counts[pair] += times[w]
                if new in pair:
                    words_with_pair[pair].add(w)
                    new_pairs.add(pair)
            ids_of[w] = after
        for pair in new_pairs:
            heapq.heappush(heap, (-pair_counts[pair], pair))
        learned.append(best)
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
        ValueError: merges that are not pairs of bytes or do not build on one another, or ids that are not
            such numbers.
    """

    kind, needs = "bpe", ("merges", "ids")

    def __init__(self, merges, *, specials=(), ids=None):
        rank = {bytes([b]): b for b in range(256)}  # of each token, in the order of merging
        self._rank = {}  # of what a pair of ranks makes: the smaller, the earlier it was learned
        self.merges = []
        for i, pair in enumerate(merges):
            _check_merge(i, pair, rank)
            left, right = pair
            new = len(rank)
            rank[left + right] = new
            self._rank[rank[left], rank[right]] = new
            self.merges.append((left, right))
        super().__init__(list(rank), specials)
        every = range(len(self.tokens))
        self._ids = tuple(every if ids is None else ids)  # of the tokens by rank
        if any(type(i) is not int for i in self._ids) or sorted(self._ids) != list(every):
            raise ValueError(
                f"BPETokenizer: expected ids with each of 0 to {len(self.tokens) - 1} once, got others; "
                "give an id for each byte, merge and special token"
            )
        self.tokens = tuple(token for _, token in sorted(zip(self._ids, self.tokens)))
        self.specials = {name: self._ids[i] for name, i in self.specials.items()}
        self._cache = {}  # word -> its ids

    @classmethod
    def train(cls, text, *, number=1000, specials=()):
        """Learn `number` merges from `text`, fewer if every word is one token before; ties as in `learn`.

        A merge costs a walk over each different word that holds its pair. So text without white space and
        punctuation, which is one long word, takes long: about n m steps for n bytes and m merges.

        Raises:
            TypeError: a text that is not a str, or a number that is not an int.
            ValueError: a negative number, or a lone surrogate.
        """
        if isinstance(number, bool) or not isinstance(number, int):
            raise TypeError(f"train: expected an int as number of merges, got {number!r}; round it")
        if number < 0:
            raise ValueError(f"train: expected at least 0 merges, got {number}; 1000 suits a megabyte")
        utf8("train", text)
        word_counts = {word.encode(): count for word, count in Counter(words(text)).items()}
        tokens = [bytes([b]) for b in range(256)]
        merges = []
        for left, right in learn(word_counts, number):
            merges.append((tokens[left], tokens[right]))
            tokens.append(tokens[left] + tokens[right])
        return cls(merges, specials=specials)

    def _ordinary(self, text, start):
        ids = []
        for word in words(text):
            known = self._cache.get(word)
            if known is None:
                known = [self._ids[rank] for rank in self._ranks(word)]
                if len(self._cache) < CACHED:
                    self._cache[word] = known
            ids += known
        return ids

    def _ranks(self, word):
        """The ranks of a word's tokens: merge the pair that was learned first, until none was learned.

        A walk over the word for each merge that it holds: 3 s for 100,000 letters at random and 1,000 merges.
        """
        ranks = list(word.encode())
        while len(ranks) > 1:
            first = min(pairwise(ranks), key=lambda pair: self._rank.get(pair, len(self.tokens)))
            if first not in self._rank:
                break
            ranks = replace_pair(ranks, first, self._rank[first])
        return ranks

    def _entries(self):
        ids = list(self._ids)
        return {
            "merges": [pair_to_line(pair) for pair in self.merges],
            "ids": None if ids == sorted(ids) else ids,  # None: in order
        }

    @classmethod
    def _from_entries(cls, *, merges, specials, ids):
        if not isinstance(merges, list) or not (ids is None or isinstance(ids, list)):
            raise ValueError("BPETokenizer: expected lists of merges and ids, got others; `save` it again")
        return cls(lines_to_pairs(merges), specials=specials, ids=ids)


def _check_merge(i, pair, rank):
    """Refuse merge `i`, counted from 0, unless it is a pair of tokens in `rank` that makes a new one."""
    if not isinstance(pair, (tuple, list)) or len(pair) != 2 or not all(isinstance(p, bytes) for p in pair):
        raise ValueError(
            f"BPETokenizer: expected pairs (left, right) of bytes, got {pair!r} as merge {i + 1}; "
            "BPETokenizer.train finds those of a text"
        )
    left, right = pair
    for part in pair:
        if part not in rank:
            raise ValueError(
                f"BPETokenizer: expected parts that are bytes or made by earlier merges, got "
                f"{part!r} in merge {i + 1}; give all merges, in the order in which they were learned"
            )
    if left + right in rank:
        raise ValueError(
            f"BPETokenizer: expected a merge that makes a new token, got {left + right!r} again in "
            f"merge {i + 1}; leave it out"
        )
