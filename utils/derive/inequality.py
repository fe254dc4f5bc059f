"""Proofs that an expression is never negative: by its assumptions, as a square, by convexity, or by growth."""

from collections.abc import Callable, Iterator

import sympy as sp

__all__ = ["is_nonnegative"]

Opener = Callable[[sp.Expr], sp.Expr]


def is_nonnegative(gap: sp.Expr, within: Opener = lambda expr: expr) -> str | None:
    """Return how `gap >= 0` was proved, or None.

    Args:
        gap: the expression.
        within: writes an expression through symbols whose signs the domain gives.

    >>> x = sp.Symbol("x", positive=True)
    >>> is_nonnegative(x - 1 - sp.log(x))
    'convex in x, minimum 0'
    """
    if gap.has(sp.Integral, sp.Sum, sp.Product):
        gap = gap.doit()
    for name, form in _forms(gap, within):
        if form.is_nonnegative:
            return name
    quadratic = _positive_quadratic(gap)
    if quadratic:
        return quadratic
    for symbol in sorted(gap.free_symbols, key=str):
        found = _by_convexity(gap, symbol, within)
        if found:
            return found
    opened = within(gap)
    for symbol in sorted(opened.free_symbols, key=str) if _is_smooth(opened) else []:
        if symbol.is_nonnegative and not symbol.is_integer and _grows(opened, symbol):
            name = symbol.name.removeprefix("u_") if isinstance(symbol, sp.Dummy) else symbol
            return f"grows with {name}, 0 or more at its least"
    return "sign of the factors" if sp.simplify(opened).is_nonnegative else None


def _forms(gap: sp.Expr, within: Opener) -> Iterator[tuple[str, sp.Expr]]:
    yield "sign by assumptions", gap
    opened = within(gap)
    yield "sign by assumptions", opened
    yield "sign by assumptions", sp.expand(opened)
    over, under = sp.fraction(sp.together(opened))
    yield "sign over one denominator", sp.expand(over) / under
    yield "sign of the factors", sp.factor(over / under)
    yield "sign of the factors", sp.factor(sp.expand_log(sp.expand(opened)))


def _positive_quadratic(gap: sp.Expr) -> str | None:
    symbols = sorted(gap.free_symbols, key=str)
    if not symbols or not all(s.is_real for s in symbols) or not gap.is_polynomial(*symbols):
        return None
    if sp.Poly(gap, *symbols).total_degree() != 2:
        return None
    if not sp.hessian(gap, symbols).is_positive_semidefinite:
        return None
    solution = sp.solve([gap.diff(s) for s in symbols], symbols, dict=True)
    if solution and sp.expand(gap.subs(solution[0])).is_nonnegative:
        return "sum of squares"
    return None


def _by_convexity(gap: sp.Expr, symbol: sp.Symbol, within: Opener) -> str | None:
    """Convex in one symbol on the interval where it lives, with a minimum there that is not negative."""
    if not symbol.is_real or symbol.is_integer or gap.has(sp.Integral, sp.Sum):
        return None
    second = within(gap.diff(symbol, 2))
    if not any(form.is_nonnegative for form in (second, sp.factor(sp.together(second)))):
        return None
    for point in sp.solve(sp.together(gap.diff(symbol)), symbol):
        lowest = sp.simplify(sp.expand_log(gap.subs(symbol, point)))
        if _inside(point, symbol, within) and within(lowest).is_nonnegative:
            return f"convex in {symbol}, minimum {lowest}"
    return None


def _is_smooth(expr: sp.Expr) -> bool:
    """Whether it is made of powers, exponentials and logarithms that have no pole and no jump, up to 0 itself."""
    for node in sp.preorder_traversal(expr):
        if isinstance(node, sp.log):
            safe = node.args[0].is_positive
        elif isinstance(node, sp.Pow) and not (node.exp.is_integer and node.exp.is_nonnegative):
            safe = node.base.is_positive and node.exp.is_real
        else:
            safe = isinstance(node, sp.Add | sp.Mul | sp.Pow | sp.exp | sp.Symbol | sp.Number | sp.NumberSymbol)
        if not safe:
            return False
    return True


def _grows(expr: sp.Expr, symbol: sp.Symbol) -> bool:
    """Whether a smooth expression is not negative where a nonnegative symbol is 0, nor its slope anywhere."""
    start = expr.subs(symbol, 0)
    if not (_is_smooth(start) and any(form.is_nonnegative for form in (start, sp.simplify(start)))):
        return False
    slope = expr.diff(symbol)
    return any(form.is_nonnegative for form in (slope, sp.factor(sp.together(slope))))


def _inside(point: sp.Expr, symbol: sp.Symbol, within: Opener) -> bool:
    """Whether a point lies in the symbol's interval: solve for the positive symbol that stands for it."""
    if point.is_real is False or point.has(sp.I):
        return False
    image = within(symbol)
    fresh = image.free_symbols - {symbol}
    stand_in = next((s for s in fresh if s.name == f"u_{symbol}"), None)
    if stand_in is None:
        opened = within(point)
        signs = {symbol.is_positive: opened.is_positive, symbol.is_negative: opened.is_negative}
        return bool(signs.get(True, opened.is_real))
    solved = sp.solve(image - within(point), stand_in)
    return len(solved) == 1 and bool(sp.factor(solved[0]).is_positive)
