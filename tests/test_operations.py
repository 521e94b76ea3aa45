"""Every registered operation obeys the whole contract: the registry is the list of tests.

Beside it: no operation without a domain, no choice in a domain that does not work, and derivatives to the
fourth order of what is fused or convolves, against definitions written here in nothing but sums, products and
elementary functions.
"""

import itertools
import types

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from registry import OPERATIONS, as_leaves, call, is_real, short, tensors

import tinygen as tg
from tinygen.autograd.domain import Case, Domain
from tinygen.testing import strategies


@pytest.mark.parametrize("name", OPERATIONS, ids=short)
def test_contract(name):
    tg.testing.contract(tg.REGISTRY[name])()


# Domains


def without_domain(registry):
    """Names of operations that say nothing about their inputs: they would be tested as elementwise ones."""
    return [name for name, operation in registry.items() if not operation.domains.cases]


def test_every_operation_has_a_domain():
    assert not without_domain({name: tg.REGISTRY[name] for name in OPERATIONS})


def test_an_operation_without_a_domain_is_noticed():
    planted = tg.primitive(lambda x: 2.0 * x)
    planted.rules(x=lambda g: 2.0 * g)
    assert without_domain({"tinygen.planted": planted, "tinygen.exp": tg.exp}) == ["tinygen.planted"]


def test_every_public_operation_is_registered():
    """What is not: two that make constants, and two that return integers."""
    registered = set(map(short, OPERATIONS))
    others = {"zeros_like", "ones_like", "argmax", "argmin"}
    assert {name for name in tg.ops.__all__ if name not in registered} == others


def single_cases(operation):
    """The operation's cases, one for each combination of the choices that are listed in full."""
    for case in operation.domains.cases:
        listed = {name: choices for name, choices in case.attrs.items() if isinstance(choices, tuple)}
        for combination in itertools.product(*listed.values()):
            chosen = {name: (choice,) for name, choice in zip(listed, combination)}
            yield Case(case.shapes, case.values, {**case.attrs, **chosen})


@pytest.mark.parametrize("name", OPERATIONS, ids=short)
def test_every_choice_of_a_domain_works(name):
    """Each combination of choices is called: a few random draws may never meet one with another."""
    operation = tg.REGISTRY[name]
    for case in single_cases(operation):
        check_case(operation, case)


def check_case(operation, case):
    """Assert that value and gradient are finite on a few inputs of one case."""
    stand_in = types.SimpleNamespace(domains=Domain("", operation.domains.inputs, [case]))

    @settings(max_examples=2, suppress_health_check=list(HealthCheck))
    @given(strategies.inputs(stand_in))
    def check(drawn):
        inputs, attrs = drawn
        leaves = as_leaves(inputs)
        results = call(operation, leaves, attrs)
        live = [y for y in results if y.node is not None]
        gradients = tg.gradients(live, tensors(leaves), [tg.ones_like(y) for y in live]) if live else []
        for y in [*results, *gradients]:
            assert np.isfinite(y.data).all()

    check()


# Derivatives of the fourth order


def define_prod(x, axis=None, keepdims=False):
    axes = [
        a % x.ndim for a in (range(x.ndim) if axis is None else (axis,) if isinstance(axis, int) else axis)
    ]
    for a in axes:
        parts = [x[(slice(None),) * a + (slice(k, k + 1),)] for k in range(x.shape[a])]
        x = parts[0]
        for part in parts[1:]:
            x = x * part
    shape = [n for a, n in enumerate(x.shape) if keepdims or a not in axes]
    return x.reshape(tuple(shape))


def define_cumprod(x, axis):
    parts = [
        define_prod(x[(slice(None),) * (axis % x.ndim) + (slice(0, k + 1),)], axis)
        for k in range(x.shape[axis])
    ]
    return tg.stack(parts, axis=axis)


def define_softmax(scores, see):
    weights = tg.exp(scores) * see
    total = weights.sum(axis=-1, keepdims=True)
    return weights / (total + (total.numpy() == 0))


