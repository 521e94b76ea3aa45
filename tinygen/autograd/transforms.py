"""Functions of functions: grad, vjp, jvp, hvp, jacobian, hessian, checkpoint. All stand on one walk back.

Each transform differentiates with respect to aliases of its inputs, new nodes over the same values, so that
an inner transform never mistakes an outer one's variable for its own (no perturbation confusion).
"""

import functools

from .. import arrays
from . import ops
from .engine import NOTHING, Tensor, alias, cotangent_for, gradients_of_nodes, make_node, node_of, tick, wrap
from .modes import current_mode, enable_grad
from .tensor import as_leaf, as_tensor, stop_gradient


def gradients(outputs, inputs, cotangents=None, *, create_graph=False, retain_graph=None):
    """The gradient of `outputs` (weighted by `cotangents`) with respect to each of `inputs`; nothing is left
    in `.grad`.

    Args:
        outputs: a Tensor or a list of them. inputs: a Tensor or a list, anywhere in the graph.
        cotangents: one for each output, of its shape; 1 for outputs of one element.
        create_graph: make the gradients differentiable themselves.
        retain_graph: keep the graph for another walk; as create_graph by default.

    Returns:
        A Tensor for a single input, else a list; zeros for an input that the outputs do not depend on.

    Raises:
        RuntimeError: an input was not recorded, the graph was freed, or a parameter was updated since.
    """
    single = isinstance(inputs, Tensor)
    outputs, inputs = _as_list(outputs), _as_list(inputs)
    cotangents = [None] * len(outputs) if cotangents is None else _as_list(cotangents)
    if len(cotangents) != len(outputs):
        raise ValueError(
            f"gradients: expected {len(outputs)} cotangents, one for each output, got {len(cotangents)}"
        )
    for x in inputs:
        if not isinstance(x, Tensor) or x.node is None:
            raise RuntimeError("gradients: an input was not recorded; make it with requires_grad=True")
    for y in outputs:
        if not isinstance(y, Tensor):
            got = type(y).__name__
            raise TypeError(
                f"gradients: expected outputs that are Tensors, got {got}; use tinygen's functions"
            )
    roots = [node_of(y) for y in outputs]
    starts = [cotangent_for(y, g, create_graph) for y, g in zip(outputs, cotangents)]
    retain = create_graph if retain_graph is None else retain_graph
    done = gradients_of_nodes(roots, starts, {x.node for x in inputs}, create_graph, retain)
    found = [done[x.node] if x.node in done else ops.zeros_like(x) for x in inputs]
    found = [g if isinstance(g, Tensor) else wrap(g) for g in found]
    return found[0] if single else found


def _as_list(value):
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _input_alias(x):
    """A new place to differentiate at, with the values of x, and below x on the tape if x is on it."""
    x = as_tensor(x)
    if not arrays.is_floating(x.dtype):
        raise TypeError(
            f"grad: expected a floating input, got {x.dtype}; pass floats, or close over what is constant"
        )
    return alias(x) if x.node is not None else as_leaf(wrap(x.data))


def _run(f, inputs, positions, kwargs=None):
    """Call f, recording, with aliases at `positions`; (output, aliases)."""
    inputs = list(inputs)
    with enable_grad():
        aliases = [_input_alias(inputs[i]) for i in positions]
        for i, x in zip(positions, aliases):
            inputs[i] = x
        return f(*inputs, **(kwargs or {})), aliases


def _gradients_at(aliases, y, g=None, **options):
    """`gradients` of y at the aliases; zeros for a y that was not recorded, which is a constant."""
    return [ops.zeros_like(x) for x in aliases] if y.node is None else gradients(y, aliases, g, **options)


def _goes_on(aliases, outputs):
    """True when the gradient may itself be differentiated: some leaf below is none of our own aliases.

    It may be an outer transform's variable, or a parameter that f closes over, as in a gradient penalty.
    """
    if not current_mode().recording:
        return False
    own, seen, stack = (
        {x.node for x in aliases if x.node.plan is None},
        set(),
        [y.node for y in outputs if y.node],
    )
    while stack:
        node = stack.pop()
        if node.plan is None and node not in own:
            return True
        for parent in node.parents:
            if parent not in seen:
                seen.add(parent)
                stack.append(parent)
    return False


