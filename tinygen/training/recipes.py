"""What can be trained: the task of each family, by its name on the command line."""

from .gpt_task import GPTTask
from .translator_task import TranslatorTask
from .vae_task import VAETask

MODELS = {"vae": VAETask, "gpt": GPTTask, "translator": TranslatorTask}
