"""The contract of an operation, as one test: every law on inputs drawn from its domain.

test_softplus = contract(softplus)
"""

import functools
import inspect

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .. import kernels
from ..autograd import Tensor, gradients, jvp, no_grad, tensor
from ..autograd.engine import wrap
from ..autograd.tensor import as_leaf
from . import strategies
from .gradcheck import gradcheck

LAWS = {}  # name -> function(call, inputs, rng, operation)


def law(function):
    LAWS[function.__name__] = function
    return function


def contract(operation, *, order=2, skip=()):
    """A pytest-ready test that holds `operation` to all laws, with inputs drawn from its domain.

    Args:
        operation: a primitive or composite, the package's or your own; without a domain, elementwise on any
            shape.
        order: up to which its derivatives are checked.
        skip: names of laws that do not apply.

    Raises:
        ValueError: a law of that name does not exist.
    """
    if not hasattr(operation, "domains"):
        raise TypeError(
            f"contract: expected an operation made by @primitive or @composite, got {operation!r}"
        )
    unknown = set(skip) - set(LAWS)
    if unknown:
        raise ValueError(
            f"contract: there is no law {', '.join(sorted(unknown))}; there are {', '.join(LAWS)}"
        )

    @settings(
        deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )  # the first call may compile a kernel
    @given(strategies.inputs(operation), st.data())
    def test(drawn, data):
        inputs, attrs = drawn
        rng = data.draw(strategies.generators(), label="directions")
        call = _Call(operation, attrs, order)
        for name, check in LAWS.items():
            if name not in skip:
                try:
                    check(call, inputs, rng)
                except Exception as error:
                    shapes = ", ".join("None" if x is None else f"{x.shape} {x.dtype}" for x in inputs)
                    raise AssertionError(
                        f"{call.name} breaks the law {name!r} on {shapes}, {attrs}: {error}"
                    ) from error

    test.__name__ = test.__qualname__ = f"test_{operation.__name__}"
    test.__doc__ = f"{operation.__name__} obeys: {', '.join(n for n in LAWS if n not in skip)}."
    return test


class _Call:
    """An operation with its attributes: callable on arrays and Tensors, always giving a list of results."""

    def __init__(self, operation, attrs, order):
        self.operation, self.attrs, self.order, self.name = operation, attrs, order, operation.__name__
        self.function = functools.partial(_called(operation), **attrs)
        functools.update_wrapper(self.function, operation)

    def __call__(self, *inputs):
        out = self.function(*inputs)
        return list(out) if isinstance(out, (list, tuple)) else [out]

    def leaves(self, inputs, dtype=np.float64):
        """Inputs as Tensors, the floating ones as leaves of `dtype`."""
        return [tensor(x.astype(dtype), requires_grad=True) if is_real(x) else x for x in inputs]

    def pull(self, inputs, cotangents, dtype=np.float64):
        """(gradients of the floating inputs, the leaves) after one backward."""
        leaves = self.leaves(inputs, dtype)
        live = [(y, c) for y, c in zip(self(*leaves), cotangents) if y.node is not None]
        own = [x for x in leaves if isinstance(x, Tensor)]
        if not live:
            return [np.zeros(x.shape, dtype) for x in own], own
        found = gradients([y for y, _ in live], own, [c.astype(dtype) for _, c in live])
        return [np.asarray(g) for g in found], own


def _called(operation):
    """How to call with inputs in order: attributes that stand ahead of the inputs are passed by name."""
    names = operation.domains.inputs
    first = next(iter(inspect.signature(operation).parameters))
    if first in names:
        return operation
    return lambda *inputs, **attrs: operation(attrs.pop(first), *inputs, **attrs)


def is_real(x):
    return x is not None and x.dtype.kind == "f"


def values_of(call, inputs):
    return [np.asarray(y) for y in call(*inputs)]


def cotangents_for(call, inputs, rng):
    return [strategies.frozen(np.asarray(rng.standard_normal(y.shape))) for y in values_of(call, inputs)]


def assert_close(got, expected, what, tolerance=1e-9):
    for a, b in zip(got, expected, strict=True):
        assert a.shape == b.shape, f"{what}: shape {a.shape} for {b.shape}"
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance, err_msg=what)


