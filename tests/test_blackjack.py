"""The table of Blackjack's rules, held against Gymnasium's own code and an independent recursion over hands."""

from functools import cache

import gymnasium
import pytest
import torch
from gymnasium.envs.toy_text import blackjack as rules

from utils.blackjack import LOSS, SHAPE, WIN, blackjack, hands, state, stick_from, worth
from utils.gridworld import epsilon_greedy, optimal_values

DECK = rules.deck  # thirteen cards, drawn with replacement


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@cache
def dealers(hand):
    """Every final hand of the dealer with its probability, by Gymnasium's own sums."""
    if rules.sum_hand(list(hand)) >= 17:
        return {hand: 1.0}
    finals = {}
    for card in DECK:
        for final, chance in dealers(tuple(sorted((*hand, card)))).items():
            finals[final] = finals.get(final, 0) + chance / 13
    return finals


def stick(player, showing):
    """The mean reward of sticking with these cards."""
    return settle(rules.score(list(player)), rules.is_natural(list(player)), showing)


@cache
def settle(score, natural, showing):
    """The mean reward of a final score, by the rules as Gymnasium writes them."""
    total = 0.0
    for hidden in DECK:
        for final, chance in dealers(tuple(sorted((showing, hidden)))).items():
            dealer = list(final)
            reward = rules.cmp(score, rules.score(dealer))
            if natural and not rules.is_natural(dealer):
                reward = 1.0
            total += chance / 13 * reward
    return total


@cache
def play(player, showing, threshold):
    """The value of these cards: stick from the threshold on, or play best if there is none."""
    if rules.is_bust(list(player)):
        return -1.0
    held = rules.sum_hand(list(player))
    if threshold and held >= threshold:
        return stick(player, showing)
    hit = sum(play(tuple(sorted((*player, card))), showing, threshold) for card in DECK) / 13
    return hit if threshold else max(hit, stick(player, showing))


def deal(threshold):
    return sum(play(tuple(sorted((a, b))), d, threshold) for a in DECK for b in DECK for d in DECK) / 13**3


@pytest.mark.parametrize("threshold", [12, 17, 20])
def test_a_threshold_is_worth_what_a_recursion_over_cards_says(threshold):
    _, dealt = blackjack()
    assert (dealt @ worth(stick_from(threshold))).item() == pytest.approx(deal(threshold), abs=1e-12)


def test_the_best_play_is_that_of_the_recursion_over_cards():
    world, dealt = blackjack()
    assert (dealt @ optimal_values(world, 1.0)[0]).item() == pytest.approx(deal(None), abs=1e-9)
    assert deal(None) == pytest.approx(-0.0431, abs=1e-4)


def test_worth_is_gymnasiums_mean_within_four_standard_errors():
    env, (_, dealt) = gymnasium.make("Blackjack-v1", sab=True), blackjack()
    for seed, threshold in enumerate((14, 20)):
        won = hands(env, stick_from(threshold), 6000, generator(seed))[2].sum(0)
        error = won.mean() - dealt @ worth(stick_from(threshold))
        assert error.abs() < 4 * won.std() / 6000**0.5


def test_transitions_have_the_frequencies_of_gymnasium():
    world, dealt = blackjack()
    coins = torch.full(SHAPE, 0.5)
    s, a, r, alive = hands(gymnasium.make("Blackjack-v1", sab=True), coins, 8000, generator())
    s_next = torch.cat([s[1:], torch.full_like(s[:1], LOSS)])
    ended = s_next >= WIN
    s_next = torch.where(ended, LOSS - 1 - r.long(), s_next)  # win, draw, loss from the reward
    assert (world.P[s, a, s_next][alive] > 0).all()
    seen = torch.bincount(s[0], minlength=SHAPE[0]) / 8000
    assert (seen - dealt).abs().max() < 4 * (dealt.max() / 8000) ** 0.5
    expected = torch.zeros(SHAPE[0], dtype=torch.float64).index_add_(0, s[alive], torch.ones(int(alive.sum())).double())
    assert (s[:, :] >= WIN).any()
    assert expected[WIN:].sum() == 0
    busts = (r == -1) & (a == 1) & alive
    chance = world.P[s, a, LOSS]
    hits = alive & (a == 1)
    assert abs(busts[hits].double().mean() - chance[hits].mean()) < 4 * (0.25 / hits.sum()) ** 0.5


def test_a_natural_is_a_state_of_its_own():
    world, _ = blackjack()
    assert optimal_values(world, 1.0)[0][state(22, 1, 10)] > optimal_values(world, 1.0)[0][state(21, 1, 10)] + 0.03
    assert world.P.sum(-1).allclose(torch.ones(SHAPE, dtype=torch.float64))


def test_a_usable_ace_saves_a_hand_that_would_be_bust():
    # Published: ShangtongZhang/reinforcement-learning-an-introduction pull request 90, a second ace at 21.
    world, _ = blackjack()
    assert world.P[state(21, 1, 5), 1, state(12, 0, 5)] == pytest.approx(1 / 13 + 0, abs=1e-12)
    assert world.P[state(21, 1, 5), 1, LOSS] == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: state(3, 0, 1), "expected a hand"),
        (lambda: state(12, 0, 11), "expected a hand"),
        (lambda: worth(torch.ones(2, 2)), "expected a policy"),
        (lambda: hands(gymnasium.make("Blackjack-v1", sab=False), stick_from(20), 1, generator()), "expected sab=True"),
        (lambda: hands(gymnasium.make("Blackjack-v1", sab=True), stick_from(20), 0, generator()), "runs >= 1"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_optimal_policy_is_that_of_sutton_and_barto():
    # Figure 5.2: without an ace stick from 17, from 12 against 4 to 6, from 13 against 2 and 3; with one from 18,
    # but from 19 against 9, 10 and (by the exact values) an ace.
    world, _ = blackjack()
    best = epsilon_greedy(optimal_values(world, 1.0)[1], 0.0)[:, 0]
    hard = {d: min(t for t in range(11, 22) if best[state(t, 0, d)]) for d in range(1, 11)}
    soft = {d: min(t for t in range(12, 22) if best[state(t, 1, d)]) for d in range(1, 11)}
    assert hard == {1: 17, 2: 13, 3: 13, 4: 12, 5: 12, 6: 12, 7: 17, 8: 17, 9: 17, 10: 17}
    assert soft == {1: 19, 2: 18, 3: 18, 4: 18, 5: 18, 6: 18, 7: 18, 8: 18, 9: 19, 10: 19}
