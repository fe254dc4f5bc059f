"""SymPy to the Vega expression language: a printer that puts every operation in parentheses."""

from collections.abc import Mapping
from functools import reduce

import sympy as sp
from sympy.logic.boolalg import BooleanAtom

from utils.bridge.common import is_constant, number, prepared

__all__ = ["to_vega"]

_SAME_NAME = ("exp", "log", "sin", "cos", "tan", "asin", "acos", "atan", "floor")
_FORMAT = {
    **{getattr(sp, name): name + "({})" for name in _SAME_NAME},
    sp.atan2: "atan2({}, {})",
    sp.ceiling: "ceil({})",
    sp.Abs: "abs({})",
    sp.Not: "(!{})",
    sp.sign: "(({0} > 0) - ({0} < 0))",
    sp.Heaviside: "({0} > 0 ? 1 : ({0} < 0 ? 0 : {1}))",
    sp.Mod: "({0} - ({1}) * floor({0} / {1}))",
    # Vega has no hyperbolic functions and no error function. This form of tanh cannot overflow.
    sp.tanh: "(1 - 2 / (exp(2 * {0}) + 1))",
    sp.sinh: "((exp({0}) - exp(-{0})) / 2)",
    sp.cosh: "((exp({0}) + exp(-{0})) / 2)",
    sp.erf: "(2 * cumulativeNormal(SQRT2 * {0}) - 1)",
    sp.erfc: "(2 * cumulativeNormal(-SQRT2 * {0}))",
    sp.erfinv: "(quantileNormal(({0} + 1) / 2) / SQRT2)",
    sp.Lt: "({} < {})",
    sp.Le: "({} <= {})",
    sp.Gt: "({} > {})",
    sp.Ge: "({} >= {})",
    sp.Eq: "({} === {})",
    sp.Ne: "({} !== {})",
}
_JOIN = {sp.Add: " + ", sp.And: " && ", sp.Or: " || "}
_FOLD = {sp.Max: "max", sp.Min: "min"}
_BY_LOGARITHM = (sp.asinh, sp.acosh, sp.atanh)


def _constant(value: float) -> str:
    if value in (float("inf"), float("-inf")):
        return "(1 / 0)" if value > 0 else "(-1 / 0)"
    text = repr(value)
    return f"({text})" if value < 0 else text


class _Printer:
    def __init__(self, names: Mapping[sp.Symbol, str]):
        self.names = names

    def __call__(self, node) -> str:
        if node in self.names:
            return self.names[node]
        if isinstance(node, BooleanAtom):
            return "true" if node else "false"
        if is_constant(node):
            return _constant(number(node, "to_vega"))
        if node.func in _JOIN:
            return "(" + _JOIN[node.func].join(map(self, node.args)) + ")"
        if node.func in _FOLD:
            return reduce(lambda a, b: f"{_FOLD[node.func]}({a}, {b})", map(self, node.args))
        if isinstance(node, sp.Piecewise):
            return self._piecewise(node)
        if node.is_Mul:
            return self._product(node)
        if node.is_Pow:
            return self._power(*node.args)
        if isinstance(node, _BY_LOGARITHM):
            return self(node.rewrite(sp.log))
        if node.func not in _FORMAT:
            raise ValueError(f"to_vega: function {node.func.__name__} is not in Vega's language (in {node})")
        return _FORMAT[node.func].format(*map(self, node.args))

    def _product(self, node: sp.Mul) -> str:
        below = [f for f in node.args if f.is_Pow and f.args[1].is_Number and f.args[1] < 0]
        above = [f for f in node.args if f not in below] or [sp.S.One]
        return "(" + " / ".join([" * ".join(map(self, above)), *(self(1 / f) for f in below)]) + ")"

    def _power(self, base: sp.Expr, exponent: sp.Expr) -> str:
        if exponent.is_Number and exponent < 0:
            return f"(1 / {self._power(base, -exponent)})"
        if exponent == 1:
            return self(base)
        if exponent == sp.S.Half:
            return f"sqrt({self(base)})"
        return f"pow({self(base)}, {self(exponent)})"

    def _piecewise(self, node: sp.Piecewise) -> str:
        result = "NaN"
        for value, condition in reversed(node.args):
            result = f"({self(condition)} ? {self(value)} : {result})"
        return result


def to_vega(expr, names: Mapping[sp.Symbol, str]) -> str:
    """Return `expr` in the Vega expression language.

    Numbers are doubles and every operation stands in parentheses. Vega has neither `erf` (written with
    `cumulativeNormal`) nor `tanh`, `sinh`, `cosh` (written with `exp`).

    Args:
        expr: a real SymPy expression whose free symbols are all in `names`.
        names: symbol -> the Vega signal ("p0") or field ("datum.x") that holds its value.

    Raises:
        ValueError: a symbol without a name, an undefined function, a function that Vega does not have.

    >>> x, a = sp.symbols("x a")
    >>> to_vega(a / sp.sqrt(x), {x: "datum.x", a: "p0"})
    '(p0 / sqrt(datum.x))'
    """
    expr = prepared(expr, names, "to_vega")
    if isinstance(expr, sp.MatrixBase):
        raise ValueError("to_vega expects a scalar expression, received a matrix: translate its entries")
    plain = {s: n if n.replace(".", "_").isidentifier() else f"({n})" for s, n in names.items()}
    return _Printer(plain)(expr)
