"""PyTorch in float64 as oracle: values, gradients and second gradients of every operation.

What is compared stands in torch_table.py; a test holds it to the registry and to every attribute. Where our
conventions differ from PyTorch's on purpose, DIFFERENCES gives the reason and our derivatives by hand.
"""

import inspect
import itertools
import math
import zlib
from functools import partial

import numpy as np
import pytest
from registry import OPERATIONS, call, short

import tinygen as tg

torch = pytest.importorskip("torch")
F = torch.nn.functional

import torch_side  # noqa: E402
from ladder import TOLERANCE, assert_same, our_leaf, plain, their_leaf  # noqa: E402
from torch_table import NO_COUNTERPART, TABLE  # noqa: E402

INF, NAN = math.inf, math.nan


# Every operation

BY_NAME = {short(name): tg.REGISTRY[name] for name in OPERATIONS}
ROWS = [
    pytest.param(name, function, inputs, dict(zip(attributes, chosen)), id=f"{name}-{row}-{number}")
    for name, rows in TABLE.items()
    for row, (function, inputs, attributes) in enumerate(rows)
    for number, chosen in enumerate(itertools.product(*attributes.values()))
]


def test_the_table_covers_every_operation_and_every_attribute():
    assert set(TABLE).isdisjoint(NO_COUNTERPART)
    assert set(TABLE) | set(NO_COUNTERPART) == set(BY_NAME) | set(tg.ops.__all__)
    for name, rows in TABLE.items():
        tried = [set(row[2]) for row in rows]
        parameters = dict(inspect.signature(BY_NAME[name]).parameters)
        optional = {key for key, value in parameters.items() if value.default is not value.empty}
        attributes = set(parameters) - set(BY_NAME[name].domains.inputs)
        assert set.union(*tried) == attributes, f"{name}: an attribute is not tried"
        assert set.intersection(*tried).isdisjoint(optional), f"{name}: a default is not tried"


@pytest.mark.parametrize("name, function, inputs, attrs", ROWS)
def test_values_gradients_and_second_gradients_are_pytorchs(name, function, inputs, attrs):
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    arrays = [make if make is None else make(rng) for make in inputs]
    assert_same(lambda *xs: call(BY_NAME[name], xs, attrs), lambda *xs: function(*xs, **attrs), arrays)


# Fused operations, to the fourth order


def _their_layer_norm(x, weight, bias):
    return torch_side.normalised(x, weight, bias, (-1,), (-1,), 1e-3)


def _their_batch_norm(x, weight, bias):
    return torch_side.normalised(x, weight, bias, (0, 2), (1, -1, 1), 1e-3)


def _their_rms_norm(x, weight):
    return torch_side.rms_normalised(x, weight, 1e-3)


def _our_cross_entropy(logits):
    return tg.cross_entropy(logits, np.array([0, 2, -1]), label_smoothing=0.1, ignore_index=-1)


def _their_cross_entropy(logits):
    log_p = torch.log_softmax(logits, -1)[:2]
    return (-0.9 * log_p[[0, 1], [0, 2]] - 0.1 * log_p.mean(-1)).mean()


def _their_attention(q, k, v):
    return torch_side.softmax_attention(q, k, v, None, causal=True)


FUSED = {
    "layer_norm": (partial(tg.layer_norm, eps=1e-3), _their_layer_norm, [(2, 4), (4,), (4,)]),
    "batch_norm": (partial(tg.batch_norm, eps=1e-3), _their_batch_norm, [(3, 2, 2), (2,), (2,)]),
    "rms_norm": (partial(tg.rms_norm, eps=1e-3), _their_rms_norm, [(2, 4), (4,)]),
    "cross_entropy": (_our_cross_entropy, _their_cross_entropy, [(3, 4)]),
    "attention": (partial(tg.attention, causal=True), _their_attention, [(2, 3), (3, 3), (3, 2)]),
    "conv2d": (partial(tg.conv2d, stride=2), partial(F.conv2d, stride=2), [(1, 2, 3, 4), (2, 2, 2, 2)]),
    "prod": (tg.prod, torch.prod, [(4,)]),
    "cumprod": (partial(tg.cumprod, axis=0), partial(torch.cumprod, dim=0), [(4,)]),
}


@pytest.mark.parametrize("name", FUSED)
def test_fourth_derivatives_are_those_of_the_formula(name):
    ours, theirs, shapes = FUSED[name]
    rng = np.random.default_rng(3)
    assert_same(ours, theirs, [rng.standard_normal(shape) for shape in shapes], orders=4)


