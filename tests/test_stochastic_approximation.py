"""The chapter's walk and its derived rates, held against scikit-learn, torch, exact enumeration and known mistakes."""

import itertools

import pytest
import sympy as sp
import torch
from sklearn.datasets import load_diabetes
from sklearn.linear_model import SGDRegressor

from tests.chapter import cells, load
from utils.bridge import to_torch
from utils.derive import Derivation, StepError

SLUG = "foundations/stochastic-approximation"
F64 = torch.float64


@pytest.fixture(scope="module")
def sa():
    return load(SLUG)


def last(path):
    *_, w = path
    return w


def numbers(count, seed=0):
    return torch.randn(count, generator=torch.Generator().manual_seed(seed), dtype=F64)


def mean_of(x):
    """The measurement whose root is the mean of x, one entry a step."""
    return lambda w, k: w - x[k - 1]


def test_steps_of_one_over_k_give_every_mean_on_the_way(sa):
    x = numbers(50)
    path = torch.stack([*sa.robbins_monro(mean_of(x), torch.tensor(7.0, dtype=F64), lambda k: 1 / k, 50)])
    torch.testing.assert_close(path, x.cumsum(0) / torch.arange(1, 51))


def test_steps_counted_from_two_keep_the_first_guess_as_one_more_number(sa):
    x = numbers(50)
    w = last(sa.robbins_monro(mean_of(x), torch.tensor(7.0, dtype=F64), lambda k: 1 / (k + 1), 50))
    torch.testing.assert_close(w, (7 + x.sum()) / 51)


def test_steps_of_one_over_k_minus_one_forget_the_first_number_alone(sa):
    # Published: nttcslab/byol-a issue 13.
    x = numbers(50)
    w = last(sa.robbins_monro(lambda w, k: w - x[k], x[0], lambda k: 1 / k, 49))
    torch.testing.assert_close(w, x[1:].mean())


@pytest.mark.parametrize("name", ["fair", "fading"])
def test_the_derivative_of_a_walk_by_a_number_is_the_number_s_derived_weight(sa, name):
    x = numbers(12).requires_grad_()
    constant = sp.Rational(1, 5)
    size = {"fair": lambda k: 1 / k, "fading": lambda k: 0.2}[name]
    w = last(sa.robbins_monro(mean_of(x), torch.zeros((), dtype=F64), size, 12))
    weight = getattr(sa, name).expr.subs(sa.alpha, constant)
    derived = to_torch(weight, (sa.k, sa.n))(torch.arange(1.0, 13).double(), torch.tensor(12.0).double())
    torch.testing.assert_close(torch.autograd.grad(w, x)[0], derived.expand(12))


@pytest.mark.parametrize("power", [0.0, 0.6, 1.0])
def test_the_mean_squared_error_over_all_coin_tosses_is_the_derived_one_gradient_included(sa, power):
    factor = torch.tensor(0.8, dtype=F64, requires_grad=True)
    slope, noise, first = 0.5, 0.7, 2.0
    coins = torch.tensor([*itertools.product((-noise, noise), repeat=6)], dtype=F64)

    def size(k):
        return factor / k**power

    walks = sa.robbins_monro(
        lambda w, k: slope * w + coins[:, k - 1], torch.full((64,), first, dtype=F64), size, 6
    )  # fmt: skip
    walked = last(walks).square().mean()
    exact = sa.derived(size, slope, sa.number(noise), sa.number(first**2), 6)[-1]
    torch.testing.assert_close(walked, exact)
    torch.testing.assert_close(torch.autograd.grad(walked, factor), torch.autograd.grad(exact, factor))


