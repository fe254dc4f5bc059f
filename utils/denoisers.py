"""Two small networks that guess noise: one for 8x8 digits, one for 28x28.

Both are told the signal-to-noise ratio of their input, not the step of a chain, so that one network serves every chain.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["DigitNet", "UNet", "waves"]


def waves(alpha_bar: Tensor, x: Tensor, count: int) -> Tensor:
    """Sines and cosines, `(B, 2 count)`, of log SNR = log(alpha_bar / (1 - alpha_bar)) at `count` doubling frequencies.

    Args:
        alpha_bar: share of the image's variance, in (0, 1); one number, or one for each row of `x`.
        x: `(B, ...)`, for the number of rows, the type and the device.

    Raises:
        ValueError: `alpha_bar` has neither one element nor B.

    >>> waves(torch.tensor(0.5), torch.zeros(1, 64), 2)
    tensor([[0., 0., 1., 1.]])
    """
    if alpha_bar.numel() not in (1, len(x)):
        raise ValueError(f"waves: expected 1 or {len(x)} values of alpha_bar, got {tuple(alpha_bar.shape)}")
    log_snr = torch.logit(alpha_bar).to(x).reshape(-1, 1).expand(len(x), 1)
    angles = log_snr / 8 * 2.0 ** torch.arange(count, device=x.device)
    return torch.cat([angles.sin(), angles.cos()], 1)


class DigitNet(nn.Module):
    """A residual perceptron on 64 pixels: `net(x, alpha_bar)` has the shape of `x`, `(B, 64)`."""

    def __init__(self, width: int = 256, depth: int = 3):
        super().__init__()
        self.enter, self.level = nn.Linear(64, width), nn.Linear(8, depth * width)
        self.blocks = nn.ModuleList([self._block(width) for _ in range(depth)])
        self.leave = nn.Sequential(nn.LayerNorm(width), nn.SiLU(), nn.Linear(width, 64))

    @staticmethod
    def _block(width: int) -> nn.Module:
        return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, x: Tensor, alpha_bar: Tensor) -> Tensor:
        """The guessed noise, `(B, 64)`; `alpha_bar` is one number or one for each row.

        Raises:
            ValueError: `x` is not `(B, 64)`, or `alpha_bar` has a wrong length.
        """
        if x.ndim != 2 or x.shape[1] != 64:
            raise ValueError(f"DigitNet: expected x (B, 64), got {tuple(x.shape)}")
        h = self.enter(x)
        levels = self.level(waves(alpha_bar, x, 4)).chunk(len(self.blocks), 1)
        for block, level in zip(self.blocks, levels, strict=True):
            h = h + block(h + level)
        return self.leave(h)


class Block(nn.Module):
    """Two convolutions around a skip; the noise level scales and shifts what lies between them."""

    def __init__(self, n: int, m: int, k: int):
        super().__init__()
        self.first = nn.Sequential(nn.GroupNorm(8, n), nn.SiLU(), nn.Conv2d(n, m, 3, padding=1))
        self.level, self.norm = nn.Linear(k, 2 * m), nn.GroupNorm(8, m)
        self.last = nn.Sequential(nn.SiLU(), nn.Conv2d(m, m, 3, padding=1))
        self.skip = nn.Conv2d(n, m, 1) if n != m else nn.Identity()

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        """The features `(B, m, H, W)` of `x`, `(B, n, H, W)`, at the level `(B, k)`."""
        scale, shift = self.level(level)[:, :, None, None].chunk(2, 1)
        return self.skip(x) + self.last(self.norm(self.first(x)) * (1 + scale) + shift)


class UNet(nn.Module):
    """`net(x, alpha_bar)` has the shape of `x`, `(B, 1, H, W)` with H and W divisible by 4; 461,740 weights at n = 40.

    2x2 pixels are folded into 4 channels; n channels at half the resolution, 2n at a quarter, n at half again.

    Source: Ronneberger et al. (2015), "U-Net", with the residual blocks of Ho et al. (2020).
    """

    def __init__(self, n: int = 40, k: int = 128):
        super().__init__()
        self.level = nn.Sequential(nn.Linear(12, k), nn.SiLU(), nn.Linear(k, k), nn.SiLU())
        self.enter = nn.Conv2d(4, n, 3, padding=1)
        self.fine, self.shrink = Block(n, n, k), nn.Conv2d(n, 2 * n, 3, stride=2, padding=1)
        self.middle = nn.ModuleList([Block(2 * n, 2 * n, k), Block(2 * n, 2 * n, k)])
        self.grow, self.join, self.end = nn.Conv2d(2 * n, n, 1), Block(2 * n, n, k), Block(n, n, k)
        self.leave = nn.Sequential(nn.GroupNorm(8, n), nn.SiLU(), nn.Conv2d(n, 4, 3, padding=1))

    def forward(self, x: Tensor, alpha_bar: Tensor) -> Tensor:
        """The guessed noise, in the shape of `x`; `alpha_bar` is one number or one for each image.

        Raises:
            ValueError: `x` is not `(B, 1, H, W)` with H and W divisible by 4, or `alpha_bar` has a wrong length.
        """
        if x.ndim != 4 or x.shape[1] != 1 or x.shape[2] % 4 or x.shape[3] % 4:
            raise ValueError(f"UNet: expected x (B, 1, H, W), H and W divisible by 4, got {tuple(x.shape)}")
        level = self.level(waves(alpha_bar, x, 6))
        fine = self.fine(self.enter(nn.functional.pixel_unshuffle(x, 2)), level)  # (B, n, H/2, W/2)
        coarse = self.shrink(fine)  # (B, 2n, H/4, W/4)
        for block in self.middle:
            coarse = block(coarse, level)
        grown = nn.functional.interpolate(self.grow(coarse), scale_factor=2)
        joined = self.join(torch.cat([grown, fine], 1), level)
        return nn.functional.pixel_shuffle(self.leave(self.end(joined, level)), 2)
