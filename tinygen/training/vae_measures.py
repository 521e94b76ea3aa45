"""What `tinygen evaluate` says of a VAE beside its loss: log p(x), bits a pixel, KL by dimension."""

from dataclasses import dataclass

import numpy as np

from .. import metrics
from ..configuration import check, option
from .progress import telling


@dataclass(frozen=True, kw_only=True)
class VAEMeasuring:
    """How the likelihood is estimated."""

    samples: int = option(5000, "k, codes an image in the estimate of log p(x)", at_least=2)
    images: int = option(1000, "test images, the first ones, of which it is estimated; 0: all", at_least=0)

    def __post_init__(self):
        check(self)


def measured(task, options, *, rng):
    """Metrics, name -> float, and remarks, lines that say more of them.

    Args:
        task: a VAETask with its data.
        options: a VAEMeasuring.
        rng: draws what is random in looking at the images, and then the samples.
    """
    model, found = task.model, task.evaluate(rng)
    found["elbo"] = -found["reconstruction"] - found["kl"]
    told = metrics.kl_per_dimension(*task.codes(rng))
    parts = ", ".join(f"{told[j]:.2f} (z{j})" for j in np.argsort(-told, kind="stable"))
    remarks = [f"KL by dimension, in nats: {parts}"]
    if not model.likelihood.normalised:
        remarks.append(
            f"no NLL: {model.likelihood.words}; train with another, such as --likelihood bernoulli"
        )
        return found, remarks
    count = min(options.images or len(task.test), len(task.test))
    x, c = model.observe(task.test[:count], rng=rng), task.test_given
    with telling(f"log p(x) of {count:,} images by {options.samples:,} samples each") as tell:
        estimate = metrics.log_likelihood(
            lambda rows, eps: model.log_weights(x[rows], eps, c[rows]).numpy(),
            count,
            latent=model.config.latent,
            samples=options.samples,
            at_once=task.codes_at_once,
            rng=rng,
            told=tell,
        )
    found["nll"] = -estimate.mean
    if count > 1:  # one image does not tell how much images differ
        found["nll_error"] = estimate.standard_error
    found["bits_per_dimension"] = metrics.bits_per_dimension(
        found["nll"], x[0].size, log_levels=model.likelihood.log_levels
    )
    remarks.append(
        f"NLL: of {count:,} images, by {options.samples:,} samples each, of which "
        f"{np.median(estimate.effective):.3g} are effective for the median image and "
        f"{estimate.effective.min():.3g} for the worst; of its error the sampling alone is "
        f"{estimate.monte_carlo_error:.2g}, and it is too high by about {estimate.shortfall:.2g}"
    )
    return found, remarks
