"""The browser computes what SymPy says: every kind of expression, and every expression of every chapter's widgets."""

import math

import jupytext
import pytest
import sympy as sp
from browser import asset, chromium, serve
from chapter import load, slugs, source
from expressions import CASES, exact, points

from utils.bridge import to_torch, to_vega
from utils.explore import Plotted
from utils.explore.curves import Curves

EVALUATE = """async ([formula, rows]) => {
  const data = [{name: "table", values: rows, transform: [{type: "formula", expr: formula, as: "result"}]}];
  const view = await new vega.View(vega.parse({data}), {renderer: "none"}).runAsync();
  return view.data("table").map((row) => String(row.result));
}"""


@pytest.fixture(scope="module")
def page():
    with chromium() as browser:
        page = browser.new_page()
        problems = serve(page)
        page.add_script_tag(content=asset("vega/build/vega.min.js").read_text(encoding="utf-8"))
        yield page
        assert not problems


def evaluate(page, expr, rows) -> list[float]:
    names = {v: f"v{i}" for i, v in enumerate(rows[0])}
    formula = to_vega(expr, {v: f"datum.{name}" for v, name in names.items()})
    return [
        float(r) for r in page.evaluate(EVALUATE, [formula, [{names[v]: z for v, z in row.items()} for row in rows]])
    ]


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.vega])
def test_the_browser_has_sympys_value(page, name):
    case = CASES[name]
    rows = points(case.ranges, count=12, seed=1)
    expected = [exact(case.expr, row) for row in rows]
    assert evaluate(page, case.expr, rows) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_a_wrong_formula_would_be_seen(page):
    case = CASES["normal density"]
    rows = points(case.ranges)
    assert evaluate(page, 1.00000001 * case.expr, rows) != pytest.approx(
        [exact(case.expr, row) for row in rows], rel=1e-9, abs=1e-12
    )


def widgets(slug: str, monkeypatch) -> list[Curves]:
    """Run the cells that declare curves again, with the chapter's definitions, and return what they declare."""
    made = []
    honest = Curves.__init__
    monkeypatch.setattr(Curves, "__init__", lambda self, *args: [made.append(self), honest(self, *args)][1])
    names = {"display": lambda *shown: None, **vars(load(slug))}
    for cell in jupytext.read(source(slug)).cells:
        if cell.cell_type == "code" and "curves(" in cell.source:
            before = len(made)
            exec(cell.source, names)
            assert len(made) > before, f"{slug}: no widget was declared by {cell.source}"
    return made


@pytest.mark.parametrize("slug", slugs())
def test_sympy_torch_and_the_browser_agree_on_a_chapters_widgets(page, monkeypatch, slug):
    for widget in widgets(slug, monkeypatch):
        for label, plotted in widget.expressions.items():
            assert_agreement(page, Plotted(*plotted), f"{slug}: {label}")


def assert_agreement(page, plotted: Plotted, where: str) -> None:
    rows = points(plotted.ranges, count=12)
    expected = [exact(plotted.expr, row) for row in rows]
    assert all(map(math.isfinite, expected)), where
    compiled = to_torch(plotted.expr, list(plotted.ranges))
    in_torch = [float(compiled(*row.values())) for row in rows]
    assert in_torch == pytest.approx(expected, rel=1e-12, abs=1e-15), where
    assert evaluate(page, plotted.expr, rows) == pytest.approx(expected, rel=1e-9, abs=1e-12), where


@pytest.mark.parametrize("world", ["to_torch", "to_vega"])
def test_a_disagreement_of_the_three_would_be_seen(page, monkeypatch, world):
    case = CASES["variance preserving noise"]
    assert_agreement(page, Plotted(case.expr, case.ranges), "sample")
    honest = globals()[world]
    monkeypatch.setitem(globals(), world, lambda expr, names: honest(expr * (1 + sp.Float("2e-9")), names))
    with pytest.raises(AssertionError, match="sample"):
        assert_agreement(page, Plotted(case.expr, case.ranges), "sample")
