"""Soundness, measured: a small mistake in any step of any chapter is refuted, or provably no mistake."""

from collections import Counter

import pytest
import sympy as sp
from chapter import derivations, load, slugs
from mutants import mutants

from utils.derive import Derivation, StepError

FLIPPED = {"<=": "at_least", ">=": "at_most"}
METHOD = {"=": "equals", "<=": "at_most", ">=": "at_least"}


def verdict(derivation, step, method, mutant):
    """What the engine says of the step with `mutant` as its right-hand side: refuted, proved or sampled."""
    written = Derivation("mutant", step.lhs, where=derivation.where, domain=derivation.domain)
    try:
        getattr(written, method)(mutant, because="a mutant")
    except (StepError, ValueError):
        return "refuted"
    return written.steps[0].status


def equivalent(derivation, step, mutant):
    """Whether the mutant is proved equal to the right-hand side that the author wrote."""
    written = Derivation("equivalent", step.rhs, where=derivation.where, domain=derivation.domain)
    try:
        written.equals(mutant, because="the same, written otherwise")
    except (StepError, ValueError):
        return False
    return written.steps[0].status == "proved"


def judge(derivation, step):
    """Count the verdicts on every mutant of one step; collect the mutants that got through."""
    counts, through = Counter(), []
    for name, mutant in mutants(step.rhs):
        found = verdict(derivation, step, METHOD[step.relation], mutant)
        if found == "refuted":
            counts["refuted"] += 1
        elif step.relation == "=" and (found == "proved" or equivalent(derivation, step, mutant)):
            counts["equivalent"] += 1
        elif step.relation != "=":
            counts["another true bound"] += 1  # a bound one larger is still a bound
        else:
            through.append((name, mutant))
    return counts, through


@pytest.mark.parametrize("slug", slugs())
def test_no_mutant_of_a_chapter_gets_through(slug, record_property):
    counts, through = Counter(), []
    for derivation in derivations(load(slug)):
        for step in derivation.steps:
            if step.status == "assumed":
                continue
            found, survivors = judge(derivation, step)
            counts += found
            through += [(derivation.title, step.because, *s) for s in survivors]
            if step.relation in FLIPPED:
                both = verdict(derivation, step, FLIPPED[step.relation], step.rhs)
                assert both == "refuted" or equivalent(derivation, step, step.lhs), f"{step.because}: both ways hold"
    record_property("mutants", dict(counts))
    assert not through
    assert counts["refuted"] > 5 * counts["equivalent"]


def test_every_kind_of_mistake_is_made():
    x, y = sp.symbols("x y", positive=True)
    kinds = Counter(name for name, _ in mutants(3 * x**2 + sp.sqrt(y) - sp.log(x) * y))
    assert set(kinds) == {
        "sign flip",
        "dropped term",
        "dropped factor",
        "coefficient + 1",
        "exponent + 1",
        "swapped symbols",
        "sqrt dropped",
        "sqrt added",
    }


def test_mistakes_are_made_inside_integrals_and_matrices():
    x, t = sp.symbols("x t", real=True)
    inside = [m for _, m in mutants(sp.Integral(t * x**2, (t, 0, x)))]
    assert sp.Integral(t * x**3, (t, 0, x)) in inside
    assert sp.ImmutableMatrix([[x, 1], [0, x**2]]) in [m for _, m in mutants(sp.ImmutableMatrix([[x, 1], [0, x]]))]
