"""The registry printed: each operation once, its rules as they are written, its domain in words.

Also operations of a user, with a file and without one, as in a notebook.
"""

import numpy as np
import pytest

import tinygen as tg
from tinygen import REGISTRY
from tinygen.autograd.domain import Values
from tinygen.training.registry import describe, listing, operations

OURS = {key: call for key, call in REGISTRY.items() if key.startswith("tinygen.")}


def found(name):
    """The Operation of that name in tinygen itself."""
    [one] = [each for each in operations() if each.name == name and each.module.startswith("tinygen.")]
    return one


@pytest.fixture(autouse=True)
def registry_is_restored():
    before = dict(REGISTRY)
    yield
    REGISTRY.clear()
    REGISTRY.update(before)


def cell(source):
    """Run source that lies in no file, in a module that is none: what a notebook does. Its namespace."""
    names = {"__name__": "notebook", "tg": tg, "np": np}
    exec(source, names)
    return names


# operations


def test_every_operation_is_found_once():
    assert [each.call for each in operations()] == list(REGISTRY.values())
    assert len({(each.module, each.name) for each in operations()}) == len(REGISTRY)


def test_what_is_said_of_multiply():
    one = found("multiply")
    assert (one.public, one.module) == ("tg.multiply", "tinygen.autograd.ops.arithmetic")
    assert (one.signature, one.summary, one.kind) == ("(x, y)", "x * y.", "primitive")
    assert one.rules == {"x": "lambda g, y: g * y", "y": "lambda g, x: g * x"}
    assert one.domain == ["any shapes that broadcast together"] and one.reference is None


def test_each_rule_of_a_primitive_has_its_text():
    for each in operations():
        primitive = getattr(each.call, "primitive", None)
        given = {*primitive.by_input, *(["all"] if primitive.joint else [])} if primitive else set()
        assert set(each.rules) == given, each.name
        if each.module.startswith("tinygen."):
            assert not any(text.endswith(": ...") for text in each.rules.values()), each.name


def test_kinds():
    kinds = {name: found(name).kind for name in ("exp", "attention", "conv2d")}
    assert kinds == {"exp": "primitive", "attention": "fused primitive", "conv2d": "composite"}
    assert found("attention").reference == "_attention_reference"
    assert found("conv2d").rules == {} and found("convolve").public == "convolve"


def test_rules_that_are_functions_are_named_and_joint_ones_are_called_all():
    assert found("matmul").rules == {"x": "_matmul_x", "y": "_matmul_y"}
    assert found("attention").rules == {"all": "_attention_all"}
    assert found("tanh").rules == {"x": 'accelerated(lambda g, out: g - g * (out * out), "tanh_backward")'}


def test_a_rule_over_several_lines_is_put_on_one():
    text = found("convolve_image").rules["g"]
    assert text == "lambda h, w, g_shape, geometry: _convolve_to(h, w, geometry, g_shape)"
    assert all("\n" not in text for each in operations() for text in each.rules.values())


@pytest.mark.parametrize(
    "name, domain",
    [
        ("exp", "any shape"),
        ("log", "any shape; x in [0.3, 3]"),
        ("abs", "any shape; x in [-2, 2] away from 0"),
        ("max", "x (n, m); x in [-2, 2] without near ties; axis: one axis, several, or None, "),
        ("where", "any shapes that broadcast together; condition booleans"),
        ("matmul", "x (*B, n, k), y (*B, k, m)"),
        ("take", "x (n, m), indices (3,); indices integers in [-n, n); axis: 0"),
        ("token_cross_entropy", "logits (n, C), targets (n,); targets integers in [0, C); "),
        ("concatenate", "xs (n, m), xs (n, m); axis: 0 or 1 or -1"),
        ("dropout", "x of any shape, mask left out; p: 0.1 or 0.5"),
        ("reshape", "any shape; shape: as the shapes allow"),
        ("getitem", "x (4, 5); index: 1 or (:, -2) or 3:0:-1 or "),
    ],
)
def test_domains_in_words(name, domain):
    assert found(name).domain[0].startswith(domain)


def test_every_domain_has_words_for_each_of_its_cases():
    for each in operations():
        assert len(each.domain) == len(each.call.domains.cases)
        assert all(words and "\n" not in words for words in each.domain), each.name


# operations of a user


def test_an_operation_of_this_file_shows_its_own_rule_and_not_its_namesakes():
    def one():
        @tg.primitive
        def scale(x):
            return 2 * x

        scale.rules(x=lambda g: 2 * g)
        return scale

    def other():
        @tg.primitive
        def scale(x):
            return 3 * x

        scale.rules(x=lambda g: 3 * g)
        return scale

    for make, text in ((one, "lambda g: 2 * g"), (other, "lambda g: 3 * g")):
        call = make()
        [operation] = [each for each in operations() if each.call is call]
        assert operation.rules == {"x": text} and operation.public == "scale"


