"""Log likelihoods by importance sampling, beside a model whose likelihood is known: probabilistic PCA."""

import io
import json
import math
import re

import numpy as np
import pytest

from tinygen.autograd import no_grad
from tinygen.cli import main
from tinygen.metrics import LogLikelihood, active_units, bits_per_dimension, kl_per_dimension, log_likelihood
from tinygen.models import VAE, VAEConfig
from tinygen.training import Session, progress, session, vae_measures
from tinygen.training.vae_measures import VAEMeasuring

D, J = 7, 3


def generator(seed=0):
    return np.random.default_rng(seed)


def log_normal(x, mu, var):
    """log N(x; mu, var), summed over the last axis."""
    return -0.5 * (np.log(2 * np.pi * var) + (x - mu) ** 2 / var).sum(axis=-1)


class PCA:
    """x = W z + noise: p(x) = N(0, W W' + s^2 I), and p(z|x) is Gaussian, too (Tipping & Bishop 1999)."""

    def __init__(self, *, noise=0.4):
        self.w, self.noise = generator(1).standard_normal((D, J)), noise
        self.x = self.draw(24, generator(2))
        precision = np.eye(J) + self.w.T @ self.w / noise**2
        self.mu = self.x @ self.w @ np.linalg.inv(precision) / noise**2
        self.root = np.linalg.cholesky(np.linalg.inv(precision))  # of the covariance

    def draw(self, count, rng):
        z, e = rng.standard_normal((count, J)), rng.standard_normal((count, D))
        return z @ self.w.T + self.noise * e

    def log_p(self):
        covariance = self.w @ self.w.T + self.noise**2 * np.eye(D)
        _, log_det = np.linalg.slogdet(2 * np.pi * covariance)
        return -0.5 * (log_det + (self.x * np.linalg.solve(covariance, self.x.T).T).sum(axis=1))

    def log_weights(self, *, width=1.0, shift=0.0):
        """With q = p(z|x), made wider and moved: the weights are all alike where it is neither."""

        def log_weights(rows, eps):
            assert eps.dtype == np.float32 and eps.shape[1:] == (rows.stop - rows.start, J)
            eps = eps.astype(np.float64)
            root = width * self.root
            z = self.mu[rows] + shift + eps @ root.T
            joint = log_normal(z, 0.0, np.ones(J)) + log_normal(
                self.x[rows], z @ self.w.T, self.noise**2 * np.ones(D)
            )
            return joint - (log_normal(eps, 0.0, np.ones(J)) - np.log(np.diag(root)).sum())

        return log_weights


def estimate(model, *, seed=0, samples=500, count=24, more=None, **options):
    weights = model.log_weights(**(more or {"width": 1.3, "shift": 0.1}))
    return log_likelihood(weights, count, latent=J, samples=samples, rng=generator(seed), **options)


# the estimate


def test_with_the_true_posterior_it_is_exact():
    model = PCA()
    found = estimate(model, samples=5, more={"width": 1.0})
    np.testing.assert_allclose(found.log_p, model.log_p(), rtol=1e-6)  # eps is float32
    np.testing.assert_allclose(found.effective, 5, rtol=1e-6)
    assert found.variance.min() >= 0 and found.monte_carlo_error < 1e-5 and found.shortfall < 1e-9


def test_it_lies_within_its_own_errors_of_what_is_known():
    model = PCA()
    found = estimate(model, samples=5000)
    error = np.sqrt(found.variance)
    assert error.min() > 0.001 and error.max() < 0.1
    assert (np.abs(found.log_p - model.log_p()) < 4 * error).all()
    assert abs(found.mean - model.log_p().mean()) < 4 * found.monte_carlo_error < 0.02
    assert np.abs(found.log_p - model.log_p()).max() > 1e-4  # it is an estimate


def test_its_errors_are_those_of_repetitions():
    """Divided by its error, an estimate's distance is of N(0, 1), and so is that of the mean."""
    model, repetitions = PCA(), 200
    found = [estimate(model, seed=seed, samples=200, at_once=5000) for seed in range(repetitions)]
    one = np.array([(each.log_p - model.log_p()) / np.sqrt(each.variance) for each in found])
    assert abs(one.std() - 1) < 0.08  # 4,800 of them: 1 / sqrt(2 * 4800) = 0.01, and tails
    means = np.array([each.mean for each in found])
    predicted = np.mean([each.monte_carlo_error for each in found])
    assert abs(means.std(ddof=1) / predicted - 1) < 3.5 / math.sqrt(2 * repetitions)


