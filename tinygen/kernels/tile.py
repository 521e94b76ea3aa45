"""The register tile: the few hundred floats of a matrix product that live in registers while K runs.

    C[i, j] (+)= sum over k of A[i, k] B[k, j]        i < ROWS, j < columns(c), K >= 1

Matrix products, attention and convolution are loops around this one function. Why it is fast: a core of 3 GHz
that multiplies and adds two vectors of 8 floats a cycle does 96 GFLOP/s, and can load two vectors a cycle. A
dot product loads two for each that it multiplies: half speed at most, and a fiftieth when they come from
memory. A tile of R rows and V vectors loads V vectors of B and R single elements of A, each spread over a
vector, and multiplies R V times. With 6 and 2 that is 8 loads for 12 products: arithmetic is the limit, and
the 12 vectors of C never leave their registers while K runs.

    A    any strides: element (i, k) is a[i * row + k * step]. Single elements are loaded, so that row-major,
         transposed and packed operands cost the same while they lie in the first cache.
    B    rows of contiguous vectors: element (k, j) is b[k * ldb + j].
    C    rows of contiguous vectors: element (i, j) is c[i * ldc + j]; set, or added to if `more`.

Between the starts of two rows lie `ld` elements, the leading dimension. Beside the tile there are a short
one, of SHORT rows; a narrow one, of one vector; and a packing one, which also copies B to a panel, row after
row. A gathering tile takes tables in place of the distances row, step and ldb: element (i, k) of A is
a[rows[i] + steps[k]], and element (k, j) of B is b[starts[k] + j]. That is what a convolution needs.

a, b and c are pointers, as in C: `at(array, n)` points n elements after the first of an array, whatever its
shape and strides, and so does `at(pointer, n)`; `get(pointer, n)` and `put(pointer, n, value)` are for the
element there. Nothing checks bounds.

Numba has no type for a vector, so an intrinsic writes the function in LLVM's own language: the loops over
rows and vectors below run while it is compiled, and leave straight-line code. What was tried, with K = 256 on
one core of an EPYC of Zen 3 (AVX2, 16 registers), in GFLOP/s:

    rows x vectors    6x2  101    4x3  102    12x1  91    4x2  97    2x4  82    3x4  44 (17 registers)

6x2 is taken, for columns in steps of 16 waste less than in steps of 24. `fast` arithmetic, with the
licence to ignore NaN, gave the same 101. On a Zen 4 (AVX-512, 32 registers) 12x2, its short tile 4x2 and both
gathering ones all give 115 to 117, which is the peak there.
"""

import functools

import numpy as np
from llvmlite import binding, ir
from numba import config, types
from numba.extending import intrinsic

__all__ = [
    "ROWS",
    "SHORT",
    "at",
    "columns",
    "gathering_tile",
    "get",
    "narrow_tile",
    "packing_tile",
    "prefetch",
    "put",
    "short_gathering_tile",
    "short_tile",
    "tile",
]


def _shape():
    """(rows, vectors, bytes of a vector) for this processor: the registers hold C, a row of B, and A."""
    features = config.CPU_FEATURES
    if features is None:
        features = "" if config.CPU_NAME == "generic" else binding.get_host_cpu_features().flatten()
    features = features.split(",")
    if "+avx512f" in features:
        return 12, 2, 64  # 24 of 32 registers
    if "+avx2" in features and "+fma" in features:
        return 6, 2, 32  # 12 of 16
    if "+neon" in features or binding.get_process_triple().startswith(("aarch64", "arm64")):
        return 8, 3, 16  # 24 of 32
    return 4, 2, 16  # 8 of 16


