"""Features, solutions and DQN, held against stable-baselines3, exact tables, plain loops and known mistakes."""

import itertools
import math

import gymnasium
import numpy as np
import pytest
import sympy as sp
import torch
from gymnasium import spaces
from stable_baselines3 import DQN

from tests.chapter import load
from utils.derive import Derivation, StepError
from utils.gridworld import from_gymnasium, grid_world, optimal_values
from utils.robots import Robots, walk

F64 = torch.float64


@pytest.fixture(scope="module")
def vf():
    return load("reinforcement/value-functions")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def place():
    return torch.cartesian_prod(*[torch.linspace(0, 1, 5, dtype=F64)] * 2)


def chain(seed=0, states=6):
    """An on-policy chain that is not reversible: P, r, its stationary distribution."""
    P = torch.rand(states, states, generator=generator(seed), dtype=F64) ** 3
    P = P / P.sum(-1, keepdim=True)
    d = torch.linalg.matrix_power(P, 400)[0]
    return P, torch.randn(states, generator=generator(seed + 1), dtype=F64), d


def grid():
    world, policy = grid_world(), torch.full((25, 5), 0.2, dtype=F64)
    P = torch.einsum("sa,sat->st", policy, world.P)
    return P, torch.einsum("sa,sat,sat->s", policy, world.P, world.R), torch.full((25,), 0.04, dtype=F64)


def test_features_are_the_products_cosines_and_indicators_of_their_definitions(vf):
    x = place()
    for s, (one, two) in enumerate(x.tolist()):
        cosines = [math.cos(math.pi * (i * one + j * two)) for i in range(4) for j in range(4)]
        powers = [one**i * two**j for i in range(4) for j in range(4) if i + j <= 3]
        torch.testing.assert_close(vf.features("Fourier", 3, x)[s], torch.tensor(cosines, dtype=F64))
        torch.testing.assert_close(vf.features("polynomial", 3, x)[s], torch.tensor(powers, dtype=F64))


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5])
def test_each_tiling_covers_every_place_once_and_tiles_have_equal_sides(vf, order):
    x = torch.rand(500, 2, generator=generator(), dtype=F64)
    for tiling in vf.features("tiles", order, x).split((order + 1) ** 2, -1):
        assert (tiling.sum(-1) == 1).all()
        for tile in tiling.T[tiling.sum(0) > 1]:
            span = x[tile > 0].amax(0) - x[tile > 0].amin(0)
            assert (span <= 1 / (0.999 * order) + 1e-9).all()


def test_at_fourier_order_4_and_tiles_of_order_4_the_table_returns(vf):
    for kind, order in (("Fourier", 4), ("tiles", 4), ("tiles", 5)):
        found = vf.solutions(vf.features(kind, order, place()), *grid(), 0.9)
        for name in ("nearest", "TD", "least Bellman error"):
            torch.testing.assert_close(found[name], found["exact"])


@pytest.mark.parametrize("seed", range(5))
def test_the_three_solutions_minimise_what_they_say(vf, seed):
    P, r, d = chain(seed)
    phi = torch.randn(6, 3, generator=generator(seed + 2), dtype=F64)
    found = vf.solutions(phi, P, r, d, 0.9)
    A, b = vf.system(phi, P, r, d, 0.9)
    errors = {
        "nearest": lambda v: (d * (v - found["exact"]) ** 2).sum(),
        "least Bellman error": lambda v: (d * (r + 0.9 * P @ v - v) ** 2).sum(),
        "TD": lambda v: (g := phi.T @ (d * (r + 0.9 * P @ v - v))) @ torch.linalg.solve(phi.T @ (d[:, None] * phi), g),
    }
    for name, error in errors.items():
        for shift in torch.eye(3, dtype=F64):
            assert error(found[name]) < error(found[name] + phi @ shift * 1e-3)
            assert error(found[name]) < error(found[name] - phi @ shift * 1e-3)
    torch.testing.assert_close(errors["TD"](found["TD"]), torch.tensor(0.0, dtype=F64))
    projection = phi @ vf.nearest(phi, r + 0.9 * P @ found["TD"], d)
    torch.testing.assert_close(projection, found["TD"])
    torch.testing.assert_close(A @ torch.linalg.lstsq(phi, found["TD"]).solution, b)


