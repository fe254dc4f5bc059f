"""A grid world as a chart: values as colours, the greedy policy as arrows."""

import altair as alt

__all__ = ["grid_chart"]

DOT = "#d55e00"


def grid_chart(
    data,
    domain: tuple[float, float],
    *,
    cell: int = 60,
    shape: tuple[int, int] = (5, 5),
    value: str = "value",
    arrow: str = "arrow",
    title: str = "value",
    scheme: str = "viridis",
    dots: str | None = None,
    outline: str | None = None,
) -> alt.LayerChart:
    """Return a heat map of a grid world, an arrow and the value written in each cell.

    The rows of `data` have the columns `row`, `column` (row 0 on top), `value` and `arrow` (a text, for
    example "\N{UPWARDS ARROW}", or "" for none); a wall has the value None.

    Args:
        data: what `explore.frames` hands to its `chart`.
        domain: the values at the two ends of the colour scale, fixed so that frames can be compared.
        cell: side of a cell in pixels; `shape`: rows and columns.
        value, arrow: names of the two columns; `title`: of the colour legend; `scheme`: its colours.
        dots: name of a column in [0, 1], for example the share of visits, drawn as the area of a dot.
        outline: name of a column of CSS colours ("" for none) that frame their cells.
    """
    rows, columns = shape
    lo, hi = domain
    if not lo < hi:
        raise ValueError(f"grid_chart: expected domain (lo, hi) with lo < hi, received {domain}")
    base = alt.Chart(data).encode(
        x=alt.X("column:O", axis=None, scale=alt.Scale(domain=list(range(columns)), paddingInner=0.04)),
        y=alt.Y("row:O", axis=None, scale=alt.Scale(domain=list(range(rows)), paddingInner=0.04)),
    )
    known = base.transform_filter(f"isValid(datum['{value}'])")
    # The scheme is light at its upper end: dark letters there, white ones below.
    bright = f"datum['{value}'] > {lo + 0.6 * (hi - lo)}"
    ink = alt.condition(bright, alt.value("#111"), alt.value("#fff"))
    legend = alt.Legend(title=title, orient="bottom", gradientLength=min(240, columns * cell))
    scale = alt.Scale(scheme=scheme, domain=[lo, hi], clamp=True)
    layers = [
        base.mark_rect(cornerRadius=3, color="#777"),
        known.mark_rect(cornerRadius=3).encode(color=alt.Color(f"{value}:Q", scale=scale, legend=legend)),
        base.mark_text(fontSize=0.42 * cell, dy=-0.1 * cell).encode(text=f"{arrow}:N", color=ink),
        known.mark_text(fontSize=max(10, 0.2 * cell), dy=0.3 * cell).encode(
            text=alt.Text(f"{value}:Q", format=".2f"), color=ink
        ),
    ]
    layers += _marks(base, cell, dots, outline)
    return alt.layer(*layers).properties(width=columns * cell, height=rows * cell)


def _marks(base: alt.Chart, cell: int, dots: str | None, outline: str | None) -> list[alt.Chart]:
    """Return what is drawn over the cells: a dot in the corner, a frame."""
    marks = []
    if dots:
        size = alt.Size(f"{dots}:Q", legend=None, scale=alt.Scale(domain=[0, 1], range=[0, (0.22 * cell) ** 2]))
        place = {"xOffset": 0.34 * cell, "yOffset": -0.34 * cell}
        dot = base.mark_circle(color=DOT, opacity=1, stroke="#fff", **place)
        marks.append(dot.transform_filter(f"datum['{dots}'] > 0").encode(size=size))
    if outline:
        frame = base.transform_filter(f"datum['{outline}'] != ''").mark_rect(filled=False, strokeWidth=4)
        marks.append(frame.encode(stroke=alt.Stroke(f"{outline}:N", scale=None, legend=None)))
    return marks
