"""Empty and 0-d arrays work everywhere; float32 and float64 stay what they are, and mixing them promotes."""

import math

import numpy as np
import pytest
from hard_points import check, leaf, no_warnings
from registry import OPERATIONS, short

import tinygen as tg
from tinygen.autograd.domain import Choice, Values

INF = math.inf

# Operations that are defined on any shape


def case_of_any_shape(operation):
    return next((case for case in operation.domains.cases if case.shapes is None), None)


ANY_SHAPE = [name for name in OPERATIONS if case_of_any_shape(tg.REGISTRY[name])]


def inside(values, shape, i):
    """Input number i, well inside of what an operation's domain allows; no two inputs are equal."""
    if values.kind == "bool":
        return np.full(shape, True)
    return np.full(shape, values.low + (0.64 + 0.01 * i) * (values.high - values.low))


def any_shape_call(name, shape):
    """(operation, inputs of that shape, attributes), from the operation's domain."""
    operation = tg.REGISTRY[name]
    case, attrs = case_of_any_shape(operation), {}
    drawn = [case.values.get(name, Values()) for name in operation.domains.inputs]
    for key, choice in case.attrs.items():
        attrs[key] = (
            None if isinstance(choice, Choice) else (choice([shape]) if callable(choice) else choice)[0]
        )
    return operation, [inside(values, shape, i) for i, values in enumerate(drawn)], attrs


def climb(operation, inputs, attrs):
    """The value, the gradients, and gradients of these by inputs and cotangent: plain and recorded."""
    leaves = [leaf(x) if x.dtype.kind == "f" else x for x in inputs]
    own = [x for x in leaves if isinstance(x, tg.Tensor)]
    y = operation(*leaves, **attrs)
    cotangent = leaf(np.full(y.shape, 0.7))
    with no_warnings():
        plain = tg.gradients(y, own, cotangent, retain_graph=True)
        recorded = tg.gradients(y, own, cotangent, create_graph=True)
        second = []
        for kept in False, True:
            live = [g for g in recorded if g.requires_grad]
            directions = [np.full(g.shape, 0.3) for g in live]
            second += (
                tg.gradients(live, [*own, cotangent], directions, create_graph=kept, retain_graph=True)
                if live
                else []
            )
    assert all(isinstance(x.data, np.ndarray) for x in (y, *plain, *recorded, *second))
    return [x.numpy() for x in (y, *plain, *recorded, *second)]


@pytest.mark.parametrize("name", ANY_SHAPE, ids=short)
def test_0d_arrays_give_what_one_element_gives(name):
    for bare, one in zip(climb(*any_shape_call(name, ())), climb(*any_shape_call(name, (1,))), strict=True):
        assert bare.dtype == np.float64
        np.testing.assert_allclose(bare.ravel(), one.ravel(), rtol=1e-14, atol=1e-300)


@pytest.mark.parametrize("shape", [(0,), (2, 0), (0, 3)])
@pytest.mark.parametrize("name", ANY_SHAPE, ids=short)
def test_empty_arrays_give_empty_gradients(name, shape):
    operation, inputs, attrs = any_shape_call(name, shape)
    real = [x.shape for x in inputs if x.dtype.kind == "f"]
    value, *gradients = climb(operation, inputs, attrs)
    assert value.size in (0, 1)  # 1: a sum over nothing
    assert [g.shape for g in gradients[: len(real)]] == real
    assert {g.shape for g in gradients} <= {*real, value.shape}


# Reductions

# name: (of nothing, of a 0-d x = 1.5, the gradient there). None: an error that names the operation.
REDUCTIONS = {
    "sum": (0.0, 1.5, 1.0),
    "mean": (math.nan, 1.5, 1.0),
    "prod": (1.0, 1.5, 1.0),
    "norm": (0.0, 1.5, 1.0),
    "logsumexp": (-INF, 1.5, 1.0),
    "max": (None, 1.5, 1.0),
    "min": (None, 1.5, 1.0),
    "var": (None, 0.0, 0.0),
    "std": (None, 0.0, 0.0),
}
ALONG = ("softmax", "log_softmax", "cumsum", "cumprod")  # these keep the shape


def test_no_reduction_is_forgotten():
    assert {short(name) for name in OPERATIONS if ".reductions." in name} == {*REDUCTIONS, *ALONG}


