"""Spectral normalisation beside NumPy's singular values; minibatch std and maxout by hand; modules held."""

import numpy as np
import pytest

import tinygen as tg
from tinygen import nn


def generator(seed=0):
    return np.random.default_rng(seed)


def largest(layer):
    """The largest singular value of a layer's weight as a matrix (out, rest)."""
    weight = layer.weight.numpy().astype(np.float64)
    return np.linalg.svd(weight.reshape(len(weight), -1), compute_uv=False)[0]


LAYERS = {
    "linear": lambda: (nn.Linear(5, 7, rng=generator()), (4, 5)),
    "convolution": lambda: (nn.Conv2d(3, 6, 3, stride=2, padding=1, rng=generator()), (2, 3, 5, 5)),
}


# spectral normalisation


@pytest.mark.parametrize("kind", LAYERS)
def test_after_many_iterations_it_is_the_largest_singular_value(kind):
    layer, shape = LAYERS[kind]()
    normed = nn.SpectralNorm(layer, rng=generator(1), iterations=200)
    assert float(normed.sigma().numpy()) == pytest.approx(largest(layer), rel=1e-5)
    x = generator(2).standard_normal(shape, dtype=np.float32)
    plain = layer(x).numpy()
    bias = layer.bias.numpy().reshape(-1, *[1] * (plain.ndim - 2))
    np.testing.assert_allclose(
        normed(x).numpy(), (plain - bias) / largest(layer) + bias, rtol=1e-4, atol=1e-6
    )


def test_a_linear_layer_stretches_no_input_by_more_than_one():
    normed = nn.SpectralNorm(nn.Linear(20, 30, bias=False, rng=generator()), rng=generator(1), iterations=100)
    normed.layer.weight.assign(normed.layer.weight.numpy() * 9)
    x = generator(2).standard_normal((500, 20), dtype=np.float32)
    ratios = np.linalg.norm(normed(x).numpy(), axis=1) / np.linalg.norm(x, axis=1)
    assert 0.3 < ratios.max() <= 1 + 1e-5


def test_one_iteration_is_algorithm_1_of_the_paper():
    normed = nn.SpectralNorm(nn.Linear(4, 3, rng=generator()), rng=generator(1))
    w, u = normed.layer.weight.numpy(), normed.u.copy()
    for _ in range(3):
        v = w.T @ u / np.linalg.norm(w.T @ u)
        u = w @ v / np.linalg.norm(w @ v)
        assert float(normed.sigma().numpy()) == pytest.approx(float(u @ w @ v), rel=1e-5)
        np.testing.assert_allclose(normed.u, u, rtol=1e-5, atol=1e-6)


def test_u_moves_in_training_alone_and_is_saved():
    normed = nn.SpectralNorm(nn.Linear(4, 3, rng=generator()), rng=generator(1))
    before, x = normed.u.copy(), np.ones((2, 4), np.float32)
    normed.eval()(x)
    assert np.array_equal(normed.u, before)
    normed.train()(x)
    assert not np.array_equal(normed.u, before) and np.linalg.norm(normed.u) == pytest.approx(1, rel=1e-5)
    state = normed.state_dict()
    assert set(state) == {"u", "layer.weight", "layer.bias"} and np.array_equal(state["u"], normed.u)
    other = nn.SpectralNorm(nn.Linear(4, 3, rng=generator(5)), rng=generator(6))
    other.load_state_dict(state)
    assert np.array_equal(other.eval()(x).numpy(), normed.eval()(x).numpy())


def test_in_evaluation_the_weight_is_divided_by_its_stretch_along_u():
    normed = nn.SpectralNorm(nn.Linear(4, 3, bias=False, rng=generator()), rng=generator(1)).eval()
    w = normed.layer.weight.numpy()
    stretched = normed(np.eye(4, dtype=np.float32)).numpy()
    np.testing.assert_allclose(stretched, w.T / np.linalg.norm(w.T @ normed.u), rtol=1e-5)


def test_the_gradient_of_sigma_is_u_v_transposed():
    normed = nn.SpectralNorm(nn.Linear(4, 3, rng=generator()), rng=generator(1), iterations=300)
    normed.sigma().backward()
    u, _, vt = np.linalg.svd(normed.layer.weight.numpy())
    np.testing.assert_allclose(normed.layer.weight.grad.numpy(), np.outer(u[:, 0], vt[0]), atol=1e-4)


def test_value_and_gradient_are_those_of_pytorch():
    torch = pytest.importorskip("torch")
    layer = nn.Linear(5, 7, rng=generator())
    normed = nn.SpectralNorm(layer, rng=generator(1)).astype(np.float64)
    theirs = torch.nn.Linear(5, 7).double()
    theirs.weight.data, theirs.bias.data = (
        torch.tensor(p.numpy().copy()) for p in (layer.weight, layer.bias)
    )
    theirs = torch.nn.utils.spectral_norm(theirs)
    theirs.weight_u.data = torch.tensor(normed.u.copy())
    x = generator(2).standard_normal((3, 5))
    for _ in range(2):  # u moves on alike
        normed.zero_grad()
        theirs.zero_grad()
        ours, their = normed(x), theirs(torch.tensor(x))
        (ours * ours).sum().backward()
        (their * their).sum().backward()
        np.testing.assert_allclose(ours.numpy(), their.detach().numpy(), rtol=1e-9)
        np.testing.assert_allclose(layer.weight.grad.numpy(), theirs.weight_orig.grad.numpy(), rtol=1e-8)


