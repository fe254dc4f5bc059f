"""Point clouds with a class: points of real meshes seen from one side, and handwritten digits as dots.

A cloud is `(N, 3)` and has no order: every function here that returns a batch of clouds shuffles each of them.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["closeness", "dots", "half_seen", "rotations", "shuffled", "surface", "voxels"]


def surface(mesh: tuple[Tensor, Tensor], count: int, generator: torch.Generator) -> Tensor:
    """Points `(count, 3)` drawn evenly from the surface of a mesh.

    A triangle is drawn in proportion to its area, a point in it by shares of its corners that are uniform on the
    simplex (normalised exponentials).

    Args:
        mesh: vertices `(V, 3)` and triangles `(F, 3)`, as `data.load("meshes")` has them.

    Raises:
        ValueError: vertices or triangles of another shape, or `count` below 1.

    >>> from utils import data
    >>> surface(data.load("meshes").ant, 5, torch.Generator().manual_seed(0)).shape
    torch.Size([5, 3])
    """
    vertices, triangles = mesh
    if vertices.shape[1:] != (3,) or triangles.shape[1:] != (3,) or count < 1:
        shapes = f"{tuple(vertices.shape)}, {tuple(triangles.shape)} and {count}"
        raise ValueError(f"surface: expected vertices (V, 3), triangles (F, 3) and count >= 1, got {shapes}")
    corners = vertices[triangles]
    area = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).norm(dim=-1)
    share = -torch.rand(count, 3, 1, generator=generator).log()
    drawn = corners[area.multinomial(count, replacement=True, generator=generator)]
    return (drawn * share / share.sum(1, keepdim=True)).sum(1)


def rotations(count: int, generator: torch.Generator) -> Tensor:
    """Uniform rotations `(count, 3, 3)`: orthogonal with determinant 1.

    Source: Stewart (1980), The efficient generation of random orthogonal matrices: Q of a normal matrix, with the
    signs of R's diagonal taken over.
    """
    Q, R = torch.linalg.qr(torch.randn(count, 3, 3, generator=generator))
    Q = Q * R.diagonal(dim1=1, dim2=2).sign()[:, None]
    return Q * torch.linalg.det(Q)[:, None, None].sign()


def shuffled(x: Tensor, generator: torch.Generator) -> Tensor:
    """The clouds `(B, N, 3)` with the points of each in a random order of its own."""
    order = torch.rand(x.shape[:2], generator=generator).argsort(1)
    return x.take_along_dim(order[..., None], 1)


def half_seen(
    surfaces: Tensor, count: int, generator: torch.Generator, N: int = 64, noise: float = 0.02
) -> tuple[Tensor, Tensor]:
    """Clouds `(count, N, 3)` of objects seen from one side, and which object each is `(count,)`.

    Of `2 N` points of the object, turned by a uniform rotation, the `N` of largest third coordinate stay. Each gets
    normal noise, and the cloud is centred on its mean.

    Args:
        surfaces: `(objects, P, 3)`, points to draw from, in radii of the object.
        noise: standard deviation in radii.
    """
    y = torch.randint(len(surfaces), (count,), generator=generator)
    which = torch.randint(surfaces.shape[1], (count, 2 * N), generator=generator)
    x = surfaces[y[:, None], which] @ rotations(count, generator)
    x = x.take_along_dim(x[..., 2:].topk(N, 1).indices, 1)
    x = x + noise * torch.randn(x.shape, generator=generator)
    return shuffled(x - x.mean(1, keepdim=True), generator), y


def dots(images: Tensor, generator: torch.Generator, count: int = 48) -> Tensor:
    """The `count` darkest pixels of 8x8 digits `(B, 64)`, grey 0..16, as clouds `(B, count, 3)`.

    A point is (to the right, down, darkness), each from -1 to 1.
    """
    ink, at = images.topk(count, 1)
    x = torch.stack([at % 8 / 3.5 - 1, at // 8 / 3.5 - 1, ink / 8 - 1], -1)
    return shuffled(x, generator)


def voxels(x: Tensor, side: int = 8) -> Tensor:
    """1 for each occupied cell and 0 for each empty one, `(B, side^3)`, of the cube from -1 to 1.

    Points outside the cube count for the cell nearest to them.
    """
    cell = ((x + 1) / 2 * side).floor().clamp(0, side - 1).long()
    place = (cell[..., 0] * side + cell[..., 1]) * side + cell[..., 2]
    return torch.zeros(len(x), side**3).scatter(1, place, 1)


def closeness(x: Tensor, bins: int = 12, width: float = 0.15) -> Tensor:
    """Shares `(B, bins)` of the pairs of points that are closer than `width`, `2 width`, ...: no turn changes them."""
    close = torch.cdist(x, x)[..., None] < width * torch.arange(1, bins + 1)
    return close.float().mean((1, 2))
