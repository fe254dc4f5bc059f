"""The static files of the site: one style sheet, the fonts of the formulas, the scripts, all served from here."""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path

from sphinx.application import Sphinx

from theme.node import MODULES

__all__ = ["install", "tag"]

HTML = Path(__file__).parent / "html"
VENDORED = {"vega/build/vega.min.js": "vega.min.js", "vega-lite/build/vega-lite.min.js": "vega-lite.min.js"}


def _style() -> str:
    """KaTeX's rules with the compact font format alone, then ours."""
    katex = (MODULES / "katex/dist/katex.min.css").read_text(encoding="utf-8")
    katex = re.sub(r',url\([^)]*\.(?:woff|ttf)\) format\("(?:woff|truetype)"\)', "", katex)
    own = "".join(p.read_text(encoding="utf-8") for p in sorted((HTML / "style").glob("*.css")))
    own = re.sub(r"\s+", " ", re.sub(r"/\*.*?\*/", "", own, flags=re.DOTALL))
    return katex + own


def install(app: Sphinx) -> None:
    """Write the static files below `_static`."""
    static = Path(app.outdir) / "_static"
    (static / "fonts").mkdir(parents=True, exist_ok=True)
    (static / "vendor").mkdir(exist_ok=True)
    (static / "book.css").write_text(_style(), encoding="utf-8")
    for font in (MODULES / "katex/dist/fonts").glob("*.woff2"):
        shutil.copy(font, static / "fonts")
    for source, name in VENDORED.items():
        shutil.copy(MODULES / source, static / "vendor" / name)
    for file in (HTML.parent / "static").glob("*"):
        shutil.copy(file, static)


def tag(app: Sphinx, name: str) -> str:
    """Return the address of a static file with a digest, so that a new version is never hidden by an old one."""
    content = (Path(app.outdir) / "_static" / name).read_bytes()
    return f"_static/{name}?v={hashlib.sha256(content).hexdigest()[:8]}"
