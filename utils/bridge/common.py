"""What both translations need: a checked, evaluated expression and its constants as doubles."""

import functools
from collections.abc import Iterable

import sympy as sp
from sympy.core.function import AppliedUndef
from sympy.logic.boolalg import Boolean

__all__ = ["is_constant", "number", "prepared"]

_UNEVALUATED = (sp.Integral, sp.Sum, sp.Product, sp.Derivative, sp.Limit, sp.Subs)


def prepared(expr, known: Iterable[sp.Symbol], purpose: str):
    """Return `expr`, evaluated as far as SymPy can, after checking that only `known` symbols occur.

    Raises:
        ValueError: not an expression, an unknown symbol, an undefined function, a complex expression.
    """
    expr = sp.sympify(expr)
    if not isinstance(expr, sp.Expr | Boolean | sp.MatrixBase):
        raise ValueError(f"{purpose} expects a SymPy expression or matrix, received {type(expr).__name__}")
    if expr.has(*_UNEVALUATED):
        expr = expr.doit()
    known = tuple(known)
    unknown = sorted(map(str, expr.free_symbols - set(known)))
    if unknown:
        given = ", ".join(map(str, known)) or "none"
        raise ValueError(f"{purpose}: symbol {', '.join(unknown)} is not in the arguments (given: {given})")
    undefined = sorted(map(str, expr.atoms(AppliedUndef)))
    if undefined:
        raise ValueError(f"{purpose}: undefined function {', '.join(undefined)}: substitute its definition")
    if expr.has(sp.I):
        raise ValueError(f"{purpose}: expected a real expression, received {expr}")
    return expr


def is_constant(node) -> bool:
    """Return whether `node` is a number in any spelling, such as sqrt(2*pi)."""
    return isinstance(node, sp.Expr) and not node.free_symbols


@functools.cache
def number(expr: sp.Expr, purpose: str) -> float:
    """Return the double nearest to a constant expression."""
    value = sp.N(expr, 40)
    if value.is_extended_real is False or not (value.is_Number or value.is_infinite):
        raise ValueError(f"{purpose}: expected a real constant, received {expr}")
    return float(value)
