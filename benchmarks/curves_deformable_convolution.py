"""The stored curves of chapters/detection/deformable-convolution.md.

`PYTHONPATH=. python benchmarks/curves_deformable_convolution.py`: seven seeds of each of the three
readers, 500 steps; test accuracy every 50 steps, and the spread of the nine looks at digits
of five sizes. Four minutes on a core.
"""

import torch

from tests.chapter import load
from utils import learning_curves

SEEDS, STEPS, EVERY = range(7), 500, 50
SIZES = (0.5, 0.7, 0.9, 1.1, 1.3)


def main() -> None:
    chapter = load("detection/deformable-convolution")
    for kind in ("fixed", "shared", "deformable"):
        rows, spreads = [], []
        for seed in SEEDS:
            rows.append([])
            for step, reader in enumerate(chapter.training_run(kind, seed, STEPS), 1):
                if step % EVERY == 0:
                    rows[-1].append(chapter.accuracy(reader))
            spreads.append([chapter.spread(chapter.looks_at(reader, size)).item() for size in SIZES])
            print(kind, seed, rows[-1][-1], [round(s, 3) for s in spreads[-1]], flush=True)
        made_by = "PYTHONPATH=. python benchmarks/curves_deformable_convolution.py"
        steps = torch.arange(EVERY, STEPS + 1, EVERY)
        learning_curves.save(f"deformable_{kind}", steps, rows, unit="share of digits read", made_by=made_by)
    learning_curves.save("deformable_spread", SIZES, spreads, unit="cells, by the digit's size", made_by=made_by)


if __name__ == "__main__":
    main()
