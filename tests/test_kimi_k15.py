"""The chapter held against enumeration, SciPy, torch.distributions, plain loops, and known mistakes."""

import itertools
import math

import pytest
import sympy as sp
import torch
from scipy.optimize import minimize, root_scalar
from scipy.special import lambertw
from torch.distributions import Categorical, kl_divergence

from benchmarks.curves_kimi_k15 import short_first
from tests.chapter import load
from utils import arithmetic, learning_curves
from utils.derive import Derivation, StepError

SLUG = "reinforcement/kimi-k15"
F64 = torch.float64


@pytest.fixture(scope="module")
def kimi():
    return load(SLUG)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def answers(seed, n=6):
    rng = generator(seed)
    return torch.softmax(torch.randn(n, generator=rng, dtype=F64), 0), torch.rand(n, generator=rng, dtype=F64)


def best(ref, r, tau):
    return (ref.log() + r / tau).softmax(0)


@pytest.mark.parametrize("tau", [0.1, 0.5, 3.0])
def test_the_tilted_reference_is_what_an_optimizer_finds_for_the_objective(tau):
    ref, r = answers(1)

    def cost(logits):
        policy = Categorical(logits=torch.tensor(logits))
        return -(policy.probs @ r - tau * kl_divergence(policy, Categorical(probs=ref))).item()

    found = minimize(cost, ref.log().numpy(), method="BFGS", options={"gtol": 1e-9})
    torch.testing.assert_close(torch.tensor(found.x).softmax(0), best(ref, r, tau), atol=1e-5, rtol=0)
    value = tau * (ref.log() + r / tau).logsumexp(0)
    assert -found.fun == pytest.approx(value.item(), abs=1e-9)


@pytest.mark.parametrize("tau", [0.1, 0.5, 3.0])
def test_least_squares_with_the_normaliser_finds_the_tilted_reference(kimi, tau):
    ref, r = answers(2)
    found = kimi.least_squares_policy(ref, r, tau, tau * (ref.log() + r / tau).logsumexp(0))
    torch.testing.assert_close(found, best(ref, r, tau), atol=1e-6, rtol=0)


def lambert_policy(ref, r, tau, b):
    """Stationary point by Lagrange: r - b - tau log u = c u for u = pi / ref, solved by Lambert's W."""

    def ratio(c):
        return tau / c * lambertw(c / tau * ((r - b) / tau).exp().numpy()).real

    lowest = -tau / math.e * math.exp(-(r.max() - b).item() / tau)
    bracket = [1e-9, 50.0] if (ref.numpy() * ratio(1e-9)).sum() > 1 else [lowest * (1 - 1e-9), -1e-9]
    c = root_scalar(lambda c: (ref.numpy() * ratio(c)).sum() - 1, bracket=bracket, xtol=1e-14).root
    return torch.tensor(ref.numpy() * ratio(c))


@pytest.mark.parametrize("tau", [0.3, 1.0, 4.0])
def test_least_squares_with_the_mean_is_lamberts_function(kimi, tau):
    ref, r = answers(3)
    found = kimi.least_squares_policy(ref, r, tau, ref @ r)
    torch.testing.assert_close(found, lambert_policy(ref, r, tau, ref @ r), atol=1e-6, rtol=0)


def test_the_means_policy_errs_at_third_order(kimi):
    ref, r = answers(4)
    mean = ref @ r
    variance = ref @ (r - mean) ** 2
    tau = 30.0
    predicted = -ref * variance * (r - mean) / (2 * tau**3)
    measured = lambert_policy(ref, r, tau, mean) - best(ref, r, tau)
    torch.testing.assert_close(measured, predicted, atol=1e-8, rtol=0.1)


def test_the_gap_of_the_mean_is_half_the_variance_and_never_negative():
    ref, r = answers(5)
    mean = ref @ r
    gaps = torch.tensor([tau * (ref.log() + r / tau).logsumexp(0) - mean for tau in (0.1, 1.0, 50.0)])
    assert (gaps > 0).all()
    assert gaps[-1].item() * 100 == pytest.approx((ref @ (r - mean) ** 2).item(), rel=0.01)


