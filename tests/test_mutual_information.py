"""The chapter on mutual information against scikit-learn, SciPy, torch's losses and its own known answers."""

import math

import numpy as np
import pytest
import sympy as sp
import torch
from scipy import stats
from sklearn.feature_selection import mutual_info_regression
from sklearn.metrics import mutual_info_score
from torch.nn import functional as F
from torch.testing import assert_close

from tests.chapter import derivations, load
from utils import training
from utils.bridge import to_torch
from utils.derive import Derivation, StepError


@pytest.fixture(scope="module")
def mi():
    return load("representation/mutual-information")


@pytest.fixture
def rng():
    return training.seed(7)


def normal_pairs(rho, count, rng):
    x, noise = torch.randn(2, count, generator=rng, dtype=torch.float64)
    return x, rho * x + math.sqrt(1 - rho**2) * noise


@pytest.fixture
def embeddings(rng):
    return torch.randn(2, 9, 5, generator=rng).unbind(0)


def test_information_of_labels_is_scikit_learns(mi, rng):
    x, y = torch.randint(4, (300,), generator=rng), torch.randint(6, (300,), generator=rng)
    y = torch.where(x == 1, x, y)
    table = torch.bincount(6 * x + y, minlength=24).view(4, 6).double() / 300
    assert_close(mi.information(table).item(), mutual_info_score(x, y), rtol=1e-12, atol=0)


def test_information_of_an_empty_cell_row_and_column_is_finite(mi):
    table = torch.tensor([[0.5, 0.0, 0.0], [0.0, 0.5, 0.0], [0.0, 0.0, 0.0]]).double()
    assert_close(mi.information(table), torch.tensor(2.0).double().log())


def test_information_is_the_divergence_of_scipy(mi, rng):
    table = torch.rand(3, 4, generator=rng).double()
    table /= table.sum()
    product = np.outer(table.sum(1), table.sum(0))
    assert_close(mi.information(table).item(), stats.entropy(table.flatten(), product.flatten()))


def test_no_processing_adds_information(mi, rng):
    tables = torch.rand(200, 4, 5, generator=rng).double()
    tables /= tables.sum((1, 2), keepdim=True)
    kernels = torch.rand(200, 5, 3, generator=rng).double().pow(4)
    kernels /= kernels.sum(2, keepdim=True)
    assert (mi.information(tables @ kernels) < mi.information(tables)).all()
    assert_close(mi.information(tables[:, :, torch.randperm(5)]), mi.information(tables))


def test_the_gaussian_answer_is_scipys_entropies(mi):
    correlation = np.array([[1, 0.7], [0.7, 1]])
    expected = 2 * stats.norm.entropy() - stats.multivariate_normal(cov=correlation).entropy()
    assert_close(float(mi.gauss.expr.subs(mi.rho, 0.7)), float(expected))


def test_ksg_is_scikit_learns(mi, rng):
    x, y = normal_pairs(0.7, 400, rng)
    x, y = x / x.std(correction=0), y / y.std(correction=0)
    theirs = mutual_info_regression(x[:, None], y, n_neighbors=3, copy=True, random_state=0)[0]
    assert_close(mi.ksg(x, y).item(), theirs, atol=1e-6, rtol=0)  # theirs adds noise of 1e-10


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_ksg_finds_the_known_answer(mi, rng, rho):
    found = torch.stack([mi.ksg(*normal_pairs(rho, 500, rng)) for _ in range(20)]).mean()
    assert abs(found + math.log(1 - rho**2) / 2) < 0.03


def test_the_histogram_counts_what_numpy_counts(mi, rng):
    x, y = normal_pairs(0.5, 700, rng)
    edges = stats.norm.ppf(np.arange(9) / 8)
    table = torch.from_numpy(np.histogram2d(x, y, bins=[edges, edges])[0]) / 700
    assert_close(mi.counted(x, y, 8), mi.information(table))


def test_counting_invents_what_is_derived(mi, rng):
    found = torch.stack([mi.counted(*torch.randn(2, 1000, generator=rng).double(), 5) for _ in range(300)]).mean()
    derived = float(mi.invented.expr.subs({mi.N: 1000, mi.K_x: 5, mi.K_y: 5}))
    assert_close(found.item(), derived, rtol=0.08, atol=0)


