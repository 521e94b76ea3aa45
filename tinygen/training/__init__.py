"""Training: the loop, the folder that a run leaves behind, and its pictures. Needs the extra `app`."""

from .checkpoint import Damaged
from .config import TrainingConfig
from .gpt2_folder import export_gpt2, import_gpt2
from .loop import train
from .runs import Run
from .session import Session
from .streams import stream
from .task import Player

__all__ = [
    "Damaged",
    "Player",
    "Run",
    "Session",
    "TrainingConfig",
    "export_gpt2",
    "import_gpt2",
    "stream",
    "train",
]
