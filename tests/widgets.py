"""Sample widgets, one of each shape, that the tests of Python and of the browser share."""

import re

import altair as alt
import numpy as np
import sympy as sp

from utils.explore import Slider, curves, frames, grid_chart

t, k, b = sp.symbols("t k b", positive=True)


def decay(**changes):
    settings = {"y": "share", "title": "Decay", "description": "A curve that falls from one.", "y_domain": (0, 1)}
    sliders = [Slider(k, 0, 5, 1, label="rate", unit="1/s"), Slider(b, 0.1, 10, 1, label="stretch", log=True)]
    return curves({"decay": sp.exp(-k * t**b)}, (t, 0, 2, "time (s)"), sliders, **settings | changes)


def bump(height, shape):
    xs = np.linspace(-2, 2, 21)
    ys = height * (np.exp(-(xs**2)) if shape == "bell" else 1 / (1 + xs**2))
    return [{"x": x, "y": y} for x, y in zip(xs, ys, strict=True)]


def line(data):
    drawn = alt.Chart(data).mark_line().encode(x="x:Q", y=alt.Y("y:Q", scale=alt.Scale(domain=[0, 3])))
    return drawn.properties(width="container", height=220)


def bumps(fn=bump, chart=line, **changes):
    controls = {"height": [1, 2, 3], "shape": ["bell", "witch"]}
    words = {"title": "Bumps", "description": "A bump whose height and shape are chosen."}
    return frames(fn, controls, chart, **words | {"start": {"height": 2}, "unit": {"height": "m"}} | changes)


def grid(data):
    return grid_chart(data, (-1, 1), shape=(3, 3), dots="seen")


def walk(slip, discount):
    values = [None, discount / 5, -1.0, *(round(slip - i / 10, 2) for i in range(6))]
    rows = [{"row": i // 3, "column": i % 3, "value": v, "seen": i / 8} for i, v in enumerate(values)]
    return [{**row, "arrow": "" if row["value"] is None else "\N{RIGHTWARDS ARROW}"} for row in rows]


def policy():
    controls = {"slip": [0, 0.25, 0.5], "discount": [0.5, 0.9, 1]}
    return frames(walk, controls, grid, title="Policy", description="A grid of values with arrows.")


def heights(svg: str) -> list[float]:
    """Return the vertical places of the points of the first curve in a picture."""
    path = re.search(r'class="mark-line.*?<path[^>]* d="([^"]*)"', svg, re.DOTALL)[1]
    return [float(y) for y in re.findall(r",(-?[\d.]+)", path)]