def test_nested_grad_gives_the_third_derivative_of_layer_norm():
    """Along v, three times: where PyTorch's own layer_norm is silently wrong, so theirs is the formula."""
    x, v = np.random.default_rng(0).standard_normal((2, 2, 4))

    def along_v(f):
        return lambda x: (tg.grad(f)(x) * v).sum()

    got = along_v(along_v(along_v(lambda x: tg.tanh(tg.layer_norm(x)).sum())))(tg.tensor(x))
    t = torch.tensor(x, requires_grad=True)
    expected = torch.tanh(torch_side.standardised(t, -1, 1e-5)).sum()
    for _ in range(3):
        expected = (torch.autograd.grad(expected, t, create_graph=True)[0] * torch.tensor(v)).sum()
    assert abs(expected.item()) > 0.1
    assert got.item() == pytest.approx(expected.item(), rel=TOLERANCE)


# Attention against their fused one


@pytest.mark.parametrize("mask", [None, "boolean", "additive"])
@pytest.mark.parametrize("scale", [None, 0.4])
@pytest.mark.parametrize("queries, causal", [(5, False), (5, True), (3, False)])
def test_attention_is_their_scaled_dot_product_attention(queries, causal, scale, mask):
    rng = np.random.default_rng(5)
    qkv = [rng.standard_normal(shape) for shape in ((2, 3, queries, 4), (2, 3, 5, 4), (2, 3, 5, 6))]
    see = (rng.random((queries, 5)) < 0.6) | np.eye(queries, 5, dtype=bool)
    ours = {None: None, "boolean": see, "additive": rng.standard_normal((queries, 5))}[mask]
    theirs, past = ours, np.tril(np.ones((queries, 5), bool))
    if mask and causal:  # they take one of the two only: say both in the mask
        theirs = ours & past if mask == "boolean" else np.where(past, ours, -INF)
    expected = F.scaled_dot_product_attention(
        *map(torch.tensor, qkv),
        attn_mask=None if theirs is None else torch.tensor(theirs),
        is_causal=causal and mask is None,
        scale=scale,
    )
    got = tg.attention(*qkv, ours, causal=causal, scale=scale)
    np.testing.assert_allclose(got, expected.numpy(), rtol=TOLERANCE, atol=TOLERANCE)


# Far from the origin

FAR = [-INF, -1e300, -800.0, -40.0, -4.1, -1e-8, -1e-300, 1e-300, 1e-8, 4.1, 40.0, 800.0, 1e300, INF]
TORCH = "tanh sigmoid erf exp expm1 log log1p sqrt sin cos abs sign relu square reciprocal".split()
FUNCTIONAL = "softplus silu gelu elu leaky_relu".split()
TANH = {"approximate": "tanh"}
FAR_OUT = {
    **{name: (getattr(tg, name), getattr(torch, name)) for name in TORCH},
    **{name: (getattr(tg, name), getattr(F, name)) for name in FUNCTIONAL},
    "gelu, tanh": (partial(tg.gelu, **TANH), partial(F.gelu, **TANH)),
    "logsumexp": (
        lambda x: tg.logsumexp(tg.stack([x, tg.zeros_like(x)]), 0),
        lambda x: torch.logsumexp(torch.stack([x, torch.zeros_like(x)]), 0),
    ),
}


