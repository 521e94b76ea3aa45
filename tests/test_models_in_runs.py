"""Every model that can be trained: stopped anywhere it ends with the same bits, and all commands know it."""

import json

import numpy as np
import pytest
from test_cli import refused
from test_loop import KillAt, Killed, left_behind

import tinygen as tg
from tinygen import data
from tinygen.cli import main
from tinygen.training import Run, Session, session
from tinygen.training.gpt_task import GPTSampling, GPTTask, TextConfig, tokenizer_for, tokenizer_of
from tinygen.training.recipes import MODELS
from tinygen.training.step import take_step
from tinygen.training.task import perplexity
from tinygen.training.translator_task import TranslationConfig

for library in ("sklearn", "matplotlib", "safetensors", "tqdm"):
    pytest.importorskip(library)

pytestmark = pytest.mark.filterwarnings("ignore:.*has collapsed")  # so short a training has yet to begin

# Small enough for a test, with everything that can be in a checkpoint.
EACH = {"steps": 12, "evaluate_every": 5, "ema": 0.9, "accumulate": 2}
SMALL = {
    "vae": {"hidden": 16, "likelihood": "bernoulli", "condition": "label", "kl_warmup": 5, **EACH},
    "vqvae": {
        "likelihood": "bernoulli",
        "channels": 8,
        "blocks": 1,
        "codes": 16,
        "latent": 4,
        "restart": 0.5,
        **EACH,
    },
    "classifier": {"channels": 4, "hidden": 16, "dropout": 0.2, "warmup": 3, **EACH},
    "gan": {
        "data": "grid",
        "condition": "label",
        "hidden": 8,
        "layers": 2,
        "critic_hidden": 6,
        "critic_norm": "layer",
        "spectral_norm": True,
        "gradient_penalty": 1.0,
        "label_noise": 0.1,
        "packing": 2,
        "critic_updates": 3,
        "critic_lr": 1e-3,
        "batch": 4,
        **EACH,
    },
    "gpt": {
        "data": "TEXT",
        "layers": 1,
        "width": 16,
        "context": 12,
        "batch": 4,
        "dropout": 0.2,
        "warmup": 3,
        **EACH,
    },
    "translator": {
        "data": "PAIRS",
        "tokenizer": "characters",
        "layers": 1,
        "heads": 2,
        "width": 16,
        "context": 24,
        "batch": 90,
        "dropout": 0.2,
        "warmup": 3,
        **EACH,
    },
}


@pytest.fixture
def small(tmp_path):
    """A function from a model's name to its settings, its text or pairs in a file."""
    path = tmp_path / "text.txt"
    path.write_text("the quick brown fox jumps over the lazy dog; " * 40, encoding="utf-8")
    pairs = tmp_path / "pairs.tsv"
    words = ["quick", "brown", "fox", "lazy", "dog"]
    pairs.write_text("\n".join(f"{a} {b}\t{b} {a}" for a in words for b in words), encoding="utf-8")
    files = {"TEXT": str(path), "PAIRS": str(pairs)}
    return lambda model: {name: files.get(value, value) for name, value in SMALL[model].items()}


@pytest.mark.parametrize("model", MODELS)
def test_a_run_that_was_stopped_ends_with_the_bits_of_one_that_was_not(tmp_path, small, model):
    whole = Session.begin(model, small(model), out=tmp_path, name="whole")
    assert whole.train()[0] == "steps"
    for step in (0, 3, 7, 11):
        settings = {**small(model), "save_seconds": 0}
        begun = Session.begin(model, settings, out=tmp_path, name=f"stopped-{step}")
        with pytest.raises(Killed):
            begun.train(KillAt(step))
        assert Session.resume(tmp_path / f"stopped-{step}").train()[0] == "steps"
        assert left_behind(Run(tmp_path / f"stopped-{step}")) == left_behind(whole.run)


