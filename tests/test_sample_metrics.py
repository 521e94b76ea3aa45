"""What judges samples by their features: on sets that were planted, by hand, and against wrong versions."""

import math

import numpy as np
import pytest

from tinygen.metrics import fid, frechet_distance, gaussian_of, kernel_distance, kid, neighbourhoods
from tinygen.metrics.frechet import _root
from tinygen.metrics.kernel_distance import SUBSETS, T
from tinygen.metrics.neighbours import blocks

JUDGES = {
    "fid": fid,
    "kid": lambda real, fake: kid(real, fake, rng=generator()),
    "neighbourhoods": neighbourhoods,
}


def generator(seed=0):
    return np.random.default_rng(seed)


def normal(count, size=8, seed=0):
    return generator(seed).standard_normal((count, size))


def rotation(size, seed=0):
    return np.linalg.qr(normal(size, size, seed))[0]


def spread(size=8):
    """A matrix that gives features different variances, with some dependence."""
    return np.diag(np.linspace(0.2, 2, size)) @ rotation(size, 3)


# FID


def test_the_distance_of_gaussians_on_a_line_is_that_of_means_and_deviations():
    for m, s, n, t in ((0, 1, 0, 1), (1, 2, -1, 0.5), (3, 0, 3, 2), (0, 0, 5, 0)):
        got = frechet_distance(([m], [[s * s]]), ([n], [[t * t]]))
        assert got == pytest.approx((m - n) ** 2 + (s - t) ** 2, abs=1e-12)


def test_where_covariances_share_their_axes_it_is_that_of_each_axis():
    turn, s, t = rotation(5), np.array([0, 0.1, 1, 2, 5]), np.array([3, 0, 1, 0.5, 4])
    pair = [(np.full(5, m), (turn * np.square(v)) @ turn.T) for m, v in ((0, s), (2, t))]
    assert frechet_distance(*pair) == pytest.approx(5 * 4 + np.square(s - t).sum(), rel=1e-12)


def test_of_covariances_that_do_not_it_is_the_square_root_of_their_product():
    """By its eigenvalues, which for these, of full rank, are as good: C_1 C_2 has those of R_1 C_2 R_1."""
    a, b = normal(50, 6) @ spread(6), normal(60, 6, seed=1) @ rotation(6, 5) @ spread(6)
    (mean, c), (mean_2, c_2) = gaussian_of(a), gaussian_of(b)
    roots = np.sqrt(np.linalg.eigvals(c @ c_2).real)
    expected = np.square(mean - mean_2).sum() + np.trace(c + c_2) - 2 * roots.sum()
    assert fid(a, b) == pytest.approx(expected, rel=1e-10)
    assert abs(fid(a, b) - fid(b, a)) < 1e-12
    apart = np.trace(c) + np.trace(c_2) - 2 * np.trace(_root(c) @ _root(c_2))
    assert expected < np.square(mean - mean_2).sum() + apart - 0.01  # roots that are not brought together


def test_it_is_the_least_that_a_map_between_them_can_move():
    """Olkin & Pukelsheim: the map A = R^-1 (R C_2 R)^(1/2) R^-1 turns C_1 into C_2 and moves that much."""
    c, c_2 = (gaussian_of(normal(50, 5, seed) @ spread(5))[1] for seed in (0, 1))
    r = _root(c)
    move = np.linalg.solve(r, _root(r @ c_2 @ r)) @ np.linalg.inv(r)
    np.testing.assert_allclose(move @ c @ move.T, c_2, atol=1e-10)
    moved = np.trace((move - np.eye(5)) @ c @ (move - np.eye(5)).T)
    assert frechet_distance((np.zeros(5), c), (np.zeros(5), c_2)) == pytest.approx(moved, rel=1e-9)


def test_a_few_samples_by_hand():
    """Variances have n - 1 below them: of 0, 2, 4 it is 4, and of 1, 1, 4, 6 it is 6."""
    real, fake = np.array([[0.0], [2], [4]]), np.array([[1.0], [1], [4], [6]])
    assert fid(real, fake) == pytest.approx((2 - 3) ** 2 + (2 - math.sqrt(6)) ** 2, rel=1e-12)


