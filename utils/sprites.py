"""Emoji pasted on photographs, with exact boxes: objects of all sizes, drawn by three hands.

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
from utils.scenes import place, tight, whole

__all__ = ["SIDE", "emoji_scenes", "paste"]

SIDE = 96  # pixels
_SIZES = (10, 48)  # of an emoji's square, pixels
_SEEN = ("astronaut", "brick", "china", "coffee", "grass", "hubble_deep_field")  # photographs to train on
_NEW = ("camera", "chelsea", "flower", "gravel", "rocket")


@cache
def emoji_scenes(style: str = "fluent") -> SimpleNamespace:
    """Pictures of 96x96 pixels, photographs with 1 to 4 emoji: 1,000 to train on and three times 200 to test on.

    Training pictures show six photographs and two of the three drawing styles. The first test changes nothing but the
    places, the second has five other photographs, the third those of training but the third style.

    Returns `x_train (1000, 3, 96, 96)` float32 in [0, 1] and `truth_train`, dictionaries `x_test` and `truth_test` with
    the keys "new pictures", "new photographs" and "new style", and `classes`, the names of the ten labels. Truths are
    as in `scenes.scattered_digits`. Treat the tensors as read-only: they are shared.

    Args:
        style: the one that is kept for the third test: "noto", "twemoji" or "fluent".

    Raises:
        ValueError: another style.
    """
    sprites, generator = data.load("emoji_sprites64"), torch.Generator().manual_seed(0)
    if style not in sprites.style:
        raise ValueError(f"emoji_scenes: expected a style of {sorted(set(sprites.style))}, got {style!r}")
    images, kept = sprites.images.permute(0, 3, 1, 2) / 255, torch.tensor([one == style for one in sprites.style])
    seen, new = ([_photograph(name) for name in names] for names in (_SEEN, _NEW))
    known = images[~kept], sprites.label[~kept]
    x_train, truth_train = paste(*known, seen, 1000, generator)
    tests = {
        "new pictures": paste(*known, seen, 200, generator),
        "new photographs": paste(*known, new, 200, generator),
        "new style": paste(images[kept], sprites.label[kept], seen, 200, generator),
    }
    x_test, truth_test = ({name: test[part] for name, test in tests.items()} for part in (0, 1))
    return SimpleNamespace(
        x_train=x_train, truth_train=truth_train, x_test=x_test, truth_test=truth_test, classes=sprites.classes
    )


def paste(
    sprites: Tensor, labels: Tensor, photographs: Sequence[Tensor], count: int, generator: torch.Generator
) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
    """Pictures `(count, 3, 96, 96)` with 1 to 4 of the sprites each on a part of a photograph, boxes and labels.

    The part is a square of 96 pixels or more of the photograph, mirrored or not. A sprite becomes a square of 10 to 48
    pixels (uniform in the logarithm) and is put, by its opacity, where its box and none of those before share more
    than a tenth of the smaller one; after 20 vain tries it is left out. The box is tight: around the pixels that are at
    least half opaque.

    Args:
        sprites: `(N, 4, H, H)` red, green, blue and opacity in [0, 1]; labels: `(N,)`.
        photographs: `(3, H, W)` in [0, 1], sides of at least 96 pixels.
        count: number of pictures.
        generator: what all choices are drawn from.

    Raises:
        ValueError: sprites, labels or a photograph of another shape, or `count` below 1.
    """
    wrong = [tuple(p.shape) for p in photographs if p.ndim != 3 or len(p) != 3 or min(p.shape[1:]) < SIDE]
    if sprites.ndim != 4 or sprites.shape[1] != 4 or labels.shape != sprites.shape[:1] or count < 1 or not photographs:
        shapes = f"{tuple(sprites.shape)}, {tuple(labels.shape)}, {len(photographs)} photographs, {count}"
        raise ValueError(f"paste: expected sprites (N, 4, H, H), labels (N,), photographs and count >= 1, got {shapes}")
    if wrong:
        raise ValueError(f"paste: expected photographs (3, H, W) of {SIDE} pixels or more, got {wrong[0]}")
    pictures, truths = [], []
    for _ in range(count):
        picture = _part(photographs[whole(0, len(photographs) - 1, generator)], generator)
        boxes, names = torch.zeros(0, 4), []
        for _ in range(whole(1, 4, generator)):
            chosen, part = whole(0, len(sprites) - 1, generator), torch.rand((), generator=generator).item()
            size = round(_SIZES[0] * (_SIZES[1] / _SIZES[0]) ** part)
            colour, opacity = sprites[chosen, :3] * sprites[chosen, 3:], sprites[chosen, 3:]
            small = interpolate(torch.cat([colour, opacity])[None], (size, size), mode="bilinear", antialias=True)[0]
            corner = place(tight(small[3] >= 0.5), size, SIDE, boxes, _hidden, generator)
            if corner is not None:
                left, top, box = corner
                region = picture[:, top : top + size, left : left + size]
                region.copy_((small[:3] + (1 - small[3:]) * region).clamp(0, 1))
                boxes, names = torch.cat([boxes, box[None]]), [*names, labels[chosen]]
        pictures.append(picture)
        truths.append((boxes, torch.stack(names)))
    return torch.stack(pictures), truths


def _hidden(box: Tensor, boxes: Tensor) -> Tensor:
    """The share of the smaller of two boxes that lies in the other one."""
    areas = [(b[..., 2:] - b[..., :2]).prod(-1) for b in (box, boxes)]
    ratio = iou(box, boxes)
    return ratio / (1 + ratio) * (areas[0] + areas[1]) / torch.minimum(*areas)


def _part(photograph: Tensor, generator: torch.Generator) -> Tensor:
    height, width = photograph.shape[1:]
    size = whole(SIDE, min(height, width), generator)
    top, left = whole(0, height - size, generator), whole(0, width - size, generator)
    cut = photograph[None, :, top : top + size, left : left + size]
    small = interpolate(cut, (SIDE, SIDE), mode="bilinear", antialias=True)[0].clamp(0, 1)
    return small.flip(2) if whole(0, 1, generator) else small


def _photograph(name: str) -> Tensor:
    """`(3, H, W)` in [0, 1], from scikit-learn or scikit-image; the shorter side 240 pixels."""
    from skimage import data as pictures
    from sklearn.datasets import load_sample_image

    image = load_sample_image(f"{name}.jpg") if name in ("china", "flower") else getattr(pictures, name)()
    image = torch.from_numpy(image.copy()).float() / 255
    image = (image if image.ndim == 3 else image[..., None].expand(-1, -1, 3)).permute(2, 0, 1)
    ratio = 240 / min(image.shape[1:])
    return interpolate(image[None], scale_factor=ratio, mode="bilinear", antialias=True)[0].clamp(0, 1)
