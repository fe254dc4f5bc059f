"""Proofs that an expression is never negative: by its assumptions, as a square, or by convexity."""

from collections.abc import Iterator

import sympy as sp

__all__ = ["is_nonnegative"]


def is_nonnegative(gap: sp.Expr) -> str | None:
    """Return how `gap >= 0` was proved, or None.

    >>> x = sp.Symbol("x", positive=True)
    >>> is_nonnegative(x - 1 - sp.log(x))
    'convex in x, minimum 0'
    """
    for name, form in _forms(gap):
        if form.is_nonnegative:
            return name
    quadratic = _positive_quadratic(gap)
    if quadratic:
        return quadratic
    for symbol in sorted(gap.free_symbols, key=str):
        found = _by_convexity(gap, symbol)
        if found:
            return found
    return None


def _forms(gap: sp.Expr) -> Iterator[tuple[str, sp.Expr]]:
    yield "sign by assumptions", gap
    if gap.has(sp.Integral, sp.Sum, sp.Product):
        gap = gap.doit()
    yield "sign by assumptions", sp.expand(gap)
    yield "sign of the factors", sp.factor(sp.together(gap))
    yield "sign of the factors", sp.factor(sp.expand_log(sp.expand(gap)))
    yield "sign of the factors", sp.simplify(gap)


def _positive_quadratic(gap: sp.Expr) -> str | None:
    symbols = sorted(gap.free_symbols, key=str)
    if not symbols or not all(s.is_real for s in symbols) or not gap.is_polynomial(*symbols):
        return None
    if sp.Poly(gap, *symbols).total_degree() != 2:
        return None
    hessian = sp.hessian(gap, symbols)
    if not hessian.is_positive_semidefinite:
        return None
    solution = sp.solve([gap.diff(s) for s in symbols], symbols, dict=True)
    if solution and sp.expand(gap.subs(solution[0])).is_nonnegative:
        return "sum of squares"
    return None


def _by_convexity(gap: sp.Expr, symbol: sp.Symbol) -> str | None:
    """Convex in one symbol on the interval its assumptions give, with a minimum that is not negative."""
    if not symbol.is_real or symbol.is_integer or gap.has(sp.Integral, sp.Sum):
        return None
    second = gap.diff(symbol, 2)
    if not any(form.is_nonnegative for form in (second, sp.factor(sp.together(second)))):
        return None
    for point in sp.solve(sp.together(gap.diff(symbol)), symbol):
        inside = point.is_positive if symbol.is_positive else point.is_negative if symbol.is_negative else point.is_real
        lowest = sp.simplify(sp.expand_log(gap.subs(symbol, point)))
        if inside and lowest.is_nonnegative:
            return f"convex in {symbol}, minimum {lowest}"
    return None
