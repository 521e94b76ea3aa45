"""The part of attention between its products: a softmax down the columns of a block of scores.

    highest         top = max(top, s)                        over the rows of a block
    exponentials    s = exp(s - top), total += s
    differentials   p = exp(p - top), d = p (d - delta)      for the backward pass

Scores lie transposed, a row for each key and a query in each column, so that nothing crosses the lanes of a
vector. A block is as wide as the tile, its rows `ld` apart; top, total and delta have a number for each
column, and live in registers while the rows go by. This is written in vectors, as the tile is: plain loops
over the same memory stay scalar, for the compiler cannot know that top and s are apart. In elements a ns, on
one core of an EPYC of Zen 3: highest 10, exponentials 4, where the loops did 1 and 0.9.

exp is the `decay` of vector_math: what is below the normal numbers is 0, which it need not be for s = top.
"""

import math

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.extending import intrinsic

from .compiled import inner
from .tile import VECTORS, columns_in_numpy, lanes_of, memory, scalar_of
from .vector_math import LN2_HIGH, LN2_LOW

__all__ = ["differentials", "exponentials", "highest"]

_INTEGER = ir.IntType(64)
_FUSED = ("contract", "nsz")
# Bytes of a number -> bits of its fraction, bias of its exponent, the lowest argument, terms of the series
_FORMAT = {4: (23, 127, -87.0, 8), 8: (52, 1023, -708.0, 14)}


def _exp(build, x):
    """exp(x) of a vector, for x <= 0, or hardly more."""
    size = 4 if x.type.element == ir.FloatType() else 8
    fraction, bias, lowest, terms = _FORMAT[size]
    vector, bits = x.type, ir.VectorType(ir.IntType(8 * size), x.type.count)

    def every(value, kind=vector):
        return ir.Constant(kind, [kind.element(value)] * kind.count)

    def fused(a, b, c):
        return build.fadd(build.fmul(a, b, flags=_FUSED), c, flags=_FUSED)

    rounder = every(1.5 * 2.0**fraction)  # added, it leaves an integer n in the last bits
    shifted = fused(x, every(1 / math.log(2)), rounder)
    n = build.fsub(shifted, rounder)
    r = fused(n, every(-LN2_LOW), fused(n, every(-LN2_HIGH), x))
    series = every(1 / math.factorial(terms - 1))
    for k in reversed(range(terms - 1)):
        series = fused(series, r, every(1 / math.factorial(k)))
    power = build.shl(build.add(build.bitcast(shifted, bits), every(bias, bits)), every(fraction, bits))
    result = build.fmul(series, build.bitcast(power, vector))
    return build.select(build.fcmp_ordered("<", x, every(lowest)), every(0.0), result)


def _down_the_rows(step):
    """An intrinsic (x, y, ld, rows, a, b): `step` for each row of the blocks x and y, which it may replace.

    step(build, row of x, row of y, a, b) -> (new row of x, new row of y, new a, new b); a row None stays.
    """

    def generate(context, build, signature, arguments):
        x, y, ld, rows, a, b = arguments
        dtype = signature.args[0].dtype
        size, lanes = dtype.bitwidth // 8, lanes_of(dtype)
        vector = ir.VectorType(scalar_of(dtype), lanes)

        def place(base, j):
            return build.bitcast(build.gep(base, [_INTEGER(j * lanes)]), vector.as_pointer())

        for j in range(VECTORS):  # one after the other: all at once would need more registers than there are
            before, loop, done = build.block, *map(build.append_basic_block, ("rows", "rows_done"))
            initial = [build.load(place(pointer, j), align=size) for pointer in (a, b)]
            build.cbranch(build.icmp_signed(">", rows, _INTEGER(0)), loop, done)

            build.position_at_end(loop)
            t, *carried = build.phi(_INTEGER), build.phi(vector), build.phi(vector)
            here = [place(build.gep(block, [build.mul(t, ld)]), j) for block in (x, y)]
            *changed, new_a, new_b = step(build, *[build.load(row, align=size) for row in here], *carried)
            for value, row in zip(changed, here):
                if value is not None:
                    build.store(value, row, align=size)
            following = build.add(t, _INTEGER(1))
            for phi, first, last in zip([t, *carried], [_INTEGER(0), *initial], [following, new_a, new_b]):
                phi.add_incoming(first, before)
                phi.add_incoming(last, loop)
            build.cbranch(build.icmp_signed("<", following, rows), loop, done)

            build.position_at_end(done)
            results = [build.phi(vector) for _ in carried]
            for result, first, last in zip(results, initial, (new_a, new_b)):
                result.add_incoming(first, before)
                result.add_incoming(last, loop)
            for pointer, result in zip((a, b), results):
                build.store(result, place(pointer, j), align=size)
        return context.get_dummy_value()

    @intrinsic
    def rows_of(typing, x, y, ld, rows, a, b):
        return types.void(x, y, types.int64, types.int64, a, b), generate

    return rows_of


def _highest(build, s, _, top, same):
    top = build.select(build.fcmp_ordered(">", s, top), s, top)
    return None, None, top, top


def _exponentials(build, s, _, top, total):
    e = _exp(build, build.fsub(s, top))
    return e, None, top, build.fadd(total, e)


def _differentials(build, p, d, top, delta):
    e = _exp(build, build.fsub(p, top))
    return e, build.fmul(e, build.fsub(d, delta)), top, delta


# Where nothing is compiled: the same in NumPy.


def _rows(pointer, ld, rows):
    return memory(pointer, (rows, columns_in_numpy(pointer[0])), (ld, 1))


def _row(pointer):
    return memory(pointer, (columns_in_numpy(pointer[0]),), (1,))


def _decay(x):
    return np.where(x < _FORMAT[x.itemsize][2], x.dtype.type(0), np.exp(x))


def highest_in_numpy(s, _, ld, rows, top, same):
    top = _row(top)
    for row in _rows(s, ld, rows):
        top[...] = np.where(row > top, row, top)


def exponentials_in_numpy(s, _, ld, rows, top, total):
    block = _rows(s, ld, rows)
    block[...] = _decay(block - _row(top))
    _row(total)[...] += block.sum(axis=0)


def differentials_in_numpy(p, d, ld, rows, top, delta):
    block, other = _rows(p, ld, rows), _rows(d, ld, rows)
    block[...] = _decay(block - _row(top))
    other[...] = block * (other - _row(delta))


if config.DISABLE_JIT:
    _top_rows, _exp_rows, _ds_rows = highest_in_numpy, exponentials_in_numpy, differentials_in_numpy
else:
    _top_rows, _exp_rows, _ds_rows = map(_down_the_rows, (_highest, _exponentials, _differentials))

# Exact: the kernels' licence to reorder sums would take the two parts of x - n log 2 together, and n apart.


@inner(exact=True)
def highest(s, ld, rows, top):
    """top = max(top, s) for each column; a NaN is passed over.

    It starts from the lowest number: were it -inf where all s are, exp(s - top) would be NaN, and not 0.
    """
    _top_rows(s, s, ld, rows, top, top)


@inner(exact=True)
def exponentials(s, ld, rows, top, total):
    """s = exp(s - top) and total += s, for each column."""
    _exp_rows(s, s, ld, rows, top, total)


@inner(exact=True)
def differentials(p, d, ld, rows, top, delta):
    """p = exp(p - top) and d = p (d - delta), for each column."""
    _ds_rows(p, d, ld, rows, top, delta)
