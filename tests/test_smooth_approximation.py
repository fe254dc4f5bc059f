"""The chapter's smooth functions and metrics against SciPy, scikit-learn, torch and the mistakes that it names."""

import numpy as np
import pytest
import sympy as sp
import torch
from scipy.special import logsumexp, rel_entr, softmax
from sklearn.metrics import accuracy_score, f1_score
from torch.distributions import Gumbel
from torch.nn import functional as F
from torch.testing import assert_close

from tests.chapter import derivations, load
from utils.derive import Derivation, StepError

TEMPERATURES = [0.01, 0.3, 1.0, 7.0]


@pytest.fixture(scope="module")
def sm():
    return load("foundations/smooth-approximation")


@pytest.fixture
def scores():
    return torch.randn(50, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("tau", TEMPERATURES)
def test_smooth_max_and_softmax_are_scipys(sm, scores, tau):
    assert_close(sm.smooth_max(scores, tau).numpy(), tau * logsumexp(scores.numpy() / tau, axis=-1))
    assert_close(sm.soft_onehot(scores, tau).numpy(), softmax(scores.numpy() / tau, axis=-1))


@pytest.mark.parametrize("tau", TEMPERATURES)
def test_smooth_max_is_above_the_maximum_by_at_most_tau_log_n_and_by_that_at_a_tie(sm, scores, tau):
    excess = sm.smooth_max(scores, tau) - scores.amax(-1)
    assert (excess >= 0).all()
    assert (excess <= tau * np.log(6) + 1e-12).all()
    assert_close(sm.smooth_max(torch.full((6,), 4.0).double(), tau), torch.tensor(4 + tau * np.log(6)))


@pytest.mark.parametrize("tau", TEMPERATURES)
def test_slope_and_hessian_of_the_smooth_maximum(sm, scores, tau):
    x, p = scores[0], sm.soft_onehot(scores[0], tau)
    slope = torch.autograd.functional.jacobian(lambda x: sm.smooth_max(x, tau), x)
    hessian = torch.autograd.functional.hessian(lambda x: sm.smooth_max(x, tau), x)
    assert_close(slope, p)
    assert_close(hessian, (p.diag() - p[:, None] * p) / tau)
    assert torch.linalg.eigvalsh(hessian).min() > -1e-9
    assert torch.linalg.eigvalsh(hessian).max() <= 1 / tau


def test_smooth_max_is_the_best_score_plus_entropy(sm, scores):
    tau, x = 0.7, scores[0]
    p, best = sm.soft_onehot(x, tau), sm.smooth_max(x, tau)
    q = torch.distributions.Dirichlet(torch.ones(6).double()).sample((500,))
    value = q @ x - tau * torch.xlogy(q, q).sum(-1)
    gap = torch.from_numpy(rel_entr(q.numpy(), p.numpy()).sum(-1))
    assert_close(best - value, tau * gap)
    assert_close(p @ x - tau * torch.xlogy(p, p).sum(), best)


def test_noisy_maxima_are_gumbel_around_the_smooth_maximum_and_won_as_often_as_softmax_says(sm):
    torch.manual_seed(0)
    x, tau = torch.tensor([0.0, 1.0, 1.4]), 0.5
    noisy = x + tau * Gumbel(0.0, 1.0).sample((200_000, 3))
    at = torch.linspace(0.5, 4, 20)
    derived = Gumbel(sm.smooth_max(x, tau), tau).cdf(at)
    assert_close((noisy.amax(-1)[:, None] <= at).float().mean(0), derived, atol=0.005, rtol=0)
    assert_close(noisy.argmax(-1).bincount() / 200_000, sm.soft_onehot(x, tau), atol=0.005, rtol=0)


@pytest.mark.parametrize("tau", [0.05, 0.4, 2.0])
def test_step_ramp_and_absolute_value_are_averages_over_logistic_noise(sm, tau):
    u = (torch.arange(200_000).double() + 0.5) / 200_000
    noise = tau * torch.logit(u)
    for x in (-1.3, 0.0, 0.6):
        at = torch.tensor(x).double()
        assert_close(sm.smooth_step(at, tau), (at + noise > 0).double().mean(), atol=1e-4, rtol=0)
        assert_close(sm.smooth_ramp(at, tau), (at + noise).relu().mean(), atol=1e-4, rtol=0)
        assert_close(sm.smooth_abs(at, tau), (at + noise).abs().mean(), atol=2e-4, rtol=0)
        assert_close(sm.smooth_ramp(at, tau), F.softplus(at, beta=1 / tau))


def test_a_wide_smooth_floor_is_a_line_half_a_step_down(sm):
    at = {sm.x: sp.Rational(3, 10), sm.tau: sp.Rational(7, 10)}
    assert float(sm.smooth["floor"].subs(at)) == pytest.approx(0.3 - 0.5, abs=0.01)
    assert float(sm.smooth["floor"].subs({**at, sm.tau: sp.Rational(1, 50)})) == pytest.approx(0, abs=1e-5)


def test_nothing_overflows(sm):
    x = torch.tensor([-249.873093, -424.126709, -460.292542, 378.097443, -292.614532])
    assert_close(sm.soft_onehot(x, 1.0), x.softmax(-1))
    assert_close(sm.smooth_max(x, 1e-3), x.amax())
    assert sm.smooth_max(-x.abs() * 1e4, 0.1).isfinite()


def test_the_soft_index_moves_with_its_places_and_fails_at_ties(sm):
    x = torch.tensor([[3.0, 0, 3], [0, 9, 0], [0, 0, 9]])
    assert_close(sm.soft_index(x, 0.2), torch.tensor([1.0, 1.0, 2.0]))
    tie = torch.tensor([3.0, 0, 0, 0, 3, 0])
    assert sm.soft_index(tie, 0.05).item() == pytest.approx(2)
    assert sm.soft_index(tie, 0.05).round() not in tie.topk(2).indices


def binary(seed):
    rng = torch.Generator().manual_seed(seed)
    t = (torch.rand(40, generator=rng) < 0.3).double()
    return torch.randn(40, generator=rng, dtype=torch.float64), t


@pytest.mark.parametrize("seed", range(3))
def test_metrics_of_hard_calls_are_scikit_learns(sm, seed):
    z, t = binary(seed)
    calls = (z > 0).double()
    assert sm.soft_f1(calls, t).item() == pytest.approx(f1_score(t, calls))
    assert sm.hard_f1(z, t).item() == pytest.approx(f1_score(t, calls))
    assert sm.hard_f1(z, t, 0.5).item() == pytest.approx(f1_score(t, (z > 0.5)))
    assert sm.missed_f1(1e4 * z, t).item() == pytest.approx(1 - f1_score(t, calls))
    assert sm.missed_accuracy(1e4 * z, t).item() == pytest.approx(1 - accuracy_score(t, calls))


def test_two_classes_are_a_case_of_many(sm):
    z, t = binary(5)
    both = torch.stack([torch.zeros(40).double(), z], -1)
    assert_close(1 - sm.missed_accuracy(z, t), sm.soft_accuracy(both, t.long()))
    assert_close(sm.cross_entropy(z, t), F.cross_entropy(both, t.long()))


@pytest.mark.parametrize("seed", range(3))
def test_slope_of_f1_is_as_derived(sm, seed):
    z, t = binary(seed)
    p = torch.sigmoid(z).requires_grad_()
    value = sm.soft_f1(p, t)
    (slope,) = torch.autograd.grad(value, p)
    assert_close(slope, 2 * (t - value / 2) / (t + p).sum())


def test_smooth_accuracy_weighs_the_push_of_cross_entropy_by_its_own_share(sm, scores):
    x, y = scores.clone().requires_grad_(), torch.arange(50) % 6
    (accuracy,) = torch.autograd.grad(sm.soft_accuracy(x, y), x)
    (nats,) = torch.autograd.grad(-F.cross_entropy(x, y), x)
    p = x.softmax(-1).gather(1, y[:, None])
    assert_close(accuracy, p * nats)


@pytest.mark.parametrize("seed", range(4))
def test_the_best_calls_under_honest_chances_cut_at_half_their_f1(sm, seed):
    eta = torch.rand(12, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    calls = torch.cartesian_prod(*[torch.tensor([0.0, 1.0]).double()] * 12)[1:]
    F1 = 2 * (calls @ eta) / (calls.sum(-1) + eta.sum())
    best = calls[F1.argmax()].bool()
    assert (eta[best] > F1.max() / 2).all()
    assert (eta[~best] <= F1.max() / 2).all()


def test_the_published_formula_is_the_larger_absolute_value(sm):
    y, z = torch.randn(2, 1000, generator=torch.Generator().manual_seed(0))
    formula = ((y + z).abs() + (y - z).abs()) / 2
    assert_close(formula, torch.maximum(y.abs(), z.abs()))
    assert (formula - torch.maximum(y, z)).abs().max() > 1


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("ramp", lambda sm: sm.tau * sp.log(1 + sp.exp(-sm.x / sm.tau))),
        ("noisy", lambda sm: sm.below((sm.m - sum(sm.x_i)) / sm.tau)),
        ("push", lambda sm: 2 * (sm.t[0] - sm.f1.expr) / sum(sm.t + sm.p)),
        ("fall", lambda sm: (1 - 2 * sm.r) * sm.one_p * (1 - sm.one_p)),
        ("more", lambda sm: 2 * (sm.eta - sm.N / sm.S) / (sm.S + 1)),
        ("tie", lambda sm: 1),
    ],
)
def test_wrong_lines_are_refuted(sm, name, wrong):
    with pytest.raises(StepError, match="does not hold"):
        Derivation("wrong", getattr(sm, name).lhs).equals(wrong(sm), because="broken")


