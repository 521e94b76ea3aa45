"""What can be trained on what, and with which settings unless told otherwise."""

from dataclasses import dataclass

from ..models import VAE, VAEConfig


@dataclass(frozen=True)
class Recipe:
    """A model that can be trained: its class, its configuration, and good settings for each data set."""

    model: type
    config: type
    settings: dict


MODELS = {
    "vae": Recipe(
        VAE,
        VAEConfig,
        {
            "digits": {"hidden": 128, "latent": 8, "epochs": 400, "batch": 100, "lr": 3e-3},
            # PyTorch's basic VAE example
            "mnist": {"hidden": 400, "latent": 20, "epochs": 10, "batch": 128, "lr": 1e-3},
        },
    )
}
