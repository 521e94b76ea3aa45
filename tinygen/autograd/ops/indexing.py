"""Picking elements and putting them back: `getitem` and `scatter_add` are each other's derivative."""

from ... import arrays, kernels
from ..domain import Values
from ..engine import Tensor
from ..primitive import composite, primitive
from .arithmetic import raw
from .shapes import broadcast_to, place, reshape


def _is_basic(index):
    """True for ints, slices, None and Ellipsis: an index that picks no element twice, and makes a view."""
    parts = index if isinstance(index, tuple) else (index,)
    return all(
        part is None or part is Ellipsis or isinstance(part, slice) or type(part) is int for part in parts
    )


def plain_index(index):
    """An index without Tensors in it."""
    if isinstance(index, tuple):
        return tuple(map(plain_index, index))
    if isinstance(index, list):
        return [plain_index(part) for part in index]
    return index.data if isinstance(index, Tensor) else index


@primitive
def getitem(x, /, index):
    """x[index]: ints, slices, None, Ellipsis, integer and boolean arrays."""
    return x[index]


getitem.rules(x=lambda g, x_shape, index: scatter_add(g, index, x_shape))
getitem.domain(
    "4 5",
    index=(1, (slice(None), -2), slice(3, 0, -1), (Ellipsis, None, 2), ([0, 3, 0], [1, 1, 1]), [2, 2, -1]),
)
getitem.domain(
    "3 4 2", index=((slice(1, None), [0, 0, 3]), ([1, 2], slice(None), [0, 1]), (Ellipsis, [True, False]))
)


@primitive
def scatter_add(x, /, index, shape):
    """Zeros of `shape` with x added at `index`; places that are picked twice get both."""
    if not _is_basic(index):
        return kernels.scatter_add(x, index, shape)
    out = arrays.of(x).zeros(shape, x.dtype)
    out[index] = x
    return out


scatter_add.rules(x=lambda g, index: getitem(g, index))
scatter_add.domain("3", index=([0, 2, 0],), shape=((4,),))
scatter_add.domain("2 3", index=((slice(None), [0, 2, 2]),), shape=((2, 4),))
scatter_add.domain("2 3", index=((slice(0, 2), slice(0, 3)),), shape=((2, 4), (3, 4)))


@composite
def take(x, indices, *, axis=None):
    """The elements of x at integer `indices` along `axis`; of the flattened x when it is None."""
    if axis is None:
        return getitem(reshape(x, (-1,)), plain_index(indices))
    return getitem(x, (*(slice(None),) * place(axis, x.ndim), plain_index(indices)))


take.domain("n m, 3", indices=Values(kind="index", high="n"), axis=(0,))
take.domain("n m, 2 2", indices=Values(kind="index", high="m"), axis=(1, -1))
take.domain("n, 2 3", indices=Values(kind="index", high="n"), axis=(None,))


@composite
def take_along_axis(x, indices, *, axis):
    """For each place of `indices`, the element of x with that index along `axis` and the same place
    otherwise.

    x and `indices` have as many axes; sizes of the other axes are equal, or 1 in `indices`.
    """
    indices = plain_index(indices)
    if indices.ndim != x.ndim:
        raise ValueError(
            f"take_along_axis: expected indices with {x.ndim} axes as x has, got shape {indices.shape}"
        )
    lib = arrays.of(indices)
    index = [
        lib.arange(n).reshape([-1 if i == j else 1 for j in range(x.ndim)]) for i, n in enumerate(x.shape)
    ]
    index[axis] = indices
    return getitem(x, tuple(index))


take_along_axis.domain("n m, n 2", indices=Values(kind="index", high="m"), axis=(1, -1))
take_along_axis.domain("n m, 1 m", indices=Values(kind="index", high="n"), axis=(0,))


@composite
def index_add(x, index, y):
    """x with y added at `index`, as x[index] += y but a new value; repeated places get every addition."""
    index = plain_index(index)
    return x + scatter_add(broadcast_to(y, raw(x)[index].shape), index, x.shape)


index_add.domain("4 n, 3, 3 n", index=Values(kind="index", high=4))


@composite
def embedding(weight, indices):
    """Rows of `weight` (V, C) for integer `indices` (...): result (..., C). Rows that occur twice add their
    gradients.

    Raises:
        TypeError: indices that are not integers. IndexError: an index outside [-V, V).
    """
    indices = arrays.as_array(plain_index(indices))
    if indices.dtype.kind not in "iu":
        raise TypeError(
            f"embedding: expected integer indices, got {indices.dtype}; use .astype on the array first"
        )
    return getitem(weight, indices)


embedding.domain("V C, 2 3", indices=Values(kind="index", high="V"))
