"""Looking inside a Transformer: maps are the weights that were used, bits are the loss, pictures show it."""

import importlib
import math
import re
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_gpt import VARIANTS, generator, made, tokens

import tinygen as tg
from tinygen.autograd import no_grad
from tinygen.autograd.modes import Observer, observing
from tinygen.cli import main
from tinygen.data import ByteTokenizer, CharacterTokenizer
from tinygen.models import GPT, AttentionMaps, GPTConfig, guesses
from tinygen.models.positions import POSITIONS
from tinygen.models.transformer import Block
from tinygen.training import Session, look_picture
from tinygen.training.look import Look, Map, chosen, labels
from tinygen.training.look_picture import save_look

for library in ("sklearn", "matplotlib", "safetensors", "tqdm"):
    pytest.importorskip(library)


class Calls(Observer):
    """Keeps what each call of attention got and made."""

    def __init__(self):
        self.calls = []

    def result(self, primitive, values, attrs, out, node):
        if primitive.name == "attention":
            self.calls.append((*values, out))
        elif primitive.name == "self_attention":  # of two heads, apart as `attention` would have them
            q, k, v, out = (heads(part) for part in (*np.split(values[0], 3, axis=-1), out))
            self.calls.append((q, k, v, values[1], out))


def heads(x):
    """(B, T, C) -> (B, 2, T, C / 2)."""
    return x.reshape(*x.shape[:2], 2, -1).swapaxes(1, 2)


def watched(run):
    """The maps and the calls of attention while `run()` runs, and what it returns."""
    maps, calls = AttentionMaps(), Calls()
    with no_grad(), observing(maps), observing(calls):
        result = run()
    return maps.weights, calls.calls, result


# maps


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_maps_are_the_weights_that_were_used(positions, variant):
    """Times the values they give what attention gave; and they are the formula's, in float64."""
    model, row = made(25.0, positions=positions, **VARIANTS[variant]), tokens()
    maps, calls, _ = watched(lambda: model(row))
    assert len(maps) == len(calls) == 2
    for weights, (q, k, v, mask, out) in zip(maps, calls):
        assert weights.shape == (2, 2, 8, 8) and weights.dtype == np.float32
        np.testing.assert_allclose(weights @ v, out, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-6)
        assert not np.triu(weights, 1).any()  # exactly 0
        q, k = q.astype(np.float64), k.astype(np.float64)
        scores = q @ k.swapaxes(-1, -2) / math.sqrt(6) + (0 if mask is None else mask)
        e = np.tril(np.exp(scores))
        np.testing.assert_allclose(weights, e / e.sum(-1, keepdims=True), rtol=1e-4, atol=1e-7)
        assert np.ptp(weights[..., -1, :], axis=-1).min() > 0.02  # not simply the mean of all


@pytest.mark.parametrize("variant", VARIANTS)
def test_looking_changes_no_bit_of_values_or_gradients(variant):
    model, row = made(5.0, **VARIANTS[variant]), tokens(2, 9)
    found = []
    for observer in (Observer(), AttentionMaps()):
        model.zero_grad()
        with observing(observer):
            loss = model.loss(row[:, :-1], row[:, 1:], reduction="sum")
        loss.backward()
        found.append([loss.numpy(), *(p.grad.numpy() for p in model.parameters())])
    assert len(observer.weights) == 2  # of the forward pass alone
    assert all(np.array_equal(a, b) for a, b in zip(*found, strict=True))


def test_maps_of_a_text_and_of_a_memory_come_in_the_order_of_the_calls():
    block = Block(GPTConfig(width=12, heads=2), rng=generator(), crossed=True).eval()
    x, memory = (generator(i).standard_normal((3, n, 12), dtype=np.float32) for i, n in ((1, 4), (2, 6)))
    hidden = np.array([True, True, False, True, True, False])
    (own, other), calls, _ = watched(lambda: block(x, memory, memory_mask=hidden, causal=True))
    assert own.shape == (3, 2, 4, 4) and other.shape == (3, 2, 4, 6)
    for weights, (*_, v, _, out) in zip((own, other), calls):
        np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-6)
        np.testing.assert_allclose(weights @ v, out, rtol=1e-5, atol=1e-6)
    assert not other[..., ~hidden].any() and (other[..., hidden] > 0).all()


