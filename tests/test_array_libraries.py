"""Operations run on any array library: a strict stand-in refuses NumPy arrays and counts what crosses.

Every operation gives, on strict arrays, the bits that it gives on NumPy's: the value, the gradient by the
fast rules, the gradient that records itself, and the second gradient. Nothing crosses between the libraries
on the way. Models train as they do on NumPy's.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from registry import OPERATIONS, as_leaves, call, short, tensors
from strict_arrays import StrictArray, crossing, strict, to_strict

import tinygen as tg
from tinygen import optim
from tinygen.models import GAN, GPT, VAE, GANConfig, GPTConfig, VAEConfig
from tinygen.testing import strategies

# Operations that must look at values, and how often in a call: cross_entropy refuses targets out of range,
# and its mean is over the targets that count.
READS = {"cross_entropy": lambda attrs: 2 if attrs.get("reduction", "mean") == "mean" else 1}


def with_floats(inputs, dtype):
    """Inputs with the floating ones in another dtype."""
    return [x.astype(dtype) if x is not None and x.dtype.kind == "f" else x for x in inputs]


# The operation suite


def derivatives(operation, inputs, attrs, draw):
    """Values, gradients and second gradients as lists of arrays; `draw(like)` makes a cotangent."""
    results = call(operation, leaves := as_leaves(inputs), attrs)
    own = tensors(leaves)
    found = [y.data for y in results]
    cotangents = [draw(y.data) for y in results]
    live = [k for k, y in enumerate(results) if y.node is not None]
    if not live:
        return found
    roots, weights = [results[k] for k in live], [cotangents[k] for k in live]
    found += [g.data for g in tg.gradients(roots, own, weights, retain_graph=True)]
    recorded = tg.gradients(roots, own, weights, create_graph=True)
    found += [g.data for g in recorded]
    again = [g for g in recorded if g.node is not None]
    if again:
        found += [g.data for g in tg.gradients(again, own, [draw(g.data) for g in again])]
    return found


def check_on_strict_arrays(operation, inputs, attrs, seed):
    """Assert that strict arrays give NumPy's bits, and that nothing crosses."""
    rng, cotangents = np.random.default_rng(seed), []

    def draw(like):
        cotangents.append(np.asarray(rng.standard_normal(like.shape).astype(like.dtype)))
        return cotangents[-1]

    expected = derivatives(operation, inputs, attrs, draw)
    moved = [to_strict(x) for x in inputs]
    options = {name: to_strict(value) for name, value in attrs.items()}
    waiting = iter([to_strict(c) for c in cotangents])
    reads = READS.get(operation.__name__, lambda attrs: 0)(attrs)
    with crossing(read=reads):
        got = derivatives(operation, moved, options, lambda like: next(waiting))
    for mine, theirs in zip(got, expected, strict=True):
        assert isinstance(mine, StrictArray), f"a result is {type(mine).__name__}"
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(mine.get(), theirs)


@pytest.mark.parametrize("name", OPERATIONS, ids=short)
def test_operation_on_strict_arrays(name):
    operation = tg.REGISTRY[name]

    @given(strategies.inputs(operation), st.sampled_from((np.float32, np.float64)), st.integers(0, 2**32 - 1))
    def check(drawn, dtype, seed):
        inputs, attrs = drawn
        check_on_strict_arrays(operation, with_floats(inputs, dtype), attrs, seed)

    check()


def planted(forward, rule):
    """A primitive of the test's own, with one input x."""
    operation = tg.primitive(forward)
    operation.rules(x=rule)
    return operation


def names_numpy(x):
    return np.exp(x)


def makes_a_numpy_array(x):
    return x + np.ones(x.shape)


def goes_by_numpy(x):
    return strict.asarray(np.exp(x.get())) if isinstance(x, StrictArray) else np.exp(x)


def wants_more_than_cupy(x):
    return x.max(initial=0.0)


def looks_at_a_value(x):
    return x + (1.0 if bool((x > 100).any()) else 0.0)


