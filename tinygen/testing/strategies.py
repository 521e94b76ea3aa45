"""Hypothesis strategies: arrays in awkward memory layouts, and valid inputs for any operation, by its domain.

@given(strategies.arrays(shape=(3, None), low=0.1))          # None: a size from 0 to 4
@given(strategies.inputs(tg.matmul))                         # (tuple of arrays, attributes)
"""

import itertools

import numpy as np
from hypothesis import strategies as st

from ..autograd.domain import Case, Choice, Values

LAYOUTS = ("c", "fortran", "permuted", "strided", "reversed", "offset")
MARGIN = 0.02  # how far values stay from kinks, and from each other where they must be distinct


def relayout(array, layout):
    """An equal array that lies otherwise in memory. `layout` is one of LAYOUTS."""
    if layout not in LAYOUTS:
        raise ValueError(f"relayout: expected one of {', '.join(LAYOUTS)}, got {layout!r}")
    if layout == "c" or array.ndim == 0:
        return array.copy(order="C")
    if layout == "fortran":
        return np.asfortranarray(array).reshape(array.shape)
    if layout == "permuted":
        axes = np.roll(np.arange(array.ndim), 1)
        return np.ascontiguousarray(array.transpose(axes)).transpose(np.argsort(axes))
    if layout == "strided":
        wide = np.zeros(tuple(2 * n for n in array.shape), array.dtype)
        view = wide[tuple(slice(None, None, 2) for _ in array.shape)]
    elif layout == "reversed":
        view = np.empty_like(array, order="C")[tuple(slice(None, None, -1) for _ in array.shape)]
    else:
        view = np.zeros(array.size + 1, array.dtype)[1:].reshape(array.shape)
    view[...] = array
    return view


def frozen(array):
    """The array, made read-only: whoever writes to it raises."""
    array = np.asarray(array)
    array.flags.writeable = False
    return array


def sizes(low=0, high=4):
    return st.integers(low, high)


@st.composite
def shapes(draw, max_dims=3, low=0):
    """Shapes of up to `max_dims` axes: some 0-d, with low=0 some empty, most with several elements."""
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return ()
    shape = draw(st.lists(sizes(1, 4), min_size=1, max_size=max_dims))
    if kind == 1 and low == 0:
        shape[draw(st.integers(0, len(shape) - 1))] = 0
    elif max(shape) == 1:
        shape[-1] = 2
    return tuple(shape)


def generators():
    """np.random.Generators, from a drawn seed."""
    return st.integers(0, 2**32 - 1).map(np.random.default_rng)


@st.composite
def arrays(draw, shape=None, *, dtype=None, low=-2.0, high=2.0, avoid=(), distinct=False, layout="any"):
    """Read-only float arrays.

    Args:
        shape: a tuple, None for any size from 0 to 4; by default any shape, 0-d and empty ones too.
        dtype: np.float32 or np.float64; by default either.
        low, high: the range of the values.
        avoid: points to keep away from. distinct: no two values are near each other.
        layout: one of LAYOUTS, "broadcast" (values repeated by stride 0), or "any" of all these.
    """
    shape = draw(shapes()) if shape is None else tuple(draw(sizes()) if n is None else n for n in shape)
    dtype = draw(st.sampled_from((np.float32, np.float64))) if dtype is None else dtype
    layout = (
        draw(st.sampled_from(LAYOUTS + (() if distinct else ("broadcast",)))) if layout == "any" else layout
    )
    drawn = (*shape[:-1], 1) if layout == "broadcast" and shape else shape
    array = _real(draw(generators()), drawn, low, high, avoid, distinct).astype(dtype)
    if layout == "broadcast":
        return np.broadcast_to(array, shape)
    return frozen(relayout(array, layout))