@pytest.mark.parametrize(("alpha", "h"), [(0.05, 1.0), (1.2, 0.5), (0.3, 3.0)])
def test_the_recursion_settles_on_the_floor(sa, alpha, h):
    settled = sa.derived(lambda k: alpha, h, sa.number(1.3), sa.number(9.0), 2000)[-1]
    floor = sa.floor.subs({sa.alpha: sp.nsimplify(alpha), sa.h: sp.nsimplify(h), sa.sigma: sp.Rational(13, 10)})
    assert settled.item() == pytest.approx(float(floor), rel=1e-9)


@pytest.mark.parametrize(("a", "h"), [(1.0, 1.0), (3.0, 1.0), (1.0, 0.8), (2.0, 0.4)])
def test_the_recursion_reaches_chungs_limit(sa, a, h):
    n = 20_000
    e = sa.derived(lambda k: a / k, h, sa.number(1.0), sa.number(4.0), n)[-1].item()
    limit = float(sa.limit.subs({sa.a: sp.nsimplify(a), sa.h: sp.nsimplify(h), sa.sigma: 1}))
    assert n * e == pytest.approx(limit, rel=0.02)


def test_below_one_half_the_rate_is_lost(sa):
    e = sa.derived(lambda k: 0.25 / k, 1.0, sa.number(1.0), sa.number(4.0), 20_000)
    assert (e[-1] / e[1999]).log10().item() == pytest.approx(-0.5, abs=0.01)


@pytest.mark.parametrize("power", [0.6, 1.0])
def test_after_a_late_step_the_error_fades_and_takes_in_only_the_squares_since(sa, power):
    n, low, high, noise = 3000, 0.5, 2.0, 0.7
    sizes = 2 / torch.arange(1.0, n + 1).double() ** power
    sizes = sizes[sizes * high <= 1]  # the late steps
    slopes = low + (high - low) * torch.rand(len(sizes), generator=torch.Generator().manual_seed(3), dtype=F64)
    allowance = noise**2 * sizes.square().sum()
    faded = 4 * (-2 * low * sizes.cumsum(0)).exp()
    for h in (torch.full_like(slopes, low), slopes):
        e = [sa.number(4.0)]
        for size, slope in zip(sizes, h, strict=True):
            e.append(sa.next_e(e[-1], size, slope, sa.number(noise)))
        assert (torch.stack(e[1:]) <= faded + allowance).all()
    quiet = (1 - sizes * low).square().cumprod(0) * 4
    assert (quiet > 4 * (-4 * low * sizes.cumsum(0)).exp()).all()  # twice the exponent would be too much


def test_the_widget_is_best_where_the_text_says(sa):
    factors, powers = (0.1, 0.2, 0.4, 0.7, 1, 1.5, 1.9), (0, 0.25, 0.5, 0.6, 0.8, 1, 1.5, 2)
    a, p = torch.tensor([*itertools.product(factors, powers)], dtype=F64).T
    error = sa.derived(lambda k: a / k**p, 1, sa.spread, (8 - sa.true_mean) ** 2 + 0 * a, 1000)[-1]
    assert (a[error.argmin()], p[error.argmin()]) == (1, 1)
    for row in sa.walk(1, 1):
        torch.testing.assert_close(row["estimate"], sa.flowers[: row["k"]].mean())


def test_the_best_factor_has_the_variance_of_a_mean_at_every_step(sa):
    e = sa.derived(lambda k: 2 / k, 0.5, sa.number(1.5), sa.number(4.0), 100)
    torch.testing.assert_close(e, 2.25 / 0.25 / torch.arange(1.0, 101).double())


def test_the_average_of_a_walk_is_torchs_equal_average(sa):
    from torch.optim.swa_utils import AveragedModel

    model = torch.nn.Linear(3, 1, bias=False).double()
    theirs, path = AveragedModel(model), [numbers(3, seed)[None] for seed in range(9)]
    for w, mean in zip(path, sa.averaged(path), strict=True):
        model.weight.data.copy_(w)
        theirs.update_parameters(model)
        torch.testing.assert_close(mean, theirs.module.weight.data)


