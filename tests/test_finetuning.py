"""Fine-tuning: it begins with what was learned, needs nothing else, is resumed, and its base is untouched."""

import json
import shutil

import numpy as np
import pytest
from test_loop import KillAt, Killed, left_behind

from tinygen import nn
from tinygen.cli import main
from tinygen.training import Damaged, Run, Session, session
from tinygen.training.finetuning import finetune

for library in ("matplotlib", "safetensors", "tqdm"):
    pytest.importorskip(library)

BASE = {"layers": 1, "heads": 2, "width": 16, "context": 24, "batch": 4, "steps": 100, "warmup": 9}
# With everything that can be in a checkpoint.
FULL = {
    "batch": 4,
    "steps": 8,
    "warmup": 2,
    "evaluate_every": 3,
    "ema": 0.9,
    "accumulate": 2,
    "save_seconds": 0,
}
HOW = {"whole": {}, "lora": {"lora": 2, "alpha": 3.0}}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a text, a file of pairs, and a run on the text that several tests begin with."""
    place = tmp_path_factory.mktemp("finetuning")
    (place / "text.txt").write_text("the quick brown fox jumps over the lazy dog;\n" * 40)
    words = "the quick brown fox jumps over lazy dog".split()
    (place / "pairs.txt").write_text("".join(f"{a} {b}\t{b}\n" for a in words for b in words[:4]))
    given = {**BASE, "data": str(place / "text.txt"), "dropout": 0.1, "lr": 0.01}
    Session.begin("gpt", given, out=place, name="base").train()
    return place


def begun(place, tmp_path, name="tuned", data="pairs.txt", **given):
    """The Session of a fine-tuning of the base."""
    pairs = {"pairs": True, "exact_on": 2} if data == "pairs.txt" else {}
    given = {**FULL, "data": str(place / data), **pairs, **given}
    return finetune(place / "base", given, out=tmp_path, name=name)


def files_below(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("how", HOW)
def test_it_begins_with_what_the_base_has_learned(place, tmp_path, how):
    _, base, _ = session.trained(place / "base")
    tuned = begun(place, tmp_path, data="text.txt", **HOW[how])
    weights = base.model.state_dict()
    assert tuned.task.model.eval()(np.arange(16)[None]).numpy().tobytes() == (
        base.model(np.arange(16)[None]).numpy().tobytes()
    )
    assert {name: array.tobytes() for name, array in tuned.run.base().items()} == {
        name: array.tobytes() for name, array in weights.items()
    }
    learnt = {name.rpartition(".")[2] for name, _ in tuned.task.model.named_parameters()}
    assert learnt == ({"A", "B"} if how == "lora" else {"weight"})
    assert tuned.task.tokenizer.to_dict() == base.tokenizer.to_dict()


def test_the_tokenizer_stays_that_of_the_base(place, tmp_path):
    given = {
        **BASE,
        "data": str(place / "text.txt"),
        "tokenizer": "bpe",
        "merges": 9,
        "steps": 1,
        "warmup": 0,
    }
    base = Session.begin("gpt", given, out=tmp_path, name="bpe")
    base.train()
    for data in ("text.txt", "pairs.txt"):
        more = {"data": str(place / data), "pairs": data == "pairs.txt"}
        tuned = finetune(base.run.folder, {**FULL, **more}, out=tmp_path)
        told = tuned.run.config()["data"]
        assert (told["tokenizer"], told["merges"], told["vocabulary"]) == ("bpe", 9, 265)
        assert tuned.run.path("tokenizer.json").read_bytes() == base.run.path("tokenizer.json").read_bytes()


def test_it_may_begin_with_the_weights_of_the_best_evaluation(place, tmp_path):
    shutil.copytree(place / "base", tmp_path / "base")
    best = {name: array / 2 for name, array in Run(tmp_path / "base").weights().items()}
    Run(tmp_path / "base").save_best(best)
    given = {**FULL, "data": str(place / "text.txt"), "checkpoint": "best", "lora": 2}
    tuned = finetune(tmp_path / "base", given, out=tmp_path)
    assert all(np.array_equal(array, best[name]) for name, array in tuned.run.base().items())


@pytest.mark.parametrize("how", HOW)
def test_it_learns(place, tmp_path, how):
    more = {"steps": 60, "lr": 1e-2, "ema": None, "accumulate": 1, "evaluate_every": 30}
    tuned = begun(place, tmp_path, **HOW[how], **more)
    tuned.task.model.eval()
    before = tuned.task.evaluate(np.random.default_rng(0))["loss"]
    tuned.task.model.train()
    tuned.train()
    assert tuned.run.metrics()[-1]["test_loss"] < before - 0.3


@pytest.mark.parametrize("how", HOW)
def test_the_base_is_untouched_and_may_be_deleted(place, tmp_path, how, capsys):
    shutil.copytree(place / "base", tmp_path / "base")
    before = files_below(tmp_path / "base")
    tuned = finetune(
        tmp_path / "base",
        {**FULL, "data": str(place / "pairs.txt"), "pairs": True, **HOW[how]},
        out=tmp_path,
        name="tuned",
    )
    with pytest.raises(Killed):
        tuned.train(KillAt(4))
    assert files_below(tmp_path / "base") == before
    shutil.rmtree(tmp_path / "base")
    assert main(["train", "--resume", str(tmp_path / "tuned"), "--quiet"]) == 0
    capsys.readouterr()
    assert main(["sample", str(tmp_path / "tuned"), "--prompt", "the fox", "--tokens", "9"]) == 0
    assert capsys.readouterr().out.startswith("the fox\n")
    row = Run(tmp_path / "tuned").metrics()[-1]
    for which in ("last", "best"):
        assert main(["evaluate", str(tmp_path / "tuned"), "--json", "--checkpoint", which]) == 0
        figures = json.loads(capsys.readouterr().out)
        assert figures == pytest.approx({name: row[f"test_{name}"] for name in figures}, rel=1e-4)
    assert b"linear" in (tmp_path / "tuned" / "report.html").read_bytes()


@pytest.mark.parametrize(
    "how, data, steps",
    [("whole", "pairs.txt", (0, 4)), ("lora", "pairs.txt", (4, 7)), ("lora", "text.txt", (5,))],
)
def test_a_run_that_was_stopped_ends_with_the_bits_of_one_that_was_not(place, tmp_path, how, data, steps):
    whole = begun(place, tmp_path, "whole", data=data, **HOW[how])
    assert whole.train()[0] == "steps"
    expected = left_behind(whole.run)
    for step in steps:
        with pytest.raises(Killed):
            begun(place, tmp_path, f"stopped-{step}", data=data, **HOW[how]).train(KillAt(step))
        assert Session.resume(tmp_path / f"stopped-{step}").train()[0] == "steps"
        assert left_behind(Run(tmp_path / f"stopped-{step}")) == expected


@pytest.mark.parametrize("how", HOW)
def test_a_run_that_was_killed_before_its_first_checkpoint_begins_with_the_base(place, tmp_path, how):
    whole = begun(place, tmp_path, "whole", **HOW[how])
    whole.train()
    begun(place, tmp_path, "killed", **HOW[how])
    assert not (tmp_path / "killed" / "state.json").exists()
    Session.resume(tmp_path / "killed").train()
    assert left_behind(Run(tmp_path / "killed")) == left_behind(whole.run)


def test_a_checkpoint_of_lora_holds_the_base_to_the_bit_and_moments_of_the_updates_alone(place, tmp_path):
    tuned = begun(place, tmp_path, lora=2)
    tuned.train()
    arrays, base = tuned.run.load().arrays, tuned.run.base()
    frozen = {
        name.removeprefix("model.").replace(".linear.", "."): name for name in arrays if name[:6] == "model."
    }
    for name, array in base.items():
        assert arrays[frozen[name]].tobytes() == array.tobytes()
    updates = {name for name in arrays if name.startswith("model.") and name[-2:] in (".A", ".B")}
    assert len(updates) == 8 and all(arrays[name].any() for name in updates)
    # Adam has two moments of each, and an average was kept of each: nothing of the other weights.
    sizes = sorted(arrays[name].size for name in updates)
    moments = [
        a.size for name, a in arrays.items() if name.startswith(("optimizer.model.m.", "optimizer.model.v."))
    ]
    assert sorted(moments) == sorted(sizes * 2)
    assert sorted(array.size for name, array in arrays.items() if name.startswith("ema.")) == sizes


def test_a_trained_run_with_lora_is_an_ordinary_gpt(place, tmp_path):
    tuned = begun(place, tmp_path, ema=None, lr=0.1, lora=2)
    tuned.train()
    _, learned, saved = session.trained(tuned.run.folder)
    assert saved["finetuned"] == {"run": str(place / "base"), "checkpoint": "last", "lora": 2, "alpha": 4.0}
    assert not any(isinstance(part, nn.LoRA) for _, part in learned.model.named_modules())
    assert {n: a.shape for n, a in learned.model.state_dict().items()} == {
        name: array.shape for name, array in tuned.run.base().items()
    }
    row, apart = np.arange(16)[None], tuned.task.model.eval()
    np.testing.assert_allclose(learned.model(row).numpy(), apart(row).numpy(), rtol=1e-4, atol=1e-5)
    # so it is a base like any other
    again = finetune(tuned.run.folder, {**FULL, "data": str(place / "text.txt"), "lora": 3}, out=tmp_path)
    assert again.run.folder.name == "tuned-text-1"
    assert again.task.model.eval()(row).numpy().tobytes() == learned.model(row).numpy().tobytes()
    again.train()


def test_the_command_tells_its_options_and_names_the_run_after_both(place, tmp_path, capsys):
    options = ["--data", str(place / "pairs.txt"), "--pairs", "--steps", "3", "--warmup", "1", "--lora", "2"]
    argv = ["finetune", str(place / "base"), *options, "--out", str(tmp_path)]
    for number in (1, 2):
        assert main([*argv, "--quiet"]) == 0
        assert capsys.readouterr().out == f"{tmp_path}/base-pairs-{number}\n"
    config = json.loads((tmp_path / "base-pairs-1" / "config.json").read_text())
    assert config["training"]["lr"] == 0.003 and config["training"]["steps"] == 3
    assert main(argv) == 0
    updates = 2 * (16 + 48 + 16 + 16 + 16 + 64 + 64 + 16)  # r (in + out) of each of four layers
    assert f"{updates:,} parameters" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["finetune", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "learning rate, at its peak (default: 0.0003, 0.003 for lora)" in shown
    for option in ("--data", "--lr", "--lora", "--alpha", "--between", "--pairs", "--name"):
        assert f" {option}" in shown
    for option in ("--width", "--tokenizer", "--merges"):
        assert option not in shown


@pytest.mark.parametrize("given, alpha", [({"lora": 2}, 4.0), ({"lora": 2, "alpha": 3.0}, 3.0)])
def test_updates_are_scaled_by_alpha_over_the_rank_also_when_resumed(place, tmp_path, given, alpha):
    tuned = begun(place, tmp_path, **given)
    assert json.loads((tmp_path / "tuned" / "config.json").read_text())["finetuned"]["alpha"] == alpha
    for task in (tuned.task, Session.resume(tuned.run.folder).task):
        scales = {part.scale for _, part in task.model.named_modules() if isinstance(part, nn.LoRA)}
        assert scales == {alpha / 2}


# mistakes


def test_mistakes_are_told_in_one_line_and_leave_nothing(place, tmp_path, capsys):
    base, text = str(place / "base"), ["--data", str(place / "text.txt")]
    (tmp_path / "strange.txt").write_text("Ü" * 200)
    for argv, told in (
        ([], "finetune: expected a run folder, got none; do: tinygen finetune runs/"),
        (["nowhere"], "nowhere: expected a run folder, but there is no such folder"),
        ([base, "--layers", "2"], "unknown option '--layers'"),
        ([base, "--tokenizer", "bpe"], "unknown option '--tokenizer'"),
        ([base, *text, "--alpha", "2"], "alpha: is not used without lora; leave it out, or give a rank"),
        ([base, *text, "--lora", "0"], "lora: expected at least 1, got 0"),
        ([base, *text, "--lora", "17"], "LoRA: expected a rank of at most 16, the smaller side of a weight"),
        ([base, *text, "--steps", "3"], "warmup: expected fewer than the 3 steps, got 50"),
        ([base, *text, "--end", "x"], "end: is not used by text"),
        ([base, "--data", "pyhton-docs"], "unknown data set 'pyhton-docs'; did you mean python-docs?"),
        ([base, "--data", str(tmp_path / "strange.txt")], "encode: expected characters of the training text"),
    ):
        assert main(["finetune", *argv, "--out", str(tmp_path / "runs")]) == 2
        shown = capsys.readouterr().err
        assert told in shown and shown.count("\n") == 1, shown
    for setting in ("layers", "tokenizer", "name"):
        with pytest.raises(ValueError, match=f"unknown setting '{setting}'"):
            finetune(base, {setting: "x"}, out=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_run_of_another_model_is_refused(tmp_path, capsys):
    pytest.importorskip("sklearn")
    Session.begin("vae", {"hidden": 4, "steps": 1}, out=tmp_path, name="vae")
    assert main(["finetune", str(tmp_path / "vae")]) == 2
    assert (
        "finetune: expected a run of gpt, got one of vae; train that one longer: tinygen train --resume RUN"
        in capsys.readouterr().err
    )


def test_weights_of_the_beginning_that_are_missing_or_damaged_are_told(place, tmp_path, capsys):
    folder = begun(place, tmp_path).run.folder
    path = folder / "base.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(
        Damaged, match=r"base\.safetensors: is damaged: its content does not have the SHA-256"
    ):
        Session.resume(folder)
    path.unlink()
    config = json.loads((folder / "config.json").read_text())
    assert main(["train", "--resume", str(folder)]) == 2
    assert (
        "base.safetensors: expected the weights that this run began with, got no such file; bring it back, or"
        in capsys.readouterr().err
    )
    path.write_bytes(content)
    for finetuned in ({}, {"lora": 99, "alpha": 1.0}, 3):
        (folder / "config.json").write_text(json.dumps({**config, "finetuned": finetuned}))
        assert main(["train", "--resume", str(folder)]) == 2
        assert "config.json: expected what `tinygen train` writes, got another" in capsys.readouterr().err
