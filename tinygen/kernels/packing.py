"""Moving the operands of the tile into the order in which it reads them.

The tile takes vectors of B from contiguous rows, so B is first copied into panels: `columns` wide, one row
after the other; what is there where B has ended does not matter. It takes single elements of A from
anywhere; but elements that lie a row of memory apart cost a cache line each, so an A that is stored by
columns is copied into a panel too.

Packing is the overhead of a product: one move for as many multiplications as C has rows. A loop that moves
element by element does 0.8 to 1.1 a nanosecond, for the compiler cannot know that source and panel are apart.
So these are written in vectors, as the tile is:

    copy        some contiguous elements, through registers                         5 to 8 elements a ns
    move        a row of any length, or every second element of one, or into every second place; a mask
                says which lanes of a vector are read and written
    transpose   a square of vectors, as many as a vector has lanes, by exchanges:
                in the round of distance h, vectors i and i + h swap the halves
                of each 2h x 2h square that lie off its diagonal; h = 4, 2, 1       7 to 8 elements a ns
"""

from llvmlite import ir
from numba import config, types
from numba.extending import intrinsic

from .compiled import inner
from .tile import ROWS, VECTOR_BYTES, VECTORS, at, columns, get, lanes_of, memory, prefetch, put, scalar_of

__all__ = ["move", "pack_a", "pack_b", "panel_height"]


