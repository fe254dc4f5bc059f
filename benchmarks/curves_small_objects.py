"""The stored numbers of chapters/detection/small-objects.md.

`PYTHONPATH=. python benchmarks/curves_small_objects.py`: five seeds of detectors that answer at stride 16, 8 and 4:
average precision (IoU 0.5) of all test trees, of those below 16 pixels, from 16 to 24 and above, then recall.
Three minutes on a core.
"""

import torch

from tests.chapter import load
from utils import crowns, learning_curves

SEEDS, STRIDES = range(5), (16, 8, 4)


def main() -> None:
    chapter = load("detection/small-objects")
    made_by, unit = (
        "PYTHONPATH=. python benchmarks/curves_small_objects.py",
        "AP50, then recall; all trees, then by size",
    )
    for stride in STRIDES:
        rows = []
        for seed in SEEDS:
            net = crowns.trained(chapter.Detector, stride, seed=seed)
            rows.append(crowns.judged(lambda x, net=net: crowns.detect(net, x)))
            print(stride, seed, [round(x, 3) for x in rows[-1]], flush=True)
        learning_curves.save(f"small_objects_{stride}", torch.arange(len(rows[0])), rows, unit=unit, made_by=made_by)


if __name__ == "__main__":
    main()
