"""What the players of a GAN lower: values by hand, optima as the papers have them, PyTorch's double backward.

The Dirac-GAN of Mescheder, Geiger & Nowozin (2018), section 2, is one point against one slope, so that all
there is to say of a training can be said by hand: who circles, who converges, and how fast.
"""

import math

import numpy as np
import pytest

import tinygen as tg
from tinygen import nn
from tinygen.models import GPTConfig
from tinygen.models.gan_losses import LOSSES, OF_PROBABILITIES, UNDECIDED, gradient_penalty, r1
from tinygen.models.transformer import Stack


def generator(seed=0):
    return np.random.default_rng(seed)


REAL, FAKE = generator(1).standard_normal(7), generator(2).standard_normal(7)
D = {"real": 1 / (1 + np.exp(-REAL)), "fake": 1 / (1 + np.exp(-FAKE))}
BY_HAND = {  # (discriminator's, generator's), as the papers write them
    "minimax": (-np.log(D["real"]).mean() - np.log(1 - D["fake"]).mean(), np.log(1 - D["fake"]).mean()),
    "non-saturating": (-np.log(D["real"]).mean() - np.log(1 - D["fake"]).mean(), -np.log(D["fake"]).mean()),
    "least-squares": (((REAL - 1) ** 2).mean() / 2 + (FAKE**2).mean() / 2, ((FAKE - 1) ** 2).mean() / 2),
    "hinge": (np.maximum(0, 1 - REAL).mean() + np.maximum(0, 1 + FAKE).mean(), -FAKE.mean()),
    "wasserstein": (FAKE.mean() - REAL.mean(), -FAKE.mean()),
}


# the pairs


@pytest.mark.parametrize("name", LOSSES)
def test_each_pair_is_what_its_paper_says(name):
    for loss, args, expected in zip(LOSSES[name], ((REAL, FAKE), (FAKE,)), BY_HAND[name]):
        assert loss(*args) == pytest.approx(expected, rel=1e-12)
        tg.testing.gradcheck(loss, *args)


@pytest.mark.parametrize("name", LOSSES)
def test_signs_are_one_convention(name):
    """The discriminator gains by larger logits for real examples, the generator by larger ones for fakes."""
    discriminator, deceiver = LOSSES[name]
    at = np.full(3, 0.25)  # inside of every margin
    for_real, for_fake = tg.grad(discriminator, (0, 1))(at, at)
    assert (for_real.numpy() < 0).all() and (for_fake.numpy() > 0).all()
    assert (tg.grad(deceiver)(at).numpy() < 0).all()


@pytest.mark.parametrize("name", OF_PROBABILITIES)
def test_where_the_discriminator_says_one_half_the_game_is_worth_minus_two_log_two(name):
    undecided = np.zeros(5)
    assert -LOSSES[name][0](undecided, undecided) == -2 * math.log(2)


def test_the_best_discriminator_gives_the_jensen_shannon_divergence():
    """D* = p / (p + q) and V(D*) = 2 JSD(p, q) - 2 log 2: Goodfellow et al., proposition 1 and theorem 1."""
    p, q = np.array([0.5, 0.3, 0.2]), np.array([0.1, 0.3, 0.6])
    logits, middle = np.log(p / q), (p + q) / 2

    def value(logits):  # an expectation over three outcomes, as a mean over examples in these proportions
        real, fake = (np.repeat(logits, (10 * share).round().astype(int)) for share in (p, q))
        return -float(LOSSES["minimax"][0](real, fake))

    jsd = ((p * np.log(p / middle)).sum() + (q * np.log(q / middle)).sum()) / 2
    assert value(logits) == pytest.approx(2 * jsd - 2 * math.log(2), rel=1e-12)
    for other in generator().standard_normal((20, 3)):
        assert value(logits + 0.3 * other) < value(logits)


def test_only_the_minimax_generator_stops_learning_where_the_discriminator_is_sure():
    sure = np.full(4, -20.0)  # D(G(z)) = 2e-9
    slopes = {name: abs(tg.grad(LOSSES[name][1])(sure).numpy().sum()) for name in LOSSES}
    assert slopes["minimax"] < 1e-8
    assert all(slope >= 1 - 1e-6 for name, slope in slopes.items() if name != "minimax")


