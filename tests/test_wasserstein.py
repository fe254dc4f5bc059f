"""The chapter on Wasserstein distances against POT, SciPy, closed forms and its own published mistakes."""

import numpy as np
import ot
import pytest
import sympy as sp
import torch
from scipy.stats import wasserstein_distance, wasserstein_distance_nd
from torch.testing import assert_close

from tests.chapter import load
from utils import samples, training
from utils.derive import Derivation, StepError


@pytest.fixture(scope="module")
def ws():
    return load("generative/wasserstein")


@pytest.fixture(params=[0, 1, 2])
def problem(request):
    """Masses that differ, on both sides, and points of three dimensions."""
    draw = torch.Generator().manual_seed(request.param)
    p, q = (torch.rand(n, generator=draw).double() + 0.1 for n in (7, 5))
    x, y = torch.randn(7, 3, generator=draw).double(), torch.randn(5, 3, generator=draw).double() + 1
    return p / p.sum(), q / q.sum(), x, y


@pytest.mark.parametrize("power", [1, 2])
def test_plan_and_prices_are_those_of_pot(ws, problem, power):
    p, q, x, y = problem
    cost = torch.cdist(x, y) ** power
    plan, f, g = ws.transport(p, q, cost)
    assert_close((plan * cost).sum().item(), float(ot.emd2(p.numpy(), q.numpy(), cost.numpy())))
    assert_close(plan.sum(1), p)
    assert_close(plan.sum(0), q)
    assert_close(p @ f + q @ g, (plan * cost).sum())
    assert (cost - f[:, None] - g).min() > -1e-9
    assert (plan * (cost - f[:, None] - g)).abs().max() < 1e-12


def test_the_dual_programme_earns_the_primal_work_with_prices_of_both_signs(ws, problem):
    p, q, x, y = problem
    cost = torch.cdist(x, y)
    f, g = ws.dual(p, q, cost)
    assert_close(p @ f + q @ g, (ws.transport(p, q, cost)[0] * cost).sum())
    assert (cost - f[:, None] - g).min() > -1e-9


def test_prices_held_to_be_positive_earn_less(ws):
    p, q = torch.tensor([[0.5, 0.5], [0.9, 0.1]]).double()
    cost = torch.tensor([[2.0, 3.0], [5.0, 0.0]]).double()
    held = ws.solve(-torch.cat([p, q]), ws.sums(2, 2).T, cost.flatten())
    f, g = ws.dual(p, q, cost)
    assert_close((p @ f + q @ g).item(), 3.0)
    assert_close(-held.fun, 1.8)


def test_one_price_is_enough_for_a_metric_alone(ws, problem):
    p, q, x, y = problem
    both, zero = torch.cat([x, y]), torch.zeros
    masses = torch.cat([p, zero(5).double()]), torch.cat([zero(7).double(), q])
    for power, enough in ((1, True), (2, False)):
        cost = torch.cdist(both, both) ** power
        true = (ws.transport(*masses, cost)[0] * cost).sum().item()
        found = ws.one_price(*masses, cost)
        assert found <= true + 1e-9
        assert (abs(found - true) < 1e-9) == enough


def test_the_area_between_two_curves_is_scipys_distance(ws):
    x, y = torch.randn(31).double(), 2 * torch.randn(17).double() + 1
    assert_close(ws.w1_line(x, y).item(), wasserstein_distance(x, y))
    assert_close(ws.w1_line(y, x), ws.w1_line(x, y))
    same = torch.randn(20).double()
    assert_close(ws.w1_line(x[:20], same), (x[:20].sort().values - same.sort().values).abs().mean())


@pytest.mark.parametrize(("power", "norm"), [(1, 2), (1, 1), (2, 2)])
def test_a_matching_is_pots_plan_between_equal_masses(ws, power, norm):
    x, y = torch.randn(40, 6).double(), torch.randn(40, 6).double() + 0.5
    cost = torch.cdist(x, y, p=norm) ** power
    assert_close(ws.matched(x, y, power, norm).item(), float(ot.emd2([], [], cost.numpy())))


