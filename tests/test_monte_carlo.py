"""The chapter's algorithms, held against plain loops, enumeration, exact solves, and known mistakes."""

import itertools
import math

import gymnasium
import pytest
import sympy as sp
import torch

from tests.chapter import derivations, load
from utils.blackjack import LOSS, SHAPE, WIN, blackjack, hands, state, stick_from, worth
from utils.gridworld import epsilon_greedy, from_gymnasium, grid_world, optimal_values
from utils.robots import draw, episodes

F64 = torch.float64


@pytest.fixture(scope="module")
def mc():
    return load("reinforcement/monte-carlo")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def greedy(q):
    return epsilon_greedy(q.round(decimals=9), 0.0)


def test_a_return_is_the_discounted_sum_of_the_rewards_to_come(mc):
    r = torch.randn(7, 3, generator=generator(), dtype=F64)
    G = mc.returns(r, 0.9)
    for t, run in itertools.product(range(7), range(3)):
        assert G[t, run].item() == pytest.approx(sum(0.9 ** (u - t) * r[u, run].item() for u in range(t, 7)))


def test_first_visits_are_those_of_a_plain_loop(mc):
    s = torch.randint(4, (9, 50), generator=generator())
    alive = torch.arange(9)[:, None] < torch.randint(1, 10, (50,), generator=generator(1))
    new = mc.first_visits(s, alive)
    for run in range(50):
        seen = set()
        for t in range(9):
            assert new[t, run].item() == (alive[t, run].item() and s[t, run].item() not in seen)
            seen.add(s[t, run].item() if alive[t, run] else None)


@pytest.mark.parametrize("p", [0.3, 0.6])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_bias_and_error_of_both_averages_by_enumeration(mc, p, n):
    longest, v = 60 if n < 3 else 34, 1 / (1 - p)
    first, every, first_error, every_error = 0.0, 0.0, 0.0, 0.0
    for lengths in itertools.product(range(1, longest), repeat=n):
        chance = math.prod(p ** (k - 1) * (1 - p) for k in lengths)
        one, each = sum(lengths) / n, sum(k * (k + 1) / 2 for k in lengths) / sum(lengths)
        first, every = first + chance * one, every + chance * each
        first_error, every_error = first_error + chance * (one - v) ** 2, every_error + chance * (each - v) ** 2
    at = {mc.p: p, mc.n: n}
    assert first == pytest.approx(v, abs=1e-4)
    assert every - v == pytest.approx(float(mc.bias.expr.subs(at)), abs=1e-4)
    assert first_error == pytest.approx(float(mc.once.expr.subs(at)) / n, rel=1e-3)
    if n == 1:
        assert every_error == pytest.approx(float(mc.every.expr.subs(at)), rel=1e-3)


def test_with_many_episodes_every_visit_has_the_derived_error(mc):
    k = torch.empty(20_000, 300, dtype=F64).geometric_(0.4, generator=generator())
    each = (k * (k + 1) / 2).sum(1) / k.sum(1)
    ratio = (each - 2.5).square().mean() / (k.mean(1) - 2.5).square().mean()
    assert ratio.item() == pytest.approx(float((mc.many.expr / mc.once.expr).subs(mc.p, sp.Rational(3, 5))), rel=0.03)


def test_first_visit_without_its_condition_is_every_visit_and_is_caught(mc):
    # Published: ShangtongZhang/reinforcement-learning-an-introduction issue 122.
    s, alive = torch.zeros(3, 1, dtype=torch.long), torch.ones(3, 1, dtype=torch.bool)
    assert mc.first_visits(s, alive).sum() == 1 != alive.sum()


def test_averages_of_episodes_are_the_exact_values_within_their_standard_errors(mc):
    world = grid_world(forbidden=-10.0)
    _, q = optimal_values(world, 0.9, 0.1)
    few = mc.by_episodes(world, 0.9, 80, 4, generator())
    tries = torch.stack([few(epsilon_greedy(q, 0.1)) for _ in range(100)])

    def size(exact):
        return ((tries.mean(0) - exact) / (tries.std(0) / 10)).square().mean().sqrt()

    assert 0.8 < size(q) < 1.2
    assert size(0.9 * q) > 1.4  # the first reward discounted too
    assert size(optimal_values(world, 0.9, 0.12)[1]) > 1.4  # another policy