def words(theta):
    """Log-probabilities of all four words of two letters under an autoregressive table of logits `(3, 2)`."""
    first, after = theta[0].log_softmax(0), theta[1:].log_softmax(1)
    return torch.stack([first[i] + after[i, j] for i, j in itertools.product(range(2), range(2))])


def test_the_first_step_is_the_policy_gradient_by_enumeration_of_all_groups(kimi):
    theta = torch.randn(3, 2, generator=generator(6), dtype=F64, requires_grad=True)
    r = torch.tensor([1.0, 0.0, 0.3, 0.0], dtype=F64)
    k = 3
    log_pi = words(theta)
    exact = torch.autograd.grad((log_pi.exp() * r).sum(), theta, retain_graph=True)[0]
    expected = torch.zeros_like(theta)
    for group in itertools.product(range(4), repeat=k):
        chosen = list(group)
        loss = kimi.kimi_loss(log_pi[chosen][None], log_pi[chosen][None].detach(), r[chosen][None])
        weight = log_pi[chosen].sum().exp().detach()
        expected += weight * torch.autograd.grad(loss, theta, retain_graph=True)[0]
    torch.testing.assert_close(expected, -(1 - 1 / k) * exact)


def test_the_pull_is_the_gradient_of_the_relative_entropy_by_enumeration(kimi):
    theta = torch.randn(3, 2, generator=generator(7), dtype=F64, requires_grad=True)
    log_ref = words(torch.randn(3, 2, generator=generator(8), dtype=F64))
    log_pi = words(theta)
    kl = (log_pi.exp() * (log_pi - log_ref)).sum()
    exact = torch.autograd.grad(kl, theta, retain_graph=True)[0]
    pulls = [kimi.kimi_loss(log_pi[i].view(1, 1), log_ref[i].view(1, 1), torch.zeros(1, 1), tau=1.0) for i in range(4)]
    pull = sum(p.detach().exp() * loss for p, loss in zip(log_pi, pulls, strict=True))
    torch.testing.assert_close(torch.autograd.grad(pull, theta)[0], exact)


@pytest.mark.parametrize("twin", ["sign of the pull", "no centring", "reference not detached", "tau twice"])
def test_a_broken_loss_is_caught_by_the_derived_gradient(kimi, twin):
    log_pi, log_ref, r = torch.randn(3, 4, 8, generator=generator(9), dtype=F64)
    log_pi.requires_grad_()
    broken = {
        "sign of the pull": lambda p, q, r: (-0.15 * (p - q) ** 2 - (r - r.mean(1, keepdim=True)) * (p - q)).mean(),
        "no centring": lambda p, q, r: (0.15 * (p - q) ** 2 - r * (p - q)).mean(),
        "reference not detached": lambda p, q, r: (-(r - r.mean(1, keepdim=True)) * (p - q)).mean(),
        "tau twice": lambda p, q, r: (0.3 * (p - q) ** 2 - (r - r.mean(1, keepdim=True)) * (p - q)).mean(),
    }[twin]
    grads = [torch.autograd.grad(f(log_pi, log_ref, r), log_pi)[0] for f in (kimi.kimi_loss, broken)]
    advantage = r - r.mean(1, keepdim=True)
    derived = -(advantage - 0.3 * (log_pi - log_ref)).detach() / 32
    torch.testing.assert_close(grads[0], derived)
    assert (grads[1] - derived).abs().max() > 1e-3


def test_expert_iteration_is_the_likelihood_of_the_right_responses(kimi):
    log_pi = -torch.rand(2, 4, generator=generator(10))
    right = torch.tensor([[1.0, 0, 0, 1], [0, 0, 0, 1]])
    expected = -(log_pi[0, 0] + log_pi[0, 3] + log_pi[1, 3]) / 3
    torch.testing.assert_close(kimi.expert_loss(log_pi, None, right), expected)
    assert kimi.expert_loss(log_pi, None, 0 * right).item() == 0


def responses(lengths):
    return torch.where(torch.arange(arithmetic.LENGTH) < torch.tensor(lengths)[..., None], 1, arithmetic.BLANK)