def test_the_same_features_are_at_0_also_where_they_depend_on_one_another():
    for rank, size in ((64, 64), (32, 64), (1, 64)):
        features = np.maximum(normal(300, rank), 0) @ normal(rank, size, seed=1)
        scale = gaussian_of(features)[1].trace()
        assert 0 <= fid(features, features) < 1e-12 * scale
        assert fid(features, features + 1.0) == pytest.approx(size, rel=1e-9)
        wider = frechet_distance(gaussian_of(features), gaussian_of(features * 3))
        closed = 4 * scale + 4 * np.square(features.mean(axis=0)).sum()
        assert wider == pytest.approx(closed, rel=1e-10)


def test_a_feature_that_is_always_0_is_no_trouble():
    real, fake = normal(100), normal(100, seed=1)
    without = fid(real, fake)
    padded = [np.concatenate([rows, np.zeros((100, 20))], axis=1) for rows in (real, fake)]
    assert fid(*padded) == pytest.approx(without, rel=1e-10)
    assert (
        math.isfinite(fid(np.zeros((100, 5)), np.ones((100, 5))))
        and fid(np.zeros((9, 5)), np.zeros((9, 5))) == 0
    )


def test_rotating_and_shifting_all_features_changes_nothing_and_scaling_squares():
    real, fake = normal(200) @ spread(), normal(200, seed=1)
    turn, before = rotation(8, 7), fid(real, fake)
    assert fid(real @ turn + 100, fake @ turn + 100) == pytest.approx(before, rel=1e-9)
    assert fid(real * 3, fake * 3) == pytest.approx(9 * before, rel=1e-12)
    assert abs(fid(real @ turn, fake) - before) > 0.1


def test_it_falls_with_the_number_of_samples():
    """Of equal distributions, like 1 / N; so a figure without its N says nothing."""
    found = []
    for count in (100, 400, 1600):
        draws = [fid(normal(count, seed=2 * i), normal(count, seed=2 * i + 1)) for i in range(5)]
        found.append(np.mean(draws))
    assert found[0] / found[1] == pytest.approx(4, rel=0.3) and found[1] / found[2] == pytest.approx(
        4, rel=0.3
    )


def test_rows_may_be_float32_and_in_any_order():
    real, fake = normal(100).astype(np.float32), normal(100, seed=1).astype(np.float32)
    assert fid(real[::-1], fake) == pytest.approx(fid(real.astype(np.float64), fake), rel=1e-12)


def test_one_row_has_no_covariance():
    with pytest.raises(ValueError, match="gaussian_of: expected at least 2 rows, got 1; one has no cov"):
        gaussian_of(normal(1))


def test_what_is_no_covariance_is_refused():
    good = np.zeros(2), np.eye(2)
    for bad in ([[1, 0.5], [0.2, 1]], [[1, 2], [2, 1]]):
        with pytest.raises(ValueError, match=r"frechet_distance: expected covariances .*see gaussian_of"):
            frechet_distance(good, (np.zeros(2), bad))
    for bad in ((np.zeros(3), np.eye(2)), (np.zeros(2), np.eye(3)), (np.zeros((1, 2)), np.eye(2))):
        with pytest.raises(ValueError, match=r"frechet_distance: expected means .*give two such pairs"):
            frechet_distance(good, bad)
    for bad in ((np.full(2, np.nan), np.eye(2)), (np.zeros(2), np.diag([1.0, np.inf]))):
        with pytest.raises(ValueError, match="frechet_distance: expected finite means and covariances, got"):
            frechet_distance(good, bad)


# KID


def by_hand(x, y):
    """The unbiased estimate from two sets, pair by pair."""

    def k(u, v):
        return (float(u @ v) / len(u) + 1) ** 3

    within = [
        sum(k(a, b) for i, a in enumerate(rows) for j, b in enumerate(rows) if i != j)
        / (len(rows) * (len(rows) - 1))
        for rows in (x, y)
    ]
    return sum(within) - 2 * sum(k(a, b) for a in x for b in y) / (len(x) * len(y))


