"""Trains the masked image model of the chapter on BEiT on MNIST at 28x28, with the tokens of the book's VQGAN.

Run from the repository root: `python benchmarks/weights_beit.py` (about 6 minutes on a core). It writes
`data/weights/beit.safetensors` and prints accuracy and cross-entropy on the test images.
"""

import random
import sys

import torch
from torch.nn import functional as F

from tests.chapter import load
from utils import data, encoders, tokens, training, weights

COMMAND = "python benchmarks/weights_beit.py"
STEPS, BATCH, RATE = 4000, 64, 3e-3


def tokenized(beit, images):
    """The tokens `(N, 49)` of images, by the shipped encoder and codebook."""
    encoder, stored = tokens.convolutions(8)[0], weights.load("vector_quantization")
    part = "vqgan.encoder."
    encoder.load_state_dict({key.removeprefix(part): v for key, v in stored.items() if key.startswith(part)})
    return beit.nearest(encoder.eval()(images).flatten(2).mT, stored["vqgan.codes.e"])


def main(seed=0):
    """Train, print what the model reaches on the test images under fresh masks; seed 0 is shipped."""
    beit, mnist = load("representation/beit"), data.load("mnist_10k")
    images = [part[:, None].float() / 255 for part in (mnist.x_train, mnist.x_test)]
    with torch.no_grad():
        k, k_test = (tokenized(beit, part) for part in images)
    x, x_test = (encoders.patchify(part, 4) for part in images)
    training.seed(seed)
    chance = random.Random(seed)
    masks, fresh = (torch.stack([beit.block_mask(7, 19, 4, chance) for _ in range(n)]) for n in (4000, len(x_test)))
    model, batches = beit.Beit(7, 16, 64), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, STEPS)
    fit = training.fit(
        lambda x, k: beit.masked_loss(model, masks, x, k),
        optimizer,
        training.minibatches(x, k, batch=BATCH, generator=batches),
        STEPS,
        schedule=schedule,
    )
    for step, loss in fit:
        if step % 100 == 0:
            print(f"step {step}, {loss:.3f} nats a token", flush=True)
    with torch.no_grad():
        logits = torch.cat([model(*part) for part in zip(x_test.split(250), fresh.split(250), strict=True)])
    right = (logits.argmax(-1) == k_test)[fresh].float().mean()
    print(f"test, seed {seed}: accuracy {right:.3f}, {F.cross_entropy(logits[fresh], k_test[fresh]):.3f} nats a token")
    if seed == 0:
        print(weights.save("beit", model.state_dict(), made_by=COMMAND))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
