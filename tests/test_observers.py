"""Observers: told of every result, gradient and backward pass; and the lines that `anomaly` names."""

import dataclasses
import inspect
import threading

import numpy as np
import pytest

import tinygen as tg
from tinygen.autograd.modes import PLAIN, Observer, current_mode, observing
from tinygen.models import VAE, VAEConfig
from tinygen.models.image_networks import MLPEncoder
from tinygen.testing import gradcheck


class Diary(Observer):
    """Writes down what it is told."""

    def __init__(self, name="", shared=None):
        self.name, self.events = name, [] if shared is None else shared

    def result(self, primitive, values, attrs, out, node):
        self.events.append(f"{self.name}{primitive.name}{'' if node else ', untracked'}")

    def gradient(self, node, parent, g, cotangent):
        assert type(g) is np.ndarray and (g.shape, g.dtype) == (parent.shape, parent.dtype)
        assert type(cotangent) is np.ndarray and cotangent.shape == node.shape
        self.events.append(f"{self.name}gradient of {node.plan.name}")

    def backward_begins(self, create_graph):
        self.events.append(f"{self.name}{'recorded ' if create_graph else ''}pass")

    def backward_ends(self):
        self.events.append(f"{self.name}end")


@pytest.fixture
def x():
    return tg.tensor([[1.0, -2.0], [0.5, 3.0]], requires_grad=True)


def test_an_observer_is_told_of_results_gradients_and_the_pass(x):
    diary = Diary()
    with observing(diary):
        (x * 2.0).sum().backward()
    assert diary.events == ["multiply", "sum", "pass", "gradient of sum", "gradient of multiply", "end"]
    (x * 2.0).sum().backward()
    assert len(diary.events) == 6, "told after its block"


def test_an_observer_is_told_what_the_operation_got_and_made(x):
    told = []

    class Listener(Observer):
        def result(self, primitive, values, attrs, out, node):
            told.append((primitive, values, attrs, out))

    with observing(Listener()):
        y = x.sum(axis=0)
    [(primitive, values, attrs, out)] = told
    assert primitive is tg.sum.primitive and values[0] is x.data and out is y.data and attrs["axis"] == 0


def test_an_observer_is_told_of_what_is_not_recorded(x):
    diary = Diary()
    with observing(diary), tg.no_grad():
        tg.exp(x)
        with tg.enable_grad():
            tg.exp(x)
    assert diary.events == ["exp, untracked", "exp"]


def test_the_rules_of_a_recorded_pass_are_told_operation_by_operation(x):
    diary = Diary()
    with observing(diary):
        tg.gradients(tg.exp(x), x, np.ones((2, 2), np.float32), create_graph=True)
    assert diary.events == ["exp", "recorded pass", "multiply", "gradient of exp", "end"]


def test_a_checkpoint_runs_a_pass_inside_the_pass(x):
    diary = Diary()
    with observing(diary):
        tg.checkpoint(tg.exp, x).sum().backward()
    inner = ["exp", "pass", "gradient of exp", "end", "gradient of checkpoint"]
    assert diary.events == ["exp", "sum", "pass", "gradient of sum", *inner, "end"]


def test_of_nested_observers_all_are_told_the_outermost_first(x):
    events = []
    with observing(Diary("outer ", events)), observing(Diary("inner ", events)):
        tg.exp(x)
    assert events == ["outer exp", "inner exp"]


def test_an_observer_that_watches_already_is_not_told_twice(x):
    diary = Diary()
    with observing(diary), observing(diary):
        tg.exp(x)
    assert diary.events == ["exp"]


def test_two_observers_that_are_equal_are_both_told(x):
    @dataclasses.dataclass
    class Count(Observer):
        step: int
        told: int = dataclasses.field(default=0, compare=False)

        def result(self, primitive, values, attrs, out, node):
            self.told += 1

    one, other = Count(1), Count(1)
    assert one == other
    with observing(one), observing(other):
        tg.exp(x)
    assert one.told == other.told == 1


def test_of_the_end_of_a_pass_the_innermost_observer_hears_first(x):
    events = []
    y = tg.exp(x).sum()
    with observing(Diary("outer ", events)), observing(Diary("inner ", events)):
        y.backward()
    assert events[:2] == ["outer pass", "inner pass"] and events[-2:] == ["inner end", "outer end"]


