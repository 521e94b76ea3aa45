"""Reshape, transpose, join, cut, repeat: elements move, nothing is computed, and every rule is a move."""

import math
import operator

from ... import arrays
from ..primitive import composite, primitive


def place(axis, ndim):
    """An axis counted from the front.

    Raises:
        TypeError: no integer. ValueError: there is no such axis.
    """
    if axis is None:
        raise TypeError("expected an axis, got None; flatten first to take all elements")
    axis = operator.index(axis)
    if not -ndim <= axis < ndim:
        raise ValueError(f"axis {axis} is out of range for {ndim} dimensions; use {-ndim} to {ndim - 1}")
    return axis % ndim


def axes_of(axis, ndim):
    """`axis` (None: all, an integer, or several) as a tuple of axes counted from the front."""
    if axis is None:
        return tuple(range(ndim))
    return tuple(place(a, ndim) for a in (axis if isinstance(axis, (tuple, list)) else (axis,)))


@primitive
def reshape(x, /, shape):
    """x with another shape of as many elements; one size may be -1."""
    return x.reshape(shape)


reshape.rules(x=lambda g, x_shape: reshape(g, x_shape))
reshape.domain(shape=lambda shapes: [(-1,) if 0 not in shapes[0] else (0,), shapes[0][::-1], (1, *shapes[0])])


@primitive
def transpose(x, /, axes=None):
    """x with its axes in another order; reversed by default."""
    return x.transpose(axes)


def _transpose_x(g, axes):
    if axes is None:
        return transpose(g)
    back = [0] * len(axes)
    for new, old in enumerate(axes):
        back[old] = new
    return transpose(g, tuple(back))


transpose.rules(x=_transpose_x)
transpose.domain()
transpose.domain("n m k", axes=(None, (1, 2, 0), (2, 0, -2)))


@composite
def swapaxes(x, /, axis1, axis2):
    """x with two axes exchanged."""
    order = list(range(x.ndim))
    axis1, axis2 = place(axis1, x.ndim), place(axis2, x.ndim)
    order[axis1], order[axis2] = axis2, axis1
    return transpose(x, tuple(order))


swapaxes.domain("n m k", axis1=(0, -1), axis2=(1, -2))


@composite
def moveaxis(x, /, source, destination):
    """x with one axis moved to another place."""
    source, destination = place(source, x.ndim), place(destination, x.ndim)
    order = [i for i in range(x.ndim) if i != source]
    order.insert(destination, source)
    return transpose(x, tuple(order))


moveaxis.domain("n m k", source=(0, 1, -1), destination=(0, 2, -2))


@composite
def expand_dims(x, /, axis):
    """x with an axis of size 1 inserted at `axis`."""
    shape = list(x.shape)
    shape.insert(place(axis, x.ndim + 1), 1)
    return reshape(x, tuple(shape))


expand_dims.domain("n m", axis=(0, 1, 2, -1, -3))


@composite
def squeeze(x, /, axis=None):
    """x without its axes of size 1, or without the given one(s).

    Raises:
        ValueError: a given axis has another size.
    """
    chosen = axes_of(axis, x.ndim)
    for a in chosen:
        if x.shape[a] != 1 and axis is not None:
            raise ValueError(
                f"squeeze: axis {a} of shape {x.shape} has size {x.shape[a]}; only size 1 can go"
            )
    return reshape(x, tuple(n for i, n in enumerate(x.shape) if i not in chosen or n != 1))


squeeze.domain("1 n 1", axis=(None, 0, -1, (0, 2)))


@primitive
def broadcast_to(x, /, shape):
    """x stretched to `shape`: a read-only view. The engine sums the gradient back."""
    return arrays.of(x).broadcast_to(x, shape)


broadcast_to.rules(x=lambda g: g)
broadcast_to.domain(shape=lambda shapes: [shapes[0], (2, *shapes[0])])
broadcast_to.domain("n 1", shape=lambda shapes: [(shapes[0][0], 3), (2, shapes[0][0], 2)])


@primitive
def concatenate(*xs, axis=0):
    """Arrays joined along an axis: `concatenate([x, y], axis=0)`."""
    return arrays.of(*xs).concatenate(xs, axis=place(axis, xs[0].ndim))


def _concatenate_x(g, i, xs_shape, axis):
    start = sum(shape[axis] for shape in xs_shape[:i])
    index = [slice(None)] * len(xs_shape[i])
    index[axis] = slice(start, start + xs_shape[i][axis])
    return g[tuple(index)]


concatenate.rules(xs=_concatenate_x)
concatenate.domain("n m, n m", axis=(0, 1, -1))
concatenate.domain("n 2, n 3, n 1", axis=(1, -1))


@composite
def stack(*xs, axis=0):
    """Arrays of one shape joined along a new axis: `stack([x, y], axis=0)`."""
    xs = xs[0] if len(xs) == 1 and isinstance(xs[0], (list, tuple)) else xs
    shapes = {x.shape for x in xs}
    if len(shapes) != 1:
        raise ValueError(f"stack: expected arrays of one shape, got {', '.join(map(str, shapes)) or 'none'}")
    return concatenate([expand_dims(x, axis) for x in xs], axis=axis)


