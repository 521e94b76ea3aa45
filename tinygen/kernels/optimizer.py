"""Adam over all parameters in one launch, and the squares of all gradients, for their norm, in another.

    m <- b1 m + (1 - b1) g      v <- b2 v + (1 - b2) g^2      x <- keep x - rate m / (sqrt(v / c) + eps)

Written as array code, each line is several passes, and each pass fetches and stores what it touches. The
arithmetic is nothing beside that: 28 bytes must move for a float32 parameter (read x, g, m, v; write x, m,
v), and when there are millions they come from memory. So everything is done to an element while it is in a
register, and in place: a new array for x would be 32 bytes, for a store first fetches the line that it
overwrites, and a page fault for each 4 KB of it.

A model is a hundred arrays, most of them small. A launch for each would cost more than its work, so there is
one: the kernel gets pointers to all of them, and a list of tasks, each a piece of one array. The pieces
depend on the sizes of the arrays alone, and so do the bits of the result.
"""

import ctypes
import functools
from types import SimpleNamespace

import numpy as np
from numba import carray, config, types
from numba.extending import intrinsic

from . import reference
from .compiled import Integers, Reads, Scalar, Writes, inner, kernel, prange

PIECE = 16_384  # elements of a task: 10 us of Adam


def adam(xs, gs, ms, vs, keep, rates, corrections, betas, eps):
    """As in reference.py, which also gets what is not plain and contiguous."""
    b1, b2 = betas
    groups, others = _groups(xs, gs, ms, vs)
    for dtype, places, arrays, tasks in groups:
        scalars = np.array([[rates[i] for i in places], [1 / corrections[i] for i in places]], dtype)
        constants = [dtype.type(value) for value in (keep, b1, 1 - b1, b2, 1 - b2, eps)]
        _adam(scalars, arrays, tasks, *constants, work=20 * PIECE * len(tasks))
    if others:
        lists = [[each[i] for i in others] for each in (xs, gs, ms, vs, rates, corrections)]
        reference.adam(*lists[:4], keep, *lists[4:], betas, eps)


@kernel
def _adam(
    scalars: Reads[2],
    arrays: Integers[2],
    tasks: Integers[2],
    keep: Scalar,
    b1: Scalar,
    new1: Scalar,  # 1 - b1, which has lost digits when it is computed in float32
    b2: Scalar,
    new2: Scalar,
    eps: Scalar,
):
    for t in prange(len(tasks)):
        i, start, n = tasks[t, 0], tasks[t, 1], tasks[t, 2]
        x = elements(arrays[0, i], start, n, scalars)
        g = elements(arrays[1, i], start, n, scalars)
        m = elements(arrays[2, i], start, n, scalars)
        v = elements(arrays[3, i], start, n, scalars)
        move(x, g, m, v, scalars[0, i], scalars[1, i], keep, b1, new1, b2, new2, eps)


@inner
def move(x, g, m, v, rate, correction, keep, b1, new1, b2, new2, eps):
    for j in range(len(x)):
        m_j = b1 * m[j] + new1 * g[j]
        v_j = b2 * v[j] + new2 * (g[j] * g[j])
        m[j] = m_j
        v[j] = v_j
        x[j] = keep * x[j] - rate * m_j / (np.sqrt(v_j * correction) + eps)


def sums_of_squares(xs):
    """As in reference.py, which also gets what is not plain and contiguous; added up in float64."""
    sums = [0.0] * len(xs)
    groups, others = _groups(xs)
    for dtype, places, arrays, tasks in groups:
        partial = np.empty(len(tasks), dtype)
        _squares(arrays, tasks, partial, work=2 * PIECE * len(tasks))
        found = np.bincount(tasks[:, 0], partial, len(places))  # adds in the order of the tasks
        for i, total in zip(places, found.tolist()):
            sums[i] = total
    for i in others:
        sums[i] = reference.sums_of_squares([xs[i]])[0]
    return sums


@kernel
def _squares(arrays: Integers[2], tasks: Integers[2], partial: Writes[1]):
    for t in prange(len(tasks)):
        partial[t] = squares(elements(arrays[0, tasks[t, 0]], tasks[t, 1], tasks[t, 2], partial))


@inner
def squares(x):
    total = 0.0
    for j in range(len(x)):
        total += np.float64(x[j]) * np.float64(x[j])
    return total


# Lists of arrays


def _groups(*lists):
    """What kernels may take of lists of arrays, by dtype, and the places that are left.

    Each group is (dtype, places in the lists, arrays as integers (len(lists), n), tasks).
    """
    ndarray, single, double = np.ndarray, np.dtype(np.float32), np.dtype(np.float64)
    places, others = {single: [], double: []}, []
    for i, group in enumerate(zip(*lists)):
        dtype = group[0].dtype
        for x in group:
            if type(x) is not ndarray or x.dtype != dtype or not x.flags.carray:
                others.append(i)
                break
        else:
            (places[single] if dtype == single else places[double] if dtype == double else others).append(i)
    return [
        (
            dtype,
            mine,
            np.array([[id(each[i]) for i in mine] for each in lists]),
            _tasks(tuple([lists[0][i].size for i in mine])),
        )
        for dtype, mine in places.items()
        if mine
    ], others


@functools.lru_cache(maxsize=16)
def _tasks(sizes):
    """(which array, first element, number of elements) for each piece of arrays of these sizes."""
    pieces = [(i, j, min(PIECE, size - j)) for i, size in enumerate(sizes) for j in range(0, size, PIECE)]
    return np.array(pieces, np.int64).reshape(-1, 3)


# An array as an integer: Python's id of an object is its address, and there NumPy's arrays have Python's own
# head and then the address of their elements, in a struct that all extensions are compiled against. To ask
# NumPy takes 1.3 us an array (`x.ctypes.data`), and 100 parameters have 400 arrays.
HEAD = object.__basicsize__


@intrinsic
def _data(typing, array, start, like):
    def generate(context, build, signature, arguments):
        pointer = context.get_value_type(signature.return_type)
        field = build.inttoptr(build.add(arguments[0], arguments[0].type(HEAD)), pointer.as_pointer())
        return build.gep(build.load(field), [arguments[1]])

    return types.CPointer(like.dtype)(array, start, like), generate


@inner
def _elements(array, start, n, like):
    return carray(_data(array, start, like), (n,))


def elements_in_numpy(array, start, n, like):
    """Of an array given as an integer, and of the dtype of `like`, `n` elements from the `start`-th."""
    address = ctypes.c_void_p.from_address(int(array) + HEAD).value + int(start) * like.itemsize
    interface = {"version": 3, "data": (address, False), "shape": (int(n),), "typestr": like.dtype.str}
    return np.asarray(SimpleNamespace(__array_interface__=interface))


elements = elements_in_numpy if config.DISABLE_JIT else _elements
