"""Optimizers: SGD, Adam and AdamW; clipping of gradients by their norm; schedules of the learning rate.

An optimizer holds leaf tensors. After `loss.backward()`, its `step()` moves each of them that has a gradient:

    optimizer.zero_grad()
    loss(net, batch).backward()
    clip_by_norm(net.parameters(), 1.0)
    optimizer.lr = warmup_cosine(step, peak=1e-3, floor=1e-4, warmup=100, total=2000)
    optimizer.step()

Everything is computed by the array library and in the dtype of the parameter. What is known to be wanted and
is not here: groups of parameters with settings of their own; make two optimizers.

    Sutskever et al., On the importance of initialization and momentum in deep learning (2013)
    Kingma & Ba, Adam: a method for stochastic optimization (2015)
    Loshchilov & Hutter, Decoupled weight decay regularization (2019)
"""

import math
import numbers
import sys

import numpy as np

from . import arrays, kernels
from .autograd.engine import Leaf, Tensor, wrap


class Optimizer:
    """What all optimizers share. A subclass names its moments and says how a parameter moves, in `_moved`.

    lr      the learning rate, a plain attribute: set it at every step to follow a schedule
    steps   how often each parameter has been moved
    """

    moments: tuple[str, ...] = ()

    def __init__(self, parameters, lr):
        who = type(self).__name__
        self.parameters = _leaves(parameters, who)
        if not self.parameters:
            raise ValueError(f"{who}: expected at least one parameter, got none; pass net.parameters()")
        self.lr = _in_range(who, "lr", lr)
        self.steps = [0] * len(self.parameters)
        # For each parameter, one array a moment, of its library and dtype. They are ours: updated in place.
        self.state = [
            [arrays.of(p.data).zeros(p.shape, p.dtype) for _ in self.moments] for p in self.parameters
        ]

    def step(self):
        """Move every parameter that has a gradient; the others, and their moments, stay as they are.

        Raises:
            ValueError: a gradient has not its parameter's shape and dtype. Nothing has been changed.
        """
        lr = float(self.lr)  # a NumPy scalar, as a schedule may leave there, would make float64 arrays
        moving = [i for i, p in enumerate(self.parameters) if p.grad is not None]
        for i in moving:
            _check_gradient(f"{type(self).__name__}.step", self.parameters[i])
        for i in moving:
            self.steps[i] += 1
        if moving:
            self._move(moving, lr)

    def _move(self, moving, lr):
        """Give the parameters at the places `moving` new values, and update their moments."""
        for i in moving:
            parameter = self.parameters[i]
            moved = self._moved(parameter.data, parameter.grad.data, lr, self.steps[i], *self.state[i])
            parameter.assign(moved, copy=False)

    def _moved(self, x, g, lr, t, *moments):
        """The parameter's new array, from its array x, its gradient g, and t, which counts its steps from 1.

        Updates the moments.
        """
        raise NotImplementedError(f"{type(self).__name__}: expected a method `_moved`, got none; define one")

    def zero_grad(self):
        """Forget the gradients of all parameters."""
        for parameter in self.parameters:
            parameter.grad = None

    def state_dict(self):
        """A dict of NumPy copies: "lr", "steps", and each moment with its parameter's place, as "m.0"."""
        state = {"lr": np.array(self.lr, np.float64), "steps": np.array(self.steps, np.int64)}
        for i, moments in enumerate(self.state):
            for name, moment in zip(self.moments, moments, strict=True):
                state[f"{name}.{i}"] = arrays.to_numpy(moment).copy()
        return state

    def load_state_dict(self, state):
        """Continue from what `state_dict` gave for parameters like these, in the same order.

        Raises:
            ValueError: names are missing or unexpected, or a shape or dtype differs. All such are listed, and
                nothing has been changed.
        """
        expected = self.state_dict()
        new = {name: arrays.to_numpy(value) for name, value in state.items()}
        problems = [f"missing {name}" for name in expected if name not in new]
        for name, array in new.items():
            if name not in expected:
                problems.append(f"unexpected {name}")
            elif arrays.describe(array) != arrays.describe(expected[name]):
                problems.append(f"{name} is {arrays.describe(expected[name])}, got {arrays.describe(array)}")
        if problems:
            raise ValueError(
                f"load_state_dict: expected the state of this {type(self).__name__}, got another; "
                "make these equal:\n  " + "\n  ".join(problems)
            )
        self.lr, self.steps = float(new["lr"]), new["steps"].tolist()
        for i, p in enumerate(self.parameters):
            self.state[i] = [arrays.of(p.data).array(new[f"{name}.{i}"]) for name in self.moments]


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum as PyTorch writes it.

        v <- momentum * v + g
        x <- x - lr * v, or with Nesterov's momentum x <- x - lr * (g + momentum * v)

    This v is Sutskever et al.'s (eq. 1 to 4) divided by -lr, so that a change of lr acts at once.

    Args:
        parameters: leaf tensors.
        lr: the learning rate, at least 0.
        momentum: in [0, 1).
        nesterov: Nesterov's form; needs momentum.
        weight_decay: weight_decay * x is added to the gradient (L2 regularisation); at least 0.

    Raises:
        ValueError: a setting is out of its range, there is no parameter, or one is given twice.
        TypeError: something given is not a leaf tensor.
    """

    moments = ("v",)

    def __init__(self, parameters, *, lr, momentum=0.0, nesterov=False, weight_decay=0.0):
        self.momentum = _in_range("SGD", "momentum", momentum, 0, 1)
        self.weight_decay = _in_range("SGD", "weight_decay", weight_decay)
        self.nesterov = nesterov
        if nesterov and not momentum:
            raise ValueError("SGD: expected momentum > 0 with nesterov=True, got 0; set momentum")
        if not momentum:
            self.moments = ()
        super().__init__(parameters, lr)

    def _moved(self, x, g, lr, t, v=None):
        if self.weight_decay:
            g = g + self.weight_decay * x
        if v is None:
            return x - lr * g
        v *= self.momentum
        v += g
        return x - lr * (g + self.momentum * v if self.nesterov else v)


class Adam(Optimizer):
    """Steps of about lr, by running means of the gradient and of its square (Kingma & Ba, algorithm 1).

    Args:
        parameters: leaf tensors.
        lr: the learning rate, at least 0.
        betas: how slowly the two means move, each in [0, 1).
        eps: at least 0; keeps the division finite.

    Raises:
        ValueError: a setting is out of its range, there is no parameter, or one is given twice.
        TypeError: something given is not a leaf tensor.
    """

    moments = ("m", "v")

    def __init__(self, parameters, *, lr=1e-3, betas=(0.9, 0.999), eps=1e-8):
        who = type(self).__name__
        if not isinstance(betas, (tuple, list)) or len(betas) != 2:
            raise ValueError(
                f"{who}: expected betas to be a pair, got {betas!r}; the usual pair is (0.9, 0.999)"
            )
        self.betas = tuple([_in_range(who, "betas", beta, 0, 1) for beta in betas])
        self.eps = _in_range(who, "eps", eps)
        super().__init__(parameters, lr)

    def _move(self, moving, lr, decay=0.0):
        # m <- b1 m + (1 - b1) g,   v <- b2 v + (1 - b2) g^2
        # x <- (1 - lr * decay) x - lr * (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)
        b1, b2 = self.betas
        parameters = [self.parameters[i] for i in moving]
        steps = [self.steps[i] for i in moving]
        gs = [parameter.grad.data for parameter in parameters]
        ms, vs = zip(*[self.state[i] for i in moving])
        xs = [_own(parameter) for parameter in parameters]
        rates, corrections = [lr / (1 - b1**t) for t in steps], [1 - b2**t for t in steps]
        kernels.adam(xs, gs, ms, vs, 1 - lr * decay, rates, corrections, self.betas, self.eps)
        for parameter, x in zip(parameters, xs):
            parameter.assign(x, copy=False)


class AdamW(Adam):
    """Adam with decoupled weight decay: x also shrinks, by the factor 1 - lr * weight_decay.

    Source: Loshchilov & Hutter, algorithm 2.
    Their schedule multiplier eta times their lambda is our lr * weight_decay: as in PyTorch, a schedule of lr
    acts on both.

    Args:
        parameters, lr, betas, eps: as for Adam.
        weight_decay: at least 0.
        matrices_only: decay parameters of two axes and more only, and leave biases and gains of norms alone,
            as is usual for Transformers.

    Raises:
        ValueError, TypeError: as for Adam.
    """

    def __init__(
        self, parameters, *, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01, matrices_only=False
    ):
        self.weight_decay = _in_range("AdamW", "weight_decay", weight_decay)
        self.matrices_only = matrices_only
        super().__init__(parameters, lr=lr, betas=betas, eps=eps)

    def _move(self, moving, lr):
        spared = [i for i in moving if self.matrices_only and len(self.parameters[i].shape) < 2]
        for places, decay in ((sorted({*moving} - {*spared}), self.weight_decay), (spared, 0.0)):
            if places:
                super()._move(places, lr, decay)


def clip_by_norm(parameters, max_norm):
    """Scale all gradients by one factor, so that the norm of all of them together is at most `max_norm`.

    With max_norm=math.inf it only measures.
    Source: Pascanu et al., On the difficulty of training recurrent neural networks (2013), algorithm 1.

    Returns:
        The norm before clipping, a float; 0 where there is no gradient.

    Raises:
        FloatingPointError: a gradient is not finite: the first such parameter is named, nothing is changed.
        ValueError: `max_norm` is not positive, a parameter is given twice, or a gradient has another shape or
            dtype.
    """
    if not isinstance(max_norm, numbers.Real) or not max_norm > 0:
        raise ValueError(f"clip_by_norm: expected a positive max_norm, got {max_norm!r}; 1.0 is usual")
    graded = [p for p in _leaves(parameters, "clip_by_norm") if p.grad is not None]
    for parameter in graded:
        _check_gradient("clip_by_norm", parameter)
    with np.errstate(all="ignore"):
        squares = kernels.sums_of_squares([parameter.grad.data for parameter in graded])
    norm = math.hypot(*map(_norm, graded, squares))
    if norm > max_norm:
        factor = float(max_norm) / norm
        for parameter in graded:
            alone = _references(parameter, "grad") == _ALONE
            g = _own(parameter.grad) if alone else parameter.grad.data.copy()
            g *= factor
            parameter.grad = wrap(g)
    return norm


def _norm(parameter, square):
    """The norm of a parameter's gradient, as a float, of its square, which may have overflowed."""
    if math.isfinite(square):
        return math.sqrt(square)
    g = parameter.grad.data
    largest = float(abs(g).max())
    if not math.isfinite(largest):
        raise FloatingPointError(
            f"clip_by_norm: expected finite gradients, got one that is not, of {parameter.node.describe()}; "
            "run the step under `tinygen.anomaly()` to find the operation it came from"
        )
    g = g / largest  # every element is finite, only the squares overflowed
    return largest * math.sqrt(float((g * g).sum()))


