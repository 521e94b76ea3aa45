"""From settings to a trained run: data and model put together, trained and shown; or a run taken up."""

import dataclasses
from pathlib import Path

from .. import __version__
from ..autograd import no_grad
from ..durable import write
from . import plots
from .config import TrainingConfig
from .loop import train
from .options import choose, take
from .profile import lap, profile
from .recipes import MODELS, fingerprint
from .report import report
from .runs import Run
from .streams import stream

LENGTHS = ("steps", "epochs", "minutes")


class Session:
    """A run, its task and its configuration. `Session.begin` makes a new one, `Session.resume` goes on."""

    def __init__(self, run, task, config):
        self.run, self.task, self.config = run, task, config

    @classmethod
    def begin(cls, model, given, *, out, name=None):
        """Make a run folder for a new training.

        Args:
            model: a name in MODELS.
            given: a dict of settings, which replace the recipe's; fields of TrainingConfig or of the model's.
            out, name: the folder that holds runs, and this one's name there (None: the next that is free).

        Raises:
            ValueError: a setting, or the data, are not what they should be.
            OSError: the data cannot be found, or no folder be made.
        """
        task, config, about = prepared(model, given)
        run = Run.create(out, name=name, prefix=f"{model}-{Path(config.data).stem}")
        run.save_config(
            {
                "tinygen": __version__,
                "model": model,
                model: dataclasses.asdict(task.model.config),
                "data": about,
                "training": dataclasses.asdict(config),
            }
        )
        return cls(run, task, config)

    @classmethod
    def resume(cls, folder, lengths=None):
        """Take up a run where it stopped.

        Args:
            folder: of the run.
            lengths: a dict of new lengths of the whole training, in place of those that it began with.

        Raises:
            ValueError: the run, or its data, are not what they were.
            OSError: the run or the data cannot be found.
        """
        run = Run.open(folder)
        task, saved = rebuilt(run)
        settings = dict(saved["training"])
        if lengths:
            settings |= {**dict.fromkeys(LENGTHS), **lengths}
        config = TrainingConfig(**settings)
        add_data(run, task, config, saved["data"])
        if lengths:
            run.save_config({**saved, "training": dataclasses.asdict(config)})
        return cls(run, task, config)

    def train(self, progress=None):
        """Train to the end, or until a signal; then what ended it, and where the training stands."""
        return train(self.task, self.config, run=self.run, progress=progress)

    def lead(self, at):
        """A Standing in words."""
        return f"{at.step / self.task.steps_per_epoch:.4g} epochs, {at.step:,} steps, {at.seconds:.1f} s"

    def finish(self, lead):
        """Draw the curves, the portrait and the report of a run that is trained; the path of the portrait."""
        plots.save_curves(self.run.metrics(), self.run.path("curves.png"), unit=self.task.unit)
        self.task.model.eval()
        portrait = self.task.portrait(self.run, stream(self.config.seed, "pictures"))
        self.task.model.train()
        table = profile(one_step(self.task, self.config), repeats=3).table(110)
        write(self.run.path("report.html"), report(self.run, lead=lead, portrait=portrait, profile=table))
        return portrait


def prepared(model, given):
    """A new task with its data.

    Args:
        model: a name in MODELS.
        given: a dict of settings, which replace the recipe's.

    Returns:
        The task, its TrainingConfig, and what config.json says of the data.

    Raises:
        ValueError, OSError: as for `Session.begin`.
    """
    recipe = MODELS[model]
    source = given.get("data", next(iter(recipe.settings)))
    if source not in recipe.sources:
        if not Path(source).exists():
            choose("data set", source, recipe.sources)
        source = str(Path(source).resolve())  # a run may be resumed from another folder
    settings = dict(recipe.settings.get(source, recipe.otherwise))
    if any(given.get(name) is not None for name in LENGTHS):
        settings |= dict.fromkeys(LENGTHS)  # what the user says of the length is all there is
    settings |= {**given, "data": source}
    config = take(TrainingConfig, settings)
    arrays, about = recipe.load(source)
    task = recipe.make(recipe.fitted(settings, about), about, rng=stream(config.seed, "weights"))
    task.give(arrays, config)
    return task, config, {**about, "sha256": fingerprint(arrays)}


def rebuilt(run):
    """The task of a run, as yet without data and weights, and what its config.json says.

    Raises:
        ValueError: config.json is not one that `begin` wrote.
    """
    saved = run.config()
    try:
        recipe = MODELS[saved["model"]]
        sizes = recipe.sizes(**saved[saved["model"]])
        task = recipe.make(sizes, saved["data"], rng=stream(saved["training"]["seed"], "weights"))
        TrainingConfig(**saved["training"])
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{run.path('config.json')}: expected what `tinygen train` writes, got another file ({error!r})"
        ) from error
    return task, saved


def trained(folder, which="last"):
    """The run in `folder`, its task with the weights that it has learned but without data, and its config.

    Raises:
        ValueError: config.json or a checkpoint is damaged, or they do not belong together.
        FileNotFoundError: there is no run, or nothing has been saved.
    """
    run = Run.open(folder)
    task, saved = rebuilt(run)
    task.model.load_state_dict(run.weights(which))
    task.model.eval()
    return run, task, saved


def add_data(run, task, config, about):
    """Give a task the data that its run began with.

    Raises:
        ValueError: they are not the same any more.
    """
    arrays, _ = task.load(config.data)
    if fingerprint(arrays) != about.get("sha256"):
        raise ValueError(
            f"{run.folder}: the data {config.data} are not those that this run began with; "
            "bring those back, or begin a new run"
        )
    task.give(arrays, config)


def evaluated(folder, which="last", source=None):
    """Figures of a trained model on data that it was not trained on; and its task.

    Args:
        folder: of the run.
        which: "last" or "best", see `Run.weights`.
        source: other data than those of the run, a name or a path.

    Raises:
        ValueError, FileNotFoundError: as for `trained`; or the data have not the shape that the model takes.
    """
    run, task, saved = trained(folder, which)
    config = TrainingConfig(**saved["training"])
    if source is None:
        add_data(run, task, config, saved["data"])
    else:
        arrays, about = task.load(source)
        if about["shape"] != saved["data"]["shape"]:
            raise ValueError(
                f"{source}: expected images of {saved['data']['shape']}, got {about['shape']}; "
                f"give data like {config.data}"
            )
        task.give(arrays, config)
    with no_grad():
        return task.evaluate(stream(config.seed, "evaluation")), task


def one_step(task, config):
    """A function that does one training step, and changes no weight: for the profiler."""
    optimizers = [config.make_optimizer(player.module.parameters()) for player in task.players]

    def step():
        batch = task.batch(0)
        lap("(minibatch)")
        for turn, (player, optimizer) in enumerate(zip(task.players, optimizers)):
            optimizer.zero_grad()
            loss, _ = player.loss(batch, stream(config.seed, "noise", 0, turn))
            loss.backward()
            lap("(rest)")
            optimizer.lr = 0.0
            optimizer.step()
            lap("(optimizer)")

    return step
