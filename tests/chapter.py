"""A chapter as a module: its cells tagged `definition`, executed in order, without training or figures."""

import functools
import linecache
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jupytext
import yaml

from utils.derive import Derivation

ROOT = Path(__file__).parents[1]
CHAPTERS = ROOT / "chapters"


def slugs() -> list[str]:
    """Return `part/name` of every chapter in the table of contents."""
    toc = ROOT / "_toc.yml"
    if not toc.exists():
        return []
    files = list(_files(yaml.safe_load(toc.read_text(encoding="utf-8"))))
    found = [f.removesuffix(".md").removeprefix("chapters/") for f in files if f.startswith("chapters/")]
    return [s for s in found if "/" in s]


def _files(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "file" in node:
            yield node["file"]
        for value in node.values():
            yield from _files(value)
    elif isinstance(node, list):
        for value in node:
            yield from _files(value)


def source(slug: str) -> Path:
    """Return the Markdown file of a chapter, given as `part/name` or as `name` alone."""
    found = sorted(CHAPTERS.glob(f"{slug}.md")) or sorted(CHAPTERS.glob(f"*/{slug}.md"))
    if len(found) != 1:
        known = sorted(str(p.relative_to(CHAPTERS)) for p in CHAPTERS.glob("**/*.md"))
        raise FileNotFoundError(f"expected one chapter named {slug!r}, found {len(found)}; there are {known}")
    return found[0]


def cells(slug: str, tag: str = "definition") -> list[str]:
    """Return the code of the chapter's cells that carry the tag."""
    notebook = jupytext.read(source(slug))
    return [cell.source for cell in notebook.cells if cell.cell_type == "code" and tag in cell.metadata.get("tags", [])]


@functools.cache
def load(slug: str) -> types.ModuleType:
    """Return the chapter as a module; the same slug gives the same module."""
    name = "chapter_" + source(slug).stem.replace("-", "_")
    module = types.ModuleType(name, f"Definitions of {slug}.")
    sys.modules[name] = module
    found = cells(slug)
    if not found:
        raise ValueError(f"{slug} has no cell tagged `definition`")
    for number, code in enumerate(found, 1):
        place = f"<{slug}, definition cell {number}>"
        linecache.cache[place] = (len(code), None, code.splitlines(keepends=True), place)
        exec(compile(code, place, "exec"), module.__dict__)
    return module


def derivations(module: types.ModuleType) -> list[Derivation]:
    """Return the derivations among a module's names, in lists and dictionaries too, each once."""
    found: dict[int, Derivation] = {}
    for value in list(vars(module).values()):
        for one in _derivations(value, 0):
            found.setdefault(id(one), one)
    return list(found.values())


def _derivations(value: Any, depth: int) -> Iterator[Derivation]:
    if isinstance(value, Derivation):
        yield value
    elif depth < 3 and isinstance(value, dict):
        for inner in value.values():
            yield from _derivations(inner, depth + 1)
    elif depth < 3 and isinstance(value, list | tuple):
        for inner in value:
            yield from _derivations(inner, depth + 1)
