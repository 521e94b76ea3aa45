"""Initialisers: fans, bounds, means and variances, orthonormality, errors."""

import math

import numpy as np
import pytest

from tinygen.nn import init

SHAPES = [(300, 200), (60, 40, 5, 3)]
FANS = [(200, 300), (600, 900)]  # (fan_in, fan_out) of each


def generator(seed=0):
    return np.random.default_rng(seed)


def assert_moments(values, variance):
    """Mean 0 and this variance, to five standard deviations of what a normal sample of this size scatters."""
    assert values.dtype == np.float32
    assert abs(values.mean()) < 5 * math.sqrt(variance / values.size)
    assert abs(values.var() / variance - 1) < 5 * math.sqrt(2 / values.size)


def assert_bounds(values, bound):
    """Uniform samples this large reach 99.9 % of their bound."""
    assert 0.999 * bound < values.max() <= np.float32(bound)
    assert -np.float32(bound) <= values.min() < -0.999 * bound


def test_fans_of_a_matrix_and_of_a_kernel():
    assert init.fans((3, 5)) == (5, 3)
    assert init.fans((8, 4, 3, 2)) == (24, 48)
    with pytest.raises(
        ValueError, match=r"fans: expected a weight of shape \(out, in, \.\.\.\), got \(3,\); use"
    ):
        init.fans((3,))


def test_zeros_and_ones():
    for function, value in ((init.zeros, 0), (init.ones, 1)):
        values = function((2, 3), rng=generator())
        assert values.dtype == np.float32
        assert values.tolist() == function((2, 3)).tolist() == [[value] * 3] * 2


@pytest.mark.parametrize("shape, fans", list(zip(SHAPES, FANS, strict=True)))
def test_moments_and_bounds(shape, fans):
    fan_in, fan_out = fans
    both = fan_in + fan_out

    values = init.uniform(shape, rng=generator(), low=-3, high=3)
    assert_moments(values, 3)
    assert_bounds(values, 3)
    assert_bounds(init.uniform(shape, rng=generator()), 1)
    assert_moments(init.normal(shape, rng=generator()), 1)
    assert_moments(init.normal(shape, rng=generator(), std=0.5), 0.25)
    assert_moments(init.normal(shape, rng=generator(), mean=2, std=0.5) - 2, 0.25)

    values = init.fan_in_uniform(shape, rng=generator())
    assert_moments(values, 1 / (3 * fan_in))
    assert_bounds(values, 1 / math.sqrt(fan_in))

    values = init.xavier_uniform(shape, rng=generator(), gain=2)
    assert_moments(values, 4 * 2 / both)
    assert_bounds(values, 2 * math.sqrt(6 / both))
    assert_moments(init.xavier_normal(shape, rng=generator()), 2 / both)

    values = init.kaiming_uniform(shape, rng=generator(), fan="out")
    assert_moments(values, 2 / fan_out)
    assert_bounds(values, math.sqrt(6 / fan_out))
    assert_moments(init.kaiming_normal(shape, rng=generator()), 2 / fan_in)
    assert_moments(init.kaiming_normal(shape, rng=generator(), slope=0.5), 2 / (1.25 * fan_in))


@pytest.mark.parametrize("name", ["xavier_uniform", "xavier_normal", "kaiming_uniform", "kaiming_normal"])
def test_the_spread_equals_pytorchs(name):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    theirs = getattr(torch.nn.init, name + "_")(torch.empty(60, 40, 5, 3))
    ours = getattr(init, name)((60, 40, 5, 3), rng=generator())
    assert ours.std() == pytest.approx(theirs.std().item(), rel=0.03)


@pytest.mark.parametrize("shape", [(5, 5), (3, 7), (7, 3), (4, 2, 3, 3), (20, 2, 3, 1)])
def test_orthogonal_has_orthonormal_rows_or_columns(shape):
    values = init.orthogonal(shape, rng=generator(), gain=2)
    assert values.dtype == np.float32
    assert values.shape == shape
    matrix = values.reshape(shape[0], -1).astype(np.float64)
    gram = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    assert np.allclose(gram, 4 * np.eye(len(gram)), atol=1e-6)


def test_orthogonal_is_drawn_uniformly():
    rng = generator()
    matrices = np.array([init.orthogonal((3, 3), rng=rng) for _ in range(2000)])
    # Entries of a uniform one have mean 0 and variance 1/3. With LAPACK's own signs the diagonal is shifted.
    assert np.abs(matrices.mean(0)).max() < 5 * math.sqrt(1 / 3 / 2000)
    assert np.abs(matrices.var(0) - 1 / 3).max() < 0.04


def test_no_spread_is_a_constant():
    assert init.uniform((2,), rng=generator(), low=3, high=3).tolist() == [3, 3]
    assert init.normal((2,), rng=generator(), mean=3, std=0).tolist() == [3, 3]


def test_numpy_scalars_make_no_float64():
    assert init.normal((2,), rng=generator(), std=np.float64(0.5)).dtype == np.float32
    assert init.uniform((2,), rng=generator(), low=np.float64(0), high=np.float64(1)).dtype == np.float32


@pytest.mark.parametrize(
    "call, kind, message",
    [
        (
            lambda: init.uniform((2,), rng=3),
            TypeError,
            r"uniform: expected rng to be a np\.random\.Generator, got 3; pass",
        ),
        (lambda: init.normal((2,), rng=np.random), TypeError, "normal: expected rng to be"),
        (lambda: init.orthogonal((2, 2), rng=None), TypeError, "orthogonal: expected rng to be"),
        (
            lambda: init.uniform((2,), rng=generator(), low=2, high=1),
            ValueError,
            "uniform: expected low <= high, got 2 and 1",
        ),
        (
            lambda: init.normal((2,), rng=generator(), std=-1),
            ValueError,
            "normal: expected std >= 0, got -1; it is",
        ),
        (
            lambda: init.kaiming_normal((2, 2), rng=generator(), fan="fan_in"),
            ValueError,
            "kaiming: expected fan to be 'in' or 'out', got 'fan_in'",
        ),
        (lambda: init.xavier_normal((2,), rng=generator()), ValueError, "fans: expected a weight"),
        (lambda: init.orthogonal((2,), rng=generator()), ValueError, "fans: expected a weight"),
    ],
)
def test_a_mistake_gets_a_clear_error(call, kind, message):
    with pytest.raises(kind, match=message):
        call()
