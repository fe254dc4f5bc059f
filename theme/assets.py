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
SERIF = "@fontsource/source-serif-4"
FACES = {"latin-400-normal": (400, "normal"), "latin-400-italic": (400, "italic"), "latin-600-normal": (600, "normal")}


def _faces() -> str:
    """The text font: `optional`, so that a slow line shows the reader's own serif and nothing ever jumps."""
    rule = "@font-face{{font-family:'Source Serif 4';font-style:{};font-weight:{};font-display:optional;src:url({})}}"
    return "".join(rule.format(s, w, f"fonts/source-serif-4-{n}.woff2") for n, (w, s) in FACES.items())


def _style() -> str:
    """KaTeX's rules with the compact font format alone, then the text font, then ours."""
    katex = (MODULES / "katex/dist/katex.min.css").read_text(encoding="utf-8")
    katex = re.sub(r',url\([^)]*\.(?:woff|ttf)\) format\("(?:woff|truetype)"\)', "", katex)
    sheets = [*sorted((HTML / "style").glob("*.css")), *(HTML.parent / "static").glob("*.css")]
    own = "".join(sheet.read_text(encoding="utf-8") for sheet in sheets)
    own = re.sub(r"\s+", " ", re.sub(r"/\*.*?\*/", "", own, flags=re.DOTALL))
    return katex + _faces() + own


def install(app: Sphinx) -> None:
    """Write the static files below `_static`."""
    static = Path(app.outdir) / "_static"
    for folder in ("fonts", "vega"):
        (static / folder).mkdir(parents=True, exist_ok=True)
    (static / "book.css").write_text(_style(), encoding="utf-8")
    for font in (MODULES / "katex/dist/fonts").glob("*.woff2"):
        shutil.copy(font, static / "fonts")
    for name in FACES:
        shutil.copy(MODULES / SERIF / f"files/source-serif-4-{name}.woff2", static / "fonts")
    shutil.copy(MODULES / SERIF / "LICENSE", static / "fonts/LICENSE-source-serif-4")
    vega = (MODULES / "vega/build/vega.min.js").read_text(encoding="utf-8")
    (static / "vega/vega.min.js").write_text(re.sub(r"//# sourceMappingURL=\S+", "", vega), encoding="utf-8")
    for file in (HTML.parent / "static").glob("*"):
        shutil.copy(file, static)


def tag(app: Sphinx, name: str) -> str:
    """Return the address of a static file with a digest, so that a new version is never hidden by an old one."""
    content = (Path(app.outdir) / "_static" / name).read_bytes()
    return f"_static/{name}?v={hashlib.sha256(content).hexdigest()[:8]}"
