"""Operations, layers and trainings on a GPU, by CuPy: NumPy's numbers, and no array that leaves the GPU.

Skipped where there is no CuPy, or no GPU. What strict_arrays.py imitates is met here: test_array_libraries.py
asks more, of more examples, but of an imitation.
"""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from registry import OPERATIONS, short
from test_array_libraries import derivatives, with_floats

import tinygen as tg
from tinygen import optim
from tinygen.models import GPT, VAE, GPTConfig, VAEConfig
from tinygen.testing import strategies

cupy = pytest.importorskip("cupy")
try:
    cupy.cuda.runtime.getDeviceCount()
except cupy.cuda.runtime.CUDARuntimeError:
    pytest.skip("no GPU", allow_module_level=True)


def moved(value):
    """NumPy arrays, and lists, as CuPy's: within tuples too. Whatever else is passed on."""
    if isinstance(value, (np.ndarray, list)):
        return cupy.asarray(value)
    return tuple(map(moved, value)) if type(value) is tuple else value


@pytest.mark.parametrize("name", OPERATIONS, ids=short)
def test_operation_on_a_gpu(name):
    operation = tg.REGISTRY[name]

    # Each new shape and dtype may compile a kernel, so a few examples are what is affordable.
    @settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
    @given(strategies.inputs(operation), st.sampled_from((np.float32, np.float64)), st.integers(0, 2**32 - 1))
    def check(drawn, dtype, seed):
        inputs, attrs = drawn
        inputs = with_floats(inputs, dtype)
        rng, cotangents = np.random.default_rng(seed), []

        def draw(like):
            cotangents.append(np.asarray(rng.standard_normal(like.shape).astype(like.dtype)))
            return cotangents[-1]

        expected = derivatives(operation, inputs, attrs, draw)
        waiting = iter([moved(c) for c in cotangents])
        options = {name: moved(value) for name, value in attrs.items()}
        got = derivatives(operation, [moved(x) for x in inputs], options, lambda like: next(waiting))
        for mine, theirs in zip(got, expected, strict=True):
            assert isinstance(mine, cupy.ndarray), f"a result is {type(mine).__name__}"
            assert mine.dtype == theirs.dtype
            tolerance = 1e-9 if mine.dtype == np.float64 else 2e-4
            scale = float(np.abs(theirs[np.isfinite(theirs)]).max(initial=1.0)) if theirs.size else 1.0
            np.testing.assert_allclose(mine.get(), theirs, rtol=tolerance, atol=tolerance * scale)

    check()


def trained(kind, convert, steps=5):
    """The losses of a few steps of a model in float64, and its weights after them."""
    rng = np.random.default_rng(0)
    if kind == "gpt":
        model = GPT(GPTConfig(vocabulary=11, context=12, layers=2, heads=2, width=16), rng=rng)
        batch = [convert(rng.integers(0, 11, (4, 12))) for _ in range(2)]
    else:
        network = {"network": "conv", "channels": 4} if kind == "conv" else {}
        model = VAE(VAEConfig(height=8, width=8, hidden=16, latent=3, samples=2, **network), rng=rng)
        x = rng.random((6, 8, 8))
        batch = [convert(x), convert(rng.standard_normal((2, 6, 3)))]
    model.astype(np.float64).convert(convert)
    optimizer = optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = model.loss(*batch)
        loss = loss[0] if isinstance(loss, tuple) else loss
        loss.backward()
        optim.clip_by_norm(optimizer.parameters, 1.0)
        optimizer.step()
        losses.append(float(loss.numpy()))
    assert all(type(p.data) is type(batch[0]) for p in model.parameters())
    return losses, model.state_dict()


@pytest.mark.parametrize("kind", ["vae", "conv", "gpt"])
def test_a_model_trains_on_a_gpu_as_it_does_here(kind):
    losses, weights = trained(kind, np.asarray)
    got_losses, got_weights = trained(kind, cupy.asarray)
    assert losses[-1] < losses[0]
    np.testing.assert_allclose(got_losses, losses, rtol=1e-8)
    for name, expected in weights.items():
        np.testing.assert_allclose(got_weights[name], expected, rtol=1e-6, atol=1e-8, err_msg=name)