@pytest.mark.parametrize("n", [2, 3, 4])
def test_the_average_error_is_what_moved_less_the_mean_noise(sa, n):
    first, noise = sp.Symbol("Delta_0", real=True), sp.symbols(f"eta_1:{n + 1}", real=True)
    errors = [first]
    for eta in noise:
        errors.append(errors[-1] - sa.alpha * (sa.h * errors[-1] + eta))
    d = Derivation("average", sp.Add(*errors[:n]) / n)
    d.equals((errors[0] - errors[-1]) / (n * sa.alpha * sa.h) - sp.Add(*noise) / (n * sa.h), because="telescope")
    assert d.steps[0].status == "proved"


@pytest.mark.parametrize(("factor", "power"), [(0.2, 0), (1, 1), (1.5, 0.6)])
def test_the_band_of_the_widget_holds_two_standard_deviations_of_all_walks(sa, factor, power):
    rng, lengths = torch.Generator().manual_seed(2), sa.lengths
    flowers = lengths[torch.randint(150, (1000, 4000), generator=rng)]
    first = torch.full((4000,), 8.0, dtype=F64)
    path = [*sa.robbins_monro(lambda w, k: w - flowers[k - 1], first, lambda k: factor / k**power, 1000)]
    for row in sa.walk(factor, power)[20::20]:
        w = path[row["k"] - 1]
        assert (row["high"] - row["low"]).item() == pytest.approx(4 * w.std().item(), rel=0.05)
        assert (row["high"] + row["low"]).item() / 2 == pytest.approx(w.mean().item(), abs=0.04)
        assert 0.93 < ((row["low"] <= w) & (w <= row["high"])).double().mean() < 0.98


def standardised():
    X, y = map(torch.from_numpy, load_diabetes(return_X_y=True))
    return (X - X.mean(0)) / X.std(0, correction=0), (y - y.mean()) / y.std(correction=0)


def sgd(sa, X, y, size, average=False):
    """The chapter's own measurement, taken from its experiment, on the rows of X in their order."""
    source = next(line for code in cells(SLUG, "hide-input") for line in code.splitlines() if "one_example =" in line)
    scope = {"inputs": X, "targets": y, "rows": torch.arange(len(X))[:, None]}
    exec(source, scope)
    walk = sa.robbins_monro(scope["one_example"], torch.zeros(1, X.shape[1], dtype=F64), size, len(X))
    return last(sa.averaged(walk) if average else walk)[0]


def test_the_slopes_of_the_diabetes_data_are_those_of_the_text():
    X, _ = standardised()
    slopes = torch.linalg.eigvalsh(X.T @ X / 442)
    assert [round(slopes[0].item(), 4), round(slopes[-1].item(), 2)] == [0.0086, 4.02]


@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize(("schedule", "power"), [("constant", 0.0), ("invscaling", 0.25), ("invscaling", 0.6)])
def test_single_examples_end_on_sgd_regressors_weights(sa, schedule, power, average):
    X, y = standardised()
    order = torch.randperm(442, generator=torch.Generator().manual_seed(1))
    X, y = X[order], y[order]
    model = SGDRegressor(
        learning_rate=schedule, eta0=0.02, power_t=power, average=average, penalty=None, fit_intercept=False,
        shuffle=False, max_iter=1, tol=None,
    )  # fmt: skip
    theirs = torch.from_numpy(model.fit(X.numpy(), y.numpy()).coef_)
    torch.testing.assert_close(sgd(sa, X, y, lambda k: 0.02 / k**power, average), theirs, rtol=0, atol=1e-12)
    shifted = sgd(sa, X, y, lambda k: 0.02 / (k + 1) ** power, average)
    assert power == 0 or (shifted - theirs).abs().max() > 1e-6