def test_a_token_that_may_see_nothing_looks_nowhere():
    q = tg.tensor(generator().standard_normal((1, 1, 3, 4), dtype=np.float32))
    mask = np.array([[True, False, False], [False, False, False], [True, True, True]])
    ((weights,), _, _) = watched(lambda: tg.attention(q, q, q, mask, scale=0.1))
    assert weights[0, 0, :2].tolist() == [[1, 0, 0], [0, 0, 0]]
    scores = np.exp(0.1 * q.numpy()[0, 0, 2] @ q.numpy()[0, 0].T)
    np.testing.assert_allclose(
        weights[0, 0, 2], scores / scores.sum(), rtol=1e-6
    )  # the scale that it was given


def test_with_a_cache_a_map_has_the_rows_of_the_new_tokens():
    model, row = made(5.0, positions="rotary"), tokens(1, 8)
    whole, _, _ = watched(lambda: model(row))
    cache = model.new_cache()
    parts, _, _ = watched(lambda: [model(row[:, :6], cache=cache), model(row[:, 6:], cache=cache)])
    assert [part.shape[2:] for part in parts] == [(6, 6), (6, 6), (2, 8), (2, 8)]
    for i in range(2):
        np.testing.assert_allclose(parts[i], whole[i][:, :, :6, :6], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(parts[2 + i], whole[i][:, :, 6:], rtol=1e-4, atol=1e-6)


def test_a_model_that_has_to_look_two_tokens_back_does_so():
    """One head learns to repeat the token before the last: it can only know it by looking there."""
    rng = generator()
    model = GPT(GPTConfig(vocabulary=8, context=12, layers=1, heads=1, width=16), rng=rng)
    optimizer = tg.optim.Adam(model.parameters(), lr=0.02)
    before, _, _ = watched(lambda: model(rng.integers(0, 8, (20, 12))))
    for _ in range(150):
        row = rng.integers(0, 8, (16, 12))
        targets = np.full_like(row, -100)
        targets[:, 2:] = row[:, :-2]
        optimizer.zero_grad()
        model.loss(row, targets).backward()
        optimizer.step()
    after, _, _ = watched(lambda: model(rng.integers(0, 8, (20, 12))))
    there = [np.diagonal(weights[0][:, 0], -2, axis1=1, axis2=2) for weights in (before, after)]
    assert there[0].mean() < 0.25
    assert there[1].mean(axis=0).min() > 0.8  # wherever a token stands


# guesses


@pytest.mark.parametrize("dtype, tolerance", [(np.float32, 1e-6), (np.float64, 1e-13)])
def test_the_surprisal_of_a_text_is_the_models_loss_in_bits(dtype, tolerance):
    model, row = made(5.0).astype(dtype), tokens(1, 9)[0]
    loss = model.loss(row[None, :-1], row[None, 1:], reduction="sum")
    told = guesses(model(row[None, :-1])[0], row[1:])
    assert told.surprisal.dtype == np.float64
    assert told.surprisal.sum() == pytest.approx(float(loss) / math.log(2), rel=tolerance)


def test_who_knows_nothing_doubts_log2_v_and_who_is_certain_0():
    for vocabulary in (1, 2, 3, 100):
        told = guesses(np.full((4, vocabulary), 7.5), np.arange(4) % vocabulary)
        np.testing.assert_allclose(told.surprisal, math.log2(vocabulary), rtol=1e-14)
        np.testing.assert_allclose(told.entropy, math.log2(vocabulary), rtol=1e-14)
        np.testing.assert_allclose(told.probability, 1 / vocabulary, rtol=1e-14)
    told = guesses(1e4 * np.eye(3), np.array([0, 1, 0]))
    assert told.entropy.tolist() == [0, 0, 0] and told.surprisal[:2].tolist() == [0, 0]
    assert not np.signbit([*told.entropy, *told.surprisal]).any()  # -0 would be printed
    assert told.surprisal[2] == pytest.approx(1e4 / math.log(2))
    assert told.best.tolist() == [0, 1, 2] and told.right.tolist() == [True, True, False]


def test_surprisal_and_entropy_by_hand():
    told = guesses(np.log([[0.5, 0.25, 0.125, 0.125]]), [2])
    assert told.surprisal[0] == pytest.approx(3) and told.entropy[0] == pytest.approx(1.75)
    assert (told.best[0], told.right[0]) == (0, False) and told.probability[0] == pytest.approx(0.5)


@given(st.data())
def test_doubt_is_between_0_and_log2_v_whatever_the_logits(data):
    vocabulary = data.draw(st.integers(1, 30))
    numbers = st.floats(-1e6, 1e6) | st.floats(-1, 1)
    logits = data.draw(st.lists(numbers, min_size=vocabulary, max_size=vocabulary))
    told = guesses(np.array([logits]), np.array([vocabulary - 1]))
    assert 0 <= told.entropy[0] <= math.log2(vocabulary) * (1 + 1e-14)
    assert told.surprisal[0] >= 0 and 1 / vocabulary * (1 - 1e-14) <= told.probability[0] <= 1


def test_guesses_that_are_not_of_these_tokens_are_an_error():
    for logits, row in ((np.zeros((3, 5)), np.zeros(2, int)), (np.zeros((1, 3, 5)), np.zeros(3, int))):
        with pytest.raises(
            ValueError, match=r"guesses: expected logits \(N, V\) and tokens \(N,\), got .*; give"
        ):
            guesses(logits, row)


# what is shown


def a_look(count=5, *, heads=2, titles=("layer 1", "layer 2"), text=None, seed=0):
    """A Look with causal maps of random weights, of a text that nobody wrote."""
    rng = generator(seed)
    text = text or [f"t{i}" for i in range(count)]
    e = np.tril(rng.random((len(titles), heads, len(text), len(text))) ** 4)
    maps = [Map(title, text, text, w) for title, w in zip(titles, e / e.sum(-1, keepdims=True))]
    told = guesses(3 * rng.standard_normal((len(text) - 1, 16)), rng.integers(0, 16, len(text) - 1))
    return Look(maps, text, told, [f"b{i}" for i in told.best], vocabulary=16)


def test_labels_show_what_cannot_be_seen():
    tokenizer = CharacterTokenizer.train("a b\n\t\x1bé")
    assert labels(tokenizer, tokenizer.encode("a \n\t\x1bé")) == ["a", "␣", "\\n", "\\t", "\\x1b", "é"]
    assert labels(ByteTokenizer(), np.array(list("é".encode()))) == ["\\xc3", "\\xa9"]


def test_the_table_has_its_columns_below_each_other():
    text = ["<|endoftext|>", "␣a", "\\n", "中国", "e\u0301", "x" * 40]
    seen = a_look(text=text)
    lines = seen.table().split("\n")
    assert lines[0].split() == ["token", "surprisal", "entropy", "best", "guess"]
    assert lines[1] == "0  <|endoftext|>"
    assert lines[-1] == f"{seen.cost()}; {seen.guesses.right.sum()} of 5 guessed right"
    # 中国 fills four columns of a terminal, and the accent none
    spread = [line.replace("中国", "中_国_").replace("\u0301", "") for line in lines[2:7]]
    for i, line in enumerate(spread):
        found = re.fullmatch(r"(\d)  (\S+) +([\d.]+) +([\d.]+)  (b\d+) +([\d.]+)", line)
        figures = (x[i] for x in (seen.guesses.surprisal, seen.guesses.entropy, seen.guesses.probability))
        assert (found[1], found[5]) == (str(i + 1), seen.best[i])
        assert [found[3], found[4], found[6]] == [f"{x:.2f}" for x in figures]
    assert len({line.index(" b") for line in spread}) == 1 and len(set(map(len, spread))) == 1
    assert "x" * 23 + "…" in lines[6]
    assert seen.cost() == f"{seen.guesses.surprisal.mean():.2f} bits a token; a blind guess costs 4.00"


def test_layers_are_chosen_by_numbers_and_ranges():
    assert chosen(None, 3) == [0, 1, 2]
    for layers, expected in (("2", [1]), ("4,1", [0, 3]), ("2-4", [1, 2, 3]), ("1, 3 - 4,3", [0, 2, 3])):
        assert chosen(layers, 4) == expected
    for layers in ("", "0", "5", "3-2", "1,,2", "-2", "two", "1-5", "3-2,1", "1.5"):
        with pytest.raises(ValueError, match=r"layers: expected numbers from 1 to 4.*; name some"):
            chosen(layers, 4)


# the picture


@pytest.fixture
def figures(monkeypatch):
    """What is drawn, instead of being saved."""
    drawn = []
    monkeypatch.setattr(look_picture, "save_figure", lambda figure, path: drawn.append(figure))
    return drawn


def written(axes, of="y"):
    return [label.get_text() for label in getattr(axes, f"get_{of}ticklabels")()]


def maps_of(figure):
    """The axes of maps: those with a square image."""
    return [axes for axes in figure.axes if axes.images and len(axes.images[0].get_array()) > 1]


def bars_of(figure):
    return [axes for axes in figure.axes if axes.patches]


def test_every_weight_is_a_square_of_its_own_colour(tmp_path):
    seen = a_look(9, heads=3)
    save_look(seen, "Title", tmp_path / "look.png")
    drawn = importlib.import_module("matplotlib.image").imread(tmp_path / "look.png")[..., :3] * 255
    cell = round((look_picture.WIDE / 3 - look_picture.GAP) / 9)
    left = look_picture.MARGIN + look_picture.TITLE + look_picture.LABELS
    for layer, head, row, column in np.ndindex(2, 3, 9, 9):
        y = look_picture.TOP + layer * (9 * cell + look_picture.GAP) + row * cell
        x = left + head * (9 * cell + look_picture.GAP) + column * cell
        square = drawn[y + 2 : y + cell - 2, x + 2 : x + cell - 2].reshape(-1, 3)
        level = math.sqrt(seen.maps[layer].weights[head, row, column])
        places = np.linspace(0, 1, len(look_picture.SHADES))
        colours = [list(bytes.fromhex(shade[1:])) for shade in look_picture.SHADES]
        expected = [np.interp(level, places, channel) for channel in zip(*colours)]
        if level == 0:
            expected = list(bytes.fromhex(look_picture.UNSEEN[1:]))
        np.testing.assert_allclose(square, np.broadcast_to(expected, square.shape), atol=0.6)


def test_tokens_stand_beside_their_squares_where_there_is_room_and_numbers_elsewhere(figures):
    for count, heads, few in ((29, 4, True), (30, 4, False), (40, 1, True)):
        seen = a_look(count, heads=heads)
        save_look(seen, "Title", None)
        maps = maps_of(figures[-1])
        expected = seen.text if few else [str(i) for i in range(0, count, 10)]
        assert len(maps) == 2 * heads
        for i, axes in enumerate(maps):
            assert written(axes) == (expected if i % heads == 0 else [])  # left of the first head
            assert written(axes, "x") == (expected if i >= heads else [])  # below the last layer


def test_columns_are_told_below_each_layer_that_has_its_own(figures):
    """As a translator's: its source, its target, and the target looking at the source."""
    source, target, rng = ["ein", "Mann", "."], ["<bos>", "a", "man", "."], generator()
    sides = {"encoder": (source, source), "decoder": (target, target), "crossed": (target, source)}
    maps = [
        Map(title, rows, columns, rng.dirichlet(np.ones(len(columns)), (2, len(rows))))
        for title, (rows, columns) in sides.items()
    ]
    told = guesses(rng.standard_normal((4, 9)), rng.integers(0, 9, 4))
    save_look(Look(maps, [*target, "<eos>"], told, list("wxyz"), vocabulary=9), "Title", None)
    drawn = maps_of(figures[0])
    assert [written(axes) for axes in drawn[::2]] == [source, target, target]
    assert [written(axes, "x") for axes in drawn[::2]] == [source, target, source]
    assert written(bars_of(figures[0])[0]) == [*target, "<eos>"]
    width, height = figures[0].get_size_inches() * 100
    squares = {
        (round(axes.get_position().width * width / s), round(axes.get_position().height * height / t))
        for axes in drawn
        for t, s, _ in [axes.images[0].get_array().shape]
    }
    assert len(squares) == 1 and len(set(squares.pop())) == 1
    titles = [text.get_text() for text in figures[0].texts]
    assert set(sides) <= set(titles) and "head 2" in titles and "head 3" not in titles


@pytest.mark.parametrize("count", [2, 12, 64, 300])
def test_the_bars_are_the_surprisals_and_the_words_what_was_expected(figures, count):
    seen = a_look(count, heads=2)
    save_look(seen, "Title", None)
    parts, told = bars_of(figures[0]), seen.guesses
    assert len(parts) == {2: 1, 12: 1, 64: 2, 300: 5}[count]
    assert [label for axes in parts for label in written(axes)] == seen.text
    widths = np.zeros(count)
    for axes in parts:
        for bar in axes.patches:
            widths[round(bar.get_y() + bar.get_height() / 2)] += bar.get_width()
    np.testing.assert_allclose(widths[1:], told.surprisal)
    doubts = np.concatenate([[path.vertices[0, 0] for path in a.collections[0].get_paths()] for a in parts])
    np.testing.assert_allclose(doubts, told.entropy)
    words = [text.get_text() for axes in parts for text in axes.texts]
    assert words == [best for best, right in zip(seen.best, told.right) if not right]


def test_a_text_is_drawn_as_it_is_dollars_and_foreign_letters_too(tmp_path, figures, monkeypatch):
    text = ["$x$", "\\frac", "中", "␣ß", "中" * 9, "extraordinarily"]
    save_look(a_look(text=text), "What $it$ sees", None)
    expected = ["$x$", "\\frac", "\\u4e2d", "␣ß", "\\u4e2d\\u4e2…", "extraordina…"]
    assert written(maps_of(figures[0])[0]) == written(bars_of(figures[0])[0]) == expected
    dollars = figures[0].findobj(lambda one: "$" in getattr(one, "get_text", str)())
    assert len(dollars) > 5 and not any(text.get_parse_math() for text in dollars)
    monkeypatch.undo()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of a letter that the font lacks
        save_look(a_look(text=text), "What $it$ sees: 中", tmp_path / "look.png")
    assert (tmp_path / "look.png").stat().st_size > 10_000


def test_more_tokens_than_can_be_seen_are_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"look: expected at most 512 tokens, .* got 513; give less text"):
        save_look(a_look(513, heads=1, titles=("layer 1",)), "Title", tmp_path / "look.png")


