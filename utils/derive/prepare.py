"""What is done to a side before it is checked: definitions put in, derivatives, limits and expectations opened."""

from collections.abc import Mapping
from typing import Any

import sympy as sp
from sympy.core.function import AppliedUndef
from sympy.stats.rv import RandomSymbol
from sympy.stats.symbolic_probability import Covariance, Expectation, Moment, Probability, Variance

from .clock import time_limit
from .errors import TimeLimitError, UndefinedPoint, UnevaluableStep

__all__ = ["as_side", "entries", "evaluate_derivatives", "open_side", "substitute"]

_SECONDS = 5.0


def as_side(value: Any, what: str) -> Any:
    """Return one side of a step as a SymPy expression or an immutable matrix."""
    if isinstance(value, sp.MatrixBase):
        return sp.ImmutableMatrix(value)
    if isinstance(value, bool | str) or not hasattr(value, "_sympy_") and isinstance(value, type):
        raise TypeError(f"{what}: expected a SymPy expression, received {type(value).__name__} {value!r}")
    try:
        expr = sp.sympify(value, strict=True)
    except sp.SympifyError:
        raise TypeError(
            f"{what}: expected a SymPy expression, received {type(value).__name__} {value!r}"
        ) from None
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
    side = _map(side, _open_expectation, Expectation, Variance, Covariance, Probability, Moment)
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


def _open_expectation(expr: sp.Expr) -> sp.Expr:
    if isinstance(expr, Variance):
        inner = expr.args[0]
        return _mean(inner**2) - _mean(inner) ** 2
    if isinstance(expr, Covariance):
        first, second = expr.args[:2]
        return _mean(first * second) - _mean(first) * _mean(second)
    if isinstance(expr, Expectation) and len(expr.args) == 1:
        return _mean(expr.args[0])
    try:
        return expr.rewrite(sp.Integral)
    except (NotImplementedError, ValueError) as problem:
        raise UnevaluableStep(f"{expr} could not be written as an integral or sum: {problem}") from None


def _mean(inner: sp.Expr) -> sp.Expr:
    """The expectation as an integral or sum over the independent random symbols in it."""
    found = inner
    for variable in sorted(inner.atoms(RandomSymbol), key=str):
        space = variable.pspace
        distribution = getattr(space, "distribution", None)
        if distribution is None or distribution.atoms(RandomSymbol):
            raise UnevaluableStep(f"{variable} is not independent of the others: only independent ones are known")
        plain = variable.symbol
        found = found.xreplace({variable: plain})
        if space.is_Finite:
            density = dict(space.distribution.dict) if hasattr(space.distribution, "dict") else dict(space.density.dict)
            found = sum((p * found.subs(plain, v) for v, p in density.items()), sp.Integer(0))
            continue
        low, high = distribution.set.inf, distribution.set.sup
        kind = sp.Sum if space.is_Discrete else sp.Integral
        found = kind(found * distribution.pdf(plain), (plain, low, high))
    if found.has(UndefinedPoint):
        raise UnevaluableStep(f"E[{inner}] could not be opened")
    return found
