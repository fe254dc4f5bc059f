"""The chapter's algorithms, held against Gymnasium's tables, plain loops written independently, and known mistakes."""

import math
import random

import gymnasium
import pytest
import sympy as sp
import torch

from tests.chapter import cells, load
from utils.derive import Derivation, StepError
from utils.gridworld import World, epsilon_greedy, from_gymnasium, grid_world, optimal_values
from utils.robots import Robots, draw, walk

SLUG = "reinforcement/temporal-difference"
F64 = torch.float64


@pytest.fixture(scope="module")
def td():
    return load(SLUG)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def lake(**options):
    return from_gymnasium(gymnasium.make("FrozenLake-v1", **options))


def uniform(world):
    states, actions, _ = world.P.shape
    return torch.full((states, actions), 1 / actions, dtype=F64)


def last(steps):
    *_, (q, _, _) = steps
    return q


@pytest.mark.parametrize(("name", "gamma"), [("FrozenLake-v1", 1.0), ("FrozenLake-v1", 0.9), ("CliffWalking-v1", 0.95)])
def test_the_linear_solve_is_gymnasiums_table_swept_until_it_rests(td, name, gamma):
    table = gymnasium.make(name).unwrapped.P
    v = [0.0] * len(table)
    change = 1.0
    while change > 1e-12:
        change = 0.0
        for s, actions in table.items():
            if any(terminated and s == s_next for a in actions.values() for _, s_next, _, terminated in a):
                continue
            new = sum(p * (r + gamma * v[t] * (not end)) for a in actions.values() for p, t, r, end in a) / len(actions)
            change, v[s] = max(change, abs(new - v[s])), new
    world = from_gymnasium(gymnasium.make(name))
    exact = td.policy_values(world, uniform(world), gamma)
    alive = ~world.terminal
    torch.testing.assert_close(exact[alive], torch.tensor(v, dtype=F64)[alive], atol=1e-7, rtol=1e-7)


def test_the_uniform_policy_has_the_values_that_zhao_prints(td):
    printed = (
        "-3.8 -3.8 -3.6 -3.1 -3.2 -3.8 -3.8 -3.8 -3.1 -2.9 -3.6 -3.9 -3.4 -3.2 -2.9 "
        "-3.9 -3.6 -3.4 -2.9 -3.2 -4.5 -4.2 -3.4 -3.4 -3.5"
    )
    v = td.policy_values(grid_world(), uniform(grid_world()), 0.9)
    torch.testing.assert_close(v, torch.tensor([*map(float, printed.split())], dtype=F64), atol=0.0501, rtol=0)


def test_the_best_policy_has_the_best_values(td):
    world = grid_world(0.2)
    v, q = optimal_values(world, 0.9, 0.1)
    torch.testing.assert_close(td.policy_values(world, epsilon_greedy(q, 0.1), 0.9), v, atol=1e-8, rtol=0)


@pytest.mark.parametrize("epsilon", [0.0, 0.3])
def test_bellmans_operator_contracts(epsilon):
    world, worst = grid_world(0.3), 0.0
    for seed in range(50):
        u, v = 10 * torch.randn(2, 25, generator=generator(seed), dtype=F64)
        q_u, q_v = ((world.P * (world.R + 0.9 * x)).sum(-1) for x in (u, v))
        gap = (1 - epsilon) * (q_u.amax(-1) - q_v.amax(-1)) + epsilon * (q_u.mean(-1) - q_v.mean(-1))
        worst = max(worst, (gap.abs().max() / (u - v).abs().max()).item())
    assert 0.2 < worst <= 0.9 + 1e-12


@pytest.mark.parametrize("h", ["1/10", "1/2", "9/10"])
def test_averaging_leaves_what_a_plain_loop_leaves(td, h):
    h, error = sp.Rational(h), sp.Integer(1)
    for k in range(1, 41):
        error += (0 - h * error) / k  # the target is gamma v, the value 0
    exact = td.averaging.steps[0].rhs.subs({td.h: h, td.n: 40})
    assert abs(sp.N(exact - error, 30)) < 1e-25
    assert sp.N(td.averaging.expr.subs({td.h: h, td.n: 40})) <= error


