"""The vector quantiser: the nearest code, the gradient, how codes follow, and how dead ones begin again."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tinygen.models import VectorQuantiser, perplexity
from tinygen.models import quantiser as module
from tinygen.models.quantiser import SMOOTHING, entropy


def generator(seed=0):
    return np.random.default_rng(seed)


def quantiser_with(codes, dtype=np.float64, **options):
    """A VectorQuantiser with these codes (K, D)."""
    codes = np.asarray(codes, dtype)
    made = VectorQuantiser(*codes.shape, **options, rng=generator()).astype(dtype)
    made.load_state_dict({**made.state_dict(), "codes": codes})
    return made


def random_case(seed=0, count=40, codes=6, size=3, **options):
    """A quantiser, vectors (count, size) and the codes that they choose, in float64."""
    rng = generator(seed)
    made = quantiser_with(rng.standard_normal((codes, size)), **options)
    z = rng.standard_normal((count, size))
    return made, z, made.nearest(z)


def distances(z, codes):
    """|z - e|^2, (N, K), as the definition has it, in float64."""
    z, codes = np.asarray(z, np.float64), np.asarray(codes, np.float64)
    return ((z[:, None] - codes) ** 2).sum(axis=2)


# the nearest code: eq. 1


@given(
    seed=st.integers(0, 10**6),
    count=st.integers(0, 50),
    codes=st.integers(1, 40),
    size=st.integers(1, 20),
    shift=st.sampled_from([0, 1, 100]),
)
def test_no_code_is_nearer_than_the_chosen_one(seed, count, codes, size, shift):
    """Within the rounding of float32, however far from the origin all of it lies."""
    rng = generator(seed)
    z = (shift + rng.standard_normal((count, size))).astype(np.float32)
    e = (shift + rng.standard_normal((codes, size))).astype(np.float32)
    chosen = quantiser_with(e, np.float32).nearest(z)
    assert chosen.shape == (count,) and chosen.dtype.kind == "i"
    every = distances(z, e)
    scale = (np.float64(z) ** 2).sum(axis=1, keepdims=True) + (np.float64(e) ** 2).sum(axis=1)
    slack = np.finfo(np.float32).eps * (2 + size) * scale.max(axis=1, initial=0)
    assert (every[np.arange(count), chosen] <= every.min(axis=1, initial=np.inf) + slack).all()


@given(seed=st.integers(0, 10**6), codes=st.integers(1, 90), at_once=st.integers(1, 400))
def test_of_several_nearest_codes_it_is_the_first_whatever_is_compared_at_a_time(seed, codes, at_once):
    """Small whole numbers, where nothing rounds and ties abound; every answer is that of brute force."""
    rng = generator(seed)
    z = rng.integers(-2, 3, (67, 2)).astype(np.float32)
    e = rng.integers(-2, 3, (codes, 2)).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SCORES", at_once)
        chosen = quantiser_with(e, np.float32).nearest(z)
    np.testing.assert_array_equal(chosen, distances(z, e).argmin(axis=1))


def test_the_largest_array_is_that_of_the_scores_compared_at_a_time(monkeypatch):
    """Not (N, K, D), nor (N, K)."""
    sizes = []
    linear = module.ops.linear

    def noted(*inputs):
        sizes.append(linear(*inputs).size)
        return linear(*inputs)

    monkeypatch.setattr(module.ops, "linear", noted)
    monkeypatch.setattr(module, "SCORES", 1000)
    made, z, _ = random_case(count=500, codes=30)
    sizes.clear()
    chosen = made.nearest(z)
    assert max(sizes) <= 1000 and sum(sizes) == 500 * 30
    np.testing.assert_array_equal(chosen, distances(z, made.codes).argmin(axis=1))


def test_any_leading_axes_and_any_layout_give_the_same_codes():
    made, z, chosen = random_case(count=24)
    np.testing.assert_array_equal(made.nearest(z.reshape(2, 3, 4, 3)), chosen.reshape(2, 3, 4))
    np.testing.assert_array_equal(made.nearest(z[0]), chosen[0])
    np.testing.assert_array_equal(made.nearest(np.asfortranarray(z)[::-1]), chosen[::-1])


def test_the_codebook_is_drawn_with_a_variance_of_one_over_the_numbers_of_a_code():
    made = VectorQuantiser(4000, 16, rng=generator())
    assert made.codes.mean() == pytest.approx(0, abs=0.01) and made.codes.std() == pytest.approx(
        0.25, rel=0.02
    )


# the gradient


@pytest.mark.parametrize("learn", module.LEARN)
def test_the_straight_through_gradient_is_that_of_the_identity(learn):
    """Of any order, to the bit; and the codebook gets none."""
    made, z, chosen = random_case(learn=learn)
    weights = generator(1).standard_normal(z.shape)
    x = tg.tensor(z, requires_grad=True)
    values, indices = made(x)
    np.testing.assert_array_equal(indices, chosen)
    np.testing.assert_array_equal(
        values.numpy(), tg.stop_gradient(made.codes)[chosen]
    )  # not nearly: the bits
    (weights * values).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), weights)
    assert all(parameter.grad is None for parameter in made.parameters())

    def through(x):
        return (made(x)[0] ** 3).sum()

    e = values.numpy()
    np.testing.assert_allclose(tg.grad(through)(z), 3 * e**2, rtol=1e-12)
    v = generator(2).standard_normal(z.shape)
    np.testing.assert_allclose(tg.hvp(through, z, v), 6 * e * v, rtol=1e-12)


def test_the_two_terms_of_the_loss_each_pull_at_one_side():
    """Eq. 3 by hand: gradients 2 (z - e) for the encoder and, summed over those that chose it, for a code."""
    made, z, chosen = random_case(learn="gradient")
    x, e = tg.tensor(z, requires_grad=True), made.codes.numpy()
    np.testing.assert_allclose(made.commitment(x, chosen).numpy(), distances(z, e).min(axis=1), rtol=1e-12)
    made.commitment(x, chosen).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 2 * (z - e[chosen]), rtol=1e-12)
    assert made.codes.grad is None
    x = tg.tensor(z, requires_grad=True)
    loss = made.codebook_loss(x, chosen)
    np.testing.assert_allclose(loss.numpy(), distances(z, e).min(axis=1), rtol=1e-12)
    loss.sum().backward()
    expected = np.stack([2 * (e[k] - z[chosen == k]).sum(axis=0) for k in range(len(e))])
    np.testing.assert_allclose(made.codes.grad.numpy(), expected, rtol=1e-12, atol=1e-14)
    assert x.grad is None


def test_losses_have_the_derivatives_that_differences_say():
    made, z, chosen = random_case(count=8)
    tg.testing.gradcheck(lambda x: made.commitment(x, chosen).sum(), z, order=2)


# the codebook follows


def test_an_update_is_the_formula_of_the_appendix():
    """Two updates by hand, the second with a code that nobody chose and one that nobody ever chose."""
    e = [[0.0, 0.0], [4.0, 4.0], [99.0, 99.0]]
    made = quantiser_with(e, decay=0.75, restart=0.0)
    first, second = np.array([[1.0, 0.0], [0.0, 1.0], [5.0, 3.0]]), np.array([[0.25, 0.5]])
    made.update(first, made.nearest(first), rng=generator())
    np.testing.assert_allclose(made.counts, [0.5, 0.25, 0.0])
    np.testing.assert_allclose(made.sums, [[0.25, 0.25], [1.25, 0.75], [0.0, 0.0]])
    # to the smoothing, the means of the vectors: the averages begin at 0, so the start is forgotten at once
    np.testing.assert_allclose(made.codes, [[0.5, 0.5], [5.0, 3.0], [99.0, 99.0]], rtol=1e-4)
    made.update(second, made.nearest(second), rng=generator())
    counts = np.array([0.75 * 0.5 + 0.25, 0.75 * 0.25, 0.0])
    sums = np.array([[0.75 * 0.25 + 0.25 * 0.25, 0.75 * 0.25 + 0.25 * 0.5], [0.9375, 0.5625]])
    np.testing.assert_allclose(made.counts, counts)
    smoothed = (counts + SMOOTHING) / (counts.sum() + 3 * SMOOTHING) * counts.sum()
    np.testing.assert_allclose(made.codes[:2], sums / smoothed[:2, None], rtol=1e-13)
    np.testing.assert_array_equal(made.codes[2], [99.0, 99.0])


def test_without_memory_updates_are_the_steps_of_k_means():
    """decay=0 is Lloyd's algorithm, down to where each code is the mean of those that chose it."""
    centres = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [10.0, 10.0]])
    z = (centres[:, None] + generator(3).uniform(-3, 3, (4, 50, 2))).reshape(-1, 2)
    made = quantiser_with(z[::50] + 1, decay=0.0)
    expected = made.codes
    for _ in range(6):
        made.update(z, made.nearest(z), rng=generator())
        chosen = distances(z, expected).argmin(axis=1)
        expected = np.stack([z[chosen == k].mean(axis=0) for k in range(4)])
        np.testing.assert_allclose(made.codes, expected, rtol=1e-5)
    np.testing.assert_allclose(made.codes, z.reshape(4, 50, 2).mean(axis=1), rtol=1e-5)