def constant(step, *, peak):
    """The learning rate `peak`, whatever the step: for where a schedule is expected."""
    return peak


def warmup_cosine(step, *, peak, floor, warmup, total):
    """The learning rate at `step`, counted from 0: a line up to `peak`, then half a cosine down to `floor`.

    It reaches `peak` at step `warmup` and `floor` at step `total`, and stays there. The first step has
    peak / (warmup + 1), not 0. Source: Loshchilov & Hutter, SGDR (2017), eq. 5, without restarts.

    Raises:
        ValueError: not 0 <= warmup < total, or not 0 <= floor <= peak.
    """
    if not 0 <= warmup < total:
        raise ValueError(f"warmup_cosine: expected 0 <= warmup < total, got {warmup} and {total}; change one")
    if not 0 <= floor <= peak:
        raise ValueError(f"warmup_cosine: expected 0 <= floor <= peak, got {floor} and {peak}; change one")
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    progress = min(1.0, (step - warmup) / (total - warmup))
    return floor + 0.5 * (peak - floor) * (1 + math.cos(math.pi * progress))


def inverse_sqrt(step, *, peak, warmup):
    """The learning rate at `step`, counted from 0: a line up to `peak`, then down as 1 / sqrt(step + 1).

    The `warmup`-th step, of number warmup - 1, has `peak`.
    Source: Vaswani et al., Attention is all you need (2017), eq. 3, whose peak is 1 / sqrt(d_model * warmup).

    Raises:
        ValueError: `warmup` is less than 1.
    """
    if not warmup >= 1:
        raise ValueError(f"inverse_sqrt: expected warmup to be at least 1, got {warmup}; change it")
    t = step + 1
    return peak * min(t / warmup, math.sqrt(warmup / t))


