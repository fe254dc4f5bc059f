"""What is done to a side before it is checked: definitions put in, derivatives, limits and expectations opened."""

from collections.abc import Mapping
from typing import Any

import sympy as sp
from sympy.core.function import AppliedUndef
from sympy.stats.rv import RandomSymbol

from .clock import time_limit
from .errors import TimeLimitError, UnevaluableStep
from .expectation import KINDS, Expectation, open_expectation

__all__ = ["as_side", "entries", "evaluate_derivatives", "open_side", "substitute"]

_SECONDS = 5.0


def as_side(value: Any, what: str) -> Any:
    """Return one side of a step as a SymPy expression or an immutable matrix."""
    if isinstance(value, sp.MatrixBase):
        return sp.ImmutableMatrix(value)
    if isinstance(value, bool | str) or (not hasattr(value, "_sympy_") and isinstance(value, type)):
        raise TypeError(f"{what}: expected a SymPy expression, received {type(value).__name__} {value!r}")
    try:
        expr = sp.sympify(value, strict=True)
    except sp.SympifyError:
        raise TypeError(f"{what}: expected a SymPy expression, received {type(value).__name__} {value!r}") from None
    if isinstance(expr, sp.MatrixBase):
        return sp.ImmutableMatrix(expr)
    if not isinstance(expr, sp.Expr | sp.MatrixExpr):
        raise TypeError(f"{what}: expected a SymPy expression, received {type(expr).__name__} {value!r}")
    if expr.has(sp.nan, sp.zoo):
        raise ValueError(f"{what}: {expr} is not a number")
    if expr.has(sp.Float):
        numbers = sorted(map(str, expr.atoms(sp.Float)))
        raise ValueError(f"{what}: write exact numbers (Rational(1, 3), sqrt(2)), received the floats {numbers}")
    return expr


def substitute(side: Any, where: Mapping) -> Any:
    """Put the definitions in, chained ones too; a definition of f(x) holds for every argument."""
    if not where:
        return side
    names = {key for key in where if isinstance(key, sp.Symbol)}
    side = _map(side, lambda e: e.doit(deep=False) if set(e.variables) & names else e, sp.Derivative)
    for _ in range(len(where) + 1):
        before = side
        for key, value in where.items():
            if isinstance(key, AppliedUndef):
                rule = sp.Lambda(key.args, value)
                side = side.replace(key.func, lambda *args, rule=rule: rule(*args))
            else:
                side = side.subs(key, value)
        if side == before:
            return side
    raise ValueError(f"the definitions in `where` are circular: {list(where)}")


def open_side(side: Any) -> Any:
    """Return the side with matrices written out, expectations as integrals or sums, derivatives evaluated."""
    if isinstance(side, sp.MatrixExpr):
        try:
            side = side.as_explicit()
        except (ValueError, AttributeError):
            raise UnevaluableStep(f"{side} has no explicit shape: check it at sizes 2, 3, 4") from None
    side = _map(side, open_expectation, *KINDS)
    side = _map(side, lambda e: e.doit(), sp.Determinant, sp.Trace)
    side = _map(side, lambda e: e.doit() if e.has(sp.DiracDelta) else e, sp.Integral)
    loose = {v for v in side.atoms(RandomSymbol) if side.replace(Expectation, lambda *_: sp.Integer(0)).has(v)}
    if loose:
        raise ValueError(f"random symbols outside an expectation: {sorted(map(str, loose))}")
    return evaluate_derivatives(side)


def evaluate_derivatives(side: Any) -> Any:
    """Evaluate derivatives and limits, leaving integrals and sums alone."""
    return _map(side, _evaluate, sp.Derivative, sp.Subs, sp.Limit)


def entries(side: Any) -> list[sp.Expr]:
    """Return the expressions to compare: one, or a matrix's entries."""
    return list(side) if isinstance(side, sp.MatrixBase) else [side]


def _map(side: Any, change: Any, *kinds: type) -> Any:
    if not side.has(*kinds):
        return side
    if isinstance(side, sp.MatrixBase):
        return side.applyfunc(lambda e: _map(e, change, *kinds))
    return side.replace(lambda e: isinstance(e, kinds), change)


def _evaluate(expr: sp.Expr) -> sp.Expr:
    if isinstance(expr, sp.Derivative) and expr.expr.has(AppliedUndef) and isinstance(expr.expr, AppliedUndef):
        return expr
    try:
        with time_limit(_SECONDS):
            return expr.doit(deep=False)
    except (NotImplementedError, ValueError, TimeLimitError) as problem:
        raise UnevaluableStep(f"{expr} could not be evaluated: {problem or 'time is up'}") from None
