"""Widgets as Python sees them: what is declared, what the page gets, what a kernel shows."""

import json
import os
import re
import subprocess
import sys

import altair as alt
import ipywidgets
import numpy as np
import pytest
import sympy as sp
import torch
from widgets import b, bump, bumps, decay, heights, k, line, policy, t

from utils import figures
from utils.explore import Slider, curves, frames, grid_chart
from utils.explore import figure as look
from utils.explore.sketch import sketch


@pytest.fixture
def page(monkeypatch):
    """Return the HTML that the site gets, made as the build makes it: no kernel widget may exist."""
    monkeypatch.setenv("BOOK_BUILD", "1")

    def make(widget) -> str:
        for name in ("HTML", "VBox", "FloatSlider", "FloatLogSlider", "SelectionSlider", "Dropdown"):
            monkeypatch.setattr(ipywidgets, name, None)
        return widget._repr_mimebundle_()["text/html"]

    return make


def payload(html: str) -> dict:
    return json.loads(re.search(r'<script type="application/json">(.*)</script></figure>$', html, re.DOTALL)[1])


# --- curves ---


def test_curves_name_their_expressions_and_ranges():
    widget = decay(points={"half": (sp.log(2) / k, sp.Rational(1, 2))}, rules={"mean": 1 / k})
    assert list(widget.expressions) == ["decay", "rule mean", "point half, x", "point half, y"]
    assert widget.expressions["decay"].ranges == {t: (0.0, 2.0), k: (0.0, 5.0), b: (0.1, 10.0)}
    assert widget.expressions["rule mean"].expr == 1 / k


def test_curves_hand_the_page_formulas_and_signals(page):
    spec = payload(page(decay()))["spec"]
    assert {s["name"]: s.get("value") for s in spec["signals"]}.items() >= {"p0": 1.0, "p1": 1.0}.items()
    assert "exp(((-1.0) * p0 * pow(datum.x, p1)))" in json.dumps(spec)


@pytest.mark.parametrize(("log", "power"), [(False, 1), (True, 1), (True, 2)])
def test_a_power_is_a_straight_line_on_logarithmic_axes(log, power):
    words = {"y": "y", "title": "Line", "description": "A straight line."}
    axes = {"log_x": log, "log_y": log, "y_domain": (1, 100**power)}
    drawn = heights(look.still(curves({"line": t**power}, (t, 1, 100, "x"), **words, **axes, n=21).spec({}), 600))
    assert drawn == pytest.approx(np.linspace(drawn[0], 0, 21), abs=0.11)


@pytest.mark.parametrize(
    ("domain", "values"),
    [
        ((0.002, 80), [0.01, 0.1, 1, 10]),
        ((0.01, 100), [0.01, 0.1, 1, 10, 100]),
        ((1e-9, 1e9), [10.0**k for k in range(-9, 10, 3)]),
    ],
)
def test_a_long_logarithmic_axis_has_its_grid_at_powers_of_ten(domain, values):
    widget = curves({"line": t}, (t, *domain, "x"), y="y", title="T", description="A line.", log_x=True)
    axis = widget.spec({})["layer"][0]["encoding"]["x"]["axis"]
    assert axis["values"] == pytest.approx(values)


def test_curves_page_shows_values_and_pictures_without_javascript(page):
    html = page(decay())
    assert html.count("<svg") == 2 + 1  # wide, narrow, and the swatch of the legend
    assert re.findall(r"<output[^>]*>([^<]*)</output>", html) == ["1 1/s", "1"]
    assert "<noscript><p>Drawn for rate: 1 1/s; stretch: 1. Moving" in html
    assert 'role="img" aria-label="A curve that falls from one."' in html
    assert "height:300px" in html


def test_the_page_is_the_same_at_every_build_and_its_identifiers_are_its_own(page):
    assert page(decay()) == page(decay())
    marks = [set(re.findall(r' id="([^"]+)"', page(decay(y_domain=(0, top))))) for top in (1, 2)]
    assert marks[0]
    assert not marks[0] & marks[1]


def test_the_still_follows_the_theme(page):
    html = page(decay())
    drawn = " ".join(re.findall(r"<svg.*?</svg>", html, re.DOTALL))
    assert set(re.findall(r'(?:fill|stroke)="(#[0-9a-fA-F]+|black|white)"', drawn)) == {look.PALETTE[0]}


def test_text_on_the_page_is_escaped(page):
    html = page(decay(title="a < b & <script>", description='"quoted"'))
    assert "a &lt; b &amp; &lt;script&gt;" in html
    assert 'aria-label="&quot;quoted&quot;"' in html
    assert html.count("<script") == 1


