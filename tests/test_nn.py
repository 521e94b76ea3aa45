"""Modules and parameters: what the walk finds, saving and loading, modes, errors."""

import copy
import pickle

import numpy as np
import pytest

import tinygen as tg
from tinygen import nn


def generator():
    return np.random.default_rng(0)


class Block(nn.Module):
    """Parameters in every kind of container, and beside them things that are none."""

    def __init__(self):
        rng = generator()
        self.first = nn.Linear(2, 3, rng=rng)
        self.rate = 0.5
        self.many = [nn.Linear(3, 3, bias=False, rng=rng), (nn.Tanh(), nn.Linear(3, 1, rng=rng))]
        self.table = {"norm": nn.BatchNorm(3), "scale": nn.Parameter(np.ones(3, np.float32))}
        self.constant = np.zeros(4)
        self.last = nn.Parameter([1.0])

    def forward(self, x):
        x = self.many[0](self.first(x)) * self.table["scale"]
        return self.many[1][1](self.table["norm"](x)) * self.last


NAMES = [
    *("first.weight", "first.bias", "many.0.weight", "many.1.1.weight", "many.1.1.bias"),
    *("table.norm.weight", "table.norm.bias", "table.scale", "last"),
]


def test_the_walk_finds_parameters_in_attribute_order_through_lists_tuples_and_dicts():
    block = Block()
    assert [name for name, _ in block.named_parameters()] == NAMES
    assert [id(p) for p in block.parameters()] == [id(p) for _, p in block.named_parameters()]
    assert block.num_parameters == 6 + 3 + 9 + 3 + 1 + 3 + 3 + 3 + 1


def test_the_walk_names_parameters_and_a_part_does_not_shorten_the_name():
    block = Block()
    weight = block.first.weight
    block.first.parameters()
    assert weight.node.name == "weight"
    block.parameters()
    assert weight.node.name == "first.weight"
    block.first.parameters()
    assert weight.node.name == "first.weight"


def test_sequential_names_its_layers_by_number():
    net = nn.Sequential(nn.Linear(2, 2, rng=generator()), nn.Sequential(nn.Linear(2, 2, rng=generator())))
    assert [name for name, _ in net.named_parameters()] == ["0.weight", "0.bias", "1.0.weight", "1.0.bias"]
    assert [path for path, _ in net.named_modules()] == ["", "0", "1", "1.0"]


def test_a_child_that_points_to_its_parent_does_no_harm():
    parent, child = nn.Module(), nn.Module()
    parent.child, child.parent, child.weight = child, parent, nn.Parameter([1.0])
    assert [name for name, _ in parent.named_parameters()] == ["child.weight"]


def test_two_parameters_of_one_name_are_an_error():
    net = nn.Module()
    net.table = {1: nn.Parameter([1.0]), "1": nn.Parameter([2.0])}
    with pytest.raises(ValueError, match=r"Module: two parameters are called table\.1; rename a key"):
        net.parameters()


def test_a_module_without_forward_says_so():
    with pytest.raises(NotImplementedError, match=r"Module: expected a method `forward`, got none; define"):
        nn.Module()(1, option=2)


# Parameter


def test_a_parameter_copies_its_values_and_requires_a_gradient():
    values = np.ones(3, np.float32)
    parameter = nn.Parameter(values, name="w")
    values[:] = 5
    assert parameter.numpy().tolist() == [1, 1, 1]
    assert parameter.requires_grad
    assert parameter.node.name == "w"
    with tg.no_grad():
        assert nn.Parameter(values).requires_grad
    (parameter * parameter).sum().backward()
    assert parameter.grad.numpy().tolist() == [2, 2, 2]


@pytest.mark.parametrize(
    "values, dtype",
    [
        ([1.0, 2.0], np.float32),
        (np.ones(2), np.float64),
        (np.ones(2, np.float16), np.float16),
        (tg.tensor([1.0]), np.float32),
    ],
)
def test_the_dtype_of_a_parameter_is_that_of_its_values(values, dtype):
    assert nn.Parameter(values).dtype == dtype


def test_a_parameter_of_integers_is_an_error():
    with pytest.raises(
        TypeError, match=r"Parameter: expected floating-point values, got \(2,\) int64; do values"
    ):
        nn.Parameter(np.arange(2))


def test_a_backward_through_a_graph_older_than_an_assignment_names_the_parameter():
    block = Block()
    loss = block(np.ones((4, 2), np.float32)).sum()
    block.parameters()
    block.table["scale"].assign(np.zeros(3, np.float32))
    with pytest.raises(RuntimeError, match=r"parameter 'table\.scale' of shape \(3,\) was updated"):
        loss.backward()


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))])
def test_a_copied_module_has_parameters_and_gradients_of_its_own(clone):
    net = nn.Sequential(nn.Linear(2, 2, rng=generator()), nn.Dropout(0.5, rng=generator()))
    net.layers.append(net[0])  # tied
    other = clone(net)
    other(np.ones((1, 2), np.float32)).sum().backward()
    assert net[0].weight.grad is None
    assert other[0].weight.grad is not None
    assert other[0] is other[2]
    assert np.array_equal(net[0].weight.data, other[0].weight.data)
    assert not np.shares_memory(net[0].weight.data, other[0].weight.data)


# Tied weights


class Tied(nn.Module):
    """A table whose rows are also the weights of the output, as in many language models."""

    def __init__(self, seed=0):
        rng = np.random.default_rng(seed)
        self.table = nn.Embedding(5, 3, rng=rng)
        self.head = nn.Linear(3, 5, rng=rng)
        self.head.weight = self.table.weight

    def forward(self, indices):
        return self.head(self.table(indices))


