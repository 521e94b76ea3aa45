"""What an operation has to do: the floating-point operations of its definition, the bytes it moves.

    forward     inputs and result are moved; a product counts a multiplication and an addition for each pair
    backward    the cotangent, what the tape kept, and the gradients are moved; each gradient of a product is
                again a product of the same size

Attention counts the pairs of a query and a key that it may see: with a causal mask and as many keys as
queries, about half of them. Its backward has five products where the forward has two, since it computes the
scores again: 2.5 times the operations, where values are as wide as keys.

    Dao, FlashAttention-2 (2023), arXiv 2307.08691, section 4.1: the half, roundly, and the 2.5

An index moves what it picks, and not the table that it picks from; the gradient of the table is written as a
whole, zeros and all.

What is not counted: the arithmetic of everything but products, such as exp; the extra results that a fused
forward keeps for its backward; what a mask hides that is not causal.
"""

import math

from .. import arrays
from ..autograd.ops import attention, getitem, linear, matmul, scatter_add, self_attention
from ..autograd.ops.convolution import convolve, convolve_image, convolve_kernel
from ..autograd.ops.linalg import contraction

# Floating-point operations


def _pairs(values, attrs, out):
    """(pairs of a query and a key that it may see, sizes of a key and of a value), in all batches and heads.

    Causal: query t of T sees keys up to t + S - T, of S.
    """
    if len(values) == 2:  # self_attention: the sizes of its heads add up to the width of the result
        batch, queries, width = out.shape
        keys, sizes = queries, (width, width)
    else:
        batch, queries, keys = math.prod(out.shape[:-2]), out.shape[-2], values[1].shape[-2]
        sizes = values[0].shape[-1], values[2].shape[-1]
    if not attrs.get("causal"):
        return batch * queries * keys, *sizes
    # The last query sees all keys, each one before it one fewer, until there are none left.
    seeing = min(queries, keys)
    return batch * (seeing * keys - seeing * (seeing - 1) // 2), *sizes


def _attention(values, attrs, out):
    """q k^T and the mean of v."""
    pairs, size, width = _pairs(values, attrs, out)
    return 2 * pairs * (size + width)


def _attention_backward(values, attrs, out):
    """q k^T again and the gradients of q and k, over D; that of v and that of the weights, over E."""
    pairs, size, width = _pairs(values, attrs, out)
    return 2 * pairs * (3 * size + 2 * width)


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
    self_attention.primitive: _attention,
    convolve.primitive: lambda values, attrs, out: 2 * out.size * math.prod(values[1].shape[1:]),
    convolve_image.primitive: lambda values, attrs, out: 2 * values[0].size * math.prod(values[1].shape[1:]),
    convolve_kernel.primitive: lambda values, attrs, out: 2 * values[1].size * math.prod(out.shape[1:]),
}


def forward_flops(primitive, values, attrs, out):
    """Floating-point operations of a call with these inputs and options: 0 for all but products."""
    count = _PRODUCTS.get(primitive)
    return count(values, attrs, out) if count else 0


def gradient_flops(primitive, values, attrs, out):
    """Operations of each gradient of such a call; of all together where a joint rule makes them."""
    if primitive in (attention.primitive, self_attention.primitive):
        return _attention_backward(values, attrs, out)
    return forward_flops(primitive, values, attrs, out)


def backward_flops(node, parent, each, *, first):
    """Operations of the gradient that `node` passes to `parent`.

    Args:
        each: what `gradient_flops` said of the call.
        first: this is the first of the node's gradients. A joint rule makes all of them at once.
    """
    if not each:
        return 0
    if node.plan.joint:
        return each if first else 0
    # The gradient of a factor is a product with the others. A rule that asks for nothing of the call has none
    # to multiply by: that of linear's bias. (A tensor that is input and bias at once counts as an input.)
    _, only, pick = node.plan.steps[node.parents.index(parent)]
    return 0 if only is None and pick is None else each


# Bytes


def forward_bytes(primitive, values, attrs, out):
    """Bytes of the inputs and the result; 0 where the result is a view of an input, since nothing moves.

    An index reads what it picks: as much as the result, whatever the table's size. Options that are arrays,
    such as that index, are read too.
    """
    if any(is_view(out, x) for x in values):
        return 0
    read = size(out) if primitive is getitem.primitive else size(values)
    return read + size(out) + size(tuple(attrs.values()))


def backward_bytes(node, g, cotangent, *, first):
    """Bytes of a gradient, and once a node of the cotangent and of what the tape kept for it.

    0 where the cotangent is passed on as it is, or a view of it. The gradient of a table counts as a whole,
    since zeros are written too; that of what was added to a table is picked again.

    Args:
        g: the gradient that `node` passes on, given `cotangent`.
        first: it is the first of this node's that reads the cotangent.
    """
    if is_view(g, cotangent):
        return 0
    options = size(tuple((node.attrs or {}).values()))
    if getattr(node.plan, "primitive", None) is scatter_add.primitive:  # a checkpoint's plan has none
        return 2 * size(g) + options
    return size(g) + (size(cotangent) + size(node.kept) + options if first else 0)


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
