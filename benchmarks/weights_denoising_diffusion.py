"""The weights of the chapter on denoising diffusion: `PYTHONPATH=. python benchmarks/weights_denoising_diffusion.py`

A small U-Net learns to guess the noise in MNIST at 28x28, on the linear chain of 1,000 steps; an average of its weights
over the last steps is kept. 7,000 steps of 64 images: about three quarters of an hour on a
busy core. Prints the test loss on the way.
"""

import torch

from tests.chapter import load
from utils import data, training, weights
from utils.denoisers import UNet

STEPS, BATCH, LEVELS = 7000, 64, 1000
COMMAND = "python benchmarks/weights_denoising_diffusion.py"


def main() -> None:
    book, mnist = load("generative/denoising-diffusion"), data.load("mnist_10k")
    x_train, x_test = (x[:, None].float() / 127.5 - 1 for x in (mnist.x_train, mnist.x_test[:1000]))
    alpha_bar = book.linear(LEVELS).float()

    generator = training.seed(0)
    net = UNet().to(memory_format=torch.channels_last)
    average = torch.optim.swa_utils.AveragedModel(net, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.999))
    optimizer = torch.optim.AdamW(net.parameters(), 1e-3)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1, (step + 1) / 200))

    def loss(x_0, t, eps, model=net):
        now = alpha_bar[t][:, None, None, None]
        return (model(book.noisy(x_0, eps, now), now) - eps).square().mean()

    fixed = torch.Generator().manual_seed(5)
    test = x_test, torch.randint(1, LEVELS + 1, (1000,), generator=fixed), torch.randn(x_test.shape, generator=fixed)
    batches = training.minibatches(x_train, batch=BATCH, generator=generator)
    drawn = ((x, torch.randint(1, LEVELS + 1, (len(x),)), torch.randn_like(x)) for (x,) in batches)
    for step, _ in training.fit(loss, optimizer, drawn, STEPS, schedule=schedule):
        average.update_parameters(net)
        if (step + 1) % 500 == 0:
            with torch.no_grad():
                print(f"step {step + 1}: test loss {loss(*test, model=average.module):.4f}")
    weights.save("denoising_diffusion", average.module.state_dict(), made_by=COMMAND)


if __name__ == "__main__":
    main()
