"""The chapter's estimators, held against listed walks, autograd, plain loops, stable-baselines3 and known mistakes."""

import itertools

import gymnasium
import numpy as np
import pytest
import sympy as sp
import torch

from tests.chapter import cells, derivations, load
from utils import learning_curves
from utils.derive import Derivation, StepError
from utils.gridworld import World, from_gymnasium, grid_world
from utils.robots import Robots

SLUG = "reinforcement/actor-critic"
F64 = torch.float64


@pytest.fixture(scope="module")
def ac():
    return load(SLUG)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def random_world(seed, states=2, actions=2):
    rng = generator(seed)
    P = torch.rand(states, actions, states, generator=rng, dtype=F64)
    R = torch.randn(states, actions, states, generator=rng, dtype=F64)
    return World(P / P.sum(-1, keepdim=True), R, torch.zeros(states, dtype=torch.bool))


def listed(world, policy, start, T):
    """Every walk of T steps: states (T + 1, N), actions and rewards (T, N), probabilities (N,)."""
    S, A = policy.shape
    rows = torch.tensor([*itertools.product(*[range(S), range(A)] * T, range(S))]).T
    s, a = rows[::2], rows[1::2]
    chance = start[s[0]] * (policy[s[:-1], a] * world.P[s[:-1], a, s[1:]]).prod(0)
    return s, a, world.R[s[:-1], a, s[1:]], chance


def to_go(r, gamma):
    G = r.clone()
    for t in reversed(range(len(r) - 1)):
        G[t] += gamma * G[t + 1]
    return G


@pytest.fixture
def enumerated():
    """A function: the exact average of REINFORCE with some weight, beside autograd's gradient of the same walks."""
    world, theta = random_world(3), torch.randn(2, 2, generator=generator(4), dtype=F64).requires_grad_()
    s, a, r, chance = listed(world, theta.softmax(-1), torch.tensor([0.3, 0.7], dtype=F64), 3)
    (exact,) = torch.autograd.grad((chance * to_go(r, 0.9)[0]).sum(), theta)
    policy, chance = theta.detach().softmax(-1), chance.detach()

    def average(ac, weight, gamma=0.9):
        return (chance[:, None, None] * ac.reinforce(s[:-1], a, weight(s, a, r), policy, gamma)).sum(0)

    return average, exact


def test_reinforce_averages_to_the_exact_gradient_over_all_walks(ac, enumerated):
    average, exact = enumerated
    torch.testing.assert_close(average(ac, lambda s, a, r: to_go(r, 0.9)), exact)


def test_a_baseline_of_state_and_time_changes_no_average(ac, enumerated):
    average, exact = enumerated
    b = 5 * torch.randn(3, 2, generator=generator(5), dtype=F64)
    torch.testing.assert_close(average(ac, lambda s, a, r: to_go(r, 0.9) - b.gather(1, s[:-1])), exact)


def test_a_baseline_of_the_action_is_biased(ac, enumerated):
    # Published: Tucker et al. (2018), The mirage of action-dependent baselines.
    average, exact = enumerated
    b = 5 * torch.randn(2, generator=generator(5), dtype=F64)
    biased = average(ac, lambda s, a, r: to_go(r, 0.9) - b[a])
    assert (biased - exact).norm() > 0.5 * exact.norm()


def test_gamma_to_the_t_dropped_is_biased(ac, enumerated):
    # Published: Nota and Thomas (2020), Is the policy gradient a gradient?
    average, exact = enumerated
    biased = average(ac, lambda s, a, r: to_go(r, 0.9), gamma=1.0)
    assert (biased - exact).norm() > 0.02 * exact.norm()


def test_gae_without_trust_in_the_critic_is_reinforce_with_any_critic(ac, enumerated):
    average, exact = enumerated
    w = torch.randn(2, generator=generator(6), dtype=F64)

    def weight(s, a, r):
        last = torch.zeros_like(r) > 0
        last[-1] = True  # the walk ends after three steps
        return ac.gae(r, w[s], last, last, 0.9, 1.0)

    torch.testing.assert_close(average(ac, weight), exact)