ROWS, VECTORS, VECTOR_BYTES = _shape()
SHORT = -(-ROWS // 3)  # rows of a short tile, for what is left at the end
AHEAD = 24  # how many rows of B ahead a packing tile prefetches: 384 x 2048 x 1536 gains 3 %

_INTEGER, _INDEX, _BIT = ir.IntType(64), ir.IntType(32), ir.IntType(1)
_FUSED = ("contract", "nsz")


def scalar_of(dtype):
    """LLVM's type for a Numba dtype."""
    return ir.FloatType() if dtype == types.float32 else ir.DoubleType()


def lanes_of(dtype):
    """How many elements a vector of this processor has."""
    return VECTOR_BYTES * 8 // dtype.bitwidth


@intrinsic
def _at(typing, base, offset):
    def generate(context, build, signature, arguments):
        first, offset = arguments
        if isinstance(base, types.Array):
            first = context.make_array(base)(context, build, first).data
        return build.gep(first, [offset])

    return types.CPointer(base.dtype)(base, types.int64), generate


@intrinsic
def _put(typing, pointer, offset, value):
    def generate(context, build, signature, arguments):
        build.store(arguments[2], build.gep(arguments[0], [arguments[1]]))
        return context.get_dummy_value()

    return types.void(pointer, types.int64, pointer.dtype), generate


@intrinsic
def _get(typing, pointer, offset):
    return pointer.dtype(pointer, types.int64), lambda context, build, signature, arguments: build.load(
        build.gep(arguments[0], [arguments[1]])
    )


def _emit_prefetch(build, pointer):
    byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
    prefetch = build.module.declare_intrinsic("llvm.prefetch", [byte], kind)
    build.call(prefetch, [build.bitcast(pointer, byte), number(0), number(3), number(1)])  # read, keep, data


@intrinsic
def _prefetch(typing, pointer, offset):
    def generate(context, build, signature, arguments):
        _emit_prefetch(build, build.gep(arguments[0], [arguments[1]]))
        return context.get_dummy_value()

    return types.void(pointer, types.int64), generate


def _function(module, dtype, rows, vectors, keeps, gathers):
    """The tile for a dtype in an LLVM module: written there once, called from everywhere in it."""
    name = f"tinygen_tile_{dtype}_{rows}_{vectors}_{keeps}_{gathers}"
    if name in module.globals:
        return module.globals[name]
    scalar, lanes = scalar_of(dtype), lanes_of(dtype)
    vector, pointer = ir.VectorType(scalar, lanes), scalar.as_pointer()
    zeros, undefined = ir.Constant(vector, [scalar(0)] * lanes), ir.Constant(vector, ir.Undefined)
    first_lane = ir.Constant(ir.VectorType(_INDEX, lanes), [_INDEX(0)] * lanes)
    cells = [(i, j) for i in range(rows) for j in range(vectors)]

    apart = _INTEGER.as_pointer() if gathers else _INTEGER  # how far: a table, or a number
    operands = [pointer, apart, apart, pointer, apart, pointer, pointer, _INTEGER, _INTEGER, _BIT]
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), operands), name)
    function.linkage = "internal"
    function.attributes.add("noinline")
    a, row, step, b, ldb, panel, c, ldc, length, more = function.args
    start, loop, done, add, store, end = map(
        function.append_basic_block, ("start", "loop", "done", "add", "store", "end")
    )
    build = ir.IRBuilder(start)

    def vector_at(base, j):
        return build.bitcast(build.gep(base, [_INTEGER(j * lanes)]), vector.as_pointer())

    def load(base, j):
        return build.load(vector_at(base, j), align=dtype.bitwidth // 8)

    def place(apart, i):
        return build.load(build.gep(apart, [i])) if gathers else build.mul(apart, i)

    def spread(element):
        return build.shuffle_vector(
            build.insert_element(undefined, element, _INDEX(0)), undefined, first_lane
        )

    # for k in range(length): sums[i, j] += A[i, k] B[k, vector j]
    a_rows = [build.gep(a, [place(row, _INTEGER(i))]) for i in range(rows)]
    c_rows = [build.gep(c, [build.mul(ldc, _INTEGER(i))]) for i in range(rows)]
    for c_row in c_rows:
        for j in {0, vectors - 1}:
            _emit_prefetch(build, vector_at(c_row, j))
    build.branch(loop)
    build.position_at_end(loop)
    k = build.phi(_INTEGER)
    sums = {cell: build.phi(vector) for cell in cells}
    b_row, column = build.gep(b, [place(ldb, k)]), place(step, k)
    b_vectors = [load(b_row, j) for j in range(vectors)]
    if keeps:
        for j in {0, vectors - 1}:
            _emit_prefetch(build, vector_at(build.gep(b_row, [build.mul(ldb, _INTEGER(AHEAD))]), j))
        panel_row = build.gep(panel, [build.mul(k, _INTEGER(vectors * lanes))])
        for j in range(vectors):
            build.store(b_vectors[j], vector_at(panel_row, j), align=dtype.bitwidth // 8)
    a_vectors = [spread(build.load(build.gep(a_row, [column]))) for a_row in a_rows]
    products = {(i, j): build.fmul(a_vectors[i], b_vectors[j], flags=_FUSED) for i, j in cells}
    new = {cell: build.fadd(products[cell], sums[cell], flags=_FUSED) for cell in cells}
    following = build.add(k, _INTEGER(1))
    for value, initial, next_value in [
        (k, _INTEGER(0), following),
        *((sums[c], zeros, new[c]) for c in cells),
    ]:
        value.add_incoming(initial, start)
        value.add_incoming(next_value, loop)
    build.cbranch(build.icmp_signed("<", following, length), loop, done)

    # C = sums, or C += sums
    build.position_at_end(done)
    build.cbranch(more, add, store)
    for block in (add, store):
        build.position_at_end(block)
        for i, j in cells:
            total = build.fadd(load(c_rows[i], j), new[i, j]) if block is add else new[i, j]
            build.store(total, vector_at(c_rows[i], j), align=dtype.bitwidth // 8)
        build.branch(end)
    build.position_at_end(end)
    build.ret_void()
    return function


def _tile_of(vectors, keeps=False, rows=ROWS, gathers=False):
    def generate(context, build, signature, arguments):
        a, row, step, b, ldb, *panel, c, ldc, length, more = arguments
        more = build.trunc(more, _BIT) if more.type != _BIT else more
        function = _function(build.module, signature.args[0].dtype, rows, vectors, keeps, gathers)
        build.call(function, [a, row, step, b, ldb, *(panel or [b]), c, ldc, length, more])
        return context.get_dummy_value()

    integer, flag = types.int64, types.boolean
    if keeps:

        @intrinsic
        def tile(typing, a, row, step, b, ldb, panel, c, ldc, length, more):
            return types.void(a, integer, integer, b, integer, panel, c, integer, integer, flag), generate

    else:

        @intrinsic
        def tile(typing, a, row, step, b, ldb, c, ldc, length, more):
            row, step, ldb = (row, step, ldb) if gathers else (integer, integer, integer)
            return types.void(a, row, step, b, ldb, c, integer, integer, flag), generate

    return tile


@intrinsic
def _columns(typing, array):
    return types.int64(array), lambda *_: _INTEGER(VECTORS * lanes_of(array.dtype))


# Where nothing is compiled, and in tests: the same in NumPy. A pointer is an array and an offset.


def at_in_numpy(base, offset):
    """A pointer `offset` elements after an array's first, or after another pointer."""
    array, start = base if isinstance(base, tuple) else (base, 0)
    return array, start + offset


def get_in_numpy(pointer, offset):
    """The element `offset` after a pointer."""
    return memory(at_in_numpy(pointer, offset), (), ())[()]


def put_in_numpy(pointer, offset, value):
    """Set it."""
    memory(at_in_numpy(pointer, offset), (), ())[()] = value


def tile_in_numpy(a, row, step, b, ldb, c, ldc, length, more, vectors=VECTORS, height=ROWS):
    """What the tile must equal."""
    width = vectors * VECTOR_BYTES // c[0].itemsize
    product = memory(a, (height, length), (row, step)) @ memory(b, (length, width), (ldb, 1))
    block = memory(c, (height, width), (ldc, 1))
    block[...] = block + product if more else product


def packing_tile_in_numpy(a, row, step, b, ldb, panel, c, ldc, length, more):
    """The tile, which also copies B[length, columns] to `panel`, row after row."""
    width = columns_in_numpy(c[0])
    memory(panel, (length, width), (width, 1))[...] = memory(b, (length, width), (ldb, 1))
    tile_in_numpy(a, row, step, b, ldb, c, ldc, length, more)


def gathering_tile_in_numpy(a, rows, steps, b, starts, c, ldc, length, more, height=ROWS):
    """The tile with tables for A and B."""
    rows, steps, starts = [
        memory(t, (n,), (1,)) for t, n in ((rows, height), (steps, length), (starts, length))
    ]
    in_a, in_b = np.add.outer(rows, steps), np.add.outer(starts, np.arange(columns_in_numpy(c[0])))
    product = _taken(a, in_a) @ _taken(b, in_b)
    block = memory(c, product.shape, (ldc, 1))
    block[...] = block + product if more else product


def _taken(pointer, places):
    return memory(pointer, (places.max() + 1,), (1,))[places]


def columns_in_numpy(array):
    """How many columns a tile of such an array has."""
    return VECTORS * VECTOR_BYTES // array.itemsize


def memory(pointer, shape, strides):
    """A view of the memory at a pointer: `shape` elements that lie `strides` elements apart."""
    array, offset = pointer
    interface, size = array.__array_interface__, array.itemsize

    class View:
        def __init__(self):
            self.array = array  # kept alive
            self.__array_interface__ = {
                **interface,
                "data": (interface["data"][0] + int(offset) * size, interface["data"][1]),
                "shape": shape,
                "strides": tuple(size * stride for stride in strides),
            }

    return np.asarray(View())


if config.DISABLE_JIT:
    at, get, put, columns = at_in_numpy, get_in_numpy, put_in_numpy, columns_in_numpy

    def prefetch(pointer, offset):
        pass

    tile, narrow_tile = tile_in_numpy, functools.partial(tile_in_numpy, vectors=1)
    short_tile = functools.partial(tile_in_numpy, height=SHORT)
    packing_tile, gathering_tile = packing_tile_in_numpy, gathering_tile_in_numpy
    short_gathering_tile = functools.partial(gathering_tile_in_numpy, height=SHORT)
else:
    at, get, put, columns, prefetch = _at, _get, _put, _columns, _prefetch
    tile, narrow_tile, packing_tile = _tile_of(VECTORS), _tile_of(1), _tile_of(VECTORS, keeps=True)
    short_tile, gathering_tile = _tile_of(VECTORS, rows=SHORT), _tile_of(VECTORS, gathers=True)
    short_gathering_tile = _tile_of(VECTORS, rows=SHORT, gathers=True)