def test_targets_of_the_discriminator_may_be_smoothed_and_swapped():
    loss = LOSSES["non-saturating"][0]
    smooth = -(0.9 * np.log(D["real"]) + 0.1 * np.log(1 - D["real"])).mean() - np.log(1 - D["fake"]).mean()
    assert loss(REAL, FAKE, 0.9) == pytest.approx(smooth, rel=1e-12)
    swapped = np.arange(7) % 2.0
    each = np.where(swapped, np.log(1 - D["real"]), np.log(D["real"]))
    assert loss(REAL, FAKE, 1 - swapped) == pytest.approx(-each.mean() - np.log(1 - D["fake"]).mean())
    # with targets a for real ones alone the best D is a p / (p + q), not 1 / 2 where p = q
    logit = math.log(0.9 / 1.1)
    at = tg.tensor(np.array([logit]), requires_grad=True)
    loss(at, at, 0.9).backward()
    assert abs(at.grad.numpy()[0]) < 1e-12


# the penalties


def test_of_a_linear_critic_the_penalty_is_the_square_of_its_slope_less_one():
    w = generator().standard_normal(6)
    real, fake = generator(1).standard_normal((2, 5, 6))
    t = generator(2).random(5)
    penalty = gradient_penalty(lambda x: x @ w, real, fake, t)
    assert float(penalty.numpy()) == pytest.approx((math.sqrt((w * w).sum()) - 1) ** 2, rel=1e-12)
    assert float(r1(lambda x: x @ w, real).numpy()) == pytest.approx((w * w).sum() / 2, rel=1e-12)


def test_the_norm_is_that_of_each_example_at_its_own_place_between():
    """D(x) = |x|^2 / 2 has slope |x|: taken where t says, whatever the axes; R1 looks at real ones alone."""
    real, fake = generator(1).standard_normal((2, 4, 2, 3))
    t = np.array([0.0, 1.0, 0.25, 0.5])

    def critic(x):
        return (x * x).sum(axis=(1, 2)) * 0.5

    places = t[:, None, None] * real + (1 - t[:, None, None]) * fake
    norms = np.sqrt((places**2).sum(axis=(1, 2)))
    assert float(gradient_penalty(critic, real, fake, t).numpy()) == pytest.approx(((norms - 1) ** 2).mean())
    assert float(r1(critic, real).numpy()) == pytest.approx((real**2).sum(axis=(1, 2)).mean() / 2)


def test_a_critic_without_slope_has_the_penalty_one_and_a_finite_gradient():
    net = nn.Linear(3, 1, rng=generator())
    net.weight.assign(np.zeros((1, 3)))
    x = np.ones((2, 3), np.float32)
    penalty = gradient_penalty(lambda x: net(x)[:, 0], x, x, np.ones(2, np.float32))
    penalty.backward()
    assert float(penalty.numpy()) == 1 and (net.weight.grad.numpy() == 0).all()


def test_shapes_that_do_not_fit_are_errors():
    x = np.ones((4, 3))
    for real, fake, t in ((x, x[:3], np.ones(4)), (x, x, np.ones(3)), (x, x, np.ones((4, 1)))):
        with pytest.raises(ValueError, match="expected as many fakes as real examples and a t for each, got"):
            gradient_penalty(lambda x: x.sum(axis=1), real, fake, t)


