"""The chapter's masked autoencoder of the digits at three training shares, seeds 1 to 5; the chapter trains seed 0.

    PYTHONPATH=. python benchmarks/curves_masked_autoencoder.py

About 15 s a run on one core, 15 runs. Writes two files of `data/learning_curves/`, whose "steps" are the shares of
hidden patches: the error of a hidden pixel, and the linear probe of the mean embedding with 5 labels a class.
"""

import torch

from tests.chapter import load
from utils import learning_curves

SHARES, SEEDS = (0.25, 0.5, 0.75), range(1, 6)
UNITS = {"error": "squared ink", "probe": "accuracy, 5 labels a class"}


def measured(chapter, r: float, seed: int) -> tuple[float, float]:
    """The test error at the share of the training, and the probe, of whole images."""
    net = chapter.pretrained(r, seed)
    error = chapter.test_error(lambda x, visible, hidden, restore: net(x, visible, restore), r)
    accuracy = chapter.probed(lambda x: net.encode(chapter.patches(x)).mean(1))
    print(r, seed, float(error), accuracy, flush=True)
    return float(error), accuracy


def main() -> None:
    torch.set_num_threads(1)
    chapter = load("representation/masked-autoencoder")
    table = torch.tensor([[measured(chapter, r, seed) for seed in SEEDS] for r in SHARES])  # (shares, seeds, 2)
    for (name, unit), returns in zip(UNITS.items(), table.permute(2, 1, 0), strict=True):
        made_by = "python benchmarks/curves_masked_autoencoder.py"
        learning_curves.save(f"masked_autoencoder_{name}", torch.tensor(SHARES), returns, unit=unit, made_by=made_by)


if __name__ == "__main__":
    main()
