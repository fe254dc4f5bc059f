"""What both widget shapes share: the look, the still picture, the HTML of the page, the view in a kernel."""

import copy
import hashlib
import json
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from html import escape

from utils.explore.controls import Choice, Slider

__all__ = ["PALETTE", "Widget", "styled"]

# The colours of `utils.figures` and a grey: 3:1 or more on white and on near-black, safe for the colour-blind.
PALETTE = ("#2b7bba", "#d55e00", "#0b8f6a", "#b0579a", "#8a7300", "#7d7d7d")
WIDE, NARROW = 680, 330
_INK = "currentColor"
_TAIL = re.compile(r"-?\d+\.\d{2,}")  # a picture needs no hundredths of a pixel
_ARIA = re.compile(r' (?:aria-\w+|role)="[^"]*"')  # the picture as a whole has its description
_TILE = r'<path d="(M[-\d.,]+h[-\d.]+v[-\d.]+h[-\d.]+Z)" fill="(#\w+|rgb\([\d, ]+\))"/>'
_TILES = re.compile(_TILE + r'(?:<path d="M[-\d.,]+h[-\d.]+v[-\d.]+h[-\d.]+Z" fill="\2"/>)+')
_GUIDE = {
    "labelColor": _INK,
    "titleColor": _INK,
    "labelFontSize": 12,
    "titleFontSize": 12,
    "titleFontWeight": "normal",
}
CONFIG = {
    "aria": False,
    "background": None,
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": {
        **_GUIDE,
        "domainColor": _INK,
        "domainOpacity": 0.4,
        "tickColor": _INK,
        "tickOpacity": 0.4,
        "gridColor": _INK,
        "gridOpacity": 0.15,
    },
    "legend": {**_GUIDE, "orient": "bottom", "labelLimit": 0},
    "header": _GUIDE,
    "title": {"color": _INK, "subtitleColor": _INK, "fontWeight": "normal", "fontSize": 13},
    "mark": {"color": PALETTE[0], "aria": False},
    "text": {"color": _INK},
    "rule": {"color": _INK},
    "line": {"strokeWidth": 2.2},
    "range": {"category": list(PALETTE)},
}


def styled(spec: Mapping) -> dict:
    """Return a copy of a Vega-Lite specification in the book's look; its own settings win."""
    spec = copy.deepcopy(dict(spec))
    own = spec.get("config", {})
    merged = {k: {**v, **own.get(k, {})} for k, v in CONFIG.items() if isinstance(v, dict)}
    spec["config"] = {**CONFIG, **own, **merged}
    if spec.get("width") == "container":
        spec["autosize"] = {"type": "fit", "contains": "padding"}
    spec["padding"] = 4
    return spec


def converter():
    """Return vl-convert, which draws without a browser, or None where it is not installed."""
    try:
        import vl_convert
    except ImportError:
        return None
    return vl_convert


def _tenth(number: re.Match) -> str:
    return f"{float(number[0]):.1f}".removesuffix(".0")


def _joined(tiles: re.Match) -> str:
    """Neighbours of one colour as one path: a picture of a thousand tiles loads a thousand times otherwise."""
    shapes = "".join(shape for shape, _ in re.findall(_TILE, tiles[0]))
    return f'<path d="{shapes}" fill="{tiles[2]}"/>'


def still(spec: Mapping, width: int | None = None) -> str:
    """Return the chart as an SVG picture at its present values, `width` pixels wide if it is fluid.

    The identifiers inside are made unique: a page holds many pictures, and they must not borrow from each other.
    """
    if width and spec.get("width") == "container":
        spec = {**spec, "width": width}
    picture = converter().vegalite_to_svg(dict(spec), vl_version="6.4")
    picture = re.sub(r' d="[^"]*"', lambda path: _TAIL.sub(_tenth, path[0]), _ARIA.sub("", picture))
    picture = _TILES.sub(_joined, picture)
    for i, found in enumerate(re.findall(r' id="([^"]+)"', picture)):  # vl-convert counts on from call to call
        picture = re.sub(rf'( id="|url\(#|href="#){re.escape(found)}\b', rf"\g<1>part{i}", picture)
    mark = "w" + hashlib.sha256(picture.encode()).hexdigest()[:8]
    return re.sub(r'( id="|url\(#|href="#)', rf"\g<1>{mark}-", picture)


