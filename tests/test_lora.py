"""LoRA: the formula, what is learnt and what is not, and that merging computes the same function."""

import numpy as np
import pytest

import tinygen as tg
from tinygen import nn
from tinygen.autograd import no_grad
from tinygen.models import GPT, GPTConfig
from tinygen.nn.lora import freeze

SIZES = {"vocabulary": 13, "context": 8, "layers": 2, "heads": 2, "width": 12}
LINEAR = {"attn.c_attn": (36, 12), "attn.c_proj": (12, 12), "mlp.c_fc": (48, 12), "mlp.c_proj": (12, 48)}


def generator(seed=0):
    return np.random.default_rng(seed)


def made(dtype=np.float64, **settings):
    return GPT(GPTConfig(**SIZES, **settings), rng=generator()).astype(dtype)


def adapted(dtype=np.float64, rank=3, alpha=6.0, **settings):
    """A GPT with LoRA whose updates are no longer zero."""
    model = nn.adapt(made(dtype, **settings), rank=rank, alpha=alpha, rng=generator(1))
    for i, parameter in enumerate(model.parameters()):
        parameter.assign(generator(i).standard_normal(parameter.shape).astype(dtype) * 0.3)
    return model


def tokens(count=9, batch=2):
    return generator(3).integers(0, SIZES["vocabulary"], (batch, count))


def test_it_computes_what_the_formula_says():
    linear = nn.Linear(5, 4, rng=generator()).astype(np.float64)
    w, b, x = linear.weight.numpy(), linear.bias.numpy(), generator(1).standard_normal((3, 5))
    layer = nn.LoRA(linear, rank=2, alpha=3.0, rng=generator(2))
    assert np.array_equal(layer(x).numpy(), x @ w.T + b)  # B is zero
    layer.B.assign(generator(3).standard_normal((4, 2)))
    expected = x @ w.T + b + 1.5 * x @ layer.A.numpy().T @ layer.B.numpy().T
    np.testing.assert_allclose(layer(x).numpy(), expected, rtol=1e-12)


def test_a_begins_as_large_as_what_it_reads_and_b_at_zero():
    layer = nn.LoRA(nn.Linear(400, 50, rng=generator()), rank=40, alpha=1.0, rng=generator(1))
    x = generator(2).standard_normal((100, 400), dtype=np.float32)
    assert tg.linear(x, layer.A).numpy().std() == pytest.approx(1.0, rel=0.05)
    assert not layer.B.numpy().any()


@pytest.mark.parametrize(
    "settings", [{}, {"tied": False, "bias": False, "norm": "rms"}], ids=["tied", "untied"]
)
def test_only_a_and_b_of_every_linear_layer_are_learnt(settings):
    plain = made(**settings)
    model = nn.adapt(made(**settings), rank=3, alpha=6.0, rng=generator(1))
    shapes = {f"h.{i}.{name}": shape for i in range(2) for name, shape in LINEAR.items()}
    shapes |= {} if settings.get("tied", True) else {"lm_head": (13, 12)}
    expected = {f"{name}.A": (3, inputs) for name, (_, inputs) in shapes.items()}
    expected |= {f"{name}.B": (outputs, 3) for name, (outputs, _) in shapes.items()}
    assert {name: parameter.shape for name, parameter in model.named_parameters()} == expected
    kept = {name.replace(".linear.", "."): array for name, array in model.state_dict().items()}
    for name, array in plain.state_dict().items():
        assert kept[name].tobytes() == array.tobytes()
    row = tokens()
    assert np.array_equal(model(row[:, :-1]).numpy(), plain(row[:, :-1]).numpy())


def test_a_step_moves_the_updates_and_no_other_number():
    model, row = adapted(np.float32), tokens()
    before, averages = model.state_dict(), nn.EMA(model, decay=0.9)
    optimizer = tg.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.1)
    model.loss(row[:, :-1], row[:, 1:]).backward()
    optimizer.step()
    averages.update()
    learnt = {name for name, _ in model.named_parameters()}
    for name, array in model.state_dict().items():
        assert (array.tobytes() != before[name].tobytes()) == (name in learnt), name
        assert array.dtype == np.float32
    assert set(averages.state_dict()) == learnt


