"""Curves of expressions, live in the browser because the expressions are compiled to it."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

import sympy as sp

from utils.bridge import to_vega
from utils.explore.controls import Slider
from utils.explore.figure import PALETTE, Widget, styled

__all__ = ["Plotted", "curves"]

RULES = ((4, 3), (1, 3), (9, 3, 1, 3))
DASHES = ((1, 0), (7, 3), (2, 2), (9, 3, 2, 3), (4, 4), (12, 3))


class Plotted(NamedTuple):
    """An expression that a widget draws, and the range over which it draws it."""

    expr: sp.Expr
    ranges: dict[sp.Symbol, tuple[float, float]]


class Curves(Widget):
    """See `curves`."""

    kind = "curves"
    quick = True
    dashes = DASHES

    def __init__(self, lines, x, sliders, points, rules, title, description, settings):
        self.lines, self.x, self.controls = lines, x, tuple(sliders)
        self.points, self.rules = dict(points or {}), dict(rules or {})
        self.title, self.description, self.settings = title, description, settings
        self._check()
        self.legend = _legend(list(lines), list(self.points), list(self.rules))
        self._drawn = self._layers()

    def _check(self):
        symbols = [self.x[0], *self.keys()]
        if len(set(symbols)) != len(symbols):
            raise ValueError(f"curves: expected one control for each symbol, received {symbols}")
        if len(self.lines) > len(PALETTE):
            raise ValueError(f"curves: expected at most {len(PALETTE)} curves, received {len(self.lines)}")
        if not self.lines or not self.description.strip():
            raise ValueError("curves: expected one or more curves and a description of what they show")
        used = set().union(*(plotted.expr.free_symbols for plotted in self.expressions.values()))
        idle = [c.label for c in self.controls if c.symbol not in used]
        if idle:
            raise ValueError(f"curves: expected sliders that move something, received {', '.join(idle)}")

    @property
    def expressions(self) -> dict[str, Plotted]:
        """Every expression that the browser evaluates, by its label, with the ranges of its symbols."""
        ranges = {c.symbol: (c.lo, c.hi) for c in self.controls}
        over_x = {self.x[0]: (float(self.x[1]), float(self.x[2])), **ranges}
        found = {label: Plotted(sp.sympify(e), over_x) for label, e in self.lines.items()}
        found |= {f"rule {label}": Plotted(sp.sympify(e), ranges) for label, e in self.rules.items()}
        for label, pair in self.points.items():
            for axis, e in zip("xy", pair, strict=True):
                found[f"point {label}, {axis}"] = Plotted(sp.sympify(e), ranges)
        return found

    def _layers(self) -> list[dict]:
        _, lo, hi, x_title = self.x
        s = self.settings
        signals = {c.symbol: f"p{i}" for i, c in enumerate(self.controls)}
        axes = {
            "x": _axis("x", x_title, (lo, hi), s["log_x"], ticks=6),
            "y": _axis("y", s["y"], s["y_domain"], s["log_y"], ticks=5),
        }
        fields = [f"y{i}" for i in range(len(self.lines))]
        looks = {"color": PALETTE, "strokeDash": DASHES}
        kinds = {
            channel: {
                "field": "curve",
                "type": "nominal",
                "legend": None,
                "scale": {"domain": fields, "range": list(values[: len(fields)])},
            }
            for channel, values in looks.items()
        }
        lines = {**self._points(fields, signals), "mark": {"type": "line", "clip": True}, "encoding": axes | kinds}
        ink = {"strokeWidth": 1.5, "clip": True}
        marks = [
            _mark("rule", {"x": e}, signals, axes, strokeDash=RULES[i % len(RULES)], **ink)
            for i, e in enumerate(self.rules.values())
        ]
        dot = {"filled": True, "size": 90, "opacity": 1, "clip": True, "color": "currentColor"}
        marks += [
            _mark("point", dict(zip("xy", pair, strict=True)), signals, axes, **dot) for pair in self.points.values()
        ]
        return [lines, *marks]

    def _points(self, fields: Sequence[str], signals: Mapping) -> dict:
        """Return the data of the curves: the points of x, and each expression computed on them."""
        symbol, lo, hi, _ = self.x
        share = f"datum.i / {self.settings['n'] - 1}"
        at = f"{lo} * pow({hi / lo}, {share})" if self.settings["log_x"] else f"{lo} + {hi - lo} * {share}"
        drawable = "isFinite(datum.y) && datum.y > 0" if self.settings["log_y"] else "isFinite(datum.y)"
        formulas = [to_vega(e, {**signals, symbol: "datum.x"}) for e in self.lines.values()]
        return {
            "data": {"sequence": {"start": 0, "stop": self.settings["n"], "as": "i"}},
            "transform": [
                {"calculate": at, "as": "x"},
                *({"calculate": formula, "as": field} for field, formula in zip(fields, formulas, strict=True)),
                {"fold": list(fields), "as": ["curve", "y"]},
                {"calculate": f"{drawable} ? datum.y : null", "as": "y"},
            ],
        }

    def spec(self, values: Mapping) -> dict:
        """Return the Vega-Lite specification with the sliders at `values`."""
        params = [{"name": f"p{i}", "value": float(v)} for i, v in enumerate(values.values())]
        return styled({"params": params, "width": "container", "height": self.settings["height"], "layer": self._drawn})

    def fallback(self, values: Mapping) -> str:
        """Return the chart at `values` as HTML, drawn by matplotlib."""
        from utils.explore.sketch import sketch

        return sketch(self, values)


def _axis(field: str, title: str, domain: tuple[float, float] | None, log: bool, ticks: int) -> dict:
    """Return the encoding of an axis; a logarithmic one over two decades or more has its grid at powers of ten."""
    scale = {"type": "log" if log else "linear", "zero": False}
    axis = {"tickCount": ticks, "labelOverlap": True}
    if domain:
        scale |= {"domain": list(domain), "nice": False}
    if domain and log and domain[1] / domain[0] >= 100:
        first, last = math.ceil(math.log10(domain[0]) - 1e-9), math.floor(math.log10(domain[1]) + 1e-9)
        axis["values"] = [10.0**k for k in range(first, last + 1, 1 + (last - first) // 8)]
    return {"field": field, "type": "quantitative", "title": title, "scale": scale, "axis": axis}


def _mark(kind: str, at: dict, signals: Mapping, axes: Mapping, **look) -> dict:
    return {
        "data": {"values": [{}]},
        "transform": [{"calculate": to_vega(e, signals), "as": axis} for axis, e in at.items()],
        "mark": {"type": kind, **look},
        "encoding": {axis: axes[axis] for axis in at},
    }


def _legend(lines: Sequence[str], points: Sequence[str], rules: Sequence[str]) -> str:
    """Return the legend as HTML: it wraps on a phone and takes the page's colours."""
    swatch = '<svg width="30" height="10" aria-hidden="true"><{}/></svg>'
    stroke = 'path d="M0 5H30" stroke="{}" stroke-width="2.5" stroke-dasharray="{}"'
    entries = [
        (swatch.format(stroke.format(PALETTE[i], " ".join(map(str, DASHES[i])))), label)
        for i, label in enumerate(lines)
    ]
    dashes = [" ".join(map(str, RULES[i % len(RULES)])) for i in range(len(rules))]
    pairs = zip(dashes, rules, strict=True)
    entries += [(swatch.format(stroke.format("currentColor", dash)), label) for dash, label in pairs if label]
    dot = 'circle cx="15" cy="5" r="4.5" fill="currentColor"'
    entries += [(swatch.format(dot), label) for label in points]
    item = '<li style="display:inline-block;margin:0 1.2em 0 0">{} {}</li>'
    items = "".join(item.format(drawing, escape(label)) for drawing, label in entries)
    return f'<ul class="widget-legend" style="list-style:none;margin:.3em 0;padding:0">{items}</ul>'


