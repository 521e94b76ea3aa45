"""Data sets and tokenizers. Floor 0: no autograd here, only NumPy arrays and strings.

`catalogue.py` lists the data sets by name. Most need no network; the others are found in the folder
`$TINYGEN_DATA`, or downloaded once (downloads.py).
"""

from .batches import Minibatches, in_order
from .bpe import BPETokenizer
from .by_length import PADDING, BatchesByLength, cropped, padded
from .catalogue import (
    IMAGES,
    PAIRS,
    POINTS,
    TEXTS,
    load_bytes,
    load_images,
    load_pairs,
    load_points,
    load_text,
)
from .conditions import grey_levels, known, one_hot
from .digits import digits, drawn_digits
from .files import read_bytes, read_pairs, read_text
from .gaussians import MIXTURES, grid, ring
from .gpt2_files import read_gpt2, write_gpt2
from .idx import read_idx
from .images import read_images, read_picture
from .named import mnist, multi30k, tinyshakespeare
from .pair_rows import pair_rows, trimmed_rows
from .python_text import python_docs, python_entries, python_source
from .sequences import addition, copying, number_words, sorting
from .sprites import sprites
from .tokenizers import ByteTokenizer, CharacterTokenizer, load_tokenizer
from .windows import Windows, windows_in_order

__all__ = [
    "BPETokenizer",
    "BatchesByLength",
    "ByteTokenizer",
    "CharacterTokenizer",
    "IMAGES",
    "MIXTURES",
    "Minibatches",
    "PADDING",
    "PAIRS",
    "POINTS",
    "TEXTS",
    "addition",
    "copying",
    "cropped",
    "digits",
    "drawn_digits",
    "grey_levels",
    "grid",
    "in_order",
    "known",
    "load_bytes",
    "load_images",
    "load_pairs",
    "load_points",
    "load_text",
    "load_tokenizer",
    "mnist",
    "multi30k",
    "number_words",
    "one_hot",
    "padded",
    "pair_rows",
    "python_docs",
    "python_entries",
    "python_source",
    "read_bytes",
    "read_gpt2",
    "read_idx",
    "read_images",
    "read_pairs",
    "read_picture",
    "read_text",
    "ring",
    "sorting",
    "sprites",
    "tinyshakespeare",
    "trimmed_rows",
    "Windows",
    "windows_in_order",
    "write_gpt2",
]
