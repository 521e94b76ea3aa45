"""GPT-2 as others publish it: read into a run, written from one; plain NumPy and transformers as oracles."""

import itertools
import json
import math
import os
import re
import shutil
import tracemalloc

import numpy as np
import pytest
from test_cli import refused
from test_gpt2_files import MERGES, gpt2

from tinygen.autograd import no_grad
from tinygen.cli import main
from tinygen.models import GPT, GPTConfig
from tinygen.models.gpt2 import EPSILON, config_from, config_to, shapes
from tinygen.training import Session, checkpoint, export_gpt2, import_gpt2
from tinygen.training.session import trained

for library in ("matplotlib", "tqdm"):
    pytest.importorskip(library)
library = pytest.importorskip("safetensors.numpy")

CONFIG = {  # GPT-2's own, scaled down
    "model_type": "gpt2",
    "vocab_size": 262,
    "n_positions": 24,
    "n_ctx": 24,
    "n_embd": 36,
    "n_layer": 3,
    "n_head": 3,
    "activation_function": "gelu_new",
    "layer_norm_epsilon": 1e-05,
    "resid_pdrop": 0.1,
    "embd_pdrop": 0.1,
    "attn_pdrop": 0.1,
    "bos_token_id": 261,
    "eos_token_id": 261,
    "summary_type": "cls_index",
    "initializer_range": 0.02,
    "task_specific_params": {"text-generation": {"do_sample": True, "max_length": 50}},
}
PROMPT = "the cat sat"


def weights_for(config, *, prefix="transformer.", seed=0):
    """Weights of GPT-2 by their published names, so large that a mistake anywhere shows in the logits."""
    rng, c = np.random.default_rng(seed), config["n_embd"]
    f = config.get("n_inner") or 4 * c

    def drawn(*shape, around=0.0, std=0.3):
        return (around + std * rng.standard_normal(shape)).astype(np.float32)

    def norm(name):
        return {f"{name}.weight": drawn(c, around=1.0), f"{name}.bias": drawn(c)}

    def conv1d(name, inputs, outputs):
        return {
            f"{name}.weight": drawn(inputs, outputs, std=1.5 / math.sqrt(inputs)),
            f"{name}.bias": drawn(outputs),
        }

    weights = {"wte.weight": drawn(config["vocab_size"], c), "wpe.weight": drawn(config["n_positions"], c)}
    for i in range(config["n_layer"]):
        weights |= norm(f"h.{i}.ln_1") | conv1d(f"h.{i}.attn.c_attn", c, 3 * c)
        weights |= conv1d(f"h.{i}.attn.c_proj", c, c) | norm(f"h.{i}.ln_2")
        weights |= conv1d(f"h.{i}.mlp.c_fc", c, f) | conv1d(f"h.{i}.mlp.c_proj", f, c)
    return {prefix + name: array for name, array in (weights | norm("ln_f")).items()}


def publish(folder, weights=None, **changes):
    """Write a folder as transformers does; returns its weights. A change to None takes a field out."""
    folder.mkdir(exist_ok=True)
    config = {name: value for name, value in {**CONFIG, **changes}.items() if value is not None}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    weights = weights_for(config) if weights is None else weights
    library.save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    gpt2(folder, MERGES)
    return weights


# The oracle: GPT-2 in plain NumPy, float64. Radford et al. (2018), eq. 2, with the changes of Radford et al.
# (2019), section 2.3: norms before the sublayers, and one more after the last block.

ACTIVATIONS = {
    "gelu_new": lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "gelu": lambda x: 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))),
    "relu": lambda x: np.maximum(x, 0),
}


