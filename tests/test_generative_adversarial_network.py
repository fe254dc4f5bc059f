"""The chapter on GANs against SciPy, scikit-learn, torch's own losses, matrix powers and known mistakes."""

import math

import numpy as np
import pytest
import sympy as sp
import torch
import torch.nn.functional as F
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy
from sklearn.linear_model import LogisticRegression
from torch.testing import assert_close

from tests.chapter import load
from utils import training
from utils.bridge import to_torch
from utils.derive import Derivation, StepError

F64 = torch.float64


@pytest.fixture(scope="module")
def gan():
    return load("generative/generative-adversarial-network")


@pytest.fixture
def atoms():
    generator = torch.Generator().manual_seed(5)
    return [torch.rand(6, generator=generator, dtype=F64).softmax(0) for _ in range(2)]


def linear(weight, bias=0.0):
    return lambda a: a @ weight + bias


def test_the_best_value_is_twice_scipys_jensen_shannon_less_log_four(gan, atoms):
    p, g = atoms
    value = to_torch(gan.top.lhs, (gan.p, gan.g))(p, g).sum()
    assert_close(value.item(), 2 * jensenshannon(p, g) ** 2 - math.log(4))


def test_the_non_saturating_divergence_is_scipys_kl_to_the_data(gan, atoms):
    p, g = atoms
    mixed = to_torch(gan.to_data.steps[0].rhs, (gan.p, gan.g))(p, g).sum()
    assert_close(mixed.item(), 2 * entropy((p + g) / 2, p))
    assert_close(mixed.item(), entropy(g, p) - 2 * jensenshannon(p, g) ** 2)


@pytest.mark.parametrize("saturating", [True, False])
def test_with_the_best_classifier_held_fixed_a_loss_follows_its_divergence(gan, atoms, saturating):
    p, start = atoms
    logits = start.log().requires_grad_()
    g = logits.softmax(0)
    best = (p / (p + g)).detach()
    loss = (g * ((1 - best).log() if saturating else -best.log())).sum()
    expr = gan.js_twice if saturating else gan.to_data.steps[0].rhs
    divergence = to_torch(expr, (gan.p, gan.g))(p, g).sum()
    found, derived = (torch.autograd.grad(of, logits, retain_graph=True)[0] for of in (loss, divergence))
    assert_close(found, derived)


def test_the_discriminators_loss_is_torchs_binary_cross_entropy(gan):
    x, fake, weight = torch.randn(7, 3), torch.randn(7, 3), torch.randn(3, 1)
    labels = torch.cat([torch.ones(7, 1), torch.zeros(7, 1)])
    expected = 2 * F.binary_cross_entropy_with_logits(torch.cat([x, fake]) @ weight, labels)
    assert_close(gan.d_loss(linear(weight), x, fake), expected)


def test_the_generators_losses_are_torchs_with_either_label(gan):
    fake, weight = torch.randn(7, 3), torch.randn(3, 1)
    logit = fake @ weight
    plain = F.binary_cross_entropy_with_logits(logit, torch.ones(7, 1))
    assert_close(gan.g_loss(linear(weight), fake), plain)
    zero_sum = -F.binary_cross_entropy_with_logits(logit, torch.zeros(7, 1))
    assert_close(gan.g_loss(linear(weight), fake, saturating=True), zero_sum)


def test_scikit_learns_logistic_regression_is_the_classifier_with_the_least_loss(gan):
    generator = torch.Generator().manual_seed(0)
    real, fake = (torch.randn(400, 2, generator=generator, dtype=F64) + c for c in (0, 1))
    x, y = torch.cat([real, fake]).numpy(), np.repeat([1, 0], 400)
    fitted = LogisticRegression(C=np.inf, tol=1e-10).fit(x, y)
    weight = torch.tensor(fitted.coef_.T, dtype=F64, requires_grad=True)
    bias = torch.tensor(fitted.intercept_, dtype=F64, requires_grad=True)
    for slope in torch.autograd.grad(gan.d_loss(linear(weight, bias), real, fake), (weight, bias)):
        assert_close(slope, torch.zeros_like(slope), atol=1e-5, rtol=0)