@law
def arrays_and_tensors_agree(call, inputs, rng):
    """The value on Tensors is the value on arrays, bit for bit."""
    plain = call(*inputs)
    assert not any(isinstance(y, Tensor) for y in plain), "arrays in, but a Tensor out"
    boxed = call(*[x if x is None else wrap(x) for x in inputs])
    assert all(isinstance(y, Tensor) for y in boxed), "Tensors in, but an array out"
    for a, b in zip(plain, boxed, strict=True):
        assert isinstance(a, np.ndarray), f"the result is no array but {type(a).__name__}"
        np.testing.assert_array_equal(a, b.data)


@law
def derivatives_agree_with_differences(call, inputs, rng):
    """gradcheck, to the order asked for."""
    if any(is_real(x) and x.size for x in inputs) and all(y.size for y in values_of(call, inputs)):
        gradcheck(call.function, *inputs, order=call.order, rng=rng)


@law
def pullback_is_linear(call, inputs, rng):
    """vjp(a g + b h) = a vjp(g) + b vjp(h)."""
    g, h = cotangents_for(call, inputs, rng), cotangents_for(call, inputs, rng)
    both, _ = call.pull(inputs, [2.0 * a - 3.0 * b for a, b in zip(g, h)])
    parts = zip(call.pull(inputs, g)[0], call.pull(inputs, h)[0])
    assert_close(both, [2.0 * a - 3.0 * b for a, b in parts], "the gradient is not linear in the cotangent")


@law
def forward_and_reverse_agree(call, inputs, rng):
    """g . (J v) = (J^T g) . v: the dot-product test."""
    real = [i for i, x in enumerate(inputs) if is_real(x)]
    if not real:
        return
    cotangents = cotangents_for(call, inputs, rng)
    directions = [rng.standard_normal(inputs[i].shape) for i in real]

    def of_reals(*xs):
        moved = list(inputs)
        for i, x in zip(real, xs):
            moved[i] = x
        out = call(*moved)
        total = 0.0
        for y, c in zip(out, cotangents):
            total = total + (y * c).sum()
        return total

    _, forward = jvp(of_reals, [inputs[i] for i in real], directions)
    pulled, _ = call.pull(inputs, cotangents)
    reverse = sum(float(np.vdot(g, v)) for g, v in zip(pulled, directions))
    np.testing.assert_allclose(forward.item(), reverse, rtol=1e-8, atol=1e-8)


@law
def gradients_fit_their_inputs(call, inputs, rng):
    """Shapes and dtypes of results and gradients follow the inputs, in float32 as in float64."""
    for dtype in (np.float32, np.float64):
        if "dtype" in call.attrs:
            continue
        cotangents = cotangents_for(call, inputs, rng)
        pulled, leaves = call.pull(inputs, cotangents, dtype)
        for y in call(*leaves_of(inputs, leaves)):
            assert y.dtype == dtype, f"{dtype.__name__} in, but {y.dtype} out"
        for g, x in zip(pulled, leaves, strict=True):
            assert g.shape == x.shape and g.dtype == dtype, (
                f"{g.shape} {g.dtype} for an input {x.shape} {x.dtype}"
            )


def leaves_of(inputs, leaves):
    """The inputs with the leaves in the places of the floating ones."""
    rest = iter(leaves)
    return [next(rest) if is_real(x) else x for x in inputs]


@law
def nothing_is_written_to(call, inputs, rng):
    """Inputs, cotangents, results and kept arrays: frozen, a write raises; writable, they stay the same."""
    for writable in (False, True):
        leaves = [x if x is None or isinstance(x, Tensor) else x.copy() for x in call.leaves(inputs)]
        cotangents = [c.copy() for c in cotangents_for(call, inputs, rng)]
        watched = [x.data if isinstance(x, Tensor) else x for x in leaves if x is not None] + cotangents
        before = [array.copy() for array in watched]
        for array in watched:
            array.flags.writeable = writable
        results = call(*leaves)
        live = [(y, c) for y, c in zip(results, cotangents) if y.node is not None]
        for y, _ in live:
            made = [y.data, *(item for item in y.node.kept or () if isinstance(item, np.ndarray))]
            watched += made
            before += [array.copy() for array in made]
            for array in made if not writable else ():
                array.flags.writeable = False
        if live:
            outputs, weights = zip(*live)
            gradients(outputs, [x for x in leaves if isinstance(x, Tensor)], weights)
        for array, old in zip(watched, before, strict=True):
            np.testing.assert_array_equal(array, old)


