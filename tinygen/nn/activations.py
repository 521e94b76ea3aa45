"""Activations as modules, to stand in a Sequential: each is the operation of the same name, on any shape."""

from ..autograd import ops
from .layers import check_sizes
from .module import Module


class ReLU(Module):
    """max(x, 0)."""

    def forward(self, x):
        return ops.relu(x)


class LeakyReLU(Module):
    """x where positive, slope * x elsewhere."""

    def __init__(self, slope=0.01):
        self.slope = slope

    def forward(self, x):
        return ops.leaky_relu(x, slope=self.slope)


class ELU(Module):
    """x where positive, alpha * (e^x - 1) elsewhere (Clevert et al. 2016)."""

    def __init__(self, alpha=1.0):
        self.alpha = alpha

    def forward(self, x):
        return ops.elu(x, alpha=self.alpha)


class SiLU(Module):
    """x * sigmoid(x), also called swish."""

    def forward(self, x):
        return ops.silu(x)


class GELU(Module):
    """x * Phi(x), Phi the normal distribution function (Hendrycks & Gimpel 2016).

    Args:
        approximate: "none", or "tanh" for the formula with tanh that GPT-2 uses.

    Raises:
        ValueError: `approximate` is neither.
    """

    def __init__(self, *, approximate="none"):
        if approximate not in ("none", "tanh"):
            raise ValueError(
                f"GELU: expected approximate to be 'none' or 'tanh', got {approximate!r}; choose one of them"
            )
        self.approximate = approximate

    def forward(self, x):
        return ops.gelu(x, approximate=self.approximate)


class Tanh(Module):
    """Hyperbolic tangent."""

    def forward(self, x):
        return ops.tanh(x)


class Sigmoid(Module):
    """1 / (1 + e^-x)."""

    def forward(self, x):
        return ops.sigmoid(x)


class Softplus(Module):
    """log(1 + e^x)."""

    def forward(self, x):
        return ops.softplus(x)


class Maxout(Module):
    """The largest of `pieces` numbers: (*, pieces * F) to (*, F); behind a Linear, a learnt convex function.

    Source: Goodfellow et al., Maxout networks (2013). The pieces of a feature lie F apart, and not side by
    side, so that the maximum runs along whole rows of memory.

    Raises:
        ValueError: `pieces` is below 1; when called, the features are no multiple of it.
    """

    def __init__(self, pieces):
        check_sizes("Maxout", pieces=pieces)
        self.pieces = pieces

    def forward(self, x):
        if x.shape[-1] % self.pieces:
            raise ValueError(
                f"Maxout: expected a multiple of {self.pieces} features, got {x.shape[-1]}; change one"
            )
        return ops.max(ops.reshape(x, (*x.shape[:-1], self.pieces, x.shape[-1] // self.pieces)), axis=-2)
