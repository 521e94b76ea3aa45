"""Mutual information of codes and factors, on codes that were planted, and beside scikit-learn's."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygen.data.sprites import SIZES, TURNS, sprites
from tinygen.metrics import information
from tinygen.metrics.disentanglement import _binned, _mutual_information, _shuffled


def generator(seed=0):
    return np.random.default_rng(seed)


def measured(codes, factors, **options):
    return information(codes, factors, rng=generator(9), **options)


def two_factors(count=3000, seed=0):
    """Independent factors of 5 and 8 values."""
    return generator(seed).integers(0, (5, 8), (count, 2))


# planted codes


def test_a_latent_for_each_factor_that_tells_all_of_it_is_a_perfect_code():
    factors = two_factors()
    noise = generator(1).standard_normal((len(factors), 1))
    codes = np.concatenate([noise, -3.0 * factors[:, 1:] + 7, factors[:, :1] * 1e-3], axis=1)
    found = measured(codes.astype(np.float32), factors)
    np.testing.assert_allclose(found.shares, [[0, 0], [0, 1], [1, 0]], atol=0.01)
    assert found.shares[2, 0] == pytest.approx(1, abs=1e-12) and found.shares[1, 1] == pytest.approx(
        1, abs=1e-12
    )
    assert found.gap > 0.99 and found.found == [2, 1]
    entropy = [-(p * np.log(p)).sum() for p in (np.bincount(column) / 3000 for column in factors.T)]
    np.testing.assert_allclose(found.entropy, entropy)


def test_the_more_a_code_is_rotated_the_smaller_the_gap():
    factors = generator().integers(0, 5, (3000, 2))
    plane = factors - 2 + generator(1).uniform(-0.4, 0.4, factors.shape)
    gaps = []
    for degrees in (0, 5, 10, 20, 30, 45):
        turn = np.deg2rad(degrees)
        codes = plane @ np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        gaps.append(measured(codes, factors).gap)
    assert gaps[0] > 0.99 and gaps[-1] < 0.05
    assert gaps == sorted(gaps, reverse=True)


def test_a_factor_that_two_latents_tell_has_no_gap():
    factors = two_factors()
    codes = np.stack([factors[:, 0], factors[:, 1], -factors[:, 1]], axis=1)
    found = measured(codes, factors)
    assert found.gaps == pytest.approx([1, 0], abs=0.01) and found.found == [0, 1]


def test_a_latent_that_tells_two_factors_finds_one_of_them():
    factors = two_factors()
    codes = 8.0 * factors[:, :1] + factors[:, 1:]  # 40 values in 20 bins: the first whole, the second in part
    found = measured(codes, factors)
    assert found.shares[0] == pytest.approx([1, math.log(4) / math.log(8)], abs=0.03)
    assert found.found == [0, None]
    assert found.gaps == pytest.approx(found.shares[0])  # of a single latent the next tells nothing


@pytest.mark.parametrize("count", [100, 300, 1229])
def test_noise_tells_nothing_however_few_the_images(count):
    """Without the adjustment 100 images and 16 values would make it a third of what there is to know."""
    rng = generator(count)
    codes, factors = rng.standard_normal((count, 60)), rng.integers(0, (3, 16), (count, 2))
    found = measured(codes, factors)
    error = found.chance.mean() / math.sqrt(60)
    assert (np.abs(found.shares.mean(axis=0)) < 4 * error).all() and error < 0.01
    np.testing.assert_allclose(found.shares.std(axis=0), found.chance.mean(axis=0), rtol=0.35)
    assert found.found == [None, None]
    assert measured(codes[:, :10], factors).gap < 3 * found.chance.max()


def test_a_latent_that_is_constant_tells_nothing():
    factors = two_factors(500)
    found = measured(np.stack([np.full(500, 3.5), factors[:, 0]], axis=1), factors)
    assert found.shares[0] == pytest.approx([0, 0], abs=1e-12) and found.found == [1, None]


def test_less_than_a_tenth_is_not_found_nor_what_chance_may_be():
    rng, factors = generator(3), two_factors(20_000)
    for share, least, found in ((0.3, 0.05, [None, None]), (0.5, 0.1, [0, None])):
        told = rng.random(len(factors)) < share  # of the images the code tells, of the others it guesses
        codes = np.where(told, factors[:, 0], rng.integers(0, 5, len(factors)))[:, None]
        seen = measured(codes, factors, shuffles=20)
        assert seen.shares[0, 0] > max(least, 5 * seen.chance[0, 0]) and seen.found == found
    few = two_factors(40, seed=1)
    lucky = measured(generator(4).standard_normal((40, 200)), few)
    assert lucky.shares.max() > 0.15 and lucky.found == [None, None]  # a tenth, but by chance


def test_bins_are_equal_parts_of_a_range_the_largest_code_in_the_last():
    codes = np.array([[0.0, 7], [1.0, 7], [0.04999, 7], [0.05001, 7], [0.95001, 7], [10.0, 8], [20.0, 9]])
    group = np.array([0, 0, 0, 0, 0, 1, 1])
    assert _binned(codes, group, 20)[:, 0].tolist() == [0, 19, 0, 1, 19, 0, 19]
    assert _binned(codes, group, 20)[:, 1].tolist() == [0, 0, 0, 0, 0, 0, 19]


# the numbers


def test_a_noisy_channel_tells_what_shannon_says():
    factor = generator().integers(0, 2, 200_000)
    wrong = generator(1).random(200_000) < 0.1
    expected = 1 + (0.1 * math.log2(0.1) + 0.9 * math.log2(0.9))  # bits, of 1
    assert measured((factor ^ wrong)[:, None], factor[:, None], shuffles=5).shares[0, 0] == pytest.approx(
        expected, abs=0.005
    )


@given(st.data())
def test_it_is_scikit_learns_mutual_information(data):
    score = pytest.importorskip("sklearn.metrics").mutual_info_score
    count = data.draw(st.integers(1, 60))
    columns = [data.draw(st.lists(st.integers(0, 5), min_size=count, max_size=count)) for _ in range(4)]
    first, second, factor, group = map(np.array, columns)
    found = _mutual_information(np.stack([first, second], axis=1), factor, np.zeros(count, int))
    expected = [score(first, factor), score(second, factor)]
    np.testing.assert_allclose(found, expected, atol=1e-12)
    within = _mutual_information(first[:, None], factor, group)[0]
    parts = [(group == g).mean() * score(first[group == g], factor[group == g]) for g in np.unique(group)]
    assert within == pytest.approx(sum(parts), abs=1e-12)


def test_what_chance_tells_is_its_expectation_over_all_shufflings():
    """Which scikit-learn computes exactly (Vinh et al., eq. 24a): the shares are its adjusted information."""
    adjusted = pytest.importorskip("sklearn.metrics").adjusted_mutual_info_score
    factors = two_factors(300)
    rng = generator(5)
    noisy = np.where(rng.random(300) < 0.5, factors[:, 1], rng.integers(0, 20, 300))
    found = measured(noisy[:, None], factors, shuffles=2000)
    binned = np.minimum((noisy / noisy.max() * 20).astype(int), 19)
    for f in range(2):  # the smaller entropy is the factor's
        expected = adjusted(binned, factors[:, f], average_method="min")
        assert found.shares[0, f] == pytest.approx(expected, abs=4 * found.chance[0, f] / math.sqrt(2000))


def test_values_need_not_count_from_0_nor_be_dense():
    factors, codes = two_factors(400), generator().standard_normal((400, 3))
    same = measured(codes, factors), measured(codes * 5 - 2, factors * 10 - 7)
    np.testing.assert_allclose(same[0].shares, same[1].shares, atol=1e-12)


def test_shuffling_keeps_each_value_and_the_group_that_it_is_in():
    group = generator().integers(0, 3, 600)
    factor = 10 * group + generator(1).integers(0, 4, 600)
    dealt = _shuffled(factor, group, generator(2))
    assert (dealt // 10 == group).all() and not (dealt == factor).all()
    assert np.array_equal(np.bincount(dealt), np.bincount(factor))


# a factor within another


def test_the_angle_of_a_sprite_is_known_within_its_shape():
    """The same number of an orientation is another angle for another shape; see data/sprites.py."""
    _, factors = sprites(split="test")
    shape, orientation = factors[:, 0], factors[:, 2]
    angle = np.array(TURNS)[shape] * orientation / SIZES[2]
    codes = np.stack([angle, shape], axis=1)
    blind, told = measured(codes, factors), measured(codes, factors, within={2: 0})
    assert blind.shares[0, 2] < 0.6 and told.shares[0, 2] == pytest.approx(1, abs=1e-12)
    assert told.shares[1, 2] == pytest.approx(0, abs=1e-9)  # the shape alone tells nothing of the angle
    assert told.found[2] == 0 and told.found[0] == 1
    np.testing.assert_allclose(told.entropy[[0, 1, 3, 4]], blind.entropy[[0, 1, 3, 4]])
    within = [np.bincount(orientation[shape == s], minlength=16) / (shape == s).sum() for s in range(3)]
    shares = np.bincount(shape) / len(shape)
    assert told.entropy[2] == pytest.approx(sum(-n * (p * np.log(p)).sum() for n, p in zip(shares, within)))


# errors


@pytest.mark.parametrize(
    "codes, factors", [((5, 2), (4, 2)), ((5,), (5, 2)), ((5, 2), (5,)), ((0, 2), (0, 2))]
)
def test_codes_and_factors_that_do_not_fit_are_an_error(codes, factors):
    with pytest.raises(ValueError, match=r"information: expected codes \(N, J\) and factors \(N, K\), got"):
        measured(np.zeros(codes), np.zeros(factors, int))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_codes_that_are_no_numbers_are_an_error(bad):
    with pytest.raises(ValueError, match="information: expected codes that are finite, got NaN or infinity"):
        measured(np.array([[0.0], [bad]]), np.array([[0], [1]]))


def test_factors_of_which_nothing_can_be_known_are_an_error():
    factors = two_factors(50)
    factors[:, 1] = 3
    told = "information: expected factor 1 to have several values, .* got 50 images and 0 nats to know; leave"
    with pytest.raises(ValueError, match=told):
        measured(generator().standard_normal((50, 2)), factors)
    with pytest.raises(ValueError, match=r"expected factor 0 .* got 50 images and 0 nats"):
        measured(generator().standard_normal((50, 2)), factors, within={0: 0})
    with pytest.raises(ValueError, match=r"expected factor 0 .* got 3 images and 1\.1 nats to know"):
        measured(np.arange(3.0)[:, None], np.arange(3)[:, None])  # any shuffling of three would tell as much
