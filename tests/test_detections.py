"""Matching and average precision against pycocotools on random detections, and on lists worked by hand."""

import contextlib
import io

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from sklearn.metrics import average_precision_score
from torch.testing import assert_close

from utils.boxes import iou
from utils.detections import (
    RULES,
    THRESHOLDS,
    average_precision,
    coco,
    match,
    mean_average_precision,
    precision_recall,
    recall,
)


def some(count, generator, spread=60.0):
    first, size = torch.rand(2, count, 2, generator=generator, dtype=torch.float64)
    return torch.cat([spread * first, spread * first + 4 + 50 * size**2], -1)


def pictures(generator, images=20, classes=3):
    """Random truths, and detections of which about half are jittered truths, some twice."""
    detections, truths = [], []
    for image in range(images):
        boxes = some(int(torch.randint(0, 6, (), generator=generator)), generator)
        names = torch.randint(0, classes, (len(boxes),), generator=generator)
        noise = 0.08 * torch.randn(2 * len(boxes), 2, generator=generator).repeat(1, 2)
        size = (boxes[:, 2:] - boxes[:, :2]).repeat(2, 2)
        found = torch.cat([boxes.repeat(2, 1) + noise * size, some(image % 4, generator)])
        labels = torch.cat([names, names, torch.randint(0, classes, (image % 4,), generator=generator)])
        scores = torch.rand(len(found), generator=generator).mul(20).round() / 20  # with ties
        detections.append((found, scores, labels))
        truths.append((boxes, names))
    return detections, truths


def cocos(detections, truths, sides=None, most=100):
    """pycocotools' AP, AP50 and AP75 of the same lists."""

    def rows(lists, *extra):
        made = []
        for image, (boxes, *rest, labels) in enumerate(lists):
            for i, (x1, y1, x2, y2) in enumerate(boxes.tolist()):
                row = {"image_id": image, "category_id": int(labels[i]), "bbox": [x1, y1, x2 - x1, y2 - y1]}
                row |= {"id": len(made) + 1, "iscrowd": 0, "area": (x2 - x1) * (y2 - y1)}
                made.append(row | {name: float(value[i]) for name, value in zip(extra, rest, strict=True)})
        return made

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        classes = sorted({int(c) for _, labels in truths for c in labels})
        truth.dataset = {
            "images": [{"id": i} for i in range(len(truths))],
            "categories": [{"id": c} for c in classes],
            "annotations": rows(truths),
            "info": {},
        }
        truth.createIndex()
        found = [row for row in rows(detections, "score") if row["category_id"] in classes]
        judged = COCOeval(truth, truth.loadRes(found), "bbox")
        judged.params.maxDets = [most]
        judged.params.areaRng = [[side**2 for side in sides or (0, 1e5)]]
        judged.params.areaRngLbl = ["all"]
        judged.evaluate()
        judged.accumulate()
    precision = judged.eval["precision"][:, :, :, 0, 0]  # (thresholds, recalls, classes)
    mean = lambda part: part[part > -1].mean()  # noqa: E731
    return {"AP": mean(precision), "AP50": mean(precision[0]), "AP75": mean(precision[5])}


@pytest.mark.parametrize("seed", range(5))
def test_average_precision_is_that_of_pycocotools(seed):
    detections, truths = pictures(torch.Generator().manual_seed(seed))
    ours, theirs = coco(detections, truths), cocos(detections, truths)
    assert ours == pytest.approx(theirs, abs=1e-9)
    assert 0.1 < ours["AP"] < ours["AP50"] < 0.9


@pytest.mark.parametrize("settings", [{"sides": (0.0, 12.0)}, {"sides": (12.0, 25.0)}, {"most": 2}])
def test_sizes_and_the_largest_number_of_answers_are_those_of_pycocotools(settings):
    detections, truths = pictures(torch.Generator().manual_seed(7), images=40)
    ours = coco(detections, truths, **settings)
    assert ours == pytest.approx(cocos(detections, truths, **settings), abs=1e-9)
    assert ours != pytest.approx(coco(detections, truths), abs=1e-3)


def ranking(seed, count=60):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, generator=generator), torch.rand(count, generator=generator) < 0.4


@pytest.mark.parametrize("seed", range(5))
def test_rules_differ_by_at_most_one_over_their_intervals(seed):
    scores, hit = ranking(seed)
    values = {rule: average_precision(scores, hit, int(hit.sum()) + 7, rule) for rule in RULES}
    assert abs(values["11-point"] - values["all-point"]) <= 1 / 10
    assert abs(values["101-point"] - values["all-point"]) <= 1 / 100


def test_one_list_by_hand():
    scores, hit = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5]), torch.tensor([True, False, True, True, False])
    values = [average_precision(scores, hit, 4, rule) for rule in RULES]
    assert values == pytest.approx([27 / 44, 5 / 8, 127 / 202], abs=1e-12)
    precision, recall = precision_recall(scores, hit, 4)
    assert_close(precision, torch.tensor([1, 1 / 2, 2 / 3, 3 / 4, 3 / 5], dtype=torch.float64))
    assert_close(recall, torch.tensor([1, 1, 2, 3, 3], dtype=torch.float64) / 4)