@pytest.mark.parametrize("gamma", [0.5, 0.95])
def test_the_theorem_is_autograd_of_the_value_written_out_by_sympy(ac, gamma):
    l_1, l_2 = sp.symbols("l_1 l_2", real=True)
    world, theta = random_world(7), torch.randn(2, 2, generator=generator(8), dtype=F64)
    pi = [[1 / (1 + sp.exp(-x)), 1 / (1 + sp.exp(x))] for x in (l_1, l_2)]
    exact = lambda tensor, *at: sp.Rational(tensor[at].item())  # noqa: E731
    P = sp.Matrix(2, 2, lambda s, t: sum(pi[s][a] * exact(world.P, s, a, t) for a in (0, 1)))
    paid = lambda s, a: sum(exact(world.P, s, a, t) * exact(world.R, s, a, t) for t in (0, 1))  # noqa: E731
    r = sp.Matrix([sum(pi[s][a] * paid(s, a) for a in (0, 1)) for s in (0, 1)])
    J = (sp.Matrix([[sp.Rational(3, 10), sp.Rational(7, 10)]]) * (sp.eye(2) - sp.Rational(gamma) * P).inv() * r)[0]
    at = {x: exact(theta[:, 0] - theta[:, 1], i) for i, x in enumerate((l_1, l_2))}
    slopes = torch.tensor([float(sp.diff(J, x).subs(at)) for x in (l_1, l_2)], dtype=F64)
    built = ac.exact_gradient(world, theta, gamma, torch.tensor([0.3, 0.7], dtype=F64))
    torch.testing.assert_close(built, torch.stack([slopes, -slopes], -1))


def test_a_terminal_state_has_no_value_and_no_slope(ac):
    world = from_gymnasium(gymnasium.make("FrozenLake-v1"))
    theta = torch.randn(16, 4, generator=generator(), dtype=F64).requires_grad_()
    start = torch.zeros(16, dtype=F64)
    start[0] = 1
    v, _, d = ac.solve(world, theta.softmax(-1), 0.95, start)
    assert (v[world.terminal] == 0).all()
    assert (d[world.terminal] == 0).all()
    swept = torch.zeros(16, dtype=F64)
    with torch.no_grad():
        for _ in range(600):
            q = (world.P * (world.R + 0.95 * swept)).sum(-1)
            swept = (theta.softmax(-1) * q).sum(-1) * ~world.terminal
    torch.testing.assert_close(v.detach(), swept)
    (slopes,) = torch.autograd.grad(v[0], theta)
    torch.testing.assert_close(ac.exact_gradient(world, theta.detach(), 0.95, start), slopes)


def sb3_advantages(r, w, over, gamma, lam):
    """Advantages of stable-baselines3's rollout buffer; w (T + 1, runs)."""
    from stable_baselines3.common.buffers import RolloutBuffer

    T, runs = r.shape
    box = gymnasium.spaces.Box(-1, 1, (1,))
    buffer = RolloutBuffer(T, box, gymnasium.spaces.Discrete(2), device="cpu", gamma=gamma, gae_lambda=lam, n_envs=runs)
    starts = np.concatenate([np.zeros((1, runs), bool), over.numpy()])
    for t in range(T):
        zeros = np.zeros((runs, 1), np.float32)
        buffer.add(zeros, zeros, r[t].numpy(), starts[t], w[t], torch.zeros(runs))
    buffer.compute_returns_and_advantage(w[T], starts[T])
    return torch.as_tensor(buffer.advantages)


@pytest.mark.parametrize(("gamma", "lam"), [(0.99, 0.95), (0.9, 0.0), (1.0, 1.0)])
def test_gae_is_stable_baselines3s(ac, gamma, lam):
    r, w = torch.randn(20, 4, generator=generator(1)), torch.randn(21, 4, generator=generator(2))
    over = torch.rand(20, 4, generator=generator(3)) < 0.15
    torch.testing.assert_close(
        ac.gae(r, w, over, over, gamma, lam), sb3_advantages(r, w, over, gamma, lam), atol=2e-6, rtol=1e-5
    )


def test_a_cut_is_stable_baselines3s_reward_with_the_last_value_added(ac):
    # Its own rule for time limits (issue 633): add gamma * value of the last observation to the reward, then end.
    r, w = torch.randn(12, 3, generator=generator(1)), torch.randn(13, 3, generator=generator(2))
    cut = torch.rand(12, 3, generator=generator(3)) < 0.2
    theirs = sb3_advantages(r + 0.99 * w[1:] * cut, w, cut, 0.99, 0.9)
    built = ac.gae(r, w, cut & False, cut, 0.99, 0.9)
    torch.testing.assert_close(built, theirs, atol=2e-6, rtol=1e-5)
    assert (ac.gae(r, w, cut, cut, 0.99, 0.9) - theirs).abs().max() > 0.1  # published: cleanrl issue 457


