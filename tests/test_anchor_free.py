"""CenterNet and FCOS against transformers, SciPy, scikit-image and brute force, and against the published mistakes."""

import numpy as np
import pytest
import sympy as sp
import torch
from scipy import integrate, ndimage, optimize
from skimage.feature import peak_local_max
from torch.testing import assert_close
from transformers.loss.loss_for_object_detection import sigmoid_focal_loss

from tests.chapter import derivations, load
from utils import boxes, detections, scenes
from utils.derive import Derivation, StepError


@pytest.fixture(scope="module")
def ch():
    return load("detection/anchor-free")


def maps(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_focal_loss_is_that_of_transformers_where_the_map_is_zero_or_one(ch):
    ell, Y = maps(3, 40), (maps(3, 40, seed=1) > 0).double()
    theirs = sigmoid_focal_loss(ell, Y, num_boxes=1, alpha=0.5, gamma=2)  # alpha halves both branches
    assert_close(ch.focal(ell, Y).mean(1).sum(), 2 * theirs)


def test_near_misses_are_forgiven_by_the_fourth_power(ch):
    ell, Y = maps(40), torch.rand(40, dtype=torch.float64) * 0.99
    assert_close(ch.focal(ell, Y), (1 - Y) ** 4 * ch.focal(ell, torch.zeros(40, dtype=torch.float64)))


@pytest.mark.parametrize("q", [1 / 720, 1e-4, 1e-6])
def test_the_best_constant_answer_is_the_cube_root_of_a_third_of_the_share(ch, q):
    def cost(ell):
        ell = torch.tensor([ell], dtype=torch.float64)
        return ((1 - q) * ch.focal(ell, 0 * ell) + q * ch.focal(ell, 0 * ell + 1)).item()

    found = optimize.minimize_scalar(cost, bounds=(-12, 0), method="bounded", options={"xatol": 1e-9}).x
    p = 1 / (1 + np.exp(-found))
    assert float(ch.odds.subs(ch.answer, p)) == pytest.approx(q / (1 - q), rel=1e-4)
    assert p == pytest.approx((q / 3) ** (1 / 3), rel=-p * np.log(p))  # the next order


@pytest.mark.parametrize("t", [0.3, 0.5, 0.7, 0.9])
def test_boxes_moved_by_their_radius_keep_the_iou_and_the_shrunk_one_is_the_strictest(ch, t):
    signs = {"shifted": (1, 1, 1, 1), "shrunk": (1, 1, -1, -1), "grown": (-1, -1, 1, 1)}
    for w, h in (1 + 30 * torch.rand(20, 2, dtype=torch.float64)).tolist():
        values = {ch.w: w, ch.h: h, ch.t: t}
        found = {name: float(radius.subs(values)) for name, radius in ch.radii.items()}
        box = torch.tensor([0, 0, w, h], dtype=torch.float64)
        for name, by in found.items():
            moved = box + by * torch.tensor(signs[name])
            assert boxes.iou(box, moved).item() == pytest.approx(t)
        assert min(found, key=found.get) == "shrunk"
        assert ch.allowed(*box[2:], torch.tensor(t).double()).item() == pytest.approx(found["shifted"])


def released_radii(ch):
    """As CornerNet's code had them before issue 37."""
    b = (ch.both, 2 * ch.both, -2 * ch.t * ch.both)
    a, c = (1, 4, 4 * ch.t), (ch.area * (1 - ch.t) / (1 + ch.t), ch.area * (1 - ch.t), -ch.area * (1 - ch.t))
    return [(b + sp.sqrt(b**2 - 4 * a * c)) / 2 for a, b, c in zip(a, b, c, strict=True)]


def test_a_centre_is_off_by_half_a_cell_at_the_widths_of_the_text(ch):
    for w, t in ((11, 0.5), (27, 0.75)):
        w, t = torch.tensor(w).double(), torch.tensor(t).double()
        assert ch.allowed(w, w, t) >= ch.s / 2 > ch.allowed(w - 1, w - 1, t)


@pytest.mark.parametrize("t", [0.1, 0.3, 0.7, 0.95])
def test_the_third_released_radius_is_the_one_that_is_used(ch, t):
    for w, h in (1 + 30 * torch.rand(20, 2, dtype=torch.float64)).tolist():
        released = [float(root.subs({ch.w: w, ch.h: h, ch.t: t})) for root in released_radii(ch)]
        assert min(released) == released[2]


def test_targets_of_centres_decode_to_the_true_boxes(ch):
    truths, found = ch.pictures.truth_test, []
    for b, labels in truths:
        Y, offset, size, here = ch.centre_targets(b, labels).split([10, 2, 2, 1])
        assert Y.eq(1).sum() == here.sum() == len(b)
        found.append(ch.decode(Y, offset, size))
        kept = found[-1][1] == 1
        assert_close(sorted(found[-1][0][kept].tolist()), sorted(b.tolist()))
    assert detections.coco(found, truths)["AP"] > 0.99
    misplaced = [(b + torch.tensor([4.0, 0, 4, 0]), score, label) for b, score, label in found]
    assert detections.coco(misplaced, truths)["AP75"] < 0.2


def test_the_bell_is_normal_around_the_cell_and_as_wide_as_a_third_of_the_radius(ch):
    b = torch.tensor([[9.0, 5.0, 29.0, 37.0]])  # centre (19, 21): cell (4, 5)
    Y = ch.centre_targets(b, torch.tensor([3]))[3]
    sigma = ch.allowed(torch.tensor(5.0), torch.tensor(8.0), torch.tensor(0.3)).item() / 3
    expected = [[np.exp(-((i - 4) ** 2 + (j - 5) ** 2) / (2 * sigma**2)) for i in range(12)] for j in range(12)]
    assert_close(Y, torch.tensor(expected), check_dtype=False)


@pytest.mark.parametrize("seed", range(3))
def test_peaks_are_those_of_scipy_and_scikit_image(ch, seed):
    p = maps(1, 12, 12, seed=seed).sigmoid().expand(10, 12, 12) * torch.arange(10).eq(2)[:, None, None]
    _, score, label = ch.decode(p, torch.zeros(2, 12, 12), torch.ones(2, 12, 12))
    score = score[score > 0]
    peak = ndimage.maximum_filter(p[2].numpy(), size=3, mode="constant", cval=-1) == p[2].numpy()
    assert (label[: len(score)] == 2).all()
    assert_close(score, torch.from_numpy(np.sort(p[2].numpy()[peak])[::-1][:10].copy()))
    assert len(peak_local_max(p[2].numpy(), min_distance=1, exclude_border=False)) == peak.sum()


def test_without_pooling_a_peak_brings_its_neighbours(ch):
    Y, offset, size, _ = ch.centre_targets(*ch.pictures.truth_test[0]).split([10, 2, 2, 1])
    Y = Y.clamp(max=0.999)
    assert (ch.decode(Y, offset, size, False)[1] > 0.01).sum() > (ch.decode(Y, offset, size)[1] > 0.01).sum()


def test_targets_of_sides_decode_to_the_true_boxes_and_the_smaller_box_owns_a_shared_pixel(ch):
    truths = ch.pictures.truth_test
    found = []
    for b, labels in truths:
        Y, d, here = ch.side_targets(b, labels).split([10, 4, 1])
        assert_close(Y.sum(0), here[0])
        found.append(ch.decode_sides(Y * ch.centreness(d), d))
    assert detections.coco(found, truths)["AP"] > 0.98
    nested = torch.tensor([[0.0, 0.0, 40.0, 40.0], [8.0, 8.0, 20.0, 20.0]])
    Y = ch.side_targets(nested, torch.tensor([1, 7]))[:10]
    assert Y[7].sum() == 9
    assert Y[1].sum() == 91


def test_iou_of_sides_is_the_iou_of_boxes(ch):
    d, e = (maps(50, 4, 1, 1, seed=seed).exp() for seed in (0, 1))
    as_boxes = [torch.cat([-x[:, :2], x[:, 2:]], 1).flatten(1) for x in (d, e)]
    assert_close(ch.side_iou(d, e).flatten(), boxes.iou(*as_boxes))


def test_centreness_is_one_in_the_middle_and_its_mean_and_entropy_are_those_of_quadrature(ch):
    assert_close(ch.centreness(torch.tensor([3.0, 5, 3, 5])[:, None, None]), torch.ones(1, 1))
    assert_close(ch.centreness(torch.tensor([1.0, 2, 3, 2])[:, None, None]), torch.full((1, 1), 3**-0.5))

    def kappa(x, y):
        return np.sqrt(x / (1 - x) * y / (1 - y))

    def entropy(x, y):
        k = kappa(x, y)
        return -k * np.log(k) - (1 - k) * np.log1p(-k)

    mean, floor = (4 * integrate.dblquad(f, 0, 0.5, 0, 0.5, epsabs=1e-6)[0] for f in (kappa, entropy))
    assert mean == pytest.approx(float(ch.central.expr) ** 2, abs=1e-5)
    assert floor == pytest.approx(0.527, abs=5e-4)


def test_four_places_in_five_have_a_centreness_below_a_half(ch):
    even = torch.arange(0.0005, 1, 0.001).double().expand(1000, 1000)
    kappa = ch.centreness(torch.stack([even, even.T, 1 - even, 1 - even.T]))
    assert (kappa < 0.5).double().mean().item() == pytest.approx(0.8, abs=0.02)


def test_a_cell_sees_51_pixels(ch):
    torch.manual_seed(0)
    x = torch.rand(1, 1, 96, 96).requires_grad_()
    cell = ch.detector(14).eval()(x)[0, :, 12, 12].sum()
    seen = torch.autograd.grad(cell, x)[0][0, 0].ne(0).any(0).nonzero()
    assert seen.max() - seen.min() + 1 == 51


def test_errors_of_offset_and_size_cost_their_weight_per_object_and_nothing_elsewhere(ch):
    b = torch.tensor([[9.0, 5.0, 29.0, 37.0], [30.0, 2.0, 44.0, 20.0]])
    targets = ch.centre_targets(b, torch.tensor([3, 5]))[None]
    right = torch.cat([torch.zeros(1, 10, 12, 12), targets[:, 10:14] + 7 * (1 - targets[:, 14:])], 1)
    base = ch.focal(right[:, :10], targets[:, :10]).sum() / 2
    assert_close(ch.centre_loss(right, targets), base)
    wrong = right + torch.tensor([0.0] * 10 + [0.5, 0, 0, 2])[:, None, None]
    assert_close(ch.centre_loss(wrong, targets), base + 0.5 + 0.1 * 2)


def test_the_loss_of_fcos_is_twice_the_focal_one_minus_log_iou_and_an_entropy(ch):
    b = torch.tensor([[9.0, 5.0, 29.0, 37.0]])
    targets = ch.side_targets(b, torch.tensor([3]))[None]
    d, here = targets[:, 10:14], targets[0, 14] > 0
    kappa = ch.centreness(d)[:, None].clamp(max=1 - 1e-6)
    maps_ = torch.cat([torch.zeros(1, 10, 12, 12), (d / 4).log(), kappa.logit()], 1)
    k = kappa[0, 0][here]
    entropy = -(k * k.log() + (1 - k) * (1 - k).log()).mean()
    expected = 2 * ch.focal(maps_[:, :10], targets[:, :10]).sum() / here.sum() + entropy
    assert_close(ch.side_loss(maps_, targets), expected)
    half = maps_ + torch.tensor([0.0] * 10 + [-np.log(2)] * 4 + [0])[:, None, None]
    assert_close(ch.side_loss(half, targets), expected + np.log(4), check_dtype=False)


@pytest.mark.parametrize(("loss", "count"), [("centre", 14), ("side", 15)])
def test_a_few_steps_lower_the_loss_and_every_parameter_learns(ch, loss, count):
    torch.manual_seed(0)
    model, of = ch.detector(count), {"centre": ch.centre_loss, "side": ch.side_loss}[loss]
    encode = {"centre": ch.centre_targets, "side": ch.side_targets}[loss]
    x, targets = ch.pictures.x_train[:16], torch.stack([encode(*truth) for truth in ch.pictures.truth_train[:16]])
    optimizer, values = torch.optim.Adam(model.parameters(), 3e-3), []
    for _ in range(5):
        optimizer.zero_grad()
        values.append(of(model(x), targets))
        values[-1].backward()
        optimizer.step()
    assert values[-1] < 0.8 * values[0]
    assert all(p.grad.abs().sum() > 0 for p in model.parameters())


def test_the_first_answer_of_a_new_detector_is_the_start(ch):
    torch.manual_seed(0)
    p = ch.detector(14, start=0.1).eval()(ch.pictures.x_test[:50])[:, :10].sigmoid()
    assert 0.06 < p.mean() < 0.16


@pytest.mark.parametrize("name", ["shifted", "shrunk", "grown"])
def test_the_other_root_is_refuted(ch, name):
    other = {"shifted": ch.both - ch.radii["shifted"], "shrunk": ch.both / 2 - ch.radii["shrunk"]}
    root = other.get(name, 4 * ch.t * ch.radii["grown"])
    made = ch.made[list(ch.radii).index(name)]
    right = Derivation("right", made, where={ch.r: ch.radii[name]}, domain={ch.t: (0, 1)})
    assert right.equals(ch.t, because="a root").steps[-1].status == "proved"
    wrong = Derivation("wrong", made, where={ch.r: root}, domain={ch.t: (0, 1)})
    if name == "grown":
        with pytest.raises(StepError):
            wrong.equals(ch.t, because="no division by a")
    else:  # also a root, but of a box turned inside out: at 10 by 10 it is wider than the box
        assert float(root.subs({ch.w: 10, ch.h: 10, ch.t: 0.7})) > {"shifted": 10, "shrunk": 5}[name]


def test_every_step_is_proved(ch):
    status = [step.status for derivation in derivations(ch) for step in derivation.steps]
    assert len(status) >= 9
    assert set(status) == {"proved"}


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("exponent", lambda ch: (ch.q / (1 + ch.n)) ** (1 / (1 + ch.n)), lambda ch: ch.q ** (1 / (1 + ch.n))),
        ("trusted", lambda ch: 1 - 2 * ch.k**2 / (1 + ch.k**2), lambda ch: 1 - ch.k),
        ("diagonal", lambda ch: 3 + sp.sqrt(6), lambda ch: 3),
    ],
)
def test_exercises_accept_the_answer_and_refuse_another(ch, name, right, wrong):
    assert getattr(ch, name).check(right(ch))
    assert not getattr(ch, name).check(wrong(ch))


def test_neighbours_on_the_diagonal_merge_from_the_side_of_the_exercise_on(ch):
    def merged(side):
        b = torch.tensor([[0.0, 0, side, side], [1, 1, side + 1, side + 1]], dtype=torch.float64)
        return len(boxes.nms(b, torch.tensor([0.9, 0.8]), 0.5)) == 1

    border = float(3 + sp.sqrt(6))
    assert merged(border * 1.001)
    assert not merged(border * 0.999)


def test_the_pictures_are_the_books(ch):
    assert ch.pictures is scenes.scattered_digits()
    assert ch.side * ch.s == scenes.SIDE