@pytest.mark.parametrize("rule", RULES)
def test_order_alone_counts_and_false_alarms_after_the_last_hit_are_free(rule):
    scores, hit = ranking(0)
    value = average_precision(scores, hit, 30, rule)
    assert average_precision(scores**3, hit, 30, rule) == value
    padded = torch.cat([scores, -torch.ones(50)]), torch.cat([hit, torch.zeros(50).bool()])
    assert average_precision(*padded, 30, rule) == value
    assert average_precision(scores, hit, 60, rule) < value
    assert average_precision(hit.float(), hit, int(hit.sum()), rule) == pytest.approx(1)
    assert average_precision(scores[:0], hit[:0], 3, rule) == 0


def test_scikit_learn_never_hears_of_a_missed_object():
    scores, hit = ranking(1)
    found = int(hit.sum())
    theirs = average_precision_score(hit, scores)
    steps = precision_recall(scores, hit, found)[0][hit[scores.argsort(descending=True)]].mean()
    assert steps == pytest.approx(theirs, abs=1e-9)
    assert average_precision(scores, hit, 2 * found) < 0.6 * average_precision(scores, hit, found)


def test_each_true_box_is_taken_once_by_the_highest_score_that_overlaps_enough():
    truth = torch.tensor([[0.0, 0.0, 10.0, 10.0], [6.0, 0.0, 16.0, 10.0]])
    boxes = torch.tensor(
        [[0.0, 0.0, 10.0, 10.0], [1.0, 0.0, 11.0, 10.0], [5.0, 0.0, 15.0, 10.0], [50.0, 0.0, 60.0, 9.0]]
    )
    assert match(boxes, torch.tensor([0.5, 0.9, 0.8, 0.7]), truth, 0.5).tolist() == [-1, 0, 1, -1]
    assert match(boxes, torch.tensor([0.9, 0.5, 0.8, 0.7]), truth, 0.3).tolist() == [0, -1, 1, -1]
    # the second choice is free: COCO's rule takes it, VOC's would call it a false alarm
    third = torch.tensor([[3.0, 0.0, 13.0, 10.0]])
    assert match(torch.cat([boxes[2:3], third]), torch.tensor([0.9, 0.8]), truth, 0.5).tolist() == [1, 0]
    assert match(boxes[:0], torch.zeros(0), truth, 0.5).tolist() == []
    assert match(boxes, torch.arange(4.0), truth[:0], 0.5).tolist() == [-1] * 4


def test_an_ignored_box_is_taken_only_where_nothing_else_is():
    truth = torch.tensor([[0.0, 0.0, 10.0, 10.0], [1.0, 0.0, 11.0, 10.0]])
    ignored = torch.tensor([True, False])
    assert match(truth[:1], torch.ones(1), truth, 0.5, ignored).tolist() == [1]
    assert match(truth[[0, 0]], torch.tensor([0.9, 0.8]), truth, 0.5, ignored).tolist() == [1, 0]


def test_the_threshold_itself_is_a_hit():
    box, half = torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([[0.0, 0.0, 2.0, 1.0]])
    assert iou(box, half).item() == 0.5
    assert match(half, torch.ones(1), box, 0.5).tolist() == [0]


def test_thresholds_and_rules_are_named():
    assert pytest.approx(np.arange(50, 100, 5) / 100) == THRESHOLDS
    detections, truths = pictures(torch.Generator().manual_seed(0))
    one = [mean_average_precision(detections, truths, (t,), "11-point") for t in (0.5, 0.75)]
    assert mean_average_precision(detections, truths, (0.5, 0.75), "11-point") == pytest.approx(sum(one) / 2)


def test_what_is_wrong_is_named():
    scores, hit = ranking(0)
    with pytest.raises(ValueError, match=r"expected a rule among .*got 'mAP'"):
        average_precision(scores, hit, 60, "mAP")
    with pytest.raises(ValueError, match=r"expected count >= 1 and >= \d+ hits, got 2"):
        average_precision(scores, hit, 2)
    with pytest.raises(ValueError, match="expected scores and bool hits"):
        precision_recall(scores, hit.float(), 60)
    with pytest.raises(ValueError, match=r"match: expected a threshold in \(0, 1\], got 0"):
        match(some(1, torch.Generator()), torch.ones(1), some(1, torch.Generator()), 0)
    with pytest.raises(ValueError, match="expected images in both lists, got 1, 0"):
        mean_average_precision([(some(1, torch.Generator()), torch.ones(1), torch.ones(1))], [])
    nothing = (torch.zeros(0, 4), torch.zeros(0), torch.zeros(0))
    with pytest.raises(ValueError, match="expected a true box with a side in"):
        mean_average_precision([nothing], [(torch.zeros(0, 4), torch.zeros(0))])


def test_recall_counts_each_true_box_once_by_class_and_side():
    box = torch.tensor([[0.0, 0.0, 10.0, 10.0], [20.0, 0.0, 50.0, 30.0]])
    truth = [(box, torch.tensor([1, 2]))]
    twice = [(box[[0, 0]], torch.tensor([0.9, 0.8]), torch.tensor([1, 2]))]
    assert recall(twice, truth) == 0.5
    assert recall(twice, truth, sides=(0, 20)) == 1
    assert recall(twice, truth, sides=(30, 31)) == 0
    with pytest.raises(ValueError, match="recall: expected a true box with a side in"):
        recall(twice, truth, sides=(10.5, 30))
    with pytest.raises(ValueError, match="recall: expected images in both lists, got 1, 2"):
        recall(twice, truth * 2)
