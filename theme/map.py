"""The reader's map: the chapters in reading order, and an arc from each to every chapter that it needs."""

from __future__ import annotations

from html import escape

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from theme.book import Book, Page, front_matter

__all__ = ["Map", "drawing", "name", "needs"]

ROW, LEFT, WIDTH, CURVE = 26, 118, 340, 0.62
INK = 'fill="currentColor"'


def needs(book: Book) -> dict[Page, list[Page]]:
    """Return, for each chapter in reading order, the chapters that its front matter says it needs.

    Raises:
        ValueError: a chapter needs a page that is not in `_toc.yml`.
    """
    known = {page.name.removeprefix("chapters/"): page for page in book.pages if page.is_chapter}
    found = {}
    for slug, page in known.items():
        wanted = front_matter(book.source(page)).get("book", {}).get("needs", [])
        if missing := [name for name in wanted if name not in known]:
            raise ValueError(f"{slug} needs {missing[0]!r}; expected one of {sorted(known)}")
        found[page] = [known[name] for name in wanted]
    return found


def name(book: Book, page: Page) -> str:
    """Return what the map calls a chapter: the `name` in its front matter, else its slug in words."""
    return front_matter(book.source(page)).get("book", {}).get("name") or page.name.rpartition("/")[2].replace("-", " ")


def _places(pages: list[Page]) -> tuple[dict[Page, int], dict[str, int]]:
    """The heights of the chapters' rows and of the captions above each part."""
    heights, captions, y = {}, {}, 0
    for page in pages:
        if page.part not in captions:
            y += ROW if captions else ROW // 2
            captions[page.part] = y
            y += ROW
        heights[page] = y
        y += ROW
    return heights, captions


def _arc(start: int, end: int, longest: int) -> str:
    """A curve that leaves a row to the left and comes back at the row that it needs."""
    reach = LEFT - 14 - (LEFT - 34) * (abs(start - end) / longest) ** CURVE
    return f'<path d="M{LEFT - 8} {start}C{reach:.0f} {start} {reach:.0f} {end} {LEFT - 8} {end}"/>'


def drawing(book: Book, link) -> str:
    """Return the map as SVG; `link(page)` is the address of a chapter.

    Pointing at a chapter, or reaching it by keyboard, shows its own arcs.
    """
    arcs = needs(book)
    heights, captions = _places(list(arcs))
    pairs = [abs(heights[page] - heights[other]) for page, others in arcs.items() for other in others]
    longest, rows = max(pairs, default=1), []
    for part, y in captions.items():
        rows.append(f'<text class="part" x="{LEFT + 8}" y="{y + 5}" {INK}>{escape(part)}</text>')
    for page, others in arcs.items():
        y, called, named = heights[page], escape(name(book, page)), ", ".join(name(book, other) for other in others)
        curves = "".join(_arc(y, heights[other], longest) for other in others)
        title = f"<title>{called}{f' needs {escape(named)}' if named else ''}</title>"
        dot = f'<circle cx="{LEFT - 4}" cy="{y}" r="3.5" {INK}/>'
        text = f'<text x="{LEFT + 8}" y="{y + 5}" {INK}>{called}</text>'
        rows.append(f'<a href="{escape(link(page))}">{title}{curves}{dot}{text}</a>')
    height = max(heights.values(), default=0) + ROW
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    return f'<nav class="map" aria-label="Which chapter needs which"><svg {size}>{"".join(rows)}</svg></nav>'


class Map(SphinxDirective):
    """`{map}`: the drawing, generated from the front matter of the chapters."""

    def run(self):
        """Return the drawing as it stands in the page."""
        book = Book.load(self.env.srcdir)
        for page in book.pages:
            self.env.note_dependency(str(book.source(page)))
        builder, here = self.env.app.builder, self.env.docname
        return [nodes.raw("", drawing(book, lambda p: builder.get_relative_uri(here, p.name)), format="html")]
