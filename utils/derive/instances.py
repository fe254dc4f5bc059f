"""Random points: exact rationals within every symbol's assumptions and declared domain."""

import itertools
import random
from collections.abc import Iterable, Mapping
from typing import Any

import mpmath
import sympy as sp
from sympy.core.function import AppliedUndef
from sympy.stats.rv import RandomSymbol

from .numeric import compile_expression
from .quadrature import Accuracy

__all__ = ["Domain", "check_symbols", "free_symbols"]

_KINDS = (
    "complex", "real", "extended_real", "integer", "rational", "imaginary", "positive", "negative",
    "nonnegative", "nonpositive", "zero", "prime", "even", "odd",
)  # fmt: skip


def free_symbols(*sides: Any) -> list[sp.Expr]:
    """Return what has to be sampled: symbols and matrix elements, in a stable order."""
    found = set()
    for side in sides:
        indexed = {i.base.label for i in side.atoms(sp.Indexed)}
        matrices = {e.args[0] for e in side.atoms(sp.matrices.expressions.matexpr.MatrixElement)}
        found |= {s for s in side.free_symbols if isinstance(s, sp.Symbol)} - indexed - matrices
        found |= side.atoms(sp.matrices.expressions.matexpr.MatrixElement)
        for variable in side.atoms(RandomSymbol):
            found |= getattr(variable.pspace, "distribution", variable.pspace).free_symbols - {variable.symbol}
    return sorted(found, key=lambda s: (str(s), s.sort_key()))


def check_symbols(symbols: Iterable[sp.Expr], domain: Mapping) -> None:
    """Refuse symbols that say nothing about their values, and two symbols under one name."""
    names: dict[str, sp.Expr] = {}
    for symbol in symbols:
        if not isinstance(symbol, sp.Symbol):
            continue
        if not symbol.is_commutative:
            raise ValueError(f"symbol {symbol} does not commute: write it as a matrix of commuting symbols")
        if symbol not in domain and not any(getattr(symbol, "is_" + kind) for kind in _KINDS):
            raise ValueError(
                f"symbol {symbol} has no assumptions: declare it, e.g. Symbol('{symbol}', real=True) "
                "(or positive, integer, complex), or give its domain"
            )
        other = names.setdefault(symbol.name, symbol)
        if other != symbol:
            raise ValueError(
                f"two different symbols are both named {symbol}: {other.assumptions0} and {symbol.assumptions0}"
            )


class Domain:
    """Where symbols live: their own assumptions, narrowed by `(lo, hi)` or a list of values.

    Bounds may contain other symbols: `{s: (0, t)}` keeps s below t. A defined symbol that is declared positive
    restricts the domain to where its definition is positive.
    """

    def __init__(self, declared: Mapping | None = None, defined: Mapping | None = None) -> None:
        self.declared = {}
        self.signs = [_SignTest(name, value) for name, value in dict(defined or {}).items() if _signed(name, value)]
        for symbol, where in dict(declared or {}).items():
            if not isinstance(symbol, sp.Symbol | sp.Indexed | AppliedUndef | sp.core.function.UndefinedFunction):
                raise TypeError(f"domain: expected symbols as keys, received {symbol!r}")
            if isinstance(where, tuple) and len(where) == 2:
                self.declared[symbol] = tuple(sp.sympify(b) for b in where)
            elif isinstance(where, list | set | frozenset | range) and len(where):
                self.declared[symbol] = [sp.sympify(v) for v in where]
            else:
                raise ValueError(f"domain of {symbol}: expected (lo, hi) or a list of values, received {where!r}")

    def values(self, symbol: sp.Expr) -> list | None:
        """Return the finite list of values of a symbol, or None."""
        where = self.declared.get(symbol)
        return where if isinstance(where, list) else None

    def admits(self, point: Mapping) -> str:
        """Return "" or which defined symbol has not its declared sign at the point."""
        return next((problem for test in self.signs if (problem := test(point))), "")

    def contains(self, symbol: sp.Expr, point: Mapping) -> bool:
        """Return whether a symbol, and every symbol whose bounds contain it, has a value that it may have."""
        if not _allowed(symbol, point[symbol]):
            return False
        for other, where in self.declared.items():
            if isinstance(where, tuple) and other in point and (other == symbol or symbol in self._bounds(other)):
                low, high = (bound.subs(point) for bound in where)
                if not (low < point[other]) == (point[other] < high) == True:  # noqa: E712
                    return False
        return True

    def unbounded(self, symbol: sp.Expr) -> bool:
        """Return whether a symbol is limited by its assumptions alone."""
        return symbol not in self.declared

    def cases(self, symbols: list, most: int = 4096) -> list[dict]:
        """Return every combination of the symbols with finitely many values ([{}] if none, [] if too many)."""
        finite = [s for s in symbols if self.values(s)]
        lists = [self.values(s) for s in finite]
        if sp.prod([len(values) for values in lists]) > most:
            return []
        return [dict(zip(finite, combination, strict=True)) for combination in itertools.product(*lists)]

    def point(self, symbols: list, seed: str, wide: bool = False) -> dict:
        """Return one random point: a rational (or complex rational) for every symbol, each with its own seed."""
        found: dict = {}
        waiting = list(symbols)
        while waiting:
            ready = [s for s in waiting if not self._bounds(s) & (set(waiting) - {s})]
            if not ready:
                raise ValueError(f"domain bounds depend on each other: {waiting}")
            for symbol in ready:
                found[symbol] = self._value(symbol, found, random.Random(f"{seed}/{symbol}"), wide)
            waiting = [s for s in waiting if s not in found]
        return found

    def _bounds(self, symbol: sp.Expr) -> set:
        where = self.declared.get(symbol)
        return set().union(*(b.free_symbols for b in where)) if isinstance(where, tuple) else set()

    def _value(self, symbol: sp.Expr, found: dict, rng: random.Random, wide: bool) -> sp.Expr:
        where = self.declared.get(symbol)
        for _ in range(400):
            if isinstance(where, list):
                value = rng.choice(where)
            elif where:
                value = _between(symbol, *(b if b.is_number else b.subs(found) for b in where), rng, wide)
            else:
                value = _by_assumption(symbol, rng, wide)
            if _allowed(symbol, value):
                return value
        raise ValueError(f"no value of {symbol} within its domain {where} meets its assumptions")


