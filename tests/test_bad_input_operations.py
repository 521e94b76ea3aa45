"""Wrong shapes, dtypes and options, of operations and transforms: the error names it, and what it got.

Each line is what a user might type, the error, and words of its message in their order.
"""

import numpy as np
import pytest
from mistakes import integers, nothing_is_lost, ones, refused  # noqa: F401

import tinygen as tg
from tinygen.autograd.engine import current_mode

TYPED = {"np": np, "tg": tg, "ones": ones, "integers": integers}

SHAPES = [
    ("ones(3, 4) @ ones(5, 6)", ValueError, "matmul: (3, 4) @ (5, 6)", "4 and 5 differ", "transpose"),
    ("ones(3) @ ones(4)", ValueError, "matmul: ", "3 and 4 differ"),
    ("ones(2, 3, 4) @ ones(3, 4, 5)", ValueError, "matmul: ", "(2, 3, 4) float32, (3, 4, 5) float32"),
    ("ones(3) @ 2.0", (TypeError, ValueError), "matmul: ", "use * for"),
    ("ones(3) + ones(4)", ValueError, "add: ", "(3,) float32, (4,) float32"),
    ("tg.add(np.ones(3), np.ones(4))", ValueError, "add: ", "(3,) float64, (4,) float64"),
    ("tg.maximum(ones(3), ones(4))", ValueError, "maximum: ", "(3,) float32, (4,) float32"),
    ("tg.where(np.ones(4, bool), ones(3), 0.0)", ValueError, "where: ", "(4,) bool, (3,) float32"),
    ("ones(3, 4).reshape(5, 2)", ValueError, "reshape: ", "(3, 4) float32", "shape=(5, 2)"),
    ("ones(3, 4).transpose(0, 0)", ValueError, "transpose: ", "axes=(0, 0)"),
    ("ones(3).sum(axis=1)", ValueError, "sum: ", "axis 1 is out of bounds", "(3,) float32"),
    ("tg.softmax(ones(3), axis=3)", ValueError, "softmax: ", "axis 3", "(3,) float32"),
    ("tg.moveaxis(ones(3, 4), 0, 2)", ValueError, "moveaxis: ", "axis 2", "-2 to 1"),
    ("tg.swapaxes(ones(3, 4), 0, 2)", ValueError, "swapaxes: ", "axis 2", "-2 to 1"),
    ("tg.flip(ones(3), axis=1)", ValueError, "flip: ", "axis 1", "-1 to 0"),
    ("tg.roll(ones(3), 1, axis=1)", ValueError, "roll: ", "axis 1", "-1 to 0"),
    ("tg.repeat(ones(3), 2, axis=1)", ValueError, "repeat: ", "axis 1", "-1 to 0"),
    ("tg.take(ones(3), integers(2), axis=1)", ValueError, "take: ", "axis 1", "-1 to 0"),
    ("tg.split(ones(4), 2, axis=1)", ValueError, "split: ", "axis 1", "-1 to 0"),
    ("tg.split(ones(5), 2)", ValueError, "split: ", "2 equal parts of size 5", "list of places"),
    ("tg.stack([ones(3), ones(4)])", ValueError, "stack: ", "one shape"),
    ("tg.stack([ones(3)], axis=3)", ValueError, "stack: ", "axis 3"),
    ("tg.concatenate([ones(3, 4), ones(3, 5)])", ValueError, "concatenate: ", "(3, 4)", "(3, 5)"),
    ("tg.concatenate([])", ValueError, "concatenate: ", "at least one"),
    ("tg.squeeze(ones(3, 1), axis=0)", ValueError, "squeeze: ", "(3, 1)", "only size 1"),
    ("tg.squeeze(ones(3, 1), axis=5)", ValueError, "squeeze: ", "axis 5", "-2 to 1"),
    ("tg.expand_dims(ones(3), 4)", ValueError, "expand_dims: ", "axis 4", "-2 to 1"),
    ("tg.flatten(ones(3, 4), start=5)", ValueError, "flatten: ", "5", "-2 to 1"),
    ("tg.broadcast_to(ones(3), (4,))", ValueError, "broadcast_to: ", "(3,) float32", "shape=(4,)"),
    ("tg.pad(ones(3), ((1, 1), (1, 1)))", ValueError, "pad: ", "(3,) float32", "width=((1, 1), (1, 1))"),
    ("tg.cumsum(ones(2, 3), axis=None)", (TypeError, ValueError), "cumsum: ", "axis", "None", "flatten"),
    ("ones(0).max()", ValueError, "max: ", "(0,) float32"),
    ("ones(1).var(ddof=1)", ValueError, "var: ", "ddof=1", "reduce more"),
    ("ones(1).std(ddof=1)", ValueError, "std: ", "ddof=1", "reduce more"),
    ("ones(3)[5]", IndexError, "getitem: ", "index 5", "size 3", "(3,) float32"),
    ("ones(3)[0, 0]", IndexError, "getitem: ", "too many indices", "(3,) float32"),
    ("ones(3)[np.ones(2, bool)]", IndexError, "getitem: ", "(3,) float32", "(2,) bool"),
    (
        "tg.take_along_axis(ones(3, 4), integers(3), axis=1)",
        ValueError,
        "take_along_axis: ",
        "2 axes",
        "(3,)",
    ),
    ("tg.index_add(ones(3), np.array([9]), ones(1))", IndexError, "index_add: ", "9"),
    ("tg.embedding(ones(3, 4), np.array([3]))", IndexError, "embedding: ", "3"),
    ("tg.einsum('ij,jk', ones(2, 3))", ValueError, "einsum: ", "2 terms for 1", "one term for each"),
    ("tg.einsum('ij,jk', ones(2, 3), ones(4, 5))", ValueError, "einsum: ", "(2, 3)", "(4, 5)"),
    ("tg.einsum('ijk', ones(2, 3))", ValueError, "einsum: ", "'ijk'", "(2, 3)", "name every axis"),
    ("tg.linear(ones(3, 4), ones(5, 6))", ValueError, "linear: ", "(5, 6)", "(..., 6)", "(3, 4)"),
    ("tg.linear(ones(3, 4), ones(5, 4), ones(4))", ValueError, "linear: ", "(5, 4)", "(4,)"),
    ("tg.conv2d(ones(1, 3, 4, 4), ones(2, 4, 3, 3))", ValueError, "conv2d: ", "4 channels", "(1, 3, 4, 4)"),
    ("tg.conv2d(ones(3, 4, 4), ones(2, 3, 3, 3))", ValueError, "conv2d: ", "(B, C, H, W)", "(3, 4, 4)"),
    ("tg.conv2d(ones(1, 1, 2, 2), ones(1, 1, 3, 3))", ValueError, "conv2d: ", "(3, 3)", "add padding"),
    (
        "tg.conv2d(ones(1, 4, 2, 2), ones(3, 2, 1, 1), groups=2)",
        ValueError,
        "conv2d: ",
        "3 kernels",
        "2 groups",
    ),
    ("tg.conv2d(ones(1, 1, 2, 2), ones(1, 1, 1, 1), stride=0)", ValueError, "conv2d: ", "at least 1"),
    ("tg.conv2d(ones(1, 3, 4, 4), ones(2, 3, 3, 3), ones(3))", ValueError, "conv2d: ", "3"),
    (
        "tg.conv_transpose2d(ones(1, 3, 4, 4), ones(2, 4, 3, 3))",
        ValueError,
        "conv_transpose2d: ",
        "2 channels",
    ),
    ("tg.max_pool2d(ones(1, 1, 2, 2), 3)", ValueError, "max_pool2d: ", "(3, 3)", "(2, 2)", "smaller"),
    ("tg.avg_pool2d(ones(1, 1, 2, 2), 2, stride=0)", ValueError, "avg_pool2d: ", "stride"),
    ("tg.upsample(ones(2, 2), 2)", ValueError, "upsample: ", "(B, C, H, W)", "(2, 2)"),
    ("tg.cross_entropy(ones(3, 4), integers(4))", ValueError, "cross_entropy: ", "(3, 4)", "(4,)"),
    (
        "tg.cross_entropy(ones(2, 4), np.array([0, 4]))",
        IndexError,
        "cross_entropy: ",
        "[0, 4)",
        "ignore_index",
    ),
    ("tg.bernoulli_log_prob(ones(2, 3), ones(2, 4))", ValueError, "bernoulli_log_prob: ", "(2, 3)", "(2, 4)"),
    ("tg.bernoulli_log_prob(ones(3), ones(2, 3))", ValueError, "bernoulli_log_prob: ", "last axes", "(2, 3)"),
    ("tg.bce_with_logits(ones(3), ones(4))", ValueError, "bce_with_logits: ", "(3,)", "(4,)"),
    ("tg.layer_norm(ones(3, 4), ones(3))", ValueError, "layer_norm: ", "weight", "(4,)", "(3,)"),
    ("tg.layer_norm(ones())", (IndexError, ValueError), "layer_norm: "),
    ("tg.batch_norm(ones(3))", ValueError, "batch_norm: ", "(B, C, ...)", "(3,)"),
    ("tg.group_norm(ones(2, 4), groups=3)", ValueError, "group_norm: ", "multiple of 3", "(2, 4)"),
    ("tg.group_norm(ones(2, 4), groups=0)", (ValueError, ZeroDivisionError), "group_norm: "),
    ("tg.rms_norm(ones(3, 4), ones(3))", ValueError, "rms_norm: ", "weight", "(4,)", "(3,)"),
    ("tg.attention(ones(2, 3), ones(2, 4), ones(2, 4))", ValueError, "attention: ", "(2, 3)", "(2, 4)"),
    (
        "tg.attention(ones(1, 8), *[ones(600, 8)] * 2, np.ones((5, 600), bool))",
        ValueError,
        "attention: ",
        "(..., 1, 600)",
        "(5, 600)",
    ),
    (
        "tg.attention(ones(9, 8), *[ones(1, 8)] * 2, np.ones((9, 7), bool))",
        ValueError,
        "(..., 9, 1)",
        "(9, 7)",
    ),
    ("tg.self_attention(ones(2, 5, 8), heads=2)", ValueError, "multiple of 2 heads", "(2, 5, 8)", "side"),
    ("tg.self_attention(ones(5, 12), heads=2)", ValueError, "self_attention: ", "(B, T, 3C)", "(5, 12)"),
    ("tg.self_attention(ones(2, 5, 12), heads=0)", ValueError, "self_attention: ", "multiple of 0 heads"),
    (
        "tg.self_attention(ones(2, 5, 12), np.ones((3, 5, 5), bool), heads=2)",
        ValueError,
        "self_attention: ",
        "(..., 2, 2, 5, 5)",
        "(3, 5, 5)",
    ),
    (
        "tg.self_attention(ones(2, 5, 12), np.ones((1, 1, 1, 5, 5), bool), heads=2)",
        ValueError,
        "self_attention: ",
        "4 axes at most",
        "(1, 1, 1, 5, 5)",
    ),
    ("tg.dropout(ones(3), np.ones(4))", ValueError, "dropout: ", "(3,)", "(4,)"),
]

