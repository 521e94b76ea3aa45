"""Losses that take logits: cross-entropy over classes, and for independent bits. In nats."""

from ... import arrays, kernels
from ...kernels import accelerated
from ..domain import Values
from ..engine import Tensor
from ..primitive import composite, primitive
from .activations import sigmoid
from .arithmetic import raw, where
from .indexing import take_along_axis
from .reductions import log_softmax, mean, sum


def _cross_entropy_reference(logits, targets, *, ignore_index=-100, label_smoothing=0.0):
    """-(1 - e) log p_target - (e / C) sum_c log p_c for each target, and 0 where it is ignored."""
    targets = raw(targets)
    alive = targets != ignore_index
    log_p = log_softmax(logits, -1)
    chosen = take_along_axis(log_p, arrays.of(targets).where(alive, targets, 0)[..., None], axis=-1)[..., 0]
    loss = -(1 - label_smoothing) * chosen
    if label_smoothing:
        loss = loss - label_smoothing * mean(log_p, -1)
    return where(alive, loss, 0.0)


@primitive(reference=_cross_entropy_reference, saves=("log_total",))
def token_cross_entropy(logits, targets, *, ignore_index=-100, label_smoothing=0.0):
    """The loss of each target: logits (..., C), integer targets (...) -> (...); see `cross_entropy`."""
    return kernels.cross_entropy(logits, targets, ignore_index, label_smoothing)


token_cross_entropy.rules(
    logits=lambda g, logits, targets, log_total, ignore_index, label_smoothing: (
        kernels.cross_entropy_backward(g, logits, targets, log_total, ignore_index, label_smoothing)
    )
)
token_cross_entropy.domain(
    "n C, n", targets=Values(kind="index", low=0, high="C"), label_smoothing=(0.0, 0.1)
)
token_cross_entropy.domain("2 n C, 2 n", targets=Values(kind="index", low=0, high="C"), ignore_index=(0,))


@composite
def cross_entropy(logits, targets, *, ignore_index=-100, label_smoothing=0.0, reduction="mean"):
    """-log softmax(logits)[target], in nats.

    Args:
        logits: (..., C). targets: integers (...) in [0, C), or `ignore_index`, which counts for nothing.
        label_smoothing: the share e of the target's weight spread over all classes (Szegedy et al. 2016).
        reduction: "mean" over the targets that count (0 if none does), "sum", or "none".

    Raises:
        ValueError: shapes that do not match, or an unknown reduction. TypeError: targets that are not
            integers.
        IndexError: a target outside [0, C).
    """
    logits = logits if isinstance(logits, Tensor) else arrays.as_array(logits)
    targets = arrays.as_array(raw(targets))
    if targets.dtype.kind not in "iu":
        raise TypeError(
            f"cross_entropy: expected integer targets, got {targets.dtype}; one-hot targets need .argmax(-1)"
        )
    if logits.shape[:-1] != targets.shape:
        raise ValueError(
            f"cross_entropy: logits {logits.shape} need targets {logits.shape[:-1]}, got {targets.shape}"
        )
    alive = targets != ignore_index
    if bool((alive & ((targets < 0) | (targets >= logits.shape[-1]))).any()):
        raise IndexError(
            f"cross_entropy: a target is outside [0, {logits.shape[-1]}) and not ignore_index={ignore_index}"
        )
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy: expected 0 <= label_smoothing <= 1, got {label_smoothing}")
    losses = token_cross_entropy(logits, targets, ignore_index=ignore_index, label_smoothing=label_smoothing)
    if reduction == "none":
        return losses
    if reduction == "sum":
        return sum(losses)
    if reduction == "mean":
        return sum(losses) * (1 / max(int(alive.sum()), 1))
    raise ValueError(f"cross_entropy: expected reduction 'mean', 'sum' or 'none', got {reduction!r}")


cross_entropy.domain(
    "n C, n", targets=Values(kind="index", low=0, high="C"), reduction=("mean", "sum", "none")
)


@primitive
@accelerated
def bce_with_logits(logits, targets):
    """-y log s(x) - (1 - y) log(1 - s(x)), elementwise, for logits x and y in [0, 1]; finite at finite x."""
    lib = arrays.of(logits, targets)
    if not arrays.is_array(logits):  # a number: its exp is to have the dtype of the targets
        logits = lib.zeros_like(targets) + logits
    return lib.maximum(logits, 0) - logits * targets + lib.log1p(lib.exp(-lib.abs(logits)))


@accelerated
def bce_with_logits_backward(g, logits, targets):
    return g * (sigmoid(logits) - targets)


bce_with_logits.rules(logits=bce_with_logits_backward, targets=lambda g, logits: -(g * logits))
bce_with_logits.domain(logits=Values(avoid=(0.0,)), targets=Values(0.0, 1.0))


def _bernoulli_log_prob_reference(logits, x):
    return -sum(bce_with_logits(logits, x), axis=-1)


@primitive(reference=_bernoulli_log_prob_reference)
def bernoulli_log_prob(logits, x):
    """log p(x) of rows of independent bits, of which each is 1 with probability sigmoid(logits).

    Args:
        logits: (..., D).
        x: in [0, 1], of the shape (..., D) of the logits, or of its last axes: many guesses at the same rows.

    Returns:
        (...), sums over D.

    Raises:
        ValueError: x has another shape.
    """
    if not x.ndim or logits.shape[max(0, logits.ndim - x.ndim) :] != x.shape:
        raise ValueError(
            f"bernoulli_log_prob: logits {logits.shape} need bits of that shape or of its last axes, got "
            f"{x.shape}; give one for each logit of a row"
        )
    return kernels.bernoulli_log_prob(logits, x)


bernoulli_log_prob.rules(
    logits=lambda g, logits, x: kernels.bernoulli_log_prob_backward(g, logits, x),
    x=lambda g, logits: g[..., None] * logits,
)
bernoulli_log_prob.domain("n m, n m", logits=Values(avoid=(0.0,)), x=Values(0.0, 1.0))
bernoulli_log_prob.domain("2 n m, n m", logits=Values(avoid=(0.0,)), x=Values(0.0, 1.0))
