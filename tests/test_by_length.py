"""Minibatches of sentences of about one length: each sentence once an epoch, and little filling."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygen.data import PADDING, BatchesByLength, cropped, padded

lengths = st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)), min_size=1, max_size=60)


def batches(lengths, tokens, seed=0):
    return BatchesByLength(lengths, tokens=tokens, rng=lambda epoch: np.random.default_rng([seed, epoch]))


@given(lengths, st.integers(1, 200))
def test_every_epoch_has_every_example_once_within_the_budget(lengths, tokens):
    made = batches(lengths, tokens)
    for epoch in range(2):
        found = [made.at(epoch * len(made) + i) for i in range(len(made))]
        assert sorted(np.concatenate(found).tolist()) == list(range(len(lengths)))
        for rows in found:
            longest = max(max(lengths[row]) for row in rows)
            assert len(rows) == 1 or longest * len(rows) <= tokens


@given(lengths, st.integers(1, 200), st.integers(0, 50))
def test_any_step_can_be_had_at_once(lengths, tokens, step):
    made, fresh = batches(lengths, tokens), batches(lengths, tokens)
    walked = [made.at(i) for i in range(step + 1)]
    assert np.array_equal(walked[-1], fresh.at(step))


def test_examples_of_a_minibatch_are_about_equally_long_and_epochs_differ():
    drawn = np.random.default_rng(0).integers(5, 40, (2000, 2))
    drawn[:, 0] = drawn[:, 1] + np.random.default_rng(1).integers(-2, 3, 2000)
    made = batches(drawn, 500)
    epochs = [[made.at(e * len(made) + i) for i in range(len(made))] for e in range(2)]
    filled = sum(len(rows) * drawn[rows].max() for rows in epochs[0])
    assert filled < 1.1 * drawn.max(axis=1).sum()
    order = [[drawn[rows, 1].mean() for rows in epoch] for epoch in epochs]
    assert order[0] != sorted(order[0]) and order[0] != order[1]
    assert {tuple(sorted(rows)) for rows in epochs[0]} != {tuple(sorted(rows)) for rows in epochs[1]}
    assert np.array_equal(made.at(3), epochs[0][3])  # back to an earlier epoch


def test_rows_are_filled_up_and_cropped_again():
    table = padded([[1, 2], [3], [4, 5, 6]])
    assert table.dtype == np.int32
    assert table.tolist() == [[1, 2, PADDING], [3, PADDING, PADDING], [4, 5, 6]]
    assert cropped(table[:2]).tolist() == [[1, 2], [3, PADDING]] and cropped(table).dtype == np.int64
    assert padded([]).shape == (0, 0)


def test_nothing_to_batch_is_an_error():
    with pytest.raises(ValueError, match="expected at least one example and one token, got 0 and 10"):
        batches(np.zeros((0, 2), int), 10)
    with pytest.raises(ValueError, match="at: expected a step of at least 0, got -1"):
        batches([[1, 1]], 5).at(-1)
    with pytest.raises(ValueError, match="got 1 and 0; 4096 tokens are usual"):
        batches([[1, 1]], 0)
