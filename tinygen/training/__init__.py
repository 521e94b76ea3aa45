"""Training: the loop, the folder that a run leaves behind, and its pictures. Needs the extra `app`."""

from .loop import TrainingConfig, evaluate, streams, train
from .runs import Run

__all__ = ["Run", "TrainingConfig", "evaluate", "streams", "train"]