def _result(name, y):
    """What f returned, if it is a Tensor."""
    if not isinstance(y, Tensor):
        raise TypeError(
            f"{name}: expected a function that returns a Tensor, got {type(y).__name__}; "
            "compute with tinygen's functions"
        )
    return y


def _scalar(name, y):
    if _result(name, y).size != 1:
        raise ValueError(
            f"{name}: expected a scalar result, got shape {y.shape}; use vjp or jacobian, or reduce it"
        )
    return y


def value_and_grad(f, argnums=0, *, has_aux=False):
    """A function that returns (f(...), gradient with respect to argument `argnums`).

    Args:
        argnums: which positional argument; a tuple of ints gives a tuple of gradients.
        has_aux: f returns (scalar, anything), and so does the value.
    """
    positions = (argnums,) if isinstance(argnums, int) else argnums
    if not isinstance(positions, (tuple, list)) or not all(isinstance(i, int) for i in positions):
        raise TypeError(f"grad: expected argnums to be an int or a tuple of ints, got {argnums!r}")

    @functools.wraps(f)
    def wrapped(*inputs, **kwargs):
        count = len(inputs)
        if any(not -count <= i < count for i in positions):
            raise TypeError(f"grad: argnums {argnums} asks for more than the {count} positional arguments")
        if len({i % count for i in positions}) < len(positions):
            raise TypeError(f"grad: argnums {argnums} names an argument twice; name each once")
        result, aliases = _run(f, inputs, positions, kwargs)
        y = _scalar("grad", result[0] if has_aux else result)
        create_graph = _goes_on(aliases, [y])
        found = _gradients_at(aliases, y, create_graph=create_graph)
        y = y if create_graph else stop_gradient(y)
        return (y, result[1]) if has_aux else y, found[0] if isinstance(argnums, int) else tuple(found)

    return wrapped


def grad(f, argnums=0):
    """The gradient of a scalar function: `grad(f)(x)` has the shape of x. Nest it for higher derivatives.

    Where f closes over tensors that require a gradient, the result can be differentiated by them too.

    Args:
        argnums: which positional argument; a tuple of ints gives a tuple of gradients.

    Raises:
        ValueError: f(x) has more than one element.
        TypeError: f returns no Tensor, x is not floating, or `argnums` fits no argument.
    """
    both = value_and_grad(f, argnums)

    @functools.wraps(f)
    def wrapped(*inputs, **kwargs):
        return both(*inputs, **kwargs)[1]

    return wrapped


def vjp(f, *inputs):
    """(f(*inputs), pullback): pullback(g), with g of f's shape, is the vector-Jacobian product.

    It may be called any number of times, and returns a Tensor for one input, a tuple for several.

    Raises:
        TypeError: f returns no Tensor, or an input is not floating.
    """
    y, aliases = _run(f, inputs, range(len(inputs)))
    create_graph = _goes_on(aliases, [_result("vjp", y)])

    def pullback(g, create_graph=create_graph):
        goes_on = create_graph or _is_tracked(g)
        found = _gradients_at(aliases, y, g, create_graph=goes_on, retain_graph=True)
        return found[0] if len(inputs) == 1 else tuple(found)

    return (y if create_graph else stop_gradient(y)), pullback


def _is_tracked(g):
    return isinstance(g, Tensor) and g.node is not None and current_mode().recording


