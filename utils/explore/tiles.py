"""Small grey images as the rows and the chart of a `frames` widget."""

from collections.abc import Callable

import altair as alt

__all__ = ["tile_chart", "tiles"]


def tiles(images, columns: int, words: str = "") -> list[dict]:
    """Return chart rows that lay images of one size side by side, a blank column and row between them.

    Args:
        images: `(N, H, W)` tensor of ink in [0, 1]; NaN where a pixel is unknown.
        columns: images a row.
        words: one line of text above the images.

    Raises:
        ValueError: another number of dimensions, no images, or `columns` below 1.
    """
    if images.ndim != 3 or len(images) == 0 or columns < 1:
        raise ValueError(
            f"tiles: expected images (N, H, W) with N >= 1 and columns >= 1, received {tuple(images.shape)}, {columns}"
        )
    _, height, width = images.shape
    rows = [
        {"column": (width + 1) * (n % columns) + j, "row": (height + 1) * (n // columns) + i, "ink": ink, "words": ""}
        for n, image in enumerate(images.tolist())
        for i, line in enumerate(image)
        for j, ink in enumerate(line)
    ]
    rows[0]["words"] = words
    return rows


def tile_chart(count: int, columns: int, size: tuple[int, int] = (8, 8), cell: int = 12) -> Callable:
    """Return the `chart` of `frames` for the rows of `tiles`: dark ink on light paper, unknown pixels blue.

    Args:
        count: number of images; `columns`: images a row; `size`: height and width of an image in pixels.
        cell: side of a pixel on the screen.
    """
    height, width = size
    across, down = columns * (width + 1) - 1, -(-count // columns) * (height + 1) - 1
    place = {
        "x": alt.X("column:O", axis=None, scale=alt.Scale(domain=list(range(across)), padding=0)),
        "y": alt.Y("row:O", axis=None, scale=alt.Scale(domain=list(range(down)), padding=0)),
    }
    grey = alt.Color("ink:Q", scale=alt.Scale(range=["#f4f4f4", "#111"], domain=[0, 1]), legend=None)

    def chart(frame: alt.NamedData) -> alt.LayerChart:
        base = alt.Chart(frame)
        words = base.transform_filter("datum.words != ''").mark_text(align="left", fontSize=13)
        words = words.encode(x=alt.value(0), y=alt.value(-12), text="words:N")
        unknown = base.mark_rect(color="#7aa7d6").encode(**place)
        known = base.transform_filter("isValid(datum.ink)").mark_rect().encode(**place, color=grey)
        return alt.layer(unknown, known, words).properties(width=across * cell, height=down * cell)

    return chart