def test_with_memory_it_comes_to_the_same_on_vectors_that_stay():
    made, z, _ = random_case(count=100, codes=4, decay=0.8)
    for _ in range(150):
        made.update(z, made.nearest(z), rng=generator())
    chosen = made.nearest(z)
    for k in range(4):
        np.testing.assert_allclose(made.codes[k], z[chosen == k].mean(axis=0), atol=1e-5)


def test_a_gradient_codebook_is_not_moved_by_an_update():
    made, z, chosen = random_case(learn="gradient", restart=0.0)
    before = made.codes.numpy().copy()
    made.update(z, chosen, rng=generator())
    np.testing.assert_array_equal(made.codes.numpy(), before)
    np.testing.assert_allclose(made.counts, 0.01 * np.bincount(chosen, minlength=6))
    assert list(dict(made.named_parameters())) == ["codes"] and "sums" not in made.state_dict()


def test_calling_it_changes_nothing():
    made, z, _ = random_case()
    before = made.state_dict()
    made(tg.tensor(z, requires_grad=True))
    assert all(np.array_equal(array, before[name]) for name, array in made.state_dict().items())


# dead codes


@pytest.mark.parametrize("learn", module.LEARN)
def test_a_planted_dead_code_begins_again_and_live_ones_are_left_alone(learn):
    made, z, _ = random_case(learn=learn, count=60)
    state = made.state_dict()
    state["codes"][2] = 1e3  # where nobody will choose it
    state["counts"][:] = [40, 1.2, 0.1, 1.2, 1.2, 1.2]  # an even share is 7.5, so a sixth of that is no death
    if learn == "average":
        state["sums"] = state["counts"][:, None] * state["codes"]
    made.load_state_dict(state)
    twin = quantiser_with(state["codes"], learn=learn, restart=0.0)
    twin.load_state_dict(state)
    chosen = made.nearest(z)
    assert 2 not in chosen and len(set(chosen)) == 5
    for each in (made, twin):
        each.update(z, chosen, rng=generator(7))
    codes, others = made.state_dict()["codes"], [0, 1, 3, 4, 5]
    assert (distances(z, codes[2:3]) == 0).any()  # one of the vectors
    np.testing.assert_array_equal(codes[others], twin.state_dict()["codes"][others])
    np.testing.assert_array_equal(made.counts[others], twin.counts[others])
    assert made.counts[2] == pytest.approx(0.05 * twin.counts.mean())
    if learn == "average":
        np.testing.assert_array_equal(made.sums[others], twin.sums[others])
        np.testing.assert_allclose(made.sums[2], made.counts[2] * codes[2])
    chosen = made.nearest(z)
    assert 2 in chosen
    made.update(z, chosen, rng=generator(8))  # alive: it follows those that chose it, and does not jump
    if learn == "average":
        expected = 0.99 * 0.05 * twin.counts.mean() * codes[2] + 0.01 * z[chosen == 2].sum(axis=0)
        np.testing.assert_allclose(made.sums[2], expected)
    else:
        np.testing.assert_array_equal(made.codes.numpy()[2], codes[2])