class Refuses(Observer):
    """Raises at one of its events."""

    def __init__(self, event):
        setattr(self, event, self.refuse)

    def refuse(self, *told):
        raise KeyError("refused")


@pytest.mark.parametrize("event", ["backward_begins", "backward_ends", "gradient"])
def test_a_pass_in_which_an_observer_raises_is_over_for_the_others(x, event):
    before, after = Diary(), Diary()
    y = x.sum()
    watching = observing(before), observing(Refuses(event)), observing(after)
    with watching[0], watching[1], watching[2], pytest.raises(KeyError, match="refused"):
        y.backward()
    assert (before.events[0], before.events[-1]) == ("pass", "end")
    assert (after.events == []) if event == "backward_begins" else (after.events[-1] == "end")


def test_anomaly_watches_beside_another_observer(x):
    diary = Diary()
    with observing(diary), tg.anomaly(), np.errstate(all="ignore"):
        with pytest.raises(FloatingPointError, match=r"the result of log is not finite .*test_observers\.py"):
            tg.log(x)
        y = (x * np.float32(1e38)).sum()
        with pytest.raises(FloatingPointError, match="the gradient that multiply passes"):
            y.backward(np.float32(1e3))
    assert diary.events[-1] == "end", "a pass that failed is over too"


def test_a_graph_from_another_observers_block_has_no_line_for_anomaly(x):
    with observing(Diary()):
        y = (x * np.float32(1e38)).sum()
    with tg.anomaly(), pytest.raises(FloatingPointError, match="recorded outside `anomaly`"):
        y.backward(np.float32(1e3))


def test_modes_are_restored_also_after_an_exception(x):
    with pytest.raises(KeyError), observing(Diary()), tg.no_grad():
        assert not current_mode().recording and len(current_mode().observers) == 1
        raise KeyError
    assert current_mode() is PLAIN
    with tg.no_grad(), tg.enable_grad():
        assert current_mode() is PLAIN, "the hot path again"


def test_an_observer_as_a_decorator_watches_while_the_function_runs(x):
    diary = Diary()

    @observing(diary)
    def inside():
        return tg.exp(x)

    inside()
    tg.log(inside())
    assert diary.events == ["exp", "exp"]


def test_an_observer_watches_its_own_thread_only(x):
    diary = Diary()
    with observing(diary):
        thread = threading.Thread(target=tg.exp, args=(x,))
        thread.start()
        thread.join()
    assert diary.events == []


def test_an_observer_that_does_nothing_changes_nothing(x):
    def gradient():
        x.grad = None
        tg.softmax(x @ x).sum(axis=0).norm().backward()
        return x.grad.numpy().tobytes()

    alone = gradient()
    with observing(Observer()):
        assert gradient() == alone


def test_anomaly_names_the_line_of_a_model_and_not_of_its_layers():
    model = VAE(VAEConfig(height=2, width=2, hidden=3, latent=2), rng=np.random.default_rng(0))
    lines, first = inspect.getsourcelines(MLPEncoder.forward)
    line = first + next(i for i, line in enumerate(lines) if "self.layers(" in line)
    where = rf"the result of linear is not finite .*models/image_networks\.py:{line} in forward"
    with tg.anomaly(), pytest.raises(FloatingPointError, match=where):
        model.loss(np.full((1, 2, 2), np.nan, np.float32), np.zeros((1, 1, 2), np.float32))


def test_anomaly_names_no_line_of_the_kernels_which_run_a_rules_formula(x):
    y = tg.leaky_relu(x, slope=100.0)
    huge = np.full((2, 2), 1e38, np.float32)
    with tg.anomaly(), pytest.raises(FloatingPointError, match=r"result of multiply .*test_observers\.py"):
        tg.gradients(y, x, huge, create_graph=True)


def test_anomaly_names_the_line_that_called_gradcheck(x):
    def overflow(x):
        return x * 1e308 * 1e308

    with tg.anomaly():
        for checked, where in ((tg.divide, "test_anomaly_names"), (overflow, "overflow")):
            inputs = (x.numpy(), np.zeros((2, 2))) if checked is tg.divide else (x.numpy(),)
            with pytest.raises(FloatingPointError, match=rf"test_observers\.py:\d+ in {where}"):
                gradcheck(checked, *inputs)
