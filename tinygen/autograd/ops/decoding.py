"""A Transformer's block, and its end, for the next token of a text that is being written, unrecorded.

These are no primitives, for they have no derivatives, and the block writes into what it is given. Their
definitions are the lines of models/transformer.py and gpt.py, which run wherever these decline.
"""

import operator

from ...kernels import accelerated
from ..engine import wrap
from ..modes import current_mode
from .arithmetic import raw

_block, _end = [accelerated(lambda *_: NotImplemented, name) for name in ("block_step", "norm_linear")]


class BlockArrays:
    """A block, as `block_step` wants it. Made once for a text: a kernel checks it once, and notes that here.

    Args:
        arrays: weight, then bias or None, of the first norm; of W^Q, W^K, W^V in one; of W^O; of the second
            norm; of W_1 and of W_2. With swiglu, W_1 is the gate's matrix above the other. Then the keys and
            the values of the text, (B, H, capacity, D).
        eps, centred: of the norms; centred is LayerNorm, else RMSNorm.
        post_norm: norms stand after the sums.
        activation: "gelu", "gelu-tanh", "relu" or "swiglu".
    """

    def __init__(self, arrays, *, eps, centred, post_norm, activation):
        self.arrays, self.eps, self.centred = arrays, eps, centred
        self.post_norm, self.activation = post_norm, activation
        self.size = sum([array.size for array in arrays[:-2] if array is not None])
        self.ready = None

    def has(self, arrays):
        """Whether it was made of these, the very same: a model may be converted while it writes."""
        return all(map(operator.is_, self.arrays, arrays))


def block_step(x, place, block, *, turn=None, mask=None):
    """The block's result (B, 1, C) for one token of each text; its key and value are added to the others.

    Args:
        x: (B, 1, C), a Tensor or an array.
        place: of the token: where keys and values are written; S = place + 1 of them are seen.
        block: a BlockArrays.
        turn: (cos, sin) of the rotary angles of this place, arrays (D / 2,).
        mask: numbers (H, 1, S) that are added to the scores.

    Returns:
        A Tensor; or NotImplemented, with nothing written, where no kernel serves: a gradient is wanted, an
        observer watches, the mask is another, there are more than 8 texts, arrays are not NumPy's or so small
        that calls do not matter, or the reference kernels are in use.
    """
    mode = current_mode()
    heads = block.arrays[-1].shape[1]
    if mode.recording or mode.observers or mask is not None and mask.shape != (heads, 1, place + 1):
        return NotImplemented
    out = _block(raw(x)[:, 0], block.arrays[-1], place, block, turn, raw(mask))
    return out if out is NotImplemented else wrap(out[:, None])


def norm_linear(x, weight, bias, matrix, *, eps, centred):
    """norm(x) W^T, (B, V), of x (B, C): the logits. NotImplemented as for `block_step`.

    Args:
        weight, bias: of the norm, (C,); bias may be None.
        matrix: W, (V, C).
        eps, centred: as for BlockArrays.
    """
    mode = current_mode()
    if mode.recording or mode.observers:
        return NotImplemented
    out = _end(raw(x), raw(matrix), raw(weight), raw(bias), eps, centred)
    return out if out is NotImplemented else wrap(out)