@pytest.mark.parametrize("model", MODELS)
def test_all_commands_know_it(tmp_path, small, model, capsys):
    options = [
        f"--{name.replace('_', '-')}" + ("" if value is True else f"={value}")
        for name, value in small(model).items()
    ]
    assert main(["train", model, *options, "--out", str(tmp_path), "--name", "run"]) == 0
    assert main(["train", "--resume", str(tmp_path / "run"), "--steps", "14"]) == 0
    capsys.readouterr()
    makes_something = MODELS[model].sampling is not None
    assert main(["sample", str(tmp_path / "run")]) == (0 if makes_something else 2)
    assert main(["evaluate", str(tmp_path / "run")]) == 0
    shown = capsys.readouterr().out
    assert (str(tmp_path / "run" / "samples-0.") in shown) == makes_something and "loss" in shown
    options = [
        option for option in options if option.split("=")[0][2:] in ("data", "width", "hidden", "layers")
    ]
    assert main(["profile", model, *options, "--repeats", "1"]) == 0
    assert ("convolve" if model == "vqvae" else "linear") in capsys.readouterr().out
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000


@pytest.mark.parametrize("model", ["gpt", "translator"])
def test_a_minibatch_in_pieces_gives_the_gradient_of_the_whole(small, model):
    """Also where rows have different numbers of tokens that count."""
    gradients = []
    for pieces in (1, 2, 3):
        settings = {**small(model), "dropout": 0.0, "accumulate": pieces}
        task, config, *_ = session.prepared(model, settings)
        session.one_step(task, config)()
        gradients.append({name: p.grad.numpy() for name, p in task.model.named_parameters()})
    for other in gradients[1:]:
        for name, gradient in gradients[0].items():
            np.testing.assert_allclose(other[name], gradient, rtol=1e-3, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("model", MODELS)
def test_any_number_of_threads_trains_to_the_same_bits(small, model):
    found = []
    for threads in (1, 2, 3):
        task, config, *_ = session.prepared(model, small(model))
        optimizers = [config.make_optimizer(player.module.parameters()) for player in task.players]
        with tg.kernels.use("numba", threads=threads):
            for step in range(2):
                take_step(task, optimizers, task.batch(step), config, step, lr=1e-2)
        found.append(task.model.state_dict())
    for other in found[1:]:
        assert all(np.array_equal(other[name], array) for name, array in found[0].items())


@pytest.mark.filterwarnings("ignore:.*has collapsed")
@pytest.mark.parametrize(
    "model, settings",
    [
        ("vqvae", {"channels": 4, "blocks": 1, "codes": 16, "latent": 4}),
        ("gan", {"channels": 4, "latent": 4, "generator_norm": "batch"}),
    ],
)
def test_the_report_of_a_run_leaves_the_model_as_it_was_trained(tmp_path, model, settings):
    pytest.importorskip("sklearn")
    begun = Session.begin(model, {**settings, "steps": 3}, out=tmp_path)
    _, state = begun.train()
    before = begun.task.model.state_dict()
    begun.finish(begun.lead(state))
    after = begun.task.model.state_dict()
    assert [name for name in before if not np.array_equal(after[name], before[name])] == []


# text


def test_a_gpt_writes_what_it_has_learned_from_characters_bytes_and_bpe(tmp_path, small, capsys):
    for tokenizer in ("characters", "bytes", "bpe"):
        options = {
            **small("gpt"),
            "dropout": 0.0,
            "ema": None,
            "lr": 1e-2,
            "steps": 150,
            "evaluate_every": 150,
        }
        options |= {"tokenizer": tokenizer, "width": 32} | ({"merges": 20} if tokenizer == "bpe" else {})
        begun = Session.begin("gpt", options, out=tmp_path, name=tokenizer)
        begun.train()
        row = begun.run.metrics()[-1]
        assert row["test_loss"] < 0.7 and row["test_perplexity"] == pytest.approx(
            np.exp(row["test_loss"]), rel=1e-5
        )
        argv = ["sample", str(tmp_path / tokenizer), "--prompt", "the quick", "--temperature", "0"]
        assert main([*argv, "--tokens", "60", "--stop", ";"]) == 0
        text = capsys.readouterr().out.splitlines()[0]
        assert text == "the quick brown fox jumps over the lazy dog"
        assert (tmp_path / tokenizer / "samples-0.txt").read_text(encoding="utf-8") == text


def test_bits_a_byte_are_comparable_between_tokenizers(tmp_path):
    """A model that knows nothing needs log2 V bits a token, whatever a token is."""
    path = tmp_path / "text.txt"
    path.write_text("äöü abc " * 50, encoding="utf-8")
    for tokenizer, vocabulary, tokens in (("characters", 7, 8), ("bytes", 256, 11)):
        settings = {
            "data": str(path),
            "tokenizer": tokenizer,
            "steps": 1,
            "width": 8,
            "heads": 2,
            "context": 8,
        }
        begun = Session.begin("gpt", {**settings, "warmup": 0}, out=tmp_path, name=tokenizer)
        begun.task.model.wte.weight.assign(np.zeros((vocabulary, 8)))
        metrics = begun.task.evaluate(np.random.default_rng(0))
        assert metrics["loss"] == pytest.approx(np.log(vocabulary), rel=1e-5)
        assert metrics["bits_per_byte"] == pytest.approx(np.log2(vocabulary) * tokens / 11, rel=0.03)


def test_other_text_is_read_with_the_tokenizer_of_the_run(tmp_path, small, capsys):
    """The same letters in another order of appearance would have other numbers."""
    for tokenizer in ("characters", "bpe"):
        begun = Session.begin("gpt", {**small("gpt"), "tokenizer": tokenizer}, out=tmp_path, name=tokenizer)
        begun.train()
        other = tmp_path / "other.txt"
        text = "zyx wvu " * 30 + "the quick brown fox jumps over the lazy dog; " * 20
        other.write_text(text, encoding="utf-8")
        argv = ["evaluate", str(tmp_path / tokenizer), "--data", str(other), "--json"]
        assert main(argv) == 0
        task = begun.task
        task.test = task.tokenizer.encode(text[len(text) * 9 // 10 :]).astype(np.int32)
        task.model.eval()
        expected = task.evaluate(np.random.default_rng(0))["loss"]
        assert json.loads(capsys.readouterr().out)["loss"] == pytest.approx(expected, rel=1e-6)
    other.write_text("É" * 100, encoding="utf-8")
    assert main(["evaluate", str(tmp_path / "characters"), "--data", str(other)]) == 2
    assert "'É'" in capsys.readouterr().err


def test_a_prompt_that_cannot_be_read_is_told(tmp_path, small, capsys):
    assert Session.begin("gpt", small("gpt"), out=tmp_path, name="run").train()
    for prompt, told in (("", "prompt: expected at least one character"), ("Ü", "'Ü'")):
        assert main(["sample", str(tmp_path / "run"), "--prompt", prompt]) == 2
        assert told in capsys.readouterr().err
    assert main(["train", "gpt", "--tokenizer", "bytes", "--merges", "5"]) == 2
    assert "merges: is not used by the tokenizer bytes" in capsys.readouterr().err


def test_every_command_takes_the_weights_that_it_is_told(tmp_path, small, capsys):
    """Those of the best evaluation are made unreadable: who is told to read them says so."""
    for model in ("gpt", "translator"):
        Session.begin(model, {**small(model), "tokenizer": "bytes"}, out=tmp_path, name=model).train()
        (tmp_path / model / "best.safetensors").write_bytes(b"")
    gpt, translator, text = str(tmp_path / "gpt"), str(tmp_path / "translator"), small("gpt")["data"]
    more = ["--data", text, "--steps", "2", "--warmup", "1", "--quiet", "--out", str(tmp_path)]
    for argv in (
        ["sample", gpt, "--tokens", "3"],
        ["evaluate", gpt],
        ["look", gpt, "--text", "the"],
        ["export", gpt, str(tmp_path / "exported")],
        ["finetune", gpt, *more],
        ["translate", translator, "dog"],
    ):
        assert main([*argv, "--checkpoint", "best"]) == 2, argv
        assert "best.safetensors: is damaged" in capsys.readouterr().err
        assert main([*argv, "--checkpoint", "last"]) == 0, argv


@pytest.mark.parametrize("tokenizer", ["characters", "bytes"])
def test_bits_a_byte_are_of_the_bytes_that_were_guessed(tmp_path, tokenizer):
    """The first token of the test is given: neither it nor its bytes count."""
    path = tmp_path / "text.txt"
    path.write_text("äöü abc " * 50, encoding="utf-8")
    settings = {"data": str(path), "tokenizer": tokenizer, "steps": 1, "warmup": 0, "width": 8, "heads": 2}
    task = session.prepared("gpt", {**settings, "context": 8})[0]
    task.model.wte.weight.assign(np.zeros_like(task.model.wte.weight.numpy()))
    guessed = task.test[1:]
    size = sum(len(task.tokenizer.tokens[i]) for i in guessed)
    expected = np.log2(task.tokenizer.vocab_size) * len(guessed) / size
    assert task.evaluate(np.random.default_rng(0))["bits_per_byte"] == pytest.approx(expected, rel=1e-5)


def test_byte_pairs_are_learned_of_the_training_text_alone_and_characters_of_all(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("ab cd " * 90 + "zz zz " * 10, encoding="utf-8")
    for tokenizer, known in (("bpe", False), ("characters", True)):
        made = tokenizer_of(GPTTask.load(str(path), {"tokenizer": tokenizer})[2])
        pairs = {"train": [("ab ab", "cd")] * 9, "test": [("zz", "zz zz")] * 9}
        other = TranslationConfig(tokenizer=tokenizer).trained(pairs)
        for one in (made, other):
            assert any(b"z" in token for token in one.tokens[256 * (tokenizer == "bpe") :]) == known


def test_bpe_learns_as_many_merges_as_its_help_says(monkeypatch):
    numbers = []

    def train(text, *, number, specials=()):
        numbers.append(number)

    monkeypatch.setattr(data.BPETokenizer, "train", train)
    for more in ({}, {"merges": 7}):
        tokenizer_for(TextConfig(tokenizer="bpe", **more), ["a", "b"])
        TranslationConfig(**more).trained({"train": [("a", "b")], "test": [("a", "b")]})
    assert numbers == [1000, 5000, 7, 7]


def test_without_a_prompt_a_text_begins_with_a_new_line(small, monkeypatch):
    prompts = []

    def after(prompt, options, rng):
        prompts.append(prompt.tolist())
        return iter(())

    for tokenizer in ("bytes", "characters"):
        task = session.prepared("gpt", {**small("gpt"), "tokenizer": tokenizer})[0]
        monkeypatch.setattr(task, "after", after)
        assert "".join(task.written(GPTSampling(), None)) == ""
    assert prompts == [[10], [0]]  # where no text has one, with the first of the tokens


@pytest.mark.parametrize("model", ["gpt", "translator", "pairs"])
def test_the_seed_draws_the_order_of_the_data(small, model):
    settings = small("gpt" if model == "pairs" else model)
    if model == "pairs":
        settings |= {"data": small("translator")["data"], "pairs": True, "context": 30}
    made = [session.prepared(model.replace("pairs", "gpt"), {**settings, "seed": s})[0] for s in (3, 3, 4)]
    first, again, other = ([task.batch(step)[0].tolist() for step in range(3)] for task in made)
    assert first == again and first != other


def test_a_text_that_leaves_one_token_to_test_on_is_refused_before_it_is_trained_on(tmp_path, capsys):
    path = tmp_path / "short.txt"
    path.write_text("abcdefghij")
    argv = ["train", "gpt", "--data", path, "--context", "4", "--width", "8", "--heads", "1", "--layers", "1"]
    told = refused(capsys, *argv, "--steps", "3", "--warmup", "0", "--out", tmp_path / "runs")
    assert told == (
        "text to test on: expected at least 2 tokens, of which the first is given, got 1; give a longer text"
    )
    assert not (tmp_path / "runs").exists()
    path.write_text("abcdefghijabcdefghij")
    assert np.isfinite(session.prepared("gpt", {"data": str(path), "context": 4})[0].evaluate(None)["loss"])


def test_a_perplexity_that_is_no_float_ends_a_training_in_one_line(tmp_path, small):
    assert perplexity(2.0) == pytest.approx(np.exp(2.0)) and perplexity(709.7) < np.inf == perplexity(710.0)
    settings = {"lr": 100.0, "schedule": "constant", "lr_end": None, "warmup": 0, "evaluate_every": 1}
    settings = {**small("gpt"), **settings, "clip": None, "ema": None}
    begun = Session.begin("gpt", settings, out=tmp_path, name="run")
    with pytest.raises(FloatingPointError, match=r"in an evaluation: .* perplexity = inf; what was saved"):
        begun.train()
