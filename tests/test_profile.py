"""The profile of a step: calls, operations and bytes counted by hand, times by a clock of ours, the table.

The clock is an argument of `profile`, so no test here waits for a real one.
"""

import itertools
import json
import math
import os
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tinygen import nn
from tinygen.autograd.modes import Observer, observing
from tinygen.autograd.ops.convolution import convolve, convolve_image, convolve_kernel
from tinygen.autograd.ops.linalg import contraction
from tinygen.kernels import machine
from tinygen.models import VAE, VAEConfig
from tinygen.optim import Adam
from tinygen.training.profile import Profile, Row, _peaks, lap, profile
from tinygen.training.work import forward_bytes, forward_flops, is_view, size

# GFLOP/s and GB/s of a machine that nobody has: round numbers
PEAKS = {"arithmetic": {"one": 1.0, "all": 2.0}, "triad": {"one": 0.5, "all": 1.0}, "threads": 2}
FLOAT = 4  # bytes


def leaf(*shape):
    return tg.tensor(np.random.default_rng(0).random(shape, dtype=np.float32) + 0.5, requires_grad=True)


def rows(step):
    """What a single step does: (operation, phase) -> Row."""
    ticks = itertools.count().__next__
    found = profile(step, repeats=1, warmup=0, peaks=PEAKS, clock=ticks).rows
    return {(row.operation, row.phase): row for row in found}


def flops(step):
    """(forward, backward) operations of a step."""
    found = rows(step).values()
    return tuple(sum(row.flops for row in found if row.phase == phase) for phase in ("forward", "backward"))


# Calls


def perceptron():
    """A step on 8 examples through layers of 5, 4 and 3, and its parts."""
    rng = np.random.default_rng(1)
    model = nn.Sequential(nn.Linear(5, 4, rng=rng), nn.ReLU(), nn.Linear(4, 3, rng=rng))
    x = rng.random((8, 5), dtype=np.float32)
    return model, lambda: tg.sum(model(x)).backward()


def test_calls_are_counted_forward_and_backward():
    _, step = perceptron()
    calls = {key: row.calls for key, row in rows(step).items() if row.phase != "elsewhere"}
    each = {"linear": 2, "relu": 1, "sum": 1}
    expected = {(name, phase): n for name, n in each.items() for phase in ("forward", "backward")}
    assert calls == {**expected, ("(backward pass)", "backward"): 1}


def test_operations_without_a_gradient_are_forward_too():
    def step():
        with tg.no_grad():
            tg.exp(leaf(3))

    assert rows(step)["exp", "forward"].calls == 1


def test_a_result_that_two_use_counts_once_backward():
    def step():
        x = leaf(3)
        (x * x).sum().backward()

    assert rows(step)["multiply", "backward"].calls == 1


def test_a_second_pass_through_a_retained_graph_counts_again():
    def step():
        y = tg.sum(leaf(3))
        y.backward(retain_graph=True)
        y.backward()

    assert rows(step)["sum", "backward"].calls == 2


# Floating-point operations


def test_flops_of_a_perceptron():
    _, step = perceptron()
    first, second = 2 * 8 * 5 * 4, 2 * 8 * 4 * 3
    assert flops(step) == (first + second, first + 2 * second)  # the images need no gradient


def test_flops_of_matmul():
    product = 2 * 3 * 4 * 5
    assert flops(lambda: (leaf(3, 4) @ leaf(4, 5)).sum().backward()) == (product, 2 * product)
    assert flops(lambda: (leaf(6, 3, 4) @ leaf(4, 5).numpy()).sum().backward()) == (6 * product, 6 * product)
    assert flops(lambda: leaf(3, 4) @ leaf(4)) == (2 * 3 * 4, 0)


def test_flops_of_linear_of_one_vector_leave_out_the_bias():
    product = 2 * 4 * 4
    found = flops(lambda: tg.linear(leaf(4), leaf(4, 4), leaf(4)).sum().backward())
    assert found == (product, 2 * product)


def test_flops_of_conv2d():
    product = 2 * (2 * 4 * 8 * 8) * (3 * 3 * 3)  # each of the results from 3 channels of 3 x 3
    found = flops(lambda: tg.conv2d(leaf(2, 3, 8, 8), leaf(4, 3, 3, 3), leaf(4), padding=1).sum().backward())
    assert found == (product, 2 * product)


