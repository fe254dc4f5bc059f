"""Integrals, sums and products as numbers, each with an estimate of its own error."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mpmath
import sympy as sp

from .errors import UndefinedPoint
from .nodes import fast_quadrature

__all__ = ["Accuracy", "Evaluator", "break_points", "integrate", "product_of", "series", "whole"]

Evaluator = Callable[[dict], Any]
_MOST_TERMS = 20_000


@dataclass
class Accuracy:
    """What quadrature and infinite sums have lost so far, and how finely they are asked to work.

    `error` is the worst error estimate and `scale` the largest magnitude met, inner integrals included; `finer`
    asks for another placement of the nodes, so that two evaluations are independent.
    """

    error: float = 0.0
    scale: float = 0.0
    finer: int = 0

    def record(self, value: Any, error: Any) -> None:
        """Note one integral or sum."""
        self.scale = max(self.scale, float(abs(value)))
        self.error = max(self.error, float(error))


def whole(value: Any) -> int:
    """Return a value as an integer; an index or a bound that is none is an undefined point."""
    if value != round(value.real if hasattr(value, "real") else value):
        raise UndefinedPoint(f"{value} is not an integer")
    return int(value)


def break_points(body: sp.Expr, variable: sp.Symbol) -> list[sp.Expr]:
    """Return the places where an integrand has a kink or a jump, as far as they solve a linear equation."""
    corners: set[sp.Expr] = set()
    for node in sp.preorder_traversal(body):
        if isinstance(node, sp.Abs | sp.sign | sp.Heaviside):
            corners.add(node.args[0])
        elif isinstance(node, sp.Max | sp.Min):
            corners.update(a - b for a in node.args for b in node.args if a.sort_key() < b.sort_key())
        elif isinstance(node, sp.core.relational.Relational):
            corners.add(node.lhs - node.rhs)
    found = []
    for corner in corners:
        slope = corner.diff(variable)
        if slope != 0 and not slope.has(variable):
            found.append(-corner.subs(variable, 0) / slope)
    return found


def integrate(
    context: Any,
    accuracy: Accuracy,
    body: Evaluator,
    variable: sp.Symbol,
    ends: tuple,
    breaks: list[Evaluator],
) -> Evaluator:
    """Return the evaluator of a definite integral by tanh-sinh quadrature (Takahasi and Mori, 1974)."""

    def integral(env: dict) -> Any:
        low, high = (end(env) for end in ends)
        if low == high:
            return context.mpf(0)
        places = _places(context, accuracy, low, high, [b(env) for b in breaks])
        guarded = _guard(context, body, {**env}, variable)
        if context is mpmath.fp:
            value = fast_quadrature(guarded, places)
        else:
            value, error = context.quad(guarded, places, error=True)
            accuracy.record(value, error)
        if guarded.failures > 0.3 * guarded.calls:
            raise UndefinedPoint("the integrand is undefined on much of the range")
        return value

    return integral


def _places(context: Any, accuracy: Accuracy, low: Any, high: Any, breaks: list) -> list:
    ordered = sorted({b for b in breaks if min(low, high) < b < max(low, high)}, reverse=bool(low > high))
    places = [low, *ordered, high]
    if len(places) == 2 and context.isinf(low) and context.isinf(high):
        places = [low, context.mpf(0), high]
    if accuracy.finer:
        first, second, shift = places[0], places[1], context.mpf(4 + accuracy.finer) / 7
        if context.isinf(first):
            extra = second + (1 if second < first else -1) * shift
        elif context.isinf(second):
            extra = first + (1 if first < second else -1) * shift
        else:
            extra = first + (second - first) * shift / 2
        places.insert(1, extra)
    return places


class _guard:
    """An integrand that is 0 at the few nodes next to an end where rounding makes it undefined."""

    def __init__(self, context: Any, body: Evaluator, env: dict, variable: sp.Symbol) -> None:
        self.context, self.body, self.env, self.variable = context, body, env, variable
        self.calls = self.failures = 0

    def __call__(self, value: Any) -> Any:
        self.calls += 1
        self.env[self.variable] = value
        try:
            result = self.body(self.env)
        except (ZeroDivisionError, OverflowError, ValueError, UndefinedPoint):
            self.failures += 1
            return self.context.mpf(0)
        if not abs(result) < self.context.inf:
            self.failures += 1
            return self.context.mpf(0)
        return result


def series(context: Any, accuracy: Accuracy, body: Evaluator, variable: sp.Symbol, ends: tuple) -> Evaluator:
    """Return the evaluator of a finite or infinite sum."""

    def total(env: dict) -> Any:
        low, high = (end(env) for end in ends)
        inner = {**env}

        def term(k: int) -> Any:
            inner[variable] = context.mpf(k)
            return body(inner)

        if context.isinf(low) and context.isinf(high):
            return _tail(context, accuracy, term, 0, 1) + _tail(context, accuracy, term, -1, -1)
        if context.isinf(high):
            return _tail(context, accuracy, term, whole(low), 1)
        if context.isinf(low):
            return _tail(context, accuracy, term, whole(high), -1)
        return sum((term(k) for k in _range(low, high)), context.mpf(0))

    return total


def product_of(context: Any, accuracy: Accuracy, body: Evaluator, variable: sp.Symbol, ends: tuple) -> Evaluator:
    """Return the evaluator of a finite product."""

    def total(env: dict) -> Any:
        inner, value = {**env}, context.mpf(1)
        for k in _range(*(end(env) for end in ends)):
            inner[variable] = context.mpf(k)
            value = value * body(inner)
        return value

    return total


def _range(low: Any, high: Any) -> range:
    first, last = whole(low), whole(high)
    if last - first > _MOST_TERMS:
        raise UndefinedPoint(f"more than {_MOST_TERMS} terms")
    return range(first, last + 1)


def _tail(context: Any, accuracy: Accuracy, term: Callable[[int], Any], start: int, step: int) -> Any:
    """Sum term after term while they shrink geometrically; the rest is bounded by the geometric series."""
    total, before, quiet = context.mpf(0), None, 0
    small = context.mpf(10) ** (-min(context.dps, 40))
    for count in range(_MOST_TERMS):
        value = term(start + step * count)
        total += value
        ratio = abs(value / before) if before else 1
        before = value
        quiet = quiet + 1 if abs(value) <= small * abs(total) and (ratio < 0.95 or value == 0) else 0
        if quiet == 8 and (total or count > 60):
            accuracy.record(total, abs(value) * 20)
            return total
        if count > 2000 and ratio > 0.995:
            break
    return _extrapolate(context, accuracy, term, start, step)


def _extrapolate(context: Any, accuracy: Accuracy, term: Callable[[int], Any], start: int, step: int) -> Any:
    methods = ("richardson+shanks", "levin")
    values = [context.nsum(lambda k: term(start + step * int(k)), [0, context.inf], method=m) for m in methods]
    accuracy.record(values[0], abs(values[0] - values[1]))
    if abs(values[0] - values[1]) > 1e-12 * abs(values[0]):
        raise UndefinedPoint("the infinite sum could not be summed to 12 digits")
    return values[0]
