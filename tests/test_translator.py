"""The translator: what each side may see, that filling and company change nothing; PyTorch as an oracle."""

import io
import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tinygen import data
from tinygen.cli import main
from tinygen.models import BeamConfig, Translator, TranslatorConfig, beam_search
from tinygen.models.beam import likeliest
from tinygen.models.positions import POSITIONS
from tinygen.training import Session, session, translator_task
from tinygen.training.look import labels
from tinygen.training.translator_task import PARTS, TranslatorLooking

SIZES = {"vocabulary": 13, "context": 10, "layers": 2, "heads": 2, "width": 12}
VARIANTS = {
    "2017": {"activation": "relu", "post_norm": True, "positions": "sinusoidal", "feed_forward": 20},
    "pre-norm": {"activation": "relu", "positions": "learned", "initial": "xavier"},
    "llama": {"activation": "swiglu", "norm": "rms", "bias": False, "tied": False, "positions": "rotary"},
    "alibi": {"positions": "alibi"},
}
START, END = 11, 12


def generator(seed=0):
    return np.random.default_rng(seed)


def made(scale=4.0, **settings):
    """A small translator in evaluation mode; larger weights make its opinions stronger."""
    model = Translator(TranslatorConfig(**{**SIZES, **settings}), rng=generator()).eval()
    for name, parameter in model.named_parameters():
        if parameter.data.ndim > 1 and name != "wte.weight":
            factor = 1.0 if settings.get("initial") == "xavier" else scale
            parameter.assign(parameter.numpy() * np.float32(factor))
        elif name.endswith("bias"):
            values = generator(1).standard_normal(parameter.shape, dtype=np.float32) * np.float32(0.1)
            parameter.assign(values)
    return model


def sentences(*lengths, seed=3):
    """Random sentences of these lengths, filled up to the longest."""
    return tg.data.padded([generator(seed + i).integers(0, 11, n) for i, n in enumerate(lengths)]).astype(int)


def targets(*lengths, seed=7):
    """The same, with start and end."""
    rows = [[START, *generator(seed + i).integers(0, 11, n), END] for i, n in enumerate(lengths)]
    return tg.data.padded(rows).astype(int)


# what it sees


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_logit_depends_on_a_later_target_in_value_or_gradient_and_all_on_the_whole_source(variant):
    model = made(vocabulary=30, **VARIANTS[variant] | {"tied": False})
    source, target = np.arange(5)[None], np.arange(10, 17)[None]
    for t in range(6):
        logits = model(source, target)
        changed = target.copy()
        changed[0, t + 1 :] = 29
        assert np.array_equal(model(source, changed).numpy()[0, : t + 1], logits.numpy()[0, : t + 1])
        model.zero_grad()
        (logits[0, t] * generator().standard_normal(30, dtype=np.float32)).sum().backward()
        touched = np.abs(model.wte.weight.grad.numpy()).max(axis=1) > 0
        assert touched[:5].all() and touched[10 : 11 + t].all() and not touched[11 + t :].any()


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_pair_gets_what_it_gets_alone_whatever_stands_beside_it_and_however_rows_are_filled(variant):
    model = made(**VARIANTS[variant])
    source, target = sentences(3, 7, 1), targets(2, 5, 8)
    together = model(source, target).numpy()
    wide = np.pad(source, ((0, 0), (0, 3)), constant_values=-1)
    np.testing.assert_allclose(model(wide, target).numpy(), together, rtol=1e-5, atol=2e-6)
    for i in range(3):
        own, written = source[i : i + 1, : (source[i] >= 0).sum()], (target[i] >= 0).sum()
        alone = model(own, target[i : i + 1, :written]).numpy()
        np.testing.assert_allclose(alone[0], together[i, :written], rtol=1e-5, atol=2e-6)