def test_flops_of_conv2d_in_groups_and_strides():
    product = 2 * (2 * 4 * 4 * 4) * (1 * 2 * 2)
    found = flops(lambda: tg.conv2d(leaf(2, 2, 8, 8), leaf(4, 1, 2, 2), stride=2, groups=2).sum().backward())
    assert found == (product, 2 * product)


def test_flops_of_conv_transpose2d():
    product = 2 * (2 * 3 * 4 * 4) * (5 * 2 * 2)  # each input pixel paints 5 channels of 2 x 2
    found = flops(lambda: tg.conv_transpose2d(leaf(2, 3, 4, 4), leaf(3, 5, 2, 2), stride=2).sum().backward())
    assert found == (product, 2 * product)


def attended(queries, keys, causal):
    """(forward, backward) of attention in 2 sequences and 3 heads, by counting the pairs that are seen."""
    pairs = 2 * 3 * sum(not causal or s <= t + keys - queries for t in range(queries) for s in range(keys))
    d, e = 8, 5
    return 2 * pairs * (d + e), 2 * pairs * (3 * d + 2 * e)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("queries, keys", [(4, 4), (4, 6), (1, 6), (6, 4), (5, 1), (1, 1)])
def test_flops_of_attention(queries, keys, causal):
    q, k, v = leaf(2, 3, queries, 8), leaf(2, 3, keys, 8), leaf(2, 3, keys, 5)
    found = flops(lambda: tg.attention(q, k, v, causal=causal).sum().backward())
    assert found == attended(queries, keys, causal)


def test_flops_of_causal_attention_by_hand():
    def forward(queries, keys):
        return flops(lambda: tg.attention(leaf(queries, 1), leaf(keys, 1), leaf(keys, 1), causal=True))[0]

    assert forward(1, 1000) == 4 * 1000, "one query on cached keys sees them all"
    assert forward(3, 3) == 4 * (1 + 2 + 3)
    assert forward(5, 3) == 4 * (0 + 0 + 1 + 2 + 3)


@pytest.mark.parametrize("causal", [False, True])
def test_flops_of_attention_whose_queries_and_keys_broadcast(causal):
    q, k, v = leaf(1, 1, 4, 8), leaf(6, 8), leaf(2, 3, 6, 5)
    found = flops(lambda: tg.attention(q, k, v, causal=causal).sum().backward())
    assert found == attended(4, 6, causal)


@pytest.mark.parametrize("causal", [False, True])
def test_flops_of_self_attention_are_those_of_its_heads(causal):
    found = flops(lambda: tg.self_attention(leaf(2, 4, 3 * 24), heads=3, causal=causal).sum().backward())
    x = leaf(2, 3, 4, 8)
    assert found == flops(lambda: tg.attention(x, x, x, causal=causal).sum().backward())


def test_flops_of_einsum():
    product = 2 * 2 * 3 * 4 * 5
    found = flops(lambda: tg.einsum("bij,bjk->bik", leaf(2, 3, 4), leaf(2, 4, 5)).sum().backward())
    assert found == (product, 2 * product)
    assert flops(lambda: tg.einsum("i,ij,j->", leaf(3), leaf(3, 4), leaf(4))) == (3 * 3 * 4, 0)
    assert flops(lambda: tg.einsum("i,j->ij", leaf(3), leaf(4))) == (3 * 4, 0)
    assert flops(lambda: tg.einsum("ij->ji", leaf(3, 4))) == (0, 0)


@pytest.mark.parametrize("one, other", [((3, 1), (4, 5)), ((3, 4), (1, 5)), ((3, 4), (4, 5))])
def test_flops_of_einsum_whose_operand_broadcasts(one, other):
    assert flops(lambda: tg.einsum("ij,jk->ik", leaf(*one), leaf(*other))) == (2 * 3 * 4 * 5, 0)


def test_flops_of_others_are_not_counted():
    assert flops(lambda: tg.exp(leaf(3) + leaf(3)).sum().backward()) == (0, 0)


SIZES = st.integers(1, 4)


@given(n=SIZES, k=SIZES, m=SIZES, groups=st.integers(1, 2), stride=st.integers(1, 2))
def test_a_product_of_ones_counts_its_own_multiplications(n, k, m, groups, stride):
    def ones(*shape):
        return tg.tensor(np.ones(shape))

    image, kernels = (n, groups * k, 4, 5), (groups * m, k, 2, 3)
    geometry = tg.kernels.Geometry((stride, 1), (0, 0), (1, 1), groups)
    seen = []

    class Counter(Observer):
        def result(self, primitive, values, attrs, out, node):
            seen.append((forward_flops(primitive, values, attrs, out), out))

    with observing(Counter()):
        tg.matmul(ones(2, n, k), ones(k, m))
        tg.linear(ones(n, k), ones(m, k))
        contraction(ones(n, k), ones(k, m), subscripts="ab,bc->c")
        out = tg.conv2d(ones(*image), ones(*kernels), stride=geometry.stride, groups=groups)
        tg.conv_transpose2d(ones(*out.shape), ones(*kernels), groups=groups)
    assert len(seen) == 5
    for counted, result in seen:
        assert counted == 2 * int(result.sum())


