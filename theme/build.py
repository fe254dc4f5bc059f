"""Build the book: `python -m theme.build [root]` executes, renders, verifies, and does nothing twice."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from theme.book import Book
from theme.inputs import site_digest

__all__ = ["build", "main"]

LIBRARY = str(Path(__file__).parent.parent)


def _stamp(book: Book) -> dict:
    """What the last good build was made from and what it wrote; recomputed to see whether both still hold."""
    pages = {page.name: book.html / f"{page.name}.html" for page in book.pages}
    written = {n: hashlib.sha256(p.read_bytes()).hexdigest() if p.is_file() else "" for n, p in pages.items()}
    return {"inputs": site_digest(book), "pages": written}


def _is_current(book: Book) -> bool:
    stamp = book.root / "_build" / "stamp.json"
    return stamp.is_file() and json.loads(stamp.read_text()) == _stamp(book)


def _render(book: Book) -> int:
    """Run Jupyter Book on the filled cache; every warning is an error."""
    from theme.execute import cache_folder

    paths = [str(book.root), LIBRARY, os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "BOOK_CACHE": str(cache_folder(book)),
    }
    program = str(Path(sys.executable).with_name("jupyter-book"))
    command = [program, "build", "-W", "--keep-going", "-q", str(book.root)]
    status = subprocess.run(command, env=environment, check=False).returncode
    if status:  # Sphinx does not repeat a warning about a page that it has already read
        shutil.rmtree(book.root / "_build" / ".doctrees", ignore_errors=True)
    return status


def build(root: Path | str = ".", processes: int = 2) -> list[str]:
    """Build the book in `root`; return what is wrong, an empty list when the site is good."""
    start = time.perf_counter()
    book = Book.load(root)
    if _is_current(book):
        print(f"Nothing changed: {book.html / 'index.html'}")
        return []
    (book.root / "_build" / "stamp.json").unlink(missing_ok=True)
    from theme.execute import execute
    from theme.verify import verify

    sources = site_digest(book)
    failed = [run for run in execute(book, processes) if run.error]
    if failed:
        return [f"{run.page.file}: code cell {run.cell} failed" for run in failed]
    if site_digest(book) != sources:
        return ["the sources changed while the chapters were executed: build again"]
    if _render(book):
        return ["jupyter-book reported warnings or errors: see above"]
    if problems := verify(book):
        return problems
    (book.root / "_build" / "stamp.json").write_text(json.dumps(_stamp(book), indent=1))
    print(f"Built {len(book.pages)} pages in {time.perf_counter() - start:.1f} s: {book.html / 'index.html'}")
    return []


def main() -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", nargs="?", default=".", help="the folder that holds _config.yml and _toc.yml")
    parser.add_argument("--processes", type=int, default=2, help="notebooks that execute at the same time")
    arguments = parser.parse_args()
    try:
        problems = build(arguments.root, arguments.processes)
    except (FileNotFoundError, ValueError) as error:
        problems = [str(error)]
    for problem in problems:
        print(f"ERROR {problem}", file=sys.stderr)
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
