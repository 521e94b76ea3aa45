"""The registry printed: each operation once, its rules as they are written, its domain in words.

Also operations of a user, with a file and without one, as in a notebook.
"""

import re
import sys
import types
from unittest import mock

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
def registry_of_our_own():
    """Without what other tests have registered; and restored."""
    before = dict(REGISTRY)
    for name in before:
        if not name.startswith("tinygen."):
            del REGISTRY[name]
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


@pytest.mark.parametrize("name", ["take_along_axis", "embedding", "matmul", "einsum", "group_norm"])
def test_a_summary_is_a_whole_paragraph(name):
    summary, text = found(name).summary, tg.REGISTRY[f"{found(name).module}.{name}"].__doc__
    assert summary.endswith((".", ")")) and "\n" not in summary and "  " not in summary
    assert len(summary) > len(text.splitlines()[0]), "more than the first line"
    assert "Raises" not in summary


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


@pytest.mark.parametrize(
    "name, formulas",
    [
        ("multiply", {"x": "g * y", "y": "g * x"}),
        ("tanh", {"x": "g - g * (out * out)"}),
        ("bce_with_logits", {"logits": "g * (sigmoid(logits) - targets)", "targets": "-(g * logits)"}),
        ("convolve_image", {"g": "_convolve_to(h, w, geometry, g_shape)"}),
        ("norm", {"x": "absorbing_product(x, unreduced(guarded_quotient(g, out), x.shape, axis))"}),
        ("matmul", {"x": "_matmul_x", "y": "_matmul_y"}),
        ("mean", {"x": "_mean_x"}),
        ("conv2d", {}),
    ],
)
def test_formulas_are_what_a_rule_returns_where_that_is_one_expression(name, formulas):
    assert formulas.items() <= found(name).formulas.items() and bool(formulas) == bool(found(name).formulas)


def test_no_formula_shows_what_stands_around_it():
    formulas = {
        each.name: list(each.formulas.values()) for each in operations() if each.call in OURS.values()
    }
    assert any(formulas.values())
    for name, texts in formulas.items():
        assert not any("lambda" in text or "accelerated(" in text or "\n" in text for text in texts), name


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
    assert "\n      x: back;  y: lambda g, x: ...\n" in listing(80)
    text = describe("times", 120)
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
    assert "  same(x)\n      x: Rule\n" in listing(80)
    assert [each.rules for each in operations() if each.name == "same"] == [{"x": "Rule"}]
    assert "x: Rule" in describe("same")


def test_a_function_that_is_no_single_expression_is_named():
    def nothing(g):
        return

    def text_further_left(g):
        return g + len("""
""")

    def steps(g):
        h = g + 0
        return h + 0

    def documented(g):
        """As it is."""
        return g + 0

    def passed(x):
        return x + 0

    shown = []
    for rule in (nothing, text_further_left, steps, documented):
        call = tg.primitive(passed)
        call.rules(x=rule)
        shown += [each.formulas["x"] for each in operations() if each.call is call]
    assert shown == ["nothing", "text_further_left", "steps", "g + 0"]


# text


def test_the_listing_has_an_operation_and_its_rules_under_its_modules_heading():
    lines = listing(100).splitlines()
    start = lines.index(
        "Arithmetic, powers, exponentials and comparisons: elementwise, broadcasting as NumPy does."
    )
    assert lines[start + 1 : start + 3] == ["  tg.add(x, y)  x + y.", "      x: g;  y: g"]
    names = [
        line.split("(")[0].strip().removeprefix("tg.") for line in lines if line[:2] == "  " != line[2:4]
    ]
    assert sorted(names) == sorted(each.name for each in operations())


@pytest.mark.parametrize("width", [40, 80, 120])
def test_the_listing_fits_its_width(width):
    lines = listing(width).splitlines()
    assert max(map(len, lines)) <= width
    assert any(line.endswith("...") and len(line) == width for line in lines)
    assert listing(width).endswith("and domain.")


