"""Networks that the chapters on representations share: pictures, patches and words to features.

Plain building blocks: no loss and no training. The losses are the lessons of the chapters that use them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

__all__ = ["backbone", "convolutional", "patchify", "sinusoid", "sinusoid_grid", "transformer", "unpatchify"]


def backbone(channels: int, widths: Sequence[int]) -> nn.Sequential:
    """The trunk of every detector of the book: `(B, channels, H, W)` to `(B, widths[-1], H / 2^n, W / 2^n)`.

    One stage a width: convolution 3x3 of stride 2, BatchNorm, ReLU, convolution 3x3, BatchNorm, ReLU. Iterate over the
    stages for a pyramid of features. An odd side is rounded up.

    Raises:
        ValueError: no width, or a number of channels or a width below 1.

    >>> backbone(1, (16, 32))(torch.zeros(2, 1, 48, 48)).shape
    torch.Size([2, 32, 12, 12])
    """
    if not widths or min(channels, *widths) < 1:
        raise ValueError(f"backbone: expected channels >= 1 and widths >= 1, got {channels=} {widths=}")

    def stage(before: int, width: int) -> nn.Sequential:
        first = nn.Conv2d(before, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        return nn.Sequential(*first, nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())

    return nn.Sequential(*(stage(*pair) for pair in pairwise((channels, *widths))))


def convolutional(channels: int, side: int, features: int, width: int = 16) -> nn.Sequential:
    """Two convolutions of stride 2 and a linear layer: `(B, channels, side, side)` to `(B, features)`.

    `[:-1]` is everything before the last layer, `[:4]` the feature map `(B, 2 width, side / 4, side / 4)`.

    Raises:
        ValueError: a side that is no positive multiple of 4.

    >>> convolutional(3, 32, 10)(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """
    if side < 4 or side % 4:
        raise ValueError(f"convolutional: expected a side that is a positive multiple of 4, got {side}")
    first, second = nn.Conv2d(channels, width, 3, 2, 1), nn.Conv2d(width, 2 * width, 3, 2, 1)
    last = nn.Linear(2 * width * (side // 4) ** 2, features)
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), nn.Flatten(), last)


def transformer(width: int, layers: int, heads: int = 4) -> nn.TransformerEncoder:
    """A transformer encoder: `(B, L, width)` to the same shape; every place sees every other.

    PyTorch's own, in the order that trains without a warm-up: LayerNorm before attention and before the two linear
    layers of width `4 * width` with a GELU between, and once more at the end; no dropout. Positions are the caller's.

    Raises:
        ValueError: no layer, or a width that the heads do not divide.

    Source: Vaswani et al. (2017), "Attention is all you need", figure 1; Xiong et al. (2020), "On layer normalization
    in the transformer architecture".
    """
    if layers < 1 or heads < 1 or width < 1 or width % heads:
        raise ValueError(
            f"transformer: expected layers >= 1 and heads that divide the width, got {layers=} {heads=} {width=}"
        )
    layer = nn.TransformerEncoderLayer(width, heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
    return nn.TransformerEncoder(layer, layers, nn.LayerNorm(width), enable_nested_tensor=False)


def sinusoid(length: int, width: int) -> Tensor:
    """Fixed positions `(length, width)`: at place t, sin(t w_i) and then cos(t w_i), w_i = 10000^(-2i / width).

    Of unit scale, as the features that they are added to: much smaller ones are hardly read for hundreds of steps.

    Raises:
        ValueError: no place, or a width that is not even.

    Source: Vaswani et al. (2017), "Attention is all you need", section 3.5 (there sines and cosines alternate).

    >>> sinusoid(2, 4)[0].tolist()
    [0.0, 0.0, 1.0, 1.0]
    """
    if length < 1 or width < 2 or width % 2:
        raise ValueError(f"sinusoid: expected at least one place and an even width, got {length=} {width=}")
    slowness = 10000 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    angle = torch.arange(length, dtype=torch.float64)[:, None] * slowness
    return torch.cat([angle.sin(), angle.cos()], 1).float()


def sinusoid_grid(side: int, width: int) -> Tensor:
    """Fixed positions `(side * side, width)` of a square grid: half of the features tell the row, half the column.

    Raises:
        ValueError: no place, or a width that is no multiple of 4.

    Source: He et al. (2021), "Masked autoencoders are scalable vision learners", appendix A.1.
    """
    if side < 1 or width < 4 or width % 4:
        raise ValueError(f"sinusoid_grid: expected a side >= 1 and a width that 4 divides, got {side=} {width=}")
    line = sinusoid(side, width // 2)
    return torch.cat([line.repeat_interleave(side, 0), line.repeat(side, 1)], 1)


def patchify(x: Tensor, patch: int) -> Tensor:
    """Images cut into square patches, row by row: `(B, C, H, W)` to `(B, L, C * patch * patch)`.

    Raises:
        ValueError: another number of dimensions, or sides that `patch` does not divide.

    >>> patchify(torch.arange(16).view(1, 1, 4, 4), 2)[0, 1].tolist()
    [2, 3, 6, 7]
    """
    if x.ndim != 4 or patch < 1 or x.shape[2] % patch or x.shape[3] % patch:
        raise ValueError(f"patchify: expected (B, C, H, W) with sides that {patch} divides, got {tuple(x.shape)}")
    return x.unfold(2, patch, patch).unfold(3, patch, patch).permute(0, 2, 3, 1, 4, 5).flatten(1, 2).flatten(2)


def unpatchify(p: Tensor, patch: int, channels: int = 1) -> Tensor:
    """Square images from their patches: `(B, L, channels * patch * patch)` to `(B, channels, H, H)`.

    Raises:
        ValueError: a number of patches that is no square, or patches of another size.

    >>> x = torch.rand(2, 3, 8, 8)
    >>> bool((unpatchify(patchify(x, 4), 4, channels=3) == x).all())
    True
    """
    side = round(p.shape[1] ** 0.5) if p.ndim == 3 else 0
    if not side or side * side != p.shape[1] or p.shape[2] != channels * patch * patch:
        raise ValueError(f"unpatchify: expected (B, square, {channels * patch * patch}), got {tuple(p.shape)}")
    cells = p.view(len(p), side, side, channels, patch, patch)
    return cells.permute(0, 3, 1, 4, 2, 5).reshape(len(p), channels, side * patch, side * patch)
