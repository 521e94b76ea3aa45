"""What computes the same in PyTorch: for each operation its function there, inputs, and all attributes.

A row is `case(function, *inputs, **attributes)`. Inputs are functions of a Generator; None leaves one out.
Attributes are lists of choices; every combination is tried, under the same names on both sides. What a row
leaves out is tried at its default.
"""

import numpy as np
import torch
import torch.nn.functional as F
import torch_side as their
from torch_side import apart, flags, given, positive, real, whole

import tinygen as tg


def case(function, *inputs, **attributes):
    return function, inputs, attributes


BOTH = [False, True]
AXES = {"axis": [None, 0, 1, -1, (0, 2), (0, 1, 2)], "keepdims": BOTH}
ONE_AXIS = {"axis": [-1, 0, 1, None, (0, 1, 2)]}
ZEROS = given([0.0, 2.0, 3.0, 4.0], [0.0, 1.5, 0.0, 2.0], [0.0, 0.0, 0.0, -1.0])
TIES = given([1.0, 3.0, 3.0], [3.0, 2.0, 2.0], [1.0, 1.0, 1.0])

SMOOTH = ("exp", "expm1", "sin", "cos", "square", "negative", "sign", "tanh", "sigmoid", "erf")
PAIRED = ("add", "subtract", "multiply")

ELEMENTWISE = {
    **{name: [case(getattr(torch, name), real(*shape)) for shape in ((3, 4), ())] for name in SMOOTH},
    **{
        name: [
            case(getattr(torch, name), real(3, 4), real(3, 4)),
            case(getattr(torch, name), real(3, 1), real(2, 1, 4)),
            case(getattr(torch, name), real(), real(3)),
        ]
        for name in PAIRED
    },
    "absorbing_product": [case(torch.multiply, real(3, 1), real(2, 1, 4))],
    "absorbing_quotient": [case(torch.divide, real(3, 1), apart(2, 1, 4))],
    "guarded_quotient": [case(torch.divide, real(3, 1), apart(2, 1, 4))],
    "divide": [case(torch.divide, real(3, 4), positive(4)), case(torch.divide, real(), apart(2, 3))],
    "power": [
        case(torch.pow, positive(3, 4), real(4)),
        case(torch.pow, real(5), given(3, 2, 1, 0, -2)),
        case(torch.pow, given(0.0, 0.0, -1.5), given(2, 3, 3)),
    ],
    "sqrt": [case(torch.sqrt, positive(3, 4))],
    "log": [case(torch.log, positive(3, 4))],
    "log1p": [case(torch.log1p, real(3, 4, low=-0.6))],
    "abs": [case(torch.abs, apart(3, 4)), case(torch.abs, given(0.0, -1.0))],
    "reciprocal": [case(torch.reciprocal, apart(3, 4))],
    "maximum": [
        case(torch.maximum, apart(3, 4), apart(4)),
        case(torch.maximum, given(1.0, 2.0), given(1.0, 3.0)),
    ],
    "minimum": [
        case(torch.minimum, apart(3, 4), apart(4)),
        case(torch.minimum, given(1.0, 2.0), given(1.0, 3.0)),
    ],
    "clip": [
        case(their.ordered(torch.clamp_min), apart(3, 4), low=[-1.0]),
        case(their.ordered(torch.clamp_max), apart(3, 4), high=[0.5]),
        case(their.ordered(torch.clamp), apart(3, 4), low=[-1.0, None], high=[0.5]),
        case(their.ordered(torch.clamp), given(-1.0, 0.5, 0.0, 1.0), low=[-1.0], high=[0.5, None]),
    ],
    "where": [
        case(torch.where, flags(3, 4), real(3, 4), real(3, 4)),
        case(torch.where, flags(2, 1, 4), real(3, 1), real()),
    ],
    "astype": [case(lambda x, dtype: x.clone(), real(3, 4), dtype=[np.float64])],
    "softplus": [case(F.softplus, real(3, 4))],
    "relu": [case(torch.relu, apart(3, 4)), case(torch.relu, given(0.0, -1.0, 2.0))],
    "leaky_relu": [
        case(F.leaky_relu, apart(3, 4)),
        case(their.ordered(F.leaky_relu), given(0.0, -1.0, 2.0, 0.3), slope=[0.01, 0.2]),
    ],
    "elu": [case(F.elu, apart(3, 4)), case(their.ordered(F.elu), apart(3, 4), alpha=[1.0, 0.5])],
    "silu": [case(F.silu, real(3, 4))],
    "gelu": [case(F.gelu, real(3, 4)), case(F.gelu, real(3, 4), approximate=["none", "tanh"])],
    "dropout": [
        case(their.dropped, real(3, 4), flags(3, 4), p=[0.5, 0.1]),
        case(their.dropped, real(3, 4), flags(3, 4)),
        case(their.dropped, real(3, 4), None),
    ],
}

