"""The registry, printed: every operation with its rules as they stand in the source, and its domain in words.

    print(listing(80))              all of them, a table of derivatives
    print(describe("attention"))    one of them, with all that there is to say

Rules are read from the source of the module, where they stand beside the operation as `NAME.rules(...)`.
Where there is no source, as in a notebook, a rule is shown by its name and what it asks for. The table shows
formulas: what a rule returns, where that is one expression.
"""

import ast
import difflib
import functools
import inspect
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

from .. import arrays
from ..autograd import REGISTRY, ops
from ..autograd.domain import Choice, Values

NARROWEST = 40  # columns of a text
LEAST_OF_SUMMARY = 16  # columns; with less room beside the call, it stands below
CHOICES = {"axis": "one axis, or None for all", "some axis": "one axis", "axes": "one axis, several, or None"}


@dataclass(frozen=True)
class Operation:
    """What there is to say about one operation.

    name       as in "multiply"
    public     as users call it: "tg.multiply", or the name alone where it is not exported
    module     where it is defined
    signature  of its call, as in "(x, y)"
    summary    the first paragraph of its docstring
    kind       "primitive", "fused primitive" (it has a reference), "composite" (made of other operations)
    reference  the name of the function that defines a fused primitive, else None
    rules      name of an input, or "all" -> the rule's text
    formulas   the same names -> what the rule returns, as in "g * y"; its name, if that is no one expression
    domain     on which inputs it is tested, in words: a string for each case
    call       the operation itself
    """

    name: str
    public: str
    module: str
    signature: str
    summary: str
    kind: str
    reference: str | None
    rules: dict
    formulas: dict
    domain: list
    call: object


def operations():
    """An Operation for each in the registry, those of users included, in order of definition."""
    return [_operation(call) for call in REGISTRY.values()]


def _operation(call):
    name, primitive = call.__name__, getattr(call, "primitive", None)
    reference = primitive.reference if primitive else None
    rules = _rules(call) if primitive else {}
    return Operation(
        name=name,
        public=f"tg.{name}" if getattr(ops, name, None) is call else name,
        module=call.__module__,
        signature=str(inspect.signature(call)),
        summary=_paragraph(inspect.getdoc(call)),
        kind="composite" if not primitive else "fused primitive" if reference else "primitive",
        reference=reference.__name__ if reference else None,
        rules=rules,
        formulas={name: _formula(text, _given(primitive)[name][0]) for name, text in rules.items()},
        domain=[_case(call.domains.inputs, case) for case in call.domains.cases],
        call=call,
    )


def _paragraph(text):
    """The first paragraph of a docstring, on one line."""
    return " ".join((text or "").partition("\n\n")[0].split())


# Rules


def _rules(call):
    """The text of each rule, by the name of its input: as it is written in the source, if it is."""
    written = _written_rules(_source(sys.modules.get(call.__module__)))
    return {
        name: _as_written(rule, written.get((call.__name__, name), ())) or _named(rule, asks)
        for name, (rule, asks) in _given(call.primitive).items()
    }


def _given(primitive):
    """name -> (rule, what it asks for), the joint rule under "all"."""
    return {**primitive.by_input, **({"all": primitive.joint} if primitive.joint else {})}


@functools.lru_cache(maxsize=64)
def _written_rules(source):
    """(operation, input) -> [(text, its lines)], of every `operation.rules(input=...)` in a module."""
    found = {}
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id=operation), attr="rules"), keywords=keywords):
                for name, value in ((keyword.arg, keyword.value) for keyword in keywords):
                    lines = range(value.lineno, value.end_lineno + 1)
                    found.setdefault((operation, name), []).append((_segment(source, value), lines))
    return found


def _as_written(rule, candidates):
    """The text that is this rule's: two operations of a module may have one name, in different functions."""
    code = getattr(inspect.unwrap(rule), "__code__", None)
    for text, lines in candidates:
        if code and code.co_firstlineno in lines:
            return text
    return None


def _named(rule, asks):
    """A rule without source: its name, or for a lambda the parameters alone."""
    name = getattr(rule, "__name__", type(rule).__name__)
    return f"lambda {', '.join(['g', *asks])}: ..." if name == "<lambda>" else name


