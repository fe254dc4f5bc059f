import pytest
import sympy as sp
from sympy.core import random as sympy_random

from utils.derive import Derivation
from utils.derive.inequality import is_nonnegative
from utils.derive.instances import Domain
from utils.derive.proof import prove

x, y, a = sp.symbols("x y a", real=True)
t, p, q, sigma = sp.symbols("t p q sigma", positive=True)
k = sp.Symbol("k", integer=True)
UNIT = Domain({p: (0, 1), q: (0, 1)})


def way(lhs: sp.Expr, rhs: sp.Expr, domain: Domain | None = None, relation: str = "=") -> str | None:
    return prove(relation, [(sp.sympify(lhs), sp.sympify(rhs))], domain or Domain())


@pytest.mark.parametrize(
    ("lhs", "rhs", "domain"),
    [
        ((x + y) ** 3, sp.expand((x + y) ** 3), None),
        (1 / (1 + sp.exp(-x)), sp.exp(x) / (1 + sp.exp(x)), None),
        (sp.tanh(x), 2 / (1 + sp.exp(-2 * x)) - 1, None),
        (sp.erfc(x) + sp.erf(x), sp.Integer(1), None),
        (t * sp.log(2) / 2 + (t + 1) * sp.log(2) / 2 - sp.log(2) / 2, t * sp.log(2), None),
        (sp.log(p / (1 - p)), sp.log(p) - sp.log(1 - p), UNIT),
        (sp.log(p * q), sp.log(p) + sp.log(q), None),
        (sp.sqrt(p**2 * (1 - p) ** 2), p * (1 - p), UNIT),
        (sp.gamma(t + 2), t * (t + 1) * sp.gamma(t), None),
        (sp.Integral(sp.exp(-(x**2)), (x, -sp.oo, sp.oo)), sp.sqrt(sp.pi), None),
        (sp.Sum(p**k, (k, 0, sp.oo)), 1 / (1 - p), UNIT),
        (sp.Sum(sp.Piecewise((1, 4 * k <= 100), (t, True)), (k, 0, 100)), 26 + 75 * t, None),
        (sp.Max(x, y) + sp.Min(x, y), x + y, None),
        (sp.cos(2 * x), 1 - 2 * sp.sin(x) ** 2, None),
        (sp.exp(-((x - a) ** 2) / 2) / sp.exp(-(x**2) / 2), sp.exp(a * x - a**2 / 2), None),
    ],
)
def test_a_true_equality_is_proved(lhs: sp.Expr, rhs: sp.Expr, domain: Domain | None) -> None:
    assert way(lhs, rhs, domain)


@pytest.mark.parametrize(
    ("lhs", "rhs"),
    [
        (sp.log(x**2), 2 * sp.log(x)),
        (sp.sqrt(x**2), x),
        (sp.log(x * y), sp.log(x) + sp.log(y)),
        ((x**2) ** sp.Rational(1, 2), -x),
        (sp.Sum(t**k, (k, 0, sp.oo)), 1 / (1 - t)),
        (x + sp.Rational(1, 10**40), x),
    ],
)
def test_a_false_equality_is_not_proved(lhs: sp.Expr, rhs: sp.Expr) -> None:
    assert way(lhs, rhs) is None


@pytest.mark.parametrize(
    ("gap", "domain", "how"),
    [
        (x**2 + t, None, "assumptions"),
        (x**2 - 2 * x * y + y**2, None, "factors"),
        (x**2 + x * y + y**2 + x + 1, None, "squares"),
        (t - 1 - sp.log(t), None, "convex in t"),
        (p * (1 - p), UNIT, ""),
        (p * sp.log(p / q) + (1 - p) * sp.log((1 - p) / (1 - q)), UNIT, "convex"),
        (sp.log(2) - sp.log(1 + sp.exp(-t / q)), None, "grows with"),
        (2**t * q - q, None, "grows with t"),
        (sp.exp(p) - 1, UNIT, "grows with p"),
    ],
)
def test_a_true_bound_is_proved(gap: sp.Expr, domain: Domain | None, how: str) -> None:
    found = way(gap, 0, domain, ">=")
    assert found is not None
    assert how in found


@pytest.mark.parametrize(
    "gap",
    [
        *(x**2 - 2 * x * y + y**2 - 1, sp.log(t), x**3, p * (1 - p), x**2 + 3 * x * y + y**2, t - 2 + 1 / (4 * t)),
        # these grow wherever they are smooth
        *(-1 / t, 1 / (1 - t), 2**t - 2, sp.log(t) + 5, sp.exp(-1 / t) - sp.Rational(1, 2)),
        *(sp.sign(t - 1), sp.floor(t) - 1),
    ],
)
def test_a_false_bound_is_not_proved(gap: sp.Expr) -> None:
    assert way(gap, 0, None, ">=") is None


def crowded() -> sp.Expr:
    """A sum of fractions that SymPy factors in a tenth of a second or, after unlucky draws, in half a minute."""
    area = {i: sp.Symbol(f"a_{{{i}}}", positive=True) for i in ("1", "2", "3", "12", "13", "23", "123")}

    def distance(i: str, j: str) -> sp.Expr:
        either = sum(size for name, size in area.items() if i in name or j in name)
        return 1 - sum(size for name, size in area.items() if i in name and j in name) / either

    return distance("1", "2") + distance("2", "3") - distance("1", "3")


def test_a_sum_of_positive_terms_over_a_positive_denominator_is_seen_without_factoring() -> None:
    assert is_nonnegative(crowded()) == "sign over one denominator"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sp, "factor", lambda expr: pytest.fail("factored"))
        assert is_nonnegative(crowded()) is not None


def test_a_step_takes_the_same_road_each_time() -> None:
    """SymPy draws the points where it evaluates when it factors: a step starts the draws anew, and gives them back."""
    drawn = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("utils.derive.steps.prove", lambda *_: drawn.append(sympy_random.rng.random()))
        for start in (1, 2):
            sympy_random.seed(start)
            Derivation("d", (x + t) ** 2).equals(x**2 + 2 * t * x + t**2, because="square")
            left = sympy_random.rng.random()
            sympy_random.seed(start)
            assert left == sympy_random.rng.random()
    assert drawn[0] == drawn[1]


def test_a_convex_function_with_its_minimum_outside_is_not_settled_by_it() -> None:
    assert is_nonnegative((t + 1) ** 2 - 1) is not None
    assert is_nonnegative((t + 1) ** 2 - 2) is None


def test_cases_are_proved_one_by_one() -> None:
    b = sp.Symbol("b", integer=True)
    d = Derivation("bit", p**b * (1 - p) ** (1 - b), domain={b: [0, 1], p: (0, 1)})
    step = d.equals(sp.Piecewise((p, sp.Eq(b, 1)), (1 - p, True)), because="two cases").steps[0]
    assert step.status == "proved"
    assert "all 2 cases" in step.detail


def test_what_survives_but_is_not_proved_is_sampled() -> None:
    step = Derivation("root", (sp.log(t) + sp.log(q)) / 2).at_most(sp.log((t + q) / 2), because="concave").steps[0]
    assert step.status == "sampled"
    assert step.detail == "24 points, 30 digits"


def test_a_proof_never_stands_alone() -> None:
    """A simplify that says 0 to everything proves nothing, because the attack runs first."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sp, "simplify", lambda expr: sp.Integer(0))
        with pytest.raises(ValueError, match="does not hold"):
            Derivation("d", sp.sin(x)).equals(sp.cos(x), because="wrong")
