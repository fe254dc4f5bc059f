"""The Sphinx extension of the book: its theme, its formulas, its links, its generated pages."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

from theme import assets, mathematics
from theme.board import Board
from theme.book import Book
from theme.inputs import tree_digest
from theme.ledger import Chapters, Ledger
from theme.map import Map
from theme.notation import Notation
from theme.pictures import lighter

__all__ = ["setup"]

UNCOLOURED = re.compile(r'<span class="(?:n|o|p|w)">([^<]*)</span>')  # half of all tokens have the colour of the text
FOLDS = {  # what folded cells say, by their tags: hide-input, hide-cell, hide-output
    f"{verb} code cell {theirs}": f"{verb} the {ours}"
    for verb in ("Show", "Hide")
    for theirs, ours in {"source": "code", "content": "solution", "output": "output"}.items()
}
STATUS = {"✓": "proved", "≈": "sampled", "§": "assumed"}
PRELOADED = ("source-serif-4-latin-400-normal.woff2", "source-serif-4-latin-600-normal.woff2")
PRELOADED_MATH = ("KaTeX_Main-Regular.woff2", "KaTeX_Math-Italic.woff2")


class MarkTables(SphinxPostTransform):
    """Name the tables of derivations and their rows, and give every other table a box of its own to scroll in."""

    default_priority = 900

    def run(self, **kwargs):
        """Run on one page."""
        for table in list(self.document.findall(nodes.table)):
            rows = [(row, row[0].astext().strip()) for body in table.findall(nodes.tbody) for row in body]
            marks = {mark for _, mark in rows}
            if marks <= {"", *STATUS} and marks & set(STATUS):
                head = next(iter(table.findall(nodes.entry)))
                head += [] if head.astext().strip() else [nodes.paragraph("", "status")]
                table["classes"].append("derivation")
                for formula in (m for row, _ in rows for m in row[1].findall(nodes.math)):
                    formula.replace_self(nodes.math("", r"\displaystyle " + formula.astext()))
                for row, mark in rows:
                    row["classes"].append(STATUS.get(mark, "start"))
            else:
                table.replace_self(nodes.container("", table.deepcopy(), classes=["table-box"]))


class NameClaims(SphinxPostTransform):
    """Let a folded cell that claims and shows nothing say so, before MyST-NB folds it."""

    default_priority = 198
    formats = ("html",)

    def run(self, **kwargs):
        """Run on one page."""
        for cell in self.document.findall(nodes.container):
            if cell.get("hide_mode") == "input" and len(cell) == 1 and "claim(" in cell.astext():
                cell["prompt_show"], cell["prompt_hide"] = "Show the claims", "Hide the claims"


def _use_the_filled_cache(app: Sphinx, config) -> None:
    config.nb_execution_cache_path = os.environ.get("BOOK_CACHE", "")
    config.book_environment = Path(config.nb_execution_cache_path).name
    config.book_theme = tree_digest(assets.HTML.parent, root=assets.HTML.parent)


def _rewrite_all(app: Sphinx, env) -> list[str]:
    """Every page lists every page: a changed title or order changes them all."""
    contents = [(name, env.titles[name].astext()) for name in sorted(env.titles)]
    contents += [(page.name, page.part) for page in Book.load(app.srcdir).pages]
    if getattr(env, "book_contents", None) == contents:
        return []
    env.book_contents = contents
    return list(env.found_docs)


def _links(app: Sphinx, page: str) -> dict[str, str]:
    """Where a page is edited, downloaded and opened in Colab."""
    book = Book.load(app.srcdir)
    links = {"edit": f"{book.repository}/edit/{book.branch}/{page}.md", "source": f"_sources/{page}.md"}
    if (Path(app.srcdir) / f"{page}.ipynb").is_file():
        path = book.repository.removeprefix("https://github.com/")
        colab = book.config["launch_buttons"]["colab_url"]
        links["colab"] = f"{colab}/github/{path}/blob/{app.config.colab_branch}/{page}.ipynb"
        links["notebook"] = f"_sources/{page}.ipynb"
    return links


def _description(doctree) -> str:
    """The first paragraph of a page."""
    first = next(iter(doctree.findall(nodes.paragraph)), None) if doctree is not None else None
    return first.astext().replace("\n", " ")[:160] if first is not None else ""


def _page_context(app: Sphinx, page, template, context, doctree) -> None:
    book = Book.load(app.srcdir)
    body = context.get("body", "").replace(' aria-label="Toggle hidden content"', "")
    for theirs, ours in FOLDS.items():
        body = body.replace(theirs, ours)
    body = lighter(UNCOLOURED.sub(r"\1", body))
    context |= {
        "body": body,
        "asset": lambda name: context["pathto"](assets.tag(app, name), True),
        "author": app.config.author,
        "description": _description(doctree) or app.config.html_title,
        "has_widget": 'class="widget' in body,
        "links": _links(app, page) if doctree is not None else {},
        "part": next((p.part for p in book.pages if p.name == page), ""),
        "preloaded": PRELOADED + (PRELOADED_MATH if 'class="katex' in body else ()),
        "repository": book.repository,
        "show_toc": context.get("display_toc", False) and page != app.config.root_doc,
    }


def _finish(app: Sphinx, error) -> None:
    if error is not None:
        return
    out = Path(app.outdir)
    shutil.copy(out / f"{app.config.root_doc}.html", out / "index.html")
    for page in app.env.found_docs:
        notebook = Path(app.srcdir) / f"{page}.ipynb"
        if notebook.is_file():
            shutil.copy(notebook, out / "_sources" / f"{page}.ipynb")
    kept = {*app.env.found_docs, "index", "search"}
    for file in out.rglob("*.html"):  # a page that left _toc.yml must not be published
        if file.relative_to(out).as_posix().removesuffix(".html") not in kept:
            file.unlink()


def setup(app: Sphinx) -> dict:
    """Connect everything."""
    app.add_config_value("colab_branch", "", "html")
    app.add_config_value("book_environment", "", "env")
    app.add_config_value("book_theme", "", "env")
    app.add_config_value("comments_config", {}, "")  # set by Jupyter Book for an extension that we leave out
    app.add_html_theme("derivations", str(assets.HTML))
    mathematics.setup(app)
    app.add_directive("ledger", Ledger)
    app.add_directive("board", Board)
    app.add_directive("chapters", Chapters)
    app.add_directive("map", Map)
    app.add_directive("notation", Notation)
    app.add_post_transform(MarkTables)
    app.add_post_transform(NameClaims)
    app.connect("config-inited", _use_the_filled_cache)
    app.connect("builder-inited", assets.install)
    app.connect("env-updated", _rewrite_all)
    app.connect("html-page-context", _page_context, priority=900)
    app.connect("build-finished", _finish)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": False}
