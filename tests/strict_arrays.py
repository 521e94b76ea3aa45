"""A second array library for the tests: NumPy's arithmetic behind CuPy's manners.

A StrictArray refuses to become a NumPy array unasked, and to meet one in an operation; `strict.asarray(...)`
and `.get()` are the only ways in and out, and both are counted. `strict` is the namespace. It has the
functions of CuPy that are of use here, under the options that CuPy gives them (`max` knows no `initial`);
another name is an AttributeError. Results without axes stay arrays.

It is stricter than CuPy in two points. `np.exp(x)` of a strict array raises, where CuPy's protocol would
quietly serve it, since an operation that names NumPy is what the tests look for; and so does a NumPy array as
an index. Not imitated: streams, devices, and that CuPy wraps round an index that is out of bounds.
"""

import contextlib
import operator
from collections import Counter

import numpy as np

from tinygen import arrays

# How often values crossed: "to device" (NumPy or Python values made an array), "to host" (`.get()`), and
# "read" (one number looked at by Python, as in `if x.any():`, for which a GPU must finish all work before).
crossings = Counter()


@contextlib.contextmanager
def crossing(**expected):
    """Assert that the block lets exactly these crossings happen: `crossing(read=1)`; none by default."""
    before = crossings.copy()
    yield
    made = {kind: crossings[kind] - before[kind] for kind in crossings if crossings[kind] != before[kind]}
    expected = {kind.replace("_", " "): count for kind, count in expected.items() if count}
    assert made == expected, f"expected {expected or 'no crossings'} between the libraries, got {made}"


def to_strict(value):
    """NumPy arrays, and lists, as strict arrays: within tuples too. Whatever else is passed on."""
    if isinstance(value, (np.ndarray, list)):
        return strict.asarray(value)
    return tuple(map(to_strict, value)) if type(value) is tuple else value


# Between the two


def _operand(value):
    """What may meet a strict array in arithmetic, as NumPy knows it: another one, or a scalar."""
    if isinstance(value, StrictArray):
        return value.values
    if isinstance(value, (bool, int, float, np.generic)):
        return value
    raise TypeError(f"Unsupported type {type(value)}")


def _argument(value):
    """An argument of a function, as NumPy knows it: NumPy arrays are refused wherever they hide."""
    if isinstance(value, StrictArray):
        return value.values
    if isinstance(value, np.ndarray):
        raise TypeError(f"Unsupported type {type(value)}")
    return type(value)(map(_argument, value)) if type(value) in (list, tuple) else value


def _index(part):
    if isinstance(part, list):
        crossings["to device"] += 1
        return part
    return _argument(part) if not isinstance(part, tuple) else tuple(map(_index, part))


def _boxed(result):
    """A result of NumPy's as a strict array; arrays without axes, which NumPy turns into scalars, too."""
    return StrictArray(np.asarray(result)) if isinstance(result, (np.ndarray, np.generic)) else result


def _gives_way(other):
    """True when an operator leaves the work to the other operand, as for a tinygen Tensor."""
    arrays_of_ours_or_numpy = (StrictArray, np.ndarray, np.generic)
    return not isinstance(other, arrays_of_ours_or_numpy) and hasattr(type(other), "__array_ufunc__")


