"""Small images in a frames widget: where each pixel stands, and what an unknown one looks like."""

import math
import re

import pytest
import torch
from vl_convert import vegalite_to_svg

from utils import explore
from utils.explore.figure import still


def test_tiles_place_every_pixel_with_a_blank_column_and_row_between_images():
    images = torch.arange(24.0).view(3, 2, 4) / 24
    rows = explore.tiles(images, 2, "three images")
    places = {(row["row"], row["column"]): row["ink"] for row in rows}
    assert len(places) == 24
    assert places[0, 5] == pytest.approx(images[1, 0, 0].item())
    assert places[4, 3] == pytest.approx(images[2, 1, 3].item())
    assert not any(column == 4 or row == 2 for row, column in places)
    assert [row["words"] for row in rows if row["words"]] == ["three images"]


@pytest.mark.parametrize(("shape", "columns"), [((4, 4), 1), ((0, 4, 4), 1), ((1, 4, 4), 0)])
def test_tiles_name_the_shape_they_expect(shape, columns):
    with pytest.raises(ValueError, match=r"expected images \(N, H, W\)"):
        explore.tiles(torch.zeros(shape), columns)


def spec(image):
    """Of a widget that shows one image, whatever its control says."""
    chart = explore.tile_chart(1, 1, tuple(image.shape[1:]))

    def draw(k):
        return explore.tiles(image + 0 * k, 1)

    widget = explore.frames(draw, {"k": [0, 1]}, chart, title="t", description="d")
    return widget.spec(widget.values)


def test_unknown_pixels_are_blue_and_known_ones_grey():
    image = torch.zeros(1, 3, 3)
    image[0, 1:] = math.nan
    picture = vegalite_to_svg(spec(image), vl_version="6.4")
    greys = picture.count('fill="#f4f4f4"') + picture.count('fill="rgb(244, 244, 244)"')
    assert greys == 3
    assert picture.count('fill="#7aa7d6"') == 9  # under every pixel; the known ones cover it


def test_the_still_joins_neighbours_of_one_colour_and_loses_none():
    image = torch.zeros(1, 12, 12)
    image[0, 5:9, 2:] = 1

    def tiles(picture):
        paths = re.findall(r'<path[^>]*? d="([^"]*)"[^>]* fill="([^"]*)"/>', picture)
        return [(tile, colour) for shapes, colour in paths for tile in re.findall(r"M[^Z]*Z", shapes)], len(paths)

    plain, one_by_one = tiles(vegalite_to_svg(spec(image), vl_version="6.4"))
    joined, at_once = tiles(still(spec(image)))
    assert joined == plain
    assert len(joined) == 2 * 144 == one_by_one
    assert at_once < 20
