"""Reductions and scans. `axis`: None (all), an int or a tuple; `keepdims` leaves reduced axes as 1."""

import math

from ... import arrays, kernels
from ...kernels import accelerated
from ...kernels.reference import finite_max
from ..domain import AXES, SOME_AXIS, Values
from ..engine import Tensor, wrap
from ..primitive import composite, primitive
from .arithmetic import absorbing_product, exp, guarded_quotient, raw, sqrt, square, where
from .shapes import axes_of, broadcast_to, concatenate, flip, moveaxis, place, reshape

BOTH = (False, True)


def unreduced(x, shape, axis):
    """A reduced x with its reduced axes back, of size 1, so that it broadcasts against `shape`."""
    axes = axes_of(axis, len(shape))
    return reshape(x, tuple(1 if i in axes else n for i, n in enumerate(shape)))


def count(shape, axis):
    """How many elements are reduced into one."""
    return math.prod(shape[a] for a in axes_of(axis, len(shape)))


@primitive
def sum(x, /, axis=None, keepdims=False):
    """The sum over `axis`."""
    return x.sum(axis=axis, keepdims=keepdims)


sum.rules(x=lambda g, x_shape, axis: broadcast_to(unreduced(g, x_shape, axis), x_shape))
sum.domain(axis=AXES, keepdims=BOTH)


@primitive
def mean(x, /, axis=None, keepdims=False):
    """The mean over `axis`."""
    return x.mean(axis=axis, keepdims=keepdims)


def _mean_x(g, x_shape, axis):
    n = count(x_shape, axis) or 1  # of an empty x there is nothing to share out
    return broadcast_to(unreduced(g * (1 / n), x_shape, axis), x_shape)


mean.rules(x=_mean_x)
mean.domain("n m", axis=AXES, keepdims=BOTH)
mean.domain("n m k", axis=AXES, keepdims=BOTH)


@composite
def var(x, /, axis=None, ddof=0, keepdims=False):
    """The variance over `axis`: squared distances from the mean, summed and divided by (count - ddof)."""
    n = count(x.shape, axis)
    if n - ddof <= 0:
        raise ValueError(
            f"var: {n} elements leave {n - ddof} degrees of freedom with ddof={ddof}; reduce more of them"
        )
    return sum(square(x - mean(x, axis, True)), axis, keepdims) * (1 / (n - ddof))


var.domain("n m", axis=AXES, keepdims=BOTH)
var.domain("3 4", axis=AXES, ddof=(1,))


@composite
def std(x, /, axis=None, ddof=0, keepdims=False):
    """The standard deviation over `axis`; where it is 0, its gradient is 0."""
    return sqrt(var(x, axis, ddof, keepdims))


std.domain("3 4", x=Values(distinct=True), axis=AXES, keepdims=BOTH, ddof=(0, 1))


@primitive
def norm(x, /, axis=None, keepdims=False):
    """The Euclidean norm sqrt(sum(x**2)) over `axis`; where it is 0, its gradient is 0."""
    return arrays.of(x).sqrt((x * x).sum(axis=axis, keepdims=keepdims))


def _norm_x(g, x, out, axis):
    return absorbing_product(x, unreduced(guarded_quotient(g, out), x.shape, axis))


norm.rules(x=_norm_x)
norm.domain("n m", x=Values(0.3, 2.0), axis=AXES, keepdims=BOTH)


@accelerated
def share_of_ties(g, x, out, axis):
    """The gradient of max and min: g where x equals the result, shared equally among the ties."""
    # Counted in the dtype of x: of booleans NumPy counts in int64, which takes five times as long.
    chosen = (raw(x) == unreduced(raw(out), x.shape, axis)).astype(x.dtype)
    return unreduced(g, x.shape, axis) / chosen.sum(axis=axes_of(axis, x.ndim), keepdims=True) * chosen


@primitive
def max(x, /, axis=None, keepdims=False):
    """The maximum over `axis`; ties share the gradient equally."""
    return x.max(axis=axis, keepdims=keepdims)


max.rules(x=share_of_ties)
max.domain("n m", x=Values(distinct=True), axis=AXES, keepdims=BOTH)


@primitive
def min(x, /, axis=None, keepdims=False):
    """The minimum over `axis`; ties share the gradient equally."""
    return x.min(axis=axis, keepdims=keepdims)


min.rules(x=share_of_ties)
min.domain("n m", x=Values(distinct=True), axis=AXES, keepdims=BOTH)


@primitive
def logsumexp(x, /, axis=None, keepdims=False):
    """log(sum(exp(x))) over `axis`, without overflow; of nothing but -inf it is -inf, with gradient 0."""
    lib = arrays.of(x)
    top = finite_max(x, axis)
    total = lib.exp(x - top).sum(axis=axis, keepdims=True)
    out = lib.where(total == 0, -math.inf, lib.log(lib.where(total == 0, 1, total)) + top)
    return out if keepdims else lib.squeeze(out, axes_of(axis, x.ndim))


logsumexp.rules(x=lambda g, x, axis: unreduced(g, x.shape, axis) * softmax(x, axis))
logsumexp.domain("n m", axis=AXES, keepdims=BOTH)


@primitive
def softmax(x, /, axis=-1):
    """exp(x) / sum(exp(x)) over `axis`; over nothing but -inf it is 0, with gradient 0."""
    return kernels.softmax(x, axis)