def test_tied_weights_are_counted_named_saved_and_loaded_once():
    net = Tied()
    assert [name for name, _ in net.named_parameters()] == ["table.weight", "head.bias"]
    assert net.num_parameters == 15 + 5
    state = net.state_dict()
    assert list(state) == ["table.weight", "head.bias"]
    other = Tied(seed=1)
    other.load_state_dict(state)
    assert other.head.weight is other.table.weight
    assert np.array_equal(other.head.weight.data, net.table.weight.data)


def test_tied_weights_gather_the_gradients_of_both_places():
    net = Tied()
    net(np.array([2])).sum().backward()
    ones, row = np.ones((5, 1)), net.table.weight.data[2]
    expected = ones * row  # through the head: the vector that was looked up, for every output
    expected[2] += net.table.weight.data.sum(0)  # through the look-up: the column sums, in the row looked up
    assert np.allclose(net.table.weight.grad.numpy(), expected, rtol=1e-6, atol=1e-6)


def test_loading_a_tied_weight_under_its_second_name_says_where_it_belongs():
    net = Tied()
    state = net.state_dict()
    state["head.weight"] = state["table.weight"]
    with pytest.raises(
        ValueError, match=r"unexpected head\.weight, which is shared with table\.weight and loaded there"
    ):
        net.load_state_dict(state)


# Saving and loading


def test_a_state_dict_holds_copies_of_parameters_and_buffers():
    block = Block()
    state = block.state_dict()
    assert list(state) == [*NAMES, "table.norm.running_mean", "table.norm.running_var"]
    assert all(type(array) is np.ndarray and array.dtype == np.float32 for array in state.values())
    for array in state.values():
        array[:] = 7
    assert not any((parameter.data == 7).any() for parameter in block.parameters())
    assert not (block.table["norm"].running_mean == 7).any()


def test_a_state_dict_survives_the_round_trip():
    block, other = Block(), Block()
    block(generator().standard_normal((8, 2), dtype=np.float32))  # moves the running statistics
    for parameter in block.parameters():
        parameter.assign(parameter.data + 1)
    state = block.state_dict()
    other.load_state_dict(state)
    assert all(np.array_equal(array, state[name]) for name, array in other.state_dict().items())
    assert state["table.norm.running_mean"].any()
    state["last"][:] = 9
    assert other.last.item() == 2


def test_loading_keeps_the_dtype_that_the_module_has():
    block = Block()
    block.load_state_dict({name: array.astype(np.float64) for name, array in block.state_dict().items()})
    assert {array.dtype for array in block.state_dict().values()} == {np.dtype(np.float32)}


def test_loading_what_does_not_fit_lists_everything_and_changes_nothing():
    block = Block()
    before = block.state_dict()
    state = {name: array + 1 for name, array in before.items()}
    del state["first.bias"], state["table.norm.running_var"]
    state["extra"] = np.zeros((2, 2))
    state["many.0.weight"] = np.zeros((3, 4), np.float32)
    state["table.scale"] = np.zeros(3, np.int64)
    with pytest.raises(ValueError) as error:
        block.load_state_dict(state)
    assert str(error.value).splitlines() == [
        "load_state_dict: expected the arrays of this Block, got others; make these equal:",
        "  missing first.bias, (3,) float32",
        "  missing table.norm.running_var, (3,) float32",
        "  many.0.weight is (3, 3) float32, got (3, 4) float32",
        "  table.scale is (3,) float32, got (3,) int64",
        "  unexpected extra, (2, 2) float64",
    ]
    assert all(np.array_equal(array, before[name]) for name, array in block.state_dict().items())


def test_loading_makes_an_older_graph_stale():
    block = Block()
    loss = block(np.ones((4, 2), np.float32)).sum()
    block.load_state_dict(block.state_dict())
    with pytest.raises(RuntimeError, match="was updated after"):
        loss.backward()


# Modes, conversion, printing


def test_train_and_eval_reach_every_module():
    block = Block()
    assert all(module.training for _, module in block.named_modules())
    assert block.eval() is block
    assert not any(module.training for _, module in block.named_modules())
    assert block.train() is block
    assert all(module.training for _, module in block.named_modules())


def test_zero_grad_forgets_all_gradients():
    block = Block()
    block(np.ones((4, 2), np.float32)).sum().backward()
    assert all(parameter.grad is not None for parameter in block.parameters())
    block.zero_grad()
    assert all(parameter.grad is None for parameter in block.parameters())


def test_astype_converts_parameters_and_buffers_and_keeps_identity_names_and_ties():
    net = Tied()
    table = net.table.weight
    net.norm = nn.BatchNorm(2)
    loss = net(np.array([1])).sum()
    assert net.astype(np.float64) is net
    assert net.head.weight is net.table.weight is table
    assert table.node.name == "table.weight"
    assert {array.dtype for array in net.state_dict().values()} == {np.dtype(np.float64)}
    with pytest.raises(RuntimeError, match="was updated after"):
        loss.backward()
    net(np.array([1])).sum().backward()
    assert table.grad.dtype == np.float64


def test_a_module_prints_as_a_tree_with_counts():
    net = nn.Module()
    net.size, net.notes, net._private = (2, 3), [1, 2], 4  # only the first is shown
    net.body = nn.Sequential(nn.Linear(40, 50, rng=generator()), nn.GELU(approximate="tanh"))
    net.last = nn.Parameter([1.0])
    net.eval()
    assert repr(net).splitlines() == [
        "Module(size=(2, 3))  2,051 parameters",
        "  body: Sequential()  2,050 parameters",
        "    body.0: Linear(in_features=40, out_features=50)  2,050 parameters",
        "    body.1: GELU(approximate='tanh')",
    ]
    single = nn.Module()
    single.x = nn.Parameter([1.0])
    assert repr(single) == "Module()  1 parameter"
