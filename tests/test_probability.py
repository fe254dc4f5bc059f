"""The chapter on distances between densities, against SciPy, torch.distributions, scikit-learn and brute force."""

import math

import numpy as np
import pytest
import scipy.spatial.distance
import scipy.stats
import sympy as sp
import torch
from sklearn.neighbors import KernelDensity
from torch.distributions import MultivariateNormal, Normal, kl_divergence
from torch.testing import assert_close

from tests.chapter import derivations, load
from utils import samples
from utils.bridge import to_torch
from utils.derive import Derivation, StepError

D_X = 0.01


@pytest.fixture(scope="module")
def pr():
    return load("generative/probability")


@pytest.fixture
def two(pr):
    """Log densities of two Gaussians on the chapter's grid, and torch's distributions for them."""
    pairs = ((0.3, 0.9), (-0.8, 1.3))
    logs = [pr.log_normal(*torch.tensor(pair).double()) for pair in pairs]
    return *logs, *(Normal(*torch.tensor(pair).double()) for pair in pairs)


def bumps(pr, weight=0.8, distance=3.0):
    at = torch.tensor([weight, -distance / 2, distance / 2, 0.5], dtype=torch.float64)
    return to_torch(pr.bumps, (pr.x, pr.w, pr.a, pr.b, pr.r))(pr.grid, *at).log()


def random_pair(seed, outcomes=7):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, outcomes, generator=generator, dtype=torch.float64).log_softmax(1)


def test_the_divergence_of_two_gaussians_is_torchs(pr, two):
    log_p, log_q, p, q = two
    assert_close(pr.kl(log_p, log_q, D_X), kl_divergence(p, q), rtol=1e-9, atol=0)
    assert_close(pr.DISTANCES["KL(model, data)"](log_p, log_q, D_X), kl_divergence(q, p), rtol=1e-9, atol=0)
    assert abs(kl_divergence(p, q) - kl_divergence(q, p)) > 0.05


def test_log_normal_is_torchs(pr, two):
    assert_close(two[0], two[2].log_prob(pr.grid))


@pytest.mark.parametrize("seed", range(3))
def test_divergences_of_histograms_are_scipys(pr, seed):
    log_p, log_q = random_pair(seed)
    p, q = log_p.exp().numpy(), log_q.exp().numpy()
    assert math.isclose(pr.kl(log_p, log_q, 1), scipy.stats.entropy(p, q), rel_tol=1e-12)
    root = scipy.spatial.distance.jensenshannon(p, q)
    assert math.isclose(pr.js(log_p, log_q, 1), root**2, rel_tol=1e-12)
    assert not math.isclose(pr.js(log_p, log_q, 1), root, rel_tol=0.1)


@pytest.mark.parametrize("seed", range(3))
def test_total_variation_is_the_best_event(pr, seed):
    log_p, log_q = random_pair(seed, 6)
    events = torch.cartesian_prod(*[torch.tensor([0.0, 1.0]).double()] * 6)
    assert_close(pr.tv(log_p, log_q, 1), (events @ (log_p.exp() - log_q.exp())).max())


@pytest.mark.parametrize("seed", range(3))
def test_wasserstein_on_a_grid_is_scipys(pr, seed):
    log_p, log_q = random_pair(seed)
    places = 0.5 * np.arange(7)
    expected = scipy.stats.wasserstein_distance(places, places, log_p.exp(), log_q.exp())
    log_step = math.log(0.5)  # probabilities of cells to densities
    assert math.isclose(pr.w1(log_p - log_step, log_q - log_step, 0.5), expected, rel_tol=1e-9)


def test_each_distance_is_zero_on_itself_and_positive_elsewhere(pr, two):
    for distance in pr.DISTANCES.values():
        assert_close(distance(two[0], two[0], D_X), torch.tensor(0.0).double(), atol=1e-12, rtol=0)
        assert distance(two[0], two[1], D_X) > 0.05