def forward(weights, config, tokens):
    """The logits (T, V) of one row of tokens, from weights by their published names."""
    w = {name.removeprefix("transformer."): np.float64(array) for name, array in weights.items()}
    heads, count = config["n_head"], len(tokens)
    act = ACTIVATIONS[config["activation_function"]]

    def norm(x, name):
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
        return scaled * w[f"{name}.weight"] + w[f"{name}.bias"]

    def conv1d(x, name):
        return x @ w[f"{name}.weight"] + w[f"{name}.bias"]

    x = w["wte.weight"][tokens] + w["wpe.weight"][:count]
    for i in range(config["n_layer"]):
        joint = conv1d(norm(x, f"h.{i}.ln_1"), f"h.{i}.attn.c_attn")
        seen = []
        for q, k, v in zip(*(np.split(part, heads, axis=1) for part in np.split(joint, 3, axis=1))):
            scores = q @ k.T / math.sqrt(q.shape[1])
            scores[np.triu_indices(count, 1)] = -np.inf
            share = np.exp(scores - scores.max(1, keepdims=True))
            seen.append(share / share.sum(1, keepdims=True) @ v)
        x = x + conv1d(np.concatenate(seen, axis=1), f"h.{i}.attn.c_proj")
        x = x + conv1d(act(conv1d(norm(x, f"h.{i}.ln_2"), f"h.{i}.mlp.c_fc")), f"h.{i}.mlp.c_proj")
    return norm(x, "ln_f") @ w.get("lm_head.weight", w["wte.weight"]).T


def row(count, seed=0):
    return np.random.default_rng(seed).integers(0, CONFIG["vocab_size"], count)


def assert_computes(run_folder, weights, **changes):
    """The run's model gives the logits of the oracle, which are large enough that this says something."""
    _, task, _ = trained(run_folder)
    tokens = row(24)
    expected = forward(weights, {**CONFIG, **changes}, tokens)
    assert expected.std() > 1
    with no_grad():
        np.testing.assert_allclose(task.model(tokens[None]).numpy()[0], expected, rtol=0, atol=1e-4)


def imported(folder, tmp_path):
    """`tinygen import gpt2` of a folder; the run's folder."""
    assert main(["import", "gpt2", str(folder), "--out", str(tmp_path / "runs"), "--name", folder.name]) == 0
    return tmp_path / "runs" / folder.name


# the table


def test_sizes_are_those_of_the_four_gpt_2s():
    """Their numbers of parameters, as the published files have them."""
    sizes = [(12, 12, 768), (24, 16, 1024), (36, 20, 1280), (48, 25, 1600)]
    expected = [124_439_808, 354_823_168, 774_030_080, 1_557_611_200]
    for (layers, heads, width), parameters in zip(sizes, expected):
        fields = {
            "vocab_size": 50257,
            "n_positions": 1024,
            "n_layer": layers,
            "n_head": heads,
            "n_embd": width,
        }
        table = shapes(config_from(fields))
        assert sum(math.prod(shape) for shape in table.values()) == parameters


@pytest.mark.parametrize("tied", [True, False])
def test_the_table_has_the_names_and_shapes_of_a_gpt(tied):
    config = GPTConfig(vocabulary=11, context=5, layers=2, heads=2, width=6, feed_forward=7, tied=tied)
    model = GPT(config, rng=np.random.default_rng(0))
    own = {name: array.shape for name, array in model.state_dict().items()}
    turned = ("c_attn.weight", "c_fc.weight", "c_proj.weight")
    assert shapes(config) == {n: shape[::-1] if n.endswith(turned) else shape for n, shape in own.items()}
    assert {model.ln_f.eps, model.h[0].ln_1.eps, model.h[1].ln_2.eps} == {EPSILON}


# reading


def without_prefix(weights):
    return {name.removeprefix("transformer."): array for name, array in weights.items()}


def with_masks(weights):
    """As files of 2019 are."""
    mask = np.tril(np.ones((1, 1, 24, 24), np.uint8))
    more = {f"h.{i}.attn.bias": mask for i in range(3)}
    more |= {f"h.{i}.attn.masked_bias": np.array(-1e4, np.float32) for i in range(3)}
    return without_prefix(weights) | more


def with_head(weights):
    return weights | {"lm_head.weight": weights["transformer.wte.weight"]}


