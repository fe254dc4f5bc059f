import pytest
import torch

from utils import arithmetic
from utils.arithmetic import BLANK, DIGITS, LENGTH, STOP, Policy, demonstrations, problems, running_sums, text, verify


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_problems_have_two_to_five_digits_then_blanks():
    x = problems(5000, generator())
    n = (x < 10).sum(1)
    assert x.shape == (5000, DIGITS)
    assert torch.bincount(n, minlength=6)[2:].min() > 1150
    assert ((x == BLANK) == (torch.arange(DIGITS) >= n[:, None])).all()


@pytest.mark.parametrize("direct", [0.0, 0.3, 1.0])
def test_demonstrations_are_right_and_think_as_often_as_asked(direct):
    x = problems(3000, generator(1))
    y = demonstrations(x, direct, generator(2))
    assert verify(x, y).all()
    long = (x < 10).sum(1) > 2
    sums = running_sums(x)
    thinks = (y[:, 0] == sums[:, 1]) & (y[:, 1] == sums[:, 2])
    assert thinks[long].double().mean().item() == pytest.approx(1 - direct, abs=0.12)
    assert ((y == STOP).sum(1) == 1).all()


def test_the_verifier_is_the_sum_by_pythons_own_arithmetic():
    x = problems(500, generator(3))
    y = torch.randint(11, (500, LENGTH), generator=generator(4))
    for problem, response, verdict in zip(x.tolist(), y.tolist(), verify(x, y).tolist(), strict=True):
        answer = sum(d for d in problem if d < 10) % 10
        before = response[: response.index(STOP)] if STOP in response else []
        assert verdict == float(bool(before) and before[-1] == answer)


def test_the_policy_is_a_distribution_over_responses():
    torch.manual_seed(0)
    policy, x = Policy(width=6, length=3).double(), problems(1, generator(5))
    y = torch.tensor(_every_response(3))
    total = policy.log_prob(x.expand(len(y), -1), y).exp().sum()
    torch.testing.assert_close(total, torch.tensor(1.0, dtype=torch.float64))


def _every_response(length):
    words, found = [[]], []
    for _ in range(length):
        found += [[*w, STOP, *[BLANK] * (length - len(w) - 1)] for w in words]
        words = [[*w, d] for w in words for d in range(10)]
    return found + words


def test_samples_are_as_frequent_as_their_probability_says():
    torch.manual_seed(1)
    policy, x = Policy(width=6, length=2), problems(1, generator(6))
    drawn = policy.sample(x.expand(40_000, -1), generator(7))
    every = torch.tensor(_every_response(2))
    share = (drawn[:, None] == every).all(-1).double().mean(0)
    expected = policy.log_prob(x.expand(len(every), -1), every).exp().double()
    torch.testing.assert_close(share, expected, atol=6e-3, rtol=0)
    assert share.sum().item() == pytest.approx(1)


def test_imitation_raises_the_likelihood_and_share_solved_counts():
    policy, x, rng = arithmetic.student(0, steps=3)
    y = demonstrations(x, 0.3, generator(8))
    before = policy.log_prob(x, y).mean()
    arithmetic.imitate(policy, x, y, 20, rng)
    assert policy.log_prob(x, y).mean() > before + 1
    assert 0 <= arithmetic.share_solved(policy, rng) < 0.5


def test_text_is_what_a_reader_sees():
    assert text(torch.tensor([7, STOP, BLANK])) == "7 ."


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: problems(0, generator()), "count of at least 1"),
        (lambda: demonstrations(problems(2, generator()), 1.5, generator()), "0 <= direct <= 1"),
        (lambda: demonstrations(torch.zeros(2, 3), 0.5, generator()), r"\(2, 3\)"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
