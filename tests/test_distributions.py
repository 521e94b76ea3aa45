"""Distributions of pixels: each sums or integrates to one, and draws what its formula says; their KL."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tinygen import nn
from tinygen.models.likelihoods import LIKELIHOODS

PARAMETERS = st.floats(-6, 6)


def integral(log_density, low, high, points=20_001):
    """By Simpson's rule."""
    x = np.linspace(low, high, points)
    weights = np.where(np.arange(points) % 2, 4.0, 2.0)
    weights[[0, -1]] = 1.0
    return (np.exp(log_density(x)) * weights).sum() * (x[1] - x[0]) / 3


@given(PARAMETERS, st.floats(-3, 3), st.sampled_from((2, 17, 256)))
def test_probabilities_sum_to_one_and_densities_integrate_to_one(a, b, levels):
    x = np.arange(levels) / (levels - 1)
    logistic = nn.DiscretisedLogistic(np.full(levels, a), np.full(levels, b), levels=levels)
    assert np.exp(logistic.log_prob(x)).sum() == pytest.approx(1, abs=1e-9)
    assert np.exp(nn.Bernoulli(np.full(2, a)).log_prob(np.array([0.0, 1.0]))).sum() == pytest.approx(1)
    sigma = math.exp(b / 2)
    assert integral(
        lambda x: nn.Normal(np.full_like(x, a), np.full_like(x, b)).log_prob(x),
        a - 12 * sigma,
        a + 12 * sigma,
    ) == pytest.approx(1, abs=1e-9)
    continuous = integral(lambda x: nn.ContinuousBernoulli(np.full_like(x, 5 * a)).log_prob(x), 0, 1)
    assert continuous == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("logit", [0.0, 1e-30, -1e-4, 0.3, -0.4999, 0.5, 7.0, -40.0, 500.0, -1e4])
def test_the_continuous_bernoulli_is_right_and_smooth_for_any_logit(logit):
    """Against 1 / (1 - e^-l) - 1 / l in 50 digits, for the mean, which is the total's derivative."""
    from decimal import Decimal, getcontext

    getcontext().prec = 80
    l = Decimal(logit)  # noqa: E741
    mean = float(1 / (1 - (-l).exp()) - 1 / l) if logit else 0.5
    total = float((((l.exp() - 1) / l) if logit else Decimal(1)).ln())
    for dtype, tolerance in ((np.float64, 1e-11), (np.float32, 2e-6)):
        x = np.array([logit], dtype)
        assert float(nn.ContinuousBernoulli(x).mean[0]) == pytest.approx(mean, rel=tolerance)
        at_zero = nn.ContinuousBernoulli(x).log_prob(np.zeros(1, dtype))
        assert float(at_zero[0]) == pytest.approx(-total, rel=tolerance, abs=tolerance)
        slope = tg.grad(lambda t: nn.ContinuousBernoulli(t).log_prob(t * 0).sum())(x)
        assert float(np.asarray(slope)[0]) == pytest.approx(-mean, rel=10 * tolerance)


@pytest.mark.parametrize("x", [0.0, 4 / 16, 1.0])
def test_log_probabilities_have_right_first_and_second_derivatives(x):
    rng = np.random.default_rng(0)
    value, a, b = np.full(6, x), rng.normal(size=6) * 2, rng.normal(size=6)
    tg.testing.gradcheck(lambda a, b: nn.Normal(a, b).log_prob(value), a, b, order=2)
    tg.testing.gradcheck(lambda a, b: nn.DiscretisedLogistic(a, b, levels=17).log_prob(value), a, b, order=2)
    tg.testing.gradcheck(lambda a: nn.ContinuousBernoulli(a).log_prob(value), a * 0.1, order=2)
    tg.testing.gradcheck(lambda a: nn.ContinuousBernoulli(a).log_prob(value), a, order=2)
    tg.testing.gradcheck(lambda a: nn.Bernoulli(a).log_prob(value), a, order=2)


