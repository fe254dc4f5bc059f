"""Blackjack by Sutton and Barto's rules: the table of every probability, and hands played in Gymnasium.

The states are the player's hand and the dealer's open card, then win, draw, loss; the actions are stick (0), hit (1).
Gymnasium shows the player's sum, the open card and whether an ace counts 11. That is no Markov state: 21 with two
cards (a natural) beats a dealer's 21, a later 21 does not. So naturals are states of their own.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from utils.gridworld import World

__all__ = ["LOSS", "SHAPE", "WIN", "blackjack", "hands", "state", "stick_from", "worth"]

CARDS = {card: (4 if card == 10 else 1) / 13 for card in range(1, 11)}
NATURAL = 22
HANDS = [(total, 0) for total in range(4, 22)] + [(total, 1) for total in range(12, 22)] + [(NATURAL, 1)]
WIN, DRAW, LOSS = (10 * len(HANDS) + i for i in range(3))
SHAPE = (LOSS + 1, 2)  # states, actions
_LONGEST = 20  # cards of a hand, at most


def state(total: int, ace: int, showing: int) -> int:
    """The index of a state: the player's sum (22 for a natural), 1 if an ace counts 11, the dealer's open card.

    Raises:
        ValueError: no such hand or card.

    >>> state(4, 0, 1), state(22, 1, 10)
    (0, 289)
    """
    if (total, ace) not in HANDS or showing not in CARDS:
        raise ValueError(f"state: expected a hand of 4 to 21 (22: natural), a card 1 to 10; got {total, ace, showing}")
    return 10 * HANDS.index((total, ace)) + showing - 1


def blackjack() -> tuple[World, Tensor]:
    """The table of the rules, and the probability `(S,)` of each first state; no discount is meant.

    Source: Sutton and Barto (2018), Reinforcement Learning, example 5.1; Gymnasium's `Blackjack-v1` with `sab=True`.
    Taught in: reinforcement/monte-carlo.

    >>> world, dealt = blackjack()
    >>> world.P[state(20, 0, 10), 1, LOSS].item()  # to hit at 20 is to lose, but for an ace
    0.923...
    """
    P, R = torch.zeros(2, *SHAPE, SHAPE[0], dtype=torch.float64)
    R[:WIN, :, WIN], R[:WIN, :, LOSS] = 1, -1
    for total, ace in HANDS:
        for showing in CARDS:
            s = state(total, ace, showing)
            for score, chance in _dealer(*_add(0, 0, showing), 1).items():
                score = score if total == NATURAL else min(score, 21)
                P[s, 0, WIN if total > score else DRAW if total == score else LOSS] += chance
            for card, chance in CARDS.items():
                hand = _add(min(total, 21), ace, card)
                P[s, 1, LOSS if hand[0] > 21 else state(*hand, showing)] += chance
    P[WIN:] = torch.eye(len(P), dtype=P.dtype)[WIN:, None]
    return World(P, R, torch.arange(len(P)) >= WIN), _dealt()


def stick_from(total: int) -> Tensor:
    """The policy `(S, A)` that sticks from a sum on, and hits below.

    >>> stick_from(20)[state(19, 1, 5)].tolist()
    [0.0, 1.0]
    """
    sticks = torch.tensor([held >= total for held, _ in HANDS], dtype=torch.float64).repeat_interleave(10)
    sticks = torch.cat([sticks, torch.ones(3, dtype=torch.float64)])
    return torch.stack([sticks, 1 - sticks], -1)


def worth(policy: Tensor) -> Tensor:
    """The exact value `(S,)` of each state, in units won, under a policy `(S, A)`: no hand has more than 20 steps.

    Raises:
        ValueError: a policy of the wrong shape.

    >>> round(worth(stick_from(20))[state(13, 1, 2)].item(), 4)
    -0.2772
    """
    if tuple(policy.shape) != SHAPE:
        raise ValueError(f"worth: expected a policy {SHAPE}, got {tuple(policy.shape)}")
    world, _ = blackjack()
    step = torch.einsum("sa,sat->st", policy.to(world.P), world.P)
    paid = torch.einsum("sa,sat,sat->s", policy.to(world.P), world.P, world.R)
    v = torch.zeros_like(paid)
    for _ in range(_LONGEST):
        v = (paid + step @ v) * ~world.terminal
    return v


def hands(env, policy: Tensor, runs: int, generator: torch.Generator) -> list[Tensor]:
    """Hands played in Gymnasium: states, actions, rewards, and which steps were played, each `(steps, runs)`.

    Args:
        env: `Blackjack-v1` with `sab=True`; it is reset with a seed from the generator, once.
        policy: `(S, A)` probability of each action.

    Raises:
        ValueError: other rules, a policy of the wrong shape, or no hands.
    """
    if not getattr(env.unwrapped, "sab", False) or tuple(policy.shape) != SHAPE or runs < 1:
        raise ValueError(f"hands: expected sab=True, a policy {SHAPE}, runs >= 1; got {env}, {policy.shape}, {runs}")
    s = torch.full((_LONGEST, runs), LOSS)
    a, r = torch.zeros_like(s), torch.zeros(_LONGEST, runs, dtype=torch.float64)
    u, hit = torch.rand(_LONGEST, runs, generator=generator).tolist(), policy[:, 1].tolist()
    env.reset(seed=int(torch.randint(2**31, (1,), generator=generator)))
    for run in range(runs):
        (total, showing, ace), over, t = env.reset()[0], False, 0
        while not over:
            place = state(NATURAL if t == 0 and total == 21 else total, int(ace), showing)
            action = int(u[t][run] < hit[place])
            (total, showing, ace), reward, over, _, _ = env.step(action)
            s[t, run], a[t, run], r[t, run] = place, action, reward
            t += 1
    return [s, a, r, s < WIN]


def _add(total: int, ace: int, card: int) -> tuple[int, int]:
    if card == 1 and total + 11 <= 21:
        return total + 11, 1
    total += card
    return (total - 10, 0) if total > 21 and ace else (total, ace)


@cache
def _dealer(total: int, ace: int, cards: int) -> dict[int, float]:
    """The probability of each score of the dealer, who draws below 17: 22 for a natural, 0 above 21."""
    if total >= 17:
        return {NATURAL if cards == 2 and total == 21 else total if total <= 21 else 0: 1.0}
    scores: dict[int, float] = {}
    for card, chance in CARDS.items():
        for score, then in _dealer(*_add(total, ace, card), min(cards + 1, 3)).items():
            scores[score] = scores.get(score, 0) + chance * then
    return scores


def _dealt() -> Tensor:
    chance_of = torch.zeros(SHAPE[0], dtype=torch.float64)
    for one, p_one in CARDS.items():
        for two, p_two in CARDS.items():
            total, ace = _add(*_add(0, 0, one), two)
            for showing, p_showing in CARDS.items():
                chance_of[state(NATURAL if total == 21 else total, ace, showing)] += p_one * p_two * p_showing
    return chance_of