def define_attention(q, k, v, mask=None, causal=False, scale=None):
    t, s = q.shape[-2], k.shape[-2]
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    scores = (q.reshape((*q.shape[:-1], 1, -1)) * k.reshape((*k.shape[:-2], 1, s, -1))).sum(axis=-1) * scale
    see = np.tril(np.ones((t, s)), s - t) if causal else np.ones((t, s))
    if mask is not None and not isinstance(mask, tg.Tensor):
        see = see * mask
    elif mask is not None:
        scores = scores + mask
    weights = define_softmax(scores, see)
    return (weights.reshape((*weights.shape, 1)) * v.reshape((*v.shape[:-2], 1, s, -1))).sum(axis=-2)


def define_self_attention(qkv, mask=None, *, heads, causal=False, scale=None):
    """Head by head, each cut out of the three parts."""
    width = qkv.shape[-1] // 3
    size, outs = width // heads, []
    for h in range(heads):
        q, k, v = (qkv[..., i * width + h * size : i * width + (h + 1) * size] for i in range(3))
        own = mask if mask is None or mask.ndim < 3 else mask[..., h, :, :]
        outs.append(define_attention(q, k, v, own, causal, scale))
    return tg.concatenate(outs, axis=-1)


def define_normalise(x, weight=None, bias=None, *, axes, shape, eps):
    centred = x - x.mean(axis=axes, keepdims=True)
    y = centred * ((centred * centred).mean(axis=axes, keepdims=True) + eps) ** -0.5
    y = y if weight is None else y * weight.reshape(shape)
    return y if bias is None else y + bias.reshape(shape)


def define_layer_norm(x, weight=None, bias=None, *, eps):
    return define_normalise(x, weight, bias, axes=-1, shape=(-1,), eps=eps)


def define_batch_norm(x, weight=None, bias=None, *, eps):
    ones = (1,) * (x.ndim - 2)
    return define_normalise(x, weight, bias, axes=(0, *range(2, x.ndim)), shape=(-1, *ones), eps=eps)


def define_group_norm(x, weight=None, bias=None, *, groups, eps):
    share = x.shape[1] // groups
    parts = [x[:, i * share : (i + 1) * share] for i in range(groups)]
    axes, shape = tuple(range(1, x.ndim)), (-1, *(1,) * (x.ndim - 2))
    y = tg.concatenate([define_normalise(part, axes=axes, shape=shape, eps=eps) for part in parts], axis=1)
    y = y if weight is None else y * weight.reshape(shape)
    return y if bias is None else y + bias.reshape(shape)


def define_rms_norm(x, weight=None, *, eps):
    y = x * ((x * x).mean(axis=-1, keepdims=True) + eps) ** -0.5
    return y if weight is None else y * weight


def define_token_cross_entropy(logits, targets, *, ignore_index=-100, label_smoothing=0.0):
    classes = logits.shape[-1]
    wanted = (1 - label_smoothing) * np.eye(classes)[targets] + label_smoothing / classes
    log_p = logits - tg.log(tg.exp(logits).sum(axis=-1, keepdims=True))
    return -(log_p * wanted).sum(axis=-1) * (targets != ignore_index)


def define_bernoulli_log_prob(logits, x):
    p = tg.sigmoid(logits)
    return (x * tg.log(p) + (1 - x) * tg.log(1 - p)).sum(axis=-1)


def pair(value):
    return (value, value) if isinstance(value, int) else value


def define_conv2d(x, weight, bias=None, *, stride=1, padding=0, dilation=1, groups=1):
    """Pixel by pixel: each is the sum of one window times the kernel."""
    (sh, sw), (ph, pw), (dh, dw) = pair(stride), pair(padding), pair(dilation)
    (filters, share, kh, kw), per_group = weight.shape, weight.shape[0] // groups
    x = tg.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    height, width = (x.shape[2] - dh * (kh - 1) - 1) // sh + 1, (x.shape[3] - dw * (kw - 1) - 1) // sw + 1
    pixels = []
    for d, i, j in itertools.product(range(filters), range(height), range(width)):
        start = d // per_group * share
        rows = slice(i * sh, i * sh + dh * (kh - 1) + 1, dh)
        columns = slice(j * sw, j * sw + dw * (kw - 1) + 1, dw)
        pixels.append((x[:, start : start + share, rows, columns] * weight[d]).sum(axis=(1, 2, 3)))
    out = tg.stack(pixels, axis=1).reshape((x.shape[0], filters, height, width))
    return out if bias is None else out + bias.reshape((-1, 1, 1))


