"""Planted copies are found, blur and chance are not taken for them; and how samples spread over classes."""

import math

import numpy as np
import pytest

from tinygen.metrics import class_spread, memorisation

SIDE = 6


def generator(seed=0):
    return np.random.default_rng(seed)


def images(count, seed=0):
    """Blobs of a random place, width and brightness, with a little noise: float32 (count, 6, 6) in [0, 1]."""
    rng = generator(seed)
    y, x = np.mgrid[:SIDE, :SIDE]
    place, width = rng.uniform(1, 4, (2, count, 1, 1)), rng.uniform(0.7, 1.5, (count, 1, 1))
    blobs = np.exp(-((y - place[0]) ** 2 + (x - place[1]) ** 2) / (2 * width**2))
    noisy = blobs * rng.uniform(0.5, 1, (count, 1, 1)) + 0.02 * rng.standard_normal((count, SIDE, SIDE))
    return np.clip(noisy, 0, 1).astype(np.float32)


TRAIN, HELD_OUT = images(900), images(300, seed=1)


def blurred(pictures):
    """Each pixel the mean of its 3 x 3."""
    padded = np.pad(pictures, ((0, 0), (1, 1), (1, 1)))
    return sum(padded[:, i : i + SIDE, j : j + SIDE] for i in range(3) for j in range(3)) / np.float32(9)


def test_fresh_images_are_as_near_as_the_held_out_ones():
    found = memorisation(images(2000, seed=2), TRAIN, HELD_OUT, quantile=0.05)
    assert found.expected == pytest.approx(0.05, abs=0.005)
    assert abs(found.share - found.expected) < 3 * found.error


def test_the_error_is_what_chance_makes_of_the_share():
    """Of few held-out images what is expected is uncertain, too: here that is the most of it."""
    train, away = images(400, seed=20), []
    for seed in range(40):
        held_out = images(150, seed=100 + seed)
        found = memorisation(images(400, seed=200 + seed), train, held_out, quantile=0.1)
        assert found.judged == 150
        away.append((found.share - found.expected) / found.error)
    assert 0.7 < np.std(away) < 1.4 and np.mean(np.abs(away) > 2) < 0.15


def test_images_of_whole_numbers_are_taken_for_what_they_say():
    drawn = [(255 * x).astype(np.uint8) for x in (TRAIN[:60], HELD_OUT[:40], images(30, seed=2))]
    whole = memorisation(drawn[2], drawn[0], drawn[1])
    same = memorisation(*(drawn[i].astype(np.float32) for i in (2, 0, 1)))
    assert whole.nearest.tolist() == same.nearest.tolist() and (whole.distance == same.distance).all()


@pytest.mark.parametrize("noise", [0, 0.003])
def test_copies_are_found_and_told_which_they_are_of(noise):
    copied = generator(4).permutation(len(TRAIN))[:50]
    samples = images(500, seed=2)
    samples[:50] = TRAIN[copied] + noise * generator(5).standard_normal((50, SIDE, SIDE)).astype(np.float32)
    found = memorisation(samples, TRAIN, HELD_OUT)
    assert found.share >= 0.1 and found.share > found.expected + 10 * found.error
    assert (found.nearest[:50] == copied).all()
    assert set(found.most_alike(50).tolist()) == set(range(50))
    assert (np.diff(found.ratios[found.most_alike(500)]) >= 0).all()
    if not noise:
        assert (found.distance[:50] == 0).all() and (found.ratios[:50] == 0).all()
    np.testing.assert_allclose(
        found.distance, np.sqrt(np.square(samples - TRAIN[found.nearest]).sum(axis=(1, 2))), rtol=1e-5
    )


def test_a_generator_that_only_repeats_is_found_out():
    assert memorisation(TRAIN[:400], TRAIN, HELD_OUT).share == 1


def test_blur_is_nearer_to_everything_and_no_copy_of_anything():
    """By its distance to the training images alone the mean of all of them would count as a copy."""
    noisy = np.clip(HELD_OUT + 0.3 * generator(6).random(HELD_OUT.shape), 0, 1).astype(np.float32)
    train = np.clip(TRAIN + 0.3 * generator(7).random(TRAIN.shape), 0, 1).astype(np.float32)
    samples, usual = blurred(noisy[:150]), memorisation(noisy[:150], train, noisy[150:])
    found = memorisation(samples, train, noisy[150:])
    assert (found.distance < np.quantile(usual.distance, 0.05)).mean() > 0.25
    assert found.share <= found.expected + 3 * found.error


