"""The stored curves of chapters/reinforcement/ddpg.md: `PYTHONPATH=. python benchmarks/curves_ddpg.py [NAME ...]`.

NAME `ours`: seven seeds of the chapter's DDPG; `sb3`: five of Stable-Baselines3's, with the same networks, noise and
other settings. 10,000 steps of Pendulum-v1, ten test episodes without noise every 1,000 steps. Four minutes on a core.
"""

import sys

import gymnasium
import torch

from tests.chapter import load
from utils import learning_curves
from utils.robots import play

SEEDS = {"ours": range(7), "sb3": range(5)}
STEPS, EVERY = 10_000, 1000


def test_return(actor) -> float:
    with torch.no_grad():
        return play(gymnasium.make("Pendulum-v1"), actor, 10, seed=1000).mean().item()


def ours(seed: int) -> list[float]:
    agents = load("reinforcement/ddpg").pendulum(seed, STEPS)
    return [test_return(agent.actor) for step, agent in enumerate(agents, 1) if step % EVERY == 0]


def stable_baselines(seed: int) -> list[float]:
    from stable_baselines3 import DDPG
    from stable_baselines3.common.noise import NormalActionNoise

    returns = []

    def watch(scope: dict, _) -> bool:
        model = scope["self"]
        if model.num_timesteps % EVERY == 0:
            returns.append(test_return(lambda s: model.predict(s.numpy(), deterministic=True)[0]))
        return True

    sigma = torch.full((1,), 0.1).numpy()  # of actions scaled to [-1, 1]: 0.2 of a torque
    settings = {"learning_starts": 500, "batch_size": 64, "policy_kwargs": {"net_arch": [64, 64]}}
    noise = NormalActionNoise(0 * sigma, sigma)
    model = DDPG("MlpPolicy", "Pendulum-v1", action_noise=noise, seed=seed, device="cpu", **settings)
    model.learn(STEPS, callback=watch)
    return returns


LEARNERS = {"ours": ours, "sb3": stable_baselines}


def main(names: list[str]) -> None:
    for name, learner in LEARNERS.items():
        if name not in names:
            continue
        rows = []
        for seed in SEEDS[name]:
            rows.append(learner(seed))
            print(name, seed, [round(x) for x in rows[-1]], flush=True)
        learning_curves.save(
            "ddpg_pendulum" + ("" if name == "ours" else f"_{name}"),
            torch.arange(EVERY, STEPS + 1, EVERY),
            rows,
            unit="reward per episode",
            made_by=f"PYTHONPATH=. python benchmarks/curves_ddpg.py {name}",
        )


if __name__ == "__main__":
    main(sys.argv[1:] or list(LEARNERS))
