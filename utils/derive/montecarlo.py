"""The attack on a step about expectations that quadrature does not reach: random draws with a stated confidence.

Both sides are functions of k expectations. These are estimated from the same draws; the standard error of the
difference follows from their covariance by the delta method. A step is refuted beyond 6 standard errors, and
only if fresh draws say the same: a true step is refuted with probability below 1e-9 a point.
"""

import math
import random
from typing import Any

import mpmath
import sympy as sp
from sympy.stats.rv import RandomSymbol
from sympy.stats.symbolic_probability import Expectation

from .errors import UndefinedPoint
from .expectation import sampler
from .numeric import compile_expression
from .quadrature import Accuracy

__all__ = ["THRESHOLD", "gap_by_draws"]

THRESHOLD = 6.0
_ROUNDS = (1_000, 20_000)


def gap_by_draws(left: sp.Expr, right: sp.Expr, point: dict, rng: random.Random) -> tuple[float, float, float, int]:
    """Return the estimates of both sides, the z-score of their difference, and the number of draws."""
    estimate = _Estimate(left, right, point)
    for draws in _ROUNDS:
        found = estimate(draws, rng)
        if abs(found[2]) > THRESHOLD:
            return estimate(2 * draws, rng)
    return found


def _real(value: Any) -> float:
    if isinstance(value, complex):
        raise UndefinedPoint(f"a draw has the complex value {value}")
    return float(value)


class _Estimate:
    def __init__(self, left: sp.Expr, right: sp.Expr, point: dict) -> None:
        means = sorted(left.atoms(Expectation) | right.atoms(Expectation), key=str)
        self.names = [sp.Dummy(f"E{i}", real=True) for i in range(len(means))]
        change = dict(zip(means, self.names, strict=True))
        self.point = {s: float(v) for s, v in point.items()}
        self.sides = [self._code(side.xreplace(change)) for side in (left, right)]
        inner = [m.args[0] for m in means]
        variables = sorted(set().union(*(i.atoms(RandomSymbol) for i in inner)), key=str)
        self.draw = {v.symbol: sampler(v, self._value) for v in variables}
        plain = {v: v.symbol for v in variables}
        self.inner = [self._code(i.xreplace(plain)) for i in inner]

    def _code(self, expr: sp.Expr) -> Any:
        return compile_expression(expr, mpmath.fp, Accuracy())

    def _value(self, parameter: sp.Expr) -> float:
        return float(self._code(parameter)(dict(self.point)))

    def __call__(self, draws: int, rng: random.Random) -> tuple[float, float, float, int]:
        rows = []
        for _ in range(draws):
            env = dict(self.point)
            env.update((symbol, draw(rng)) for symbol, draw in self.draw.items())
            rows.append([_real(code(env)) for code in self.inner])
        means = [math.fsum(column) / draws for column in zip(*rows, strict=True)]
        left, right = self._sides(means)
        slopes = self._slopes(means)
        shifts = [sum(g * (v - m) for g, v, m in zip(slopes, row, means, strict=True)) for row in rows]
        error = math.sqrt(math.fsum(s * s for s in shifts)) / draws
        gap = left - right
        if error <= 1e-14 * max(abs(left), abs(right)):
            return left, right, 0.0 if abs(gap) < 1e-9 * max(abs(left), abs(right), 1e-9) else math.inf, draws
        if not math.isfinite(gap / error):
            raise UndefinedPoint("the draws have no finite mean")
        return left, right, gap / error, draws

    def _sides(self, means: list[float]) -> list[float]:
        env = {**self.point, **dict(zip(self.names, means, strict=True))}
        return [_real(side(env)) for side in self.sides]

    def _slopes(self, means: list[float]) -> list[float]:
        slopes = []
        for i, value in enumerate(means):
            step = 1e-5 * max(abs(value), 1e-3)
            up, down = (self._sides([*means[:i], value + d, *means[i + 1 :]]) for d in (step, -step))
            slopes.append(((up[0] - up[1]) - (down[0] - down[1])) / (2 * step))
        return slopes
