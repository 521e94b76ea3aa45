"""What the two players of a GAN lower: a pair of functions a paper, from logits to a scalar; and penalties.

    minimax          Goodfellow et al., Generative adversarial nets (2014), arXiv 1406.2661, eq. 1
    non-saturating   the same, section 3: the generator's other objective
    least-squares    Mao et al., Least squares generative adversarial networks (2017), arXiv 1611.04076
    hinge            Lim & Ye, Geometric GAN (2017); Miyato et al., Spectral normalization (2018), section 4
    wasserstein      Arjovsky, Chintala & Bottou, Wasserstein GAN (2017), arXiv 1701.07875

    gradient_penalty   Gulrajani et al., Improved training of Wasserstein GANs (2017), arXiv 1704.00028, eq. 3
    r1                 Mescheder, Geiger & Nowozin, Which training methods for GANs do actually converge?
                       (2018), arXiv 1801.04406, eq. 9
    label smoothing    Salimans et al., Improved techniques for training GANs (2016), section 3.4

The convention of signs, here and everywhere: the discriminator returns logits, and a larger one says "real".
Both players lower their loss. Where a paper has the discriminator raise an objective, ours is its negative:
minus the minimax discriminator's loss is the paper's V(D, G), which is -2 log 2 where D says 1/2 to all.

Left out: the clipping of weights of the first Wasserstein GAN, and R2, R1's counterpart on fakes.

Letters: B what the discriminator judges at once, logits (B,).
"""

from ..autograd import grad, ops


def cross_entropy_discriminator(real, fake, real_target=1.0, fake_target=0.0):
    """-E log D(x) - E log(1 - D(G(z))), D the sigmoid of the logit: -V of Goodfellow et al., eq. 1, in nats.

    Args:
        real, fake: logits (B,) of real examples and of generated ones.
        real_target, fake_target: what D is to say of them, numbers or arrays (B,) in [0, 1]; 0.9 for the real
            ones is Salimans et al.'s one-sided smoothing.
    """
    return ops.mean(ops.bce_with_logits(real, real_target)) + ops.mean(ops.bce_with_logits(fake, fake_target))


def minimax_generator(fake):
    """E log(1 - D(G(z))): eq. 1. Where D is sure of itself its gradient vanishes."""
    return -ops.mean(ops.softplus(fake))


def non_saturating_generator(fake):
    """-E log D(G(z)): section 3 of Goodfellow et al. Its gradient is largest where D is sure."""
    return ops.mean(ops.softplus(-fake))


def least_squares_discriminator(real, fake):
    """(E (D(x) - 1)^2 + E D(G(z))^2) / 2: Mao et al., with a = 0 for fakes and b = 1 for real ones."""
    return 0.5 * (ops.mean(ops.square(real - 1)) + ops.mean(ops.square(fake)))


def least_squares_generator(fake):
    """E (D(G(z)) - 1)^2 / 2: c = 1, what the generator wants D to say."""
    return 0.5 * ops.mean(ops.square(fake - 1))


def hinge_discriminator(real, fake):
    """E max(0, 1 - D(x)) + E max(0, 1 + D(G(z))): beyond a margin of 1 nothing more is gained."""
    return ops.mean(ops.relu(1 - real)) + ops.mean(ops.relu(1 + fake))


def wasserstein_discriminator(real, fake):
    """E D(G(z)) - E D(x): minus the estimate of the distance, for a critic D that is 1-Lipschitz."""
    return ops.mean(fake) - ops.mean(real)


def critic_generator(fake):
    """-E D(G(z)): the generator of both the hinge and the Wasserstein loss."""
    return -ops.mean(fake)


LOSSES = {  # name -> (discriminator's: real, fake -> scalar; generator's: fake -> scalar)
    "minimax": (cross_entropy_discriminator, minimax_generator),
    "non-saturating": (cross_entropy_discriminator, non_saturating_generator),
    "least-squares": (least_squares_discriminator, least_squares_generator),
    "hinge": (hinge_discriminator, critic_generator),
    "wasserstein": (wasserstein_discriminator, critic_generator),
}
UNDECIDED = {"minimax": 0.0, "non-saturating": 0.0, "least-squares": 0.5, "hinge": 0.0}  # a logit that is
# neither "real" nor "fake"; of the Wasserstein loss only differences of logits count
OF_PROBABILITIES = ("minimax", "non-saturating")  # whose D is a sigmoid: they know targets other than 0 and 1


def gradient_penalty(critic, real, fake, t):
    """E (|grad D(x^)| - 1)^2 at x^ = t x + (1 - t) G(z), between real examples and fakes: two-sided, eq. 3.

    The norm is that of each example by itself, so `critic` must judge each by itself: no batch norm. For
    minibatch std see `_slopes`.

    Args:
        critic: a function from examples (B, ...) to logits (B,).
        real, fake: arrays (B, ...).
        t: an array (B,) in [0, 1], drawn uniformly in the paper.

    Raises:
        ValueError: the shapes do not fit together.
    """
    if real.shape != fake.shape or t.shape != real.shape[:1]:
        raise ValueError(
            f"gradient_penalty: expected as many fakes as real examples and a t for each, got "
            f"{tuple(fake.shape)}, {tuple(real.shape)} and {tuple(t.shape)}; draw them alike"
        )
    t = t.reshape(-1, *[1] * (real.ndim - 1))
    return ops.mean(ops.square(ops.norm(_slopes(critic, t * real + (1 - t) * fake), axis=1) - 1))


def r1(critic, real):
    """E |grad D(x)|^2 / 2 at real examples, an array (B, ...): eq. 9 but for its weight gamma.

    `critic` is as for `gradient_penalty`.
    """
    return 0.5 * ops.mean(ops.sum(ops.square(_slopes(critic, real)), axis=1))


def _slopes(critic, x):
    """The gradient of each logit by its own example of x (B, ...), as rows (B, n), itself differentiable.

    It is that of the sum of all logits. Where minibatch std lets examples meet, what an example does to the
    others' logits is in it as well, as in the code of Karras et al. (2018).
    """
    slopes = grad(lambda x: ops.sum(critic(x)))(x)
    return ops.reshape(slopes, (len(x), -1))
