"""For the oracle's table: how inputs are drawn, and PyTorch's functions with our arguments and attributes."""

import math

import numpy as np
import torch

F = torch.nn.functional


# Inputs


def real(*shape, low=-2.0, high=2.0):
    return lambda rng: rng.uniform(low, high, shape)


def positive(*shape):
    return real(*shape, low=0.3, high=3.0)


def apart(*shape):
    """No two values near each other, none near 0: what max, abs and their like ask for."""
    size = math.prod(shape)
    return lambda rng: ((rng.permutation(size) + rng.uniform(0.3, 0.7, size)) * 4 / size - 2).reshape(shape)


def whole(high, *shape):
    """Integers in [0, high)."""
    return lambda rng: rng.integers(0, high, shape)


def flags(*shape):
    """Booleans with a True in each row."""
    return lambda rng: (rng.random(shape) < 0.5) | (np.arange(shape[-1]) == 1)


def given(*values):
    return lambda rng: np.array(values)


# Their functions under our attributes


def ordered(function):
    """A function that takes our attributes by position, in the order of the row."""
    return lambda *xs, **attributes: function(*xs, *attributes.values())


def reduced(function):
    """A reduction with our axes; None and a tuple mean the axes that they mean for us."""
    return lambda x, axis=None, keepdims=False, **more: function(x, _dims(axis, x), keepdim=keepdims, **more)


def _dims(axis, x):
    return tuple(range(x.ndim)) if axis is None else (axis,) if isinstance(axis, int) else axis


def one_axis(function):
    """A function over one axis, for an int, and for None or a tuple that mean all axes."""

    def over(x, axis=-1):
        return function(x, axis) if isinstance(axis, int) else function(x.reshape(-1), 0).reshape(x.shape)

    return over


def variance(root):
    function = torch.std if root else torch.var
    return reduced(lambda x, dims, keepdim, ddof=0: function(x, dims, correction=ddof, keepdim=keepdim))


def product(x, axis=None, keepdims=False):
    for dim in sorted((d % x.ndim for d in _dims(axis, x)), reverse=True):
        x = torch.prod(x, dim, keepdim=keepdims)
    return x


def vector_norm(x, dims, keepdim):
    return torch.linalg.vector_norm(x, 2, dims, keepdim)


def dropped(x, mask=None, p=0.5):
    return x.clone() if mask is None else x * mask / (1 - p)


def permuted(x, axes=None):
    return x.permute(tuple(range(x.ndim))[::-1] if axes is None else axes)


def squeezed(x, axis=None):
    return torch.squeeze(x) if axis is None else torch.squeeze(x, axis)


def joined(function):
    return lambda *xs, axis=0: function(xs, axis)


def parts(x, sections, axis=0):
    n = x.shape[axis]
    sections = n // sections if isinstance(sections, int) else np.diff([0, *sections, n]).tolist()
    return torch.split(x, sections, axis)


def tiled(x, reps):
    return torch.tile(x, (reps,) if isinstance(reps, int) else reps)


def padded(x, width, value=0.0):
    pairs = [(width, width)] * x.ndim if isinstance(width, int) else width
    return F.pad(x, [n for pair in pairs[::-1] for n in pair], value=value)


def flipped(x, axis=None):
    return torch.flip(x, _dims(axis, x))


def picked(x, index):
    """x[index]; they know no slice that runs backwards."""
    return x[[3, 2, 1]] if isinstance(index, slice) and index == slice(3, 0, -1) else x[index]


def scattered(x, index, shape):
    places = torch.arange(math.prod(shape)).reshape(shape)[index].reshape(-1)
    return torch.zeros(math.prod(shape), dtype=x.dtype).index_add(0, places, x.reshape(-1)).reshape(shape)


def taken(x, indices, axis=None):
    return torch.take(x, indices) if axis is None else x[(*[slice(None)] * (axis % x.ndim), indices)]


def index_added(x, index, y):
    return torch.index_add(x, 0, index, y)


def rows_of(weight, indices):
    return F.embedding(indices, weight)


def contracted(*xs, subscripts):
    return torch.einsum(subscripts, *xs)


def flat_outer(x, y):
    return torch.outer(x.reshape(-1), y.reshape(-1))


def correlated(x, w, geometry):
    return F.conv2d(x, w, **geometry._asdict())


def image_gradient(g, w, geometry, shape):
    return torch.nn.grad.conv2d_input(shape, w, g, **geometry._asdict())


def kernel_gradient(x, g, geometry, shape):
    return torch.nn.grad.conv2d_weight(x, shape, g, **geometry._asdict())


def pooled(function):
    return lambda x, size, stride=None: function(x, size, stride)


def resized(x, scale):
    return F.interpolate(x, scale_factor=scale)


def standardised(x, axes, eps):
    """(x - mean) / sqrt(var + eps), written out: their layer_norm is wrong from the third derivative on."""
    centred = x - x.mean(axes, keepdim=True)
    return centred / torch.sqrt((centred * centred).mean(axes, keepdim=True) + eps)


def normalised(x, weight, bias, axes, shape, eps):
    y = standardised(x, axes, eps)
    y = y if weight is None else y * weight.reshape(shape)
    return y if bias is None else y + bias.reshape(shape)


def layer_normalised(x, weight, bias, eps=1e-5):
    return F.layer_norm(x, x.shape[-1:], weight, bias, eps)


def batch_normalised(x, weight, bias, eps=1e-5):
    return F.batch_norm(x, None, None, weight, bias, True, eps=eps)


def group_normalised(x, weight, bias, groups, eps=1e-5):
    return F.group_norm(x, groups, weight, bias, eps)


def rms_normalised(x, weight, eps=1e-5):
    y = x / torch.sqrt((x * x).mean(-1, keepdim=True) + eps)
    return y if weight is None else y * weight


def softmax_attention(q, k, v, mask, causal=False, scale=None):
    """softmax(q k^T scale + mask) v, written out: their fused attention has no second derivative on CPU."""
    t, s = q.shape[-2], k.shape[-2]
    scores = q @ k.mT * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)
    if causal:
        scores = scores.masked_fill(~torch.ones(t, s, dtype=bool).tril(s - t), -math.inf)
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else scores + mask
    return torch.softmax(scores, -1) @ v


def self_attention(qkv, mask, heads, causal=False, scale=None):
    """Each head's softmax_attention, of queries, keys and values that lie side by side."""
    q, k, v = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in qkv.chunk(3, -1))
    return softmax_attention(q, k, v, mask, causal, scale).transpose(1, 2).flatten(2)


def class_loss(logits, targets, reduction="mean", **options):
    """Their cross_entropy, with the classes last."""
    loss = F.cross_entropy(logits.flatten(0, -2), targets.flatten(), reduction=reduction, **options)
    return loss.reshape(targets.shape) if reduction == "none" else loss


def loss_of_each(logits, targets, **options):
    return class_loss(logits, targets, "none", **options)


def bit_loss(logits, targets):
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="none")


def log_prob_of_bits(logits, x):
    return -bit_loss(logits, x.expand(logits.shape)).sum(-1)