BAD_CURVES = {
    "symbol k is not in the arguments": lambda: curves({"a": k * t}, (t, 0, 1, ""), y="", title="", description="d"),
    "a description": lambda: decay(description=" "),
    "lo < hi": lambda: curves({"a": t}, (t, 1, 0, ""), y="", title="", description="d"),
    "at most 6 curves": lambda: curves(dict.fromkeys("abcdefg", t), (t, 0, 1, ""), y="", title="", description="d"),
    "one control for each symbol": lambda: curves(
        {"a": t}, (t, 0, 1, ""), [Slider(t, 0, 1, 1)], y="", title="", description="d"
    ),
    "sliders that move something, received b": lambda: curves(
        {"a": k * t}, (t, 0, 1, ""), [Slider(k, 0, 1, 1), Slider(b, 0, 1, 1)], y="", title="", description="d"
    ),
    "a logarithmic axis needs a positive range": lambda: decay(log_x=True),
    "Slider expects a symbol": lambda: Slider("k", 0, 1, 0),
    "expected lo < hi": lambda: Slider(k, 1, 0, 0),
    "value between": lambda: Slider(k, 0, 1, 2),
    "needs lo > 0": lambda: Slider(k, 0, 1, 1, log=True),
    "0 < step": lambda: Slider(k, 0, 1, 1, step=2),
}


@pytest.mark.parametrize("message", BAD_CURVES)
def test_a_bad_declaration_of_curves_is_refused(message):
    with pytest.raises(ValueError, match=message):
        BAD_CURVES[message]()


# --- frames ---


def rows_on_the_page(table, frame) -> list[dict]:
    columns = {name: values[frame] for name, values in table["moving"].items()} | table["fixed"]
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def test_the_pages_table_holds_the_functions_rows(page):
    widget = bumps()
    table = payload(page(widget))["table"]
    assert table["strides"] == [2, 1]
    assert list(table["fixed"]) == ["x"]
    for i, height in enumerate([1, 2, 3]):
        for j, shape in enumerate(["bell", "witch"]):
            expected = [{key: float(f"{z:.4g}") for key, z in row.items()} for row in bump(height, shape)]
            assert rows_on_the_page(table, 2 * i + j) == expected


def test_frames_of_different_lengths_are_kept():
    widget = bumps(fn=lambda height, shape: [{"x": i, "y": height} for i in range(height)])
    table = widget.payload()["table"]
    assert [len(rows_on_the_page(table, frame)) for frame in (0, 2, 4)] == [1, 2, 3]


def test_numbers_of_other_libraries_become_plain_and_short():
    widget = bumps(fn=lambda height, shape: [{"x": torch.tensor(1 / 3), "y": np.float32(2 / 3), "z": float("inf")}])
    assert widget.rows(widget.values) == [{"x": 0.3333, "y": 0.6667, "z": None}]


def test_start_values_and_units():
    assert bumps().values == {"height": 2, "shape": "bell"}
    assert repr(bumps()) == "frames: Bumps (height = 2 m, shape = bell)"
    assert bumps(start={"shape": "witch"}).values == {"height": 2, "shape": "witch"}


def test_a_label_of_two_words_is_an_argument_with_an_underscore():
    widget = frames(lambda slip_chance: [{"x": slip_chance}], {"slip chance": [0, 1]}, line, title="a", description="d")
    assert widget.controls[0].label == "slip chance"
    assert widget.rows(widget.values) == [{"x": 0}]


BAD_FRAMES = {
    "at most 300 kB": lambda: bumps(
        fn=lambda height, shape: [{"x": 0.12345 + i * height} for i in range(50_000)]
    ).payload(),
    "list of dicts": lambda: bumps(fn=lambda height, shape: 3).payload(),
    "same columns": lambda: bumps(fn=lambda height, shape: [{"x": 1}, {"y": 1}]).payload(),
    "is not among the controls": lambda: bumps(start={"length": 1}),
    "is not among": lambda: bumps(start={"height": 7}),
    "distinct values": lambda: frames(bump, {"height": [1, 1]}, line, title="t", description="d"),
    "a description": lambda: bumps(description=""),
}


@pytest.mark.parametrize("message", BAD_FRAMES)
def test_a_bad_declaration_of_frames_is_refused(message):
    with pytest.raises(ValueError, match=message):
        BAD_FRAMES[message]()


def test_a_grid_worlds_chart_draws_walls_arrows_values_and_visits():
    widget = policy()
    drawn = look.still(widget.spec(widget.values))
    assert drawn.count("\N{RIGHTWARDS ARROW}") == 8
    assert drawn.count(f">{0.9 / 5:.2f}<") == 1
    assert drawn.count('fill="#777"') == 9
    assert drawn.count('fill="#d55e00"') == 8
    with pytest.raises(ValueError, match="lo < hi"):
        grid_chart(alt.NamedData(name="frame"), (1, 1))


def test_outlined_cells_take_the_colour_of_their_column():
    drawn = grid_chart(alt.NamedData(name="frame"), (0, 1), outline="mark").to_dict()["layer"][-1]
    assert drawn["mark"]["filled"] is False
    assert drawn["encoding"]["stroke"] == {"field": "mark", "legend": None, "scale": None, "type": "nominal"}
    assert drawn["transform"] == [{"filter": "datum['mark'] != ''"}]


