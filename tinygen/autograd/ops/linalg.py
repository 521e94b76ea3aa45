"""Products of matrices: matmul, einsum, outer, linear."""

import math
import string

from ... import arrays, kernels
from ..primitive import composite, primitive
from .arithmetic import multiply, raw
from .shapes import broadcast_to, expand_dims, reshape, swapaxes


@primitive
def matmul(x, y):
    """x @ y: (..., n, k) @ (..., k, m) -> (..., n, m), leading axes broadcast; a 1-D input is a row or a
    column.

    Raises:
        ValueError: the inner sizes differ, or an input is 0-d.
    """
    if not getattr(x, "ndim", 0) or not getattr(y, "ndim", 0):
        raise ValueError("matmul: expected at least 1 dimension on both sides; use * for scalars")
    inner = x.shape[-1], y.shape[-2] if y.ndim > 1 else y.shape[0]
    if inner[0] != inner[1]:
        raise ValueError(
            f"matmul: {x.shape} @ {y.shape}: the inner sizes {inner[0]} and {inner[1]} differ; transpose one"
        )
    return kernels.matmul(x, y)


def _matmul_x(g, x_shape, y):
    if len(y.shape) == 1:
        return expand_dims(g, -1) * y
    if len(x_shape) == 1:
        return reshape(matmul(y, expand_dims(g, -1)), (*y.shape[:-2], *x_shape))
    return matmul(g, swapaxes(y, -1, -2))


def _matmul_y(g, x, y_shape):
    if len(x.shape) == 1:
        return expand_dims(x, -1) * expand_dims(g, -2) if len(y_shape) > 1 else x * expand_dims(g, -1)
    if len(y_shape) == 1:
        return reshape(matmul(swapaxes(x, -1, -2), expand_dims(g, -1)), (*x.shape[:-2], *y_shape))
    return matmul(swapaxes(x, -1, -2), g)


matmul.rules(x=_matmul_x, y=_matmul_y)
matmul.domain("*B n k, *B k m")
matmul.domain("2 1 n k, 3 k m")
matmul.domain("k, *B k m")
matmul.domain("*B n k, k")
matmul.domain("k, k")


@primitive
def contraction(*xs, subscripts):
    """einsum with every index named and the result explicit: what `einsum`, and its rule, come down to."""
    return arrays.of(*xs).einsum(subscripts, *xs)


def _contraction_x(g, i, xs, subscripts):
    """Operand i and the result swap places; an index that only i has was summed: constant along it."""
    terms, result = subscripts.split("->")
    terms = terms.split(",")
    others = [term for j, term in enumerate(terms) if j != i]
    present = set(result).union(*others)
    found = "".join(letter for letter in terms[i] if letter in present)
    back = ",".join([result, *others]) + "->" + found
    d = contraction(g, *(x for j, x in enumerate(xs) if j != i), subscripts=back)
    shape = xs[i].shape
    # An operand of size 1 was broadcast: there d is larger, and the engine sums it.
    back_in = tuple(d.shape[found.index(letter)] if letter in present else 1 for letter in terms[i])
    lone = tuple(1 if letter in present else n for letter, n in zip(terms[i], shape))
    return broadcast_to(
        reshape(d, back_in), tuple(max(n, m) if n and m else 0 for n, m in zip(back_in, lone))
    )


contraction.rules(xs=_contraction_x)
contraction.domain("n k, k m", subscripts=("ab,bc->ac", "ab,bc->ca"))
contraction.domain("n k, n k, k", subscripts=("ab,ab,b->", "ab,ab,b->a"))
contraction.domain("2 3 4", subscripts=("abc->ca", "abc->b", "abc->"))


@composite
def einsum(subscripts, *xs):
    """Einstein summation in NumPy's notation: `einsum("bij,bjk->bik", x, y)`; ellipses and repeated indices
    too.

    Raises:
        ValueError: as many terms as operands are needed, each with a letter for every axis.
    """
    if not isinstance(subscripts, str):
        raise TypeError(
            f"einsum: expected subscripts such as 'ij,jk->ik' first, got {type(subscripts).__name__}"
        )
    terms, arrow, result = subscripts.replace(" ", "").partition("->")
    terms = terms.split(",")
    if len(terms) != len(xs):
        raise ValueError(
            f"einsum: {subscripts!r} has {len(terms)} terms for {len(xs)} operands; write one term for each"
        )
    spare = [letter for letter in string.ascii_letters if letter not in subscripts]
    wide = max(
        (x.ndim - len(term.replace("...", "")) for term, x in zip(terms, xs) if "..." in term), default=0
    )
    dots = "".join(spare[:wide])
    operands = []
    for k, (term, x) in enumerate(zip(terms, xs)):
        more = x.ndim - len(term.replace("...", ""))
        if more and "..." not in term or more < 0:
            raise ValueError(
                f"einsum: term {term!r} of {subscripts!r} does not fit shape {x.shape}; name every axis"
            )
        term = term.replace("...", dots[wide - more :])
        while len(set(term)) < len(term):
            x, term = _diagonal(x, term)
        operands.append(x)
        terms[k] = term
    if not arrow:
        letters = "".join(terms)
        result = dots + "".join(sorted(c for c in set(letters) - set(dots) if subscripts.count(c) == 1))
    return contraction(*operands, subscripts=",".join(terms) + "->" + result.replace("...", dots))


einsum.domain("n k, k m", subscripts=("ij,jk", "ij,jk->ki", "ij,jk->"))
einsum.domain("3 3", subscripts=("ii", "ii->i", "ij->ji"))
einsum.domain("3 2 3, 3", subscripts=("iji,i->j",))
einsum.domain("*B n k, *B k m", subscripts=("...ij,...jk->...ik",))
einsum.domain("2 1 3, 4 3", subscripts=("...i,...i->...", "...i,...i"))


def _diagonal(x, term):
    """x along the diagonal of the first index that `term` repeats, and the term without the repetition."""
    letter = next(c for c in term if term.count(c) > 1)
    first, second = term.index(letter), term.rindex(letter)
    rest = [i for i in range(x.ndim) if i not in (first, second)]
    steps = arrays.of(raw(x)).arange(x.shape[first])
    return x.transpose((first, second, *rest))[steps, steps], letter + "".join(term[i] for i in rest)


@composite
def outer(x, y):
    """All products of an element of x with one of y: (x.size, y.size)."""
    return multiply(reshape(x, (-1, 1)), reshape(y, (1, -1)))


outer.domain("n, m")
outer.domain("n k, m")


@primitive
def linear(x, weight, bias=None):
    """x @ weight.T + bias: x (..., C), weight (D, C), bias (D,) -> (..., D)."""
    if x.shape[-1:] != weight.shape[1:]:
        raise ValueError(
            f"linear: a weight of shape {weight.shape} takes x (..., {weight.shape[-1]}), got {x.shape}"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"linear: a weight {weight.shape} takes a bias {weight.shape[:1]}, got {bias.shape}")
    return kernels.matmul(x, weight.T, bias)


def _linear_weight(g, x):
    rows = math.prod(x.shape[:-1])
    return matmul(reshape(g, (rows, g.shape[-1])).T, reshape(x, (rows, x.shape[-1])))


linear.rules(x=lambda g, weight: matmul(g, weight), weight=_linear_weight, bias=lambda g: g)
linear.domain("*B C, D C, D")
linear.domain("n C, D C, -")
