"""The rendered site in a browser that reaches no other host: `make book` is run first where it is out of date."""

import functools
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import pytest
from browser import asset, chromium
from bs4 import BeautifulSoup

from theme.book import Book
from theme.serve import serving

ROOT = Path(__file__).parents[1]
BOOK = Book.load(ROOT)
PAGES = [page.name for page in BOOK.pages]
CHAPTERS = [page.name for page in BOOK.pages if page.is_chapter]
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 360, "height": 740}
ALL_LAID_OUT = "* { content-visibility: visible !important }"
READY = "() => [...document.querySelectorAll('figure.widget')].every((figure) => figure.dataset.ready)"


@pytest.fixture(scope="module")
def site():
    # In a process of its own: the browser's event loop runs in this one.
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-m", "theme.build", str(ROOT)], env=environment, check=True)
    with serving(BOOK.html) as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture
def visit(browser, site):
    """`visit(page, **context)` opens a page; what goes wrong in it fails the test at the end."""
    problems, contexts = [], []

    def guard(route):
        if route.request.url.startswith(site):
            return route.continue_()
        problems.append(f"request to another host: {route.request.url}")
        return route.abort()

    def answered(response):
        if response.status >= 400:
            problems.append(f"{response.status}: {response.url}")

    def failed(request):
        if request.failure != "net::ERR_ABORTED":  # a test left the page before it was loaded
            problems.append(f"{request.failure}: {request.url}")

    def visit(name, **settings):
        context = browser.new_context(**{"viewport": DESKTOP, **settings})
        contexts.append(context)
        context.route("**/*", guard)
        page = context.new_page()
        page.on("console", lambda m: problems.append(m.text) if m.type in {"error", "warning"} else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("requestfailed", failed)
        page.on("response", answered)
        page.goto(f"{site}/{name}", wait_until="load")
        return page

    yield visit
    for context in contexts:
        context.close()
    assert problems == []


def wake(page):
    """Scroll each widget into view and wait until it is alive."""
    for figure in page.locator("figure.widget").all():
        figure.scroll_into_view_if_needed()
    page.wait_for_function(READY)


def read(page):
    """Scroll through the page, as a reader does."""
    height = page.evaluate("document.documentElement.scrollHeight")
    for y in range(0, height, 600):
        page.evaluate(f"scrollTo(0, {y})")
        page.wait_for_timeout(30)


def soup(name):
    return BeautifulSoup((BOOK.html / f"{name}.html").read_text(encoding="utf-8"), "html.parser")


@pytest.mark.parametrize("name", PAGES)
def test_a_page_loads_alone_without_an_error(visit, name):
    page = visit(f"{name}.html")
    wake(page)
    assert page.locator("h1").count() == 1
    assert page.title()


@pytest.mark.parametrize("name", PAGES)
def test_formulas_are_drawn_without_javascript(visit, name):
    page = visit(f"{name}.html", java_script_enabled=False)
    formulas = page.locator("article .katex-html")
    wanted = len(re.findall(r"\$[^$]+\$", BOOK.source(next(p for p in BOOK.pages if p.name == name)).read_text()))
    assert formulas.count() >= min(wanted, 1)
    if formulas.count():
        formulas.first.scroll_into_view_if_needed()
        box = formulas.first.bounding_box()
        assert box["width"] > 2
        assert box["height"] > 2


@pytest.mark.parametrize("name", PAGES)
def test_no_raw_formula_and_no_error_is_left_in_the_text(name):
    article = soup(name).article
    for code in article.select("pre, code, script, annotation"):
        code.decompose()
    assert "$" not in article.get_text()
    assert not article.select(".katex-error, .system-message, .problematic")


@pytest.mark.parametrize("name", PAGES)
def test_widgets_show_a_picture_without_javascript(visit, name):
    page = visit(f"{name}.html", java_script_enabled=False)
    for figure in page.locator("figure.widget").all():
        pictures = [svg.bounding_box() for svg in figure.locator("svg").all() if svg.is_visible()]
        assert any(box["width"] > 100 and box["height"] > 100 for box in pictures)


def chart(figure):
    return figure.locator(".widget-live svg").evaluate("(svg) => svg.innerHTML")


def move(page, control, figure):
    """Press keys on a control until its chart changes; return whether it did."""
    before = chart(figure)
    control.focus()
    for key in ("ArrowRight", "ArrowRight", "PageUp", "End", "Home"):
        page.keyboard.press(key)
        page.wait_for_timeout(150)
        if chart(figure) != before:
            return True
    return False


@pytest.mark.parametrize("name", PAGES)
def test_every_control_is_moved_by_keyboard_and_its_chart_changes(visit, name):
    page = visit(f"{name}.html")
    wake(page)
    for figure in page.locator("figure.widget").all():
        for control in figure.locator("input, select").all():
            said = control.locator("xpath=ancestor::*[contains(@class, 'widget-control')][1]").inner_text()
            assert move(page, control, figure), f"{name}: nothing moves with the control {said!r}"


@pytest.mark.parametrize(("scheme", "viewport"), [("light", DESKTOP), ("dark", PHONE)], ids=["light", "dark"])
@pytest.mark.parametrize("name", [*PAGES, "search"])
def test_axe_finds_no_violation(visit, name, scheme, viewport):
    page = visit(f"{name}.html", color_scheme=scheme, viewport=viewport)
    page.add_style_tag(content=ALL_LAID_OUT)
    wake(page)
    read(page)
    page.add_script_tag(content=asset("axe-core/axe.min.js").read_text(encoding="utf-8"))
    rules = {"target-size": {"enabled": True}}  # off by default in axe, asked for by Lighthouse
    found = page.evaluate("(rules) => axe.run({ rules }).then((result) => result.violations)", rules)
    assert [(v["id"], [node["html"][:200] for node in v["nodes"][:3]]) for v in found] == []


@pytest.mark.parametrize("width", [360, 768, 1280])
@pytest.mark.parametrize("name", [*PAGES, "search"])
def test_no_page_scrolls_sideways(visit, name, width):
    page = visit(f"{name}.html", viewport={"width": width, "height": 740})
    page.add_style_tag(content=ALL_LAID_OUT)
    wake(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("name", PAGES)
def test_the_first_load_is_light(visit, browser, site, name):
    context = browser.new_context(viewport=PHONE)
    page, loaded = context.new_page(), []
    page.on("requestfinished", lambda request: loaded.append(request))
    page.goto(f"{site}/{name}.html", wait_until="networkidle")
    page.wait_for_timeout(300)
    weights = {request.url: request.sizes()["responseBodySize"] for request in loaded}
    context.close()
    assert sum(weights.values()) <= (600_000 if soup(name).select("figure.widget") else 300_000)
    assert weights[f"{site}/{name}.html"] <= 180_000  # a phone on a slow line waits 2.5 s for that
    assert len(soup(name).select("svg image")) <= 30  # each is a load of its own, and the page stutters meanwhile


def test_vega_is_not_loaded_where_there_is_no_widget(visit):
    page = visit("ledger.html")
    page.wait_for_load_state("networkidle")
    assert page.evaluate("typeof window.vega") == "undefined"
    assert page.locator("script[src*='widgets']").count() == 0


def test_search_finds_a_word_offline(visit):
    page = visit("intro.html")
    page.keyboard.press("/")
    page.keyboard.type("Gibbs")
    page.keyboard.press("Enter")
    page.wait_for_selector("#search-results li")
    assert page.locator("#search-results a[href*='intro.html']").count()


def test_search_shows_a_formula_once(visit):
    page = visit("search.html?q=Gibbs")
    page.wait_for_selector("#search-results p.context")
    assert "\\" not in page.locator("#search-results").inner_text()


def test_search_says_when_nothing_is_found(visit):
    page = visit("search.html?q=zzyzx")
    page.wait_for_selector("#search-results p")
    assert "did not match" in page.locator("#search-results").inner_text()


def test_light_and_dark_are_switched_and_remembered(visit):
    page = visit("intro.html", color_scheme="light")
    paper = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(paper)
    page.locator("button.theme").click()
    dark = page.evaluate(paper)
    assert dark != light
    page.reload()
    assert page.evaluate(paper) == dark


def test_the_contents_open_and_close_by_keyboard_on_a_phone(visit):
    page = visit("intro.html", viewport=PHONE)
    contents = page.locator("#book-nav")
    assert not contents.is_visible()
    page.locator("button.menu").focus()
    page.keyboard.press("Enter")
    assert contents.is_visible()
    assert contents.locator("a").count() == len(PAGES)
    page.keyboard.press("Escape")
    assert not contents.is_visible()


def test_print_leaves_only_the_text(visit):
    page = visit("intro.html")
    page.emulate_media(media="print")
    assert not page.locator("header.bar").is_visible()
    assert not page.locator("#book-nav").is_visible()
    assert page.locator("h1").is_visible()


def test_code_is_copied(visit):
    name = next((n for n in PAGES if soup(n).select("div.cell_input")), None)
    assert name, "some page shows code"
    page = visit(f"{name}.html", permissions=["clipboard-read", "clipboard-write"])
    box = page.locator("div.cell_input:visible").first
    box.hover()
    box.locator("button.copy").click()
    assert page.evaluate("navigator.clipboard.readText()") == box.locator("pre").text_content()


@functools.cache
def places(page):
    """What a link can lead to on a page."""
    return {element["id"] for element in BeautifulSoup(page.read_text(), "html.parser").select("[id]")}


@pytest.mark.parametrize("name", [*PAGES, "index", "search"])
def test_links_resolve(site, name):
    here = BOOK.html / f"{name}.html"
    for tag in soup(name).select("[href], [src]"):
        address = tag.get("href") or tag.get("src")
        if urlsplit(address).scheme or address.startswith("//"):
            assert tag.name == "a", f"{tag.name} takes {address} from elsewhere"
            assert address.startswith("https://"), address
            continue
        path, fragment = urldefrag(address)
        target = (here.parent / unquote(path.partition("?")[0])).resolve() if path else here
        assert target.is_file(), f"{name}: {address} leads nowhere"
        if fragment and target.suffix == ".html":
            assert unquote(fragment) in places(target), f"{name}: {address} names no place"


@pytest.mark.parametrize("name", CHAPTERS)
def test_colab_download_and_edit_links_of_a_chapter(site, name):
    links = {link.get_text(): link["href"] for link in soup(name).select(".links a")}
    owner = BOOK.repository.removeprefix("https://github.com/")
    assert links["Open in Colab"] == f"https://colab.research.google.com/github/{owner}/blob/published/{name}.ipynb"
    assert links["Edit"] == f"{BOOK.repository}/edit/main/{name}.md"
    for label, suffix in (("Notebook", ".ipynb"), ("Source", ".md")):
        served = ((BOOK.html / f"{name}.html").parent / links[label]).resolve()
        assert served.read_bytes() == (ROOT / f"{name}{suffix}").read_bytes()


def test_the_root_is_the_landing_page(site):
    assert (BOOK.html / "index.html").read_bytes() == (BOOK.html / "intro.html").read_bytes()


def test_no_word_of_the_machine_it_was_built_on(site):
    for file in [*BOOK.html.rglob("*.html"), BOOK.html / "searchindex.js"]:
        assert str(ROOT) not in file.read_text(encoding="utf-8"), file
