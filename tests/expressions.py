"""The expressions on which SymPy, torch and the browser must agree, each with the ranges of its symbols."""

import random
from typing import NamedTuple

import sympy as sp

x, y = sp.symbols("x y", real=True)
s, t = sp.symbols("s t", positive=True)
n = sp.Symbol("n", integer=True, positive=True)


class Case(NamedTuple):
    """An expression, the ranges of its symbols, and whether Vega's language can say it."""

    expr: sp.Expr
    ranges: dict
    vega: bool = True


_ANY, _POSITIVE = (-3.0, 3.0), (0.05, 4.0)
_NORMAL = sp.exp(-((x - y) ** 2) / (2 * s**2)) / sp.sqrt(2 * sp.pi * s**2)
_BETA = sp.Rational(1, 10) * t + (20 - sp.Rational(1, 10)) * t**2 / 2

CASES = {
    "normal density": Case(_NORMAL, {x: _ANY, y: _ANY, s: _POSITIVE}),
    "constant over the root": Case(x / sp.sqrt(2 * sp.pi) + sp.EulerGamma, {x: _ANY}),
    "rational coefficients": Case(x / 3 - sp.Rational(7, 5) * y**3 + sp.Rational(1, 3), {x: _ANY, y: _ANY}),
    "integer quotient": Case(sp.Integer(1) / (n + 1) + sp.Rational(1, 2) ** n, {n: (1, 9)}),
    "nested quotients": Case(x / (1 + 1 / (s + 1 / (1 + t))) - y / -s, {x: _ANY, y: _ANY, s: _POSITIVE, t: _POSITIVE}),
    "negative exponents": Case(s**-2 + s ** sp.Rational(-3, 2) + 1 / sp.sqrt(s), {s: _POSITIVE}),
    "real power": Case(s**x + t ** sp.Rational(7, 3), {s: _POSITIVE, x: _ANY, t: _POSITIVE}),
    "minus a minus": Case(-(-x - 3) - (y - -2) * -x, {x: _ANY, y: _ANY}),
    "logistic": Case(1 / (1 + sp.exp(-x)), {x: (-30, 30)}),
    "softplus": Case(sp.log(1 + sp.exp(x)), {x: _ANY}),
    "log near one": Case(sp.log(1 + x) / x, {x: (1e-6, 1e-3)}),
    "variance preserving noise": Case(sp.sqrt(1 - sp.exp(-_BETA)), {t: (1e-4, 1)}),
    "two exponentials and a constant": Case(3 - 2 * sp.exp(-s) - sp.exp(x) + y, {s: _POSITIVE, x: _ANY, y: _ANY}),
    "geometric path": Case(s * (t / s) ** y, {s: _POSITIVE, t: (5, 80), y: (0, 1)}),
    "max with a number": Case(sp.Max(1, s, x) - sp.Min(0, x, y) + sp.Max(-x, -1), {x: _ANY, y: _ANY, s: _POSITIVE}),
    "absolute value and sign": Case(sp.Abs(x) * sp.sign(y) + sp.Abs(x - y), {x: _ANY, y: _ANY}),
    "step": Case(sp.Heaviside(x) * y + sp.Heaviside(y, 0), {x: _ANY, y: _ANY}),
    "floor and ceiling": Case(sp.floor(x) - x * sp.ceiling(y) + sp.Mod(x, 1), {x: _ANY, y: _ANY}),
    "modulus": Case(sp.Mod(x, s), {x: _ANY, s: (0.5, 2)}),
    "hyperbolic": Case(sp.tanh(x) + sp.sinh(y) / sp.cosh(x), {x: _ANY, y: _ANY}),
    "saturated tanh": Case(sp.tanh(x) + 2, {x: (-800, 800)}),
    "inverse hyperbolic": Case(sp.asinh(x) + sp.acosh(1 + s) + sp.atanh(x / 4), {x: _ANY, s: _POSITIVE}),
    "trigonometric": Case(sp.sin(x) * sp.cos(2 * y) + sp.tan(x / 3), {x: _ANY, y: _ANY}),
    "inverse trigonometric": Case(sp.asin(x / 4) + sp.acos(y / 4) + sp.atan(x) + sp.atan2(y, x), {x: _ANY, y: _ANY}),
    "normal distribution": Case((1 + sp.erf(x / sp.sqrt(2))) / 2 + sp.erfc(y), {x: _ANY, y: (-2, 2)}),
    "normal quantile": Case(sp.sqrt(2) * sp.erfinv(2 * t - 1), {t: (0.6, 0.999)}),
    "piecewise": Case(
        sp.Piecewise((x**2 / 2, sp.Abs(x) <= 1), (sp.Abs(x) - sp.Rational(1, 2), True)) * y, {x: _ANY, y: _ANY}
    ),
    "piecewise with conditions": Case(
        sp.Piecewise((x * y, (x > 0) & (y > 0)), (-x, (x < -1) | ~(y > 1)), (y**2, True)), {x: _ANY, y: _ANY}
    ),
    "entropy": Case(-t * sp.log(t) - (1 - t) * sp.log(1 - t), {t: (0.01, 0.99)}),
    "divergence of two Gaussians": Case(
        sp.log(t / s) + (s**2 + (x - y) ** 2) / (2 * t**2) - sp.Rational(1, 2),
        {x: _ANY, y: _ANY, s: _POSITIVE, t: _POSITIVE},
    ),
    "finite sum": Case(sp.Sum(x ** sp.Symbol("k") / sp.factorial(sp.Symbol("k")), (sp.Symbol("k"), 0, 4)), {x: _ANY}),
    "integral with a closed form": Case(sp.Integral(sp.exp(-s * t), (t, 0, 1)), {s: _POSITIVE}),
    "gamma": Case(sp.gamma(s + 1) + sp.loggamma(t), {s: _POSITIVE, t: (2.5, 6)}, vega=False),
    "beta function": Case(sp.beta(s, t), {s: _POSITIVE, t: _POSITIVE}, vega=False),
    "digamma": Case(sp.digamma(s + 3) + sp.polygamma(1, t), {s: _POSITIVE, t: _POSITIVE}, vega=False),
    "gamma of a negative number": Case(sp.gamma(x), {x: (-1.9, -1.1)}, vega=False),
    "factorial": Case(sp.factorial(n) / 2, {n: (1, 9)}, vega=False),
}  # fmt: skip


def points(ranges: dict, count: int = 7, seed: int = 0) -> list[dict]:
    """Return `count` assignments of exactly representable numbers within the ranges."""
    rng = random.Random(seed)
    return [
        {
            v: float(rng.randint(int(lo), int(hi))) if v.is_integer else rng.uniform(lo, hi)
            for v, (lo, hi) in ranges.items()
        }
        for _ in range(count)
    ]


def exact(expr: sp.Expr, point: dict) -> float:
    """Return the value of `expr` at a point, computed by SymPy with 30 digits."""
    value = expr.doit().subs(
        {v: sp.Float(number, 40) if not v.is_integer else int(number) for v, number in point.items()}
    )
    return float(sp.N(value, 30))
