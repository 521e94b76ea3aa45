"""Primitives: ordinary functions over arrays which, given Tensors, also write the tape.

    @primitive
    def multiply(x, y):
        return x * y
    multiply.rules(x=lambda g, y: g * y, y=lambda g, x: g * x)

A rule is named after the input it differentiates and receives the cotangent `g` of the result. Its further
parameters say what the tape must keep for it:

    an input's name      that input                        an attribute's name   its value in the call (never
                         kept)
    <input>_shape        only that input's shape           i                     the position, for variadic
                         inputs
    out                  the result                        a name in `saves`     an extra result of a fused
                         forward

A plain backward hands arrays to the rules; with create_graph=True it hands them Tensors, and the same lines
record
themselves: one rule serves every order.

A fused primitive has a `reference`, the same function written in other primitives. Its forward and its rules
are then free to be fast code over arrays alone: a backward that builds a graph differentiates the reference
instead.
"""

import functools
import inspect
import itertools
from operator import itemgetter

import numpy as np

from .. import arrays
from .domain import Domain
from .engine import PLAIN, Node, Tensor, calling_line, current_mode, gradients_of_nodes, require_finite

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
    hot = {1: _unary, 2: _binary}.get(len(record.inputs)) if record.is_bare else None
    call = functools.wraps(forward)((hot or _general)(record))
    call.primitive, call.rules = record, record.rules
    call.domains, call.domain = record.domains, record.domains.add
    REGISTRY[f"{forward.__module__}.{record.name}"] = call
    return call


def composite(function):
    """Register a function written in primitives, so that the tests hold it to the same contract."""

    @functools.wraps(function)
    def call(*args, **attrs):
        out = function(*args, **attrs)
        return (
            arrays.as_array(out) if isinstance(out, np.generic) else out
        )  # NumPy's reductions leave scalars

    call.domains = Domain(function.__name__, _names(function)[0])
    call.domain = call.domains.add
    REGISTRY[f"{function.__module__}.{function.__name__}"] = call
    return call


