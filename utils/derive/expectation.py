"""Expectations: opened into integrals and sums where that is cheap, drawn by Monte Carlo where it is not."""

import math
import random
from collections.abc import Callable
from typing import Any

import sympy as sp
from sympy.stats.rv import RandomSymbol
from sympy.stats.symbolic_probability import Covariance, Expectation, Moment, Probability, Variance

from .errors import UnevaluableStep

__all__ = ["KINDS", "Expectation", "mean", "open_expectation", "sampler"]

KINDS = (Expectation, Variance, Covariance, Probability, Moment)


def open_expectation(expr: sp.Expr) -> sp.Expr:
    """Write an expectation, variance, covariance or probability through integrals and sums."""
    if isinstance(expr, Variance):
        return mean(expr.args[0] ** 2) - mean(expr.args[0]) ** 2
    if isinstance(expr, Covariance):
        first, second = expr.args[:2]
        return mean(first * second) - mean(first) * mean(second)
    if isinstance(expr, Expectation) and len(expr.args) == 1:
        return mean(expr.args[0])
    if isinstance(expr, Probability) and len(expr.args) == 1:
        return mean(sp.Piecewise((1, expr.args[0]), (0, True)))
    raise UnevaluableStep(f"{expr}: conditional expectations are not known, write the integral")


def mean(inner: sp.Expr) -> sp.Expr:
    """Return E[inner]: term by term, factors of independent variables apart; three or more stay an Expectation."""
    if not isinstance(inner, sp.Piecewise):
        inner = sp.expand(inner)
    return sp.Add(*(_mean_of_term(term) for term in sp.Add.make_args(inner)))


def _mean_of_term(term: sp.Expr) -> sp.Expr:
    """Factors that share no random variable are independent: the mean of their product is that of their means."""
    constant, groups = sp.Integer(1), []
    for factor in sp.Mul.make_args(term):
        variables = factor.atoms(RandomSymbol)
        if not variables:
            constant *= factor
            continue
        joined = [g for g in groups if g[0] & variables]
        groups = [g for g in groups if not g[0] & variables]
        groups.append((variables.union(*(g[0] for g in joined)), sp.Mul(factor, *(g[1] for g in joined))))
    for variables, product in groups:
        few = len(variables) <= 2
        constant *= _integrated(product, sorted(variables, key=str)) if few else Expectation(product)
    return constant


def _integrated(inner: sp.Expr, variables: list) -> sp.Expr:
    for variable in variables:
        distribution, plain = _distribution(variable), variable.symbol
        inner = inner.xreplace({variable: plain})
        if variable.pspace.is_Finite:
            inner = sum((p * inner.subs(plain, v) for v, p in _table(distribution)), sp.Integer(0))
            continue
        kind = sp.Sum if variable.pspace.is_Discrete else sp.Integral
        support = distribution.set
        inner = kind(inner * distribution.pdf(plain), (plain, support.inf, support.sup))
    return inner


def _distribution(variable: RandomSymbol) -> Any:
    distribution = getattr(variable.pspace, "distribution", None)
    if distribution is None or distribution.atoms(RandomSymbol):
        raise UnevaluableStep(f"{variable} depends on other random symbols: only independent ones are known")
    return distribution


def _table(distribution: Any) -> list[tuple]:
    return sorted(dict(distribution.dict).items(), key=lambda item: sp.default_sort_key(item[0]))


_DRAW: dict[str, Callable[..., Callable[[random.Random], float]]] = {
    "NormalDistribution": lambda mu, sigma: lambda rng: rng.gauss(mu, sigma),
    "UniformDistribution": lambda low, high: lambda rng: rng.uniform(low, high),
    "ExponentialDistribution": lambda rate: lambda rng: rng.expovariate(rate),
    "GammaDistribution": lambda k, theta: lambda rng: rng.gammavariate(k, theta),
    "BetaDistribution": lambda a, b: lambda rng: rng.betavariate(a, b),
    "LogNormalDistribution": lambda mu, sigma: lambda rng: rng.lognormvariate(mu, sigma),
    "LogisticDistribution": lambda mu, s: lambda rng: mu - s * math.log(1 / _open(rng) - 1),
    "LaplaceDistribution": lambda mu, b: lambda rng: mu + b * math.log(_open(rng) / _open(rng)),
    "GumbelDistribution": lambda b, mu: lambda rng: mu - b * math.log(-math.log(_open(rng))),
}


def _open(rng: random.Random) -> float:
    return rng.random() or 0.5


def sampler(variable: RandomSymbol, value: Callable[[sp.Expr], float]) -> Callable[[random.Random], float]:
    """Return a function that draws the variable; `value` turns a parameter into a number."""
    distribution = _distribution(variable)
    if variable.pspace.is_Finite:
        table = _table(distribution)
        points, weights = [value(v) for v, _ in table], [value(p) for _, p in table]
        return lambda rng: rng.choices(points, weights)[0]
    name, parameters = type(distribution).__name__, distribution.args
    if name == "GumbelDistribution" and parameters[2:] == (sp.false,):
        parameters = parameters[:2]  # the flag of the minimum form
    if name not in _DRAW or any(isinstance(a, sp.logic.boolalg.BooleanAtom) for a in parameters):
        raise UnevaluableStep(f"{variable}: cannot draw from {distribution}; known: {sorted(_DRAW)}")
    return _DRAW[name](*(value(a) for a in parameters))