def test_a_right_critic_is_never_surprised_unless_a_cut_is_taken_for_an_end(ac):
    right, ones, no = torch.full((9, 1), 100.0), torch.ones(8, 1), torch.zeros(8, 1) > 0
    cut = torch.arange(8)[:, None] == 4
    assert ac.gae(ones, right, no, cut, 0.99, 0.95).abs().max() < 1e-4
    assert ac.gae(ones, right, cut, cut, 0.99, 0.95).min() < -98


class Spy(Robots):
    """Robots that remember what they did."""

    def step(self, a):
        s = self.s
        outcome = super().step(a)
        self.log = [*getattr(self, "log", []), (s, a, *outcome)]
        return outcome


@pytest.mark.parametrize("method", ["QAC", "A2C", "off-policy"])
def test_learning_is_the_plain_loop_over_what_the_robot_did(ac, method):
    behaviour = torch.rand(16, 4, generator=generator(9), dtype=F64) + 0.1
    behaviour = behaviour / behaviour.sum(-1, keepdim=True) if method == "off-policy" else None
    columns = 4 if method == "QAC" else 1
    world = from_gymnasium(gymnasium.make("FrozenLake-v1"))
    world = World(world.P, world.R + 0.1, world.terminal)
    robots = Spy(world, 1, [0], generator(1), limit=7)
    *_, (theta, w) = ac.actor_critic(robots, 300, 0.2, 0.3, 0.9, columns, behaviour)
    actor, critic = np.zeros((16, 4)), np.zeros((16, columns))
    promised = [entry[1].item() for entry in robots.log[1:]]
    for t, (s, a, s_next, r, terminated, truncated) in enumerate(tuple(x.item() for x in e) for e in robots.log):
        pi = np.exp(actor[s]) / np.exp(actor[s]).sum()
        if t + 1 == len(robots.log) or (truncated and columns > 1):
            break  # what Sarsa would have done next is not in the log
        column, after = (a, promised[t]) if columns > 1 else (0, 0)
        delta = r + (0 if terminated else 0.9 * critic[s_next, after]) - critic[s, column]
        rho = 1 if behaviour is None else pi[a] / behaviour[s, a].item()
        weight = rho * (critic[s, column] if columns > 1 else delta)
        actor[s] += 0.2 * weight * (np.eye(4)[a] - pi)
        critic[s, column] += 0.3 * rho * delta
        if t == len(robots.log) - 2 or columns > 1:
            reached = (t, actor.copy(), critic.copy())
    fresh = Spy(world, 1, [0], generator(1), limit=7)
    *_, (theta, w) = ac.actor_critic(fresh, reached[0] + 1, 0.2, 0.3, 0.9, columns, behaviour)
    torch.testing.assert_close(theta, torch.as_tensor(reached[1]))
    torch.testing.assert_close(w, torch.as_tensor(reached[2]))
    assert theta.abs().max() > 0.01


def test_after_an_end_or_a_cut_the_action_is_chosen_where_the_robot_starts_afresh(ac):
    world = from_gymnasium(gymnasium.make("FrozenLake-v1"))
    behaviour = torch.nn.functional.one_hot(torch.arange(16) % 4, 4).double()  # the action tells the state
    robots = Spy(world, 8, range(16), generator(), limit=3)
    list(ac.actor_critic(robots, 60, 0.0, 0.1, 0.9, 4, behaviour))
    assert all((a == s % 4).all() for s, a, *_ in robots.log)
    assert any(truncated.any() for *_, truncated in robots.log)


def test_an_off_policy_critic_finds_the_learnt_policys_values_and_without_weights_the_walkers(ac):
    grid, start = grid_world(), torch.full((25,), 1 / 25, dtype=F64)
    uniform = torch.full((25, 5), 0.2, dtype=F64)

    def error(learn):
        *_, (theta, w) = learn(Robots(grid, 32, range(25), generator(), limit=20), 1500, 0.05, 0.05, 0.9, 1, uniform)
        return (w[:, 0] - ac.solve(grid, theta.softmax(-1), 0.9, start)[0]).abs().max().item()

    assert error(ac.actor_critic) < 0.1
    source = next(code for code in cells(SLUG) if "def actor_critic" in code)
    broken = source.replace("(policy / acting(policy))[s, a]", "1")
    assert broken != source
    names = dict(vars(ac))
    exec(broken, names)
    assert error(names["actor_critic"]) > 5


