"""A Chromium for the tests: it is served from memory, with the site's own assets, and reaches no other host."""

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from theme.node import MODULES

STATIC = Path(__file__).parents[1] / "theme/static"
HOME = "http://book.test/"
TYPES = {".js": "text/javascript", ".css": "text/css", ".html": "text/html"}
DOCUMENT = """<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Widgets</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="stylesheet" href="widgets.css">
<style>body {{ margin: 1rem; font: 16px sans-serif; color: #222; background: #fff }}
html[data-theme=dark] body {{ color: #ddd; background: #121212 }}</style>
<script src="widgets.js" defer></script></head><body><main><h1>Widgets</h1>{}</main></body></html>"""


def asset(name: str) -> Path:
    """Return a file of the installed front-end packages."""
    path = MODULES / name
    if not path.exists():
        raise FileNotFoundError(f"expected {path}: `make test` installs the packages of package.json")
    return path


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Run a headless Chromium: the one that CHROME_PATH names, or the one on the PATH."""
    program = os.environ.get("CHROME_PATH") or shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=program, args=arguments)
        yield browser
        browser.close()


def serve(page: Page, body: str = "") -> list[str]:
    """Open a page with this body; return the list to which each error and foreign request will be added."""
    files: Mapping[str, Path] = {
        **{name: STATIC / name for name in ("widgets.js", "widgets.css")},
        "vega/vega.min.js": asset("vega/build/vega.min.js"),
    }
    problems: list[str] = []

    def answer(route):
        address = route.request.url
        name = address.removeprefix(HOME).partition("?")[0]
        if address == HOME:
            route.fulfill(body=DOCUMENT.format(body), content_type="text/html")
        elif address.startswith(HOME) and name in files:
            route.fulfill(body=files[name].read_bytes(), content_type=TYPES[files[name].suffix])
        elif name == "favicon.ico":
            route.fulfill(status=204)
        else:
            problems.append(f"request to {address}")
            route.abort()

    page.route("**/*", answer)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda m: problems.append(m.text) if m.type in {"error", "warning"} else None)
    page.goto(HOME)
    return problems
