"""Figures that follow the page: one SVG for light and dark, legible on a phone, with a text description.

`use()` sets a matplotlib style whose text and axes have one reserved colour; `show` writes the figure as an SVG in
which that colour is the page's own text colour. The line colours keep a contrast of 3:1 on white and on near-black.
"""

from __future__ import annotations

import hashlib
import html
import io
import re

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

__all__ = ["COLOURS", "Shown", "cells", "grid", "show", "use"]

# Blue, vermilion, green, purple, ochre: 3:1 or more on #ffffff and on #121212, chosen with colour blindness in mind.
COLOURS = ("#2b7bba", "#d55e00", "#0b8f6a", "#b0579a", "#8a7300")
_INK = "#010203"  # stands for the page's text colour until `show` replaces it
_FONT = re.compile(r"font: ([^;'\"]*?[\d.]+px) [^;\"]*")
_PATH = re.compile(r' d="[^"]*"')
_LONG_NUMBER = re.compile(r"-?\d+\.\d{3,}")


def use() -> None:
    """Set the book's matplotlib style for this process."""
    ink = dict.fromkeys(
        ("text.color", "axes.edgecolor", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color"),
        _INK,
    )
    mpl.rcParams.update(
        ink
        | {
            "figure.figsize": (6.4, 3.2),
            "figure.facecolor": "none",
            "figure.constrained_layout.use": True,
            "savefig.facecolor": "none",
            "axes.facecolor": "none",
            "axes.prop_cycle": mpl.cycler(color=COLOURS),
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlesize": 11,
            "font.size": 11,
            "legend.frameon": False,
            "legend.fontsize": 10,
            "lines.linewidth": 1.8,
            "image.cmap": "viridis",
            "image.interpolation": "nearest",
            "svg.fonttype": "none",
            "svg.hashsalt": "derivations-that-run",
        }
    )


class Shown:
    """A figure as the page shows it: an inline SVG with its description."""

    def __init__(self, svg: str, alt: str):
        self.svg, self.alt = svg, alt

    def __repr__(self) -> str:
        return f"Figure: {self.alt}"

    def _repr_html_(self) -> str:
        return f'<figure class="plot">{self.svg}</figure>'


def show(fig: Figure, alt: str) -> Shown:
    """The figure as an inline SVG that takes the page's text colour; closes the figure.

    Args:
        fig: a matplotlib figure drawn under `use()`.
        alt: what a reader who cannot see the figure needs to know: what is plotted and what it shows.

    Raises:
        ValueError: `fig` is not a Figure, or `alt` is empty.
    """
    if not isinstance(fig, Figure):
        raise ValueError(f"show: expected a matplotlib Figure, got {type(fig).__name__}")
    if not isinstance(alt, str) or len(alt.split()) < 3:
        raise ValueError(f"show: expected a text description of at least three words, got {alt!r}")
    buffer = io.StringIO()
    fig.savefig(buffer, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    plt.close(fig)
    return Shown(_inline(buffer.getvalue(), alt), alt)


def grid(
    images: Tensor,
    columns: int,
    *,
    alt: str,
    titles: list[str] | None = None,
    cmap: str = "gray_r",
    limits: tuple[float, float] | None = None,
) -> Shown:
    """A grid of images, row by row, on one common colour scale.

    Args:
        images: `(N, H, W)` grey or `(N, H, W, 3)` RGB in 0..1.
        columns: images a row.
        alt: text description of the whole grid.
        titles: one short title an image, optional.
        cmap: colour map of grey images; the default draws ink on paper.
        limits: grey levels of the two ends of the map; default: the smallest and the largest value.

    Raises:
        ValueError: wrong shape, no images, `columns` below 1, or a number of titles other than N.
    """
    if images.ndim not in (3, 4) or len(images) == 0 or (images.ndim == 4 and images.shape[-1] != 3):
        raise ValueError(f"grid: expected images (N, H, W) or (N, H, W, 3) with N >= 1, got {tuple(images.shape)}")
    if columns < 1:
        raise ValueError(f"grid: expected columns >= 1, got {columns}")
    if titles is not None and len(titles) != len(images):
        raise ValueError(f"grid: expected {len(images)} titles, got {len(titles)}")
    images = images.detach().cpu().float()
    if images.ndim == 3:
        colours = mpl.colormaps[cmap](mpl.colors.Normalize(*limits or ())(images.numpy()), bytes=True)
    else:
        colours = (torch.cat([images.clamp(0, 1), torch.ones_like(images[..., :1])], -1) * 255).round().byte().numpy()
    return show(_sheet(colours, columns, titles), alt)


def _sheet(colours: np.ndarray, columns: int, titles: list[str] | None) -> Figure:
    """Images `(N, H, W, RGBA)` as one picture of their own pixels: a page loads one much faster than a hundred."""
    number, height, width, _ = colours.shape
    columns, rows = min(columns, number), -(-number // columns)
    gap = -(-width // 14)
    right, down = width + gap, height + gap + (round(0.3 * width) if titles else 0)
    sheet = np.zeros((rows * down, columns * right, 4), np.uint8)
    inch = min(0.8, 6.4 / columns) / right
    fig = plt.figure(figsize=(columns * right * inch, rows * down * inch), layout="none")
    axis = fig.add_axes((0, 0, 1, 1), frameon=False, xticks=[], yticks=[])
    for i, image in enumerate(colours):
        bottom, left = (i // columns + 1) * down, i % columns * right + gap // 2
        sheet[bottom - height : bottom, left : left + width] = image
        if titles:
            axis.text(left + width / 2, bottom - height - gap, titles[i], ha="center", va="baseline", fontsize=9)
    axis.imshow(sheet, interpolation="none", extent=(0, columns * right, rows * down, 0), aspect="auto")
    return fig


def cells(
    tables: dict[str, Tensor],
    columns: int,
    *,
    alt: str,
    texts: dict[str, list[str]] | None = None,
    limits: tuple[float, float] | None = None,
) -> Shown:
    """Heat maps of small tables, each cell with its value written in it.

    Args:
        tables: title -> `(rows, columns)` values; not a number is drawn grey and without a value.
        columns: heat maps a row of the figure.
        alt: text description of the whole figure.
        texts: title -> one short text a cell, row by row, drawn above the value (an arrow, say).
        limits: values at the two ends of the colour scale; default: the smallest and the largest value of all tables.

    Raises:
        ValueError: no tables, a table that is not two-dimensional, `columns` below 1, or a wrong number of texts.
    """
    texts = texts or {}
    if not tables or columns < 1 or any(table.ndim != 2 for table in tables.values()):
        shapes = {title: tuple(table.shape) for title, table in tables.items()}
        raise ValueError(f"cells: expected tables (rows, columns) and columns >= 1, got {shapes} and {columns}")
    for title, words in texts.items():
        if title not in tables or len(words) != tables[title].numel():
            raise ValueError(f"cells: expected a text for each cell of a table, got {len(words)} for {title!r}")
    low, high = limits or _range(tables.values())
    height, width = next(iter(tables.values())).shape
    rows = -(-len(tables) // columns)
    cell = min(0.62, 6.4 / columns / width)
    fig, axes = plt.subplots(
        rows, columns, figsize=(columns * width * cell, rows * (height * cell + 0.3)), squeeze=False
    )
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, (title, table) in zip(axes.flat, tables.items(), strict=False):
        axis.set_title(title)
        _heat(axis, table.detach().cpu(), texts.get(title), low, high)
    return show(fig, alt)


def _range(tables) -> tuple[float, float]:
    values = torch.cat([table[table.isfinite()].flatten().detach().cpu() for table in tables])
    return float(values.min()), float(values.max())


def _heat(axis, table: Tensor, words: list[str] | None, low: float, high: float) -> None:
    axis.imshow(table.numpy(), vmin=low, vmax=high, cmap=mpl.colormaps["viridis"].with_extremes(bad="#888888"))
    for k, value in enumerate(table.flatten().tolist()):
        i, j = divmod(k, table.shape[1])
        lines = [words[k]] if words and words[k] else []
        lines += [f"{value:.1f}"] if value == value else []
        ink = "black" if value > low + 0.42 * (high - low) else "white"
        axis.text(j, i, "\n".join(lines), ha="center", va="center", fontsize=9, color=ink, linespacing=0.95)


def _inline(svg: str, alt: str) -> str:
    """The `<svg>` element alone, scalable, described, with ids of its own and the page's colour and font."""
    body = svg[svg.index("<svg") :].strip()
    mark = "f" + hashlib.sha256(body.encode()).hexdigest()[:6]
    body = re.sub(r'\bid="', f'id="{mark}-', body)
    body = re.sub(r'(url\(|href=")#', rf"\1#{mark}-", body)
    body = body.replace(_INK, "currentColor")
    body = _FONT.sub(r"font: \1 var(--book-figure-font, system-ui, sans-serif)", body)
    body = _PATH.sub(lambda path: _LONG_NUMBER.sub(lambda n: f"{float(n[0]):.2f}", path[0]), body)
    width = re.search(r'width="([\d.]+)pt"', body)[1]
    style = f"width:100%;max-width:{float(width) * 4 / 3:.0f}px;height:auto"
    described = f'<svg role="img" aria-label="{html.escape(alt, quote=True)}" style="{style}"'
    body = re.sub(r'^<svg([^>]*?) height="[^"]*"', r"<svg\1", body, count=1)
    body = re.sub(r'^(<svg[^>]*?) width="[^"]*"', r"\1", body, count=1)
    return re.sub(r"\n\s*", "\n", re.sub("^<svg", described, body, count=1))
