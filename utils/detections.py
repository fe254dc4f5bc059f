"""How detections are judged: matching with the true boxes, precision and recall, average precision by its rules.

Detections of one image are `(boxes (N, 4), scores (N,), labels (N,))`, its true boxes `(boxes (M, 4), labels (M,))`; a
set of images is a list of them. Boxes are as in `boxes`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from utils.boxes import check_detections, iou

__all__ = [
    "RULES",
    "THRESHOLDS",
    "average_precision",
    "coco",
    "match",
    "mean_average_precision",
    "precision_recall",
    "recall",
]

RULES = ("11-point", "all-point", "101-point")
THRESHOLDS = tuple(np.linspace(0.5, 0.95, 10).tolist())  # COCO's ten

Detections = tuple[Tensor, Tensor, Tensor]
Truth = tuple[Tensor, Tensor]
_NONE = (torch.zeros(0), torch.zeros(0, dtype=torch.bool))


def match(boxes: Tensor, scores: Tensor, truth: Tensor, threshold: float, ignored: Tensor | None = None) -> Tensor:
    """For each detection of one image and class the index of its true box, -1 where it has none.

    In falling order of scores (ties: the earlier first) each detection takes the true box with the largest IoU among
    those at or above the threshold that are still free; one that is not ignored is preferred (COCO's rule).

    Args:
        boxes: `(N, 4)`; `scores`: `(N,)`; `truth`: `(M, 4)`.
        threshold: smallest IoU of a hit, in (0, 1].
        ignored: `(M,)` bool, true boxes that neither count as hits nor as missed.

    >>> box = torch.tensor([[0.0, 0.0, 2.0, 2.0]])
    >>> match(box.repeat(2, 1), torch.tensor([0.5, 0.9]), box, 0.5).tolist()
    [-1, 0]
    """
    check_detections("match", boxes, scores)
    if not 0 < threshold <= 1:
        raise ValueError(f"match: expected a threshold in (0, 1], got {threshold}")
    order = scores.argsort(descending=True, stable=True)
    overlaps = iou(boxes[order].double()[:, None], truth.double()).tolist()
    taken = _taken(overlaps, threshold, [False] * len(truth) if ignored is None else ignored.tolist())
    return torch.full((len(boxes),), -1).index_put((order,), torch.tensor(taken, dtype=torch.int64))


def precision_recall(scores: Tensor, hit: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Precision and recall, `(N,)` float64, among the 1, 2, ..., N detections of highest score.

    Args:
        scores: `(N,)`; `hit`: `(N,)` bool, whether the detection has a true box; ties keep their order.
        count: number of true boxes, found or not; at least 1 and at least the number of hits.

    >>> precision_recall(torch.tensor([0.9, 0.8]), torch.tensor([True, False]), 4)
    (tensor([1.0000, 0.5000], dtype=torch.float64), tensor([0.2500, 0.2500], dtype=torch.float64))
    """
    if scores.ndim != 1 or scores.shape != hit.shape or hit.dtype != torch.bool:
        raise ValueError(f"precision_recall: expected scores and bool hits (N,), got {scores.shape}, {hit.shape}")
    if not max(1, int(hit.sum())) <= count:
        raise ValueError(f"precision_recall: expected count >= 1 and >= {int(hit.sum())} hits, got {count}")
    hits = hit[scores.argsort(descending=True, stable=True)].double().cumsum(0)
    return hits / torch.arange(1, len(hits) + 1), hits / count


def average_precision(scores: Tensor, hit: Tensor, count: int, rule: str = "101-point") -> float:
    """Average over recall of the best precision at that recall or beyond, by one of three rules.

    "11-point" (VOC 2007): the mean at recall 0, 0.1, ..., 1. "101-point" (COCO): at 0, 0.01, ..., 1.
    "all-point" (VOC 2010 and later): the area under the step function. Arguments as in `precision_recall`.

    Raises:
        ValueError: as `precision_recall`; a rule that is not one of the three.

    Taught in: detection/boxes.

    >>> average_precision(torch.tensor([0.9, 0.8]), torch.tensor([True, False]), 4, "all-point")
    0.25
    """
    if rule not in RULES:
        raise ValueError(f"average_precision: expected a rule among {RULES}, got {rule!r}")
    precision, recall = precision_recall(scores, hit, count)
    best = precision.flip(0).cummax(0).values.flip(0) if len(precision) else precision
    if rule == "all-point":
        return float((recall.diff(prepend=recall.new_zeros(1)) * best).sum())
    grid = torch.from_numpy(np.linspace(0, 1, int(rule.split("-")[0])))
    return float(torch.cat([best, best.new_zeros(1)])[torch.searchsorted(recall, grid)].mean())


def mean_average_precision(
    detections: Sequence[Detections],
    truths: Sequence[Truth],
    thresholds: Sequence[float] = (0.5,),
    rule: str = "101-point",
    sides: tuple[float, float] = (0.0, math.inf),
    most: int = 100,
) -> float:
    """Average precision, averaged over the classes that have true boxes and over IoU thresholds.

    Args:
        detections, truths: one entry an image, as in the module's docstring.
        thresholds: IoU thresholds; `THRESHOLDS` is COCO's list.
        rule: as in `average_precision`.
        sides: only objects with a square root of the area (pixels) in this range count; the others are ignored.
        most: at most so many detections an image and class, those of highest score.

    Raises:
        ValueError: lists of different lengths, or no true box in the range.
    """
    values = _by_threshold(detections, truths, thresholds, rule, sides, most)
    return sum(values) / len(values)


def recall(
    detections: Sequence[Detections],
    truths: Sequence[Truth],
    threshold: float = 0.5,
    sides: tuple[float, float] = (0.0, math.inf),
) -> float:
    """Share of the true boxes that a detection of the same class covers, each detection taking one box.

    Args:
        detections, truths: one entry an image, as in the module's docstring; all detections of an image count.
        threshold: smallest IoU of a hit, in (0, 1].
        sides: only true boxes with a square root of the area (pixels) in this range, its end excluded, count.

    Raises:
        ValueError: lists of different lengths, or no true box in the range.

    >>> box = torch.tensor([[0.0, 0.0, 2.0, 2.0]])
    >>> recall([(box, torch.ones(1), torch.tensor([3]))], [(box.repeat(2, 1), torch.tensor([3, 4]))])
    0.5
    """
    if len(detections) != len(truths):
        raise ValueError(f"recall: expected images in both lists, got {len(detections)}, {len(truths)}")
    hits = []
    for (boxes, scores, labels), (truth, names) in zip(detections, truths, strict=True):
        side = (truth[:, 2:] - truth[:, :2]).double().prod(-1).sqrt()
        for label in names.unique():
            mine, true = labels == label, names == label
            taken = match(boxes[mine], scores[mine], truth[true], threshold)
            hit = torch.isin(torch.arange(int(true.sum())), taken)
            hits += hit[(side[true] >= sides[0]) & (side[true] < sides[1])].tolist()
    if not hits:
        raise ValueError(f"recall: expected a true box with a side in {sides}, got none")
    return sum(hits) / len(hits)


def coco(detections: Sequence[Detections], truths: Sequence[Truth], **settings) -> dict[str, float]:
    """COCO's three numbers, each a mean over classes: "AP" over the ten `THRESHOLDS`, "AP50" and "AP75" at one.

    Args:
        detections, truths: one entry an image; `settings`: `sides` or `most` of `mean_average_precision`.

    Source: Lin et al. (2014), and its evaluation code. Taught in: detection/boxes.
    """
    at = dict(zip(THRESHOLDS, _by_threshold(detections, truths, THRESHOLDS, **settings), strict=True))
    return {"AP": sum(at.values()) / len(at), "AP50": at[0.5], "AP75": at[0.75]}


def _by_threshold(detections, truths, thresholds, rule="101-point", sides=(0.0, math.inf), most=100) -> list[float]:
    """For each threshold the mean over classes, as `mean_average_precision` says."""
    if len(detections) != len(truths) or not truths:
        raise ValueError(f"mean_average_precision: expected images in both lists, got {len(detections)}, {len(truths)}")
    for boxes, scores, labels in detections:
        check_detections("mean_average_precision", boxes, scores, labels)
    classes = torch.cat([labels for _, labels in truths]).unique().tolist()
    pooled = [_pooled(detections, truths, c, thresholds, sides, most) for c in classes]
    counted = [[average_precision(*one, rule) for one in row] for row in pooled if row[0][2]]
    if not counted:
        raise ValueError(f"mean_average_precision: expected a true box with a side in {sides}, got none")
    return [sum(column) / len(column) for column in zip(*counted, strict=True)]


def _pooled(detections, truths, label, thresholds, sides, most) -> list[tuple[Tensor, Tensor, int]]:
    """For each threshold scores and hits of one class over all images, less the ignored, and the number of truths."""
    pooled, count = [[] for _ in thresholds], 0
    for (boxes, score, labels), (truth, names) in zip(detections, truths, strict=True):
        mine, true = (labels == label).nonzero()[:, 0], truth[names == label]
        ignored = _outside(true, sides)
        count += int((~ignored).sum())
        if not len(mine):
            continue
        mine = mine[score[mine].argsort(descending=True, stable=True)[:most]]
        overlaps = iou(boxes[mine].double()[:, None], true.double()).tolist()
        idle, skip = _outside(boxes[mine], sides).tolist(), ignored.tolist()
        for found, threshold in zip(pooled, thresholds, strict=True):
            taken = _taken(overlaps, threshold, skip)
            kept = [not (idle[n] if m < 0 else skip[m]) for n, m in enumerate(taken)]
            found.append((score[mine][kept], torch.tensor(taken)[kept] >= 0))
    return [(*(torch.cat(part) for part in zip(*(found or [_NONE]), strict=True)), count) for found in pooled]


def _taken(overlaps: list[list[float]], threshold: float, ignored: list[bool]) -> list[int]:
    """For each detection, in falling order of scores, the true box that it takes, or -1."""
    free, found = set(range(len(ignored))), []
    for row in overlaps:
        able = [m for m in free if row[m] >= min(threshold, 1 - 1e-10)]
        able = [m for m in able if not ignored[m]] or able
        found.append(max(able, key=lambda m: (row[m], m), default=-1))  # of equals the last, as pycocotools
        free.discard(found[-1])
    return found


def _outside(boxes: Tensor, sides: tuple[float, float]) -> Tensor:
    area = (boxes[:, 2:] - boxes[:, :2]).double().prod(-1)
    return (area < sides[0] ** 2) | (area > sides[1] ** 2)
