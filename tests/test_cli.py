"""The command line: a training and its folder, samples from it, and every mistake told in one line."""

import csv
import html.parser
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
from tinygen.training import Damaged, Run, Session, plots, session, tour
from tinygen.training.progress import Bar, Lines, Silent, progress

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
    files = {path.name for path in run_folder.iterdir() if not path.name.startswith((".", "previous"))}
    assert files == {
        *("config.json", "metrics.csv", "checkpoint.safetensors", "state.json", "best.safetensors"),
        *("curves.png", "samples.png", "samples", "report.html"),
    }
    assert [path.name for path in (run_folder / "samples").iterdir()] == ["000015.png"]
    config = json.loads((run_folder / "config.json").read_text())
    assert config["model"] == "vae" and config["tinygen"] == tinygen.__version__
    sizes = {"height": 8, "width": 8, "levels": 17, "hidden": 16, "latent": 8, "likelihood": "cross-entropy"}
    assert config["vae"].items() >= sizes.items()
    assert config["training"]["data"] == "digits" and config["training"]["epochs"] == 1
    rows = list(csv.DictReader((run_folder / "metrics.csv").open()))
    assert [row["epoch"] for row in rows] == ["1"] and rows[0]["step"] == "15"
    assert 15 < float(rows[0]["test_loss"]) < 45
    for name in ("curves.png", "samples.png", "samples/000015.png"):
        content = (run_folder / name).read_bytes()
        assert content.startswith(PNG)
        assert len(content) > 10_000, f"{name} shows next to nothing"


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(run_folder, tmp_path):
    assert train(tmp_path, "--name", "same") == 0
    assert train(tmp_path, "--name", "other", "--seed", "1") == 0
    names = (
        "checkpoint.safetensors",
        "best.safetensors",
        "metrics.csv",
        "samples.png",
        "curves.png",
        "config.json",
    )
    for name in names:
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
    assert re.search(r"epoch 1, step 15, loss [\d.]+, test loss [\d.]+, [\d.]+ steps/s, 0 s left", shown.err)
    assert re.search(
        r"test kl [\d.]+, test active units \d \(losses in nats an image, cross-entropy with", shown.out
    )
    assert str(tmp_path / "shown" / "report.html") in shown.out


def test_a_code_of_two_dimensions_is_drawn_as_a_plane(tmp_path):
    assert train(tmp_path, "--name", "plane", "--latent", "2") == 0
    assert (tmp_path / "plane" / "samples.png").read_bytes().startswith(PNG)


