"""The edits of chapters/detection/yolo.md, each trained for two epochs on seeds 1 to 5; the chapter trains seed 0.

    PYTHONPATH=. python benchmarks/curves_yolo.py [runs.txt]

About 4 s a run on one quiet core, 35 runs. Each is appended to runs.txt, and a run that stands there already is not
made again. Writes two files of `data/learning_curves/`, whose "steps" number the entries of the chapter's `MISTAKES`:
the mean overlap with the object of the better predictor, and of the more confident one.
"""

import sys
from pathlib import Path

import torch

from tests.chapter import load
from utils import learning_curves, scenes

SEEDS = range(1, 6)


def runs(file: Path) -> dict[tuple[str, int], list[float]]:
    """What each edit and seed reached, as far as the file knows."""
    rows = [line.split("|") for line in file.read_text().splitlines()] if file.exists() else []
    return {(name, int(seed)): [float(u) for u in reached.split()] for name, seed, reached in rows}


def main(file: Path) -> None:
    torch.set_num_threads(1)
    chapter = load("detection/yolo")
    chapter.data = scenes.scattered_digits()
    for run in [(name, seed) for seed in SEEDS for name in chapter.MISTAKES if (name, seed) not in runs(file)]:
        better, confident = chapter.judged(chapter.MISTAKES[run[0]], run[1])
        with file.open("a") as log:
            log.write(f"{run[0]}|{run[1]}|{better} {confident}\n")
    found = runs(file)
    table = torch.tensor([[found[name, seed] for name in chapter.MISTAKES] for seed in SEEDS])  # (seeds, edits, 2)
    for predictor, returns in zip(("better", "confident"), table.movedim(2, 0), strict=True):
        made_by = "PYTHONPATH=. python benchmarks/curves_yolo.py"
        learning_curves.save(
            f"yolo_{predictor}", range(len(chapter.MISTAKES)), returns, unit="mean overlap (IoU)", made_by=made_by
        )


if __name__ == "__main__":
    main(Path(sys.argv[1] if sys.argv[1:] else "runs.txt"))