def _formula(text, rule):
    """What a rule of this text returns, without what stands around that: for a table of derivatives.

    `accelerated(lambda ..., "kernel")` is that lambda, computed in another way.
    """
    written = ast.parse(text, mode="eval").body
    match written:
        case ast.Call(func=ast.Name(id="accelerated"), args=[ast.Lambda() as inner, *_]):
            written = inner
    match written:
        case ast.Lambda(body=body) if ast.unparse(body) != "...":  # else it has no source
            return _segment(text, body)
        case ast.Name():
            return _returned(_body(rule)) or text
    return text


def _returned(source):
    """The expression that is all of a function, its docstring aside; None where there is more to it."""
    try:
        tree = ast.parse(source)
    except SyntaxError:  # a string in a nested function that begins further left than the function
        return None
    match tree.body:
        case [ast.FunctionDef(body=[*above, ast.Return(value=ast.expr() as value)])]:
            return _segment(source, value) if all(isinstance(line, ast.Expr) for line in above) else None
    return None


def _segment(source, node):
    """A part of the source as it is written there; over several lines, as it would be on one."""
    text = ast.get_source_segment(source, node)
    return ast.unparse(node) if "\n" in text else text


def _source(thing):
    """The source of a module or function, or "" where there is none."""
    try:
        return inspect.getsource(thing)
    except (OSError, TypeError):
        return ""


# Domains


def _case(inputs, case):
    """One case of a domain in words: the inputs with their shapes and values, then the attributes."""
    values = ", ".join(f"{name} {_values(v)}" for name, v in case.values.items())
    attributes = ", ".join(f"{name}: {_choices(choices)}" for name, choices in case.attrs.items())
    return "; ".join(part for part in (_shapes(inputs, case.shapes), values, attributes) if part)


def _shapes(inputs, shapes):
    if shapes is None:
        return "any shape" if len(inputs) == 1 else "any shapes that broadcast together"
    each = [shape.split() for shape in shapes.split(",")]
    names = [*inputs, *[""] * (len(each) - len(inputs))] if len(inputs) != 1 else inputs * len(each)
    return ", ".join(f"{name} {_shape(letters)}".strip() for name, letters in zip(names, each, strict=False))


def _shape(letters):
    if letters in (["*"], ["-"]):
        return {"*": "of any shape", "-": "left out"}[letters[0]]
    return f"({', '.join(letters)}{',' * (len(letters) == 1)})"


def _values(values):
    if values.kind == "bool":
        return "booleans"
    if values.kind == "index":
        low = f"-{values.high}" if values.low == Values.low else values.low
        return f"integers in [{low}, {values.high})"
    words = f"in [{values.low:g}, {values.high:g}]"
    if values.avoid:
        words += f" away from {' and '.join(f'{point:g}' for point in values.avoid)}"
    return words + " without near ties" * values.distinct


def _choices(choices):
    if isinstance(choices, Choice):
        return CHOICES[choices.of]
    if callable(choices):
        return "as the shapes allow"
    return " or ".join(map(_value, choices))


def _value(value):
    """An attribute's value, short: a slice as it is written, an array by its shape and dtype."""
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        return f"({', '.join(map(_value, value))}{',' * (len(value) == 1)})"
    if isinstance(value, slice):
        ends = [value.start, value.stop, *([value.step] if value.step else [])]
        return ":".join("" if n is None else str(n) for n in ends)
    if arrays.is_array(value):
        return f"an array {value.shape} of {value.dtype}"
    return repr(value)


# Text