def test_scipys_distance_of_points_has_the_euclidean_norm_and_the_power_one(ws):
    x, y = torch.randn(12, 3).double(), torch.randn(12, 3).double()
    found = wasserstein_distance_nd(x.numpy(), y.numpy())
    assert_close(ws.matched(x, y).item(), found)
    assert ws.matched(x, y, norm=1) > 1.1 * found
    assert abs(ws.matched(x, y, power=2).sqrt() - found) > 0.01


@pytest.mark.parametrize("size", [2, 5])
def test_the_gaussian_distance_is_pots_and_the_books_frechet_distance(ws, size):
    x = torch.randn(60, size).double() @ torch.randn(size, size).double()
    y = torch.randn(80, size).double() @ torch.randn(size, size).double() + 1
    moments = [t.numpy() for t in (x.mean(0), y.mean(0), x.T.cov(), y.T.cov())]
    assert_close(
        ws.bures(x, y).item(), float(ot.gaussian.bures_wasserstein_distance(*moments)) ** 2, rtol=1e-6, atol=1e-9
    )
    assert_close(ws.bures(x, y).item(), samples.frechet(x, y))


def test_the_gaussian_distance_bounds_the_exact_one_from_below(ws):
    for seed in range(5):
        draw = torch.Generator().manual_seed(seed)
        x = torch.rand(50, 2, generator=draw).double() ** 3
        y = (torch.randn(50, 2, generator=draw).double().exp()) / 3
        biased = (ws.bures(x, y) - (x.mean(0) - y.mean(0)).square().sum()) * 49 / 50
        bound = biased + (x.mean(0) - y.mean(0)).square().sum()
        assert bound <= ws.matched(x, y, 2)


@pytest.mark.parametrize("tau", [0.03, 0.3, 3.0])
def test_sinkhorn_is_pots_in_the_log_domain(ws, problem, tau):
    p, q, x, y = problem
    cost = torch.cdist(x, y)
    plan, f, g = ws.sinkhorn(p, q, cost, tau, rounds=3000)
    theirs = ot.sinkhorn(
        p.numpy(), q.numpy(), cost.numpy(), tau, method="sinkhorn_log", stopThr=1e-13, numItermax=20_000
    )
    assert_close(plan, torch.from_numpy(np.asarray(theirs)), atol=1e-8, rtol=1e-5)
    entropy = torch.xlogy(plan, plan / (p[:, None] * q)).sum()
    assert_close(p @ f + q @ g, (plan * cost).sum() + tau * entropy, atol=1e-8, rtol=1e-6)


def test_sinkhorn_survives_a_temperature_that_underflows_elsewhere(ws, problem):
    p, q, x, y = problem
    cost = torch.cdist(x, y)
    plan = ws.sinkhorn(p, q, cost, 1e-3, rounds=20_000)[0]
    assert plan.isfinite().all()
    exact = (ws.transport(p, q, cost)[0] * cost).sum()
    assert_close((plan * cost).sum(), exact, rtol=5e-3, atol=0)
    assert (-cost / 1e-3).exp().sum() < 1e-100


def test_heat_only_adds_work(ws, problem):
    p, q, x, y = problem
    cost = torch.cdist(x, y)
    work = [(ws.sinkhorn(p, q, cost, tau, rounds=3000)[0] * cost).sum().item() for tau in (0.05, 0.2, 1.0, 5.0)]
    assert work == sorted(work)
    assert work[0] > (ws.transport(p, q, cost)[0] * cost).sum()
    assert work[-1] < p @ cost @ q


def test_the_penalty_of_a_linear_critic_is_exact(ws):
    critic = ws.network(64, 1)
    x, y = torch.randn(8, 64), torch.randn(8, 64)
    length = critic[0].weight.norm()
    assert_close(ws.penalty(critic, x, y), (length - 1).square())
    assert_close(ws.penalty(critic, x, y, dim=(0, 1)), (8**0.5 * length - 1).square())
    assert torch.autograd.grad(ws.penalty(critic, x, y), critic[0].weight)[0].abs().max() > 0


