"""The chapter on YOLO against Darknet's layer written as loops, enumeration, k-means and its own mistakes."""

import inspect
import itertools
import math

import numpy as np
import pytest
import sympy as sp
import torch
from scipy.optimize import minimize_scalar
from sklearn.cluster import KMeans
from torch.testing import assert_close

from tests.chapter import load
from utils import boxes, detections, learning_curves, scenes, training
from utils.bridge import to_torch
from utils.derive import Derivation, StepError

SLOPES = ("x", "x_true", "r", "r_true", "c_1", "c_2", "q", "q_true", "u")


@pytest.fixture(scope="module")
def ch():
    return load("detection/yolo")


@pytest.fixture
def cells(ch):
    """Random answers near the truth of 30 pictures, so that each cell with an object has a predictor that overlaps."""
    training.seed(1)
    target = ch.encode(*ch.padded(scenes.scattered_digits().truth_test[:30])).double()
    out = 0.3 * torch.randn(30, ch.S, ch.S, 5 * ch.B + ch.C, dtype=torch.float64)
    out[..., :4] += target[..., :4]
    out[..., 5:9] += target[..., :4]
    return out, target


def overlap(first, second):
    """IoU of boxes (centre x, centre y, width, height), in scalars."""
    sides = []
    for k in (0, 1):
        low = max(first[k] - first[k + 2] / 2, second[k] - second[k + 2] / 2)
        high = min(first[k] + first[k + 2] / 2, second[k] + second[k + 2] / 2)
        sides.append(max(high - low, 0))
    shared = sides[0] * sides[1]
    return shared / (first[2] * first[3] + second[2] * second[3] - shared)


def pull(said, true):
    """What Darknet adds to the 20 numbers of a cell: a weight times target less output."""
    delta = [0.0] * 20
    for j in (0, 1):
        delta[5 * j + 4] = 0.5 * (0 - said[5 * j + 4])
    if not true[4]:
        return delta
    drawn = [(said[5 * j] / 6, said[5 * j + 1] / 6, said[5 * j + 2] ** 2, said[5 * j + 3] ** 2) for j in (0, 1)]
    u = [overlap(box, (true[0] / 6, true[1] / 6, true[2] ** 2, true[3] ** 2)) for box in drawn]
    assert max(u) > 0
    j = u.index(max(u))
    delta[5 * j + 4] = u[j] - said[5 * j + 4]
    for k in range(4):
        delta[5 * j + k] = 5 * (true[k] - said[5 * j + k])
    for k in range(10):
        delta[10 + k] = true[5 + k] - said[10 + k]
    return delta


def test_the_slope_of_the_loss_is_minus_twice_darknets_step(ch, cells):
    out, target = cells
    leaf = out.clone().requires_grad_()
    (slope,) = torch.autograd.grad(ch.losses(leaf, target).sum() * len(out), leaf)
    pairs = zip(out.flatten(0, 2).tolist(), target.flatten(0, 2).tolist(), strict=True)
    steps = torch.tensor([pull(said, true) for said, true in pairs], dtype=torch.float64)
    assert_close(slope.flatten(0, 2), -2 * steps)


@pytest.mark.parametrize("winner", [0, 1])
def test_the_slopes_are_the_derived_ones_whoever_is_responsible(ch, cells, winner):
    out, target = cells
    leaf = out.clone().requires_grad_()
    (slope,) = torch.autograd.grad(ch.losses(leaf, target).sum() * len(out), leaf)
    holds = target[..., 4] == 1
    said, truth, ours = out[holds], target[holds], slope[holds]
    u, best = boxes.iou(ch.place(said[:, :10].unflatten(1, (2, 5))[..., :4]), ch.place(truth[:, None, :4])).max(-1)
    said, truth, ours, u = (part[best == winner] for part in (said, truth, ours, u))
    assert len(said) > 5
    first, other = 5 * winner, 5 - 5 * winner
    exact = to_torch(ch.slopes.expr, [getattr(ch, name) for name in SLOPES])
    for i, j, k in itertools.product((0, 1), (2, 3), range(10)):
        values = (said[:, first + i], truth[:, i], said[:, first + j], truth[:, j], said[:, first + 4])
        found = exact(*values, said[:, other + 4], said[:, 10 + k], truth[:, 5 + k], u)
        places = [first + i, first + j, first + 4, other + 4, 10 + k]
        assert_close(ours[:, places], found.reshape(-1, 5))
    assert not ours[:, other : other + 4].any()


