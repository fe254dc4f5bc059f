"""The worlds and the robots in them, held against Zhao's printed grids and Gymnasium's own environments."""

import gymnasium
import numpy as np
import pytest
import torch

from utils.gridworld import World, arrows, epsilon_greedy, from_gymnasium, grid_world, optimal_values, policy_frame
from utils.robots import Robots, draw, episode_returns, play, walk

GENERATOR = torch.Generator
PRINTED = {  # Zhao (2025), figure 3.4 (a) to (d): discount, forbidden reward -> optimal values, one decimal
    (0.9, -1): "5.8 5.6 6.2 6.5 5.8 6.5 7.2 8 7.2 6.5 7.2 8 10 8 7.2 8 10 10 10 8 7.2 9 10 9 8.1",
    (0.5, -1): "0 0 0 0 0 0 0 0 0 .1 0 0 2 .1 .1 0 2 2 2 .2 0 1 2 1 .5",
    (0.0, -1): "0 0 0 0 0 0 0 0 0 0 0 0 1 0 0 0 1 1 1 0 0 0 1 0 0",
    (0.9, -10): "3.5 3.9 4.3 4.8 5.3 3.1 3.5 4.8 5.3 5.9 2.8 2.5 10 5.9 6.6 2.5 10 10 10 7.3 2.3 9 10 9 8.1",
}


def toy(name="FrozenLake-v1", **options):
    return gymnasium.make(name, **options)


@pytest.mark.parametrize(("discount", "forbidden"), PRINTED)
def test_optimal_values_are_those_that_zhao_prints(discount, forbidden):
    printed = torch.tensor([*map(float, PRINTED[discount, forbidden].split())], dtype=torch.float64)
    v, _ = optimal_values(grid_world(forbidden=forbidden), discount)
    torch.testing.assert_close(v, printed, atol=0.0501, rtol=0)


@pytest.mark.parametrize("slip", [0, 0.3, 1])
def test_probabilities_add_up_to_one(slip):
    P = grid_world(slip).P
    assert (P >= 0).all()
    torch.testing.assert_close(P.sum(-1), torch.ones(25, 5, dtype=torch.float64))


def test_staying_never_slips_and_walls_hold():
    world = grid_world(slip=0.4)
    torch.testing.assert_close(world.P[:, 4], torch.eye(25, dtype=torch.float64))
    assert world.P[0, 0, [0, 1]].tolist() == pytest.approx([0.8, 0.2])  # up from the corner: wall, wall on the left
    assert world.R[0, 0, 0] == -1
    assert world.R[17, 4, 17] == 1


def test_a_random_action_in_place_of_the_chosen_one_is_another_world():
    world, epsilon = grid_world(0.2), 0.3
    mixed = world._replace(
        P=(1 - epsilon) * world.P + epsilon * world.P.mean(1, keepdim=True),
        R=world.R,
    )
    reward = (1 - epsilon) * (world.P * world.R).sum(-1) + epsilon * (world.P * world.R).sum(-1).mean(1, keepdim=True)
    v = torch.zeros(25, dtype=torch.float64)
    for _ in range(400):
        v = (reward + 0.9 * mixed.P @ v).amax(-1)
    torch.testing.assert_close(optimal_values(world, 0.9, epsilon)[0], v, atol=1e-9, rtol=0)


@pytest.mark.parametrize(
    ("name", "options", "gamma", "value"),
    [
        ("FrozenLake-v1", {}, 1.0, 14 / 17),
        ("FrozenLake-v1", {}, 0.99, 0.542025932),
        ("FrozenLake-v1", {"map_name": "8x8"}, 0.99, 0.414640362),
        ("FrozenLake-v1", {"is_slippery": False}, 0.99, 0.99**5),
    ],
)
def test_the_lake_is_worth_what_is_known(name, options, gamma, value):
    assert optimal_values(from_gymnasium(toy(name, **options)), gamma)[0][0].item() == pytest.approx(value, abs=1e-8)