def plain_length_reward(lengths, right, w):
    low, high = min(lengths), max(lengths)
    rewards = []
    for length, verdict in zip(lengths, right, strict=True):
        lam = 0.0 if low == high else 0.5 - (length - low) / (high - low)
        rewards.append(verdict + w * (lam if verdict else min(0.0, lam)))
    return rewards


@pytest.mark.parametrize("lengths", [[2, 3, 6, 8], [5, 5, 5, 5], [8, 2, 2, 4]])
@pytest.mark.parametrize("right", [[1, 0, 1, 0], [0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 1, 0]])
def test_the_length_reward_is_the_reports_loop_and_no_wrong_answer_wins(kimi, lengths, right):
    verdicts = torch.tensor([right], dtype=F64)
    r = kimi.right_and_short(responses([lengths]), verdicts, 0.8)
    assert r[0].tolist() == pytest.approx(plain_length_reward(lengths, right, 0.8))
    if 0 < sum(right) < 4:
        assert r[verdicts > 0].min() - r[verdicts == 0].max() >= 1 - 0.8 / 2 - 1e-12


def test_the_derived_length_rewards_are_the_built_ones(kimi):
    lengths, verdicts = [2, 3, 6, 8], torch.tensor([[1.0, 0.0, 1.0, 0.0]], dtype=F64)
    built = kimi.right_and_short(responses([lengths]), verdicts, 0.3)[0]
    for place, verdict, r in zip([0, 1 / 6, 4 / 6, 1], verdicts[0], built, strict=True):
        derived = kimi.right_reward if verdict else kimi.wrong_reward
        assert r.item() == pytest.approx(float(derived.subs({kimi.s: place, kimi.t: place, kimi.w: 0.3})))


def test_a_wrong_answer_rewarded_for_being_short_is_refuted(kimi):
    broken = Derivation("no minimum", kimi.right_reward - kimi.w * (sp.S.Half - kimi.t), domain=kimi.box)
    with pytest.raises(StepError, match="does not hold"):
        broken.at_least(1 - kimi.w / 2, because="as published")


def test_dividing_by_the_standard_deviation_is_not_the_gradient_of_the_share_solved(kimi):
    wrong = Derivation("GRPO", kimi.grpo.lhs)
    with pytest.raises(StepError, match="does not hold"):
        wrong.equals(kimi.solve_rate.diff(kimi.theta), because="a mere rescaling")


def test_the_plain_log_ratio_has_no_gradient_on_average():
    # Published: Tang and Munos (2025), On a few pitfalls in KL divergence gradient estimation for RL.
    theta = torch.randn(3, 2, generator=generator(11), dtype=F64, requires_grad=True)
    log_pi = words(theta)
    plain = (log_pi.detach().exp() * log_pi).sum()
    torch.testing.assert_close(torch.autograd.grad(plain, theta)[0], torch.zeros_like(theta), atol=1e-12, rtol=0)


def test_priorities_follow_failures_and_the_curriculum_grows(kimi):
    x = arithmetic.problems(500, generator(12))
    n = (x < 10).sum(1)
    torch.testing.assert_close(kimi.prioritised(x, torch.tensor([0.0, 0.25]), 3), torch.tensor([1.0, 0.75]))
    for round, longest in ((0, 3), (14, 3), (15, 4), (30, 5)):
        assert n[short_first(x, None, round) > 0].max() == longest


