"""Modules: objects that hold parameters and compute with them.

A module is a plain object with a `forward`. What it learns is found by walking its attributes, so there is
nothing to register, no base initialiser to call, and assigning an attribute is all it takes:

    class Gate(nn.Module):
        def __init__(self, features, *, rng):
            self.layers = [nn.Linear(features, features, rng=rng) for _ in range(2)]
            self.scale = nn.Parameter(np.ones(features, np.float32))

        def forward(self, x):
            return self.scale * tg.sigmoid(self.layers[0](x)) * self.layers[1](x)

Its parameters are `layers.0.weight`, `layers.0.bias`, `layers.1.weight`, `layers.1.bias` and `scale`, in this
order. The walk enters modules, lists, tuples and dicts, and nothing else: modules in a set are not found.
"""

import contextlib

from .. import arrays
from ..autograd.engine import Leaf, tick
from ..autograd.ops.arithmetic import raw
from .parameter import Parameter


class Module:
    """The base of layers and models: give it attributes and `forward`, and call it.

    buffers   a class attribute: the names of attributes that hold arrays which are saved with the parameters
              but not learnt, such as running statistics
    training  True after `train()`, as at first, False after `eval()`
    """

    buffers: tuple[str, ...] = ()
    training = True

    def forward(self, *inputs, **options):
        raise NotImplementedError(
            f"{type(self).__name__}: expected a method `forward`, got none; define `def forward(self, x)`"
        )

    def __call__(self, *inputs, **options):
        return self.forward(*inputs, **options)

    def parts(self):
        """(name, value) pairs in which to look for modules and parameters: the attributes, in their order."""
        return vars(self).items()

    # what it is made of

    def named_modules(self):
        """(path, module) pairs: this one with path "", then those below it, each once, depth first."""
        return [(path, found) for path, found in _walk(self, "", set()) if isinstance(found, Module)]

    def named_parameters(self):
        """(name, Parameter) pairs, such as ("encoder.0.weight", ...). A shared one has its first name.

        The walk also tells each parameter its name, for error messages. A longer name stays: the one that the
        whole model gave says more than the one that a part of it gives.
        """
        found = list(_first_names(self)[0].items())
        for name, parameter in found:
            if len(name) > len(parameter.node.name or ""):
                parameter.node.name = name
        return found

    def parameters(self):
        """The Parameters, in attribute order, each once."""
        return [parameter for _, parameter in self.named_parameters()]

    @property
    def num_parameters(self):
        """How many numbers are learnt."""
        return sum(parameter.data.size for parameter in self.parameters())

    # changes to all of it

    def train(self):
        """Switch this module and all below it to training, and return it."""
        return self._set_training(True)

    def eval(self):
        """Switch this module and all below it to evaluation, and return it."""
        return self._set_training(False)

    def _set_training(self, training):
        for _, module in self.named_modules():
            module.training = training
        return self

    def zero_grad(self):
        """Forget the gradients of all parameters."""
        for parameter in self.parameters():
            parameter.grad = None

    @contextlib.contextmanager
    def held(self):
        """`with net.held():` it computes as ever; its parameters, gradients and buffers stay as they were.

        Gradients pass through it to its inputs; none are computed for its parameters, which are constants of
        what is recorded in the block. What its buffers learn there is forgotten. The generator of a Dropout
        draws on.
        """
        parts = [part for _, part in _walk(self, "", set())]
        nodes = [(part, part.node) for part in parts if isinstance(part, Parameter)]
        modules = [part for part in parts if isinstance(part, Module) and part.buffers]
        buffers = [(module, name, getattr(module, name)) for module in modules for name in module.buffers]
        for parameter, _ in nodes:
            parameter.node = None
        try:
            yield self
        finally:
            for parameter, node in nodes:
                parameter.node = node
            for module, name, array in buffers:
                setattr(module, name, array)

    def convert(self, function):
        """Replace every parameter's and buffer's array by `function(array)`; gradients go; returns itself.

        `net.convert(cupy.asarray)` moves it to the GPU. Make the optimizer afterwards: its moments are arrays
        like those of the parameters it is given.
        """
        for parameter in self.parameters():
            old = parameter.node
            parameter.data, parameter.grad = function(parameter.data), None
            parameter.node = Leaf(parameter, old.name)  # a new one, since a leaf knows its dtype
            old.updated = tick()  # a backward through a graph made before raises
        for module, name in self._named_buffers().values():
            setattr(module, name, function(getattr(module, name)))
        return self

    def astype(self, dtype):
        """Compute in another floating-point dtype from now on: `convert` to it, and return the module."""
        return self.convert(lambda array: array.astype(dtype))

    # saving and loading

    def state_dict(self):
        """A dict from name to a NumPy copy of each parameter and buffer."""
        state = _arrays_of(_first_names(self)[0], self._named_buffers())
        return {name: arrays.to_numpy(array).copy() for name, array in state.items()}

    def load_state_dict(self, state):
        """Copy the arrays of `state`, as `state_dict` makes it, into the parameters and buffers.

        Values take the dtype that the parameter has. A parameter shared between places is loaded once, under
        its first name.

        Raises:
            ValueError: names are missing or unexpected, or a shape or kind of number differs. All such are
                listed, and nothing has been changed.
        """
        parameters, second_names = _first_names(self)
        buffers = self._named_buffers()
        old = _arrays_of(parameters, buffers)
        new = {name: arrays.to_numpy(raw(value)) for name, value in state.items()}
        problems = [
            f"missing {name}, {arrays.describe(array)}" for name, array in old.items() if name not in new
        ]
        for name, array in new.items():
            if name in second_names:
                problems.append(
                    f"unexpected {name}, which is shared with {second_names[name]} and loaded there"
                )
            elif name not in old:
                problems.append(f"unexpected {name}, {arrays.describe(array)}")
            elif array.shape != old[name].shape or array.dtype.kind != old[name].dtype.kind:
                problems.append(f"{name} is {arrays.describe(old[name])}, got {arrays.describe(array)}")
        if problems:
            raise ValueError(
                f"load_state_dict: expected the arrays of this {type(self).__name__}, got others; "
                "make these equal:\n  " + "\n  ".join(problems)
            )
        for name in list(old):
            array = old.pop(name)  # let go of, so that a large model is not in memory once more
            values = arrays.of(array).array(new[name], dtype=array.dtype)  # a copy
            if name in parameters:
                parameters[name].assign(values)
            else:
                module, attribute = buffers[name]
                setattr(module, attribute, values)

    def _named_buffers(self):
        """A dict from path to (module, attribute name) for every buffer."""
        return {
            f"{path}.{name}" if path else name: (module, name)
            for path, module in self.named_modules()
            for name in module.buffers
        }

    # reading it

    def __repr__(self):
        """A tree, one module a line: its plain settings, and how many parameters it holds."""
        lines = []
        for path, module in self.named_modules():
            depth, name = (path.count(".") + 1, path + ": ") if path else (0, "")
            settings = [
                f"{key}={value!r}"
                for key, value in vars(module).items()
                if _is_setting(value) and key != "training" and not key.startswith("_")
            ]
            count = module.num_parameters
            tail = f"  {count:,} parameter{'s' * (count != 1)}" if count else ""
            lines.append(f"{'  ' * depth}{name}{type(module).__name__}({', '.join(settings)}){tail}")
        return "\n".join(lines)