def test_what_cannot_be_normalised_is_an_error():
    linear = nn.Linear(4, 3, rng=generator())
    with pytest.raises(ValueError, match=r"expected at least 1 iteration, got 0; 1 is usual"):
        nn.SpectralNorm(linear, rng=generator(), iterations=0)
    with pytest.raises(ValueError, match=r"expected a layer with a weight .* got a ReLU with none; wrap"):
        nn.SpectralNorm(nn.ReLU(), rng=generator())
    with pytest.raises(ValueError, match=r"got a LayerNorm with \(4,\)"):
        nn.SpectralNorm(nn.LayerNorm(4), rng=generator())
    with pytest.raises(TypeError, match=r"SpectralNorm: expected rng to be a np.random.Generator"):
        nn.SpectralNorm(linear, rng=None)


# minibatch standard deviation, maxout


def test_minibatch_std_is_one_number_of_the_batch_beside_each_place():
    x = np.float32([[[[0.0]], [[1.0]]], [[[4.0]], [[1.0]]]])  # (2, 2, 1, 1): stds 2 and 0 over the batch
    out = np.asarray(nn.MinibatchStd()(x))
    assert out.shape == (2, 3, 1, 1) and (out[:, 2] == 1).all() and np.array_equal(out[:, :2], x)
    x = generator().standard_normal((5, 3, 4, 2)).astype(np.float32)
    out = np.asarray(nn.MinibatchStd()(x))
    np.testing.assert_allclose(out[:, 3], x.std(axis=0).mean(), rtol=1e-5)
    rows = np.asarray(nn.MinibatchStd()(x[:, :, 0, 0]))
    np.testing.assert_allclose(rows[:, 3], x[:, :, 0, 0].std(axis=0).mean(), rtol=1e-5)


def test_minibatch_std_tells_copies_and_its_gradient_says_how_to_differ():
    alike = np.ones((4, 3), np.float32)
    assert (np.asarray(nn.MinibatchStd()(alike))[:, 3] == 0).all()
    tg.testing.gradcheck(lambda x: nn.MinibatchStd()(x)[:, 3], generator().standard_normal((4, 3)))


def test_maxout_is_the_largest_piece_of_each_feature():
    x = np.float32([[1, -2, 0, 5, 3, -1]])  # three pieces of two features
    assert np.asarray(nn.Maxout(3)(x)).tolist() == [[3, 5]]
    both = generator().standard_normal((4, 7, 6))
    np.testing.assert_array_equal(np.asarray(nn.Maxout(2)(both)), np.maximum(both[..., :3], both[..., 3:]))
    tg.testing.gradcheck(nn.Maxout(3), generator(1).standard_normal((2, 6)))
    with pytest.raises(ValueError, match="Maxout: expected a multiple of 4 features, got 6"):
        nn.Maxout(4)(x)
    with pytest.raises(ValueError, match="Maxout: expected pieces to be an integer of at least 1, got 0"):
        nn.Maxout(0)


# modules held still


def net():
    return nn.Sequential(
        nn.SpectralNorm(nn.Linear(3, 4, rng=generator()), rng=generator(1)),
        nn.BatchNorm(4),
        nn.Linear(4, 2, rng=generator(2)),
    )


def test_held_a_module_computes_the_same_and_is_left_as_it_was():
    held, free = net(), net()
    for module in (held, free):
        module(np.eye(3, dtype=np.float32)).sum().backward()
    x = tg.tensor(generator(3).standard_normal((5, 3), dtype=np.float32), requires_grad=True)
    before = held.state_dict(), [p.grad.numpy().tobytes() for p in held.parameters()]
    with held.held():
        out = held(x)
    (out * out).sum().backward()
    through, x.grad = x.grad.numpy(), None
    expected = free(x)
    (expected * expected).sum().backward()
    assert np.array_equal(out.numpy(), expected.numpy())
    np.testing.assert_allclose(through, x.grad.numpy(), rtol=1e-5, atol=1e-7)
    after = held.state_dict(), [p.grad.numpy().tobytes() for p in held.parameters()]
    assert before[1] == after[1] and all(
        before[0][name].tobytes() == after[0][name].tobytes() for name in after[0]
    )
    assert any(not np.array_equal(free.state_dict()[name], array) for name, array in before[0].items())


def test_held_nothing_is_recorded_and_afterwards_it_is_again_even_after_an_error():
    module = net()
    with pytest.raises(RuntimeError, match="stop"), module.held(), module[2].held():  # also one in the other
        assert module(np.eye(3, dtype=np.float32)).node is None
        raise RuntimeError("stop")
    assert module(np.eye(3, dtype=np.float32)).node is not None
    assert [name for name, _ in module.named_parameters()][-1] == "2.bias"
