"""Bytes as printable characters, and pairs of tokens as lines: how GPT-2's files write them, and ours too.

A token may be half a character, which no text file can hold; so each byte gets a character of its own.

    Radford et al., Language Models are Unsupervised Multitask Learners (2019), its file `vocab.json`
"""


def _byte_alphabet():
    """A dict of byte -> the character that stands for it: printable, and no white space.

    188 bytes are such characters in Latin-1 and stay. The others take those from U+0100 on, in order, so that
    a space is written as U+0120 and a newline as U+010A.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in printable]
    return {b: chr(b) for b in printable} | {b: chr(0x100 + i) for i, b in enumerate(others)}


BYTE_ALPHABET = _byte_alphabet()
BYTES = {character: b for b, character in BYTE_ALPHABET.items()}


def spelled(token):
    """Bytes, written in the alphabet.

    >>> spelled(b" a")
    'Ġa'
    """
    return "".join([BYTE_ALPHABET[b] for b in token])


def pair_to_line(pair):
    """A pair of tokens (left, right), as a line: both in the alphabet, a space between."""
    return f"{spelled(pair[0])} {spelled(pair[1])}"


def lines_to_pairs(lines):
    """The pairs of bytes in such lines.

    Raises:
        ValueError: a line that is not two tokens in the alphabet; the message has the line and its number.
    """
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
