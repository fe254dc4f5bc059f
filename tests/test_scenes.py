"""The scattered digits: exact boxes, disjoint digits, the same at every call."""

import pytest
import torch
from torch.testing import assert_close

from utils import data
from utils.boxes import iou
from utils.scenes import SIDE, judge, scatter, scattered_digits


@pytest.fixture(scope="module")
def scenes():
    return scattered_digits()


def test_the_set_has_its_sizes_and_grey_levels(scenes):
    assert scenes.x_train.shape == (1500, 1, SIDE, SIDE)
    assert scenes.x_test.shape == (300, 1, SIDE, SIDE)
    for x in (scenes.x_train, scenes.x_test):
        assert x.dtype == torch.float32
        assert x.min() == 0
        assert x.max() == 1
    counts = torch.tensor([len(labels) for _, labels in scenes.truth_train + scenes.truth_test])
    assert counts.bincount(minlength=4)[1:].min() > 300
    assert counts.max() == 3
    assert torch.cat([labels for _, labels in scenes.truth_test]).bincount(minlength=10).min() > 30


def test_boxes_lie_in_the_picture_are_as_large_as_said_and_hardly_overlap(scenes):
    for boxes, labels in scenes.truth_train:
        assert (boxes.dtype, labels.dtype) == (torch.float32, torch.int64)
        assert ((boxes >= 0) & (boxes <= SIDE)).all()
        sides = boxes[:, 2:] - boxes[:, :2]
        assert ((sides >= 2) & (sides <= 24)).all()
        assert (sides.amax(1) >= 9).all()
        assert iou(boxes[:, None], boxes).fill_diagonal_(0).max() <= 0.1


def test_a_box_holds_all_ink_and_touches_it_on_four_sides():
    digits = data.digits()
    for label in range(10):
        chosen = (digits.y_train == label).nonzero()[label]
        x, truth = scatter(digits.x_train[chosen], digits.y_train[chosen], 20, torch.Generator().manual_seed(label))
        for picture, (boxes, labels) in zip(x, truth, strict=True):
            assert (labels == label).all()
            if len(boxes) > 1:
                continue
            x1, y1, x2, y2 = boxes[0].int().tolist()
            inside = picture[0, y1:y2, x1:x2]
            outside = picture[0].clone()
            outside[y1:y2, x1:x2] = torch.nan
            assert (outside[~outside.isnan()] > 0.5).float().mean() < 0.02  # noise and faint edges alone
            assert inside.mean() > 0.25


def test_without_noise_the_box_is_the_inks(monkeypatch):
    monkeypatch.setattr("utils.scenes._NOISE", 0.0)
    digits = data.digits()
    x, truth = scatter(digits.x_test, digits.y_test, 60, torch.Generator().manual_seed(0))
    for picture, (boxes, _) in zip(x, truth, strict=True):
        if len(boxes) == 1:
            rows, columns = ((picture[0] > 0.2).any(axis).nonzero()[:, 0] for axis in (1, 0))
            expected = torch.stack([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]).float()
            assert_close(boxes[0], expected)


def test_the_set_is_made_of_training_and_of_test_digits_apart_by_one_seed(scenes):
    digits, generator = data.digits(), torch.Generator().manual_seed(0)
    for x, truth, half, names in (
        (scenes.x_train, scenes.truth_train, digits.x_train, digits.y_train),
        (scenes.x_test, scenes.truth_test, digits.x_test, digits.y_test),
    ):
        again, its_truth = scatter(half, names, len(x), generator)
        assert_close(again, x, rtol=0, atol=0)
        assert_close(its_truth, truth, rtol=0, atol=0)


def test_what_is_wrong_is_named():
    with pytest.raises(ValueError, match=r"scatter: expected digits \(N, 64\), .*got \(2, 8, 8\), \(2,\), 5"):
        scatter(torch.zeros(2, 8, 8), torch.zeros(2), 5, torch.Generator())


def test_the_truth_itself_scores_one_and_enters_the_board(scenes, monkeypatch):
    claimed = []
    monkeypatch.setattr("utils.scenes.claim", lambda name, value, **rest: claimed.append((name, value, rest)))
    perfect = [(boxes, torch.ones(len(boxes)), labels) for boxes, labels in scenes.truth_test]
    bounds = {"ap": (0.9, 1.1), "ap50": (0.8, 1.2), "ap75": (0.7, 1.3)}
    assert judge("the truth", perfect, twin="none", **bounds) == {"AP": 1, "AP50": 1, "AP75": 1}
    places = [rest["board"] for _, _, rest in claimed]
    assert places == [("scattered digits", "the truth", column) for column in ("AP", "AP50", "AP75")]
    assert [(rest["above"], rest["below"]) for _, _, rest in claimed] == [*bounds.values()]


def test_a_number_without_a_bound_is_refused():
    with pytest.raises(ValueError, match="one interval for each of ap, ap50, ap75"):
        judge("nobody", [], ap=(0, 1))