def test_the_shortest_way_along_the_cliff_costs_thirteen():
    assert optimal_values(from_gymnasium(toy("CliffWalking-v1")), 1.0)[0][36].item() == pytest.approx(-13)


@pytest.mark.parametrize(("size", "limit", "registry"), [("4x4", 100, 0.74), ("8x8", 200, 0.91)])
def test_gymnasiums_stated_optimum_is_the_best_chance_within_the_time_limit(size, limit, registry):
    world = from_gymnasium(toy(map_name=size))
    v = torch.zeros(len(world.P), dtype=torch.float64)
    for _ in range(limit):  # the best that a policy that sees the clock can do
        v = (world.P * (world.R + v * ~world.terminal)).sum(-1).amax(-1) * ~world.terminal
    assert round(v[0].item(), 2) == registry


def test_the_table_is_gymnasiums_own():
    env = toy("CliffWalking-v1")
    world = from_gymnasium(env)
    for s, actions in env.unwrapped.P.items():
        for a, outcomes in actions.items():
            for p, s_next, r, terminated in outcomes:
                assert (world.P[s, a, s_next], world.R[s, a, s_next]) == (p, r)
                assert not terminated or world.terminal[s_next]


def test_robots_walk_as_in_gymnasium_step_by_step():
    env = toy("CliffWalking-v1", max_episode_steps=30)
    robots = Robots(from_gymnasium(env), 1, [36], GENERATOR().manual_seed(0), limit=30)
    actions = [*torch.randint(4, (2000,), generator=GENERATOR().manual_seed(1)).tolist(), 0, *([1] * 11), 2]
    s, _ = env.reset(seed=0)
    for a in actions:
        assert robots.s.item() == s
        s, *signals = env.step(a)
        s_next, *ours = robots.step(torch.tensor([a]))
        assert [s_next.item(), *(x.item() for x in ours)] == [s, *signals[:3]]
        s = env.reset()[0] if any(signals[1:3]) else s


def test_robots_slip_as_often_as_the_table_says():
    world = from_gymnasium(toy())
    robots = Robots(world, 30_000, [14], GENERATOR().manual_seed(0))
    s_next, r, terminated, truncated = robots.step(torch.full((30_000,), 1))
    seen = torch.bincount(s_next, minlength=16) / 30_000
    assert ((seen - world.P[14, 1]).abs() < 4 * (world.P[14, 1] * (1 - world.P[14, 1]) / 30_000).sqrt() + 1e-12).all()
    assert (terminated == (s_next == 15)).all()
    assert (r == terminated).all()
    assert not truncated.any()


def test_an_end_at_the_last_moment_is_an_end_not_a_cut():
    world = from_gymnasium(toy(is_slippery=False))
    robots = Robots(world, 1, [14], GENERATOR(), limit=1)
    _, _, terminated, truncated = robots.step(torch.tensor([2]))
    assert terminated.item()
    assert not truncated.item()
    _, _, terminated, truncated = robots.step(torch.tensor([0]))
    assert truncated.item()
    assert not terminated.item()


def test_draws_follow_the_probabilities_and_never_the_impossible():
    p = torch.tensor([[0.0, 0.2, 0.0, 0.8, 0.0]]).expand(50_000, -1)
    seen = torch.bincount(draw(p, GENERATOR().manual_seed(0)), minlength=5) / 50_000
    assert (seen[[0, 2, 4]] == 0).all()
    assert seen[1].item() == pytest.approx(0.2, abs=4 * (0.16 / 50_000) ** 0.5)


def test_a_walk_is_unbroken():
    robots = Robots(grid_world(), 3, range(25), GENERATOR().manual_seed(0))
    states, rewards = walk(robots, torch.full((25, 5), 0.2), 200)
    assert states.shape == (201, 3)
    assert rewards.shape == (200, 3)
    for s, s_next in zip(states[:-1].T.flatten(), states[1:].T.flatten(), strict=True):
        assert (grid_world().P[s, :, s_next] > 0).any()