def test_it_is_too_low_by_as_much_as_it_says():
    model, repetitions = PCA(), 600
    found = [estimate(model, seed=seed, samples=50, at_once=1200) for seed in range(repetitions)]
    low = model.log_p().mean() - np.mean([each.mean for each in found])
    short = np.mean([each.shortfall for each in found])
    error = np.std([each.mean for each in found]) / math.sqrt(repetitions)
    assert abs(low - short) < 4 * error < short


def test_the_error_of_the_mean_counts_that_images_differ():
    """Over new images, and new noise, the mean moves by as much as it says."""
    means, errors = [], []
    for seed in range(150):
        model = PCA()
        model.x = model.draw(24, generator(100 + seed))
        precision = np.eye(J) + model.w.T @ model.w / model.noise**2
        model.mu = model.x @ model.w @ np.linalg.inv(precision) / model.noise**2
        found = estimate(model, seed=seed, samples=20, at_once=480)
        means.append(found.mean)
        errors.append(found.standard_error)
        assert found.monte_carlo_error < found.standard_error
    assert abs(np.std(means) / np.sqrt(np.mean(np.square(errors))) - 1) < 3.5 / math.sqrt(2 * 150)
    assert LogLikelihood(np.array([-3.0, -1.0]), np.ones(2), 5).standard_error == pytest.approx(1)
    assert estimate(PCA(), count=1).standard_error == math.inf


def test_more_samples_raise_the_bound():
    """On average L_1 <= L_2 <= ... <= log p(x): Burda et al., theorem 1. Errors fall with the root of k."""
    model = PCA()
    bounds = [
        np.mean([estimate(model, seed=seed, samples=k, at_once=5000).mean for seed in range(40)])
        for k in (2, 8, 32)
    ]
    assert bounds[0] < bounds[1] < bounds[2] < model.log_p().mean() + 0.01
    few, many = (estimate(model, samples=k).monte_carlo_error for k in (400, 6400))
    assert few / many == pytest.approx(4, rel=0.15)


# blocks


@pytest.mark.parametrize("at_once", [1, 3, 40, 47, 100, 5000])
def test_blocks_of_any_size_give_the_same_number(at_once):
    model = PCA()
    whole, parts = estimate(model, samples=40, at_once=40 * 24), estimate(model, samples=40, at_once=at_once)
    np.testing.assert_allclose(parts.log_p, whole.log_p, rtol=1e-12)
    np.testing.assert_allclose(parts.effective, whole.effective, rtol=1e-9)


def test_an_image_gets_the_same_estimate_however_many_follow_it():
    model = PCA()
    np.testing.assert_allclose(estimate(model, count=5).log_p, estimate(model).log_p[:5], rtol=1e-12)
    assert estimate(model, seed=1).log_p[0] != estimate(model).log_p[0]


def test_images_do_not_share_their_noise():
    drawn = []

    def weights(rows, eps):
        drawn.append(eps)
        return eps[..., 0]

    log_likelihood(weights, 3, latent=J, samples=4, at_once=12, rng=generator())
    (eps,) = drawn
    assert eps.shape == (4, 3, J) and len(np.unique(eps)) == eps.size


def test_no_call_gets_more_codes_than_it_is_told():
    sizes, told = [], []

    def weights(rows, eps):
        sizes.append((eps.shape[0], rows.start, rows.stop))
        return np.zeros(eps.shape[:2])

    log_likelihood(weights, 2, latent=J, samples=25, at_once=10, rng=generator(), told=told.append)
    assert sizes == [(10, 0, 1), (10, 0, 1), (5, 0, 1), (10, 1, 2), (10, 1, 2), (5, 1, 2)]
    assert told == pytest.approx([0.2, 0.4, 0.5, 0.7, 0.9, 1.0])
    sizes.clear()
    log_likelihood(weights, 5, latent=J, samples=25, at_once=60, rng=generator())
    assert sizes == [(25, 0, 2), (25, 2, 4), (25, 4, 5)]


# numbers at their limits


@pytest.mark.parametrize("shift", [-5000.0, 5000.0, 800.0])
@pytest.mark.parametrize("at_once", [7, 5000])
def test_weights_too_small_or_too_large_for_a_number_are_none(shift, at_once):
    model = PCA()
    plain = model.log_weights(width=1.3)
    far = log_likelihood(
        lambda rows, eps: plain(rows, eps) + shift, 24, latent=J, samples=50, at_once=at_once, rng=generator()
    )
    near = estimate(model, samples=50, more={"width": 1.3})
    np.testing.assert_allclose(far.log_p - shift, near.log_p, rtol=0, atol=1e-10)
    np.testing.assert_allclose(far.effective, near.effective, rtol=1e-8)