def test_without_positions_the_encoder_takes_the_order_for_nothing():
    order = generator().permutation(6)
    for positions in POSITIONS:
        model, source = made(positions=positions), sentences(6)
        straight, mixed = (model.encode(rows)[0].numpy() for rows in (source, source[:, order]))
        same = np.allclose(straight[:, order], mixed, atol=1e-5)
        assert same == (positions == "none"), positions


@pytest.mark.parametrize("positions", POSITIONS)
def test_with_a_cache_the_logits_are_the_same_however_the_target_is_cut(positions):
    model, source, target = made(positions=positions), sentences(4, 6), targets(6, 6)
    whole = model(source, target).numpy()
    memory, mask = model.encode(source)
    for cuts in ([1] * 8, [3, 5], [7, 1]):
        cache, start, parts = model.new_cache(8, 6), 0, []
        for count in cuts:
            part = model.decode(target[:, start : start + count], memory, mask, cache=cache)
            parts.append(model.logits(part).numpy())
            start += count
        np.testing.assert_allclose(np.concatenate(parts, axis=1), whole, rtol=1e-4, atol=1e-5)


# what it learns by


def test_the_loss_is_that_of_each_token_after_those_before_it_smoothed_only_while_training():
    model, source, target = made(label_smoothing=0.2), sentences(4, 2), targets(5, 3)
    logits = model(source, target[:, :-1]).numpy().astype(np.float64)
    log_p = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    own, smooth = [], []
    for i, t in zip(*np.nonzero(target[:, 1:] >= 0)):
        own.append(-log_p[i, t, target[i, t + 1]])
        smooth.append(-log_p[i, t].mean())
    assert len(own) == 6 + 4
    assert float(model.loss(source, target)) == pytest.approx(np.mean(own), rel=1e-5)
    model.train()
    expected = 0.8 * np.mean(own) + 0.2 * np.mean(smooth)  # section 5.4
    assert float(model.loss(source, target)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("variant", ["2017", "pre-norm"])
def test_logits_and_gradients_agree_with_pytorchs_transformer(variant):
    torch = pytest.importorskip("torch")
    model = made(**VARIANTS[variant]).astype(np.float64)
    w = {name: torch.tensor(array, requires_grad=True) for name, array in model.state_dict().items()}
    peer = torch.nn.Transformer(
        *(12, 2, 2, 2, model.config.hidden, 0.0, "relu"),
        batch_first=True,
        norm_first=not model.config.post_norm,
        dtype=torch.float64,
    )
    theirs = {"self_attn": "attn", "multihead_attn": "cross", "linear1": "mlp.c_fc", "linear2": "mlp.c_proj"}
    state = {}
    for name in peer.state_dict():
        side, _, rest = name.partition(".")
        if rest.startswith("norm."):
            state[name] = w[f"{side}.ln_f.{rest[5:]}"]
            continue
        i, part, leaf = rest.removeprefix("layers.").split(".", 2)
        if part.startswith("norm"):
            own = {"norm1": "ln_1", "norm2": "ln_cross" if side == "decoder" else "ln_2", "norm3": "ln_2"}[
                part
            ]
        else:
            own = theirs[part]
            if "attn" in part:
                own += ".c_attn" if leaf.startswith("in_proj_") else ".c_proj"
                leaf = leaf.removeprefix("in_proj_").removeprefix("out_proj.")
        state[name] = w[f"{side}.h.{i}.{own}.{leaf}"]
    source, target = sentences(3, 7, 5), targets(2, 5, 6)
    places = [w[f"{side}.wpe.weight"] for side in ("encoder", "decoder") if f"{side}.wpe.weight" in w]
    places = places or [torch.tensor(model.encoder._places).double()] * 2

    def embedded(ids, table):
        ids = torch.tensor(np.maximum(ids, 0))
        return w["wte.weight"][ids] * 12**0.5 + table[: ids.shape[1]]

    inputs, filled = target[:, :-1], torch.tensor(source < 0)
    causal = torch.nn.Transformer.generate_square_subsequent_mask(inputs.shape[1], dtype=torch.float64)
    hidden = torch.func.functional_call(
        peer.train(),  # its evaluation takes another way, without gradients
        state,
        (embedded(source, places[0]), embedded(inputs, places[1])),
        {
            "tgt_mask": causal,
            "tgt_is_causal": True,
            "src_key_padding_mask": filled,
            "memory_key_padding_mask": filled,
        },
    )
    logits = hidden @ w["wte.weight"].T
    expected = torch.nn.functional.cross_entropy(
        logits.reshape(-1, 13), torch.tensor(target[:, 1:]).reshape(-1)
    )
    expected.backward()
    loss = model.loss(source, target)
    loss.backward()
    assert float(loss) == pytest.approx(expected.item(), rel=1e-7)
    real = (inputs >= 0) & (target[:, 1:] >= 0)
    ours = model(source, inputs).numpy()
    np.testing.assert_allclose(ours[real], logits.detach().numpy()[real], rtol=1e-6, atol=1e-7)
    for name, parameter in model.named_parameters():
        np.testing.assert_allclose(
            parameter.grad.numpy(), w[name].grad.numpy(), rtol=1e-5, atol=1e-8, err_msg=name
        )


def test_the_loss_has_the_right_second_derivative():
    model = made(layers=1, positions="sinusoidal").astype(np.float64)
    source, target = sentences(3, 2), targets(2, 3)
    weight = model.decoder.h[0].cross.c_attn.weight.numpy()

    def loss(w):
        model.decoder.h[0].cross.c_attn.weight = w
        return model.loss(source, target)

    tg.testing.gradcheck(loss, weight, order=2)


def test_xavier_and_one_matrix_for_all():
    model = Translator(TranslatorConfig(**{**SIZES, "width": 64, "initial": "xavier"}), rng=generator())
    weights = model.decoder.h[0].mlp.c_fc.weight.numpy()
    assert np.abs(weights).max() == pytest.approx(np.sqrt(6 / (64 + 256)), rel=0.01)
    assert model.wte.weight.numpy().std() == pytest.approx(64**-0.5, rel=0.1)
    untied = Translator(TranslatorConfig(**{**SIZES, "width": 64, "tied": False}), rng=generator())
    assert untied.num_parameters - model.num_parameters == 13 * 64


def test_too_many_tokens_are_an_error():
    model = made()
    with pytest.raises(ValueError, match=r"a source of two axes with at most 10 .* got \(1, 11\)"):
        model.encode(sentences(11))
    with pytest.raises(ValueError, match=r"a target of two axes .* got \(1, 11\) after 0 tokens; shorten it"):
        model(sentences(3), targets(9))


# beam search


def opinionated(positions="learned", seed=0, **settings):
    """An untrained translator whose translations differ, also in length."""
    config = {**SIZES, "initial": "xavier", "tied": False, "positions": positions, **settings}
    model = Translator(TranslatorConfig(**config), rng=generator(seed)).eval()
    model.lm_head.weight.assign(model.lm_head.weight.numpy() * np.float32(40))
    return model


def searched(model, source, beams, limit, alpha=0.0):
    search = BeamConfig(beams=beams, length_penalty=alpha)
    return beam_search(model, source, start=START, end=END, search=search, limit=limit)


def greedy(model, source, limit):
    """The likeliest token each time, without a cache."""
    written = [START]
    for _ in range(limit - 1):
        logits = model(source[None], np.array([written])).numpy()[0, -1].copy()
        logits[START] = -np.inf
        written.append(int(logits.argmax()))
        if written[-1] == END:
            break
    return tuple(token for token in written[1:] if token != END)


def log_probability(model, source, tokens, start=START, end=END):
    row = np.array([[start, *tokens, end]])
    return -float(model.loss(source[None, source >= 0], row, reduction="sum"))


@pytest.mark.parametrize("positions", POSITIONS)
def test_a_beam_of_one_takes_the_likeliest_token_each_time(positions):
    lengths = set()
    for seed in range(16):
        model, source = opinionated(positions, seed), sentences(6, 2, 9, 4, 1, 5, seed=seed)
        for row, hypotheses in zip(source, searched(model, source, 1, 9)):
            (best,) = hypotheses
            assert best.tokens == greedy(model, row[row >= 0], 9)
            assert best.log_p == pytest.approx(log_probability(model, row, best.tokens), abs=1e-3)
            lengths.add(len(best.tokens))
    assert len(lengths) > 2


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.5])
def test_a_wide_beam_finds_what_brute_force_finds(alpha):
    """All targets of at most three tokens, of a vocabulary of four in which 0 begins and 3 ends."""
    every = [text for n in range(4) for text in itertools.product((1, 2), repeat=n)]
    search, lengths = BeamConfig(beams=len(every), length_penalty=alpha), set()
    for seed in range(6):
        model = opinionated(seed=seed, vocabulary=4)
        source = np.where(sentences(4, 2, 3, seed=seed) >= 0, sentences(4, 2, 3, seed=seed) % 3, -1)
        for row, found in zip(source, beam_search(model, source, start=0, end=3, search=search, limit=4)):
            scores = {
                text: log_probability(model, row, text, 0, 3) / ((6 + len(text)) / 6) ** alpha
                for text in every
            }
            best = max(scores, key=scores.get)
            assert found[0].tokens == best and found[0].score == pytest.approx(scores[best], abs=1e-3)
            lengths.add(len(best))
    assert len(lengths) > 1