@pytest.mark.parametrize("gamma", [0.5, 0.9, 0.99])
def test_the_bound_holds_on_policy_and_is_broken_off_policy(vf, gamma):
    worst = {}
    for name, seed in itertools.product(("on", "off"), range(300)):
        P, r, d = chain(seed, 3)
        d = d if name == "on" else torch.tensor([0.98, 0.01, 0.01], dtype=F64)
        found = vf.solutions(torch.randn(3, 1, generator=generator(seed), dtype=F64), P, r, d, gamma)
        away = [(d * (found[k] - found["exact"]) ** 2).sum().sqrt() for k in ("TD", "nearest")]
        worst[name] = max(worst.get(name, 0), (away[0] / away[1]).item())
    bound = (1 - gamma**2) ** -0.5
    assert 1 <= worst["on"] <= bound + 1e-9 < worst["off"]


def test_on_its_own_path_the_matrix_is_positive_for_every_three_state_chain(vf):
    """Flows f[s, t] = d[s] P[s, t]: what enters a state leaves it, which is all that stationarity says."""
    a, b, c, cycle, *stay = sp.symbols("a b c cycle stay_1:4", positive=True)
    f = sp.Matrix([[stay[0], a + cycle, c], [a, stay[1], b + cycle], [c + cycle, b, stay[2]]])
    y, gamma = sp.Matrix(sp.symbols("y_1:4", real=True)), vf.gamma
    d = sp.diag(*[sum(f.row(i)) for i in range(3)])
    assert [sp.expand(sum(f.col(i)) - d[i, i]) for i in range(3)] == [0, 0, 0]
    gaps = sum(f[s, t] * (y[s] - y[t]) ** 2 for s in range(3) for t in range(3))
    proof = Derivation("energy", (y.T @ (d - gamma * f) @ y)[0], domain=vf.unit)
    proof.equals((1 - gamma) * (y.T @ d @ y)[0] + gamma / 2 * gaps, because="the squares left over cancel")
    proof.at_least((1 - gamma) * (y.T @ d @ y)[0], because="squares")
    assert {step.status for step in proof.steps} == {"proved"}


def test_td_is_the_plain_loop(vf):
    phi = torch.randn(5, 3, generator=generator(), dtype=F64)
    states = torch.randint(5, (41, 2), generator=generator(1))
    rewards, rho = torch.randn(2, 40, 2, generator=generator(2), dtype=F64)
    for through in (0.0, 1.0):
        *_, w = vf.td(torch.zeros(2, 3, dtype=F64), phi, states, rewards, 0.05, 0.9, rho, through)
        for run in range(2):
            mine = [0.0] * 3
            for t in range(40):
                x, x_next = phi[states[t, run]].tolist(), phi[states[t + 1, run]].tolist()
                value = sum(a * b for a, b in zip(mine, x, strict=True))
                delta = rewards[t, run].item() + 0.9 * sum(a * b for a, b in zip(mine, x_next, strict=True)) - value
                mine = [
                    m + 0.05 * rho[t, run].item() * delta * (a - through * 0.9 * b)
                    for m, a, b in zip(mine, x, x_next, strict=True)
                ]
            torch.testing.assert_close(w[run], torch.tensor(mine, dtype=F64))


@pytest.mark.parametrize("through", [0.0, 1.0])
def test_the_step_follows_the_gradient_with_or_without_the_target(vf, through):
    phi, w = torch.randn(2, 3, generator=generator(), dtype=F64), torch.randn(3, dtype=F64, requires_grad=True)
    target = 1.5 + 0.9 * phi[1] @ w
    error = (target if through else target.detach()) - phi[0] @ w
    slope = torch.autograd.grad(error**2 / 2, w)[0]
    one = next(vf.td(w[None], phi, torch.tensor([[0], [1]]), torch.tensor([[1.5]], dtype=F64), 0.1, 0.9, None, through))
    torch.testing.assert_close(one[0], w - 0.1 * slope)


def test_td_comes_to_rest_at_its_fixed_point_and_the_residual_gradient_elsewhere(vf):
    P, r, d = grid()
    phi = vf.features("Fourier", 1, place())
    policy = torch.full((25, 5), 0.2, dtype=F64)
    states, rewards = walk(Robots(grid_world(), 64, range(25), generator()), policy, 4000)
    found, away = vf.solutions(phi, P, r, d, 0.9), {}
    for through in (0.0, 1.0):
        *_, w = vf.td(torch.zeros(64, 4, dtype=F64), phi, states, rewards, 0.02, 0.9, None, through)
        away[through] = (phi @ w.mean(0) - found["TD"]).square().mean().sqrt()
    assert away[0.0] < 0.06 < 0.25 < away[1.0]