def jvp(f, inputs, tangents):
    """(f(*inputs), its directional derivative along `tangents`), as in `jvp(f, (x,), (v,))`.

    The pullback is linear in its cotangent, so that differentiating it gives the Jacobian itself: reverse
    mode twice is forward mode (Townsend 2017).

    Args:
        inputs: a tuple of floating arrays or Tensors. tangents: a tuple of the same shapes.

    Raises:
        TypeError: no tuples, or f returns no Tensor. ValueError: shapes that differ.
    """
    if not isinstance(inputs, (tuple, list)) or not isinstance(tangents, (tuple, list)):
        raise TypeError("jvp: expected a tuple of inputs and one of tangents, as in jvp(f, (x,), (v,))")
    shapes = [[as_tensor(x).shape for x in group] for group in (inputs, tangents)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"jvp: inputs of shapes {shapes[0]} need tangents of the same, got {shapes[1]}")
    y, aliases = _run(f, inputs, range(len(inputs)))
    goes_on = _goes_on(aliases, [_result("jvp", y)]) or any(map(_is_tracked, tangents))
    dy = ops.zeros_like(y)
    if y.node is not None:
        dummy = as_leaf(ops.zeros_like(y))
        pulled = gradients(y, aliases, dummy, create_graph=True)
        live = [(p, as_tensor(v)) for p, v in zip(pulled, tangents) if p.node is not None]
        if live:
            outputs, weights = zip(*live)
            dy = gradients(outputs, dummy, weights, create_graph=goes_on)
    return (y if goes_on else stop_gradient(y)), dy


def hvp(f, x, v):
    """The Hessian of a scalar function at x, times v, of x's shape: the gradient of grad(f)(x) . v.

    Raises:
        ValueError: v has another shape than x, or f is not scalar.
    """
    if as_tensor(v).shape != as_tensor(x).shape:
        raise ValueError(f"hvp: expected v of the shape of x, {as_tensor(x).shape}, got {as_tensor(v).shape}")
    return grad(lambda x: ops.sum(grad(f)(x) * v))(x)


def jacobian(f):
    """x -> the derivative of every output of f by every element of x: (*out.shape, *in.shape)."""

    @functools.wraps(f)
    def wrapped(x):
        y, pullback = vjp(f, x)
        lib = arrays.of(y.data)
        basis = lib.eye(y.size, dtype=y.dtype).reshape(y.size, *y.shape)
        if not y.size:
            return wrap(lib.zeros((*y.shape, *as_tensor(x).shape), y.dtype))
        rows = [pullback(wrap(basis[i])) for i in range(y.size)]
        return ops.reshape(ops.stack(rows), (*y.shape, *rows[0].shape))

    return wrapped


def hessian(f):
    """x -> all second derivatives of a scalar function: (*in.shape, *in.shape)."""
    return jacobian(grad(f))


# Checkpoint


class _Recompute:
    """The plan of a checkpoint's node: walk back by running the function again."""

    name, direct = "checkpoint", False

    def pull(self, node, g, needed, create_graph):
        f, inputs, positions = node.kept
        with enable_grad():
            # The node's parents are the tracked inputs, then whatever else the function reached on the tape.
            inputs = list(inputs)
            for parent, i in zip(node.parents, positions):
                x = inputs[i].data
                inputs[i] = alias(wrap(x, parent)) if create_graph else as_leaf(wrap(x))
            out = f(*inputs)
            own = [inputs[i].node for i in positions]
            targets = own + list(node.parents[len(own) :])
            done = gradients_of_nodes([out.node], [g], set(targets), create_graph, create_graph)
        return [done.get(t, NOTHING) for t in targets]


def checkpoint(f, *inputs):
    """f(*inputs), keeping only the inputs: backward computes the rest again (Chen et al. 2016).

    f returns one Tensor and must do the same each time it is called: give it its noise as an input.

    Raises:
        TypeError: f returns something else.
    """
    if not current_mode().recording:
        return f(*inputs)
    start = tick()
    positions = [i for i, x in enumerate(inputs) if isinstance(x, Tensor) and x.node is not None]
    out, aliases = _run(f, inputs, positions)
    if _result("checkpoint", out).node is None:
        return out
    own = {x.node for x in aliases}
    outside, seen, stack = [], set(), [out.node]
    while stack:  # what f reached on the tape besides its inputs: parameters, mostly
        node = stack.pop()
        if node in seen or node in own:
            continue
        seen.add(node)
        if node.order < start:
            outside.append(node)
        else:
            stack.extend(node.parents)
    kept = f, [stop_gradient(x) for x in inputs], positions
    parents = (*(inputs[i].node for i in positions), *outside)
    return wrap(out.data, make_node(_Recompute(), parents, kept, None, out.data))