def test_the_estimate_is_the_sum_over_pairs():
    x, y = normal(7, 3), normal(5, 3, seed=1) + 0.5
    assert kernel_distance._discrepancy(x, y) == pytest.approx(by_hand(x, y), rel=1e-12)
    real, fake = normal(145, 3), normal(102, 3, seed=1) + 0.5  # subsets of 7 and 5, and some are left over
    orders = generator(4)
    cut = [rows[orders.permutation(len(rows))] for rows in (real, fake)]
    each = [by_hand(cut[0][7 * i : 7 * i + 7], cut[1][5 * i : 5 * i + 5]) for i in range(SUBSETS)]
    found = kid(real, fake, rng=generator(4))
    assert found.value == pytest.approx(np.mean(each), rel=1e-10)
    assert found.error == pytest.approx(math.sqrt(np.var(each) / (SUBSETS - 1)), rel=1e-10)
    assert found.interval == pytest.approx((found.value - T * found.error, found.value + T * found.error))


def expected_kid(mean, deviation):
    """Of N(0, 1) and N(mean, deviation^2) in one dimension: (x y + 1)^3 has the moments up to the third."""
    first, second = (0, mean), (1, mean**2 + deviation**2)
    third = 0, mean**3 + 3 * mean * deviation**2
    return sum(w * (a[1] - a[0]) ** 2 for w, a in ((3, first), (3, second), (1, third)))


def in_interval(estimate, mean, deviation, repetitions=200, count=100):
    """How often the interval has the true distance in it."""
    truth, hits, values = expected_kid(mean, deviation), 0, []
    for i in range(repetitions):
        real, fake = normal(count, 1, seed=(i, 0)), mean + deviation * normal(count, 1, seed=(i, 1))
        found = estimate(real, fake, generator((i, 2)))
        low, high = found.interval
        hits += low <= truth <= high
        values.append(found.value)
    return hits / repetitions, np.mean(values) - truth, np.std(values) / math.sqrt(repetitions)


@pytest.mark.parametrize("mean, deviation", [(0, 1), (0.3, 1), (0, 1.5)])
def test_it_is_right_on_average_and_its_interval_in_about_95_of_100_cases(mean, deviation):
    share, off, error = in_interval(lambda x, y, rng: kid(x, y, rng=rng), mean, deviation)
    assert 0.88 <= share <= 0.99
    assert abs(off) < 3.5 * error


def test_an_estimate_that_compares_rows_with_themselves_is_found_out(monkeypatch):
    monkeypatch.setattr(kernel_distance, "_off_diagonal_mean", lambda matrix: matrix.mean())
    share, off, error = in_interval(lambda x, y, rng: kid(x, y, rng=rng), 0, 1)
    assert share < 0.5 and off > 3.5 * error


def test_more_of_the_same_kind_is_at_0_within_the_interval_and_another_kind_is_not():
    real = normal(2000, 16)
    low, high = kid(real, normal(2000, 16, seed=1), rng=generator()).interval
    assert low < 0 < high
    low, high = kid(real, normal(2000, 16, seed=1) + 0.2, rng=generator()).interval
    assert 0 < low < high


def test_a_set_against_itself_is_a_little_below_0():
    """It is not independent of itself: a row meets itself across the sets, and never within."""
    real = normal(400, 4)
    kernel = (real @ real.T / 4 + 1) ** 3
    alone = (kernel.sum() - kernel.trace()) / (400 * 399)
    expected = -2 / 400 * (kernel.trace() / 400 - alone)
    found = [kid(real, real[::-1], rng=generator(seed)) for seed in range(30)]
    values = np.array([each.value for each in found])
    assert values.mean() == pytest.approx(expected, abs=3.5 * values.std() / math.sqrt(30))
    assert abs(expected) < 2 * np.mean([each.error for each in found])


def test_rotating_changes_nothing_but_shifting_and_scaling_do():
    """The kernel has an origin and a unit: where means are large, they weigh more."""
    real, fake, turn = normal(400) @ spread(), normal(400, seed=1), rotation(8, 7)
    before = kid(real, fake, rng=generator())
    assert kid(real @ turn, fake @ turn, rng=generator()).value == pytest.approx(before.value, rel=1e-9)
    assert kid(real + 0.5, fake + 0.5, rng=generator()).value > 1.3 * before.value
    assert kid(real * 2, fake * 2, rng=generator()).value > 4 * before.value


def test_t_is_students():
    stats = pytest.importorskip("scipy.stats")
    assert pytest.approx(stats.t.ppf(0.975, SUBSETS - 1), abs=5e-4) == T


def test_who_deals_the_rows_is_told():
    real, fake = normal(400), normal(400, seed=1)
    one, same, other = (kid(real, fake, rng=generator(seed)).value for seed in (0, 0, 1))
    assert one == same != other