@pytest.mark.parametrize(
    ("forward", "error", "words"),
    [
        (names_numpy, TypeError, "names_numpy: .*ufunc"),
        (makes_a_numpy_array, TypeError, "Unsupported type"),
        (goes_by_numpy, AssertionError, "'to host': 1"),
        (wants_more_than_cupy, TypeError, "initial"),
        (looks_at_a_value, AssertionError, "'read': 1"),
    ],
)
def test_suite_notices_an_operation_that(forward, error, words):
    operation = planted(forward, lambda g, x_shape: tg.broadcast_to(g, x_shape))
    with pytest.raises(error, match=words):
        check_on_strict_arrays(operation, [np.linspace(0, 1, 3)], {}, 0)


def test_suite_notices_a_rule_that_names_numpy():
    operation = planted(lambda x: 2.0 * x, lambda g: np.multiply(2.0, tg.ops.arithmetic.raw(g)))
    with pytest.raises(TypeError, match="ufunc"):
        check_on_strict_arrays(operation, [np.linspace(0, 1, 3)], {}, 0)


# The rest of the engine on strict arrays


def polynomial(x):
    return (x**3).sum() + tg.tanh(x).sum() * x.sum()


TRANSFORMS = {
    "grad": lambda x, v: tg.grad(polynomial)(x),
    "third derivative": lambda x, v: tg.grad(lambda x: tg.hvp(polynomial, x, v).sum())(x),
    "vjp": lambda x, v: tg.vjp(tg.sin, x)[1](v),
    "jvp": lambda x, v: tg.jvp(lambda x: x * x.sum(), (x,), (v,))[1],
    "hvp": lambda x, v: tg.hvp(polynomial, x, v),
    "jacobian": lambda x, v: tg.jacobian(lambda x: tg.exp(x) * x.sum())(x),
    "hessian": lambda x, v: tg.hessian(polynomial)(x),
    "checkpoint": lambda x, v: tg.grad(lambda x: tg.checkpoint(polynomial, x))(x),
    "stop_gradient": lambda x, v: tg.grad(lambda x: (tg.stop_gradient(x) * x).sum())(x),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transform_on_strict_arrays(name):
    x, v = np.random.default_rng(0).normal(size=(2, 3))
    expected = TRANSFORMS[name](tg.tensor(x), tg.tensor(v))
    moved = tg.tensor(to_strict(x)), tg.tensor(to_strict(v))
    with crossing():
        got = TRANSFORMS[name](*moved)
    assert isinstance(got.data, StrictArray)
    np.testing.assert_array_equal(got.numpy(), expected.numpy())


def test_backward_accumulates_without_crossing():
    x = tg.tensor(to_strict(np.array([1.0, 2.0])), requires_grad=True)
    with crossing():
        for _ in range(2):
            (x * x + x[0]).sum().backward()
        x.assign(x - 0.1 * x.grad)
    assert isinstance(x.grad.data, StrictArray)
    np.testing.assert_allclose(x.grad.numpy(), [8.0, 8.0])
    np.testing.assert_allclose(x.numpy(), [0.2, 1.2])


def test_tensor_methods_stay_in_their_library():
    x = tg.tensor(to_strict(np.array([[3.0, 1.0], [2.0, 4.0]])))
    with crossing():
        staying = [
            x > 2,
            x == x,
            x.argmax(axis=0),
            x.all(),
            x.any(axis=1),
            x.astype("float32"),
            x[0],
            x.T,
            1.0 / x,
            x * x.data,
            x.data - x,
        ]
        rows = list(x)
    for value in (*staying, *rows):
        assert isinstance(value.data, StrictArray)
    with crossing(to_host=1):
        assert x.argmax(axis=0).numpy().tolist() == [0, 1]
    with crossing(to_host=1):
        assert np.asarray(x).tolist() == [[3.0, 1.0], [2.0, 4.0]]
    with crossing(to_host=1):
        assert repr(x).startswith("tensor([[3., 1.],")
    with crossing(read=1):
        assert x[0, 1].item() == 1.0


# Models


KINDS = ["vae", "conv", "gan", "gpt"]


def trained(kind, convert, steps=5):
    """The losses of a few steps of a model in float64, of a GAN its critic's; and its weights after them."""
    rng = np.random.default_rng(0)
    if kind == "gpt":
        model = GPT(GPTConfig(vocabulary=11, context=12, layers=2, heads=2, width=16), rng=rng)
        batch = [convert(rng.integers(0, 11, (4, 12))) for _ in range(2)]
    elif kind == "gan":
        critic = {"loss": "wasserstein", "gradient_penalty": 10.0, "packing": 2}
        model = GAN(GANConfig(height=8, width=8, latent=3, channels=4, **critic), rng=rng)
        batch = [convert(rng.random((6, 8, 8))), convert(rng.standard_normal((6, 3)))]
        t = convert(rng.random(3))
    else:
        network = {"network": "conv", "channels": 4} if kind == "conv" else {}
        model = VAE(VAEConfig(height=8, width=8, hidden=16, latent=3, samples=2, **network), rng=rng)
        batch = [convert(rng.random((6, 8, 8))), convert(rng.standard_normal((2, 6, 3)))]
    model.astype(np.float64).convert(convert)
    players = [(model, lambda: model.loss(*batch))]
    if kind == "gan":
        players = [
            (model.discriminator, lambda: model.discriminator_loss(*batch, t=t)),
            (model.generator, lambda: model.generator_loss(batch[1])),
        ]
    optimizers = [optim.AdamW(player.parameters(), lr=1e-2, weight_decay=0.1) for player, _ in players]
    losses = []
    for _ in range(steps):
        for turn, (optimizer, (_, lowered)) in enumerate(zip(optimizers, players, strict=True)):
            optimizer.zero_grad()
            loss = lowered()
            loss = loss[0] if isinstance(loss, tuple) else loss
            loss.backward()
            optim.clip_by_norm(optimizer.parameters, 1.0)
            optimizer.step()
            if turn == 0:
                losses.append(float(loss.numpy()))
    assert all(type(p.data) is type(batch[0]) for p in model.parameters())
    return losses, model.state_dict()


def check_training(kind, convert):
    """Assert that a model trains in the library that `convert` moves arrays to as it does in NumPy."""
    losses, weights = trained(kind, np.asarray)
    got_losses, got_weights = trained(kind, convert)
    assert losses[-1] < losses[0]
    np.testing.assert_allclose(got_losses, losses, rtol=1e-8)
    for name, expected in weights.items():
        np.testing.assert_allclose(got_weights[name], expected, rtol=1e-6, atol=1e-8, err_msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_trains_on_strict_arrays(kind):
    check_training(kind, strict.asarray)


# What else meets arrays


def test_anomaly_watches_strict_arrays():
    x = tg.tensor(to_strict(np.array([0.0, 1.0])), requires_grad=True)
    with (
        tg.anomaly(),
        np.errstate(all="ignore"),
        pytest.raises(FloatingPointError, match="the result of log"),
    ):
        tg.log(x * -1.0)
    with tg.anomaly():
        assert isinstance(tg.exp(x).data, StrictArray)


def test_where_of_two_numbers_stays_in_the_library_of_its_condition():
    with crossing():
        chosen = tg.where(strict.arange(3) > 0, 1.0, 0.0)
    assert isinstance(chosen, StrictArray) and chosen.dtype == np.float32
    assert chosen.get().tolist() == [0.0, 1.0, 1.0]


def test_mixing_libraries_is_an_error_that_names_the_operation():
    ours, theirs = tg.tensor(np.ones(2), requires_grad=True), tg.tensor(to_strict(np.ones(2)))
    with pytest.raises(TypeError, match=r"multiply: .*\(2,\) float64, \(2,\) float64"):
        theirs * ours