DTYPES = [
    ("ones(3) * 'a'", TypeError, "multiply: ", "Tensor, an array", "a number", "'a'"),
    ("ones(3) * None", TypeError, "multiply: ", "a number", "None"),
    ("ones(3) * 1j", TypeError, "multiply: ", "1j"),
    ("ones(3) * np.ones(3, complex)", TypeError, "multiply: ", "complex128"),
    ("ones(3) * np.array(['a'])", TypeError, "multiply: ", "real numbers"),
    ("'a' - ones(3)", TypeError, "subtract: ", "a number", "'a'"),
    ("ones(3) ** '2'", TypeError, "power: ", "a number", "'2'"),
    ("tg.exp('a')", TypeError, "exp: ", "'a'"),
    ("tg.concatenate([ones(3), 'a'])", TypeError, "concatenate: ", "'a'"),
    ("tg.linear(ones(3, 4), None)", TypeError, "linear: ", "None"),
    ("ones(3)[1.0]", IndexError, "getitem: ", "integers", "index=1.0"),
    ("ones(3)[np.array([0.5])]", IndexError, "getitem: ", "integer", "(1,) float64"),
    ("tg.embedding(ones(3, 4), ones(2))", TypeError, "embedding: ", "integer", "float32", ".astype"),
    ("tg.cross_entropy(ones(3, 4), ones(3))", TypeError, "cross_entropy: ", "float32", ".argmax"),
    (
        "tg.attention(*[ones(2, 3)] * 3, np.ones((2, 2), int))",
        TypeError,
        "attention: ",
        "int64",
        "astype(bool)",
    ),
    ("ones(3).astype('sorcery')", TypeError, "astype: ", "sorcery"),
    ("ones(3).sum(axis=1.0)", TypeError, "sum: ", "axis=1.0"),
    ("tg.upsample(ones(1, 1, 2, 2), 1.5)", (TypeError, ValueError), "upsample: ", "pair of ints", "1.5"),
    (
        "tg.max_pool2d(ones(1, 1, 2, 2), 'two')",
        (TypeError, ValueError),
        "max_pool2d: ",
        "pair of ints",
        "'two'",
    ),
    ("tg.einsum(ones(2, 3), 'ij')", TypeError, "einsum: ", "subscripts"),
]