stack.domain("n m, n m", axis=(0, 1, -1))


@composite
def split(x, /, sections, axis=0):
    """A list of parts of x along `axis`: `sections` equal ones, or cut at a list of places.

    Raises:
        ValueError: `sections` does not divide the axis.
    """
    axis = place(axis, x.ndim)
    n = x.shape[axis]
    if isinstance(sections, int):
        if sections < 1 or n % sections:
            raise ValueError(
                f"split: {sections} equal parts of size {n} do not exist; pass a list of places instead"
            )
        sections = [n // sections * k for k in range(1, sections)]
    ahead = (slice(None),) * axis
    return [x[(*ahead, slice(start, stop))] for start, stop in zip([0, *sections], [*sections, n])]


split.domain("4 n", sections=(2, 4, (1, 3)), axis=(0,))
split.domain("n 3", sections=((1,), 3), axis=(1, -1))


@composite
def repeat(x, /, repeats, axis=None):
    """Each element `repeats` times in a row along `axis`; of the flattened x when it is None."""
    if axis is None:
        x, axis = reshape(x, (-1,)), 0
    axis, shape = place(axis, x.ndim), x.shape
    wide = broadcast_to(expand_dims(x, axis + 1), (*shape[: axis + 1], repeats, *shape[axis + 1 :]))
    return reshape(wide, (*shape[:axis], shape[axis] * repeats, *shape[axis + 1 :]))


repeat.domain("n m", repeats=(1, 3), axis=(None, 0, 1, -1))


@composite
def tile(x, /, reps):
    """x laid side by side `reps` times along each axis (an int: the last)."""
    reps = (reps,) if isinstance(reps, int) else tuple(reps)
    ndim = max(x.ndim, len(reps))
    shape, reps = (1,) * (ndim - x.ndim) + tuple(x.shape), (1,) * (ndim - len(reps)) + reps
    between = tuple(size for n in shape for size in (1, n))
    stretched = tuple(size for pair in zip(reps, shape) for size in pair)
    return reshape(broadcast_to(reshape(x, between), stretched), tuple(r * n for r, n in zip(reps, shape)))


tile.domain("n m", reps=(2, (2, 1), (2, 1, 3)))


def _pairs(width, ndim):
    """A width as NumPy takes it (an int, a pair, several pairs) as one (before, after) pair for each axis."""
    if isinstance(width, int):
        width = (width, width)
    if all(isinstance(n, int) for n in width):
        width = (width,)
    pairs = tuple(width) * ndim if len(width) == 1 else tuple(width)
    if len(pairs) != ndim or any(len(pair) != 2 or min(pair) < 0 for pair in pairs):
        raise ValueError(f"expected an int, or one (before, after) pair for each of {ndim} axes, got {width}")
    return pairs


@primitive
def pad(x, /, width, value=0.0):
    """x with `value` around it.

    Args:
        width: how much: an int for everywhere, a pair (before, after) for every axis, or one pair an axis.
    """
    return arrays.of(x).pad(x, _pairs(width, x.ndim), constant_values=value)


def _pad_x(g, x_shape, width):
    pairs = _pairs(width, len(x_shape))
    return g[tuple(slice(before, before + n) for (before, _), n in zip(pairs, x_shape))]


pad.rules(x=_pad_x)
pad.domain("n m", width=(1, (0, 2), ((0, 2), (1, 0))), value=(0.0, 1.5))


@composite
def flip(x, /, axis=None):
    """x reversed along `axis` (an int, a tuple, or None for all)."""
    axes = axes_of(axis, x.ndim)
    return x[tuple(slice(None, None, -1 if i in axes else None) for i in range(x.ndim))]


flip.domain("n m", axis=(None, 0, -1, (0, 1)))


@composite
def roll(x, /, shift, axis=None):
    """x with its elements moved `shift` places along `axis`, around the end; None: as if flattened."""
    if axis is None:
        return reshape(roll(reshape(x, (-1,)), shift, 0), x.shape)
    axis = place(axis, x.ndim)
    n = x.shape[axis]
    cut = (-shift) % n if n else 0
    ahead = (slice(None),) * axis
    return concatenate([x[(*ahead, slice(cut, None))], x[(*ahead, slice(0, cut))]], axis=axis)


roll.domain("n m", shift=(1, -1, 5), axis=(None, 0, -1))


@primitive
def tril(x, /, k=0):
    """x with zeros above the k-th diagonal of its last two axes."""
    return arrays.of(x).tril(x, k)


tril.rules(x=lambda g, k: tril(g, k))
tril.domain("*B n m", k=(0, 1, -1))


@primitive
def triu(x, /, k=0):
    """x with zeros below the k-th diagonal of its last two axes."""
    return arrays.of(x).triu(x, k)


triu.rules(x=lambda g, k: triu(g, k))
triu.domain("*B n m", k=(0, 1, -1))


@composite
def flatten(x, /, start=0):
    """x with all axes from `start` on made one."""
    start = place(start, x.ndim) if start else 0
    return reshape(x, (*x.shape[:start], math.prod(x.shape[start:])))


flatten.domain("n m k", start=(0, 1))
