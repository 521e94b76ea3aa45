"""Operations, layers and trainings on a GPU, by CuPy: NumPy's numbers, and no array that leaves the GPU.

Skipped where there is no CuPy, or no GPU. What strict_arrays.py imitates is met here: test_array_libraries.py
asks more, of more examples, but of an imitation.
"""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from registry import OPERATIONS, short
from test_array_libraries import KINDS, check_training, derivatives, with_floats

import tinygen as tg
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


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_trains_on_a_gpu(kind):
    check_training(kind, cupy.asarray)
