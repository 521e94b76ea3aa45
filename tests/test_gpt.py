"""GPT: what it may see, how it begins, and that a cache changes nothing; PyTorch as a second opinion."""

import itertools
import math

import numpy as np
import pytest

import tinygen as tg
from tinygen import nn
from tinygen.autograd import no_grad
from tinygen.models import GPT, GPTConfig, SamplingConfig, generate
from tinygen.models.cache import Cache
from tinygen.models.positions import POSITIONS, Rotary, alibi_bias, alibi_slopes, sinusoidal_table
from tinygen.models.sampling import draw, probabilities, window
from tinygen.models.transformer import Block

SIZES = {"vocabulary": 13, "context": 8, "layers": 2, "heads": 2, "width": 12}
VARIANTS = {
    "gpt-2": {"activation": "gelu-tanh"},
    "llama": {"activation": "swiglu", "norm": "rms", "bias": False, "tied": False},
    "2017": {"activation": "relu", "post_norm": True, "feed_forward": 20},
}


def generator(seed=0):
    return np.random.default_rng(seed)


def made(scale=1.0, **settings):
    """A small GPT in evaluation mode; larger weights make its opinions stronger."""
    model = GPT(GPTConfig(**{**SIZES, **settings}), rng=generator()).eval()
    for name, parameter in model.named_parameters():
        if parameter.data.ndim > 1:
            parameter.assign(parameter.numpy() * scale)
        elif name.endswith("bias"):
            parameter.assign(
                generator(1).standard_normal(parameter.shape, dtype=np.float32) * np.float32(0.1)
            )
    return model


def tokens(batch=2, count=8, seed=3):
    return generator(seed).integers(0, SIZES["vocabulary"], (batch, count))


# what it sees


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_no_logit_depends_on_a_later_token_in_value_or_gradient(positions, variant):
    model = made(5.0, positions=positions, vocabulary=16, **VARIANTS[variant] | {"tied": False})
    row = np.arange(8)[None]
    for t in range(7):
        logits = model(row)
        changed = row.copy()
        changed[0, t + 1 :] = 15
        assert np.array_equal(model(changed).numpy()[0, : t + 1], logits.numpy()[0, : t + 1])
        model.zero_grad()
        (logits[0, t] * generator().standard_normal(16, dtype=np.float32)).sum().backward()
        reached = np.abs(model.wte.weight.grad.numpy()).sum(axis=1)
        assert (reached[: t + 1] > 0).all() and (reached[t + 1 :] == 0).all()


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_with_a_cache_the_logits_are_the_same_however_the_text_is_cut(positions, variant):
    model, row = made(5.0, positions=positions, **VARIANTS[variant]), tokens()
    with no_grad():
        whole = model(row).numpy()
        for cuts in ([1] * 8, [3, 5], [4, 1, 3], [8]):
            cache, parts = model.new_cache(), []
            for start, count in zip(itertools.accumulate([0, *cuts]), cuts):
                parts.append(model(row[:, start : start + count], cache=cache).numpy())
            np.testing.assert_allclose(np.concatenate(parts, axis=1), whole, rtol=2e-5, atol=2e-5)


def test_places_matter_but_for_a_model_without_a_code_of_them():
    """Without one, what a token sees is a set: the order of the tokens before it is lost."""
    row = np.array([[1, 2, 3, 4]])
    for positions in POSITIONS:
        model = made(5.0, positions=positions)
        last = [model(order).numpy()[0, -1] for order in (row, row[:, [1, 0, 2, 3]])]
        # In the second block an earlier token's own view shows, so only a model of one block is blind.
        blind = made(5.0, positions=positions, layers=1)
        alone = [blind(order).numpy()[0, -1] for order in (row, row[:, [1, 0, 2, 3]])]
        assert np.allclose(*alone, atol=1e-5) == (positions == "none")
        assert positions == "none" or not np.allclose(*last, atol=1e-4)


