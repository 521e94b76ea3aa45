"""Tokenizers: text to whole numbers and back. The interface, and its two plain cases: characters and bytes.

A tokenizer has a vocabulary: tokens, each a few bytes, numbered from 0. A special token, such as
<|endoftext|> or <pad>, is a mark that is put around texts; its bytes are those of its name. Decoding is the
same for all: join the bytes of the tokens, read them as UTF-8. What differs is how text is cut into tokens.
Byte pair encoding, which learns that, is in bpe.py.

The file of a tokenizer is JSON:

    {"format": "tinygen tokenizer", "version": 1, "kind": "characters",
     "specials": ["<|endoftext|>"], "characters": "abc"}

`kind` is characters, bytes or bpe, and what follows `specials` is what that kind needs. Left out: normalising
(text comes back as it was), batches, padding, truncation.

    Yergeau, UTF-8, a transformation format of ISO 10646, RFC 3629 (2003)

In shapes, T is the number of tokens.
"""

import codecs
import json
import re

import numpy as np

from ..durable import write
from .token_files import blaming, read_json, utf8

FORMAT, VERSION = "tinygen tokenizer", 1
KINDS: "dict[str, type[Tokenizer]]" = {}  # by the name in files; a class enters itself when it is defined


class Tokenizer:
    """What all kinds share. A kind gives its ordinary tokens, whose ids come first, and cuts text into them.

    Args:
        ordinary: the bytes of each ordinary token.
        specials: the names of the special tokens.

    Attributes:
        tokens: the bytes of every token; its place is its id.
        specials: a dict of name -> id.

    Raises:
        ValueError: a name that is empty, that comes twice, or that holds a lone surrogate.
    """

    kind = ""  # how the file calls it
    needs: tuple[str, ...] = ()  # what the file holds beside `specials`

    def __init_subclass__(cls, **options):
        """Enter a class with a `kind` of its own into KINDS.

        Raises:
            TypeError: another class has that kind.
        """
        super().__init_subclass__(**options)
        if "kind" in vars(cls) and KINDS.setdefault(cls.kind, cls) is not cls:
            raise TypeError(
                f"{cls.__name__}: expected a kind that no other class has, got {cls.kind!r}; name another"
            )

    def __init__(self, ordinary, specials):
        named = isinstance(specials, (list, tuple)) and all(isinstance(s, str) and s for s in specials)
        if not named or len(set(specials)) < len(specials):
            raise ValueError(
                f"specials: expected different names, none empty, got {specials!r}; "
                "give a tuple such as ('<|endoftext|>',)"
            )
        self.tokens = (*ordinary, *(utf8("specials", name) for name in specials))
        self.specials = {name: len(ordinary) + i for i, name in enumerate(specials)}

    def __repr__(self):
        return f"<{type(self).__name__} of {self.vocab_size:,} tokens, {len(self.specials)} special>"

    @property
    def vocab_size(self):
        """The number of tokens, special ones too; every id is below it."""
        return len(self.tokens)

    def encode(self, text, *, specials=False):
        """The ids of `text`, so that `decode` gives it back exactly.

        Args:
            specials: whether the name of a special token in the text stands for the token; where several
                fit, the longest. By default it is ordinary text, so that no stranger can write such marks.

        Returns:
            int64 (T,).

        Raises:
            TypeError: not a str.
            ValueError: a lone surrogate, or a character that this tokenizer does not know.
        """
        utf8("encode", text)
        parts = [text]
        if specials and self.specials:
            names = "|".join(re.escape(name) for name in sorted(self.specials, key=len, reverse=True))
            parts = re.split(f"({names})", text)  # ordinary, name, ordinary, ..., name, ordinary
        ids, start = [], 0
        for i, part in enumerate(parts):
            ids += [self.specials[part]] if i % 2 else self._ordinary(part, start)
            start += len(part)
        return np.array(ids, np.int64)

    def _ordinary(self, text, start):
        """The ids, a list, of text without special tokens, which stands at `start` in what was given."""
        raise NotImplementedError

    def decode_bytes(self, ids):
        """The bytes of tokens `ids` (T,), joined: exact also where they are not whole characters.

        Raises:
            ValueError: not a vector of whole numbers, or an id that no token has.
        """
        array = np.asarray(ids)
        if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
            raise ValueError(
                f"decode: expected whole numbers of shape (T,), got {array.dtype} of shape {array.shape}; "
                "give the ids of one text"
            )
        wrong = np.flatnonzero((array < 0) | (array >= len(self.tokens)))
        if len(wrong):
            raise ValueError(
                f"decode: expected ids from 0 to {len(self.tokens) - 1}, got {array[wrong[0]]} "
                f"at position {wrong[0]}; use the tokenizer that made them"
            )
        return b"".join([self.tokens[i] for i in array.tolist()])

    def decode(self, ids):
        """The text of tokens `ids` (T,); a special token reads as its name.

        Bytes that are not a whole character, which tokens drawn from a model may end in, become U+FFFD.

        Raises:
            ValueError: as of `decode_bytes`.
        """
        return self.decode_bytes(ids).decode("utf-8", "replace")

    def stream(self):
        """A Stream, which decodes one token at a time."""
        return Stream(self)

    def token(self, i):
        r"""Token `i` for people to read: control characters and pieces of characters as \n, \x1b, \xe2.

        Raises:
            ValueError: there is no such token.
        """
        text = self.decode_bytes([i]).decode("utf-8", "backslashreplace")
        return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)

    def to_dict(self):
        """What the file says, as plain dicts, lists, strings and numbers."""
        head = {"format": FORMAT, "version": VERSION, "kind": self.kind, "specials": list(self.specials)}
        return head | self._entries()

    def _entries(self):
        """The entries of the file that `needs` names."""
        return {}

    @classmethod
    def from_dict(cls, content):
        """The tokenizer that `to_dict` described, of this kind; of any kind from `Tokenizer.from_dict`.

        Raises:
            ValueError: another format, version or kind, or entries that are missing, unknown or damaged.
        """
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise ValueError(f'tokenizer: expected "format": "{FORMAT}", got none; give what `save` wrote')
        version, name = content.get("version"), content.get("kind")
        if version != VERSION:
            raise ValueError(
                f"tokenizer: expected version {VERSION}, got {version!r}; use the tinygen that wrote it"
            )
        kinds = {kind: known for kind, known in KINDS.items() if issubclass(known, cls)}
        chosen = kinds.get(name) if isinstance(name, str) else None
        if chosen is None:
            expected = " or ".join(kinds)
            raise ValueError(f"tokenizer: expected kind {expected}, got {name!r}; give one of that kind")
        entries = {key: content[key] for key in content if key not in ("format", "version", "kind")}
        expected = ("specials", *chosen.needs)
        if set(entries) != set(expected):
            raise ValueError(
                f"tokenizer: expected entries {', '.join(expected)}, got {', '.join(entries) or 'none'}; "
                "write it again with `save`"
            )
        return chosen._from_entries(**entries)

    @classmethod
    def _from_entries(cls, **entries):
        return cls(**entries)

    def save(self, path):
        """Write the file at `path`, whole or not at all. `load_tokenizer` reads it.

        Raises:
            FileNotFoundError: there is no folder for it.
            OSError: it cannot be written.
        """
        write(path, (json.dumps(self.to_dict(), ensure_ascii=False, indent=1) + "\n").encode())