OPTIONS = [
    ("ones(3).sum(axes=0)", TypeError, "sum: ", "'axes'", "axis=None, keepdims=False"),
    ("tg.sum(ones(3), dtype=int)", TypeError, "sum: ", "'dtype'", "axis=None"),
    ("tg.reshape(ones(3))", TypeError, "reshape: ", "'shape' is missing", "(x, /, shape)"),
    ("tg.cumsum(ones(3))", TypeError, "cumsum: ", "'axis' is missing"),
    ("tg.exp(ones(3), axis=0)", TypeError, "exp", "'axis'"),
    ("tg.multiply(ones(3))", TypeError, "multiply", "'y'"),
    ("tg.linear(ones(3, 4))", TypeError, "linear: ", "'weight' is missing", "bias=None"),
    ("tg.transpose(ones(3), None, None)", TypeError, "transpose: ", "too many", "axes=None"),
    (
        "tg.attention(*[ones(2, 3)] * 3, is_causal=True)",
        TypeError,
        "attention: ",
        "'is_causal'",
        "causal=False",
    ),
    ("tg.conv2d(ones(1, 1, 2, 2), ones(1, 1, 1, 1), strides=2)", TypeError, "conv2d", "'strides'"),
    ("tg.leaky_relu(ones(3), alpha=1)", TypeError, "leaky_relu: ", "'alpha'", "slope=0.01"),
    ("tg.gelu(ones(3), approximate='quick')", ValueError, "gelu: ", "'none' or 'tanh'", "'quick'"),
    ("tg.dropout(ones(3), p=1.0)", ValueError, "dropout: ", "0 <= p < 1", "1.0"),
    (
        "tg.cross_entropy(ones(2, 4), integers(2), reduction='avg')",
        ValueError,
        "'mean', 'sum' or 'none'",
        "'avg'",
    ),
    ("tg.kernels.use('abacus').__enter__()", ValueError, "use: ", "'abacus'", "choose from", "reference"),
]