def define_conv_transpose2d(
    x, weight, bias=None, *, stride=1, padding=0, dilation=1, groups=1, output_padding=0
):
    """Each pixel paints the kernel, times its value, into the image."""
    (sh, sw), (ph, pw), (dh, dw), (eh, ew) = pair(stride), pair(padding), pair(dilation), pair(output_padding)
    (channels, share, kh, kw), per_group = weight.shape, weight.shape[0] // groups
    height, width = (x.shape[2] - 1) * sh + dh * (kh - 1) + 1, (x.shape[3] - 1) * sw + dw * (kw - 1) + 1
    planes = [0.0] * (share * groups)
    for c, f, i, j in itertools.product(range(channels), range(share), range(x.shape[2]), range(x.shape[3])):
        place = np.zeros((kh, kw, height, width))
        for a, b in itertools.product(range(kh), range(kw)):
            place[a, b, i * sh + a * dh, j * sw + b * dw] = 1.0
        stamp = (weight[c, f].reshape((kh, kw, 1, 1)) * place).sum(axis=(0, 1))
        plane = c // per_group * share + f
        planes[plane] = planes[plane] + x[:, c, i, j].reshape((-1, 1, 1)) * stamp
    out = tg.pad(tg.stack(planes, axis=1), ((0, 0), (0, 0), (0, eh), (0, ew)))
    out = out[:, :, ph : out.shape[2] - ph, pw : out.shape[3] - pw]
    return out if bias is None else out + bias.reshape((-1, 1, 1))


DEFINITIONS = {
    "prod": define_prod,
    "cumprod": define_cumprod,
    "attention": define_attention,
    "self_attention": define_self_attention,
    "normalise": define_normalise,
    "layer_norm": define_layer_norm,
    "batch_norm": define_batch_norm,
    "group_norm": define_group_norm,
    "rms_norm": define_rms_norm,
    "token_cross_entropy": define_token_cross_entropy,
    "bernoulli_log_prob": define_bernoulli_log_prob,
    "conv2d": define_conv2d,
    "conv_transpose2d": define_conv_transpose2d,
}


def test_every_fused_operation_is_defined_here():
    primitives = {short(name): getattr(tg.REGISTRY[name], "primitive", None) for name in OPERATIONS}
    fused = {name for name, record in primitives.items() if record and record.reference}
    assert fused and fused <= DEFINITIONS.keys()


def directional_derivatives(f, inputs, cotangent, directions):
    """c . f(x), then its derivative along the first direction, then that along the second, and so on."""
    places = tuple(range(len(inputs)))

    def along(phi, direction):
        def slope(*xs):
            return sum((g * v).sum() for g, v in zip(tg.grad(phi, places)(*xs), direction))

        return slope

    def phi(*xs):
        return (f(*xs) * cotangent).sum()

    boxed = [tg.tensor(x) for x in inputs]
    found = [phi(*boxed).item()]
    for direction in directions:
        phi = along(phi, direction)
        found.append(phi(*boxed).item())
    return found


@pytest.mark.parametrize("name", DEFINITIONS)
def test_derivatives_to_the_fourth_order(name):
    operation, define = getattr(tg, name, None) or tg.REGISTRY[full_name(name)], DEFINITIONS[name]

    @settings(max_examples=6)
    @given(strategies.inputs(operation), strategies.generators())
    def check(drawn, rng):
        inputs, attrs = drawn
        real = [i for i, x in enumerate(inputs) if is_real(x)]
        values = [inputs[i] for i in real]

        def with_the_rest(f):
            def of_reals(*xs):
                every = list(inputs)
                for i, x in zip(real, xs):
                    every[i] = x
                return f(*every, **attrs)

            return of_reals

        cotangent = rng.standard_normal(operation(*inputs, **attrs).shape)
        directions = [[rng.standard_normal(x.shape) for x in values] for _ in range(4)]
        got = directional_derivatives(with_the_rest(operation), values, cotangent, directions)
        expected = directional_derivatives(with_the_rest(define), values, cotangent, directions)
        np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-9 * max(map(abs, expected)))

    check()


def full_name(name):
    return next(n for n in OPERATIONS if short(n) == name)
