"""The prover's kit: check any gradient, draw inputs for any operation, hold it to the whole contract.

    tg.testing.gradcheck(softplus, x, order=2)
    test_softplus = tg.testing.contract(softplus)        # a test for pytest, driven by hypothesis

`gradcheck` needs NumPy alone; `contract` and the strategies need hypothesis: pip install "tinygen[test]".
"""

import importlib

from .gradcheck import GradientError, KinkError, gradcheck

__all__ = ["GradientError", "KinkError", "contract", "gradcheck", "strategies"]


def __getattr__(name):
    if name == "contract":
        return importlib.import_module(".contracts", __name__).contract
    if name == "strategies":
        return importlib.import_module(".strategies", __name__)
    raise AttributeError(f"tinygen.testing has no {name!r}; it has {', '.join(__all__)}")