def test_the_mean_gradient_is_autograds(sa):
    x, y = numbers(3, 1), numbers(3, 2)
    w = torch.tensor(0.3, dtype=F64, requires_grad=True)
    (slope,) = torch.autograd.grad((x * w - y).square().mean() / 2, w)
    derived = to_torch(sa.descent.steps[1].rhs.subs(sa.least), (*sa.x_i, *sa.y_i, sa.w))
    torch.testing.assert_close(derived(*x, *y, w.detach()), slope)


def test_a_cubic_beyond_its_threshold_never_returns(sa):
    w, threshold = 4.1, 4.0
    for k in range(4, 9):
        assert w * w >= threshold * k
        w -= w**3 / k


@pytest.mark.parametrize(
    "wrong",
    [
        lambda sa: (1 - sa.alpha * sa.h) ** 2 * sa.e - sa.alpha**2 * sa.sigma**2,
        lambda sa: (1 + sa.alpha * sa.h) ** 2 * sa.e + sa.alpha**2 * sa.sigma**2,
        lambda sa: (1 - sa.alpha * sa.h) ** 2 * sa.e + sa.alpha * sa.sigma**2,
        lambda sa: (1 - sa.alpha * sa.h) * sa.e + sa.alpha**2 * sa.sigma**2,
    ],
    ids=["noise subtracted", "step with the measurement", "step not squared", "shrinking not squared"],
)
def test_a_wrong_error_after_one_step_is_refuted(sa, wrong):
    d = Derivation("Error after one step", sa.one_step.lhs, where={sa.e: sa.Delta**2})
    with pytest.raises(StepError, match="does not hold"):
        d.equals(wrong(sa), because="broken")


def test_an_allowance_that_does_not_pay_is_refuted(sa):
    short = sa.mean_square + sa.sigma**2 * (sa.T - sa.alpha**2 / 2)
    d = Derivation("Capital", short, where={sa.h: sa.u / sa.alpha}, domain={sa.u: (0, 2)})
    with pytest.raises(StepError, match="does not hold"):
        d.at_most(sa.e + sa.sigma**2 * sa.T, because="half an allowance")


def test_everything_is_proved_but_the_maximal_inequality_which_is_cited(sa):
    steps = [step for d in vars(sa).values() if isinstance(d, Derivation) for step in d.steps]
    assert len(steps) >= 16
    assert [step.status for step in steps if step.status != "proved"] == ["assumed"]


def test_the_maximal_inequality_holds_for_walks_and_is_not_empty(sa):
    runs, n, c = 4000, 20, 0.2
    rng = torch.Generator().manual_seed(5)

    def noisy(w, k):
        return w + torch.randn(runs, generator=rng, dtype=F64)

    path = torch.stack([*sa.robbins_monro(noisy, torch.ones(runs, dtype=F64), lambda k: 1 / k, 2000)])
    ever = (path[n:].square() >= c).any(0).double().mean()
    T = sum(1 / k**2 for k in range(n + 1, 2001))
    assert 0.02 < ever <= (path[n - 1].square().mean() + T) / c


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("pace", sp.Matrix([sp.Rational(1, 2), 1]), sp.Matrix([0, 1])),
        ("discount", 1 / (2 - 2 * sp.Symbol("gamma", positive=True)), 1 / (1 - sp.Symbol("gamma", positive=True))),
        ("robust", sp.Rational(2, 3), sp.Rational(1, 2)),
    ],
)
def test_exercises_accept_the_answer_and_refuse_another(sa, name, right, wrong):
    exercise = getattr(sa, name)
    assert exercise.check(right)
    assert not exercise.check(wrong)


def test_two_thirds_is_the_best_factor_for_slopes_from_one_to_three():
    a = torch.linspace(0.51, 2, 3000, dtype=F64)
    worst = torch.stack([(a * h) ** 2 / (2 * a * h - 1) for h in torch.linspace(1, 3, 41, dtype=F64)]).amax(0)
    assert a[worst.argmin()].item() == pytest.approx(2 / 3, abs=1e-3)
