"""A block's step in one kernel: held to the block's own lines in every form, and to decline what it must."""

import itertools
import math

import numpy as np
import pytest

import tinygen as tg
from tinygen import kernels
from tinygen.autograd import no_grad
from tinygen.models import GPT, GPTConfig, SamplingConfig, generate
from tinygen.models.positions import POSITIONS
from tinygen.models.transformer import Block

FORMS = {
    "gpt-2": {"activation": "gelu-tanh"},
    "nanogpt": {"activation": "gelu", "bias": False},
    "llama": {"activation": "swiglu", "norm": "rms", "bias": False, "tied": False},
    "2017": {"activation": "relu", "post_norm": True, "feed_forward": 37},
    "rms after": {"activation": "gelu", "post_norm": True, "norm": "rms"},
}
SIZES = {"vocabulary": 13, "context": 12, "layers": 2, "heads": 3, "width": 42}
NEAR = {np.float32: 2e-5, np.float64: 1e-11}


def generator(seed=0):
    return np.random.default_rng(seed)


def made(dtype=np.float32, **settings):
    """A GPT in evaluation mode whose parameters are all random, norms' and biases' too."""
    model = GPT(GPTConfig(**{**SIZES, **settings}), rng=generator()).eval().astype(dtype)
    for i, parameter in enumerate(model.parameters()):
        parameter.assign(parameter.numpy() * 5 + generator(i).normal(0, 0.1, parameter.shape).astype(dtype))
    return model


def tokens(batch=2, count=12):
    return generator(3).integers(0, SIZES["vocabulary"], (batch, count))


def one_by_one(model, row, kernel="numba", threads=None):
    """The logits of a text that comes token by token, and the cache."""
    cache, parts = model.new_cache(), []
    with no_grad(), kernels.use(kernel, threads=threads):
        for i in range(row.shape[1]):
            parts.append(model(row[:, i : i + 1], cache=cache).numpy())
    return np.concatenate(parts, axis=1), cache


