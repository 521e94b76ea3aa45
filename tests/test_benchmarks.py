"""The benchmarks: taking turns, ratios within a round, and a peer that computes something else is caught."""

import numpy as np
import pytest

from benchmarks import measure, overhead


def test_every_candidate_has_one_turn_a_round_in_an_order_that_changes():
    turns = []
    samples = {name: lambda name=name: turns.append(name) or len(turns) for name in "abc"}
    found = measure.interleave(samples, rounds=20)
    rounds = [tuple(turns[i : i + 3]) for i in range(0, 60, 3)]
    assert all(sorted(turn) == ["a", "b", "c"] for turn in rounds)
    assert len(set(rounds)) > 1
    assert {name: [turns[n - 1] for n in numbers] for name, numbers in found.items()} == {
        n: [n] * 20 for n in "abc"
    }


def test_a_ratio_is_taken_within_a_round():
    base = [1.0, 10.0, 2.0, 1.0, 5.0]  # a machine that slows down tenfold for a while
    assert measure.ratios([2 * seconds for seconds in base], base) == (2.0, 2.0, 2.0)
    assert measure.ratios([1.0, 20.0, 6.0, 4.0, 25.0], base) == (2.0, 3.0, 4.0)
    assert measure.ratios([3.0], [2.0]) == (1.5, 1.5, 1.5)


@pytest.mark.parametrize(
    "seconds_each, repeats", [(1e-6, 1000), (1e-3, 100), (5.0, 1)], ids=["quick", "middling", "slow"]
)
def test_a_slow_candidate_is_repeated_less_often(seconds_each, repeats):
    assert measure.repeats_for(lambda count: count * seconds_each, most=1000, seconds=0.1) == repeats


def test_threads_are_limited_before_numpy_is_imported_or_not_at_all():
    with pytest.raises(RuntimeError, match="limit_threads: expected to run before NumPy"):
        measure.limit_threads(1)


def test_the_chain_is_a_hundred_operations_and_a_sum():
    class Counting:
        done = 0

        def _count(self, *others):
            Counting.done += 1
            return self

        __add__ = __sub__ = __mul__ = __truediv__ = __neg__ = sum = _count
        tanh = exp = sqrt = sin = staticmethod(_count)

    overhead.chain(Counting, Counting(), Counting())
    assert Counting.done == 101


@pytest.mark.parametrize("function", [overhead.product, overhead.chain])
@pytest.mark.parametrize("peer", [overhead.NumPy, overhead.Tinygen])
def test_our_own_rows_agree_with_exact_values_and_gradients(peer, function):
    assert overhead.disagreement(peer(), function) is None


class _Wrong(overhead.Tinygen):
    def differentiate(self, function):
        value, (gx, gy) = super().differentiate(function)
        return self.spoil(value.numpy(), gx.numpy(), gy.numpy())


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda v, gx, gy: (v * 1.001, (gx, gy)), "the value is"),
        (lambda v, gx, gy: (v, (gx * 1.001, gy)), "the gradient 0 is"),
        (lambda v, gx, gy: (v, (gx, gy[:1])), "the gradient 1 is"),
        (lambda v, gx, gy: (v, (gx, gy * np.nan)), "the gradient 1 is"),
        (
            lambda v, gx, gy: (v.astype(np.float64), (gx, gy)),
            "the value is float64, and float32 is to be measured",
        ),
    ],
    ids=["value", "gradient", "shape", "nan", "dtype"],
)
@pytest.mark.parametrize("function", [overhead.product, overhead.chain])
def test_a_peer_that_computes_something_else_is_caught(spoil, message, function):
    peer = _Wrong()
    peer.spoil = spoil
    assert message in overhead.disagreement(peer, function)


def test_the_report_names_every_row_and_every_ratio():
    found = {
        "multiply": {"tinygen": [1e-6, 2e-6], "PyTorch": [2e-6, 4e-6]},
        "chain": {"tinygen": [1e-3, 3e-3]},
    }
    text = overhead.report(found, measure.environment(overhead.PACKAGES))
    assert "0.50 (0.50 to 0.50)" in text
    assert "2000.00" in text  # microseconds, and no ratio where PyTorch is absent
    assert text.count("to reach: tinygen at most") == 2