def test_the_likeliest_gaussian_copies_the_moments_of_the_bumps(pr):
    log_p = bumps(pr)
    mean = (log_p.exp() * pr.grid).sum() * D_X
    variance = (log_p.exp() * (pr.grid - mean) ** 2).sum() * D_X
    _, m, s = pr.closest(pr.kl, log_p, 0.0, 1.5)
    assert math.isclose(m, mean, abs_tol=1e-4)
    assert math.isclose(s**2, variance, rel_tol=1e-3)
    exact = {pr.w: sp.Rational(4, 5), pr.a: -sp.Rational(3, 2), pr.b: sp.Rational(3, 2), pr.r: sp.Rational(1, 2)}
    assert math.isclose(mean, pr.moments[pr.c].subs(exact), abs_tol=1e-9)
    assert math.isclose(variance, pr.moments[pr.v].subs(exact), rel_tol=1e-9)


@pytest.mark.parametrize(
    "name", ["KL(data, model)", "KL(model, data)", "Jensen-Shannon", "total variation", "Wasserstein"]
)
def test_no_slider_of_a_fine_search_beats_the_fit(pr, name):
    log_p, distance = bumps(pr), pr.DISTANCES[name]
    found = min(pr.closest(distance, log_p, *start)[0] for start in ((0.0, 1.5), (-1.5, 0.5), (1.5, 0.5)))
    pairs = torch.cartesian_prod(torch.linspace(-2, 2, 41), torch.linspace(0.4, 2, 33)).double()
    searched = distance(log_p, pr.log_normal(pairs[:, :1], pairs[:, 1:]), D_X).min()
    assert found <= searched + 1e-6
    assert found > searched - 0.01


@pytest.mark.parametrize(("weight", "covers"), [(0.6, True), (0.8, False)])
def test_jensen_shannon_changes_sides(pr, weight, covers):
    starts = ((0.0, 1.5), (-1.5, 0.5), (1.5, 0.5))
    _, _, deviation = min(pr.closest(pr.js, bumps(pr, weight), *start) for start in starts)
    assert (deviation > 1.2) == covers


def test_the_page_adds_up_the_same_distances(pr):
    import vl_convert

    values = {"mean_of_the_model": 0.25, "deviation_of_the_model": 0.8, "weight_of_the_left_bump": 0.6}
    row = pr.row(**values, distance_of_the_bumps=2)
    rows = [{k: float(v) for k, v in row[0].items()}]
    spec = pr.picture(pr.alt.NamedData(name="frame")).to_dict() | {"datasets": {"frame": rows}}
    svg = vl_convert.vegalite_to_svg(spec, vl_version="6.4")
    log_q = pr.log_normal(*torch.tensor([0.25, 0.8]).double())
    for name, distance in pr.DISTANCES.items():
        value = distance(bumps(pr, 0.6, 2.0), log_q, D_X).item()
        assert f">{value:.3f}<" in svg, name
        assert rows[0][f"best {name}"] <= value


def test_near_the_data_three_distances_are_one(pr):
    one, near = (pr.log_normal(*torch.tensor([m, 1.0]).double()) for m in (0.0, 0.02))
    chi_square = ((near - one).exp() - 1).square() @ one.exp() * D_X
    for name, factor in (("KL(data, model)", 1), ("KL(model, data)", 1), ("Jensen-Shannon", 1 / 4)):
        assert_close(pr.DISTANCES[name](one, near, D_X), factor * chi_square / 2, rtol=0.002, atol=0)


def test_a_price_averaged_over_the_data_is_the_distance(pr, two):
    log_p, log_q, *_ = two
    for name, price in pr.prices.items():
        paid = (log_p.exp() * to_torch(price, (pr.u,))((log_q - log_p).exp())).sum() * D_X
        assert_close(paid, pr.DISTANCES[name](log_p, log_q, D_X), rtol=1e-8, atol=0)


def test_the_frechet_distance_in_one_dimension_is_that_of_the_judge(pr):
    x, y = torch.randn(400, 1), 3 + 2 * torch.randn(300, 1)
    moments = [float(z) for z in (x.mean(), x.std(), y.mean(), y.var())]
    derived = pr.frechet.expr.subs(pr.frechet.where).subs(dict(zip((pr.m, pr.s, pr.c, pr.v), moments, strict=True)))
    assert math.isclose(derived, samples.frechet(x, y), rel_tol=1e-5)


