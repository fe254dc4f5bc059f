"""Clouds, sums over sets, PointNet and the Laplacian against SciPy, scikit-learn, NumPy and the known mistakes."""

import itertools

import numpy as np
import pytest
import sympy as sp
import torch
from scipy.sparse import csgraph
from sklearn.neighbors import kneighbors_graph
from torch.testing import assert_close

from tests.chapter import derivations, load
from utils import clouds
from utils.derive import Derivation, StepError


@pytest.fixture(scope="module")
def ch():
    return load("detection/point-clouds")


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def random(generator, *shape):
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def test_every_step_is_proved(ch):
    status = [step.status for derivation in derivations(ch) for step in derivation.steps]
    assert len(status) >= 14
    assert set(status) == {"proved"}


def test_depth_is_that_of_two_pinhole_cameras(ch, generator):
    F, b, o, middle = 900.0, 190.0, 30.0, 320.0
    for X, Z in (torch.rand(20, 2, generator=generator) * 3000 + 500).tolist():
        left, right = F * X / Z + middle, F * (X - b) / Z + middle + o
        at = dict(zip((ch.m, ch.b, ch.c, ch.d), (F, b, o, left - right), strict=True))
        assert float(ch.depth.subs(at)) == pytest.approx(Z)
        step = float(ch.depth.subs(at | {ch.d: left - right + 1e-3})) - Z
        assert step / 1e-3 == pytest.approx(float(ch.doubt.expr.subs(ch.D, ch.depth).subs(at)), rel=1e-3)


def test_the_fold_is_the_maximum_in_every_order(ch):
    for a, b, c in itertools.permutations(map(sp.Rational, ("-7/3", "1/2", "5"))):
        assert ch.top(ch.top(a, b), c).doit() == 5


@pytest.mark.parametrize("N", [1, 2, 5, 9])
def test_points_come_back_from_their_power_sums_as_numpys_roots_do(ch, generator, N):
    x = 2 * torch.rand(30, N, generator=generator, dtype=torch.float64) - 1
    assert_close(ch.points(ch.power_sums(x)), x.sort(1).values, atol=1e-6, rtol=0)
    roots = np.array([np.sort(np.roots(np.poly(row)).real) for row in x])
    assert_close(ch.points(ch.power_sums(x)), torch.from_numpy(roots), atol=1e-6, rtol=0)


def test_duplicates_are_kept_by_sums_and_forgotten_by_the_maximum(ch):
    one, two = torch.tensor([[0.5, 0.5, -0.2]]).double(), torch.tensor([[0.5, -0.2, -0.2]]).double()
    assert ch.points(ch.power_sums(one)).sub(one.sort(1).values).abs().max() < 1e-6
    assert not ch.power_sums(one).allclose(ch.power_sums(two))
    assert one.amax(1).equal(two.amax(1))
    assert one.amin(1).equal(two.amin(1))


@pytest.mark.parametrize("pool", [torch.amax, torch.mean])
def test_pointnet_has_no_order_and_takes_any_number_of_points(ch, generator, pool):
    torch.manual_seed(0)
    net = ch.PointNet(pool, tnet=ch.PointNet(pool, classes=9, K=64)).double()
    x = random(generator, 1, 4, 3)
    for order in itertools.permutations(range(4)):
        assert_close(net(x[:, list(order)]), net(x), atol=1e-12, rtol=0)
    assert net(random(generator, 2, 100, 3)).shape == (2, 4)
    assert (net(x[:, :3]) - net(x)).abs().max() > 1e-6


def test_the_transform_multiplies_every_point(ch, generator):
    torch.manual_seed(0)
    net = ch.PointNet(tnet=ch.PointNet(classes=9, K=64)).double()
    x = random(generator, 3, 10, 3)
    A = net.transform(x)
    by_hand = torch.stack([net.h(torch.stack([p @ A[b] for p in x[b]])) for b in range(3)])
    assert_close(net.features(x), by_hand)
    for part in net.tnet.rho[-1].parameters():
        torch.nn.init.zeros_(part)
    assert_close(net.transform(x), torch.eye(3).double().expand(3, 3, 3))


def test_scores_from_critical_points_alone_are_the_same(ch, generator):
    torch.manual_seed(0)
    net = ch.PointNet()
    for cloud in torch.randn(20, 64, 3, generator=generator):
        kept = net.features(cloud[None])[0].argmax(0).unique()
        assert len(kept) < 64
        assert_close(net(cloud[None, kept]), net(cloud[None]), atol=1e-6, rtol=0)
        others = [i for i in range(64) if i not in kept.tolist()]
        assert (net(cloud[None, others]) - net(cloud[None])).abs().max() > 1e-3


