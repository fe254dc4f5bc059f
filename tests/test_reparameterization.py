"""The chapter on reparameterization against torch.distributions, enumeration and its own published mistakes."""

import pytest
import sympy as sp
import torch
from scipy.special import softmax
from torch.distributions import Bernoulli, RelaxedBernoulli, kl_divergence
from torch.testing import assert_close

from tests.chapter import load
from utils import training
from utils.derive import Derivation, StepError

MANY = 60_000


@pytest.fixture(scope="module")
def rp():
    return load("generative/reparameterization")


@pytest.fixture
def bits():
    training.seed(3)
    logits, weights = torch.randn(2, 8), torch.randn(8)
    return logits, lambda z: (z @ weights) ** 2 + z.prod(-1)


def slope(estimate, logits, cost):
    leaf = logits.clone().requires_grad_()
    (found,) = torch.autograd.grad(estimate(leaf, cost).sum(), leaf)
    return found


def average_slope(estimate, logits, cost):
    """The mean of many drawn slopes and the standard error of its length."""
    drawn = slope(estimate, logits.expand(MANY, *logits.shape), cost)
    return drawn.mean(0), drawn.var(0).sum().div(MANY).sqrt().item()


def test_the_exact_average_is_that_of_torchs_distributions(rp, bits):
    logits, cost = bits
    z = rp.CODES[:, None]
    expected = (Bernoulli(logits=logits).log_prob(z).sum(-1).exp() * cost(z)).sum(0)
    assert_close(rp.exact(logits, cost), expected)
    assert_close(rp.log_q(z, logits), Bernoulli(logits=logits).log_prob(z).sum(-1))


def test_the_exact_slope_is_the_difference_quotient(rp, bits):
    logits, cost = bits
    step = 1e-4 * torch.eye(8).double()[5]
    with torch.no_grad():

        def exact(x):
            return rp.exact(x.double(), lambda z: cost(z.float()).double())

        quotient = (exact(logits + step) - exact(logits - step)) / 2e-4
    assert_close(slope(rp.exact, logits, cost)[:, 5].double(), quotient, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("k", [1, 2, 4])
def test_weighed_slopes_are_unbiased(rp, bits, k):
    logits, cost = bits
    mean, error = average_slope(lambda x, f: rp.rloo(x, f, k), logits, cost)
    assert (mean - slope(rp.exact, logits, cost)).norm() < 2 * error


def test_a_baseline_that_saw_its_own_draw_loses_its_share(rp, bits):
    logits, cost = bits

    def own(logits, cost, k=4):
        z = torch.bernoulli(torch.sigmoid(logits.detach()).expand(k, *logits.shape))
        f = cost(z)
        return ((f - f.mean(0)).detach() * rp.log_q(z, logits)).mean(0)

    true = slope(rp.exact, logits, cost)
    mean, error = average_slope(own, logits, cost)
    assert (mean - 0.75 * true).norm() < 2 * error
    assert (mean - true).norm() > 4 * error


@pytest.mark.parametrize("k", [2, 4])
def test_leave_one_out_removes_all_of_a_constant_cost(rp, bits, k):
    logits, _ = bits
    found = slope(lambda x, f: rp.rloo(x, f, k), logits, lambda z: 7 + 0 * z.sum(-1))
    assert_close(found, torch.zeros(2, 8))


@pytest.mark.parametrize("k", [None, 1, 4])
def test_parameters_of_the_cost_get_the_exact_slope_on_average(rp, bits, k):
    logits, weights = bits[0], torch.randn(8, requires_grad=True)
    estimate = (lambda x, f: rp.rloo(x, f, k)) if k else rp.straight_through

    def of_weights(estimate, logits):
        average = estimate(logits, lambda z: (z @ weights) ** 2).mean()
        return torch.autograd.grad(average, weights)[0]

    found = of_weights(estimate, logits.clone().requires_grad_().expand(MANY, 2, 8))
    true = of_weights(rp.exact, logits)
    assert (found - true).norm() < 0.02 * true.norm()


def test_more_draws_have_less_noise_than_one(rp, bits):
    logits, cost = bits
    one, four = (average_slope(lambda x, f, k=k: rp.rloo(x, f, k), logits, cost)[1] for k in (1, 4))
    assert four < one / 2


@pytest.mark.parametrize("p", [0.5, 0.9])
def test_straight_through_is_right_at_even_odds_alone(rp, p):
    logits, cost = torch.logit(torch.tensor([[p]])), lambda z: (z.squeeze(-1) - 0.3) ** 2
    mean, error = average_slope(rp.straight_through, logits, cost)
    truth = p * (1 - p) * (1 - 2 * 0.3)
    excess = p * (1 - p) * (2 * p - 1)
    assert abs(mean.item() - truth - excess) < 5 * error


@pytest.mark.parametrize("tau", [0.3, 1.0, 2.0])
def test_soft_bits_are_torchs_relaxed_bernoulli(rp, tau):
    logits = torch.tensor([-1.0, 0.0, 2.0])
    training.seed(0)
    ours = rp.gumbel_softmax(logits.expand(MANY, 3), lambda y: y, tau).sort(0).values
    theirs = RelaxedBernoulli(torch.tensor(tau), logits=logits).sample((MANY,)).sort(0).values
    assert (ours - theirs).abs().max() < 0.03  # two empirical quantile functions


def test_a_cold_soft_bit_is_one_as_often_as_its_probability(rp):
    logits = torch.tensor([-1.0, 0.0, 2.0])
    hard = rp.gumbel_softmax(logits.expand(MANY, 3), lambda y: (y > 0.5).float(), 0.1).mean(0)
    assert_close(hard, torch.sigmoid(logits), atol=0.01, rtol=0)


def test_the_divergence_is_torchs(rp):
    logits = 3 * torch.randn(5, 8)
    expected = kl_divergence(Bernoulli(logits=logits), Bernoulli(probs=torch.tensor(0.5))).sum(-1)
    assert_close(rp.divergence(logits), expected)


def test_the_likelihood_sums_to_one_over_all_images_of_a_small_model(rp):
    training.seed(0)
    model = rp.Autoencoder()
    model.decoder = torch.nn.Sequential(torch.nn.Linear(8, 6))
    images = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 6)
    assert_close((-model.nats(images)).exp().sum(), torch.tensor(1.0))