def _copy(width_of):
    """copy(source, target) of a number of elements that depends on the dtype."""

    @intrinsic
    def copy(typing, source, target):
        dtype = source.dtype

        def generate(context, build, signature, arguments):
            vector = ir.VectorType(scalar_of(dtype), width_of(dtype)).as_pointer()
            here, there = [build.bitcast(pointer, vector) for pointer in arguments]
            build.store(build.load(here, align=dtype.bitwidth // 8), there, align=dtype.bitwidth // 8)
            return context.get_dummy_value()

        return types.void(source, target), generate

    return copy


@intrinsic
def _transpose(typing, source, lds, target, ldt):
    dtype = source.dtype
    lanes, size, index = lanes_of(dtype), dtype.bitwidth // 8, ir.IntType(32)

    def generate(context, build, signature, arguments):
        here, lds, there, ldt = arguments
        vector = ir.VectorType(scalar_of(dtype), lanes).as_pointer()

        def row(first, stride, i):
            return build.bitcast(build.gep(first, [build.mul(stride, ir.IntType(64)(i))]), vector)

        def pick(x, y, places):  # places of x, then of y, count on
            mask = ir.Constant(ir.VectorType(index, lanes), [index(place) for place in places])
            return build.shuffle_vector(x, y, mask)

        rows = [build.load(row(here, lds, i), align=size) for i in range(lanes)]
        half = lanes // 2
        while half:
            upper = [j + lanes - half if j & half else j for j in range(lanes)]
            lower = [j + lanes if j & half else j + half for j in range(lanes)]
            for i in [i for i in range(lanes) if not i & half]:
                x, y = rows[i], rows[i + half]
                rows[i], rows[i + half] = pick(x, y, upper), pick(x, y, lower)
            half //= 2
        for i, turned in enumerate(rows):
            build.store(turned, row(there, ldt, i), align=size)
        return context.get_dummy_value()

    return types.void(source, types.int64, target, types.int64), generate


def _move(step, gap):
    """move(source, target, count): target[i * gap] = source[i * step] for i < count, a vector at most."""

    @intrinsic
    def move(typing, source, target, count):
        dtype = source.dtype
        lanes, size, index, integer = lanes_of(dtype), dtype.bitwidth // 8, ir.IntType(32), ir.IntType(64)

        def generate(context, build, signature, arguments):
            source, target, count = arguments
            vector, bits = ir.VectorType(scalar_of(dtype), lanes), ir.VectorType(ir.IntType(1), lanes)
            pointer, none = vector.as_pointer(), ir.Constant(vector, ir.Undefined)

            def place(first, h):
                return build.bitcast(build.gep(first, [integer(h * lanes)]), pointer)

            def pick(x, y, places):
                return build.shuffle_vector(
                    x, y, ir.Constant(ir.VectorType(index, lanes), list(map(index, places)))
                )

            def wanted(h, apart):
                """Which lanes of vector h, as bits: every `apart`-th, up to the last that counts."""
                numbers = ir.VectorType(integer, lanes)
                end = build.insert_element(ir.Constant(numbers, ir.Undefined), count, index(0))
                end = pick(end, end, [0] * lanes)
                lane = [h * lanes + i for i in range(lanes)]
                early = build.icmp_signed("<", ir.Constant(numbers, [integer(n // apart) for n in lane]), end)
                return build.and_(early, ir.Constant(bits, [bits.element(n % apart == 0) for n in lane]))

            def masked(name, result, *values):
                name = f"llvm.masked.{name}.v{lanes}f{dtype.bitwidth}.p0"
                kind = ir.FunctionType(result, [value.type for value in values])
                function = build.module.globals.get(name) or ir.Function(build.module, kind, name)
                return build.call(function, values)

            align = index(size)
            found = [
                masked("load", vector, place(source, h), align, wanted(h, step), none) for h in range(step)
            ]
            found = pick(found[0], found[-1], [i * step for i in range(lanes)])
            for h in range(gap):
                part = pick(found, none, [(h * lanes + i) // gap for i in range(lanes)])
                masked("store", ir.VoidType(), part, place(target, h), align, wanted(h, gap))
            return context.get_dummy_value()

        return types.void(source, target, types.int64), generate

    return move


def _constant(value_of):
    @intrinsic
    def constant(typing, array):
        return types.int64(array), lambda *_: ir.IntType(64)(value_of(array.dtype))

    return constant


def _height_of(dtype):
    return -(-ROWS // lanes_of(dtype)) * lanes_of(dtype)


# Where nothing is compiled: the same in NumPy.


def _lanes_in_numpy(array):
    array = array[0] if isinstance(array, tuple) else array
    return VECTOR_BYTES // array.itemsize


def _height_in_numpy(array):
    return -(-ROWS // _lanes_in_numpy(array)) * _lanes_in_numpy(array)


def _copy_in_numpy(width_of):
    def copy(source, target):
        width = (width_of(source[0]),)
        memory(target, width, (1,))[...] = memory(source, width, (1,))

    return copy


def _move_in_numpy(step, gap):
    def move(source, target, count):
        count = min(count, _lanes_in_numpy(source[0]))
        memory(target, (count,), (gap,))[...] = memory(source, (count,), (step,))

    return move


def _transpose_in_numpy(source, lds, target, ldt):
    square = (_lanes_in_numpy(source[0]),) * 2
    memory(target, square, (ldt, 1))[...] = memory(source, square, (1, lds))


if config.DISABLE_JIT:
    lanes, panel_height, transpose = _lanes_in_numpy, _height_in_numpy, _transpose_in_numpy
    copy_row, copy_column = _copy_in_numpy(columns), _copy_in_numpy(panel_height)
    move_some, move_every_second, move_to_every_second = map(_move_in_numpy, (1, 2, 1), (1, 1, 2))
else:
    lanes, panel_height, transpose = _constant(lanes_of), _constant(_height_of), _transpose
    copy_row, copy_column = _copy(lambda dtype: VECTORS * lanes_of(dtype)), _copy(_height_of)
    move_some, move_every_second, move_to_every_second = map(_move, (1, 2, 1), (1, 1, 2))


@inner
def move(source, step, target, gap, count):
    """target[i * gap] = source[i * step] for i < count."""
    wide = lanes(source)
    if step == 1 and gap == 1:
        for i in range(0, count, wide):
            move_some(at(source, i), at(target, i), count - i)
    elif step == 2 and gap == 1:
        for i in range(0, count, wide):
            move_every_second(at(source, 2 * i), at(target, i), count - i)
    elif step == 1 and gap == 2:
        for i in range(0, count, wide):
            move_to_every_second(at(source, i), at(target, 2 * i), count - i)
    else:
        for i in range(count):
            put(target, i * gap, get(source, i * step))


@inner
def pack_b(b, row, column, depth, width, panels):
    """B[depth, width] into panels: element (k, j) is b[k * row + j * column]; panels is an array.

    What lies in a panel beyond the width does not matter, for nobody uses those columns of the results. So a
    row may be moved whole when it is followed by another.
    """
    wide, square = columns(panels), lanes(panels)
    for j in range(0, width, wide):
        source, panel, here = at(b, j * column), at(panels, j * depth), min(wide, width - j)
        rows, done = 0, 0  # so many rows are moved: all of them, or these columns of them
        if column == 1 and (here == wide or row >= wide):
            rows, done = depth if here == wide else depth - 1, here
            for k in range(rows):
                copy_row(at(source, k * row), at(panel, k * wide))
        elif row == 1:
            rows, done = depth // square * square, here // square * square
            for k in range(0, rows, square):
                for i in range(0, done, square):
                    transpose(at(source, k + i * column), column, at(panel, k * wide + i), wide)
        for k in range(depth):
            for i in range(done if k < rows else 0, here):
                put(panel, k * wide + i, get(source, k * row + i * column))


@inner
def pack_a(a, row, step, rows, room, depth, panels, high, size):
    """A[rows, depth] into panels, from a pointer on: element (i, k) is a[i * row + k * step].

    A panel of `size` elements is ROWS of A, one column after the other, `high` apart: whole vectors. What
    lies after the rows does not matter, for nobody uses the results; it may be what follows in A, which has
    `room` rows from here on, so that columns are moved as vectors.
    """
    line = 2 * high if row == 1 else rows
    for start in range(0, depth, 16):  # so few columns stay in the first cache until all panels have theirs
        stop = min(start + 16, depth)
        for k in range(stop, min(stop + 16, depth)):
            for i in range(0, rows, line):
                prefetch(a, k * step + i)
        for i in range(0, rows, ROWS):
            panel = at(panels, i // ROWS * size)
            if row == 1 and i + high <= room:
                for k in range(start, stop):
                    copy_column(at(a, k * step + i), at(panel, k * high))
            else:
                for k in range(start, stop):
                    for below in range(min(ROWS, rows - i)):
                        put(panel, k * high + below, get(a, k * step + (i + below) * row))
