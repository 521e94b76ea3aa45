"""The models of steps.py as JAX's users write them: functions of the weights, a dict with our names."""

import functools

import jax
from jax import numpy as jnp

from tinygen.models import GPTConfig

from .steps import BETAS, EPS, LR


def layer_norm(x, weight):
    centred = x - x.mean(-1, keepdims=True)
    return centred * jax.lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + 1e-5) * weight


def block(x, w, heads):
    """x (B, T, C), w of this block."""
    qkv = layer_norm(x, w("ln_1")) @ w("attn.c_attn").T
    q, k, v = jnp.split(qkv.reshape(*x.shape[:2], 3 * heads, -1), 3, axis=2)
    seen = jax.nn.dot_product_attention(q, k, v, is_causal=True)  # (B, T, H, D)
    x = x + seen.reshape(x.shape) @ w("attn.c_proj").T
    h = jax.nn.gelu(layer_norm(x, w("ln_2")) @ w("mlp.c_fc").T, approximate=False)
    return x + h @ w("mlp.c_proj").T


def gpt(config, weights, tokens, targets):
    x = weights["wte.weight"][tokens] + weights["wpe.weight"][: tokens.shape[1]]
    for i in range(config.layers):
        x = block(x, lambda name, i=i: weights[f"h.{i}.{name}.weight"], config.heads)
    logits = layer_norm(x, weights["ln_f.weight"]) @ weights["wte.weight"].T
    log_p = jax.nn.log_softmax(logits)
    return -jnp.take_along_axis(log_p, targets[..., None], -1).mean()


def vae(config, weights, x, eps):
    def linear(name, x):
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    x, eps = x.reshape(len(x), -1), eps[0]
    h = jax.nn.relu(linear("encoder", x))
    mu, log_var = linear("mean", h), linear("log_variance", h)
    logits = linear("pixels", jax.nn.relu(linear("decoder", mu + jnp.exp(0.5 * log_var) * eps)))
    reconstruction = jnp.sum(jax.nn.softplus(logits) - x * logits)
    kl = -0.5 * jnp.sum(1 + log_var - jnp.square(mu) - jnp.exp(log_var))
    return (reconstruction + kl) / len(x)


class Trainer:
    """A model that takes steps, each of them one compiled function."""

    def __init__(self, case):
        model = gpt if isinstance(case.config, GPTConfig) else vae
        self.names = list(case.weights())
        self.batch = [jnp.asarray(x) for x in case.inputs]
        weights = {name: jnp.asarray(x) for name, x in case.weights().items()}
        zeros = [{name: jnp.zeros_like(x) for name, x in weights.items()} for _ in "mv"]
        self.state = weights, *zeros, jnp.zeros((), jnp.float32)
        loss = jax.value_and_grad(functools.partial(model, case.config))
        self.value_and_grad = jax.jit(loss)
        self.step = jax.jit(functools.partial(step, loss, case.decay, case.clip), donate_argnums=0)

    def gradients(self):
        loss, gradients = self.value_and_grad(self.state[0], *self.batch)
        return [loss, *[gradients[name] for name in self.names]]

    def __call__(self):
        self.state, loss = jax.block_until_ready(self.step(self.state, *self.batch))
        return loss


def step(value_and_grad, decay, clip, state, *batch):
    """(the new state, the loss before): AdamW, with gradients clipped by the norm of all."""
    weights, ms, vs, t = state
    loss, gradients = value_and_grad(weights, *batch)
    if clip:
        norm = jnp.sqrt(sum(jnp.sum(jnp.square(g)) for g in gradients.values()))
        factor = jnp.minimum(1.0, clip / norm)
        gradients = {name: g * factor for name, g in gradients.items()}
    (b1, b2), t = BETAS, t + 1
    ms = {name: b1 * ms[name] + (1 - b1) * g for name, g in gradients.items()}
    vs = {name: b2 * vs[name] + (1 - b2) * jnp.square(g) for name, g in gradients.items()}
    rate, correction = LR / (1 - b1**t), 1 - b2**t

    def moved(x, m, v):
        kept = x * (1 - LR * decay) if x.ndim > 1 else x
        return kept - rate * m / (jnp.sqrt(v / correction) + EPS)

    return ({name: moved(x, ms[name], vs[name]) for name, x in weights.items()}, ms, vs, t), loss