@pytest.mark.filterwarnings(
    "ignore:Mean of empty slice:RuntimeWarning", "ignore:invalid value:RuntimeWarning"
)
@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions_of_nothing_and_of_0d(name):
    operation, (of_nothing, of_0d, slope) = getattr(tg, name), REDUCTIONS[name]
    check(operation, 1.5, of_0d, slope, 0.0)
    for shape, axis in ((0,), None), ((0, 3), 0), ((2, 0), (0, 1)):
        if of_nothing is None:
            with pytest.raises(ValueError, match=name):
                operation(np.zeros(shape), axis)
            continue
        value, *gradients = climb(operation, [np.zeros(shape)], {"axis": axis})
        np.testing.assert_array_equal(value, np.full(np.zeros(shape).sum(axis).shape, of_nothing))
        assert {g.shape for g in gradients} <= {shape, value.shape}


@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions_of_no_rows(name):
    """Over an axis that has elements, in an array that has none."""
    for f in lambda x: getattr(tg, name)(x, 1), lambda x: getattr(tg, name)(x, -1, keepdims=True):
        value, *gradients = climb(f, [np.zeros((0, 3))], {})
        assert value.shape in ((0,), (0, 1))
        assert {g.shape for g in gradients} <= {(0, 3), value.shape}


@pytest.mark.parametrize("name", ALONG)
@pytest.mark.parametrize("shape, axis", [((0,), 0), ((0, 3), 0), ((0, 3), 1), ((3, 0), -1)])
def test_scans_of_nothing(name, shape, axis):
    for result in climb(getattr(tg, name), [np.zeros(shape)], {"axis": axis}):
        assert result.shape == shape


def test_softmax_of_one_0d():
    check(lambda x: tg.softmax(x, None), 1.5, 1.0, 0.0, 0.0)
    check(lambda x: tg.log_softmax(x, None), 1.5, 0.0, 0.0, 0.0)


# Nothing, through everything else

NO_INDEX = np.zeros(0, int)
# name: (a call, shapes of its inputs, shape of its result)
EMPTY = {
    "matmul, no rows": (tg.matmul, [(0, 3), (3, 2)], (0, 2)),
    "matmul, over nothing": (tg.matmul, [(2, 0), (0, 3)], (2, 3)),
    "matmul, no batch": (tg.matmul, [(0, 2, 3), (3, 4)], (0, 2, 4)),
    "matmul, vectors": (tg.matmul, [(0,), (0,)], ()),
    "einsum": (lambda x, y: tg.einsum("ij,jk->ik", x, y), [(2, 0), (0, 3)], (2, 3)),
    "einsum, trace": (lambda x: tg.einsum("ii", x), [(0, 0)], ()),
    "outer": (tg.outer, [(0,), (3,)], (0, 3)),
    "linear, no batch": (tg.linear, [(0, 3), (2, 3), (2,)], (0, 2)),
    "linear, no features": (tg.linear, [(4, 0), (2, 0), (2,)], (4, 2)),
    "concatenate": (lambda x, y: tg.concatenate([x, y], 0), [(0, 2), (3, 2)], (3, 2)),
    "stack": (lambda x, y: tg.stack([x, y]), [(0,), (0,)], (2, 0)),
    "split": (lambda x: tg.split(x, 2)[0], [(0, 3)], (0, 3)),
    "reshape": (lambda x: tg.reshape(x, (3, 0)), [(0,)], (3, 0)),
    "flatten": (lambda x: tg.flatten(x, 1), [(0, 2, 3)], (0, 6)),
    "broadcast_to": (lambda x: tg.broadcast_to(x, (0, 3)), [(1, 3)], (0, 3)),
    "repeat": (lambda x: tg.repeat(x, 0), [(3,)], (0,)),
    "tile": (lambda x: tg.tile(x, 2), [(0, 3)], (0, 6)),
    "pad": (lambda x: tg.pad(x, 1), [(0,)], (2,)),
    "flip": (lambda x: tg.flip(x), [(0, 3)], (0, 3)),
    "roll": (lambda x: tg.roll(x, 1, 0), [(0, 3)], (0, 3)),
    "tril": (tg.tril, [(0, 3)], (0, 3)),
    "a slice": (lambda x: x[2:2], [(3,)], (0,)),
    "no index": (lambda x: x[NO_INDEX], [(3, 2)], (0, 2)),
    "no mask": (lambda x: x[np.zeros(3, bool)], [(3, 2)], (0, 2)),
    "take": (lambda x: tg.take(x, NO_INDEX, axis=1), [(3, 2)], (3, 0)),
    "take_along_axis": (lambda x: tg.take_along_axis(x, np.zeros((3, 0), int), axis=1), [(3, 2)], (3, 0)),
    "index_add": (lambda x, y: tg.index_add(x, NO_INDEX, y), [(3, 2), (0, 2)], (3, 2)),
    "embedding": (lambda w: tg.embedding(w, np.zeros((2, 0), int)), [(5, 3)], (2, 0, 3)),
    "layer_norm": (tg.layer_norm, [(0, 3), (3,), (3,)], (0, 3)),
    "rms_norm": (tg.rms_norm, [(0, 3), (3,)], (0, 3)),
    "group_norm": (lambda x, w, b: tg.group_norm(x, w, b, groups=2), [(0, 4, 3), (4,), (4,)], (0, 4, 3)),
    "attention, no batch": (tg.attention, [(0, 3, 4)] * 3, (0, 3, 4)),
    "attention, no queries": (tg.attention, [(2, 0, 4), (2, 3, 4), (2, 3, 5)], (2, 0, 5)),
    "attention, no keys": (tg.attention, [(2, 3, 4), (2, 0, 4), (2, 0, 5)], (2, 3, 5)),
    "self_attention, no batch": (lambda x: tg.self_attention(x, heads=2), [(0, 3, 12)], (0, 3, 4)),
    "self_attention, no tokens": (lambda x: tg.self_attention(x, heads=2), [(2, 0, 12)], (2, 0, 4)),
    "cross_entropy": (lambda x: tg.cross_entropy(x, NO_INDEX), [(0, 3)], ()),
    "cross_entropy, each": (lambda x: tg.cross_entropy(x, NO_INDEX, reduction="none"), [(0, 3)], (0,)),
    "conv2d": (tg.conv2d, [(0, 2, 5, 5), (3, 2, 3, 3), (3,)], (0, 3, 3, 3)),
    "conv_transpose2d": (tg.conv_transpose2d, [(0, 2, 3, 3), (2, 3, 3, 3), (3,)], (0, 3, 5, 5)),
    "max_pool2d": (lambda x: tg.max_pool2d(x, 2), [(0, 2, 4, 4)], (0, 2, 2, 2)),
    "avg_pool2d": (lambda x: tg.avg_pool2d(x, 2), [(0, 2, 4, 4)], (0, 2, 2, 2)),
    "upsample": (lambda x: tg.upsample(x, 2), [(0, 2, 2, 2)], (0, 2, 4, 4)),
}


