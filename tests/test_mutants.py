from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context

import chapter
import pytest
import specimens
import sympy as sp
from mutants import OPERATORS, fate, mutants, survey

from utils.derive import Derivation

x, y = sp.symbols("x y", positive=True)


@pytest.mark.parametrize("derivation", specimens.derivations(), ids=lambda d: d.title)
def test_every_wrong_step_of_the_specimens_is_refuted(derivation: Derivation) -> None:
    counts, survivors = survey(derivation)
    assert survivors == []
    assert counts["refuted"] >= 2


def survey_chapter(slug: str) -> tuple[Counter, list[str]]:
    total, survivors = Counter(), []
    for derivation in chapter.derivations(chapter.load(slug)):
        counts, left = survey(derivation)
        total += counts
        survivors += left
    return total, survivors


@pytest.fixture(scope="session")
def surveyed(request: pytest.FixtureRequest) -> Iterator[dict[str, Future]]:
    """The selected chapters, two at a time."""
    wanted = [item.callspec.params["slug"] for item in request.session.items if "surveyed" in item.fixturenames]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        yield {slug: pool.submit(survey_chapter, slug) for slug in wanted}


@pytest.mark.parametrize("slug", chapter.slugs())
def test_every_wrong_step_of_the_chapter_is_refuted(slug: str, surveyed: dict[str, Future]) -> None:
    total, survivors = surveyed[slug].result()
    print(slug, dict(total))
    assert survivors == []
    assert total["refuted"] > 5 * total["equivalent"]


def test_each_operator_finds_work() -> None:
    expr = 3 * x * sp.sqrt(y) - y**2 + 1
    assert {name for name, _ in mutants(expr, 50, "")} == {*OPERATORS, "swapped_symbols"}


def test_operators_make_the_named_change() -> None:
    found = {name: list(make(x - y)) for name, make in OPERATORS.items()}
    assert set(found["dropped_term"]) == {x, -y}
    assert set(found["sign_flip"]) == {x + y, -x - y}
    assert sp.sqrt(x - y) in found["root_dropped_or_added"]
    assert list(OPERATORS["dropped_factor"](2 * x * y)) == [x * y, 2 * y, 2 * x]
    assert list(OPERATORS["exponent_plus_one"](x**3)) == [x**4]
    assert list(OPERATORS["coefficient_plus_one"](2 * x)) == [3 * x]


def test_an_equivalent_mutant_is_recognized() -> None:
    d = Derivation("square", (x - y) ** 2).equals(x**2 - 2 * x * y + y**2, because="expand")
    assert fate(d, d.steps[0], (y - x) ** 2) == "equivalent"
    assert fate(d, d.steps[0], (y + x) ** 2) == "refuted"


def test_a_weaker_bound_is_told_from_a_wrong_one() -> None:
    d = Derivation("tangent", sp.log(x)).at_most(x - 1, because="concave")
    assert fate(d, d.steps[0], x) == "weaker"
    assert fate(d, d.steps[0], x - sp.Rational(101, 100)) == "refuted"
    assert fate(d, d.steps[0], x - 1, ">=") == "refuted"


def test_a_tiny_difference_is_seen() -> None:
    d = Derivation("tiny", x + 1).equals(1 + x, because="same")
    assert fate(d, d.steps[0], x + 1 + sp.Rational(1, 10**25)) == "refuted"
    assert fate(d, d.steps[0], x + 1 + sp.exp(-60 - x)) == "refuted"
