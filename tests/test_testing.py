"""The tests are tested: the contract rejects every kind of wrong operation, and accepts right ones.

Every law of the contract has its breaker below, which no other law is allowed to catch for it.
"""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numba
import numpy as np
import pytest
from planted import RIGHT, WRONG_RULES, cube, on_array, plant, product, twice, verdict

import tinygen as tg
from tinygen import kernels
from tinygen.testing import GradientError, contract, contracts, gradcheck


@pytest.mark.parametrize("name", RIGHT)
def test_contract_accepts_what_is_right(name):
    assert verdict(RIGHT[name]) is None


@pytest.mark.parametrize("name", WRONG_RULES)
def test_wrong_rules_are_rejected(name):
    assert verdict(WRONG_RULES[name]) is not None


def test_a_mistake_of_the_third_order_needs_order_three():
    square = plant(lambda x: x * x, x=lambda g, x: g * (2 * tg.stop_gradient(x)))
    third = plant(cube, x=lambda g, x: g * (3 * square(x)))
    x = np.array([0.5, 1.5])
    gradcheck(third, x, order=2)
    assert verdict(third, order=2) is None
    with pytest.raises(GradientError, match=r"^cube: order 3: "):
        gradcheck(third, x, order=3)
    assert "cube: order 3: " in verdict(third, order=3)


def test_a_rule_that_hands_out_one_buffer_again_and_again_is_rejected():
    buffers = {}

    def rule(g):
        return np.multiply(g, 2.0, out=buffers.setdefault((g.shape, g.dtype), np.empty_like(g)))

    assert verdict(plant(twice, x=on_array(rule))) is not None


# Each law has its breaker


def dices(x):
    return x + 1e-9 * np.random.default_rng().random()


def writes_where_it_may(x):
    if x.flags.writeable:
        x += 1.0
    return 2.0 * x


def writes_to_its_input(x):
    x *= 1.0
    return 2.0 * x


def writes_to_the_cotangent(g):
    g *= 2.0
    return g


def writes_to_what_was_kept(g, x):
    if not isinstance(g, tg.Tensor):
        x *= 1.0
    return 2.0 * g


def goes_by_memory(x):
    return 2.0 * x if x.flags.c_contiguous else 2.0001 * x


def every_other_time(by):
    """A rule that is off by that much at every second call."""
    calls = []

    def rule(g):
        calls.append(g)
        return (2.0 + by * (len(calls) % 2)) * g

    return rule


def goes_by_threads(x):
    return (2.0 + 1e-12 * numba.get_num_threads()) * x


BREAKERS = {
    "dices": (plant(dices, x=lambda g: g), "arrays_and_tensors_agree"),
    "is wrong": (plant(cube, x=lambda g, x: 1.001 * g * (3 * x * x)), "derivatives_agree_with_differences"),
    "is not linear": (plant(twice, x=lambda g: 2.0 * g + 1e-6 * g * g), "pullback_is_linear"),
    "records another rule": (plant(twice, x=on_array(lambda g: 2.001 * g)), "forward_and_reverse_agree"),
    "gives float64 for float32": (
        *(plant(lambda x: 2.0 * x.astype(np.float64), x=lambda g: 2.0 * g), "gradients_fit_their_inputs"),
    ),
    "writes to its input": (plant(writes_to_its_input, x=lambda g: 2.0 * g), "nothing_is_written_to"),
    "writes where it may": (plant(writes_where_it_may, x=lambda g: 2.0 * g), "nothing_is_written_to"),
    "writes to the cotangent": (plant(twice, x=on_array(writes_to_the_cotangent)), "nothing_is_written_to"),
    "writes to what was kept": (plant(twice, x=writes_to_what_was_kept), "nothing_is_written_to"),
    "goes by memory": (plant(goes_by_memory, x=lambda g: 2.0 * g), "memory_layout_does_not_matter"),
    "goes by the cotangent's memory": (
        *(plant(twice, x=on_array(goes_by_memory)), "memory_layout_does_not_matter"),
    ),
    "differs from its reference": (
        plant(
            lambda x, y: 1.0001 * x * y,
            reference=lambda x, y: x * y,
            x=lambda g, y: 1.0001 * g * y,
            y=lambda g, x: 1.0001 * g * x,
        ),
        "fast_equals_reference",
    ),
    "has a reference with another gradient": (
        plant(
            product,
            reference=lambda x, y: tg.stop_gradient(x) * y,
            x=lambda g, y: g * y,
            y=lambda g, x: g * x,
        ),
        "fast_equals_reference",
    ),
    "goes by threads": (plant(goes_by_threads, x=lambda g: 2.0 * g), "same_bits_for_any_thread_count"),
    "wavers in the last bits": (plant(twice, x=on_array(every_other_time(1e-12))), "calls_are_repeatable"),
    "wavers": (plant(twice, x=on_array(every_other_time(1e-6))), "backwards_accumulate"),
}


