"""Measure the learning curves of the chapter on Kimi k1.5: `PYTHONPATH=. python benchmarks/curves_kimi_k15.py`.

Every method starts from the same imitator of the seed and sees the same number of samples: 64 problems times 8
responses a round. About four minutes on one core.
"""

import copy
from functools import partial

import torch

from tests.chapter import load
from utils import learning_curves
from utils.arithmetic import share_solved, student

SEEDS = range(1, 6)


def short_first(x: torch.Tensor, success: torch.Tensor, round: int) -> torch.Tensor:
    """The curriculum: problems of up to 3 digits, 15 rounds later up to 4, then all."""
    return ((x < 10).sum(1) <= 3 + round // 15).float()


def curve(chapter, imitator, x, generator, loss, settings) -> list[float]:
    """The share of the test problems solved, before the first round and after every fifth."""
    policy = copy.deepcopy(imitator)
    before = share_solved(policy, generator)
    rounds = chapter.improve(policy, x, loss, generator, **settings)
    return [before, *(share_solved(policy, generator) for done in rounds if done % 5 == 0)]


def methods(chapter) -> dict[str, tuple]:
    """Loss and settings of every curve, by name."""
    kimi = chapter.kimi_loss
    return {
        "kimi": (kimi, {}),
        "expert": (chapter.expert_loss, {}),
        "reinforce": (kimi, {"steps": 1, "lr": 6e-3}),
        "reused": (partial(kimi, tau=0.0), {}),
        "prioritised": (kimi, {"weights": chapter.prioritised}),
        "curriculum": (kimi, {"weights": short_first}),
    }


def main() -> None:
    chapter = load("reinforcement/kimi-k15")
    curves = {name: [] for name in methods(chapter)}
    for seed in SEEDS:
        imitator, x, _ = student(seed)
        for name, (loss, settings) in methods(chapter).items():
            generator = torch.Generator().manual_seed(seed)
            curves[name].append(curve(chapter, imitator, x, generator, loss, settings))
            print(seed, name, curves[name][-1], flush=True)
    for name, rows in curves.items():
        learning_curves.save(
            f"kimi_k15_{name}",
            [512 * 5 * i for i in range(len(rows[0]))],
            rows,
            unit="share of problems solved",
            made_by="PYTHONPATH=. python benchmarks/curves_kimi_k15.py",
        )


if __name__ == "__main__":
    main()
