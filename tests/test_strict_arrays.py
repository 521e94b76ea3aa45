"""The strict stand-in itself: it refuses to mix with NumPy, computes as NumPy does, and counts crossings."""

import numpy as np
import pytest
from strict_arrays import StrictArray, crossing, strict


@pytest.mark.parametrize(
    "mix",
    [
        lambda s, n: np.asarray(s),
        lambda s, n: np.exp(s),
        lambda s, n: np.sum(s),
        lambda s, n: s + n,
        lambda s, n: n + s,
        lambda s, n: n @ s,
        lambda s, n: s < n,
        lambda s, n: s.__iadd__(n),
        lambda s, n: s[n.astype(int)],
        lambda s, n: s.__setitem__(0, n[0:1]),
        lambda s, n: strict.exp(n),
        lambda s, n: strict.exp([1.0]),
        lambda s, n: strict.maximum(s, n),
        lambda s, n: strict.where(s > 0, n, 0.0),
        lambda s, n: strict.concatenate([s, n]),
        lambda s, n: strict.zeros_like(n),
        lambda s, n: strict.einsum("a,a->", s, n),
        lambda s, n: strict.add.at(s, n.astype(int), 1.0),
        lambda s, n: s.sum(where=True),
    ],
)
def test_stand_in_refuses_to_mix(mix):
    with pytest.raises(TypeError):
        mix(strict.asarray(np.ones(3)), np.ones(3))


def test_stand_in_computes_as_numpy_does():
    n = np.arange(6.0).reshape(2, 3)
    s = strict.asarray(n)
    with crossing():
        total, shifted = (s.T @ s)[1:].sum(axis=0, keepdims=True), np.float64(2.0) * s - 1
        picked, joined = s[1, strict.arange(2)], strict.concatenate([s, -s], axis=1)
        s += 1.0
    np.testing.assert_array_equal(total.get(), (n.T @ n)[1:].sum(axis=0, keepdims=True))
    np.testing.assert_array_equal(shifted.get(), 2.0 * n - 1)
    np.testing.assert_array_equal(picked.get(), n[1, :2])
    np.testing.assert_array_equal(joined.get(), np.concatenate([n, -n], axis=1))
    np.testing.assert_array_equal(s.get(), n + 1.0)
    assert isinstance(s.sum(), StrictArray) and s.sum().shape == ()


def test_stand_in_counts_crossings():
    with crossing(to_device=1):
        s = strict.asarray(np.ones(3))
    with crossing():
        assert strict.asarray(s) is s
    with crossing(to_host=1):
        s.get()
    with crossing(read=3):
        bool(s.sum()), float(s.sum()), s.sum().item()
    with crossing(to_device=1):
        s[[0, 1]]
    with pytest.raises(AssertionError, match="to host"), crossing():
        s.get()
