"""Small tasks between strings whose right answer is known exactly: lists of (source, target). No download.

`number_words` translates English numbers to German ones. German names the units before the tens ("seven-and-
thirty") and writes a number below a million as one word, so a translator has to cut, reorder and join.
`addition`, `copying` and `sorting` work on characters.

German is spelled as in Germany, with umlauts and ß; English is British, with "and" before the tens. A million
and more, ordinals and negative numbers are left out.
"""

from .splits import check_split, random_uint64, rows_of_split

LIMIT = 1_000_000  # the first number that has no words here
NUMBERS, STRINGS, LETTERS = 10_000, 11_000, 12  # numbers from 0, distinct strings, letters of the longest
SEEDS = {"number_words": 0, "addition": 1, "strings": 2, "order of strings": 3}

_ENGLISH_SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
).split()
_ENGLISH_TENS = "- ten twenty thirty forty fifty sixty seventy eighty ninety".split()
_GERMAN_SMALL = (
    "null ein zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn fünfzehn sechzehn "
    "siebzehn achtzehn neunzehn"
).split()
_GERMAN_TENS = "- zehn zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig".split()


def number_words(*, split="train"):
    """English number words and their German translation, for all numbers from 0 to 9,999.

    Args:
        split: "train" (9,000 pairs) or "test" (the other 1,000), in a fixed shuffled order.

    Returns:
        A list of pairs such as ("two thousand and thirty-seven", "zweitausendsiebenunddreißig").

    Raises:
        ValueError: an unknown split.
    """
    check_split("number_words", split)
    chosen = rows_of_split(NUMBERS, split=split, seed=SEEDS["number_words"])
    return [(english(n), german(n)) for n in chosen.tolist()]


def english(n):
    """`n` in British words: 1,101 is "one thousand one hundred and one".

    Args:
        n: an int, 0 <= n < 1,000,000.

    Raises:
        TypeError: not an int.
        ValueError: an int out of that range.
    """
    _check_number("english", n)
    if n < 20:
        return _ENGLISH_SMALL[n]
    if n < 100:
        tens, units = divmod(n, 10)
        return _ENGLISH_TENS[tens] + (f"-{_ENGLISH_SMALL[units]}" if units else "")
    size, name = (100, "hundred") if n < 1000 else (1000, "thousand")
    count, rest = divmod(n, size)
    joint = "" if rest == 0 else " and " if rest < 100 else " "
    return f"{english(count)} {name}" + (joint + english(rest) if rest else "")


def german(n):
    """`n` as a German word: 1,101 is "eintausendeinhunderteins".

    Where several forms are correct: "einhundert" and "eintausend", not "hundert" and "tausend", and without
    "und" after them, "einhunderteins", not "einhundertundeins". A 1 at the end is "eins", before another part
    of the word "ein".

    Args:
        n: an int, 0 <= n < 1,000,000.

    Raises:
        TypeError: not an int.
        ValueError: an int out of that range.
    """
    _check_number("german", n)
    word = _german_part(n)
    return word + "s" if n % 100 == 1 else word


def _german_part(n):
    """`n` as it stands before another part of the word: with "ein" at its end where `german` has "eins"."""
    if n < 20:
        return _GERMAN_SMALL[n]
    if n < 100:
        tens, units = divmod(n, 10)
        return (f"{_GERMAN_SMALL[units]}und" if units else "") + _GERMAN_TENS[tens]
    size, name = (100, "hundert") if n < 1000 else (1000, "tausend")
    count, rest = divmod(n, size)
    return _german_part(count) + name + (_german_part(rest) if rest else "")


def _check_number(who, n):
    if isinstance(n, bool) or not isinstance(n, int):
        raise TypeError(f"{who}: expected an int, got {n!r}; convert it with int()")
    if not 0 <= n < LIMIT:
        raise ValueError(f"{who}: expected 0 <= n < {LIMIT:,}, got {n:,}; larger numbers have no words here")


def addition(*, split="train"):
    """Sums of two numbers from 0 to 99, such as ("27+58", "85"): all 10,000.

    Args:
        split: "train" (9,000 pairs) or "test" (the other 1,000), in a fixed shuffled order.

    Raises:
        ValueError: an unknown split.
    """
    check_split("addition", split)
    chosen = rows_of_split(100 * 100, split=split, seed=SEEDS["addition"])
    return [(f"{a}+{b}", f"{a + b}") for a, b in (divmod(n, 100) for n in chosen.tolist())]


def copying(*, split="train"):
    """Random strings and themselves, such as ("hello", "hello"): 1 to 12 lower-case letters from a to z.

    Few strings are short, and each occurs once: there are all 26 of one letter, and most of the 676 of two.

    Args:
        split: "train" (10,000 pairs) or "test" (another 1,000), in a fixed shuffled order.

    Raises:
        ValueError: an unknown split.
    """
    check_split("copying", split)
    return [(text, text) for text in _strings(split)]


def sorting(*, split="train"):
    """Random strings and their letters in alphabetical order, such as ("hello", "ehllo").

    The strings are those of `copying`, so that the two tasks differ in nothing else.

    Args:
        split: "train" (10,000 pairs) or "test" (another 1,000), in a fixed shuffled order.

    Raises:
        ValueError: an unknown split.
    """
    check_split("sorting", split)
    return [(text, "".join(sorted(text))) for text in _strings(split)]


def _strings(split):
    """The strings of one split. Each length is drawn equally often; a string drawn again is dropped."""
    draws = random_uint64(2 * STRINGS * (1 + LETTERS), seed=SEEDS["strings"]).reshape(-1, 1 + LETTERS)
    lengths, letters = draws[:, 0] % LETTERS + 1, (draws[:, 1:] % 26 + ord("a")).astype("uint8")
    drawn = (bytes(row[:length]).decode() for row, length in zip(letters, lengths.tolist()))
    texts = list(dict.fromkeys(drawn))[:STRINGS]
    chosen = rows_of_split(STRINGS, split=split, seed=SEEDS["order of strings"], train=10_000)
    return [texts[i] for i in chosen.tolist()]