def test_td_0_is_the_plain_loop(td):
    states, rewards = walk(Robots(grid_world(), 2, range(25), generator()), uniform(grid_world()), 300)
    *_, v = td.n_step_td(torch.zeros(2, 25, dtype=F64), states, rewards, lambda n: n**-0.6, 0.9)
    for run in range(2):
        table, visits = [0.0] * 25, [0] * 25
        for t in range(300):
            s, s_next, r = states[t, run].item(), states[t + 1, run].item(), rewards[t, run].item()
            visits[s] += 1
            table[s] += visits[s] ** -0.6 * (r + 0.9 * table[s_next] - table[s])
        torch.testing.assert_close(v[run], torch.tensor(table, dtype=F64))


@pytest.mark.parametrize("n", [1, 2, 5])
def test_the_n_step_error_is_the_discounted_sum_of_td_errors(td, n):
    states, rewards = walk(Robots(grid_world(), 4, range(25), generator(3)), uniform(grid_world()), n)
    v = torch.randn(4, 25, generator=generator(4), dtype=F64)
    runs = torch.arange(4)
    delta = [rewards[k] + 0.9 * v[runs, states[k + 1]] - v[runs, states[k]] for k in range(n)]
    expected = v[runs, states[0]] + 0.3 * sum(0.9**k * d for k, d in enumerate(delta))
    stepped = next(td.n_step_td(v.clone(), states, rewards, lambda _: 0.3, 0.9, n))
    torch.testing.assert_close(stepped[runs, states[0]], expected)


@pytest.mark.parametrize("T", [2, 3, 4])
def test_the_lambda_return_is_a_decaying_sum_of_td_errors(T):
    gamma, lam = sp.symbols("gamma lambda", positive=True)
    r, v = sp.symbols("r_1:6", real=True), sp.symbols("v_0:6", real=True)
    returns = [sum(gamma**k * r[k] for k in range(n)) + gamma**n * v[n] for n in range(T + 1)]
    mixture = (1 - lam) * sum(lam ** (n - 1) * returns[n] for n in range(1, T)) + lam ** (T - 1) * returns[T] - v[0]
    delta = [r[k] + gamma * v[k + 1] - v[k] for k in range(T)]
    d = Derivation("lambda-return", mixture)
    d.equals(sum((gamma * lam) ** k * delta[k] for k in range(T)), because="telescope")
    assert d.steps[0].status == "proved"


class Spy(Robots):
    """Robots that remember what they did."""

    def step(self, a):
        s = self.s
        outcome = super().step(a)
        self.log = [*getattr(self, "log", []), (s, a, *outcome)]
        return outcome


def promised_and_done(learn, sarsa):
    """The next actions that Sarsa's targets used, beside the actions then taken, where the episode went on."""
    promised = []

    def spying(q, policy, a):
        promised.append(a)
        return sarsa(q, policy, a)

    robots = Spy(lake(), 8, [0], generator())
    last(learn(robots, spying, lambda n: 0.5, 0.5, 0.9, 60))
    done = [entry[1] for entry in robots.log[1:]]
    on = [~(entry[4] | entry[5]) for entry in robots.log[:-1]]
    return [(p[o], d[o]) for p, d, o in zip(promised, done, on, strict=False)]


def test_sarsa_takes_the_action_that_its_target_promised(td):
    assert all((p == d).all() for p, d in promised_and_done(td.learn, td.sarsa))


def test_sarsa_that_draws_its_action_twice_is_caught():
    # Published: NeuromatchAcademy/course-content issue 459.
    source = next(code for code in cells(SLUG) if "def learn(" in code)
    broken = source.replace("torch.where(terminated | truncated, act(robots.s), a_next)", "act(robots.s)")
    assert broken != source
    names = {"torch": torch, "draw": draw, "epsilon_greedy": epsilon_greedy}
    exec(broken, names)
    assert not all((p == d).all() for p, d in promised_and_done(names["learn"], names["sarsa"]))


