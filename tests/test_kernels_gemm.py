"""Matrix products held to NumPy's: around the edges of tiles and blocks, in any layout, with any threads.

The tile and the moves of packing are held to their NumPy twins, with numbers around what they may write.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygen import kernels
from tinygen.kernels import gemm, packing, tile
from tinygen.kernels.compiled import Flag, Integers, Reads, Size, Writes, kernel
from tinygen.testing import strategies

DTYPES = np.float32, np.float64
NEAR = {np.float32: 2e-5, np.float64: 1e-13}  # of the sum of the products' sizes
# Around what blocks are made of: tiles of 4 to 12 rows, 2 to 32 columns; groups of panels; DEPTH and WIDTH.
SIZES = st.sampled_from([1, 2, 3, 5, 6, 7, 8, 11, 12, 13, 15, 16, 17, 31, 32, 33, 48, 49, 65, 100])


def agree(x, y, bias=None):
    got = gemm.matmul(x, y, bias)
    wide = [a.astype(np.float64) for a in (x, y)]
    expected = np.matmul(*wide) + (0 if bias is None else bias)
    scale = np.matmul(*map(abs, wide)) + (1 if bias is None else 1 + abs(bias))
    assert got.dtype == x.dtype
    assert got.shape == expected.shape
    np.testing.assert_array_less(abs(got - expected), NEAR[x.dtype.type] * scale + 1e-300)


@given(st.data(), SIZES, SIZES, SIZES, st.sampled_from(DTYPES))
def test_any_shape_and_layout(data, m, k, n, dtype):
    batches = data.draw(
        st.sampled_from([((), ()), ((3,), (3,)), ((2, 3), ()), ((2, 1), (3,)), ((2, 1, 2), (3, 1))])
    )
    draw = lambda shape: data.draw(strategies.arrays(shape=shape, dtype=dtype, layout="any"))  # noqa: E731
    bias = draw((n,)) if data.draw(st.booleans()) else None
    agree(draw((*batches[0], m, k)), draw((*batches[1], k, n)), bias)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "m, k, n", [(20, 600, 530), (410, 20, 40), (97, 257, 513), (6, 300, 16), (5, 300, 300)]
)
@pytest.mark.parametrize("layout", ["NN", "NT", "TN", "TT"])
def test_more_than_one_block_and_the_same_bits_for_any_threads(m, k, n, layout, dtype):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((m, k)).astype(dtype), rng.standard_normal((k, n)).astype(dtype)
    x = np.asfortranarray(x) if layout[0] == "T" else x
    y = np.asfortranarray(y) if layout[1] == "T" else y
    agree(x, y)
    found = []
    for threads in {1, min(2, kernels.most_threads())}:
        with kernels.use("numba", threads=threads):
            found.append(gemm.matmul(x, y))
    for one in found:
        np.testing.assert_array_equal(one, found[0])


@pytest.mark.parametrize(
    "x, y",
    [
        ((0, 3), (3, 4)),
        ((3, 0), (0, 4)),
        ((2, 0, 3), (3, 4)),
        ((3,), (3,)),
        ((3,), (2, 3, 4)),
        ((2, 4, 3), (3,)),
    ],
)
def test_empty_and_flat_operands(x, y):
    x, y = np.ones(x), np.ones(y)
    np.testing.assert_array_equal(gemm.matmul(x, y), np.matmul(x, y))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_stays_in_its_row_and_column(bad):
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((20, 30)), rng.standard_normal((30, 40))
    x[3, 7], y[11, 39] = bad, bad
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(np.isfinite(gemm.matmul(x, y)), np.isfinite(x @ y))


def test_it_leaves_to_the_reference_what_is_not_its_own():
    x = np.ones((4, 4))
    for other in (x.astype(np.float32), x.astype(">f8"), x.astype(int), x.astype(np.float16)):
        assert gemm.matmul(x, other) is NotImplemented
        assert gemm.matmul(other, other[:1]) is NotImplemented or other.dtype == np.float32
        np.testing.assert_array_equal(kernels.matmul(x, other), x @ other)


# The tile and the moves


@kernel
def _run_tile(
    a: Reads[1],
    row: Size,
    step: Size,
    b: Reads[1],
    ldb: Size,
    panel: Writes[1],
    c: Writes[1],
    ldc: Size,
    length: Size,
    more: Flag,
    kind: Size,
):
    if kind == 0:
        tile.tile(tile.at(a, 1), row, step, tile.at(b, 1), ldb, tile.at(c, 2), ldc, length, more)
    elif kind == 3:
        tile.short_tile(tile.at(a, 1), row, step, tile.at(b, 1), ldb, tile.at(c, 2), ldc, length, more)
    elif kind == 1:
        tile.narrow_tile(tile.at(a, 1), row, step, tile.at(b, 1), ldb, tile.at(c, 2), ldc, length, more)
    else:
        tile.packing_tile(
            tile.at(a, 1), row, step, tile.at(b, 1), ldb, tile.at(panel, 3), tile.at(c, 2), ldc, length, more
        )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("more", [False, True])
@pytest.mark.parametrize("kind", [0, 1, 2, 3], ids=["tile", "narrow", "packing", "short"])
@pytest.mark.parametrize("length", [1, 2, 33])
def test_a_tile_writes_what_its_twin_writes_and_nothing_else(dtype, more, kind, length):
    rng = np.random.default_rng(length)
    wide = tile.columns_in_numpy(np.empty(0, dtype))
    a, b, c = (rng.standard_normal(5000).astype(dtype) for _ in range(3))
    panel = np.full(length * wide + 9, 7, dtype)
    twins = panel.copy(), c.copy()
    row, step, ldb, ldc = (length + 1, 1, wide + 3, wide + 5) if more else (1, tile.ROWS, wide, wide)
    _run_tile(a, row, step, b, ldb, panel, c, ldc, length, more, kind, work=0)
    arguments = (a, 1), row, step, (b, 1), ldb
    if kind == 2:
        tile.packing_tile_in_numpy(*arguments, (twins[0], 3), (twins[1], 2), ldc, length, more)
    else:
        size = {0: {}, 1: {"vectors": 1}, 3: {"height": tile.SHORT}}[kind]
        tile.tile_in_numpy(*arguments, (twins[1], 2), ldc, length, more, **size)
    np.testing.assert_array_equal(panel, twins[0])
    np.testing.assert_allclose(c, twins[1], rtol=0, atol=NEAR[dtype] * 4 * length)
    outside = np.ones(len(c), bool)
    for i in range(tile.SHORT if kind == 3 else tile.ROWS):
        outside[2 + i * ldc : 2 + i * ldc + (wide // tile.VECTORS if kind == 1 else wide)] = False
    np.testing.assert_array_equal(c[outside], twins[1][outside])


@kernel
def _run_gathering(
    a: Reads[1],
    rows: Integers[1],
    steps: Integers[1],
    b: Reads[1],
    starts: Integers[1],
    c: Writes[1],
    ldc: Size,
    more: Flag,
    short: Flag,
):
    operands = tile.at(a, 1), tile.at(rows, 0), tile.at(steps, 0), tile.at(b, 1), tile.at(starts, 0)
    if short:
        tile.short_gathering_tile(*operands, tile.at(c, 2), ldc, len(steps), more)
    else:
        tile.gathering_tile(*operands, tile.at(c, 2), ldc, len(steps), more)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("more", [False, True])
@pytest.mark.parametrize("short", [False, True])
@pytest.mark.parametrize("length", [1, 2, 33])
def test_a_gathering_tile_goes_by_its_tables(dtype, more, short, length):
    rng = np.random.default_rng(length)
    a, b, c = (rng.standard_normal(2000).astype(dtype) for _ in range(3))
    height, wide = tile.SHORT if short else tile.ROWS, tile.columns_in_numpy(c)
    rows, steps, starts = (rng.integers(0, 900, n) for n in (height, length, length))
    mine, ldc = c.copy(), wide + 3
    _run_gathering(a, rows, steps, b, starts, mine, ldc, more, short, work=0)
    right = c.copy()
    block = right[2 : 2 + height * ldc].reshape(height, ldc)[:, :wide]
    product = a[1 + np.add.outer(rows, steps)] @ b[1 + np.add.outer(starts, np.arange(wide))]
    block[...] = block + product if more else product
    np.testing.assert_allclose(mine, right, rtol=0, atol=NEAR[dtype] * 4 * length)
    outside = np.ones(len(c), bool)
    for i in range(height):
        outside[2 + i * ldc : 2 + i * ldc + wide] = False
    np.testing.assert_array_equal(mine[outside], c[outside])
    twin = c.copy()
    tables = (a, 1), (rows, 0), (steps, 0), (b, 1), (starts, 0)
    tile.gathering_tile_in_numpy(*tables, (twin, 2), ldc, length, more, height=height)
    np.testing.assert_allclose(twin, right, rtol=0, atol=NEAR[dtype] * 4 * length)


@kernel
def _run_move(x: Reads[1], step: Size, out: Writes[1], gap: Size, count: Size):
    packing.move(tile.at(x, 1), step, tile.at(out, 2), gap, count)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("step, gap", [(1, 1), (2, 1), (1, 2), (3, 1), (2, 2)])
@pytest.mark.parametrize("count", [0, 1, 3, 15, 16, 17, 40])
def test_a_move_takes_and_writes_what_counts(dtype, step, gap, count):
    x, out = np.arange(200, dtype=dtype), np.full(200, -1, dtype)
    right = out.copy()
    right[2 : 2 + count * gap : gap] = x[1 : 1 + count * step : step]
    _run_move(x, step, out, gap, count, work=0)
    np.testing.assert_array_equal(out, right)


@kernel
def _run_pack(b: Reads[2], depth: Size, width: Size, panels: Writes[1]):
    size = b.itemsize
    packing.pack_b(tile.at(b, 0), b.strides[0] // size, b.strides[1] // size, depth, width, panels)


@given(st.data(), st.sampled_from(DTYPES), st.integers(1, 40), st.integers(1, 70))
def test_panels_hold_b(data, dtype, depth, width):
    b = data.draw(strategies.arrays(shape=(depth, width), dtype=dtype, layout="any"))
    wide = tile.columns_in_numpy(b)
    count = -(-width // wide)
    panels = np.full(count * wide * depth + wide, 7, dtype)
    _run_pack(b, depth, width, panels, work=0)
    held = panels[: count * wide * depth].reshape(count, depth, wide).transpose(1, 0, 2).reshape(depth, -1)
    np.testing.assert_array_equal(held[:, :width], b)
    np.testing.assert_array_equal(panels[count * wide * depth :], 7)