def test_a_flipped_sign_in_the_growth_rate_is_refuted(vf):
    for wrong in (1 - 2 * vf.gamma, 2 * vf.gamma + 1, vf.gamma - 1):
        with pytest.raises(StepError):
            Derivation("growth", vf.off.lhs, where=vf.off.where, domain=vf.unit).equals(
                vf.w * (1 + vf.alpha * wrong), because="a sign or a feature was lost"
            )


# ---------------------------------------------------------------- DQN


def batch_of(seed=0, n=64):
    g = generator(seed)
    s, s_next = torch.randn(2, n, 4, generator=g)
    a, r = torch.randint(2, (n,), generator=g), torch.randn(n, generator=g)
    return s, a, r, s_next, torch.rand(n, generator=g) < 0.3


def gather(q, a):
    return q[torch.arange(len(a)), a]


def test_the_target_is_double_held_fixed_and_stops_at_an_end(vf):
    torch.manual_seed(0)
    online, target = vf.q_network(4, 2), vf.q_network(4, 2)
    s, a, r, s_next, ended = batch_of()
    loss = vf.dqn_loss(online, target, (s, a, r, s_next, ended), 0.9)
    with torch.no_grad():
        worth = [target(s_next[i])[online(s_next[i]).argmax()] for i in range(64)]
    goal = torch.stack([r[i] if ended[i] else r[i] + 0.9 * worth[i] for i in range(64)])
    error = goal - gather(online(s), a)
    huber = torch.where(error.abs() <= 1, error**2 / 2, error.abs() - 0.5).mean()
    torch.testing.assert_close(loss, huber)
    loss.backward()
    assert all(p.grad is None for p in target.parameters())
    slope = torch.autograd.grad(huber, list(online.parameters()))
    for mine, theirs in zip(online.parameters(), slope, strict=True):
        torch.testing.assert_close(mine.grad, theirs)


@pytest.mark.parametrize("mistake", ["single", "through the end", "undiscounted", "from the online network"])
def test_known_mistakes_change_the_loss(vf, mistake):
    torch.manual_seed(0)
    online, target = vf.q_network(4, 2), vf.q_network(4, 2)
    s, a, r, s_next, ended = batch_of()
    worth = gather(target(s_next), online(s_next).argmax(-1))
    goals = {
        "single": r + 0.9 * target(s_next).amax(-1) * ~ended,
        "through the end": r + 0.9 * worth,
        "undiscounted": r + worth * ~ended,
        "from the online network": r + 0.9 * online(s_next).amax(-1) * ~ended,
    }
    wrong = torch.nn.functional.smooth_l1_loss(gather(online(s), a), goals[mistake])
    assert abs(wrong - vf.dqn_loss(online, target, (s, a, r, s_next, ended), 0.9)) > 1e-4


def test_one_update_is_stable_baselines_update_just_after_a_copy(vf, monkeypatch):
    """Where copy and network agree, a double target is the plain maximum that stable-baselines3 takes."""
    model = DQN(
        "MlpPolicy", "CartPole-v1", learning_rate=2e-3, gamma=0.99, policy_kwargs={"net_arch": [64, 64]}, seed=0
    )
    model._setup_learn(1000)
    model.max_grad_norm = 1e9
    online, target = vf.q_network(4, 2), vf.q_network(4, 2)
    for mine, theirs in zip(online.parameters(), model.q_net.parameters(), strict=True):
        mine.data.copy_(theirs.data)
    target.load_state_dict(online.state_dict())
    s, a, r, s_next, ended = batch_of(n=256)
    for i in range(256):
        info = [{"TimeLimit.truncated": False}]
        model.replay_buffer.add(*(x[i].numpy() for x in (s, s_next, a[:, None], r, ended)), info)
    picked = np.random.default_rng(0).permutation(256)
    monkeypatch.setattr(np.random, "randint", lambda *_, **options: picked if options["size"] == 256 else 0)
    model.train(1, 256)
    optimizer = torch.optim.Adam(online.parameters(), 2e-3, fused=True)
    vf.dqn_loss(online, target, (s, a, r, s_next, ended), 0.99).backward()
    optimizer.step()
    for mine, theirs in zip(online.parameters(), model.q_net.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-4)