def _names(function):
    """(names of the inputs, attributes with their defaults, name of the variadic input or None) of a
    function."""
    parameters = inspect.signature(function).parameters.values()
    variadic = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), None)
    ahead = [p for p in parameters if p.kind is p.POSITIONAL_ONLY]
    inputs = ahead or [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    names = (variadic,) if variadic else tuple(p.name for p in inputs)
    return names, {p.name: p.default for p in parameters if p.name not in names}, variadic


_HOT = {(True,): 0, (True, True): 0, (True, False): 1, (False, True): 2}


class Primitive:
    """What is known of a primitive: its forward, its rules, its reference and its domain."""

    def __init__(self, forward, reference, saves):
        self.forward, self.name, self.reference, self.saves = forward, forward.__name__, reference, saves
        self.inputs, self.attributes, self.variadic = _names(forward)
        defaults = inspect.signature(forward).parameters
        self.optional = {n for n in self.inputs if not self.variadic and defaults[n].default is None}
        by_name = inspect.Parameter.KEYWORD_ONLY
        self.positional = [n for n in self.attributes if self.variadic or defaults[n].kind is not by_name]
        self.is_bare = not (self.attributes or self.variadic or saves or self.optional)
        self.by_input = {}  # input name -> (rule, names that it asks for)
        self.joint = None  # (rule, names), one rule for all inputs
        self.plans = {}  # which inputs are tracked -> Plan
        self.hot = [
            None,
            None,
            None,
        ]  # the plans of _unary and _binary: both inputs tracked, the first, the second
        self.domains = Domain(self.name, self.inputs)

    def rules(self, **rules):
        """Give derivative rules: `x=lambda g, ...: ...` for input x, or `all=...` returning a tuple, one
        entry an input.

        Raises:
            TypeError: a rule for something that is no input, or one that asks for a name that is not to be
                had.
        """
        known = {
            *self.inputs,
            *(f"{name}_shape" for name in self.inputs),
            *self.attributes,
            *self.saves,
            "out",
        }
        known |= {"i"} if self.variadic else set()
        for name, rule in rules.items():
            if name not in self.inputs and name != "all":
                raise TypeError(
                    f"{self.name}: a rule for {name!r}, which is no input; there is {', '.join(self.inputs)}"
                )
            asked = tuple(inspect.signature(rule).parameters)[1:]
            for ask in asked:
                if ask not in known:
                    raise TypeError(
                        f"{self.name}: the rule for {name!r} asks for {ask!r}; "
                        f"there is {', '.join(sorted(known))}"
                    )
            if name == "all":
                self.joint = rule, asked
            else:
                self.by_input[name] = rule, asked
        self.plans.clear()
        self.hot[:] = None, None, None

    def plan(self, tracked):
        """The Plan for a call in which `tracked` (a tuple of bools) says which inputs need a gradient."""
        plan = self.plans.get(tracked)
        if plan is None:
            plan = self.plans[tracked] = Plan(self, tracked)
            if self.is_bare and tracked in _HOT:
                self.hot[_HOT[tracked]] = plan
        return plan


class Plan:
    """One way to call a primitive, by which inputs are tracked: what to keep then, and which rules to run
    later.

    keep    (*inputs, out, *saved) -> the tuple that the node keeps
    whole   True when that is just the inputs
    owners  for each kept item, whose array it is: a position among the parents, "out", or None
    steps   for each parent, its rule and how to find the rule's arguments among what is known
    direct  True when what is known is just what is kept, and each input has its own rule
    """

    __slots__ = ("primitive", "name", "keep", "whole", "owners", "steps", "joint", "wanted_attrs", "direct")

    def __init__(self, primitive, tracked):
        self.primitive, self.name = primitive, primitive.name
        rules = [_rule_for(primitive, i) for i, is_tracked in enumerate(tracked) if is_tracked]
        asked = {name for _, names in rules for name in names} - {"i"}
        self.wanted_attrs = sorted(asked & set(primitive.attributes))
        asked = sorted(asked - set(primitive.attributes))
        if (
            primitive.reference
        ):  # differentiating the reference needs all inputs: keep them, first and in order
            asked = [*primitive.inputs, *(name for name in asked if name not in primitive.inputs)]
        self.keep, self.owners = _keeper(primitive, asked, tracked)
        self.whole = asked == list(primitive.inputs)
        where = {name: k for k, name in enumerate([*asked, *self.wanted_attrs])}
        positions = [i for i, is_tracked in enumerate(tracked) if is_tracked]
        self.joint = positions if primitive.joint else None
        self.direct = not self.joint and not self.wanted_attrs
        self.steps = [
            (rule, *_picker([~i if name == "i" else where[name] for name in names]))
            for i, (rule, names) in zip(positions, rules)
        ]

    def pull(self, node, g, needed, create_graph):
        """Run the rules: a gradient for each of the node's parents, or None where it is not in `needed`."""
        known = node.kept
        if create_graph:
            known = tuple([_as_tensors(item, owner, node) for item, owner in zip(known, self.owners)])
            if self.primitive.reference:
                return self._pull_through_reference(node, known, g, needed)
        if self.wanted_attrs:
            defaults = self.primitive.attributes
            known = (*known, *[node.attrs.get(name, defaults[name]) for name in self.wanted_attrs])
        if self.joint:
            rule, _, pick = self.steps[0]
            answers = rule(g, *pick(known)) if pick else rule(g)
            return [answers[i] for i in self.joint]
        return [
            (rule(g, *pick(known)) if pick else rule(g)) if parent in needed else None
            for parent, (rule, _, pick) in zip(node.parents, self.steps)
        ]

    def _pull_through_reference(self, node, known, g, needed):
        """The same gradients by differentiating the reference, recorded: how a fused primitive reaches higher
        orders."""
        # An alias for each tracked input: one tensor may stand in two places, and each place has its own
        # gradient.
        inputs = [
            alias(x) if isinstance(x, Tensor) and x.node else x for x in known[: len(self.primitive.inputs)]
        ]
        aliases = [x.node for x in inputs if isinstance(x, Tensor) and x.node]
        wanted = {a for a, parent in zip(aliases, node.parents) if parent in needed}
        out = self.primitive.reference(*inputs, **node.attrs)
        done = gradients_of_nodes([out.node], [g], wanted, create_graph=True, retain_graph=True)
        return [done[a][0] if a in done else None for a in aliases]


def _rule_for(primitive, position):
    """(rule, names that it asks for) of the input at `position`."""
    name = primitive.variadic or primitive.inputs[position]
    rule = primitive.joint or primitive.by_input.get(name)
    if rule is None:
        raise TypeError(
            f"{primitive.name}: there is no derivative rule for input {name!r}; "
            f"pass stop_gradient of it, or give one: {primitive.name}.rules({name}=...)"
        )
    return rule


def _keeper(primitive, asked, tracked):
    """What `Plan.keep` and `Plan.owners` are, for the names asked for."""
    count, order = len(tracked), itertools.count()
    owners = tuple(next(order) if is_tracked else None for is_tracked in tracked)
    picks, whose = [], []
    for name in asked:
        base = name.removesuffix("_shape")
        if name == "out":
            pick, owner = itemgetter(count), "out"
        elif name in primitive.saves:
            pick, owner = itemgetter(count + 1 + primitive.saves.index(name)), None
        elif base == primitive.variadic:
            pick, owner = (itemgetter(slice(count)), owners) if name == base else (_shapes(count), None)
        else:
            i = primitive.inputs.index(base)
            pick, owner = (itemgetter(i), owners[i]) if name == base else (_shape(i), None)
        picks.append(pick)
        whose.append(owner)
    if not primitive.variadic and all(name in ("out", *primitive.inputs) for name in asked):
        return _tuple_getter(
            [count if name == "out" else primitive.inputs.index(name) for name in asked]
        ), whose
    return (lambda values: tuple([pick(values) for pick in picks])), whose


def _tuple_getter(places):
    """A C function from a tuple to the tuple of its items at `places`: up to 0.3 us faster than a
    comprehension."""
    if len(places) > 1:
        return itemgetter(*places)
    return itemgetter(slice(places[0], places[0] + 1) if places else slice(0))


def _picker(places):
    """(the place of a rule's only argument, or None; a function from what is known to its arguments, or
    None).

    A place ~i stands for the number i itself, the position of a variadic input.
    """
    if not places:
        return None, None
    if min(places) < 0:
        return None, (lambda known: [known[k] if k >= 0 else ~k for k in places])
    return places[0] if len(places) == 1 else None, _tuple_getter(places)


def _shape(i):
    return lambda values: getattr(values[i], "shape", ())


def _shapes(count):
    return lambda values: tuple([getattr(value, "shape", ()) for value in values[:count]])


def _as_tensors(item, owner, node):
    """A kept array as a Tensor again, tied to the node it came from; whatever else was kept, as it is."""
    if type(owner) is tuple:
        return tuple([_as_tensors(one, its, node) for one, its in zip(item, owner)])
    if not arrays.is_array(item):
        return item
    return Tensor(item, node if owner == "out" else None if owner is None else node.parents[owner])


# ------------------------------------------------------------------ the call, from Tensors to arrays and back
#
# Three times the same: unwrap, compute, and if something is tracked, write a node. The first two are written
# out, because on small arrays the call costs more than the arithmetic: a 4-element multiply takes 0.45 us in
# NumPy, and 1.7 us here with its node; with the loop of `_general` it took 3.1 us (PyTorch 3.1 us).


def _unary(record):
    """The call of a primitive with one input and no attributes."""
    forward, hot, plan = record.forward, record.hot, record.plan

    def call(x, /):
        if not isinstance(x, Tensor):
            return _on_arrays(record, (x,), {})
        node, x = x.node, x.data
        try:
            out = forward(x)
        except Exception as error:
            _explain(record, (x,), {}, error)
            raise
        if type(out) is not np.ndarray:
            out = arrays.as_array(out)
        if current_mode() is not PLAIN:
            return _finish(record, (x,), (node,), None, out)
        if node is None:
            return Tensor(out)
        how = hot[0] or plan((True,))
        return Tensor(out, Node(how, (node,), how.keep((x, out)), None, out.shape, out.dtype))

    return call


def _binary(record):
    """The call of a primitive with two inputs and no attributes."""
    forward, hot, plan = record.forward, record.hot, record.plan

    def call(x, y, /):
        x_node = y_node = None
        if isinstance(x, Tensor):
            x_node, x = x.node, x.data
            if isinstance(y, Tensor):
                y_node, y = y.node, y.data
            elif type(y) is not float:
                y = _operand(record, y)
        elif isinstance(y, Tensor):
            x, y_node, y = _operand(record, x), y.node, y.data
        else:
            return _on_arrays(record, (x, y), {})
        try:
            out = forward(x, y)
        except Exception as error:
            _explain(record, (x, y), {}, error)
            raise
        if type(out) is not np.ndarray:
            out = arrays.as_array(out)
        if current_mode() is not PLAIN:
            return _finish(record, (x, y), (x_node, y_node), None, out)
        if y_node is None:
            if x_node is None:
                return Tensor(out)
            how, parents = hot[1] or plan((True, False)), (x_node,)
        elif x_node is None:
            how, parents = hot[2] or plan((False, True)), (y_node,)
        else:
            how, parents = hot[0] or plan((True, True)), (x_node, y_node)
        kept = (x, y) if how.whole else how.keep((x, y, out))
        return Tensor(out, Node(how, parents, kept, None, out.shape, out.dtype))

    return call


def _general(record):
    """The call of any primitive."""

    def call(*args, **attrs):
        args, attrs = _bind(record, args, attrs)
        if not any([isinstance(x, Tensor) for x in args]):
            return _on_arrays(record, args, attrs)
        values = tuple([x.data if isinstance(x, Tensor) else _operand(record, x) for x in args])
        nodes = [x.node if isinstance(x, Tensor) else None for x in args]
        try:
            out = record.forward(*values, **attrs)
        except Exception as error:
            _explain(record, values, attrs, error)
            raise
        saved = ()
        if record.saves:
            out, *saved = out
        return _finish(record, values, nodes, attrs, arrays.as_array(out), saved)

    return call


def _finish(record, values, nodes, attrs, out, saved=()):
    """Wrap a result, write its node if anything is tracked, and do what the current mode asks besides."""
    mode = current_mode()
    line = calling_line() if mode.anomaly else None
    if mode.anomaly:
        require_finite(out, f"the result of {record.name}", line)
    tracked = tuple([node is not None for node in nodes])
    if not mode.recording or True not in tracked:
        return Tensor(out)
    how = record.plan(tracked)
    parents = tuple([node for node in nodes if node is not None])
    node = Node(how, parents, how.keep((*values, out, *saved)), attrs, out.shape, out.dtype)
    if line:
        node.line = line
    return Tensor(out, node)


def _on_arrays(record, values, attrs):
    """The call without any Tensor: arrays in, array out, and no tape. Rules come here in a plain backward."""
    try:
        for x in values:
            if type(x) is not np.ndarray:
                # Without a floating array, scalars say themselves which dtype is meant.
                strong = any(arrays.is_array(x) and arrays.is_floating(x.dtype) for x in values)
                values = [_operand(record, x) if strong or x is None else arrays.as_array(x) for x in values]
                break
        out = record.forward(*values, **attrs)
    except Exception as error:
        _explain(record, values, attrs, error)
        raise
    if record.saves:
        out = out[0]
    return out if type(out) is np.ndarray else arrays.as_array(out)


def _operand(record, value):
    """An input that is no Tensor. NumPy scalars become Python's, which do not promote a float32 array."""
    if type(value) is np.ndarray or isinstance(value, (int, float)) and not isinstance(value, np.generic):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if value is None and record.optional:
        return None
    if isinstance(value, Tensor) or arrays.is_array(value):
        return value
    if isinstance(value, (list, tuple)):
        return arrays.as_array(value)
    raise TypeError(f"{record.name}: expected a Tensor, an array or a number, got {value!r}")


def _bind(record, args, attrs):
    """Sort the arguments of a call into inputs and attributes."""
    if record.variadic and args and isinstance(args[0], (list, tuple)):  # concatenate([x, y], axis) too
        attrs.update(zip(record.positional, args[1:]))
        args = tuple(args[0])
    count = len(args) if record.variadic else len(record.inputs)
    if len(args) > count:
        surplus = args[count:]
        if len(surplus) > len(record.positional) or any(
            name in attrs for name, _ in zip(record.positional, surplus)
        ):
            raise TypeError(f"{record.name}: too many positional arguments; it takes {_signature(record)}")
        attrs.update(zip(record.positional, surplus))
        args = args[:count]
    elif len(args) < count:
        rest = record.inputs[len(args) :]
        for name in rest:
            if name not in attrs and name not in record.optional:
                raise TypeError(f"{record.name}: input {name!r} is missing; it takes {_signature(record)}")
        args = (*args, *[attrs.pop(name, None) for name in rest])
    for name, value in attrs.items():
        if name not in record.attributes:
            raise TypeError(f"{record.name}: unknown option {name!r}; it takes {_signature(record)}")
        if isinstance(value, Tensor):
            attrs[name] = value.data
        elif isinstance(value, np.generic):  # a Python number does not promote float32 to float64
            attrs[name] = value.item()
    for name, default in record.attributes.items():
        if default is inspect.Parameter.empty and name not in attrs:
            raise TypeError(f"{record.name}: option {name!r} is missing; it takes {_signature(record)}")
    return args, attrs


def _signature(record):
    return str(inspect.signature(record.forward))


def _explain(record, values, attrs, error):
    """Raise the same kind of error, saying which operation failed on what; return if `error` says it
    already."""
    if str(error).startswith(f"{record.name}: "):
        return
    got = ", ".join(arrays.describe(value) for value in values)
    options = "".join(f", {name}={arrays.describe(value)}" for name, value in attrs.items())
    kind = (
        type(error) if type(error) in (ValueError, TypeError, IndexError, ZeroDivisionError) else RuntimeError
    )
    raise kind(f"{record.name}: {error} (got {got}{options})") from error


@primitive
def alias(x):
    """x itself, under a node of its own: a place to differentiate with respect to."""
    return x


alias.rules(x=lambda g: g)
alias.domain()