@pytest.mark.parametrize("batch", [1, 5])
def test_r1_of_a_linear_logit_is_half_its_squared_norm_whatever_the_batch(gan, batch):
    weight = torch.randn(4, 1, requires_grad=True)
    x, fake = torch.randn(batch, 4), torch.randn(batch, 4)
    penalty = gan.d_loss(linear(weight), x, fake, 3.0) - gan.d_loss(linear(weight), x, fake)
    assert_close(penalty, 1.5 * weight.square().sum())
    assert_close(torch.autograd.grad(penalty, weight)[0], 3 * weight.detach())


def test_r1_looks_at_the_data_and_not_at_the_fakes(gan):
    def curved(a):
        return a.square().sum(-1, keepdim=True) / 2  # its slope is a

    x, fake = torch.randn(6, 4), torch.randn(6, 4)
    penalty = gan.d_loss(curved, x, fake, 2.0) - gan.d_loss(curved, x, fake)
    assert_close(penalty, x.square().sum(-1).mean())


def test_each_player_reaches_its_own_weights(gan):
    place, weight = torch.randn(5, 2, requires_grad=True), torch.randn(2, 1, requires_grad=True)
    loss = gan.d_loss(linear(weight), torch.zeros(5, 2), place)
    assert torch.autograd.grad(loss, place, allow_unused=True) == (None,)
    assert torch.autograd.grad(gan.g_loss(linear(weight), place), place)[0].abs().min() > 0


@pytest.mark.parametrize("R1", [0.0, 0.4])
@pytest.mark.parametrize("steps_are", ["simultaneous", "alternating"])
def test_a_duel_near_the_goal_is_a_power_of_the_derived_matrix(gan, steps_are, R1):
    step = sp.eye(2) + gan.h * gan.turn
    matrix = step if steps_are == "simultaneous" else gan.only_D * gan.only_G
    numbers = np.array(matrix.subs({gan.h: 0.5, gan.gamma: R1}), dtype=float)
    expected = np.linalg.matrix_power(numbers, 40) @ [1e-5, 0]
    end = gan.duel(steps_are, 0.5, R1, 0.0, count=40, start=1e-5)[-1]
    np.testing.assert_allclose([end["theta"], end["psi"]], expected, rtol=1e-6)
    determinant = (gan.together if steps_are == "simultaneous" else gan.in_turn).expr
    assert np.linalg.det(numbers) == pytest.approx(float(determinant.subs({gan.h: 0.5, gan.gamma: R1})))


@pytest.mark.parametrize("R1", [0.2, 0.3])
def test_simultaneous_steps_settle_from_a_quarter_of_the_step_on(gan, R1):
    end = gan.duel("simultaneous", 1.0, R1, 0.0, count=400, start=1e-3)[-1]
    assert (math.hypot(end["theta"], end["psi"]) < 1e-3) == (R1 > 0.25)


def test_momentum_leads_away_and_negative_momentum_home_when_steps_alternate(gan):
    ends = [gan.duel("alternating", 0.5, 0.0, momentum, count=200, start=1e-3)[-1] for momentum in (-0.5, 0.5)]
    home, away = (math.hypot(end["theta"], end["psi"]) for end in ends)
    assert home < 5e-4
    assert away > 0.1


def test_training_moves_both_players_and_averages_the_generator(gan):
    training.seed(0)
    G, D = gan.network(1, 4, 1), gan.network(1, 4, 1)
    before = [[w.clone() for w in net.parameters()] for net in (G, D)]
    average = gan.play(G, D, lambda batch: torch.randn(batch, 1), 1, 5, 8, 1e-2, gamma=1.0)
    for net, old in zip((G, D), before, strict=True):
        assert all((w != o).any() for w, o in zip(net.parameters(), old, strict=True))
    assert any((w != a).any() for w, a in zip(G.parameters(), average.parameters(), strict=True))