def test_flops_of_the_kernels_gradient_are_those_of_the_convolution():
    x, w = np.ones((2, 3, 5, 5), np.float32), np.ones((4, 3, 2, 2), np.float32)
    geometry = tg.kernels.Geometry((1, 1), (0, 0), (1, 1), 1)
    out = convolve(x, w, geometry)
    attrs = {"geometry": geometry}
    counts = {
        forward_flops(convolve.primitive, (x, w), attrs, out),
        forward_flops(convolve_image.primitive, (out, w), attrs, x),
        forward_flops(convolve_kernel.primitive, (x, out), attrs, w),
    }
    assert counts == {2 * int(out.sum())}


# Bytes


def test_bytes_of_an_addition():
    found = rows(lambda: (leaf(3, 4) + leaf(3, 4)).backward(np.ones((3, 4))))
    assert found["add", "forward"].bytes == 3 * 12 * FLOAT
    assert found["add", "backward"].bytes == 0  # the cotangent itself is passed on


def test_bytes_of_an_addition_that_broadcasts():
    found = rows(lambda: (leaf(3, 4) + leaf(4)).backward(np.ones((3, 4))))
    assert found["add", "forward"].bytes == (12 + 4 + 12) * FLOAT
    assert found["add", "backward"].bytes == (12 + 4) * FLOAT  # the cotangent is summed


def test_bytes_of_a_multiplication():
    found = rows(lambda: (leaf(3, 4) * leaf(3, 4)).backward(np.ones((3, 4))))
    assert found["multiply", "forward"].bytes == 3 * 12 * FLOAT
    assert found["multiply", "backward"].bytes == (1 + 2 + 2) * 12 * FLOAT  # cotangent, kept, gradients


def test_views_move_nothing():
    for change in (lambda x: x.reshape(4, 3), lambda x: x.T):
        found = rows(lambda change=change: change(leaf(3, 4)).backward(np.ones((4, 3))))
        assert len(found) == 4 and {row.bytes for row in found.values()} == {0}


def test_a_result_that_is_a_view_of_any_input_moves_nothing():
    x, y = np.ones((3, 4), np.float32), np.ones((3, 4), np.float32)
    for out, moved in ((x[1:], 0), (y[1:], 0), (x[1:] + 0, (12 + 12 + 8) * FLOAT)):
        assert forward_bytes(tg.add.primitive, (x, y), {}, out) == moved


TABLE_OF_ROWS, PICKED = 1000 * 16 * FLOAT, 4 * 16 * FLOAT


@pytest.mark.parametrize("pick", [tg.embedding, lambda x, i: x[i], lambda x, i: tg.take(x, i, axis=0)])
def test_an_index_moves_what_it_picks_and_the_gradient_the_whole_table(pick):
    indices = np.array([1, 999, 0, 1])
    found = rows(lambda: pick(leaf(1000, 16), indices).backward(np.ones((4, 16))))
    assert found["getitem", "forward"].bytes == 2 * PICKED + indices.nbytes
    assert found["getitem", "backward"].bytes == PICKED + indices.nbytes + TABLE_OF_ROWS


def test_what_is_added_to_a_table_has_a_gradient_that_is_picked():
    indices = np.array([1, 999, 0, 1])

    def step():
        tg.index_add(np.zeros((1000, 16), np.float32), indices, leaf(4, 16)).backward(np.ones((1000, 16)))

    found = rows(step)
    assert found["scatter_add", "forward"].bytes == PICKED + TABLE_OF_ROWS + indices.nbytes
    assert found["scatter_add", "backward"].bytes == 2 * PICKED + indices.nbytes


def test_a_slice_moves_nothing_and_its_gradient_the_whole_array():
    found = rows(lambda: leaf(10, 4)[2:5].backward(np.ones((3, 4))))
    assert found["getitem", "forward"].bytes == 0
    assert found["getitem", "backward"].bytes == (12 + 40) * FLOAT


