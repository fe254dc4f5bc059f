"""Learning curves of the chapter's DQN on CartPole: seeds 1 to 8; the chapter runs seed 0.

    PYTHONPATH=. python benchmarks/curves_value_functions.py

40,000 steps a seed, about 15 s each on one core. Writes `data/learning_curves/dqn_cartpole.json`.
"""

import gymnasium
import torch

from tests.chapter import load
from utils import learning_curves

STEPS, SEEDS = 40_000, range(1, 9)


def main() -> None:
    torch.set_num_threads(1)
    chapter, curves = load("reinforcement/value-functions"), []
    for seed in SEEDS:
        env = gymnasium.make("CartPole-v1")
        curves.append(torch.tensor([returned for _, returned in chapter.dqn(env, STEPS, seed)]))
        print(seed, [round(x) for x in curves[-1].tolist()], flush=True)
    made_by = "python benchmarks/curves_value_functions.py"
    steps = torch.arange(1, 11) * STEPS / 10
    learning_curves.save("dqn_cartpole", steps, torch.stack(curves), unit="reward per episode", made_by=made_by)


if __name__ == "__main__":
    main()
