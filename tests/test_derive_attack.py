import pytest
import specimens
import sympy as sp
from sympy.stats import Expectation, Exponential, Normal, Probability

from utils.derive import Derivation, StepError, UnevaluableStep
from utils.derive.instances import Domain
from utils.derive.nodes import fast_quadrature

x, y = sp.symbols("x y", real=True)
t, sigma = sp.symbols("t sigma", positive=True)
p = sp.Symbol("p", positive=True)
n, k = sp.symbols("n k", integer=True, positive=True)
i = sp.Symbol("i", integer=True)


def status(lhs: object, rhs: object, relation: str = "equals", **settings: object) -> str:
    return getattr(Derivation("d", lhs, **settings), relation)(rhs, because="try").steps[0].status


def refuted(lhs: object, rhs: object, relation: str = "equals", **settings: object) -> bool:
    with pytest.raises(StepError) as caught:
        status(lhs, rhs, relation, **settings)
    return not isinstance(caught.value, UnevaluableStep)


@pytest.mark.parametrize("derivation", specimens.derivations(), ids=lambda d: d.title)
def test_the_specimens_hold(derivation: Derivation) -> None:
    assert all(step.status in ("proved", "sampled") for step in derivation.steps)


@pytest.mark.parametrize(
    ("lhs", "rhs"),
    [
        (x + 1, x + 1 + sp.Rational(1, 10**28)),
        (sp.Integer(1), 1 + sp.exp(-60 - t)),
        (sp.log(x**2), 2 * sp.log(x)),
        (sp.sqrt(x**2), x),
        (sp.Max(x, 0), x),
        (sp.sign(x - 20), sp.Integer(-1) + sp.exp(-50)),
        (sp.Integral(sp.exp(-(y**2)), (y, 0, t)), sp.sqrt(sp.pi) / 2 * sp.erf(t) + sp.Rational(1, 10**15)),
        (sp.Sum(1 / k**2, (k, 1, sp.oo)), sp.pi**2 / 6 + sp.Rational(1, 10**9)),
        (sp.Product(1 + 1 / k, (k, 1, n)), n + 2),
        (sp.Limit((1 + t / x) ** x, x, sp.oo), sp.exp(t) + sp.Rational(1, 10**20)),
        (sp.Derivative(sp.exp(-x * t), x, 2), -(t**2) * sp.exp(-x * t)),
        (sp.gamma(t + 1), t * sp.gamma(t) + sp.Rational(1, 10**20)),
    ],
)
def test_a_wrong_equality_is_refuted(lhs: sp.Expr, rhs: sp.Expr) -> None:
    assert refuted(lhs, rhs)


@pytest.mark.parametrize(
    ("lhs", "rhs", "relation"),
    [
        (sp.log(t), t - 1, "at_least"),
        (sp.log(t), t - sp.Rational(1001, 1000), "at_most"),
        (sp.log(t), sp.sqrt(t - 1), "at_most"),
        (x**2 + y**2, sp.Rational(201, 100) * x * y, "at_least"),
        (sp.exp(x), 1 + x + x**2 / 2, "at_least"),
    ],
)
def test_a_wrong_bound_is_refuted(lhs: sp.Expr, rhs: sp.Expr, relation: str) -> None:
    assert refuted(lhs, rhs, relation)


def test_a_bound_that_fails_in_a_small_place_only_is_refuted() -> None:
    """A disc of radius 1/7: six of ten thousand random points fall into it, the descent finds it."""
    assert refuted((x - 1) ** 2 + (y - 2) ** 2, sp.Rational(1, 49), "at_least")
    skip, data = sp.symbols("c s", real=True)[0], t
    squared = skip**2 * sigma**2 + data**2 * (1 - skip) ** 2
    wrong = sigma**2 * data**4 / (sigma + data**2) ** 2 + data**2 * (1 - data**2 / (sigma**2 + data**2)) ** 2
    assert refuted(squared, wrong, "at_least")


@pytest.mark.parametrize(
    ("lhs", "rhs"), [(t, 10**6), (-t, -sp.Rational(1, 10**5)), (t, 10**5 * sigma + 10**4), (x**2, 10**9)]
)
def test_a_bound_that_fails_only_far_away_is_refuted(lhs: sp.Expr, rhs: sp.Expr) -> None:
    assert refuted(lhs, sp.sympify(rhs), "at_most")


def test_a_symbol_that_limits_another_is_not_moved_away_from_it() -> None:
    bounded = {sigma: (0, 2 / t)}  # 0 < sigma t < 2
    d = Derivation("share", (1 - sigma * t) ** 2, domain=bounded)
    assert d.at_most(1, because="the share is between -1 and 1").steps[0].status in ("proved", "sampled")
    with pytest.raises(StepError):
        Derivation("share", (1 - sigma * t) ** 2, domain=bounded).at_most(sp.Rational(9, 10), because="too tight")


