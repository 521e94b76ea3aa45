"""Layers that mix features, look up, drop or only arrange. B batch; * stands for any leading axes.

Weights are laid out, and begin, as PyTorch's do, so that weights and results can be compared one to one.
"""

import math

from .. import arrays
from ..autograd import ops
from ..autograd.ops.arithmetic import raw
from . import init as initial
from .module import Module
from .parameter import Parameter


def check_sizes(layer, **sizes):
    """Raise ValueError unless all sizes are integers of at least 1."""
    for name, size in sizes.items():
        if not isinstance(size, int) or size < 1:
            raise ValueError(
                f"{layer}: expected {name} to be an integer of at least 1, got {size!r}; change it"
            )


def weight_and_bias(shape, outputs, bias, rng, init):
    """The Parameters of a linear layer or convolution: its weight, and a bias of `outputs` numbers or None.

    Without an `init` both are uniform in +-1 / sqrt(fan_in). The papers behind any other have biases
    start at zero.
    """
    weight = Parameter((init or initial.fan_in_uniform)(shape, rng=rng))
    if not bias:
        return weight, None
    if init:
        return weight, Parameter(initial.zeros((outputs,)))
    bound = 1 / math.sqrt(initial.fans(shape)[0])
    return weight, Parameter(initial.uniform((outputs,), rng=rng, low=-bound, high=bound))


class Linear(Module):
    """y = x W^T + b, from (*, in_features) to (*, out_features).

    Args:
        bias: whether there is a b.
        rng: the np.random.Generator that draws the weights.
        init: a function of `nn.init`, called as init(shape, rng=rng), for W of shape (out_features,
            in_features); b then starts at zero. Without it both are uniform in +-1 / sqrt(in_features).

    Raises:
        ValueError: a size is not a positive integer.
        TypeError: `rng` is no Generator.
    """

    def __init__(self, in_features, out_features, *, bias=True, rng, init=None):
        check_sizes("Linear", in_features=in_features, out_features=out_features)
        self.in_features, self.out_features = in_features, out_features
        self.weight, self.bias = weight_and_bias((out_features, in_features), out_features, bias, rng, init)

    def forward(self, x):
        return ops.linear(x, self.weight, self.bias)


class Embedding(Module):
    """A table of vectors: integers of any shape (*,) in [0, num_embeddings) to (*, embedding_dim).

    Those from -num_embeddings to -1 count from the end, as indices of NumPy do; any other is an error.

    `init` is as for Linear, for the table of shape (num_embeddings, embedding_dim); without it entries are
    standard normal.

    Raises:
        ValueError: a size is not a positive integer.
        TypeError: `rng` is no Generator.
    """

    def __init__(self, num_embeddings, embedding_dim, *, rng, init=initial.normal):
        check_sizes("Embedding", num_embeddings=num_embeddings, embedding_dim=embedding_dim)
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.weight = Parameter(init((num_embeddings, embedding_dim), rng=rng))

    def forward(self, indices):
        return ops.embedding(self.weight, indices)


class Dropout(Module):
    """While training, each element becomes 0 with probability p, the others are divided by 1 - p; else x.

    Source: Srivastava et al., Dropout (2014), in the form that scales while training instead of afterwards.

    Raises:
        ValueError: p is outside [0, 1).
        TypeError: `rng` is no Generator.
    """

    def __init__(self, p, *, rng):
        if not 0 <= p < 1:
            raise ValueError(
                f"Dropout: expected 0 <= p < 1, got {p!r}; it is the share of elements that become zero"
            )
        initial.check_rng("Dropout", rng)
        self.p, self.rng = p, rng

    def forward(self, x, mask=None):
        """x of any shape; `mask`, of zeros and ones and of x's shape, is drawn from `rng` when not given."""
        if not self.training or self.p == 0:
            return x
        if mask is None:
            mask = arrays.of(raw(x)).asarray(self.rng.random(x.shape, dtype="float32") >= self.p)
        return ops.dropout(x, mask, p=self.p)


class Sequential(Module):
    """Modules (or functions), one after the other; it is indexed, sliced, measured and iterated like a list.

    Raises:
        TypeError: something given cannot be called.
    """

    def __init__(self, *layers):
        for i, layer in enumerate(layers):
            if not callable(layer):
                raise TypeError(
                    f"Sequential: expected modules or functions, got {layer!r} at {i}; unpack lists with *"
                )
        self.layers = list(layers)

    def parts(self):
        return enumerate(self.layers)  # names such as 0.weight rather than layers.0.weight

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x

    def __len__(self):
        return len(self.layers)

    def __iter__(self):
        return iter(self.layers)

    def __getitem__(self, index):
        return Sequential(*self.layers[index]) if isinstance(index, slice) else self.layers[index]


class Flatten(Module):
    """(B, ...) to (B, product of the rest)."""

    def forward(self, x):
        return ops.reshape(x, (x.shape[0], math.prod(x.shape[1:])))


class Reshape(Module):
    """(B, ...) to (B, *shape): Reshape(16, 7, 7) makes images of vectors. One size may be -1: what is left.

    Raises:
        ValueError: when called, and the numbers of elements differ.
    """

    def __init__(self, *shape):
        self.shape = shape

    def forward(self, x):
        return ops.reshape(x, (x.shape[0], *self.shape))
