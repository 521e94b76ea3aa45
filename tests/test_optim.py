"""Optimizers, clipping and schedules: PyTorch as oracle, examples by hand, saving and loading, errors."""

import math

import numpy as np
import pytest
from watched import seen, watched

import tinygen as tg
from tinygen import nn, optim


def leaf(values, dtype=np.float64):
    return tg.tensor(np.array(values, dtype), requires_grad=True)


def with_gradient(values, gradient, dtype=np.float64):
    parameter = leaf(values, dtype)
    parameter.grad = tg.tensor(np.array(gradient, dtype))
    return parameter


# Against PyTorch

OPTIMIZERS = {
    "sgd": (lambda p: optim.SGD(p, lr=0.1), lambda t, p: t.SGD(p, lr=0.1)),
    "sgd, decay": (
        lambda p: optim.SGD(p, lr=0.1, weight_decay=0.05),
        lambda t, p: t.SGD(p, lr=0.1, weight_decay=0.05),
    ),
    "momentum": (
        lambda p: optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01),
        lambda t, p: t.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01),
    ),
    "nesterov": (
        lambda p: optim.SGD(p, lr=0.1, momentum=0.8, nesterov=True),
        lambda t, p: t.SGD(p, lr=0.1, momentum=0.8, nesterov=True),
    ),
    "adam": (lambda p: optim.Adam(p), lambda t, p: t.Adam(p)),
    "adam, betas": (
        lambda p: optim.Adam(p, lr=0.02, betas=(0.5, 0.9), eps=1e-4),
        lambda t, p: t.Adam(p, lr=0.02, betas=(0.5, 0.9), eps=1e-4),
    ),
    "adamw": (lambda p: optim.AdamW(p), lambda t, p: t.AdamW(p)),
    "adamw, decay": (
        lambda p: optim.AdamW(p, lr=0.02, weight_decay=0.3),
        lambda t, p: t.AdamW(p, lr=0.02, weight_decay=0.3),
    ),
}


@pytest.mark.parametrize("clip", [None, 0.5, 100.0])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_twenty_steps_equal_pytorchs(name, clip):
    torch = pytest.importorskip("torch")
    make_ours, make_theirs = OPTIMIZERS[name]
    rng = np.random.default_rng(0)
    values = [rng.normal(size=shape) for shape in ((3, 4), (4,), ())]
    ours = [leaf(value) for value in values]
    theirs = [torch.tensor(value, requires_grad=True) for value in values]
    unused = leaf([1.0])
    our_optimizer, their_optimizer = make_ours([*ours, unused]), make_theirs(torch.optim, theirs)
    for step in range(20):
        x = rng.normal(size=(5, 3))
        our_optimizer.zero_grad(), their_optimizer.zero_grad()
        (tg.tanh(tg.tensor(x) @ ours[0] + ours[1]) * ours[2]).sum().backward()
        if step % 3:  # every third step, one of them has no gradient
            (torch.tanh(torch.tensor(x) @ theirs[0] + theirs[1]) * theirs[2]).sum().backward()
        else:
            (torch.tanh(torch.tensor(x) @ theirs[0] + theirs[1]) * theirs[2].detach()).sum().backward()
            ours[2].grad = None
        if clip:
            norm = optim.clip_by_norm(ours, clip)
            # PyTorch scales by max_norm / (norm + 1e-6); this max_norm makes it the factor that is meant.
            their_norm = torch.nn.utils.clip_grad_norm_(theirs, clip * (norm + 1e-6) / norm).item()
            assert norm == pytest.approx(their_norm, rel=1e-12)
        our_optimizer.lr = their_optimizer.param_groups[0]["lr"] = 0.01 * (1 + step % 4)
        our_optimizer.step(), their_optimizer.step()
        for mine, other in zip(ours, theirs, strict=True):
            assert np.abs(mine.data - other.detach().numpy()).max() <= 1e-12
    assert not np.allclose(ours[0].data, values[0], atol=1e-2)
    assert unused.tolist() == [1.0]


# By hand


