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
from .instances import Domain
from .montecarlo import THRESHOLD, gap_by_draws
from .values import UNDEFINED, Sides

__all__ = ["Attack", "Refuted", "attack", "show_point"]

_SECONDS = 30.0
_STARTS, _WALK = 3, 40
_FAR = (-12, -6, -3, 3, 6, 12)


class Refuted(ArithmeticError):
    """A point at which the step fails, with both values."""

    def __init__(self, point: dict, left: Any, right: Any) -> None:
        super().__init__("refuted")
        self.point, self.left, self.right = point, left, right


@dataclass
class Attack:
    """What was tried: how many points, to how many digits, and whether those were all there are."""

    points: int
    digits: int
    exhaustive: bool = False
    draws: int = 0
    z: float = 0.0

    def __str__(self) -> str:
        points = f"{self.points} point{'s' * (self.points != 1)}"
        if self.draws:
            return f"{points} of {self.draws} draws, |z| at most {self.z:.1f} (refuted beyond {THRESHOLD:.0f})"
        return f"{points}, {self.digits} digits"


def attack(relation: str, left: sp.Expr, right: sp.Expr, domain: Domain, seed: str) -> Attack:
    """Return what was tried, or raise `Refuted`, or `UnevaluableStep` where too few points have values."""
    try:
        with time_limit(_SECONDS):
            return _Attack(relation, Sides(left, right, domain, seed), domain, seed).run()
    except TimeLimitError:
        raise UnevaluableStep(f"evaluating the sides took longer than {_SECONDS:.0f} s") from None


class _Attack:
    def __init__(self, relation: str, sides: Sides, domain: Domain, seed: str) -> None:
        self.relation, self.sides, self.domain, self.seed = relation, sides, domain, seed
        self.rng = random.Random(seed)
        self.draw, self.draws, self.z = 0, 0, 0.0
        self.margins: list[tuple[Any, dict]] = []

    def run(self) -> Attack:
        sides, symbols = self.sides, self.sides.symbols
        cases = self.domain.cases(symbols)
        finite = bool(cases) and not sides.bases and all(self.domain.values(s) for s in symbols)
        wanted = len(cases) if finite else max(self._wanted(), min(len(cases), 64))
        used = failed = rejected = 0
        problem = ""
        while used < wanted and failed < (1 if finite else 3 * wanted + 10):
            wide = used % 3 == 2 and not (sides.summed or sides.drawn)
            point = self.domain.point(symbols, f"{self.seed}/{used + failed + rejected}", wide)
            if cases:
                point.update(cases[(used + failed + rejected) % len(cases)])
            outside = self.domain.admits(point)
            if outside:
                rejected, problem = rejected + 1, f"{outside}, at {show_point(point)}"
                if rejected > 60 * wanted:
                    break
                continue
            try:
                self.margins.append((self.compare(point), point))
                used += 1
            except UNDEFINED as why:
                failed += 1
                problem = f"{why or type(why).__name__} at {show_point(point)}"
        if used < (wanted if finite else min(3, wanted)):
            raise UnevaluableStep(f"the sides could not be evaluated ({used} usable points): {problem}")
        if self.relation != "=" and not (finite or sides.summed or sides.drawn):
            self._venture()
            self._descend()
        everywhere = finite and bool(symbols) and not sides.drawn
        return Attack(used, sides.digits, everywhere, self.draws, self.z)

    def _wanted(self) -> int:
        sides = self.sides
        if sides.drawn or sides.nested:
            return 2
        if sides.integrated:
            return 3
        if sides.summed:
            return 4
        return 24 if sides.branching or self.relation != "=" else 6

    def compare(self, point: dict) -> Any:
        """Return the relative margin at a point (0 for an equality), or raise `Refuted`."""
        self.draw += 1
        if self.sides.drawn:
            return self._compare_draws(point)
        first = self.sides.values(point, 0, self.draw)
        margin = self._margin(*first)
        if margin is not None and (self.draw > 1 or self.sides.nested):
            return margin
        second = self.sides.values(point, 1, self.draw)  # the first point always: rounding hides nothing
        margin = self._margin(*second)
        if margin is not None:
            return margin
        gap, again = first[0] - first[1], second[0] - second[1]
        if abs(gap - again) > abs(again) / 100:
            raise UndefinedPoint("the values did not settle")
        raise Refuted(point, *second[:2])

    def _margin(self, left: Any, right: Any, slack: Any) -> Any:
        """By how much the relation holds, relative to the sides, or None."""
        lost = [abs(mpmath.im(side)) > slack for side in (left, right)]
        if self.sides.real and all(lost):
            raise UndefinedPoint("both sides leave the real numbers")
        if self.relation == "=":
            return 0 if abs(left - right) <= slack else None
        if any(lost):
            if not self.sides.real:
                raise UndefinedPoint(f"an inequality between complex values: {left}, {right}")
            return None
        gap = mpmath.re(right) - mpmath.re(left)
        margin = gap if self.relation == "<=" else -gap
        if margin < -slack:
            return None
        return margin / max(abs(left), abs(right)) if left and right else margin

    def _compare_draws(self, point: dict) -> float:
        left, right, z, draws = gap_by_draws(*self.sides.pair, point, self.rng)
        if (z > 0 and self.relation == ">=") or (z < 0 and self.relation == "<="):
            z = 0.0
        if abs(z) > THRESHOLD:
            raise Refuted(point, mpmath.mpf(left), mpmath.mpf(right))
        self.draws, self.z = max(draws, self.draws), max(abs(z), self.z)
        return 0.0

    def _venture(self) -> None:
        """Scale one free symbol, or all, far up and far down: a bound may fail only where nothing ordinary lives."""
        free = [s for s in self.sides.symbols if not s.is_integer and self.domain.unbounded(s)]
        point = self.margins[0][1]
        for group in [[symbol] for symbol in free] + [free] * (len(free) > 1):
            for power in _FAR:
                moved = point | {symbol: point[symbol] * sp.Integer(10) ** power for symbol in group}
                if self.domain.admits(moved) or not all(self.domain.contains(s, moved) for s in group):
                    continue
                try:
                    self.margins.append((self.compare(moved), moved))
                except UNDEFINED:
                    continue

    def _descend(self) -> None:
        """Walk from the tightest points towards a smaller margin: a bound fails near where it is tight."""
        for margin, point in sorted(self.margins, key=lambda pair: pair[0])[:_STARTS]:
            step = sp.Rational(1, 2)
            for turn in range(_WALK):
                moved = self._moved(point, step, turn)
                if self.domain.admits(moved):
                    continue
                try:
                    found = self.compare(moved)
                except UNDEFINED:
                    continue
                if found < margin:
                    margin, point = found, moved
                elif turn % 2:
                    step = step * sp.Rational(5, 6)

    def _moved(self, point: dict, step: sp.Rational, turn: int) -> dict:
        """Change one symbol, and now and then all of them, by a random share."""
        moved, chosen = dict(point), self.rng.choice(list(point))
        for symbol, value in point.items():
            if self.domain.values(symbol) or symbol.is_integer or (turn % 4 and symbol != chosen):
                continue
            new = value * (1 + step * sp.Rational(self.rng.randint(-97, 97), 97))
            new = new.limit_denominator(10**6) if new.is_Rational else new
            if self.domain.contains(symbol, {**moved, symbol: new}):
                moved[symbol] = new
        return moved


def show_point(point: dict) -> str:
    """Return a point as text: `x = 3/7, n = 2`."""
    return ", ".join(f"{symbol} = {value}" for symbol, value in point.items()) or "the only point"