@pytest.mark.parametrize("name", EMPTY)
def test_nothing_goes_through(name):
    f, shapes, result = EMPTY[name]
    value, *gradients = climb(f, [np.ones(shape) for shape in shapes], {})
    assert value.shape == result
    assert [g.shape for g in gradients[: len(shapes)]] == shapes
    assert np.isfinite(value).all() and all(np.isfinite(g).all() for g in gradients)
    if name in ("matmul, over nothing", "attention, no keys", "cross_entropy"):
        assert not value.any()


# Dtypes

SCALARS = [2, 2.0, np.float64(2), np.float32(2), np.float16(2), np.int64(2), np.int8(2)]
# name: (the operation, and its operator where it has one)
PAIRS = {
    "add": (tg.add, lambda x, y: x + y),
    "subtract": (tg.subtract, lambda x, y: x - y),
    "multiply": (tg.multiply, lambda x, y: x * y),
    "divide": (tg.divide, lambda x, y: x / y),
    "power": (tg.power, lambda x, y: x**y),
    "maximum": (tg.maximum,),
    "minimum": (tg.minimum,),
    "where": (lambda x, y: tg.where(np.array([True, False]), x, y),),
    "absorbing_product": (tg.absorbing_product,),
    "absorbing_quotient": (tg.absorbing_quotient,),
    "guarded_quotient": (tg.guarded_quotient,),
    "bce_with_logits": (tg.bce_with_logits,),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scalar", SCALARS, ids=lambda scalar: type(scalar).__name__)
@pytest.mark.parametrize("name", PAIRS)
def test_scalars_do_not_change_the_dtype(name, scalar, dtype):
    x = leaf([1.0, 3.0], dtype)
    for f in PAIRS[name]:
        for y in f(x, scalar), f(scalar, x):
            assert isinstance(y, tg.Tensor) and y.dtype == dtype
            g = tg.gradients(y, x, np.ones(2), create_graph=True)
            assert g.dtype == dtype
            if g.requires_grad:
                assert tg.gradients(g, x, np.ones(2)).dtype == dtype
    operation = PAIRS[name][0]
    assert operation(x.numpy(), scalar).dtype == operation(scalar, x.numpy()).dtype == dtype


THREE = np.array([[1.0, 3.0, 2.0]])
OPTIONS = {
    "clip": lambda x, n: tg.clip(x, n(0), n(1)),
    "leaky_relu": lambda x, n: tg.leaky_relu(x, n(0.1)),
    "elu": lambda x, n: tg.elu(x, n(0.5)),
    "dropout": lambda x, n: tg.dropout(x, np.array([True, False, True]), p=n(0.5)),
    "pad": lambda x, n: tg.pad(x, 1, n(0.5)),
    "layer_norm": lambda x, n: tg.layer_norm(x, eps=n(0.1)),
    "rms_norm": lambda x, n: tg.rms_norm(x, eps=n(0.1)),
    "batch_norm": lambda x, n: tg.batch_norm(x, eps=n(0.1)),
    "group_norm": lambda x, n: tg.group_norm(x, groups=1, eps=n(0.1)),
    "attention": lambda x, n: tg.attention(x, x, x, scale=n(0.5)),
    "cross_entropy": lambda x, n: tg.cross_entropy(x, np.array([1]), label_smoothing=n(0.1)),
}


@pytest.mark.parametrize("number", [float, np.float64, np.float32])
@pytest.mark.parametrize("name", OPTIONS)
def test_options_do_not_change_the_dtype(name, number):
    for dtype in np.float32, np.float64:
        x = leaf(THREE, dtype)
        y = OPTIONS[name](x, number)
        assert OPTIONS[name](x.numpy(), number).dtype == y.dtype == dtype
        g = tg.gradients(y.sum(), x, create_graph=True)
        assert g.dtype == dtype
        if g.requires_grad:
            assert tg.gradients(g.sum(), x).dtype == dtype


MIXED = {
    **{name: calls[0] for name, calls in PAIRS.items()},
    "matmul": lambda x, y: tg.matmul(x, y),
    "linear": lambda x, y: tg.linear(x, tg.expand_dims(y, 0)),
    "linear, bias": lambda x, y: tg.linear(tg.expand_dims(x, 1), tg.expand_dims(x, 1), y),
    "concatenate": lambda x, y: tg.concatenate([x, y]),
    "einsum": lambda x, y: tg.einsum("i,j->ij", x, y),
    "index_add": lambda x, y: tg.index_add(x, np.array([0, 0]), y),
    "layer_norm": lambda x, y: tg.layer_norm(x, y),
    "layer_norm, bias": lambda x, y: tg.layer_norm(x, x, y),
    "attention": lambda x, y: tg.attention(x[None], y[None], y[None]),
    "attention, mask": lambda x, y: tg.attention(x[:, None], x[:, None], x[:, None], y),
}


@pytest.mark.parametrize("name", MIXED)
def test_mixing_promotes_and_gradients_keep_their_inputs_dtype(name):
    for first, second in (np.float32, np.float64), (np.float64, np.float32):
        x, y = leaf([1.0, 3.0], first), leaf([0.5, 2.0], second)
        out = MIXED[name](x, y)
        assert out.dtype == np.float64
        unmixed = MIXED[name](*(leaf(z.numpy()) for z in (x, y)))
        np.testing.assert_allclose(out.numpy(), unmixed.numpy(), rtol=1e-6, atol=1e-6)
        found = tg.gradients(out, [x, y], np.ones(out.shape), create_graph=True)
        assert [g.dtype for g in found] == [first, second]
        live = [g for g in found if g.requires_grad]
        again = tg.gradients(live, [x, y], [np.ones(g.shape) for g in live]) if live else [x, y]
        assert [g.dtype for g in again] == [first, second]


def test_tensors_from_python_are_float32_and_arrays_keep_their_dtype():
    for data in 1.5, [1.5], [[1.0], [2.0]]:
        assert tg.tensor(data).dtype == np.float32
    for dtype in np.float16, np.float32, np.float64, np.int64, np.bool_:
        assert tg.tensor(np.ones(2, dtype)).dtype == tg.tensor(dtype(1)).dtype == dtype
    assert tg.exp(1.5).dtype == np.float32
    assert tg.exp(np.float64(1.5)).dtype == tg.add(np.float64(1), np.float64(2)).dtype == np.float64


@pytest.mark.parametrize("data", [1, [1, 2], True, np.ones(2, np.int32), np.ones(2, bool)])
def test_integers_cannot_require_a_gradient(data):
    with pytest.raises(TypeError, match="only floating dtypes can require a gradient"):
        tg.tensor(data, requires_grad=True)
    with pytest.raises(TypeError, match="expected a floating input"):
        tg.grad(lambda x: (x * 2.0).sum())(data)


def test_integers_beside_a_leaf_take_no_part():
    x = leaf([1.0, 3.0], np.float32)
    y = x * tg.tensor([2, 5])
    assert tg.gradients(y, x, np.ones(2)).numpy().tolist() == [2.0, 5.0]
    assert not tg.tensor([2, 5]).requires_grad
