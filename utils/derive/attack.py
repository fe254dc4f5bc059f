"""The attack on a step: try to find one point at which it fails.

Both sides are evaluated at random rational points to 50 digits. A difference is believed only if it stays when
the working precision doubles (closed forms) or the nodes move (quadrature): rounding does not survive that.
"""

import random
from dataclasses import dataclass
from typing import Any

import mpmath
import sympy as sp

from .clock import time_limit
from .errors import TimeLimitError, UndefinedPoint, UnevaluableStep
from .instances import Domain, free_symbols, smooth_instances
from .numeric import compile_expression
from .prepare import evaluate_derivatives
from .quadrature import Accuracy

__all__ = ["Attack", "Refuted", "attack"]

_SECONDS = 30.0
_BRANCHING = (sp.Piecewise, sp.Max, sp.Min, sp.Abs, sp.Heaviside, sp.sign, sp.floor, sp.ceiling, sp.Mod)


class Refuted(ArithmeticError):
    """A point at which the step fails, with both values."""

    def __init__(self, point: dict, left: Any, right: Any) -> None:
        super().__init__("refuted")
        self.point, self.left, self.right = point, left, right


@dataclass
class Attack:
    """What the attack tried: how many points, to how many digits, and whether those were all there are."""

    points: int
    digits: int
    exhaustive: bool = False
    unusable: int = 0


def attack(relation: str, left: sp.Expr, right: sp.Expr, domain: Domain, rng: random.Random) -> Attack:
    """Return what was tried, or raise `Refuted`, or `UnevaluableStep` where too few points have values."""
    try:
        with time_limit(_SECONDS):
            return _Attack(relation, left, right, domain, rng).run()
    except TimeLimitError:
        raise UnevaluableStep(f"evaluating the sides took longer than {_SECONDS:.0f} s") from None