def test_all_steps_are_proved(sm):
    steps = [step for d in derivations(sm) for step in d.steps]
    assert len(steps) == 18
    assert {step.status for step in steps} == {"proved"}


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("cold", lambda sm: -sm.g / sp.log(sm.c / ((sm.n - 1) * (1 - sm.c))), lambda sm: sm.g / sp.log(sm.n / sm.c)),
        ("weight", lambda sm: 1 / sm.r - 1, lambda sm: 1 / sm.r),
        ("dip", lambda sm: -1.27846, lambda sm: -1.0),
    ],
)
def test_exercises_accept_the_answer_and_refuse_another(sm, name, right, wrong):
    assert getattr(sm, name).check(right(sm))
    assert not getattr(sm, name).check(wrong(sm))


def test_the_average_score_falls_up_to_the_dip(sm):
    z = torch.linspace(-4, 2, 2001, dtype=torch.float64)
    average = (torch.stack([0 * z, z], -1) * sm.soft_onehot(torch.stack([0 * z, z], -1), 1.0)).sum(-1)
    assert z[average.argmin()].item() == pytest.approx(-1.278, abs=0.004)
    assert (average[z < -1.3].diff() < 0).all()
    assert (average[z > -1.2].diff() > 0).all()


def test_the_widget_draws_the_function_that_its_menu_names(sm):
    for k, name in enumerate(sm.smooth, 1):
        at = {sm.which: k, sm.x: sp.Rational(17, 10), sm.tau: sp.Rational(3, 10)}
        assert float(sm.lines["smooth"].subs(at)) == pytest.approx(float(sm.smooth[name].subs(at)))
        assert float(sm.lines["hard"].subs(at)) == float(sm.hard[name].subs(at))
        assert float(sm.lines["slope of the smooth one"].subs(at)) == pytest.approx(
            float(sp.diff(sm.smooth[name], sm.x).subs(at))
        )
