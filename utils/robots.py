"""Robots that walk in a world they do not know: they only draw from its tables.

An episode that ended (terminated) and one that was cut off by a time limit (truncated) are told apart, as in Gymnasium.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor

from utils.gridworld import World

__all__ = ["Robots", "draw", "episode_returns", "episodes", "play", "walk"]


def draw(probabilities: Tensor, generator: torch.Generator) -> Tensor:
    """One index a row, drawn with the row's probabilities: `(runs, K)` to `(runs,)`.

    >>> draw(torch.eye(3), torch.Generator()).tolist()
    [0, 1, 2]
    """
    total = probabilities.cumsum(-1)  # five times as fast as torch.multinomial on rows this short
    u = torch.rand(len(total), 1, generator=generator, dtype=total.dtype)
    return (total / total[:, -1:] <= u).sum(-1)


class Robots:
    """Independent copies of one robot in one world, all stepped at once.

    Args:
        world: the table to draw from.
        runs: number of robots.
        start: the states in which an episode may start, each as likely as the others.
        generator: the source of every draw.
        limit: an episode is truncated after this many steps; None for never.

    Raises:
        ValueError: no robots, no start states, or a limit below 1.

    >>> from utils.gridworld import grid_world
    >>> robots = Robots(grid_world(), runs=2, start=[24], generator=torch.Generator(), limit=1)
    >>> s_next, r, terminated, truncated = robots.step(torch.tensor([0, 1]))
    >>> s_next.tolist(), r.tolist(), truncated.tolist(), robots.s.tolist()
    ([19, 24], [0.0, -1.0], [True, True], [24, 24])
    """

    def __init__(
        self, world: World, runs: int, start: Iterable[int], generator: torch.Generator, limit: int | None = None
    ):
        start = torch.as_tensor(list(start))
        if runs < 1 or len(start) < 1 or (limit is not None and limit < 1):
            raise ValueError(f"Robots: expected runs, start states and limit >= 1, got {runs}, {len(start)}, {limit}")
        self.world, self.start, self.generator = world, start, generator
        self.limit = float("inf") if limit is None else limit
        self.s = self._fresh(runs)  # (runs,) where each robot stands
        self.clock = torch.zeros(runs)

    def __len__(self) -> int:
        return len(self.s)

    def _fresh(self, runs: int) -> Tensor:
        return self.start[torch.randint(len(self.start), (runs,), generator=self.generator)]

    def step(self, a: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Each robot acts: next state, reward, terminated, truncated, each `(runs,)`.

        `s` is then where the robot acts next: the next state, or a start state where an episode is over.
        """
        s_next = draw(self.world.P[self.s, a], self.generator)
        r, terminated = self.world.R[self.s, a, s_next], self.world.terminal[s_next]
        self.clock = self.clock + 1
        truncated = (self.clock >= self.limit) & ~terminated
        over = terminated | truncated
        self.s = torch.where(over, self._fresh(len(self)), s_next) if over.any() else s_next
        self.clock = self.clock * ~over
        return s_next, r, terminated, truncated