def test_sizes_of_arrays_and_what_lies_in_their_memory():
    x = np.ones((3, 4), np.float32)
    assert size(x) == 48 and size((x, (x, 2.0, "axis"), None)) == 96
    assert size(np.broadcast_to(x[0], (100, 4))) == 16
    assert size(np.ones((0, 4))) == 0
    assert is_view(x, x) and is_view(x[1:], x) and is_view(x[1:], x[:2])
    assert not is_view(x + 1, x) and not is_view(x, 1.0)


# Phases


def test_a_recorded_pass_counts_its_own_operations_backward_and_once():
    product = 2 * 3 * 4 * 5

    def step():
        x, w = leaf(3, 4), leaf(4, 5)
        dx = tg.gradients(tg.tanh(x @ w).sum(), x, create_graph=True)
        (dx**2).sum().backward()

    # The first pass computes x's gradient. The second goes through that product, to its two factors, and
    # through the first product, to both again.
    assert flops(step) == (product * 1, product * (1 + 2 + 2))
    found = rows(step)
    assert found["tanh", "forward"].calls == 1 and found["power", "forward"].calls == 1
    assert found["matmul", "forward"].calls == 1


def test_a_checkpoint_computes_again_backward():
    product = 2 * 3 * 4 * 5
    found = flops(lambda: tg.checkpoint(tg.matmul, leaf(3, 4), leaf(4, 5)).sum().backward())
    assert found == (product, 3 * product)


@pytest.mark.parametrize("inner", [False, True])
@pytest.mark.parametrize("outer", [False, True])
@mock.patch.dict(tg.REGISTRY)  # so that `passed` is forgotten afterwards
def test_a_pass_inside_of_another_counts_by_itself(outer, inner):
    """A rule that differentiates something else by the way, with or without a graph of its own."""
    product, w = 2 * 3 * 4 * 5, leaf(4, 5).numpy()

    def rule(g):
        z = leaf(3, 4)
        tg.gradients((z @ w).sum(), z, create_graph=inner)
        return g

    @tg.primitive
    def passed(x, y):
        return x + y

    passed.rules(x=lambda g: g, y=rule)

    def step():
        x, y = leaf(3), leaf(3)
        tg.gradients(passed(x, y).sum(), [x, y], create_graph=outer)

    assert flops(step) == (0, 2 * product)  # the product and its gradient, told of or derived
    assert rows(step)["passed", "backward"].calls == 1  # also where the pass lies between its two gradients


def test_two_passes_in_one_step_are_both_backward():
    def step():
        tg.exp(leaf(3)).sum().backward()
        tg.exp(leaf(3)).sum().backward()

    found = rows(step)
    assert found["exp", "forward"].calls == found["exp", "backward"].calls == 2


# Times


