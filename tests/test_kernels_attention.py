"""Fused attention held to its definition: around the edges of blocks, under any mask, in any layout."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import config

import tinygen as tg
from tinygen import kernels
from tinygen.kernels import fused_attention, reference, scores, tile
from tinygen.kernels.compiled import Size, Writes, kernel
from tinygen.testing import strategies

DTYPES = np.float32, np.float64
NEAR = {np.float32: 3e-5, np.float64: 1e-12}
# Around what blocks are made of: tiles of 4 to 12 rows and 4 to 32 columns, QUERIES and KEYS.
LENGTHS = st.sampled_from([1, 2, 5, 11, 12, 13, 31, 32, 33, 64, 95, 96, 97, 130])
WIDTHS = st.sampled_from([1, 3, 8, 15, 16, 17, 32, 48])


def both(q, k, v, g, mask, causal, scale=0.3):
    """Result, log-sum-exp and gradients, by the definition in float64 and by the kernel."""
    wide = [x.astype(np.float64) for x in (q, k, v, g)]
    added = mask.astype(np.float64) if mask is not None and mask.dtype.kind == "f" else mask
    with np.errstate(invalid="ignore"):
        out, log_total = reference.attention(*wide[:3], added, causal, scale)
        *right, _ = reference.attention_backward(
            wide[3], *wide[:3], added, out, log_total, causal, scale, mask_too=False
        )
    mine, my_log = fused_attention.attention(q, k, v, mask, causal, scale)
    *found, _ = fused_attention.attention_backward(
        g, q, k, v, mask, mine, my_log, causal, scale, mask_too=False
    )
    return (out, log_total, *right), (mine, my_log, *found)


def agree(*given):
    for x, y in zip(*both(*given), strict=True):
        assert (y.shape, y.dtype) == (x.shape, given[0].dtype)
        np.testing.assert_allclose(y, x, rtol=NEAR[y.dtype.type], atol=NEAR[y.dtype.type] * 10)


def masks(t, s, batch):
    """A strategy: none, or booleans or numbers over queries and keys, over keys, or over all."""
    shapes = st.sampled_from([(t, s), (batch, 1, 1, s), (batch, 2, t, s), (s,), (t, 1)])

    def drawn(shape, kind, seed):
        rng = np.random.default_rng(seed)
        if kind == "bool":
            return rng.random(shape) < 0.6
        numbers = rng.standard_normal(shape)
        return np.where(rng.random(shape) < 0.1, -math.inf, numbers) if kind == "float and -inf" else numbers

    kinds = st.sampled_from(["bool", "float", "float and -inf"])
    return st.none() | st.builds(drawn, shapes, kinds, st.integers(0, 99))


@given(st.data(), LENGTHS, LENGTHS, WIDTHS, WIDTHS, st.booleans(), st.sampled_from(DTYPES))
def test_any_shape_mask_and_layout(data, t, s, d, e, causal, dtype):
    layout = data.draw(st.sampled_from(strategies.LAYOUTS))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    shapes = (2, 2, t, d), (2, 1, s, d), (2, s, e), (2, 2, t, e)
    arrays = [rng.standard_normal(shape).astype(dtype) for shape in shapes]
    q, k, v, g = [strategies.frozen(strategies.relayout(x, layout)) for x in arrays]
    mask = data.draw(masks(t, s, 2))
    mask = mask.astype(dtype) if mask is not None and mask.dtype.kind == "f" else mask
    agree(q, k, v, g, mask, causal)


@pytest.mark.parametrize("t, s", [(200, 200), (5, 900), (1, 500), (300, 7), (97, 800), (900, 410)])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("heads", [(1, 1), (3, 2, 2)])
def test_more_than_one_block_and_the_same_bits_for_any_threads(t, s, causal, heads):
    rng = np.random.default_rng(0)
    q, k, v, g = [
        rng.standard_normal((*heads, *shape)).astype(np.float32)
        for shape in [(t, 40), (s, 40), (s, 24), (t, 24)]
    ]
    found = []
    for threads in {1, min(2, kernels.most_threads())}:
        with kernels.use("numba", threads=threads):
            agree(q, k, v, g, None, causal)
            found.append(both(q, k, v, g, None, causal)[1])
    for one, other in zip(found[0], found[-1]):
        np.testing.assert_array_equal(one, other)


@given(
    st.data(),
    LENGTHS,
    st.sampled_from([1, 3, 16, 32]),
    st.sampled_from([1, 2, 9]),
    st.booleans(),
    st.sampled_from(DTYPES),
)
def test_self_attention_has_the_bits_of_attention_over_its_parts(data, t, d, heads, causal, dtype):
    """In any layout, and nothing that lies beside is touched: the same numbers, written elsewhere."""
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    layout, mask = data.draw(st.sampled_from(strategies.LAYOUTS)), data.draw(masks(t, t, 2))
    mask = mask if mask is None or mask.dtype == bool else mask.astype(dtype)
    if mask is not None and mask.shape == (2, 2, t, t):
        mask = np.repeat(mask[:, :1], heads, axis=1)
    arrays = [rng.standard_normal((2, t, n * heads * d)).astype(dtype) for n in (3, 1)]
    qkv, g = [strategies.frozen(strategies.relayout(x, layout)) for x in arrays]
    out, log_total = fused_attention.self_attention(qkv, mask, heads, causal, 0.3)
    dqkv, none = fused_attention.self_attention_backward(
        g, qkv, mask, out, log_total, heads, causal, 0.3, mask_too=False
    )
    parts = reference.in_heads(qkv, 3, heads)
    same, _ = fused_attention.attention(*parts, mask, causal, 0.3)
    *gradients, _ = fused_attention.attention_backward(
        *reference.in_heads(g, 1, heads), *parts, mask, same, log_total, causal, 0.3, mask_too=False
    )
    assert none is None
    np.testing.assert_array_equal(out, reference.side_by_side(same))
    np.testing.assert_array_equal(dqkv, reference.side_by_side(*gradients))


def test_later_keys_with_far_higher_scores():
    """What was summed before a maximum is rescaled, down to nothing."""
    rng = np.random.default_rng(0)
    k = rng.standard_normal((1, 1000, 8)) * np.geomspace(0.01, 100, 1000)[:, None]
    q, v, g = rng.standard_normal((3, 1, 1000, 8))
    for dtype in DTYPES:
        arrays = [x.astype(dtype) for x in (q[:, :100], k, v, g[:, :100])]
        right, mine = both(*arrays, None, False, 1.0)
        scale = 1 if dtype == np.float64 else 100  # scores of 500 have lost 3 digits
        for x, y in zip(right, mine):
            np.testing.assert_allclose(y, x, rtol=0, atol=NEAR[dtype] * scale * np.abs(x).max())


@pytest.mark.parametrize("hidden", [-math.inf, float(np.finfo(np.float32).min), False])
def test_a_query_that_may_see_nothing(hidden):
    """Gets 0, and gives no gradient; with numbers that are merely very low, all keys count alike."""
    rng = np.random.default_rng(0)
    q, k, v, g = rng.standard_normal((4, 2, 50, 16)).astype(np.float32)
    mask = np.full((50, 50), hidden)
    mask[10:] = True if hidden is False else 0
    mask = mask if hidden is False else mask.astype(np.float32)
    agree(q, k, v, g, mask, False)
    out, log_total = fused_attention.attention(q, k, v, mask, False, 0.3)
    if hidden in (-math.inf, False):
        assert not out[:, :10].any()
        assert (log_total[:, :10] == -math.inf).all()
        _, _, dv, _ = fused_attention.attention_backward(
            g, q, k, v, mask, out, log_total, False, 0.3, mask_too=False
        )
        alone = g.copy()
        alone[:, :10] = 0
        *_, same, _ = fused_attention.attention_backward(
            alone, q, k, v, mask, out, log_total, False, 0.3, mask_too=False
        )
        np.testing.assert_array_equal(dv, same)
    with_causal = fused_attention.attention(q, k[:, :20], v[:, :20], None, True, 0.3)[0]
    assert not with_causal[:, :30].any()
    assert with_causal[:, 30:].all()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", ["q", "k", "v"])
def test_what_is_not_finite_shows_where_it_does_by_definition(bad, place):
    rng = np.random.default_rng(3)
    arrays = dict(zip("qkv", rng.standard_normal((3, 1, 40, 16))))
    arrays[place][0, 7, 3] = bad
    with np.errstate(invalid="ignore"):
        right, _ = reference.attention(*arrays.values(), None, False, 1.0)
    mine, _ = fused_attention.attention(*arrays.values(), None, False, 1.0)
    np.testing.assert_array_equal(np.isnan(mine), np.isnan(right))


def test_the_future_has_no_influence():
    rng = np.random.default_rng(0)
    q, k, v, g = rng.standard_normal((4, 2, 200, 16)).astype(np.float32)
    g[:, 121:] = 0
    out, log_total = fused_attention.attention(q, k, v, None, True, 0.3)
    dq, dk, dv, _ = fused_attention.attention_backward(
        g, q, k, v, None, out, log_total, True, 0.3, mask_too=False
    )
    for gradient in (dq, dk, dv):
        assert not gradient[:, 121:].any()
        assert gradient[:, 1:121].any(axis=-1).all()  # query 0 has no choice, so that its dq is 0
    k[:, 121:], v[:, 121:] = 1e6, -1e6
    np.testing.assert_array_equal(
        fused_attention.attention(q, k, v, None, True, 0.3)[0][:, :121], out[:, :121]
    )


def test_the_gradient_of_a_mask_is_left_to_the_definition():
    x, mask = np.ones((2, 30, 16)), np.zeros((30, 30))
    out, log_total = fused_attention.attention(x, x, x, mask, False, 1.0)
    given = x, x, x, x, mask, out, log_total, False, 1.0
    assert fused_attention.attention_backward(*given, mask_too=True) is NotImplemented
    assert fused_attention.attention_backward(*given, mask_too=False)[3] is None
    bias = tg.tensor(np.random.default_rng(0).standard_normal((30, 30)), requires_grad=True)
    tg.attention(x, x, np.arange(16) + x, bias).sum().backward()
    assert bias.grad.shape == (30, 30)


def test_the_scale_may_be_an_array_without_axes():
    x = np.random.default_rng(0).standard_normal((2, 40, 16)).astype(np.float32)
    np.testing.assert_array_equal(
        tg.attention(x, x, x, scale=np.array(0.25)), tg.attention(x, x, x, scale=0.25)
    )


def test_it_leaves_to_the_reference_what_is_not_its_own():
    x = np.ones((2, 30, 16))
    mixed = x.astype(np.float32)
    for q, k, v, mask in [
        (x, mixed, x, None),
        (x.astype(">f8"), x, x, None),
        (x, x, x, np.ones((30, 30), np.float32)),
        (x[:, :0], x, x, None),
        (x, x[:, :0], x[:, :0], None),
    ]:
        assert fused_attention.attention(q, k, v, mask, False, 1.0) is NotImplemented
        assert kernels.attention(q, k, v, mask, False, 1.0)[0].shape == q.shape


@pytest.mark.skipif(config.DISABLE_JIT, reason="views of memory do not grow")
def test_it_writes_nowhere_else():
    """The kernels write into the middle of arrays, with numbers on both sides that must stay."""
    rng = np.random.default_rng(0)
    q, k, v, g = rng.standard_normal((4, 1, 1, 45, 20)).astype(np.float32)
    padded, empty = [fused_attention._in_vectors(x) for x in (v, g, q, k)], np.empty((1, 1, 0, 0), np.float32)

    def framed(*shape):
        whole = np.full(math.prod(shape) + 200, 7, np.float32)
        return whole, whole[100:-100].reshape(shape)

    (frame, out), (frame_log, log_total) = framed(1, 1, 45, 20), framed(1, 1, 45)
    low = np.finfo(np.float32).min
    fused_attention._attention(q, k, padded[0], empty, False, True, 0.3, low, out, log_total, work=0)
    frames = [framed(*shape) for shape in [(1, 1, 1, 45, 20), (1, 1, 45, 20), (1, 1, 45, 20)]]
    given = *padded[1:], v, out, log_total[..., None], empty, False, True, 0.3
    fused_attention._attention_backward(*given, *[into for _, into in frames], work=0)
    for whole, inside in [(frame, out), (frame_log, log_total), *frames]:
        assert (whole[:100] == 7).all()
        assert (whole[-100:] == 7).all()
        assert (inside != 7).all()


# The softmax down a block


@kernel
def _run(x: Writes[1], y: Writes[1], ld: Size, rows: Size, a: Writes[1], b: Writes[1], kind: Size):
    if kind == 0:
        scores.highest(tile.at(x, 3), ld, rows, tile.at(a, 1))
    elif kind == 1:
        scores.exponentials(tile.at(x, 3), ld, rows, tile.at(a, 1), tile.at(b, 2))
    else:
        scores.differentials(tile.at(x, 3), tile.at(y, 5), ld, rows, tile.at(a, 1), tile.at(b, 2))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [0, 1, 7])
@pytest.mark.parametrize("kind", ["highest", "exponentials", "differentials"])
def test_a_block_is_as_its_twin_and_nothing_else_is_written(kind, rows, dtype):
    rng = np.random.default_rng(0)
    wide = tile.columns_in_numpy(np.empty(0, dtype))
    ld = wide + 5
    x, y, a, b = [rng.uniform(-90, 0, size).astype(dtype) for size in (9 * ld, 9 * ld, wide + 4, wide + 4)]
    x[3 : 3 + min(rows, 1) * 4] = [-math.inf, math.nan, -200, -math.inf][: min(rows, 1) * 4]
    a[1:] = -80 if kind == "highest" else 0
    mine, theirs = [[z.copy() for z in (x, y, a, b)] for _ in range(2)]
    kinds = ["highest", "exponentials", "differentials"]
    _run(mine[0], mine[1], ld, rows, mine[2], mine[3], kinds.index(kind), work=0)
    twin = getattr(scores, f"{kind}_in_numpy")
    first, second = (theirs[0], 3), (theirs[1], 5) if kind == "differentials" else (theirs[0], 3)
    last = (theirs[3], 2) if kind != "highest" else (theirs[2], 1)
    twin(first, second, ld, rows, (theirs[2], 1), last)
    for got, right in zip(mine, theirs):
        np.testing.assert_allclose(got, right, rtol=4 * np.finfo(dtype).eps, atol=0)
    assert bool(rows) == any(
        (got != before)[~np.isnan(before)].any() for got, before in zip(mine, (x, y, a, b))
    )