REDUCTIONS = {
    "sum": [
        case(their.reduced(torch.sum), apart(3, 4)),
        case(their.reduced(torch.sum), real(2, 3, 4), **AXES),
    ],
    "mean": [
        case(their.reduced(torch.mean), apart(3, 4)),
        case(their.reduced(torch.mean), real(2, 3, 4), **AXES),
    ],
    "var": [
        case(their.variance(root=False), apart(3, 4)),
        case(their.variance(root=False), real(2, 3, 4), ddof=[0, 1], **AXES),
    ],
    "std": [
        case(their.variance(root=True), apart(3, 4)),
        case(their.variance(root=True), apart(2, 3, 4), ddof=[0, 1], **AXES),
    ],
    "norm": [
        case(their.reduced(their.vector_norm), apart(3, 4)),
        case(their.reduced(their.vector_norm), apart(2, 3, 4), **AXES),
    ],
    "max": [
        case(their.reduced(torch.amax), apart(3, 4)),
        case(their.reduced(torch.amax), apart(2, 3, 4), **AXES),
        case(their.reduced(torch.amax), TIES, axis=[None, 0, 1], keepdims=BOTH),
    ],
    "min": [
        case(their.reduced(torch.amin), apart(3, 4)),
        case(their.reduced(torch.amin), apart(2, 3, 4), **AXES),
        case(their.reduced(torch.amin), TIES, axis=[None, 0, 1], keepdims=BOTH),
    ],
    "logsumexp": [
        case(their.reduced(torch.logsumexp), apart(3, 4)),
        case(their.reduced(torch.logsumexp), real(2, 3, 4, low=-60, high=60), **AXES),
    ],
    "softmax": [
        case(their.one_axis(torch.softmax), apart(3, 4)),
        case(their.one_axis(torch.softmax), real(2, 3, 4, low=-20, high=20), **ONE_AXIS),
    ],
    "log_softmax": [
        case(their.one_axis(torch.log_softmax), apart(3, 4)),
        case(their.one_axis(torch.log_softmax), real(2, 3, 4, low=-20, high=20), **ONE_AXIS),
    ],
    "cumsum": [case(their.ordered(torch.cumsum), real(2, 3, 4), axis=[0, 1, -1])],
    "prod": [
        case(their.product, apart(3, 4)),
        case(their.product, real(2, 3, 2), **AXES),
        case(their.product, ZEROS, axis=[None, 0, 1, -1]),
    ],
    "cumprod": [
        case(their.ordered(torch.cumprod), real(2, 3, 4), axis=[0, 1, -1]),
        case(their.ordered(torch.cumprod), ZEROS, axis=[0, 1]),
    ],
}

