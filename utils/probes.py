"""How much does a frozen representation know? The linear probe and the retrieval test of this book, in one place.

A representation is judged by what a *linear* reader finds in it, with few labels and with all of them. The protocol is
fixed here, so that the numbers of different chapters can be compared.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from typing import NamedTuple

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from torch.nn import functional as F

from utils import data
from utils.claims import claim

__all__ = ["Probe", "judge", "linear", "recall", "retrieval"]


class Probe(NamedTuple):
    """Test accuracies of linear probes on the 8x8 digits."""

    one: float  # one label a class, mean over ten choices of the ten labelled images
    five: float  # five labels a class, likewise
    every: float  # all 1,297 labels


COLUMNS = Probe("1 label a class", "5 labels a class", "all labels")


def linear(
    train: Tensor, y_train: Tensor, test: Tensor, y_test: Tensor, labels: int | None = None, draws: int = 10
) -> float:
    """The test accuracy of a linear classifier that was trained on frozen features.

    Each feature is standardised by the labelled training images; then multinomial logistic regression with
    scikit-learn's default penalty (half the squared norm of the weights, C = 1).

    Args:
        train: `(N, d)` features of training images, y_train: `(N,)` their classes.
        test: `(M, d)`, y_test: `(M,)`.
        labels: labelled images a class; None: all. With fewer, the mean over `draws` choices, the same for every model.

    Raises:
        ValueError: shapes that do not fit, features that are not finite, or fewer than `labels` images of a class.

    Source: the protocol of Alain and Bengio (2016), "Understanding intermediate layers using linear classifier probes".

    >>> x, y = torch.tensor([[0.0], [1.0], [4.0], [5.0]]), torch.tensor([0, 0, 1, 1])
    >>> linear(x, y, x + 0.1, y), linear(x, y, x, y, labels=1)
    (1.0, 1.0)
    """
    if train.ndim != 2 or test.ndim != 2 or train.shape[1] != test.shape[1]:
        raise ValueError(f"linear: expected (N, d) and (M, d), got {tuple(train.shape)} and {tuple(test.shape)}")
    if y_train.shape != train.shape[:1] or y_test.shape != test.shape[:1]:
        raise ValueError(f"linear: expected a class a row, got {tuple(y_train.shape)} and {tuple(y_test.shape)}")
    if not (train.isfinite().all() and test.isfinite().all()):
        raise ValueError("linear: expected finite features, got others")
    few = int(y_train.unique(return_counts=True)[1].min())
    if labels is not None and not 1 <= labels <= few:
        raise ValueError(f"linear: expected 1 to {few} labels a class, got {labels}")
    x, y, x_new, y_new = (t.detach().cpu().numpy() for t in (train, y_train, test, y_test))
    rows = [np.arange(len(x))] if labels is None else [_choice(y, labels, draw) for draw in range(draws)]
    return float(np.mean([_reader().fit(x[chosen], y[chosen]).score(x_new, y_new) for chosen in rows]))


def judge(model: str, features: Callable[[Tensor], Tensor], *, twin: str | None = None, **bounds) -> Probe:
    """Linear probes on the digits, claimed: three claims on the leaderboard "probe of digits".

    Args:
        model: the row, as a reader would say it.
        features: from digits `(B, 64)`, grey levels 0..16, to features `(B, d)`; called without gradients.
        twin: the broken model that the bounds catch.
        bounds: `one`, `five` and `every`, each an interval (above, below) of accuracies in [0, 1].

    Raises:
        ValueError: a field without an interval, or an unknown one, besides what `linear` and `claim` refuse.
    """
    if set(bounds) != set(Probe._fields):
        raise ValueError(f"judge: expected one interval for each of {Probe._fields}, got {tuple(bounds)}")
    digits = data.digits()
    with torch.no_grad():
        sides = features(digits.x_train), digits.y_train, features(digits.x_test), digits.y_test
    measured = Probe(linear(*sides, labels=1), linear(*sides, labels=5), linear(*sides))
    for field, column in COLUMNS._asdict().items():
        above, below = bounds[field]
        place = ("probe of digits", model, column)
        claim(f"{model}: probe, {column}", getattr(measured, field), above=above, below=below, twin=twin, board=place)
    return measured


def recall(queries: Tensor, gallery: Tensor) -> float:
    """Recall at 1: the share of rows of `queries` whose nearest row of `gallery`, by cosine, is the one of their index.

    A tie counts by its share: rows that are all alike find their own one time in N.

    Raises:
        ValueError: shapes that are not twice (N, d).

    >>> recall(torch.eye(3), torch.eye(3)), recall(torch.ones(4, 2), torch.ones(4, 2))
    (1.0, 0.25)
    """
    if queries.ndim != 2 or queries.shape != gallery.shape or not len(queries):
        raise ValueError(f"recall: expected twice (N, d), got {tuple(queries.shape)} and {tuple(gallery.shape)}")
    near = F.normalize(queries.double(), dim=1) @ F.normalize(gallery.double(), dim=1).T
    best = near >= near.max(1, keepdim=True).values - 1e-12
    return float((best.diagonal() / best.sum(1)).mean())


def retrieval(
    model: str, embed: Callable[[Tensor], Tensor], *, bound: tuple[float, float], twin: str | None = None
) -> float:
    """Recall at 1 among the 201 test emoji, from one drawing style to another: one claim on "emoji across styles".

    The mean over the six ordered pairs of styles; chance is 1 / 201.

    Args:
        model: the row, as a reader would say it.
        embed: from pictures `(B, 3, 32, 32)` in [0, 1] to `(B, d)`; called without gradients.
        bound: interval (above, below) of the recall.
        twin: the broken model that the bound catches.
    """
    with torch.no_grad():
        z = [embed(style) for style in data.emoji().x_test.unbind(1)]
    found = float(np.mean([recall(a, b) for a, b in permutations(z, 2)]))
    place = ("emoji across styles", model, "recall at 1")
    claim(f"{model}: recall at 1 across styles", found, above=bound[0], below=bound[1], twin=twin, board=place)
    return found


def _reader():
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000))


def _choice(y: np.ndarray, labels: int, draw: int) -> np.ndarray:
    random = np.random.default_rng(draw)
    return np.concatenate([random.permutation(np.flatnonzero(y == k))[:labels] for k in np.unique(y)])
