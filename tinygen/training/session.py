"""From settings to a trained run: data and model put together, trained and shown; or a run taken up."""

import dataclasses
from pathlib import Path
from shlex import quote

from .. import __version__
from ..autograd import no_grad
from ..configuration import unused
from ..durable import write
from ..nn import adapt, merge
from . import plots
from .checkpoint import Damaged, digest
from .config import TrainingConfig
from .judges import judge
from .loop import train
from .options import choose, from_settings
from .profile import lap, profile
from .quality import MOST, quality
from .recipes import MODELS
from .report import report
from .runs import Run, check_libraries
from .step import take_step
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
        task, config, data_info, files = prepared(model, given)
        saved = {
            "tinygen": __version__,
            "model": model,
            model: dataclasses.asdict(task.model.config),
            "data": data_info,
            "training": dataclasses.asdict(config),
        }
        run = Run.create(out, saved, files, name=name, prefix=f"{model}-{Path(config.data).stem}")
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
        check_libraries()
        run = Run.open(folder)
        task, saved = rebuilt(run)
        if "imported" in saved["data"]:
            raise ValueError(
                f"{run.folder}: expected a training that was stopped, got an imported model; begin one of "
                f"its own with: tinygen finetune {quote(str(run.folder))} --data FILE"
            )
        settings = dict(saved["training"])
        if lengths:
            settings |= {**dict.fromkeys(LENGTHS), **lengths}
        config = TrainingConfig(**settings)
        add_data(run, task, config, saved["data"])
        return cls(run, task, config)

    def train(self, progress=None):
        """Train to the end, or until a signal; results and errors are those of `loop.train`.

        A new length is written into config.json once nothing speaks against it.
        """
        with self.run.alone():
            saved, new = self.run.config(), dataclasses.asdict(self.config)
            return train(
                self.task,
                self.config,
                run=self.run,
                progress=progress,
                begun=lambda: saved["training"] == new or self.run.save_config({**saved, "training": new}),
            )

    def lead(self, state):
        """A TrainingState in words."""
        epochs = state.step / self.task.steps_per_epoch
        return f"{epochs:.4g} epochs, {state.step:,} steps, {state.seconds:.1f} s"

    def finish(self, lead):
        """Draw curves, last samples and the report of a run that is trained; the path of the samples.

        Args:
            lead: the line below the report's title.

        Raises:
            OSError: the folder cannot be written, or another process trains there.
        """
        with self.run.alone(), self.run.writing():
            rows = self.run.metrics()
            if rows:
                path, task = self.run.path("curves.png"), self.task
                plots.save_curves(rows, path, unit=task.unit, units=task.units)
            self.task.model.eval()
            samples = self.task.final_samples(self.run, stream(self.config.seed, "pictures"))
            self.task.model.train()
            kept = self.task.model.state_dict()  # a step moves what is no weight, such as a codebook
            table = profile(one_step(self.task, self.config), repeats=3).table(110)
            self.task.model.load_state_dict(kept)
            page = report(self.run, lead=lead, samples=samples, profile=table)
            write(self.run.path("report.html"), page)
        return samples


def prepared(model, given):
    """A new task with its data.

    Args:
        model: a name in MODELS.
        given: a dict of settings, which replace the recipe's.

    Returns:
        task: with its data.
        config: the TrainingConfig.
        data_info: what config.json says of the data, a dict.
        files: what else of the data belongs into the run folder, name -> bytes: a tokenizer.

    Raises:
        ValueError, OSError: as for `Session.begin`.
    """
    recipe = MODELS[choose("model", model, MODELS)]
    known = [f.name for kind in configurations(recipe) for f in dataclasses.fields(kind)]
    for name in given:
        choose("setting", name, [name for name in known if name not in recipe.derived])
    settings = complete(given, recipe.settings, recipe.by_path, recipe.sources, configurations(recipe))
    config = from_settings(TrainingConfig, settings)
    arrays, data_info, files = recipe.load(config.data, settings)
    model_config = recipe.config_for(settings, data_info)
    task = recipe.make(model_config, data_info, files, rng=stream(config.seed, "weights"))
    task.set_data(arrays, config)
    return task, config, {**data_info, "sha256": digest(arrays)}, files


def complete(given, usual, otherwise, sources, kinds):
    """The settings `given`, and for the rest those that are usual for their data: a dict.

    What is usual gives way to what is given: lengths to a length, and what a choice has no use for.

    Args:
        given: a dict of settings.
        usual, otherwise: for each data set its settings, the first for no `data`; and those for any other.
        sources: the names that data may have beside a path.
        kinds: the dataclasses whose fields they are.

    Raises:
        Mistake: the data are neither.
    """
    source = given.get("data", next(iter(usual)))
    if source not in sources:
        if not source or not Path(source).exists():
            choose("data set", source, sources)
        source = str(Path(source).resolve())  # a run may be resumed from another folder
    settings = dict(usual.get(source, otherwise))
    if any(given.get(name) is not None for name in LENGTHS):
        settings |= dict.fromkeys(LENGTHS)  # what the user says of the length is all there is
    for kind in kinds:
        for name, *_ in unused(kind, given):
            settings.pop(name, None)
    return {**settings, **given, "data": source}


def configurations(recipe):
    """The dataclasses whose fields are a recipe's settings."""
    return [kind for kind in (TrainingConfig, recipe.model_config, recipe.data_config) if kind]