def test_policy_iteration_with_a_model_finds_the_best_values(mc):
    world = grid_world(0.2)

    def by_model(policy):
        step = torch.einsum("sa,sat->st", policy, world.P)
        paid = torch.einsum("sa,sat,sat->s", policy, world.P, world.R)
        v = torch.linalg.solve(torch.eye(25, dtype=F64) - 0.9 * step, paid)
        values.append(v)
        return (world.P * (world.R + 0.9 * v)).sum(-1)

    values = []
    q = mc.policy_iteration(by_model, greedy, torch.full((25, 5), 0.2, dtype=F64), 12)
    torch.testing.assert_close(q, optimal_values(world, 0.9)[1], atol=1e-7, rtol=0)
    assert all((new >= old - 1e-9).all() for old, new in itertools.pairwise(values))  # no state ever loses


@pytest.mark.parametrize("epsilon", [0.0, 0.2])
def test_the_widget_shows_the_best_exploring_policy_when_episodes_are_long(mc, epsilon):
    q = optimal_values(grid_world(forbidden=-10.0), 0.9, epsilon)[1]
    shown = torch.tensor([row["value"] for row in mc.believed(150, epsilon)], dtype=F64)
    torch.testing.assert_close(shown, q.amax(-1), atol=1e-4, rtol=0)


def test_a_robot_that_errs_every_fifth_step_keeps_away_from_the_target(mc):
    arrow = {divmod(s, 5): row["arrow"] for s, row in enumerate(mc.believed(100, 0.2))}
    assert arrow[4, 2] != "↑"
    assert [row["arrow"] for row in mc.believed(100, 0)][22] == "↑"


def test_only_the_corner_is_blind_at_14_steps(mc):
    values = [[row["value"] for row in mc.believed(steps, 0)] for steps in (14, 15)]
    assert [s for s in range(25) if values[0][s] == 0] == [20]
    assert all(values[1])


def test_with_8_steps_exactly_the_cells_without_a_value_go_wrong_when_ties_fall_to_the_last(mc):
    world, stay = grid_world(forbidden=-10.0), torch.eye(5, dtype=F64)[4].expand(25, 5)
    v, q = optimal_values(world, 0.9)
    first = lambda q: torch.nn.functional.one_hot(q.round(decimals=9).argmax(-1), 5).double()  # noqa: E731
    found = mc.policy_iteration(mc.by_episodes(world, 0.9, 8, 1, generator()), first, stay, 10).round(decimals=9)
    last = 4 - found.flip(-1).argmax(-1, keepdim=True)
    blind = found.amax(-1) == 0
    assert blind.sum() == 9
    assert (blind == (q.gather(1, last)[:, 0] < v - 1e-6)).all()


@pytest.mark.parametrize("steps", [1, 4, 14, 100])
@pytest.mark.parametrize("exploration", [0, 0.1, 0.5])
def test_the_widget_shows_what_many_episodes_of_this_length_average(mc, steps, exploration):
    world, policy = grid_world(forbidden=-10.0), torch.eye(5, dtype=F64)[4].expand(25, 5)
    for _ in range(50):
        v = torch.zeros(25, dtype=F64)  # the mean return of the remaining steps
        for _ in range(steps):
            q = (world.P * (world.R + 0.9 * v)).sum(-1)
            v = (policy * q).sum(-1)
        before, policy = policy, epsilon_greedy(q.round(decimals=9), exploration)
    assert policy.equal(before)  # no arrow changes any more
    shown = torch.tensor([row["value"] for row in mc.believed(steps, exploration)], dtype=F64)
    torch.testing.assert_close(shown, q.amax(-1))


def test_hands_are_averaged_over_every_pair_that_they_came_by(mc):
    env, coins = gymnasium.make("Blackjack-v1", sab=True), torch.full(SHAPE, 0.5)
    evaluate = mc.by_hands(env, 300, generator())
    evaluate(coins)
    found = evaluate(coins)
    rng, sums, counts = generator(), {}, {}
    for _ in range(2):
        s, a, r, alive = hands(env, coins, 300, rng)
        for run in range(300):
            won = r[:, run].sum().item()  # no discount, and only the last step pays
            for t in range(int(alive[:, run].sum())):
                pair = s[t, run].item(), a[t, run].item()
                sums[pair], counts[pair] = sums.get(pair, 0) + won, counts.get(pair, 0) + 1
    expected = torch.zeros(SHAPE, dtype=F64)
    for (s, a), total in sums.items():
        expected[s, a] = total / counts[s, a]
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("place", [(13, 1, 2), (18, 0, 10), (20, 0, 6)])
def test_weighted_returns_have_the_mean_of_the_other_policy(mc, place):
    world, _ = blackjack()
    coins, policy = torch.full(SHAPE, 0.5, dtype=F64), stick_from(20)
    s = torch.full((60_000,), state(*place))
    s, a, r, alive = episodes(world, coins, s, draw(coins[s], generator()), 12, generator(1))
    rho, G = mc.importance(policy, coins, s, a, alive), mc.returns(r, 1.0)[0]
    error = (rho * G).mean() - worth(policy)[state(*place)]
    assert error.abs() < 4 * (rho * G).std() / 60_000**0.5
    assert rho.mean().item() == pytest.approx(1, abs=0.06)
    plain = G.mean() - worth(policy)[state(*place)]
    assert place == (13, 1, 2) or plain.abs() > 20 * G.std() / 60_000**0.5  # without the weights it is another's value