@pytest.mark.parametrize("penalty", ["gradient_penalty", "r1"])
def test_gradients_of_penalties_are_those_of_pytorchs_double_backward(penalty):
    torch = pytest.importorskip("torch")
    net = nn.Sequential(
        nn.Linear(4, 8, rng=generator()), nn.Softplus(), nn.Linear(8, 8, rng=generator(1)), nn.Tanh()
    ).astype(np.float64)
    real, fake = generator(2).standard_normal((2, 5, 4))
    t = generator(3).random(5)
    critic = lambda x: net(x).sum(axis=1)  # noqa: E731
    ours = gradient_penalty(critic, real, fake, t) if penalty == "gradient_penalty" else r1(critic, real)
    ours.backward()
    weights = [torch.tensor(p.numpy().copy(), requires_grad=True) for p in net.parameters()]
    at = t[:, None] * real + (1 - t[:, None]) * fake if penalty == "gradient_penalty" else real
    at = torch.tensor(at, requires_grad=True)
    hidden = torch.nn.functional.softplus(torch.nn.functional.linear(at, *weights[:2]))
    logits = torch.tanh(torch.nn.functional.linear(hidden, *weights[2:])).sum()
    (slopes,) = torch.autograd.grad(logits, at, create_graph=True)
    theirs = (
        ((slopes.norm(dim=1) - 1) ** 2).mean()
        if penalty == "gradient_penalty"
        else (slopes**2).sum(dim=1).mean() / 2
    )
    theirs.backward()
    assert float(ours.numpy()) == pytest.approx(theirs.item(), rel=1e-12)
    for mine, their in zip(net.parameters(), weights, strict=True):
        their = np.zeros(mine.shape) if their.grad is None else their.grad.numpy()
        np.testing.assert_allclose(mine.grad.numpy(), their, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_of_losses_are_those_of_pytorch(name):
    torch = pytest.importorskip("torch")
    f = torch.nn.functional
    real, fake = (torch.tensor(a, requires_grad=True) for a in (REAL, FAKE))
    discriminator = {
        "least-squares": lambda: (f.mse_loss(real, torch.ones(7)) + f.mse_loss(fake, torch.zeros(7))) / 2,
        "hinge": lambda: f.relu(1 - real).mean() + f.relu(1 + fake).mean(),
        "wasserstein": lambda: fake.mean() - real.mean(),
    }.get(name, lambda: f.softplus(-real).mean() + f.softplus(fake).mean())
    deceiver = {
        "minimax": lambda: f.logsigmoid(-fake).mean(),
        "non-saturating": lambda: -f.logsigmoid(fake).mean(),
        "least-squares": lambda: f.mse_loss(fake, torch.ones(7)) / 2,
    }.get(name, lambda: -fake.mean())
    theirs = torch.autograd.grad(discriminator(), (real, fake)), torch.autograd.grad(deceiver(), (fake,))
    ours = tg.grad(LOSSES[name][0], (0, 1))(REAL, FAKE), (tg.grad(LOSSES[name][1])(FAKE),)
    for mine, their in zip(ours, theirs):
        for a, b in zip(mine, their, strict=True):
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("settings", [{}, {"positions": "rotary", "norm": "rms", "activation": "swiglu"}])
def test_the_penalty_passes_a_transformer_with_the_fused_attention(settings):
    """Second order: the gradient of the penalty by the weights beside differences of it, in float64."""
    config = GPTConfig(context=5, layers=1, heads=2, width=8, **settings)
    stack = Stack(config, rng=generator()).astype(np.float64)
    for parameter in stack.parameters():  # larger than at the start: attention has something to say
        parameter.assign(parameter.numpy() + 0.3 * generator(parameter.size).standard_normal(parameter.shape))
    real, fake = generator(1).standard_normal((2, 3, 5, 8))
    t = generator(2).random(3)

    def penalty():
        return gradient_penalty(lambda x: tg.tanh(stack.through(x)).sum(axis=(1, 2)), real, fake, t)

    stack.zero_grad()
    penalty().backward()
    for name, parameter in stack.named_parameters():
        values, direction = parameter.numpy().copy(), generator(5).standard_normal(parameter.shape)
        sides = []
        for sign in (1, -1):
            parameter.assign(values + sign * 1e-5 * direction)
            sides.append(float(penalty().numpy()))
        parameter.assign(values)
        slope = 0.0 if parameter.grad is None else float((parameter.grad.numpy() * direction).sum())
        assert slope == pytest.approx((sides[0] - sides[1]) / 2e-5, rel=2e-5, abs=2e-8), name
    assert np.abs(stack.h[0].attn.c_attn.weight.grad.numpy()).max() > 1e-3


# the Dirac-GAN


def field(name, *, gamma=0.0, gp=0.0):
    """(theta, psi) -> the direction in which the two players move, and its Jacobian at the equilibrium.

    The generator makes the one point theta, data are the one point 0, and D(x) = psi x (section 2), counted
    from where the loss is undecided: what else could D say of a point that is both?
    """
    (discriminator, deceiver), half = LOSSES[name], UNDECIDED.get(name, 0.0)

    def direction(at):
        def critics(psi):
            def critic(x):
                return half + psi * x[:, 0]

            zero, fake = np.zeros((1, 1)), tg.reshape(tg.stop_gradient(at[0]), (1, 1))
            loss = discriminator(critic(zero), critic(fake))
            loss = loss + gamma * r1(critic, zero) if gamma else loss
            return loss + gp * gradient_penalty(critic, zero, fake.data, np.full(1, 0.5)) if gp else loss

        def generators(theta):
            return deceiver(tg.reshape(half + at[1] * theta, (1,)))

        return -tg.stack([tg.grad(generators)(at[0]), tg.grad(critics)(at[1])])

    return direction


def smooth_field(name, gamma):
    """The same as one function that can itself be differentiated, as all losses can near the equilibrium."""
    (discriminator, deceiver), half = LOSSES[name], UNDECIDED.get(name, 0.0)

    def direction(at):
        def critics(psi, theta):
            def critic(x):
                return half + psi * x[:, 0]

            zero = np.zeros((1, 1))
            return discriminator(critic(zero), critic(tg.reshape(theta, (1, 1)))) + gamma * r1(critic, zero)

        def generators(theta, psi):
            return deceiver(tg.reshape(half + psi * theta, (1,)))

        return -tg.stack([tg.grad(generators)(at[0], at[1]), tg.grad(critics)(at[1], at[0])])

    return direction


# f'(0) of the paper, eq. 3: what the logit of the one point weighs, where nothing is decided
SLOPES = {"minimax": 0.5, "non-saturating": 0.5, "least-squares": 0.5, "hinge": 1.0, "wasserstein": 1.0}


@pytest.mark.parametrize("gamma", [0.0, 0.3, 5.0])
@pytest.mark.parametrize("name", SLOPES)
def test_eigenvalues_at_the_equilibrium_are_those_of_the_paper(name, gamma):
    """Section 2: +-f'(0) i without a penalty. Section 3, with R1: -g/2 +- sqrt(g^2/4 - f'(0)^2)."""
    assert set(SLOPES) == set(LOSSES)
    jacobian = tg.jacobian(smooth_field(name, gamma))(np.zeros(2)).numpy()
    found = np.sort_complex(np.linalg.eigvals(jacobian))
    root = np.sqrt(complex(gamma**2 / 4 - SLOPES[name] ** 2))
    np.testing.assert_allclose(found, np.sort_complex([-gamma / 2 - root, -gamma / 2 + root]), atol=1e-12)
    assert (found.real < 0).all() == (gamma > 0)


def walk(direction, *, steps, lr, alternating=False, start=(1.0, 0.5)):
    """Distances from the equilibrium (0, 0) along a training by gradient descent."""
    at, distances = np.array(start), []
    for _ in range(steps):
        if alternating:
            at = at + lr * np.array([0, 1]) * direction(tg.tensor(at)).numpy()
            at = at + lr * np.array([1, 0]) * direction(tg.tensor(at)).numpy()
        else:
            at = at + lr * direction(tg.tensor(at)).numpy()
        distances.append(math.hypot(*at))
    return np.array(distances)


def test_where_both_play_one_game_steps_at_once_lead_outwards_and_steps_in_turns_around():
    """One loss with two signs: the direction v is at right angles to the place x, so |x + h v| > |x|.

    In turns nobody converges either, and nobody leaves.
    """
    for name in ("minimax", "wasserstein"):
        assert (np.diff(walk(field(name), steps=150, lr=0.1)) > 0).all()
        in_turns = walk(field(name), steps=200, lr=0.1, alternating=True)
        assert in_turns.min() > 1 and in_turns.max() < 1.25
    lr, steps = 0.1, 50  # of Wasserstein, exactly: the eigenvalues 1 +- i h
    distances = walk(field("wasserstein"), steps=steps, lr=lr)
    assert distances[-1] == pytest.approx(math.hypot(1, 0.5) * (1 + lr * lr) ** (steps / 2), rel=1e-9)


def test_the_non_saturating_game_comes_closer_the_slower_the_closer_it_is():
    """With s = psi theta, v . x = -s tanh(s / 2): inwards, but of fourth order in the distance.

    So there is no rate: the eigenvalues at the equilibrium are those of minimax. With steps at once those of
    size 1 + h^2 / 8 win near it, and the training circles at a distance of its own.
    """
    far = walk(field("non-saturating"), steps=150, lr=0.1, start=(2.0, 2.0))
    near = walk(field("non-saturating"), steps=150, lr=0.1, start=(0.1, 0.1))
    assert far[-1] < 0.6 * far[0] and near[-1] > 1.1 * near[0]


def test_r1_leads_to_the_equilibrium_whoever_moves_first():
    for name in SLOPES:
        for alternating in (False, True):
            assert walk(field(name, gamma=1.0), steps=250, lr=0.15, alternating=alternating)[-1] < 1e-5
    # of Wasserstein, exactly: 1 + h lambda with lambda = -1/2 +- i sqrt(3) / 2, of size sqrt(1 - h + h^2)
    distances = walk(field("wasserstein", gamma=1.0), steps=160, lr=0.1)
    assert (distances[-1] / distances[-64]) ** (1 / 63) == pytest.approx(math.sqrt(0.91), rel=5e-3)


def test_the_two_sided_penalty_keeps_the_critic_from_the_equilibrium():
    """It draws the slope psi to -1 or 1, where the equilibrium has 0: the generator is driven to and fro."""
    for alternating in (False, True):
        distances = walk(field("wasserstein", gp=1.0), steps=500, lr=0.1, alternating=alternating)
        assert distances[-200:].min() > 0.3 and distances[-200:].max() < 3
