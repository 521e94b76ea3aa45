"""Matrix products of a GPT, a small GPT, a VAE and of attention, as forward and backward ask for them.

m x k x n: (m, k) @ (k, n). N: as it lies in memory, T: a transposed view. `linear` calls x @ W.T (NT), the
gradient of its input is g @ W (NN), and that of its weight g.T @ x (TN).
"""

import numpy as np

from .cases import Case

SHAPES = (
    # A GPT: 8 x 256 tokens, width 384, 6 heads, 65 characters
    *("2048x384x1152 NT", "2048x384x384 NT", "2048x384x1536 NT", "2048x1536x384 NT", "2048x384x65 NT"),
    *("2048x1536x384 NN", "2048x384x1536 NN"),
    *("1536x2048x384 TN", "384x2048x1536 TN", "65x2048x384 TN"),
    # A small one: 12 x 64 tokens, width 128
    *("768x128x384 NT", "768x128x512 NT", "768x512x128 NN", "512x768x128 TN"),
    # A VAE: 128 images of 784 pixels, 400 hidden units, 20 latent dimensions
    *("128x784x400 NT", "128x20x400 NT", "400x128x784 TN"),
    # Scores and values of attention, 48 and 64 heads of them
    *("48x256x64x256 NT", "48x256x256x64 NN", "64x64x32x64 NT"),
)


def matrix(rng, batch, rows, columns, how):
    """(*batch, rows, columns); T: a view of one that lies transposed."""
    shape = (rows, columns) if how == "N" else (columns, rows)
    x = rng.standard_normal((*batch, *shape), dtype=np.float32)
    return x if how == "N" else x.swapaxes(-1, -2)


def cases():
    rng = np.random.default_rng(0)
    for name in SHAPES:
        sizes, (left, right) = name.split()
        *batch, m, k, n = map(int, sizes.split("x"))
        count = 4 * int(np.prod(batch, initial=1))
        yield Case(
            kind="",
            shape=name,
            work=count / 2 * m * k * n,
            traffic=count * (m * k + k * n + m * n),
            functions={lib: lambda lib: lib.matmul for lib in ("tinygen", "NumPy", "PyTorch")}
            | {"JAX": lambda jax: jax.numpy.matmul},
            inputs=[matrix(rng, batch, m, k, left), matrix(rng, batch, k, n, right)],
        )