def walk(robots: Robots, policy: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Follow a policy `(S, A)`: states `(steps + 1, runs)` and rewards `(steps, runs)` of one unbroken walk.

    Raises:
        ValueError: the world has terminal states or the robots a time limit: the walk would be broken.
    """
    if robots.world.terminal.any() or robots.limit < float("inf"):
        raise ValueError("walk: expected a world without terminal states and robots without a time limit")
    states, rewards = [robots.s], []
    for _ in range(steps):
        s_next, r, _, _ = robots.step(draw(policy[robots.s], robots.generator))
        states.append(s_next)
        rewards.append(r)
    return torch.stack(states), torch.stack(rewards)


def episodes(
    world: World, policy: Tensor, s: Tensor, a: Tensor, steps: int, generator: torch.Generator
) -> list[Tensor]:
    """One episode a run: its states, actions, rewards and whether it still went on, each `(steps, runs)`.

    Args:
        policy: `(S, A)` probability of each action, followed after the first one.
        s, a: `(runs,)` first state and first action of each episode.
        steps: an episode is cut after this many; one that ended earlier stays where it is and earns 0.

    Raises:
        ValueError: no steps, no episodes, or as many states as actions are not given.

    >>> from utils.gridworld import grid_world
    >>> stay = torch.eye(5)[4].expand(25, 5)
    >>> episodes(grid_world(), stay, torch.tensor([12]), torch.tensor([2]), 3, torch.Generator())[2].tolist()
    [[1.0], [1.0], [1.0]]
    """
    if steps < 1 or len(s) < 1 or s.shape != a.shape:
        raise ValueError(f"episodes: expected steps >= 1, s and a (runs,), got {steps}, {s.shape}, {a.shape}")
    most = int((world.P > 0).sum(-1).max())
    chance, place = world.P.topk(most, -1)  # the next states that can happen
    lived, alive = [], torch.ones(len(s), dtype=torch.bool)
    for _ in range(steps):
        s_next = place[s, a, draw(chance[s, a], generator)]
        r = world.R[s, a, s_next] * alive
        lived.append((s, a, r, alive))
        alive = alive & ~world.terminal[s_next]
        s, a = s_next, draw(policy[s_next], generator)
    return [torch.stack(column) for column in zip(*lived, strict=True)]


def episode_returns(rewards: Tensor, over: Tensor, episodes: int) -> Tensor:
    """Sum of rewards of the first episodes of each run: `(steps, runs)` twice to `(runs, episodes)`.

    Raises:
        ValueError: a run has fewer episodes.

    >>> episode_returns(torch.ones(5, 1), torch.tensor([[0, 1, 0, 0, 1]]).T > 0, 2).tolist()
    [[2.0, 3.0]]
    """
    fewest = int(over.sum(0).min())
    if fewest < episodes:
        raise ValueError(f"episode_returns: expected {episodes} episodes of each run, got {fewest}")
    totals = rewards.cumsum(0)
    ends = [totals[over[:, run], run][:episodes] for run in range(rewards.shape[1])]
    return torch.stack([end.diff(prepend=end.new_zeros(1)) for end in ends])


def play(env, policy: Tensor | Callable, episodes: int, seed: int = 0) -> Tensor:
    """The returns `(episodes,)` of a policy in the Gymnasium environment itself.

    Args:
        env: one environment (not a vector); one that need not end needs a time limit.
        policy: `(S,)` the action of each integer observation, or a function from one observation (a tensor) to an
            action (anything that numpy can turn into the environment's action).
        episodes: at least 1; episode `i` is reset with the seed `seed + i`.

    Raises:
        ValueError: `episodes` below 1, or a policy of the wrong shape.

    >>> import gymnasium
    >>> right_then_down = torch.tensor([2, 2, 1, 0, 1, 0, 1, 0, 2, 2, 1, 0, 2, 2, 2, 0])
    >>> play(gymnasium.make("FrozenLake-v1", is_slippery=False), right_then_down, episodes=1)
    tensor([1.], dtype=torch.float64)
    """
    table = isinstance(policy, Tensor)
    if episodes < 1 or (table and policy.shape != (env.observation_space.n,)):
        expected = f"episodes >= 1 and policy ({env.observation_space.n},)" if table else "episodes >= 1"
        got = f"{episodes} and {tuple(policy.shape)}" if table else episodes
        raise ValueError(f"play: expected {expected}, got {got}")
    actions = policy.tolist() if table else None
    choose = lambda s: actions[s] if table else _action(env, policy(torch.as_tensor(s)))  # noqa: E731
    returns = torch.zeros(episodes, dtype=torch.float64)
    for episode in range(episodes):
        s, _ = env.reset(seed=seed + episode)
        over = False
        while not over:
            s, r, terminated, truncated, _ = env.step(choose(s))
            returns[episode] += r
            over = terminated or truncated
    return returns


def _action(env, action):
    """A discrete action as an int, a continuous one in its own shape and type."""
    action, space = np.asarray(action), env.action_space
    return action.item() if space.shape == () else action.reshape(space.shape).astype(space.dtype)