def _walk(value, path, seen):
    """Yield (path, thing) for the Parameters and Modules in `value`, depth first.

    A module is entered once, wherever else it stands, so a child that points back to its parent does no harm.
    A shared Parameter is yielded under each of its names.
    """
    if isinstance(value, Parameter):
        yield path, value
        return
    if isinstance(value, Module):
        if id(value) in seen:
            return
        seen.add(id(value))
        yield path, value
        items = value.parts()
    else:
        items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        if isinstance(item, (Parameter, Module, list, tuple, dict)):
            yield from _walk(item, f"{path}.{key}" if path else str(key), seen)


def _first_names(module):
    """Two dicts: from name to Parameter, each Parameter once, and from any second name to the first."""
    first, found, second = {}, {}, {}
    for name, parameter in _walk(module, "", set()):
        if isinstance(parameter, Parameter):
            if name in found:
                raise ValueError(
                    f"{type(module).__name__}: two parameters are called {name}; rename a key of the dict"
                )
            if id(parameter) in first:
                second[name] = first[id(parameter)]
            else:
                first[id(parameter)], found[name] = name, parameter
    return found, second


def _arrays_of(parameters, buffers):
    """A dict from name to array, of named parameters and then buffers."""
    state = {name: parameter.data for name, parameter in parameters.items()}
    return {**state, **{path: getattr(module, name) for path, (module, name) in buffers.items()}}


def _is_setting(value):
    """True for what tells modules apart in a printed tree: numbers, words, and tuples of numbers."""
    return isinstance(value, (int, float, str)) or (
        isinstance(value, tuple) and all(isinstance(item, (int, float)) for item in value)
    )