def test_points_of_the_penalty_lie_between_the_pairs(ws):
    seen = []

    def critic(points):
        seen.append(points)
        return points.sum(1)

    ws.penalty(critic, torch.zeros(50, 4), torch.ones(50, 4))
    assert seen[0].min() >= 0
    assert seen[0].max() <= 1
    assert_close(seen[0].std(1), torch.zeros(50))
    assert seen[0][:, 0].std() > 0.2


@pytest.mark.parametrize("recipe", [{"clip": 0.01, "lr": 5e-4}, {"lam": 10}, {"lam": 1}])
def test_a_value_over_its_steepest_rise_never_exceeds_the_distance(ws, recipe):
    training.seed(1)
    x, y = torch.rand(20, 64), torch.rand(20, 64) + 0.1
    critic = ws.train_critic(ws.network(64, 32, 1), x, y, **recipe)
    steepest = ((critic(x) - critic(y).T).abs() / torch.cdist(x, y)).max()
    exact = ws.matched(x, y)
    assert 0 < ws.value(critic, x, y) / steepest <= exact
    if "clip" in recipe:
        assert max(weight.abs().max() for weight in critic.parameters()) <= 0.01
    else:
        assert 0.5 < steepest < 1.1 * (1 + exact / (2 * recipe["lam"]))


def test_the_value_is_that_of_the_first_sample_less_that_of_the_second(ws):
    assert_close(ws.value(lambda z: z.sum(1), torch.ones(3, 2), torch.zeros(5, 2)).item(), 2.0)


def test_a_critic_trained_on_one_norm_for_all_is_flatter_by_the_root_of_the_batch(ws):
    x, y = torch.zeros(16, 4), torch.ones(16, 4)
    for dim, slope in ((1, 1.0), ((0, 1), 0.25)):
        training.seed(0)
        critic = ws.train_critic(ws.network(4, 1), x, y, lam=100, dim=dim)
        assert_close(critic[0].weight.norm().item(), slope, atol=0.02, rtol=0)


def test_every_layer_of_a_critic_is_normed_and_only_the_last_has_no_activation(ws):
    seen = []
    critic = ws.network(6, 5, 4, 1, norm=lambda layer: seen.append(layer) or layer)
    linear, between = critic[::2], critic[1::2]
    assert [(layer.in_features, layer.out_features) for layer in linear] == [(6, 5), (5, 4), (4, 1)]
    assert list(linear) == seen
    assert all(isinstance(layer, torch.nn.LeakyReLU) for layer in between)
    assert len(between) == 2


def test_a_squared_distance_is_no_metric(ws):
    wrong = Derivation("Squared cost, n equal hops", ws.hops.lhs)
    with pytest.raises(StepError, match="does not hold"):
        wrong.equals(ws.D**2, because="as for a distance")


def test_a_heated_distance_to_itself_is_not_zero(ws):
    wrong = Derivation("Work to itself", ws.bias.lhs, where=ws.bias.where)
    with pytest.raises(StepError, match="does not hold"):
        wrong.equals(0, because="nothing needs to move")


def test_every_step_is_proved(ws):
    found = {id(d): d for d in vars(ws).values() if isinstance(d, Derivation)}.values()
    assert len(found) == 10
    assert all(step.status == "proved" for d in found for step in d.steps)


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("uniform", lambda ws: sp.Max(ws.a, ws.b) / 2 - sp.Min(ws.a, ws.b) / 2, lambda ws: (ws.a - ws.b) / 2),
        ("shifted", lambda ws: ws.b**2 + ws.bias.expr, lambda ws: ws.b**2),
        ("moments", lambda ws: 10**0.5, lambda ws: 10.0),
    ],
)
def test_exercises_accept_the_answer_and_refuse_another(ws, name, right, wrong):
    assert getattr(ws, name).check(right(ws))
    assert not getattr(ws, name).check(wrong(ws))
