"""The stored numbers of chapters/detection/small-objects.md, and the seeds behind its other claims.

`PYTHONPATH=. python benchmarks/curves_small_objects.py`: five seeds of detectors that answer at stride 16, 8 and 4:
average precision (IoU 0.5) of all test trees, of those below 16 pixels, from 16 to 24 and above, then recall. Then,
printed only, what the claims on tiles, small trees and mined faces measure, a line a seed. Ten minutes on a core that
is shared.
"""

import torch

from tests.chapter import load
from utils import boxes, crowns, faces, learning_curves

SEEDS, STRIDES = range(5), (16, 8, 4)


def store_curves(chapter) -> list[torch.nn.Module]:
    """Save the three files; return the finest detectors, one a seed."""
    made_by, unit = (
        "PYTHONPATH=. python benchmarks/curves_small_objects.py",
        "AP50, then recall; all trees, then by size",
    )
    for stride in STRIDES:
        rows, nets = [], [crowns.trained(chapter.Detector, stride, seed=seed) for seed in SEEDS]
        for seed, net in zip(SEEDS, nets, strict=True):
            rows.append(crowns.judged(lambda x, net=net: crowns.detect(net, x)))
            print(stride, seed, [round(x, 3) for x in rows[-1]], flush=True)
        learning_curves.save(f"small_objects_{stride}", torch.arange(len(rows[0])), rows, unit=unit, made_by=made_by)
    return nets


def trees(chapter, net) -> dict[str, float]:
    """Which trees have a box among the best answers, two for each tree: on tiles and in the whole photographs."""
    test = crowns.parts().test
    across = torch.cat([chapter.cut(b, photo.shape[1:], 96, 0) for photo, b in test])
    tiny = torch.cat([(b[:, 2:] - b[:, :2]).prod(1) < 16**2 for _, b in test])

    def placed(find):
        return torch.cat([boxes.iou(b[:, None], find(photo)[0][: 2 * len(b)]).amax(1) for photo, b in test])

    whole = placed(lambda photo: crowns.detect(net, photo))
    beside = (placed(lambda photo: chapter.detect_in_tiles(net, photo, overlap=0)) >= 0.5).double()
    over = (placed(lambda photo: chapter.detect_in_tiles(net, photo, overlap=32)) >= 0.5).double()
    return {
        "across a cut, side by side": beside[across].mean().item(),
        "across a cut, overlap of 32": over[across].mean().item(),
        "other trees, gain by an overlap": (over - beside)[~across].mean().item(),
        "below 16 px at IoU 0.3": (whole[tiny] >= 0.3).double().mean().item(),
        "below 16 px at IoU 0.5": (whole[tiny] >= 0.5).double().mean().item(),
    }


def mined(chapter, seed: int) -> dict[str, float]:
    """False faces and found ones before and after mining, and false ones at a threshold that misses as many."""
    every, nets = faces.twelve(faces.windows()[0][faces.TEST]), list(chapter.rounds(seed))
    before, after = (net(every - 0.5).flatten().sort().values for net in (nets[0], nets[2]))

    def false(net, least=0.0):
        return sum(len(chapter.scan(lambda x: net(x) - least, faces.grey(name))[0]) for name in faces.COUNTED)

    raised = false(nets[0], before[(after <= 0).sum()] - 1e-4)
    return {
        "false faces, before": false(nets[0]),
        "false faces, after": false(nets[2]),
        "share of those at a raised threshold": false(nets[2]) / raised,
        "found, before": (before > 0).double().mean().item(),
        "found, after": (after > 0).double().mean().item(),
    }


def main() -> None:
    chapter = load("detection/small-objects")
    for seed, net in zip(SEEDS, store_curves(chapter), strict=True):
        with torch.no_grad():
            found = trees(chapter, net)
        print(seed, {name: round(value, 3) for name, value in (found | mined(chapter, seed)).items()}, flush=True)


if __name__ == "__main__":
    main()