FORMS = {
    "of transformers": (lambda weights: weights, {}),
    "without a prefix": (without_prefix, {}),
    "with masks": (with_masks, {}),
    "with a tied head": (with_head, {}),
    "other sizes": (None, {"n_inner": 50, "n_head": 4, "n_layer": 2}),
    "exact gelu": (None, {"activation_function": "gelu"}),
    "relu": (None, {"activation_function": "relu"}),
    "upcast in half precision": (None, {"reorder_and_upcast_attn": True}),
    "no field but the sizes": (
        None,
        dict.fromkeys(
            CONFIG.keys()
            - {"vocab_size", "n_positions", "n_embd", "n_layer", "n_head", "activation_function"}
        ),
    ),
    "a head of its own": (
        lambda weights: weights | {"lm_head.weight": weights["transformer.wte.weight"][::-1].copy()},
        {"tie_word_embeddings": False},
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_published_gpt_2_computes_here_what_the_papers_say(tmp_path, form):
    change, fields = FORMS[form]
    config = {**CONFIG, **fields}
    weights = (change or FORMS["of transformers"][0])(weights_for(config))
    publish(tmp_path / "model", weights, **fields)
    assert_computes(imported(tmp_path / "model", tmp_path), weights, **fields)


def upper_halves(array):
    return (np.ascontiguousarray(array).view(np.uint32) >> 16).astype(np.uint16)


@pytest.mark.parametrize("dtype", ["F16", "F64", "BF16"])
def test_weights_of_other_precision_are_read_exactly(tmp_path, dtype):
    weights = publish(tmp_path / "model")
    file = tmp_path / "model" / "model.safetensors"
    if dtype == "BF16":
        header, numbers = split_file(
            library.save({name: upper_halves(array) for name, array in weights.items()})
        )
        file.write_bytes(join_file(header.replace(b'"U16"', b'"BF16"'), numbers))
        weights = {n: (upper_halves(a).astype(np.uint32) << 16).view(np.float32) for n, a in weights.items()}
    else:
        weights = {n: a.astype({"F16": np.float16, "F64": np.float64}[dtype]) for n, a in weights.items()}
        library.save_file(weights, file)
    assert_computes(imported(tmp_path / "model", tmp_path), weights)


def split_file(content):
    """The header of a safetensors file, JSON, and what follows it."""
    end = 8 + int.from_bytes(content[:8], "little")
    return content[8:end], content[end:]


def join_file(header, numbers):
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + numbers


def shard(folder, weights):
    """Put the weights into two files and an index, instead of one file."""
    (folder / "model.safetensors").unlink()
    names = sorted(weights)
    files = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    for file, part in zip(files, (names[::2], names[1::2])):
        library.save_file({name: weights[name] for name in part}, folder / file)
    index = {"metadata": {}, "weight_map": {name: files[i % 2] for i, name in enumerate(names)}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return files


def test_a_model_in_several_files_is_one(tmp_path):
    weights = publish(tmp_path / "model")
    shard(tmp_path / "model", weights)
    assert_computes(imported(tmp_path / "model", tmp_path), weights)


def test_of_three_rates_of_dropout_one_comes_in_and_all_go_out():
    sizes = {"vocab_size": 262, "n_positions": 24, "n_layer": 1, "n_head": 3, "n_embd": 36}
    rates = {"resid_pdrop": 0.25, "embd_pdrop": 0.5, "attn_pdrop": 0.75}
    config = config_from({**sizes, **rates})
    assert config.dropout == 0.25 and config_from(sizes).dropout == 0.1
    assert {name: config_to(config)[name] for name in rates} == dict.fromkeys(rates, 0.25)


# there and back


@pytest.mark.parametrize("tied", [True, False])
def test_what_comes_in_goes_out_again_byte_for_byte(tmp_path, tied):
    model, again = tmp_path / "model", tmp_path / "deep" / "again"
    head = {} if tied else {"lm_head.weight": weights_for(CONFIG, seed=1)["transformer.wte.weight"]}
    weights = publish(model, weights_for(CONFIG) | head, tie_word_embeddings=tied)
    assert main(["export", str(imported(model, tmp_path)), "--checkpoint", "last", str(again)]) == 0
    written = library.load_file(again / "model.safetensors")
    assert set(written) == set(weights)
    for name, array in weights.items():
        assert written[name].dtype == np.float32 and written[name].shape == array.shape, name
        assert written[name].tobytes() == array.tobytes(), name
    before, after = (json.loads((folder / "config.json").read_text()) for folder in (model, again))
    assert {name: before[name] for name in before if name in after} == {
        n: after[n] for n in before if n in after
    }
    assert set(before) - set(after) == {"n_ctx", "summary_type", "initializer_range", "task_specific_params"}
    assert config_from(before) == config_from(after)
    assert json.loads((again / "vocab.json").read_text()) == json.loads((model / "vocab.json").read_text())
    assert (again / "merges.txt").read_text() == (model / "merges.txt").read_text()
    assert sorted(path.name for path in again.parent.iterdir()) == ["again"]


def test_greedy_text_is_that_of_the_oracle(tmp_path, capsys):
    weights = publish(tmp_path / "model")
    run = imported(tmp_path / "model", tmp_path)
    capsys.readouterr()
    argv = ["sample", str(run), "--prompt", PROMPT, "--temperature", "0", "--tokens", "13"]
    assert main(argv) == 0
    _, task, _ = trained(run)
    tokens = task.tokenizer.encode(PROMPT).tolist()
    for _ in range(13):
        tokens.append(int(forward(weights, CONFIG, tokens)[-1].argmax()))
    assert len(tokens) <= CONFIG["n_positions"] and len(set(tokens[-13:])) > 2
    text = (run / "samples-0.txt").read_text(encoding="utf-8")
    assert text == task.tokenizer.decode(tokens) and text in capsys.readouterr().out


def test_evaluate_measures_it_on_a_text_with_its_own_tokenizer(tmp_path, capsys):
    weights = publish(tmp_path / "model")
    run = imported(tmp_path / "model", tmp_path)
    text = "the quick brown fox jumps over the lazy dog; " * 10
    (tmp_path / "text.txt").write_text(text)
    capsys.readouterr()
    assert main(["evaluate", str(run), "--data", str(tmp_path / "text.txt"), "--json"]) == 0
    _, task, _ = trained(run)
    tokens = task.tokenizer.encode(text[len(text) * 9 // 10 :])
    losses = []
    for start in range(0, len(tokens) - 1, 24):
        x, y = tokens[start : start + 24], tokens[start + 1 : start + 25]
        logits = forward(weights, CONFIG, x[: len(y)])
        losses += list(np.log(np.exp(logits).sum(1)) - logits[np.arange(len(y)), y])
    assert json.loads(capsys.readouterr().out)["loss"] == pytest.approx(np.mean(losses), rel=1e-5)


class Counting:
    """A function, and how many tokens it has been given at each call."""

    def __init__(self, function, counts):
        self.function, self.counts = function, counts

    def __call__(self, hidden):
        self.counts.append(hidden.shape[0] * hidden.shape[1])
        return self.function(hidden)


def test_an_evaluation_has_no_more_logits_in_memory_than_it_needs(tmp_path, monkeypatch):
    """Those of 32 windows of GPT-2's, as of a small model, would take 6.6 GB."""
    (tmp_path / "text.txt").write_text("the quick brown fox jumps over the lazy dog; " * 900)
    settings = {
        "data": str(tmp_path / "text.txt"),
        "tokenizer": "bytes",
        "steps": 1,
        "warmup": 0,
        "layers": 1,
    }
    for context in (64, 1024, 3000):
        sizes = {**settings, "width": 4, "heads": 1, "context": context}
        task = Session.begin("gpt", sizes, out=tmp_path, name=str(context)).task
        counts = []
        monkeypatch.setattr(task.model, "logits", Counting(task.model.logits, counts))
        with no_grad():
            task.evaluate(np.random.default_rng(0))
        assert max(counts) == {64: 2048, 1024: 2048, 3000: 3000}[context]


def test_a_run_of_it_is_like_any_other_but_has_no_data(tmp_path, capsys):
    publish(tmp_path / "model")
    run = imported(tmp_path / "model", tmp_path)
    assert {path.name for path in run.iterdir()} == {
        *("config.json", "tokenizer.json", "checkpoint.safetensors", "state.json")
    }
    assert capsys.readouterr().out == f"{run}\nlet it write: tinygen sample {run}\n"
    assert refused(capsys, "train", "--resume", run) == (
        f"{run}: expected a training that was stopped, got an imported model; begin one of its own with: "
        f"tinygen finetune {run} --data FILE"
    )
    message = f"{run}: expected data that it was trained on, got an imported model, of which we have none"
    assert refused(capsys, "evaluate", run) == f"{message}; give some with --data"
    assert refused(capsys, "import", "gpt2", tmp_path / "model", "--out", run.parent, "--name", "model")
    assert main(["import", "gpt2", str(tmp_path / "model"), "--out", str(tmp_path / "o")]) == 0
    assert [path.name for path in (tmp_path / "o").iterdir()] == ["gpt-model-1"]


# writing what was trained here


def begun(tmp_path, capsys, **settings):
    """A run of a GPT that has made two steps, its biases moved away from 0."""
    (tmp_path / "text.txt").write_text("the quick brown fox jumps over the lazy dog; " * 40)
    small = {"layers": 2, "heads": 2, "width": 16, "context": 24, "batch": 4, "warmup": 0, "steps": 2}
    small |= {"tokenizer": "bpe", "activation": "gelu-tanh", "bias": True, "lr": 0.1, "lr_end": None}
    if "merges" not in settings and settings.get("tokenizer", "bpe") == "bpe":
        small["merges"] = 6
    session = Session.begin(
        "gpt", {"data": str(tmp_path / "text.txt"), **small, **settings}, out=tmp_path, name="run"
    )
    session.train()
    capsys.readouterr()  # what has been compiled
    return tmp_path / "run"


@pytest.mark.parametrize(
    "settings",
    [
        {"activation": "gelu"},
        {"bias": False, "activation": "relu", "feed_forward": 20},
        {"tied": False, "tokenizer": "bytes"},
    ],
)
def test_a_gpt_that_was_trained_here_is_written_as_a_gpt_2(tmp_path, capsys, settings):
    run, folder = begun(tmp_path, capsys, **settings), tmp_path / "written"
    assert export_gpt2(run, folder) == folder
    config, weights = (
        json.loads((folder / "config.json").read_text()),
        library.load_file(folder / "model.safetensors"),
    )
    _, task, _ = trained(run)
    tokens = task.tokenizer.encode("the quick fox")
    with no_grad():
        logits = task.model(tokens[None]).numpy()[0]
    np.testing.assert_allclose(forward(weights, config, tokens), logits, atol=1e-4, rtol=0)
    _, again, _ = trained(imported(folder, tmp_path))
    assert again.tokenizer.encode("the quick fox").tolist() == tokens.tolist()
    with no_grad():
        assert np.array_equal(again.model(tokens[None]).numpy()[0], logits)


def test_what_gpt_2_has_no_words_for_is_refused_by_name(tmp_path, capsys):
    for field, value, words in (
        ("positions", "rotary", "expected learned, all that GPT-2 knows, got rotary; train a GPT with that"),
        ("norm", "rms", "expected layer, all that GPT-2 knows, got rms"),
        ("post_norm", True, "expected False, all that GPT-2 knows, got True"),
        ("activation", "swiglu", "expected one that GPT-2 knows, gelu-tanh, gelu, relu, got swiglu; train"),
    ):
        with pytest.raises(ValueError, match=f"^{field}: {words}"):
            config_to(GPTConfig(**{field: value}))
    run = begun(tmp_path, capsys, positions="alibi")
    assert refused(capsys, "export", run, tmp_path / "new").startswith(f"{run}: positions: expected learned")
    shutil.rmtree(run)
    run = begun(tmp_path, capsys, tokenizer="characters")
    assert refused(capsys, "export", run, tmp_path / "new") == (
        f"{run}: tokenizer: expected bpe or bytes, which GPT-2's files can say, got characters; "
        "train a GPT with --tokenizer bpe"
    )
    assert not (tmp_path / "new").exists()
    shutil.rmtree(run)
    run, there = begun(tmp_path, capsys), tmp_path / "text.txt"
    message = f"{there}: expected a new name, got one that is there; choose another"
    assert refused(capsys, "export", run, there) == message
    assert there.read_text()


def test_only_a_gpt_is_exported_and_only_into_a_new_folder(tmp_path, capsys):
    pytest.importorskip("sklearn")
    Session.begin("vae", {"hidden": 8, "latent": 2, "steps": 1}, out=tmp_path, name="vae").train()
    capsys.readouterr()
    message = f"{tmp_path / 'vae'}: expected a run of gpt, got one of vae; choose another"
    assert refused(capsys, "export", tmp_path / "vae", tmp_path / "new") == message
    expected = "export: expected a run folder and a new one, got fewer; do: tinygen export RUN FOLDER"
    assert refused(capsys, "export", tmp_path / "vae") == expected
    assert refused(capsys, "export") == expected
    assert "got 'three'" in refused(capsys, "export", "one", "two", "three")
    assert refused(capsys, "import", "gpt3", "x") == "unknown kind of model 'gpt3'; did you mean gpt2?"
    expected = "import gpt2: expected a folder, got none; do: tinygen import gpt2 FOLDER"
    assert refused(capsys, "import", "gpt2") == expected
    for argv in (["import"], ["import", "--help"]):
        assert main(argv) == 0 and "usage: tinygen import gpt2 FOLDER" in capsys.readouterr().out


# mistakes


def fails(folder, tmp_path, capsys):
    """What is said when the folder cannot be imported; nothing may be left behind."""
    line = refused(capsys, "import", "gpt2", folder, "--out", tmp_path / "runs")
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").iterdir())
    return line


FIELDS = {
    "model_type": ("llama", "model_type: expected 'gpt2', the only one that a GPT here can be, got 'llama'"),
    "layer_norm_epsilon": (1e-6, "layer_norm_epsilon: expected 1e-05, the only one .*, got 1e-06; choose an"),
    "scale_attn_weights": (False, "scale_attn_weights: expected True, .*, got False"),
    "scale_attn_by_inverse_layer_idx": (True, "scale_attn_by_inverse_layer_idx: expected False, .* got True"),
    "add_cross_attention": (True, "add_cross_attention: expected False, the only one .*, got True"),
    "activation_function": ("silu", "activation_function: expected one of gelu_new, .*, relu, got 'silu'"),
    "n_embd": ("36", "n_embd: expected a whole number of at least 1, got '36'; give the file that"),
    "n_layer": (0, "n_layer: expected a whole number of at least 1, got 0"),
    "n_positions": (None, "n_positions: expected a whole number of at least 1, got None"),
    "n_inner": (1.5, "n_inner: expected a whole number of at least 1, got 1.5"),
    "n_head": (5, "heads: expected a divisor of the width, 36, got 5"),
    "resid_pdrop": (1.0, "resid_pdrop: expected a number of at least 0 and below 1, got 1.0; change it"),
    "resid_pdrop as text": ("0.1", "resid_pdrop: expected a number of .*, got '0.1'"),
    "activation_function as a list": (["relu"], "activation_function: expected one of .*, got .'relu'.;"),
}


@pytest.mark.parametrize("field", FIELDS)
def test_a_field_that_a_gpt_here_cannot_follow_is_named(tmp_path, capsys, field):
    value, message = FIELDS[field]
    publish(tmp_path / "model", weights_for(CONFIG), **{field.split()[0]: value})
    line = fails(tmp_path / "model", tmp_path, capsys)
    assert re.match(rf"{re.escape(str(tmp_path / 'model' / 'config.json'))}: {message}", line), line


def change(name, function):
    return lambda weights: weights | {name: function(weights[name])}


def leave_out(*names):
    return lambda weights: {name: array for name, array in weights.items() if name not in names}


FIRST = "transformer.h.0.attn.c_attn.weight"
WEIGHTS = {
    "turned": (
        change(FIRST, lambda array: array.T.copy()),
        r"transformer.h.0.attn.c_attn.weight: expected \(36, 108\), as config.json says, got \(108, 36\); ",
    ),
    "another context": (
        change("transformer.wpe.weight", lambda array: array[:10]),
        r"transformer.wpe.weight: expected \(24, 36\), as config.json says, got \(10, 36\); give files",
    ),
    "missing": (
        leave_out("transformer.h.2.ln_1.bias", "transformer.ln_f.bias"),
        r"h.2.ln_1.bias: expected among the weights, got none of that name \(2 of 40 are missing\); give all",
    ),
    "unknown": (
        lambda weights: weights | {"score.weight": np.zeros((2, 36), np.float32)},
        r"score.weight: expected weights of a GPT-2 of 3 layers, got an unknown one, \(2, 36\); give those",
    ),
    "one layer more": (
        lambda weights: weights | {"transformer.h.3.ln_1.bias": np.zeros(36, np.float32)},
        r"transformer.h.3.ln_1.bias: expected weights of a GPT-2 of 3 layers, got an unknown one, \(36,\)",
    ),
    "twice": (
        lambda weights: weights | {"ln_f.bias": weights["transformer.ln_f.bias"]},
        "ln_f.bias: expected once, got ln_f.bias and transformer.ln_f.bias; take one of them out",
    ),
    "another head": (
        lambda weights: weights | {"lm_head.weight": weights["transformer.wte.weight"] + 1},
        'expected lm_head.weight to be wte.weight, since config.json ties them, got another; say there: "tie',
    ),
    "whole numbers": (
        change(FIRST, lambda array: array.astype(np.int8)),
        f"{FIRST}: expected floating-point numbers, got I8; get the model as it was before it was quantised",
    ),
    "not finite": (
        change(FIRST, lambda array: np.where(array > 0.5, np.float32(np.nan), array)),
        f"{FIRST}: expected finite numbers, got others; get the files of the model again, all from one place",
    ),
}


@pytest.mark.parametrize("kind", WEIGHTS)
def test_weights_that_do_not_fit_are_named(tmp_path, capsys, kind):
    function, message = WEIGHTS[kind]
    publish(tmp_path / "model", function(weights_for(CONFIG)))
    line = fails(tmp_path / "model", tmp_path, capsys)
    assert re.match(rf"{re.escape(str(tmp_path / 'model' / 'model.safetensors'))}: {message}", line), line


def test_files_that_are_missing_or_damaged_are_named(tmp_path, capsys):
    model = tmp_path / "model"
    assert "there is no folder" in fails(model, tmp_path, capsys)
    weights = publish(model)
    for name in ("config.json", "vocab.json", "merges.txt", "model.safetensors"):
        content = (model / name).read_bytes()
        for damaged in (content[:-1] if name != "merges.txt" else b"#version\nx", b"", b"\xff" * 100):
            (model / name).write_bytes(damaged)
            assert name in fails(model, tmp_path, capsys), damaged
        (model / name).unlink()
        line = fails(model, tmp_path, capsys)
        assert line.startswith(f"{model / name}: expected"), line
        (model / name).write_bytes(content)
    (model / "model.safetensors").unlink()
    assert fails(model, tmp_path, capsys) == (
        f"{model / 'model.safetensors'}: expected the weights, or model.safetensors.index.json, got neither; "
        "get them, or let transformers write them: "
        "GPT2LMHeadModel.from_pretrained(FOLDER).save_pretrained(FOLDER)"
    )
    (model / "config.json").write_text("[]")
    assert "config.json: expected a dict of fields, got list" in fails(model, tmp_path, capsys)
    publish(model, weights, vocab_size=300)
    assert fails(model, tmp_path, capsys) == (
        f"{model / 'vocab.json'}: expected 300 tokens, the vocab_size of config.json, got 262; make them "
        "equal: tokens that were added later, and rows that no token has, want a name here"
    )


def test_of_several_files_each_that_is_not_right_is_named(tmp_path, capsys):
    model = tmp_path / "model"
    first, second = shard(model, publish(model))
    content = (model / second).read_bytes()
    (model / second).write_bytes(content[:-5])
    assert f"{model / second}: expected a whole safetensors file, got another (" in fails(
        model, tmp_path, capsys
    )
    (model / second).unlink()
    line = fails(model, tmp_path, capsys)
    assert line.startswith(
        f"{model / second}: expected, since model.safetensors.index.json names it, got none"
    )
    shutil.copy(model / first, model / second)
    assert "as model.safetensors.index.json says, got none; get" in fails(model, tmp_path, capsys)
    for index in ([], {}, {"weight_map": {"a": "../b.safetensors"}}, {"weight_map": {"a": 1}}):
        (model / "model.safetensors.index.json").write_text(json.dumps(index))
        line = fails(model, tmp_path, capsys)
        assert "index.json: expected weight_map, a dict of weight -> name of a file beside it, got" in line


def test_nothing_is_left_where_the_disk_is_full(tmp_path, monkeypatch):
    publish(tmp_path / "model")
    run = imported(tmp_path / "model", tmp_path)
    real, calls = os.fsync, itertools.count()

    def full(handle):
        if next(calls) == at:
            raise OSError(28, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    for at in range(6):
        calls = itertools.count()
        with pytest.raises(OSError, match="No space left"):
            import_gpt2(tmp_path / "model", out=tmp_path / "runs", name="second")
        assert [path.name for path in (tmp_path / "runs").iterdir()] == ["model"], at
    for at in range(6):
        calls = itertools.count()
        with pytest.raises(OSError, match="No space left"):
            export_gpt2(run, tmp_path / "out" / "new")
        assert list((tmp_path / "out").iterdir()) == [], at


# memory


def peak_of(function, *args, **more):
    """The most memory that was taken during a call, in bytes."""
    tracemalloc.start()
    try:
        function(*args, **more)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_weights_are_in_memory_once_while_they_come_in_and_twice_at_most_while_they_go_out(tmp_path):
    sizes = {"n_embd": 192, "n_layer": 4}
    weights = publish(tmp_path / "model", weights_for({**CONFIG, **sizes}), **sizes)
    size = sum(array.nbytes for array in weights.values())
    assert size > 7e6
    assert peak_of(import_gpt2, tmp_path / "model", out=tmp_path, name="run") < 1.4 * size
    assert peak_of(trained, tmp_path / "run") < 2.2 * size
    assert peak_of(export_gpt2, tmp_path / "run", tmp_path / "again") < 2.2 * size
    assert peak_of(checkpoint.save, tmp_path, weights, {}) < 0.3 * size


# The library itself, where it is installed


@pytest.fixture
def transformers(monkeypatch):
    """The library, kept from looking for anything on the network."""
    pytest.importorskip("torch")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return pytest.importorskip("transformers")


def assert_like_ours(theirs, run_folder):
    """Logits to 1e-4, and the same greedy text, of their model and of our run."""
    import torch

    _, task, _ = trained(run_folder)
    tokens = row(24)
    with torch.no_grad(), no_grad():
        expected = theirs.eval()(torch.tensor(tokens[None])).logits[0].numpy()
        assert expected.std() > 1
        np.testing.assert_allclose(task.model(tokens[None]).numpy()[0], expected, rtol=0, atol=1e-4)
    prompt = task.tokenizer.encode(PROMPT)
    written = theirs.generate(
        torch.tensor(prompt[None]), max_new_tokens=13, do_sample=False, eos_token_id=None, pad_token_id=0
    )
    argv = ["sample", str(run_folder), "--prompt", PROMPT, "--temperature", "0", "--tokens", "13"]
    assert main(argv) == 0
    text = (run_folder / "samples-0.txt").read_text(encoding="utf-8")
    assert text == task.tokenizer.decode(written[0].numpy()) != PROMPT


@pytest.mark.parametrize("activation, tied", [("gelu_new", True), ("gelu", False), ("relu", True)])
def test_models_of_transformers_are_the_same_here_and_ours_are_there(
    tmp_path, transformers, activation, tied
):
    import torch

    torch.manual_seed(0)
    model, again = tmp_path / "model", tmp_path / "again"
    sizes = {name: CONFIG[name] for name in ("vocab_size", "n_positions", "n_embd", "n_layer", "n_head")}
    config = transformers.GPT2Config(
        **sizes,
        activation_function=activation,
        tie_word_embeddings=tied,
        initializer_range=0.3,
        bos_token_id=261,
        eos_token_id=261,
    )
    theirs = transformers.GPT2LMHeadModel(config)
    for name, parameter in theirs.named_parameters():  # they begin as 0
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.3)
    theirs.save_pretrained(model)
    gpt2(model, MERGES)
    run = imported(model, tmp_path)
    assert_like_ours(theirs, run)
    export_gpt2(run, again)
    loaded = transformers.GPT2LMHeadModel.from_pretrained(again)
    assert_like_ours(loaded, run)
    for name, array in theirs.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], array), name
    before, after = theirs.config.to_dict(), loaded.config.to_dict()
    assert {name for name in before if before[name] != after[name]} <= {"initializer_range", "_name_or_path"}
    tokens = trained(run)[1].tokenizer.encode("the cat ## sat\n")
    tokenizer = transformers.GPT2Tokenizer.from_pretrained(again)
    assert tokenizer("the cat ## sat\n")["input_ids"] == tokens.tolist()