@pytest.mark.parametrize("method", ["sarsa", "expected_sarsa", "q_learning"])
def test_learning_is_the_plain_loop_over_what_the_robots_did(td, method):
    robots, promised = Spy(lake(), 3, [0], generator(1), limit=7), []

    def spying(q, policy, a):
        promised.append(a)
        return getattr(td, method)(q, policy, a)

    q = last(td.learn(robots, spying, lambda n: n**-0.5, 0.3, 0.9, 200, q_0=0.5))
    for run in range(3):
        table, visits = [[0.5] * 4 for _ in range(16)], [[0] * 4 for _ in range(16)]
        for t, entry in enumerate(robots.log):
            s, a, s_next, r, terminated, _ = (x[run].item() for x in entry)
            after = table[s_next]
            best = [x == max(after) for x in after]
            policy = [0.7 * b / sum(best) + 0.3 / 4 for b in best]
            worth = {
                "q_learning": max(after),
                "expected_sarsa": sum(p * x for p, x in zip(policy, after, strict=True)),
                "sarsa": after[promised[t][run]],
            }[method]
            visits[s][a] += 1
            table[s][a] += visits[s][a] ** -0.5 * (r + 0.9 * worth * (not terminated) - table[s][a])
        torch.testing.assert_close(q[run], torch.tensor(table, dtype=F64))


def one_step(td, limit, **options):
    """The value of the last move before the goal, learned in one step from a table that starts at one."""
    robots = Robots(lake(is_slippery=False), 64, [14], generator(), limit=limit)
    return next(iter(td.learn(robots, td.q_learning, lambda n: 1.0, 1.0, 0.9, 1, q_0=1.0, **options)))[0][:, 14]


def test_after_an_end_there_is_no_future_after_a_cut_there_is(td):
    moved = {a: column[column != 1.0].unique().tolist() for a, column in enumerate(one_step(td, 1).T)}
    assert moved == {0: [0.9], 1: [0.9], 2: [], 3: [0.9]}  # to the right the goal pays 1 and ends: 1, as before


def test_a_cut_taken_for_an_end_is_caught(td):
    cut = one_step(td, 1, ended=lambda terminated, truncated: terminated | truncated)
    assert cut[:, 0].unique().tolist() == [0.0, 1.0]


def test_looking_past_an_end_is_caught_if_the_table_does_not_start_at_zero(td):
    blind = one_step(td, None, ended=lambda terminated, truncated: terminated & False)
    assert blind[:, 2].unique().tolist() == pytest.approx([1.0, 1.9])


def test_a_clock_taken_for_an_end_is_a_smaller_discount(td):
    # A uniform walk from a uniform start stays uniform, so each visit is the T-th one with probability 1 / T.
    world, T = grid_world(), 4
    robots = Robots(world, 60, range(25), generator(), limit=T)
    settings = (td.expected_sarsa, lambda n: 0.2, 1.0, 0.8, 9000)
    q = last(td.learn(robots, *settings, ended=lambda terminated, truncated: terminated | truncated))
    short = td.policy_values(world, uniform(world), 0.8 * (1 - 1 / T))
    torch.testing.assert_close(q.mean((0, 2)), short, atol=0.05, rtol=0)
    assert (q.mean((0, 2)) - td.policy_values(world, uniform(world), 0.8)).abs().min() > 0.2


def test_first_best_instead_of_random_best_never_finds_the_goal(td, monkeypatch):
    # Published: ShangtongZhang/reinforcement-learning-an-introduction issue 51.
    def first(q, epsilon):
        best = torch.nn.functional.one_hot(q.argmax(-1), q.shape[-1]).to(q)
        return (1 - epsilon) * best + epsilon / q.shape[-1]

    def found():
        robots = Robots(lake(is_slippery=False), 32, [0], generator(), limit=100)
        return sum(r for _, r, _ in td.learn(robots, td.q_learning, lambda n: 0.5, 0.1, 0.99, 1500)).gt(0).sum().item()

    assert found() >= 20
    monkeypatch.setattr(td, "epsilon_greedy", first)
    assert found() == 0