def test_the_cost_is_the_cross_entropy_of_the_pixels(rp):
    model, x = rp.Autoencoder(), torch.bernoulli(torch.full((5, 64), 0.4))
    z = torch.bernoulli(torch.full((3, 5, 8), 0.5))
    expected = -Bernoulli(logits=model.decoder(2 * z - 1)).log_prob(x).sum(-1)
    assert_close(model.cost(z, x), expected)
    assert_close(model.cost(z[:, :1], x), -Bernoulli(logits=model.decoder(2 * z[:, :1] - 1)).log_prob(x).sum(-1))


def test_the_race_is_won_as_often_as_the_rates_say(rp):
    passed = torch.tensor([0.1, 0.2, 0.3, 0.4])
    gumbels = -torch.empty(MANY, 4).exponential_().log()
    frequency = (passed + gumbels).argmax(-1).bincount(minlength=4) / MANY
    assert_close(frequency.double(), torch.from_numpy(softmax(passed.double().numpy())), atol=0.008, rtol=0)


def test_the_average_of_a_soft_coin_is_not_its_probability(rp):
    wrong = Derivation("Average of a soft coin", rp.average.lhs)
    with pytest.raises(StepError, match="does not hold"):
        wrong.equals(rp.a / (1 + rp.a), because="so says the name")


def test_every_step_is_proved(rp):
    found = [value for value in vars(rp).values() if isinstance(value, Derivation)]
    assert len({id(d) for d in found}) == 11
    assert all(step.status == "proved" for d in found for step in d.steps)


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("cubic", lambda rp: rp.mu * (rp.mu**2 + 9 * rp.s**2), lambda rp: rp.mu**3),
        ("own", lambda rp: 1 - 1 / rp.k, lambda rp: rp.k / (rp.k - 1)),
        ("sign", lambda rp: rp.probability, lambda rp: sp.Rational(3, 4)),
    ],
)
def test_exercises_accept_the_answer_and_refuse_another(rp, name, right, wrong):
    assert getattr(rp, name).check(right(rp))
    assert not getattr(rp, name).check(wrong(rp))