SHAPES = {
    "reshape": [case(their.ordered(torch.reshape), real(3, 4), shape=[(2, 6), (-1,), (4, 1, -1)])],
    "transpose": [
        case(their.permuted, real(2, 3, 4)),
        case(their.permuted, real(2, 3, 4), axes=[None, (1, 2, 0), (2, 0, -2)]),
    ],
    "swapaxes": [case(their.ordered(torch.swapaxes), real(2, 3, 4), axis1=[0, -1], axis2=[1, -2])],
    "moveaxis": [case(their.ordered(torch.moveaxis), real(2, 3, 4), source=[0, -1], destination=[1, -2])],
    "expand_dims": [case(their.ordered(torch.unsqueeze), real(2, 3), axis=[0, 1, -1, -3])],
    "squeeze": [
        case(their.squeezed, real(1, 3, 1)),
        case(their.squeezed, real(1, 3, 1), axis=[None, 0, -1, (0, 2)]),
    ],
    "broadcast_to": [case(their.ordered(torch.broadcast_to), real(3, 1), shape=[(3, 4), (2, 3, 4), (3, 1)])],
    "concatenate": [
        case(their.joined(torch.cat), real(2, 3), real(2, 3)),
        case(their.joined(torch.cat), real(2, 2), real(2, 2), real(2, 2), axis=[0, 1, -1]),
    ],
    "stack": [
        case(their.joined(torch.stack), real(2, 3), real(2, 3)),
        case(their.joined(torch.stack), real(2, 3), real(2, 3), axis=[0, 1, -1]),
    ],
    "split": [
        case(their.parts, real(4, 3), sections=[2]),
        case(their.parts, real(4, 3), sections=[2, 4, (1, 3)], axis=[0]),
        case(their.parts, real(2, 6), sections=[3, (2,)], axis=[1, -1]),
    ],
    "repeat": [
        case(their.ordered(torch.repeat_interleave), real(2, 3), repeats=[2]),
        case(their.ordered(torch.repeat_interleave), real(2, 3), repeats=[1, 3], axis=[None, 0, -1]),
    ],
    "tile": [case(their.tiled, real(2, 3), reps=[2, (2, 1), (2, 1, 3)])],
    "pad": [
        case(their.padded, real(2, 3), width=[1]),
        case(their.padded, real(2, 3), width=[1, ((0, 2), (1, 0))], value=[0.0, 1.5]),
    ],
    "flip": [case(their.flipped, real(2, 3)), case(their.flipped, real(2, 3), axis=[None, 0, -1, (0, 1)])],
    "roll": [
        case(their.ordered(torch.roll), real(2, 3), shift=[1]),
        case(their.ordered(torch.roll), real(2, 3), shift=[1, -1, 5], axis=[None, 0, -1]),
    ],
    "tril": [case(torch.tril, real(3, 4)), case(their.ordered(torch.tril), real(2, 3, 4), k=[0, 1, -1])],
    "triu": [case(torch.triu, real(3, 4)), case(their.ordered(torch.triu), real(2, 3, 4), k=[0, 1, -1])],
    "flatten": [
        case(torch.flatten, real(2, 3)),
        case(their.ordered(torch.flatten), real(2, 3, 4), start=[0, 1]),
    ],
}

EVERY = slice(None)
INDEXING = {
    "getitem": [
        case(
            their.picked,
            real(4, 5),
            index=[1, (EVERY, -2), slice(3, 0, -1), (..., None, 2), slice(None, None, 2)],
        ),
        case(their.picked, real(4, 5), index=[[2, 2, -1], ([0, 3, 0], [1, 1, 1]), ([[0], [3]], [1, 1, 2])]),
        case(their.picked, real(3, 4, 2), index=[(slice(1, None), [0, 0, 3]), ([1, 2], EVERY, [0, 1])]),
        case(their.picked, real(3, 2), index=[[True, False, True], (..., [True, False])]),
    ],
    "scatter_add": [
        case(their.scattered, real(3), index=[[0, 2, 0]], shape=[(4,)]),
        case(
            their.scattered,
            real(2, 3),
            index=[(EVERY, [0, 2, 2]), (slice(0, 2), slice(0, 3))],
            shape=[(2, 4)],
        ),
    ],
    "take": [
        case(their.taken, real(3, 4), whole(12, 2)),
        case(their.taken, real(3, 4), whole(3, 2, 2), axis=[0, 1, -1, None]),
        case(their.taken, real(3), given(0, -1, 0), axis=[0]),
    ],
    "take_along_axis": [
        case(their.ordered(torch.take_along_dim), real(3, 4), whole(3, 3, 2), axis=[1, -1]),
        case(their.ordered(torch.take_along_dim), real(3, 4), whole(3, 1, 4), axis=[0]),
    ],
    "index_add": [case(their.index_added, real(4, 2), given(1, 3, 1), real(3, 2))],
    "embedding": [case(their.rows_of, real(5, 3), given([0, 4], [4, 4]))],
}