@pytest.mark.parametrize("rising", [True, False])
def test_weights_that_grow_or_shrink_from_block_to_block_are_added_up(rising):
    """Their unit changes on the way; a sample of weight 0 is one of the k."""
    logs = np.array([-np.inf, -900.0, -3.0, 0.0, math.log(3), 700.0][:: 1 if rising else -1])
    blocks = iter(logs.reshape(3, 2, 1))
    found = log_likelihood(lambda rows, eps: next(blocks), 1, latent=J, samples=6, at_once=2, rng=generator())
    assert found.log_p[0] == pytest.approx(700 - math.log(6), abs=1e-12)
    assert found.effective[0] == pytest.approx(1)


def test_samples_of_weight_0_count_as_samples():
    found = log_likelihood(
        lambda rows, eps: np.array([[-np.inf], [0.0], [-np.inf], [math.log(3)]]),
        1,
        latent=J,
        samples=4,
        rng=generator(),
    )
    assert found.log_p[0] == pytest.approx(0.0, abs=1e-12)  # (0 + 1 + 0 + 3) / 4
    assert found.effective[0] == pytest.approx(16 / 10)
    assert found.variance[0] == pytest.approx((4 / 1.6 - 1) / 3)


def test_no_more_samples_are_effective_than_there_are():
    """Where weights are alike but for their last digits, rounding would say so."""
    found = log_likelihood(
        lambda rows, eps: 1e-9 * eps[..., 0], 500, latent=J, samples=37, at_once=370, rng=generator()
    )
    assert (found.effective <= 37).all() and found.effective.min() == pytest.approx(37)
    assert found.variance.min() >= 0 and found.monte_carlo_error < 1e-8


@pytest.mark.parametrize("bad, told", [(np.nan, "nan"), (np.inf, "nan"), (-np.inf, "-inf")])
def test_weights_that_are_no_numbers_are_an_error(bad, told):
    def weights(rows, eps):
        logs = np.zeros(eps.shape[:2])
        logs[:, 1] = bad
        return logs

    expected = (
        f"log_likelihood: expected log weights that are numbers, .* got log p = {told} for image 1; look"
    )
    with pytest.raises(FloatingPointError, match=expected):
        log_likelihood(weights, 3, latent=J, samples=4, rng=generator())


@pytest.mark.parametrize(
    "count, samples, at_once, told",
    [
        (0, 5, 5, "count of at least 1, got 0"),
        (2, 1, 5, "samples of at least 2, got 1"),
        (2, 5, 0, "at_once of at"),
    ],
)
def test_too_few_of_something_is_an_error(count, samples, at_once, told):
    with pytest.raises(ValueError, match=f"log_likelihood: expected {told}"):
        log_likelihood(None, count, latent=J, samples=samples, at_once=at_once, rng=generator())


def test_weights_of_another_shape_are_an_error():
    with pytest.raises(ValueError, match=r"expected log weights of shape \(4, 3\), got \(3, 4\); give one a"):
        log_likelihood(
            lambda rows, eps: np.zeros((3, 4)), 3, latent=J, samples=4, at_once=12, rng=generator()
        )


# bits a dimension


def test_bits_of_a_uniform_density_are_those_of_the_levels():
    """A pixel that is any of 256 levels costs 8 bits. Its density on [0, 1] costs 0 nats; 8 is the offset."""
    assert bits_per_dimension(0.0, 784, log_levels=math.log(256)) == pytest.approx(8)
    assert bits_per_dimension(64 * math.log(17), 64) == pytest.approx(
        bits_per_dimension(0.0, 64, log_levels=math.log(17))
    )


def test_the_bound_on_the_levels_is_reached_where_the_density_is_flat_in_each_cell_and_missed_elsewhere():
    levels, p = 4, np.array([0.1, 0.2, 0.3, 0.4])  # of one pixel
    entropy = -(p * np.log2(p)).sum()
    flat = -(p * np.log(p * levels)).sum()  # the density is p L in the cell of each level
    assert bits_per_dimension(flat, 1, log_levels=math.log(levels)) == pytest.approx(entropy)
    u = (np.arange(1000) + 0.5) / 1000  # a density 2u in each cell has the same probabilities
    tilted = -(p * np.log(p * levels)).sum() - np.log(2 * u).mean()
    assert bits_per_dimension(tilted, 1, log_levels=math.log(levels)) > entropy + 0.4