def test_an_operation_without_source_is_listed_and_described():
    names = cell(
        "@tg.primitive\n"
        "def twice(x):\n"
        "    return 2 * x\n"
        "twice.rules(x=lambda g: 2 * g)\n"
        "def back(g, y): return g * y\n"
        "@tg.primitive\n"
        "def times(x, y, /, power=np.ones(2)):\n"
        "    'Both.'\n"
        "    return x * y\n"
        "times.rules(x=back, y=lambda g, x: g * x)\n"
        "@tg.composite\n"
        "def four(x): return twice(twice(x))\n"
    )
    names["times"].domain("n, n", x=Values(avoid=(0.0, 1.0)), power=(np.ones(3), 1))
    rules = {each.name: each.rules for each in operations()}
    assert rules["twice"] == {"x": "lambda g: ..."} and rules["four"] == {}
    assert rules["times"] == {"x": "back", "y": "lambda g, x: ..."}
    assert "\n\nnotebook\n  twice(x)\n      x: lambda g: ...\n" in listing(80)
    text = describe("times")
    assert text.startswith("times(x, y, /, power=array([1., 1.]))\nprimitive, <string>:6\n\nBoth.\n")
    assert "x (n,), y (n,); x in [-2, 2] away from 0 and 1; power: an array (3,) of float64 or 1" in text
    assert "none is given" in describe("twice")


def test_an_operation_without_rules_says_so():
    cell("@tg.primitive\ndef thrice(x): return 3 * x")
    assert "  thrice(x)\n      no rule" in listing(80)


def test_a_rule_may_be_any_callable():
    class Rule:
        def __call__(self, g):
            return g

    @tg.primitive
    def same(x):
        return x + 0

    same.rules(x=Rule())
    assert [each.rules for each in operations() if each.name == "same"] == [{"x": "Rule"}]
    assert "x: Rule" in describe("same")


# text


def test_the_listing_has_two_lines_an_operation_under_its_modules_heading():
    lines = listing(100).splitlines()
    start = lines.index(
        "Arithmetic, powers, exponentials and comparisons: elementwise, broadcasting as NumPy does."
    )
    assert lines[start + 1 : start + 3] == ["  tg.add(x, y)  x + y.", "      x: lambda g: g;  y: lambda g: g"]
    names = [
        line.split("(")[0].strip().removeprefix("tg.") for line in lines if line[:2] == "  " != line[2:4]
    ]
    assert sorted(names) == sorted(each.name for each in operations())


@pytest.mark.parametrize("width", [40, 80, 120])
def test_the_listing_fits_its_width(width):
    lines = listing(width).splitlines()
    assert max(map(len, lines)) <= width
    assert any(line.endswith("...") and len(line) == width for line in lines)


def test_a_listing_that_is_too_narrow_is_an_error():
    with pytest.raises(ValueError, match="listing: expected a width of at least 40, got 39; use a wider one"):
        listing(39)


def test_fused_and_composite_operations_say_what_they_are_made_of():
    text = listing(120)
    assert "      fused from _attention_reference;  all: _attention_all\n" in text
    assert "      composite: by the rules of what it calls\n" in text


def test_describe_multiply_as_a_whole():
    text = describe("multiply")
    first, second, *rest = text.splitlines()
    assert first == "tg.multiply(x, y)"
    assert second.startswith("primitive, ") and "arithmetic.py:" in second
    assert rest == [
        "",
        "x * y.",
        "",
        "Rules, from the cotangent g of the result:",
        "    x: lambda g, y: g * y",
        "    y: lambda g, x: g * x",
        "",
        "Domain, on which it is tested:",
        "    any shapes that broadcast together",
    ]
    assert describe("tg.multiply") == text


def test_describe_a_fused_operation_shows_reference_and_rule():
    text = describe("attention")
    assert text.startswith("tg.attention(q, k, v, mask=None, *, causal=False, scale=None)\nfused primitive, ")
    assert "Definition, by _attention_reference:\n    def _attention_reference(q, k, v, mask=None" in text
    assert "    all: _attention_all\n        def _attention_all(g, q, k, v, mask" in text
    assert "Raises:\n    ValueError: sizes that do not match." in text


@pytest.mark.parametrize("name", sorted({call.__name__ for call in OURS.values()}))
def test_every_operation_can_be_described(name):
    text = describe(name)
    assert text.splitlines()[0].endswith(f"{name}{found(name).signature}")
    assert "none is given" not in text


@pytest.mark.parametrize(
    "name, message",
    [
        ("mutliply", "describe: expected an operation, got 'mutliply'; did you mean multiply"),
        (
            "tg.sofmax",
            "describe: expected an operation, got 'tg.sofmax'; did you mean softmax or log_softmax",
        ),
        ("!", "describe: expected an operation, got '!'; `listing` tells them all"),
    ],
)
def test_an_unknown_operation_is_an_error_that_names_the_nearest(name, message):
    with pytest.raises(ValueError, match=message):
        describe(name)
