"""Every chapter of _toc.yml has the parts of STYLE, in their order. Nothing is skipped because nothing named it."""

import ast
import re
from itertools import groupby
from pathlib import Path

import jupytext
import pytest
import yaml

from theme import notation

ROOT = Path(__file__).parent.parent
SECTIONS = ["Play first", "Notation", "Experiment", "What goes wrong", "Exercises", "Summary", "Sources"]


def chapters():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    entries = [entry["file"] for part in toc.get("parts", []) for entry in part["chapters"]]
    return [file for file in entries if file.startswith("chapters/")]


def lines(cell):
    """A cell's lines of code, without blank lines, comments and docstring-only lines."""
    return [line for line in cell.source.splitlines() if line.strip() and not line.strip().startswith("#")]


def bound(statement):
    """Whether a statement gives its value a name: `f(), g()` and `_ = [f(x) for x in y]` do not."""
    return isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) != "_"


@pytest.fixture(params=[*chapters(), "chapters/template.md"])
def chapter(request):
    book = jupytext.read(ROOT / request.param)
    book.file = ROOT / request.param
    book.text = book.file.read_text()
    book.code = [cell for cell in book.cells if cell.cell_type == "code"]
    book.prose = "\n\n".join(cell.source for cell in book.cells if cell.cell_type == "markdown")
    return book


def headings(chapter):
    return re.findall(r"^## +(.+)$", chapter.prose, re.M)


def test_the_book_has_chapters_and_lists_every_one_it_has():
    on_disk = {str(f.relative_to(ROOT)) for f in (ROOT / "chapters").rglob("*.md")} - {"chapters/template.md"}
    assert set(chapters()) == on_disk
    assert on_disk


def test_metadata_names_the_note_what_it_needs_and_its_seconds(chapter):
    book = chapter.metadata["book"]
    english = len(book["note"].split()) > 3
    assert english or re.search(r"[一-鿿]", book["note"]), "the mirrored note by its own first words"
    assert all((ROOT / f"chapters/{slug}.md").is_file() for slug in book["needs"])
    assert 0 < book["seconds"] <= 60


def test_one_title_then_one_sentence_then_derive_build_measure(chapter):
    assert len(re.findall(r"^# .+$", chapter.prose, re.M)) == 1
    opening = chapter.prose.split("\n## ")[0]
    for word in ("derive", "build", "measure"):
        assert re.search(rf"\b{word}\b", opening, re.I), f"the opening says what you will {word}"


def test_sections_stand_in_the_order_of_style(chapter):
    found = [h for h in headings(chapter) if h in SECTIONS]
    assert found == SECTIONS
    assert headings(chapter).index("Notation") + 1 < headings(chapter).index("Experiment"), "no results section"


def test_the_first_cell_is_the_same_setup_everywhere_and_hidden(chapter):
    template = jupytext.read(ROOT / "chapters/template.md")
    setup = next(cell for cell in template.cells if cell.cell_type == "code")
    assert chapter.code[0].source == setup.source
    assert chapter.code[0].metadata["tags"] == ["remove-cell"]


def test_the_imports_cell_is_a_definition_with_a_seed_line(chapter):
    assert "definition" in chapter.code[1].metadata.get("tags", [])
    assert re.search(r"^import|^from", chapter.code[1].source, re.M)
    assert "seed(" in chapter.text


def test_definition_cells_do_not_train(chapter):
    for cell in chapter.code:
        if "definition" in cell.metadata.get("tags", []):
            assert not re.search(r"^\w.*\bfit\(|^for .*\bfit\(", cell.source, re.M), cell.source[:80]


def test_the_notation_table_has_its_four_columns(chapter):
    section = chapter.prose.split("\n## Notation")[1].split("\n## ")[0]
    assert notation.HEAD in section
    assert len(notation.entries(section)) >= 3
    rows = [line for line in section.splitlines() if line.startswith("|")]
    assert all(len(re.split(r"(?<!\\)\|", row)) == 6 for row in rows)


def folded(cell):
    return any(tag.startswith("hide-") for tag in cell.metadata.get("tags", []))


def test_budgets_of_lines_and_cells(chapter):
    """What a reader sees without unfolding anything fits 300 lines; folded code has a bound of its own."""
    hidden = sum(len(lines(cell)) for cell in chapter.code if folded(cell))
    assert sum(bool(line.strip()) for line in chapter.text.splitlines()) - hidden <= 300
    most = {True: 75, False: 25}
    assert {c.source.splitlines()[0]: n for c in chapter.code if (n := len(lines(c))) > most[folded(c)]} == {}


def test_code_is_a_statement_a_line_and_no_line_is_long(chapter):
    for cell in chapter.code[1:]:
        assert [line for line in cell.source.splitlines() if len(line) > 120] == []
        for statement in ast.walk(ast.parse(cell.source)):
            if isinstance(statement, ast.Expr | ast.Assign) and not bound(statement):
                assert not isinstance(statement.value, ast.Tuple | ast.List | ast.ListComp), ast.unparse(statement)


def test_never_more_than_two_code_cells_in_a_row(chapter):
    shown = [c for c in chapter.cells if "remove-cell" not in c.metadata.get("tags", [])]
    runs = [len(list(run)) for kind, run in groupby(shown, key=lambda c: c.cell_type) if kind == "code"]
    assert max(runs) <= 2


def test_cells_end_on_an_expression_not_on_print(chapter):
    assert not re.search(r"^print\(", chapter.text, re.M)


def test_prose_is_plain_markdown(chapter):
    assert not re.search(r"^(```|:::)\s*\{(?!code-cell)", chapter.text, re.M), "Colab shows directives raw"
    assert not re.search(r"(?<!`)\{(math|cite|ref|eq|numref|doc)[:}]", chapter.prose), "Colab shows roles raw"


def test_it_derives_builds_agrees_claims_refutes_and_has_a_widget(chapter):
    for needed in ("Derivation(", "to_torch(", "assert_close(", "claim(", "claims.table()", "explore.", "figures."):
        assert needed in chapter.text, needed


def test_mistakes_are_refuted_before_the_readers_eyes(chapter):
    section = chapter.text.split("\n## What goes wrong")[1].split("\n## ")[0]
    assert "```{code-cell}" in section
    assert re.search(r"StepError|assert|claim\(", section)


def test_three_to_five_exercises_each_with_a_checker_and_a_folded_solution(chapter):
    section = chapter.text.split("\n## Exercises")[1].split("\n## Summary")[0]
    exercises = re.findall(r"^(\w+) = Exercise\(", section, re.M)
    assert 3 <= len(exercises) <= 5
    folded = [c.source for c in chapter.code if "hide-cell" in c.metadata.get("tags", [])]
    for name in exercises:
        assert any(f"{name}.check(" in source for source in folded), f"{name} has no folded solution that runs"


def test_links_to_elsewhere_are_secure(chapter):
    assert re.findall(r"\]\((http://[^)]*)", chapter.prose) == []


def test_sources_are_in_the_bibliography(chapter):
    section = chapter.prose.split("\n## Sources")[1]
    entries = [line for line in section.splitlines() if line.startswith("* ") or line.startswith("- ")]
    assert len(entries) >= 2
    bibliography = (ROOT / "references.bib").read_text()
    for arxiv in re.findall(r"arxiv\.org/abs/(\d{4}\.\d{4,5})", section):
        assert arxiv in bibliography, arxiv