def test_bits_of_several_images():
    np.testing.assert_allclose(
        bits_per_dimension(np.array([math.log(2), 0.0]) * 8, 4, log_levels=math.log(2)), [3, 1]
    )


# codes


def test_active_units_are_those_whose_mean_depends_on_the_data():
    mu = generator().standard_normal((4000, 4)).astype(np.float32) * np.float32([1.0, 0.11, 0.09, 0.0]) + 5
    assert active_units(mu).tolist() == [True, True, False, False]


def test_kl_per_dimension_is_the_formula_and_0_for_the_prior():
    mu, log_var = generator().standard_normal((2, 50, 3))
    mu[:, 1], log_var[:, 1] = 0, 0
    expected = 0.5 * (mu**2 + np.exp(log_var) - log_var - 1).mean(axis=0)
    found = kl_per_dimension(mu.astype(np.float32), log_var.astype(np.float32))
    assert found.dtype == np.float64 and found[1] == 0
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    with pytest.raises(ValueError, match="kl_standard_normal: expected two equal shapes"):
        kl_per_dimension(mu, log_var[:1])


# of a VAE


@pytest.mark.parametrize("likelihood", ["bernoulli", "logistic", "gaussian", "continuous-bernoulli"])
def test_the_estimate_of_a_vae_is_the_integral_over_its_code(likelihood):
    """With one dimension, p(x) = int p(z) p(x|z) dz can be added up."""
    config = VAEConfig(height=3, width=2, hidden=6, latent=1, levels=5, likelihood=likelihood)
    model, rng = VAE(config, rng=generator()), generator(1)
    for parameter in model.parameters():
        parameter.assign(parameter.data * 3)
    x = model.observe(rng.integers(0, 5, (4, 3, 2)).astype(np.float32) / 4, rng=rng)
    z = np.linspace(-8, 8, 4001, dtype=np.float32)[:, None]
    with no_grad():
        found = log_likelihood(
            lambda rows, eps: model.log_weights(x[rows], eps).numpy(), 4, latent=1, samples=4000, rng=rng
        )
        pixels = model.decode(np.tile(z, (4, 1))).log_prob(np.repeat(x, len(z), axis=0)).numpy()
    joint = pixels.astype(np.float64).sum(axis=(1, 2)).reshape(4, -1) + log_normal(z, 0.0, np.ones(1))
    expected = np.log(np.exp(joint).sum(axis=1) * 16 / 4000)
    assert np.ptp(expected) > 0.01 and (found.effective > 20).all()
    np.testing.assert_array_less(np.abs(found.log_p - expected), 4 * np.sqrt(found.variance) + 1e-5)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Small VAEs on the digits: a function of a run's name."""
    for library in ("sklearn", "safetensors", "matplotlib", "tqdm"):
        pytest.importorskip(library)
    out = tmp_path_factory.mktemp("runs")
    common = {"hidden": 32, "latent": 4, "epochs": None, "steps": 60, "evaluate_every": 60}
    for name, settings in {
        "bernoulli": {"likelihood": "bernoulli"},
        "gaussian": {"likelihood": "gaussian", "condition": "label"},
        "importance": {"likelihood": "logistic", "samples": 3},
        "cross-entropy": {},
    }.items():
        Session.begin("vae", {**common, **settings}, out=out, name=name).train()
    return lambda name: str(out / name)