def _signed(name: sp.Basic, value: Any) -> bool:
    if not isinstance(value, sp.Expr) or value.has(AppliedUndef, sp.Integral, sp.Sum, sp.Indexed):
        return False
    return bool(name.is_nonnegative or name.is_nonpositive)


class _SignTest:
    """Whether a defined symbol has its declared sign at a point."""

    def __init__(self, name: sp.Basic, value: sp.Expr) -> None:
        self.name, self.value, self.sign = name, value, 1 if name.is_nonnegative else -1
        self.code, self.symbols = compile_expression(value, mpmath.fp, Accuracy()), value.free_symbols

    def __call__(self, point: Mapping) -> str:
        if not self.symbols <= set(point):
            return ""
        try:
            found = self.code({s: complex(v) if v.has(sp.I) else float(v) for s, v in point.items()})
        except (ArithmeticError, ValueError):
            return f"{self.name} = {self.value} has no value"
        if isinstance(found, complex) or self.sign * found < 0:
            return f"{self.name} is not {'positive' if self.sign > 0 else 'negative'} where it is {self.value}"
        return ""


def _allowed(symbol: sp.Expr, value: sp.Expr) -> bool:
    declared = getattr(symbol, "_assumptions_orig", {})
    return all(getattr(value, "is_" + name, None) in (wanted, None) for name, wanted in declared.items())


def _magnitude(rng: random.Random, wide: bool) -> sp.Rational:
    """A positive rational of ordinary size; when `wide`, anywhere from 1/50 to 20."""
    if wide and rng.random() < 0.5:
        return sp.Rational(rng.randint(1, 997), rng.choice((53, 499, 49999)))
    return sp.Rational(rng.randint(140, 2400), 997)


def _by_assumption(symbol: sp.Expr, rng: random.Random, wide: bool) -> sp.Expr:
    if symbol.is_integer:
        low = 1 if symbol.is_positive else 0 if symbol.is_nonnegative else -6
        high = -1 if symbol.is_negative else 0 if symbol.is_nonpositive else (13 if wide else 6)
        if symbol.is_prime or symbol.is_composite:
            high = 40
        return sp.Integer(rng.randint(min(low, high), high))
    size = _magnitude(rng, wide)
    if symbol.is_positive or symbol.is_nonnegative:
        return size
    if symbol.is_negative or symbol.is_nonpositive:
        return -size
    sign = rng.choice((-1, 1))
    if symbol.is_imaginary:
        return sign * size * sp.I
    if symbol.is_real or symbol.is_extended_real or not symbol.is_complex:
        return sign * size
    return sign * size + rng.choice((-1, 1)) * _magnitude(rng, wide) * sp.I


def _between(symbol: sp.Expr, low: sp.Expr, high: sp.Expr, rng: random.Random, wide: bool) -> sp.Expr:
    if symbol.is_integer:
        low = sp.ceiling(low) if low.is_finite else sp.ceiling(high) - 12 if high.is_finite else sp.Integer(-6)
        high = sp.floor(high) if high.is_finite else low + 12
        if low > high:
            raise ValueError(f"domain of {symbol}: no integer between {low} and {high}")
        return sp.Integer(rng.randint(int(low), int(high)))
    size = _magnitude(rng, wide)
    if not low.is_finite and not high.is_finite:
        return rng.choice((-1, 1)) * size
    if not high.is_finite:
        return low + size
    if not low.is_finite:
        return high - size
    if not (low < high) == True:  # noqa: E712
        raise ValueError(f"domain of {symbol}: expected lo < hi, received ({low}, {high})")
    edge = 2 if wide else 60
    share = sp.Rational(rng.randint(edge, 997 - edge), 997)
    return low + (high - low) * share