@pytest.mark.parametrize("name", BREAKERS)
def test_each_law_catches_its_breaker_alone(name):
    operation, law = BREAKERS[name]
    others = tuple(set(contracts.LAWS) - {law})
    told = verdict(operation, skip=others)
    assert told is not None, f"{law} lets it pass"
    assert f"{operation.__name__} breaks the law {law!r}" in told
    assert verdict(RIGHT["product"], skip=others) is None


def test_every_law_has_a_breaker():
    assert {law for _, law in BREAKERS.values()} == set(contracts.LAWS)


def test_a_skipped_law_is_not_asked():
    operation, law = BREAKERS["gives float64 for float32"]
    assert verdict(operation) is not None
    assert verdict(operation, skip=(law,)) is None


def test_contract_refuses_laws_that_do_not_exist():
    with pytest.raises(ValueError, match="no law gravity; there are arrays_and_tensors_agree"):
        contract(tg.exp, skip=("gravity",))


def test_contract_refuses_what_is_no_operation():
    with pytest.raises(TypeError, match=r"contract: .*primitive"):
        contract(np.exp)


@pytest.mark.parametrize("part", ["value", "gradient"])
def test_a_kernel_that_disagrees_with_the_reference_is_rejected(part, monkeypatch):
    """Another implementation, wrong by 1e-8 in one of its functions."""

    class Other:
        def __getattr__(self, name):
            return getattr(kernels.reference, name)

        def rms_norm(self, *args):
            out, *saved = kernels.reference.rms_norm(*args)
            return (out * (1 + 1e-8 * (part == "value")), *saved)

        def rms_norm_backward(self, *args):
            dx, dweight = kernels.reference.rms_norm_backward(*args)
            return dx * (1 + 1e-8 * (part == "gradient")), dweight

    assert verdict(tg.rms_norm) is None
    monkeypatch.setitem(kernels._IMPLEMENTATIONS, "other", Other())
    told = verdict(tg.rms_norm)
    assert told and "fast_equals_reference" in told and f"{part}s of the other kernels" in told


def test_the_engine_gives_no_two_leaves_one_buffer():
    """A rule may give one array for two inputs, and the contract accepts it: copies are the engine's work."""
    operation = RIGHT["one gradient for two"]
    x, y = (tg.tensor(np.ones(3), requires_grad=True) for _ in range(2))
    cotangent = np.ones(3)
    operation(x, y).backward(cotangent)
    assert not np.shares_memory(x.grad.data, y.grad.data)
    assert not np.shares_memory(x.grad.data, cotangent) and not np.shares_memory(y.grad.data, cotangent)


# A user's own operation

x = tg.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)


@tg.primitive
def softplus(x):
    return np.logaddexp(0, x)


softplus.rules(x=lambda g, x: g * tg.sigmoid(x))


def test_gradcheck_of_a_users_operation():
    tg.testing.gradcheck(softplus, x, order=2)


test_softplus = tg.testing.contract(softplus)  # collected by pytest, as any test


def test_a_contract_is_a_test_with_a_name_and_a_description():
    assert test_softplus.__name__ == "test_softplus"
    assert "derivatives_agree_with_differences" in test_softplus.__doc__
    assert tg.testing.contract(softplus) is not test_softplus  # asked for twice, made twice


def test_a_wrong_operation_fails_under_pytest(tmp_path):
    (tmp_path / "test_mine.py").write_text(
        textwrap.dedent("""
            import numpy as np
            import tinygen as tg

            @tg.primitive
            def right(x): return np.logaddexp(0, x)
            right.rules(x=lambda g, x: g * tg.sigmoid(x))
            test_right = tg.testing.contract(right)

            @tg.primitive
            def wrong(x): return np.logaddexp(0, x)
            wrong.rules(x=lambda g, x: g * tg.tanh(x))
            test_wrong = tg.testing.contract(wrong)
        """)
    )
    (tmp_path / "conftest.py").write_text(
        textwrap.dedent("""
            from hypothesis import Phase, settings
            settings.register_profile("quick", max_examples=10, derandomize=True, phases=(Phase.generate,))
            settings.load_profile("quick")
        """)
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_mine.py"]
    environment = {**os.environ, "PYTHONPATH": str(Path(tg.__file__).parents[1])}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 failed, 1 passed" in done.stdout, done.stdout
    assert "wrong breaks the law 'derivatives_agree_with_differences'" in done.stdout
    assert "worst at x" in done.stdout
