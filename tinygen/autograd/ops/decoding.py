"""A block of a Transformer for one new token, for a text that is being written: nothing is recorded.

This is no primitive, for it has no derivative and writes into what it is given. Its definition are the lines
of Block in models/transformer.py, which run wherever this declines.
"""

from ...kernels import accelerated
from ..engine import wrap
from ..modes import current_mode
from .arithmetic import raw

_kernel = accelerated(lambda *args, **rules: NotImplemented, "block_step")


def block_step(x, keys, values, place, layers, *, eps, centred, post_norm, activation, turn=None, mask=None):
    """The block's result (B, 1, C) for one token of each text; its key and value are added to the others.

    Args:
        x: (B, 1, C), a Tensor.
        keys, values: arrays (B, H, capacity, D), written at `place`; S = place + 1 of them are seen.
        layers: (weight, bias or None) of the first norm, W^Q W^K W^V, W^O, the second norm, W_1 and W_2;
            with swiglu, W_1 is the gate's matrix above the other.
        eps, centred: of the norms; centred is LayerNorm, else RMSNorm.
        post_norm: norms stand after the sums.
        activation: "gelu", "gelu-tanh", "relu" or "swiglu".
        turn: (cos, sin) of the rotary angles of this place, arrays (D / 2,).
        mask: numbers (H, 1, S) that are added to the scores.

    Returns:
        (B, 1, C); or NotImplemented, with nothing written, where no kernel serves: a gradient is wanted, an
        observer watches, the mask is another, there are more than 8 texts, arrays are not NumPy's or so small
        that calls do not matter, or the reference kernels are in use.
    """
    mode = current_mode()
    if mode.recording or mode.observers:
        return NotImplemented
    if mask is not None and mask.shape != (keys.shape[1], 1, place + 1):
        return NotImplemented
    layers = [(raw(weight), raw(bias)) for weight, bias in layers]
    rules = {"eps": eps, "centred": centred, "post_norm": post_norm, "activation": activation}
    out = _kernel(raw(x)[:, 0], keys, values, place, layers, turn=turn, mask=raw(mask), **rules)
    return out if out is NotImplemented else wrap(out[:, None])
