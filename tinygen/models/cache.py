"""The cache of a Transformer that writes: keys and values of the tokens so far, each computed once.

Without it the t-th token costs t times as much as the first. Room is made at the start for as many tokens as
the model sees at once; a new token's keys and values are written behind those of the others.

Letters: B batch, H heads, T tokens, D head size.
"""

import numpy as np

from ..autograd.ops.arithmetic import raw


class KeysAndValues:
    """Those of one attention, (B, H, capacity, D) each, of which the first `length` are there.

    block   the arrays of its block, once they were needed to write with
    """

    def __init__(self, capacity):
        self.capacity, self.length = capacity, 0
        self.keys = self.values = self.block = None

    @property
    def full(self):
        """Whether there is anything: enough to know for a memory, which does not grow."""
        return self.length > 0

    def extended(self, k, v):
        """All keys and values, those of the new tokens (B, H, T, D) added; None adds nothing.

        Raises:
            ValueError: as of `room`.
        """
        if k is not None:
            k, v = raw(k), raw(v)
            keys, values = self.room(*k.shape, k.dtype)
            end = self.length + k.shape[2]
            keys[:, :, self.length : end], values[:, :, self.length : end] = k, v
            self.length = end
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]

    def room(self, batch, heads, tokens, size, dtype):
        """All keys and values, (B, H, capacity, D), with room for T more tokens behind the first `length`.

        Raises:
            ValueError: there is no room; or the tokens before were of another number of texts, or of a model
                of other sizes. A kernel writes here without looking.
        """
        shape = batch, heads, self.capacity, size
        if self.keys is None:
            self.keys, self.values = (np.empty(shape, dtype) for _ in "kv")
        if self.keys.shape != shape:
            raise ValueError(
                f"cache: expected {self.keys.shape} (texts, heads, tokens, head size), as for the tokens "
                f"before, got {shape}; go on with the same texts, or begin a new one"
            )
        if self.length + tokens > self.capacity:
            raise ValueError(
                f"cache: expected at most {self.capacity} tokens, got {self.length + tokens}; begin a new one"
            )
        return self.keys, self.values

    def keep(self, rows):
        """Go on with these rows of the batch, in this order: beams that survive."""
        if self.keys is not None:
            self.keys, self.values = self.keys[rows], self.values[rows]


class Cache:
    """A pair of KeysAndValues for each block: of its attention over the text, and of that over a memory.

    Args:
        layers: of the model.
        context: tokens that the text may have.
        memory: tokens of the memory, 0 for none.
    """

    def __init__(self, layers, context, memory=0):
        self.blocks = [(KeysAndValues(context), KeysAndValues(memory)) for _ in range(layers)]

    @property
    def length(self):
        """How many tokens of the text it holds."""
        return self.blocks[0][0].length

    def keep(self, rows):
        """Go on with these rows of the batch, in this order."""
        for block in self.blocks:
            for part in block:
                part.keep(rows)
