"""Deep InfoMax: bounds against closed forms, enumeration, scikit-learn and SciPy; objectives against known mistakes."""

import math

import pytest
import sympy as sp
import torch
from scipy.stats import multivariate_normal
from sklearn.feature_selection import mutual_info_regression
from torch.nn import functional as F
from torch.testing import assert_close

from tests.chapter import derivations, load
from utils import training
from utils.derive import Derivation, StepError


@pytest.fixture(scope="module")
def dim():
    return load("representation/deep-infomax")


def batches(dim, nats, count=400, size=64, seed=0, d=5):
    training.seed(seed)
    return dim.normal_pairs(nats, count, size, d=d)


def test_the_perfect_critic_is_the_log_ratio_of_scipys_densities(dim):
    first, second = batches(dim, 1.5, count=1, size=4)
    r = float(dim.correlation(1.5))
    scores = dim.perfect(first[0], second[0], 1.5)
    for i, x in enumerate(first[0].tolist()):
        for j, y in enumerate(second[0].tolist()):
            joint = sum(multivariate_normal([0, 0], [[1, r], [r, 1]]).logpdf(pair) for pair in zip(x, y, strict=True))
            apart = sum(multivariate_normal().logpdf(value) for value in x + y)
            assert scores[i, j].item() == pytest.approx(joint - apart, abs=1e-4)


def test_the_known_information_is_that_of_scikit_learns_neighbours(dim):
    first, second = batches(dim, 0.7, count=1, size=4000, d=1)
    found = mutual_info_regression(first[0].numpy(), second[0, :, 0].numpy(), n_neighbors=3, random_state=0)[0]
    assert found == pytest.approx(0.7, abs=0.06)
    scores = dim.log_ratio(first[0], second[0], dim.correlation(0.7, 1))
    assert scores.mean().item() == pytest.approx(0.7, abs=0.06)


@pytest.mark.parametrize("nats", [0.5, 1.0, 2.0])
def test_the_perfect_critic_reads_the_truth_by_three_bounds(dim, nats):
    scores = dim.perfect(*batches(dim, nats), nats)
    assert dim.dv(scores).mean().item() == pytest.approx(nats, abs=0.05)
    assert dim.nwj(scores + 1).mean().item() == pytest.approx(nats, abs=0.05)
    assert nats - 0.2 < dim.nce(scores).mean().item() < nats + 0.03


def test_dv_is_the_formula_on_a_table_written_out(dim):
    t = torch.tensor([[1.0, 2.0], [3.0, 5.0]])
    assert dim.dv(t).item() == pytest.approx(3 - math.log((math.exp(2) + math.exp(3)) / 2))
    assert dim.nwj(t).item() == pytest.approx(3 - (math.exp(1) + math.exp(2)) / 2, rel=1e-5)
    rows = (1 - math.log((math.exp(1) + math.exp(2)) / 2), 5 - math.log((math.exp(3) + math.exp(5)) / 2))
    assert dim.nce(t).item() == pytest.approx(sum(rows) / 2, rel=1e-5)


def test_jsd_is_minus_the_cross_entropy_of_a_classifier(dim):
    training.seed(0)
    t = torch.randn(5, 5)
    same = torch.eye(5, dtype=torch.bool)
    true = F.binary_cross_entropy_with_logits(t[same], torch.ones(5))
    strange = F.binary_cross_entropy_with_logits(t[~same], torch.zeros(20))
    assert_close(dim.jsd(t), -true - strange)


def test_nce_is_torchs_cross_entropy_and_keeps_its_ceiling(dim):
    training.seed(0)
    t = 5 * torch.randn(6, 6)
    assert_close(dim.nce(t), math.log(6) - F.cross_entropy(t, torch.arange(6)))
    assert dim.nce(100 * torch.eye(6)).item() == pytest.approx(math.log(6))


def test_each_table_of_a_stack_is_read_alone(dim):
    training.seed(0)
    t = torch.randn(3, 7, 7)
    for of in (dim.dv, dim.nwj, dim.jsd, dim.nce):
        assert_close(of(t), torch.stack([of(one) for one in t]))


def test_a_constant_moves_nwj_and_jsd_but_not_dv_and_nce(dim):
    t = torch.randn(6, 6, dtype=torch.float64)
    assert_close(dim.dv(t + 3), dim.dv(t))
    assert_close(dim.nce(t + 3), dim.nce(t))
    assert abs(dim.nwj(t + 3) - dim.nwj(t)) > 0.1
    assert abs(dim.jsd(t + 3) - dim.jsd(t)) > 0.1


def test_a_mask_before_the_exponential_leaves_true_pairs_in(dim):
    # Published: schzhu/learning-adversarially-robust-representations issue 3.
    scores = dim.perfect(*batches(dim, 2.0), 2.0) - 5
    true, strange = dim.pairs(scores)
    zeroed = scores * ~torch.eye(64, dtype=torch.bool)
    published = true.mean(-1) - zeroed.logsumexp((-2, -1)) + math.log(strange.shape[-1])
    assert (published - dim.dv(scores)).mean().item() < -1


