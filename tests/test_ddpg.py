"""The chapter, held against SciPy's Riccati solver and Stable-Baselines3, and against published mistakes."""

import copy
import inspect

import gymnasium
import pytest
import sympy as sp
import torch
from scipy.linalg import solve_discrete_are

from tests.chapter import derivations, load
from utils.derive import Derivation, StepError

SLUG = "reinforcement/ddpg"


@pytest.fixture(scope="module")
def ddpg():
    return load(SLUG)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_every_step_is_proved(ddpg):
    steps = [step for d in derivations(ddpg) for step in d.steps]
    assert len(steps) >= 12
    assert {step.status for step in steps} == {"proved"}


@pytest.mark.parametrize("gamma", [1.0, 0.9, 0.5])
def test_the_best_gain_is_scipys(ddpg, gamma):
    root = gamma**0.5 * torch.eye(1).double().numpy()
    P = solve_discrete_are(root, root, [[1.0]], [[1.0]])[0, 0]
    exact = float(ddpg.best_gain.subs(ddpg.gamma, sp.nsimplify(gamma)))
    assert exact == pytest.approx(gamma * P / (1 + gamma * P), abs=1e-12)
    assert float(ddpg.cost.subs({ddpg.k: exact, ddpg.gamma: gamma})) == pytest.approx(P, abs=1e-12)


def test_without_a_discount_it_is_the_golden_ratio(ddpg):
    best = ddpg.golden.expr
    assert best == 1 / sp.GoldenRatio
    assert sp.simplify(ddpg.cost.subs({ddpg.gamma: 1, ddpg.k: (sp.sqrt(5) - 1) / 2}) - (1 + sp.sqrt(5)) / 2) == 0


def two_state_plant():
    A = torch.tensor([[1.0, 0.4], [0.0, 1.0]]).double()
    B = torch.tensor([[0.0], [0.4]]).double()
    return A, B


def two_state_learner(ddpg, kind, steps, seed=0, gamma=0.95):
    A, B = two_state_plant()
    torch.manual_seed(seed)
    actor = torch.nn.Linear(2, 1, bias=False).double()
    torch.nn.init.zeros_(actor.weight)
    agent = kind(actor, ddpg.Quadratic(3, 3, 1, bias=False).double(), gamma, tau=0.05, lr=0.01)
    rng = generator(seed)
    for _ in range(steps):
        s = torch.randn(128, 2, generator=rng).double()
        a = 2 * torch.randn(128, 1, generator=rng).double()
        r = -(s**2).sum(-1) - 0.5 * (a**2).sum(-1)
        agent.update(s, a, r, s @ A.T + a @ B.T, torch.zeros(128, dtype=torch.bool))
    return -actor.weight.detach()


def two_state_gain(gamma=0.95):
    A, B = (gamma**0.5 * M.numpy() for M in two_state_plant())
    P = solve_discrete_are(A, B, torch.eye(2).numpy(), [[0.5]])
    return torch.from_numpy((B.T @ P @ A) / (0.5 + B.T @ P @ B))


def test_samples_of_a_two_state_plant_give_scipys_riccati_gain(ddpg):
    learned = two_state_learner(ddpg, ddpg.DDPG, 4000)
    torch.testing.assert_close(learned, two_state_gain(), atol=2e-3, rtol=0)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_cart_learns_the_golden_ratio_whatever_the_seed(ddpg, seed):
    torch.manual_seed(seed)
    agent = ddpg.DDPG(*ddpg.cart(), 1.0, tau=0.05, lr=0.01)
    *_, gain = ddpg.learn_gain(agent, 1500, generator(seed))
    assert gain == pytest.approx((5**0.5 - 1) / 2, abs=1e-5)


def mistaken(ddpg, name):
    class Mistaken(ddpg.DDPG):
        """The chapter's update, written again, with one mistake."""

        def update(self, s, a, r, s_next, terminated):
            where = s if name == "the next action is chosen in this state" else s_next
            with torch.no_grad():
                future = self.slow_critic(s_next, self.slow_actor(where))
                discount = 1.0 if name == "no discount" else self.gamma
                target = r + discount * future * ~terminated
            ddpg.descend(self.critic_adam, (self.critic(s, a) - target).square().mean())
            sign = 1 if name == "the actor walks downhill" else -1
            ddpg.descend(self.actor_adam, sign * self.critic(s, self.actor(s)).mean())
            ddpg.follow(self.slow_critic, self.critic, self.tau)
            ddpg.follow(self.slow_actor, self.actor, self.tau)

    return Mistaken


def learned_gain(ddpg, kind, **options):
    torch.manual_seed(0)
    agent = kind(*ddpg.cart(), 0.8, tau=0.05, lr=0.01)
    return torch.tensor([*ddpg.learn_gain(agent, 1500, generator(), **options)])[-300:].mean().item()


def test_the_update_written_again_without_a_mistake_is_the_chapters(ddpg):
    assert learned_gain(ddpg, mistaken(ddpg, "")) == learned_gain(ddpg, ddpg.DDPG)