@pytest.fixture
def served(monkeypatch):
    """For each call of the kernel, whether it served."""
    fast, found = kernels._IMPLEMENTATIONS["numba"], []
    kernel = fast.block_step

    def watched(*args, **options):
        out = kernel(*args, **options)
        found.append(out is not NotImplemented)
        return out

    monkeypatch.setattr(fast, "block_step", watched)
    return found


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("form", FORMS)
def test_it_gives_what_the_blocks_own_lines_give(form, positions, dtype, served):
    model, row = made(dtype, positions=positions, **FORMS[form]), tokens()
    mine, cache = one_by_one(model, row)
    assert served == [True] * 12 * 2 and mine.dtype == dtype
    plain, plain_cache = one_by_one(model, row, "reference")
    assert len(served) == 24
    with no_grad(), kernels.use("reference"):
        whole = model(row).numpy()
    scale = np.abs(whole).max()
    np.testing.assert_allclose(mine, plain, rtol=NEAR[dtype], atol=NEAR[dtype] * scale)
    np.testing.assert_allclose(mine, whole, rtol=NEAR[dtype], atol=NEAR[dtype] * scale)
    for (own, _), (other, _) in zip(cache.blocks, plain_cache.blocks):
        assert own.length == other.length == 12
        for name in ("keys", "values"):
            np.testing.assert_allclose(getattr(own, name), getattr(other, name), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("width, heads", [(2, 1), (8, 8), (16, 1), (34, 2), (66, 1), (130, 10)])
def test_widths_around_tasks_and_vectors(width, heads, served):
    model, row = made(np.float64, width=width, heads=heads, layers=1, context=40), tokens(1, 40)
    mine, plain = one_by_one(model, row)[0], one_by_one(model, row, "reference")[0]
    assert all(served) and len(served) == 40
    np.testing.assert_allclose(mine, plain, rtol=1e-11, atol=1e-11 * np.abs(plain).max())


@pytest.mark.skipif(kernels.most_threads() == 1, reason="there is one thread")
@pytest.mark.parametrize("form", ["gpt-2", "llama"])
def test_any_number_of_threads_gives_the_same_bits(form):
    model, row = made(width=99, heads=3, positions="alibi", **FORMS[form]), tokens(3)
    alone, cache = one_by_one(model, row, threads=1)
    shared, other = one_by_one(model, row, threads=2)
    np.testing.assert_array_equal(alone, shared)
    np.testing.assert_array_equal(cache.blocks[1][0].keys[:, :, :12], other.blocks[1][0].keys[:, :, :12])


def test_a_text_gets_the_same_bits_beside_others_as_alone():
    model, row = made(), tokens(8)
    together = one_by_one(model, row)[0]
    for i in (0, 7):
        np.testing.assert_array_equal(one_by_one(model, row[i : i + 1])[0][0], together[i])


@pytest.mark.parametrize("form", FORMS)
def test_nan_in_nan_out(form):
    model, row = made(**FORMS[form]), tokens()
    cache = model.new_cache()
    with no_grad(), kernels.use("numba"):
        for i in range(3):
            model(row[:, i : i + 1], cache=cache)
        cache.blocks[0][0].keys[0, 1, 2, 5] = math.nan
        logits = model(row[:, 3:4], cache=cache).numpy()
    assert np.isnan(logits[0]).all() and np.isfinite(logits[1]).all()


# where it declines


def declined(model, x, cache, **options):
    """What a block gives where the kernel may not serve."""
    return model.h[0](x, causal=True, cache=cache.blocks[0], **options).numpy()


def test_it_declines_what_is_not_its_own_and_writes_nothing(served):
    model, rng = made(), generator(1)
    x = rng.standard_normal((2, 1, 42), dtype=np.float32)

    def plain(x=x, **options):
        cache = model.new_cache()
        out = declined(model, tg.tensor(x), cache, **options)
        assert cache.length == 1
        return out

    with no_grad(), kernels.use("reference"):
        right = plain()
    with kernels.use("numba"):
        watched = plain()  # a gradient may be wanted
        assert served == []
        with no_grad(), tg.anomaly():
            observed = plain()
        with no_grad():
            masked = plain(mask=np.ones((2, 1, 1, 1), bool))
            turned = plain(turn=lambda x: x)
            assert served == []
            many = plain(np.repeat(x, 5, axis=0))
            assert served == [False]
            model.train()
            training = plain()
            model.eval()
            assert served == [False]
            served_now = plain()
            assert served == [False, True]
    for found in (watched, observed, masked, turned, many[::5], training, served_now):
        np.testing.assert_allclose(found, right, rtol=2e-5, atol=2e-5)


def test_weights_that_change_while_it_writes_count(served):
    """In place, and as another array; one that does not lie in order is left to the block."""
    model, row = made(), tokens()

    def changed(i):
        weight = model.h[0].mlp.c_fc.weight
        if i == 3:
            weight.assign(weight.numpy() * 2)
        elif i == 5:
            model.h[0].mlp.c_fc.weight = tg.nn.Parameter(weight.numpy() * 2)
        elif i == 7:
            weight.data = np.asfortranarray(weight.data)

    texts = []
    for kernel in ("numba", "reference"):
        model, cache = made(), model.new_cache()
        with no_grad(), kernels.use(kernel):
            for i in range(9):
                changed(i)
                logits = model(row[:, i : i + 1], cache=cache).numpy()
                texts.append(logits)
    for mine, plain in zip(texts[:9], texts[9:]):
        np.testing.assert_allclose(mine, plain, rtol=2e-5, atol=2e-5 * np.abs(plain).max())
    assert served == [True] * 14 + [False, True] * 2


def test_a_gradient_through_the_last_token_is_the_blocks_own(served):
    model, row = made(), tokens()
    with kernels.use("numba"):
        cache = model.new_cache()
        model(row[:, :4], cache=cache)
        model(row[:, 4:5], cache=cache).sum().backward()
    assert served == [] and model.h[0].mlp.c_fc.weight.grad is not None


def test_a_block_with_a_memory_goes_its_own_way(served):
    block, rng = Block(GPTConfig(**SIZES), rng=generator(), crossed=True).eval(), generator(1)
    x, memory = rng.standard_normal((2, 1, 42), dtype=np.float32), rng.standard_normal((2, 5, 42), dtype="f4")
    cache = GPT(GPTConfig(**SIZES), rng=generator()).new_cache()
    cache.blocks[0][1].capacity = 5
    with no_grad(), kernels.use("numba"):
        assert block(x, memory, causal=True, cache=cache.blocks[0]).shape == (2, 1, 42)
    assert served == []


def test_a_full_cache_is_an_error():
    model = made()
    cache = model.new_cache()
    with no_grad(), kernels.use("numba"):
        x = tg.tensor(np.ones((1, 1, 42), np.float32))
        for _ in range(12):
            model.h[0](x, causal=True, cache=cache.blocks[0])
        with pytest.raises(ValueError, match="cache: expected at most 12 tokens, got 13; begin a new one"):
            model.h[0](x, causal=True, cache=cache.blocks[0])
    assert cache.length == 12


@pytest.mark.parametrize("form", ["gpt-2", "llama"])
def test_the_likeliest_tokens_are_the_same(form, served):
    """Also past what the model sees at once, where the cache begins anew."""
    model, texts = made(**FORMS[form]), []
    for kernel in ("numba", "reference"):
        with kernels.use(kernel):
            rngs = [generator(), generator()]
            written = generate(model, tokens(2, 3), sampling=SamplingConfig(temperature=0), rngs=rngs)
            texts.append(np.array(list(itertools.islice(written, 40))))
    np.testing.assert_array_equal(*texts)
    assert len(served) > 40 and all(served)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("form", FORMS)
def test_the_next_logits_are_the_last_of_all(form, dtype, monkeypatch):
    """From the kernel, and where it declines: a gradient, more than 8 texts, the reference in use."""
    model, row, served = made(dtype, **FORMS[form]), tokens(), []
    fast = kernels._IMPLEMENTATIONS["numba"]
    end = fast.norm_linear

    def watched(*args):
        out = end(*args)
        served.append(out is not NotImplemented)
        return out

    monkeypatch.setattr(fast, "norm_linear", watched)
    with no_grad(), kernels.use("reference"):
        right = model(row).numpy()[:, -1]
        plain = model.next_logits(row).numpy()
    assert served == []
    with kernels.use("numba"):
        recorded = model.next_logits(row)
        assert served == [] and recorded.node is not None
        with no_grad():
            mine = model.next_logits(row).numpy()
            many = model.next_logits(np.tile(row, (5, 1))).numpy()
    assert served == [True, False] and mine.dtype == dtype
    near = {"rtol": NEAR[dtype], "atol": NEAR[dtype] * np.abs(right).max()}
    for found in (mine, plain, recorded.numpy(), many[:2], many[8:]):
        np.testing.assert_allclose(found, right, **near)


@pytest.mark.parametrize("kernel", ["numba", "reference"])
@pytest.mark.parametrize("before, after", [(1, 3), (1, 8), (3, 1), (3, 2)])
@pytest.mark.parametrize("count", [1, 2])
def test_a_cache_is_of_the_texts_that_it_began_with(before, after, count, kernel):
    """A kernel that took it for one of others would read and write beyond it."""
    model = made()
    cache = model.new_cache()
    with no_grad(), kernels.use(kernel):
        model(tokens(before, 3), cache=cache)
        with pytest.raises(ValueError, match=rf"cache: expected \({before}, 3, 12, .*, got \({after}, 3, 12"):
            model(tokens(after, count), cache=cache)
    assert cache.length == 3


def test_a_cache_of_a_model_of_other_sizes_is_an_error():
    model, other = made(), made(heads=2)
    cache = model.new_cache()
    with no_grad(), kernels.use("numba"):
        model(tokens(2, 3), cache=cache)
        with pytest.raises(ValueError, match=r"cache: expected \(2, 3, 12, 14\) .*, got \(2, 2, 12, 21"):
            other(tokens(2, 1), cache=cache)