@pytest.mark.parametrize("beams", [1, 3, 5])
def test_a_sentence_gets_what_it_would_get_alone(beams):
    """Also where others end before it, or go on: each has a limit of its own."""
    lengths = set()
    for seed in range(4):
        model, source = opinionated(seed=seed), sentences(6, 2, 9, 4, 4, 1, seed=seed)
        limits = np.array([8, 5, 9, 3, 8, 9])
        for row, limit, found in zip(source, limits, searched(model, source, beams, limits, alpha=0.6)):
            (alone,) = searched(model, row[None, row >= 0], beams, int(limit), alpha=0.6)
            assert [h.tokens for h in alone] == [h.tokens for h in found]
            scores = [h.score for h in found]
            assert scores == sorted(scores, reverse=True) and len({h.tokens for h in found}) == len(found)
            assert 1 <= len(found) <= beams
            for h in found:
                assert len(h.tokens) < limit and START not in h.tokens
                assert h.log_p == pytest.approx(log_probability(model, row, h.tokens), abs=1e-3)
            lengths.add(len(found[0].tokens))
    assert len(lengths) > 3


def test_more_beams_find_better_translations():
    better = []
    for seed in range(4):
        model, source = opinionated(seed=seed), sentences(6, 2, 9, 4, seed=seed)
        pairs = zip(searched(model, source, 5, 8), searched(model, source, 1, 8))
        better += [wide[0].score - narrow[0].score for wide, narrow in pairs]
    assert np.mean(better) > 0.01


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=30), st.data())
def test_the_likeliest_are_those_of_a_stable_sort(values, data):
    count = data.draw(st.integers(1, len(values)))
    total = np.array([values, values[::-1]], float)
    assert np.array_equal(likeliest(total, count), np.argsort(-total, axis=1, kind="stable")[:, :count])


