"""Measure the learning curves of the chapter on BERT: `PYTHONPATH=. python benchmarks/curves_bert.py [name ...]`.

Every variant reads the same lines for the same number of steps, 5 seeds each. It writes
`data/learning_curves/bert_*.json` and, from the first seed of three variants, `data/weights/bert_*.safetensors`; the
share of right verdicts on halves of a line starts from these weights. About fifteen minutes on one core. Run again, the
curves agree to all digits for 400 steps; later rounding may drive them apart, by a few hundredths at step 1000.
"""

import sys

import torch
from torch.nn import functional as F

from tests.chapter import load
from utils import learning_curves, training, weights

SEEDS = range(1, 6)
STEPS, EVERY, TANG_STEPS = 1000, 200, 400
COMMAND = "PYTHONPATH=. python benchmarks/curves_bert.py"
VARIANTS = {
    "bert": {},
    "mask": {"split": (1.0, 0.0)},
    "random": {"split": (0.0, 1.0)},
    "rate30": {"rate": 0.3},
    "shared": {},
    "tang": {},
}
TUNED = {"tuned": True, "scratch": False}


@torch.no_grad()
def nats(chapter, model, x) -> float:
    """Cross-entropy of hidden characters, rare ones left out."""
    hidden = chapter.pick(x.shape, 0.15, torch.Generator().manual_seed(0)) & (x < chapter.RARE)
    return F.cross_entropy(model(x.where(~hidden, chapter.RARE + 1))[hidden], x[hidden]).item()


def curve(chapter, name: str, seed: int):
    """What one run reaches every 200 steps, `(K, measures)`, and its model."""
    tang = name.startswith("tang")
    x, x_test = chapter.quatrains()[:2] if tang else chapter.lines()
    generator, found = training.seed(seed), []
    model = chapter.Bert(chapter.RARE + 1, 28) if tang else chapter.Bert(27, 32, shared=name == "shared")
    for step, _ in chapter.pretrain(model, x, TANG_STEPS if tang else STEPS, generator, **VARIANTS[name]):
        if (step + 1) % EVERY == 0:
            extra = [nats(chapter, model, x_test)] if tang else []
            found.append(chapter.reading(model, x_test[:400]) + extra)
    return torch.tensor(found), model


def tuned(chapter, name: str, seed: int) -> float:
    """The share of right verdicts after 300 steps."""
    x, x_test = chapter.lines()
    generator, model = training.seed(seed), chapter.Bert(27, 32)
    if TUNED[name]:
        model.load_state_dict(weights.load("bert_bert"))
    return chapter.finetune(model, x, x_test, 300, generator)


def save(name: str, steps, returns, unit: str = "share") -> None:
    """Ship one measure of one variant."""
    learning_curves.save(f"bert_{name}", steps, returns, unit=unit, made_by=COMMAND)


def main() -> None:
    chapter = load("representation/bert")
    for name in sys.argv[1:] or [*VARIANTS, *TUNED]:
        if name in TUNED:
            shares = [tuned(chapter, name, seed) for seed in SEEDS]
            print(name, shares, flush=True)
            save(name, [300], torch.tensor(shares)[:, None])
            continue
        rows = []
        for seed in SEEDS:
            found, model = curve(chapter, name, seed)
            rows.append(found)
            print(name, seed, found[-1].tolist(), flush=True)
            if seed == SEEDS[0] and name in ("bert", "mask", "random"):
                weights.save(f"bert_{name}", model.state_dict(), made_by=COMMAND)
        steps = [EVERY * (i + 1) for i in range(found.shape[0])]
        for n, measure in enumerate(["fills", "copies", "repairs", "nats"][: found.shape[1]]):
            save(f"{name}_{measure}", steps, torch.stack(rows)[:, :, n], "nats" if n == 3 else "share")


if __name__ == "__main__":
    main()
