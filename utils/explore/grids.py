"""A grid world as a chart: values as colours, the greedy policy as arrows."""

import altair as alt

__all__ = ["grid_chart"]


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
) -> alt.LayerChart:
    """Return a heat map of a grid world, an arrow and the value written in each cell.

    The rows of `data` have the columns `row`, `column` (row 0 on top), `value` and `arrow` (a text, for
    example "\N{UPWARDS ARROW}", or "" for none); a wall has the value None.

    Args:
        data: what `explore.frames` hands to its `chart`.
        domain: the values at the two ends of the colour scale, fixed so that frames can be compared.
        cell: side of a cell in pixels; `shape`: rows and columns.
        value, arrow: names of the two columns; `title`: of the colour legend; `scheme`: its colours.
    """
    rows, columns = shape
    lo, hi = domain
    if not lo < hi:
        raise ValueError(f"grid_chart: expected domain (lo, hi) with lo < hi, received {domain}")
    base = alt.Chart(data).encode(
        x=alt.X("column:O", axis=None, scale=alt.Scale(domain=list(range(columns)), paddingInner=0.04)),
        y=alt.Y("row:O", axis=None, scale=alt.Scale(domain=list(range(rows)), paddingInner=0.04)),
    )
    fill = alt.Color(
        f"{value}:Q",
        scale=alt.Scale(scheme=scheme, domain=[lo, hi], clamp=True),
        legend=alt.Legend(title=title, orient="bottom", gradientLength=min(200, columns * cell)),
    )
    # viridis is light at its upper end: dark letters there, white ones below.
    ink = alt.condition(f"datum['{value}'] > {lo + 0.6 * (hi - lo)}", alt.value("#111"), alt.value("#fff"))
    known = f"isValid(datum['{value}'])"
    number = f"{value}:Q"
    cells = base.mark_rect(invalid=None, cornerRadius=3).encode(
        color=alt.condition(known, fill, alt.value("#888"))
    )
    arrows = base.mark_text(fontSize=0.42 * cell, dy=-0.1 * cell).encode(text=f"{arrow}:N", color=ink)
    numbers = (
        base.transform_filter(known)
        .mark_text(fontSize=max(10, 0.2 * cell), dy=0.3 * cell)
        .encode(text=alt.Text(number, format=".2f"), color=ink)
    )
    return alt.layer(cells, arrows, numbers).properties(width=columns * cell, height=rows * cell)
