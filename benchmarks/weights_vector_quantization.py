"""Trains the VQGAN and the transformer prior of the chapter on vector quantization on MNIST at 28x28.

Run from the repository root: `python benchmarks/weights_vector_quantization.py` (about 8 minutes on a core). It writes
`data/weights/vector_quantization.safetensors` and prints the losses on the test images.
"""

import math

import torch
from torch.nn import functional as F

from tests.chapter import load
from utils import data, tokens, training, weights

COMMAND = "python benchmarks/weights_vector_quantization.py"
VQGAN_STEPS, PRIOR_STEPS, BATCH, RATE = 1500, 2600, 48, 2e-3


def first_stage(vq, x, y):
    """The VQGAN, trained with all three losses; its features come from a classifier of the same images."""
    net = tokens.classifier(28)
    training.train(net, lambda x, y: F.cross_entropy(net(x), y), x, y, steps=300, lr=3e-3)
    model = tokens.Coder(*tokens.convolutions(8), vq.VectorQuantizer(64, 8, 0.98), grid=(7, 7))
    batches = training.minibatches(x, batch=64, generator=torch.Generator().manual_seed(0))
    judges = {"net": net, "D": tokens.discriminator()}
    found = vq.train_vqgan(model, batches, VQGAN_STEPS, **judges, lr=1e-3, D_lr=1e-3)
    for step, weight in enumerate(found):
        if step % 250 == 0:
            print(f"VQGAN step {step}, adaptive weight {weight:.1f}", flush=True)
    return model.eval().requires_grad_(False)


def second_stage(vq, model, x, y):
    """The prior of the tokens, given the class."""
    k = vq.nearest(model.encode(x), model.codes.e)
    prior = tokens.Prior(64, 49, width=96, layers=3, classes=10)
    optimizer = torch.optim.AdamW(prior.parameters(), RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1, (step + 1) / 200) * (1.02 + math.cos(math.pi * step / PRIOR_STEPS)) / 2
    )
    batches = training.minibatches(k, y, batch=BATCH, generator=torch.Generator().manual_seed(0))
    fit = training.fit(lambda k, y: prior.nats(k, y).mean(), optimizer, batches, PRIOR_STEPS, schedule=schedule)
    for step, loss in fit:
        if step % 250 == 0:
            print(f"prior step {step}, {loss:.1f} nats", flush=True)
    return prior.eval().requires_grad_(False)


def main():
    """Train both stages, print what they reach on the test images, and ship them."""
    vq, mnist = load("generative/vector-quantization"), data.load("mnist_10k")
    x, x_test = (images[:, None].float() / 255 for images in (mnist.x_train, mnist.x_test))
    training.seed(0)
    model = first_stage(vq, x, mnist.y_train)
    prior = second_stage(vq, model, x, mnist.y_train)
    with torch.no_grad():
        x_hat, k, _ = model(x_test)
        price = torch.cat([prior.nats(*part) for part in zip(k.split(500), mnist.y_test.split(500), strict=True)])
    error = (x_test - x_hat).square().sum((1, 2, 3)).mean()
    print(f"test: squared error {error:.2f} an image, {price.mean():.1f} nats for its tokens")
    state = {f"vqgan.{key}": value for key, value in model.state_dict().items()}
    state |= {f"prior.{key}": value for key, value in prior.state_dict().items()}
    print(weights.save("vector_quantization", state, made_by=COMMAND))


if __name__ == "__main__":
    main()