def test_the_first_update_fills_the_codebook_with_different_vectors_that_it_sees():
    made, z, chosen = random_case(count=100, codes=120)
    unused = ~np.isin(np.arange(120), chosen)
    made.update(z, chosen, rng=generator(1))
    found = distances(made.codes[unused], z)
    assert 50 < unused.sum() == (found.min(axis=1) == 0).sum() == len(set(found.argmin(axis=1)))
    few, z, chosen = random_case(count=3, codes=30)
    few.update(z, chosen, rng=generator(1))  # fewer vectors than codes: some twice
    assert np.isfinite(few.codes).all() and distances(few.codes, z).min(axis=1).max() < 1e-3


def test_which_vectors_dead_codes_become_is_the_generators_choice():
    found = []
    for seed in (1, 1, 2):
        made, z, chosen = random_case(count=40, codes=30)
        made.update(z, chosen, rng=generator(seed))
        found.append(made.codes)
    assert np.array_equal(found[0], found[1]) and not np.array_equal(found[0], found[2])


# figures


def test_perplexity_by_hand():
    assert perplexity(np.full(7, 3)) == pytest.approx(7, rel=1e-12)
    assert perplexity(np.array([0, 0, 5])) == 1.0
    assert perplexity(np.array([1, 1, 2])) == pytest.approx(2**1.5, rel=1e-12)
    np.testing.assert_allclose(entropy(np.array([[4, 0, 0], [1, 0, 1]])), [0, np.log(2)], rtol=1e-12)


# mistakes


def test_mistakes_are_told():
    made, z, chosen = random_case()
    with pytest.raises(ValueError, match=r"VectorQuantiser: expected vectors \(\*, 3\), got \(40, 2\); move"):
        made.nearest(z[:, :2])
    for wrong in ((z[:3], chosen), (z[:0], chosen[:0])):
        with pytest.raises(ValueError, match=r"VectorQuantiser.update: expected a code for each of at"):
            made.update(*wrong, rng=generator())
    with pytest.raises(ValueError, match="expected learn to be one of average, gradient, got 'ema'; choose"):
        VectorQuantiser(4, 2, learn="ema", rng=generator())
    for name in ("decay", "restart"):
        with pytest.raises(ValueError, match=f"expected 0 <= {name} < 1, got 1; change it"):
            VectorQuantiser(4, 2, **{name: 1}, rng=generator())
    with pytest.raises(ValueError, match="VectorQuantiser: expected codes to be an integer of at least 1"):
        VectorQuantiser(0, 2, rng=generator())


def test_codes_that_are_not_one_for_each_vector_are_told():
    made, z, chosen = random_case(learn="gradient")
    for method in (made.commitment, made.codebook_loss):
        with pytest.raises(ValueError, match=r"expected a code for each of .* got \(40, 1\) codes for vect"):
            method(z, chosen[:, None])
