"""What tasks on images have in common: how images are loaded, what they decide, and which others fit."""

from .. import data
from .options import from_settings


class ImageTask:
    """A task on any of data.IMAGES, or on a file or folder of images."""

    sources, looking, files = data.IMAGES, None, ()

    @staticmethod
    def load(source, settings, files=None):
        (train, _), (test, _) = data.load_images(source)
        return {"train": train, "test": test}, described(train, test), {}

    @classmethod
    def config_for(cls, settings, data_info):
        height, width = data_info["shape"]
        derived = {"height": height, "width": width, "levels": data_info["levels"]}
        return from_settings(cls.model_config, {**settings, **derived})

    def check(self, data_info, other):
        if data_info["shape"] != other["shape"]:
            raise ValueError(f"expected images of shape {data_info['shape']}, got {other['shape']}")
        ours, theirs = data_info["levels"], other["levels"]
        if self.model.likelihood.counts_levels and (ours - 1) % (theirs - 1):
            raise ValueError(f"expected images of {ours} grey levels, got {theirs}")


def described(train, test):
    """What config.json says of images (N, H, W), a dict."""
    levels = max(map(data.grey_levels, (train, test)))
    return {"shape": list(train.shape[1:]), "levels": levels, "train": len(train), "test": len(test)}
