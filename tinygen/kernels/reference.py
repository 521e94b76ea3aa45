"""Kernels in plain array code: the truth that faster ones are tested against. Any array library.

Each forward that saves something returns (result, *saved); its backward takes the cotangent, the inputs and
what was saved, and returns a gradient for each differentiable input, not yet un-broadcast.
"""

import math
from typing import NamedTuple

from .. import arrays

KERNELS = (
    "matmul convolve convolve_image convolve_kernel "
    "moments normalise normalise_backward rms_norm rms_norm_backward "
    "softmax softmax_backward log_softmax log_softmax_backward "
    "cross_entropy cross_entropy_backward bernoulli_log_prob bernoulli_log_prob_backward "
    "attention attention_backward "
    "self_attention self_attention_backward scatter_add adam sums_of_squares"
).split()


def finite_max(x, axis):
    """The maximum over `axis`, kept, and 0 for an infinite or empty one: x - max is never inf - inf."""
    lib = arrays.of(x)
    if not x.size:
        return x.sum(axis=axis, keepdims=True)
    top = x.max(axis=axis, keepdims=True)
    return lib.where(lib.isinf(top), 0, top)


def matmul(x, y, bias=None):
    """x (..., M, K) @ y (..., K, N) + bias (N,) -> (..., M, N); a 1-D x is a row, a 1-D y a column."""
    out = arrays.of(x).matmul(x, y)
    return out if bias is None else out + bias


# Convolution


class Geometry(NamedTuple):
    """How a kernel moves over an image: pairs are (height, width)."""

    stride: tuple
    padding: tuple
    dilation: tuple
    groups: int


def _shifts(kernel_size, out_size, geometry):
    """For each element (i, j) of a kernel, the slices of the padded image that it meets."""
    (sh, sw), (dh, dw) = geometry.stride, geometry.dilation
    for i in range(kernel_size[0]):
        for j in range(kernel_size[1]):
            rows = slice(i * dh, i * dh + sh * (out_size[0] - 1) + 1, sh)
            columns = slice(j * dw, j * dw + sw * (out_size[1] - 1) + 1, sw)
            yield i, j, (..., rows, columns)


def _padded(x, geometry):
    (ph, pw) = geometry.padding
    return arrays.of(x).pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw))) if ph or pw else x