# the command


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A run that several tests look at: a small GPT that knows one sentence."""
    out = tmp_path_factory.mktemp("runs")
    (out / "text.txt").write_text("the quick brown fox jumps over the lazy dog;\n" * 40, encoding="utf-8")
    settings = {"layers": 2, "heads": 2, "width": 32, "context": 24, "batch": 8, "lr": 1e-2}
    settings |= {"steps": 120, "evaluate_every": 60}
    Session.begin("gpt", {"data": str(out / "text.txt"), **settings}, out=out, name="fox").train()
    return out / "fox"


def look(capsys, *argv):
    assert main(["look", *map(str, argv)]) == 0
    return capsys.readouterr().out.rstrip("\n").split("\n")


def test_look_prints_the_text_in_bits_and_draws_it(run_folder, capsys):
    lines = look(capsys, run_folder, "--text", "the quick brown\nfox")
    assert lines[-1] == str(run_folder / "look.png")
    assert (run_folder / "look.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    tokens = [line.split()[1] for line in lines[1:20]]
    assert tokens == [*"the␣quick␣brown", "\\n", *"fox"]
    surprisal = [float(line.split()[2]) for line in lines[2:20]]
    assert max(surprisal[4:14]) < 1 < surprisal[14]  # it knows the sentence, where no line ends after brown
    assert lines[16].split()[4] == "␣"  # what it expected
    mean = float(re.match(r"([\d.]+) bits a token", lines[-2])[1])
    assert mean == pytest.approx(sum(surprisal) / 18, abs=0.01)


def test_look_draws_the_chosen_layers_where_it_is_told(run_folder, tmp_path, capsys, monkeypatch):
    drawn = []
    monkeypatch.setattr("tinygen.cli.save_look", lambda *given: drawn.append(given))
    picture = tmp_path / "there.png"
    assert look(capsys, run_folder, "--text", "the fox", "--layers", "2", "--picture", picture)[-1] == str(
        picture
    )
    look(capsys, run_folder, "--text", "the fox", "--checkpoint", "best")
    (second, title, path), (both, *_) = drawn
    assert title == "What fox looks at" and path == picture
    assert [one.title for one in second.maps] == ["layer 2"]
    assert [one.title for one in both.maps] == ["layer 1", "layer 2"]
    assert second.maps[0].weights.shape == (2, 7, 7) and both.maps[0].rows == list("the␣fox")
    assert np.array_equal(second.maps[0].weights, both.maps[1].weights)  # the last is the best
    assert not np.array_equal(both.maps[0].weights, both.maps[1].weights)


def test_without_a_text_it_reads_one_of_its_own_as_long_as_it_can_see(run_folder, capsys, monkeypatch):
    monkeypatch.setattr("tinygen.cli.save_look", lambda *given: None)
    first = look(capsys, run_folder)
    assert first == look(capsys, run_folder, "--seed", 0)
    assert len(first) == 1 + 24 + 3
    assert first != look(capsys, run_folder, "--seed", 1)


def refused(capsys, *argv):
    assert main(["look", *map(str, argv)]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    return shown.err


def test_what_cannot_be_looked_at_is_told(run_folder, tmp_path, capsys):
    told = refused(capsys, run_folder, "--text", "the quick brown fox jumps")
    assert "text: expected 2 to 24 tokens, which the model sees at once, got 25; give a shorter one" in told
    for text in ("", "t"):
        told = refused(capsys, run_folder, "--text", text)
        assert (
            f"text: expected 2 to 24 tokens, which the model sees at once, got {len(text)}; give a longer"
            in told
        )
    assert "'É'" in refused(capsys, run_folder, "--text", "É")
    told = refused(capsys, run_folder, "--text", "the fox", "--layers", "3")
    assert "layers: expected numbers from 1 to 2, such as 1 or 1-2, with commas between, got '3'" in told
    assert "did you mean --layers?" in refused(capsys, run_folder, "--layrs", "1")
    assert "got none; do: tinygen look runs/gpt-python-docs-1" in refused(capsys)
    told = refused(capsys, run_folder, "--text", "the fox", "--picture", tmp_path / "none" / "look.png")
    assert str(tmp_path / "none") in told


def test_a_model_without_attention_has_nothing_to_look_at(tmp_path, capsys):
    Session.begin("vae", {"hidden": 8, "steps": 1}, out=tmp_path, name="vae").train()
    told = refused(capsys, tmp_path / "vae")
    assert f"look: expected a model with attention, got the vae of {tmp_path / 'vae'}; train one with" in told
    assert "unknown option '--text'" in refused(capsys, tmp_path / "vae", "--text", "the fox")
