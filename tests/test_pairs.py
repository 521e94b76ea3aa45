"""A GPT on pairs: the loss is on the answer alone, whatever is around it; and which answers are right."""

import itertools
import json

import numpy as np
import pytest
from test_cli import refused

import tinygen as tg
from tinygen import data
from tinygen.cli import main
from tinygen.models import GPT, GPTConfig, SamplingConfig, generate, greedy
from tinygen.training import Run, Session, TrainingConfig
from tinygen.training.gpt_recipe import GPTRecipe
from tinygen.training.pairs_task import AnswerSampling, PairsTask, parts
from tinygen.training.step import take_step

for library in ("matplotlib", "safetensors", "tqdm"):
    pytest.importorskip(library)

PAIRS = [(f"{a}+{b}", f"{a + b}") for a in (3, 5, 45, 60) for b in (2, 4, 38, 70)]
SMALL = {
    "between": "=",
    "layers": 1,
    "heads": 2,
    "width": 16,
    "context": 12,
    "batch": 5,
    "steps": 4,
    "warmup": 1,
}


def generator(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture
def lines(tmp_path):
    """The path of a file of pairs."""
    path = tmp_path / "sums.txt"
    path.write_text("".join(f"{prompt}\t{answer}\n" for prompt, answer in PAIRS), encoding="utf-8")
    return path


def made(lines, scale=8.0, **settings):
    """A task with its data, and a model whose opinions are strong."""
    settings = {**SMALL, **settings, "data": str(lines), "pairs": True, "steps": 4, "exact_on": 1000}
    arrays, data_info, files = GPTRecipe.load(str(lines), settings)
    task = GPTRecipe.make(GPTRecipe.config_for(settings, data_info), data_info, files, rng=generator())
    config = TrainingConfig(
        **{name: settings[name] for name in ("data", "steps", "batch", "accumulate") if name in settings},
        optimizer="sgd",
    )
    task.set_data(arrays, config)
    for parameter in task.model.parameters():
        if parameter.data.ndim > 1:
            parameter.assign(parameter.numpy() * scale)
    return task, config


# rows


def test_a_row_is_a_prompt_and_its_answer_of_which_only_the_answer_is_a_target():
    x, y = data.pair_rows([[1, 2, 3], [4], [5, 6]], [[7, 8], [9, 1, 2, 3], [4]], room=2)
    assert x.tolist() == [[2, 3, 7, 0], [4, 9, 1, 2], [5, 6, 0, 0]]
    assert y.tolist() == [[-100, 7, 8, -100], [9, 1, 2, 3], [-100, 4, -100, -100]]
    assert x.dtype == y.dtype == np.int32
    short = data.trimmed_rows(x[[0, 2]], y[[0, 2]])
    assert [part.tolist() for part in short] == [[[2, 3, 7], [5, 6, 0]], [[-100, 7, 8], [-100, 4, -100]]]


def test_the_answer_and_its_end_are_whole_and_the_prompt_loses_its_beginning(tmp_path):
    path = tmp_path / "long.txt"
    path.write_text("\n".join(f"{'abcdefgh'[: i % 8 + 1]}\t{'xyz'[: i % 3 + 1]}" for i in range(48)))
    long = sum(len(prompt) > 4 for prompt, _ in data.load_pairs(path)[0])
    with pytest.warns(UserWarning, match=rf"{long} of 43 prompts have more than the 5 tokens that the cont"):
        task, _ = made(path, context=8)
    rows = list(itertools.chain(*(zip(*task.minibatches.at(step)) for step in range(9))))
    assert len(rows) == 43
    for x, y in rows:
        text = task.tokenizer.decode(x[: np.flatnonzero(y >= 0)[-1] + 1])
        answer = task.tokenizer.decode(y[y >= 0])
        prompt, _, begun = text.rpartition("=")
        assert answer in ("x\n", "xy\n", "xyz\n") and begun == answer[:-1]
        assert prompt and "abcdefgh".find(prompt) >= 0 and len(prompt) <= 4
    # and so it does when it is answered, in an evaluation and by `sample`
    whole, cut = (task.tokenizer.encode(f"{prompt}=") for prompt in ("bcdefgh", "efgh"))
    task.model.eval()
    (written,) = task.written_to([cut])
    assert len(written) >= 1 and task.written_to([whole]) == [written]
    sampled = ["".join(task.written(AnswerSampling(prompt=p), generator())) for p in ("bcdefgh", "efgh")]
    assert sampled[0] == sampled[1] and sampled[0].startswith(f"={written.partition(chr(10))[0]}")


@pytest.mark.parametrize("settings", [{}, {"tokenizer": "bytes"}, {"tokenizer": "bpe", "merges": 9}])
def test_pairs_come_back_from_their_rows_whatever_the_tokenizer(lines, settings):
    task, _ = made(lines, **settings)
    arrays, data_info, _ = GPTRecipe.load(str(lines), {**SMALL, **settings, "pairs": True})
    for name, pairs in zip(("train", "test"), data.load_pairs(lines)):
        halves = parts(arrays[name], arrays[f"{name}_lengths"])
        texts = [[task.tokenizer.decode(half) for half in side] for side in halves]
        assert list(zip(*texts)) == [(f"{prompt}=", f"{answer}\n") for prompt, answer in pairs]
    assert data_info["longest"] == arrays["train_lengths"][:, 1].max()


# the loss


def test_the_loss_is_on_the_answer_and_its_end_alone_in_value_and_gradient(lines):
    task, _ = made(lines)
    x, y = task.batch(0)
    logits = task.model(x).numpy()
    answers = [y[i][y[i] >= 0] for i in range(len(y))]
    losses = []
    for row, targets, answer in zip(logits, y, answers):
        at = int(np.argmax(targets >= 0))  # where the prompt ends
        for token, scores in zip(answer, row[at:]):
            losses.append(np.log(np.exp(scores.astype(np.float64)).sum()) - scores[token])
    assert float(task.loss((x, y), None)[0]) == pytest.approx(np.mean(losses), rel=1e-5)
    assert task.players[0].weight((x, y)) == len(losses) == sum(map(len, answers))
    reached = tg.grad(lambda logits: tg.cross_entropy(logits, y))(logits)
    assert np.array_equal(np.abs(np.asarray(reached)).sum(-1) > 0, y >= 0)


def test_what_stands_in_the_padding_changes_no_bit_of_loss_or_gradient(lines):
    task, _ = made(lines)
    x, y = task.batch(0)
    after = np.cumsum((y >= 0)[:, ::-1], axis=1)[:, ::-1] == 0
    assert after.any()
    found = []
    for filling in (x, np.where(after, generator().integers(0, 12, x.shape), x)):
        task.model.zero_grad()
        loss = task.loss((filling, y), None)[0]
        loss.backward()
        found.append([float(loss), *(p.grad.numpy() for p in task.model.parameters())])
    assert not np.array_equal(filling, x)
    assert all(map(np.array_equal, *found))


def test_a_row_has_the_loss_that_it_has_alone(lines):
    task, _ = made(lines)
    x, y = task.batch(0)
    together = task.model.loss(x, y, reduction="none").numpy()
    for i in range(len(x)):
        alone = data.trimmed_rows(x[i : i + 1], y[i : i + 1])
        single = task.model.loss(*alone, reduction="none").numpy()[0]
        np.testing.assert_allclose(together[i, : len(single)], single, rtol=1e-5, atol=1e-6)
        assert not together[i, len(single) :].any()


def test_a_batch_in_pieces_makes_the_step_of_the_whole(lines):
    """Answers differ in length, so a mean of the pieces' means would be another number."""
    weights = []
    for accumulate in (1, 3, 5):
        task, config = made(lines, scale=2.0, batch=14, accumulate=accumulate)
        x, y = task.batch(0)
        pieces = np.array_split((y >= 0).sum(axis=1), accumulate)
        assert accumulate == 1 or len({piece.mean() for piece in pieces}) > 1
        optimizers = [config.make_optimizer(task.model.parameters())]
        loss = take_step(task, optimizers, (x, y), config, 0, lr=0.5)["loss"]
        weights.append((loss, task.model.state_dict()))
    for loss, state in weights[1:]:
        assert loss == pytest.approx(weights[0][0], rel=1e-6)
        for name, array in state.items():
            np.testing.assert_allclose(array, weights[0][1][name], rtol=1e-5, atol=1e-6)


# answers


@pytest.mark.parametrize("positions", ["learned", "rotary"])
def test_prompts_of_different_lengths_are_answered_as_each_would_be_alone(positions):
    config = GPTConfig(vocabulary=13, context=12, layers=2, heads=2, width=12, positions=positions)
    model = GPT(config, rng=generator()).eval()
    for parameter in model.parameters():
        parameter.assign(parameter.numpy() * (8 if parameter.data.ndim > 1 else 1))
    prompts = [generator(i).integers(0, 13, length) for i, length in enumerate((3, 7, 1, 12, 3))]
    steps = np.array(list(greedy(model, prompts))).T
    for prompt, row in zip(prompts, steps):
        alone = generate(model, prompt[None], sampling=SamplingConfig(temperature=0), rngs=[generator()])
        expected = [int(token) for (token,) in itertools.islice(alone, 13 - len(prompt))]
        assert row.tolist() == [-1] * (len(prompt) - 1) + expected
    assert len(np.unique(steps)) > 3


def test_prompts_that_do_not_fit_are_an_error():
    model = GPT(GPTConfig(vocabulary=13, context=4, layers=1, heads=1, width=4), rng=generator())
    for prompts in ([], [[]], [[1], []], [[1, 2, 3, 4, 5]]):
        with pytest.raises(ValueError, match=r"greedy: expected prompts of 1 to 4 tokens, got \["):
            next(greedy(model, prompts))


class Speaker:
    """A model that says what a function of the text so far says, a character at a time."""

    def __init__(self, model, tokenizer, next_character):
        self.config, self.new_cache, self.logits = model.config, list, tg.tensor
        self.tokenizer, self.next = tokenizer, next_character

    def hidden(self, new, *, cache):
        cache.append(new)
        texts = [self.tokenizer.decode(row) for row in np.concatenate(cache, axis=1)]
        ids = [int(self.tokenizer.encode(self.next(text))[0]) for text in texts]
        return np.eye(self.tokenizer.vocab_size, dtype=np.float32)[ids][:, None]


@pytest.mark.parametrize(
    "says, right",
    [
        (lambda a, b: f"{a + b}\n", lambda a, b: True),
        (lambda a, b: f"{a + b}\n1+1\n\n", lambda a, b: True),  # what comes after the end is nobody's concern
        (lambda a, b: f"{a + b}", lambda a, b: False),  # it never ends
        (lambda a, b: f"{a + b}0\n", lambda a, b: False),
        (lambda a, b: f"{a + b}"[:-1] + "\n", lambda a, b: False),
        (lambda a, b: f"{a + b if b == 38 else 1}\n", lambda a, b: b == 38),
    ],
    ids=["right", "more", "no end", "too long", "too short", "some"],
)
def test_exact_is_the_share_of_answers_that_are_right_to_their_end(lines, says, right):
    task, _ = made(lines)
    pairs = [tuple(map(int, prompt.split("+"))) for prompt, _ in PAIRS]
    encoded = [(task.tokenizer.encode(f"{a}+{b}="), task.tokenizer.encode(f"{a + b}\n")) for a, b in pairs]
    task.prompts, task.answers = map(list, zip(*encoded))

    def next_character(text):
        if "=" not in text:
            return "="
        prompt, _, written = text.partition("=")
        answer = says(*map(int, prompt.split("+")))
        return answer[len(written)] if len(written) < len(answer) else "1"

    task.model = Speaker(task.model, task.tokenizer, next_character)
    task.at_once = 7
    assert task.exact() == sum(right(a, b) for a, b in pairs) / len(pairs)
    task.exact_on = 3
    assert task.exact() == sum(right(a, b) for a, b in pairs[:3]) / 3


def test_an_evaluation_tells_loss_exact_and_bits_a_byte(lines):
    task, _ = made(lines)
    task.model.wte.weight.assign(np.zeros_like(task.model.wte.weight.numpy()))  # it knows nothing
    vocabulary = task.tokenizer.vocab_size
    metrics = task.evaluate(generator())
    assert metrics["loss"] == pytest.approx(np.log(vocabulary), rel=1e-5)
    assert metrics["bits_per_byte"] == pytest.approx(
        np.log2(vocabulary), rel=1e-5
    )  # characters are bytes here
    assert metrics["exact"] == 0 and set(metrics) == {"loss", "exact", "bits_per_byte"}


def test_it_learns_sums_by_heart_and_answers_them(tmp_path, lines, capsys):
    options = {
        **SMALL,
        "pairs": True,
        "data": str(lines),
        "steps": 250,
        "batch": 16,
        "lr": 1e-2,
        "width": 32,
        "evaluate_every": 50,
    }
    flags = [f"--{name.replace('_', '-')}" for name in options]
    argv = [flag if value is True else f"{flag}={value}" for flag, value in zip(flags, options.values())]
    assert main(["train", "gpt", *argv, "--out", str(tmp_path), "--name", "run", "--quiet"]) == 0
    capsys.readouterr()
    run = Run(tmp_path / "run")
    assert run.metrics()[-1]["train_loss"] < 0.1
    for prompt, answer in data.load_pairs(lines)[0][:5]:
        assert main(["sample", str(run.folder), "--prompt", prompt]) == 0
        assert capsys.readouterr().out.splitlines()[0] == f"{prompt}={answer}"
        assert run.path("samples-0.txt").read_text() == f"{prompt}={answer}"
    assert main(["evaluate", str(run.folder), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    row = run.metrics()[-1]
    assert figures == pytest.approx({name: row[f"test_{name}"] for name in figures}, rel=1e-5)
    assert set(figures) == {"loss", "exact", "bits_per_byte"}
    shown = run.path("samples.txt").read_text()
    for prompt, answer in data.load_pairs(lines)[1]:
        assert f"{prompt}=" in shown and f"right: {answer}\n" in shown


def test_exact_on_is_what_it_was_told_or_1000(lines):
    for given, expected in (({}, 1000), ({"exact_on": 3}, 3)):
        settings = {**SMALL, **given, "pairs": True}
        _, data_info, files = GPTRecipe.load(str(lines), settings)
        config = GPTRecipe.config_for(settings, data_info)
        assert GPTRecipe.make(config, data_info, files, rng=generator()).exact_on == expected


def test_an_answer_ends_earlier_where_it_is_told_to_stop(lines):
    task, _ = made(lines)
    task.model.eval()
    whole = "".join(task.written(AnswerSampling(prompt="3+2", tokens=8), generator()))
    stop = whole[2]
    stopped = "".join(task.written(AnswerSampling(prompt="3+2", tokens=8, stop=stop), generator()))
    assert whole[0] == "=" and stopped == "=" + whole[1:].partition(stop)[0] != whole


# mistakes


@pytest.mark.parametrize(
    "settings, message",
    [
        (
            {"end": "1"},
            r"end: expected a text that no answer holds, got '1', which is in '\d+'; choose another",
        ),
        ({"end": "00"}, r"end: expected a text that no answer holds, got '00', which is in '\d*0'; choose"),
        ({"end": ""}, "end: expected some text, got none; without it no answer would ever end"),
        ({"context": 3}, "context: expected at least 5 tokens, 4 of them for the longest answer, got 3;"),
        ({"exact_on": 0}, "exact_on: expected at least 1, got 0"),
        ({"merges": 5}, "merges: is not used by the tokenizer characters"),
        ({"data": "python-docs"}, "pairs: expected a path or one of number-words, .*, got python-docs"),
        ({"pairs": False}, "between: is not used by text; leave it out, or choose pairs"),
    ],
)
def test_settings_that_do_not_fit_are_errors(tmp_path, lines, settings, message):
    given = {**SMALL, "data": str(lines), "pairs": True, **settings}
    with pytest.raises(ValueError, match=message):
        Session.begin("gpt", given, out=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_what_cannot_be_answered_or_measured_is_told(tmp_path, lines, capsys):
    given = {**SMALL, "data": str(lines), "pairs": True}
    Session.begin("gpt", given, out=tmp_path, name="run").train()
    wide = tmp_path / "wide.txt"
    wide.write_text("1+1\t1111\n" * 20)
    other = tmp_path / "other.txt"
    other.write_text("1+1\tx\n" * 20)
    for argv, told in (
        (["sample"], "prompt: expected a text to answer, got none; do: tinygen sample RUN --prompt TEXT"),
        (["sample", "--prompt", ""], "prompt: expected a text to answer"),
        (["sample", "--prompt", "x"], "encode: expected characters of the training text, got 'x'"),
        (["evaluate", "--data", str(wide)], "expected answers of at most 4 tokens, got 5; give data like"),
        (["evaluate", "--data", str(other)], "got 'x'"),
        (["evaluate", "--data", "python-docs"], "unknown data set 'python-docs'"),
    ):
        assert main([argv[0], str(tmp_path / "run"), *argv[1:]]) == 2
        assert told in capsys.readouterr().err


def test_pairs_by_name_need_no_flag():
    arrays, data_info, _ = GPTRecipe.load("addition", GPTRecipe.settings["addition"])
    assert data_info["pairs"] and data_info["between"] == "=" and data_info["vocabulary"] == 13
    assert len(arrays["train_lengths"]) == 9000 and len(arrays["test_lengths"]) == 1000
    config = GPTRecipe.config_for(GPTRecipe.settings["addition"], data_info)
    assert (config.layers, config.width) == (2, 128)
    assert type(GPTRecipe.make(config, data_info, _, rng=generator())) is PairsTask


def test_answers_as_long_as_the_longest_are_like_those_it_was_trained_on():
    PairsTask.check({"longest": 4}, {"longest": 4})
    with pytest.raises(ValueError, match="expected answers of at most 4 tokens, got 5"):
        PairsTask.check({"longest": 4}, {"longest": 5})


def test_who_only_answers_is_looked_at_with_a_text(tmp_path, lines, capsys):
    Session.begin("gpt", {**SMALL, "data": str(lines), "pairs": True}, out=tmp_path, name="run").train()
    capsys.readouterr()
    told = refused(capsys, "look", tmp_path / "run")
    assert told.startswith("text: expected one, got none, and this GPT only answers; give --text, such")
    assert main(["look", str(tmp_path / "run"), "--text", "3+2=5"]) == 0