def test_distances_are_torchs(mi, embeddings):
    a, b = embeddings
    assert_close(mi.distances(a[:, None], b), torch.cdist(a, b))


@pytest.mark.parametrize("margin", [0.5, 3.0])
def test_the_contrastive_loss_is_hadsells_with_the_label_turned(mi, rng, margin):
    delta, strangers = 4 * torch.rand(40, generator=rng), torch.randint(2, (40,), generator=rng)
    paper = (1 - strangers) * delta**2 / 2 + strangers * torch.relu(margin - delta) ** 2 / 2
    assert_close(mi.contrastive(delta, 1 - strangers, margin), paper)


def test_the_contrastive_loss_of_a_batch_weighs_both_kinds_alike(mi, embeddings):
    a, b = embeddings
    partners = [(a[k] - b[k]).norm() ** 2 / 2 for k in range(9)]
    strangers = [F.relu(1 - (a[k] - b[j]).norm()) ** 2 / 2 for k in range(9) for j in range(9) if j != k]
    expected = torch.stack(partners).mean() + torch.stack(strangers).mean()
    assert_close(mi.contrastive_loss(a, b), expected)
    assert mi.contrastive_loss(a, a) < expected < mi.contrastive_loss(a, b, partners=0)


def test_the_triplet_loss_is_torchs_over_all_triplets(mi, embeddings):
    a, b = embeddings[0] / 3, embeddings[1] / 3
    rows = [(k, j) for k in range(9) for j in range(9) if j != k]
    anchor, stranger = map(list, zip(*rows, strict=True))
    expected = F.triplet_margin_loss(a[anchor], b[anchor], b[stranger], margin=1.0, eps=0)
    assert_close(mi.triplet_loss(a, b), expected)


@pytest.mark.parametrize("power", [1, 2])
def test_the_hardest_stranger_is_the_nearest_one(mi, embeddings, power):
    a, b = embeddings
    far = torch.cdist(a, b).fill_diagonal_(torch.inf).amin(1) ** power
    expected = F.relu((a - b).norm(dim=1) ** power - far + 1).mean()
    assert_close(mi.triplet_loss(a, b, hardest=True, power=power), expected)
    assert mi.triplet_loss(a, b, hardest=True, power=power) > mi.triplet_loss(a, b, power=power)


@pytest.mark.parametrize("name", ["plain", "squared"])
def test_the_triplets_force_is_autograds(mi, rng, name):
    points = torch.rand(6, 30, generator=rng).double().requires_grad_()
    a, b, c = points[:2].T, points[2:4].T, points[4:].T
    power = 2 if name == "squared" else 1
    paid = mi.triplet(mi.distances(a, b) ** power, mi.distances(a, c) ** power, 9.0)
    (slope,) = torch.autograd.grad(paid.sum(), points)
    derived = [part.subs(mi.known) for part in getattr(mi, name).expr]
    names = (mi.a_1, mi.a_2, mi.b_1, mi.b_2, mi.c_1, mi.c_2)
    expected = torch.stack([to_torch(part, names)(*points.detach()) for part in derived])
    assert_close(-slope[:2], expected, atol=1e-8, rtol=1e-8)


def test_only_squares_rest_in_collapse(mi):
    one = torch.zeros(6, 4) + 1e-4 * torch.randn(6, 4, generator=training.seed(0))

    def strength(power):
        leaf = one.clone().requires_grad_()
        mi.triplet_loss(leaf, one.roll(1, 1), hardest=True, power=power).backward()
        return leaf.grad.norm()

    assert strength(2) < 1e-3 < 0.1 < strength(1)


def test_the_best_distance_has_no_slope(mi, rng):
    p, q = torch.rand(2, 20, generator=rng).double()
    delta = (1.5 / (1 + p / q)).requires_grad_()
    paid = p * mi.contrastive(delta, 1, 1.5) + q * mi.contrastive(delta, 0, 1.5)
    (slope,) = torch.autograd.grad(paid.sum(), delta)
    assert_close(slope, torch.zeros(20).double())
    assert_close(to_torch(mi.ideal.expr, (mi.m, mi.i))(torch.full((20,), 1.5).double(), (p / q).log()), delta.detach())


