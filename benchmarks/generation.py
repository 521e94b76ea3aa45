"""Writing, token by token, with a cache of keys and values: one text, each time the likeliest token.

layers x heads x width, context, vocabulary: nanoGPT's setting for a CPU, with two contexts; a larger one of
characters; GPT-2 small. The text begins with one token and goes on to the end of the context, GPT-2's for 32
tokens. The weights are our GPT's first ones, made larger so that the text does not repeat itself at once.

A token needs all the weights, each for one multiplication: what the memory gives is the limit where they do
not fit into a cache. So the share of the peak is that of reading, and counts weights, keys and values. Of
a width of 128 they fit (3 MB), and calls take the time.

Peers: PyTorch without modules, which cost more, with a cache made at the start, its fused attention and
inference_mode; JAX with the whole text in one compiled scan. NumPy is our model on the reference kernels.
"""

import functools
import itertools
from collections.abc import Sequence

import numpy as np

from tinygen.models import GPT, GPTConfig, SamplingConfig, generate

from .cases import Case

SIZES = (  # layers, heads, width, context, vocabulary, tokens
    (4, 4, 128, 64, 65, 63),
    (4, 4, 128, 256, 65, 255),
    (6, 6, 384, 256, 65, 255),
    (12, 12, 768, 1024, 50257, 32),
)
SCALE = 4  # of the first weights


def cases():
    for layers, heads, width, context, vocabulary, count in SIZES:
        config = GPTConfig(layers=layers, heads=heads, width=width, context=context, vocabulary=vocabulary)
        weights = 4 * (12 * layers * width**2 + vocabulary * width)
        traffic = count * (weights + 8 * layers * width * (count + 1) // 2)
        functions = {
            "tinygen": lambda tg, of=(config, count): ours(*of),
            "PyTorch": lambda torch, of=(config, count): in_torch(torch, *of),
            "JAX": lambda jax, of=(config, count): in_jax(jax, *of),
        }
        shape = f"{layers}x{heads}x{width} {context} {vocabulary}"
        inputs = Weights(config)
        yield Case("greedy", shape, count, functions, inputs, unit="tokens/s", traffic=traffic)


class Weights(Sequence):
    """The arrays of a model in the order of their names, made when they are first asked for."""

    def __init__(self, config):
        self.config = config

    @functools.cached_property
    def arrays(self):
        state = GPT(self.config, rng=np.random.default_rng(0)).state_dict()
        return [array * np.float32(SCALE if array.ndim > 1 else 1) for array in state.values()]

    def __getitem__(self, i):
        return self.arrays[i]

    def __len__(self):
        return len(self.arrays)


def named(config, arrays):
    """(wte, wpe, a list of 12 arrays for each block, ln_f)"""
    wte, wpe, *blocks, weight, bias = arrays
    return wte, wpe, [blocks[12 * i : 12 * i + 12] for i in range(config.layers)], (weight, bias)


def ours(config, count):
    @functools.cache
    def model(dtype):
        return GPT(config, rng=np.random.default_rng(0)).eval().astype(dtype)

    loaded = []

    def write(*arrays):
        gpt = model(arrays[0].dtype)
        if not loaded:
            gpt.load_state_dict(dict(zip(gpt.state_dict(), arrays)))
            loaded.append(True)
        greedy, rngs = SamplingConfig(temperature=0), [np.random.default_rng(0)]
        tokens = generate(gpt, np.zeros((1, 1), np.int64), sampling=greedy, rngs=rngs)
        return np.concatenate(list(itertools.islice(tokens, count)))

    return write


def in_torch(torch, config, count):
    f, width, heads = torch.nn.functional, config.width, config.heads
    cache = torch.empty(config.layers, 2, 1, heads, config.context, width // heads)

    @torch.inference_mode()
    def write(*arrays):
        wte, wpe, blocks, last = named(config, arrays)
        token, tokens = torch.zeros(1, dtype=torch.int64), []
        for i in range(count):
            x = f.embedding(token, wte) + wpe[i]
            for (keys, values), block in zip(cache, blocks):
                norm_1, shift_1, w_a, b_a, w_o, b_o, norm_2, shift_2, w_1, b_1, w_2, b_2 = block
                joint = f.linear(f.layer_norm(x, (width,), norm_1, shift_1), w_a, b_a)
                q, k, v = joint.view(3, 1, heads, 1, width // heads).unbind(0)
                keys[:, :, i : i + 1], values[:, :, i : i + 1] = k, v
                seen = f.scaled_dot_product_attention(q, keys[:, :, : i + 1], values[:, :, : i + 1])
                x = x + f.linear(seen.view(1, width), w_o, b_o)
                ahead = f.gelu(f.linear(f.layer_norm(x, (width,), norm_2, shift_2), w_1, b_1))
                x = x + f.linear(ahead, w_2, b_2)
            token = f.linear(f.layer_norm(x, (width,), *last), wte).argmax(-1)
            tokens.append(token)
        return torch.cat(tokens)

    return write


def in_jax(jax, config, count):
    jnp, lax, width, heads = jax.numpy, jax.lax, config.width, config.heads
    size = width // heads

    def norm(x, weight, bias):
        centred = x - x.mean()
        return centred / jnp.sqrt((centred * centred).mean() + 1e-5) * weight + bias

    def write(*arrays):
        wte, wpe, blocks, last = named(config, arrays)

        def step(carried, i):
            token, caches = carried
            x, kept = wte[token] + wpe[i], []
            for cache, block in zip(caches, blocks):
                norm_1, shift_1, w_a, b_a, w_o, b_o, norm_2, shift_2, w_1, b_1, w_2, b_2 = block
                joint = (w_a @ norm(x, norm_1, shift_1) + b_a).reshape(3, heads, 1, size)
                cache = lax.dynamic_update_slice(cache, joint[1:], (0, 0, i, 0))
                scores = jnp.einsum("hd,hsd->hs", joint[0, :, 0], cache[0]) / np.float32(np.sqrt(size))
                p = jax.nn.softmax(jnp.where(jnp.arange(config.context) <= i, scores, -jnp.inf), -1)
                x = x + w_o @ jnp.einsum("hs,hsd->hd", p, cache[1]).reshape(width) + b_o
                ahead = jax.nn.gelu(w_1 @ norm(x, norm_2, shift_2) + b_1, approximate=False)
                x = x + w_2 @ ahead + b_2
                kept.append(cache)
            token = jnp.argmax(wte @ norm(x, *last))
            return (token, kept), token

        empty = [jnp.zeros((2, heads, config.context, size), jnp.float32) for _ in blocks]
        return lax.scan(step, (jnp.argmin(wte[:1, 0]), empty), jnp.arange(count))[1]

    return write
