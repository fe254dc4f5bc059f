"""Curves drawn by matplotlib, for a kernel without vl-convert: nothing is fetched, so a slider stays quick."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import matplotlib as mpl
import matplotlib.pyplot as plt
import torch

from utils import figures
from utils.bridge import to_torch
from utils.explore.curves import RULES
from utils.explore.figure import PALETTE

if TYPE_CHECKING:
    from utils.explore.curves import Curves

__all__ = ["sketch"]


def sketch(widget: Curves, values: Mapping) -> str:
    """Return the chart of a `curves` widget at some values of its sliders, as HTML."""
    (symbol, lo, hi, x_title), looks = widget.x, widget.settings
    share = torch.linspace(0, 1, looks["n"], dtype=torch.float64)
    at = lo * (hi / lo) ** share if looks["log_x"] else lo + (hi - lo) * share

    def height(expr, *x):
        return to_torch(expr, [*([symbol] * len(x)), *values])(*x, *values.values())

    with mpl.rc_context():
        figures.use()
        fig, axis = plt.subplots(figsize=(6.8, looks["height"] / 100))
        for expr, colour, dashes in zip(widget.lines.values(), PALETTE, widget.dashes, strict=False):
            axis.plot(at, height(expr, at), color=colour, linestyle=(0, dashes) if dashes[1] else "-")
        for i, expr in enumerate(widget.rules.values()):
            style = {"linestyle": (0, RULES[i % len(RULES)]), "linewidth": 1.4}
            axis.axvline(float(height(expr)), color=mpl.rcParams["text.color"], **style)
        for pair in widget.points.values():
            axis.plot(*(float(height(expr)) for expr in pair), "o", color=mpl.rcParams["text.color"])
        axis.grid(alpha=0.2)
        scales = {f"{letter}scale": "log" if looks[f"log_{letter}"] else "linear" for letter in "xy"}
        limits = {"ylim": looks["y_domain"]} if looks["y_domain"] else {}
        axis.set(**scales, xlabel=x_title, ylabel=looks["y"], xlim=(lo, hi), **limits)
        return figures.show(fig, alt=f"{widget.title}: {widget.description}")._repr_html_()