# precision, recall, density, coverage


def by_hand_neighbourhoods(real, fake, manifold, ball):
    """All four, by sorted lists of distances."""

    def distance(x, y):
        return math.dist(x, y)

    def radius(rows, i, k):
        return sorted(distance(rows[i], other) for j, other in enumerate(rows) if j != i)[k - 1]

    n, m = len(real), len(fake)
    near = [[distance(r, f) for f in fake] for r in real]
    wide = [radius(real, i, manifold) for i in range(n)]
    dense = [radius(real, i, ball) for i in range(n)]
    made = [radius(fake, j, manifold) for j in range(m)]
    return (
        sum(any(near[i][j] <= wide[i] for i in range(n)) for j in range(m)) / m,
        sum(any(near[i][j] <= made[j] for j in range(m)) for i in range(n)) / n,
        sum(near[i][j] <= dense[i] for i in range(n) for j in range(m)) / (ball * m),
        sum(any(near[i][j] <= dense[i] for j in range(m)) for i in range(n)) / n,
    )


def four(found):
    return found.precision, found.recall, found.density, found.coverage


@pytest.mark.parametrize("at_once", [1, 100, 333, 1 << 22])
def test_they_are_what_sorted_distances_say_in_blocks_of_any_size(at_once):
    for real, fake, ks in (
        (normal(40, 3), normal(31, 3, seed=1) * 0.8 + 0.5, (3, 5)),
        (normal(20, 2), normal(50, 2, seed=1), (1, 2)),
        (normal(20, 2), normal(50, 2, seed=1) + 20, (4, 1)),
    ):
        found = neighbourhoods(real, fake, manifold=ks[0], ball=ks[1], at_once=at_once)
        assert four(found) == pytest.approx(by_hand_neighbourhoods(real, fake, *ks), rel=1e-12)


@pytest.mark.parametrize("at_once", [1, 997, 1 << 22])
def test_a_set_compared_with_itself_is_perfect_whatever_rounding_does(at_once):
    """Each ball has its own row in it, and k that lie on it or inside."""
    for rows in (normal(200, 30) * 1e3 + 1e5, np.repeat(normal(20, 4), 10, axis=0), np.zeros((50, 3))):
        found = neighbourhoods(rows, rows, at_once=at_once)
        assert (found.precision, found.recall, found.coverage) == (1, 1, 1)
    generic = normal(200, 30) * 1e3 + 1e5
    assert neighbourhoods(generic, generic, at_once=at_once).density == pytest.approx(6 / 5, rel=1e-12)


def test_swapping_the_sets_swaps_precision_and_recall():
    real, fake = normal(200), normal(300, seed=1) * 0.7
    one, other = neighbourhoods(real, fake), neighbourhoods(fake, real)
    assert (one.precision, one.recall) == (other.recall, other.precision)
    assert one.precision > one.recall + 0.1


def test_rotation_shift_and_scale_change_nothing():
    real, fake = normal(150) @ spread(), normal(150, seed=1)
    for change in (lambda x: x @ rotation(8, 7), lambda x: x + 1e5, lambda x: x * 7):
        assert four(neighbourhoods(change(real), change(fake))) == four(neighbourhoods(real, fake))


def test_fresh_data_have_density_1_and_the_coverage_that_counting_says():
    """Naeem et al., lemmas 1 and 2: E coverage = 1 - (N-1)...(N-k) / (M+N-1)...(M+N-k)."""
    n, m, k = 200, 150, 5
    found = [neighbourhoods(normal(n, 4, seed=(i, 0)), normal(m, 4, seed=(i, 1))) for i in range(20)]
    missed = math.prod((n - i) / (m + n - i) for i in range(1, k + 1))
    assert np.mean([each.density for each in found]) == pytest.approx(1, abs=0.06)
    assert np.mean([each.coverage for each in found]) == pytest.approx(1 - missed, abs=0.01)