class Widget(ABC):
    """A chart with controls: HTML for the page, ipywidgets in a kernel.

    A subclass says what is drawn: `spec(values)` is the Vega-Lite specification at some values of the
    controls, `payload()` what the page needs besides it.
    """

    kind = ""
    quick = False  # whether `fallback` can follow a slider while it moves
    title = description = legend = ""
    controls: Sequence[Slider | Choice] = ()

    @abstractmethod
    def spec(self, values: Mapping) -> dict:
        """Return the Vega-Lite specification at `values`."""

    def payload(self) -> dict:
        """Return what the page needs besides the specification."""
        return {}

    def keys(self) -> list:
        """Return the key of each control in `values`."""
        return [c.symbol if isinstance(c, Slider) else c.name for c in self.controls]

    _inputs = _view = None

    @property
    def values(self) -> dict:
        """The controls' values now: those the reader has set in a kernel, the initial ones elsewhere."""
        return dict(zip(self.keys(), (c.value for c in self._inputs or self.controls), strict=True))

    @property
    def widget(self):
        """The live view in a kernel (an ipywidgets box), made on first use."""
        if self._view is None:
            self._view = self._make_view()
        return self._view

    def fallback(self, values: Mapping) -> str:
        """Return the chart at `values` as HTML where vl-convert is missing: a frame that draws itself."""
        import altair
        from altair.utils.html import spec_to_html

        spec = self.spec(values)
        versions = (altair.VEGA_VERSION, altair.VEGAEMBED_VERSION, altair.VEGALITE_VERSION)
        page = spec_to_html(spec, "vega-lite", *versions, embed_options={"actions": False, "renderer": "svg"})
        height = spec["height"] + 110 if isinstance(spec.get("height"), int) else 460
        style = f"width:100%;height:{height}px;border:0;background:#fff"
        return f'<iframe title="{escape(self.description)}" srcdoc="{escape(page)}" style="{style}"></iframe>'

    def _picture(self) -> str:
        if converter() is None:
            return self.fallback(self.values)
        label = f'role="img" aria-label="{escape(self.description)}"'
        return f'<div {label} style="max-width:{WIDE}px">{still(self.spec(self.values), WIDE)}</div>'

    def _make_view(self):
        import ipywidgets

        quick = self.quick or converter() is not None
        self._inputs = [c.widget(continuous=quick) for c in self.controls]
        chart = ipywidgets.HTML(self._picture(), layout={"width": "100%"})

        def draw(_):
            chart.value = self._picture()

        for control in self._inputs:
            control.observe(draw, "value")
        heading = ipywidgets.HTML(f"<b>{escape(self.title)}</b>")
        return ipywidgets.VBox([heading, *self._inputs, ipywidgets.HTML(self.legend), chart])

    def html(self) -> str:
        """Return the widget for the rendered page: its still picture, its controls and what drives them."""
        vl_convert = converter()
        if vl_convert is None:
            raise RuntimeError("building the page needs vl-convert-python, which is not installed")
        spec = self.spec(self.values)
        vega = {"kind": self.kind, "spec": vl_convert.vegalite_to_vega(spec, vl_version="6.4"), **self.payload()}
        data = json.dumps(vega, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
        rows = "".join(c.html(f"p{i}") for i, c in enumerate(self.controls))
        shown = "; ".join(f"{c.label}: {c.text()}" for c in self.controls)
        return (
            f'<figure class="widget widget-{self.kind}"><figcaption>{escape(self.title)}</figcaption>'
            f'<div class="widget-controls" role="group" aria-label="Controls: {escape(self.title)}">'
            f"{rows}</div>{self.legend}{self._chart(spec)}"
            f"<noscript><p>Drawn for {escape(shown)}. Moving the controls needs JavaScript.</p></noscript>"
            f'<script type="application/json">{data}</script></figure>'
        )

    def _chart(self, spec: dict) -> str:
        """Return the place of the chart, which has its final size, with the still picture in it."""
        pictures = f'<div class="widget-wide">{still(spec, WIDE)}</div>'
        if spec.get("width") == "container":
            kind, size = "widget-fluid", f"height:{spec['height']}px"
            pictures += f'<div class="widget-narrow">{still(spec, NARROW)}</div>'
        else:
            width, height = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', pictures).groups()
            kind, size = "widget-fixed", f"max-width:{width}px;aspect-ratio:{width}/{height}"
        label = escape(self.description)
        return (
            f'<div class="widget-chart {kind}" style="{size}" role="img" aria-label="{label}">'
            f'<div class="widget-still" aria-hidden="true">{pictures}</div>'
            '<div class="widget-live" aria-hidden="true"></div></div>'
        )

    def __repr__(self) -> str:
        pairs = zip(self.controls, self.values.values(), strict=True)
        shown = ", ".join(f"{c.label} = {c.text(v)}" for c, v in pairs)
        return f"{self.kind}: {self.title} ({shown})" if shown else f"{self.kind}: {self.title}"

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        if os.environ.get("BOOK_BUILD") == "1":
            return {"text/html": self.html(), "text/plain": repr(self)}
        view = {"version_major": 2, "version_minor": 0, "model_id": self.widget.model_id}
        return {"application/vnd.jupyter.widget-view+json": view, "text/plain": repr(self)}
