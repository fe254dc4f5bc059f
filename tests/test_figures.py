import base64
import io
import re
import xml.etree.ElementTree as ET

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from utils import figures


@pytest.fixture(autouse=True)
def _style():
    with plt.rc_context():
        figures.use()
        yield
    plt.close("all")


def drawn():
    fig, ax = plt.subplots()
    ax.plot([0, 1], [0, 0.00025])
    ax.set_yticks([0, 0.00025], ["0", "0.00025"])
    ax.set_xlabel("time")
    return fig


def luminance(colour):
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("colour", figures.COLOURS)
@pytest.mark.parametrize("page", ["#ffffff", "#121212"])
def test_line_colours_keep_a_contrast_of_three_on_both_pages(colour, page):
    dark, light = sorted((luminance(colour), luminance(page)))
    assert (light + 0.05) / (dark + 0.05) >= 3


def test_the_svg_is_well_formed_described_and_takes_the_page_colour():
    shown = figures.show(drawn(), "a straight line that rises")
    root = ET.fromstring(shown.svg)
    assert root.get("aria-label") == "a straight line that rises"
    assert "currentColor" in shown.svg
    assert "#010203" not in shown.svg
    assert root.get("width") is None
    assert "metadata" not in shown.svg
    assert plt.get_fignums() == []


def test_tick_labels_keep_their_digits():
    assert ">0.00025<" in re.sub(r"\s", "", figures.show(drawn(), "a straight line that rises").svg)


def test_ids_of_two_figures_do_not_clash():
    other = drawn()
    other.axes[0].set_title("another")
    ids = [set(re.findall(r'\bid="([^"]+)"', figures.show(f, "one of two lines").svg)) for f in (drawn(), other)]
    assert not ids[0] & ids[1]


def test_every_reference_inside_the_svg_resolves():
    svg = figures.grid(torch.rand(3, 4, 4), 2, alt="three random images", titles=["a", "b", "c"]).svg
    refs = set(re.findall(r'(?:url\(|href=")#([^")]+)', svg))
    assert refs
    assert refs <= set(re.findall(r'\bid="([^"]+)"', svg))


def embedded(svg):
    pictures = re.findall(r'data:image/png;base64,\s*([^"]+)"', svg)
    return [plt.imread(io.BytesIO(base64.b64decode(picture))) for picture in pictures]


@pytest.mark.parametrize("titles", [None, list("abcde")])
@pytest.mark.parametrize("colour", [False, True])
def test_a_grid_is_one_picture_of_the_images_own_pixels(titles, colour):
    images = torch.rand(5, 4, 6, 3) if colour else torch.rand(5, 4, 6)
    shown = figures.grid(images, 3, alt="five random images", titles=titles, cmap="gray", limits=(0, 1))
    (sheet,) = embedded(shown.svg)
    down, right = sheet.shape[0] // 2, sheet.shape[1] // 3
    assert (sheet[..., 3] > 0).sum() == 5 * 4 * 6  # and the rest lets the page show through
    for i, image in enumerate(images.numpy()):
        bottom, left = (i // 3 + 1) * down, i % 3 * right
        shown = sheet[bottom - 4 : bottom, left : left + 6, :3]
        expected = image if colour else image[..., None].repeat(3, -1)
        np.testing.assert_allclose(shown, expected, atol=2 / 255)  # a map has 256 colours


def test_a_grid_writes_each_title_above_its_own_image():
    svg = figures.grid(torch.rand(5, 8, 8), 3, alt="five random images", titles=list("abcde")).svg
    frame = [float(size) for size in re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg).groups()]
    found = re.findall(r'<text[^>]* x="([\d.]+)" y="([\d.]+)"[^>]*>([a-e])</text>', svg)
    assert [title for _, _, title in found] == list("abcde")
    for i, (x, y, _) in enumerate(found):
        assert float(x) / frame[0] == pytest.approx((i % 3 + 0.5) / 3, abs=0.06)
        assert float(y) / frame[1] == pytest.approx((i // 3 + 0.15) / 2, abs=0.06)


def test_the_same_figure_gives_the_same_bytes():
    assert figures.show(drawn(), "a straight line").svg == figures.show(drawn(), "a straight line").svg


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: figures.show("plot", "a b c"), "expected a matplotlib Figure, got str"),
        (lambda: figures.show(plt.figure(), "plot"), "description of at least three words, got 'plot'"),
        (lambda: figures.grid(torch.ones(4, 4), 2, alt="a b c"), r"got \(4, 4\)"),
        (lambda: figures.grid(torch.ones(0, 4, 4), 2, alt="a b c"), r"got \(0, 4, 4\)"),
        (lambda: figures.grid(torch.ones(1, 4, 4), 0, alt="a b c"), "columns >= 1, got 0"),
        (lambda: figures.grid(torch.ones(1, 4, 4), 1, alt="a b c", titles=[]), "expected 1 titles, got 0"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_cells_write_every_value_and_text_and_leave_holes_empty():
    tables = {"left": torch.tensor([[1.0, -2.5]]), "right": torch.tensor([[float("nan"), 3.0]])}
    svg = figures.cells(tables, 2, alt="two small tables of values", texts={"left": ["up", ""]}).svg
    words = re.findall(r">([^<>\s][^<>]*)</t", svg)
    assert [w for w in words if w in ("left", "right")] == ["left", "right"]
    assert "up" in svg
    assert svg.count("nan") == 0
    for value in ("1.0", "2.5", "3.0"):
        assert value in svg


@pytest.mark.parametrize(
    ("tables", "columns", "texts", "message"),
    [
        ({}, 1, None, "expected tables"),
        ({"a": torch.zeros(3)}, 1, None, r"\(3,\)"),
        ({"a": torch.zeros(1, 2)}, 0, None, "columns >= 1"),
        ({"a": torch.zeros(1, 2)}, 1, {"a": ["x"]}, "got 1 for 'a'"),
        ({"a": torch.zeros(1, 2)}, 1, {"b": ["x", "y"]}, "got 2 for 'b'"),
    ],
)
def test_cells_say_what_they_expected(tables, columns, texts, message):
    with pytest.raises(ValueError, match=message):
        figures.cells(tables, columns, alt="a table of values", texts=texts)