@pytest.mark.parametrize("name", ["the next action is chosen in this state", "no discount", "the actor walks downhill"])
def test_a_mistake_misses_the_riccati_gain(ddpg, name):
    # The first was published: jimkon/Deep-Reinforcement-Learning-in-Large-Discrete-Action-Spaces issue 38.
    exact = float(ddpg.best_gain.subs(ddpg.gamma, 0.8))
    assert learned_gain(ddpg, ddpg.DDPG) == pytest.approx(exact, abs=1e-4)
    assert learned_gain(ddpg, mistaken(ddpg, name)) != pytest.approx(exact, abs=0.02)


@pytest.mark.parametrize("clock", [2, 5])
def test_a_cut_taken_for_an_end_learns_the_gain_of_a_smaller_discount(ddpg, clock):
    # Published: openai/baselines issue 436.
    short = float(ddpg.best_gain.subs(ddpg.gamma, 0.8 * (1 - 1 / clock)))
    exact = float(ddpg.best_gain.subs(ddpg.gamma, 0.8))
    assert learned_gain(ddpg, ddpg.DDPG, clock=clock) == pytest.approx(exact, abs=1e-4)
    assert learned_gain(ddpg, ddpg.DDPG, clock=clock, cut_is_end=True) == pytest.approx(short, abs=0.02)
    assert exact - short > 0.05


def test_the_replay_of_pendulum_holds_no_end_though_every_episode_is_cut(ddpg, monkeypatch):
    batches = []
    monkeypatch.setattr(ddpg.DDPG, "update", lambda self, *batch: batches.append(batch))
    cuts = []
    step = gymnasium.wrappers.TimeLimit.step

    def counting(self, a):
        outcome = step(self, a)
        cuts.append(outcome[3])
        return outcome

    monkeypatch.setattr(gymnasium.wrappers.TimeLimit, "step", counting)
    list(ddpg.pendulum(0, steps=650, warmup=600))
    assert sum(cuts) == 3
    assert len(batches) == 50
    assert not any(batch[4].any() for batch in batches)


def test_the_robot_explores_within_the_bounds_and_the_target_does_not(ddpg, monkeypatch):
    taken = []
    add = ddpg.Replay.add
    monkeypatch.setattr(ddpg.Replay, "add", lambda self, *t: (taken.append(t[:2]), add(self, *t))[1])
    monkeypatch.setattr(ddpg.DDPG, "update", lambda self, *batch: None)
    *_, agent = ddpg.pendulum(0, steps=600, warmup=100)
    states, actions = torch.tensor([s.tolist() for s, _ in taken]), torch.stack([a for _, a in taken])
    assert actions.abs().max() <= 2
    assert 1.05 < actions[:100].std() < 1.25  # uniform on [-2, 2]
    noise = actions[100:] - agent.actor(states[100:]).detach()
    assert 0.18 < noise.std() < 0.22