def rebuilt(run):
    """The task of a run, as yet without data and weights, and what its config.json says.

    Raises:
        ValueError: config.json is not one that `begin` wrote.
        FileNotFoundError, Damaged: the weights that a fine-tuning began with are missing, or damaged.
    """
    saved = run.config()
    try:
        recipe = MODELS[saved["model"]]
        model_config = recipe.model_config(**saved[saved["model"]])
        TrainingConfig(**saved["training"])
        if recipe.config_for(saved[saved["model"]], saved["data"]) != model_config:
            raise ValueError("sizes of model and data that do not fit together")
        files = files_of(run, recipe)
        rng = stream(saved["training"]["seed"], "weights")
        task = recipe.make(model_config, saved["data"], files, rng=rng)
        if "finetuned" in saved:
            begin_with(task.model, run.base(), saved["finetuned"], rng=rng)
    except Damaged:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{run.path('config.json')}: expected what `tinygen train` writes, got another file, or one of "
            f"another version of it ({error!r}); train it again"
        ) from error
    return task, saved


def begin_with(model, weights, finetuned, *, rng):
    """Give a new model what another one learned; with LoRA, only updates of it will be trained.

    Args:
        weights: name -> array.
        finetuned: what config.json says of it, a dict: the rank `lora`, None for no LoRA, and `alpha`.
        rng: the stream that drew the model's weights draws those of LoRA, after them.
    """
    model.load_state_dict(weights)
    if finetuned["lora"]:
        adapt(model, rank=finetuned["lora"], alpha=finetuned["alpha"], rng=rng)


def files_of(run, recipe):
    """What else of the data lies in a run folder, name -> bytes, such as a tokenizer."""
    return {name: run.path(name).read_bytes() for name in recipe.files}


def trained(folder, which="last"):
    """The run in `folder`, its task with the weights that it has learned but without data, and its config.

    Updates of LoRA are merged into the weights, so the model is an ordinary one.

    Raises:
        ValueError: config.json or a checkpoint is damaged, or they do not belong together.
        FileNotFoundError: there is no run, or nothing has been saved.
    """
    run = Run.open(folder)
    task, saved = rebuilt(run)
    try:
        task.model.load_state_dict(run.weights(which))
    except ValueError as error:
        raise type(error)(f"{run.folder}: {error}" if str(run.folder) not in str(error) else error) from error
    merge(task.model).eval()
    return run, task, saved


def trained_with_data(folder, which="last"):
    """As `trained`, and the task has the data that its run began with.

    Raises:
        ValueError, FileNotFoundError: as for `trained`; or the data are not the same any more.
    """
    run, task, saved = trained(folder, which)
    add_data(run, task, TrainingConfig(**saved["training"]), saved["data"])
    return run, task, saved


def add_data(run, task, config, data_info):
    """Give a task the data that its run began with.

    Raises:
        ValueError: they are not the same any more, or there never were any.
    """
    if "imported" in data_info:
        raise ValueError(
            f"{run.folder}: expected data that it was trained on, got an imported model, of which we have "
            "none; give some with --data"
        )
    arrays, _, _ = task.load(config.data, data_info, files_of(run, task))
    if digest(arrays) != data_info.get("sha256"):
        raise ValueError(
            f"{run.folder}: the data {config.data} are not those that this run began with; "
            "bring those back, or begin a new run"
        )
    task.set_data(arrays, config)


@no_grad()
def evaluated(folder, which="last", source=None, options=None, *, judged=False):
    """Measure a trained model on data that it was not trained on.

    Args:
        folder: of the run.
        which: "last" or "best", see `Run.weights`.
        source: other data than those of the run, a name or a path.
        options: the task's `measuring`, where it has such a dataclass (None: its defaults).
        judged: whether the images that it makes are judged too, see quality.py.

    Returns:
        metrics: name -> float.
        task: with the data and the model.

    Raises:
        ValueError, FileNotFoundError: as for `trained`; or the data are not like those it was trained on.
        ValueError, OSError, KeyboardInterrupt, MissingLibrary: as for `quality` and `judge`; or it makes no
            images.
    """
    run, task, saved = trained(folder, which)
    config = TrainingConfig(**saved["training"])
    if judged:
        if not hasattr(task, "made"):
            raise ValueError(
                f"quality: is not used by a {saved['model']}, which makes no images; leave it out"
            )
        by = judge(
            source or config.data
        )  # what is missing for it is told, or trained, before the longer part
    if source is None:
        add_data(run, task, config, saved["data"])
    else:
        if source not in task.sources and not Path(source).exists():
            choose("data set", source, task.sources)
        arrays, data_info, _ = task.load(source, saved["data"], files_of(run, task))
        try:
            task.check(saved["data"], data_info)
        except ValueError as error:
            raise ValueError(f"{source}: {error}; give data like {config.data}") from error
        task.set_data(arrays, config)
    rng = stream(config.seed, "evaluation")
    metrics = task.measure(rng) if options is None else task.measure(rng, options)
    if judged:
        made = task.made(min(len(task.test), MOST), rng)
        figures, remarks = quality(made, task.train, task.test, by, rng)
        metrics, task.remarks = metrics | figures, (*task.remarks, *remarks)
    return metrics, task


def one_step(task, config):
    """A function that does a training's first step, again and again, with lr 0 so that no weight changes.

    Buffers do: running statistics, the codebook of a VQ-VAE.
    """
    optimizers = config.make_optimizers(task.players)

    def step():
        batch = task.batch(0)
        lap("(minibatch)")
        take_step(task, optimizers, batch, config, 0, lr=0.0)

    return step