def test_the_listing_cuts_summaries_and_wraps_everything_else():
    def squeezed(text):
        return "".join(text.split())

    whole, narrow = listing(1000), squeezed(listing(60))
    assert "..." not in whole.replace("(...", "").replace("[...", "").replace(", ...", "")
    for each in operations():
        assert squeezed(f"{each.public}{each.signature}") in narrow, each.name
        for name, formula in each.formulas.items():
            assert squeezed(f"{name}: {formula}") in narrow, each.name
    for line in (
        "      x: absorbing_quotient(g, y)",
        "      y: -absorbing_product(absorbing_quotient(g, y), out)",
    ):
        assert line in listing(80).splitlines(), "each rule has its line where they do not fit on one"


def test_a_summary_without_room_beside_the_call_stands_below():
    at = "  tg.conv2d(x, weight, bias=None, *, stride=1, padding=0, dilation=1, groups=1)"
    lines = listing(80).splitlines()
    assert lines[lines.index(at) + 1].startswith("      ") and not lines[lines.index(at) + 1].endswith(")")
    assert "composite" in lines[lines.index(at) + 2]


def test_the_listing_ends_with_the_way_to_more_and_its_headings_are_whole():
    text = listing(80)
    assert text.endswith("\n\n`tinygen ops NAME` tells all of one: its rules, reference and domain.")
    module = types.ModuleType("headed", "A heading over\ntwo lines.\n\nAnd more.")
    module.__dict__.update(tg=tg)
    exec("@tg.primitive\ndef f(x): return x", module.__dict__)
    with mock.patch.dict(sys.modules, headed=module):
        assert "\n\nA heading over two lines.\n  f(x)\n" in listing(80)


def test_a_listing_that_is_too_narrow_is_an_error():
    with pytest.raises(ValueError, match="listing: expected a width of at least 40, got 39; use a wider one"):
        listing(39)


def test_fused_and_composite_operations_say_what_they_are_made_of():
    text = listing(120)
    assert "      fused; defined by _attention_reference;  all: _attention_all\n" in text
    assert "      composite: differentiated through what it calls\n" in text


def test_describe_multiply_as_a_whole():
    text = describe("multiply")
    first, second, *rest = text.splitlines()
    assert first == "tg.multiply(x, y)"
    assert re.fullmatch(r"primitive, tinygen/autograd/ops/arithmetic\.py:\d+", second)
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


def test_describe_names_the_whole_path_of_a_users_file():
    @tg.primitive
    def mine(x):
        return x

    assert f"primitive, {__file__}:" in describe("mine")


@pytest.mark.parametrize("width", [40, 60, 200])
def test_describe_wraps_the_domain(width):
    text = describe("getitem", width).partition("tested:\n")[2]
    lines = text.splitlines()
    assert max(map(len, lines)) <= width and all(line.startswith("    ") for line in lines)
    assert "".join(text.split()) == "".join("".join(found("getitem").domain).split())
    assert len([line for line in lines if line[4] != " "]) == 2, "two cases"


def test_a_description_that_is_too_narrow_is_an_error():
    with pytest.raises(ValueError, match="describe: expected a width of at least 40, got 39; use a wider"):
        describe("exp", 39)


@pytest.mark.parametrize("name", sorted({call.__name__ for call in OURS.values()}))
def test_every_operation_can_be_described(name):
    text = describe(name)
    assert text.splitlines()[0].endswith(f"{name}{found(name).signature}")
    assert "none is given" not in text


@pytest.mark.parametrize(
    "name, message",
    [
        ("mutliply", "ops: expected an operation, got 'mutliply'; did you mean multiply"),
        ("tg.sofmax", "ops: expected an operation, got 'tg.sofmax'; did you mean softmax or log_softmax"),
        ("!", "ops: expected an operation, got '!'; `tinygen ops` lists them all"),
    ],
)
def test_an_unknown_operation_is_an_error_that_names_the_nearest(name, message):
    with pytest.raises(ValueError, match=message):
        describe(name)