def test_codes_of_places_are_those_of_the_papers():
    table = sinusoidal_table(50, 6)
    assert table.shape == (50, 6) and table[0].tolist() == [0, 1, 0, 1, 0, 1]
    assert table[7, 2] == pytest.approx(math.sin(7 / 10000 ** (2 / 6)))
    assert table[7, 5] == pytest.approx(math.cos(7 / 10000 ** (4 / 6)))
    turn, rng = Rotary(40, 8), generator()
    q, k = (np.tile(rng.standard_normal((1, 1, 1, 8)), (1, 1, 40, 1)) for _ in "qk")
    scores = np.asarray(turn(q)) @ np.swapaxes(np.asarray(turn(k)), -1, -2)
    for distance in range(-39, 40):  # the product depends on the distance alone
        assert np.ptp(np.diagonal(scores[0, 0], distance)) < 1e-5
    np.testing.assert_allclose(turn.at(7)(q[:, :, :5]), turn(q)[:, :, 7:12], rtol=1e-6)
    np.testing.assert_allclose(alibi_slopes(8), 2.0 ** -np.arange(1, 9))
    assert alibi_slopes(12)[:8].tolist() == alibi_slopes(8).tolist()
    assert alibi_slopes(12)[8:].tolist() == alibi_slopes(16)[0:8:2].tolist()
    bias = alibi_bias(np.float32([0.5]), 2, 4)
    assert bias.tolist() == [[[-1.0, -0.5, 0.0, -0.5], [-1.5, -1.0, -0.5, 0.0]]]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_queries_keys_and_values_are_cut_apart_or_not_and_nothing_changes(causal, masked):
    """A turn that does nothing makes the long way, by parts: results and gradients are the same bits."""
    attention, found = Block(GPTConfig(**SIZES), rng=generator()).attn, []
    x = tg.tensor(generator(1).standard_normal((2, 5, 12)), dtype=np.float32, requires_grad=True)
    mask = generator(2).standard_normal((2, 5, 5), dtype=np.float32) if masked else None
    for turn in (None, lambda part: part):
        attention.zero_grad()
        x.grad = None
        out = attention(x, mask=mask, causal=causal, turn=turn)
        (out * out).sum().backward()
        found.append([out.numpy(), x.grad.numpy(), attention.c_attn.weight.grad.numpy()])
    for short, long in zip(*found):
        np.testing.assert_allclose(short, long, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize(
    "settings, expected",
    [
        ({"width": 128}, 512),
        ({"width": 12, "activation": "swiglu"}, 32),
        ({"width": 128, "activation": "swiglu"}, 344),  # 341.3, up to a multiple of 8
        ({"width": 768, "activation": "swiglu"}, 2048),
        ({"width": 128, "activation": "swiglu", "feed_forward": 20}, 20),
    ],
)
def test_swiglu_has_two_thirds_of_the_hidden_units_unless_told_otherwise(settings, expected):
    assert GPTConfig(**settings).hidden == expected


# another text beside its own


def test_a_crossed_block_attends_to_a_memory_as_the_formula_says():
    """Value by hand in float64; what a mask hides does not matter, nor does the memory's order."""
    config = GPTConfig(**SIZES)
    block = Block(config, rng=generator(), crossed=True).eval().astype(np.float64)
    for parameter in block.parameters():
        parameter.assign(generator(parameter.data.size).standard_normal(parameter.shape))
    x, memory = generator(1).standard_normal((2, 3, 12)), generator(2).standard_normal((2, 5, 12))
    w = block.cross.state_dict()
    joint = [a @ w["c_attn.weight"].T + w["c_attn.bias"] for a in (x, memory)]
    q, k, v = (
        part.reshape(2, -1, 2, 6).swapaxes(1, 2)
        for part in (joint[0][..., :12], joint[1][..., 12:24], joint[1][..., 24:])
    )
    scores = np.exp(q @ k.swapaxes(-1, -2) / math.sqrt(6))
    seen = (scores / scores.sum(-1, keepdims=True) @ v).swapaxes(1, 2).reshape(2, 3, 12)
    expected = seen @ w["c_proj.weight"].T + w["c_proj.bias"]
    np.testing.assert_allclose(block.cross(x, memory).numpy(), expected, rtol=1e-9)
    whole = block(x, memory, causal=True).numpy()
    order = [3, 1, 4, 0, 2]
    np.testing.assert_allclose(block(x, memory[:, order], causal=True).numpy(), whole, rtol=1e-9)
    mask = np.array([True, True, True, False, True])
    hidden = block(x, memory, memory_mask=mask, causal=True).numpy()
    np.testing.assert_allclose(block(x, memory[:, mask], causal=True).numpy(), hidden, rtol=1e-9)
    assert not np.allclose(hidden, whole)


def test_a_cache_keeps_the_memory_and_goes_on_with_the_rows_that_it_is_told():
    block = Block(GPTConfig(**SIZES), rng=generator(), crossed=True).eval()
    x = generator(1).standard_normal((2, 3, 12), dtype=np.float32)
    memory = generator(2).standard_normal((2, 5, 12), dtype=np.float32)
    with no_grad():
        whole = block(x, memory, causal=True).numpy()
        cache = Cache(1, 8, memory=5)
        parts = [block(x[:, i : i + 1], memory, causal=True, cache=cache.blocks[0]).numpy() for i in range(2)]
        assert cache.length == 2
        cache.keep([1, 1])
        last = block(x[[1, 1], 2:], memory[[1, 1]], causal=True, cache=cache.blocks[0]).numpy()
    np.testing.assert_allclose(np.concatenate(parts, axis=1), whole[:, :2], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(last, whole[[1, 1], 2:], rtol=1e-5, atol=1e-6)


# how it begins, and learns


def test_weights_begin_as_gpt_2s():
    model = GPT(GPTConfig(vocabulary=500, context=64, layers=8, heads=4, width=64), rng=generator())
    deviations = {name: float(array.std()) for name, array in model.state_dict().items() if array.ndim > 1}
    for name, deviation in deviations.items():
        expected = 0.02 / math.sqrt(16) if name.endswith("c_proj.weight") else 0.02
        assert deviation == pytest.approx(expected, rel=0.05), name
    assert all(not array.any() for name, array in model.state_dict().items() if name.endswith("bias"))
    row = generator().integers(0, 500, (4, 65))
    assert float(model.loss(row[:, :-1], row[:, 1:])) == pytest.approx(math.log(500), rel=0.02)


def test_parameters_have_the_names_and_the_number_of_gpt_2s():
    config = GPTConfig(vocabulary=100, context=32, layers=3, heads=4, width=16)
    model = GPT(config, rng=generator())
    c = config.width
    block = 12 * c * c + 13 * c  # attention 4 c^2 + 4 c, feed-forward 8 c^2 + 5 c, two norms 4 c
    assert model.num_parameters == 100 * c + 32 * c + 3 * block + 2 * c
    names = set(model.state_dict())
    parts = "ln_1.weight ln_1.bias attn.c_attn.weight attn.c_attn.bias attn.c_proj.weight attn.c_proj.bias"
    parts += " ln_2.weight ln_2.bias mlp.c_fc.weight mlp.c_fc.bias mlp.c_proj.weight mlp.c_proj.bias"
    expected = {f"h.{i}.{part}" for i in range(3) for part in parts.split()}
    assert names == expected | {"wte.weight", "wpe.weight", "ln_f.weight", "ln_f.bias"}


@pytest.mark.parametrize("variant", VARIANTS)
def test_it_learns_a_text_by_heart(variant):
    model = made(positions="learned", **VARIANTS[variant]).train()
    row = tokens(1, 9, seed=1)
    optimizer = tg.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(150):
        optimizer.zero_grad()
        loss = model.loss(row[:, :-1], row[:, 1:])
        loss.backward()
        optimizer.step()
    assert float(loss) < 0.1
    model.eval()
    greedy = SamplingConfig(temperature=0)
    written = generate(model, row[:, :1], sampling=greedy, rngs=[generator()])
    assert [int(token) for (token,) in itertools.islice(written, 8)] == row[0, 1:].tolist()


def test_dropout_only_while_training():
    model, row = made(dropout=0.5), tokens()
    assert np.array_equal(model(row).numpy(), model(row).numpy())
    model.train()
    assert not np.array_equal(model(row).numpy(), model(row).numpy())


def test_targets_of_minus_100_count_for_nothing():
    model, row = made(5.0), tokens(1, 9)
    x, y = row[:, :-1], row[:, 1:].copy()
    losses = model.loss(x, y, reduction="none").numpy()
    y[0, 3:] = -100
    assert float(model.loss(x, y)) == pytest.approx(losses[0, :3].mean(), rel=1e-6)


@pytest.mark.parametrize("variant", ["gpt-2", "llama"])
def test_logits_and_gradients_agree_with_pytorch(variant):
    """The same network written in PyTorch's own functions, in float64."""
    torch = pytest.importorskip("torch")
    f = torch.nn.functional
    rotary = variant == "llama"
    positions = "rotary" if rotary else "learned"
    model = made(5.0, positions=positions, **VARIANTS[variant]).astype(np.float64)
    row = tokens(3, 8)
    loss = model.loss(row[:, :-1], row[:, 1:])
    loss.backward()
    w = {name: torch.tensor(array, requires_grad=True) for name, array in model.state_dict().items()}
    x_ids, y_ids = torch.tensor(row[:, :-1]), torch.tensor(row[:, 1:])
    batch, count = x_ids.shape

    def norm(x, name):
        if rotary:
            return x / torch.sqrt((x * x).mean(-1, keepdim=True) + 1e-6) * w[f"{name}.weight"]
        return f.layer_norm(x, (12,), w[f"{name}.weight"], w[f"{name}.bias"])

    def linear(x, name):
        return f.linear(x, w[f"{name}.weight"], w.get(f"{name}.bias"))

    def turned(x):
        angles = torch.outer(torch.arange(count), 10000.0 ** (-torch.arange(0, 6, 2) / 6)).double()
        first, second = x[..., :3], x[..., 3:]
        cos, sin = angles.float().cos().double(), angles.float().sin().double()
        return torch.cat([first * cos - second * sin, first * sin + second * cos], -1)

    x = w["wte.weight"][x_ids]
    x = x if rotary else x + w["wpe.weight"][:count]
    for i in range(2):
        h = linear(norm(x, f"h.{i}.ln_1"), f"h.{i}.attn.c_attn")
        q, k, v = (part.view(batch, count, 2, 6).transpose(1, 2) for part in h.split(12, dim=-1))
        q, k = (turned(q), turned(k)) if rotary else (q, k)
        seen = (
            f.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(batch, count, 12)
        )
        x = x + linear(seen, f"h.{i}.attn.c_proj")
        h = linear(norm(x, f"h.{i}.ln_2"), f"h.{i}.mlp.c_fc")
        if rotary:
            gate, h = h.chunk(2, dim=-1)
            h = f.silu(gate) * h
        else:
            h = f.gelu(h, approximate="tanh")
        x = x + linear(h, f"h.{i}.mlp.c_proj")
    logits = norm(x, "ln_f") @ w["lm_head.weight" if rotary else "wte.weight"].T
    expected = f.cross_entropy(logits.reshape(-1, 13), y_ids.reshape(-1))
    expected.backward()
    np.testing.assert_allclose(model(row[:, :-1]).numpy(), logits.detach().numpy(), rtol=1e-6, atol=1e-7)
    assert float(loss) == pytest.approx(expected.item(), rel=1e-7)
    for name, parameter in model.named_parameters():
        np.testing.assert_allclose(parameter.grad.numpy(), w[name].grad.numpy(), rtol=1e-5, atol=1e-8)


def test_the_loss_has_the_right_second_derivative():
    model, row = made(positions="alibi", layers=1).astype(np.float64), tokens(1, 5)
    weight = model.h[0].attn.c_attn.weight.numpy()

    def loss(w):
        model.h[0].attn.c_attn.weight = w
        return model.loss(row[:, :-1], row[:, 1:])

    tg.testing.gradcheck(loss, weight, order=2)


@pytest.mark.parametrize("positions", ["learned", "rotary"])
@pytest.mark.parametrize("place", ["drop", "h.0.attn.drop", "h.0.mlp.drop", "h.1.attn.drop", "h.1.mlp.drop"])
def test_dropout_is_of_the_sums_of_tokens_and_places_and_of_every_sublayer(positions, place):
    """Of queries that are turned, too, whose attention goes the long way. One place at a time drops."""
    model, row = made(5.0, positions=positions, dropout=0.5), tokens()
    drops = {path: part for path, part in model.named_modules() if isinstance(part, nn.Dropout)}
    assert len(drops) == 1 + 2 * 2
    whole = model(row).numpy()
    for path, part in drops.items():
        part.p = 0.5 if path == place else 0.0
    model.train()
    assert not np.allclose(model(row).numpy(), whole, atol=1e-2)


def test_labels_are_smoothed_only_while_training():
    model, row = made(5.0, label_smoothing=0.2), tokens(2, 9)
    x, y = row[:, :-1], row[:, 1:]
    logits = model(x).numpy().astype(np.float64)
    log_p = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    own = -np.take_along_axis(log_p, y[..., None], axis=-1).mean()
    assert float(model.loss(x, y)) == pytest.approx(own, rel=1e-5)
    model.train()
    assert float(model.loss(x, y)) == pytest.approx(0.8 * own - 0.2 * log_p.mean(), rel=1e-5)


# writing


@pytest.mark.parametrize("positions", POSITIONS)
def test_with_and_without_a_cache_it_writes_the_same_also_past_what_it_sees_at_once(positions):
    model, prompt = made(8.0, positions=positions), tokens(2, 3)
    sampling = SamplingConfig(temperature=0.8, top_k=6)
    texts = []
    for cached in (True, False):
        rngs = [generator(5), generator(6)]
        written = generate(model, prompt, sampling=sampling, rngs=rngs, cached=cached)
        texts.append(np.array(list(itertools.islice(written, 40))))
    assert np.array_equal(*texts)
    assert len(np.unique(texts[0])) > 2


def test_a_row_gets_what_it_would_get_alone():
    model, prompts = made(8.0), tokens(5, 4)
    sampling = SamplingConfig(temperature=0.9)
    together = generate(model, prompts, sampling=sampling, rngs=[generator(i) for i in range(5)])
    together = np.array(list(itertools.islice(together, 20)))
    for i in (0, 3):
        alone = generate(model, prompts[i : i + 1], sampling=sampling, rngs=[generator(i)])
        assert np.array_equal(np.array(list(itertools.islice(alone, 20)))[:, 0], together[:, i])


def test_the_window_moves_by_halves():
    starts = [window(count, 8) for count in range(1, 25)]
    assert starts == [0] * 8 + [4] * 4 + [8] * 4 + [12] * 4 + [16] * 4
    for context in (1, 2, 5, 8):
        for count in range(1, 40):
            assert 1 <= count - window(count, context) <= context


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_all_that_was_written_becomes_less_likely_the_prompt_too(temperature):
    model, prompt, texts = made(8.0), tokens(6, 3), {}
    for penalty in (1.0, 3.0):
        sampling = SamplingConfig(temperature=temperature, repetition_penalty=penalty)
        written = generate(model, prompt, sampling=sampling, rngs=[generator(i) for i in range(6)])
        texts[penalty] = np.array(list(itertools.islice(written, 5))).T
    for i, expected in enumerate(texts[3.0].tolist()):
        text, rng = prompt[i].tolist(), generator(i)
        for _ in range(5):
            p = probabilities(model(np.array([text])).numpy()[0, -1], sampling, written=text)
            text.append(draw(p, rng))
        assert text[3:] == expected
    assert not np.array_equal(*texts.values())


# mistakes


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"width": 10, "heads": 3}, "heads: expected a divisor of the width, 10, got 3"),
        ({"width": 9, "heads": 3, "positions": "rotary"}, "expected heads of an even size for rotary, got 3"),
        ({"layers": 0}, "layers: expected at least 1, got 0"),
        ({"dropout": 1.0}, "dropout: expected at least 0 and below 1, got 1.0"),
        ({"positions": "absolute"}, "positions: expected one of learned, sinusoidal, rotary, alibi, none"),
    ],
)
def test_sizes_that_do_not_fit_are_errors(settings, message):
    with pytest.raises(ValueError, match=message):
        GPTConfig(**settings)


def test_too_many_tokens_are_an_error():
    model = made()
    with pytest.raises(ValueError, match=r"at most 8 of them in a row, got \(2, 9\) after 0"):
        model(tokens(2, 9))
    cache = model.new_cache()
    model(tokens(2, 6), cache=cache)
    with pytest.raises(ValueError, match=r"got \(2, 3\) after 6"):
        model(tokens(2, 3), cache=cache)
    with pytest.raises(ValueError, match=r"expected a prompt \(B, T\)"):
        next(generate(model, tokens(2, 0), sampling=SamplingConfig(), rngs=[generator()] * 2))
