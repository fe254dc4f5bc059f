"""The pages that the build writes: the ledger of derivations and claims, and the map of chapters."""

from __future__ import annotations

import re

from jupyter_cache import get_cache
from sphinx.util.docutils import SphinxDirective

from theme.book import Book, Page, front_matter
from theme.execute import cache_folder, read_notebook

__all__ = ["Chapters", "Ledger", "records"]

MARKS = {"proved": "✓", "sampled": "≈", "assumed": "§"}


def records(book: Book) -> dict[Page, tuple[float, list[dict]]]:
    """Return, for each executed page, its running time in seconds and its ledger records."""
    cache = get_cache(cache_folder(book))
    found = {}
    for page in book.notebooks():
        record = cache.match_cache_notebook(read_notebook(book, page))
        found[page] = (record.data["execution_seconds"], record.data.get("ledger", []))
    return found


def _cell(text: object) -> str:
    return str(text).replace("|", r"\|").replace("\n", " ")


def _derivation(record: dict) -> list[str]:
    rows = [
        f"| {MARKS[s['status']]} | ${_cell(s['relation'])} {_cell(s['latex'])}$ "
        f"| {_cell(s['because'])} ({_cell(s['status'])}{': ' + _cell(s['detail']) if s.get('detail') else ''}, "
        f"{1000 * s['seconds']:.0f} ms) |"
        for s in record["steps"]
    ]
    return [f"**{record['title']}**", "", "| | step | reason |", "|:-:|:--|:--|", *rows, ""]


def _number(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)


def _bound(claim: dict) -> str:
    signs = ((">", "above"), ("<", "below"))
    return " and ".join(f"{sign} {_number(claim[key])}" for sign, key in signs if claim.get(key) is not None)


def _claims(claims: list[dict]) -> list[str]:
    rows = []
    for claim in claims:
        measured = f"{_number(claim['value'])} {claim.get('unit') or ''}"
        published = _number(claim.get("published"))
        rows.append([claim["name"], measured, _bound(claim), published, claim.get("source") or ""])
    head = ["| claim | measured | bound | published | source |", "|:--|--:|:--|--:|:--|"]
    return [*head, *("| " + " | ".join(map(_cell, row)) + " |" for row in rows), ""]


class _Written(SphinxDirective):
    """A directive whose content is the Markdown that `text` returns."""

    def run(self):
        book = Book.load(self.env.srcdir)
        for page in book.pages:
            self.env.note_dependency(str(book.source(page)))
        return self.parse_text_to_nodes("\n".join(self.text(book)), allow_section_headings=True)


class Ledger(_Written):
    """`{ledger}`: every derivation with its steps, every claim with its bound and published value."""

    def text(self, book):
        """Return the lines of Markdown."""
        found = {page: ledger for page, (_, ledger) in records(book).items() if ledger}
        steps = [s for ledger in found.values() for r in ledger for s in r.get("steps", [])]
        counts = ", ".join(f"{sum(s['status'] == k for s in steps)} {k}" for k in MARKS)
        claims = sum(len(r.get("claims", [])) for ledger in found.values() for r in ledger)
        lines = [f"In total: {len(steps)} steps ({counts}) and {claims} claims.", ""]
        for page, ledger in found.items():
            lines += [f"## [{opening(book, page)[0]}](/{page.file})", ""]
            for record in ledger:
                lines += _claims(record["claims"]) if record["kind"] == "claims" else _derivation(record)
        return lines


def opening(book: Book, page: Page) -> tuple[str, str]:
    """Return the title of a page and the paragraph below it, on one line each.

    Raises:
        ValueError: the page has no title.
    """
    found = re.search(r"^# +(.+)\n+((?:.+\n)*)", book.source(page).read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        raise ValueError(f"{page.file}: expected a title, a line that starts with '# ', and found none")
    return found[1].strip(), " ".join(found[2].split())


class Chapters(_Written):
    """`{chapters}`: the map of the book, part by part, with the first sentence of each chapter and what it needs."""

    def text(self, book):
        """Return the lines of Markdown."""
        pages = {page: front_matter(book.source(page)).get("book", {}) for page in book.pages if page.is_chapter}
        known = {page.name.removeprefix("chapters/"): page for page in pages}
        part, lines = "", []
        for page, facts in pages.items():
            if page.part != part:
                part = page.part
                lines += ["", f"### {part}", ""]
            title, paragraph = opening(book, page)
            lines += [f"[{title}](/{page.file})", f": {paragraph}"]
            needs = [known[slug] for slug in facts.get("needs", []) if slug in known]
            links = ", ".join(f"[{opening(book, needed)[0]}](/{needed.file})" for needed in needs)
            lines += [*(["", f"  Needs {links}."] if links else []), ""]
        return lines
