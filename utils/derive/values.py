"""Both sides of a step at a point: their values, and the difference that rounding or quadrature may explain."""

from typing import Any

import mpmath
import sympy as sp

from .errors import UndefinedPoint
from .expectation import Expectation
from .functions import smooth_instances
from .instances import Domain, free_symbols
from .numeric import compile_expression
from .prepare import evaluate_derivatives
from .quadrature import Accuracy

__all__ = ["UNDEFINED", "Sides"]

UNDEFINED = (UndefinedPoint, ZeroDivisionError, OverflowError, ValueError, mpmath.libmp.NoConvergence)
_BRANCHING = (sp.Piecewise, sp.Max, sp.Min, sp.Abs, sp.Heaviside, sp.sign, sp.floor, sp.ceiling, sp.Mod)


class Sides:
    """Two expressions, compiled once for each level of precision.

    Level 1 is independent of level 0: twice the digits for closed forms, other nodes for quadrature.
    """

    def __init__(self, left: sp.Expr, right: sp.Expr, domain: Domain, seed: str) -> None:
        instances = smooth_instances((left, right), domain, seed)
        self.pair = [_instantiate(side, instances) for side in (left, right)]
        self.domain, self.seed = domain, seed
        self.symbols = free_symbols(*self.pair)
        self.bases = {b for s in self.pair for b in s.atoms(sp.IndexedBase)}
        integrals = [i for s in self.pair for i in s.atoms(sp.Integral)]
        self.nested = any(len(i.limits) > 1 or i.function.has(sp.Integral) for i in integrals)
        self.integrated = bool(integrals)
        self.summed = self.integrated or any(s.has(sp.Sum, sp.Product) for s in self.pair)
        self.drawn = any(s.has(Expectation) for s in self.pair)
        self.branching = any(s.has(*_BRANCHING) for s in self.pair)
        self.real = not any(_complex(s) for s in self.pair)
        self.lost = 0.0
        self._code: dict[int, tuple] = {}

    @property
    def digits(self) -> int:
        """How many digits an agreement has been seen to."""
        return max(1, min(30, int(-mpmath.log10(self.lost)))) if self.lost else 9 if self.nested else 30

    def values(self, point: dict, level: int, draw: int = 0) -> tuple[Any, Any, Any]:
        """Return left, right and the slack between them at a point."""
        if self.nested:
            return self._nested_values(point, level, draw)
        digits, aim = (32 + 8 * level, -25) if self.summed else (50 * (level + 1), -30 * (level + 1))
        with mpmath.workdps(digits):
            left, right, accuracy = self._evaluate(point, level, draw, mpmath.mp)
            size = max(abs(left), abs(right))
            slack = mpmath.mpf(10) ** aim * size
            if accuracy.error:
                slack = max(slack, 100 * accuracy.error * max(1, size / (accuracy.scale or 1)))
                if slack > 1e-7 * max(size, 1e-3 * accuracy.scale):
                    raise UndefinedPoint(f"quadrature lost too many digits (error {accuracy.error:.1e})")
                self.lost = max(self.lost, float(slack / size) if size else 0.0)
            return left, right, slack

    def _nested_values(self, point: dict, level: int, draw: int) -> tuple[Any, Any, Any]:
        """Machine floats; two placements of the nodes say how much to believe."""
        first, second = (self._evaluate(point, i, draw, mpmath.fp) for i in (level, level + 1))
        left, right = second[:2]
        size = max(abs(left), abs(right))
        moved = abs(first[0] - left) + abs(first[1] - right)
        slack = max(1e-9 * size, 30 * moved)
        if slack > 1e-6 * max(size, 1e-6):
            raise UndefinedPoint(f"nested quadrature moved by {moved:.1e} with its nodes")
        self.lost = max(self.lost, slack / size if size else 0.0)
        return left, right, slack

    def _evaluate(self, point: dict, level: int, draw: int, context: Any) -> tuple[Any, Any, Accuracy]:
        if level not in self._code:
            accuracy = Accuracy(finer=level)
            self._code[level] = ([compile_expression(s, context, accuracy) for s in self.pair], accuracy)
        codes, accuracy = self._code[level]
        accuracy.error = accuracy.scale = 0.0
        env: dict = {symbol: _number(value, context) for symbol, value in point.items()}
        for base in self.bases:
            env[base] = _IndexedValues(base, self.domain, f"{self.seed}/{draw}")
        found = [self._remembered(i, code, env, point, (level, draw), accuracy) for i, code in enumerate(codes)]
        if not all(abs(value) < context.inf for value in found):
            raise UndefinedPoint("a side has no finite value")
        return found[0], found[1], accuracy

    def _remembered(self, i: int, code: Any, env: dict, point: dict, which: tuple, accuracy: Accuracy) -> Any:
        """Evaluate one side; a quadrature that was done at this point for the neighbouring step is not repeated."""
        side = self.pair[i]
        if not side.has(sp.Integral, sp.Sum, sp.Product):
            return code(env)
        own = side.free_symbols
        drawn = (self.seed, which[1]) if self.bases else ()
        key = (side, which[0], self.nested, drawn, tuple((s, v) for s, v in point.items() if s in own))
        if key not in _MEMORY:
            accuracy.error = accuracy.scale = 0.0
            value = code(env)
            if len(_MEMORY) > 500:
                _MEMORY.clear()
            _MEMORY[key] = value, accuracy.error, accuracy.scale
        value, error, scale = _MEMORY[key]
        accuracy.error, accuracy.scale = max(accuracy.error, error), max(accuracy.scale, scale)
        return value


_MEMORY: dict[tuple, tuple] = {}


class _IndexedValues:
    """Random values of an indexed symbol: the same index has the same value on both sides."""

    def __init__(self, base: sp.IndexedBase, domain: Domain, seed: str) -> None:
        self.base, self.domain, self.seed = base, domain, seed

    def __call__(self, index: tuple, context: Any) -> Any:
        label = self.base.label
        return _number(self.domain.point([label], f"{self.seed}/{index}")[label], context)


def _number(value: sp.Expr, context: Any) -> Any:
    if value.is_Rational:
        return context.mpf(value.p) / value.q
    return compile_expression(value, context, Accuracy())({})


def _instantiate(side: sp.Expr, instances: dict) -> sp.Expr:
    if not instances:
        return side
    for function, rule in instances.items():
        side = side.replace(function, rule)
    return evaluate_derivatives(side)


def _complex(side: sp.Expr) -> bool:
    """Whether complex numbers are meant to appear."""
    if side.has(sp.I, sp.re, sp.im, sp.conjugate, sp.arg):
        return True
    return any(s.is_complex and s.is_real is None for s in side.free_symbols)
