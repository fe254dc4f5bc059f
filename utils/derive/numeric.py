"""A SymPy expression as a number: compiled to closures over an mpmath context.

The same compiler serves two contexts: `mpmath.mp` (as many digits as asked for) and `mpmath.fp` (machine floats,
for nested quadrature and Monte Carlo). An environment maps symbols to numbers of the context.
"""

from collections.abc import Callable
from functools import reduce
from operator import mul
from typing import Any

import mpmath
import sympy as sp

from .errors import UndefinedPoint
from .names import NAMES
from .quadrature import Accuracy, Evaluator, break_points, integrate, product_of, series, whole

__all__ = ["compile_expression"]

_COMPARE: dict[type, Callable[[Any, Any], bool]] = {
    sp.Lt: lambda a, b: a < b, sp.Le: lambda a, b: a <= b, sp.Gt: lambda a, b: a > b,
    sp.Ge: lambda a, b: a >= b, sp.Eq: lambda a, b: a == b, sp.Ne: lambda a, b: a != b,
}  # fmt: skip


def compile_expression(expr: sp.Basic, context: Any, accuracy: Accuracy) -> Evaluator:
    """Return a function from an environment to the value of `expr` at the context's present precision.

    >>> x = sp.Symbol("x", real=True)
    >>> compile_expression(x**2 + 1, mpmath.fp, Accuracy())({x: 3.0})
    10.0
    """
    return _Compiler(context, accuracy).visit(expr)


def _ordered(compare: Callable[[Any, Any], bool], left: Any, right: Any) -> bool:
    try:
        return compare(left, right)
    except TypeError:
        raise UndefinedPoint(f"complex values cannot be ordered: {left}, {right}") from None