def test_sgd_by_hand():
    x = with_gradient([1.0, 2.0], [10.0, -10.0])
    optim.SGD([x], lr=0.1).step()
    assert x.tolist() == [0.0, 3.0]


def test_momentum_by_hand():
    x = with_gradient([0.0], [1.0])
    optimizer = optim.SGD([x], lr=1.0, momentum=0.5)
    optimizer.step()
    assert x.tolist() == [-1.0]
    optimizer.step()
    assert x.tolist() == [-2.5]
    y = with_gradient([0.0], [1.0])
    optim.SGD([y], lr=1.0, momentum=0.5, nesterov=True).step()
    assert y.tolist() == [-1.5]


def test_the_first_step_of_adam_is_the_learning_rate_whatever_the_gradient():
    x = with_gradient([0.0, 0.0, 0.0], [1e-3, -5.0, 1e4])
    optim.Adam([x], lr=0.1, eps=0.0).step()
    assert np.allclose(x.data, [-0.1, 0.1, -0.1], rtol=1e-12)


def test_adamw_decays_apart_from_the_gradient():
    x = with_gradient([2.0], [0.0])
    optim.AdamW([x], lr=0.1, weight_decay=0.5).step()
    assert x.tolist() == [2.0 * (1 - 0.05)]


def test_a_step_trains_a_module():
    rng = np.random.default_rng(0)
    net = nn.Sequential(nn.Linear(2, 16, rng=rng), nn.Tanh(), nn.Linear(16, 1, rng=rng))
    x = rng.normal(size=(64, 2)).astype(np.float32)
    y = x[:, :1] * x[:, 1:]
    optimizer = optim.Adam(net.parameters(), lr=0.02)
    losses = []
    for _ in range(200):
        optimizer.zero_grad()
        loss = nn.mse_loss(net(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.05 * losses[0]


def test_values_and_gradients_seen_by_others_stay():
    for make in (lambda p: optim.SGD(p, lr=0.1, momentum=0.9), lambda p: optim.AdamW(p)):
        x = with_gradient([1.0], [2.0])
        values, gradient = x.data, x.grad
        values.flags.writeable = gradient.data.flags.writeable = False
        make([x]).step()
        assert optim.clip_by_norm([x], 0.1) == 2
        assert values.tolist() == [1.0]
        assert gradient.tolist() == [2.0]
        assert x.data is not values


def test_a_backward_through_a_graph_older_than_a_step_raises():
    x = leaf([1.0])
    loss = (x * x).sum()
    (x * x).sum().backward()
    optim.SGD([x], lr=0.1).step()
    with pytest.raises(RuntimeError, match="was updated after"):
        loss.backward()


def test_parameters_without_a_gradient_are_left_alone():
    x, y = with_gradient([1.0], [1.0]), leaf([1.0])
    values = y.data
    optimizer = optim.AdamW([x, y])
    optimizer.step()
    assert y.data is values
    assert optimizer.steps == [1, 0]
    assert not any(moment.any() for moment in optimizer.state[1])


def test_zero_grad_forgets_all_gradients():
    x = with_gradient([1.0], [1.0])
    optim.SGD([x], lr=0.1).zero_grad()
    assert x.grad is None


# Float32 makes no float64


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_float32_step_makes_no_float64_array(name):
    x = with_gradient([1.0, 2.0], [3.0, 4.0], np.float32)
    optimizer = OPTIMIZERS[name][0]([x])
    optimizer.lr = np.float64(0.01)  # as a schedule of NumPy scalars would leave it
    optimizer.state = [[watched(moment) for moment in moments] for moments in optimizer.state]
    seen.clear()
    for _ in range(2):
        x.data, x.grad.data = watched(x.data), watched(x.grad.data)
        optim.clip_by_norm([x], np.float64(1.0))
        optimizer.step()
    assert seen == {"float32"}


# Saving and loading


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_run_continued_from_its_state_takes_the_same_steps(name):
    rng = np.random.default_rng(0)
    make = OPTIMIZERS[name][0]
    gradients = rng.normal(size=(6, 3)).astype(np.float32)
    x = leaf([1, 2, 3], np.float32)
    optimizer = make([x])
    for i, gradient in enumerate(gradients):
        if i == 3:
            y = leaf(x.data, np.float32)
            resumed = make([y])
            optimizer.lr = 0.03
            state = optimizer.state_dict()
            resumed.load_state_dict(state)
            assert resumed.lr == 0.03
            for array in state.values():
                array += 1  # a copy: of no consequence
        x.grad = tg.tensor(gradient)
        optimizer.step()
        if i >= 3:
            y.grad = tg.tensor(gradient)
            resumed.step()
            assert np.array_equal(x.data, y.data)


def test_a_state_dict_holds_the_rate_the_steps_and_the_moments():
    x = with_gradient([1.0, 2.0], [1.0, 1.0], np.float32)
    optimizer = optim.Adam([x], lr=0.5, betas=(0.5, 0.75))
    optimizer.step()
    state = optimizer.state_dict()
    assert list(state) == ["lr", "steps", "m.0", "v.0"]
    assert all(type(array) is np.ndarray for array in state.values())
    assert state["lr"] == 0.5
    assert state["steps"].tolist() == [1]
    assert state["m.0"].tolist() == [0.5, 0.5]
    assert state["v.0"].tolist() == [0.25, 0.25]
    assert list(optim.SGD([x], lr=0.1).state_dict()) == ["lr", "steps"]


def test_loading_a_state_that_does_not_fit_lists_everything_and_changes_nothing():
    x, y = leaf([1.0, 2.0]), leaf([1.0])
    optimizer = optim.Adam([x, y])
    state = optimizer.state_dict()
    del state["m.1"]
    state["m.0"] = np.ones(3)
    state["v.0"] = np.ones(2, np.float32)
    state["v.2"] = np.ones(1)
    state["lr"] = np.array(5.0)
    with pytest.raises(ValueError) as error:
        optimizer.load_state_dict(state)
    assert str(error.value).splitlines() == [
        "load_state_dict: expected the state of this Adam, got another; make these equal:",
        "  missing m.1",
        "  m.0 is (2,) float64, got (3,) float64",
        "  v.0 is (2,) float64, got (2,) float32",
        "  unexpected v.2",
    ]
    assert optimizer.lr == 1e-3
    assert not any(moment.any() for moments in optimizer.state for moment in moments)


# Clipping


def test_clipping_by_hand():
    x, y, unused = with_gradient([0.0], [3.0]), with_gradient([0.0, 0.0], [4.0, 0.0]), leaf([0.0])
    norm = optim.clip_by_norm([x, y, unused], 1.0)
    assert type(norm) is float
    assert norm == 5
    clipped = x.grad
    assert clipped.tolist() == pytest.approx([3 / 5])
    assert y.grad.tolist() == pytest.approx([4 / 5, 0])
    assert unused.grad is None
    assert optim.clip_by_norm([x, y], 1.5) == pytest.approx(1)
    assert x.grad is clipped
    assert optim.clip_by_norm([x, y], math.inf) == pytest.approx(1)
    assert x.grad is clipped
    assert optim.clip_by_norm([unused], 1.0) == 0
    assert optim.clip_by_norm([], 1.0) == 0


def test_the_norm_of_large_finite_gradients_does_not_overflow():
    x = with_gradient([0.0, 0.0], [3e30, 4e30], np.float32)
    assert optim.clip_by_norm([x], 1.0) == pytest.approx(5e30, rel=1e-6)
    assert np.allclose(x.grad.data, [0.6, 0.8], rtol=1e-6)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_gradient_that_is_not_finite_is_named_and_nothing_is_changed(bad):
    net = nn.Sequential(
        nn.Linear(1, 2, rng=np.random.default_rng(0)), nn.Linear(2, 1, rng=np.random.default_rng(0))
    )
    for parameter in net.parameters():
        parameter.grad = tg.tensor(np.full(parameter.shape, 2, np.float32))
    net[0].bias.grad = tg.tensor(np.array([1, bad], np.float32))
    net[1].weight.grad = tg.tensor(np.array([[bad, 1]], np.float32))
    with pytest.raises(
        FloatingPointError, match=r"clip_by_norm: expected finite .* parameter '0\.bias' of shape \(2,\); run"
    ):
        optim.clip_by_norm(net.parameters(), 1.0)
    assert net[0].weight.grad.tolist() == [[2], [2]]


# Schedules


def test_constant():
    assert optim.constant(0, peak=0.1) == optim.constant(10**6, peak=0.1) == 0.1


def test_warmup_cosine():
    def rate(step):
        return optim.warmup_cosine(step, peak=1.0, floor=0.2, warmup=4, total=24)

    assert [rate(step) for step in range(5)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert rate(14) == pytest.approx(0.6)  # half way
    assert rate(9) == pytest.approx(0.2 + 0.8 * (1 + math.cos(math.pi / 4)) / 2)
    assert rate(24) == rate(1000) == pytest.approx(0.2)
    assert all(rate(step) > rate(step + 1) for step in range(4, 24))
    assert optim.warmup_cosine(0, peak=1.0, floor=0.0, warmup=0, total=1) == 1
    assert optim.warmup_cosine(3, peak=1.0, floor=1.0, warmup=1, total=5) == 1


def test_inverse_sqrt():
    rates = [optim.inverse_sqrt(step, peak=1.0, warmup=4) for step in range(16)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[15] == 0.5
    assert optim.inverse_sqrt(0, peak=1.0, warmup=1) == 1
    # Vaswani et al., eq. 3
    d_model, warmup = 512, 4000
    for step in (1, 100, 4000, 4001, 100_000):
        expected = d_model**-0.5 * min(step**-0.5, step * warmup**-1.5)
        peak = 1 / math.sqrt(d_model * warmup)
        assert optim.inverse_sqrt(step - 1, peak=peak, warmup=warmup) == pytest.approx(expected, rel=1e-12)


# Errors

X = leaf([1.0, 2.0])
ERRORS = [
    (
        lambda: optim.SGD([], lr=0.1),
        ValueError,
        "SGD: expected at least one parameter, got none; pass net.parameters()",
    ),
    (
        lambda: optim.Adam([X, leaf([1.0]), X]),
        ValueError,
        "Adam: expected each parameter once, got a leaf .* at 0 and at 2",
    ),
    (
        lambda: optim.Adam(X),
        TypeError,
        "Adam: expected a list of parameters, got one tensor; put it into a list",
    ),
    (
        lambda: optim.Adam([np.ones(2)]),
        TypeError,
        "Adam: expected nn.Parameters or .*, got a ndarray at 0; pass",
    ),
    (lambda: optim.Adam([X, X * 2]), TypeError, "Adam: .*, got a Tensor that is no leaf at 1"),
    (lambda: optim.Adam([tg.tensor([1.0])]), TypeError, "Adam: .*, got a Tensor that is no leaf at 0"),
    (lambda: optim.Adam(nn.BatchNorm(2).named_parameters()), TypeError, "Adam: .*, got a tuple at 0"),
    (lambda: optim.SGD([X], lr=-0.1), ValueError, "SGD: expected 0 <= lr, got -0.1; change it"),
    (lambda: optim.SGD([X], lr=math.inf), ValueError, "SGD: expected 0 <= lr, got inf"),
    (lambda: optim.SGD([X], lr="0.1"), ValueError, "SGD: expected 0 <= lr, got '0.1'"),
    (lambda: optim.SGD([X], lr=0.1, momentum=1), ValueError, "SGD: expected 0 <= momentum < 1, got 1"),
    (lambda: optim.SGD([X], lr=0.1, weight_decay=-1), ValueError, "SGD: expected 0 <= weight_decay, got -1"),
    (
        lambda: optim.SGD([X], lr=0.1, nesterov=True),
        ValueError,
        "SGD: expected momentum > 0 with nesterov=True, got 0",
    ),
    (lambda: optim.Adam([X], lr=math.nan), ValueError, "Adam: expected 0 <= lr, got nan"),
    (lambda: optim.Adam([X], betas=0.9), ValueError, "Adam: expected betas to be a pair, got 0.9; the usual"),
    (lambda: optim.AdamW([X], betas=(0.9, 1.0)), ValueError, "AdamW: expected 0 <= betas < 1, got 1.0"),
    (lambda: optim.Adam([X], eps=-1e-8), ValueError, "Adam: expected 0 <= eps, got -1e-08"),
    (lambda: optim.AdamW([X], weight_decay=-0.1), ValueError, "AdamW: expected 0 <= weight_decay, got -0.1"),
    (
        lambda: optim.Optimizer([with_gradient([1.0], [1.0])], 0.1).step(),
        NotImplementedError,
        "expected a method `_moved`",
    ),
    (
        lambda: optim.clip_by_norm([X], 0),
        ValueError,
        "clip_by_norm: expected a positive max_norm, got 0; 1.0 is usual",
    ),
    (
        lambda: optim.clip_by_norm([X], math.nan),
        ValueError,
        "clip_by_norm: expected a positive max_norm, got nan",
    ),
    (lambda: optim.clip_by_norm([X, X], 1.0), ValueError, "clip_by_norm: expected each parameter once"),
    (
        lambda: optim.warmup_cosine(0, peak=1, floor=0, warmup=5, total=5),
        ValueError,
        "expected 0 <= warmup < total, got 5 and 5",
    ),
    (
        lambda: optim.warmup_cosine(0, peak=1, floor=2, warmup=1, total=5),
        ValueError,
        "expected 0 <= floor <= peak, got 2 and 1",
    ),
    (lambda: optim.inverse_sqrt(0, peak=1, warmup=0), ValueError, "expected warmup to be at least 1, got 0"),
]


@pytest.mark.parametrize("call, kind, message", ERRORS)
def test_a_mistake_gets_a_clear_error(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


@pytest.mark.parametrize(
    "gradient, got",
    [
        (tg.tensor([1.0]), r"\(1,\) float32"),
        (tg.tensor(np.ones(2)), r"\(2,\) float64"),
        (np.ones(2, np.float32), "a ndarray"),
    ],
)
def test_a_gradient_unlike_its_parameter_is_an_error_and_nothing_is_changed(gradient, got):
    x = with_gradient([1.0], [1.0])
    y = nn.Parameter(np.ones(2, np.float32), name="w")
    y.grad = gradient
    message = r"expected a gradient of \(2,\) float32 for parameter 'w' of shape \(2,\), got " + got
    with pytest.raises(ValueError, match="SGD.step: " + message):
        optim.SGD([x, y], lr=0.1).step()
    with pytest.raises(ValueError, match="clip_by_norm: " + message):
        optim.clip_by_norm([x, y], 0.1)
    assert x.tolist() == [1.0]
    assert x.grad.tolist() == [1.0]


def test_the_default_rate_of_adam():
    assert optim.Adam([X]).lr == optim.AdamW([X]).lr == 1e-3


def test_hyperparameters_are_keywords_only():
    for make in (lambda: optim.SGD([X], 0.1), lambda: optim.Adam([X], 0.1), lambda: optim.AdamW([X], 0.1)):
        with pytest.raises(TypeError, match="positional"):
            make()


def test_matrices_only_spares_what_has_fewer_than_two_axes():
    rng = np.random.default_rng(0)
    shapes = (3, 4), (4,), (2, 3, 4), ()
    values = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
    found = {}
    for settings in ({"matrices_only": True}, {}, {"weight_decay": 0.0}):
        parameters = [nn.Parameter(value) for value in values]
        optimizer = optim.AdamW(parameters, **{"lr": 0.1, "weight_decay": 0.5, **settings})
        for _ in range(3):
            for parameter, value in zip(parameters, values):
                parameter.grad = tg.tensor(value * 2)
            optimizer.step()
        found[str(settings)] = [parameter.numpy() for parameter in parameters]
    chosen, decayed, plain = found.values()
    for i, shape in enumerate(shapes):
        assert np.array_equal(chosen[i], (decayed if len(shape) > 1 else plain)[i])
        assert not np.array_equal(decayed[i], plain[i])
