"""Mistakes, made on purpose: small changes of the right-hand side of a checked step.

Run `PYTHONPATH=. python tests/mutants.py` for the counts of every chapter.
"""

import itertools
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

import sympy as sp
from sympy.stats.rv import RandomSymbol

from utils.derive import Derivation
from utils.derive.attack import Refuted, attack
from utils.derive.errors import UnevaluableStep
from utils.derive.instances import free_symbols
from utils.derive.prepare import entries
from utils.derive.proof import prove
from utils.derive.steps import Step, opened

OPERATORS: dict[str, Callable[[sp.Expr], Iterator[sp.Expr]]] = {}
_FLIPPED = {"<=": ">=", ">=": "<="}
_ATOMIC = (sp.logic.boolalg.BooleanFunction, sp.core.relational.Relational, sp.Indexed)


def operator(function: Callable) -> Callable:
    OPERATORS[function.__name__] = function
    return function


@operator
def sign_flip(node: sp.Expr) -> Iterator[sp.Expr]:
    if isinstance(node, sp.Add):
        for i, term in enumerate(node.args):
            yield node.func(*node.args[:i], -term, *node.args[i + 1 :])
    elif not node.is_Number:
        yield -node


@operator
def dropped_term(node: sp.Expr) -> Iterator[sp.Expr]:
    if isinstance(node, sp.Add):
        for i in range(len(node.args)):
            yield node.func(*node.args[:i], *node.args[i + 1 :])


@operator
def dropped_factor(node: sp.Expr) -> Iterator[sp.Expr]:
    if isinstance(node, sp.Mul):
        for i in range(len(node.args)):
            yield node.func(*node.args[:i], *node.args[i + 1 :])


@operator
def coefficient_plus_one(node: sp.Expr) -> Iterator[sp.Expr]:
    if node.is_Number:
        yield node + 1
    elif isinstance(node, sp.Add):
        for i, term in enumerate(node.args):
            number, rest = term.as_coeff_Mul()
            yield node.func(*node.args[:i], (number + 1) * rest, *node.args[i + 1 :])
    else:
        number, rest = node.as_coeff_Mul()
        yield (number + 1) * rest


@operator
def exponent_plus_one(node: sp.Expr) -> Iterator[sp.Expr]:
    if isinstance(node, sp.Pow):
        yield node.base ** (node.exp + 1)
    elif isinstance(node, sp.exp):
        yield sp.exp(node.args[0] + 1)
    elif isinstance(node, sp.Symbol):
        yield node**2


@operator
def root_dropped_or_added(node: sp.Expr) -> Iterator[sp.Expr]:
    if isinstance(node, sp.Pow) and node.exp.is_Rational and node.exp.q == 2:
        yield node.base ** (2 * node.exp)
    elif isinstance(node, sp.Symbol | sp.Add) and node.is_real is not False:
        yield sp.sqrt(node)


def swapped_symbols(expr: sp.Expr, symbols: list) -> Iterator[sp.Expr]:
    for one, other in itertools.combinations(symbols, 2):
        if one.is_integer == other.is_integer:
            yield expr.subs({one: other, other: one}, simultaneous=True)


def mutants(side: sp.Expr | sp.MatrixBase, most: int, seed: str) -> Iterator[tuple[str, sp.Expr | sp.MatrixBase]]:
    """Yield (operator, changed side): up to `most` of each operator, drawn at random but always the same."""
    rng = random.Random(seed)
    parts = list(entries(side))
    found: dict[str, list] = {name: [] for name in [*OPERATORS, "swapped_symbols"]}
    for i, part in enumerate(parts):
        for name, make in OPERATORS.items():
            found[name] += [(i, changed) for changed in _everywhere(part, make)]
        found["swapped_symbols"] += [(i, c) for c in swapped_symbols(part, free_symbols(part))]
    seen: set[tuple] = set()
    for name, changes in found.items():
        for i, changed in rng.sample(changes, min(most, len(changes))):
            if (
                (i, changed) in seen
                or changed == parts[i]
                or (changed.has(sp.nan, sp.zoo, sp.oo) and not parts[i].has(sp.oo))
            ):
                continue
            seen.add((i, changed))
            new = [*parts[:i], changed, *parts[i + 1 :]]
            yield name, type(side)(*side.shape, new) if isinstance(side, sp.MatrixBase) else changed


