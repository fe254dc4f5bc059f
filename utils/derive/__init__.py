"""Derivations that are checked when they are written: each step attacked, then proved, sampled or assumed.

>>> import sympy as sp
>>> p = sp.Symbol("p", positive=True)
>>> Derivation("odds", p / (1 - p), domain={p: (0, 1)}).equals(1 / (1 / p - 1), because="divide by p").expr
1/(-1 + 1/p)
"""

from .errors import StepError, UnevaluableStep
from .steps import Derivation, Family, Step

__all__ = ["Derivation", "Family", "Step", "StepError", "UnevaluableStep"]
