"""The house is held to its plan: who may import whom, who may name NumPy, and what stands at the top level.

Everything is read with `ast`, nothing is imported. An import may stand anywhere in a file, and may be a call
with a constant name: `import_module("x")`, `__import__("x")`, `optional("x")`.
"""

import ast
import configparser
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# A part of the house is the longest of these names that begins a module's own. A file imports from floors
# below its own, or from its own. The package itself gathers the public face of floors 0 to 3 for those above.
FLOORS = {
    "tinygen.arrays": 0,
    "tinygen.configuration": 0,
    "tinygen.data": 0,
    "tinygen.durable": 0,
    "tinygen.extras": 0,
    "tinygen.kernels": 1,
    "tinygen.autograd": 2,
    "tinygen.nn": 3,
    "tinygen.optim": 3,
    "tinygen.testing": 3,
    "tinygen": 3.5,
    "tinygen.metrics": 4,
    "tinygen.models": 4,
    "tinygen.cli": 5,
    "tinygen.__main__": 5,
    "tinygen.training": 5,
}

# A lower floor that some do not reach down to: they call operations, and operations call kernels.
OUT_OF_REACH = {("tinygen.nn", "tinygen.kernels"), ("tinygen.models", "tinygen.kernels")}

# Who may import what from outside; a library that is not here is a decision to take first. Empty: everybody.
OUTSIDE = {
    "numpy": (),
    "numba": ("tinygen.kernels",),
    "llvmlite": ("tinygen.kernels",),
    "cupy": ("tinygen.arrays",),
    "hypothesis": ("tinygen.testing",),
    "sklearn": ("tinygen.data",),
    "pooch": ("tinygen.data",),
    "PIL": ("tinygen.data", "tinygen.training"),
    "sacrebleu": ("tinygen.metrics",),
    "matplotlib": ("tinygen.training",),
    "safetensors": ("tinygen.training",),
    "tqdm": ("tinygen.training",),
}
DISTRIBUTIONS = {
    "sklearn": "scikit-learn",
    "PIL": "pillow",
    "cupy": "cupy-cuda12x",
    "llvmlite": "numba",
}  # where the name differs

# The mathematics of a tensor never names NumPy. Operations do not import it; layers and models may make raw
# arrays with it (initial weights, noise), so these names only; initial weights may take a matrix apart.
NO_NUMPY = ("tinygen.autograd.ops",)
RAW_ARRAYS_ONLY = ("tinygen.nn", "tinygen.models")
RAW_ARRAYS = {
    *("array", "asarray", "zeros", "ones", "empty", "full", "eye", "arange", "linspace", "random"),
    *("ndarray", "generic", "dtype", "floating", "integer", "bool_", "errstate"),
    *("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8"),
}
MORE_RAW_ARRAYS = {
    "tinygen.nn.init": {"linalg", "sign", "diag"},
    # what is drawn has no gradient
    "tinygen.nn.distributions": {
        *("broadcast_shapes", "clip", "exp", "expm1", "finfo", "log", "log1p", "maximum", "rint", "where")
    },
    "tinygen.models.likelihoods": {"rint"},
    # tables that are computed once, and what happens to logits when nothing is learnt any more
    "tinygen.models.positions": {"outer", "sin", "cos", "abs"},
    "tinygen.models.beam": {
        *("argsort", "broadcast_to", "concatenate", "flatnonzero", "inf", "ix_", "nonzero", "partition"),
        *("repeat", "stack", "take_along_axis", "where"),
    },
    "tinygen.models.sampling": {
        *("exp", "where", "unique", "argsort", "cumsum", "searchsorted", "concatenate")
    },
}

TOP_LEVEL = {"tinygen", "benchmarks", "tests", "setup.cfg"}
BESIDE_IT = {
    "README.md",
    "LICENSE",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "pyproject.toml",
    ".ci",
    ".gitignore",
    "docs",
}


# The reader


