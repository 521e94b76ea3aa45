"""The engine: values, the tape that remembers how they were made, and the walk back along it.

A Tensor is an array with, perhaps, a Node. A Node says which operation made the array, from which other
nodes, and what was kept for the derivative. Nodes hold the graph; tensors only point into it, and nothing
points back, so a graph dies by reference counting the moment nobody needs it.

Creation order is a topological order: an operation's node is always younger than its parents. Backward is
therefore a sort by a counter and a loop, and a chain of 100,000 operations is no deeper than one of two.

    Griewank & Walther, Evaluating Derivatives (2008), chapter 3: the reverse mode.
"""

import itertools
import math
import weakref
from operator import attrgetter

import numpy as np

from .. import arrays
from .modes import backward_pass, current_mode

tick = itertools.count().__next__  # the counter behind Node.order
NOTHING = object()  # what Plan.pull says of a parent that gets no gradient


# Values and the tape


class Node:
    """One recorded operation. Holds parents and kept arrays, never Tensors.

    plan     what was called and which rules serve the tracked inputs (see plan.py)
    parents  the nodes of the tracked inputs, in the plan's order
    kept     what the rules asked for; None once the graph is freed
    attrs    keyword attributes of the call, such as axis
    shape    of the result, and so of its gradient; dtype likewise
    order    its place in the order of creation
    line     the user's line that made it, under `anomaly` only
    """

    __slots__ = ("plan", "parents", "kept", "attrs", "shape", "dtype", "order", "line")


def make_node(plan, parents, kept, attrs, like):
    """A new Node, youngest of all; `like` is the array that it stands for."""
    node = Node()
    node.plan, node.parents, node.kept, node.attrs = plan, parents, kept, attrs
    node.shape, node.dtype, node.order = like.shape, like.dtype, tick()
    return node


class Leaf(Node):
    """Where the tape begins: requires_grad=True. It points to its tensor weakly, so that no cycle forms."""

    __slots__ = ("owner", "name", "updated")

    def __init__(self, tensor, name=None):
        self.plan, self.parents, self.kept, self.attrs = None, (), None, None
        self.shape, self.dtype, self.order = tensor.data.shape, tensor.data.dtype, tick()
        self.owner = weakref.ref(tensor)
        self.name = name
        self.updated = -1  # the tick of the last update of its tensor's values

    def describe(self):
        return f"{'parameter ' + repr(self.name) if self.name else 'a leaf'} of shape {self.shape}"


class Tensor:
    """An array that can remember how it was made. `tinygen.tensor` makes one; tensor.py attaches its methods.

    data  the array itself, of any registered library: read it, never write to it
    node  its place on the tape, or None when it needs no gradient
    grad  for leaves, after backward: a Tensor of the same shape and dtype
    """

    __slots__ = ("data", "node", "grad", "__weakref__")


def wrap(data, node=None):
    """An array as a Tensor. Nodes and Tensors have no `__init__`: it would double what making one costs."""
    tensor = Tensor()
    tensor.data, tensor.node, tensor.grad = data, node, None
    return tensor


class _Alias:
    """The plan of a node that changes nothing."""

    name, direct, steps = "alias", True, ((lambda g: g, None, None),)

    def pull(self, node, g, needed, create_graph):
        return (g,)


_ALIAS = _Alias()


def alias(x):
    """A recorded Tensor again, under a node of its own: a place to differentiate with respect to."""
    return wrap(x.data, make_node(_ALIAS, (x.node,), (), None, x.data))


# The walk back


