"""Small worlds as tables: Zhao's grid, Gymnasium's toy texts, and their best policies computed exactly.

A `World` holds the probability `P[s, a, s']` and the reward `R[s, a, s']` of every transition, and which states end an
episode. The exact solutions read these tables; `utils.robots` only draws from them.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["World", "arrows", "epsilon_greedy", "from_gymnasium", "grid_world", "optimal_values", "policy_frame"]

TARGET = (3, 2)
FORBIDDEN = frozenset({(1, 1), (1, 2), (2, 2), (3, 1), (3, 3), (4, 1)})
MOVES = {"↑": (-1, 0), "→": (0, 1), "↓": (1, 0), "←": (0, -1), "○": (0, 0)}
_SIDE = 5


class World(NamedTuple):
    """A finite Markov decision process: `S` states, `A` actions."""

    P: Tensor  # (S, A, S) probability of the next state
    R: Tensor  # (S, A, S) reward on the way there
    terminal: Tensor  # (S,) True where an episode ends


def grid_world(slip: float = 0.0, forbidden: float = -1.0) -> World:
    """Zhao's 5 x 5 grid: 25 states row by row, actions up, right, down, left, stay; no episode ever ends.

    Entering (or staying in) the target pays 1, a forbidden cell pays `forbidden`, walking into the wall pays -1 and
    leaves the robot where it is.

    Args:
        slip: probability in [0, 1] that a move is turned to one of its two sides; staying never slips.
        forbidden: reward for entering a forbidden cell.

    Raises:
        ValueError: `slip` outside [0, 1].

    Source: Zhao (2025), Mathematical Foundations of Reinforcement Learning, figure 3.4.
    Taught in: reinforcement/temporal-difference.

    >>> world = grid_world(slip=0.2)
    >>> world.P[0, 1, [0, 1, 5]].tolist()
    [0.1, 0.8, 0.1]
    """
    if not 0 <= slip <= 1:
        raise ValueError(f"grid_world: expected slip in [0, 1], got {slip}")
    states, actions = _SIDE**2, len(MOVES)
    P, R = torch.zeros(2, states, actions, states, dtype=torch.float64)
    for s in range(states):
        for a in range(actions):
            for way, probability in _ways(a, slip).items():
                s_next, reward = _move(s, way, forbidden)
                P[s, a, s_next] += probability
                R[s, a, s_next] = reward
    return World(P, R, torch.zeros(states, dtype=torch.bool))


def from_gymnasium(env) -> World:
    """The transition table `env.unwrapped.P` of a toy-text environment; a time limit is no part of it.

    Args:
        env: a Gymnasium environment with a table `P[s][a] = [(probability, s', reward, terminated), ...]`.

    Raises:
        ValueError: no such table, or a table in which two outcomes with one next state pay differently.

    >>> import gymnasium
    >>> from_gymnasium(gymnasium.make("FrozenLake-v1")).terminal.nonzero().flatten().tolist()
    [5, 7, 11, 12, 15]
    """
    table = getattr(env.unwrapped, "P", None)
    if not isinstance(table, dict):
        raise ValueError(f"from_gymnasium: expected an environment with a transition table P, got {env}")
    P, R = torch.zeros(2, len(table), len(table[0]), len(table), dtype=torch.float64)
    terminal = torch.zeros(len(table), dtype=torch.bool)
    for s, a, (probability, s_next, reward, terminated) in _outcomes(table):
        if P[s, a, s_next] > 0 and R[s, a, s_next] != reward:
            raise ValueError(f"from_gymnasium: expected one reward from {s} by {a} to {s_next}, got two")
        P[s, a, s_next] += probability
        R[s, a, s_next] = reward
        terminal[s_next] |= terminated
    return World(P, R, terminal)


def epsilon_greedy(q: Tensor, epsilon: float) -> Tensor:
    """The probability of each action: the best share `1 - epsilon` equally, all share `epsilon`.

    Args:
        q: `(..., A)` action values.
        epsilon: probability in [0, 1] of an action at random.

    Raises:
        ValueError: `epsilon` outside [0, 1].

    >>> epsilon_greedy(torch.tensor([1.0, 1.0, 0.0, 0.0]), 0.5).tolist()
    [0.375, 0.375, 0.125, 0.125]
    """
    if not 0 <= epsilon <= 1:
        raise ValueError(f"epsilon_greedy: expected epsilon in [0, 1], got {epsilon}")
    best = (q == q.amax(-1, keepdim=True)).to(q)
    return (1 - epsilon) * best / best.sum(-1, keepdim=True) + epsilon / q.shape[-1]


def optimal_values(world: World, gamma: float, epsilon: float = 0.0) -> tuple[Tensor, Tensor]:
    """The values `v (S,)` and `q (S, A)` of the best policy among those that explore, by value iteration.

    `v = (1 - epsilon) max_a q + epsilon mean_a q`, `q = sum_s' P (R + gamma v(s'))`; a terminal state has no future.

    Args:
        gamma: discount in [0, 1].
        epsilon: probability in [0, 1] that a random action replaces the chosen one.

    Returns: `v` to 1e-12 a sweep, and `q` rounded to 9 decimals so that ties are exact.

    Raises:
        ValueError: `gamma` or `epsilon` outside [0, 1].
        RuntimeError: no convergence in 20,000 sweeps (a discount of 1 in a world without an end).

    Source: Bellman (1957), Dynamic Programming. Taught in: reinforcement/temporal-difference.
    """
    if not (0 <= gamma <= 1 and 0 <= epsilon <= 1):
        raise ValueError(f"optimal_values: expected gamma and epsilon in [0, 1], got {gamma} and {epsilon}")
    v = world.P.new_zeros(len(world.P))
    for _ in range(20_000):
        q = (world.P * (world.R + gamma * v * ~world.terminal)).sum(-1)
        v_next = ~world.terminal * ((1 - epsilon) * q.amax(-1) + epsilon * q.mean(-1))
        change, v = (v_next - v).abs().max(), v_next
        if change < 1e-12:
            return v, q.round(decimals=9)
    raise RuntimeError("optimal_values: no convergence in 20,000 sweeps; expected a discount below 1 or an end")


def policy_frame(discount: float, slip: float, forbidden_reward: float, exploration: float) -> list[dict]:
    """The best exploring policy of the grid world, one row a cell, for `explore.grid_chart`.

    The columns: `row`, `column`, `value`, `arrow` (best moves), `visited` (the chance of coming by within 30 steps
    from the top left corner) and `frame` (the colour that marks the target and the forbidden cells).
    """
    world = grid_world(slip, forbidden_reward)
    v, q = optimal_values(world, discount, exploration)
    step = torch.einsum("sa,sat->st", epsilon_greedy(q, exploration), world.P)
    missed = 1 - torch.eye(len(v)).to(step)  # [s, goal]: the probability of not having met the goal
    for _ in range(30):
        missed = (step @ missed).fill_diagonal_(0)
    frame = dict.fromkeys(FORBIDDEN, "#e4572e") | {TARGET: "#4cc9ff"}
    return [
        {
            **{"row": s // _SIDE, "column": s % _SIDE, "value": float(v[s]), "arrow": moves},
            **{"visited": float(1 - missed[0, s]), "frame": frame.get(divmod(s, _SIDE), "")},
        }
        for s, moves in enumerate(arrows(q))
    ]


def arrows(q: Tensor, moves: str = "".join(MOVES)) -> list[str]:
    """The best moves of each state, ties shown: "→", "→↓", or "✳" for three or more.

    Args:
        q: `(S, A)` action values, rounded so that ties are exact.
        moves: one character an action.

    >>> arrows(torch.tensor([[0.0, 1.0, 0.0, 0.0, 1.0]]))
    ['→○']
    """
    if q.ndim != 2 or q.shape[1] != len(moves):
        raise ValueError(f"arrows: expected q of shape (S, {len(moves)}), got {tuple(q.shape)}")
    best = ["".join(m for m, x in zip(moves, row, strict=True) if x == max(row)) for row in q.tolist()]
    return [names if len(names) < 3 else "✳" for names in best]


def _ways(action: int, slip: float) -> dict[int, float]:
    """The directions in which a move may really go, with their probabilities."""
    if action == 4 or slip == 0:
        return {action: 1.0}
    return {action: 1 - slip, (action + 1) % 4: slip / 2, (action - 1) % 4: slip / 2}


def _move(s: int, way: int, forbidden: float) -> tuple[int, float]:
    (i, j), (di, dj) = divmod(s, _SIDE), list(MOVES.values())[way]
    i, j = i + di, j + dj
    if not (0 <= i < _SIDE and 0 <= j < _SIDE):
        return s, -1.0
    return _SIDE * i + j, 1.0 if (i, j) == TARGET else forbidden if (i, j) in FORBIDDEN else 0.0


def _outcomes(table: dict):
    for s, actions in table.items():
        for a, outcomes in actions.items():
            for outcome in outcomes:
                yield s, a, outcome
