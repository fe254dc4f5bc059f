"""The pages that the build writes: the ledger of derivations and claims, and the map of chapters."""

from __future__ import annotations

import json
import re

from jupyter_cache import get_cache
from sphinx.util.docutils import SphinxDirective

from theme.book import Book, Page
from theme.execute import cache_folder, read_notebook
from theme.map import needs

__all__ = ["Chapters", "Ledger", "Written", "opening", "records"]

MARKS = {"proved": "✓", "sampled": "≈", "assumed": "§"}


def records(book: Book) -> dict[Page, tuple[float, list[dict]]]:
    """Return, for each executed page, its running time in seconds and its ledger records."""
    cache = get_cache(cache_folder(book))
    found = {}
    for page in book.notebooks():
        record = cache.match_cache_notebook(read_notebook(book, page))
        shown = {
            json.dumps(entry, sort_keys=True): entry for entry in record.data["ledger"]
        }  # once, however often shown
        found[page] = (record.data["execution_seconds"], list(shown.values()))
    return found


def _cell(text: object) -> str:
    return str(text).replace("|", r"\|").replace("\n", " ")


def _derivation(record: dict) -> list[str]:
    """One derivation: mark, reason, how each step is known. Its formulas stand in the chapter."""
    rows = []
    for step in record["steps"]:
        instance = f" (${step['instance']}$)" if step.get("instance") else ""
        known = ": ".join(filter(None, (step["status"], step.get("detail"))))
        rows.append(
            f"| {MARKS[step['status']]} | {_cell(step['because'])}{instance} "
            f"| {_cell(known)}, {1000 * step['seconds']:.0f} ms |"
        )
    return [f"**{record['title']}**", "", "| | step | known |", "|:-:|:--|:--|", *rows, ""]


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


class Written(SphinxDirective):
    """A directive whose content is the Markdown that `text` returns; it starts with a heading."""

    def run(self):
        """Return the nodes of `text`, and have the page written again when a chapter changes."""
        book = Book.load(self.env.srcdir)
        for page in book.pages:
            self.env.note_dependency(str(book.source(page)))
        return self.parse_text_to_nodes("\n".join(self.text(book)), allow_section_headings=True)


def _summary(book: Book, found: dict[Page, tuple[float, list[dict]]]) -> list[str]:
    """One row a page: steps by how they are known, the time to check them, claims, the time to execute."""
    head = [*MARKS, "checked in", "claims", "executed in"]
    lines = ["| page | " + " | ".join(head) + " |", "|:--|" + "--:|" * len(head)]
    total = [0.0] * len(head)
    for page, (seconds, ledger) in found.items():
        steps = [step for record in ledger for step in record.get("steps", [])]
        row = [sum(step["status"] == status for step in steps) for status in MARKS]
        claims = sum(len(record.get("claims", [])) for record in ledger)
        row += [sum(step["seconds"] for step in steps), claims, seconds]
        total = [a + b for a, b in zip(total, row, strict=True)]
        lines.append(_summary_row(f"[{opening(book, page)[0]}](/{page.file})", row))
    return [*lines, _summary_row("**total**", total), ""]


def _summary_row(name: str, row: list[float]) -> str:
    *known, checking, claims, seconds = row
    cells = [*(f"{n:.0f}" for n in known), f"{checking:.1f} s", f"{claims:.0f}", f"{seconds:.0f} s"]
    return f"| {name} | " + " | ".join(cells) + " |"


class Ledger(Written):
    """`{ledger}`: every derivation with its steps, every claim with its bound and published value."""

    def text(self, book):
        """Return the lines of Markdown."""
        found = {page: (seconds, ledger) for page, (seconds, ledger) in records(book).items() if ledger}
        lines = ["## In total", "", *_summary(book, found)]
        for page, (_, ledger) in found.items():
            lines += [f"## [{opening(book, page)[0]}](/{page.file})", ""]
            for record in ledger:
                lines += _claims(record["claims"]) if record["kind"] == "claims" else _derivation(record)
        return lines


def opening(book: Book, page: Page) -> tuple[str, str]:
    """Return the title of a page and the paragraph below it, on one line each.

    Raises:
        ValueError: the page has no title.
    """
    text = book.source(page).read_text(encoding="utf-8")
    found = re.search(r"^# +(.+)\n+((?:(?![*#-] |#|```).+\n)*)", text, re.MULTILINE)
    if found is None:
        raise ValueError(f"{page.file}: expected a title, a line that starts with '# ', and found none")
    return found[1].strip(), " ".join(found[2].split())


class Chapters(Written):
    """`{chapters}`: the map of the book, part by part, with the first sentence of each chapter and what it needs."""

    def text(self, book):
        """Return the lines of Markdown."""
        part, lines = "", []
        for page, needed in needs(book).items():
            if page.part != part:
                part = page.part
                lines += ["", f"### {part}", ""]
            title, paragraph = opening(book, page)
            lines += [f"[{title}](/{page.file})", f": {paragraph}"]
            links = ", ".join(f"[{opening(book, other)[0]}](/{other.file})" for other in needed)
            lines += [*(["", f"  Needs {links}."] if links else []), ""]
        return lines