def test_two_styles_are_of_one_emoji_and_differ(mi, rng):
    pictures = torch.arange(20)[:, None] * 10 + torch.arange(3)
    x, y = mi.two_styles(pictures, 16, rng)
    assert_close(x // 10, y // 10)
    assert (x != y).all()
    assert len(x.unique()) == 16


def test_the_encoder_learns_and_is_frozen(mi):
    pictures = torch.rand(30, 1, 3, 32, 32, generator=training.seed(0)).expand(-1, 3, -1, -1, -1)
    encoder, paid = mi.encoder_of(mi.contrastive_loss, pictures, steps=12, batch=8)
    assert paid[-3:].mean() < 0.9 * paid[0]
    assert not any(weight.requires_grad for weight in encoder.parameters())
    assert_close(mi.encoder_of(mi.contrastive_loss, pictures, steps=3, batch=8)[1], paid[:3])


def test_every_step_but_one_is_proved(mi):
    found = derivations(mi)
    assert len(found) == 13
    sampled = [(d.title, step.because) for d in found for step in d.steps if step.status != "proved"]
    assert sampled == [(mi.merge.title, "*one cell of it*, twice")]


@pytest.mark.parametrize(
    ("start", "wrong"),
    [
        ("three", lambda mi: mi.entropy(mi.joint) - mi.entropy(mi.of_x) - mi.entropy(mi.of_y)),
        ("gauss", lambda mi: -sp.log(1 - mi.rho)),
        ("cell", lambda mi: (1 - mi.p) / (2 * mi.N)),
        ("invented", lambda mi: (mi.K_x * mi.K_y - 1) / (2 * mi.N)),
        ("ideal", lambda mi: mi.m / (1 + sp.exp(-mi.i))),
        ("push", lambda mi: (mi.m - mi.from_b) * (mi.b - mi.a) / mi.from_b),
        ("plain", lambda mi: (mi.b - mi.a) / mi.from_b + (mi.c - mi.a) / mi.from_c),
        ("squared", lambda mi: 2 * (mi.c - mi.b)),
    ],
)
def test_wrong_endings_are_refuted(mi, start, wrong):
    given = getattr(mi, start)
    again = Derivation(given.title, given.lhs, where=given.where, domain=given.domain)
    with pytest.raises(StepError, match="does not hold"):
        again.equals(wrong(mi), because="a known mistake")


def test_a_margin_on_the_square_is_not_hadsells(mi):
    with pytest.raises(StepError, match="does not hold"):
        mi.force("A margin on the square", (mi.m - mi.from_b**2) / 2).equals(mi.push.expr, because="a known mistake")


def test_information_never_grows_by_a_second_look(mi):
    with pytest.raises(StepError, match="does not hold"):
        Derivation("The inequality, turned", mi.merge.lhs).at_most(0, because="as if merging could add")


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("one_nat", lambda mi: math.sqrt(1 - math.exp(-2)), lambda mi: 1 - math.exp(-2)),
        ("crowd", lambda mi: mi.m / (1 + sp.exp(mi.i) / mi.n), lambda mi: mi.m / (1 + mi.n * sp.exp(mi.i))),
        (
            "fano",
            lambda mi: sp.log(mi.K * mi.recall**mi.recall) + (1 - mi.recall) * sp.log((1 - mi.recall) / (mi.K - 1)),
            lambda mi: sp.log(mi.K * mi.recall),
        ),
    ],
)
def test_exercises_accept_the_answer_and_refuse_another(mi, name, right, wrong):
    assert getattr(mi, name).check(right(mi))
    assert not getattr(mi, name).check(wrong(mi))


@pytest.mark.parametrize(("candidates", "share"), [(5, 0.6), (20, 0.2)])
def test_fanos_bound_is_met_where_mistakes_are_even(mi, candidates, share):
    off = (1 - share) / (candidates - 1)
    table = (torch.full((candidates, candidates), off) + torch.eye(candidates) * (share - off)).double() / candidates
    bound = float(mi.fano.answer.subs({mi.K: candidates, mi.recall: share}))
    assert_close(mi.information(table).item(), bound, atol=1e-6, rtol=0)
