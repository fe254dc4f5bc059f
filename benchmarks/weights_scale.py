"""Trains the three emoji detectors of the chapter on scale: level 4 alone, levels 2 to 4, and the same merged.

Run from the repository root: `python benchmarks/weights_scale.py` (half a minute on a core for each of nine). It prints
the recall by size of three seeds and writes the detectors of seed 0 to `data/weights/scale.safetensors`.
"""

import torch
from torch.nn import functional as F

from tests.chapter import load
from utils import boxes, sprites, training, weights

COMMAND = "python benchmarks/weights_scale.py"
STEPS, SEEDS = 600, 3


def targets(scale, truth, levels):
    """Class of each cell `(cells,)`, -1 where there is none, and its box `(cells, 4)`."""
    (b, names), (middle, stride) = truth, scale.centres(levels).split([2, 1], 1)
    label, box = torch.full((len(middle),), -1), torch.zeros(len(middle), 4)
    side = (b[:, 2:] - b[:, :2]).prod(-1).sqrt()
    for n in side.argsort(descending=True):  # where two meet, the smaller wins
        off = (middle - (b[n, :2] + b[n, 2:]) / 2).abs().amax(-1)
        near = (off < 0.75 * stride[:, 0]) & (stride[:, 0] == 2.0 ** scale.level(side[n], 2, levels[0], levels[-1]))
        label[near], box[near] = names[n], b[n]
    return label, box


def loss(scale, net, x, label, box):
    """Focal cross-entropy of the scores and 1 - GIoU of the boxes."""
    (scores, b), there = scale.answers(net, x), label >= 0
    goal = F.one_hot(label.clamp(min=0), 10).float() * there[..., None]
    entropy = F.binary_cross_entropy_with_logits(scores, goal, reduction="none")
    entropy = (entropy * (scores.sigmoid() - goal).abs() ** 2).sum() / there.sum()
    return 4 * entropy + (1 - boxes.giou(b[there], box[there])).mean()


def train(scale, seed, levels, merge, steps=STEPS):
    """A detector trained on the 1,000 pictures, 16 a step."""
    random, scenes = training.seed(seed), sprites.emoji_scenes()
    net = scale.Detector(levels, merge)
    torch.nn.init.constant_(net.head[-1].bias[:10], -4.0)  # at first nearly no cell answers
    goals = map(torch.stack, zip(*(targets(scale, truth, levels) for truth in scenes.truth_train), strict=True))
    return training.train(
        net,
        lambda *batch: loss(scale, net, *batch),
        scenes.x_train,
        *goals,
        steps=steps,
        lr=5e-3,
        batch=16,
        generator=random,
    )


def main():
    """Train and print every kind with every seed; ship seed 0."""
    scale, shipped = load("detection/scale"), {}
    for seed in range(SEEDS):
        for number, (kind, settings) in enumerate(scale.KINDS.items()):
            net = train(scale, seed, *settings)
            if seed == 0:
                shipped |= {f"{number}.{name}": tensor for name, tensor in net.state_dict().items()}
            for test in sprites.emoji_scenes().x_test:
                recall = {band: round(value, 3) for band, value in scale.found(net, test).items()}
                print(f"seed {seed}, {kind}, {test}: {recall}", flush=True)
    print(weights.save("scale", shipped, made_by=COMMAND))


if __name__ == "__main__":
    main()