TRANSFORMS = [
    ("tg.grad(lambda x: x)(np.ones(3))", ValueError, "grad: ", "(3,)", "vjp or jacobian"),
    ("tg.grad(lambda x: 1.0)(np.ones(3))", TypeError, "grad: ", "Tensor", "float"),
    ("tg.grad(lambda x: x.sum())(np.ones(3, int))", TypeError, "grad: ", "floating", "int64", "pass floats"),
    ("tg.grad(lambda x: x.sum(), 1)(np.ones(3))", TypeError, "grad: ", "argnums 1"),
    ("tg.grad(lambda x: x.sum(), -2)(np.ones(3))", TypeError, "grad: ", "argnums -2"),
    ("tg.grad(lambda x: x.sum(), (0, 0))(np.ones(3))", TypeError, "grad: ", "argnums (0, 0)", "once"),
    ("tg.grad(lambda x: x.sum(), 'x')(np.ones(3))", TypeError, "grad: ", "argnums", "tuple of ints", "'x'"),
    ("tg.hessian(lambda x: x)(np.ones(3))", ValueError, "grad: ", "(3,)"),
    ("tg.hvp(lambda x: x, np.ones(3), np.ones(3))", ValueError, "(3,)", "reduce it"),
    ("tg.jvp(tg.exp, (np.ones(3),), (np.ones(4),))", ValueError, "jvp: ", "(3,)", "the same", "(4,)"),
    ("tg.jvp(tg.exp, (np.ones(3),), ())", ValueError, "jvp: ", "(3,)", "the same", "[]"),
    ("tg.jvp(tg.exp, (np.ones(3, int),), (np.ones(3),))", TypeError, "floating", "int64"),
    ("tg.jvp(lambda x: 1.0, (np.ones(3),), (np.ones(3),))", TypeError, "jvp: ", "Tensor", "float"),
    ("tg.vjp(tg.exp, np.ones(3))[1](np.ones(4))", ValueError, "(4,)", "(3,)", "make them equal"),
    ("tg.vjp(lambda x: [x], np.ones(3))", TypeError, "vjp: ", "Tensor", "list"),
    ("tg.jacobian(lambda x: x.numpy())(np.ones(3))", TypeError, "Tensor", "ndarray"),
    ("tg.checkpoint(lambda x: [x], ones(3))", TypeError, "checkpoint: ", "Tensor", "list"),
    ("tg.gradients(ones(3).sum(), np.ones(3))", RuntimeError, "gradients: ", "requires_grad=True"),
    ("tg.gradients(3.0, ones(3))", TypeError, "gradients: ", "Tensor", "float"),
    ("tg.gradients([ones(3)], ones(3), [])", ValueError, "gradients: ", "1 cotangents", "got 0"),
    ("tg.gradients(ones(3) * 2, ones(3))", ValueError, "(3,)", "reduce to a scalar"),
]