def test_its_gradients_are_those_of_the_whole_weight_seen_through_a_and_b():
    """dB = s dW A^T and dA = s B^T dW, where dW is the gradient of the merged model's weight."""
    model, row = adapted(), tokens()
    layers = {path: part for path, part in model.named_modules() if isinstance(part, nn.LoRA)}
    model.loss(row[:, :-1], row[:, 1:]).backward()
    found = {
        path: (x.A.numpy(), x.B.numpy(), x.A.grad.numpy(), x.B.grad.numpy()) for path, x in layers.items()
    }
    nn.merge(model).loss(row[:, :-1], row[:, 1:]).backward()
    whole = {name: parameter.grad.numpy() for name, parameter in model.named_parameters()}
    assert len(found) == 8
    for path, (a, b, da, db) in found.items():
        dw = whole[f"{path}.weight"]
        np.testing.assert_allclose(db, 2.0 * dw @ a.T, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(da, 2.0 * b.T @ dw, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype, tolerance", [(np.float64, 1e-12), (np.float32, 1e-5)])
def test_merged_it_is_an_ordinary_model_of_the_same_function(dtype, tolerance):
    model, plain, row = adapted(dtype), made(dtype), tokens(8)
    layers = [part for _, part in model.named_modules() if isinstance(part, nn.LoRA)]
    frozen = [layer.linear.weight for layer in layers]
    bits = [array.tobytes() for array in frozen]
    apart = model(row).numpy()
    assert nn.merge(model) is model
    together = model(row).numpy()
    np.testing.assert_allclose(together, apart, rtol=tolerance, atol=tolerance)
    assert np.abs(together - plain(row).numpy()).max() > 0.01
    shapes = [[(n, p.shape) for n, p in net.named_parameters()] for net in (model, plain)]
    assert shapes[0] == shapes[1]
    assert {array.dtype for array in model.state_dict().values()} == {np.dtype(dtype)}
    assert all(part.buffers == () for _, part in model.named_modules())
    # The layers of before are as they were: whoever kept them has the base to the bit, and the update.
    assert all(layer.linear.weight is array for layer, array in zip(layers, frozen))
    assert [array.tobytes() for array in frozen] == bits


def test_a_model_without_lora_stays_as_it_is_when_merged():
    norm = nn.BatchNorm(3)
    net = nn.Sequential(nn.Linear(3, 3, rng=generator()), norm)
    before, parameters = net.state_dict(), net.parameters()
    assert nn.merge(net).parameters() == parameters and norm.buffers == ("running_mean", "running_var")
    assert all(np.array_equal(array, before[name]) for name, array in net.state_dict().items())


class Held(nn.Module):
    """Layers in a list and in a dict."""

    def __init__(self):
        self.listed = [nn.Linear(3, 3, rng=generator()), nn.BatchNorm(3)]
        self.named = {"last": nn.Linear(3, 2, rng=generator())}

    def forward(self, x):
        for layer in [*self.listed, *self.named.values()]:
            x = layer(x)
        return x


@pytest.mark.parametrize("make", [Held, lambda: nn.Sequential(*Held().listed)], ids=["held", "sequential"])
def test_layers_are_found_in_lists_and_dicts_and_buffers_stay_buffers(make):
    net = nn.adapt(make(), rank=1, alpha=1.0, rng=generator())
    assert {name.rpartition(".")[2] for name, _ in net.named_parameters()} == {"A", "B"}
    state = {name.rpartition(".")[2] for name in net.state_dict()}
    assert state == {"A", "B", "weight", "bias", "running_mean", "running_var"}
    again = nn.adapt(make(), rank=1, alpha=1.0, rng=generator(1))
    again.load_state_dict(net.state_dict())
    x = generator(1).standard_normal((5, 3), dtype=np.float32)
    assert np.array_equal(again(x).numpy(), net(x).numpy())
    nn.merge(net)
    names = {name.rpartition(".")[2] for name, _ in net.named_parameters()}
    assert names == {"weight", "bias"} and list(net.state_dict()) == list(make().state_dict())


@pytest.mark.parametrize("tied", [True, False])
def test_an_adapted_model_writes_with_its_updates(tied):
    """Token by token, as a training with LoRA does for its samples and answers: no kernel serves."""
    model, row = adapted(np.float32, tied=tied).eval(), tokens(6)
    with no_grad():
        whole, cache = model(row).numpy(), model.new_cache()
        for i in range(6):
            last = model.next_logits(row[:, i : i + 1], cache=cache).numpy()
            np.testing.assert_allclose(last, whole[:, i], rtol=1e-4, atol=1e-4)


# mistakes


class Shared(nn.Module):
    """A Linear whose bias is the module's own, too."""

    def __init__(self):
        self.linear = nn.Linear(2, 2, rng=generator())
        self.bias = self.linear.bias


class Listed(nn.Module):
    """A Parameter that is in a list."""

    def __init__(self):
        self.linear = nn.Linear(2, 2, rng=generator())
        self.scales = [nn.Parameter(np.ones(2, np.float32))]


def test_what_cannot_be_adapted_is_told():
    linear = nn.Linear(3, 5, rng=generator())
    with pytest.raises(
        ValueError, match=r"a rank of at most 3, the smaller side of a weight \(5, 3\), got 4"
    ):
        nn.LoRA(linear, rank=4, alpha=1.0, rng=generator())
    with pytest.raises(ValueError, match="LoRA: expected rank to be an integer of at least 1, got 0"):
        nn.LoRA(linear, rank=0, alpha=1.0, rng=generator())
    assert linear.buffers == () and isinstance(linear.weight, nn.Parameter)
    with pytest.raises(TypeError, match=r"np\.random\.Generator"):
        nn.LoRA(linear, rank=1, alpha=1.0, rng=7)
    with pytest.raises(ValueError, match="got one that is adapted; merge it first"):
        nn.adapt(adapted(), rank=1, alpha=1.0, rng=generator())
    with pytest.raises(ValueError, match="with Linear layers in it, got none; train all of it"):
        nn.adapt(nn.LayerNorm(3), rank=1, alpha=1.0, rng=generator())
    for net in (Shared(), Listed()):
        with pytest.raises(ValueError, match=r"expected each of \d Parameters to be one attribute"):
            freeze(net)
        assert len(net.parameters()) >= 2 and all(part.buffers == () for _, part in net.named_modules())