class StrictArray:
    """An array that keeps to itself. `strict.asarray` makes one."""

    __slots__ = ("values",)
    __array_ufunc__ = None  # NumPy's operators hand over to ours, and its ufuncs refuse
    __hash__ = None

    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`.")

    def __array_function__(self, function, types, args, kwargs):
        raise TypeError(f"np.{function.__name__} was given a strict array")

    def get(self):
        crossings["to host"] += 1
        return self.values.copy()

    def _read(self):
        crossings["read"] += 1
        return self.values

    def __bool__(self):
        return bool(self._read())

    def __int__(self):
        return int(self._read())

    def __float__(self):
        return float(self._read())

    def __index__(self):
        return operator.index(self._read())

    def item(self):
        return self._read().item()

    def tolist(self):
        crossings["to host"] += 1
        return self.values.tolist()

    def __repr__(self):
        return f"StrictArray({self.values!r})"

    def __len__(self):
        return len(self.values)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index):
        return _boxed(self.values[_index(index)])

    def __setitem__(self, index, value):
        self.values[_index(index)] = _operand(value)

    @property
    def base(self):
        return None if self.values.base is None else StrictArray(self.values.base)

    @property
    def T(self):
        return StrictArray(self.values.T)


for _name in ("shape", "dtype", "ndim", "size", "itemsize", "nbytes", "strides"):
    setattr(StrictArray, _name, property(operator.attrgetter(f"values.{_name}")))


def _operators(name, function, in_place=None):
    def forward(self, other):
        return NotImplemented if _gives_way(other) else _boxed(function(self.values, _operand(other)))

    def reflected(self, other):
        return NotImplemented if _gives_way(other) else _boxed(function(_operand(other), self.values))

    def updated(self, other):
        in_place(self.values, _operand(other))
        return self

    setattr(StrictArray, f"__{name}__", forward)
    if in_place:
        setattr(StrictArray, f"__r{name}__", reflected)
        setattr(StrictArray, f"__i{name}__", updated)


def _unary_operator(name, function):
    setattr(StrictArray, f"__{name}__", lambda self: _boxed(function(self.values)))


for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor"):
    _function = getattr(operator, _name + "_" * (_name in ("and", "or")))
    _operators(_name, _function, getattr(operator, f"i{_name}"))
for _name in ("lt", "le", "gt", "ge", "eq", "ne"):
    _operators(_name, getattr(operator, _name))
for _name in ("neg", "pos", "abs", "invert"):
    _unary_operator(_name, getattr(operator, _name))


# Methods and functions

# The options that CuPy gives them. NumPy's further ones (`initial`, `where`) would be errors there.
_OPTIONS = {
    **dict.fromkeys(("max", "min", "all", "any"), ("axis", "out", "keepdims")),
    **dict.fromkeys(("sum", "prod", "mean"), ("axis", "dtype", "out", "keepdims")),
    **dict.fromkeys(("var", "std"), ("axis", "dtype", "out", "ddof", "keepdims")),
    **dict.fromkeys(("argmax", "argmin"), ("axis", "dtype", "out", "keepdims")),
    **dict.fromkeys(("cumsum", "cumprod"), ("axis", "dtype", "out")),
    "concatenate": ("axis", "out", "dtype", "casting"),
    "einsum": ("dtype", "optimize"),
    "pad": ("mode", "constant_values"),
}
_METHODS = """
    all any argmax argmin astype clip copy cumprod cumsum dot fill flatten max mean min prod ravel repeat
    reshape squeeze std sum swapaxes take transpose var
""".split()
_UFUNCS = """
    abs add arctan cos cosh divide equal exp expm1 floor floor_divide fmax fmin greater greater_equal isfinite
    isinf isnan less less_equal log log1p log2 logaddexp logical_and logical_not logical_or matmul maximum
    minimum multiply negative not_equal power reciprocal remainder rint sign sin sinh sqrt square subtract tan
    tanh
""".split()
_OF_AN_ARRAY = """
    all any argmax argmin argsort broadcast_to clip count_nonzero cumprod cumsum diagonal dot empty_like
    expand_dims flip full_like max mean min moveaxis nonzero ones_like outer pad prod ravel repeat reshape
    roll sort split squeeze std sum swapaxes take take_along_axis tensordot tile transpose tril triu var where
    zeros_like
""".split()
_OTHERS = "arange concatenate einsum empty eye full linspace ones result_type stack zeros".split()
_CONSTANTS = """
    bool_ dtype e finfo float16 float32 float64 inf int32 int64 nan newaxis pi uint8
""".split()
_WITH_AT = ("add", "maximum", "minimum", "subtract")


def _check_options(name, options):
    for option in options:
        if option not in _OPTIONS.get(name, (option,)):
            raise TypeError(f"{name}() got an unexpected keyword argument {option!r}")


def _method(name):
    def method(self, *args, **options):
        _check_options(name, options)
        return _boxed(getattr(self.values, name)(*map(_argument, args), **options))

    method.__name__ = name
    return method


for _name in _METHODS:
    setattr(StrictArray, _name, _method(_name))


class _Ufunc:
    """An elementwise function: of strict arrays and scalars, and not of lists."""

    def __init__(self, name):
        self.name = name

    def __call__(self, *operands, **options):
        return _boxed(getattr(np, self.name)(*map(_operand, operands), **options))

    def at(self, target, index, *operands):
        if self.name not in _WITH_AT:
            raise NotImplementedError(f"`{self.name}.at` is not supported yet")
        getattr(np, self.name).at(target.values, _index(index), *map(_operand, operands))


def _function(name, takes_array):
    def function(*args, **options):
        _check_options(name, options)
        if takes_array and not isinstance(args[0], StrictArray):
            raise TypeError(f"{name} expects an array of this library, got {type(args[0])}")
        result = getattr(np, name)(*map(_argument, args), **{k: _argument(v) for k, v in options.items()})
        return type(result)(map(_boxed, result)) if type(result) in (list, tuple) else _boxed(result)

    function.__name__ = name
    return function


def _array(value, dtype=None, copy=True):
    """A strict array; from NumPy's values, lists and numbers it is a transfer."""
    if isinstance(value, StrictArray):
        return StrictArray(np.array(value.values, dtype, copy=copy or None))
    crossings["to device"] += 1
    return StrictArray(np.array(value, dtype))


def _asarray(value, dtype=None):
    if isinstance(value, StrictArray) and dtype in (None, value.dtype):
        return value
    return _array(value, dtype, copy=False)


class _Namespace:
    """The library's functions as attributes."""

    def __init__(self):
        for name in _UFUNCS:
            setattr(self, name, _Ufunc(name))
        for name in _OF_AN_ARRAY + _OTHERS:
            setattr(self, name, _function(name, name in _OF_AN_ARRAY))
        for name in _CONSTANTS:
            setattr(self, name, getattr(np, name))
        self.array, self.asarray, self.ndarray = _array, _asarray, StrictArray

    def __getattr__(self, name):
        raise AttributeError(f"the strict library has no {name!r}; if CuPy has it, add it to this file")


strict = _Namespace()
arrays.register(StrictArray, strict)