# --- in a kernel ---


@pytest.fixture
def kernel(monkeypatch):
    monkeypatch.delenv("BOOK_BUILD", raising=False)


def parts(widget):
    _heading, *inputs, _legend, chart = widget.widget.children
    return inputs, chart


@pytest.mark.parametrize(
    ("value", "log", "shown"),
    [(1000, True, "1000"), (123_456, False, "123500"), (0.0004, True, "0.0004"), (2.5, False, "2.5")],
)
def test_a_slider_shows_its_digits_without_an_exponent(value, log, shown):
    assert Slider(k, 1e-4, 1e6, value, label="steps", log=log).text() == shown


def test_moving_a_slider_in_a_kernel_changes_the_values_and_the_chart(kernel):
    widget = decay()
    (rate, stretch), chart = parts(widget)
    before = chart.value
    rate.value = 3
    assert widget.values == {k: 3.0, b: 1.0}
    assert chart.value != before
    stretch.value = 10.0
    assert widget.values[b] == 10.0
    rate.value, stretch.value = 1, 1
    assert chart.value == before


def test_moving_a_control_in_a_kernel_calls_the_function(kernel):
    calls = []
    widget = bumps(fn=lambda **values: calls.append(values) or bump(**values))
    (height, shape), chart = parts(widget)
    before = chart.value
    assert isinstance(shape, ipywidgets.Dropdown)
    height.value = 3
    shape.value = "witch"
    assert calls[-1] == widget.values == {"height": 3, "shape": "witch"}
    assert chart.value != before


def test_a_kernel_gets_a_live_view_and_the_page_gets_none(kernel, monkeypatch):
    widget = decay()
    assert "application/vnd.jupyter.widget-view+json" in widget._repr_mimebundle_()
    monkeypatch.setenv("BOOK_BUILD", "1")
    assert set(widget._repr_mimebundle_()) == {"text/html", "text/plain"}


@pytest.mark.parametrize(("make", "drawn"), [(decay, "<svg"), (bumps, "<iframe"), (policy, "<iframe")])
def test_a_kernel_without_vl_convert_draws_too(kernel, monkeypatch, make, drawn):
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    widget = make()
    (first, _), chart = parts(widget)
    before = chart.value
    first.value = 3 if make is not policy else 0
    assert drawn in chart.value
    assert chart.value != before
    with pytest.raises(RuntimeError, match="vl-convert-python"):
        widget.html()


def test_a_sketch_draws_what_the_browser_would(kernel, monkeypatch):
    drawn = []
    monkeypatch.setattr(figures, "show", lambda fig, alt: drawn.append(fig.axes[0]) or figures.Shown("", alt))
    widget = decay(points={"end": (2, sp.exp(-k))}, rules={"mean": 1 / k}, log_y=True, y_domain=(0.1, 2))
    settings = dict(figures.mpl.rcParams)
    sketch(widget, {k: 2.0, b: 0.5})
    assert dict(figures.mpl.rcParams) == settings
    (axis,) = drawn
    curve, rule, point = axis.lines
    np.testing.assert_allclose(curve.get_ydata(), np.exp(-2 * curve.get_xdata() ** 0.5), rtol=1e-12)
    assert (curve.get_xdata()[0], curve.get_xdata()[-1]) == (0, 2)
    assert rule.get_xdata()[0] == 0.5
    assert (float(point.get_xdata()[0]), float(point.get_ydata()[0])) == (2, pytest.approx(np.exp(-2)))
    assert (axis.get_yscale(), axis.get_ylim(), axis.get_xlim()) == ("log", (0.1, 2), (0, 2))


def test_every_control_in_a_kernel_has_its_label_and_unit(kernel):
    assert [c.description for c in parts(decay())[0]] == ["rate (1/s)", "stretch"]
    assert [c.description for c in parts(bumps())[0]] == ["height", "shape"]


def test_importing_the_module_makes_no_widget():
    code = "import sys, utils.explore; print('ipywidgets' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ.copy()
    )
    assert done.stdout.strip() == "False"


def test_importing_the_module_builds_no_grammar_of_addresses_and_leaves_it_to_others():
    pytest.importorskip("rfc3987_syntax")
    code = "import sys, utils.explore; print([m for m in sys.modules if 'rfc3987_syntax' in m]); import rfc3987_syntax"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_colours_are_those_of_the_figures():
    assert look.PALETTE[: len(figures.COLOURS)] == figures.COLOURS


@pytest.mark.parametrize("ground", [1.0, 0.0060])  # white, #121212
def test_the_colours_are_seen_on_light_and_dark(ground):
    for colour in look.PALETTE:
        channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        luminance = sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
        light, dark = max(luminance, ground), min(luminance, ground)
        assert (light + 0.05) / (dark + 0.05) >= 3, colour
