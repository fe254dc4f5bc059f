"""Learning curves of several seeds, made by a script and shipped, and the interval where one more seed should fall."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import torch
from scipy.stats import t
from torch import Tensor

from utils import data

__all__ = ["LearningCurves", "load", "save"]

_DATA = Path(__file__).parent.parent / "data"


class LearningCurves(NamedTuple):
    """Returns of several seeds at the same steps."""

    steps: Tensor  # (K,) environment steps, samples or updates
    returns: Tensor  # (seeds, K)
    unit: str
    made_by: str

    def interval(self, level: float = 0.99) -> tuple[Tensor, Tensor]:
        """Where one new seed falls with probability `level`: `(low, high)`, each `(K,)`.

        Student's prediction interval for normal returns: mean ± t s sqrt(1 + 1/n), with n - 1 degrees of freedom.

        Raises:
            ValueError: `level` outside (0, 1).

        >>> curves = LearningCurves(torch.tensor([1.0]), torch.tensor([[-1.0], [0.0], [1.0]]), "1", "by hand")
        >>> low, high = curves.interval(0.95)
        >>> round(high.item(), 3)  # 4.303 * sqrt(4 / 3)
        4.968
        """
        if not 0 < level < 1:
            raise ValueError(f"interval: expected a level in (0, 1), got {level}")
        n = len(self.returns)
        half = t.ppf((1 + level) / 2, n - 1) * self.returns.std(0) * (1 + 1 / n) ** 0.5
        return self.returns.mean(0) - half, self.returns.mean(0) + half


def load(name: str) -> LearningCurves:
    """The shipped curves of that name, after their checksum was verified.

    Raises:
        DataError: unknown name or damaged file.
    """
    stored = json.loads(data.path(f"learning_curves/{name}.json").read_text())
    steps, returns = (torch.tensor(stored[key], dtype=torch.float64) for key in ("steps", "returns"))
    return LearningCurves(steps, returns, stored["unit"], stored["made_by"])


def save(name: str, steps, returns, *, unit: str, made_by: str, folder: Path = _DATA) -> Path:
    """Write `learning_curves/<name>.json` and its line in `SHA256SUMS`; for the scripts in `benchmarks/`.

    Args:
        name: letters, digits and underscores.
        steps: `(K,)`; returns: `(seeds, K)` with at least 5 seeds, rounded to 5 significant digits.
        unit: of a return, such as "reward per episode".
        made_by: the command that made them.

    Raises:
        ValueError: a bad name, fewer than 5 seeds, lengths that differ, or values that are not finite.
    """
    steps, returns = (torch.as_tensor(x, dtype=torch.float64) for x in (steps, returns))
    if not name.isidentifier():
        raise ValueError(f"save: expected a name of letters, digits and underscores, got {name!r}")
    if returns.ndim != 2 or len(returns) < 5 or steps.shape != returns.shape[1:]:
        expected = "steps (K,) and returns (seeds >= 5, K)"
        raise ValueError(f"save: expected {expected}, got {tuple(steps.shape)} and {tuple(returns.shape)}")
    if not returns.isfinite().all():
        raise ValueError("save: expected finite returns, got " + str(returns[~returns.isfinite()][0].item()))
    rows = [[float(f"{x:.5g}") for x in row] for row in returns.tolist()]
    text = json.dumps({"unit": unit, "made_by": made_by, "steps": steps.tolist(), "returns": rows}) + "\n"
    return data.store(f"learning_curves/{name}.json", text.encode(), folder)
