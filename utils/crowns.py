"""Tree crowns seen from the air: two photographs with boxes drawn by hand, split in space into teaching and test parts.

Boxes are as in `boxes`, lists of true boxes as in `detections`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import SimpleNamespace

import matplotlib.pyplot as plt
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, pad

from utils import data, training
from utils.boxes import giou, nms
from utils.detections import Detections, mean_average_precision, recall

__all__ = ["BANDS", "centres", "crops", "detect", "judged", "loss", "parts", "targets", "trained"]

BANDS = {"all": (0.0, 1e9), "below 16": (0.0, 16.0), "16 to 24": (16.0, 24.0), "above 24": (24.0, 1e9)}  # pixels
_SHARE = 0.7  # of a photograph's height that teaches


@cache
def parts() -> SimpleNamespace:
    """`train` and `test`: lists of `(photograph (3, H, W) in [0, 1], boxes (M, 4))`, the upper 70 % and the rest.

    A box belongs to the part that holds its centre, and is cut at that part's edge. 589 boxes teach, 264 test.

    Source: Weinstein et al. (2021), the photographs "yell". Taught in: detection/small-objects.

    >>> [tuple(photo.shape) for photo, _ in parts().test]
    [(3, 371, 1149), (3, 156, 624)]
    """
    names = ("yell_train", "yell_test")
    return SimpleNamespace(**{part: [_part(name, part) for name in names] for part in ("train", "test")})


def crops(count: int, generator: torch.Generator, side: int = 64) -> tuple[Tensor, list[Tensor]]:
    """Random squares `(count, 3, side, side)` of the teaching parts and for each its boxes.

    A square is mirrored left to right and upside down with probability one half each. Its boxes are those with their
    centre inside; they may reach over the edge.

    Raises:
        ValueError: `count` below 1, or a side that does not fit into each photograph.

    Taught in: detection/small-objects.
    """
    fits = min(min(photo.shape[1:]) for photo, _ in parts().train)
    if count < 1 or not 1 <= side <= fits:
        raise ValueError(f"crops: expected count >= 1 and a side from 1 to {fits}, got {count}, {side}")
    areas, squares, found = torch.tensor([photo[0].numel() for photo, _ in parts().train]).float(), [], []
    for number in torch.multinomial(areas, count, replacement=True, generator=generator).tolist():
        photo, b = parts().train[number]
        top, left = (int(torch.randint(0, n - side + 1, (), generator=generator)) for n in photo.shape[1:])
        b, x = b - torch.tensor([left, top, left, top]), photo[:, top : top + side, left : left + side]
        b = b[(((b[:, :2] + b[:, 2:]) / 2 - side / 2).abs() < side / 2).all(1)]
        for axis in (0, 1):
            if torch.rand((), generator=generator) < 0.5:
                mirrored = side - b[:, [axis + 2, axis]]
                b = b.clone().index_copy(1, torch.tensor([axis, axis + 2]), mirrored)
                x = x.flip(2 - axis)
        squares.append(x)
        found.append(b)
    return torch.stack(squares), found


def judged(find: Callable[[Tensor], Detections]) -> list[float]:
    """Average precision at an IoU of one half for each of `BANDS`, then recall for each, on the test parts.

    Args:
        find: from a photograph `(3, H, W)` to its detections; all labels are 0.

    Taught in: detection/small-objects.
    """
    found = [find(photo) for photo, _ in parts().test]
    truth = [(b, torch.zeros(len(b), dtype=torch.long)) for _, b in parts().test]
    precision = [mean_average_precision(found, truth, sides=band, most=1000) for band in BANDS.values()]
    return precision + [recall(found, truth, sides=band) for band in BANDS.values()]


def centres(shape: tuple[int, int], cell: float) -> Tensor:
    """Middles `(rows, columns, 2)`, x then y, of the cells of a map of that shape, whose cells are `cell` pixels wide.

    >>> centres((1, 2), 4.0).tolist()
    [[[2.0, 2.0], [6.0, 2.0]]]
    """
    y, x = ((torch.arange(n) + 0.5) * cell for n in shape)
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)


def targets(boxes: Tensor, cell: float, side: int = 64) -> tuple[Tensor, Tensor]:
    """For each cell of a crop whether it answers (1.0 or 0.0) and with which box: `(cells,)` and `(cells, 4)`.

    A cell answers for a box if its middle lies in the middle third of the box, or within half a cell of its centre
    along both axes; of several the smallest box has it.
    """
    middle = centres((int(side / cell),) * 2, cell).view(-1, 2)
    label, box = torch.zeros(len(middle)), torch.zeros(len(middle), 4)
    for one in boxes[(boxes[:, 2:] - boxes[:, :2]).prod(1).argsort(descending=True)]:
        reach = ((one[2:] - one[:2]) / 6).clamp(min=0.5 * cell + 0.01)
        near = ((middle - (one[:2] + one[2:]) / 2).abs() < reach).all(1)
        label[near], box[near] = 1, one
    return label, box


def loss(net: Callable, x: Tensor, label: Tensor, box: Tensor) -> Tensor:
    """Focal loss on the scores (exponent 2) and 1 - GIoU on the boxes of the cells that answer, each an answer.

    Args:
        net: from pictures `(B, 3, H, W)` to scores `(B, cells)`, as logits, and boxes `(B, cells, 4)`.
        label, box: as `targets`, with a batch dimension.
    """
    (scores, b), answers = net(x), label > 0
    errors = binary_cross_entropy_with_logits(scores, label, reduction="none") * (scores.sigmoid() - label).square()
    return 4 * errors.sum() / answers.sum() + (1 - giou(b[answers], box[answers])).mean()


def trained(make: Callable[..., torch.nn.Module], *settings: float, seed: int = 0, steps: int = 300) -> torch.nn.Module:
    """The detector `make(*settings)`, made and trained with that seed on 800 crops of 64 pixels, 16 at a time.

    Its attribute `cell` is the side of its map's cells in pixels; it maps pictures as `loss` says.

    Taught in: detection/small-objects.
    """
    training.seed(seed)
    net = make(*settings)
    squares, found = crops(800, torch.Generator().manual_seed(seed))
    label, box = map(torch.stack, zip(*(targets(b, net.cell) for b in found), strict=True))
    given = {"steps": steps, "lr": 5e-3, "batch": 16, "generator": torch.Generator().manual_seed(seed)}
    return training.train(net, lambda *batch: loss(net, *batch), squares, label, box, **given)


@torch.no_grad()
def detect(net: Callable, photo: Tensor) -> Detections:
    """Detections in a photograph `(3, H, W)`: the 5,000 best answers after non-maximum suppression at an IoU of 0.4.

    The photograph is filled up with zeros, on the right and below, to multiples of 16 pixels.
    """
    right, bottom = -photo.shape[2] % 16, -photo.shape[1] % 16
    scores, b = (y[0] for y in net(pad(photo[None], (0, right, 0, bottom))))
    best = scores.topk(min(5000, len(scores))).indices
    kept = best[nms(b[best], scores[best], 0.4)]
    return b[kept], scores[kept].sigmoid(), torch.zeros(len(kept), dtype=torch.long)


def _part(name: str, part: str) -> tuple[Tensor, Tensor]:
    trees = data.load("trees")
    photo, b = torch.from_numpy(plt.imread(trees.photos[name]).copy()).permute(2, 0, 1) / 255, trees.boxes[name]
    line = int(_SHARE * photo.shape[1])
    mine = ((b[:, 1] + b[:, 3]) / 2 >= line) == (part == "test")
    top, bottom = (line, photo.shape[1]) if part == "test" else (0, line)
    b = b[mine] - torch.tensor([0.0, top, 0, top])
    b[:, [1, 3]] = b[:, [1, 3]].clamp(0, bottom - top)
    return photo[:, top:bottom], b
