"""Choosing the next token: each filter by hand, the draws by a chi-square test, and stop strings."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygen.models import SamplingConfig, until
from tinygen.models.sampling import choose, draw, probabilities

LOGITS = np.log([0.4, 0.3, 0.15, 0.1, 0.05])


def chosen(**settings):
    return probabilities(LOGITS, SamplingConfig(**settings)).tolist()


def normalised(*weights):
    return pytest.approx(np.array(weights) / sum(weights))


def test_each_filter_keeps_what_its_paper_says():
    assert chosen() == normalised(0.4, 0.3, 0.15, 0.1, 0.05)
    assert chosen(temperature=0) == [1, 0, 0, 0, 0]
    assert chosen(temperature=0.5) == normalised(0.16, 0.09, 0.0225, 0.01, 0.0025)
    assert chosen(top_k=2) == normalised(0.4, 0.3, 0, 0, 0)
    assert chosen(top_k=99) == pytest.approx(chosen())
    assert chosen(top_p=0.7) == normalised(0.4, 0.3, 0, 0, 0)
    assert chosen(top_p=0.71) == normalised(0.4, 0.3, 0.15, 0, 0)
    assert chosen(top_p=0.01) == [1, 0, 0, 0, 0]
    assert chosen(min_p=0.3) == normalised(0.4, 0.3, 0.15, 0, 0)
    assert chosen(min_p=1.0) == [1, 0, 0, 0, 0]
    assert chosen(top_k=3, top_p=0.7) == normalised(0.4, 0.3, 0, 0, 0)  # of 0.85 that top_k leaves


def test_what_was_written_becomes_less_likely_whatever_the_sign_of_its_logit():
    logits = np.array([2.0, -1.0, 0.5])
    p = probabilities(logits, SamplingConfig(repetition_penalty=2.0), written=[0, 1, 0])
    assert p == pytest.approx(np.exp([1, -2, 0.5]) / np.exp([1, -2, 0.5]).sum())
    assert logits.tolist() == [2.0, -1.0, 0.5]  # not changed


def test_ties_go_to_the_first():
    flat = np.zeros(5)
    assert probabilities(flat, SamplingConfig(top_k=2)).tolist() == [0.5, 0.5, 0, 0, 0]
    assert probabilities(flat, SamplingConfig(temperature=0)).tolist() == [1, 0, 0, 0, 0]


@pytest.mark.parametrize(
    "settings", [{}, {"temperature": 0.6}, {"top_k": 3}, {"top_p": 0.8}, {"min_p": 0.2}, {"temperature": 2.0}]
)
def test_draws_have_their_probabilities(settings):
    """Pearson's chi-square: above the bound once in a million times, and the seed is fixed."""
    p, rng, count = probabilities(LOGITS, SamplingConfig(**settings)), np.random.default_rng(0), 20_000
    drawn = np.bincount([draw(p, rng) for _ in range(count)], minlength=5)
    possible = p > 0
    assert drawn[~possible].sum() == 0
    degrees = possible.sum() - 1
    statistic = float(((drawn - count * p)[possible] ** 2 / (count * p[possible])).sum())
    assert statistic < degrees + 5 * math.sqrt(2 * degrees) + 15


def test_a_draw_never_takes_what_has_no_probability():
    class Edge:
        def __init__(self, value):
            self.value = value

        def random(self):
            return self.value

    p = np.array([0.0, 0.5, 0.0, 0.5, 0.0])
    assert [draw(p, Edge(u)) for u in (0.0, 0.499, 0.5, np.nextafter(1, 0))] == [1, 1, 3, 3]


@given(st.lists(st.text("ab", max_size=4), max_size=8), st.text("ab", min_size=1, max_size=3))
def test_text_ends_before_the_stop_however_it_is_cut(pieces, stop):
    text, shown = "".join(pieces), []
    for piece in until(pieces, stop):
        shown.append(piece)
        assert stop not in "".join(shown)
    assert "".join(shown) == text.partition(stop)[0]
    assert "".join(until(pieces, None)) == text


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"temperature": -1}, "temperature: expected at least 0, got -1"),
        ({"top_k": 0}, "top_k: expected at least 1, got 0"),
        ({"top_p": 0.0}, "top_p: expected a number above 0, got 0.0"),
        ({"top_p": 1.5}, "top_p: expected at most 1, got 1.5"),
        ({"min_p": 1.5}, "min_p: expected at most 1, got 1.5"),
        ({"repetition_penalty": 0.0}, "repetition_penalty: expected a number above 0, got 0.0"),
    ],
)
def test_settings_out_of_range_are_errors(settings, message):
    with pytest.raises(ValueError, match=message):
        SamplingConfig(**settings)


def test_filters_come_in_the_order_that_is_told():
    def chosen(**settings):
        return probabilities(np.log([0.4, 0.3, 0.15, 0.1, 0.05]), SamplingConfig(**settings)) > 0

    assert chosen(temperature=0.5, top_p=0.8).sum() == 2  # without the temperature it takes three
    assert chosen(top_p=0.8, min_p=0.3).sum() == 3  # of the three that min_p leaves, two would have 0.8


def test_the_likeliest_token_is_the_likeliest_after_the_penalty():
    logits, sampling = np.array([3.0, 2.0, 1.0]), SamplingConfig(temperature=0, repetition_penalty=2.0)
    rng = np.random.default_rng(0)
    assert [choose(logits, sampling, rng, written=row) for row in ([], [0], [2], [0, 1])] == [0, 1, 0, 0]
