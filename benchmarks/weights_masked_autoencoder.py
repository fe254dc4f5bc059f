"""A masked autoencoder of MNIST, 49 patches of 4x4: `PYTHONPATH=. python benchmarks/weights_masked_autoencoder.py`

Trained with 75 % of the patches hidden; 2,500 steps of 64 images, about five minutes on one core. Beside the weights
the file holds what the widget of the chapter shows: four test digits at six shares, as bytes. A test draws them again.
"""

import torch

from tests.chapter import load
from utils import data, encoders, training, weights

STEPS, BATCH, SHARES = 2500, 64, (0.25, 0.5, 0.65, 0.75, 0.85, 0.94)
COMMAND = "python benchmarks/weights_masked_autoencoder.py"


def pasted(net, x, visible, hidden, restore):
    """The images with the network's drawing of the hidden patches pasted in; MNIST has mean 0.13, deviation 0.31."""
    drawn = net((x - 0.13) / 0.31, visible, restore) * 0.31 + 0.13
    index = hidden[..., None].expand(-1, -1, x.shape[-1])
    return x.scatter(1, index, drawn.gather(1, index))


def shown(book, net, images):
    """Pictures `(N, shares, 2, 28, 28)` (original, drawn) and seen pixels `(N, shares, 28, 28)`, bytes."""
    x = encoders.patchify(images[:, None], 4)
    noise = torch.rand(x.shape[:2], generator=torch.Generator().manual_seed(3))
    pictures, seen = [], []
    for r in SHARES:
        visible, hidden, restore = book.random_mask(noise, r)
        with torch.no_grad():
            drawn = pasted(net, x, visible, hidden, restore)
        mask = torch.zeros_like(x).scatter(1, visible[..., None].expand(-1, -1, 16), 1.0)
        drawn, mask = (encoders.unpatchify(p, 4)[:, 0] for p in (drawn, mask))
        pictures.append(torch.stack([images, drawn.clamp(0, 1)], 1))
        seen.append(mask)
    return (torch.stack(pictures, 1) * 255).round().byte(), torch.stack(seen, 1).byte()


def main() -> None:
    book, mnist = load("representation/masked-autoencoder"), data.load("mnist_10k")
    x_train, x_test = (encoders.patchify(x[:, None].float() / 255, 4) for x in (mnist.x_train, mnist.x_test))
    generator, net = training.seed(0), book.MaskedAutoencoder(7, 16)

    def loss(x):
        visible, hidden, restore = book.random_mask(torch.rand(x.shape[:2]), 0.75)
        return book.hidden_error(net(x, visible, restore), x, hidden)

    scaled = (x_train - 0.13) / 0.31
    net = training.train(net, loss, scaled, steps=STEPS, lr=5e-3, decay=0.05, batch=BATCH, generator=generator)
    net.load_state_dict({key: tensor.half().float() for key, tensor in net.state_dict().items()})  # as shipped
    visible, hidden, restore = book.random_mask(torch.rand(x_test.shape[:2]), 0.75)
    error = book.hidden_error(pasted(net, x_test, visible, hidden, restore), x_test, hidden)
    print(f"test: error of a hidden pixel {error:.4f}")
    pictures, seen = shown(book, net, mnist.x_test[[9, 30, 35, 5]].float() / 255)
    weights.save("masked_autoencoder", net.state_dict() | {"pictures": pictures, "seen": seen}, made_by=COMMAND)


if __name__ == "__main__":
    main()
