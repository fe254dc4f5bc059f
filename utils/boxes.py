"""Boxes: how much two of them overlap, and greedy non-maximum suppression. Detections are judged in `detections`.

A box is `(x1, y1, x2, y2)` in pixels: left, top, right, bottom edge, x to the right and y down, `x1 <= x2`, `y1 <= y2`.
Edges are real numbers, so a box is `x2 - x1` wide: no "+1".
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["centred", "corners", "giou", "iou", "nms"]


def iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Intersection over union of each box with the other one at its place, in [0, 1]; 0 for two empty boxes.

    `overlap / (area + area' - overlap)`. Differentiable; the gradient of disjoint boxes is 0.

    Args:
        boxes, others: `(..., 4)`, shapes that broadcast: all pairs are `iou(boxes[:, None], others)`.

    Raises:
        ValueError: a last dimension other than 4, integers, or a box with `x1 > x2`, `y1 > y2` or NaN.

    Source: Everingham et al. (2010), section 4.2. Taught in: detection/boxes.

    >>> iou(torch.tensor([0.0, 0.0, 2.0, 2.0]), torch.tensor([1.0, 0.0, 3.0, 2.0]))
    tensor(0.3333)
    """
    overlap, union = _overlap_and_union("iou", boxes, others)
    return overlap / _positive(union)


def giou(boxes: Tensor, others: Tensor) -> Tensor:
    """Generalized intersection over union in [-1, 1]: `iou - (hull - union) / hull`, hull the smallest common box.

    Args and errors as in `iou`. Two empty boxes at one place have -1.

    Source: Rezatofighi et al. (2019), algorithm 1. Taught in: detection/boxes.

    >>> giou(torch.tensor([0.0, 0.0, 1.0, 1.0]), torch.tensor([2.0, 0.0, 3.0, 1.0]))
    tensor(-0.3333)
    """
    overlap, union = _overlap_and_union("giou", boxes, others)
    first, last = torch.minimum(boxes, others), torch.maximum(boxes, others)
    hull = (last[..., 2:] - first[..., :2]).prod(-1)
    return overlap / _positive(union) - 1 + union / _positive(hull)


def corners(centres: Tensor) -> Tensor:
    """Boxes `(x1, y1, x2, y2)` from `(centre x, centre y, width, height)`, both `(..., 4)`.

    >>> corners(torch.tensor([2.0, 3.0, 4.0, 2.0])).tolist()
    [0.0, 2.0, 4.0, 4.0]
    """
    _four("corners", centres)
    centre, size = centres[..., :2], centres[..., 2:]
    return torch.cat([centre - size / 2, centre + size / 2], -1)


def centred(boxes: Tensor) -> Tensor:
    """The inverse of `corners`: `(centre x, centre y, width, height)` of each box."""
    _four("centred", boxes)
    first, last = boxes[..., :2], boxes[..., 2:]
    return torch.cat([(first + last) / 2, last - first], -1)


def nms(boxes: Tensor, scores: Tensor, threshold: float, labels: Tensor | None = None) -> Tensor:
    """Indices of the boxes that greedy non-maximum suppression keeps, highest score first.

    The best box left is kept, and every box with an IoU above the threshold to it goes. Ties: the earlier box first.

    Args:
        boxes: `(N, 4)`; `scores`: `(N,)`.
        threshold: IoU in [0, 1] up to which two boxes may both stay.
        labels: `(N,)`, optional: boxes of different labels do not suppress each other.

    Raises:
        ValueError: shapes that do not fit, a score that is not finite, a threshold outside [0, 1].

    Taught in: detection/boxes.

    >>> nms(torch.tensor([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 2.0, 3.0]]), torch.tensor([0.5, 0.9]), 0.5)
    tensor([1])
    """
    check_detections("nms", boxes, scores, labels)
    if not 0 <= threshold <= 1:
        raise ValueError(f"nms: expected a threshold in [0, 1], got {threshold}")
    left, kept = scores.argsort(descending=True, stable=True), []
    while len(left):
        best, left = left[0], left[1:]
        kept.append(best)
        stays = iou(boxes[best], boxes[left]) <= threshold
        left = left[stays if labels is None else stays | (labels[left] != labels[best])]
    return torch.stack(kept) if kept else left


def check_detections(name: str, boxes: Tensor, scores: Tensor, labels: Tensor | None = None) -> None:
    """Raise a ValueError that names the function if boxes, scores and labels are not those of N detections."""
    shapes = [tuple(x.shape) for x in (boxes, scores, labels) if x is not None]
    if any(shape != (len(boxes), *tail) for shape, tail in zip(shapes, ((4,), (), ()), strict=False)):
        raise ValueError(f"{name}: expected boxes (N, 4) and scores (and labels) (N,), got {shapes}")
    if not scores.isfinite().all():
        raise ValueError(f"{name}: expected finite scores, got {scores[~scores.isfinite()][0]}")
    _four(name, boxes)


def _overlap_and_union(name: str, boxes: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    for found in (boxes, others):
        _four(name, found)
        wrong = ~(found[..., :2] <= found[..., 2:]).all(-1)
        if wrong.any():
            raise ValueError(f"{name}: expected boxes with x1 <= x2 and y1 <= y2, got {found[wrong][0].tolist()}")
    first, last = torch.maximum(boxes, others), torch.minimum(boxes, others)
    overlap = (last[..., 2:] - first[..., :2]).clamp(min=0).prod(-1)
    areas = [(b[..., 2:] - b[..., :2]).prod(-1) for b in (boxes, others)]
    return overlap, areas[0] + areas[1] - overlap


def _four(name: str, boxes: Tensor) -> None:
    if boxes.ndim == 0 or boxes.shape[-1] != 4 or not boxes.is_floating_point():
        raise ValueError(f"{name}: expected floating-point boxes (..., 4), got {tuple(boxes.shape)} {boxes.dtype}")


def _positive(area: Tensor) -> Tensor:
    return area.where(area > 0, 1.0)