def test_far_tails_of_the_discretised_logistic_keep_their_digits():
    far = nn.DiscretisedLogistic(np.zeros(3, np.float32), np.full(3, -5, np.float32), levels=256)
    x = np.float32([100, 200, 254]) / np.float32(255)
    # so far out the density is e^(-x / s) / s, and a step has about its width of it
    step, s = 1 / 255, math.exp(-5)
    expected = -x.astype(float) / s + math.log(2 * math.sinh(step / (2 * s)))
    np.testing.assert_allclose(far.log_prob(x), expected, rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_logistic_wider_than_any_number_still_tells_its_levels(dtype):
    """So wide, each inner level has step / (4 s), and the ends share what is left."""
    for log_scale in (60.0, 200.0, 1e4):
        levels, log_s = 17, np.full(17, log_scale, dtype)
        x = (np.arange(levels) / 16).astype(dtype)
        found, slope = tg.value_and_grad(
            lambda a, x=x: nn.DiscretisedLogistic(0.3 + 0 * a, a, levels=17).log_prob(x).sum()
        )(log_s)
        inner = -math.log(16) - log_scale - math.log(4)
        assert float(found) == pytest.approx(15 * inner - 2 * math.log(2), rel=1e-6)
        np.testing.assert_allclose(np.asarray(slope), [0, *[-1] * 15, 0], atol=1e-6)


DRAWN = {
    "bernoulli": lambda: nn.Bernoulli(np.full(200_000, -0.7)),
    "continuous, rising": lambda: nn.ContinuousBernoulli(np.full(200_000, 3.0)),
    "continuous, falling": lambda: nn.ContinuousBernoulli(np.full(200_000, -8.0)),
    "continuous, even": lambda: nn.ContinuousBernoulli(np.zeros(200_000)),
    "normal": lambda: nn.Normal(np.full(200_000, 1.5), np.full(200_000, -1.0)),
    "logistic": lambda: nn.DiscretisedLogistic(np.full(200_000, 0.3), np.full(200_000, -1.5), levels=17),
}


@pytest.mark.parametrize("name", DRAWN)
def test_samples_have_the_mean_and_the_entropy_of_their_formula(name):
    """The mean of -log p over samples is the entropy: it meets that of the samples' own frequencies."""
    distribution = DRAWN[name]()
    x = distribution.sample(rng=np.random.default_rng(1))
    assert x.dtype == np.float64
    error = x.std() / math.sqrt(len(x))
    assert abs(x.mean() - distribution.mean[0]) < 5 * error
    values, counts = np.unique(x, return_counts=True)
    if len(values) < 100:
        expected = -(counts / len(x) * np.log(counts / len(x))).sum()
        assert -distribution.log_prob(x).mean() == pytest.approx(expected, abs=2e-3)
    else:  # density: where the distribution function of the samples is u, that of the formula is, too
        quantiles = np.quantile(x, [0.1, 0.5, 0.9])
        low = -10.0 if name == "normal" else 0.0
        for u, q in zip((0.1, 0.5, 0.9), quantiles):
            one = type(distribution)(*[p[0] for p in vars(distribution).values()])
            assert integral(lambda t, one=one: np.asarray(one.log_prob(t)), low, q) == pytest.approx(
                u, abs=5e-3
            )


def test_a_sample_of_a_normal_has_log_var_for_the_log_of_its_variance():
    """A famous example took it for that of the standard deviation."""
    drawn = nn.Normal(np.zeros(400_000), np.full(400_000, math.log(4.0))).sample(rng=np.random.default_rng(2))
    assert drawn.var() == pytest.approx(4, rel=5 * math.sqrt(2 / 400_000))


def test_float32_stays_float32():
    x = np.float32([0.0, 0.5, 1.0])
    for distribution in (
        nn.Bernoulli(x),
        nn.ContinuousBernoulli(x),
        nn.Normal(x, x),
        nn.DiscretisedLogistic(x, x, levels=3),
    ):
        got = distribution.log_prob(x), distribution.sample(rng=np.random.default_rng(0)), distribution.mean
        assert {np.asarray(value).dtype for value in got} == {np.dtype(np.float32)}


def test_too_few_levels_are_an_error():
    with pytest.raises(ValueError, match="DiscretisedLogistic: expected at least 2 levels, got 1"):
        nn.DiscretisedLogistic(np.zeros(1), np.zeros(1), levels=1)


# images


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_an_image_is_as_probable_as_its_pixels_together(name):
    rng = np.random.default_rng(3)
    likelihood = LIKELIHOODS[name](17)
    x = likelihood.observe(rng.integers(0, 17, (4, 3, 2)).astype(np.float32) / 16, rng=rng)
    numbers = rng.normal(size=(3 * 4, likelihood.numbers, 3, 2)).astype(np.float32)
    got = likelihood.log_prob(numbers, x)
    pixels = likelihood.distribution(numbers).log_prob(np.concatenate([x, x, x]))
    assert got.shape == (3, 4)
    np.testing.assert_allclose(got, np.asarray(pixels).sum(axis=(1, 2)).reshape(3, 4), rtol=1e-5)


def test_bits_are_drawn_anew_at_each_look_with_the_grey_as_probability():
    x, rng = np.full((2000, 5, 5), 0.3, np.float32), np.random.default_rng(4)
    first, second = (LIKELIHOODS["bernoulli"](256).observe(x, rng=rng) for _ in range(2))
    assert set(np.unique(first)) == {0.0, 1.0} and (first != second).mean() == pytest.approx(0.42, abs=0.02)
    assert first.mean() == pytest.approx(0.3, abs=0.01)


def test_a_logistic_sees_the_level_that_is_nearest():
    see, rng = LIKELIHOODS["logistic"](17).observe, np.random.default_rng(8)
    levels = np.arange(17, dtype=np.float32) / np.float32(16)
    for shift in (0.0, 0.03, -0.03):  # a step is 0.0625
        np.testing.assert_array_equal(see(np.clip(levels + np.float32(shift), 0, 1), rng=rng), levels)


@pytest.mark.parametrize("name", ["gaussian", "continuous-bernoulli"])
def test_noise_fills_the_gap_to_the_next_level_and_is_taken_away_again(name):
    likelihood, rng = LIKELIHOODS[name](17), np.random.default_rng(5)
    levels = np.arange(17, dtype=np.float32) / 16
    x = likelihood.observe(np.tile(levels, (20_000, 1, 1)), rng=rng)
    assert (np.floor(x * 17) == np.rint(levels * 16)).all()
    np.testing.assert_allclose(likelihood.grey(x.mean(axis=0)), levels[None], atol=2e-3)
    assert likelihood.log_levels == math.log(17)


def test_a_density_with_noise_bounds_the_probability_of_the_level():
    """Theis et al.: the log of the mean density over the gap is at least the mean of its log."""
    likelihood, levels = LIKELIHOODS["gaussian"](5), 5
    numbers = np.float32([0.1, 1.0]).reshape(1, 2, 1, 1)
    pixel = likelihood.distribution(numbers)
    for k in range(levels):
        u = (k + (np.arange(4000) + 0.5) / 4000) / levels
        log_p = np.asarray(pixel.log_prob(u.reshape(-1, 1, 1)))
        probability = np.exp(log_p).mean() / levels
        assert -math.log(probability) <= -log_p.mean() + likelihood.log_levels


def test_no_variance_is_smaller_than_that_of_the_noise():
    likelihood = LIKELIHOODS["gaussian"](256)
    pixel = likelihood.distribution(np.float32([0.0, -1e4]).reshape(1, 2, 1, 1))
    assert float(np.exp(pixel.log_var)[0, 0, 0]) == pytest.approx(1 / (12 * 256**2), rel=1e-5)


@pytest.mark.parametrize("levels", [2, 17, 256])
@pytest.mark.parametrize("name", LIKELIHOODS)
def test_any_number_of_a_decoder_gives_finite_nats_and_gradients_in_float32(name, levels):
    likelihood, rng = LIKELIHOODS[name](levels), np.random.default_rng(7)
    extremes = np.float32([0, 1, -30, 95, -95, 1e4, -1e4])
    pairs = np.stack(np.meshgrid(*[extremes] * likelihood.numbers)).reshape(likelihood.numbers, -1).T
    for grey in (0.0, (levels // 2) / (levels - 1), 1.0):
        x = likelihood.observe(np.full((len(pairs), 1, 1), grey, np.float32), rng=rng)
        numbers = tg.tensor(pairs[:, :, None, None], requires_grad=True)
        nats = likelihood.log_prob(numbers, x)
        nats.sum().backward()
        mean = np.asarray(likelihood.grey(likelihood.distribution(pairs[:, :, None, None]).mean))
        for array in (nats.numpy(), numbers.grad.numpy(), mean):
            assert np.isfinite(array).all() and array.dtype == np.float32
        assert mean.min() >= 0 and mean.max() <= 1


def test_no_scale_is_so_small_that_a_level_would_gain_by_it():
    likelihood = LIKELIHOODS["logistic"](256)
    pixel = likelihood.distribution(np.float32([-1e4, -1e4]).reshape(1, 2, 1, 1))
    assert float(pixel.log_scale[0, 0, 0]) == pytest.approx(-math.log(255) - 7, rel=1e-6)
    assert float(pixel.log_prob(np.zeros((1, 1, 1), np.float32))[0, 0, 0]) == 0.0


def test_before_it_has_learned_a_logistic_is_in_the_middle_and_a_tenth_of_the_range_wide():
    pixel = LIKELIHOODS["logistic"](256).distribution(np.zeros((1, 2, 1, 1), np.float32))
    assert float(pixel.mu[0, 0, 0]) == 0.5
    assert float(np.exp(pixel.log_scale)[0, 0, 0]) == pytest.approx(0.1, rel=1e-3)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_bytes_are_no_images(name):
    with pytest.raises(ValueError, match=r"observe: expected images in \[0, 1\], got uint8; divide bytes by"):
        LIKELIHOODS[name](17).observe(np.full((2, 3, 3), 200, np.uint8), rng=np.random.default_rng(0))


# divergence


def test_the_kl_divergence_is_what_monte_carlo_estimates():
    rng = np.random.default_rng(6)
    for mu, log_var in ((0.0, 0.0), (1.5, -2.0), (-0.4, 1.2)):
        posterior = nn.Normal(np.full(400_000, mu), np.full(400_000, log_var))
        z = posterior.sample(rng=rng)
        ratio = posterior.log_prob(z) - nn.Normal(np.zeros(1), np.zeros(1)).log_prob(z)
        exact = float(nn.kl_standard_normal(np.array([mu]), np.array([log_var]))[0])
        assert abs(ratio.mean() - exact) <= 5 * ratio.std() / math.sqrt(len(z)) + 1e-12
