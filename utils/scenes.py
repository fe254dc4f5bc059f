"""Pictures with several objects and their exact boxes, made from real digits: one set for every detector of the book.

Boxes are as in `boxes`, lists of true boxes as in `detections`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from types import SimpleNamespace

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from utils import data
from utils.boxes import iou
from utils.claims import claim
from utils.detections import Detections, coco

__all__ = ["SIDE", "judge", "place", "scatter", "scattered_digits", "tight", "whole"]

SIDE = 48  # pixels
_SIZES = (12, 24)
_INK = 0.2  # a pixel darker than this belongs to the digit
_NOISE = 0.1


@cache
def scattered_digits() -> SimpleNamespace:
    """1,500 training and 300 test pictures of 48x48 pixels with 1 to 3 digits each, the same at every call.

    Returns `x_train (1500, 1, 48, 48)` and `x_test (300, 1, 48, 48)`, float32 grey levels in [0, 1], and `truth_train`,
    `truth_test`: for each picture `(boxes (M, 4) float32, labels (M,) int64)`. The digits of the test pictures are the
    test digits of `data.digits()`: no digit is in both. Treat the tensors as read-only: they are shared.

    >>> scenes = scattered_digits()
    >>> scenes.x_test.shape, len(scenes.truth_train)
    (torch.Size([300, 1, 48, 48]), 1500)
    """
    digits, generator = data.digits(), torch.Generator().manual_seed(0)
    x_train, truth_train = scatter(digits.x_train, digits.y_train, 1500, generator)
    x_test, truth_test = scatter(digits.x_test, digits.y_test, 300, generator)
    return SimpleNamespace(x_train=x_train, truth_train=truth_train, x_test=x_test, truth_test=truth_test)


def judge(model: str, detections: Sequence[Detections], *, twin: str | None = None, **bounds) -> dict[str, float]:
    """COCO's AP, AP50 and AP75 on the test pictures of `scattered_digits`: three claims on that leaderboard.

    Args:
        model: the row, as a reader would say it.
        detections: `(boxes (N, 4), scores (N,), labels (N,))` of each of the 300 test pictures.
        twin: the broken model that the bounds catch.
        bounds: `ap`, `ap50` and `ap75`, each an interval (above, below) in [0, 1].

    Raises:
        ValueError: a number without an interval, or an unknown one, besides what `detections.coco` and `claim` refuse.
    """
    if set(bounds) != {"ap", "ap50", "ap75"}:
        raise ValueError(f"judge: expected one interval for each of ap, ap50, ap75, got {tuple(bounds)}")
    found = coco(detections, scattered_digits().truth_test)
    for column, value in found.items():
        above, below = bounds[column.lower()]
        row = ("scattered digits", model, column)
        claim(f"{model}: {column} on scattered digits", value, above=above, below=below, twin=twin, board=row)
    return found


def scatter(
    digits: Tensor, labels: Tensor, count: int, generator: torch.Generator
) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
    """Pictures `(count, 1, 48, 48)` with 1 to 3 of the digits each, and for each its boxes and labels.

    A digit is enlarged (bilinear) to a square of 12 to 24 pixels and put where its box has an IoU of at most 0.1 with
    those before; after 20 vain tries it is left out. The box is tight: around the pixels with ink above 0.2. Normal
    noise of standard deviation 0.1 is added, and grey levels are cut to [0, 1].

    Args:
        digits: `(N, 64)` grey levels 0..16, as in `data.digits()`; `labels`: `(N,)`.
        count: number of pictures.
        generator: what all choices are drawn from.

    Raises:
        ValueError: digits or labels of another shape, or `count` below 1.
    """
    if digits.ndim != 2 or digits.shape[1] != 64 or labels.shape != digits.shape[:1] or count < 1:
        shapes = f"{tuple(digits.shape)}, {tuple(labels.shape)}, {count}"
        raise ValueError(f"scatter: expected digits (N, 64), labels (N,) and count >= 1, got {shapes}")
    pictures = torch.zeros(count, 1, SIDE, SIDE)
    truths = []
    for picture in pictures[:, 0]:
        boxes, names = torch.zeros(0, 4), []
        for _ in range(whole(1, 3, generator)):
            chosen = whole(0, len(digits) - 1, generator)
            box = _paste(picture, digits[chosen].view(1, 1, 8, 8) / 16, boxes, generator)
            if box is not None:
                boxes = torch.cat([boxes, box[None]])
                names.append(labels[chosen])
        truths.append((boxes, torch.stack(names)))
    noise = _NOISE * torch.randn(pictures.shape, generator=generator)
    return (pictures + noise).clamp(0, 1), truths


def _paste(picture: Tensor, digit: Tensor, boxes: Tensor, generator: torch.Generator) -> Tensor | None:
    """Put the digit into the picture and return its box; None where 20 places were too close to others."""
    size = whole(*_SIZES, generator)
    ink = interpolate(digit, (size, size), mode="bilinear", align_corners=False)[0, 0]
    corner = place(tight(ink > _INK), size, SIDE, boxes, iou, generator)
    if corner is None:
        return None
    left, top, box = corner
    region = picture[top : top + size, left : left + size]
    region.copy_(torch.maximum(region, ink))
    return box


def tight(mask: Tensor) -> Tensor:
    """The smallest box `(4,)` around the true pixels of a mask `(H, W)`."""
    rows, columns = (mask.any(axis).nonzero()[:, 0] for axis in (1, 0))
    return torch.stack([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]).float()


def place(box: Tensor, size: int, side: int, boxes: Tensor, shared, generator: torch.Generator):
    """Left and top of a square of `size` pixels, and its box there; None where 20 places share too much with others."""
    for _ in range(20):
        left, top = (whole(0, side - size, generator) for _ in range(2))
        moved = box + torch.tensor([left, top, left, top])
        if not len(boxes) or shared(moved, boxes).max() <= 0.1:
            return left, top, moved
    return None


def whole(low: int, high: int, generator: torch.Generator) -> int:
    """An integer from low to high, both included, each as likely."""
    return int(torch.randint(low, high + 1, (), generator=generator))
