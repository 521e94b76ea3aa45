"""On which inputs an operation is defined, as plain data; the prover's kit turns it into strategies.

    log.domain(x=Values(0.1, 3))                                     elementwise, any shape
    matmul.domain("n k, k m")                                        two matrices that fit
    sum.domain(axis=AXES, keepdims=(False, True))                    any shape, and choices of attributes
    take.domain("n k, *", indices=Values(kind="index", high="n"))    integers in [-n, n)

A shape is written as sizes with spaces between: a letter is the same small size wherever it stands, a number
is itself, `*` is any shape, `*B` zero to two leading axes, the same wherever it stands. Shapes of several
inputs are separated by commas; `-` leaves an optional input out. Without a shape, the inputs are arrays that
broadcast together. Each call of `domain` adds a case.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Values:
    """The values of one input.

    low, high  the range, ends included; of kind "index", integers in [low, high): numbers or letters of sizes
    kind       "real", "index" or "bool"
    avoid      points where the derivative jumps: no value is drawn near them
    distinct   no two values of all such inputs are near each other (max and sort have kinks at ties)
    """

    low: float | str = -2.0
    high: float | str = 2.0
    kind: str = "real"
    avoid: tuple = ()
    distinct: bool = False


@dataclass(frozen=True)
class Choice:
    """An attribute that depends on the shapes: 'axis' (one or None), 'some axis', 'axes' (also several)."""

    of: str


AXIS, SOME_AXIS, AXES = Choice("axis"), Choice("some axis"), Choice("axes")


@dataclass(frozen=True)
class Case:
    """One kind of call: shapes, values by input, and for each attribute a tuple of choices, a Choice, or a
    function
    from the tuple of drawn shapes to a list of choices."""

    shapes: str | None
    values: dict
    attrs: dict


@dataclass
class Domain:
    """The cases of one operation; `add` is what `operation.domain(...)` calls."""

    name: str
    inputs: tuple
    cases: list = field(default_factory=list)

    def add(self, shapes=None, /, **settings):
        """Add a case; settings named after inputs are Values, the others are choices for attributes."""
        values = {name: settings.pop(name) for name in self.inputs if name in settings}
        self.cases.append(Case(shapes, values, settings))
