"""The chapter on boxes against pycocotools, onnxruntime through utils, enumeration and its own published mistakes."""

import itertools

import numpy as np
import pytest
import sympy as sp
import torch
from pycocotools import mask
from sklearn.metrics import average_precision_score
from torch.testing import assert_close

from tests.chapter import derivations, load
from utils import boxes, detections
from utils.derive import Derivation, StepError


@pytest.fixture(scope="module")
def ch():
    return load("detection/boxes")


def some(count, seed=0):
    first, size = torch.rand(2, count, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.cat([20 * first, 20 * first + 1 + 10 * size], -1)


def ranking(seed, count=40):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, generator=generator), torch.rand(count, generator=generator) < 0.4


def test_overlap_is_that_of_pycocotools_and_the_later_chapters(ch):
    b, c = some(60, 1), some(50, 2)
    sides = [torch.cat([x[:, :2], x[:, 2:] - x[:, :2]], -1).numpy() for x in (b, c)]
    expected = torch.from_numpy(mask.iou(*sides, np.zeros(50, dtype=np.uint8)))
    assert_close(ch.iou(b[:, None], c), expected, atol=1e-9, rtol=0)
    assert_close(ch.iou(b[:, None], c), boxes.iou(b[:, None], c))
    assert_close(ch.giou(b[:, None], c), boxes.giou(b[:, None], c))


@pytest.mark.parametrize(("measure", "symbolic"), [("iou", "iou_of"), ("giou", "giou_of")])
def test_symbols_and_tensors_agree_at_exact_points(ch, measure, symbolic):
    whole = (some(30).round(), some(30, 1).round())
    exact = [
        float(getattr(ch, symbolic)(*(tuple(map(sp.Integer, box)) for box in pair)))
        for pair in zip(*(x.int().tolist() for x in whole), strict=True)
    ]
    assert_close(getattr(ch, measure)(*whole), torch.tensor(exact, dtype=torch.float64))


@pytest.mark.parametrize("threshold", [0.1, 0.5])
def test_suppression_matching_and_precision_are_those_of_the_later_chapters(ch, threshold):
    b, truth, scores = some(80), some(25, 3), torch.rand(80, generator=torch.Generator().manual_seed(0))
    assert ch.nms(b, scores, threshold).equal(boxes.nms(b, scores, threshold))
    hit = ch.match(b, scores, truth, threshold)
    assert hit.equal(detections.match(b, scores, truth, threshold) >= 0)
    for points, rule in ((None, "all-point"), (11, "11-point"), (101, "101-point")):
        ours = ch.average_precision(scores, hit, 25, points).item()
        assert ours == pytest.approx(detections.average_precision(scores, hit, 25, rule), abs=1e-12)


def test_greedy_suppression_repeated_changes_nothing_in_every_order_of_five(ch):
    b = some(5, 4) * torch.tensor([0.3, 0.3, 1.0, 1.0])
    for order in itertools.permutations(range(5)):
        scores = torch.tensor(order).float()
        kept = ch.nms(b, scores, 0.2)
        assert ch.nms(b[kept], scores[kept], 0.2).tolist() == list(range(len(kept)))


def test_two_good_answers_overlap_each_other(ch):
    truth, b, c = some(1), some(20_000, 5), some(20_000, 6)
    b, c = truth + (b - truth) * 0.15, truth + (c - truth) * 0.15
    t = torch.minimum(ch.iou(b, truth), ch.iou(c, truth))
    assert (ch.iou(b, c) >= 2 * t - 1 - 1e-12).all()
    assert (ch.iou(b, c) < 2 * t - 0.6).any()


def test_the_allowed_shift_is_the_largest(ch):
    box = torch.tensor([0.0, 0.0, 20.0, 20.0], dtype=torch.float64)
    for t in (0.5, 0.75, 0.95):
        shift = float(ch.allowed.subs({ch.w: 20, ch.t: t}))
        assert ch.iou(box, box + shift).item() == pytest.approx(t, abs=1e-12)
        assert ch.iou(box, box + 1.01 * shift) < t


@pytest.mark.parametrize("seed", range(3))
def test_the_area_is_scikit_learns_where_precision_only_falls_and_nothing_is_missed(ch, seed):
    scores, hit = ranking(seed)
    ours = ch.average_precision(scores, hit, int(hit.sum()))
    assert ours >= average_precision_score(hit, scores) - 1e-12  # the best precision from a recall on is no less
    falling = scores, scores > scores.median()
    assert ch.average_precision(*falling, 20) == pytest.approx(average_precision_score(falling[1], scores), abs=1e-9)


@pytest.mark.parametrize(("points", "bound"), [(11, 0.1), (101, 0.01)])
def test_rules_differ_by_at_most_one_over_their_intervals_and_nearly_so_much(ch, points, bound):
    for seed in range(10):
        scores, hit = ranking(seed)
        rules = [ch.average_precision(scores, hit, 30, p) for p in (None, points)]
        assert abs(rules[1] - rules[0]) <= bound
    one = torch.ones(1), torch.ones(1).bool()
    assert ch.average_precision(*one, 10**6, points) == pytest.approx(1 / points)


def test_a_pixel_too_many_is_refuted(ch):
    def plus(b):
        return b[0], b[1], b[2] + 1, b[3] + 1

    def moved(k):
        return tuple(k * x for x in (ch.delta, ch.delta, ch.delta + ch.w, ch.delta + ch.w))

    small, large = (ch.iou_of(plus((0, 0, k * ch.w, k * ch.w)), plus(moved(k))) for k in (1, 2))
    with pytest.raises(StepError, match="does not hold"):
        Derivation("Enlarged", large).equals(small, because="only ratios count, it is said")
    right = (ch.iou_of((0, 0, k * ch.w, k * ch.w), moved(k)) for k in (2, 1))
    assert Derivation("Enlarged", next(right)).equals(next(right), because="only ratios count").steps


def test_every_step_is_proved(ch):
    status = [step.status for derivation in derivations(ch) for step in derivation.steps]
    assert status.count("proved") >= 10
    assert set(status) == {"proved"}


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("diagonal", lambda ch: 2 / (ch.g + 2) ** 2 - 1, lambda ch: -ch.g / (2 + ch.g)),
        ("along", lambda ch: ch.w * (1 - ch.t) / (1 + ch.t), lambda ch: ch.allowed),
        ("doubled", lambda ch: sp.Rational(34, 45), lambda ch: sp.Rational(1, 2)),
    ],
)
def test_exercises_accept_the_answer_and_refuse_another(ch, name, right, wrong):
    assert getattr(ch, name).check(right(ch))
    assert not getattr(ch, name).check(wrong(ch))


def test_the_list_of_the_last_exercise_is_what_a_doubled_detector_gives(ch):
    truth = some(3) + torch.tensor([[0.0], [100.0], [200.0]])
    scores = torch.arange(6, 0, -1).float()
    doubled = truth.repeat_interleave(2, 0)
    hit = ch.match(doubled, scores, truth, 0.5)
    assert ch.average_precision(scores, hit, 3).item() == pytest.approx(34 / 45)
