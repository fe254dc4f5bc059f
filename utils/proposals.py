"""Detection in two stages: what both stages learn, and the regions that the first hands to the second.

Boxes are as in `boxes`. A batch has B pictures; true boxes are padded to `(B, M, 4)` with empty boxes at the end and
come with labels `(B, M)` and the number of objects `(B,)`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from utils.boxes import centred, corners, iou, nms
from utils.detections import Detections

__all__ = ["answers", "corrected", "correction", "first_stage", "jittered", "judged", "padded", "regions", "squares"]


def padded(truths: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes `(B, M, 4)`, labels `(B, M)` and numbers of objects `(B,)` of a list as in `detections`; the rest is 0.

    >>> boxes, labels, count = padded([(torch.rand(2, 4), torch.tensor([5, 7])), (torch.rand(1, 4), torch.tensor([3]))])
    >>> boxes.shape, labels.tolist(), count.tolist()
    (torch.Size([2, 2, 4]), [[5, 7], [3, 0]], [2, 1])
    """
    boxes, labels = (nn.utils.rnn.pad_sequence([truth[part] for truth in truths], batch_first=True) for part in (0, 1))
    return boxes, labels, torch.tensor([len(truth[1]) for truth in truths])


def correction(boxes: Tensor, goals: Tensor) -> Tensor:
    """What turns a box into its goal: the centre's move in sides of the box, and the logarithm of the sides' growth.

    Source: Girshick et al. (2014), "Rich feature hierarchies", appendix C. The inverse is `corrected`.
    """
    (at, size), (to, final) = (centred(box).split(2, -1) for box in (boxes, goals))
    return torch.cat([(to - at) / size, (final / size).log()], -1)


def corrected(boxes: Tensor, corrections: Tensor, side: float) -> Tensor:
    """Boxes `(..., 4)` after their corrections, cut to a square picture; sides grow by at most a factor of e^2.

    >>> corrected(torch.tensor([0.0, 0, 8, 8]), torch.tensor([0.5, 0, 0, 0]), 10)
    tensor([ 4.,  0., 10.,  8.])
    """
    (at, size), (move, growth) = centred(boxes).split(2, -1), corrections.split(2, -1)
    return corners(torch.cat([at + size * move, size * growth.clamp(-2, 2).exp()], -1)).clamp(0, side)


def squares(cells: int, stride: float, size: float) -> Tensor:
    """A square box of `size` pixels around each cell of a square map, row by row: `(cells * cells, 4)`."""
    centre = (torch.cartesian_prod(torch.arange(cells), torch.arange(cells)).flip(1) + 0.5) * stride
    return corners(torch.cat([centre, torch.full_like(centre, size)], -1))


def first_stage(start: Tensor, boxes: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """Which of the boxes `start (A, 4)` have to find an object `(B, A)` bool, and the correction to it `(B, A, 4)`.

    Those whose centre lies in the middle half of the object's box along both axes, and for each object the nearest.
    Where several objects are near, the nearest. Distances are in half sides of the object.
    """
    middle, half = (centred(boxes)[:, None] / torch.tensor([1, 1, 2, 2])).split(2, -1)
    far = ((centred(start)[:, None, :2] - middle).abs() / half.clamp(min=1e-6)).amax(-1)  # (B, A, M)
    far = far.where((torch.arange(boxes.shape[1]) < count[:, None])[:, None], torch.inf)
    near = (far <= far.amin(1, keepdim=True).clamp(min=0.5)) & far.isfinite()
    own = far.where(near, torch.inf).argmin(2)
    return near.any(2), correction(start, _take(boxes, own).clamp(min=1e-3))


def regions(start: Tensor, found: Tensor, count: int, side: float) -> Tensor:
    """The `count` boxes of highest score, corrected, at least 2 pixels wide and high: `(B, count, 4)`.

    Args:
        start: `(A, 4)`; `found`: `(B, A, 5)`, for each a score and a correction.
        side: of the picture.
    """
    best = found[..., 0].topk(count, 1).indices
    boxes = corrected(start[best], _take(found[..., 1:], best), side)
    first = boxes[..., :2].clamp(max=side - 2)
    return torch.cat([first, torch.maximum(boxes[..., 2:], first + 2)], -1)


def jittered(boxes: Tensor, count: Tensor, number: int, side: float, amount: float = 0.25) -> Tensor:
    """`(B, number, 4)` boxes near random objects: normal corrections, their scale uniform up to `amount`."""
    start = _take(boxes, (torch.rand(len(boxes), number) * count[:, None]).long())
    scale = amount * torch.rand(len(boxes), number, 1)
    return corrected(start, scale * torch.randn(len(boxes), number, 4), side)


def judged(found: Tensor, boxes: Tensor, labels: Tensor, threshold: float, background: int) -> tuple[Tensor, ...]:
    """Label, box and IoU of the object that `found (B, n, 4)` overlap most; `background` below the threshold."""
    overlap, own = iou(found[:, :, None], boxes[:, None]).max(2)
    return torch.where(overlap >= threshold, labels.gather(1, own), background), _take(boxes, own), overlap


def answers(start: Tensor, found: Tensor, side: float, overlap: float = 0.5, least: float = 0.05) -> list[Detections]:
    """The second stage's detections, as in `detections`: each region named, corrected, and suppressed by better ones.

    Args:
        start: `(B, n, 4)`; `found`: `(B, n, K + 1 + 4)`, scores of the classes and of the background, correction.
        side: of the picture.
        overlap: IoU up to which two answers may both stay, whatever their class; `least`: probability of an answer.
    """
    best, names = found[..., :-4].softmax(-1)[..., :-1].max(-1)
    pictures = []
    for boxes, scores, labels in zip(corrected(start, found[..., -4:], side), best, names, strict=True):
        kept = (scores > least).nonzero()[:, 0]
        kept = kept[nms(boxes[kept], scores[kept], overlap)]
        pictures.append((boxes[kept], scores[kept], labels[kept]))
    return pictures


def _take(rows: Tensor, which: Tensor) -> Tensor:
    """`(B, m, 4)` and indices `(B, n)` to `(B, n, 4)`."""
    return rows.gather(1, which[..., None].expand(*which.shape, rows.shape[-1]))