class Hands:
    """A clock that stands still until somebody moves its hands."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def wait(self, seconds):
        self.now += seconds


def test_time_counts_to_the_operation_that_ends_it():
    clock = Hands()

    def step():
        clock.wait(1)
        lap("noise")
        clock.wait(2)
        y = tg.exp(leaf(3))
        clock.wait(4)
        z = y.sum()
        clock.wait(8)
        z.backward()
        clock.wait(16)
        lap("optimizer")
        clock.wait(32)

    found = profile(step, repeats=1, warmup=0, peaks=PEAKS, clock=clock)
    times = {(row.operation, row.phase): row.seconds for row in found.rows if row.seconds}
    assert times == {
        ("noise", "elsewhere"): 1,
        ("exp", "forward"): 2,
        ("sum", "forward"): 4,
        ("(backward pass)", "backward"): 8,
        ("optimizer", "elsewhere"): 16,
        ("(rest of the step)", "elsewhere"): 32,
    }
    assert found.seconds == found.unwatched == 63 and found.profiler == 0
    assert [row.seconds for row in found.rows[:6]] == [32, 16, 8, 4, 2, 1]


def test_the_rows_and_the_profilers_own_time_sum_to_the_whole_step():
    reads = []

    def clock():
        reads.append(len(reads) ** 2)  # no two readings are equally far apart
        return reads[-1]

    _, step = perceptron()
    found = profile(step, repeats=1, warmup=0, peaks=PEAKS, clock=clock)
    _, _, start, *_, end = reads  # the first two time the step that nobody watches
    assert found.seconds + found.profiler == end - start and found.profiler > 0
    assert found.unwatched == reads[1] - reads[0]
    assert {row.phase for row in found.rows} == {"forward", "backward", "elsewhere"}


def test_each_figure_is_a_median():
    clock, waits = Hands(), iter([0, 9, 7, 3, 5, 4, 1, 1])

    def step():
        clock.wait(next(waits))
        for x in range(1 + (clock.now > 15)):
            tg.exp(leaf(3 + x))

    found = profile(step, repeats=3, warmup=2, peaks=PEAKS, clock=clock)
    [row] = [row for row in found.rows if row.operation == "exp"]
    assert found.unwatched == 5  # of 7, 5, 1: after two to warm up, watched ones come second
    assert row.seconds == 3 and row.calls == 2  # of 3, 4, 1
    assert next(waits, None) is None


def test_the_profilers_own_time_is_a_median_and_in_no_row():
    turns = iter([0, 2, 0, 5, 0, 3])  # operations of a step; every other one is watched

    def step():
        for _ in range(next(turns)):
            tg.exp(leaf(3))

    # Of a clock that moves by 1 each time it is read, an event takes 1, and the watcher 1 for itself.
    found = profile(step, repeats=3, warmup=0, peaks=PEAKS, clock=itertools.count().__next__)
    assert found.profiler == 3
    assert {row.operation: row.seconds for row in found.rows} == {"exp": 3, "(rest of the step)": 1}


def test_counts_of_two_steps_that_differ_are_the_lower():
    turns = itertools.count()

    def step():
        for _ in range(1 + (next(turns) == 3)):
            tg.exp(leaf(3))

    found = profile(step, repeats=2, warmup=0, peaks=PEAKS, clock=lambda: 0.0)
    assert [row.calls for row in found.rows if row.operation == "exp"] == [1]


def test_a_row_that_some_steps_lack_counts_as_nothing_there():
    turns = itertools.count()

    def step():
        if next(turns) == 1:
            tg.exp(leaf(3))

    found = profile(step, repeats=3, warmup=0, peaks=PEAKS, clock=itertools.count().__next__)
    assert [(row.calls, row.seconds) for row in found.rows if row.operation == "exp"] == [(0, 0)]


def test_a_lap_outside_a_profile_does_nothing():
    lap("nothing")
    with tg.anomaly():
        lap("nothing")


def test_profiling_changes_nothing_of_the_training():
    def trained(run):
        rng = np.random.default_rng(3)
        model = VAE(VAEConfig(height=2, width=3, hidden=5, latent=2), rng=rng)
        optimizer = Adam(model.parameters(), lr=1e-2)
        x = rng.random((4, 2, 3), dtype=np.float32)

        def step():
            loss, *_ = model.loss(x, model.noise(1, 4, rng=rng))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

        run(step)
        gradients = [p.grad.numpy().tobytes() for p in model.parameters()]
        weights = [w.tobytes() for w in model.state_dict().values()]
        return weights, gradients, rng.bit_generator.state

    plain = trained(lambda step: [step() for _ in range(2 + 2 * 3)])
    watched = trained(lambda step: profile(step, repeats=3, peaks=PEAKS))
    assert watched == plain


# Limits


def made(*found, **settings):
    """A Profile of these rows."""
    peaks = {"arithmetic": 2.0, "triad": 1.0}
    whole = {"unwatched": 0.8, "profiler": 0.25, "repeats": 5, "threads": 2, "peaks": peaks}
    return Profile(rows=list(found), **whole | settings)


def test_the_limit_is_the_one_that_binds():
    profiled = made()
    assert (
        profiled.of_roofline(Row("a", "forward", 1, 4.0, bytes=10**9, flops=4 * 10**9)) == 0.5
    )  # 2 s at best
    assert profiled.of_roofline(Row("a", "forward", 1, 4.0, bytes=3 * 10**9, flops=4 * 10**9)) == 0.75  # 3 s
    assert profiled.of_roofline(Row("a", "forward", 1, 1.0, bytes=2 * 10**9)) == 2.0  # from a cache
    assert profiled.of_roofline(Row("a", "forward", 1, 1.0)) is None
    assert profiled.of_roofline(Row("a", "forward", 1, 0.0, bytes=8)) is None


def test_the_peaks_are_those_of_all_threads():
    found = profile(lambda: None, repeats=1, peaks=PEAKS)
    assert found.peaks == {"arithmetic": 2.0, "triad": 1.0} and found.threads == 2


def test_peaks_are_measured_for_long_enough_and_on_the_full_arrays(monkeypatch):
    asked = []
    monkeypatch.setattr(machine, "peaks", lambda *args, **options: asked.append((args, options)) or PEAKS)
    _peaks.cache_clear()
    try:
        profile(lambda: None, repeats=1)
        profile(lambda: None, repeats=1)
    finally:
        _peaks.cache_clear()
    assert asked == [
        ((tg.kernels.most_threads(),), {"seconds": 0.15, "megabytes": 128, "kinds": ("arithmetic", "triad")})
    ]


@pytest.mark.skipif(os.environ.get("NUMBA_DISABLE_JIT") == "1", reason="measures machine code")
def test_peaks_are_measured_once():
    found = profile(lambda: None, repeats=1)
    assert found.peaks["arithmetic"] > 0 and found.peaks["triad"] > 0
    assert found.threads == tg.kernels.most_threads()
    assert profile(lambda: None, repeats=1).peaks == found.peaks


# The table


TABLE = made(
    Row("matmul", "forward", 3, 0.5, bytes=10**8, flops=4 * 10**8),
    Row("a_name_of_an_operation_that_is_long", "backward", 1200, 0.25, bytes=10**8),
    Row("(rest of the step)", "elsewhere", 1, 0.25),
)


def test_the_table_as_a_whole():
    short = made(TABLE.rows[0], TABLE.rows[2])
    expected = """\
