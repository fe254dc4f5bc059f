"""Small mistakes in an expression: what a tired author writes instead of the right line."""

from collections.abc import Iterator
from itertools import combinations

import sympy as sp

__all__ = ["mutants"]

_OPAQUE = (sp.Tuple, sp.Symbol, sp.Indexed, sp.core.relational.Relational)


def mutants(expr: sp.Basic) -> Iterator[tuple[str, sp.Basic]]:
    """Every expression that differs from `expr` by one mistake, with the mistake's name; each expression once.

    Mistakes: a flipped sign, a dropped term or factor, a coefficient or exponent one too large, a square root dropped
    or added, two symbols swapped. They are made at every node, inside integrals, sums and matrices too.

    >>> x = sp.Symbol("x", positive=True)
    >>> sorted({name for name, _ in mutants(2 * sp.sqrt(x) + x**2)})
    ['coefficient + 1', 'dropped factor', 'dropped term', 'exponent + 1', 'sign flip', 'sqrt added', 'sqrt dropped']
    """
    seen = {expr}
    for name, mutant in [*_everywhere(expr), *_swapped(expr)]:
        if mutant not in seen and not mutant.has(sp.nan, sp.zoo):
            seen.add(mutant)
            yield name, mutant


def _everywhere(node: sp.Basic) -> Iterator[tuple[str, sp.Basic]]:
    """The mistakes at this node, then those inside each of its arguments."""
    if isinstance(node, sp.MatrixBase):
        for place, entry in enumerate(node):
            for name, mutant in _everywhere(entry):
                entries = [*node]
                entries[place] = mutant
                yield name, sp.ImmutableMatrix(*node.shape, entries)
        return
    if isinstance(node, sp.Expr) and not isinstance(node, sp.core.function.AppliedUndef):
        yield from _here(node)
    for place, argument in enumerate(node.args):
        if isinstance(argument, _OPAQUE) or (node.is_Pow and place == 1):
            continue
        for name, mutant in _everywhere(argument):
            try:
                yield name, node.func(*node.args[:place], mutant, *node.args[place + 1 :])
            except (TypeError, ValueError, ZeroDivisionError):
                continue  # no such expression: nobody could have written it


def _here(node: sp.Expr) -> Iterator[tuple[str, sp.Expr]]:
    if node != 0:
        yield "sign flip", -node
    if node.is_Add:
        for term in node.args:
            yield "dropped term", node - term
            yield "sign flip", node - 2 * term
    if node.is_Mul:
        for factor in node.args:
            yield "dropped factor", node / factor
            if factor.is_nonnegative and not factor.is_Number:
                yield "sqrt added", node / sp.sqrt(factor)
    if node.is_Rational or node.is_Mul:
        yield "coefficient + 1", node + (node / node.as_coeff_Mul()[0] if node != 0 else 1)
    if node.is_Pow:
        yield "exponent + 1", node * node.base
        if node.exp in (sp.S.Half, -sp.S.Half):
            yield "sqrt dropped", node.base ** (2 * node.exp)
        if node.base.is_nonnegative and node.exp not in (sp.S.Half, -sp.S.Half):
            yield "sqrt added", sp.sqrt(node.base) ** node.exp
    elif node.is_Symbol:
        yield "exponent + 1", node**2


def _swapped(expr: sp.Basic) -> Iterator[tuple[str, sp.Basic]]:
    symbols = sorted((s for s in expr.free_symbols if isinstance(s, sp.Symbol)), key=str)
    for a, b in combinations(symbols, 2):
        if a.assumptions0 == b.assumptions0:
            yield "swapped symbols", expr.xreplace({a: b, b: a})
