"""Spectral normalisation: a layer whose weight, as a matrix, stretches no vector by more than 1.

    Miyato, Kataoka, Koyama & Yoshida, Spectral normalization for generative adversarial networks (2018),
    arXiv 1802.05957: section 2.1 and algorithm 1

W is divided by its largest singular value, which is found by power iteration, one a call: W changes little
from step to step, so u, which is kept, stays near the singular vector. u and v count as constants: then
sigma = u^T W v, and its derivative by W is u v^T, as in the paper.

Where the paper divides W, we divide the input: W x / sigma = W (x / sigma). So it works for any layer that is
linear but for its bias, and the layer need not know of it.

Left out: the exact norm of a convolution as an operator, which is not that of its weight as a matrix
(out, in * height * width), but at most sqrt(height * width) times it, as that many patches share a pixel; the
paper leaves it out too. A weight of zeros has no direction: what comes out is not finite.
"""

from .. import arrays
from ..autograd import ops
from ..autograd.ops.arithmetic import raw
from . import init as initial
from .module import Module

EPS = 1e-12  # keeps the direction of a zero vector finite


class SpectralNorm(Module):
    """`layer` with the weight W / sigma(W), sigma its largest singular value; the bias is as it was.

    u   a buffer (out,), of length 1: the left singular vector, as far as it is known. In training each call
        moves it by `iterations`; in evaluation it stays.

    Args:
        layer: a Linear or Conv2d, or what else has a weight (out, ...) and is linear in its input.
        rng: the np.random.Generator that draws the first u.
        iterations: of the power method at each call; 1 in the paper.

    Raises:
        ValueError: `iterations` is less than 1, or the layer has no weight of two axes or more.
        TypeError: `rng` is no Generator.
    """

    buffers = ("u",)

    def __init__(self, layer, *, rng, iterations=1):
        initial.check_rng("SpectralNorm", rng)
        if iterations < 1:
            raise ValueError(f"SpectralNorm: expected at least 1 iteration, got {iterations}; 1 is usual")
        shape = getattr(getattr(layer, "weight", None), "shape", ())
        if len(shape) < 2:
            raise ValueError(
                f"SpectralNorm: expected a layer with a weight (out, in, ...), got a {type(layer).__name__} "
                f"with {shape or 'none'}; wrap a Linear or a Conv2d"
            )
        self.layer, self.iterations = layer, iterations
        self.u = _unit(initial.normal(shape[:1], rng=rng))

    def forward(self, x):
        return self.layer(ops.divide(x, self.sigma()))

    def sigma(self):
        """The largest singular value, a scalar Tensor: from below, the closer the longer u was followed."""
        weight = self.layer.weight
        matrix = ops.reshape(weight, (weight.shape[0], -1))
        u, w = self.u, raw(matrix)
        if self.training:
            for _ in range(self.iterations):
                v = _unit((u[:, None] * w).sum(axis=0))
                u = _unit((w * v).sum(axis=1))
            self.u = u
        else:
            v = _unit((u[:, None] * w).sum(axis=0))
        return ops.sum(matrix * (u[:, None] * v))  # u W v


def _unit(vector):
    """An array scaled to length 1."""
    return vector / (arrays.of(vector).sqrt((vector * vector).sum()) + EPS)
