"""Widgets that are alive without a kernel: `curves` from expressions, `frames` from computed tables.

One declaration lives twice. On the rendered page Vega draws it and plain HTML controls drive it; in a
notebook the same controls are ipywidgets whose `values` can be read back in Python.
"""

import sys

# Altair imports jsonschema, which spends over a second on a grammar of web addresses if it finds one; charts have none.
if sys.modules.setdefault("rfc3987_syntax") is None:
    import altair  # noqa: F401

    del sys.modules["rfc3987_syntax"]

from utils.explore.controls import Slider
from utils.explore.curves import Plotted, curves
from utils.explore.frames import frames
from utils.explore.grids import grid_chart
from utils.explore.tiles import tile_chart, tiles

__all__ = ["Plotted", "Slider", "curves", "frames", "grid_chart", "tile_chart", "tiles"]