@pytest.mark.parametrize("name", FAR_OUT)
def test_values_and_gradients_far_out_are_pytorchs(name):
    """Values are infinite and NaN where theirs are. Gradients may be finite where theirs are not."""
    ours, theirs = FAR_OUT[name]
    x, t = our_leaf(np.array(FAR)), their_leaf(np.array(FAR))
    with np.errstate(all="ignore"):  # log(-1) and the like
        y = ours(x)
    u = theirs(t)
    np.testing.assert_allclose(plain(y), plain(u), rtol=TOLERANCE, atol=1e-300)
    got = tg.gradients(y, x, np.ones(len(FAR))).numpy()
    expected = plain(torch.autograd.grad(u.sum(), t)[0])
    defined = np.isfinite(expected)
    np.testing.assert_allclose(got[defined], expected[defined], rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("name", FAR_OUT)
def test_nan_in_is_nan_out(name):
    ours, _ = FAR_OUT[name]
    assert np.isnan(ours(np.array([NAN, 1.0]))).tolist() == [True, False]


def test_erf_is_right_to_the_last_bits():
    """On all three intervals of its approximation, relative to the C library's."""
    x = np.concatenate([np.linspace(-7, 7, 2001), np.geomspace(1e-300, 0.5, 500)])
    np.testing.assert_allclose(tg.erf(x), [math.erf(value) for value in x], rtol=1e-15, atol=0)


# Differences, each a written convention


def _largest(lib, x):
    return tg.max(x, axis=0) if lib is tg else torch.max(x, 0)[0]


def _pooled(lib, x):
    pool = tg.max_pool2d if lib is tg else F.max_pool2d
    return pool(lib.reshape(x, (1, 1, 1, 2)), (1, 2))


def _padding_only(lib, x):
    targets = np.array([-100])
    logits = lib.reshape(x, (1, 2))
    return tg.cross_entropy(logits, targets) if lib is tg else F.cross_entropy(logits, torch.tensor(targets))


def _one_late_query(lib, x):
    """One query and two keys, all zeros: the mean of the values that it may see."""
    q, k, v = lib.zeros_like(x)[:1, None], lib.zeros_like(x)[:, None], x[:, None]
    if lib is tg:
        return tg.attention(q, k, v, causal=True)
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def _log(lib, x):
    return lib.where(x > 0, lib.log(x), 0.0)


def _reciprocal(lib, x):
    return lib.where(x > 0, 1 / x, 0.0)


NORM = "a norm has gradient 0 at 0, however it is written"
ABSORB = "a zero cotangent stays zero"
NOTHING = "a query that may see nothing gets and gives nothing"
PADDING = "padding costs nothing; their mean is 0 / 0"
CACHED = "cached keys are past: the last query sees all"
ZERO = [0.0, 0.0]

# point: (function of library and x, x, our gradient, the gradient of its sum, why)
DIFFERENCES = {
    "sqrt at 0": (lambda lib, x: lib.sqrt(x), [0.0, 4.0], [0.0, 0.25], [0.0, -1 / 32], NORM),
    "x ** 0.5 at 0": (lambda lib, x: x**0.5, [0.0, 4.0], [0.0, 0.25], [0.0, -1 / 32], NORM),
    "x ** 1.5 at 0": (lambda lib, x: x**1.5, [0.0, 4.0], [0.0, 3.0], [0.0, 0.375], NORM),
    "sqrt of squares": (lambda lib, x: lib.sqrt((x**2).sum()), ZERO, ZERO, ZERO, NORM),
    "norm at 0": (lambda lib, x: lib.norm(x), ZERO, ZERO, ZERO, NORM),
    "log, not taken": (_log, [0.0, 2.0], [0.0, 0.5], [0.0, -0.25], ABSORB),
    "1 / x, not taken": (_reciprocal, [0.0, 2.0], [0.0, -0.25], [0.0, 0.25], ABSORB),
    "softmax of -inf": (lambda lib, x: lib.softmax(x, -1), [-INF, -INF], ZERO, ZERO, NOTHING),
    "log_softmax of -inf": (lambda lib, x: lib.log_softmax(x, -1), [-INF, -INF], ZERO, ZERO, NOTHING),
    "log_softmax beside -inf": (lambda lib, x: lib.log_softmax(x, -1), [0.0, -INF], ZERO, ZERO, NOTHING),
    "logsumexp of -inf": (lambda lib, x: lib.logsumexp(x, -1), [-INF, -INF], ZERO, ZERO, NOTHING),
    "max over an axis": (_largest, [3.0, 3.0], [0.5, 0.5], ZERO, "ties share, as in their amax"),
    "max_pool2d": (_pooled, [3.0, 3.0], [0.5, 0.5], ZERO, "ties share"),
    "cross_entropy": (_padding_only, [1.0, 2.0], ZERO, ZERO, PADDING),
    "attention": (_one_late_query, [1.0, 3.0], [0.5, 0.5], ZERO, CACHED),
}


def _to_second_order(lib, leaf, gradient, f, x):
    """The value, the gradient of its sum, and the gradient of the gradient's sum."""
    x = leaf(np.array(x))
    with np.errstate(all="ignore"):  # log(0) and 1 / 0
        y = f(lib, x)
    first = gradient(y.sum(), x, create_graph=True)
    second = gradient(first.sum(), x, create_graph=True) if first.requires_grad else lib.zeros_like(x)
    return [plain(value) for value in (y, first, second)]


def _their_gradient(y, x, create_graph):
    return torch.autograd.grad(y, x, create_graph=create_graph)[0]


@pytest.mark.parametrize("point", DIFFERENCES)
def test_differences_are_written_conventions(point):
    f, x, gradient, second, _ = DIFFERENCES[point]
    ours = _to_second_order(tg, our_leaf, tg.gradients, f, x)
    np.testing.assert_allclose(ours[1], gradient, atol=1e-12)
    np.testing.assert_allclose(ours[2], second, atol=1e-12)
    theirs = _to_second_order(torch, their_leaf, _their_gradient, f, x)
    assert not all(map(np.array_equal, ours, theirs)), "no difference any more: take it off the list"