def test_three_rounds_are_the_plain_loop_with_a_reference_and_counts_that_move_along(kimi):
    torch.manual_seed(0)
    policy, twin = arithmetic.Policy(width=8), arithmetic.Policy(width=8)
    twin.load_state_dict(policy.state_dict())
    x = arithmetic.problems(100, generator(13))
    settings = {"rounds": 3, "steps": 2, "lr": 0.01, "k": 4, "weights": kimi.prioritised}
    assert list(kimi.improve(policy, x, kimi.kimi_loss, generator(14), **settings)) == [1, 2, 3]

    rng, verdicts = generator(14), [[] for _ in x]
    optimizer = torch.optim.Adam(twin.parameters(), 0.01)
    for _ in range(3):
        failures = torch.tensor([1 - (sum(v) + 1) / (len(v) + 2) for v in verdicts])
        rows = torch.multinomial(failures, 64, generator=rng)
        asked = x[rows].repeat_interleave(4, 0)
        y = twin.sample(asked, rng)
        right = arithmetic.verify(asked, y)
        for row, group in zip(rows.tolist(), right.split(4), strict=True):
            verdicts[row] += group.tolist()
        advantage = torch.stack([g - g.mean() for g in right.split(4)]).flatten()
        old = twin.log_prob(asked, y).detach()
        for _ in range(2):
            optimizer.zero_grad()
            change = twin.log_prob(asked, y) - old
            (0.15 * change**2 - advantage * change).mean().backward()
            optimizer.step()
    assert sum(map(sum, verdicts)) > 5
    for a, b in zip(policy.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_the_right_answer_overtakes_the_wrong_one_where_the_prose_says():
    for share, tau in ((0.05, 0.39), (0.005, 0.20)):
        wrong = (1 - share) * 2 / 3
        assert 1 / math.log(wrong / share) == pytest.approx(tau, abs=0.005)


def test_stored_curves_rank_as_the_prose_says():
    mean = {n: learning_curves.load(f"kimi_k15_{n}").returns.mean(0) for n in ("kimi", "reinforce", "reused")}
    assert (mean["reinforce"][1:7] < mean["kimi"][1:7]).all()
    assert (mean["reinforce"][9:] > mean["kimi"][9:]).all()
    for name in ("kimi", "expert", "reinforce", "prioritised", "curriculum"):
        assert learning_curves.load(f"kimi_k15_{name}").returns[:, -1].mean() > mean["reused"][-1]


def test_thoughts_answer_and_stop_need_as_many_tokens_as_the_problem_has_digits():
    x = arithmetic.problems(4000, generator(16))
    y = arithmetic.demonstrations(x, 0.0, generator(17))
    length, n = (y != arithmetic.BLANK).sum(1), (x < 10).sum(1)
    for digits in range(2, 6):
        assert length[n == digits].min() == digits


def test_all_steps_are_proved_but_gibbs_inequality(kimi):
    steps = [step for d in vars(kimi).values() if isinstance(d, Derivation) for step in d.steps]
    assert len(steps) >= 8
    assert [step.because for step in steps if step.status != "proved"] == [kimi.objective.steps[-1].because]


@pytest.mark.parametrize("name", ["kimi", "expert", "reinforce", "reused", "prioritised", "curriculum"])
def test_stored_curves_start_from_the_same_students_and_end_higher(name):
    curves, kimi_curves = (learning_curves.load(f"kimi_k15_{n}") for n in (name, "kimi"))
    torch.testing.assert_close(curves.returns[:, 0], kimi_curves.returns[:, 0])
    assert curves.steps.tolist() == [2560 * i for i in range(13)]
    assert (curves.returns[:, -1] > curves.returns[:, 0] + 0.2).all()


@pytest.mark.parametrize(
    ("name", "right", "wrong"), [("hardest", sp.Rational(1, 3), sp.S.Half), ("lambert", 0.713761, 0.731059)]
)
def test_exercises_accept_the_answer_and_reject_the_likely_mistake(kimi, name, right, wrong):
    exercise = getattr(kimi, name)
    assert exercise.check(right)
    assert not exercise.check(wrong)


def test_odds_after_rounds_are_those_of_repeated_tilting(kimi):
    ref, r = answers(15, 2)
    policy = ref
    for _ in range(3):
        policy = best(policy, r, 0.7)
    values = {**dict(zip(kimi.rho, ref.tolist(), strict=False)), **dict(zip(kimi.r, r.tolist(), strict=False))}
    odds = kimi.odds.answer.subs({**values, kimi.tau: 0.7, kimi.m: 3})
    assert float(odds) == pytest.approx((policy[0] / policy[1]).item())
    assert not kimi.odds.check(kimi.rho[0] / kimi.rho[1] * sp.exp((kimi.r[0] - kimi.r[1]) / kimi.tau))
