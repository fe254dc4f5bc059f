"""The proof of a step that survived the attack: SymPy reduces the residual to exactly 0 within a time limit."""

from collections.abc import Callable, Iterator

import sympy as sp

from .clock import time_limit
from .errors import TimeLimitError
from .expectation import Expectation
from .inequality import is_nonnegative
from .instances import Domain, free_symbols

__all__ = ["PROOF_SECONDS", "prove"]

PROOF_SECONDS = 5.0


def prove(relation: str, pairs: list[tuple[sp.Expr, sp.Expr]], domain: Domain) -> str | None:
    """Return how `left relation right` was proved for every pair (the entries of a matrix), or None."""
    if any(side.has(Expectation) for pair in pairs for side in pair):
        return None
    ways = []
    try:
        with time_limit(PROOF_SECONDS):
            for left, right in pairs:
                ways.append(_prove(relation, left, right, domain))
                if ways[-1] is None:
                    return None
    except (TimeLimitError, NotImplementedError, ValueError, TypeError, AttributeError, ArithmeticError):
        return None
    except (RecursionError, KeyError, IndexError, AssertionError, sp.PolynomialError):
        return None  # SymPy's own failures: the step stays sampled
    return ", ".join(dict.fromkeys(w for w in ways if w != "identical"))


def _prove(relation: str, left: sp.Expr, right: sp.Expr, domain: Domain) -> str | None:
    if left == right:
        return "identical"
    if relation == "<=":
        return _nonnegative(right - left, domain)
    if relation == ">=":
        return _nonnegative(left - right, domain)
    for name, zero in _ways(left, right, domain):
        if zero():
            return name
    return _case_by_case(left, right, domain)


def _nonnegative(gap: sp.Expr, domain: Domain) -> str | None:
    return is_nonnegative(gap, lambda expr: _within_domain(expr, domain)[0])


def _ways(left: sp.Expr, right: sp.Expr, domain: Domain) -> Iterator[tuple[str, Callable[[], bool]]]:
    residual = left - right
    yield "expand", lambda: _is_zero(sp.expand(residual))
    if residual.has(sp.Integral, sp.Sum):
        residual = _linear(residual)
        yield "linearity", lambda: _is_zero(sp.expand(residual))
    if residual.has(sp.Integral, sp.Sum, sp.Product, sp.Derivative):
        residual = _settle(sp.expand(_written_out(residual).doit()), domain)
        yield "evaluate", lambda: _is_zero(residual) or _is_zero(sp.expand(residual))
    if residual.has(sp.Max, sp.Min):
        yield "absolute values", lambda: _is_zero(sp.expand(residual.rewrite(sp.Abs)))
    if residual.has(sp.erf, sp.erfc):
        residual = residual.rewrite(sp.erf)
        yield "erf", lambda: _is_zero(sp.expand(residual))
    opened, _ = _within_domain(residual, domain)
    yield "rational form", lambda: _is_zero(sp.cancel(sp.together(opened)))
    if opened.has(sp.log):
        yield "split logarithms", lambda: _is_zero(_split_logs(opened))
    if opened.has(sp.exp, sp.sinh, sp.cosh, sp.tanh, sp.sin, sp.cos):
        yield (
            "exponentials",
            lambda: _is_zero(sp.cancel(sp.together(sp.powsimp(sp.expand(opened.rewrite(sp.exp)))))),
        )
    if opened.has(sp.gamma, sp.factorial, sp.binomial, sp.beta):
        yield "gamma functions", lambda: _is_zero(sp.gammasimp(sp.expand_func(opened)))
    if not residual.has(sp.Integral):
        yield "logarithm of the ratio", lambda: _equal_logs(left, right, domain)
    yield "simplify", lambda: _is_zero(sp.simplify(opened))
    if opened.has(sp.log):
        yield "simplify", lambda: _is_zero(sp.simplify(_split_logs(opened)))