def test_a_residual_that_simplify_misjudges_is_still_evaluated() -> None:
    assert status(t * sp.log(2) / 2 + (t + 1) * sp.log(2) / 2 - sp.log(2) / 2, t * sp.log(2)) == "proved"
    assert status(sp.sqrt(5 + 2 * sp.sqrt(6)), sp.sqrt(2) + sp.sqrt(3)) in ("proved", "sampled")


def test_generic_functions_are_replaced_alike_on_both_sides() -> None:
    s, q = sp.Function("s", positive=True), sp.Function("q")
    assert status(sp.log(s(t) ** 2).diff(t), 2 * s(t).diff(t) / s(t)) == "proved"
    assert status(sp.Derivative(q(x, t) ** 2, x), 2 * q(x, t) * q(x, t).diff(x)) == "proved"
    assert refuted(sp.Derivative(q(x, t) ** 2, x), 2 * q(x, t) * q(x, t).diff(t))
    assert refuted(q(x, t), q(t, x))
    assert refuted(s(t), sp.Function("r", positive=True)(t))


def test_a_generic_density_may_be_integrated_over_the_line() -> None:
    q = sp.Function("q", positive=True)
    whole = (x, -sp.oo, sp.oo)
    both = sp.Integral(x * q(x), whole) + t * sp.Integral(q(x), whole)
    assert status(sp.Integral((x + t) * q(x), whole), both) == "proved"
    assert refuted(sp.Integral((x - t) * q(x), whole), both)


def test_indexed_symbols_have_one_value_an_index() -> None:
    a = sp.IndexedBase("a", real=True)
    square = sp.Sum((a[i] - x) ** 2, (i, 1, n))
    opened = sp.Sum(a[i] ** 2, (i, 1, n)) - 2 * x * sp.Sum(a[i], (i, 1, n)) + n * x**2
    assert status(square, opened) == "proved"
    assert refuted(square, opened + x)


def test_integers_are_drawn_as_integers() -> None:
    assert status(sp.cos(sp.pi * n) ** 2 + i - i + sp.sin(sp.pi * i), sp.Integer(1)) == "proved"
    assert status(sp.Sum(k, (k, 1, n)), n * (n + 1) / 2) == "proved"
    assert refuted(sp.binomial(n, 2), n**2 / 2)


def test_finite_lists_are_exhausted() -> None:
    bits = sp.symbols("b_:6", integer=True)
    d = Derivation("parity", sp.Mod(sum(bits), 2), domain={b: [0, 1] for b in bits})
    odd = (1 - sp.Mul(*((-1) ** b for b in bits))) / 2
    assert d.equals(odd, because="count").steps[0].status == "proved"
    assert d.steps[0].detail.startswith("all 64 cases")
    rare = sp.Piecewise((2, sp.Eq(sum(bits), 6)), (odd, True))
    assert refuted(odd, rare, domain={b: [0, 1] for b in bits})


def test_a_case_without_a_value_is_an_error_when_exhausting() -> None:
    with pytest.raises(UnevaluableStep, match=r"log\(0\).* at i = 0"):
        status(i * sp.log(i), i**2 * sp.log(i), domain={i: [0, 1]})


def test_matrices_are_compared_entry_by_entry() -> None:
    a = sp.MatrixSymbol("A", 2, 2)
    assert status((a * a).T, a.T * a.T) == "proved"
    assert refuted((a * a.T).T, a.T * a)


def test_bounds_of_a_domain_may_depend_on_other_symbols() -> None:
    assert status(sp.sqrt((t - x) ** 2), t - x, domain={x: (0, t)}) == "proved"
    assert refuted(sp.sqrt((t - x) ** 2), t - x)
    with pytest.raises(ValueError, match="depend on each other"):
        status(x + y, x + y + x - y, domain={x: (0, y), y: (0, x)})


def test_a_point_respects_assumptions_and_domain() -> None:
    even, prime = sp.Symbol("e", even=True), sp.Symbol("q", prime=True)
    domain = Domain({x: (2, 3), n: (4, 6)})
    for seed in range(30):
        point = domain.point([x, n, t, even, prime], str(seed), wide=bool(seed % 2))
        assert 2 < point[x] < 3
        assert point[n] in (4, 5, 6)
        assert point[t] > 0
        assert point[even] % 2 == 0
        assert sp.isprime(point[prime])


def test_a_domain_that_contradicts_the_assumptions_is_refused() -> None:
    with pytest.raises(ValueError, match="no value of t within its domain"):
        status(t, 2 * t, domain={t: [-1, -2]})


