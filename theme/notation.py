"""The notation page: what each letter of the book means and where, collected from the tables of the chapters.

In a table `;` parts symbols that mean different things, and their meanings in the last column, in the same order;
symbols joined by a comma share a meaning. A meaning is a phrase, which is the same wherever it is meant, and details
after a comma or a colon.
"""

from __future__ import annotations

import re

from theme.book import Book
from theme.ledger import Written
from theme.map import name as called

__all__ = ["HEAD", "Notation", "collect", "entries", "letter", "spread"]

HEADINGS = ("One meaning in the whole book", "One meaning in each part", "A meaning that changes within a part")
HEAD = "| symbol | Python name | shape | unit or range |"
INDEX = re.compile(r"_(?:[a-z]|\\(?:theta|phi|psi|rho)|\{[a-z]{2}\})(?![a-z{])|\([^)]*\)")  # x_i is x, q(z | x) is q
CELLS, PARTS, DETAILS = (
    re.compile(mark + r"(?=(?:[^$]*\$[^$]*\$)*[^$]*$)") for mark in (r"(?<!\\)\|", r";\s*", r"[,:.](?:\s|$)")
)  # outside formulas


def letter(symbol: str) -> str:
    """Return a symbol without its index, its arguments and its dollars.

    >>> letter("$e_k$"), letter("$W_1$"), letter(r"$q(z \\mid x)$"), letter(r"$\\bar\\alpha_t$")
    ('e', 'W_1', 'q', '\\\\bar\\\\alpha')
    """
    return INDEX.sub("", symbol.strip().strip("$")).strip()


def entries(text: str) -> list[tuple[str, str]]:
    """Return each letter of a chapter's notation table with the phrase that says what it means.

    Raises:
        ValueError: no table, a row whose symbols and meanings differ in number, or a letter with two meanings.
    """
    _, found, table = text.partition(HEAD + "\n")
    if not found:
        raise ValueError(f"expected a notation table that starts with {HEAD!r}, found none")
    meanings: dict[str, str] = {}
    for row in table.partition("\n\n")[0].splitlines()[1:]:
        _, symbols, *_, last, _ = CELLS.split(row)
        groups, phrases = PARTS.split(symbols.strip()), PARTS.split(last.strip())
        if len(groups) != len(phrases):
            raise ValueError(f"expected as many meanings as symbols, got {len(phrases)} and {len(groups)} in {row!r}")
        for group, phrase in zip(groups, phrases, strict=True):
            phrase = DETAILS.split(phrase)[0].strip()
            for name in (letter(symbol) for symbol in re.split(r",\s+(?=\$)", group)):
                if meanings.setdefault(name, phrase) != phrase:
                    raise ValueError(f"expected one meaning of {name!r}, got {meanings[name]!r} and {phrase!r}")
    return list(meanings.items())


def collect(book: Book) -> dict[str, dict[str, list]]:
    """Return, for each letter, its meanings, and for each meaning the chapters that use it, in reading order.

    Raises:
        ValueError: a chapter whose table `entries` refuses.
    """
    found: dict[str, dict[str, list]] = {}
    for page in book.pages:
        if page.is_chapter:
            try:
                table = entries(book.source(page).read_text(encoding="utf-8"))
            except ValueError as error:
                raise ValueError(f"{page.file}: {error}") from error
            for name, phrase in table:
                found.setdefault(name, {}).setdefault(phrase, []).append(page)
    return dict(sorted(found.items(), key=lambda item: _order(item[0])))


def _order(name: str) -> tuple:
    bare = re.sub(r"\\(?:bar|hat|log|lvert|det)|[^A-Za-z]", "", name)
    return len(bare) > 1 and "\\" in name, bare.lower(), name


def spread(meanings: dict[str, list]) -> int:
    """Return 0 for a letter with one meaning in the book, 1 for one meaning in each part, 2 for more than that."""
    parts = [page.part for pages in meanings.values() for page in {page.part: page for page in pages}.values()]
    return 0 if len(meanings) == 1 else 1 + (len(parts) > len(set(parts)))


class Notation(Written):
    """`{notation}`: the letters with one meaning in the book, in each part, and the rest."""

    def text(self, book):
        """Return the lines of Markdown."""
        lines, found = [], collect(book)
        for level, heading in enumerate(HEADINGS):
            lines += [f"## {heading}", "", "| symbol | meaning | chapters |", "|:--|:--|:--|"]
            for name, meanings in found.items():
                if spread(meanings) == level:
                    shown = name if re.fullmatch(r"[a-z]{2,}", name) else f"${name}$"
                    for phrase, pages in meanings.items():
                        links = ", ".join(f"[{called(book, page)}](/{page.file})" for page in pages)
                        lines.append(f"| {shown} | {phrase} | {links} |")
                        shown = ""
            lines.append("")
        return lines
