"""Losses, from tensors of any one shape to a scalar, or to one loss an element with reduction="none".

Classification needs nothing here: `tg.cross_entropy(logits, targets)` is an operation.
"""

from ..autograd import ops


def mse_loss(prediction, target, *, reduction="mean"):
    """Squared difference, (prediction - target)^2.

    Raises:
        ValueError: the shapes differ (they would broadcast, and hide a mistake), or the reduction is unknown.
    """
    _check("mse_loss", prediction, target)
    return _reduce("mse_loss", ops.square(ops.subtract(prediction, target)), reduction)


def l1_loss(prediction, target, *, reduction="mean"):
    """Absolute difference, |prediction - target|.

    Raises:
        ValueError: the shapes differ, or the reduction is unknown.
    """
    _check("l1_loss", prediction, target)
    return _reduce("l1_loss", ops.abs(ops.subtract(prediction, target)), reduction)


def binary_cross_entropy_with_logits(logits, targets, *, reduction="mean"):
    """Cross entropy in nats of independent bits with probability sigmoid(logits); targets in [0, 1].

    Raises:
        ValueError: the shapes differ, or the reduction is unknown.
    """
    _check("binary_cross_entropy_with_logits", logits, targets)
    return _reduce("binary_cross_entropy_with_logits", ops.bce_with_logits(logits, targets), reduction)


def _check(name, x, y):
    if tuple(x.shape) != tuple(y.shape):
        raise ValueError(
            f"{name}: expected two equal shapes, got {tuple(x.shape)} and {tuple(y.shape)}; reshape one"
        )


def _reduce(name, losses, reduction):
    if reduction == "mean":
        return ops.mean(losses)
    if reduction == "sum":
        return ops.sum(losses)
    if reduction == "none":
        return losses
    raise ValueError(
        f"{name}: expected reduction to be 'mean', 'sum' or 'none', got {reduction!r}; choose one of them"
    )
