"""Formulas become HTML and MathML while the book is built: a reader needs no script to see them."""

from __future__ import annotations

import functools
import html
import json
import subprocess
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging

from theme.node import MODULES, node

__all__ = ["KatexError", "render", "setup"]

logger = logging.getLogger(__name__)


class KatexError(ValueError):
    """KaTeX refused a formula."""


@functools.cache
def _process() -> subprocess.Popen:
    if not (MODULES / "katex").is_dir():
        raise FileNotFoundError(f"KaTeX: expected {MODULES / 'katex'}; run `npm ci`")
    script = Path(__file__).with_name("katex.js")
    pipe = subprocess.PIPE
    return subprocess.Popen([node(), str(script), str(MODULES)], stdin=pipe, stdout=pipe, encoding="utf-8")


@functools.cache
def render(tex: str, display: bool = False) -> str:
    """Return the formula as HTML with MathML inside.

    Raises:
        KatexError: KaTeX refuses the formula.
    """
    process = _process()
    process.stdin.write(json.dumps({"tex": tex, "display": display}) + "\n")
    process.stdin.flush()
    answer = json.loads(process.stdout.readline())
    if "error" in answer:
        raise KatexError(answer["error"])
    return answer["html"]


def _rendered(self, node: nodes.Element, display: bool) -> str:
    tex = node.astext().strip()
    try:
        return render(tex, display)
    except KatexError as error:
        logger.warning("KaTeX: %s, in $%s$", error, tex, location=node, type="katex")
        return f"<code>{html.escape(tex)}</code>"


def visit_inline(self, node: nodes.math) -> None:
    """Write an inline formula."""
    self.body.append(f'<span class="math">{_rendered(self, node, False)}</span>')
    raise nodes.SkipNode


def visit_display(self, node: nodes.math_block) -> None:
    """Write a displayed formula, with its number where it has one."""
    ids = "".join(f' id="{i}"' for i in node["ids"][:1])
    number = f'<span class="eqno">({node["number"]})</span>' if node.get("number") else ""
    self.body.append(f'<div class="math"{ids}>{_rendered(self, node, True)}{number}</div>\n')
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    """Register the renderer under the name `katex`."""
    app.add_html_math_renderer("katex", (visit_inline, None), (visit_display, None))
