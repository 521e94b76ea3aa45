"""What the README shows works as it stands: its code runs, its links lead somewhere, its commands are two."""

import re
from pathlib import Path

import numba
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.M | re.S)


def test_the_taste_of_the_engine():
    names = {"__name__": "readme"}
    exec(blocks("python")[0], names)
    x = np.array([[1.0, 2.0], [3.0, 4.0]])
    g = 1 - np.tanh(x @ x.T) ** 2
    np.testing.assert_allclose(np.asarray(names["x"].grad), (g + g.T) @ x, rtol=1e-3, atol=1e-6)
    assert names["third"](0.7).item() == pytest.approx(-3 * np.sin(0.7) - 0.7 * np.cos(0.7), rel=1e-5)
    p = (
        np.exp(np.arange(3.0)) / np.exp(np.arange(3.0)).sum()
    )  # f = L ** 2 with dL = p, so H = 2 p p^T + 2 L dp
    lse = np.log(np.exp(np.arange(3.0)).sum())
    hessian = 2 * np.outer(p, p) + 2 * lse * (np.diag(p) - np.outer(p, p))
    np.testing.assert_allclose(names["Hv"].numpy(), hessian @ np.ones(3))
    np.testing.assert_allclose(names["pullback"](np.array(1.0)).numpy(), 2 * lse * p)
    names["test_softplus"]()


def test_links_lead_somewhere():
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    assert len(links) > 10
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_what_looks_like_a_variable_is_one():
    """And nothing is left to fill in."""
    sources = [path for folder in ("tinygen", "tests") for path in (ROOT / folder).rglob("*.py")]
    text = "".join(path.read_text() for path in sources)
    for name in set(re.findall(r"\b[A-Z]{2,}_[A-Z_]{3,}\b", README)):
        numba_has_it = name.startswith("NUMBA_") and hasattr(numba.config, name.removeprefix("NUMBA_"))
        assert numba_has_it or f'"{name}"' in text, name


def test_the_two_commands_stand_in_blocks_of_their_own():
    assert [block.strip() for block in blocks("bash")] == [
        'pip install ".[app]" && tinygen tour',
        'pip install ".[test]" && pytest',
    ]
