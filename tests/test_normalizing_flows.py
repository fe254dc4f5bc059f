"""The chapter against normflows, zuko, POT and torch.distributions, closed forms, and its own published mistakes."""

import math

import normflows
import ot
import pytest
import sympy as sp
import torch
import zuko
from chapter import derivations, load
from torch import nn
from torch.distributions import AffineTransform, Independent, MultivariateNormal, Normal
from torch.distributions.transforms import IndependentTransform
from torch.testing import assert_close

from utils import training
from utils.derive import Derivation, StepError

book = load("normalizing-flows")
RANKS = {
    "coupling": torch.tensor([0, 1, 0, 1]),
    "autoregressive": torch.arange(4),
    "reversed": torch.tensor([3, 2, 1, 0]),
    "two groups and one": torch.tensor([0, 0, 1, 2]),
}


def stirred(layer, seed=0, std=0.4):
    training.seed(seed)
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=std)
    return layer.double()


def jacobian(layer, x):
    return torch.func.vmap(torch.func.jacrev(lambda one: layer(one[None])[0][0]))(x)


@pytest.fixture
def x():
    return torch.randn(30, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


@pytest.mark.parametrize("push", [-3.0, 0.2, 2.0])
def test_the_planar_layer_is_that_of_normflows(x, push):
    mine = stirred(book.Planar(4))
    with torch.no_grad():
        mine.u += (push - mine.w @ mine.u) * mine.w / (mine.w @ mine.w)
    parts = [part.detach().clone() for part in (mine.u, mine.w, mine.b)]
    theirs = normflows.flows.Planar((4,), u=parts[0][None], w=parts[1][None], b=parts[2][None]).double()
    for one, other in zip(mine(x), theirs(x), strict=True):
        assert_close(one, other)
    slopes = [torch.autograd.grad(layer(x)[1].sum(), (layer.w, layer.u, layer.b)) for layer in (mine, theirs)]
    for one, other in zip(*slopes, strict=True):
        assert_close(one, other.view_as(one))


def test_the_planar_layer_is_monotone_along_w_however_hard_it_pushes(x):
    layer = stirred(book.Planar(4), std=3.0)
    assert layer.w @ layer.u < -1
    assert (jacobian(layer, x).det() > 0).all()
    assert_close(layer(x)[1], jacobian(layer, x).logdet())


@pytest.mark.parametrize("name", RANKS)
def test_a_coordinate_sees_exactly_the_lower_ranks(x, name):
    rank = RANKS[name]
    J = jacobian(stirred(book.Triangular(rank)), x).abs().amax(0)
    assert ((J > 0) == (rank[:, None] > rank) | torch.eye(4, dtype=torch.bool)).all()


@pytest.mark.parametrize("name", RANKS)
def test_the_triangular_layer_is_zukos_autoregressive_transform(x, name):
    layer = stirred(book.Triangular(RANKS[name]))

    def meta(x):
        a, c = layer.scale_and_shift(x)
        return IndependentTransform(AffineTransform(c, a.exp()), 1)

    theirs = zuko.transforms.AutoregressiveTransform(meta, passes=layer.passes)
    z, log_det = layer(x)
    assert_close(z, theirs(x))
    assert_close(log_det, theirs.log_abs_det_jacobian(x, z))
    assert_close(log_det, jacobian(layer, x).logdet())
    assert_close(layer.inverse(z), theirs.inv(z))
    assert_close(layer.inverse(z), x)


def test_one_pass_fewer_does_not_invert(x):
    layer = stirred(book.Triangular(torch.arange(4)), std=0.8)
    z, _ = layer(x)
    layer.passes -= 1
    assert (layer.inverse(z) - x).abs().max() > 1e-3


def test_coupling_is_normflows_masked_affine_flow(x):
    layer = stirred(book.Triangular(torch.tensor([0, 1, 0, 1])))
    kept = torch.tensor([1.0, 0, 1, 0]).double()
    with torch.no_grad():
        layer.layers[-1].bias[[0, 2, 4, 6]] = 0  # what comes first passes unchanged
    scale, shift = (lambda x, i=i: layer.scale_and_shift(x)[i] for i in (0, 1))
    theirs = normflows.flows.MaskedAffineFlow(kept)
    theirs.s, theirs.t = scale, shift
    for one, other in zip(layer(x), theirs(x), strict=True):
        assert_close(one, other)


def test_a_fresh_triangular_layer_changes_nothing(x):
    z, log_det = book.Triangular(torch.arange(4))(x.float())
    assert_close(z, x.float())
    assert not log_det.any()


def test_a_flow_without_layers_is_the_normal_distribution_of_the_data(x):
    flow = book.Flow([], 5 + 3 * x)
    normal = Independent(Normal((5 + 3 * x).mean(0), (5 + 3 * x).std(0)), 1)
    assert_close(-book.nats(*flow(x)), normal.log_prob(x))


def flow_of(points, seed=0):
    flow = book.triangles(torch.arange(2), 4, points).double()
    return stirred(flow, seed, std=0.15)


def test_a_stirred_flow_has_mass_one_and_undoes_its_samples():
    points = torch.randn(100, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 0.3
    flow = flow_of(points)
    z = 2 * torch.rand(50, 2, dtype=torch.float64) - 1
    assert_close(flow(flow.sample(z))[0], z)
    grid = torch.cartesian_prod(*[torch.linspace(-6, 6, 250, dtype=torch.float64)] * 2)
    z, log_det = flow(grid)
    mass = [(-book.nats(z, sign * log_det)).exp().sum().item() * (12 / 249) ** 2 for sign in (1, -1)]
    assert mass[0] == pytest.approx(1, abs=0.01)
    assert abs(mass[1] - 1) > 0.1


def test_ranks_are_reversed_from_layer_to_layer():
    flow = book.triangles(torch.arange(3), 2, torch.randn(9, 3))
    first, second = (jacobian(stirred(layer), torch.randn(5, 3, dtype=torch.float64)) for layer in flow.layers)
    assert not first.triu(1).any()
    assert not second.tril(-1).any()


def network(n=2):
    training.seed(1)
    hidden = nn.Sequential(nn.Linear(n + 1, 16), nn.Tanh(), nn.Linear(16, n)).double()
    return hidden, lambda x, t: hidden(torch.cat([x, t * torch.ones_like(x[:, :1])], 1))


def test_the_thin_flow_is_zukos_free_form_flow():
    hidden, v = network()
    x = torch.randn(9, 2, dtype=torch.float64)
    theirs = zuko.transforms.FreeFormJacobianTransform(
        lambda t, x: v(x, t), t0=0.0, t1=1.0, phi=hidden.parameters(), atol=1e-10, rtol=1e-10
    )
    latent, log_det = theirs.call_and_ladj(x)
    z, mine = book.thin_flow(v, x, steps=400)
    assert_close(z, latent, atol=1e-6, rtol=0)
    assert_close(mine, log_det, atol=1e-6, rtol=0)


def test_riding_back_undoes_the_thin_flow_and_converges_with_order_one():
    _, v = network()
    x = torch.randn(9, 2, dtype=torch.float64)
    z, _ = book.thin_flow(v, x, steps=400)
    errors = [(book.ride_back(v, z, steps)[-1] - x).abs().max() for steps in (200, 400)]
    assert (errors[0] / errors[1]).item() == pytest.approx(2, abs=0.05)
    rides = book.ride_back(v, z, 7)
    assert rides.shape == (8, 9, 2)
    assert_close(rides[0], z)


def exact(deviation):
    def v(x, t):
        V = (1 - t) ** 2 * deviation**2 + t**2
        return -2 + (t - (1 - t) * deviation**2) / V * (x - (1 - t) * 2)

    return v


@pytest.mark.parametrize("deviation", [0.5, 2.0])
def test_the_exact_velocity_leaves_the_derived_loss(deviation):
    training.seed(0)
    x, z = 2 + deviation * torch.randn(400_000, 1), torch.randn(400_000, 1)
    expected = sp.Integral(book.crossing.expr.subs(book.s, sp.Rational(deviation)), (book.t, 0, 1)).evalf()
    assert book.matching(exact(deviation), x, z).item() == pytest.approx(float(expected), rel=0.01)


def test_after_reflow_nothing_is_left_of_the_loss():
    z = torch.randn(1000, 1, dtype=torch.float64)
    x = 2 + 0.5 * z

    def straight(x, t):
        return (x - (1 - t) * 2) / ((1 - t) / 2 + t) - 2 - (x - (1 - t) * 2) / ((1 - t) / 2 + t) / 2

    assert book.matching(straight, x, z) < 1e-12
    assert_close(book.ride_back(straight, z, 1)[-1], x)


def test_the_matching_loss_adds_up_coordinates():
    x, z = torch.randn(50, 3), torch.randn(50, 3)
    still = book.matching(lambda x, t: torch.zeros_like(x), x, z)
    assert_close(still, ((x - z) ** 2).sum(1).mean())


def test_blur_is_noise_in_units_of_the_deviation(monkeypatch):
    monkeypatch.setattr(book.training, "train", lambda flow, loss, x, **settings: loss(x))
    training.seed(0)
    x = 3 * torch.randn(100_000, 1)
    flow = book.Flow([], x)
    extra = [book.fitted(flow, x, blur=blur) - book.nats(*flow(x)).mean() for blur in (0.0, 0.5)]
    assert extra[0] == 0
    assert extra[1].item() == pytest.approx(0.5**2 / 2, abs=0.01)


def test_sixteen_pixels_of_the_border_are_nearly_always_empty():
    from utils import data

    empty = (data.digits().x_train == 0).float().mean(0).view(8, 8) > 0.9
    assert empty.sum() == 16
    assert not empty[1:-1, 1:-1].any()


def test_maximum_likelihood_finds_the_moments_of_normal_data():
    training.seed(0)
    x = torch.randn(2000, 2) * torch.tensor([2.0, 0.5]) + 1
    flow = book.fitted(book.triangles(torch.arange(2), 2, x), x, steps=20, lr=1e-3, batch=100)
    normal = Independent(Normal(x.mean(0), x.std(0)), 1)
    assert book.nats(*flow(x)).mean().item() == pytest.approx(-normal.log_prob(x).mean().item(), abs=0.02)
    assert not any(parameter.requires_grad for parameter in flow.parameters())


def test_transport_is_that_of_pot():
    x, y = torch.randn(60, 2), torch.rand(60, 2)
    assert book.transport(x, y).item() == pytest.approx(ot.emd2([], [], torch.cdist(x, y).double().numpy()), rel=1e-5)


def test_places_lie_on_the_map_and_are_split_once():
    train, test = book.places()
    assert (len(train), len(test)) == (148_989, 20_000)
    assert (train[:, 0].abs() <= math.pi).all()
    assert (train[:, 1].abs() < 0.99).all()
    assert len(torch.cat([train, test]).unique(dim=0)) > 168_000
    near_the_cut = (train[:, 0].abs() > math.pi - math.radians(2)).sum()
    assert near_the_cut < 0.0005 * len(train)
    london = torch.tensor([math.radians(168 - 0.13) - math.pi, math.sin(math.radians(51.5))])
    assert (torch.cdist(train[:, :], london[None].float()) < 0.01).sum() > 50


def test_even_points_of_the_globe_are_even_on_the_map():
    training.seed(0)
    points = nn.functional.normalize(torch.randn(100_000, 3, dtype=torch.float64), dim=1)
    heights = points[:, 2].sort().values
    assert (heights - torch.linspace(-1, 1, 100_000, dtype=torch.float64)).abs().max() < 0.02


def test_the_shipped_world_is_the_one_that_the_chapter_measures():
    from utils import weights

    train, test = book.places()
    flow = book.triangles(torch.arange(2), 10, train).requires_grad_(False)
    flow.load_state_dict(weights.load("world_flow"))
    assert book.nats(*flow(test[:4000])).mean().item() == pytest.approx(0.26, abs=0.04)


def test_rotation_costs_nothing_and_the_rest_is_normal():
    training.seed(0)
    x = torch.randn(500, 6, dtype=torch.float64) @ torch.randn(6, 6, dtype=torch.float64)
    turn = torch.linalg.svd(x - x.mean(0))[2].T
    turned = (x - x.mean(0)) @ turn
    spread = turned.std(0)
    costs = book.nats(turned / spread, -spread.log().sum())
    assert_close(costs, -MultivariateNormal(x.mean(0), x.T.cov()).log_prob(x))


def test_uniform_noise_bounds_the_cost_of_a_discrete_level():
    level, normal = 3.0, Normal(2.0, 1.5)
    inside = torch.linspace(level, level + 1, 20_001, dtype=torch.float64)
    average_cost = -normal.log_prob(inside).mean()
    true_cost = -(normal.cdf(torch.tensor(level + 1)) - normal.cdf(torch.tensor(level))).log()
    assert true_cost < average_cost < true_cost + 0.1


def test_every_step_is_proved():
    found = derivations(book)
    assert len(found) == 3 + 3 + 2 + 2 + 1 + 3
    assert all(step.status == "proved" for one in found for step in one.steps)


def test_the_length_in_the_place_of_its_square_is_refuted():
    push, root = book.w.dot(book.u), sp.sqrt(book.w.dot(book.w))
    wrong = Derivation("Divided by the norm", push + (book.safe_push - push) * root)
    with pytest.raises(StepError, match="does not hold"):
        wrong.at_least(-1, because="so the layer cannot fold")


def test_a_straight_path_is_refuted():
    with pytest.raises(StepError, match="does not hold"):
        Derivation("Straight", book.bend.lhs, domain=book.unit).equals(0, because="so it is called")


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("one_step", lambda: book.m, lambda: book.m + book.s * book.z),
        ("bits", lambda: 8 - 2000 / 784 / math.log(2), lambda: -2000 / 784 / math.log(2)),
        ("spiral", lambda: -book.T * (book.alpha + book.beta), lambda: book.T * (book.alpha + book.beta)),
    ],
)
def test_exercises_accept_the_answer_and_refuse_another(name, right, wrong):
    assert getattr(book, name).check(right())
    assert not getattr(book, name).check(wrong())
