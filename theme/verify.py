"""What must hold of the rendered site before a build may call itself good."""

from __future__ import annotations

import re
import sys

from jupyter_cache import get_cache

from theme.book import Book
from theme.execute import cache_folder, read_notebook

__all__ = ["MAX_PAGE_BYTES", "verify"]

MAX_PAGE_BYTES = 1_000_000


def _executed_elsewhere(book: Book) -> list[str]:
    """The renderer executes a page that it does not find in the cache; then nobody watched it fail."""
    known = {record.hashkey for record in get_cache(cache_folder(book)).list_cache_records()}
    cache = get_cache(cache_folder(book))
    wanted = {p: cache.create_hashed_notebook(read_notebook(book, p))[1] for p in book.notebooks()}
    return [f"{page.file}: rendered without its executed notebook" for page, key in wanted.items() if key not in known]


def verify(book: Book) -> list[str]:
    """Return one line for each page that is missing, empty, without outputs, or too heavy."""
    problems = _executed_elsewhere(book)
    notebooks = set(book.notebooks())
    for page in book.pages:
        path = book.html / f"{page.name}.html"
        if not path.is_file():
            problems.append(f"{page.file}: expected {path}, and no such page was written")
            continue
        text = path.read_text(encoding="utf-8")
        if page.is_chapter and page not in notebooks:
            problems.append(f"{page.file}: a chapter without a kernel in its front matter, nothing was executed")
        if page in notebooks and not re.search(r'class="cell_output\b', text):
            problems.append(f"{page.file}: the page holds no output")
        if (size := path.stat().st_size) > MAX_PAGE_BYTES:
            problems.append(f"{page.file}: expected at most {MAX_PAGE_BYTES:,} bytes of HTML, received {size:,}")
    return problems


if __name__ == "__main__":
    found = verify(Book.load("."))
    print("\n".join(found) or "every page is there, with its outputs")
    sys.exit(bool(found))