def test_no_slope_reaches_a_box_through_the_confidence(ch, cells):
    out, target = cells
    leaf = out.clone().requires_grad_()
    (slope,) = torch.autograd.grad(ch.losses(leaf, target)[1], leaf)
    assert slope[..., [4, 9]].any()
    assert not slope[..., [0, 1, 2, 3, 5, 6, 7, 8]].any()
    text = inspect.getsource(ch.losses).replace(".detach()", "")
    exec(text, attached := dict(vars(ch)))
    (slope,) = torch.autograd.grad(attached["losses"](leaf, target)[1], leaf)
    assert slope[..., [0, 1, 2, 3, 5, 6, 7, 8]].any()


def test_predictors_may_change_places(ch, cells):
    out, target = cells
    swapped = torch.cat([out[..., 5:10], out[..., :5], out[..., 10:]], -1)
    assert_close(ch.losses(swapped, target), ch.losses(out, target))


def test_the_truth_as_an_answer_costs_nothing_and_is_judged_perfect(ch):
    truths = scenes.scattered_digits().truth_test
    target = ch.encode(*ch.padded(truths))
    out = torch.zeros(len(target), ch.S, ch.S, 20)
    out[..., :5], out[..., 10:] = target[..., :5], target[..., 5:]
    assert_close(ch.losses(out, target), torch.zeros(4), atol=1e-9, rtol=0)
    assert detections.coco([*ch.detect(out)], truths) == {"AP": 1.0, "AP50": 1.0, "AP75": 1.0}


def test_a_target_is_what_a_loop_over_objects_writes(ch):
    truths = scenes.scattered_digits().truth_train[:50]
    expected = np.zeros((50, 6, 6, 15))
    for picture, (b, labels) in enumerate(truths):
        for (x1, y1, x2, y2), label in zip(b.tolist(), labels.tolist(), strict=True):
            across, row = math.modf((y1 + y2) / 2 / 8)
            along, column = math.modf((x1 + x2) / 2 / 8)
            cell = expected[picture, int(row), int(column)]
            cell[:5] = along, across, math.sqrt((x2 - x1) / 48), math.sqrt((y2 - y1) / 48), 1
            cell[5 + label] = 1
    assert_close(ch.encode(*ch.padded(truths)).double(), torch.from_numpy(expected), atol=1e-6, rtol=0)


def test_an_object_whose_centre_left_the_picture_is_not_asked_for(ch):
    b, labels = ch.padded(scenes.scattered_digits().truth_test[:20])
    assert not ch.encode(b + 48, labels).any()
    assert not ch.encode(b - 48, labels).any()


def test_two_boxes_shifted_by_a_cell_keep_their_overlap(ch):
    training.seed(0)
    a, b = torch.rand(2, 500, 4, dtype=torch.float64)
    cell = torch.tensor([3.0, 2.0])
    assert_close(boxes.iou(ch.place(a), ch.place(b)), boxes.iou(ch.place(a, cell), ch.place(b, cell)))


@pytest.mark.parametrize(("cells", "throws"), [(2, 3), (4, 3), (9, 3), (4, 5)])
def test_the_occupied_cells_are_those_of_all_throws(ch, cells, throws):
    every = list(itertools.product(range(cells), repeat=throws))
    mean = sp.Rational(sum(len(set(throw)) for throw in every), len(every))
    assert ch.occupied(sp.Integer(throws)).subs(ch.G, cells) == mean