def test_a_gaussian_with_the_moments_of_the_bumps_has_no_frechet_distance(pr):
    at = {pr.m: pr.c, pr.s: sp.sqrt(pr.v)}
    assert pr.frechet.expr.subs(pr.frechet.where).subs(at) == 0


@pytest.mark.parametrize("dimension", [1, 8])
def test_the_kernel_density_is_scikit_learns(pr, dimension):
    x, centres = torch.randn(5, dimension).double(), torch.randn(40, dimension).double()
    expected = KernelDensity(bandwidth=0.7).fit(centres.numpy()).score_samples(x.numpy())
    assert_close(pr.kernel_density(x, centres, 0.7), torch.from_numpy(expected))


def test_the_bandwidth_is_the_best_of_those_that_leave_one_out(pr):
    centres, choices = torch.randn(30, 2).double(), [0.1, 0.3, 0.5, 0.9, 1.5]
    centres[0] = 6.0  # a lone point, which only its neighbours can make likely

    def left_out(h):
        others = [torch.cat([centres[:i], centres[i + 1 :]]) for i in range(30)]
        return sum(pr.kernel_density(centres[i : i + 1], rest, h) for i, rest in enumerate(others))

    assert pr.bandwidth(centres, choices) == max(choices, key=left_out)
    assert max(choices, key=lambda h: pr.kernel_density(centres, centres, h).mean()) == 0.1


def test_kernel_draws_have_the_moments_of_the_kernel_density(pr):
    centres, generator = torch.tensor([[-2.0], [1.0], [1.0]]).double(), torch.Generator().manual_seed(0)
    drawn = pr.kernel_draws(centres, 0.5, 40_000, generator)
    assert drawn.dtype == centres.dtype
    assert_close(drawn.mean(), torch.tensor(0.0).double(), atol=0.03, rtol=0)
    assert_close(drawn.var(), torch.tensor(2.25).double(), atol=0.05, rtol=0)


def test_the_gaussian_is_the_likeliest(pr):
    x = torch.randn(50, 3).double() @ torch.randn(3, 3).double()
    best = pr.gaussian(x)
    for factor in (0.9, 1.02, 50 / 49):
        other = MultivariateNormal(best.loc, factor * best.covariance_matrix)
        assert best.log_prob(x).mean() > other.log_prob(x).mean()


def test_the_gaussian_divides_by_the_number_of_data(pr):
    x = torch.randn(5, 2).double()
    away = x - x.mean(0)
    assert_close(pr.gaussian(x).covariance_matrix, away.T @ away / 5, atol=2e-6, rtol=0)


def test_every_step_is_proved(pr):
    steps = [step for d in derivations(pr) for step in d.steps]
    assert len(steps) == 12
    assert all(step.status == "proved" for step in steps)


def test_the_divergence_is_not_symmetric_and_the_likelihood_is_not_the_reverse(pr):
    wrong = Derivation("Average log-likelihood", pr.likelihood.lhs, where=pr.shares)
    terms = list(zip(pr.p, pr.q, strict=True))
    reverse = sum(q_i * sp.log(q_i / p_i) for p_i, q_i in terms)
    with pytest.raises(StepError, match="does not hold"):
        wrong.equals(sum(p_i * sp.log(p_i) for p_i in pr.p) - reverse, because="swapped")


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("trimmed", lambda pr: sp.Matrix([pr.delta, -sp.log(1 - pr.delta)]), lambda pr: sp.Matrix([pr.delta, sp.oo])),
        ("seeking", lambda pr: -sp.log(pr.w), lambda pr: -pr.w * sp.log(pr.w)),
        ("biased", lambda pr: (pr.N - 1) / pr.N, lambda pr: pr.N / (pr.N - 1)),
    ],
)
def test_exercises_accept_the_answer_and_refuse_another(pr, name, right, wrong):
    assert getattr(pr, name).check(right(pr))
    assert not getattr(pr, name).check(wrong(pr))
