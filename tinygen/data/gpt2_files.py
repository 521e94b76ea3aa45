"""GPT-2's files, `vocab.json` and `merges.txt`: a byte pair encoding that others trained, read and written.

vocab.json is a dict of token -> id. merges.txt has a line `#version`, then a merge a line. Both write bytes
as byte_alphabet.py says. A token that is neither a byte nor made by a merge is special.

    Radford et al., Language Models are Unsupervised Multitask Learners (2019), the files of its release

Left out: the single `tokenizer.json` of later releases, and words that are cut in other ways than GPT-2's.
"""

import json
from pathlib import Path

from ..durable import write
from .bpe import BPETokenizer
from .byte_alphabet import lines_to_pairs, pair_to_line, spelled
from .token_files import blaming, file_text, read_json

VOCAB, MERGES = "vocab.json", "merges.txt"
FIX = f"get {VOCAB} and {MERGES} again, both from one place"


def read_gpt2(folder):
    """The BPETokenizer in `vocab.json` and `merges.txt` of `folder`; ids are theirs.

    Raises:
        FileNotFoundError: a file is missing.
        IsADirectoryError: a folder has the name of one.
        ValueError: a file is damaged, or they do not fit together; names the file.
    """
    vocab, merges = Path(folder) / VOCAB, Path(folder) / MERGES
    id_of = read_json(vocab, FIX)
    lines = file_text(merges, FIX).removesuffix("\n").split("\n")
    with blaming(merges):
        plain = BPETokenizer(lines_to_pairs(lines[lines[0].startswith("#version") :]))
    if not isinstance(id_of, dict) or any(type(i) is not int for i in id_of.values()):
        raise ValueError(f"{vocab}: expected a dict of token -> id, got something else; {FIX}")
    ordinary = [spelled(token) for token in plain.tokens]
    missing = [token for token in ordinary if token not in id_of]
    if missing:
        raise ValueError(
            f"{vocab}: expected ids for all bytes and for all that {MERGES} makes, "
            f"got none for {missing[0]!r}; {FIX}"
        )
    specials = sorted(id_of.keys() - set(ordinary), key=lambda name: id_of[name])
    with blaming(vocab):
        ids = [id_of[token] for token in ordinary + specials]
        return BPETokenizer(plain.merges, specials=specials, ids=ids)


def write_gpt2(tokenizer, folder):
    """Write a BPETokenizer as `vocab.json` and `merges.txt` into `folder`, made if need be.

    Raises:
        ValueError: a special token is named as an ordinary one is written there.
        OSError: they cannot be written.
    """
    name_of = {i: name for name, i in tokenizer.specials.items()}
    vocab = {name_of.get(i) or spelled(token): i for i, token in enumerate(tokenizer.tokens)}
    if len(vocab) < len(tokenizer.tokens):
        ordinary = {spelled(token) for i, token in enumerate(tokenizer.tokens) if i not in name_of}
        got = next(name for name in tokenizer.specials if name in ordinary)
        raise ValueError(
            f"write_gpt2: expected names of special tokens that no ordinary token has, got {got!r}; "
            "give it a name with marks, such as <|endoftext|>"
        )
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["#version: 0.2", *map(pair_to_line, tokenizer.merges)]
    write(folder / VOCAB, json.dumps(vocab, ensure_ascii=False).encode())
    write(folder / MERGES, ("\n".join(lines) + "\n").encode())
