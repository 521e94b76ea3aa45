"""Values, gradients, gradients of gradients, ... of a function, here and in PyTorch, compared level by level.

Cotangents are random and join the inputs of the levels above, so that mixed derivatives are compared too.
"""

import numpy as np
import torch
from registry import is_real

import tinygen as tg

TOLERANCE = 1e-9


def our_leaf(array):
    return tg.tensor(array, requires_grad=True)


def their_leaf(array):
    return torch.tensor(array, requires_grad=True)


def plain(y):
    """The values of a tensor of either library."""
    return y.numpy() if isinstance(y, tg.Tensor) else y.detach().resolve_neg().numpy(force=True)


def our_ladder(function, arrays, orders):
    """[values, gradients, ...]. The last step is a plain backward; those before it record."""
    return _climb(function, [our_leaf(x) if is_real(x) else x for x in arrays], orders, our_leaf, _our_step)


def their_ladder(function, arrays, orders):
    inputs = [x if x is None else torch.tensor(x, requires_grad=is_real(x)) for x in arrays]
    return _climb(function, inputs, orders, their_leaf, _their_step)


def _climb(function, inputs, orders, leaf, step):
    rng = np.random.default_rng(7)
    outputs = function(*inputs)
    outputs = list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]
    leaves, levels = [x for x in inputs if getattr(x, "requires_grad", False)], [outputs]
    for order in range(1, orders + 1):
        cotangents = [leaf(rng.standard_normal(tuple(y.shape))) for y in outputs]
        live = [(y, c) for y, c in zip(outputs, cotangents) if y.requires_grad]
        if not live:  # constant from here on
            break
        outputs = list(step([y for y, _ in live], leaves, [c for _, c in live], order == orders))
        levels.append(outputs)
        leaves = leaves + cotangents
    return [[plain(y) for y in level] for level in levels]


def _our_step(outputs, leaves, cotangents, last):
    return tg.gradients(outputs, leaves, cotangents, create_graph=not last)


def _their_step(outputs, leaves, cotangents, last):
    return torch.autograd.grad(outputs, leaves, cotangents, create_graph=True, materialize_grads=True)


def assert_same(ours, theirs, arrays, orders=2):
    """Both ladders agree; ours with each level once by a plain backward, and recorded below higher ones."""
    expected = their_ladder(theirs, arrays, orders)
    for last in range(1, orders + 1):
        got = our_ladder(ours, arrays, last)
        assert len(got) == min(len(expected), last + 1)
        for order, (mine, other) in enumerate(zip(got, expected)):
            assert [a.shape for a in mine] == [b.shape for b in other], f"order {order}"
            for a, b in zip(mine, other):
                assert a.dtype == np.float64
                np.testing.assert_allclose(a, b, rtol=TOLERANCE, atol=TOLERANCE, err_msg=f"order {order}")