class _Compiler:
    def __init__(self, context: Any, accuracy: Accuracy) -> None:
        self.context, self.accuracy = context, accuracy
        self.memo: dict[sp.Basic, Evaluator] = {}

    def visit(self, expr: sp.Basic) -> Evaluator:
        if expr not in self.memo:
            self.memo[expr] = self._find(expr)(expr)
        return self.memo[expr]

    def _find(self, expr: sp.Basic) -> Callable[[Any], Evaluator]:
        for kind in type(expr).__mro__:
            method = getattr(self, "visit_" + kind.__name__, None)
            if method:
                return method
        raise UndefinedPoint(f"{type(expr).__name__} has no numerical value here: {expr}")

    def visit_Number(self, expr: sp.Number) -> Evaluator:
        value = self.context.mpf(expr.p) / expr.q if expr.is_Rational else self.context.mpf(str(expr))
        return lambda env: value

    def visit_NumberSymbol(self, expr: sp.NumberSymbol) -> Evaluator:
        value = self.context.mpf(expr._to_mpmath(self.context.prec + 10))
        return lambda env: value

    def visit_ImaginaryUnit(self, expr: sp.Expr) -> Evaluator:
        return lambda env: self.context.j

    def visit_Infinity(self, expr: sp.Expr) -> Evaluator:
        return lambda env: self.context.inf

    def visit_NegativeInfinity(self, expr: sp.Expr) -> Evaluator:
        return lambda env: -self.context.inf

    def visit_Symbol(self, expr: sp.Symbol) -> Evaluator:
        return lambda env: env[expr]

    visit_MatrixElement = visit_Symbol

    def visit_Indexed(self, expr: sp.Indexed) -> Evaluator:
        base, parts = expr.base, [self.visit(i) for i in expr.indices]
        return lambda env: env[base](tuple(whole(p(env)) for p in parts), self.context)

    def visit_Add(self, expr: sp.Add) -> Evaluator:
        parts = [self.visit(a) for a in expr.args]
        return lambda env: sum(part(env) for part in parts)

    def visit_Mul(self, expr: sp.Mul) -> Evaluator:
        inverse = [a for a in expr.args if isinstance(a, sp.Pow) and a.exp.is_Integer and a.exp < 0]
        above = [self.visit(a) for a in expr.args if a not in inverse]
        below = [self.visit(1 / a) for a in inverse]
        one = self.context.one
        # One division at the end: 3 * 7 / 3 is 7 to the last digit, and so is its floor.
        return lambda env: reduce(mul, [p(env) for p in above], one) / reduce(mul, [p(env) for p in below], one)

    def visit_Pow(self, expr: sp.Pow) -> Evaluator:
        base, exponent, context = self.visit(expr.base), expr.exp, self.context
        if exponent.is_Integer:
            n = int(exponent)
            return lambda env: base(env) ** n
        if exponent == sp.S.Half:
            return lambda env: context.sqrt(base(env))
        if exponent == -sp.S.Half:
            return lambda env: 1 / context.sqrt(base(env))
        power = self.visit(exponent)
        return lambda env: context.power(base(env), power(env))

    def visit_log(self, expr: sp.log) -> Evaluator:
        inner, context = self.visit(expr.args[0]), self.context

        def logarithm(env: dict) -> Any:
            value = inner(env)
            if value == 0:
                raise UndefinedPoint(f"log(0) in {expr}")
            return context.log(value)

        return logarithm

    def visit_Function(self, expr: sp.Function) -> Evaluator:
        parts = [self.visit(a) for a in expr.args]
        function = getattr(self.context, NAMES.get(expr.func) or "", None)
        if function is None:
            return lambda env: self._by_sympy(expr.func, [part(env) for part in parts])
        return lambda env: function(*(part(env) for part in parts))

    def _by_sympy(self, function: Any, values: list) -> Any:
        digits = self.context.dps
        numbers = [sp.Float(v, digits) if not isinstance(v, complex | mpmath.mpc) else sp.sympify(v) for v in values]
        found = function(*numbers).evalf(digits)
        if not found.is_number or found.has(sp.nan, sp.zoo) or not found.is_comparable:
            raise UndefinedPoint(f"{function} has no numerical value at {numbers}")
        return self.context.mpf(str(found))

    def visit_DiracDelta(self, expr: sp.DiracDelta) -> Evaluator:
        raise UndefinedPoint(f"{expr} is no function: integrate it")

    def visit_Heaviside(self, expr: sp.Heaviside) -> Evaluator:
        inner, middle = self.visit(expr.args[0]), self.visit(expr.args[1])

        def step(env: dict) -> Any:
            value = inner(env)
            return middle(env) if value == 0 else self.context.mpf(value > 0)

        return step

    def visit_KroneckerDelta(self, expr: sp.KroneckerDelta) -> Evaluator:
        first, second = (self.visit(a) for a in expr.args[:2])
        return lambda env: self.context.mpf(first(env) == second(env))

    def visit_Max(self, expr: sp.Max) -> Evaluator:
        parts, choose = [self.visit(a) for a in expr.args], max if isinstance(expr, sp.Max) else min

        def extreme(env: dict) -> Any:
            values = [part(env) for part in parts]
            # Complex numbers have no order; the side is then seen to leave the real numbers.
            return next((v for v in values if getattr(v, "imag", 0)), None) or choose(values)

        return extreme

    visit_Min = visit_Max

    def visit_Mod(self, expr: sp.Mod) -> Evaluator:
        first, second = (self.visit(a) for a in expr.args)
        return lambda env: first(env) % second(env)

    def visit_Piecewise(self, expr: sp.Piecewise) -> Evaluator:
        branches = [(self.visit(value), self.condition(test)) for value, test in expr.args]

        def choose(env: dict) -> Any:
            for value, test in branches:
                if test(env):
                    return value(env)
            raise UndefinedPoint(f"no branch applies: {expr}")

        return choose

    def condition(self, test: Any) -> Callable[[dict], bool]:
        if test in (sp.true, sp.false):
            return lambda env: bool(test)
        if type(test) in _COMPARE:
            compare, left, right = _COMPARE[type(test)], self.visit(test.lhs), self.visit(test.rhs)
            return lambda env: _ordered(compare, left(env), right(env))
        if isinstance(test, sp.And | sp.Or):
            parts, join = [self.condition(a) for a in test.args], all if isinstance(test, sp.And) else any
            return lambda env: join(part(env) for part in parts)
        if isinstance(test, sp.Not):
            inner = self.condition(test.args[0])
            return lambda env: not inner(env)
        if isinstance(test, sp.Contains):
            return self.condition(test.args[1].as_relational(test.args[0]))
        raise UndefinedPoint(f"cannot evaluate the condition {test}")

    def visit_Integral(self, expr: sp.Integral) -> Evaluator:
        body, known = self.visit(expr.function), set(expr.free_symbols)
        known |= {limit[0] for limit in expr.limits[1:]}
        for limit in expr.limits:
            if len(limit) != 3:
                raise UndefinedPoint(f"an indefinite integral has no value: {expr}")
            variable, low, high = limit
            known -= {variable}
            breaks = [self.visit(b) for b in break_points(expr.function, variable) if b.free_symbols <= known]
            ends = self.visit(low), self.visit(high)
            body = integrate(self.context, self.accuracy, body, variable, ends, breaks)
        return body

    def visit_Sum(self, expr: sp.Sum) -> Evaluator:
        body, loop = self.visit(expr.function), series if isinstance(expr, sp.Sum) else product_of
        for variable, low, high in expr.limits:
            body = loop(self.context, self.accuracy, body, variable, (self.visit(low), self.visit(high)))
        return body

    visit_Product = visit_Sum
