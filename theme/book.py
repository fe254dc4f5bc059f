"""What `_config.yml` and `_toc.yml` say: title, repository address, parts and pages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

__all__ = ["Book", "Page", "front_matter"]


def front_matter(path: Path) -> dict:
    """Return the YAML block that opens a MyST file, `{}` where there is none."""
    head, separator, rest = path.read_text(encoding="utf-8").partition("---\n")
    if head or not separator:
        return {}
    return yaml.safe_load(rest.partition("\n---\n")[0]) or {}


def _is_notebook(matter: dict) -> bool:
    representation = matter.get("jupytext", {}).get("text_representation", {})
    return matter.get("file_format") == "mystnb" or representation.get("format_name") == "myst"


@dataclass(frozen=True)
class Page:
    """One entry of `_toc.yml`: `file` is relative to the root and keeps its suffix."""

    file: str
    part: str = ""

    @property
    def name(self) -> str:
        """The name that Sphinx gives the page."""
        return self.file.removesuffix(".md")

    @property
    def is_chapter(self) -> bool:
        """Whether the page is a chapter, not one of the pages around them."""
        return self.file.startswith("chapters/")


@dataclass(frozen=True)
class Book:
    """The book's root folder, its configuration and its pages in reading order."""

    root: Path
    config: dict
    pages: tuple[Page, ...]

    @classmethod
    def load(cls, root: Path | str = ".") -> Book:
        """Return the book in `root`.

        Raises:
            FileNotFoundError: `_toc.yml` names a file that does not exist.
        """
        root = Path(root).resolve()
        config = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))
        toc = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))
        pages = [Page(toc["root"])]
        for part in toc.get("parts", []):
            pages += [Page(entry["file"], part.get("caption", "")) for entry in part["chapters"]]
        for page in pages:
            if not page.file.endswith(".md"):
                raise ValueError(f"_toc.yml: expected a name that ends in .md, received {page.file!r}")
            if not (root / page.file).is_file():
                raise FileNotFoundError(f"_toc.yml lists {page.file}, and {root / page.file} does not exist")
        return cls(root, config, tuple(pages))

    def source(self, page: Page) -> Path:
        """The file that a page is written in."""
        return self.root / page.file

    def notebooks(self) -> list[Page]:
        """The pages that hold code: those whose front matter calls them a notebook."""
        return [page for page in self.pages if _is_notebook(front_matter(self.source(page)))]

    @property
    def repository(self) -> str:
        """The address of the public repository, without a trailing slash."""
        return self.config["repository"]["url"].rstrip("/")

    @property
    def branch(self) -> str:
        """The branch that readers edit."""
        return self.config["repository"]["branch"]

    @property
    def html(self) -> Path:
        """Where the rendered site lies."""
        return self.root / "_build" / "html"