PRODUCTS = {
    "matmul": [
        case(torch.matmul, real(3, 4), real(4, 2)),
        case(torch.matmul, real(2, 1, 3, 4), real(5, 4, 2)),
        case(torch.matmul, real(4), real(2, 4, 3)),
        case(torch.matmul, real(2, 3, 4), real(4)),
        case(torch.matmul, real(4), real(4)),
    ],
    "contraction": [
        case(their.contracted, real(2, 3), real(3, 4), subscripts=["ab,bc->ac", "ab,bc->c"]),
        case(their.contracted, real(2, 3, 4), subscripts=["abc->ca", "abc->b", "abc->"]),
        case(their.contracted, real(2, 3), real(2, 3), real(3), subscripts=["ab,ab,b->a"]),
    ],
    "einsum": [
        case(their.contracted, real(2, 3), real(3, 4), subscripts=["ij,jk", "ij,jk->ki", "ij,jk->"]),
        case(their.contracted, real(3, 3), subscripts=["ii", "ii->i", "ij->ji", "ji"]),
        case(their.contracted, real(2, 3, 4), real(2, 4, 2), subscripts=["...ij,...jk->...ik"]),
        case(their.contracted, real(2, 1, 3), real(4, 3), subscripts=["...i,...i->...", "...i,...i"]),
        case(their.contracted, real(2, 3), real(3, 4), real(4, 2), subscripts=["ab,bc,ca->", "ab,bc,ca->b"]),
    ],
    "outer": [case(their.flat_outer, real(2, 2), real(3))],
    "linear": [
        case(F.linear, real(2, 3, 4), real(5, 4), real(5)),
        case(F.linear, real(3, 4), real(5, 4), None),
        case(F.linear, real(4), real(5, 4), real(5)),
    ],
}

WINDOW = {"size": [2, (2, 1), (1, 3)], "stride": [None, 1, (2, 1)]}
PLAIN = {"geometry": [tg.kernels.Geometry((1, 1), (0, 0), (1, 1), 1)]}
RICH = {"geometry": [tg.kernels.Geometry((2, 1), (1, 0), (1, 2), 2)]}
SHIFTED = {"stride": [1, (2, 1)], "padding": [0, (1, 2)], "dilation": [1, (1, 2)]}
PAINTED = {"stride": [1, (2, 3)], "padding": [0, (1, 0)], "dilation": [1, (2, 1)]}
GROUPED = {"stride": [3], "padding": [1], "dilation": [2], "groups": [2]}
SPREAD = {"stride": [3], "output_padding": [1, (0, 2)], "groups": [2]}
HOLED = {"dilation": [2], "output_padding": [1], "padding": [0, 1], "groups": [2]}
IMAGES = {
    "convolve": [
        case(their.correlated, real(2, 2, 4, 3), real(3, 2, 2, 2), **PLAIN),
        case(their.correlated, real(1, 4, 4, 5), real(2, 2, 2, 3), **RICH),
    ],
    "convolve_image": [
        case(their.image_gradient, real(2, 3, 3, 2), real(3, 2, 2, 2), shape=[(2, 2, 4, 3)], **PLAIN),
        case(
            their.image_gradient,
            real(1, 2, 3, 1),
            real(2, 2, 2, 3),
            shape=[(1, 4, 4, 5), (1, 4, 5, 5)],
            **RICH,
        ),
    ],
    "convolve_kernel": [
        case(their.kernel_gradient, real(2, 2, 4, 3), real(2, 3, 3, 2), shape=[(3, 2, 2, 2)], **PLAIN),
        case(their.kernel_gradient, real(1, 4, 4, 5), real(1, 2, 3, 1), shape=[(2, 2, 2, 3)], **RICH),
    ],
    "conv2d": [
        case(F.conv2d, real(1, 2, 4, 3), real(3, 2, 2, 2), real(3)),
        case(F.conv2d, real(2, 2, 5, 6), real(3, 2, 2, 3), real(3), **SHIFTED),
        case(F.conv2d, real(1, 4, 5, 4), real(6, 2, 2, 2), None, **GROUPED),
        case(F.conv2d, real(2, 3, 4, 4), real(3, 1, 3, 3), real(3), padding=[1], groups=[3]),
    ],
    "conv_transpose2d": [
        case(F.conv_transpose2d, real(2, 3, 3, 2), real(3, 2, 2, 3), real(2), **PAINTED),
        case(F.conv_transpose2d, real(1, 4, 2, 3), real(4, 3, 2, 2), real(6), **SPREAD),
        case(F.conv_transpose2d, real(1, 2, 2, 3), real(2, 1, 3, 3), None, **HOLED),
    ],
    "max_pool2d": [
        case(their.pooled(F.max_pool2d), apart(1, 2, 4, 5), size=[2]),
        case(their.pooled(F.max_pool2d), apart(1, 2, 4, 5), **WINDOW),
    ],
    "avg_pool2d": [
        case(their.pooled(F.avg_pool2d), real(1, 2, 4, 5), size=[2]),
        case(their.pooled(F.avg_pool2d), real(1, 2, 4, 5), **WINDOW),
    ],
    "upsample": [case(their.resized, real(1, 2, 2, 3), scale=[1, 2, (1, 3)])],
}

