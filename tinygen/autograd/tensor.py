"""Tensor's constructor, operators and methods: thin over the operations.

The operators are the operations themselves: `x * y` enters `multiply` with no function between.
"""

import operator

import numpy as np

from .. import arrays
from . import engine, ops
from .engine import Leaf, Tensor, tick, wrap

# Public attributes of a Tensor that no gradient passes through, and why.
NOT_DIFFERENTIABLE = {
    "data": "the array itself",
    "node": "the place on the tape",
    "grad": "the gradient that backward left",
    "numpy": "leaves the tape: a read-only view",
    "item": "leaves the tape: a Python number",
    "tolist": "leaves the tape: Python numbers",
    "argmax": "integers",
    "argmin": "integers",
    "all": "booleans",
    "any": "booleans",
    "backward": "starts the walk back",
    "assign": "changes a leaf's values",
    "shape": "a tuple",
    "ndim": "an integer",
    "size": "an integer",
    "dtype": "a dtype",
    "requires_grad": "a boolean",
}


def tensor(data, *, dtype=None, requires_grad=False, name=None):
    """Make a Tensor with a copy of `data`.

    Args:
        data: an array of any registered library, a Tensor, a number or nested lists. Python floats become
            float32; arrays and NumPy scalars keep their dtype.
        dtype: of the result, instead.
        requires_grad: make it a leaf: `backward` leaves a gradient in its `.grad`.
        name: what errors call the leaf.

    Raises:
        TypeError: a gradient asked of integers or booleans, or data that are not numbers.
    """
    try:
        array = data.data if isinstance(data, Tensor) else arrays.as_array(data)
        array = arrays.of(array).array(array, dtype=dtype)
    except (TypeError, ValueError) as error:
        raise type(error)(f"tensor: {error}") from error
    if array.dtype.kind not in "fiub":
        raise TypeError(f"tensor: expected real numbers, got dtype {array.dtype}")
    return as_leaf(wrap(array), name) if requires_grad else wrap(array)


def as_leaf(value, name=None):
    """Make a Tensor without a node a leaf, in place, and return it."""
    if not arrays.is_floating(value.dtype):
        raise TypeError(
            f"tensor: only floating dtypes can require a gradient, got {value.dtype}; "
            "pass dtype=np.float32 or write the numbers with a decimal point"
        )
    value.node = Leaf(value, name)
    return value


def as_tensor(value):
    """`value` itself if it is a Tensor, else a new one."""
    return value if isinstance(value, Tensor) else tensor(value)


def stop_gradient(x):
    """The values of x with no way back: a Tensor that needs no gradient."""
    return wrap(x.data) if isinstance(x, Tensor) else x


# What is not differentiated


def _repr(self):
    values = np.array2string(
        arrays.to_numpy(self.data), separator=", ", prefix="tensor(", threshold=1000, precision=4
    )
    dtype = "" if self.data.dtype == np.float32 else f", dtype={self.data.dtype}"
    needs = (
        ""
        if self.node is None
        else ", requires_grad=True"
        if self.node.plan is None
        else f", from {self.node.plan.name}"
    )
    return f"tensor({values}{dtype}{needs})"


def _numpy(self):
    """A read-only NumPy view of the values (a copy when they live on a device)."""
    view = arrays.to_numpy(self.data).view()
    view.flags.writeable = False
    return view


def _as_numpy(self, dtype=None, copy=None):
    array = _numpy(self)
    if dtype is not None and dtype != array.dtype:
        if copy is False:
            raise ValueError(f"a copy is needed to turn {array.dtype} into {dtype}")
        return array.astype(dtype)
    return array.copy() if copy else array


def _item(self):
    """The only element, as a Python number."""
    if self.data.size != 1:
        raise ValueError(f"item: expected one element, got shape {self.shape}; use .numpy() or .tolist()")
    return self.data.item()


def _assign(self, values, *, copy=True):
    """Give a leaf new values of the same shape, in its dtype; a backward through an older graph then raises.

    The array is replaced, not written into: whoever still holds the old values keeps them. With copy=False an
    array of the right dtype is taken as it is, from a caller that will not touch it again.

    Raises:
        TypeError: this is not a leaf. ValueError: another shape.
    """
    if self.node is None or self.node.plan is not None:
        raise TypeError(
            "assign: only leaves (requires_grad=True) have values to change; other tensors are results"
        )
    values = values.data if isinstance(values, Tensor) else arrays.of(self.data).asarray(values)
    if values.shape != self.data.shape:
        raise ValueError(f"assign: expected shape {self.data.shape}, got {values.shape}")
    self.data = values.astype(self.data.dtype, copy=copy)
    self.node.updated = tick()


def _refuse_item_assignment(self, index, value):
    raise TypeError(
        "Tensors are values: item assignment is not possible; "
        "use where(condition, x, y) or index_add(x, index, y), which make new ones"
    )


