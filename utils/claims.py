"""Measured numbers: asserted, recorded, tabulated.

A chapter never prints a figure that could go stale. It *claims* the figure with a bound, and the build stops when the
measurement leaves the bound. Where a paper reports a comparable number, the claim carries it with its source.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from numbers import Real

__all__ = ["LEDGER_MIME", "Claim", "ClaimError", "claim", "reset", "table"]

LEDGER_MIME = "application/vnd.book.ledger+json"


class ClaimError(AssertionError):
    """A measured number fell outside the bound that the chapter states for it."""


@dataclass(frozen=True)
class Claim:
    """One measured number with its bound and, where one exists, its published counterpart."""

    name: str
    value: float
    unit: str
    below: float | None
    above: float | None
    published: float | str | None
    source: str | None
    twin: str | None
    board: tuple[str, str, str] | None = None

    @property
    def bound(self) -> str:
        """The bound in words.

        >>> Claim("a", 1.5, "", 2.0, 1.0, None, None, None).bound
        '1 to 2'
        """
        if self.above is not None and self.below is not None:
            return f"{self.above:.6g} to {self.below:.6g}"
        return f"≤ {self.below:.6g}" if self.above is None else f"≥ {self.above:.6g}"

    def __str__(self) -> str:
        return f"{self.name}: {self.value:.4g} {self.unit}".rstrip() + f" ({self.bound})"

    def _repr_markdown_(self) -> str:
        return (
            f"✓ {_cell(self.name)}: **{_number(self.value)}** {_cell(self.unit)}".rstrip() + f" (bound: {self.bound})"
        )


_recorded: dict[str, Claim] = {}


def claim(
    name: str,
    value: float,
    *,
    below: float | None = None,
    above: float | None = None,
    unit: str = "",
    published: float | str | None = None,
    source: str | None = None,
    twin: str | None = None,
    board: tuple[str, str, str] | None = None,
) -> Claim:
    """Assert that a measured number lies within its bound, and record it for the chapter's table and the ledger.

    Args:
        name: what was measured, as a reader would say it; one claim a name (a re-run cell replaces its own).
        value: the measurement, a finite real number or a one-element tensor.
        below: largest value allowed (inclusive).
        above: smallest value allowed (inclusive). At least one of `below` and `above`.
        unit: unit of `value`, such as "nats per image".
        published: the comparable published number, if any; needs `source`.
        source: where `published` is printed, with author, year and table or figure.
        twin: the broken implementation that this bound is tight enough to catch.
        board: the place of the number on the leaderboard page: (board, row, column), such as
            ("binary digits", "FVSBN", "exact").

    Raises:
        ClaimError: the value is out of bounds.
        ValueError: no name, no bound, an empty interval, a value that is not a finite number, a published value
            without a source, or a board that is not three names.

    >>> claim("one half", 0.5, above=0.4, below=0.6).bound
    '0.4 to 0.6'
    """
    number = _finite(name, value)
    _validate(name, below, above, published, source, board)
    made = Claim(name, number, unit, below, above, published, source, twin, board)
    if (below is not None and number > below) or (above is not None and number < above):
        hint = f" Broken twin in mind: {twin}." if twin else ""
        raise ClaimError(f"claim {name!r}: measured {number:.6g} {unit}".rstrip() + f", bound {made.bound}.{hint}")
    _recorded[name] = made
    return made


def reset() -> None:
    """Forget the claims recorded so far in this process."""
    _recorded.clear()


class _Table:
    """The chapter's claims, displayed as Markdown and carried to the ledger."""

    def __init__(self, claims: tuple[Claim, ...]):
        self.claims = claims

    def __repr__(self) -> str:
        return "\n".join(map(str, self.claims))

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        head = "| claim | measured | bound | published |\n|:---|---:|---:|:---|\n"
        rows = "\n".join(_row(c) for c in self.claims)
        return {
            "text/plain": repr(self),
            "text/markdown": head + rows,
            LEDGER_MIME: {"kind": "claims", "claims": [asdict(c) for c in self.claims]},
        }


def table() -> _Table:
    """The table of every claim made so far in this process.

    Raises:
        ValueError: nothing was claimed yet.
    """
    if not _recorded:
        raise ValueError("table: expected at least one claim() before the table, got none")
    return _Table(tuple(_recorded.values()))


def _finite(name: str, value: float) -> float:
    if hasattr(value, "item"):
        try:
            value = value.item()
        except (RuntimeError, ValueError):
            raise ValueError(f"claim {name!r}: expected one number, got shape {tuple(value.shape)}") from None
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise ValueError(f"claim {name!r}: expected a finite real number, got {value!r}")
    return float(value)


def _validate(name: str, below, above, published, source, board) -> None:
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"claim: expected a name that says what was measured, got {name!r}")
    if below is None and above is None:
        raise ValueError(f"claim {name!r}: expected a bound (below=, above= or both), got none")
    if below is not None and above is not None and below < above:
        raise ValueError(f"claim {name!r}: expected above <= below, got above={above}, below={below}")
    if published is not None and not source:
        raise ValueError(f"claim {name!r}: expected a source for the published value {published!r}, got none")
    named = isinstance(board, tuple) and len(board) == 3 and all(isinstance(n, str) and n.strip() for n in board)
    if board is not None and not named:
        raise ValueError(f"claim {name!r}: expected a board of three names (board, row, column), got {board!r}")


def _number(value: float) -> str:
    return f"{value:.4g}" if value == 0 or 1e-3 <= abs(value) < 1e5 else f"{value:.2e}"


def _cell(text: str) -> str:
    return text.replace("|", r"\|")


def _row(c: Claim) -> str:
    published = "" if c.published is None else f"{c.published} ({_cell(c.source)})"
    return f"| {_cell(c.name)} | {_number(c.value)} {_cell(c.unit)} | {c.bound} | {published} |"