def test_a_minus_for_a_times_in_the_target_is_refuted():
    # Published: mcmachado/count_based_exploration_sr issue 1; it changed the numbers of a paper.
    r, gamma, q, q_next = sp.symbols("r gamma q q_next", real=True)
    end = sp.Symbol("end", real=True)
    d = Derivation("Sarsa's error", r + gamma * (1 - end) * q_next - q, domain={end: [0, 1]})
    with pytest.raises(StepError, match="does not hold"):
        d.equals(r + gamma - (1 - end) * q_next - q, because="as published")


@pytest.mark.parametrize("method", ["sarsa", "expected_sarsa", "q_learning"])
def test_every_method_finds_its_own_exact_values(td, method):
    world = grid_world()
    epsilon = 0.5
    robots = Robots(world, 16, range(25), generator(), limit=20)
    q = last(td.learn(robots, getattr(td, method), lambda n: n**-0.6, epsilon, 0.5, 4000))
    exact = optimal_values(world, 0.5, 0 if method == "q_learning" else epsilon)[1]
    assert (q.mean(0) - exact).abs().mean() < 0.12
    other = optimal_values(world, 0.5, epsilon if method == "q_learning" else 0)[1]
    assert (q.mean(0) - exact).square().mean() < (q.mean(0) - other).square().mean() / 2


def test_the_maximum_of_two_errors_by_quadrature(td):
    from scipy.integrate import quad
    from scipy.stats import norm

    mean = quad(lambda x: x * 2 * norm.pdf(x, scale=2) * norm.cdf(x, scale=2), -40, 40)[0]
    assert mean == pytest.approx(float(td.bias.expr.subs(td.s, 2)), rel=1e-9)


def test_expected_sarsa_has_the_mean_of_sarsa_and_none_of_its_noise(td):
    q, policy = torch.tensor([[1.0, 3.0, 0.0]]), torch.tensor([[0.2, 0.5, 0.3]])
    each = torch.stack([td.sarsa(q, policy, torch.tensor([a])) for a in range(3)], -1)
    torch.testing.assert_close((each * policy).sum(-1), td.expected_sarsa(q, policy, None))
    assert td.q_learning(q, policy, None).item() == 3


def test_every_step_is_proved_but_one_inequality_that_is_sampled(td):
    steps = [step for d in vars(td).values() if isinstance(d, Derivation) for step in d.steps]
    assert len(steps) >= 12
    assert [step.because for step in steps if step.status != "proved"] == [td.averaging.steps[1].because]


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("frozen", sp.Rational(14, 17), 0.74),
        ("corridor", sp.Symbol("k", integer=True, positive=True) / 6, sp.Symbol("k", integer=True, positive=True) / 5),
    ],
)
def test_exercises_accept_the_answer_and_say_where_another_differs(td, name, right, wrong):
    exercise = getattr(td, name)
    assert exercise.check(right)
    verdict = exercise.check(wrong)
    assert not verdict
    assert "answer" in repr(verdict) or "number" in repr(verdict)


def test_the_floor_of_constant_steps_is_where_a_simulation_settles(td):
    alpha, h, spread = 0.2, 0.5, 1.5
    rng, e, total = random.Random(0), 0.0, 0.0
    for _ in range(200_000):
        e += alpha * (rng.gauss(0, spread) - h * e)
        total += e * e
    floor = td.floor.answer.subs({td.alpha: sp.Rational(1, 5), td.h: sp.Rational(1, 2), td.s: sp.Rational(3, 2)})
    assert total / 200_000 == pytest.approx(float(floor), rel=0.05)


def test_a_corridor_of_five_states_is_worth_sixths(td):
    P = torch.zeros(7, 1, 7, dtype=F64)
    for k in range(1, 6):
        P[k, 0, k - 1] = P[k, 0, k + 1] = 0.5
    P[0, 0, 0] = P[6, 0, 6] = 1
    R = torch.zeros_like(P)
    R[5, 0, 6] = 1
    world = World(P, R, torch.tensor([True, *[False] * 5, True]))
    v = td.policy_values(world, torch.ones(7, 1), 1.0)
    assert v[1:6].tolist() == pytest.approx([k / 6 for k in range(1, 6)])
    assert math.isclose(v[3].item(), 0.5)
