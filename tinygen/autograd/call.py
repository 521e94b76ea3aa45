"""The call of a primitive: unwrap the Tensors, compute, and if something is tracked, write a node.

It stands here three times. `unary` and `binary` are `general` written out for the commonest primitives,
because on small arrays the call costs more than the arithmetic: a multiply of 4 elements takes 0.4 us in
NumPy, and with its node 1.25 us by `binary`, 3.1 us by a loop over inputs (PyTorch: 2.1 us). Of the 1.25, a
Python `__init__` of Node and Tensor would cost 0.3 more, keeping by a comprehension 0.3, a Python frame for
the forward 0.06; Node's shape and dtype take 0.1.
"""

import inspect
import operator

import numpy as np

from .. import arrays
from .engine import Node, Tensor, make_node, tick, wrap
from .modes import PLAIN, current_mode

# A forward that is a single operator, as multiply's is, is called as that operator, in C: 0.06 us less.
_IN_C = {
    one.__code__.co_code: in_c
    for one, in_c in (
        (lambda x, y: x + y, operator.add),
        (lambda x, y: x - y, operator.sub),
        (lambda x, y: x * y, operator.mul),
        (lambda x, y: x / y, operator.truediv),
        (lambda x: -x, operator.neg),
    )
}


def _in_c(forward):
    return _IN_C.get(getattr(getattr(forward, "__code__", None), "co_code", None), forward)


def unary(record):
    """The call of a primitive with one input and no attributes."""
    forward, hot, plan, ndarray = _in_c(record.forward), record.hot, record.plan, np.ndarray

    def call(x, /):
        if not isinstance(x, Tensor):
            return _on_arrays(record, (x,), {})
        node, x = x.node, x.data
        try:
            out = forward(x)
            if type(out) is not ndarray:
                out = arrays.as_array(out)
        except Exception as error:
            _reraise(record, (x,), {}, error)
            raise
        if current_mode() is not PLAIN:
            return _finish(record, (x,), (node,), None, out)
        if node is None:
            return wrap(out)
        how = hot[0] or plan((True,))
        result = Tensor()
        result.data = out
        result.node = made = Node()
        result.grad = None
        made.plan = how
        made.parents = (node,)
        made.kept = how.keep((x, out))
        made.attrs = None
        made.shape = out.shape
        made.dtype = out.dtype
        made.order = tick()
        return result

    return call


def binary(record):
    """The call of a primitive with two inputs and no attributes."""
    forward, hot, plan, ndarray = _in_c(record.forward), record.hot, record.plan, np.ndarray

    def call(x, y, /):
        if isinstance(x, Tensor):
            x_node, x = x.node, x.data
            if isinstance(y, Tensor):
                y_node, y = y.node, y.data
            else:
                y_node, y = None, _operand(record, y)
        elif isinstance(y, Tensor):
            x_node, x = None, _operand(record, x)
            y_node, y = y.node, y.data
        else:
            return _on_arrays(record, (x, y), {})
        try:
            out = forward(x, y)
            if type(out) is not ndarray:
                out = arrays.as_array(out)
        except Exception as error:
            _reraise(record, (x, y), {}, error)
            raise
        if current_mode() is not PLAIN:
            return _finish(record, (x, y), (x_node, y_node), None, out)
        if y_node is None:
            if x_node is None:
                return wrap(out)
            how, parents = hot[1] or plan((True, False)), (x_node,)
        elif x_node is None:
            how, parents = hot[2] or plan((False, True)), (y_node,)
        else:
            how, parents = hot[0] or plan((True, True)), (x_node, y_node)
        result = Tensor()
        result.data = out
        result.node = made = Node()
        result.grad = None
        made.plan = how
        made.parents = parents
        made.kept = (x, y) if how.whole else how.keep((x, y, out))
        made.attrs = None
        made.shape = out.shape
        made.dtype = out.dtype
        made.order = tick()
        return result

    return call


def general(record):
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
            _reraise(record, values, attrs, error)
            raise
        saved = ()
        if record.saves:
            out, *saved = out
        return _finish(record, values, nodes, attrs, arrays.as_array(out), saved)

    return call