def _everywhere(expr: sp.Expr, make: Callable) -> Iterator[sp.Expr]:
    """Apply an operator at every place of an expression."""
    if isinstance(expr, sp.Expr) and not isinstance(expr, _ATOMIC):
        yield from make(expr)
        first_only = isinstance(expr, sp.Integral | sp.Sum | sp.Product | sp.Derivative | sp.Limit | sp.Subs)
        for i, part in enumerate(expr.args[:1] if first_only else expr.args):
            if isinstance(expr, sp.Piecewise):
                for value in _everywhere(part.args[0], make):
                    yield expr.func(*expr.args[:i], (value, part.args[1]), *expr.args[i + 1 :])
                continue
            for changed in _everywhere(part, make):
                yield expr.func(*expr.args[:i], changed, *expr.args[i + 1 :])


def fate(derivation: Derivation, step: Step, changed: sp.Expr, relation: str = "") -> str:
    """Return what becomes of a mutant: refuted, unevaluable, equivalent, weaker, or survived."""
    domain, where = derivation.sampling, derivation.where
    relation = relation or step.relation
    try:
        left, right, mutant = (opened(side, where) for side in (step.lhs, step.rhs, changed))
    except (UnevaluableStep, ValueError):
        return "unevaluable"
    pairs = list(zip(entries(left), entries(mutant), strict=True))
    try:
        for (one, other), written in zip(pairs, entries(right), strict=True):
            if other != written or relation != step.relation:  # the other entries are the step that was checked
                attack(relation, one, other, domain, derivation.title)
    except Refuted:
        return "refuted"
    except (UnevaluableStep, ValueError):
        return "unevaluable"
    if prove("=", list(zip(entries(right), entries(mutant), strict=True)), domain) is not None:
        return "equivalent"
    if relation == "=":
        return "survived"
    return _other_bound(relation, pairs, right, mutant, derivation)


def _other_bound(relation: str, pairs: list, right: sp.Expr, mutant: sp.Expr, derivation: Derivation) -> str:
    """A mutated bound that survives has to be true: proved, or on the far side of the bound it came from."""
    if prove(relation, pairs, derivation.sampling) is not None:
        return "weaker"
    try:
        attack(relation, right, mutant, derivation.sampling, derivation.title)
    except (Refuted, UnevaluableStep):
        return "survived"
    return "weaker"


def _slow(side: sp.Expr | sp.MatrixBase, where: Mapping) -> bool:
    """Whether a side is evaluated by quadrature, summation or draws: told by its form, so the same on any machine."""
    return opened(side, where).has(sp.Integral, sp.Sum, sp.Product, RandomSymbol)


def survey(derivation: Derivation, most: int = 10**6) -> tuple[Counter, list[str]]:
    """Return how many mutants met each fate, and a line for each that survived."""
    counts, survivors = Counter(), []
    for number, step in enumerate(derivation.steps, 1):
        if step.status == "assumed":
            continue
        heavy = any(_slow(side, derivation.where) for side in (step.lhs, step.rhs))  # some of the mutants, not all
        many = min(most, 4) if heavy else most
        trials = [(*pair, "") for pair in mutants(step.rhs, many, f"{derivation.title}/{number}")]
        if step.relation in _FLIPPED:
            trials.append(("flipped relation", step.rhs, _FLIPPED[step.relation]))
        for name, changed, relation in trials:
            found = fate(derivation, step, changed, relation)
            counts[found] += 1
            if found == "survived" or (name == "flipped relation" and found == "weaker"):
                survivors.append(f"{derivation.title}, step {number}, {name}: {relation or step.relation} {changed}")
    return counts, survivors


def main() -> None:
    import chapter
    import specimens

    groups = {"specimens": specimens.derivations()}
    groups |= {slug: chapter.derivations(chapter.load(slug)) for slug in chapter.slugs()}
    for name, derivations in groups.items():
        started, total = time.perf_counter(), Counter()
        for derivation in derivations:
            counts, survivors = survey(derivation)
            total += counts
            print(*survivors, sep="\n", end="\n" if survivors else "")
        steps = sum(len(d.steps) for d in derivations)
        print(f"{name}: {steps} steps, {dict(total)}, {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