@pytest.mark.parametrize(("t_1", "t_2"), [(0.0, 0.0), (1.0, -0.5), (-2.0, 3.0)])
def test_the_bias_of_a_batch_is_that_of_all_its_outcomes(dim, t_1, t_2):
    scores = torch.tensor([t_1, t_2], dtype=torch.float64, requires_grad=True)
    outcomes = [scores[[i, j]] for i in (0, 1) for j in (0, 1)]
    logs = torch.stack([one.logsumexp(0) - math.log(2) for one in outcomes]).mean()
    expected = dim.own.expr.subs({dim.T_1: t_1, dim.T_2: t_2})
    assert torch.autograd.grad(logs, scores, retain_graph=True)[0][0].item() == pytest.approx(float(expected))
    slow = torch.stack([one.exp().mean() for one in outcomes]).mean() / scores.detach().exp().mean()
    exact = torch.autograd.grad(scores.logsumexp(0), scores, retain_graph=True)[0]
    assert_close(torch.autograd.grad(slow, scores)[0], exact)


def normalisers(dim, nats):
    training.seed(1)
    return dim.log_ratio(*torch.randn(2, 6000, 64, 20), dim.correlation(nats, 20)).sum(-1).exp().mean(-1)


@pytest.mark.parametrize("nats", [0.3, 0.8, 1.2])
def test_the_variance_of_a_batchs_normaliser_is_the_derived_one(dim, nats):
    derived = (math.exp(2 * nats) - 1) / 64
    assert normalisers(dim, nats).var().item() == pytest.approx(derived, rel=0.25)


@pytest.mark.parametrize("nats", [0.1, 0.3])
def test_half_of_a_small_variance_is_the_bias_of_dv(dim, nats):
    derived = (math.exp(2 * nats) - 1) / 64
    drawn = normalisers(dim, nats)
    gap = drawn.mean().log() - drawn.log().mean()
    assert gap.item() == pytest.approx(derived / 2, rel=0.25)


def test_true_pairs_are_part_and_code_of_the_same_picture(dim):
    training.seed(0)
    model, x = dim.LocalDIM(), torch.rand(5, 1, 8, 8)
    scores, z = model(x)
    assert scores.shape == (4, 5, 5)
    assert z.shape == (5, 32)
    quarters = [x[:, :, r : r + 4, c : c + 4].reshape(5, 16) for r in (0, 4) for c in (0, 4)]
    for k, part in enumerate(quarters):
        assert_close(scores[k], model.critic.of_x(part) @ model.critic.of_y(model.encoder(x)).T)
    whole, _ = dim.GlobalDIM()(x)
    assert whole.shape == (1, 5, 5)


def test_pairs_across_pictures_leave_nothing_to_learn(dim):
    first, second = dim.normal_pairs(2.0, 6400)
    critic = dim.Critic((5, 32, 16), (5, 32, 16))
    strange = second[torch.randperm(6400)]
    training.train(critic, lambda a, b: -dim.nce(critic(a, b)), first, strange, steps=100, lr=4e-3)
    fresh = batches(dim, 2.0, count=50)
    assert dim.nce(critic(fresh[0], fresh[1].flip(1))).mean().item() < 0.05


def test_the_referee_is_moved_by_its_own_loss_and_the_encoder_by_the_opposite(dim):
    training.seed(0)
    z, referee = torch.rand(64, 32, requires_grad=True), dim.mlp(32, 64, 1)
    deceived = torch.autograd.grad(dim.deceive(referee, z), z)[0]
    caught = torch.autograd.grad(dim.catch(referee, z, R1=0.0), z)[0]
    assert (deceived * caught).sum() < 0
    assert_close(caught.sign(), -deceived.sign())


def test_the_r1_penalty_is_the_squared_slope_on_draws_of_the_prior(dim):
    training.seed(0)
    line = torch.nn.Linear(32, 1)
    z = torch.rand(64, 32)
    with_it, without = (training.seed(1) and dim.catch(line, z, R1) for R1 in (2.0, 0.0))
    assert_close(with_it - without, line.weight.square().sum())


def test_training_with_the_prior_learns_and_repeats(dim):
    models = [dim.train(dim.LocalDIM, dim.jsd, epochs=3) for _ in range(2)]
    x = dim.data.digits().x_test[:100].view(-1, 1, 8, 8) / 16
    assert_close(models[0].encoder(x), models[1].encoder(x))
    training.seed(0)
    assert dim.nce(models[0](x)[0]).mean() > dim.nce(dim.LocalDIM()(x)[0]).mean() + 0.2


def test_jsd_at_its_best_is_not_the_log_ratio(dim):
    wrong = Derivation("JSD", dim.value.expr + (dim.p + dim.q) * sp.log(2))
    with pytest.raises(StepError, match="does not hold"):
        wrong.equals(dim.p * sp.log(dim.p / dim.q), because="so says the name")


def test_every_step_is_proved(dim):
    found = derivations(dim)
    assert len(found) == 14
    assert all(step.status == "proved" for d in found for step in d.steps)


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("forgotten", lambda dim: 1 / sp.E, lambda dim: sp.Integer(1)),
        (
            "three",
            lambda dim: (
                sp.Rational(1, 8)
                + sp.Rational(3, 8) * dim.a_1 * (2 / (2 * dim.a_1 + dim.a_2) + 1 / (dim.a_1 + 2 * dim.a_2))
            ),
            lambda dim: dim.a_1 / (dim.a_1 + dim.a_2),
        ),
        (
            "half",
            lambda dim: sp.log((4 - dim.rho**2) / (4 - 4 * dim.rho**2)) / 2,
            lambda dim: -sp.log(1 - dim.rho**2) / 4,
        ),
    ],
)
def test_exercises_accept_the_answer_and_refuse_another(dim, name, right, wrong):
    assert getattr(dim, name).check(right(dim))
    assert not getattr(dim, name).check(wrong(dim))
