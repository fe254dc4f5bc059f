"""A derivation as a Markdown table, as text for a terminal, and as a record for the ledger."""

from typing import TYPE_CHECKING, Any

import mpmath

from .formula import formula, latex

if TYPE_CHECKING:
    from .steps import Derivation

__all__ = ["LEDGER", "apart", "bundle", "markdown", "number", "record", "text"]

LEDGER = "application/vnd.book.ledger+json"
MARKS = {"proved": "✓", "sampled": "≈", "assumed": "§"}
_SIGNS = {"=": "=", "<=": r"\le", ">=": r"\ge"}
_PLAIN = {"=": "=", "<=": "≤", ">=": "≥"}


def number(value: Any, digits: int = 20) -> str:
    """Return a number as text."""
    return mpmath.nstr(mpmath.mpmathify(value), digits)


def apart(left: Any, right: Any) -> tuple[str, str]:
    """Return two numbers as text, to enough digits that they differ."""
    for digits in (20, 40, 80):
        shown = number(left, digits), number(right, digits)
        if shown[0] != shown[1]:
            break
    return shown


def bundle(group: "list[Derivation]", names: list[str] | None = None) -> dict:
    """Return the mime bundle of one derivation, or of one at several sizes."""
    names = names or [""] * len(group)
    parts = [markdown(d, name) for d, name in zip(group, names, strict=True)]
    return {"text/markdown": "\n\n".join(parts), "text/plain": text(group), LEDGER: record(group, names)}


def markdown(derivation: "Derivation", name: str = "") -> str:
    """Return the table: mark, step with its relation, reason."""
    heading = f"**{derivation.title}**" + (f" (${name}$)" if name else "")
    rows = ["| | step | because |", "|:-:|:--|:--|", f"| | ${formula(derivation.lhs)}$ | |"]
    for step in derivation.steps:
        reason = _cell(step.because) + (f" ({_cell(step.detail)})" if step.status == "assumed" else "")
        rows.append(f"| {MARKS[step.status]} | ${formula(step.rhs, _SIGNS[step.relation])}$ | {reason} |")
    lines = [heading, "", *rows]
    if derivation.where:
        made = ", ".join(f"${latex(k)} = {latex(v)}$" for k, v in derivation.where.items())
        lines += ["", f"where {made}."]
    return "\n".join(lines)


def _cell(words: str) -> str:
    """Return text that cannot end a table cell: `|` is `\\vert` in a formula, escaped outside."""
    parts = " ".join(words.split()).split("$")
    for i, part in enumerate(parts):
        parts[i] = part.replace("|", r"\vert ") if i % 2 else part.replace("|", r"\|")
    return "$".join(parts)


def text(group: "list[Derivation]") -> str:
    """Return the steps as plain text."""
    lines = []
    for derivation in group:
        lines += [derivation.title, f"    {derivation.lhs}"]
        for step in derivation.steps:
            lines.append(f"{MARKS[step.status]}   {_PLAIN[step.relation]} {step.rhs}")
            lines.append(f"        {step.because}  [{step.status}: {step.detail}]")
        lines += [f"    where {k} = {v}" for k, v in derivation.where.items()]
    return "\n".join(lines)


def record(group: "list[Derivation]", names: list[str]) -> dict:
    """Return what the ledger keeps."""
    steps = []
    for derivation, name in zip(group, names, strict=True):
        for step in derivation.steps:
            kept = {key: getattr(step, key) for key in ("relation", "because", "label", "status", "detail")}
            printed = f"{latex(step.lhs)} {_SIGNS[step.relation]} {latex(step.rhs)}"
            steps.append({**kept, "latex": printed, "seconds": round(step.seconds, 4), "instance": name})
    first = group[0]
    return {"kind": "derivation", "title": first.title, "label": first.label, "steps": steps}