ATTENTION = their.softmax_attention
CHANNELS = {"axes": [(0, 2), (2,)], "shape": [(1, -1, 1)], "eps": [1e-5, 0.1]}
CLASSES = {"ignore_index": [-100, 2], "label_smoothing": [0.0, 0.1, 1.0]}
LAYERS = {
    "normalise": [case(their.normalised, real(2, 3, 4), real(3), real(3), **CHANNELS)],
    "layer_norm": [
        case(their.layer_normalised, real(2, 3, 5), real(5), real(5), eps=[1e-5, 0.1]),
        case(their.layer_normalised, real(3, 5), None, None),
    ],
    "batch_norm": [
        case(their.batch_normalised, real(5, 3), real(3), real(3), eps=[1e-5, 0.1]),
        case(their.batch_normalised, real(2, 3, 2, 4), real(3), real(3), eps=[1e-5]),
        case(their.batch_normalised, real(4, 3, 2), None, None),
    ],
    "group_norm": [
        case(their.group_normalised, real(2, 4, 3), real(4), real(4), groups=[1, 2], eps=[1e-5, 0.1]),
        case(their.group_normalised, real(2, 6, 2, 2), None, None, groups=[3]),
    ],
    "rms_norm": [
        case(their.rms_normalised, real(2, 3, 5), real(5), eps=[1e-5, 0.1]),
        case(their.rms_normalised, real(3, 5), None),
    ],
    "attention": [
        case(ATTENTION, real(2, 3, 4), real(2, 5, 4), real(2, 5, 3), None),
        case(ATTENTION, real(2, 3, 4), real(2, 3, 4), real(2, 3, 5), None, causal=BOTH, scale=[None, 0.3]),
        case(ATTENTION, real(2, 2, 4), real(2, 5, 4), real(2, 5, 3), None, causal=[True]),
        case(ATTENTION, real(2, 2, 4), real(2, 5, 4), real(2, 5, 3), flags(2, 2, 5), causal=BOTH),
        case(
            ATTENTION, real(2, 2, 3, 4), real(3, 4), real(1, 3, 4), real(2, 1, 3, 3), causal=BOTH, scale=[0.3]
        ),
    ],
    "self_attention": [
        case(their.self_attention, real(2, 3, 12), None, heads=[1, 2, 4], causal=BOTH, scale=[None, 0.3]),
        case(their.self_attention, real(2, 3, 12), real(2, 2, 3, 3), heads=[2]),
    ],
    "token_cross_entropy": [
        case(their.loss_of_each, real(3, 5), given(0, 4, -100)),
        case(their.loss_of_each, real(2, 3, 5), given([0, 4, 2], [2, 2, 1]), **CLASSES),
    ],
    "cross_entropy": [
        case(their.class_loss, real(3, 5), given(0, 4, -100)),
        case(
            their.class_loss,
            real(2, 3, 5),
            given([0, 4, 2], [2, 2, 1]),
            reduction=["mean", "sum", "none"],
            **CLASSES,
        ),
        case(their.class_loss, real(4, 3), given(0, -1, 2, -1), ignore_index=[-1]),
    ],
    "bce_with_logits": [
        case(their.bit_loss, apart(3, 4), real(3, 4, low=0, high=1)),
        case(their.bit_loss, given(30.0, -30.0), given(0.0, 1.0)),
    ],
    "bernoulli_log_prob": [
        case(their.log_prob_of_bits, apart(3, 4), real(3, 4, low=0, high=1)),
        case(their.log_prob_of_bits, apart(2, 3, 4), real(3, 4, low=0, high=1)),
    ],
}

TABLE = {**ELEMENTWISE, **REDUCTIONS, **SHAPES, **INDEXING, **PRODUCTS, **IMAGES, **LAYERS}

NO_COUNTERPART = {
    "argmax": "integers: there is no gradient to compare",
    "argmin": "integers: there is no gradient to compare",
    "zeros_like": "a constant",
    "ones_like": "a constant",
}