def test_expectations_by_quadrature_and_by_draws() -> None:
    u, v, w = Normal("u", 0, sigma), Normal("v", 0, sigma), Normal("w", 0, 1)
    assert status(Expectation(sp.Max(u, v)), sigma / sp.sqrt(sp.pi)) in ("proved", "sampled")
    assert refuted(Expectation(sp.Max(u, v)), sigma / sp.sqrt(3))
    assert status(Probability(w > 0), sp.Rational(1, 2)) == "proved"
    d = Derivation("three", Expectation(sp.Max(u, v, sigma * w)))
    step = d.equals(3 * sigma / (2 * sp.sqrt(sp.pi)), because="order statistics").steps[0]
    assert step.status == "sampled"
    assert "of 20000 draws, |z| at most" in step.detail
    assert refuted(Expectation(sp.Max(u, v, sigma * w)), sigma * sp.Rational(9, 10))
    assert status(Expectation(sp.Max(u, v, sigma * w)), sigma, "at_most") == "sampled"
    assert refuted(Expectation(sp.Max(u, v, sigma * w)), sigma, "at_least")


def test_factors_that_share_a_random_symbol_stay_together() -> None:
    u, v = Normal("u", 0, sigma), Normal("v", 0, sigma)
    assert status(Expectation(u * sp.Max(u, v)), sigma**2 / 2) in ("proved", "sampled")
    assert refuted(Expectation(u * sp.Max(u, v)), sp.Integer(0))


def test_dependent_random_symbols_are_an_error() -> None:
    rate = Exponential("rate", 1)
    with pytest.raises(UnevaluableStep, match="depends on other random symbols"):
        status(Expectation(Normal("z", rate, 1)), sp.Integer(1))


def test_a_conditional_expectation_is_an_error() -> None:
    u = Normal("u", 0, 1)
    with pytest.raises(UnevaluableStep, match="conditional expectations are not known"):
        status(Expectation(u, u > 0), sp.sqrt(2 / sp.pi))


def test_both_sides_complex_is_no_agreement() -> None:
    with pytest.raises(UnevaluableStep, match="both sides leave the real numbers"):
        status(sp.log(-(x**2) - 1), 2 * sp.log(-(x**2) - 1) - sp.log(-(x**2) - 1) + sp.log(-(x**4) - 1))


def test_a_divergent_integral_that_cancels_by_symmetry_is_an_error() -> None:
    with pytest.raises(UnevaluableStep):
        status(sp.Integral(1 / x, (x, -1, 1)), sp.Integer(0))


def test_a_delta_is_integrated_first() -> None:
    assert status(sp.Integral(sp.DiracDelta(x - t) * x**2, (x, -sp.oo, sp.oo)), t**2) == "proved"
    with pytest.raises(UnevaluableStep, match="is no function: integrate it"):
        status(sp.DiracDelta(x), 2 * sp.DiracDelta(x))


def test_determinants_and_traces_are_evaluated() -> None:
    a = sp.Matrix(2, 2, sp.symbols("a_:4", real=True))
    assert status(sp.Determinant(a), a.det()) == "proved"
    assert refuted(sp.Trace(a), a[0, 0] - a[1, 1])


def test_nested_integrals_are_believed_only_if_the_nodes_agree() -> None:
    inside = sp.Integral(x * y * sp.Heaviside(x - y), (x, 0, 1), (y, 0, 1))
    assert status(inside, sp.Rational(1, 8)) in ("proved", "sampled")
    assert refuted(inside, sp.Rational(1, 8) + sp.Rational(1, 10**6))


def test_nodes_integrate_backwards_and_over_half_lines() -> None:
    infinity = float("inf")
    assert abs(fast_quadrature(lambda v: v**2, [0.0, 3.0]) - 9) < 1e-9
    assert abs(fast_quadrature(lambda v: v**2, [3.0, 0.0]) + 9) < 1e-9
    assert abs(fast_quadrature(lambda v: 1 / v**2, [2.0, infinity]) - 0.5) < 1e-9
    assert abs(fast_quadrature(lambda v: 1 / v**2, [infinity, 2.0]) + 0.5) < 1e-9
    assert abs(fast_quadrature(lambda v: 1 / v**2, [-infinity, -2.0]) - 0.5) < 1e-9
    with pytest.raises(ValueError, match="split a doubly infinite range"):
        fast_quadrature(lambda v: 0.0, [float("-inf"), float("inf")])


def test_the_floor_of_a_quotient_that_is_whole_is_that_whole_number() -> None:
    p, k, i = sp.symbols("p k i", integer=True, positive=True)
    cases = {p: [*range(1, 12)], k: [*range(1, 8)], i: [*range(1, 6)]}
    d = Derivation("from floor to ceiling", sp.floor((i + 1) * p / k) - sp.ceiling((i + 1) * p / k), domain=cases)
    d.equals(sp.Piecewise((0, sp.Eq(sp.Mod((i + 1) * p, k), 0)), (-1, True)), because="no step from a whole number")
    assert d.steps[0].status == "proved"
