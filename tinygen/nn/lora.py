"""LoRA: a trained network learns something new by a small addition to each of its matrices, which stay.

    h = W x + b + (alpha / r) B A x        (eq. 3; W (out, in), A (r, in), B (out, r), r far below in and out)

    Hu et al., LoRA: low-rank adaptation of large language models (2021), arXiv 2106.09685

A is drawn at random and B is zero, so that training begins with the network as it was. Only A and B are
learnt: all else is frozen, which here means that a Parameter becomes a buffer, an array that is saved with
its module and that no optimizer, no average and no gradient knows of.

Two choices differ from the paper. Every Linear is adapted, those of the feed-forward networks too (there W^Q
and W^V alone; Dettmers et al., QLoRA, 2023, section 4, found that all are needed). And where one matrix
holds W^Q, W^K and W^V, one A serves all three. Left out: dropout before A, embeddings, and convolutions.
"""

import copy
import math

from ..autograd import ops
from . import init
from .layers import Linear, check_sizes
from .module import Module
from .parameter import Parameter


class LoRA(Module):
    """A Linear whose weights are frozen, and the update B A that is learnt: from (*, in) to (*, out).

    It has no `weight`: who multiplies with a layer's weight, past its `forward`, would miss the update.

    Args:
        linear: the layer; it is frozen here.
        rank: r, at most the smaller of in and out.
        alpha: the update is scaled by alpha / r, so that another r needs no other learning rate.
        rng: the np.random.Generator that draws A, normal with variance 1 / in, so that A x is as large as x.

    Raises:
        ValueError: a rank below 1, or above the smaller side of W.
        TypeError: `rng` is no Generator.
    """

    def __init__(self, linear, *, rank, alpha, rng):
        check_sizes("LoRA", rank=rank)
        outputs, inputs = linear.weight.shape
        if rank > min(inputs, outputs):
            raise ValueError(
                f"LoRA: expected a rank of at most {min(inputs, outputs)}, the smaller side of a weight "
                f"({outputs}, {inputs}), got {rank}; choose a smaller one"
            )
        self.scale, dtype = alpha / rank, linear.weight.dtype
        self.linear = freeze(linear)
        self.A = Parameter(init.normal((rank, inputs), rng=rng, std=1 / math.sqrt(inputs)).astype(dtype))
        self.B = Parameter(init.zeros((outputs, rank)).astype(dtype))

    def forward(self, x):
        return self.linear(x) + ops.linear(ops.linear(x, self.A) * self.scale, self.B)

    def merged(self):
        """A frozen Linear with the weight W + (alpha / r) B A. Nothing of this layer is written to."""
        linear = copy.copy(self.linear)
        linear.weight = self.linear.weight + self.scale * (self.B.data @ self.A.data)
        return linear


def adapt(model, *, rank, alpha, rng):
    """Put a LoRA in the place of every Linear in `model`, freeze all else, and return `model`.

    A model that reads a layer's weight past its forward, as a Translator does, cannot be adapted.

    Raises:
        ValueError: there is no Linear in it, or a LoRA already; and as LoRA and `freeze`.
        TypeError: `rng` is no Generator.
    """
    kinds = {type(part) for _, part in model.named_modules()}
    if Linear not in kinds or LoRA in kinds:
        got = "one that is adapted; merge it first" if LoRA in kinds else "none; train all of it instead"
        raise ValueError(f"adapt: expected a module with Linear layers in it, got {got}")
    freeze(model)
    _replace(model, Linear, lambda linear: LoRA(linear, rank=rank, alpha=alpha, rng=rng))
    return model


def merge(model):
    """Make an adapted `model` an ordinary one again, all of whose weights are learnt; returns it.

    It computes the same function. "The same" is of real numbers: (W + s B A) x adds in another order than
    W x + s B (A x), so results differ by rounding, in float32 by about 1e-6 of their size. For that reason
    nothing here takes an update off again: the frozen W of a LoRA is never written to, and is what it was
    to the bit. A model without LoRA stays as it is.
    """
    _replace(model, LoRA, LoRA.merged)
    for _, part in model.named_modules():
        names = vars(part).pop("_frozen", ())
        part.buffers = tuple(name for name in part.buffers if name not in names)
        for name in names:
            setattr(part, name, Parameter(getattr(part, name)))
    return model


def freeze(module):
    """Make every Parameter in `module` a buffer of the same name, and return `module`.

    Raises:
        ValueError: a Parameter stands in a list or a dict, or in two places: it could not become a buffer of
            one module. Nothing has been changed.
    """
    places = [
        (part, name, value)
        for _, part in module.named_modules()
        for name, value in vars(part).items()
        if isinstance(value, Parameter)
    ]
    found = module.parameters()
    if sorted(id(value) for *_, value in places) != sorted(map(id, found)):
        raise ValueError(
            f"freeze: expected each of {len(found)} Parameters to be one attribute of one module, got "
            f"{len(places)} such attributes; give lists of them, or shared ones, a module of their own"
        )
    for part, name, value in places:
        setattr(part, name, value.data)
        part.buffers = (*part.buffers, name)
        part._frozen = (*getattr(part, "_frozen", ()), name)
    return module


def _replace(model, kind, function):
    """Put `function(part)` in the place of each `part` of a kind: an attribute, or in a list or a dict."""
    for _, part in model.named_modules():
        for holder in [vars(part), *(v for v in vars(part).values() if isinstance(v, (list, dict)))]:
            for key, value in list(holder.items() if isinstance(holder, dict) else enumerate(holder)):
                if type(value) is kind:
                    holder[key] = function(value)
