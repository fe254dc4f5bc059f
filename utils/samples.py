"""How good are generated 8x8 digits? Three distances to the test digits, each blind to something, and a memory check.

The Frechet distance sees two moments only; the nearest-neighbour test rewards copies; the class histogram ignores what
an image looks like. A model is judged by all of them, and by how near its samples lie to the training images.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import torch
from sklearn.svm import SVC
from torch import Tensor

from utils import data
from utils.claims import claim

__all__ = ["Quality", "frechet", "judge", "quality", "two_sample"]


class Quality(NamedTuple):
    """What `quality` measures; in the comments, what perfect samples would have."""

    frechet: float  # 0, in practice 0.07 (training against test digits)
    fake: float  # 0.5: a sample's nearest neighbour is a sample as often as a test digit
    real: float  # 0.5: and the same for a test digit
    classes: float  # 0, in practice 0.05 (500 draws of ten equal classes)
    nearest: float  # 1; 0 for copies of training images


COLUMNS = Quality(
    "Frechet distance",
    "1-NN accuracy on samples",
    "1-NN accuracy on test digits",
    "class total variation",
    "distance to training images",
)


def frechet(x: Tensor, y: Tensor) -> float:
    """The squared 2-Wasserstein distance of the Gaussians with the moments of two samples.

    |m_x - m_y|^2 + tr(C_x + C_y - 2 (C_x^1/2 C_y C_x^1/2)^1/2). Not an FID: the features are the pixels.

    Args:
        x: `(N, D)`, y: `(M, D)`; at least two rows each.

    Raises:
        ValueError: shapes that do not fit.

    Source: Dowson and Landau (1982), "The Frechet distance between multivariate normal distributions".

    >>> x = torch.tensor([[-1.0], [1.0]])
    >>> frechet(x, x + 3)
    9.0
    """
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
        raise ValueError(f"frechet: expected (N >= 2, D) and (M >= 2, D), got {tuple(x.shape)} and {tuple(y.shape)}")
    x, y = x.double(), y.double()
    c_x, c_y = (z.T.cov().view(x.shape[1], -1) for z in (x, y))
    values, vectors = torch.linalg.eigh(c_x)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ c_y @ root).clamp(min=0).sqrt().sum()
    apart = (x.mean(0) - y.mean(0)).square().sum() + c_x.trace() + c_y.trace() - 2 * cross
    return float(apart.clamp(min=0))


def two_sample(x: Tensor, y: Tensor) -> tuple[float, float]:
    """The leave-one-out accuracy, on `x` and on `y`, of one nearest neighbour that tells the two samples apart.

    Near 0.5 on both: they mix. Near 1 on `x`: its rows cluster among themselves (collapsed, or off the data). Below 0.5
    on both: rows of one lie suspiciously close to rows of the other. Ties count by their share.

    Args:
        x: `(N, D)`, y: `(N, D)`; the same number of rows, at least two.

    Raises:
        ValueError: shapes that differ.

    Source: Lopez-Paz and Oquab (2017), "Revisiting classifier two-sample tests".

    >>> two_sample(torch.tensor([[0.0], [1.0]]), torch.tensor([[8.0], [9.0]]))
    (1.0, 1.0)
    """
    if x.ndim != 2 or x.shape != y.shape or len(x) < 2:
        raise ValueError(f"two_sample: expected twice (N >= 2, D), got {tuple(x.shape)} and {tuple(y.shape)}")
    both, own = torch.cat([x, y]).double(), torch.arange(2 * len(x)) < len(x)
    apart = torch.cdist(both, both, compute_mode="donot_use_mm_for_euclid_dist").fill_diagonal_(torch.inf)
    nearest = apart == apart.min(1, keepdim=True).values
    right = (nearest & (own == own[:, None])).sum(1) / nearest.sum(1)
    return float(right[: len(x)].mean()), float(right[len(x) :].mean())


def quality(x: Tensor, binary: bool = False) -> Quality:
    """Generated digits held against the 500 test digits, in units of the grey scale: 0 black, 1 white.

    Args:
        x: `(500, 64)` grey levels in 0..16, not necessarily whole; with `binary`, bits 0 and 1.
        binary: compare with the binary digits `x > 7`.

    Raises:
        ValueError: another shape, or values that are not finite or, for bits, not 0 and 1.

    >>> [round(q, 2) for q in quality(data.digits().x_train[:500])]
    [0.11, 0.5, 0.48, 0.04, 0.0]
    """
    x = x.detach().double()
    if x.shape != (500, 64):
        raise ValueError(f"quality: expected 500 digits (500, 64), got {tuple(x.shape)}")
    if not x.isfinite().all() or (binary and not ((x == 0) | (x == 1)).all()):
        raise ValueError(f"quality: expected {'bits 0 and 1' if binary else 'finite grey levels'}, got others")
    train, test, classifier = _reference(binary)
    x = x if binary else x / 16
    counts = [
        torch.bincount(torch.as_tensor(y), minlength=10) for y in (classifier.predict(x.numpy()), data.digits().y_test)
    ]
    far = [torch.cdist(z, train).min(1).values.median() for z in (x, test)]
    classes = (counts[0] - counts[1]).abs().sum() / 1000
    return Quality(frechet(x, test), *two_sample(x, test), float(classes), float(far[0] / far[1]))


def judge(model: str, x: Tensor, *, binary: bool = False, twin: str | None = None, **bounds) -> Quality:
    """`quality`, claimed: five claims on the leaderboard "samples of digits" (or "samples of binary digits").

    Args:
        model: the row, as a reader would say it.
        x: as in `quality`.
        twin: the broken model that the bounds catch.
        bounds: for each field of `Quality` its interval (above, below).

    Raises:
        ValueError: a field without an interval, or an unknown one, besides what `quality` and `claim` refuse.
    """
    if set(bounds) != set(Quality._fields):
        raise ValueError(f"judge: expected one interval for each of {Quality._fields}, got {tuple(bounds)}")
    measured = quality(x, binary)
    board = f"samples of {'binary ' * binary}digits"
    for field, column in COLUMNS._asdict().items():
        above, below = bounds[field]
        value = getattr(measured, field)
        claim(f"{model}: {column}", value, above=above, below=below, twin=twin, board=(board, model, column))
    return measured


@cache
def _reference(binary: bool) -> tuple[Tensor, Tensor, SVC]:
    """Training and test digits in [0, 1], and a classifier fitted on the training digits."""
    digits = data.digits()
    images = (digits.x_train, digits.x_test)
    train, test = ((x > 7).double() if binary else x.double() / 16 for x in images)
    return train, test, SVC().fit(train.numpy(), digits.y_train.numpy())