def _leaves(parameters, who):
    """`parameters` as a list of leaf tensors, each once."""
    if isinstance(parameters, Tensor):
        raise TypeError(f"{who}: expected a list of parameters, got one tensor; put it into a list")
    parameters = list(parameters)
    first = {}
    for i, parameter in enumerate(parameters):
        if not isinstance(parameter, Tensor) or not isinstance(parameter.node, Leaf):
            got = type(parameter).__name__ + (" that is no leaf" if isinstance(parameter, Tensor) else "")
            raise TypeError(
                f"{who}: expected nn.Parameters or tensors made with requires_grad=True, got a {got} "
                f"at {i}; pass net.parameters()"
            )
        if id(parameter) in first:
            raise ValueError(
                f"{who}: expected each parameter once, got {parameter.node.describe()} "
                f"at {first[id(parameter)]} and at {i}; remove one"
            )
        first[id(parameter)] = i
    return parameters


def _own(tensor):
    """An array of the tensor's values to write into: its own if nobody else can see it, otherwise a copy.

    Memory that belongs to something else is copied too, and odd layouts, which the kernels do not take.
    """
    if type(tensor.data) is np.ndarray and _references(tensor, "data") == _ALONE:
        x = tensor.data
        if x.flags.owndata and x.flags.carray:
            return x
    return tensor.data.copy()


def _references(owner, name):
    """How many refer to the value of an attribute: any Tensor, graph, view or variable beside it counts."""
    return sys.getrefcount(getattr(owner, name))


_ALONE = _references(wrap(np.zeros(1)), "data")  # 2 in CPython 3.11: the attribute's, and the call's own


def _check_gradient(who, parameter):
    x, grad = parameter.data, parameter.grad
    if not isinstance(grad, Tensor) or grad.data.shape != x.shape or grad.data.dtype != x.dtype:
        got = arrays.describe(grad.data) if isinstance(grad, Tensor) else f"a {type(grad).__name__}"
        raise ValueError(
            f"{who}: expected a gradient of {arrays.describe(x)} for {parameter.node.describe()}, got {got}; "
            "let backward make it, or set a Tensor like the parameter"
        )


def _in_range(who, name, value, low=0, high=math.inf):
    """`value` as a Python float, after checking low <= value < high."""
    if not isinstance(value, numbers.Real) or not low <= value < high:
        upper = "" if high == math.inf else f" < {high}"
        raise ValueError(f"{who}: expected {low} <= {name}{upper}, got {value!r}; change it")
    return float(value)