def batch_of(ac, updates=30):
    return [batch for _, _, batch in ac.a2c(0, updates)]


def test_vector_environments_pay_nothing_on_a_reset_and_valid_marks_exactly_those_steps(ac):
    _, _, r, terminated, over, valid = (torch.cat(column) for column in zip(*batch_of(ac), strict=True))
    assert (~valid).sum() > 20
    assert (r == valid.float()).all()  # CartPole pays 1 for every real step
    torch.testing.assert_close(~valid[1:], over[:-1])
    assert not (terminated & ~valid).any()


@pytest.mark.parametrize("mode", ["sync", "vector_entry_point"])
def test_the_observation_after_an_end_is_the_true_last_one(mode):
    """The chapter relies on gymnasium's NEXT_STEP mode: a fallen pole is seen before the reset."""
    envs = gymnasium.make_vec("CartPole-v1", num_envs=2, vectorization_mode=mode)
    assert envs.metadata["autoreset_mode"] == gymnasium.vector.AutoresetMode.NEXT_STEP
    envs.reset(seed=0)
    for _ in range(60):
        s, _, terminated, _, _ = envs.step(np.ones(2, int))
        fallen = (np.abs(s[:, 2]) > 0.2094) | (np.abs(s[:, 0]) > 2.4)
        assert (fallen == terminated).all()


def loss_of(ac, **changes):
    torch.manual_seed(0)
    model = torch.nn.ModuleDict({"actor": ac.network(2), "critic": ac.network(1)})
    parts = dict(zip(("s", "a", "r", "terminated", "over", "valid"), batch_of(ac, 3)[-1], strict=True)) | changes
    s_last = torch.full((8, 4), 0.1)
    loss = ac.a2c_loss(model, s_last, *parts.values(), 0.99, 0.95)
    return loss.item(), torch.autograd.grad(loss, list(model.parameters())), model, s_last, parts


def test_the_loss_is_written_out_from_torch_distributions(ac):
    value, gradients, model, s_last, parts = loss_of(ac)
    s, a, r, terminated, over, valid = parts.values()
    policy = torch.distributions.Categorical(logits=model["actor"](s))
    w = model["critic"](s).squeeze(-1)
    with torch.no_grad():
        w_all = torch.cat([w, model["critic"](s_last).T])
        advantage = torch.zeros_like(r)
        for t in range(len(r)):
            for run in range(8):
                discount = 1.0
                for k in range(t, len(r)):
                    future = 0.0 if terminated[k, run] else 0.99 * w_all[k + 1, run]
                    advantage[t, run] += discount * (r[k, run] + future - w_all[k, run])
                    discount *= 0.99 * 0.95
                    if over[k, run]:
                        break
    each = -advantage * policy.log_prob(a) + (advantage + w_all[:-1] - w) ** 2 / 2 - 0.01 * policy.entropy()
    expected = each[valid].mean()
    assert value == pytest.approx(expected.item(), rel=1e-5)
    for mine, theirs in zip(gradients, torch.autograd.grad(expected, list(model.parameters())), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-4)


def test_what_happens_on_a_reset_step_changes_nothing(ac):
    value, *_, parts = loss_of(ac)
    valid = parts["valid"].clone()
    valid[5:8, 2] = False
    first, kept, *_ = loss_of(ac, valid=valid)
    a = parts["a"].clone()
    a[5:8, 2] = 1 - a[5:8, 2]
    second, same, *_ = loss_of(ac, valid=valid, a=a)
    assert first == second != value
    assert all((x == y).all() for x, y in zip(kept, same, strict=True))
    assert loss_of(ac, a=a)[0] != value


def test_the_actors_loss_does_not_reach_the_critic(ac):
    # Published: keras-io issue 194, the advantage not detached.
    _, gradients, model, s_last, parts = loss_of(ac)
    s, _, r, terminated, over, valid = parts.values()
    w = model["critic"](torch.cat([s, s_last[None]])).squeeze(-1)
    target = (ac.gae(r, w, terminated, over, 0.99, 0.95) + w[:-1]).detach()
    regression = ((target - w[:-1]) ** 2 / 2)[valid].mean()
    expected = torch.autograd.grad(regression, list(model["critic"].parameters()))
    for mine, theirs in zip(gradients[6:], expected, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=1e-4)


