"""The command line: a training and its folder, samples from it, and every mistake told in one line."""

import csv
import importlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import tinygen
from tinygen.cli import main
from tinygen.training import Run, plots
from tinygen.training.progress import Bar, Lines, Silent, progress
from tinygen.training.runs import replacing, write

for library in ("sklearn", "matplotlib", "safetensors", "tqdm"):
    pytest.importorskip(library)

QUICK = ("--epochs", "1", "--hidden", "16")
PNG = b"\x89PNG\r\n\x1a\n"


def train(out, *options):
    """`tinygen train vae` for one epoch of a small model, quietly; the exit code."""
    return main(["train", "vae", *QUICK, "--quiet", "--out", str(out), *options])


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A run that several tests look at and none changes."""
    out = tmp_path_factory.mktemp("runs")
    assert train(out, "--name", "shared") == 0
    return out / "shared"


def refused(capsys, *argv):
    """Run a command that must be refused as a mistake: one line on stderr, exit code 2. Returns the line."""
    assert main([str(word) for word in argv]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert re.fullmatch(r"tinygen: [^\n]+\n", shown.err), shown.err
    return shown.err.removeprefix("tinygen: ").rstrip()


# what a training leaves behind


def test_train_leaves_config_metrics_weights_and_pictures(run_folder):
    files = {path.name for path in run_folder.iterdir()}
    assert files == {"config.json", "metrics.csv", "checkpoint.safetensors", "curves.png", "samples.png"}
    config = json.loads((run_folder / "config.json").read_text())
    assert config["model"] == "vae" and config["tinygen"] == tinygen.__version__
    assert config["vae"] == {"inputs": 64, "hidden": 16, "latent": 8}
    assert config["training"]["data"] == "digits" and config["training"]["epochs"] == 1
    rows = list(csv.DictReader((run_folder / "metrics.csv").open()))
    assert [row["epoch"] for row in rows] == ["1"] and rows[0]["step"] == "15"
    assert 15 < float(rows[0]["test_loss"]) < 45
    for name in ("curves.png", "samples.png"):
        content = (run_folder / name).read_bytes()
        assert content.startswith(PNG)
        assert len(content) > 10_000, f"{name} shows next to nothing"


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(run_folder, tmp_path):
    assert train(tmp_path, "--name", "same") == 0
    assert train(tmp_path, "--name", "other", "--seed", "1") == 0
    for name in ("checkpoint.safetensors", "metrics.csv", "samples.png", "curves.png", "config.json"):
        expected = (run_folder / name).read_bytes()
        assert (tmp_path / "same" / name).read_bytes() == expected, name
        assert (tmp_path / "other" / name).read_bytes() != expected, name


def test_runs_without_a_name_count_up(tmp_path, capsys):
    assert train(tmp_path) == 0 and train(tmp_path) == 0
    expected = [tmp_path / "vae-digits-1", tmp_path / "vae-digits-2"]
    assert capsys.readouterr().out.split() == [str(path) for path in expected]
    assert all(path.is_dir() for path in expected)


def test_train_shows_progress_on_stderr_and_the_result_on_stdout(tmp_path, capsys):
    assert main(["train", "vae", *QUICK, "--out", str(tmp_path), "--name", "shown"]) == 0
    shown = capsys.readouterr()
    assert re.search(r"epoch 1: loss [\d.]+, test [\d.]+ nats, \d+ steps/s, 0 s left", shown.err)
    assert re.search(
        r"test loss [\d.]+ nats an image: reconstruction [\d.]+, KL divergence [\d.]+", shown.out
    )
    assert str(tmp_path / "shown" / "samples.png") in shown.out


def test_a_code_of_two_dimensions_is_drawn_as_a_plane(tmp_path):
    assert train(tmp_path, "--name", "plane", "--latent", "2") == 0
    assert (tmp_path / "plane" / "samples.png").read_bytes().startswith(PNG)


def test_a_training_that_diverges_ends_in_one_line_and_exit_code_1(tmp_path, capsys):
    assert train(tmp_path, "--lr", "1e9", "--name", "wild") == 1
    assert re.fullmatch(
        r"tinygen: train: expected a finite loss, .* at step \d+ .*\n", capsys.readouterr().err
    )


# sample


def test_sample_draws_into_the_run_folder_and_says_where(tmp_path, capsys):
    train(tmp_path, "--name", "one")
    capsys.readouterr()
    pictures = []
    for seed, count in ((0, 64), (5, 64), (6, 3)):
        argv = ["sample", str(tmp_path / "one"), "--seed", str(seed), "--count", str(count)]
        path = tmp_path / "one" / f"samples-{seed}.png"
        assert main(argv) == 0
        assert capsys.readouterr().out == f"{path}\n"
        pictures.append(path.read_bytes())
        assert main(argv) == 0 and path.read_bytes() == pictures[-1]
        capsys.readouterr()
    assert all(picture.startswith(PNG) for picture in pictures)
    assert len(set(pictures)) == 3


def test_sample_needs_no_data(tmp_path, monkeypatch):
    train(tmp_path, "--name", "one")
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    assert main(["sample", str(tmp_path / "one")]) == 0


# mistakes


@pytest.mark.parametrize(
    "argv, message",
    [
        (["tarin"], "unknown command 'tarin'; did you mean train?"),
        (["--verison"], "unknown command '--verison'; did you mean --version?"),
        (["train", "vea"], "unknown model 'vea'; did you mean vae?"),
        (["train", "diffusion"], "unknown model 'diffusion'; there is: vae"),
        (["train", "vae", "--epohcs", "3"], "unknown option '--epohcs'; did you mean --epochs?"),
        (["train", "vae", "--epoch", "3"], "unknown option '--epoch'; did you mean --epochs?"),
        (["train", "vae", "--hiden=3"], "unknown option '--hiden'; did you mean --hidden?"),
        (["train", "vae", "--data", "mnits"], "unknown data set 'mnits'; did you mean mnist?"),
        (["train", "vae", "--epochs", "ten"], "--epochs: expected a whole number, got 'ten'"),
        (["train", "vae", "--epochs"], "--epochs: expected one argument"),
        (["train", "vae", "--lr", "fast"], "--lr: expected a number, got 'fast'"),
        (["train", "vae", "--epochs", "0"], "epochs: expected at least 1, got 0"),
        (["train", "vae", "--latent", "0"], "latent: expected at least 1, got 0"),
        (["train", "vae", "extra"], "expected an option, got 'extra'"),
        (["train", "vae", "--name", "a/b"], "name: expected a plain folder name, got 'a/b'"),
        (["train", "vae", "--name", ".."], "name: expected a plain folder name, got '..'"),
        (["sample"], "sample: expected a run folder first, got none"),
        (["sample", "nowhere"], "nowhere: expected a run folder, but there is no such folder"),
        (["sample", "nowhere", "--cuont", "3"], "unknown option '--cuont'; did you mean --count?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_told_in_one_line(tmp_path, monkeypatch, capsys, argv, message):
    monkeypatch.chdir(tmp_path)
    assert refused(capsys, *argv).startswith(message)
    assert not (tmp_path / "runs" / "vae-digits-1").exists()


def test_an_existing_run_is_not_overwritten(run_folder, capsys):
    before = (run_folder / "checkpoint.safetensors").stat().st_mtime_ns
    argv = ["train", "vae", *QUICK, "--out", run_folder.parent, "--name", run_folder.name]
    assert refused(capsys, *argv) == f"{run_folder}: there is such a run; choose another --name"
    assert (run_folder / "checkpoint.safetensors").stat().st_mtime_ns == before


def test_a_place_that_cannot_be_written_is_told(tmp_path, capsys):
    (tmp_path / "file").write_text("here already")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        assert "no folder can be made here" in refused(capsys, "train", "vae", *QUICK, "--out", out)
    if os.geteuid() != 0:  # root may write anywhere
        tmp_path.chmod(0o500)
        assert "Permission denied" in refused(capsys, "train", "vae", *QUICK, "--out", tmp_path)
        tmp_path.chmod(0o700)


def test_mnist_without_its_folder_says_what_to_set(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("TINYGEN_DATA", raising=False)
    assert "set it to the folder that holds mnist/" in refused(
        capsys, "train", "vae", "--data", "mnist", "--out", tmp_path / "runs"
    )
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("library", ["sklearn.datasets", "matplotlib.figure", "safetensors.numpy", "tqdm"])
def test_a_missing_library_is_told_before_anything_is_made(tmp_path, monkeypatch, capsys, library):
    monkeypatch.setitem(sys.modules, library, None)
    name = library.partition(".")[0]
    expected = f'{name} is not installed; do: pip install "tinygen[app]"'
    assert refused(capsys, "train", "vae", *QUICK, "--out", tmp_path / "runs") == expected
    assert not (tmp_path / "runs").exists()


def test_sample_refuses_folders_that_hold_something_else(tmp_path, run_folder, capsys):
    assert "there is no config.json in it" in refused(capsys, "sample", tmp_path)
    (tmp_path / "config.json").write_text("{")
    assert "expected JSON" in refused(capsys, "sample", tmp_path)
    (tmp_path / "config.json").write_text("[1]")
    assert "expected what `tinygen train` writes" in refused(capsys, "sample", tmp_path)
    (tmp_path / "config.json").write_text('{"model": "vae"}')
    assert "expected what `tinygen train` writes" in refused(capsys, "sample", tmp_path)
    config = json.loads((run_folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert "no checkpoint yet" in refused(capsys, "sample", tmp_path)
    checkpoint = (run_folder / "checkpoint.safetensors").read_bytes()
    (tmp_path / "checkpoint.safetensors").write_bytes(checkpoint[:-1])
    assert "the checkpoint is damaged" in refused(capsys, "sample", tmp_path)
    (tmp_path / "checkpoint.safetensors").write_bytes(checkpoint)
    config["vae"]["hidden"] = 17
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert "encoder.weight is (17, 64) float32, got (16, 64) float32" in refused(capsys, "sample", tmp_path)


# help, and how the program is started


def test_help_names_every_option_with_its_defaults(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["train", "vae", "--help"])
    assert ended.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    options = ("data", "epochs", "minutes", "batch", "lr", "seed", "hidden", "latent", "name", "out", "quiet")
    for option in options:
        assert f" --{option} " in shown
    assert "dimensions of the code z (default: 8 for digits, 20 for mnist)" in shown
    assert "--inputs" not in shown


@pytest.mark.parametrize("argv", [[], ["--help"], ["-h"]])
def test_without_a_command_the_commands_are_told(capsys, argv):
    assert main(argv) == 0
    shown = capsys.readouterr().out
    assert "tinygen train MODEL" in shown and "tinygen sample RUN" in shown


def test_the_module_runs_as_a_program():
    command = [sys.executable, "-m", "tinygen", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"tinygen {tinygen.__version__}\n" and done.stderr == ""


def test_ctrl_c_finishes_the_step_and_saves(tmp_path, capsys):
    """A real SIGINT, sent as soon as the first checkpoint is there. The training would last for hours."""
    checkpoint = tmp_path / "long" / "checkpoint.safetensors"

    def interrupt():
        while not checkpoint.exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    before, watcher = signal.getsignal(signal.SIGINT), threading.Thread(target=interrupt, daemon=True)
    watcher.start()
    argv = ["train", "vae", "--hidden", "16", "--epochs", "1000000", "--out", str(tmp_path), "--name", "long"]
    assert main(argv) == 130
    watcher.join()
    assert re.search(r"interrupted, and saved, after [\d.]+ epochs", capsys.readouterr().out)
    assert signal.getsignal(signal.SIGINT) is before
    rows = list(csv.DictReader((tmp_path / "long" / "metrics.csv").open()))
    assert int(rows[-1]["step"]) < 1_000_000
    assert main(["sample", str(tmp_path / "long")]) == 0


# the small parts


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "file"
    write(path, b"old")
    with pytest.raises(RuntimeError, match="killed"), replacing(path) as temporary:
        temporary.write_bytes(b"ne")
        raise RuntimeError("killed")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]
    write(path, b"new")
    assert path.read_bytes() == b"new" and list(tmp_path.iterdir()) == [path]


def test_metrics_and_weights_come_back_as_they_were_written(tmp_path):
    run = Run.create(tmp_path, prefix="run")
    for step in range(3):
        run.add_metrics({"step": step, "loss": 1 / (step + 1)})
    assert (run.folder / "metrics.csv").read_text() == "step,loss\n0,1\n1,0.5\n2,0.3333333\n"
    weights = {"a": np.arange(6, dtype=np.float32).reshape(2, 3).T, "b.c": np.zeros(0)}
    run.save_weights(weights)
    read = Run(run.folder).weights()
    assert read.keys() == weights.keys()
    for name, array in weights.items():
        assert np.array_equal(read[name], array) and read[name].dtype == array.dtype


def test_every_pixel_of_a_digit_becomes_a_sharp_square(tmp_path):
    images = np.random.default_rng(0).random((2, 3, 8, 8), dtype=np.float32)
    plots.save_panels([("Title", "subtitle", images)], tmp_path / "panel.png")
    drawn = importlib.import_module("matplotlib.image").imread(tmp_path / "panel.png")[..., 0]
    for row, column in np.ndindex(2, 3):
        top = plots.HEADER + row * (plots.TILE + plots.GAP)
        left = plots.MARGIN + column * (plots.TILE + plots.GAP)
        tile = drawn[top : top + plots.TILE, left : left + plots.TILE]
        ink = images[row, column].repeat(plots.TILE // 8, axis=0).repeat(plots.TILE // 8, axis=1)
        np.testing.assert_allclose(tile, 1 - ink, atol=0.501 / 255)  # the nearest of 256 greys
    assert drawn.shape[0] == plots.HEADER + 2 * plots.TILE + plots.GAP + plots.MARGIN


class Terminal:
    """A stream that says it is a terminal, and remembers what was written to it."""

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text
        return len(text)

    def flush(self):
        pass

    def isatty(self):
        return True


def test_progress_is_a_bar_on_a_terminal_lines_elsewhere_and_nothing_when_quiet(monkeypatch):
    assert type(progress("run", quiet=True)) is Silent
    assert type(progress("run")) is Lines
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with progress("run") as bar:
        assert type(bar) is Bar
        for step in range(1, 11):
            bar.step(20.5, done=step / 10)
            if step == 5:
                bar.evaluated({"test_loss": 21.25}, done=0.5)
        assert bar.bar.n == Bar.PARTS
    assert "run" in terminal.text and "100%" in terminal.text
    assert re.search(r"loss 20.50, test 21.25 nats, \d+ steps/s, .* gone, .* left", terminal.text)