class OneHot(gymnasium.ObservationWrapper):
    """A toy-text environment whose states are indicator vectors: a network of one layer is then a table."""

    def __init__(self, env):
        super().__init__(env)
        self.n = int(env.observation_space.n)
        self.observation_space = spaces.Box(0, 1, (self.n,), np.float32)

    def observation(self, s):
        return np.eye(self.n, dtype=np.float32)[s]


def ice(limit):
    return OneHot(gymnasium.make("FrozenLake-v1", is_slippery=False, max_episode_steps=limit))


def test_dqn_on_a_lake_finds_the_exact_values_of_the_best_path(vf):
    *_, (online, returned) = vf.dqn(ice(100), 9000, 0, gamma=0.9)
    v, _ = optimal_values(from_gymnasium(gymnasium.make("FrozenLake-v1", is_slippery=False)), 0.9)
    path = [0, 4, 8, 9, 13, 14] if online(torch.eye(16))[0].argmax() == 1 else [0, 1, 2, 6, 10, 14]
    learned = online(torch.eye(16)).amax(-1)[path].double()
    torch.testing.assert_close(learned, v[path], atol=0.06, rtol=0)
    assert returned > 0.8


def pays_for_ever(limit):
    """One state, reward 1, no end but the clock."""

    class Stay(gymnasium.Env):
        observation_space, action_space = spaces.Box(0, 1, (1,), np.float32), spaces.Discrete(2)

        def reset(self, *, seed=None, options=None):
            return np.ones(1, np.float32), {}

        def step(self, action):
            return np.ones(1, np.float32), 1.0, False, False, {}

    return gymnasium.wrappers.TimeLimit(Stay(), limit)


@pytest.mark.parametrize(
    ("ended", "exact"),
    [(lambda end, cut: end, 1 / (1 - 0.5)), (lambda end, cut: end or cut, 1 / (1 - 0.5 * (1 - 1 / 5)))],
    ids=["a cut has a future", "published mistake: a cut as an end"],
)
def test_a_cut_has_a_future(vf, ended, exact):
    *_, (online, _) = vf.dqn(pays_for_ever(5), 3000, 0, gamma=0.5, ended=ended)
    assert abs(online(torch.ones(1)).mean().item() - exact) < 0.04 * exact


def test_bootstrapping_through_the_fall_teaches_nothing(vf):
    """The published mistake: every state promises 1 / (1 - gamma), so no action is better."""
    *_, (blind, fell) = vf.dqn(gymnasium.make("CartPole-v1"), 5000, 0, gamma=0.9, ended=lambda end, cut: False)
    *_, (_, stood) = vf.dqn(gymnasium.make("CartPole-v1"), 5000, 0, gamma=0.9)
    falling = torch.tensor([[0.0, 0.0, 0.2, 2.0]])
    assert fell < 40 < 60 < stood
    assert blind(falling).min() > 8


def test_dqn_repeats_itself_and_follows_its_seed(vf):
    runs = [[r for _, r in vf.dqn(gymnasium.make("CartPole-v1"), 1500, seed)] for seed in (3, 3, 4)]
    assert runs[0] == runs[1] != runs[2]
    assert len(runs[0]) == 10


def test_the_copy_is_renewed_once_in_32_updates(vf, monkeypatch):
    original, seen = vf.dqn_loss, []

    def watch(online, target, batch, gamma):
        flat = [torch.cat([p.detach().flatten() for p in net.parameters()]) for net in (online, target)]
        seen.append((torch.equal(*flat), flat[1], len(batch[0])))
        return original(online, target, batch, gamma)

    monkeypatch.setitem(vf.dqn.__globals__, "dqn_loss", watch)
    assert len([*vf.dqn(gymnasium.make("CartPole-v1"), 1500, 0)]) == 10
    same, copies, sizes = zip(*seen, strict=True)
    assert list(same) == ([True] + [False] * 31) * 4
    assert all(torch.equal(copy, copies[i // 32 * 32]) for i, copy in enumerate(copies))
    assert set(sizes) == {256}