def gradients_of_nodes(roots, cotangents, targets=None, create_graph=False, retain_graph=False):
    """Vector-Jacobian products over the tape: a dict from each target that was reached to its gradient.

    The gradients are arrays, each in a buffer of its own; with create_graph they are Tensors.

    Args:
        roots: nodes to start from. cotangents: for each, an array (with create_graph, a Tensor) of its shape.
        targets: nodes to differentiate with respect to; None means every leaf that the roots depend on.
        create_graph: hand Tensors to the rules, so that they record themselves.
        retain_graph: leave what the visited nodes kept, for another backward.
    """
    nodes = _between(roots, targets)
    everything, observers, ndarray = targets is None, current_mode().observers, np.ndarray
    # owned: sums that we allocated; later gradients are added to them in place.
    # fresh: leaves whose only gradient was made by a rule; it may be handed out without a copy.
    totals, owned, fresh, done = {}, set(), set(), {}
    for root, cotangent in zip(roots, cotangents):
        totals[root] = totals[root] + cotangent if root in totals else cotangent
    # A rule may divide by zero where an absorbing product drops the result: no warnings.
    with np.errstate(all="ignore"), backward_pass(observers, create_graph):
        for node in sorted(nodes, key=attrgetter("order"), reverse=True):
            total = totals.pop(node, None)
            if total is None:
                continue
            plan = node.plan
            if plan is None or (not everything and node in targets):
                done[node] = total
                if nodes.isdisjoint(node.parents):  # else another target lies below this one
                    continue
            known = node.kept
            direct = plan.direct and not create_graph  # the usual case: rules run here, without another call
            steps = plan.steps if direct else plan.pull(node, total, nodes, create_graph)
            for parent, step in zip(node.parents, steps):
                if not everything and parent not in nodes:
                    continue
                if not direct:
                    g = step
                    if g is NOTHING:
                        continue
                else:
                    rule, only, pick = step
                    if only is not None:
                        g = rule(total, known[only])
                    elif pick is None:
                        g = rule(total)
                    else:
                        g = rule(total, *pick(known))
                if type(g) is not ndarray or g.shape != parent.shape or g.dtype is not parent.dtype:
                    g = fit(g, parent, plan)
                if observers:
                    _tell(observers, node, parent, g, total)
                if parent not in totals:
                    totals[parent] = g  # borrowed: it may be anybody's
                    if parent.plan is None and not create_graph and _is_fresh(g, total, node):
                        fresh.add(parent)
                elif create_graph or parent not in owned:
                    totals[parent] = totals[parent] + g  # allocated
                    owned.add(parent)
                else:
                    totals[parent] += g  # ours: in place
            if not retain_graph:
                node.kept = None
                node.parents = ()
        return done if create_graph else _in_own_buffers(done, owned | fresh)


def _in_own_buffers(gradients, ours):
    """The same dict of arrays, copied where the buffer is not ours alone or has been given out already."""
    given, found = set(), {}
    for node, g in gradients.items():
        g = arrays.as_array(g)
        found[node] = g if node in ours and id(g) not in given else g.copy()
        given.add(id(g))
    return found


def _between(roots, targets):
    """The nodes on a path from `roots` to `targets` (None: to any leaf), all checked to be usable."""
    oldest = -1 if targets is None else min((target.order for target in targets), default=math.inf)
    seen, stack = set(roots), list(roots)
    while stack:
        node = stack.pop()
        if node.plan is None or node.order <= oldest:  # nothing older can lead to a target
            continue
        if node.kept is None:
            raise RuntimeError(
                f"backward: the graph through {node.plan.name} was freed by an earlier backward; "
                "pass retain_graph=True to the first one"
            )
        for parent in node.parents:
            if parent.plan is None and parent.updated > node.order:
                raise RuntimeError(
                    f"backward: {parent.describe()} was updated after {node.plan.name} used it; "
                    "compute the loss again, or call backward before the update"
                )
            if parent not in seen:
                seen.add(parent)
                stack.append(parent)
    if targets is None:
        return seen
    needed = set()
    for node in sorted(seen, key=attrgetter("order")):
        if node in targets or not needed.isdisjoint(node.parents):
            needed.add(node)
    return needed