@pytest.mark.parametrize("mistake", SHAPES, ids=lambda mistake: mistake[0])
def test_shapes_that_do_not_fit(mistake):
    typed, error, *words = mistake
    with refused(error, *words):
        eval(typed, TYPED)


@pytest.mark.parametrize("mistake", DTYPES, ids=lambda mistake: mistake[0])
def test_what_is_no_array_of_the_right_numbers(mistake):
    typed, error, *words = mistake
    with refused(error, *words):
        eval(typed, TYPED)


@pytest.mark.parametrize("mistake", OPTIONS, ids=lambda mistake: mistake[0])
def test_unknown_missing_or_impossible_options(mistake):
    typed, error, *words = mistake
    with refused(error, *words):
        eval(typed, TYPED)


@pytest.mark.parametrize("mistake", TRANSFORMS, ids=lambda mistake: mistake[0])
def test_transforms_of_what_they_cannot_transform(mistake):
    typed, error, *words = mistake
    with refused(error, *words):
        eval(typed, TYPED)


@pytest.mark.parametrize("mistake", SHAPES[:5], ids=lambda mistake: mistake[0])
def test_a_failed_call_leaves_the_mode_that_it_was_made_in(mistake):
    with tg.anomaly(), tg.no_grad():
        test_shapes_that_do_not_fit(mistake)
        assert current_mode().observers and not current_mode().recording
