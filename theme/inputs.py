"""Digests of everything that a page depends on: they decide what is executed and rendered again."""

from __future__ import annotations

import hashlib
import sys
from importlib.metadata import distributions
from pathlib import Path

from theme.book import Book

__all__ = ["environment_digest", "site_digest", "tree_digest"]

THEME = Path(__file__).parent
SKIPPED = {"__pycache__", ".ipynb_checkpoints"}


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return sorted(p for p in path.rglob("*") if p.is_file() and not SKIPPED & set(p.parts))


def tree_digest(*paths: Path, root: Path) -> str:
    """Return a digest of the names and bytes of all files below `paths`; a missing path counts as empty."""
    digest = hashlib.sha256()
    for path in paths:
        for file in _files(path) if path.exists() else []:
            name = file.relative_to(root) if file.is_relative_to(root) else file.name
            digest.update(f"{name}\0{hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def environment_digest(book: Book) -> str:
    """Return a digest of what a chapter's numbers depend on besides its own cells.

    The shared package, the data, the Python version and every installed distribution: a change in any of
    them makes each cached output a number that nobody has measured, so it opens an empty cache.
    """
    packages = sorted({f"{d.metadata['Name']}=={d.version}" for d in distributions()})
    code = tree_digest(book.root / "utils", book.root / "data", root=book.root)
    return hashlib.sha256("\n".join([sys.version, code, *packages]).encode()).hexdigest()[:16]


def site_digest(book: Book) -> str:
    """Return a digest of all inputs of the rendered site."""
    texts = [book.source(page) for page in book.pages]
    sources = [*texts, *(text.with_suffix(".ipynb") for text in texts)]
    settings = [book.root / name for name in ("_config.yml", "_toc.yml", "references.bib")]
    site = tree_digest(*settings, *sources, root=book.root)
    theme = tree_digest(THEME, THEME.parent / "package-lock.json", root=THEME.parent)
    return hashlib.sha256((environment_digest(book) + site + theme).encode()).hexdigest()
