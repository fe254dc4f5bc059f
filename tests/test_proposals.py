"""Two stages' bookkeeping: corrections are undone, every object is somebody's, answers name what they overlap."""

import pytest
import torch
from torch.testing import assert_close

from utils import boxes, detections, proposals
from utils.scenes import SIDE, scattered_digits

SQUARES = proposals.squares(12, 4, 16.0)


@pytest.fixture(scope="module")
def truths():
    return scattered_digits().truth_test


def some(*shape, seed=0):
    first, size = torch.rand(2, *shape, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.cat([20 * first, 20 * first + 4 + 20 * size], -1)


def test_a_correction_is_undone():
    start, goal = some(50), some(50, seed=1)
    assert_close(proposals.corrected(start, proposals.correction(start, goal), SIDE), goal)
    assert_close(proposals.correction(start, start), torch.zeros_like(start))


def test_a_correction_is_that_of_the_paper():
    move = proposals.correction(torch.tensor([0.0, 0, 10, 20]), torch.tensor([5.0, 0, 15, 40]))
    assert_close(move, torch.tensor([0.5, 0.5, 0.0, torch.log(torch.tensor(2.0))]))


def test_padding_keeps_boxes_and_labels(truths):
    padded, labels, count = proposals.padded(truths)
    for i, (own, names) in enumerate(truths):
        assert_close(padded[i, : count[i]], own)
        assert labels[i, : count[i]].equal(names)
        assert not padded[i, count[i] :].any()


def test_squares_lie_around_their_cells_row_by_row():
    assert_close(boxes.centred(SQUARES[13]), torch.tensor([6.0, 6.0, 16.0, 16.0]))
    assert_close(boxes.centred(SQUARES[1]), torch.tensor([6.0, 2.0, 16.0, 16.0]))


def test_squares_near_an_object_are_told_its_box_and_every_object_has_one(truths):
    padded, _, count = proposals.padded(truths)
    near, aim = proposals.first_stage(SQUARES, padded, count)
    found, cells = proposals.corrected(SQUARES, aim, SIDE), boxes.centred(SQUARES)[:, :2]
    for i, (own, _) in enumerate(truths):
        overlap = boxes.iou(found[i][near[i]][:, None], own)
        assert overlap.amax(1).min() > 0.999
        assert overlap.amax(0).min() > 0.999
        middle = boxes.centred(own)
        inner = ((cells[:, None] - middle[:, :2]).abs() < middle[:, 2:] / 4 - 1e-3).all(-1).any(1)
        assert near[i][inner].all()
        assert int(near[i].sum()) <= int(
            ((cells[:, None] - middle[:, :2]).abs() <= middle[:, 2:] / 4 + 4).all(-1).sum()
        )


def test_regions_are_the_best_in_order_and_no_points():
    found = torch.randn(3, 144, 5, generator=torch.Generator().manual_seed(0))
    regions = proposals.regions(SQUARES, found, 10, SIDE)
    assert ((regions[..., 2:] - regions[..., :2]) >= 2 - 1e-5).all()
    assert ((regions >= 0) & (regions <= SIDE)).all()
    still = found * torch.tensor([1.0, 0, 0, 0, 0])
    best = found[..., 0].argsort(dim=1, descending=True)[:, :10]
    assert_close(proposals.regions(SQUARES, still, 10, SIDE), SQUARES[best].clamp(0, SIDE))


def test_regions_are_judged_by_their_overlap_and_jitter_gives_good_and_bad_ones(truths):
    padded, labels, count = proposals.padded(truths)
    torch.manual_seed(0)
    found = proposals.jittered(padded, count, 8, SIDE)
    answer, own, overlap = proposals.judged(found, padded, labels, 0.6, 10)
    assert_close(boxes.iou(found, own), overlap)
    assert ((answer < 10) == (overlap >= 0.6)).all()
    assert 0.55 < (overlap >= 0.6).double().mean() < 0.75
    assert_close(proposals.jittered(padded, count, 8, SIDE, amount=0.0)[0, 0], padded[0, 0])


def test_answers_that_know_the_truth_score_one(truths):
    padded, labels, count = proposals.padded(truths)
    there = torch.arange(padded.shape[1]) < count[:, None]
    scores = 20 * torch.nn.functional.one_hot(torch.where(there, labels, 10), 11)
    start = padded.where(there[..., None], torch.tensor([0.0, 0, 4, 4]))
    found = proposals.answers(start, torch.cat([scores, torch.zeros(*scores.shape[:2], 4)], -1), SIDE)
    assert detections.mean_average_precision(found, truths, (0.95,)) == pytest.approx(1)
    wrong = proposals.answers(start, torch.cat([scores.roll(1, -1), torch.zeros(*scores.shape[:2], 4)], -1), SIDE)
    assert detections.mean_average_precision(wrong, truths) < 0.01
