"""Primitives: ordinary functions over arrays which, given Tensors, also write the tape.

    @primitive
    def multiply(x, y):
        return x * y
    multiply.rules(x=lambda g, y: g * y, y=lambda g, x: g * x)

A rule is named after the input that it differentiates and receives the cotangent `g` of the result. Its
further parameters say what the tape must keep for it:

    x         an input                   axis   an attribute's value in this call
    x_shape   only that input's shape    i      for variadic inputs, the position of this one
    out       the result                 lse    an extra result of a fused forward (see `saves`)
    tracked   for each input, whether a gradient is wanted at all

A plain backward hands arrays to the rules; with create_graph=True it hands them Tensors, and the same lines
record themselves: one rule serves every order.

A fused primitive has a `reference`, the same function written in other primitives. Its forward and its rules
are then free to be fast code over arrays alone: where a graph is wanted, the reference is differentiated.
"""

import functools
import inspect

import numpy as np

from .. import arrays
from .call import binary, general, reraise, unary
from .domain import Domain
from .plan import Plan

REGISTRY = {}  # "module.name" -> operation, in order of definition: the list that the tests run through


def primitive(forward=None, *, reference=None, saves=()):
    """Make a primitive of a function over arrays.

    Inputs are the parameters before `/`, or without a `/` all positional ones; the others are attributes.
    `*xs` makes a variadic primitive. The result is again a function, with `rules` and `domain` to complete
    it.

    Args:
        reference: for a fused primitive, the same function in primitives, called as the forward is.
        saves: names of extra results that the forward returns after the first, for the rules to ask for.
    """
    if forward is None:
        return functools.partial(primitive, reference=reference, saves=saves)
    record = Primitive(forward, reference, tuple(saves))
    caller = {1: unary, 2: binary}.get(len(record.inputs), general) if record.is_bare else general
    call = functools.wraps(forward)(caller(record))
    call.primitive, call.rules = record, record.rules
    call.domains, call.domain = record.domains, record.domains.add
    REGISTRY[f"{forward.__module__}.{record.name}"] = call
    return call


def composite(function):
    """Register a function written in primitives, so that the tests hold it to the same contract."""

    names, _, variadic = _names(function)

    @functools.wraps(function)
    def call(*args, **attrs):
        if not variadic:
            args = (*map(_array_of_list, args[: len(names)]), *map(_number, args[len(names) :]))
        attrs = {name: _number(value) for name, value in attrs.items()}
        try:
            out = function(*args, **attrs)
        except Exception as error:
            reraise(function.__name__, error)
            raise
        return arrays.as_array(out) if isinstance(out, np.generic) else out  # sums of arrays leave scalars

    call.domains = Domain(function.__name__, names)
    call.domain = call.domains.add
    REGISTRY[f"{function.__module__}.{function.__name__}"] = call
    return call


def _array_of_list(x):
    return arrays.as_array(x) if isinstance(x, (list, tuple)) else x


def _number(option):
    return option.item() if isinstance(option, np.generic) else option  # Python's does not promote float32


def _names(function):
    """Of a function: names of inputs, attributes with defaults, the name of a variadic input or None."""
    parameters = inspect.signature(function).parameters.values()
    variadic = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), None)
    ahead = [p for p in parameters if p.kind is p.POSITIONAL_ONLY]
    inputs = ahead or [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    names = (variadic,) if variadic else tuple(p.name for p in inputs)
    return (names, {p.name: p.default for p in parameters if p.name not in names}, variadic)


class Primitive:
    """What is known of a primitive: its forward, its rules, its reference and its domain."""

    def __init__(self, forward, reference, saves):
        self.name, self.forward, self.reference, self.saves = forward.__name__, forward, reference, saves
        self.inputs, self.attributes, self.variadic = _names(forward)
        defaults = inspect.signature(forward).parameters
        for name in () if self.variadic else self.inputs:
            if defaults[name].default not in (None, inspect.Parameter.empty):
                raise TypeError(
                    f"{self.name}: input {name!r} has a default; put a `/` before it or make it None"
                )
        self.optional = {n for n in self.inputs if not self.variadic and defaults[n].default is None}
        by_name = inspect.Parameter.KEYWORD_ONLY
        self.positional = [n for n in self.attributes if self.variadic or defaults[n].kind is not by_name]
        self.is_bare = not (self.attributes or self.variadic or saves or self.optional)
        self.by_input = {}  # input name -> (rule, names that it asks for)
        self.joint = None  # (rule, names), one rule for all inputs
        self.plans = {}  # which inputs are tracked -> Plan
        self.hot = [
            None
        ] * 3  # those that `unary` and `binary` need: all inputs tracked, the first, the second
        self.domains = Domain(self.name, self.inputs)

    def rules(self, **rules):
        """Give derivative rules: `x=lambda g, ...: ...` for input x, `all=...` for a tuple of all gradients.

        Raises:
            TypeError: a rule for something that is no input, or one that asks for a name that there is not.
        """
        shapes = [f"{name}_shape" for name in self.inputs]
        known = {*self.inputs, *shapes, *self.attributes, *self.saves, "out", "tracked"}
        if self.variadic:
            known.add("i")
        found = {}
        for name, rule in rules.items():
            if name not in self.inputs and name != "all":
                names = ", ".join(self.inputs)
                raise TypeError(f"{self.name}: a rule for {name!r}, which is no input; there is {names}")
            found[name] = rule, tuple(inspect.signature(rule).parameters)[1:]
            for ask in found[name][1]:
                if ask not in known:
                    names = ", ".join(sorted(known))
                    raise TypeError(f"{self.name}: the rule for {name!r} asks for {ask!r}; there is {names}")
        self.joint = found.pop("all", self.joint)
        self.by_input.update(found)
        self.plans.clear()
        self.hot[:] = None, None, None

    def plan(self, tracked):
        """The Plan for a call in which `tracked` (a tuple of bools) says which inputs need a gradient."""
        plan = self.plans.get(tracked)
        if plan is None:
            plan = self.plans[tracked] = Plan(self, tracked)
            if self.is_bare and len(tracked) <= 2:
                self.hot[0 if all(tracked) else 1 if tracked[0] else 2] = plan
        return plan