def test_the_replay_of_pendulum_obeys_the_equations_of_motion(ddpg, monkeypatch):
    kept = []
    monkeypatch.setattr(ddpg.Replay, "add", lambda self, *t: kept.append([torch.as_tensor(x) for x in t]))
    monkeypatch.setattr(ddpg.Replay, "sample", lambda self, batch: ())
    monkeypatch.setattr(ddpg.DDPG, "update", lambda self, *batch: None)
    list(ddpg.pendulum(0, steps=450, warmup=100, noise=3.0))  # noise enough to need the bounds, two cuts
    s, a, r, s_next, _ = (torch.stack(field).double() for field in zip(*kept, strict=True))
    angle, speed, torque = torch.atan2(s[:, 1], s[:, 0]), s[:, 2], a[:, 0]
    faster = (speed + 0.05 * (15 * torch.sin(angle) + 3 * torch.clamp(torque, -2, 2))).clamp(-8, 8)
    after = angle + 0.05 * faster
    moved = torch.stack([torch.cos(after), torch.sin(after), faster], -1)
    torch.testing.assert_close(s_next, moved, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(r, -(angle**2 + 0.1 * speed**2 + 0.001 * torque**2), atol=1e-5, rtol=1e-5)
    cut = torch.tensor([199, 399])
    follows = (s[1:] == s_next[:-1]).all(-1)
    assert not follows[cut].any()
    assert follows.sum() == len(follows) - 2


class Box(gymnasium.Env):
    """Spaces alone: what Stable-Baselines3 needs to build its networks."""

    observation_space = gymnasium.spaces.Box(-1, 1, (3,))
    action_space = gymnasium.spaces.Box(-1, 1, (1,))


def test_three_updates_are_those_of_stable_baselines3(ddpg, monkeypatch):
    from stable_baselines3 import DDPG
    from stable_baselines3.common.logger import Logger
    from stable_baselines3.common.type_aliases import ReplayBufferSamples

    torch.manual_seed(0)
    theirs = DDPG("MlpPolicy", Box(), policy_kwargs={"net_arch": [64, 64]}, device="cpu", gamma=0.9, tau=0.1)
    theirs.set_logger(Logger(None, []))

    class Half(ddpg.Actor):
        def forward(self, s):
            return super().forward(s) / 2  # the chapter's bounds are -2 and 2

    agent = ddpg.DDPG(Half(*ddpg.layers(3)), ddpg.Critic(*ddpg.layers(4)), gamma=0.9, tau=0.1)
    pairs = (
        (agent.actor, theirs.actor),
        (agent.critic, theirs.critic),
        (agent.slow_actor, theirs.actor_target),
        (agent.slow_critic, theirs.critic_target),
    )
    for mine, their in pairs:
        for p, other in zip(mine.parameters(), their.parameters(), strict=True):
            p.data.copy_(other.data)
    rng = generator(1)
    for _ in range(3):
        s, s_next = torch.randn(2, 32, 3, generator=rng)
        a, r = 2 * torch.rand(32, 1, generator=rng) - 1, torch.randn(32, generator=rng)
        ended = torch.rand(32, generator=rng) < 0.3
        batch = ReplayBufferSamples(s, a, s_next, ended.float()[:, None], r[:, None])
        monkeypatch.setattr(theirs.replay_buffer, "sample", lambda *_, batch=batch, **__: batch)
        theirs.train(gradient_steps=1, batch_size=32)
        agent.update(s, a, r, s_next, ended)
    for mine, their in pairs:
        for p, other in zip(mine.parameters(), their.parameters(), strict=True):
            torch.testing.assert_close(p.data, other.data, atol=1e-6, rtol=1e-5)


def test_discount_share_and_rate_are_those_of_stable_baselines3(ddpg):
    from stable_baselines3 import DDPG

    mine, theirs = (inspect.signature(kind).parameters for kind in (ddpg.DDPG, DDPG))
    for name, other in (("gamma", "gamma"), ("tau", "tau"), ("lr", "learning_rate")):
        assert mine[name].default == theirs[other].default


@pytest.mark.parametrize("tau", [0.005, 0.3, 1.0])
def test_a_soft_update_is_polyak_update(ddpg, tau):
    from stable_baselines3.common.utils import polyak_update

    torch.manual_seed(0)
    fast, slow = torch.nn.Linear(4, 3).double(), torch.nn.Linear(4, 3).double()
    other = copy.deepcopy(slow)
    polyak_update(fast.parameters(), other.parameters(), tau)
    ddpg.follow(slow, fast, tau)
    for p, q in zip(slow.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=1e-15)


def test_the_lag_of_a_plain_loop_is_the_derived_one(ddpg):
    tau, copy_, ramp = 0.05, 0.0, 0.0
    for step in range(1, 2001):
        copy_ += tau * (1.0 - copy_)
        ramp += tau * (step - ramp)
        if step == 40:
            share = float(ddpg.arrived.expr.subs({ddpg.tau: tau, ddpg.n: 40}))
            assert copy_ == pytest.approx(share, abs=1e-12)
    assert 2000 - ramp == pytest.approx(float(ddpg.age.expr.subs(ddpg.tau, tau)), abs=1e-9)


def test_the_score_estimates_the_blurred_slope(ddpg):
    z = torch.randn(400_000, generator=generator()).double()
    for sigma in (0.1, 0.5, 1.0):
        a = 0.5 + sigma * z
        sampled = (z / sigma * (a - a**3 - 0.375)).mean()
        values = {ddpg.q_0: 1, ddpg.q_1: 1, ddpg.q_2: 0, ddpg.q_3: -1, ddpg.mu: 0.5, ddpg.sigma: sigma}
        assert sampled == pytest.approx(float(ddpg.noisy.expr.subs(values)), abs=0.03)


def test_the_variance_over_joints_is_the_exercises(ddpg):
    for joints in (1, 2, 7):
        g = torch.randn(joints, generator=generator(joints)).double()
        z = torch.randn(400_000, joints, generator=generator()).double()
        variance = (z * (z @ g)[:, None]).var(0).sum() / (g @ g)
        assert variance == pytest.approx(float(ddpg.joints.answer.subs(ddpg.d, joints)), rel=0.03)


def test_a_plus_for_a_times_in_the_target_is_refuted():
    # Published: ikostrikov/pytorch-ddpg-naf issue 16.
    r, gamma, mask, v = sp.symbols("r gamma mask v", real=True)
    target = Derivation("target", r + gamma * mask * v, domain={mask: [0, 1]})
    with pytest.raises(StepError, match="does not hold"):
        target.equals(r + gamma * mask + v, because="as published")


def test_the_first_summand_alone_is_not_the_gradient(ddpg):
    theorem = Derivation("gradient", ddpg.theorem.lhs, where={ddpg.c: ddpg.cost}, domain=ddpg.stable)
    with pytest.raises(StepError, match="does not hold"):
        theorem.equals(-ddpg.s * ddpg.slope, because="only the first step")


@pytest.mark.parametrize("name", ["half_life", "joints", "price"])
def test_exercises_accept_the_answer_and_refuse_another(ddpg, name):
    exercise = getattr(ddpg, name)
    assert exercise.check(exercise.answer)
    assert not exercise.check(exercise.answer + 1)
    assert not exercise.check(2)
