"""The notebooks that Colab and JupyterLab open are written from the Markdown, the same bytes every time."""

import json
import sys
from pathlib import Path

import nbformat
import pytest

from theme.book import Book, Page
from theme.notebooks import main, notebook_text, sources

ROOT = Path(__file__).parents[1]
BOOK = Book.load(ROOT)
TWINS = """---
file_format: mystnb
kernelspec: {name: python3, display_name: Python 3}
---

# Twins

```{code-cell} ipython3
:tags: [remove-cell]
%pip install -q "{{ utils }}"
```

Again.

```{code-cell} ipython3
1 + 1
```

Again.

```{code-cell} ipython3
:tags: [hide-cell]
1 + 1
```
"""


@pytest.fixture
def twins(tmp_path):
    (tmp_path / "chapters").mkdir()
    (tmp_path / "chapters/twins.md").write_text(TWINS)
    (tmp_path / "intro.md").write_text("# Intro\n")
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: intro.md\n")
    (tmp_path / "_config.yml").write_text((ROOT / "_config.yml").read_text())
    return Book.load(tmp_path)


@pytest.mark.parametrize("page", sources(BOOK), ids=lambda page: page.name)
def test_the_committed_notebook_is_what_its_markdown_gives(page):
    committed = (ROOT / f"{page.name}.ipynb").read_text(encoding="utf-8")
    assert committed == notebook_text(BOOK, page, BOOK.branch), "run `make notebooks`"


def test_every_chapter_has_a_notebook_and_no_notebook_is_left_over():
    written = {page.name for page in sources(BOOK)}
    assert {page.name for page in BOOK.pages if page.is_chapter} <= written
    on_disk = [f for f in (ROOT / "chapters").rglob("*.ipynb") if ".ipynb_checkpoints" not in f.parts]
    assert {f.relative_to(ROOT).as_posix().removesuffix(".ipynb") for f in on_disk} == written


def test_a_notebook_is_valid_without_outputs_and_byte_stable(twins):
    page = sources(twins)[0]
    text = notebook_text(twins, page, "main")
    assert text == notebook_text(twins, page, "main")
    notebook = nbformat.reads(text, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.outputs for cell in code] == [[], [], []]
    assert [cell.execution_count for cell in code] == [None] * 3


def test_identical_cells_get_different_ids_and_an_edit_changes_one_id(twins):
    page = sources(twins)[0]
    ids = [cell["id"] for cell in json.loads(notebook_text(twins, page, "main"))["cells"]]
    assert len(set(ids)) == len(ids) == 6
    twins.source(page).write_text(TWINS.replace("# Twins", "# Triplets"))
    edited = [cell["id"] for cell in json.loads(notebook_text(twins, page, "main"))["cells"]]
    assert sum(a != b for a, b in zip(ids, edited, strict=True)) == 1


def test_the_setup_cell_installs_from_the_configured_address_at_the_revision(twins):
    text = notebook_text(twins, Page("chapters/twins.md"), "0123abc")
    assert f"git+{BOOK.repository}@0123abc" in text
    assert "{{" not in text


def test_folded_cells_are_folded_in_jupyterlab_and_colab_too(twins):
    cells = json.loads(notebook_text(twins, Page("chapters/twins.md"), "main"))["cells"]
    assert cells[-1]["metadata"]["jupyter"] == {"source_hidden": True}
    assert cells[-1]["metadata"]["cellView"] == "form"


def test_check_reports_a_stale_notebook_and_writes_nothing(twins, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["notebooks", str(twins.root), "--check"])
    assert main() == 1
    assert "chapters/twins.ipynb is out of date: run `make notebooks`" in capsys.readouterr().out
    assert not (twins.root / "chapters/twins.ipynb").exists()
    monkeypatch.setattr(sys, "argv", ["notebooks", str(twins.root)])
    assert main() == 0
    monkeypatch.setattr(sys, "argv", ["notebooks", str(twins.root), "--check"])
    assert main() == 0
