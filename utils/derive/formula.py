"""LaTeX of a checked expression, broken into lines that fit a phone.

A line breaks between the terms of a sum, between the factors of a product, inside the brackets of a function and
behind the sign of an integral or a sum. Nothing is retyped: every piece is printed from its own subexpression.
"""

from collections.abc import Callable
from typing import Any

import sympy as sp
from sympy.printing.latex import LatexPrinter
from sympy.printing.precedence import PRECEDENCE

from .width import width

__all__ = ["WIDTH", "formula", "latex"]

WIDTH = 30
_OPEN, _CLOSE = r"\bigl(", r"\bigr)"


class _Printer(LatexPrinter):
    """SymPy's printer with the signs of this book: E for expectations, I-free evaluation bars."""

    def _print_Expectation(self, expr: sp.Expr) -> str:
        return rf"\mathbb{{E}}\left[{self._print(expr.args[0])}\right]"

    def _print_Variance(self, expr: sp.Expr) -> str:
        return rf"\operatorname{{Var}}\left[{self._print(expr.args[0])}\right]"

    def _print_Expr(self, expr: sp.Expr) -> str:
        return self._print_Basic(expr)


_PRINTER = _Printer()


def latex(expr: Any) -> str:
    r"""Return the LaTeX of an expression, on one line and without a raw `|`.

    >>> latex(sp.Abs(sp.Symbol("x")))
    '\\left\\vert {x}\\right\\vert '
    """
    printed = _PRINTER.doprint(expr)
    for bar in (r"\left|", r"\right|"):
        printed = printed.replace(bar, bar[:-1] + r"\vert ")
    return printed.replace("|", r"\vert ")


def formula(expr: Any, relation: str = "") -> str:
    """Return display LaTeX, the relation in front; what is too wide becomes aligned lines."""
    lines = _lines(expr, WIDTH)
    if len(lines) == 1:
        return rf"\displaystyle {relation} {lines[0]}".replace("  ", " ")
    rest = "".join(rf" \\ &\quad {line}" for line in lines[1:])
    return rf"\begin{{aligned}} &{relation} {lines[0]}{rest} \end{{aligned}}"


def _lines(expr: Any, room: int) -> list[str]:
    whole = latex(expr)
    if width(whole) <= room:
        return [whole]
    for kind, split in _SPLIT.items():
        if isinstance(expr, kind):
            return split(expr, room) or [whole]
    return [whole]


def _sum(expr: sp.Add, room: int) -> list[str]:
    lines: list[str] = []
    for term in _PRINTER._as_ordered_terms(expr):
        negative = term.could_extract_minus_sign()
        pieces = _lines(-term if negative else term, room - 2)
        if lines or negative:
            pieces[0] = ("- " if negative else "+ ") + pieces[0]
        _append(lines, pieces, room)
    return lines


def _append(lines: list[str], pieces: list[str], room: int) -> None:
    """Put the first piece on the last line if it fits there, the others below."""
    if lines and len(pieces) == 1 and width(lines[-1]) + width(pieces[0]) + 1 <= room:
        lines[-1] += " " + pieces[0]
    else:
        lines.extend(pieces)


def _product(expr: sp.Mul, room: int) -> list[str]:
    if expr.could_extract_minus_sign():
        lines = _lines(-expr, room - 2)
        brackets = isinstance(-expr, sp.Add)
        return _around("- " + _OPEN, lines, _CLOSE) if brackets else _around("- ", lines, "")
    above, below = sp.fraction(expr, exact=True)
    if below != 1 and width(latex(below)) > room:
        return _powers(expr.as_ordered_factors(), room)
    if below != 1:
        front = rf"\frac{{1}}{{{latex(below)}}}"
        inner = _lines(above, room - 4)
        return _around(front + " " + _OPEN, inner, _CLOSE) if isinstance(above, sp.Add) else _around(front, inner, "")
    return _powers(expr.as_ordered_factors(), room)


def _powers(factors: list[sp.Expr], room: int) -> list[str]:
    lines: list[str] = []
    for factor in factors:
        pieces = _lines(factor, room - 3)
        if isinstance(factor, sp.Add) or _looser(factor):
            one = len(pieces) == 1
            pieces = _around(r"\left(" if one else _OPEN, pieces, r"\right)" if one else _CLOSE)
        if lines and len(pieces) == 1 and width(lines[-1]) + width(pieces[0]) > room:
            pieces[0] = r"\cdot " + pieces[0]
        elif lines and len(pieces) > 1 and width(lines[-1]) + width(pieces[0]) <= room:
            pieces[0] = lines.pop() + " " + pieces[0]
        elif lines and len(pieces) > 1:
            pieces[0] = r"\cdot " + pieces[0]
        _append(lines, pieces, room)
    return lines


def _looser(factor: sp.Expr) -> bool:
    """Whether a factor needs brackets inside a product."""
    return isinstance(factor, sp.Integral | sp.Sum | sp.Product | sp.Piecewise | sp.Derivative | sp.Limit)


def _power(expr: sp.Pow, room: int) -> list[str]:
    if expr.exp.is_Rational and expr.exp < 0:
        return [latex(expr)]
    if expr.base is sp.E:
        return _around(r"\exp" + _OPEN, _lines(expr.exp, room - 4), _CLOSE)
    inner = _lines(expr.base, room - 3)
    return _around(_OPEN, inner, rf"{_CLOSE}^{{{latex(expr.exp)}}}")


def _exponential(expr: sp.exp, room: int) -> list[str]:
    return _around(r"\exp" + _OPEN, _lines(expr.args[0], room - 4), _CLOSE)


def _logarithm(expr: sp.log, room: int) -> list[str]:
    return _around(r"\log" + _OPEN, _lines(expr.args[0], room - 4), _CLOSE)


def _integral(expr: sp.Integral, room: int) -> list[str]:
    mark = sp.Dummy("mark")
    front, behind = latex(sp.Integral(mark, *expr.limits)).split(latex(mark), 1)
    return _within(front, expr.function, behind, room)


def _series(expr: sp.Sum, room: int) -> list[str]:
    mark = sp.Dummy("mark")
    front, behind = latex(expr.func(mark, *expr.limits)).split(latex(mark), 1)
    return _within(front, expr.function, behind, room)


def _derivative(expr: sp.Derivative, room: int) -> list[str]:
    whole, inner = latex(expr), latex(expr.expr)
    front = whole.partition(inner)[0].strip().removesuffix(r"\left(")
    return _around(front + _OPEN, _lines(expr.expr, room - 4), _CLOSE)


def _within(front: str, inner: sp.Expr, behind: str, room: int) -> list[str]:
    lines = _lines(inner, room - min(width(front), 8))
    if _PRINTER.parenthesize(inner, PRECEDENCE["Mul"], strict=True) == _PRINTER.doprint(inner):
        return _around(front, lines, behind)
    return _around(front + _OPEN, lines, _CLOSE + behind)


def _around(front: str, lines: list[str], behind: str) -> list[str]:
    return [*(front * (i == 0) + line + behind * (i == len(lines) - 1) for i, line in enumerate(lines))]


_SPLIT: dict[type, Callable[[Any, int], list[str]]] = {
    sp.Add: _sum,
    sp.Mul: _product,
    sp.Integral: _integral,
    sp.Derivative: _derivative,
    sp.Sum: _series,
    sp.Product: _series,
    sp.exp: _exponential,
    sp.log: _logarithm,
    sp.Pow: _power,
}