def test_play_wins_as_often_as_the_chain_says():
    world = from_gymnasium(toy())
    policy = optimal_values(world, 0.99)[1].argmax(-1)
    chain = world.P[torch.arange(16), policy]
    chain[world.terminal] = torch.eye(16, dtype=chain.dtype)[world.terminal]
    chance = torch.linalg.matrix_power(chain, 100)[0, 15].item()
    won = play(toy(), policy, 600).mean().item()
    assert won == pytest.approx(chance, abs=4 * (chance * (1 - chance) / 600) ** 0.5)


def test_play_takes_a_function_and_gives_the_action_its_own_type():
    lean = torch.tensor([0.0, 0.0, 1.0, 1.0])
    balanced = play(gymnasium.make("CartPole-v1"), lambda s: (s @ lean > 0).long(), 5)
    fixed = play(gymnasium.make("CartPole-v1"), lambda s: 1, 5)
    assert 3 * fixed.mean() < balanced.mean()
    env = gymnasium.make("Pendulum-v1")
    returns = play(env, lambda s: torch.tanh(-s[2]).double(), 2, seed=7)
    s, _ = env.reset(seed=7)
    total = 0.0
    for _ in range(200):
        s, r, _, _, _ = env.step(np.tanh(-s[2:]))
        total += r
    assert returns[0].item() == pytest.approx(total, rel=1e-5)


def test_frames_are_probabilities_and_mark_seven_cells():
    rows = policy_frame(0.9, 0.1, -10, 0.2)
    assert all(0 <= row["visited"] <= 1 for row in rows)
    assert rows[0]["visited"] == pytest.approx(1)
    assert sum(bool(row["frame"]) for row in rows) == 7


def test_the_chance_of_a_visit_agrees_with_walking():
    world = grid_world(0.2, -1)
    policy = epsilon_greedy(optimal_values(world, 0.9, 0.1)[1], 0.1)
    states, _ = walk(Robots(world, 4000, [0], GENERATOR().manual_seed(0)), policy, 30)
    for row in policy_frame(0.9, 0.2, -1, 0.1):
        seen = (states == 5 * row["row"] + row["column"]).any(0).double().mean().item()
        assert seen == pytest.approx(row["visited"], abs=4 * 0.5 / 4000**0.5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: grid_world(slip=1.2), r"slip in \[0, 1\], got 1.2"),
        (lambda: from_gymnasium(gymnasium.make("CartPole-v1")), "transition table P"),
        (lambda: epsilon_greedy(torch.zeros(4), -0.1), r"epsilon in \[0, 1\], got -0.1"),
        (lambda: optimal_values(grid_world(), 1.1), "gamma and epsilon"),
        (lambda: arrows(torch.zeros(25, 4)), r"\(S, 5\), got \(25, 4\)"),
        (lambda: Robots(grid_world(), 0, [0], GENERATOR()), ">= 1, got 0, 1"),
        (lambda: Robots(grid_world(), 1, [0], GENERATOR(), limit=0), ">= 1, got 1, 1, 0"),
        (lambda: walk(Robots(grid_world(), 1, [0], GENERATOR(), 9), torch.ones(25, 5), 3), "without a time limit"),
        (lambda: episode_returns(torch.ones(3, 1), torch.zeros(3, 1) > 0, 1), "1 episodes of each run, got 0"),
        (lambda: play(toy(), lambda s: 0, 0), "episodes >= 1, got 0"),
        (lambda: play(toy(), torch.zeros(3), 1), r"policy \(16,\), got 1 and \(3,\)"),
    ],
)
def test_errors_name_what_was_expected_and_received(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_world_without_an_end_has_no_undiscounted_values():
    world = World(torch.ones(1, 1, 1), torch.ones(1, 1, 1), torch.zeros(1) > 0)
    with pytest.raises(RuntimeError, match="no convergence"):
        optimal_values(world, 1.0)


def test_two_rewards_for_one_transition_are_refused():
    env = toy()
    env.unwrapped.P[0][0] = [(0.5, 1, 0.0, False), (0.5, 1, 1.0, False)]
    with pytest.raises(ValueError, match="one reward from 0 by 0 to 1, got two"):
        from_gymnasium(env)
