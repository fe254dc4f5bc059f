"""Widgets as a reader has them: Chromium, a keyboard, a phone, a dark page, a page without JavaScript."""

import pytest
from browser import asset, chromium, serve
from widgets import b, bumps, decay, heights, k, policy, walk

from utils.explore.figure import still

ALIVE = "document.querySelectorAll('figure.widget[data-ready]').length === document.querySelectorAll('figure').length"
WIDTHS = pytest.mark.parametrize("width", [1280, 360])
BOX = """() => [...document.querySelectorAll('figure.widget, .widget-chart')].map((e) => {
  const {x, y, width, height} = e.getBoundingClientRect(); return [x, y, width, height] })"""


@pytest.fixture(scope="module")
def browser():
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def body():
    return "".join(widget.html() for widget in (decay(), bumps(), policy()))


@pytest.fixture
def open_page(browser, body):
    opened = []

    def make(width=1280, javascript=True, content=body):
        context = browser.new_context(viewport={"width": width, "height": 800}, java_script_enabled=javascript)
        context.set_default_timeout(8000)
        page = context.new_page()
        opened.append((context, serve(page, content)))
        if javascript:
            page.wait_for_function(ALIVE)
        return page

    yield make
    for context, problems in opened:
        context.close()
        assert not problems


def live(figure):
    return figure.locator(".widget-live svg").element_handle()


def drawing(figure) -> str:
    return live(figure).inner_html()


@pytest.mark.parametrize("nth", range(6))
def test_every_control_is_reached_and_moved_by_keyboard_and_changes_its_chart(open_page, nth):
    page = open_page()
    for _ in range(nth + 1):
        page.keyboard.press("Tab")
    control = page.locator(".widget-control :is(input, select)").nth(nth)
    assert control.evaluate("e => e === document.activeElement")
    figure = control.locator("xpath=ancestor::figure")
    chart, shown = drawing(figure), figure.inner_text()
    page.keyboard.press("ArrowRight" if control.evaluate("e => e.type") == "range" else "ArrowDown")
    page.wait_for_function("([e, old]) => e.innerHTML !== old", arg=[live(figure), chart])
    if control.evaluate("e => e.type") == "range":
        assert figure.inner_text() != shown
        assert control.get_attribute("aria-valuetext") in figure.inner_text()


def test_a_curve_is_the_expression_at_the_sliders_exact_values(open_page):
    page = open_page()
    figure = page.locator("figure.widget-curves")
    before = drawing(figure)
    figure.get_by_label("rate").fill("3")
    figure.get_by_label("stretch").press("Home")
    figure.get_by_label("stretch").press("ArrowRight")
    assert figure.locator("output").all_inner_texts() == ["3 1/s", "0.105"]
    page.wait_for_function("([e, old]) => e.innerHTML !== old", arg=[live(figure), before])
    page.wait_for_timeout(200)
    expected = still(decay().spec({k: 3.0, b: 10**-0.98}), 704)
    assert heights(drawing(figure)) == pytest.approx(heights(expected), abs=0.6)
    assert heights(drawing(figure)) != pytest.approx(heights(before), abs=5)


def test_a_chart_follows_the_width_of_its_page(open_page):
    page = open_page()
    svg = page.locator(".widget-curves .widget-live svg")
    assert svg.evaluate("e => e.clientWidth") == 704
    page.set_viewport_size({"width": 400, "height": 800})
    page.wait_for_function("e => e.clientWidth === 368", arg=svg.element_handle())


@pytest.mark.parametrize(("slip", "discount"), [(0, 0), (2, 1), (1, 2)])
def test_the_grid_shows_the_frame_that_its_controls_select(open_page, slip, discount):
    page = open_page()
    figure = page.locator("figure.widget").nth(2)
    figure.get_by_label("slip").fill(str(slip))
    figure.get_by_label("discount").fill(str(discount))
    rows = walk([0, 0.25, 0.5][slip], [0.5, 0.9, 1][discount])
    expected = [f"{r['value']:.2f}".replace("-", "\N{MINUS SIGN}") for r in rows if r["value"] is not None]
    page.wait_for_function(
        "([e, texts]) => texts.every((t) => [...e.querySelectorAll('text')].some((x) => x.textContent === t))",
        arg=[figure.locator(".widget-live").element_handle(), expected],
    )


@WIDTHS
def test_nothing_moves_when_vega_takes_over(open_page, body, width):
    plain = open_page(width, javascript=False, content="<style>noscript { display: none }</style>" + body)
    page = open_page(width)
    assert page.evaluate(BOX) == plain.evaluate(BOX)
    for chart in page.locator(".widget-chart").all():
        place, drawn = chart.bounding_box(), chart.locator("svg").bounding_box()
        assert drawn == pytest.approx(place, abs=1.5)


@WIDTHS
def test_no_layout_shift_and_nothing_wider_than_the_screen(open_page, width):
    page = open_page(width)
    shift = """() => new Promise((done) => new PerformanceObserver((list) =>
        done(list.getEntries().reduce((sum, e) => sum + e.value, 0))).observe({type: 'layout-shift', buffered: true})
        || setTimeout(() => done(0), 300))"""
    assert page.evaluate(shift) == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    sizes = page.locator(".widget-control :is(input, select)").evaluate_all(
        "all => all.map((e) => [e.offsetWidth, e.offsetHeight])"
    )
    assert all(w >= 24 and h >= 24 for w, h in sizes)


def test_without_javascript_the_values_are_told_and_no_control_pretends(open_page):
    page = open_page(360, javascript=False)
    assert "Drawn for rate: 1 1/s; stretch: 1. Moving the controls needs JavaScript." in page.inner_text("main")
    assert not any(e.is_visible() for e in page.locator("figure :is(input, select)").all())
    assert [svg.is_visible() for svg in page.locator(".widget-still svg").all()] == [False, True, False, True, True]


@WIDTHS
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_and_text_follows_the_theme(open_page, width, theme):
    page = open_page(width)
    page.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
    page.add_script_tag(content=asset("axe-core/axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate("async () => (await axe.run()).violations")
    assert [(v["id"], [n["html"] for n in v["nodes"]]) for v in found] == []
    ink = {"light": "rgb(34, 34, 34)", "dark": "rgb(221, 221, 221)"}[theme]
    text = page.locator(".widget-curves .widget-live text").first
    assert text.evaluate("e => getComputedStyle(e).fill") == ink


def test_vega_is_loaded_once_and_after_the_first_paint(open_page):
    page = open_page()
    timing = """() => [
        performance.getEntriesByType('resource').filter((e) => e.name.includes('vega')).map((e) => e.startTime),
        performance.getEntriesByName('first-contentful-paint')[0].startTime]"""
    starts, paint = page.evaluate(timing)
    assert len(starts) == 1
    assert starts[0] >= paint


def test_a_page_without_a_widget_does_not_load_vega(open_page):
    page = open_page(content="<p>No widget.</p>")
    page.wait_for_timeout(300)
    assert page.evaluate("performance.getEntriesByType('resource').filter((e) => e.name.includes('vega')).length") == 0


def test_the_live_chart_is_the_still_one(open_page):
    page, plain = open_page(), open_page(javascript=False)
    for nth, visible in ((0, 0), (1, 2), (2, 4)):
        shown = page.locator(".widget-live").nth(nth).locator("text").all_text_contents()
        drawn = plain.locator(".widget-still svg").nth(visible).locator("text").all_text_contents()
        assert sorted(shown) == sorted(drawn)