def _real(rng, shape, low, high, avoid=(), distinct=False):
    """Numbers in [low, high] that keep MARGIN from `avoid`, and from each other when distinct."""
    size = int(np.prod(shape))
    if distinct:  # a shuffled ladder with a little noise on its rungs
        rungs = np.linspace(low, high, max(size, 2) * 2)
        gap = rungs[1] - rungs[0]
        values = rng.choice(rungs, size, replace=False) + rng.uniform(-0.2, 0.2, size) * gap
    else:
        values = rng.uniform(low, high, size)
    for point in avoid:
        near = np.abs(values - point) < MARGIN
        values = np.where(near, point + np.where(values >= point, 2, -2) * MARGIN, values)
    return values.reshape(shape)


# Inputs from a domain


@st.composite
def inputs(draw, operation, dtype=np.float64):
    """(arrays, attributes) for a call of `operation`, from its domain; without one, elementwise."""
    domain = operation.domains
    case = draw(st.sampled_from(domain.cases)) if domain.cases else Case(None, {}, {})
    if case.shapes is None:
        drawn, letters = draw(_broadcasting(len(domain.inputs))), {}
    else:
        drawn, letters = draw(_written(case.shapes))
    names = domain.inputs if len(domain.inputs) >= len(drawn) else domain.inputs * len(drawn)
    rng = draw(generators())
    together = [
        i for i, name in enumerate(names) if case.values.get(name, Values()).distinct and drawn[i] is not None
    ]
    made = [
        None if shape is None else _values(rng, shape, case.values.get(name, Values()), letters, dtype)
        for name, shape in zip(names, drawn)
    ]
    if len(together) > 1:  # distinct across inputs too: draw them as one
        values = case.values[names[together[0]]]
        pool = _real(
            rng, (sum(made[i].size for i in together),), values.low, values.high, values.avoid, True
        ).astype(dtype)
        for i, part in zip(together, np.split(pool, np.cumsum([made[i].size for i in together])[:-1])):
            made[i] = part.reshape(drawn[i])
    present = tuple(shape for shape in drawn if shape is not None)
    attrs = {name: draw(_choices(choice, present)) for name, choice in case.attrs.items()}
    return tuple(x if x is None else frozen(x) for x in made), attrs


def _values(rng, shape, values, letters, dtype):
    if values.kind == "bool":
        return np.asarray(rng.random(shape) < 0.6)
    if values.kind == "index":
        high = letters.get(values.high, values.high)
        low = -high if values.low == Values.low else letters.get(values.low, values.low)
        return np.asarray(rng.integers(low, high, shape))
    return np.asarray(_real(rng, shape, values.low, values.high, values.avoid, values.distinct).astype(dtype))


@st.composite
def _broadcasting(draw, count):
    """Shapes that broadcast together; one of them is what the result will have."""
    whole = draw(shapes())
    full = draw(st.integers(0, count - 1))
    found = []
    for i in range(count):
        cut = draw(st.integers(0, len(whole)))
        part = tuple(n if draw(st.booleans()) else 1 for n in whole[cut:])
        found.append(whole if i == full else part)
    return found


@st.composite
def _written(draw, text):
    """Shapes written as in domain.py, with the sizes that the letters got."""
    letters, batches, found = {}, {}, []
    for term in text.split(","):
        words = term.split()
        if words == ["-"]:
            found.append(None)
            continue
        shape = []
        for word in words:
            if word == "*":
                shape += draw(shapes(2))
            elif word.startswith("*"):
                shape += batches.setdefault(word, draw(shapes(2, low=1)))
            else:
                shape.append(int(word) if word.isdigit() else letters.setdefault(word, draw(sizes(1, 4))))
        found.append(tuple(shape))
    return found, letters


def _choices(choice, drawn):
    """A strategy for an attribute."""
    if callable(choice):
        choice = choice(drawn)
    if not isinstance(choice, Choice):
        return st.sampled_from(list(choice))
    ndim = len(drawn[0])
    single = [None] if choice.of != "some axis" else []
    single += list(range(-ndim, ndim))
    several = [axes for n in range(2, ndim + 1) for axes in itertools.combinations(range(ndim), n)]
    options = single + (several if choice.of == "axes" else [])
    return st.sampled_from(options)