def test_a_weight_is_the_product_of_the_ratios_while_the_episode_goes_on(mc):
    world, _ = blackjack()
    coins, policy = torch.full(SHAPE, 0.5, dtype=F64), stick_from(20)
    s = torch.full((200,), state(13, 1, 2))
    s, a, _, alive = episodes(world, coins, s, draw(coins[s], generator()), 12, generator(1))
    rho = mc.importance(policy, coins, s, a, alive)
    for run in range(200):
        lived = range(int(alive[:, run].sum()))
        assert rho[run] == math.prod((policy[s[t, run], a[t, run]] / 0.5).item() for t in lived)


def test_the_weights_of_a_coin_have_the_derived_mean_square(mc):
    p, total = 0.3, 0.0
    for k in range(1, 200):
        total += p ** (k - 1) * (1 - p) * 0.5**k * (2.0**k) ** 2
    assert total == pytest.approx(float(mc.coin.expr.subs(mc.p, sp.Rational(3, 10))))
    grown = [sum(0.9 ** (k - 1) * 0.1 * 2.0**k for k in range(1, steps)) for steps in (20, 40, 80)]
    assert grown[2] > 1000 * grown[1] > 1e5 * grown[0]  # p = 0.9: Sutton and Barto's example 5.5


def test_episodes_stop_earning_when_they_end():
    lake = from_gymnasium(gymnasium.make("FrozenLake-v1", is_slippery=False))
    right = torch.eye(4, dtype=F64)[2].expand(16, 4)
    s, a, r, alive = episodes(lake, right, torch.tensor([14, 8]), torch.tensor([2, 1]), 3, generator())
    assert s[:, 0].tolist() == [14, 15, 15]
    assert alive[:, 0].tolist() == [True, False, False]
    assert r[:, 0].tolist() == [1, 0, 0]
    assert a[:, 1].tolist() == [1, 2, 2]


def test_episodes_go_where_the_table_says():
    lake = from_gymnasium(gymnasium.make("FrozenLake-v1"))
    s = torch.zeros(40_000, dtype=torch.long)
    visited = episodes(lake, torch.full((16, 4), 0.25, dtype=F64), s, s + 2, 2, generator())[0]
    seen = torch.bincount(visited[1], minlength=16) / 40_000
    torch.testing.assert_close(seen.double(), lake.P[0, 2], atol=0.01, rtol=0)


@pytest.mark.parametrize(("steps", "runs", "actions"), [(0, 1, 1), (1, 0, 0), (1, 2, 1)])
def test_episodes_name_bad_input(steps, runs, actions):
    s, a = torch.zeros(runs, dtype=torch.long), torch.zeros(actions, dtype=torch.long)
    with pytest.raises(ValueError, match="expected steps >= 1"):
        episodes(grid_world(), torch.full((25, 5), 0.2), s, a, steps, generator())


def test_every_step_is_proved(mc):
    steps = [step for d in derivations(mc) for step in d.steps]
    assert len(steps) == 15
    assert [step.because for step in steps if step.status != "proved"] == []


def test_exercises_accept_the_answer_and_say_where_another_differs(mc):
    assert mc.long_enough.check(44)
    assert not mc.long_enough.check(43)
    assert mc.two_episodes.check(sp.Rational(8, 3))
    assert not mc.two_episodes.check(3)
    gamma, p = sp.symbols("gamma p", positive=True)
    assert mc.discounted.check(1 / (1 - gamma * p))
    assert not mc.discounted.check(gamma / (1 - p))


def test_a_target_that_ends_the_episode_is_worth_one_reward(mc):
    world = grid_world()
    ended = world._replace(terminal=torch.arange(25) == 17)
    stay = torch.eye(5, dtype=F64)[4].expand(25, 5)
    q = mc.policy_iteration(mc.by_episodes(ended, 0.9, 30, 1, generator()), greedy, stay, 15)
    assert q.max() <= 1 + 1e-9
    assert LOSS == WIN + 2