operation           phase      calls       ms  share  GFLOP/s  GB/s  of roofline
matmul              forward        3  500.000  66.7%      0.8   0.2        40.0%
(rest of the step)  elsewhere      1  250.000  33.3%

forward 500.000 ms, backward 0.000 ms, elsewhere 250.000 ms; all rows 750.000
ms, 93.8% of the step unwatched

0.5 GFLOP/s, 25.0% of the peak; 2 threads can do 2 GFLOP/s and move 1.0 GB/s

unwatched 800.000 ms; watched 1000.000 ms, of which the profiler 250.000 ms"""
    assert short.table(80) == expected
    assert short.table() == expected


@pytest.mark.parametrize("width", range(40, 121))
def test_the_table_fits(width):
    lines = TABLE.table(width).splitlines()
    assert max(map(len, lines)) <= width
    assert lines[0].split()[:2] == ["operation", "phase"] and " ms" in lines[0] and "share" in lines[0]
    assert len(lines[:4]) == 4 and lines[4] == ""


def test_columns_go_as_the_table_narrows():
    heads = [TABLE.table(width).splitlines()[0].split() for width in (120, 85, 60)]
    assert [len(head) for head in heads] == sorted((len(head) for head in heads), reverse=True)
    assert (
        {"GFLOP/s", "GB/s", "calls"} <= set(heads[0]) and "GB/s" not in heads[1] and "calls" not in heads[2]
    )


@pytest.mark.parametrize("width", [40, 60])
def test_a_name_that_is_cut_ends_in_dots(width):
    names = [line.split()[0] for line in TABLE.table(width).splitlines()[1:3]]
    assert names[0] == "matmul" and names[1].startswith("a_name") and names[1].endswith("...")
    assert "a_name_of_an_operation_that_is_long " in TABLE.table(100)


def test_a_table_that_is_too_narrow_is_an_error():
    with pytest.raises(ValueError, match="table: expected a width of at least 40, got 39; use a wider one"):
        TABLE.table(39)


def test_a_step_that_took_no_time_has_a_table():
    found = profile(lambda: None, repeats=1, peaks=PEAKS, clock=lambda: 0.0)
    assert found.seconds == 0 and "0.0 GFLOP/s, 0.0% of the peak" in found.table()


def test_to_dict_is_json_and_whole():
    found = json.loads(json.dumps(TABLE.to_dict()))
    assert (
        found["seconds"] == 1.0
        and found["unwatched"] == 0.8
        and found["profiler"] == 0.25
        and found["threads"] == 2
    )
    assert found["rows"][0]["operation"] == "matmul" and found["rows"][0]["flops"] == 4 * 10**8
    assert math.isclose(found["rows"][0]["of_roofline"], 0.4) and found["rows"][2]["of_roofline"] is None


# Mistakes


@pytest.mark.parametrize(
    "options, message",
    [
        ({"repeats": 0}, "profile: expected repeats of at least 1, got 0; give a larger one"),
        ({"warmup": -1}, "profile: expected warmup of at least 0, got -1; give a larger one"),
    ],
)
def test_mistakes_are_told_before_the_step_runs(options, message):
    ran = []
    with pytest.raises(ValueError, match=message):
        profile(lambda: ran.append(1), peaks=PEAKS, **options)
    assert not ran