def test_the_regulariser_is_the_sum_over_singular_values_and_spares_rotations_and_reflections(ch, generator):
    A = random(generator, 50, 3, 3)
    assert_close(ch.regulariser(A), (1 - torch.linalg.svdvals(A) ** 2).square().sum(1))
    Q = clouds.rotations(20, generator).double()
    assert ch.regulariser(torch.cat([Q, -Q])).max() < 1e-10


def test_singular_values_move_as_the_text_says(ch, generator):
    A = random(generator, 3, 3)
    U, sigma, V = torch.linalg.svd(A)
    pull = -torch.func.grad(lambda A: ch.regulariser(A[None])[0])(A)
    assert_close((U.T @ pull @ V.T).diagonal(), 4 * sigma * (1 - sigma**2))


def test_the_misplaced_bracket_deletes_clouds_and_punishes_turns(ch):
    A_turn = sp.rot_axis3(ch.alpha)
    for A, free in ((sp.zeros(3, 3), True), (sp.eye(3), True), (A_turn, False)):
        derivation = Derivation("Misprint", sum(entry**2 for entry in A * (A.T - sp.eye(3))))
        if free:
            derivation.equals(0, because="free")
        else:
            with pytest.raises(StepError, match="does not hold"):
                derivation.equals(0, because="free, it is hoped")


@pytest.mark.parametrize("neighbours", [1, 4, 9])
def test_the_laplacian_is_scipys_on_scikit_learns_graph(ch, generator, neighbours):
    x = random(generator, 60, 3)
    near = kneighbors_graph(x.numpy(), neighbours).toarray()
    expected = csgraph.laplacian(np.maximum(near, near.T))
    L = ch.laplacian(x, neighbours)
    assert_close(L, torch.from_numpy(expected))
    assert_close(L.sum(1), torch.zeros(60).double())
    pieces = csgraph.connected_components(near, directed=False)[0]
    assert (torch.linalg.eigvalsh(L).abs() < 1e-9).sum() == pieces


def test_the_graph_does_not_know_a_turn(ch, generator):
    x, Q = random(generator, 80, 3), clouds.rotations(1, generator)[0].double()
    assert ch.laplacian(x @ Q, 5).equal(ch.laplacian(x, 5))


def test_learning_tells_two_plain_shapes_apart_and_the_weight_straightens_the_transform(ch, generator):
    long = torch.randn(200, 16, 3, generator=generator) * torch.tensor([1.0, 0.1, 0.1])
    flat = torch.randn(200, 16, 3, generator=generator) * torch.tensor([1.0, 1.0, 0.1])
    x, y = torch.cat([long, flat]), torch.arange(2).repeat_interleave(200)
    straight = []
    for weight in (0.0, 1.0):
        torch.manual_seed(0)
        net = ch.PointNet(tnet=ch.PointNet(classes=9, K=64), classes=2)
        ch.learn(net, x, y, weight, steps=60)
        assert (net(x).argmax(1) == y).float().mean() > 0.9
        straight.append(ch.regulariser(net.transform(x)).mean())
    assert straight[1] < 0.2 * straight[0]


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("pixel", 5000**2 / (994.978 * 193.001), 5000 / (994.978 * 193.001)),
        ("doubled", 27, 9),
    ],
)
def test_exercises_accept_the_answer_and_refuse_another(ch, name, right, wrong):
    assert getattr(ch, name).check(right)
    assert not getattr(ch, name).check(wrong)


def test_the_next_identity_is_newtons_and_a_flipped_sign_is_refused(ch):
    x = sp.symbols("x_1:5", real=True)
    s_4 = sp.Symbol("s_4", real=True)
    answer = (ch.e_3 * ch.s_1 - ch.e_2 * ch.s_2 + ch.e_1 * ch.s_3 - s_4) / 4
    assert ch.fourth.check(answer)
    assert not ch.fourth.check(answer + s_4 / 2)
    sums = {s: sum(number**k for number in x) for k, s in enumerate((ch.s_1, ch.s_2, ch.s_3, s_4), 1)}
    assert sp.expand(answer.subs(sums) - sp.prod(x)) == 0
