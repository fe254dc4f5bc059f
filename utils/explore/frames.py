"""A table of frames: computed by Python in a kernel, computed once for the page and selected from there."""

import itertools
import json
from collections.abc import Callable, Mapping, Sequence

import altair as alt

from utils.explore.controls import Choice
from utils.explore.figure import Widget, styled

__all__ = ["frames"]

LIMIT = 300_000


def _plain(value, digits: int):
    """Return a JSON value: Python numbers out of NumPy and torch, rounded to `digits` significant digits."""
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, float):
        value = float(f"{value:.{digits}g}")
        return None if value != value or value in (float("inf"), float("-inf")) else value
    if isinstance(value, list | tuple):
        return [_plain(v, digits) for v in value]
    return value


class Frames(Widget):
    """See `frames`."""

    kind = "frames"

    def __init__(self, fn, controls, chart, title, description, digits):
        self.fn, self.chart, self.controls = fn, chart, tuple(controls)
        self.title, self.description, self.digits = title, description, digits
        if not self.description.strip():
            raise ValueError("frames: expected a description for those who cannot see the chart")

    def rows(self, values: Mapping) -> list[dict]:
        """Return the rows of one frame, rounded as the page holds them."""
        found = self.fn(**values)
        if not isinstance(found, Sequence) or not found or not all(isinstance(r, Mapping) for r in found):
            raise ValueError(f"frames: expected a list of dicts (rows), received {type(found).__name__}")
        if any(r.keys() != found[0].keys() for r in found):
            raise ValueError("frames: expected the same columns in every row")
        return [{k: _plain(v, self.digits) for k, v in row.items()} for row in found]

    def spec(self, values: Mapping) -> dict:
        """Return the Vega-Lite specification of the frame at `values`."""
        drawn = self.chart(alt.NamedData(name="frame")).to_dict()
        return styled({**drawn, "datasets": {**drawn.get("datasets", {}), "frame": self.rows(values)}})

    def payload(self) -> dict:
        """Return the table of all frames: columns that never change once, the others for each frame."""
        tables = [
            self.rows(dict(zip(self.keys(), combination, strict=True)))
            for combination in itertools.product(*(c.values for c in self.controls))
        ]
        columns = {k: [[row[k] for row in rows] for rows in tables] for k in tables[0][0]}
        fixed = {k: v[0] for k, v in columns.items() if all(column == v[0] for column in v)}
        moving = {k: v for k, v in columns.items() if k not in fixed}
        if len({len(rows) for rows in tables}) > 1:
            fixed, moving = {}, columns
        table = {
            "strides": _strides([len(c.values) for c in self.controls]),
            "fixed": fixed,
            "moving": moving,
        }
        size = len(json.dumps(table, ensure_ascii=False, separators=(",", ":")).encode())
        if size > LIMIT:
            raise ValueError(
                f"frames: expected at most {LIMIT // 1000} kB, received {size / 1000:.0f} kB for "
                f"{len(tables)} frames of {len(tables[0])} rows: use fewer control values, rows or digits"
            )
        return {"table": table}


def _strides(sizes: Sequence[int]) -> list[int]:
    strides = [1]
    for size in reversed(sizes[1:]):
        strides.insert(0, strides[0] * size)
    return strides


def frames(
    fn: Callable[..., Sequence[Mapping]],
    controls: Mapping[str, Sequence],
    chart: Callable[[alt.NamedData], alt.TopLevelMixin],
    *,
    title: str,
    description: str,
    start: Mapping[str, object] | None = None,
    unit: Mapping[str, str] | None = None,
    digits: int = 4,
) -> Frames:
    """Return a widget that shows `fn` at the values that its controls select.

    In a kernel a moved control calls `fn`; for the page `fn` is called for every combination of values
    when the book is built, and the page's controls select from that table (at most 300 kB).

    Args:
        fn: called with one keyword argument a control; returns the rows, all with the same columns.
        controls: label -> its values; the label with "_" for blanks is the argument's name.
        chart: called with the data "frame", returns an Altair chart of it: give every encoding its type, and
            every scale a fixed domain, so that frames can be compared. A chart as wide as the page has
            `width="container"` and a height.
        title, description: the heading; what the chart shows, for those who cannot see it.
        start: label -> its first value; the middle one where none is given.
        unit: label -> the unit of its values.
        digits: significant digits that are kept.

    Raises:
        ValueError: a table over 300 kB, rows that are not dicts with the same columns, an unknown label.
    """
    start, unit = dict(start or {}), dict(unit or {})
    strangers = sorted((start.keys() | unit.keys()) - controls.keys())
    if strangers:
        raise ValueError(f"frames: {strangers} is not among the controls {list(controls)}")
    made = []
    for label, values in controls.items():
        values = tuple(v.item() if hasattr(v, "item") else v for v in values)
        first = start.get(label, values[(len(values) - 1) // 2] if values else None)
        name, words = label.replace(" ", "_"), label.replace("_", " ")
        made.append(Choice(name, values, first, words, unit.get(label, "1")))
    return Frames(fn, made, chart, title, description, digits)
