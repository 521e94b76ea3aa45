"""Which array library an array belongs to, and the dtype policy. Floor 0: nothing below, and the only
importer of cupy.

Everything above computes with `of(x).exp(x)` and never names NumPy, so an operation runs on whatever library
its input came from. A library is a namespace with NumPy's names; `register` adds one (the tests add a strict
stand-in).
"""

import math
import sys

import numpy as np

_NAMESPACES = {np.ndarray: np}  # array type -> the library that computes with it
NDARRAYS = (np.ndarray,)  # the same types as a tuple, for isinstance


def register(array_type, namespace):
    """Let arrays of `array_type` be computed with `namespace`, a module (or object) with NumPy's names."""
    global NDARRAYS
    _NAMESPACES[array_type] = namespace
    NDARRAYS = tuple(_NAMESPACES)


def of(value, *others):
    """The library of the first array among the values; NumPy when none is an array."""
    namespace = _NAMESPACES.get(type(value))
    if namespace is not None:
        return namespace
    if is_array(value):
        return of_type(type(value))
    return of(*others) if others else np


def of_type(array_type):
    """The library of an array type, found through its bases for subclasses such as np.memmap."""
    return next(_NAMESPACES[base] for base in array_type.__mro__ if base in _NAMESPACES)


def is_array(value):
    """True for an array of any registered library; cupy registers itself when its first array is seen."""
    if isinstance(value, NDARRAYS):
        return True
    if type(value).__module__.partition(".")[0] == "cupy" and "cupy" in sys.modules:
        cupy = sys.modules["cupy"]
        register(cupy.ndarray, cupy)
        return isinstance(value, cupy.ndarray)
    return False


def as_array(value):
    """`value` as an array: arrays pass through, NumPy scalars become 0-d, Python floats become float32.

    Lists follow the policy of `tinygen.tensor`: float32 unless they hold arrays or scalars of a NumPy dtype.
    """
    if is_array(value):
        return value
    if isinstance(value, np.generic):
        return np.asarray(value)
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"expected real numbers, got {value!r}")
    return array.astype(np.float32) if array.dtype == np.float64 and not _holds_numpy(value) else array


def _holds_numpy(value):
    """True when a (nested) list carries a dtype of its own: an array or a NumPy scalar among its elements."""
    if isinstance(value, (list, tuple)):
        return any(map(_holds_numpy, value))
    return isinstance(value, (np.generic, np.ndarray)) or is_array(value)


def to_numpy(array):
    """A NumPy array with the values of `array`, copied from the device when it lives on one."""
    if isinstance(array, np.ndarray):
        return array
    if hasattr(array, "get"):  # cupy, and whatever follows its ways
        return array.get()
    return np.asarray(array)


def is_floating(dtype):
    """True for the dtypes that can carry a gradient: float16, float32, float64."""
    return dtype.kind == "f"


def surely_finite(array):
    """True when no element is NaN or infinite, and that was cheap to find out; False says nothing.

    The sum of squares is finite only if every element is: one pass in BLAS, 84 us for a million elements
    where `where` takes 840. Other libraries would have to wait for their device, so there the answer is
    False.
    """
    if not isinstance(array, (np.ndarray, np.floating)):
        return False
    flat = array.reshape(-1)
    return math.isfinite(flat.dot(flat))


def describe(value):
    """How an error names a value: `(3, 4) float32` for arrays and tensors, scalars as they are."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{tuple(value.shape)} {value.dtype}"
    if isinstance(value, (list, tuple)) and len(value) > 8:
        return f"a {type(value).__name__} of {len(value)}"
    return repr(value)