def _linear(expr: sp.Expr) -> sp.Expr:
    """Integrate and sum term by term, constants in front."""

    def split(node: sp.Expr) -> sp.Expr:
        variables = [limit[0] for limit in node.limits]
        terms = sp.Add.make_args(sp.expand(node.function))
        parts = [term.as_independent(*variables, as_Add=False) for term in terms]
        return sp.Add(*(constant * node.func(rest, *node.limits) for constant, rest in parts))

    return expr.replace(lambda e: isinstance(e, sp.Integral | sp.Sum), split)


def _written_out(expr: sp.Expr, most: int = 1000) -> sp.Expr:
    """Write a sum of a known number of terms as these terms; SymPy itself does so below 100."""

    def terms(node: sp.Sum) -> sp.Expr:
        (index, first, last), *others = node.limits
        if others or not (first.is_Integer and last.is_Integer and 0 <= last - first < most):
            return node
        return sp.Add(*(node.function.subs(index, i) for i in range(first, last + 1)))

    return expr.replace(lambda e: isinstance(e, sp.Sum), terms)


def _is_zero(expr: sp.Expr) -> bool:
    return expr == 0


def _split_logs(expr: sp.Expr) -> sp.Expr:
    """Split logarithms of products whose factors are positive by assumption."""
    whole = expr.replace(sp.log, lambda inner: sp.expand_log(sp.log(sp.factor(sp.together(inner)))))
    return sp.cancel(sp.expand(sp.expand_log(whole)))


def _equal_logs(left: sp.Expr, right: sp.Expr, domain: Domain) -> bool:
    (left, _), (right, _) = _within_domain(left, domain), _within_domain(right, domain)
    if not (left.is_positive and right.is_positive):
        return False
    return _is_zero(sp.expand(_split_logs(sp.log(left) - sp.log(right))))


def _within_domain(expr: sp.Expr, domain: Domain) -> tuple[sp.Expr, dict]:
    """Write each symbol on an open interval through a positive (or real) one, so that its signs are known.

    p in (0, 1) becomes u/(1 + u): then p and 1 - p are products of positive factors.
    """
    changes: dict = {}
    for symbol in free_symbols(expr):
        bounds = domain.declared.get(symbol)
        if not isinstance(bounds, tuple) or symbol.is_integer:
            continue
        low, high = (b.subs(changes) for b in bounds)
        u = sp.Dummy(f"u_{symbol}", positive=True)
        if low.is_finite is not False and high.is_finite is not False:
            changes[symbol] = sp.factor((low + high * u) / (1 + u))
        elif low.is_finite is not False:
            changes[symbol] = low + u
        elif high.is_finite is not False:
            changes[symbol] = high - u
    if not changes:
        return expr, {}
    return expr.subs(changes), changes


def _settle(expr: sp.Expr, domain: Domain) -> sp.Expr:
    """Choose the branch of a Piecewise (convergence conditions, mostly) that the domain implies."""
    if not expr.has(sp.Piecewise):
        return expr

    def choose(*branches: tuple) -> sp.Expr:
        kept = []
        for value, test in branches:
            opened = _within_condition(test, domain)
            if opened == sp.false:
                continue
            kept.append((value, sp.true if opened == sp.true else test))
            if opened == sp.true:
                break
        return sp.Piecewise(*kept)

    return expr.replace(sp.Piecewise, choose)


def _within_condition(test: sp.Basic, domain: Domain) -> sp.Basic:
    if isinstance(test, sp.And | sp.Or):
        return test.func(*(_within_condition(a, domain) for a in test.args))
    if not isinstance(test, sp.core.relational.Relational):
        return test
    opened, _ = _within_domain(test.lhs - test.rhs, domain)
    opened = sp.factor(sp.together(opened))
    return test.func(opened, 0)


def _case_by_case(left: sp.Expr, right: sp.Expr, domain: Domain) -> str | None:
    """Prove each combination of the symbols that take finitely many values."""
    symbols = free_symbols(left, right)
    cases = domain.cases(symbols, most=256)
    if len(cases) < 2:
        return None
    for case in cases:
        one, other = left.subs(case), right.subs(case)
        if one != other and not any(zero() for _, zero in _ways(one, other, domain)):
            return None
    return f"all {len(cases)} cases"