def modules(root):
    """Dotted name -> path of each Python file of the package under `root`."""
    found = {}
    for path in sorted((root / "tinygen").rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def part_of(module, parts):
    """The longest of `parts` that is the module or one of its packages; None when there is none."""
    return max((p for p in parts if module == p or module.startswith(p + ".")), key=len, default=None)


def floor_of(module):
    """The floor that a module stands on; None for a file of no known part, a new one beside arrays.py."""
    part = part_of(module, FLOORS)
    return None if part == "tinygen" != module else FLOORS.get(part)


def imports(tree, module, known, is_package):
    """(line, dotted name) of each import of a file; `from a import b` is a.b if that is a module, else a."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = _absolute("." * node.level + (node.module or ""), module, is_package)
            for alias in node.names:
                yield node.lineno, f"{base}.{alias.name}" if f"{base}.{alias.name}" in known else base
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name = getattr(node.func, "attr", getattr(node.func, "id", None))
            if name in ("import_module", "__import__", "optional") and isinstance(node.args[0].value, str):
                yield node.lineno, _absolute(node.args[0].value, module, is_package)


def _absolute(name, module, is_package):
    """A dotted name without leading dots: `..nn` in tinygen.models.vae is tinygen.nn."""
    rest = name.lstrip(".")
    level = len(name) - len(rest)
    if not level:
        return name
    above = module.split(".")
    return ".".join([*above[: len(above) - level + is_package], *filter(None, [rest])])


def numpy_names(tree):
    """(line, name) of each name of NumPy that a file uses: np.exp, or `from numpy import exp`."""
    aliases = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name == "numpy":
                    aliases.add(alias.asname or "numpy")
                elif alias.name.startswith("numpy."):
                    yield node.lineno, alias.name.split(".")[1]
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module.split(".")[0] == "numpy":
            for alias in node.names:
                yield node.lineno, [*node.module.split("."), alias.name][1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in aliases:
            yield node.lineno, node.attr


def violations(root):
    """Everything in the package under `root` that breaks the plan, a line each: `file:line: what`."""
    known, found = modules(root), []
    for module, path in known.items():
        tree, here = ast.parse(path.read_text()), path.relative_to(root)
        mine = floor_of(module)
        if mine is None:
            found.append(f"{here}:1: stands on no floor; give {module} one in FLOORS")
            continue
        if not ast.get_docstring(tree):
            found.append(f"{here}:1: has no docstring; say what the file is")
        for line, name in imports(tree, module, known, path.name == "__init__.py"):
            top = name.split(".")[0]
            if top == "tinygen":
                theirs = floor_of(name)
                if theirs is None:
                    found.append(f"{here}:{line}: imports {name}, which stands on no floor")
                elif theirs > mine:
                    found.append(f"{here}:{line}: floor {mine} imports {name} of floor {theirs}")
                elif (part_of(module, FLOORS), part_of(name, FLOORS)) in OUT_OF_REACH:
                    found.append(f"{here}:{line}: imports {name}; call an operation instead")
            elif top not in sys.stdlib_module_names:
                if top not in OUTSIDE:
                    found.append(f"{here}:{line}: imports {top}, which no part of the house may")
                elif OUTSIDE[top] and not part_of(module, OUTSIDE[top]):
                    found.append(f"{here}:{line}: imports {top}; only {', '.join(OUTSIDE[top])} may")
                elif top == "numpy" and part_of(module, NO_NUMPY):
                    found.append(f"{here}:{line}: an operation imports numpy; compute with arrays.of(x)")
        if part_of(module, RAW_ARRAYS_ONLY):
            allowed = RAW_ARRAYS | MORE_RAW_ARRAYS.get(module, set())
            for line, name in numpy_names(tree):
                if name not in allowed:
                    found.append(f"{here}:{line}: np.{name}; the mathematics of a tensor is operations")
    return found


# The house


def test_every_file_imports_only_what_its_floor_may():
    assert len(modules(ROOT)) > 20
    assert violations(ROOT) == []


def test_a_library_that_may_be_imported_is_declared():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    lines = [config["options"]["install_requires"], *config["options.extras_require"].values()]
    declared = {line.split(">")[0].strip() for lines in lines for line in lines.splitlines()}
    assert {DISTRIBUTIONS.get(name, name) for name in OUTSIDE} <= declared


def test_the_top_level_is_fixed():
    assert top_level(ROOT) >= TOP_LEVEL
    assert top_level(ROOT) <= TOP_LEVEL | BESIDE_IT


def top_level(root):
    """What git keeps at the top; in a tree without git, what lies there and .gitignore does not name."""
    git = subprocess.run(["git", "ls-files"], cwd=root, capture_output=True, text=True, check=False)
    if git.returncode == 0 and git.stdout:
        return {line.split("/")[0] for line in git.stdout.splitlines()}
    ignored = [line.strip("/") for line in (root / ".gitignore").read_text().split()]
    return {
        path.name
        for path in root.iterdir()
        if not any(fnmatch(path.name, pattern) for pattern in [".git", *ignored])
    }


@pytest.mark.parametrize("folder", ["benchmarks", "tests"])
def test_every_file_beside_the_package_says_what_it_is(folder):
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    assert [str(path) for path in files if not ast.get_docstring(ast.parse(path.read_text()))] == []


@pytest.mark.parametrize(
    "statement", ["import tinygen", "import tinygen as tg; tg.nn, tg.optim, tg.models, tg.metrics"]
)
def test_importing_brings_in_nothing_heavy(statement):
    heavy = (
        "numba",
        "llvmlite",
        "cupy",
        "matplotlib",
        "sklearn",
        "scipy",
        "hypothesis",
        "torch",
        "tqdm",
        "safetensors",
    )
    code = f"{statement}; import sys; print(*[name for name in {heavy} if name in sys.modules])"
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert answer.stdout.split() == []


# The reader itself

SOUND = {
    "tinygen/__init__.py": "from . import arrays\nfrom .autograd import *",
    "tinygen/arrays.py": "import sys\nimport numpy as np\nimport cupy",
    "tinygen/kernels/__init__.py": "from ..arrays import of",
    "tinygen/kernels/fast.py": "import numba\nfrom . import thing",
    "tinygen/autograd/__init__.py": "from .ops import exp",
    "tinygen/autograd/ops/__init__.py": "from ... import arrays, kernels\nfrom . import exp",
    "tinygen/autograd/ops/exp.py": "import math",
    "tinygen/nn/__init__.py": "import numpy as np\nfrom .. import autograd\nx = np.zeros(3)",
    "tinygen/nn/init.py": "import numpy as np\nq = np.linalg.qr",
    "tinygen/testing/__init__.py": "import hypothesis\nx = import_module('.gradcheck', __name__)",
    "tinygen/models/vae.py": "import tinygen as tg\nfrom ..nn import layers",
    "tinygen/training/__init__.py": "import matplotlib.pyplot\nfrom ..models.vae import VAE",
    "tinygen/cli.py": "from . import __version__\nfrom .training import loop",
}


def tree(folder, files):
    """Write a small house: path -> its code, to which a docstring is added."""
    for name, code in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code if code.startswith("#") else f'"""A file."""\n{code}\n')
    return folder


def test_the_reader_finds_nothing_in_a_sound_house(tmp_path):
    assert violations(tree(tmp_path, SOUND)) == []


PLANTED = {
    "an upward import": (
        "tinygen/kernels/bad.py",
        "from ..autograd import engine",
        "floor 1 imports tinygen.autograd",
    ),
    "an absolute one": (
        "tinygen/autograd/bad.py",
        "import tinygen.nn",
        "floor 2 imports tinygen.nn of floor 3",
    ),
    "inside of a function": (
        "tinygen/arrays.py",
        "def f():\n    from . import kernels",
        "floor 0 imports tinygen.kernels",
    ),
    "through the face": ("tinygen/nn/bad.py", "import tinygen as tg", "floor 3 imports tinygen of floor 3.5"),
    "from a package": (
        "tinygen/nn/__init__.py",
        "from ..models.vae import VAE",
        "floor 3 imports tinygen.models.vae",
    ),
    "a kernel in a model": (
        "tinygen/models/bad.py",
        "from ..kernels import fast",
        "imports tinygen.kernels.fast; call",
    ),
    "a kernel in a layer": (
        "tinygen/nn/bad.py",
        "from .. import kernels",
        "imports tinygen.kernels; call an operation",
    ),
    "numba elsewhere": (
        "tinygen/optim.py",
        "from numba import njit",
        "imports numba; only tinygen.kernels may",
    ),
    "cupy elsewhere": ("tinygen/data/bad.py", "import cupy as cp", "imports cupy; only tinygen.arrays may"),
    "hypothesis elsewhere": ("tinygen/nn/bad.py", "import hypothesis.strategies", "only tinygen.testing may"),
    "a quiet import": (
        "tinygen/models/bad.py",
        "x = importlib.import_module('torch')",
        "imports torch, which no part",
    ),
    "an optional import": ("tinygen/nn/bad.py", "x = optional('sklearn.datasets')", "only tinygen.data may"),
    "an unknown library": ("tinygen/metrics/bad.py", "import scipy.linalg", "imports scipy, which no part"),
    "numpy in an operation": ("tinygen/autograd/ops/bad.py", "import numpy", "an operation imports numpy"),
    "from numpy there": (
        "tinygen/autograd/ops/bad.py",
        "from numpy import exp",
        "an operation imports numpy",
    ),
    "mathematics in a layer": (
        "tinygen/nn/bad.py",
        "import numpy as np\ny = np.exp(1)",
        "bad.py:3: np.exp; the",
    ),
    "under another name": (
        "tinygen/models/bad.py",
        "import numpy as num\ny = num.tanh(1)",
        "np.tanh; the mathematics",
    ),
    "from numpy": ("tinygen/models/bad.py", "from numpy import einsum", "np.einsum; the mathematics"),
    "numpy.linalg": ("tinygen/models/bad.py", "import numpy.linalg as la", "np.linalg; the mathematics"),
    "no docstring": ("tinygen/models/bad.py", "# nothing", "has no docstring"),
    "no floor": ("tinygen/bad.py", "x = 1", "stands on no floor"),
}


@pytest.mark.parametrize("path, code, message", PLANTED.values(), ids=PLANTED)
def test_the_reader_finds_what_is_planted(tmp_path, path, code, message):
    found = violations(tree(tmp_path, SOUND | {path: code}))
    assert len(found) == 1, found
    assert found[0].startswith(f"{path}:")
    assert message in found[0]
