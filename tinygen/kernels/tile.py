"""The register tile: the few hundred floats of a matrix product that live in registers while K runs.

    C[i, j] (+)= sum over k of A[i, k] B[k, j]        i < ROWS, j < columns(dtype), any K

Matrix products, attention and convolution are loops around this one function. Why it is fast: a core of 3 GHz
that multiplies and adds two vectors of 8 floats a cycle does 96 GFLOP/s, and can load two vectors a cycle. A
dot product loads two for each that it multiplies: half speed at most, and a fiftieth when they come from
memory. A tile of R rows and V vectors loads V vectors of B and R single elements of A, each spread over a
vector, and multiplies R V times. With 6 and 2 that is 8 loads for 12 products: arithmetic is the limit, and
the 12 vectors of C never leave their registers while K runs.

    A    any strides: element (i, k) is a[a0 + i * row + k * step]. Single elements are loaded, so that
         row-major, transposed and packed operands cost the same while they lie in the first cache.
    B    rows of contiguous vectors: element (k, j) is b[b0 + k * ldb + j].
    C    rows of contiguous vectors: element (i, j) is c[c0 + i * ldc + j]; set, or added to if `more`.

Offsets and strides count elements from the first element of an array, whatever its own shape and strides.

Numba has no type for a vector, so an intrinsic writes the function in LLVM's own language: the loops over
rows and vectors below run while it is compiled, and leave straight-line code. What was tried, with K = 256 on
one core of an EPYC of Zen 3 (AVX2, 16 registers), in GFLOP/s:

    rows x vectors    6x2  101    4x3  102    12x1  91    4x2  97    2x4  82    3x4  44 (17 registers)

6x2 is taken, for columns in steps of 16 waste less than in steps of 24. `fast` arithmetic, with the
licence to ignore NaN, gave the same 101.
"""

import numpy as np
from llvmlite import binding, ir
from numba import config, types
from numba.extending import intrinsic

__all__ = ["ROWS", "columns", "tile"]


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

_INTEGER, _INDEX, _BIT = ir.IntType(64), ir.IntType(32), ir.IntType(1)
_FUSED = ("contract", "nsz")


def _function(module, dtype):
    """The tile for a dtype in an LLVM module: written there once, called from everywhere in it."""
    name = f"tinygen_tile_{dtype}"
    if name in module.globals:
        return module.globals[name]
    scalar = ir.FloatType() if dtype == types.float32 else ir.DoubleType()
    lanes = VECTOR_BYTES * 8 // dtype.bitwidth
    vector, pointer = ir.VectorType(scalar, lanes), scalar.as_pointer()
    zeros, undefined = ir.Constant(vector, [scalar(0)] * lanes), ir.Constant(vector, ir.Undefined)
    first_lane = ir.Constant(ir.VectorType(_INDEX, lanes), [_INDEX(0)] * lanes)
    cells = [(i, j) for i in range(ROWS) for j in range(VECTORS)]

    operands = [pointer, _INTEGER, _INTEGER, pointer, _INTEGER, pointer, _INTEGER, _INTEGER, _BIT]
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), operands), name)
    function.linkage = "internal"
    function.attributes.add("noinline")
    a, row, step, b, ldb, c, ldc, length, more = function.args
    start, loop, done, add, store, end = map(
        function.append_basic_block, ("start", "loop", "done", "add", "store", "end")
    )
    build = ir.IRBuilder(start)

    def vector_at(base, j):
        return build.bitcast(build.gep(base, [_INTEGER(j * lanes)]), vector.as_pointer())

    def load(base, j):
        return build.load(vector_at(base, j), align=dtype.bitwidth // 8)

    def spread(element):
        return build.shuffle_vector(
            build.insert_element(undefined, element, _INDEX(0)), undefined, first_lane
        )

    # for k in range(length): sums[i, j] += A[i, k] B[k, vector j]
    a_rows = [build.gep(a, [build.mul(row, _INTEGER(i))]) for i in range(ROWS)]
    build.branch(loop)
    build.position_at_end(loop)
    k = build.phi(_INTEGER)
    sums = {cell: build.phi(vector) for cell in cells}
    b_row, column = build.gep(b, [build.mul(k, ldb)]), build.mul(k, step)
    b_vectors = [load(b_row, j) for j in range(VECTORS)]
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
    c_rows = [build.gep(c, [build.mul(ldc, _INTEGER(i))]) for i in range(ROWS)]
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


@intrinsic
def _tile(typing, a, a0, row, step, b, b0, ldb, c, c0, ldc, length, more):
    integer = types.int64
    signature = types.void(
        a, integer, integer, integer, b, integer, integer, c, integer, integer, integer, types.boolean
    )

    def generate(context, build, signature, arguments):
        def pointer(i):
            array = context.make_array(signature.args[i])(context, build, arguments[i])
            return build.gep(array.data, [arguments[i + 1]])

        _, _, row, step, _, _, ldb, _, _, ldc, length, more = arguments
        more = build.trunc(more, _BIT) if more.type != _BIT else more
        operands = [pointer(0), row, step, pointer(4), ldb, pointer(7), ldc, length, more]
        build.call(_function(build.module, signature.args[0].dtype), operands)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def _columns(typing, array):
    return types.int64(array), lambda context, build, signature, arguments: _INTEGER(_columns_of(array.dtype))


def _columns_of(dtype):
    return VECTORS * VECTOR_BYTES * 8 // dtype.bitwidth


# Where nothing is compiled, and in tests: the same two in NumPy.


def tile_in_numpy(a, a0, row, step, b, b0, ldb, c, c0, ldc, length, more):
    """What the tile must equal."""
    width = columns_in_numpy(c)
    product = _block(a, a0, (ROWS, length), (row, step)) @ _block(b, b0, (length, width), (ldb, 1))
    block = _block(c, c0, (ROWS, width), (ldc, 1))
    block[...] = block + product if more else product


def columns_in_numpy(array):
    """How many columns a tile of such an array has."""
    return VECTORS * VECTOR_BYTES // array.itemsize


def _block(array, offset, shape, strides):
    """A view of memory: `shape` elements, `strides` elements apart, from `offset` after the first."""
    size, interface = array.itemsize, array.__array_interface__

    class Memory:
        def __init__(self):
            self.base = array
            self.__array_interface__ = {
                **interface,
                "data": (interface["data"][0] + offset * size, interface["data"][1]),
                "shape": shape,
                "strides": tuple(size * stride for stride in strides),
            }

    return np.asarray(Memory())


tile = tile_in_numpy if config.DISABLE_JIT else _tile
columns = columns_in_numpy if config.DISABLE_JIT else _columns
