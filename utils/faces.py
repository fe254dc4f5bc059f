"""Faces and what is none: the windows of Labeled Faces in the Wild that scikit-image ships, and grey photographs."""

from __future__ import annotations

from functools import cache

import torch
from skimage import data as photographs
from torch import Tensor
from torch.nn.functional import interpolate

__all__ = ["COUNTED", "LEARNT", "MINED", "TEST", "grey", "twelve", "varied", "windows"]

_ORDER = torch.randperm(100, generator=torch.Generator().manual_seed(0))
LEARNT, TEST = _ORDER[:70], _ORDER[70:]  # of 100 faces, and of 100 others
MINED = ("coffee", "rocket", "coins", "brick", "gravel")  # photographs without a face, to learn from
COUNTED = ("chelsea", "grass", "page", "moon")  # and to count false faces on


@cache
def windows() -> tuple[Tensor, Tensor]:
    """100 faces and 100 other windows, each `(100, 1, 25, 25)` grey in [0, 1].

    Source: Huang et al. (2007), through scikit-image's `lfw_subset`. Taught in: detection/small-objects.

    >>> [tuple(x.shape) for x in windows()]
    [(100, 1, 25, 25), (100, 1, 25, 25)]
    """
    every = torch.from_numpy(photographs.lfw_subset()).float()[:, None]
    return every[:100], every[100:]


def grey(name: str) -> Tensor:
    """A photograph of scikit-image, such as "astronaut", as grey `(H, W)` in [0, 1] (Rec. 601 luma).

    Raises:
        ValueError: scikit-image has no such photograph.
    """
    if name not in photographs.__all__:
        raise ValueError(f"grey: expected a photograph of skimage.data, got {name!r}")
    x = torch.from_numpy(getattr(photographs, name)().copy()).float() / 255
    return x if x.ndim == 2 else x @ torch.tensor([0.299, 0.587, 0.114])


def twelve(x: Tensor) -> Tensor:
    """Pictures `(B, 1, H, W)` shrunken to 12 x 12, bilinear with a blur before."""
    return interpolate(x, (12, 12), mode="bilinear", antialias=True)


def varied(x: Tensor, generator: torch.Generator, copies: int = 6) -> Tensor:
    """`copies` variants of each window `(B, 1, 25, 25)`, 12 x 12: shifted, scaled, mirrored, brighter or flatter.

    Raises:
        ValueError: windows of another size.
    """
    if x.shape[1:] != (1, 25, 25):
        raise ValueError(f"varied: expected windows (B, 1, 25, 25), got {tuple(x.shape)}")
    out = []
    for _ in range(copies):
        side = int(torch.randint(21, 26, (), generator=generator))
        row, column = torch.randint(0, 26 - side, (2,), generator=generator).tolist()
        y = twelve(x[..., row : row + side, column : column + side])
        gain, shift = torch.rand(2, len(x), 1, 1, 1, generator=generator)
        mean = y.mean((2, 3), keepdim=True)
        y = (y - mean) * (0.6 + 0.8 * gain) + mean + 0.2 * shift - 0.1
        out.append(y.flip(3) if torch.rand((), generator=generator) < 0.5 else y)
    return torch.cat(out)