def test_a_limit_ends_it():
    model = opinionated()
    for limit in (1, 2, 5):
        for found in searched(model, sentences(4, 4), 3, limit):
            assert found and all(len(h.tokens) < limit for h in found)
    for limit in (11, [3, 0]):
        with pytest.raises(ValueError, match="expected a limit from 1 to the context, 10, got"):
            searched(model, sentences(4, 3), 2, limit)
    with pytest.raises(ValueError, match="beams: expected at least 1, got 0"):
        BeamConfig(beams=0)


# in runs


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run that has learned to write three words backwards."""
    for library in ("matplotlib", "safetensors", "tqdm", "sacrebleu"):
        pytest.importorskip(library)
    folder = tmp_path_factory.mktemp("translator")
    path = folder / "pairs.tsv"
    words = ["red", "ox", "sun", "tea"]
    pairs = [f"{a} {b} {c}\t{c} {b} {a} ." for a in words for b in words for c in words]
    path.write_text("\n".join(pairs), encoding="utf-8")
    settings = {
        "data": str(path),
        "tokenizer": "bpe",
        "merges": 30,
        "layers": 2,
        "heads": 2,
        "width": 32,
        "dropout": 0.0,
        "label_smoothing": 0.0,
        "batch": 200,
        "steps": 350,
        "lr": 3e-3,
        "warmup": 20,
        "ema": None,
        "evaluate_every": 175,
    }
    begun = Session.begin("translator", settings, out=folder, name="run")
    begun.train()
    begun.finish("")
    return begun.run


def test_it_learns_to_turn_sentences_around(trained, capsys):
    assert main(["evaluate", str(trained.folder), "--json"]) == 0
    metrics = json.loads(capsys.readouterr().out)
    assert metrics["exact"] == 1 and metrics["bleu"] == pytest.approx(100) and metrics["loss"] < 0.1
    assert main(["evaluate", str(trained.folder)]) == 0
    assert "(BLEU: nrefs:1|case:mixed|eff:no|tok:13a|" in capsys.readouterr().out


def test_one_sees_which_word_each_word_of_a_translation_looks_at(trained, capsys):
    """Of a translator that turns three words around, some head must look at the word that it writes next."""
    _, task, _ = session.trained(trained.folder)
    kinds = {}
    for part in PARTS:
        seen = task.look(TranslatorLooking(text="tea ox sun", part=part), rng=None)
        assert [map.title for map in seen.maps] == ["layer 1", "layer 2"]
        shown = seen.maps[1]
        assert np.allclose(shown.weights.sum(axis=-1), 1, atol=1e-5)
        assert shown.weights.shape[1:] == (len(shown.rows), len(shown.columns))
        kinds[part] = shown
    assert seen.text[0] == "<s>" and seen.text[-1] == "</s>" and seen.guesses.right.all()
    source, target = kinds["encoder"].rows, kinds["decoder"].rows
    assert kinds["cross"].rows == target == seen.text[:-1] and kinds["cross"].columns == source
    assert np.allclose(np.triu(kinds["decoder"].weights, 1), 0) and (kinds["encoder"].weights > 0).all()
    word = next(i for i, token in enumerate(source) if "sun" in token)  # which the first guess is about
    assert kinds["cross"].weights[:, 0, word].max() > 1.5 / len(source)
    assert main(["look", str(trained.folder), "--text", "tea ox sun", "--part", "cross"]) == 0
    assert "bits a token" in capsys.readouterr().out and (trained.folder / "look.png").stat().st_size > 10_000


def test_translate_takes_a_text_or_lines(trained, capsys, monkeypatch):
    assert main(["translate", str(trained.folder), "tea ox sun"]) == 0
    assert capsys.readouterr().out == "sun ox tea .\n"
    monkeypatch.setattr("sys.stdin", io.StringIO("red red ox\n\nsun tea tea\n"))
    assert main(["translate", str(trained.folder), "--beams", "1"]) == 0
    assert capsys.readouterr().out == "ox red red .\n\ntea tea sun .\n"


def test_a_translation_does_not_depend_on_its_company(tmp_path):
    """A model that knows nothing writes until a limit stops it: that of each sentence, not of its group."""
    path = tmp_path / "pairs.tsv"
    path.write_text("\n".join(f"{a} {b}\t{b} {a}" for a in "abcdefgh" for b in "abcdefgh"), encoding="utf-8")
    settings = {"data": str(path), "steps": 1, "warmup": 0, "width": 16, "layers": 1, "merges": 1}
    task = session.prepared("translator", settings)[0]
    task.model.eval()
    texts = ["a b", "a b c d e f g h", *("h" * n for n in range(1, 60))]
    alone = [task.translated([text], BeamConfig(beams=2))[0] for text in texts[:3]]
    assert task.translated(texts, BeamConfig(beams=2))[:3] == alone
    assert len({len(text) for text in alone}) > 1


def test_lines_that_cannot_be_translated_are_named(tmp_path, capsys, monkeypatch):
    path = tmp_path / "pairs.tsv"
    path.write_text("\n".join(f"{a}\t{a}" for a in ["a", "b", "ab", "ba", "bb"] * 4), encoding="utf-8")
    settings = {"data": str(path), "steps": 1, "warmup": 0, "width": 8, "heads": 1, "layers": 1}
    Session.begin("translator", settings | {"tokenizer": "characters"}, out=tmp_path, name="run").train()
    capsys.readouterr()
    monkeypatch.setattr("sys.stdin", io.StringIO("ab\nax\n"))
    assert main(["translate", str(tmp_path / "run"), "--beams", "1"]) == 2
    told = capsys.readouterr()
    assert len(told.out.splitlines()) == 1 and "line 2: encode: expected characters of the" in told.err
    monkeypatch.setattr("sys.stdin", None)
    assert main(["translate", str(tmp_path / "run")]) == 0


def test_a_long_pair_among_the_examples_stops_nothing_and_is_counted(tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_text("\n".join([f"a{'b' * 20}\tb", "b\ta"] * 30), encoding="utf-8")
    settings = {"data": str(path), "tokenizer": "characters", "context": 12, "steps": 1, "warmup": 0}
    settings |= {"width": 8, "heads": 1, "layers": 1, "reverse": False}
    with pytest.warns(UserWarning, match="longer than the context, 12 tokens, and left out"):
        begun = Session.begin("translator", settings, out=tmp_path, name="run")
    begun.train()
    begun.task.measure(generator())
    assert begun.task.missing > 0
    assert begun.task.remarks == [f"without {begun.task.missing} pairs that are longer than the context"]
    text = next((tmp_path / "run" / "samples").iterdir()).read_text(encoding="utf-8")
    assert "(text: expected 1 to 12 tokens, got 21 in" in text
    path.write_text("\n".join([f"a{'b' * 20}\tb"] * 30), encoding="utf-8")
    with pytest.raises(ValueError, match=r"pairs \(train\): expected some of at most 12 tokens, the context"):
        session.prepared("translator", settings)


def test_samples_stand_below_sources_and_references(trained, capsys):
    assert main(["sample", str(trained.folder)]) == 0
    text = (trained.folder / "samples-0.txt").read_text(encoding="utf-8")
    first = text.split("\n\n")[0].splitlines()
    assert [line.split(":")[0] for line in first] == ["source", "reference", "translation"]
    assert first[1].split(":")[1].strip() == first[2].split(":")[1].strip()
    assert text == (trained.folder / "samples.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "argv, message",
    [
        (["translate"], "translate: expected a run folder, got none"),
        (["translate", "RUN", ""], "expected 1 to 128 tokens, got 0 in ''; write something"),
        (["translate", "RUN", "tea " * 200], "give one sentence at a time"),
        (["translate", "RUN", "tea", "--beams", "0"], "beams: expected at least 1, got 0"),
        (["translate", "RUN", "tea", "--beam", "2"], "unknown option '--beam'; did you mean --beams?"),
    ],
)
def test_mistakes_are_told(trained, argv, message, capsys):
    argv = [str(trained.folder) if word == "RUN" else word for word in argv]
    assert main(argv) == 2
    assert message in capsys.readouterr().err


def test_a_translator_is_asked_for(tmp_path, capsys):
    pytest.importorskip("safetensors")
    path = tmp_path / "text.txt"
    path.write_text("abc " * 100, encoding="utf-8")
    settings = {"data": str(path), "steps": 1, "warmup": 0, "width": 8, "heads": 1, "layers": 1}
    Session.begin("gpt", settings, out=tmp_path, name="gpt").train()
    assert main(["translate", str(tmp_path / "gpt"), "abc"]) == 2
    assert "expected a translator, got another model; do: tinygen sample" in capsys.readouterr().err


def test_pairs_are_lowered_and_reversed_as_told_and_long_ones_left_out_aloud(tmp_path):
    pytest.importorskip("safetensors")
    path = tmp_path / "pairs.tsv"
    path.write_text("\n".join(["A B\tx Y", "C\tz"] * 20 + ["A " * 30 + "\tx"]), encoding="utf-8")
    settings = {"data": str(path), "tokenizer": "characters", "context": 12, "steps": 1, "warmup": 0}
    settings |= {"width": 8, "heads": 1, "layers": 1, "lower": True, "reverse": True, "batch": 100}
    with pytest.warns(UserWarning, match=r"1 of \d+ pairs \((train|test)\) are longer than the context, 12"):
        task = Session.begin("translator", settings, out=tmp_path, name="run").task
    source, target = task.batch(0)
    texts = {task.tokenizer.decode(row[row >= 0]) for row in source}
    assert texts <= {"x y", "z"} and texts
    assert {task._text(row) for row in target} <= {"a b", "c"}
    assert target[0, 0] == task.start and (target == task.end).sum() == len(target)
    with pytest.raises(ValueError, match="merges: is not used by the tokenizer bytes"):
        Session.begin("translator", settings | {"tokenizer": "bytes", "merges": 3}, out=tmp_path, name="b")


@pytest.fixture
def searches(monkeypatch):
    """Of each call of the beam search how many sentences it got, and its BeamConfig."""
    found = []

    def watched(model, source, **options):
        found.append((len(source), options["search"]))
        return beam_search(model, source, **options)

    monkeypatch.setattr(translator_task, "beam_search", watched)
    return found


def test_figures_are_of_the_test_pairs_and_while_training_of_some(tmp_path, monkeypatch, searches):
    path = tmp_path / "pairs.tsv"
    texts = [f"{a}{b}" for a in "abcdefgh" for b in "abcdefgh"]
    path.write_text("\n".join(f"{text}\t{text[::-1] * (i % 5 + 1)}" for i, text in enumerate(texts)))
    settings = {"data": str(path), "tokenizer": "characters", "steps": 1, "warmup": 0, "width": 16}
    task = session.prepared("translator", {**settings, "layers": 1})[0]
    monkeypatch.setattr(translator_task, "TOGETHER", 3)
    monkeypatch.setattr(translator_task, "SCORED", 2)
    task.model.eval()
    losses, pairs = [], data.load_pairs(path)[1]
    for source, target in pairs:
        row = np.array([[task.start, *task.tokenizer.encode(target), task.end]])
        found = task.model.loss(task.tokenizer.encode(source)[None], row, reduction="none")
        losses += found.numpy()[0].tolist()
    measures = {
        task.evaluate: (2, BeamConfig(beams=1, length_penalty=0.0)),
        task.measure: (len(pairs), BeamConfig()),
    }
    for measure, (count, search) in measures.items():
        searches.clear()
        found = measure(generator())
        assert found["loss"] == pytest.approx(np.mean(losses), rel=1e-5)
        assert found["perplexity"] == pytest.approx(np.exp(np.mean(losses)), rel=1e-5)
        assert sum(n for n, _ in searches) == count and {search for _, search in searches} == {search}


def test_samples_are_of_the_first_test_pairs(trained):
    pairs = data.load_pairs(trained.config()["training"]["data"])[1][: translator_task.SHOWN]
    blocks = (trained.folder / "samples.txt").read_text(encoding="utf-8").split("\n\n")
    shown = [[line.partition(":")[2].strip() for line in block.splitlines()[:2]] for block in blocks]
    assert shown == list(map(list, pairs))


def test_what_the_commands_are_told_of_the_search_reaches_it(trained, searches, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO("red red ox\n"))
    run, options = str(trained.folder), ["--beams", "3", "--length-penalty", "0.25"]
    for argv in (["translate", run, "tea ox sun"], ["translate", run], ["sample", run, "--seed", "7"]):
        searches.clear()
        assert main([*argv, *options]) == 0
        assert {search for _, search in searches} == {BeamConfig(beams=3, length_penalty=0.25)}


def test_a_run_that_lowers_and_reverses_does_so_with_all_that_it_is_given(tmp_path, capsys):
    path = tmp_path / "pairs.tsv"
    path.write_text("\n".join(f"A B {a} {b}\tX Y {b} {a}" for a in "CDEFG" for b in "CDEFG"))
    settings = {"data": str(path), "tokenizer": "characters", "steps": 1, "warmup": 0, "width": 8}
    settings |= {"layers": 1, "heads": 1, "lower": True, "reverse": True}
    Session.begin("translator", settings, out=tmp_path, name="run").train()
    run = str(tmp_path / "run")
    assert main(["evaluate", run]) == 0
    told = capsys.readouterr().out
    assert "(from the second text of each pair into the first)" in told
    assert "(BLEU: nrefs:1|case:lc|" in told and ", beam 5)" in told
    found = []
    for text in ("X Y C D", "x y c d"):
        assert main(["translate", run, text]) == 0
        found.append(capsys.readouterr().out)
    assert found[0] == found[1]
    assert main(["sample", run]) == 0
    source, target = data.load_pairs(path)[1][0]
    lines = (tmp_path / "run" / "samples-0.txt").read_text().splitlines()
    assert lines[:2] == [f"source:      {target.lower()}", f"reference:   {source.lower()}"]


def test_pairs_that_just_fit_into_the_context_are_kept(tmp_path):
    """A target has its start and its end besides; the last token of either is guessed, and never read."""
    path = tmp_path / "pairs.tsv"
    path.write_text("\n".join(["abcdef\tabcde", "abcdef\tabcdef", "abcdefg\ta"] * 20))
    settings = {"data": str(path), "tokenizer": "characters", "context": 6, "steps": 1, "warmup": 0}
    with pytest.warns(UserWarning, match="are longer than the context, 6 tokens"):
        task = session.prepared("translator", {**settings, "width": 8, "heads": 1, "layers": 1})[0]
    for source, target in (task.train, task.test):
        assert {task.tokenizer.decode(row[row >= 0]) for row in source} == {"abcdef"}
        assert {task._text(row) for row in target} == {"abcde"}
    assert np.isfinite(float(task.loss(task.batch(0), None)[0]))
    assert len(task.translated(["abcdef"], BeamConfig(beams=1))) == 1
    with pytest.raises(ValueError, match="expected 1 to 6 tokens, got 7"):
        task.translated(["abcdefg"], BeamConfig(beams=1))


def test_one_sees_the_layers_that_one_chose_and_without_a_text_the_first_example(trained):
    _, task, _ = session.trained(trained.folder)
    both = task.look(TranslatorLooking(part="encoder"), rng=None)
    second = task.look(TranslatorLooking(part="encoder", layers="2"), rng=None)
    assert [one.title for one in both.maps] == ["layer 1", "layer 2"]
    assert [one.title for one in second.maps] == ["layer 2"]
    assert np.array_equal(second.maps[0].weights, both.maps[1].weights)
    assert both.maps[0].rows == labels(task.tokenizer, task.tokenizer.encode(task.examples[0][0]))


def test_a_line_that_is_no_text_is_named(trained, capsys, monkeypatch):
    stdin = io.TextIOWrapper(io.BytesIO(b"ox\ndo\xff\n"), encoding="utf-8", errors="strict")
    monkeypatch.setattr("sys.stdin", stdin)
    assert main(["translate", str(trained.folder), "--beams", "1"]) == 2
    told = capsys.readouterr()
    assert len(told.out.splitlines()) == 1
    assert "line 2: encode: expected text that UTF-8 can write" in told.err