def test_the_loop_is_adam_in_turn_with_penalty_decay_and_a_slow_average(gan):
    training.seed(0)
    players = [gan.network(1, 3, 1) for _ in range(4)]
    G, D, own_G, own_D = players
    own_G.load_state_dict(G.state_dict())
    own_D.load_state_dict(D.state_dict())
    training.seed(1)
    average = gan.play(G, D, lambda batch: torch.randn(batch, 1), 1, 6, 8, 1e-2, momentum=0.5, gamma=2.0)
    training.seed(1)
    move_G, move_D = (torch.optim.Adam(net.parameters(), lr=1e-2, betas=(0.5, 0.99)) for net in (own_G, own_D))
    slow = None
    for rate in (1e-2, 1e-2, 1e-2, 1e-2, 1e-2 * 2 / 3, 1e-2 / 3):
        move_G.param_groups[0]["lr"] = move_D.param_groups[0]["lr"] = rate
        z, x = torch.randn(8, 1), torch.randn(8, 1, requires_grad=True)
        real, made = own_D(x), own_D(own_G(z))
        slope = torch.autograd.grad(real.sum(), x, create_graph=True)[0]
        loss = -F.logsigmoid(real).mean() - F.logsigmoid(-made).mean() + slope.square().mean()
        for weights, grad in zip(own_D.parameters(), torch.autograd.grad(loss, [*own_D.parameters()]), strict=True):
            weights.grad = grad
        move_D.step()
        loss = -F.logsigmoid(own_D(own_G(z))).mean()
        for weights, grad in zip(own_G.parameters(), torch.autograd.grad(loss, [*own_G.parameters()]), strict=True):
            weights.grad = grad
        move_G.step()
        now = [w.detach().clone() for w in own_G.parameters()]
        slow = now if slow is None else [0.99 * a + 0.01 * b for a, b in zip(slow, now, strict=True)]
    for found, expected in ((G, own_G), (D, own_D)):
        assert_close([*found.parameters()], [*expected.parameters()])
    assert_close([w.detach() for w in average.parameters()], slow)


@pytest.mark.parametrize("steps_are", ["simultaneous", "alternating"])
@pytest.mark.parametrize("h", [0.5, 1.0])
def test_the_penalty_settles_the_players_until_the_steps_of_d_overshoot(gan, steps_are, h):
    matrix = sp.eye(2) + gan.h * gan.turn if steps_are == "simultaneous" else gan.only_D * gan.only_G
    grow = sp.lambdify((gan.h, gan.gamma), matrix)
    least = h / 4 if steps_are == "simultaneous" else 0
    for weight in np.linspace(0.01, 6, 100):
        settles = max(abs(np.linalg.eigvals(grow(h, weight)))) < 1
        if h * weight < 2 - h**2 / 8:
            assert settles == (weight > least)
        elif h * weight > 2 + h**2 / 8:
            assert not settles


def test_training_finds_a_normal_distribution(gan):
    training.seed(0)
    G, D = gan.network(1, 16, 1), gan.network(1, 16, 1)
    gan.play(G, D, lambda batch: 2 + torch.randn(batch, 1), 1, 600, 64, 5e-3, gamma=0.1)
    made = G(torch.randn(4000, 1))
    assert abs(made.mean() - 2) < 0.3
    assert 0.7 < made.std() < 1.3


def test_the_swapped_label_is_refuted(gan):
    wrong = Derivation("Best classifier, labels swapped", gan.optimum.lhs, domain={gan.D: (0, 1)})
    swapped = gan.g / (gan.p + gan.g)
    with pytest.raises(StepError, match="does not hold"):
        wrong.equals((gan.p + gan.g) * (swapped - gan.D) / (gan.D * (1 - gan.D)), because="swapped")


def test_every_step_is_proved(gan):
    found = [value for value in vars(gan).values() if isinstance(value, Derivation)]
    assert len({id(d) for d in found}) == 13
    assert all(step.status == "proved" for d in found for step in d.steps)


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("forgotten", lambda gan: 2 * gan.D - 1, lambda gan: gan.D - 1),
        ("level", lambda gan: -gan.gamma * gan.psi**2, lambda gan: sp.Integer(0)),
        ("critical", lambda gan: sp.Integer(1), lambda gan: sp.Integer(2)),
    ],
)
def test_exercises_accept_the_answer_and_refuse_another(gan, name, right, wrong):
    assert getattr(gan, name).check(right(gan))
    assert not getattr(gan, name).check(wrong(gan))
