"""What an operation has to do: the floating-point operations of its definition, the bytes it moves.

    forward     inputs and result are moved; a product counts a multiplication and an addition for each pair
    backward    the cotangent, what the tape kept, and the gradients are moved; each gradient of a product is
                again a product of the same size

Causal attention counts half, and the backward of attention 2.5 times its forward: five products of that size
where the forward has two (it computes the scores again).

    Dao et al., FlashAttention (2022), arXiv 2205.14135: the backward's products and the halving

What is not counted: the arithmetic of everything but products, such as exp; the extra results that a fused
forward keeps for its backward. An index into a large table counts the whole table.
"""

import math

from .. import arrays
from ..autograd.ops import attention, linear, matmul
from ..autograd.ops.convolution import convolve, convolve_image, convolve_kernel
from ..autograd.ops.linalg import contraction


def _attention(values, attrs, out):
    q, k, v, *_ = values
    scores = math.prod(out.shape[:-1]) * k.shape[-2]  # (..., T, S)
    both = 2 * scores * (q.shape[-1] + v.shape[-1])
    return both // 2 if attrs.get("causal") else both


def _contraction(values, attrs, out):
    """For each combination of all indices n - 1 multiplications, and an addition if an index is summed."""
    terms, result = attrs["subscripts"].split("->")
    sizes = {}
    for term, x in zip(terms.split(","), values, strict=True):
        for letter, n in zip(term, x.shape, strict=True):
            sizes[letter] = n if sizes.get(letter, 1) == 1 else sizes[letter]  # 1 is broadcast
    summed = len(sizes) > len(result)
    return (len(values) - 1 + summed) * math.prod(sizes.values()) if len(values) > 1 else 0


# From (inputs, attributes, result) to the operations of the forward. A convolution with kernels of shape
# (D, C / groups, kh, kw) meets each pixel of its D channels with C / groups * kh * kw elements of a kernel,
# those that lie over the padding included; so do its two derivatives.
_PRODUCTS = {
    matmul.primitive: lambda values, attrs, out: 2 * out.size * values[0].shape[-1],
    linear.primitive: lambda values, attrs, out: 2 * out.size * values[0].shape[-1],
    contraction.primitive: _contraction,
    attention.primitive: _attention,
    convolve.primitive: lambda values, attrs, out: 2 * out.size * math.prod(values[1].shape[1:]),
    convolve_image.primitive: lambda values, attrs, out: 2 * values[0].size * math.prod(values[1].shape[1:]),
    convolve_kernel.primitive: lambda values, attrs, out: 2 * values[1].size * math.prod(out.shape[1:]),
}


def forward_flops(primitive, values, attrs, out):
    """Floating-point operations of a call with these inputs and options: 0 for all but products."""
    count = _PRODUCTS.get(primitive)
    return count(values, attrs, out) if count else 0


def backward_flops(node, parent, forward, *, first):
    """Operations of the gradient that `node` passes to `parent`.

    Args:
        forward: what `forward_flops` said of the call.
        first: this is the first of the node's gradients. A joint rule makes all of them at once.
    """
    if not forward:
        return 0
    if node.plan.joint:
        return 5 * forward // 2 if first else 0
    rule, *_ = node.plan.steps[node.parents.index(parent)]
    return 0 if rule is linear.primitive.by_input["bias"][0] else forward


def forward_bytes(values, out):
    """Bytes of the inputs and the result; 0 where the result is a view of an input, since nothing moves."""
    return 0 if any(is_view(out, x) for x in values) else size(values) + size(out)


def size(value):
    """Bytes of an array, or of all arrays in a tuple. What is broadcast lies in memory once."""
    if isinstance(value, (tuple, list)):
        return sum(map(size, value))
    if not arrays.is_array(value) or not value.size:
        return 0
    strides = getattr(value, "strides", None) or value.shape
    return value.dtype.itemsize * math.prod(n for n, step in zip(value.shape, strides, strict=True) if step)


def is_view(array, of):
    """True when `array` is `of` itself or lies in its memory."""
    base = getattr(array, "base", None)
    return array is of or (base is not None and (base is of or base is getattr(of, "base", None)))