@pytest.mark.parametrize(("p", "u", "weight"), [(0.5, 0.8, 0.5), (0.02, 0.6, 0.5), (0.3, 0.9, 1.0), (0.9, 0.4, 0.1)])
def test_the_confidence_is_where_a_minimiser_finds_it(ch, p, u, weight):
    found = minimize_scalar(lambda c: p * (c - u) ** 2 + weight * (1 - p) * c**2, tol=1e-12).x
    assert float(ch.answer.subs({ch.p: p, ch.u: u, ch.weight: weight})) == pytest.approx(found, abs=1e-6)


def test_rivals_spread_as_k_means_does():
    spread = np.linspace(-1, 1, 20_001)[:, None]
    fit = KMeans(2, n_init=1, random_state=0, tol=1e-12).fit(spread)
    assert sorted(fit.cluster_centers_[:, 0]) == pytest.approx([-0.5, 0.5], abs=1e-3)
    assert fit.inertia_ / len(spread) == pytest.approx(1 / 12, abs=1e-4)
    assert ((spread - fit.cluster_centers_[0]) ** 2).mean() == pytest.approx(7 / 12, abs=1e-3)


def test_a_root_weighs_by_one_over_four_widths(ch):
    assert sp.limit(ch.rooted.expr / ch.d**2, ch.d, 0) == 1 / (4 * ch.w)
    shown = ch.power.expr.subs(ch.gamma, sp.Rational(1, 2))
    assert sp.simplify(shown - (ch.epsilon * ch.w) ** 2 / (4 * ch.w)) == 0


def test_every_edit_of_a_mistake_changes_the_code_once(ch):
    text = "\n".join(inspect.getsource(part) for part in (ch.encode, ch.place, ch.losses))
    assert len(ch.MISTAKES) == 8
    assert ch.tried in ch.MISTAKES
    for old, new in itertools.chain(*ch.MISTAKES.values()):
        assert text.count(old) == 1, old
        compile(text.replace(old, new), "mistake", "exec")


def test_thirteen_is_the_weight_of_a_logarithm_over_that_of_a_root(ch):
    b = torch.cat([b for b, _ in scenes.scattered_digits().truth_train])
    assert round((4 / (boxes.centred(b)[:, 2:] / 48)).mean().item()) == 13 == round(3.6**2)
    ratio = sp.diff(sp.log(ch.w), ch.w) ** 2 / sp.diff(sp.sqrt(ch.w), ch.w) ** 2
    assert sp.simplify(ratio - 4 / ch.w) == 0


def slope_of_box_term(ch, name, out, target):
    text = "\n".join(inspect.getsource(part) for part in (ch.encode, ch.place, ch.losses))
    for old, new in ch.MISTAKES[name]:
        text = text.replace(old, new)
    exec(text, edited := dict(vars(ch)))
    leaf = out.clone().requires_grad_()
    (slope,) = torch.autograd.grad(edited["losses"](leaf, target)[0], leaf)
    return slope


def test_the_heavier_sizes_change_no_other_slope(ch, cells):
    heavy, plain = (slope_of_box_term(ch, name, *cells) for name in ("weight times 13", "none"))
    weights = torch.ones(20, dtype=torch.float64)
    weights[[2, 3, 7, 8]] = 13
    assert plain.any()
    assert_close(heavy, weights * plain)


def test_the_stored_curves_have_a_column_for_every_edit(ch):
    for predictor in ("better", "confident"):
        curves = learning_curves.load(f"yolo_{predictor}")
        assert curves.returns.shape == (5, len(ch.MISTAKES))
        assert ((curves.returns > 0.5) & (curves.returns < 0.85)).all()
    assert (learning_curves.load("yolo_better").returns >= curves.returns).all()


def test_pictures_and_boxes_are_shifted_alike(ch, monkeypatch):
    seen = []
    x, b = torch.zeros(1, 1, 48, 48), torch.tensor([[[20.0, 15.0, 30.0, 22.0]]])
    x[0, 0, 15:22, 20:30] = 1

    def train(model, loss, *data, steps, **settings):
        for _ in range(20):
            loss(x, b, torch.tensor([[3]]))

    monkeypatch.setattr(ch.training, "train", train)
    monkeypatch.setattr(ch, "yolo", torch.nn.Identity)
    ch.trained(1, lambda moved, labels: moved, lambda out, moved: seen.append((out[0, ..., 0], moved[0, 0])) or out)
    assert len({tuple(moved.tolist()) for _, moved in seen}) > 10
    for out, moved in seen:
        rows, columns = (out.any(axis).nonzero()[:, 0] for axis in (1, 0))
        assert [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1] == moved.tolist()


