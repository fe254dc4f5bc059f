"""Write the `.ipynb` beside each `.md`: no outputs, the same bytes every time; what Colab and JupyterLab open."""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections import Counter
from pathlib import Path

import nbformat

from theme.book import Book, Page

__all__ = ["main", "notebook_text", "sources"]

PLACEHOLDER = "{{ utils }}"
FOLDED = {"hide-cell", "hide-input"}


def sources(book: Book) -> list[Page]:
    """The pages that have a notebook beside them: all chapters, listed or not, the template among them."""
    files = sorted((book.root / "chapters").rglob("*.md"))
    return [Page(file.relative_to(book.root).as_posix()) for file in files]


def _identify(cells: list) -> None:
    """Give each cell an id made of its content; a repeated cell gets its number in the row as well."""
    seen: Counter[str] = Counter()
    for cell in cells:
        content = f"{cell.cell_type}\0{cell.source}"
        seen[content] += 1
        repeat = f"\0{seen[content]}" if seen[content] > 1 else ""
        cell["id"] = hashlib.sha256((content + repeat).encode()).hexdigest()[:12]


def notebook_text(book: Book, page: Page, revision: str) -> str:
    """Return the notebook of a page as JSON text; its setup cell installs `utils` at `revision`."""
    from theme.execute import read_notebook

    notebook = read_notebook(book, page)
    for cell in notebook.cells:
        cell.source = cell.source.replace(PLACEHOLDER, f"git+{book.repository}@{revision}")
        if FOLDED & set(cell.metadata.get("tags", [])):
            cell.metadata["jupyter"] = {"source_hidden": True}
            cell.metadata["cellView"] = "form"  # Colab's way to fold
    _identify(notebook.cells)
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook.metadata = nbformat.from_dict({"kernelspec": kernel, "language_info": {"name": "python"}})
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    nbformat.validate(notebook)
    return nbformat.writes(notebook, indent=1) + "\n"


def main() -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", nargs="?", default=".", help="the folder that holds _config.yml")
    parser.add_argument("--revision", help="branch or commit that the setup cell installs; default: the branch")
    parser.add_argument("--check", action="store_true", help="write nothing, fail where a notebook is out of date")
    arguments = parser.parse_args()
    book = Book.load(arguments.root)
    stale = []
    for page in sources(book):
        path = Path(book.root, page.name + ".ipynb")
        text = notebook_text(book, page, arguments.revision or book.branch)
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            stale.append(path.relative_to(book.root))
            if not arguments.check:
                path.write_text(text, encoding="utf-8")
    for path in stale:
        print(f"{path} {'is out of date: run `make notebooks`' if arguments.check else 'written'}")
    return bool(stale and arguments.check)


if __name__ == "__main__":
    sys.exit(main())