def listing(width=80):
    """Every operation, its call and what it does, and below it its rules as formulas, g being the cotangent.

    The modules are the headings.

    Args:
        width: of the lines, in characters. Formulas are wrapped; a summary is cut off at "...".

    Raises:
        ValueError: a width of less than 40.
    """
    _require("listing", width)
    lines, by_module = [], {}
    for operation in operations():
        by_module.setdefault(operation.module, []).append(operation)
    for module, found in by_module.items():
        heading = _paragraph(getattr(sys.modules.get(module), "__doc__", None)) or module
        lines += ["", *textwrap.wrap(heading, width)]
        for operation in found:
            *above, call = _wrapped(f"{operation.public}{operation.signature}", width, 2)
            beside = len(call) + 2 + min(len(operation.summary), LEAST_OF_SUMMARY) <= width
            both = [f"{call}  {operation.summary}"] if beside else [call, f"{' ' * 6}{operation.summary}"]
            lines += [*above, *(_cut(line, width) for line in both)]
            how = ";  ".join(_how(operation))
            for part in [how] if len(how) <= width - 6 else _how(operation):
                lines += _wrapped(part, width, 6)
    closing = "`tinygen ops NAME` tells all of one: its rules, reference and domain."
    return "\n".join([*lines[1:], "", *textwrap.wrap(closing, width)])


def _how(operation):
    """Where gradients come from, in parts: below the call in a listing."""
    if operation.kind == "composite":
        return ["composite: differentiated through what it calls"]
    defined = [f"fused; defined by {operation.reference}"] if operation.reference else []
    rules = [f"{name}: {formula}" for name, formula in operation.formulas.items()]
    return [*defined, *(rules or ["no rule"])]


def _require(function, width):
    if width < NARROWEST:
        raise ValueError(
            f"{function}: expected a width of at least {NARROWEST}, got {width}; use a wider one"
        )


def _wrapped(text, width, indent):
    """Lines of at most `width`, broken at spaces alone; those after the first stand further in."""
    first, rest = " " * indent, " " * (indent + 4)
    return textwrap.wrap(text, width, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False)


def _cut(line, width):
    return line.rstrip() if len(line.rstrip()) <= width else f"{line[: width - 3]}..."


def describe(name, width=80):
    """Everything about one operation: its call, docstring, rules, reference and domain, and where it stands.

    Args:
        name: "multiply" or "tg.multiply"; where several have that name, all are told, ours first.
        width: of the lines that tell the domain; what is quoted from the source stands as it is there.

    Raises:
        ValueError: there is no such operation, and the message names the nearest; a width of less than 40.
    """
    _require("describe", width)
    short = name.removeprefix("tg.")
    found = [operation for operation in operations() if operation.name == short]
    if not found:
        names = sorted({operation.name for operation in operations()})
        near = difflib.get_close_matches(short, names, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "`tinygen ops` lists them all"
        raise ValueError(f"ops: expected an operation, got {name!r}; {hint}")
    return "\n\n\n".join(_description(operation, width) for operation in found)


def _description(operation, width):
    call, primitive = operation.call, getattr(operation.call, "primitive", None)
    parts = [f"{operation.public}{operation.signature}\n{operation.kind}, {_place(call)}"]
    if inspect.getdoc(call):
        parts.append(inspect.getdoc(call))
    if operation.rules:
        each = []
        for name, (rule, _) in _given(primitive).items():
            text = operation.rules[name]
            each += [f"{name}: {text}", textwrap.indent(_body(rule), "    ") if text.isidentifier() else ""]
        parts.append(_section("Rules, from the cotangent g of the result", each))
    if operation.reference:
        parts.append(_section(f"Definition, by {operation.reference}", [_body(primitive.reference)]))
    domain = [line for case in operation.domain or ["none is given"] for line in _wrapped(case, width - 4, 0)]
    parts.append(_section("Domain, on which it is tested", domain))
    return "\n\n".join(parts)


def _section(title, lines):
    return "\n".join([f"{title}:", *(textwrap.indent(line, "    ") for line in lines if line)])


def _body(function):
    return textwrap.dedent(_source(function)).rstrip()


def _place(call):
    """file:line of an operation's function, ours from the package on; its module where there is no file."""
    code = getattr(inspect.unwrap(call), "__code__", None)
    if not code:
        return f"in {call.__module__}"
    file, package = Path(code.co_filename), Path(__file__).parents[1]
    short = file.relative_to(package.parent).as_posix() if file.is_relative_to(package) else file
    return f"{short}:{code.co_firstlineno}"