def test_an_answer_sees_59_pixels(ch):
    training.seed(0)
    x = torch.rand(8, 1, 160, 160, requires_grad=True)
    (slope,) = torch.autograd.grad(ch.yolo().eval()(x)[:, :, 10, 10].square().sum(), x)
    seen = slope.abs().sum((0, 1))
    assert [len(seen.any(axis).nonzero()) for axis in (0, 1)] == [59, 59]


def test_the_confidence_stays_below_the_overlap(ch):
    gap = sp.together(ch.u - ch.published.expr)
    assert sp.simplify(gap - ch.u * (1 - ch.p) / (1 + ch.p)) == 0


def test_overlap_knows_only_the_relative_error_of_a_size(ch):
    w = torch.tensor([0.05, 0.2, 0.9], dtype=torch.float64)
    true = torch.stack([0 * w, 0 * w, w.sqrt(), w.sqrt()], -1)
    wrong = torch.stack([0 * w, 0 * w, (1.25 * w).sqrt(), w.sqrt()], -1)
    assert_close(boxes.iou(ch.place(true), ch.place(wrong)), torch.full((3,), 0.8, dtype=torch.float64))


def test_a_box_of_another_class_is_not_suppressed(ch):
    out = torch.zeros(1, 6, 6, 20)
    out[0, 2, 3, :5] = torch.tensor([1.0, 0.5, 0.5, 0.5, 0.9])
    out[0, 2, 4, :5] = torch.tensor([0.0, 0.5, 0.5, 0.5, 0.8])
    out[0, 2, 3, 17] = out[0, 2, 4, 13] = 1.0
    ((b, _, labels),) = ch.detect(out)
    assert_close(b[0], b[1])
    assert labels.tolist() == [7, 3]


def test_suppression_keeps_one_of_two_equal_answers_of_a_class(ch):
    out = torch.zeros(1, 6, 6, 20)
    out[0, 2, 3, :10] = torch.tensor([0.5, 0.5, 0.5, 0.5, 0.9, 0.5, 0.5, 0.5, 0.5, 0.6])
    out[0, 2, 3, 17] = 1.0
    ((b, scores, labels),) = ch.detect(out)
    assert_close(b, torch.tensor([[22.0, 14.0, 34.0, 26.0]]))
    assert scores.tolist() == pytest.approx([0.9])
    assert labels.tolist() == [7]


def test_the_papers_definition_of_confidence_is_not_the_optimum(ch):
    wrong = Derivation("The confidence", ch.published.expr, domain={ch.p: (0, 1), ch.u: (0, 1)})
    with pytest.raises(StepError, match="does not hold"):
        wrong.equals(ch.p * ch.u, because="so it is defined")


def test_every_step_is_proved(ch):
    found = {id(value): value for value in vars(ch).values() if isinstance(value, Derivation)}.values()
    assert len(found) == 9
    assert all(step.status == "proved" for derivation in found for step in derivation.steps)


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("late", lambda ch: 1 - sp.sqrt(ch.v / ch.w), lambda ch: 1 - sp.sqrt(ch.w / ch.v)),
        ("ratio", lambda ch: 4 * ch.w * ch.S_sym**2, lambda ch: 4 * ch.S_sym * ch.w),
        (
            "blurred",
            lambda ch: (ch.p * sp.sqrt(ch.w_1) + (1 - ch.p) * sp.sqrt(ch.w_2)) ** 2,
            lambda ch: ch.p * ch.w_1 + (1 - ch.p) * ch.w_2,
        ),
    ],
)
def test_exercises_accept_the_answer_and_refuse_another(ch, name, right, wrong):
    assert getattr(ch, name).check(right(ch))
    assert not getattr(ch, name).check(wrong(ch))
