"""Networks around a codebook: images to grids of vectors and back, and a transformer that writes words of tokens.

Plain building blocks: no loss and no training. The codebook itself is the lesson of the chapter that uses them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Coder", "Prior", "classifier", "convolutions", "discriminator", "perceptrons", "perceptual"]


class Coder(nn.Module):
    """An autoencoder with a vocabulary: encoder, codebook, decoder.

    Args:
        encoder: images to `(B, d, *grid)`.
        decoder: `(B, d, *grid)` to images.
        codes: a module from `(B, T, d)` to the same, tokens `(B, T)` and a scalar loss; T is the product of `grid`.
        grid: how the tokens of an image lie, such as `(7, 7)`.

    Source: van den Oord et al. (2017), "Neural Discrete Representation Learning", figure 1.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, codes: nn.Module, grid: tuple[int, ...]):
        super().__init__()
        self.encoder, self.decoder, self.codes, self.grid = encoder, decoder, codes, grid

    def encode(self, x: Tensor) -> Tensor:
        """The encoder's vectors `(B, T, d)` of images, before the codebook."""
        return self.encoder(x).flatten(2).mT

    def decode(self, z: Tensor) -> Tensor:
        """Images from vectors `(B, T, d)`."""
        return self.decoder(z.mT.unflatten(2, self.grid))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The decoded image, its tokens, the loss of the codebook."""
        z_q, k, loss = self.codes(self.encode(x))
        return self.decode(z_q), k, loss


class Prior(nn.Module):
    """A causal transformer over words of T tokens, given a class.

    Args:
        K: size of the vocabulary; T: tokens a word; width, layers: of the transformer (4 heads); classes: 1 for none.

    Source: Esser et al. (2021), "Taming transformers for high-resolution image synthesis", section 3.2.
    """

    def __init__(self, K: int, T: int, width: int, layers: int, classes: int = 1):
        super().__init__()
        self.K, self.token = K, nn.Embedding(K + classes, width)
        self.place = nn.Parameter(0.02 * torch.randn(T, width))
        layer = nn.TransformerEncoderLayer(width, 4, 4 * width, 0.1, F.gelu, batch_first=True, norm_first=True)
        self.body = nn.TransformerEncoder(layer, layers, nn.LayerNorm(width), enable_nested_tensor=False)
        self.head = nn.Linear(width, K)

    def forward(self, k: Tensor, y: Tensor) -> Tensor:
        """Logits `(B, t, K)` of each token of `k` `(B, t)`, given the ones before it and the class `y` `(B,)`.

        Raises:
            ValueError: words of 0 or more than T tokens, another shape of `y`, an unknown token or class.
        """
        if k.ndim != 2 or y.shape != k.shape[:1] or not 0 < k.shape[1] <= len(self.place):
            raise ValueError(f"Prior: expected (B, 1..{len(self.place)}) and (B,), got {(*k.shape,)} and {(*y.shape,)}")
        for name, found, end in (("tokens", k, self.K), ("classes", y, self.token.num_embeddings - self.K)):
            if len(k) and not 0 <= found.min() <= found.max() < end:
                raise ValueError(f"Prior: expected {name} from 0 to {end - 1}, got {found.min()} to {found.max()}")
        past = self.token(torch.cat([self.K + y[:, None], k[:, :-1]], 1))
        causal = nn.Transformer.generate_square_subsequent_mask(past.shape[1])
        return self.head(self.body(past + self.place[: past.shape[1]], mask=causal, is_causal=True))

    def nats(self, k: Tensor, y: Tensor | None = None) -> Tensor:
        """The price `-log p(k | y)` of each word `(B, T)`, in nats; class 0 by default."""
        y = torch.zeros_like(k[:, 0]) if y is None else y
        return F.cross_entropy(self(k, y).mT, k, reduction="none").sum(1)

    @torch.no_grad()
    def sample(self, y: Tensor) -> Tensor:
        """A word `(B, T)` for each class `y` `(B,)`, one token after the other."""
        k = torch.zeros(len(y), 0, dtype=torch.long)
        for _ in self.place:
            p = self(F.pad(k, (0, 1)), y)[:, -1].softmax(-1)
            k = torch.cat([k, torch.multinomial(p, 1)], 1)
        return k


def perceptrons(pixels: int, T: int, d: int, width: int = 128) -> tuple[nn.Sequential, nn.Sequential]:
    """An encoder of flat images `(B, pixels)` to `(B, d, T)`, normalised, and its decoder to logits `(B, pixels)`."""
    norm = nn.BatchNorm1d(T * d, affine=False)
    encoder = nn.Sequential(nn.Linear(pixels, width), nn.ReLU(), nn.Linear(width, T * d), norm, nn.Unflatten(1, (d, T)))
    return encoder, nn.Sequential(nn.Flatten(), nn.Linear(T * d, width), nn.ReLU(), nn.Linear(width, pixels))


def convolutions(d: int, width: int = 32) -> tuple[nn.Sequential, nn.Sequential]:
    """An encoder of grey images to a grid of a quarter of their side, normalised, and its decoder to [0, 1].

    `(B, 1, side, side)` to `(B, d, side / 4, side / 4)`; the side a multiple of 4.
    """
    conv, back, half, relu = nn.Conv2d, nn.ConvTranspose2d, width // 2, nn.ReLU()
    encoder = [conv(1, half, 4, 2, 1), relu, conv(half, width, 4, 2, 1), relu, conv(width, width, 3, 1, 1), relu]
    decoder = [conv(d, width, 3, 1, 1), relu, conv(width, width, 3, 1, 1), relu, back(width, half, 4, 2, 1), relu]
    norm = nn.BatchNorm2d(d, affine=False)
    encoder, decoder = [*encoder, conv(width, d, 1), norm], [*decoder, back(half, 1, 4, 2, 1), nn.Sigmoid()]
    return nn.Sequential(*encoder), nn.Sequential(*decoder)


def classifier(side: int, width: int = 16) -> nn.Sequential:
    """Two convolutions and a linear layer: logits of ten classes; `[:2]` and `[:4]` are its features.

    Raises:
        ValueError: a side that is no multiple of 4.
    """
    if side < 4 or side % 4:
        raise ValueError(f"classifier: expected a side that is a multiple of 4, got {side}")
    first, second = nn.Conv2d(1, width, 3, 2, 1), nn.Conv2d(width, 2 * width, 3, 2, 1)
    last = nn.Linear(2 * width * (side // 4) ** 2, 10)
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), nn.Flatten(), last)


def discriminator(width: int = 32) -> nn.Sequential:
    """Logits "real" of overlapping patches of grey images: `(B, 1, side, side)` to `(B, 1, side / 4, side / 4)`.

    Source: Isola et al. (2017), "Image-to-image translation with conditional adversarial networks", section 3.2.
    """
    leak, half = nn.LeakyReLU(0.2), width // 2
    layers = [nn.Conv2d(1, half, 4, 2, 1), leak, nn.Conv2d(half, width, 4, 2, 1), leak]
    return nn.Sequential(*layers, nn.Conv2d(width, 1, 3, 1, 1))


def perceptual(net: nn.Sequential, x: Tensor, x_hat: Tensor) -> Tensor:
    """The mean over images of the squared distance of two layers of features of a `classifier`, each of unit length.

    Args:
        x: images `(B, 1, side, side)`, x_hat: others of the same shape.

    Raises:
        ValueError: shapes that differ.

    Source: Zhang et al. (2018), "The unreasonable effectiveness of deep features as a perceptual metric", equation 1.
    """
    if x.shape != x_hat.shape:
        raise ValueError(f"perceptual: expected two equal shapes, got {tuple(x.shape)} and {tuple(x_hat.shape)}")
    apart = [
        F.normalize(net[:layer](x), dim=1, eps=1e-3) - F.normalize(net[:layer](x_hat), dim=1, eps=1e-3)
        for layer in (2, 4)
    ]
    return sum(part.square().sum((1, 2, 3)).mean() for part in apart)