def curves(
    lines: Mapping[str, sp.Expr],
    x: tuple[sp.Symbol, float, float, str],
    sliders: Sequence[Slider] = (),
    *,
    y: str,
    title: str,
    description: str,
    y_domain: tuple[float, float] | None = None,
    log_x: bool = False,
    log_y: bool = False,
    points: Mapping[str, tuple[sp.Expr, sp.Expr]] | None = None,
    rules: Mapping[str, sp.Expr] | None = None,
    height: int = 300,
    n: int = 241,
) -> Curves:
    """Return a widget that draws expressions over `x` while sliders set their other symbols.

    Args:
        lines: legend label -> expression in the x symbol and the sliders' symbols; at most six.
        x: the symbol, its range, the axis label with its unit.
        sliders: one for each other symbol.
        y: the axis label with its unit.
        title, description: the heading; what the chart shows, for those who cannot see it.
        y_domain: the fixed range of the axis; without it the axis follows the curves.
        log_x, log_y: logarithmic axes.
        points, rules: label -> (x, y) of a dot, label -> x of a vertical line, as expressions of the sliders;
            one with the label "" is not in the legend.
        height: of the chart, in pixels; `n`: points on each curve.

    Raises:
        ValueError: a symbol without a slider, a slider without its symbol, a range that a
            logarithm does not have, no description.

    >>> t, k = sp.symbols("t k")
    >>> curves({"decay": sp.exp(-k * t)}, (t, 0, 1, "time"), [Slider(k, 0, 5, 1)], y="share",
    ...        title="Decay", description="A falling curve.").values
    {k: 1.0}
    """
    if len(x) != 4 or not isinstance(x[0], sp.Symbol) or not x[1] < x[2]:
        raise ValueError(f"curves: expected x = (symbol, lo, hi, label) with lo < hi, received {x}")
    if (log_x and x[1] <= 0) or (log_y and y_domain and y_domain[0] <= 0):
        raise ValueError("curves: a logarithmic axis needs a positive range")
    settings = {"y": y, "y_domain": y_domain, "log_x": log_x, "log_y": log_y, "height": height, "n": n}
    x = (x[0], float(x[1]), float(x[2]), x[3])
    return Curves(dict(lines), x, sliders, points, rules, title, description, settings)