def _refuse_numpy(self, function, types, args, kwargs):
    name = function.__name__
    ours = f"tinygen.{name}" if hasattr(ops, name) else "a function of tinygen"
    raise TypeError(f"np.{name} would lose the gradient; use {ours}, or .numpy() first")


def _numpy_operator(self, ufunc, method, *inputs, **options):
    """What `array * tensor` comes to: our operation. NumPy's functions refuse a Tensor."""
    ours = _UFUNCS.get(ufunc.__name__)
    if ours is None or method != "__call__" or options:
        _refuse_numpy(self, ufunc, (), inputs, options)
    return ours(*inputs)


def _reduce(self):
    """Copies and pickles: the values, and for a leaf that it is one; a result becomes plain values."""
    is_leaf = self.node is not None and self.node.plan is None
    return _restored, (self.data, is_leaf, self.node.name if is_leaf else None)


def _restored(data, is_leaf, name):
    return tensor(data, requires_grad=is_leaf, name=name)


def _iterate(self):
    if not self.ndim:
        raise TypeError("a 0-d tensor cannot be iterated over")
    return (self[i] for i in range(len(self.data)))


def _compare(operation):
    def compare(self, other):
        """A boolean Tensor; no gradient."""
        return wrap(arrays.as_array(operation(ops.arithmetic.raw(self), ops.arithmetic.raw(other))))

    return compare


# Operators and methods


def _reflected(operation):
    def reflected(self, other):
        return operation(other, self)

    return reflected


def _flexible(operation):
    """A method that takes sizes or axes one by one or as a tuple: x.reshape(2, 3), x.reshape((2, 3))."""

    def method(self, *sizes):
        return operation(self, sizes[0] if len(sizes) == 1 and not isinstance(sizes[0], int) else sizes)

    method.__doc__ = operation.__doc__
    return method


def _transpose(self, *axes):
    """x with its axes in another order; reversed by default."""
    axes = axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes
    return ops.transpose(self, axes or None)


def _getitem(self, index):
    return ops.getitem(self, index=ops.indexing.plain_index(index))


_METHODS = (
    "abs astype clip cos cumprod cumsum erf exp expand_dims expm1 flatten flip log log1p log_softmax "
    "logsumexp max mean min moveaxis norm prod relu repeat roll sigmoid sign sin softmax softplus sqrt "
    "square squeeze std sum swapaxes take tanh tril triu var argmax argmin"
).split()
_OPERATORS = {
    "add": ops.add,
    "sub": ops.subtract,
    "mul": ops.multiply,
    "truediv": ops.divide,
    "pow": ops.power,
    "matmul": ops.matmul,
}
_COMPARISONS = {
    "lt": "less",
    "le": "less_equal",
    "gt": "greater",
    "ge": "greater_equal",
    "eq": "equal",
    "ne": "not_equal",
}
_UFUNCS = {operation.__name__: operation for operation in _OPERATORS.values()}  # NumPy's name -> ours

for _name, _operation in _OPERATORS.items():
    setattr(Tensor, f"__{_name}__", _operation)
    setattr(Tensor, f"__r{_name}__", _reflected(_operation))
for _name in _METHODS:
    setattr(Tensor, _name, getattr(ops, _name))
for _name, _ufunc in _COMPARISONS.items():
    _UFUNCS[_ufunc] = _compare(getattr(operator, _name))
    setattr(Tensor, f"__{_name}__", _UFUNCS[_ufunc])

Tensor.__neg__ = ops.negative
Tensor.__pos__ = lambda self: self
Tensor.__abs__ = ops.abs
Tensor.__hash__ = object.__hash__
Tensor.__getitem__ = _getitem
Tensor.__setitem__ = _refuse_item_assignment
Tensor.__iter__ = _iterate
Tensor.__len__ = lambda self: len(self.data)
Tensor.__bool__ = lambda self: bool(self.data)
Tensor.__float__ = lambda self: float(_item(self))
Tensor.__int__ = lambda self: int(_item(self))
Tensor.__repr__ = _repr
Tensor.__reduce__ = _reduce
Tensor.__array__ = _as_numpy
Tensor.__array_ufunc__ = _numpy_operator
Tensor.__array_function__ = _refuse_numpy
Tensor.reshape = _flexible(ops.reshape)
Tensor.transpose = _transpose
Tensor.T = property(ops.transpose)
Tensor.shape = property(lambda self: self.data.shape)
Tensor.ndim = property(lambda self: self.data.ndim)
Tensor.size = property(lambda self: self.data.size)
Tensor.dtype = property(lambda self: self.data.dtype)
Tensor.requires_grad = property(lambda self: self.node is not None)
Tensor.numpy = _numpy
Tensor.item = _item
Tensor.tolist = lambda self: self.data.tolist()
Tensor.all = lambda self, axis=None: wrap(arrays.as_array(self.data.all(axis=axis)))
Tensor.any = lambda self, axis=None: wrap(arrays.as_array(self.data.any(axis=axis)))
Tensor.assign = _assign
Tensor.backward = engine.backward