@law
def memory_layout_does_not_matter(call, inputs, rng):
    """Permuted, strided and reversed inputs and cotangents give what contiguous ones give."""
    cotangents = cotangents_for(call, inputs, rng)
    value, (pulled, _) = values_of(call, inputs), call.pull(inputs, cotangents)
    for layout in strategies.LAYOUTS:
        moved = [x if x is None else strategies.frozen(strategies.relayout(x, layout)) for x in inputs]
        turned = [strategies.frozen(strategies.relayout(c, layout)) for c in cotangents]
        assert_close(values_of(call, moved), value, f"values, inputs {layout}", 1e-12)
        # Leaves where they lie: `tensor` would copy them to contiguous memory.
        leaves = [as_leaf(wrap(x)) if is_real(x) else x for x in moved]
        live = [(y, c) for y, c in zip(call(*leaves), turned) if y.node is not None]
        if live:
            outputs, weights = zip(*live)
            again = gradients(outputs, [x for x in leaves if isinstance(x, Tensor)], weights)
            assert_close([np.asarray(g) for g in again], pulled, f"gradients, inputs {layout}", 1e-12)


@law
def fast_equals_reference(call, inputs, rng):
    """All implementations of the kernels, and the definition in primitives, agree in value and gradient."""
    cotangents = cotangents_for(call, inputs, rng)
    with kernels.use("reference"):
        value, (pulled, _) = values_of(call, inputs), call.pull(inputs, cotangents)
    for name in kernels.implementations():
        with kernels.use(name):
            assert_close(values_of(call, inputs), value, f"values of the {name} kernels", 1e-11)
            assert_close(call.pull(inputs, cotangents)[0], pulled, f"gradients of the {name} kernels", 1e-11)
    reference = getattr(getattr(call.operation, "primitive", None), "reference", None)
    if reference:
        defined = _Call(call.operation, call.attrs, call.order)
        defined.function = functools.partial(reference, **call.attrs)
        with no_grad():
            boxed = [wrap(x) if is_real(x) else x for x in inputs]
            assert_close(values_of(defined, boxed), value, "values of the reference", 1e-11)
        assert_close(defined.pull(inputs, cotangents)[0], pulled, "gradients of the reference", 1e-10)


@law
def same_bits_for_any_thread_count(call, inputs, rng):
    """A kernel that runs alone, on two threads or on three gives the same bits, forward and backward."""
    cotangents = cotangents_for(call, inputs, rng)
    first = None
    for count in range(1, min(3, kernels.most_threads()) + 1):
        with kernels.use("numba", threads=count):
            found = [*values_of(call, inputs), *call.pull(inputs, cotangents)[0]]
        first = first or found
        for a, b in zip(first, found, strict=True):
            np.testing.assert_array_equal(a, b, err_msg=f"{count} threads")


@law
def calls_are_repeatable(call, inputs, rng):
    """The same call gives the same bits."""
    cotangents = cotangents_for(call, inputs, rng)
    for a, b in zip(values_of(call, inputs), values_of(call, inputs)):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(call.pull(inputs, cotangents)[0], call.pull(inputs, cotangents)[0]):
        np.testing.assert_array_equal(a, b)


@law
def backwards_accumulate(call, inputs, rng):
    """Two backwards leave twice the gradient, and no two leaves share a buffer."""
    cotangents = cotangents_for(call, inputs, rng)
    leaves = call.leaves(inputs)
    for _ in range(2):
        for y, c in zip(call(*leaves), cotangents):
            if y.node is not None:
                y.backward(c)
    pulled, _ = call.pull(inputs, cotangents)
    own = [x for x in leaves if isinstance(x, Tensor)]
    if all(x.grad is not None for x in own):
        assert_close([x.grad.data for x in own], [2 * g for g in pulled], "two backwards")
    held = [x.grad.data for x in own if x.grad is not None] + cotangents
    for i, a in enumerate(held):
        assert not any(np.shares_memory(a, b) for b in held[:i]), "two gradients share memory"