def _grouped(x, groups):
    """(B, C, H, W) as (B, groups, C / groups, H, W)."""
    return x.reshape(x.shape[0], groups, x.shape[1] // groups, *x.shape[2:])


def convolve(x, w, geometry):
    """x (B, C, H, W), w (D, C / groups, kh, kw) -> (B, D, H', W'): a matrix product a kernel element."""
    lib, groups = arrays.of(x), geometry.groups
    x = _padded(x, geometry)
    size = [
        (n - d * (k - 1) - 1) // s + 1
        for n, k, s, d in zip(x.shape[2:], w.shape[2:], geometry.stride, geometry.dilation)
    ]
    image, kernel = _grouped(x, groups), w.reshape(groups, w.shape[0] // groups, *w.shape[1:])
    out = lib.zeros((x.shape[0], groups, w.shape[0] // groups, *size), lib.result_type(x, w))
    for i, j, seen in _shifts(w.shape[2:], size, geometry):
        out += lib.einsum("bgchw,gdc->bgdhw", image[seen], kernel[..., i, j], optimize=True)
    return out.reshape(x.shape[0], w.shape[0], *size)


def convolve_image(g, w, geometry, shape):
    """The gradient of `convolve` at an image of `shape`: each result paints its kernel into the image."""
    lib, groups, (ph, pw) = arrays.of(g), geometry.groups, geometry.padding
    cotangent, kernel = _grouped(g, groups), w.reshape(groups, w.shape[0] // groups, *w.shape[1:])
    b, c, h, width = shape
    image = lib.zeros((b, groups, c // groups, h + 2 * ph, width + 2 * pw), lib.result_type(g, w))
    for i, j, seen in _shifts(w.shape[2:], g.shape[2:], geometry):
        image[seen] += lib.einsum("bgdhw,gdc->bgchw", cotangent, kernel[..., i, j], optimize=True)
    return image.reshape(b, c, *image.shape[3:])[:, :, ph : ph + h, pw : pw + width]


def convolve_kernel(x, g, geometry, shape):
    """The gradient of `convolve` at a kernel of `shape`: each element's pixels times the cotangent."""
    lib, groups = arrays.of(x), geometry.groups
    image, cotangent = _grouped(_padded(x, geometry), groups), _grouped(g, groups)
    kernel = lib.zeros((groups, shape[0] // groups, *shape[1:]), lib.result_type(x, g))
    for i, j, seen in _shifts(shape[2:], g.shape[2:], geometry):
        kernel[..., i, j] = lib.einsum("bgdhw,bgchw->gdc", cotangent, image[seen], optimize=True)
    return kernel.reshape(shape)


# Normalisation


def moments(x, axes):
    """The mean and the biased variance of x over `axes`."""
    return x.mean(axis=axes), x.var(axis=axes)


def normalise(x, weight, bias, axes, shape, eps):
    """y = (x - centre) scale weight + bias: centre = mean(x), scale = 1 / sqrt(var(x) + eps) over `axes`."""
    lib = arrays.of(x)
    centre = x.mean(axis=axes, keepdims=True)
    centred = x - centre
    scale = 1 / lib.sqrt((centred * centred).mean(axis=axes, keepdims=True) + eps)
    y = centred * scale
    y = y if weight is None else y * weight.reshape(shape)
    return (y if bias is None else y + bias.reshape(shape)), centre, scale


def normalise_backward(g, x, weight, bias, centre, scale, axes, shape):
    """With u = (x - centre) scale and h = g weight: dx = scale (h - mean(h) - u mean(h u))."""
    u = (x - centre) * scale
    h = g if weight is None else g * weight.reshape(shape)
    dx = scale * (h - h.mean(axis=axes, keepdims=True) - u * (h * u).mean(axis=axes, keepdims=True))
    over = _axes_of_size_one(shape, x.ndim)
    dweight = None if weight is None else (g * u).sum(axis=over).reshape(weight.shape)
    dbias = None if bias is None else g.sum(axis=over).reshape(bias.shape)
    return dx, dweight, dbias


def _axes_of_size_one(shape, ndim):
    """The axes of x over which a weight of `shape` (with one -1) is repeated."""
    return tuple(i for i, n in enumerate((1,) * (ndim - len(shape)) + shape) if n == 1)


def rms_norm(x, weight, eps):
    """y = x scale weight, with scale = 1 / sqrt(mean(x^2) + eps) over the last axis."""
    scale = 1 / arrays.of(x).sqrt((x * x).mean(axis=-1, keepdims=True) + eps)
    y = x * scale
    return (y if weight is None else y * weight), scale


def rms_norm_backward(g, x, weight, scale):
    """With u = x scale and h = g weight: dx = scale (h - u mean(h u))."""
    u = x * scale
    h = g if weight is None else g * weight
    dx = scale * (h - u * (h * u).mean(axis=-1, keepdims=True))
    return dx, None if weight is None else (g * u).sum(axis=tuple(range(x.ndim - 1)))


# Softmax


def softmax(x, axis):
    """exp(x) / sum exp(x) over `axis`, and 0 over nothing but -inf."""
    lib = arrays.of(x)
    e = lib.exp(x - finite_max(x, axis))
    total = e.sum(axis=axis, keepdims=True)
    return e / lib.where(total == 0, 1, total)


def softmax_backward(g, out, axis):
    """dx = y (g - sum(g y))."""
    return out * (g - (g * out).sum(axis=axis, keepdims=True))


def log_softmax(x, axis):
    """x - log sum exp(x) over `axis`."""
    lib = arrays.of(x)
    shifted = x - finite_max(x, axis)
    total = lib.exp(shifted).sum(axis=axis, keepdims=True)
    return shifted - lib.log(lib.where(total == 0, 1, total))


def log_softmax_backward(g, out, axis):
    """dx = g - exp(y) sum(g), and 0 where y is -inf: such an element takes no part."""
    lib = arrays.of(out)
    alive = out != -math.inf
    g = lib.where(alive, g, 0)
    return lib.where(alive, g - lib.exp(out) * g.sum(axis=axis, keepdims=True), 0)


# Losses


def cross_entropy(logits, targets, ignore_index, label_smoothing):
    """-(1 - e) log p_target - (e / C) sum log p for logits (..., C) and targets (...); saves log sum exp."""
    lib = arrays.of(logits)
    alive = targets != ignore_index
    top = finite_max(logits, -1)
    total = lib.exp(logits - top).sum(axis=-1, keepdims=True)
    log_total = lib.log(lib.where(total == 0, 1, total)) + top
    chosen = lib.take_along_axis(logits, lib.where(alive, targets, 0)[..., None], axis=-1)
    loss = (1 - label_smoothing) * (log_total - chosen)[..., 0]
    if label_smoothing:
        loss = loss + label_smoothing * (log_total[..., 0] - logits.mean(axis=-1))
    return lib.where(alive, loss, 0), log_total


def cross_entropy_backward(g, logits, targets, log_total, ignore_index, label_smoothing):
    """d loss / d logits = c - p sum(c), where c = -(1 - e) [class = target] - e / C is d loss / d log p.

    Mostly sum(c) = -1, so that this is c + p; a class of logit -inf takes no part. 0 for an ignored target.
    """
    lib = arrays.of(logits)
    alive = (targets != ignore_index)[..., None]
    classes = lib.arange(logits.shape[-1])
    hit = (classes == targets[..., None]).astype(logits.dtype)
    c = -(1 - label_smoothing) * hit - label_smoothing / logits.shape[-1]
    c = lib.where(logits == -math.inf, 0, c)
    d = c - lib.exp(logits - log_total) * c.sum(axis=-1, keepdims=True)
    return lib.where(alive, d * g[..., None], 0)


def bernoulli_log_prob(logits, x):
    """sum over the last axis of x log s(l) + (1 - x) log(1 - s(l)), finite at finite logits l.

    logits (..., D), x of its last axes: rows of x serve those of the logits in turn, again and again.
    """
    lib = arrays.of(logits, x)
    costs = lib.maximum(logits, 0) - logits * x + lib.log1p(lib.exp(-lib.abs(logits)))
    return -costs.sum(axis=-1)


def bernoulli_log_prob_backward(g, logits, x):
    """dl = g (x - s(l)), where s(l) = (1 + tanh(l / 2)) / 2."""
    lib = arrays.of(logits, x)
    return g[..., None] * (x - (0.5 + 0.5 * lib.tanh(0.5 * logits)))


# Attention


def may_see(q, k, mask, causal):
    """Which query may see which key, as booleans that broadcast to (..., T, S); None where all may see all.

    With `causal`, the last query is as late as the last key: T < S means that earlier keys were cached.
    """
    t, s = q.shape[-2], k.shape[-2]
    lib = arrays.of(q)
    earlier = lib.arange(s)[None, :] <= lib.arange(s - t, s)[:, None] if causal else None
    return earlier if mask is None else mask if earlier is None else mask & earlier


def _scores(q, k, mask, causal, scale):
    """q k^T scale + mask, with -inf where a key may not be seen: (..., T, S)."""
    lib = arrays.of(q)
    scores = lib.matmul(q, lib.swapaxes(k, -1, -2)) * scale
    if mask is not None and mask.dtype.kind == "f":
        scores, mask = scores + mask, None
    see = may_see(q, k, mask, causal)
    return scores if see is None else lib.where(see, scores, -math.inf)


def attention(q, k, v, mask, causal, scale):
    """softmax(q k^T scale + mask) v; saves the log-sum-exp of each row of scores, (..., T, 1)."""
    lib = arrays.of(q)
    scores = _scores(q, k, mask, causal, scale)
    top = finite_max(scores, -1)
    e = lib.exp(scores - top)
    total = e.sum(axis=-1, keepdims=True)
    out = lib.matmul(e / lib.where(total == 0, 1, total), v)
    return out, lib.where(total == 0, -math.inf, lib.log(lib.where(total == 0, 1, total)) + top)


def attention_backward(g, q, k, v, mask, out, log_total, causal, scale, mask_too=True):
    """With weights P and dS = P (g v^T - sum(g out)): dq = dS k scale, dk = dS^T q scale, dv = P^T g.

    Of numbers added to the scores the gradient is dS, computed if `mask_too`.
    """
    lib = arrays.of(q)
    scores = _scores(q, k, mask, causal, scale)
    p = lib.exp(scores - lib.where(log_total == -math.inf, 0, log_total))
    ds = p * (lib.matmul(g, lib.swapaxes(v, -1, -2)) - (g * out).sum(axis=-1, keepdims=True))
    dq, dk = lib.matmul(ds, k) * scale, lib.matmul(lib.swapaxes(ds, -1, -2), q) * scale
    return dq, dk, lib.matmul(lib.swapaxes(p, -1, -2), g), ds if mask_too else None


def in_heads(x, parts, heads):
    """x (B, T, parts H D) as `parts` views (B, H, T, D): queries, keys and values that lie side by side."""
    batch, tokens, width = x.shape
    apart = x.reshape(batch, tokens, parts, heads, width // (parts * heads))
    return [apart[:, :, i].swapaxes(1, 2) for i in range(parts)]


def side_by_side(*parts):
    """Arrays (B, H, T, D) as one, (B, T, parts H D)."""
    batch, heads, tokens, size = parts[0].shape
    each = [x.swapaxes(1, 2).reshape(batch, tokens, heads * size) for x in parts]
    return arrays.of(*each).concatenate(each, axis=-1)


def self_attention(qkv, mask, heads, causal, scale):
    """The attention of each head, of qkv (B, T, 3C), side by side: (B, T, C); saves what `attention` does."""
    out, log_total = attention(*in_heads(qkv, 3, heads), mask, causal, scale)
    return side_by_side(out), log_total


def self_attention_backward(g, qkv, mask, out, log_total, heads, causal, scale, mask_too=True):
    """The gradients of `attention`, those of q, k and v side by side, and that of the mask."""
    (g,), (out,) = in_heads(g, 1, heads), in_heads(out, 1, heads)
    kept = *in_heads(qkv, 3, heads), mask, out, log_total
    *parts, dmask = attention_backward(g, *kept, causal, scale, mask_too)
    return side_by_side(*parts), dmask


# Indexing


def scatter_add(x, index, shape):
    """Zeros of `shape` with x added at `index`; places that are picked twice get both."""
    lib = arrays.of(x)
    out = lib.zeros(shape, x.dtype)
    lib.add.at(out, index, x)
    return out


# Optimizers, over lists of arrays


def adam(xs, gs, ms, vs, keep, rates, corrections, betas, eps):
    """Move each x in place, with its moments m and v (Kingma & Ba 2015, algorithm 1).

    m <- b1 m + (1 - b1) g,  v <- b2 v + (1 - b2) g^2,  x <- keep x - rate m / (sqrt(v / correction) + eps)
    """
    b1, b2 = betas
    for x, g, m, v, rate, correction in zip(xs, gs, ms, vs, rates, corrections):
        m *= b1
        m += (1 - b1) * g
        v *= b2
        v += (1 - b2) * (g * g)
        x *= keep
        x -= rate * m / (arrays.of(v).sqrt(v / correction) + eps)


def sums_of_squares(xs):
    """For each x the sum of its squares, as a float: infinite where they overflow."""
    return [float((x * x).sum()) for x in xs]