def test_a_training_that_diverges_ends_in_one_line_and_exit_code_1(tmp_path, capsys):
    assert train(tmp_path, "--lr", "1e9", "--name", "wild") == 1
    assert re.fullmatch(
        r"tinygen: train: step \d+: .* not finite .*; try a smaller lr, or clip\n".replace(
            "; try", ".*: try"
        ),
        capsys.readouterr().err,
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
        (["train", "diffusion"], "unknown model 'diffusion'; there is: vae, vqvae, gan, gpt,"),
        (["train", "--resume"], "train --resume: expected a run folder, got none"),
        (["train", "--resume", "nowhere"], "nowhere: expected a run folder, but there is no such folder"),
        (["train", "--resume", "nowhere", "--lr", "1"], "unknown option '--lr'; did you mean"),
        (
            ["train", "vae", "--schedule", "cosin"],
            "--schedule: unknown schedule 'cosin'; did you mean cosine?",
        ),
        (
            ["train", "vae", "--evaluate-evry", "3"],
            "unknown option '--evaluate-evry'; did you mean --evaluate-every?",
        ),
        (["train", "vae", "--weight-decay", "1"], "weight_decay: is not used by the optimizer adam"),
        (["evaluate"], "evaluate: expected a run folder, got none"),
        (
            ["evaluate", "nowhere", "--checkpoint", "bets"],
            "--checkpoint: unknown checkpoint 'bets'; did you mean best?",
        ),
        (["profile", "vea"], "unknown model 'vea'; did you mean vae?"),
        (["profile", "vae", "--repeats", "0"], "repeats: expected at least 1, got 0"),
        (["ops", "matmull"], "ops: expected an operation, got 'matmull'; did you mean matmul?"),
        (["tour", "--minutes", "0"], "minutes: expected a number above 0, got 0.0"),
        (["tour", "--epochs", "2"], "unknown option '--epochs'"),
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
        (["sample"], "sample: expected a run folder, got none"),
        (["sample", "nowhere"], "nowhere: expected a run folder, but there is no such folder"),
        (
            ["sample", "nowhere", "--cehckpoint", "3"],
            "unknown option '--cehckpoint'; did you mean --checkpoint?",
        ),
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
    assert refused(capsys, *argv).startswith(
        f"{run_folder}: there is such a run; choose another --name, or go"
    )
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
    pytest.importorskip("pooch")
    monkeypatch.delenv("TINYGEN_DATA", raising=False)
    monkeypatch.setenv("TINYGEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TINYGEN_MIRROR", "nowhere")
    monkeypatch.setattr("tinygen.data.downloads.print", lambda *args, **more: None, raising=False)
    assert "set TINYGEN_DATA to a folder that holds mnist/" in refused(
        capsys, "train", "vae", "--data", "mnist", "--out", tmp_path / "runs"
    )
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("library", ["sklearn.datasets", "matplotlib.figure", "safetensors.numpy", "tqdm"])
def test_a_missing_library_is_told_before_anything_is_made(tmp_path, monkeypatch, capsys, library):
    monkeypatch.setitem(sys.modules, library, None)
    name = {"sklearn": "scikit-learn"}.get(library.partition(".")[0], library.partition(".")[0])
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
    assert "nothing has been saved yet" in refused(capsys, "sample", tmp_path)
    checkpoint = (run_folder / "checkpoint.safetensors").read_bytes()
    (tmp_path / "state.json").write_bytes((run_folder / "state.json").read_bytes())
    (tmp_path / "checkpoint.safetensors").write_bytes(checkpoint[:-1])
    assert "checkpoint.safetensors: is damaged" in refused(capsys, "sample", tmp_path)
    (tmp_path / "checkpoint.safetensors").write_bytes(checkpoint)
    config["vae"]["hidden"] = 17
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert "encoder.layers.0.weight is (17, 64) float32, got (16, 64) float32" in refused(
        capsys, "sample", tmp_path
    )


# help, and how the program is started


def test_help_names_every_option_with_its_defaults(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["train", "vae", "--help"])
    assert ended.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    options = (
        "data steps epochs minutes batch accumulate lr schedule lr-end clip ema seed hidden name out quiet"
    )
    for option in options.split():
        assert f" --{option} " in shown
    assert "dimensions of the code z (default: 20, 8 for digits, 10 for sprites)" in shown
    assert (
        "of the learning rate: constant, cosine, inverse-sqrt (default: constant, cosine for sprites)"
        in shown
    )
    assert "what to train on: digits, mnist, sprites, or a path (default: digits)" in shown
    assert "--height" not in shown and "--conditions" not in shown


def test_help_says_the_usual_default_and_then_for_which_data_there_is_another(capsys):
    with pytest.raises(SystemExit):
        main(["train", "gpt", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "numbers of each token between the blocks (default: 128)" in shown
    assert "updates of the weights (default: 2000, 5000 for addition" in shown
    assert "what a token is: characters, bytes, bpe (default: characters, bpe for python-docs, bpe" in shown
    assert "(a new line) (default: '=' for addition, '\\n\\nSummary:\\n' for python-entries)" in shown
    assert "where cosine ends (0) (default: 0.0001, none for addition" in shown
    assert "--bias, --no-bias" in shown


@pytest.mark.parametrize("argv", [[], ["--help"], ["-h"]])
def test_without_a_command_the_commands_are_told(capsys, argv):
    assert main(argv) == 0
    shown = capsys.readouterr().out
    commands = (
        "tour",
        "train MODEL",
        "train --resume RUN",
        "sample RUN",
        "evaluate RUN",
        "interpolate RUN A B",
        "traverse RUN",
        "rate-distortion RUN RUN ...",
        "profile MODEL",
        "ops",
    )
    assert all(f"\n  {command}" in shown for command in commands)


def test_the_module_runs_as_a_program():
    command = [sys.executable, "-m", "tinygen", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"tinygen {tinygen.__version__}\n" and done.stderr == ""


# going on


def test_ctrl_c_saves_and_resume_goes_on_to_the_end(tmp_path, capsys):
    """A real SIGINT, sent when the training is under way. It would last for hours."""
    samples = tmp_path / "long" / "samples" / "000015.png"

    def interrupt():
        for _ in range(6000):
            if samples.exists():
                break
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    before, watcher = signal.getsignal(signal.SIGINT), threading.Thread(target=interrupt, daemon=True)
    watcher.start()
    argv = ["train", "vae", "--hidden", "16", "--epochs", "1000000", "--out", str(tmp_path), "--name", "long"]
    assert main(argv) == 130
    watcher.join()
    told = re.search(
        r"stopped at step (\d+), and saved; go on with: tinygen (train --resume .*)\n",
        capsys.readouterr().out,
    )
    assert signal.getsignal(signal.SIGINT) is before
    steps = int(told[1])
    assert steps < 1_000_000 and json.loads((tmp_path / "long" / "state.json").read_text())["step"] == steps
    assert main([*told[2].split(), "--steps", str(steps + 20)]) == 0
    rows = list(csv.DictReader((tmp_path / "long" / "metrics.csv").open()))
    assert int(rows[-1]["step"]) == steps + 20
    assert (tmp_path / "long" / "report.html").exists()
    assert main(["sample", str(tmp_path / "long")]) == 0


def test_a_resumed_run_is_the_run_that_was_not_stopped(tmp_path, run_folder, capsys):
    assert train(tmp_path, "--name", "short", "--steps", "7") == 0
    assert main(["train", "--resume", str(tmp_path / "short"), "--epochs", "1", "--quiet"]) == 0
    assert main(["train", "--resume", str(tmp_path / "short")]) == 0  # nothing is left to do
    assert "trained for 1 epochs, 15 steps" in capsys.readouterr().out
    short, whole = (Run(folder).load().arrays for folder in (tmp_path / "short", run_folder))
    assert all(np.array_equal(short[name], whole[name]) for name in whole)


def test_data_that_are_not_what_they_were_are_refused(tmp_path, capsys):
    np.savez(tmp_path / "mine.npz", images=np.random.default_rng(0).random((40, 4, 4), dtype=np.float32))
    argv = [
        "train",
        "vae",
        *QUICK,
        "--data",
        tmp_path / "mine.npz",
        "--out",
        tmp_path,
        "--name",
        "one",
        "--quiet",
    ]
    assert main([str(word) for word in argv]) == 0
    capsys.readouterr()
    np.savez(tmp_path / "mine.npz", images=np.random.default_rng(1).random((40, 4, 4), dtype=np.float32))
    for command in (["train", "--resume"], ["evaluate"]):
        assert "are not those that this run began with" in refused(capsys, *command, tmp_path / "one")


def test_a_resume_that_is_refused_changes_nothing(tmp_path, run_folder, capsys):
    config = (run_folder / "config.json").read_bytes()
    told = refused(capsys, "train", "--resume", run_folder, "--steps", 5)
    assert (
        told
        == f"{run_folder}: expected a length of at least the 15 steps that are made, got 5; give a longer one"
    )
    with Run(run_folder).alone():
        told = refused(capsys, "train", "--resume", run_folder, "--steps", 50)
    assert told == f"{run_folder}: another process is training here; let it end"
    assert (run_folder / "config.json").read_bytes() == config


def test_what_is_damaged_is_told_in_one_line(tmp_path, capsys):
    assert train(tmp_path, "--name", "one") == 0
    capsys.readouterr()
    folder = tmp_path / "one"
    (folder / "samples" / ".DS_Store").write_bytes(b"not ours")
    (folder / "metrics.csv").write_text("nonsense")
    assert "metrics.csv: expected a table of numbers" in refused(capsys, "train", "--resume", folder)
    (folder / "metrics.csv").unlink()
    assert main(["train", "--resume", str(folder)]) == 0  # nothing to do but the pictures
    assert "metrics.csv: has 0 of 1 rows" in capsys.readouterr().err
    for name in ("state.json", "previous.json"):
        (folder / name).write_bytes(b"{}")
    for command in (["train", "--resume"], ["evaluate"], ["sample"]):
        assert "state.json: is damaged" in refused(capsys, *command, folder)
    (folder / "best.safetensors").write_bytes(b"")
    assert "best.safetensors: is damaged" in refused(capsys, "sample", folder, "--checkpoint", "best")
    for text in ("[" * 100_000, '{"model": "vae", "vae": {"hiden": 3}, "data": {}, "training": {}}'):
        (folder / "config.json").write_text(text)
        assert "config.json: expected" in refused(capsys, "sample", folder)


def test_a_library_that_is_missing_is_told_before_a_run_goes_on(tmp_path, monkeypatch, capsys):
    assert train(tmp_path, "--name", "one", "--steps", "3") == 0
    capsys.readouterr()
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert "matplotlib is not installed" in refused(
        capsys, "train", "--resume", tmp_path / "one", "--steps", 9
    )
    assert Run(tmp_path / "one").load().state["step"] == 3


@pytest.mark.skipif(os.name != "posix", reason="closes streams as a shell does")
@pytest.mark.parametrize(
    "ending", ["2>&-", ">&-", "2>/dev/full", ">/dev/full", "2>&1 | head -n 1", ">&- 2>&-"]
)
def test_a_training_does_not_depend_on_who_listens(tmp_path, ending):
    command = f"{sys.executable} -m tinygen train vae --hidden 16 --steps 30 --out . --name run {ending}"
    subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, check=False, timeout=300)
    assert Run(tmp_path / "run").load().state["step"] == 30
    assert (tmp_path / "run" / "report.html").exists()


def test_settings_that_nobody_knows_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"unknown setting 'hiden'; did you mean hidden\?"):
        Session.begin("vae", {"hiden": 3}, out=tmp_path)
    with pytest.raises(ValueError, match=r"unknown setting 'height'"):
        Session.begin("vae", {"height": 3}, out=tmp_path)
    with pytest.raises(ValueError, match=r"unknown model 'vea'"):
        Session.begin("vea", {}, out=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_length_of_the_user_stands_instead_of_the_recipes(tmp_path):
    for given in ({"steps": 3}, {"minutes": 0.5}, {"epochs": 2, "minutes": 1.0}):
        config = session.prepared("vae", given)[1]
        assert {name: getattr(config, name) for name in session.LENGTHS} == {
            **dict.fromkeys(session.LENGTHS),
            **given,
        }
    assert session.prepared("vae", {})[1].epochs == 400


@pytest.mark.parametrize("source", ["digits", "sprites"])
def test_a_choice_of_the_user_drops_what_the_recipe_has_for_another(source):
    task, *_ = session.prepared("gan", {"data": source, "network": "mlp"})
    assert task.model.config.hidden == 400 and task.model.config.channels is None
    _, config, *_ = session.prepared("gan", {"data": source, "optimizer": "sgd"})
    assert config.beta1 is None and config.ema == 0.999
    with pytest.raises(ValueError, match=r"beta1: is not used by the optimizer sgd; .* adam or adamw"):
        session.prepared("gan", {"data": source, "optimizer": "sgd", "beta1": 0.5})


def test_a_profiled_step_changes_no_weight():
    task, config, *_ = session.prepared("vae", {"hidden": 16})
    before, step = task.model.state_dict(), session.one_step(task, config)
    for _ in range(3):
        step()
    after = task.model.state_dict()
    assert all(np.array_equal(after[name], before[name]) for name in before)


def test_the_options_of_a_sample_are_those_of_its_model(run_folder, capsys):
    told = refused(capsys, "sample", run_folder, "--cuont", 3)
    assert told == "unknown option '--cuont'; did you mean --count?"
    assert main(["sample", "--count", "3", "--seed", "9", str(run_folder)]) == 0  # in any order


# evaluate


def test_evaluate_repeats_the_figures_of_the_last_row(run_folder, capsys):
    row = Run(run_folder).metrics()[-1]
    for which in ("last", "best"):
        assert main(["evaluate", str(run_folder), "--json", "--checkpoint", which]) == 0
        figures = json.loads(capsys.readouterr().out)
        expected = {name[5:]: value for name, value in row.items() if name.startswith("test_")}
        assert {name: figures[name] for name in expected} == pytest.approx(expected, rel=1e-6)
    assert main(["evaluate", str(run_folder)]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"reconstruction +[\d.]+\n", shown)
    assert (
        "(losses in nats an image, cross-entropy with grey pixels, no likelihood; on data not trained on)"
        in shown
    )


def test_evaluate_takes_other_data_of_the_same_shape(tmp_path, run_folder, capsys):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "mine.npz", images=rng.random((40, 8, 8), dtype=np.float32))
    np.savez(tmp_path / "wide.npz", images=rng.random((40, 8, 9), dtype=np.float32))
    assert main(["evaluate", str(run_folder), "--data", str(tmp_path / "mine.npz"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["loss"] > 40  # noise is not what it has learnt
    told = refused(capsys, "evaluate", run_folder, "--data", tmp_path / "wide.npz")
    assert "wide.npz: expected images of shape [8, 8], got [8, 9]; give data like digits" in told


# looking inside


def test_profile_prints_a_table_of_operations_both_ways(capsys):
    assert main(["profile", "vae", "--hidden", "16", "--repeats", "2"]) == 0
    shown = capsys.readouterr().out
    for pattern in (r"linear +forward +5 ", r"linear +backward +5 ", r"\(optimizer\) +elsewhere", "GFLOP/s"):
        assert re.search(pattern, shown), pattern
    assert main(["profile", "vae", "--hidden", "16", "--repeats", "2", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    products = {row["phase"]: row["flops"] for row in rows if row["operation"] == "linear"}
    # 64 to 16, twice 16 to 8, 8 to 16, 16 to 64; for each two products backward, but none for the images
    forward = 2 * 100 * 16 * (64 + 8 + 8 + 8 + 64)
    assert products == {"forward": forward, "backward": 2 * forward - 2 * 100 * 16 * 64}


def test_ops_lists_the_registry_and_describes_one(capsys):
    assert main(["ops"]) == 0
    assert "x: g * y" in capsys.readouterr().out
    assert main(["ops", "matmul"]) == 0
    assert "tg.matmul(x, y" in capsys.readouterr().out


# the tour


def test_the_tour_trains_every_stop_and_leaves_one_page(tmp_path, capsys):
    for number in (1, 2):
        assert main(["tour", "--minutes", "0.002", "--out", str(tmp_path), "--quiet"]) == 0
        page = tmp_path / f"tour-{number}" / "index.html"
        assert capsys.readouterr().out == f"{page}\n"
    text = page.read_text(encoding="utf-8")
    for model, name, _ in tour.STOPS:
        folder = page.parent / f"{model}-{name}"
        assert (
            f'href="{folder.name}/report.html"' in text and (folder / "report.html").stat().st_size > 50_000
        )
        assert f"tinygen sample {folder}" in text
        assert json.loads((folder / "config.json").read_text())["training"]["minutes"] == 0.002
    assert text.count("<figure>") == len(tour.STOPS)


def test_a_report_needs_nothing_beside_it_and_escapes_what_it_shows(tmp_path):
    assert train(tmp_path, "--name", "a<b>&c") == 0
    text = (tmp_path / "a<b>&c" / "report.html").read_text(encoding="utf-8")
    parser = Parser()
    parser.feed(text)
    assert parser.open == [] and "<b>" not in text and "a&lt;b&gt;&amp;c" in text
    assert parser.sources and all(source.startswith("data:image/png;base64,") for source in parser.sources)
    for word in ("Curves", "Samples over time", "after 15 steps", "Configuration", "linear", "hidden"):
        assert word in text


class Parser(html.parser.HTMLParser):
    """Checks that tags are closed in order, and collects where pictures come from."""

    def __init__(self):
        super().__init__()
        self.open, self.sources = [], []

    def handle_starttag(self, tag, attributes):
        if tag == "img":
            self.sources.append(dict(attributes)["src"])
        elif tag not in ("meta", "html"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


# the small parts


def test_metrics_come_back_as_they_were_written(tmp_path):
    run = Run.create(tmp_path, {}, prefix="run")
    assert run.metrics() == []
    rows = [{"epoch": 0.5, "step": 12_345_678 + i, "loss": 1 / (i + 1)} for i in range(3)]
    rows[1]["rare"] = 2.0  # a metric that not every row has
    run.save_metrics(rows)
    lines = "epoch,step,loss,rare", "0.5,12345678,1,", "0.5,12345679,0.5,2", "0.5,12345680,0.3333333,"
    assert (run.folder / "metrics.csv").read_text().splitlines() == list(lines)
    assert [row["step"] for row in run.metrics()] == [row["step"] for row in rows]
    assert [row.get("rare") for row in run.metrics()] == [None, 2.0, None]
    before = (run.folder / "metrics.csv").read_bytes()
    run.save_metrics(run.metrics())
    assert (run.folder / "metrics.csv").read_bytes() == before
    for text in ("epoch,step\n0,one\n", "loss\n1\n", "epoch,step\n0\n", "", "\xff"):
        (run.folder / "metrics.csv").write_text(text)
        with pytest.raises(Damaged, match=r"metrics.csv: expected a table of numbers .* delete it"):
            run.metrics()


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


def test_every_curve_has_its_own_unit(monkeypatch):
    figures = []
    monkeypatch.setattr(plots, "save_figure", lambda figure, path: figures.append(figure))
    row = {"epoch": 1.0, "train_loss": 2.0, "train_gradient": 3.0, "test_loss": 2.5, "test_perplexity": 12.0}
    plots.save_curves([row], None, unit="nats a token", units={"perplexity": "tokens"})
    labels = {axes.get_title(loc="left"): axes.get_ylabel() for axes in figures[0].axes}
    assert labels == {"Loss": "nats a token", "Gradient": "norm", "Perplexity": "tokens"}


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
    for columns in (60, 100):
        monkeypatch.setattr(sys, "stderr", terminal := Terminal())
        monkeypatch.setenv("COLUMNS", str(columns))
        with progress("run") as bar:
            assert type(bar) is Bar
            bar.begin(0.0)
            bar.bar.ncols, bar.bar.dynamic_ncols = columns, None
            for step in range(1, 11):
                bar.step({"loss": 20.5, "kl": 1.0}, done=step / 10)
                if step == 5:
                    bar.evaluated({"test_loss": 21.25}, done=0.5)
            assert bar.bar.n == Bar.PARTS
        assert "100%" in terminal.text
        assert re.search(r"loss 20.5, test 21.25, [\d,]+ steps/s, .* left", terminal.text)
        lines = re.split(r"[\r\n]", terminal.text)
        assert max(map(len, lines)) <= columns


def test_plain_lines_tell_the_time_that_is_left_of_a_run_that_goes_on(monkeypatch):
    now = iter([0.0, 100.0, 110.0])
    monkeypatch.setattr("time.monotonic", lambda: next(now))
    lines = Lines(terminal := Terminal(), "run")
    lines.begin(0.5)
    for _ in range(20):
        lines.step({}, done=0.6)
    lines.evaluated({"epoch": 2.5, "step": 1200, "train_loss": 1.0, "test_loss": 1.5}, done=0.6)
    assert terminal.text == "run\nepoch 2.5, step 1,200, loss 1, test loss 1.5, 2 steps/s, 40 s left\n"