class CharacterTokenizer(Tokenizer):
    """A token for each character of an alphabet; it knows no others.

    A character is a code point: e and a combining accent are two.

    Args:
        characters: a str of different characters, in the order of their ids.
        specials: names of special tokens.

    Raises:
        ValueError: no characters, one that comes twice, or a lone surrogate.
    """

    kind, needs = "characters", ("characters",)

    def __init__(self, characters, *, specials=()):
        if not isinstance(characters, str) or not characters or len(set(characters)) < len(characters):
            raise ValueError(
                f"CharacterTokenizer: expected a str of different characters, got {characters!r}; "
                "CharacterTokenizer.train finds those of a text"
            )
        utf8("CharacterTokenizer", characters)
        super().__init__([c.encode() for c in characters], specials)
        self.characters = characters
        self._ids = {c: i for i, c in enumerate(characters)}

    @classmethod
    def train(cls, text, *, specials=()):
        """The tokenizer of the characters in `text`, ids by code point.

        Raises:
            TypeError: not a str.
            ValueError: an empty text, or a lone surrogate.
        """
        utf8("train", text)
        return cls("".join(sorted(set(text))), specials=specials)

    def _ordinary(self, text, start):
        try:
            return [self._ids[c] for c in text]
        except KeyError as error:
            (c,) = error.args
            raise ValueError(
                f"encode: expected characters of the training text, got {c!r} (U+{ord(c):04X}) at position "
                f"{start + text.index(c)}; train on text that contains it, or use ByteTokenizer"
            ) from error

    def _entries(self):
        return {"characters": self.characters}


class ByteTokenizer(Tokenizer):
    """A token for each byte, its value the id. It knows every text, in one to four tokens a character.

    Args:
        specials: names of special tokens.
    """

    kind = "bytes"

    def __init__(self, *, specials=()):
        super().__init__([bytes([b]) for b in range(256)], specials)

    def _ordinary(self, text, start):
        return list(text.encode())


class Stream:
    """Text from tokens that arrive one by one, never half a character: what is begun waits for its end.

    What `push` and `flush` return, joined, is `decode` of all ids.
    """

    def __init__(self, tokenizer):
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, i):
        """The characters that token `i` completes, "" where it only goes on with one.

        Raises:
            ValueError: there is no such token.
        """
        return self._decoder.decode(self._tokenizer.decode_bytes([i]))

    def flush(self):
        """What is left at the end: U+FFFD for a part of a character, or "". Another text may follow."""
        return self._decoder.decode(b"", final=True)


def load_tokenizer(path):
    """The tokenizer, of any kind, that `save` wrote at `path`.

    Raises:
        FileNotFoundError: there is no such file.
        IsADirectoryError: it is a folder.
        ValueError: another format, an unknown version or kind, or a damaged file; names the file.
    """
    content = read_json(path, "write it with `save`")
    with blaming(path):
        return Tokenizer.from_dict(content)
