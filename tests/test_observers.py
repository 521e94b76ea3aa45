"""Observers: told of every result, gradient and walk, nested or not; and the lines that `anomaly` names."""

import inspect
import threading

import numpy as np
import pytest

import tinygen as tg
from tinygen.autograd.modes import PLAIN, Observer, current_mode, observing
from tinygen.models import VAE, VAEConfig


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

    def walk_begins(self, create_graph):
        self.events.append(f"{self.name}{'recorded ' if create_graph else ''}walk")

    def walk_ends(self):
        self.events.append(f"{self.name}end")


@pytest.fixture
def x():
    return tg.tensor([[1.0, -2.0], [0.5, 3.0]], requires_grad=True)


def test_an_observer_is_told_of_results_gradients_and_the_walk(x):
    diary = Diary()
    with observing(diary):
        (x * 2.0).sum().backward()
    assert diary.events == ["multiply", "sum", "walk", "gradient of sum", "gradient of multiply", "end"]
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


def test_the_rules_of_a_recorded_walk_are_told_operation_by_operation(x):
    diary = Diary()
    with observing(diary):
        tg.gradients(tg.exp(x), x, np.ones((2, 2), np.float32), create_graph=True)
    assert diary.events == ["exp", "recorded walk", "multiply", "gradient of exp", "end"]


def test_a_checkpoint_walks_inside_the_walk(x):
    diary = Diary()
    with observing(diary):
        tg.checkpoint(tg.exp, x).sum().backward()
    inner = ["exp", "walk", "gradient of exp", "end", "gradient of checkpoint"]
    assert diary.events == ["exp", "sum", "walk", "gradient of sum", *inner, "end"]


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


def test_anomaly_watches_beside_another_observer(x):
    diary = Diary()
    with observing(diary), tg.anomaly(), np.errstate(all="ignore"):
        with pytest.raises(FloatingPointError, match=r"the result of log is not finite .*test_observers\.py"):
            tg.log(x)
        y = (x * np.float32(1e38)).sum()
        with pytest.raises(FloatingPointError, match="the gradient that multiply passes"):
            y.backward(np.float32(1e3))
    assert diary.events[-1] == "end", "a walk that failed is over too"


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
    model = VAE(VAEConfig(inputs=4, hidden=3, latent=2), rng=np.random.default_rng(0))
    lines, first = inspect.getsourcelines(VAE.encode)
    line = first + next(i for i, line in enumerate(lines) if "self.encoder(x)" in line)
    where = rf"the result of linear is not finite .*models/vae\.py:{line} in encode"
    with tg.anomaly(), pytest.raises(FloatingPointError, match=where):
        model.loss(np.full((1, 4), np.nan, np.float32), np.zeros((1, 2), np.float32))
