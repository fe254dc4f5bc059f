"""Trains the three emoji detectors of the chapter on scale: level 4 alone, levels 2 to 4, and the same merged.

Run from the repository root: `python benchmarks/weights_scale.py` (half a minute on a core for each of nine). It prints
what the chapter's networks read of digits with four seeds, and with three the recall by size of the detectors after the
chapter's 100 steps and after 600. It writes those of seed 0 to `data/weights/scale.safetensors`.
"""

from tests.chapter import load
from utils import sprites, weights

COMMAND = "python benchmarks/weights_scale.py"
LIVE, STEPS, SEEDS = 100, 600, 3


def show(scale, net, words):
    """Print the recall by size on each of the three tests."""
    for test in sprites.emoji_scenes().x_test:
        recall = {band: round(value, 3) for band, value in scale.found(net, test).items()}
        print(f"{words}, {test}: {recall}", flush=True)


def digits(scale, seed):
    """Print the share of digits read, by size, for the chapter's three networks."""
    for sizes, trident, ways in zip(([16], scale.SIZES, scale.SIZES), (False, False, True), scale.WAYS, strict=True):
        net = scale.train_digits(seed, sizes, trident)
        for way in ways:
            shares = [round(scale.read(net, size, way), 3) for size in scale.SIZES]
            print(f"seed {seed}, digits of {sizes}, {'three branches' if trident else 'one branch'}, {way}: {shares}")


def main():
    """Train and print every kind with every seed; ship seed 0."""
    scale, shipped = load("detection/scale"), {}
    for seed in range(SEEDS + 1):
        digits(scale, seed)
    for seed in range(SEEDS):
        for number, (kind, settings) in enumerate(scale.KINDS.items()):
            show(scale, scale.train_emoji(seed, *settings, LIVE), f"seed {seed}, {kind}, {LIVE} steps")
            net = scale.train_emoji(seed, *settings, STEPS)
            if seed == 0:
                shipped |= {f"{number}.{name}": tensor for name, tensor in net.state_dict().items()}
            show(scale, net, f"seed {seed}, {kind}")
    print(weights.save("scale", shipped, made_by=COMMAND))


if __name__ == "__main__":
    main()
