"""Every operation by name: functions of arrays or Tensors. How rules are read is told in primitive.py."""

from .activations import dropout, elu, erf, gelu, leaky_relu, relu, sigmoid, silu, softplus, tanh
from .arithmetic import (
    abs,
    absorbing_product,
    absorbing_quotient,
    add,
    astype,
    clip,
    cos,
    divide,
    exp,
    expm1,
    guarded_quotient,
    log,
    log1p,
    maximum,
    minimum,
    multiply,
    negative,
    ones_like,
    power,
    reciprocal,
    sign,
    sin,
    sqrt,
    square,
    subtract,
    where,
    zeros_like,
)
from .attention import attention, self_attention
from .convolution import avg_pool2d, conv2d, conv_transpose2d, max_pool2d, upsample
from .indexing import embedding, getitem, index_add, scatter_add, take, take_along_axis
from .linalg import einsum, linear, matmul, outer
from .losses import bce_with_logits, bernoulli_log_prob, cross_entropy
from .normalisation import batch_norm, group_norm, layer_norm, rms_norm
from .reductions import (
    argmax,
    argmin,
    cumprod,
    cumsum,
    log_softmax,
    logsumexp,
    max,
    mean,
    min,
    norm,
    prod,
    softmax,
    std,
    sum,
    var,
)
from .shapes import (
    broadcast_to,
    concatenate,
    expand_dims,
    flatten,
    flip,
    moveaxis,
    pad,
    repeat,
    reshape,
    roll,
    split,
    squeeze,
    stack,
    swapaxes,
    tile,
    transpose,
    tril,
    triu,
)

__all__ = [name for name, value in dict(globals()).items() if callable(value) and not name.startswith("_")]
