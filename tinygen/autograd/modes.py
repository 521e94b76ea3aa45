"""Modes: whether operations record, and whether they look for NaN.

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
    """What calls do besides computing. One immutable object per combination, so that `is` compares."""

    __slots__ = ("recording", "anomaly")

    def __init__(self, recording, anomaly):
        self.recording, self.anomaly = recording, anomaly


_MODES = {(r, a): Mode(r, a) for r in (True, False) for a in (True, False)}
PLAIN = _MODES[True, False]  # record, and look for nothing: the hot path
_mode = ContextVar("tinygen_mode", default=PLAIN)
current_mode = _mode.get


class _Switch(contextlib.ContextDecorator):
    """A context manager and decorator that changes the mode, for a generator only while it runs."""

    def __init__(self, **changes):
        self._changes, self._tokens = changes, []

    def __enter__(self):
        now = current_mode()
        wanted = {"recording": now.recording, "anomaly": now.anomaly, **self._changes}
        self._tokens.append(_mode.set(_MODES[wanted["recording"], wanted["anomaly"]]))
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


class anomaly(_Switch):
    """`with anomaly():` stop at the first operation whose result or gradient is not finite.

    Raises:
        FloatingPointError: names the operation and the user's line that called it.
    """

    def __init__(self):
        super().__init__(anomaly=True)


def calling_line():
    """`file:line in function` of the nearest caller outside this package: the user's own line."""
    frame = sys._getframe(1)
    package = __name__.partition(".")[0]
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] == package:
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
