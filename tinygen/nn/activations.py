"""Activations as modules, to stand in a Sequential: each is the operation of the same name, on any shape."""

from ..autograd import ops
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
