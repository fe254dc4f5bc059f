"""A2C with GAE on CartPole: ten seeds, ten windows of 16,000 steps.

Run as `PYTHONPATH=. python benchmarks/curves_actor_critic.py`. The chapter draws these curves, runs one more seed
live and asserts that it falls inside their interval.
"""

import torch

from tests.chapter import load
from utils import learning_curves

SEEDS = range(1, 11)


def main() -> None:
    """Run every seed and write `data/learning_curves/a2c_cartpole.json`."""
    chapter = load("reinforcement/actor-critic")
    rows = []
    for seed in SEEDS:
        rows.append(chapter.curve(chapter.a2c(seed)))
        print(seed, rows[-1].round().tolist(), flush=True)
    learning_curves.save(
        "a2c_cartpole",
        torch.arange(1, 11) * 16_000,
        torch.stack(rows),
        unit="reward per episode",
        made_by="PYTHONPATH=. python benchmarks/curves_actor_critic.py",
    )


if __name__ == "__main__":
    main()