def _finish(record, values, nodes, attrs, out, saved=()):
    """Wrap a result, write its node if anything is tracked, and tell whoever watches."""
    mode = current_mode()
    tracked, node = tuple([node is not None for node in nodes]), None
    if mode.recording and True in tracked and arrays.is_floating(out.dtype):
        how = record.plan(tracked)
        parents = tuple([node for node in nodes if node is not None])
        node = make_node(how, parents, how.keep((*values, out, *saved)), attrs, out)
    for observer in mode.observers:
        observer.result(record, values, attrs or {}, out, node)
    return wrap(out, node)


def _on_arrays(record, values, attrs):
    """The call without any Tensor: arrays in, array out, and no tape. Rules come here in a plain backward."""
    try:
        for x in values:
            if type(x) is not np.ndarray:
                values = _operands(record, values)
                break
        out = record.forward(*values, **attrs)
    except Exception as error:
        _reraise(record, values, attrs, error)
        raise
    if record.saves:
        out = out[0]
    return out if type(out) is np.ndarray else arrays.as_array(out)


def _operands(record, values):
    """The inputs of a call without Tensors: weak scalars only beside a floating array."""
    dtypes = [x.dtype for x in values if arrays.is_array(x)]
    weak = any(map(arrays.is_floating, dtypes))
    return [
        _operand(record, x)
        if x is None or weak or dtypes and not isinstance(x, np.generic)
        else arrays.as_array(x)
        for x in values
    ]


def _operand(record, value):
    """An input that is no Tensor. NumPy scalars become Python's, which do not promote a float32 array."""
    if arrays.is_array(value) and value.dtype.kind in "fiub":
        return value
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, (int, float, Tensor)) or value is None and record.optional:
        return value
    if isinstance(value, (list, tuple)):
        return arrays.as_array(value)
    got = arrays.describe(value)
    raise TypeError(f"{record.name}: expected a Tensor, an array of real numbers or a number, got {got}")


def _bind(record, args, attrs):
    """Sort the arguments of a call into inputs and attributes."""
    if record.variadic and args and isinstance(args[0], (list, tuple)):  # concatenate([x, y], axis) too
        attrs.update(zip(record.positional, args[1:]))
        args = tuple(args[0])
    if record.variadic and not args:
        raise ValueError(f"{record.name}: expected at least one array, got none")
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
    for name, value in zip(record.inputs, args):
        if value is None and name not in record.optional:
            raise TypeError(f"{record.name}: input {name!r} is None; it takes {_signature(record)}")
    for name, value in attrs.items():
        if name not in record.attributes:
            raise TypeError(f"{record.name}: unknown option {name!r}; it takes {_signature(record)}")
        if isinstance(value, Tensor):
            if value.node is not None:
                raise TypeError(f"{record.name}: option {name!r} takes no gradient; pass stop_gradient of it")
            attrs[name] = value.data
        elif isinstance(value, np.generic):  # a Python number does not promote float32 to float64
            attrs[name] = value.item()
    for name, default in record.attributes.items():
        if default is inspect.Parameter.empty and name not in attrs:
            raise TypeError(f"{record.name}: option {name!r} is missing; it takes {_signature(record)}")
    return args, attrs


def _signature(record):
    return str(inspect.signature(record.forward))


def _reraise(record, values, attrs, error):
    """`reraise` for a primitive that was called with these."""
    got = ", ".join(arrays.describe(value) for value in values)
    options = "".join(f", {name}={arrays.describe(value)}" for name, value in attrs.items())
    reraise(record.name, error, f" (got {got}{options})")


def reraise(name, error, got=""):
    """Raise a Type-, Value-, Index- or RuntimeError that names the operation; return if `error` does."""
    if str(error).startswith(f"{name}: ") or isinstance(error, (MemoryError, FloatingPointError)):
        return
    kinds = TypeError, ValueError, IndexError  # NumPy has kinds of its own below these
    kind = next((kind for kind in kinds if isinstance(error, kind)), RuntimeError)
    raise kind(f"{name}: {error}{got}") from error