def _softmax_x(g, out, axis):
    if not isinstance(g, Tensor):
        return kernels.softmax_backward(g, out, axis)
    return out * (g - sum(g * out, axis, True))


softmax.rules(x=_softmax_x)
softmax.domain("n m", axis=(-1, 0, None, (0, 1)))
softmax.domain("n m k", axis=(1, -1))


@primitive
def log_softmax(x, /, axis=-1):
    """log(softmax(x)) over `axis`, without overflow; where softmax is 0 it is -inf, with gradient 0."""
    return kernels.log_softmax(x, axis)


def _log_softmax_x(g, out, axis):
    if not isinstance(g, Tensor):
        return kernels.log_softmax_backward(g, out, axis)
    alive = raw(out) != -math.inf
    g = where(alive, g, 0.0)
    return where(alive, g - exp(out) * sum(g, axis, True), 0.0)


log_softmax.rules(x=_log_softmax_x)
log_softmax.domain("n m", axis=(-1, 0, None, (0, 1)))
log_softmax.domain("n m k", axis=(1, -1))


@primitive
def cumsum(x, /, axis):
    """Running sums along `axis`."""
    return x.cumsum(axis=place(axis, x.ndim))


cumsum.rules(x=lambda g, axis: flip(cumsum(flip(g, axis), axis), axis))
cumsum.domain("n m k", axis=SOME_AXIS)


# Products, exact with zeros at every order
#
# Dividing the product by each factor fails at zeros. The derivative of a product is the product of the
# others: once by scans from both sides (the fast rule), and for higher orders by differentiating a tree of
# pairwise multiplications.


def _prod_reference(x, /, axis=None, keepdims=False):
    """The product as a tree: halves multiplied together until one element is left."""
    shape = x.shape
    axes = axes_of(axis, len(shape))
    order = (*axes, *(i for i in range(len(shape)) if i not in axes))
    out = reshape(x.transpose(order), (count(shape, axis), *(shape[i] for i in order[len(axes) :])))
    if out.shape[0] == 0:
        out = sum(out, 0, True) + 1
    while (n := out.shape[0]) > 1:
        pairs = out[: n // 2] * out[n // 2 : n // 2 * 2]
        out = concatenate([pairs, out[n - 1 :]]) if n % 2 else pairs
    out = unreduced(out, shape, axis)
    return out if keepdims else reshape(out, tuple(n for i, n in enumerate(shape) if i not in axes))


@primitive(reference=_prod_reference)
def prod(x, /, axis=None, keepdims=False):
    """The product over `axis`; exact gradients with zeros among the factors."""
    return x.prod(axis=axis, keepdims=keepdims)


def _prod_x(g, x, axis):
    lib, axes = arrays.of(x), axes_of(axis, x.ndim)
    front = lib.moveaxis(x, axes, range(len(axes)))
    flat = front.reshape(count(x.shape, axis), *front.shape[len(axes) :])
    ones = lib.ones_like(flat[:1])
    before = lib.concatenate([ones, flat[:-1]]).cumprod(axis=0)
    after = lib.concatenate([ones, flat[:0:-1]]).cumprod(axis=0)[::-1] if len(flat) else before[:0]
    others = (before[: len(flat)] * after).reshape(front.shape)
    return unreduced(g, x.shape, axis) * lib.moveaxis(others, range(len(axes)), axes)


prod.rules(x=_prod_x)
prod.domain("n m", axis=AXES, keepdims=BOTH)
prod.domain("2 3 2", axis=AXES)


def _cumprod_reference(x, /, axis):
    """Running products by doubling: after k rounds each element is the product of up to 2^k before it."""
    out, step = moveaxis(x, axis, 0), 1
    while step < out.shape[0]:
        out = concatenate([out[:step], out[step:] * out[:-step]])
        step *= 2
    return moveaxis(out, 0, axis)


@primitive(reference=_cumprod_reference)
def cumprod(x, /, axis):
    """Running products along `axis`; exact gradients with zeros among the factors."""
    return x.cumprod(axis=place(axis, x.ndim))


def _cumprod_x(g, x, axis):
    """dx_i = (product before i) s_i, with s_i = g_i + x_{i+1} s_{i+1} from the end."""
    lib = arrays.of(x)
    x, g = lib.moveaxis(x, axis, 0), lib.moveaxis(g, axis, 0)
    s = lib.array(g)
    for i in range(len(x) - 2, -1, -1):
        s[i] += x[i + 1] * s[i + 1]
    before = lib.concatenate([lib.ones_like(x[:1]), x[:-1]]).cumprod(axis=0)[: len(x)]
    return lib.moveaxis(before * s, 0, axis)


cumprod.rules(x=_cumprod_x)
cumprod.domain("n m", axis=SOME_AXIS)
cumprod.domain("5", axis=(0,))


def argmax(x, axis=None):
    """Where the maximum is, as integers: a Tensor for a Tensor. Not differentiable."""
    where_max = arrays.as_array(raw(x).argmax(axis=axis))
    return wrap(where_max) if isinstance(x, Tensor) else where_max


def argmin(x, axis=None):
    """Where the minimum is, as integers: a Tensor for a Tensor. Not differentiable."""
    where_min = arrays.as_array(raw(x).argmin(axis=axis))
    return wrap(where_min) if isinstance(x, Tensor) else where_min