def evaluated(capsys, *argv):
    assert main(["evaluate", *argv, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("name", ["bernoulli", "gaussian", "importance"])
def test_evaluate_tells_the_bound_and_what_it_bounds(runs, name, capsys):
    found = evaluated(capsys, runs(name), "--samples", "200")
    assert found["elbo"] == pytest.approx(-found["reconstruction"] - found["kl"])
    assert found["elbo"] < -found["nll"]
    assert 0 < found["nll_error"] < 0.1 * abs(found["nll"])
    levels = 17 if name == "gaussian" else 1
    expected = (found["nll"] / 64 + math.log(levels)) / math.log(2)
    assert found["bits_per_dimension"] == pytest.approx(expected) and expected > 0.3
    assert 0 <= found["active_units"] <= 4
    assert found == evaluated(capsys, runs(name), "--samples", "200")


def test_evaluate_says_how_sure_it_is_and_what_each_dimension_tells(runs, capsys):
    assert main(["evaluate", runs("bernoulli"), "--samples", "50", "--images", "40"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"^nll error +[\d.]+\nbits per dimension [\d.]+$", shown, re.M)
    assert "NLL: of 40 images, by 50 samples each, of which" in shown
    told = re.search(r"KL by dimension, in nats: (.*)\)$", shown, re.M)[1]
    parts = re.findall(r"([\d.]+) \(z(\d)\)", told)
    assert sorted(number for _, number in parts) == ["0", "1", "2", "3"]
    nats = [float(nats) for nats, _ in parts]
    assert nats == sorted(nats, reverse=True)
    kl = float(re.search(r"^kl +([\d.]+)$", shown, re.M)[1])
    assert sum(nats) == pytest.approx(kl, rel=0.05)  # of pixels that were drawn anew


def test_evaluate_measures_as_many_images_as_it_is_told(runs, capsys):
    for images, count in (("0", 297), ("5000", 297), ("7", 7)):
        assert main(["evaluate", runs("bernoulli"), "--samples", "2", "--images", images]) == 0
        assert f"NLL: of {count} images, by 2 samples" in capsys.readouterr().out


def test_the_estimate_is_of_the_first_test_images_with_what_is_known_of_each(monkeypatch):
    settings = {"condition": "label", "likelihood": "logistic", "hidden": 8, "latent": 3}
    task, *_ = session.prepared("vae", settings)
    model = task.model
    for parameter in model.parameters():
        parameter.assign(parameter.data * 4)
    asked = []

    def estimate(log_weights, count, *, latent, samples, **options):
        asked.append((count, latent, samples))
        rows, eps = slice(3, 8), model.noise(2, 5, rng=generator(1))
        expected = model.log_weights(task.test[rows], eps, task.test_given[rows]).numpy()
        np.testing.assert_allclose(log_weights(rows, eps), expected, rtol=1e-5)
        return LogLikelihood(np.array([-2.0, -4.0]), np.array([1.5, 2.0]), 7)

    monkeypatch.setattr(vae_measures.metrics, "log_likelihood", estimate)
    found, _ = vae_measures.measured(task, VAEMeasuring(samples=7, images=40), rng=generator())
    assert asked == [(40, 3, 7)]
    assert found["nll"] == 3 and found["nll_error"] == pytest.approx(1)
    assert found["bits_per_dimension"] == pytest.approx(3 / 64 / math.log(2))


def test_what_is_no_likelihood_has_no_nll(runs, capsys):
    assert "nll" not in evaluated(capsys, runs("cross-entropy"))
    assert main(["evaluate", runs("cross-entropy")]) == 0
    told = "no NLL: cross-entropy with grey pixels, no likelihood; train with another, such as --likelihood"
    assert told in capsys.readouterr().out


def test_a_long_estimate_tells_how_far_it_is(runs, capsys, monkeypatch):
    monkeypatch.setattr(progress, "EVERY", 0.0)
    assert main(["evaluate", runs("bernoulli"), "--samples", "5", "--images", "30"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert "log p(x) of 30 images by 5 samples each: 100%, 0 s left" in lines
    monkeypatch.setattr(progress, "EVERY", 60.0)
    assert main(["evaluate", runs("bernoulli"), "--samples", "5", "--images", "30"]) == 0
    assert "log p(x)" not in capsys.readouterr().err


def test_on_a_terminal_the_share_stands_on_one_line_which_goes_away(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(progress, "EVERY", 0.0)
    monkeypatch.setattr("sys.stderr", terminal := Terminal())
    with progress.telling("work") as tell:
        for done in (0.05, 0.5, 1.0):
            tell(done)
    *lines, rest, end = terminal.getvalue().split("\r")
    assert [line.split()[1] for line in lines] == ["5%,", "50%,", "100%,"]
    lengths = [len(line) for line in (*lines, rest)]
    assert lengths == sorted(lengths) and rest.strip() == end == ""  # none leaves a part of one before it
    monkeypatch.setattr("sys.stderr", None)
    with progress.telling("work") as tell:
        assert tell(0.5) is None


def test_what_cannot_be_measured_is_told(runs, capsys):
    for argv, told in (
        (["--samples", "1"], "samples: expected at least 2, got 1"),
        (["--images", "-1"], "images: expected at least 0, got -1"),
        (["--sample", "5"], "unknown option '--sample'; did you mean --samples?"),
    ):
        assert main(["evaluate", runs("bernoulli"), *argv]) == 2
        assert told in capsys.readouterr().err