class _Attack:
    def __init__(self, relation: str, left: sp.Expr, right: sp.Expr, domain: Domain, rng: random.Random) -> None:
        self.relation, self.domain, self.rng = relation, domain, rng
        instances = smooth_instances((left, right), domain, rng)
        self.sides = [_instantiate(side, instances) for side in (left, right)]
        self.symbols = free_symbols(*self.sides)
        self.bases = {b for s in self.sides for b in s.atoms(sp.IndexedBase)}
        nodes = [i for s in self.sides for i in s.atoms(sp.Integral)]
        self.nested = any(len(i.limits) > 1 or i.function.has(sp.Integral) for i in nodes)
        self.summed = bool(nodes) or any(s.has(sp.Sum, sp.Product) for s in self.sides)
        self.digits, self.lost = 50, 0.0
        self.draw = 0
        self._accuracy: dict[int, Accuracy] = {}
        self._code: dict[int, list] = {}

    def run(self) -> Attack:
        cases = self.domain.cases(self.symbols)
        finite = bool(self.symbols) and all(self.domain.values(s) for s in self.symbols) and bool(cases)
        if not self.symbols and not self.bases:
            cases, finite = [{}], True
        wanted = len(cases) if finite else max(self._wanted(), min(len(cases), 64))
        used = failed = 0
        problem = ""
        while used < wanted and failed < (1 if finite else 3 * wanted + 10):
            point = self.domain.point(self.symbols, self.rng, wide=used % 3 == 2)
            if finite or len(cases) > 1:
                point.update(cases[(used + failed) % len(cases)])
            try:
                self.compare(point)
                used += 1
            except (UndefinedPoint, ZeroDivisionError, OverflowError, ValueError, mpmath.libmp.NoConvergence) as why:
                failed += 1
                problem = f"{why or type(why).__name__} at {show_point(point)}"
        if used < (wanted if finite else min(3, wanted)):
            raise UnevaluableStep(f"the sides could not be evaluated ({used} usable points): {problem}")
        return Attack(used, self._agreed(), finite and bool(self.symbols), failed)

    def _wanted(self) -> int:
        if self.nested:
            return 3
        if self.summed:
            return 4
        branching = any(s.has(*_BRANCHING) for s in self.sides)
        return 24 if branching or self.relation != "=" else 6

    def _agreed(self) -> int:
        if not self.lost:
            return 15 if self.nested else 30
        return max(1, min(30, int(-mpmath.log10(self.lost))))

    def compare(self, point: dict) -> None:
        """Raise `Refuted` if the relation fails at the point."""
        self.draw += 1
        left, right, slack = self.values(point, 0)
        if self._holds(left, right, slack):
            return
        again = self.values(point, 1)
        gap, gap_again = left - right, again[0] - again[1]
        if self._holds(*again):
            return
        if abs(gap - gap_again) > abs(gap_again) / 100:
            raise UndefinedPoint("the values did not settle")
        raise Refuted(point, *again[:2])

    def _holds(self, left: Any, right: Any, slack: Any) -> bool:
        if self.relation == "=":
            return abs(left - right) <= slack
        for side in (left, right):
            if abs(mpmath.im(side)) > slack:
                raise UndefinedPoint(f"an inequality between complex values: {left}, {right}")
        gap = mpmath.re(right) - mpmath.re(left)
        return (gap if self.relation == "<=" else -gap) >= -slack

    def values(self, point: dict, level: int) -> tuple[Any, Any, Any]:
        """Return both values and the difference that rounding and quadrature may explain."""
        if self.nested:
            context, digits, aim = mpmath.fp, 15, 1e-10
        elif self.summed:
            context, digits, aim = mpmath.mp, 32 + 8 * level, mpmath.mpf(10) ** -25
        else:
            context, digits, aim = mpmath.mp, 50 * (level + 1), mpmath.mpf(10) ** (-30 * (level + 1))
        with mpmath.workdps(digits):
            codes = self._compiled(context, level)
            accuracy = self._accuracy[level]
            accuracy.relative, accuracy.scale = 0.0, 0.0
            env = self._environment(point, context)
            left, right = (code(env) for code in codes)
            for value in (left, right):
                if not context.isfinite(value):
                    raise UndefinedPoint("a side has no finite value")
            size = max(abs(left), abs(right))
            slack = aim * size
            if accuracy.relative:
                loss = 1e3 * accuracy.relative
                slack = max(slack, loss * max(float(size), accuracy.scale))
                if slack > 1e-7 * max(size, 1e-6):
                    raise UndefinedPoint(f"quadrature lost too many digits (relative error {accuracy.relative:.1e})")
                self.lost = max(self.lost, float(slack / size) if size else 0.0)
            return left, right, slack

    def _compiled(self, context: Any, level: int) -> list:
        if level not in self._code:
            self._accuracy[level] = Accuracy(finer=level > 0)
            self._code[level] = [compile_expression(s, context, self._accuracy[level]) for s in self.sides]
        return self._code[level]

    def _environment(self, point: dict, context: Any) -> dict:
        env: dict = {symbol: _number(value, context) for symbol, value in point.items()}
        for base in self.bases:
            env[base] = _IndexedValues(base, self.domain, self.draw)
        return env


class _IndexedValues:
    """Random values of an indexed symbol: the same index has the same value on both sides."""

    def __init__(self, base: sp.IndexedBase, domain: Domain, seed: int) -> None:
        self.base, self.domain, self.seed = base, domain, seed

    def __call__(self, index: tuple, context: Any) -> Any:
        rng = random.Random(f"{self.base}{index}{self.seed}")
        return _number(self.domain.point([self.base.label], rng)[self.base.label], context)


def _number(value: sp.Expr, context: Any) -> Any:
    if value.is_Rational:
        return context.mpf(value.p) / value.q
    return context.mpmathify(compile_expression(value, context, Accuracy())({}))


def _instantiate(side: sp.Expr, instances: dict) -> sp.Expr:
    if not instances:
        return side
    for function, rule in instances.items():
        side = side.replace(function, rule)
    return evaluate_derivatives(side)


def show_point(point: dict) -> str:
    """Return a point as text: `x = 3/7, n = 2`."""
    return ", ".join(f"{symbol} = {value}" for symbol, value in point.items()) or "the only point"
