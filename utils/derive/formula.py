"""LaTeX of a checked expression, broken into lines that fit a phone."""

import re
from typing import Any

import sympy as sp
from sympy.printing.latex import LatexPrinter

__all__ = ["formula", "width"]

WIDTH = 38


class _Printer(LatexPrinter):
    pass


def formula(expr: Any, relation: str = "") -> str:
    """Return LaTeX without a raw `|`; a long sum becomes aligned lines, the relation in front."""
    return _safe(f"{relation} {_Printer().doprint(expr)}".strip())


def width(latex: str) -> int:
    """Estimate the glyphs on a line."""
    return len(re.sub(r"\\[a-zA-Z]+|[{}^_ ]", "", latex))


def _safe(latex: str) -> str:
    return latex.replace(r"\left|", r"\left\vert ").replace(r"\right|", r"\right\vert ").replace("|", r"\vert ")


assert sp