def test_each_kind_of_failure_has_its_own_figures():
    """A ring of ten clusters, as data; and generators that fail in one way each."""
    angles = np.arange(10) * (2 * np.pi / 10)
    centres = np.zeros((10, 4))
    centres[:, :2] = 5 * np.stack([np.cos(angles), np.sin(angles)], axis=1)

    def clusters(which, seed, width=0.3):
        chosen = generator(seed).choice(which, 600)
        return centres[chosen] + width * normal(600, 4, seed=seed + 50)

    real = clusters(range(10), 0)
    fresh = neighbourhoods(real, clusters(range(10), 1))
    collapsed = neighbourhoods(real, clusters([3], 2))
    halved = neighbourhoods(real, clusters(range(5), 2))
    noise = neighbourhoods(real, generator(3).uniform(-8, 8, (600, 4)))
    assert min(fresh.precision, fresh.recall) > 0.85 and fresh.coverage > 0.9
    assert fresh.density == pytest.approx(1, abs=0.1)
    usual = fresh.precision - 0.1
    assert collapsed.precision > usual and collapsed.recall < 0.15 and collapsed.coverage < 0.15
    assert halved.precision > usual and 0.4 < halved.recall < 0.6 and 0.4 < halved.coverage < 0.6
    assert noise.precision < 0.1 and noise.density < 0.1
    one_point = neighbourhoods(real, np.repeat(real[:1], 600, axis=0))  # of the highest density there is
    assert one_point.precision == 1 and one_point.recall < 0.01 and one_point.coverage < 0.02


def test_an_outlier_raises_precision_but_not_density():
    """Why there are two: one real row far away has a ball so wide that noise lies in it."""
    real, fake = normal(300, 4), normal(300, 4, seed=1) * 0.1 + 8
    spoiled = np.concatenate([real, np.full((1, 4), 9.0)])
    before, after = neighbourhoods(real, fake), neighbourhoods(spoiled, fake)
    assert before.precision == 0 and after.precision > 0.95 and after.density < 0.25


def test_blocks_are_the_squared_distances_and_never_larger_than_told():
    x, y = normal(23, 5), normal(17, 5, seed=1)
    expected = np.square(x[:, None] - y).sum(axis=-1)
    for at_once in (1, 17, 40, 10_000):
        seen = np.full((23, 17), np.nan)
        for rows, squares in blocks(x, y, at_once):
            assert squares.size <= max(17, at_once)
            seen[rows] = squares
        assert all(squares.size <= max(23, at_once) for _, squares in blocks(y, x, at_once))
        np.testing.assert_allclose(seen, expected, rtol=1e-12)
    same = np.concatenate([squares for _, squares in blocks(x * 1e3, x * 1e3)])
    assert same.min() >= 0


def test_3_neighbours_and_5_are_those_of_the_papers():
    real, fake = normal(200), normal(200, seed=1) + 0.4
    usual = neighbourhoods(real, fake)
    assert usual == neighbourhoods(real, fake, manifold=3, ball=5)
    assert usual.precision != neighbourhoods(real, fake, manifold=4).precision
    assert usual.density != neighbourhoods(real, fake, ball=4).density
    for ks in ({"manifold": 0}, {"ball": 0}):
        with pytest.raises(
            ValueError, match=r"expected manifold and ball of at least 1, got .*; 3 and 5 are"
        ):
            neighbourhoods(real, fake, **ks)


# what all of them refuse


@pytest.mark.parametrize("name", JUDGES)
def test_features_that_cannot_be_compared_are_refused(name):
    judge, good = JUDGES[name], normal(100)
    for bad in (normal(100, 7), normal(100)[:, 0], normal(100)[None]):
        with pytest.raises(
            ValueError, match=rf"{name}: expected features \(N, D\) and .*, got .*one network"
        ):
            judge(good, bad)
    for bad in (np.nan, np.inf):
        spoiled = normal(100)
        spoiled[3, 4] = bad
        with pytest.raises(ValueError, match=rf"{name}: expected finite features, .* fake ones; look"):
            judge(good, spoiled)
        with pytest.raises(ValueError, match=rf"{name}: .*among the real ones"):
            judge(spoiled, good)


@pytest.mark.parametrize("name, least", [("fid", 9), ("kid", 40), ("neighbourhoods", 6)])
def test_too_few_rows_are_refused_and_the_message_says_how_many_it_takes(name, least):
    judge = JUDGES[name]
    judge(normal(least), normal(least, seed=1))
    with pytest.raises(
        ValueError, match=rf"{name}: expected at least {least} fake rows, got {least - 1}; give"
    ):
        judge(normal(100), normal(least - 1))
    with pytest.raises(ValueError, match=rf"{name}: expected at least {least} real rows, got 0; give more"):
        judge(np.zeros((0, 8)), normal(100))
