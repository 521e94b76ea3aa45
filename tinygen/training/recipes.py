"""What can be trained: the task of each family, by its name on the command line."""

from .classifier_task import ClassifierTask
from .gan_task import GANTask
from .gpt_recipe import GPTRecipe
from .translator_task import TranslatorTask
from .vae_task import VAETask
from .vqvae_task import VQVAETask

MODELS = {
    "vae": VAETask,
    "vqvae": VQVAETask,
    "gan": GANTask,
    "gpt": GPTRecipe,
    "translator": TranslatorTask,
    "classifier": ClassifierTask,
}