@pytest.mark.parametrize("at_once", [1, 777, 1 << 22])
def test_blocks_of_any_size_give_the_same_and_it_is_what_all_distances_say(at_once):
    samples = images(40, seed=2)
    found = memorisation(samples, TRAIN, HELD_OUT, quantile=0.1, judged=100, at_once=at_once)

    def distances(x, y):
        difference = x.reshape(len(x), 1, -1).astype(np.float64) - y.reshape(len(y), -1)
        return np.sqrt(np.square(difference).sum(axis=-1))

    to_train, among = distances(samples, TRAIN), distances(HELD_OUT[:100], HELD_OUT)
    among[np.arange(100), np.arange(100)] = np.inf
    ratios = to_train.min(axis=1) / distances(samples, HELD_OUT).min(axis=1)
    usual = np.sort(distances(HELD_OUT[:100], TRAIN).min(axis=1) / among.min(axis=1))
    assert found.nearest.tolist() == to_train.argmin(axis=1).tolist()
    np.testing.assert_allclose(found.ratios, ratios, rtol=1e-12)
    assert found.share == (ratios <= usual[10]).mean() and found.expected == 0.11


def test_an_image_that_is_in_both_sets_is_a_copy_of_neither():
    train, held_out = np.concatenate([TRAIN, HELD_OUT[:1]]), HELD_OUT
    found = memorisation(HELD_OUT[:2], train, held_out)
    assert found.ratios[0] == 1 and found.distance[0] == 0 and found.ratios[1] == np.inf


def test_copies_are_found_also_where_held_out_images_repeat_training_images():
    train = np.concatenate([TRAIN, HELD_OUT[:9]])  # 3 %
    samples = np.concatenate([images(80, seed=2), TRAIN[:20]])
    found = memorisation(samples, train, HELD_OUT, quantile=0.01)
    assert (found.share, found.expected) == (0.2, 0.03)


def test_what_cannot_be_compared_is_refused():
    for sets in (
        (TRAIN[:, :5], TRAIN, HELD_OUT),
        (TRAIN, TRAIN[:, :, :5], HELD_OUT),
        (TRAIN, TRAIN, HELD_OUT[:0]),
        (TRAIN[:0], TRAIN, HELD_OUT),
    ):
        with pytest.raises(ValueError, match=r"memorisation: expected images of one size .*; give such"):
            memorisation(*sets)
    for place, name in enumerate(("samples", "train", "held_out")):
        sets = [TRAIN.copy(), TRAIN.copy(), HELD_OUT.copy()]
        sets[place][3, 4, 5] = np.nan
        with pytest.raises(ValueError, match=f"finite images, got NaN or infinity among {name}; look for"):
            memorisation(*sets)
    bytes_ = (255 * TRAIN).astype(np.uint8)  # beside fractions even a copy would be far away
    with pytest.raises(
        ValueError, match=r"of one scale, got float\d+ samples, uint8 train, .*; divide bytes"
    ):
        memorisation(TRAIN, bytes_, HELD_OUT)
    with pytest.raises(ValueError, match=r"at least 2 held-out images, .* got 1 to judge 2000; give more"):
        memorisation(TRAIN, TRAIN, HELD_OUT[:1])
    with pytest.raises(ValueError, match="to judge 1 or more by the others, got 300 to judge 0"):
        memorisation(TRAIN, TRAIN, HELD_OUT, judged=0)
    for quantile in (0, 1, math.nan):
        with pytest.raises(ValueError, match=rf"expected 0 < quantile < 1, got {quantile}; 0.01 is usual"):
            memorisation(TRAIN, TRAIN, HELD_OUT, quantile=quantile)


# classes


def one_hot_like(classes, count=10, sure=0.9):
    """Rows of probabilities: `sure` of the class, the rest even."""
    rows = np.full((len(classes), count), (1 - sure) / (count - 1))
    rows[np.arange(len(classes)), classes] = sure
    return rows


def test_all_ten_digits_each_5_to_15_percent():
    even = class_spread(one_hot_like(np.arange(1000) % 10))
    assert even.even and even.bounds == pytest.approx((0.05, 0.15))
    np.testing.assert_allclose(even.shares, 0.1)
    assert even.confidence == pytest.approx(0.9)
    for counts, verdict in (
        ((50, 150, *[100] * 8), True),
        ((49, 151, *[100] * 8), False),
        ((49, 111, *[105] * 8), False),
        ((151, 97, *[94] * 8), False),
        ((0, *[112] * 8, 104), False),
        ((1000, *[0] * 9), False),
    ):
        found = class_spread(one_hot_like(np.repeat(np.arange(10), counts)))
        np.testing.assert_allclose(found.shares, np.array(counts) / 1000)
        assert found.even is verdict
    three = class_spread(one_hot_like(np.repeat([0, 1, 2], [20, 30, 50]), 3, 0.4))
    assert (
        three.bounds == pytest.approx((1 / 6, 1 / 2))
        and three.even
        and three.confidence == pytest.approx(0.4)
    )


def test_what_are_no_probabilities_are_refused():
    good = one_hot_like(np.arange(10))
    for bad in (
        good * 2,
        good - 0.2,
        np.array([[1.5, -0.5]]),
        good[0],
        good[:0],
        np.log(good),
        np.full((2, 10), np.nan),
    ):
        with pytest.raises(ValueError, match=r"class_spread: expected rows of .*; take the softmax"):
            class_spread(bad)