def _is_fresh(g, total, node):
    """True when a rule made `g` anew, neither cotangent nor kept nor view: a leaf may have it uncopied."""
    return g is not total and getattr(g, "base", g) is None and not any(g is kept for kept in node.kept)


def _tell(observers, node, parent, g, total):
    g, total = (x.data if isinstance(x, Tensor) else x for x in (g, total))
    for observer in observers:
        observer.gradient(node, parent, g, total)


def fit(g, node, plan):
    """A rule's answer, un-broadcast to the input it belongs to and in its dtype. The only place that does."""
    if not isinstance(g, Tensor) and not arrays.is_array(g):
        if not isinstance(g, (np.generic, int, float)):
            raise TypeError(
                f"{plan.name}: a gradient rule returned {type(g).__name__}; return an array like the input"
            )
        g = arrays.as_array(g)
    shape = node.shape
    if g.shape != shape:
        lead = len(g.shape) - len(shape)
        if lead < 0 or any(n != m and m != 1 for n, m in zip(g.shape[lead:], shape)):
            raise ValueError(
                f"{plan.name}: a gradient rule returned shape {g.shape} for an input of shape {shape}; "
                "return the input's shape, or one that broadcasting stretched it to"
            )
        g = g.sum(axis=tuple(range(lead))) if lead else g
        stretched = tuple(i for i, (n, m) in enumerate(zip(g.shape, shape)) if n != m)
        g = g.sum(axis=stretched, keepdims=True) if stretched else g
        g = g if isinstance(g, Tensor) else arrays.as_array(g)
    return g if g.dtype == node.dtype else g.astype(node.dtype)


def backward(tensor, gradient=None, retain_graph=False, create_graph=False):
    """Add to `.grad` of every leaf the gradient of this tensor with respect to it.

    Args:
        gradient: the cotangent, of this tensor's shape; 1 for a tensor of one element.
        retain_graph: keep the graph for another backward (implied by create_graph).
        create_graph: make the gradients themselves differentiable.

    Raises:
        RuntimeError: nothing was recorded, the graph was freed, or a parameter was updated since.
        ValueError: no cotangent for a tensor of more than one element, or one of another shape.
    """
    root, cotangent = node_of(tensor), cotangent_for(tensor, gradient, create_graph)
    done = gradients_of_nodes([root], [cotangent], None, create_graph, retain_graph or create_graph)
    for leaf, g in done.items():
        owner = leaf.owner()
        if owner is None:
            continue
        if owner.grad is not None:  # a new value: whoever holds the old one keeps it
            g = owner.grad + g if create_graph else arrays.as_array(owner.grad.data + g)
        owner.grad = g if create_graph else wrap(g)


def node_of(tensor):
    """The node to walk back from, or an error that says why there is none."""
    if tensor.node is None:
        raise RuntimeError(
            "backward: this tensor was not recorded; make an input with requires_grad=True, "
            "and compute outside `no_grad`"
        )
    return tensor.node


def cotangent_for(tensor, gradient, create_graph):
    """The cotangent to start from, checked: ones by default, for a single element only."""
    data = tensor.data
    if gradient is None:
        if data.size != 1:
            raise ValueError(
                f"backward: a tensor of shape {data.shape} needs a cotangent of that shape; "
                "pass one, or reduce to a scalar first (`.sum()`)"
            )
        gradient = arrays.of(data).ones_like(data)
    array = gradient.data if isinstance(gradient, Tensor) else arrays.of(data).asarray(gradient)
    if array.shape != data.shape:
        raise ValueError(
            f"backward: the cotangent has shape {array.shape}, the tensor {data.shape}; make them equal"
        )
    if array.dtype != data.dtype:
        gradient = gradient.astype(data.dtype) if isinstance(gradient, Tensor) else array.astype(data.dtype)
        array = gradient.data if isinstance(gradient, Tensor) else gradient
    if create_graph:
        return gradient if isinstance(gradient, Tensor) else wrap(array)
    return array
