"""Leaderboards: the claims that chapters made for one board, a row a model."""

from __future__ import annotations

from typing import ClassVar

from docutils.parsers.rst import directives

from theme.book import Book, Page
from theme.ledger import Written, opening, records

__all__ = ["Board", "table"]


def table(board: str, entries: list[tuple[str, dict]], best: str = "lowest") -> list[str]:
    """Return one board as lines of a Markdown table, the best row on top.

    Args:
        board: its name.
        entries: the chapter (as a link) and the claim, for every claim of the book.
        best: "lowest" or "highest": which number wins; a row is as good as its best column.

    Raises:
        ValueError: nothing was claimed for this board, or two claims want one place on it.
    """
    columns, rows, chapters = {}, {}, {}
    for chapter, claim in entries:
        name, row, column = claim.get("board") or ("", "", "")
        if name != board:
            continue
        if column in rows.setdefault(row, {}):
            raise ValueError(f"board {board!r}: expected one {column!r} of {row!r}, got two ({claim['name']!r})")
        rows[row][column] = claim["value"]
        columns[column] = None
        chapters.setdefault(row, {})[chapter] = None
    if not rows:
        raise ValueError(f"board {board!r}: expected at least one claim made for it, got none")
    lines = ["| " + " | ".join(["model", *columns, "chapter"]) + " |", "|:--|" + "--:|" * len(columns) + ":--|"]
    sign = -1 if best == "highest" else 1
    for row, values in sorted(rows.items(), key=lambda item: min(sign * value for value in item[1].values())):
        numbers = [f"{values[column]:.4g}" if column in values else "" for column in columns]
        lines.append("| " + " | ".join([row, *numbers, ", ".join(chapters[row])]) + " |")
    return [*lines, ""]


class Board(Written):
    """`{board} NAME`: the leaderboard of that name; with `:best: highest` for accuracies."""

    required_arguments = 1
    final_argument_whitespace = True
    option_spec: ClassVar = {"best": lambda word: directives.choice(word, ("lowest", "highest"))}

    def text(self, book: Book) -> list[str]:
        """Return the lines of Markdown."""
        entries = [entry for page in records(book).items() for entry in _claims(book, *page)]
        return table(self.arguments[0], entries, self.options.get("best", "lowest"))


def _claims(book: Book, page: Page, found: tuple[float, list[dict]]) -> list[tuple[str, dict]]:
    link = f"[{opening(book, page)[0]}](/{page.file})"
    return [(link, claim) for record in found[1] for claim in record.get("claims", [])]
