"""Features of a region: values between pixels, and pooling of a box into a grid of bins, rounded or not.

Positions and boxes are in pixels as in `boxes`: pixel i covers [i, i + 1], so its centre is at i + 1/2.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["bilinear", "roi_align", "roi_pool"]


def bilinear(features: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Values at real positions: the mean of the four nearest pixels, weighted by nearness; pixels outside count as 0.

    `sum_q max(0, 1 - |x - q_x|) max(0, 1 - |y - q_y|) features[q]` over pixel centres q. Differentiable in everything,
    except in `x` and `y` where they pass a pixel's centre; there it has the slope of the right or lower side.

    Args:
        features: one map `(C, H, W)`, or `(B, C, H, W)` and then positions `(B, ...)`, those of each map.
        x, y: positions of one shape, to the right and down, of the features' dtype.

    Returns:
        `(C, *x.shape)`, or `(B, C, ...)`.

    Raises:
        ValueError: features or positions of another shape or dtype.

    Source: Jaderberg et al. (2015), equation 5. Taught in: detection/deformable-convolution.

    >>> bilinear(torch.tensor([[[2.0, 6.0]]]), torch.tensor([1.0]), torch.tensor([0.5]))
    tensor([[4.]])
    """
    fits = features.ndim == 3 or (features.ndim == 4 and x.shape[:1] == features.shape[:1])
    if not fits or x.shape != y.shape or not features.dtype == x.dtype == y.dtype:
        got = [f"{tuple(t.shape)} {t.dtype}" for t in (features, x, y)]
        raise ValueError(f"bilinear: expected features (C, H, W) or (B, C, H, W), x and y of one shape, got {got}")
    if features.ndim == 3:
        return _values(features[None], torch.tensor(0, device=x.device), x, y).movedim(-1, 0)
    own = torch.arange(len(x), device=x.device).view(-1, *[1] * (x.ndim - 1))
    return _values(features, own, x, y).movedim(-1, 1)


def roi_align(
    features: Tensor, regions: Tensor, picture: Tensor, bins: int, scale: float = 1.0, samples: int = 2
) -> Tensor:
    """Each region's bins x bins grid of means over `samples` x `samples` bilinear values a bin; nothing is rounded.

    A sample outside the map takes the value of its edge; one that is more than half a cell outside is 0.

    Args:
        features: `(B, C, H, W)`.
        regions: `(R, 4)` boxes `(x1, y1, x2, y2)` in pixels of the picture.
        picture: `(R,)` int64, which of the B a region lies in.
        bins: cells a side.
        scale: cells of the map per pixel of the picture, 1 / stride.
        samples: a side, in each bin.

    Returns:
        `(R, C, bins, bins)`, rows first.

    Raises:
        ValueError: shapes that do not fit, `bins`, `scale` or `samples` not positive.

    Source: He et al. (2017), section 3 (with the half-pixel centres of later code). Taught in:
    detection/spatial-pyramid-pooling.
    """
    _check("roi_align", features, regions, picture, bins, scale, samples)
    height, width = features.shape[2:]
    x1, y1, x2, y2 = (regions * scale).T[:, :, None]  # (R, 1)
    part = (torch.arange(bins * samples, dtype=regions.dtype, device=regions.device) + 0.5) / (bins * samples)
    x, y = torch.broadcast_tensors((x1 + (x2 - x1) * part)[:, None], (y1 + (y2 - y1) * part)[:, :, None])
    inside = (x >= -0.5) & (x <= width + 0.5) & (y >= -0.5) & (y <= height + 0.5)  # (R, bins * samples, bins * samples)
    edge = x.clamp(0.5, width - 0.5), y.clamp(0.5, height - 0.5)
    value = _values(features, picture[:, None, None], *edge) * inside[..., None]
    return value.unflatten(2, (bins, samples)).unflatten(1, (bins, samples)).mean((2, 4)).permute(0, 3, 1, 2)


def roi_pool(features: Tensor, regions: Tensor, picture: Tensor, bins: int, scale: float = 1.0) -> Tensor:
    """Each region's bins x bins grid of maxima over whole cells, after its edges were rounded to cells; empty bins 0.

    The region's cells are `round(scale * x1)` to `round(scale * x2)`, both included, as in the original code. Of n
    cells bin i takes those from `floor(i n / bins)` up to `ceil((i + 1) n / bins)`. Halves are rounded up.

    Args, returns and errors as in `roi_align`.

    Source: Girshick (2015), section 2.1 and its code. Taught in: detection/spatial-pyramid-pooling.
    """
    _check("roi_pool", features, regions, picture, bins, scale, 1)
    height, width = features.shape[2:]
    cells = (regions.detach() * scale + 0.5).floor().long().tolist()
    pooled = []
    for one, (x1, y1, x2, y2) in zip(picture.tolist(), cells, strict=True):
        rows, columns = _bins(y1, y2, bins, height), _bins(x1, x2, bins, width)
        parts = [features[one][:, r, c] for r in rows for c in columns]
        empty = features.new_zeros(features.shape[1])
        grid = [part.amax((1, 2)) if part.numel() else empty for part in parts]
        pooled.append(torch.stack(grid, 1).unflatten(1, (bins, bins)))
    return torch.stack(pooled) if pooled else features.new_zeros(0, features.shape[1], bins, bins)


def _values(features: Tensor, picture: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """`bilinear` in picture `picture` (an index that broadcasts with x) of `(B, C, H, W)`: `(*x.shape, C)`."""
    height, width = features.shape[2:]
    x, y = x - 0.5, y - 0.5  # in indices
    left, top = x.detach().floor(), y.detach().floor()
    across, down = x - left, y - top  # not |x - left|: torch's slope of |0| is 0, which is that of neither side
    value = 0
    for i, j in ((0, 0), (1, 0), (0, 1), (1, 1)):
        column, row = left + i, top + j
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        weight = (across if i else 1 - across) * (down if j else 1 - down) * inside
        at = row.clamp(0, height - 1).long(), column.clamp(0, width - 1).long()
        value = value + weight[..., None] * features.permute(0, 2, 3, 1)[picture, *at]
    return value


def _bins(first: int, last: int, bins: int, side: int) -> list[slice]:
    count = max(last - first + 1, 1)
    edges = [(i * count // bins, -(-(i + 1) * count // bins)) for i in range(bins)]
    return [slice(*(min(max(first + edge, 0), side) for edge in pair)) for pair in edges]


def _check(name, features, regions, picture, bins, scale, samples) -> None:
    fits = features.ndim == 4 and regions.ndim == 2 and regions.shape[1] == 4 and picture.shape == regions.shape[:1]
    if not fits or picture.dtype != torch.int64 or features.dtype != regions.dtype:
        got = [f"{tuple(x.shape)} {x.dtype}" for x in (features, regions, picture)]
        raise ValueError(f"{name}: expected features (B, C, H, W), regions (R, 4), picture (R,) int64, got {got}")
    if len(picture) and not 0 <= int(picture.min()) <= int(picture.max()) < len(features):
        raise ValueError(f"{name}: expected pictures 0 to {len(features) - 1}, got {picture.tolist()}")
    if bins < 1 or samples < 1 or not scale > 0:
        raise ValueError(f"{name}: expected bins >= 1, samples >= 1 and scale > 0, got {bins=} {samples=} {scale=}")