def test_an_advantage_that_is_not_detached_lets_the_actor_belittle_what_was_done(ac):
    *_, model, s_last, parts = loss_of(ac)
    s, a, r, terminated, over, _ = parts.values()

    def advantage():
        w = model["critic"](torch.cat([s, s_last[None]])).squeeze(-1)
        return ac.gae(r, w, terminated, over, 0.99, 0.95)

    surprise = -torch.distributions.Categorical(logits=model["actor"](s).detach()).log_prob(a)
    before, critic = (surprise * advantage()).mean(), list(model["critic"].parameters())
    with torch.no_grad():
        for parameter, slope in zip(critic, torch.autograd.grad(before, critic), strict=True):
            parameter -= 0.01 * slope
    assert (surprise * advantage()).mean() < before


def test_each_batch_goes_on_where_the_last_one_ended_and_returns_are_whole_episodes(ac, monkeypatch):
    last, loss = [], ac.a2c_loss
    monkeypatch.setattr(
        ac, "a2c_loss", lambda model, s_last, *rest: (last.append(s_last), loss(model, s_last, *rest))[1]
    )
    run = [*ac.a2c(0, updates=8)]
    batches = [batch for *_, batch in run]
    for s_last, (s, *_) in zip(last, batches[1:], strict=False):
        torch.testing.assert_close(s_last, s[0])
    paid, found = torch.zeros(8), []
    for r, over in zip(*(torch.cat([batch[i] for batch in batches]) for i in (2, 4)), strict=True):
        paid += r
        found += paid[over].tolist()
        paid *= ~over
    assert found == [x for _, returns, _ in run for x in returns]
    assert len(found) > 20


def test_a2c_learns_as_fast_as_stable_baselines3s_at_equal_steps(ac):
    """16,000 steps each, our settings; stable-baselines3's A2C as it is but for them (RMSprop replaced by Adam)."""
    from stable_baselines3 import A2C

    steps = 16_000
    ours = [*ac.a2c(2, updates=125)]
    ours = np.concatenate([returns for _, returns, _ in ours])[-40:].mean()
    envs = [lambda: gymnasium.wrappers.RecordEpisodeStatistics(gymnasium.make("CartPole-v1"))] * 8
    from stable_baselines3.common.vec_env import DummyVecEnv

    settings = {"learning_rate": lambda left: 2.5e-3 * left, "n_steps": 16, "gae_lambda": 0.95, "ent_coef": 0.01}
    optimizer = {"optimizer_class": torch.optim.Adam, "optimizer_kwargs": {"eps": 1e-5}}
    settings |= {"use_rms_prop": False, "policy_kwargs": optimizer, "seed": 0, "device": "cpu"}
    model = A2C("MlpPolicy", DummyVecEnv(envs), **settings)
    model.learn(steps)
    theirs = np.mean([episode["r"] for episode in list(model.ep_info_buffer)[-40:]])
    assert 40 < theirs < 500
    assert theirs / 3 < ours < theirs * 3


def test_the_stored_curves_have_ten_seeds_and_rise():
    stored = learning_curves.load("a2c_cartpole")
    assert stored.returns.shape == (10, 10)
    assert stored.steps[-1] == 160_000
    assert stored.returns[:, -1].mean() > 4 * stored.returns[:, 0].mean()


def test_every_step_is_proved(ac):
    steps = [step for derivation in derivations(ac) for step in derivation.steps]
    assert len(steps) >= 12
    assert {step.status for step in steps} == {"proved"}


def test_the_average_reward_is_the_best_baseline_only_at_one_half(ac):
    d = Derivation("average", ac.quiet - (ac.p * ac.q_1 + (1 - ac.p) * ac.q_2))
    d.equals((1 - 2 * ac.p) * (ac.q_1 - ac.q_2), because="collect")
    assert d.steps[0].status == "proved"
    with pytest.raises(StepError):
        Derivation("same", ac.quiet).equals(ac.p * ac.q_1 + (1 - ac.p) * ac.q_2, because="v is the best baseline")


def test_exercises_accept_the_answer_and_refuse_the_usual_slip(ac):
    assert ac.loud.check(1 + ((2 * ac.p - 1) * (ac.q_1 - ac.q_2)) ** 2 / ac.sigma**2)
    assert not ac.loud.check(sp.Integer(1))
    assert ac.offset.check(-(1 - ac.gamma) * ac.e)
    assert not ac.offset.check(-ac.e)
    assert ac.watcher.check(ac.A)
    assert not ac.watcher.check(ac.A**2)
