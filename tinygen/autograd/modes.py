"""Modes: whether operations record, and who watches them.

They are context variables, so that every thread and every asynchronous task has its own.

A `with` block inside a generator would leak its mode to whoever consumes the generator; as a decorator, a
mode holds only while the generator runs.
"""

import contextlib
import functools
import inspect
import sys
from contextvars import ContextVar

from .. import arrays


class Mode:
    """What calls do besides computing: `recording`, and the `observers` that they tell, a tuple."""

    __slots__ = ("recording", "observers")

    def __init__(self, recording, observers):
        self.recording, self.observers = recording, observers


PLAIN = Mode(True, ())  # record, and tell nobody: the hot path, which compares with it by `is`
_UNOBSERVED = {True: PLAIN, False: Mode(False, ())}
_mode = ContextVar("tinygen_mode", default=PLAIN)
current_mode = _mode.get


class _Switch(contextlib.ContextDecorator):
    """A context manager and decorator that changes the mode, for a generator only while it runs."""

    def __init__(self, *, recording=None, observer=None):
        self._recording, self._observer, self._tokens = recording, observer, []

    def __enter__(self):
        now = current_mode()
        recording = now.recording if self._recording is None else self._recording
        observers = now.observers
        new = self._observer
        if new is not None and not any(new is one for one in observers):  # equal ones are still two
            observers = (*observers, new)
        self._tokens.append(_mode.set(Mode(recording, observers) if observers else _UNOBSERVED[recording]))
        return self

    def __exit__(self, *error):
        _mode.reset(self._tokens.pop())

    def _recreate_cm(self):
        return type(self)()  # ContextDecorator enters a fresh one at each call, so threads share nothing

    def __call__(self, function):
        if inspect.isasyncgenfunction(function):
            raise TypeError(
                f"{type(self).__name__}: cannot decorate an asynchronous generator; use `with` in it"
            )
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def coroutine(*args, **kwargs):
                with self._recreate_cm():
                    return await function(*args, **kwargs)

            return coroutine
        if not inspect.isgeneratorfunction(function):
            return super().__call__(function)

        @functools.wraps(function)
        def generator(*args, **kwargs):
            inner, action, value = function(*args, **kwargs), "send", None
            while True:
                with self._recreate_cm():
                    try:
                        item = getattr(inner, action)(value)
                    except StopIteration as stop:
                        return stop.value
                try:
                    action, value = "send", (yield item)
                except GeneratorExit:
                    with self._recreate_cm():
                        inner.close()
                    raise
                except BaseException as error:
                    action, value = "throw", error

        return generator


class no_grad(_Switch):
    """`with no_grad():` or `@no_grad()`: operations record nothing; their results need no gradient."""

    def __init__(self):
        super().__init__(recording=False)


class enable_grad(_Switch):
    """`with enable_grad():` record again inside a `no_grad` block."""

    def __init__(self):
        super().__init__(recording=True)


class Observer:
    """Somebody who is told what operations do, in a block `with observing(...)`. This one ignores it all.

    It hears of every primitive call that gets a Tensor. In a plain backward pass rules run on arrays, so only
    the gradients that they return are reported; with create_graph=True the operations inside the rules are
    reported too.
    """

    def result(self, primitive, values, attrs, out, node):
        """A primitive was called: the arrays or numbers it got, its options, the array it made.

        `node` is the result's place on the tape, or None when nothing was recorded.
        """

    def gradient(self, node, parent, g, cotangent):
        """The rule of `node`, given `cotangent`, passes `g` to its input `parent`: arrays, only to read."""

    def backward_begins(self, create_graph):
        """A backward pass begins. They nest: a checkpoint, or a fused operation's reference, starts another.

        Whoever raises here is not told of the end.
        """

    def backward_ends(self):
        """The innermost pass is over, be it by an exception."""


class observing(_Switch):
    """`with observing(observer):` tell an Observer of every result and gradient made in this context.

    Several may watch at once, each told of everything, the outermost first; of the end of a backward pass it
    is the last to hear. One that is there already is not told twice.
    """

    def __init__(self, observer):
        super().__init__(observer=observer)

    def _recreate_cm(self):
        return type(self)(self._observer)


@contextlib.contextmanager
def _observed_pass(observers, create_graph):
    with contextlib.ExitStack() as ends:
        for observer in observers:
            observer.backward_begins(create_graph)
            ends.callback(observer.backward_ends)
        yield


_UNOBSERVED_PASS = contextlib.nullcontext()


def backward_pass(observers, create_graph):
    """The context in which a backward pass runs, so that observers hear of its beginning and its end."""
    return _observed_pass(observers, create_graph) if observers else _UNOBSERVED_PASS


class _Finite(Observer):
    """Requires every result and every gradient to be finite. The node remembers the line that made it."""

    def result(self, primitive, values, attrs, out, node):
        line = calling_line()
        require_finite(out, f"the result of {primitive.name}", line)
        if node is not None:
            node.line = line

    def gradient(self, node, parent, g, cotangent):
        line = getattr(node, "line", None) or "an unknown line: it was recorded outside `anomaly`"
        what = f"the gradient that {node.plan.name} passes to its input of shape {parent.shape}"
        require_finite(g, what, line)


_FINITE = _Finite()


class anomaly(_Switch):
    """`with anomaly():` stop at the first operation whose result or gradient is not finite.

    Raises:
        FloatingPointError: names the operation and the user's line that called it.
    """

    def __init__(self):
        super().__init__(observer=_FINITE)


_PACKAGE = __name__.partition(".")[0]
_MACHINERY = {f"{_PACKAGE}.{part}" for part in ("autograd", "kernels", "nn", "testing")}


def calling_line():
    """`file:line in function` of the nearest caller outside the machinery: a model's line, or the user's own.

    Layers count as machinery, since what they were given is decided outside; the models of this package do
    not.
    """
    frame = sys._getframe(1)
    while frame.f_back and ".".join(frame.f_globals.get("__name__", "").split(".", 2)[:2]) in _MACHINERY:
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"


def require_finite(array, what, line):
    """Raise FloatingPointError when `array` holds a NaN or an infinity; `what` and `line` say whose it is."""
    if not arrays.is_floating(array.dtype):
        return
    finite = arrays.of(array).isfinite(array)
    if not bool(finite.all()):
        raise FloatingPointError(
            f"{what} is not finite ({int((~finite).sum())} of {array.size} elements), called at {line}"
        )
