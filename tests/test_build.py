"""The build fails when it should, and does nothing twice: tried on a book of two chapters with the same code."""

import json
import os
import re
import time
from pathlib import Path

import pytest

from theme import build as builder
from theme import execute, inputs, verify
from theme.book import Book
from theme.build import build
from theme.inputs import environment_digest
from theme.ledger import records

ROOT = Path(__file__).parents[1]
HEAD = "---\nfile_format: mystnb\nkernelspec: {name: python3, display_name: Python 3}\n---\n\n"
RECORD = """
class Record:
    def _repr_mimebundle_(self, include=None, exclude=None):
        step = {"relation": "=", "latex": "2 = 2", "because": "count", "status": "proved", "detail": "", "seconds": 0.1}
        record = {"kind": "derivation", "title": "Counting", "label": "count", "steps": [step]}
        return {"text/plain": "counted", "application/vnd.book.ledger+json": record}
Record()
"""  # shown twice below, listed once
TOC = """format: jb-book
root: intro.md
parts:
  - caption: Part
    chapters:
      - file: chapters/one.md
      - file: chapters/two.md
      - file: ledger.md
"""


LEDGER = re.compile(r"One +1 +0 +0 +0\.1 s +0 +\d+ s +total +1 +0 +0 +0\.1 s")


def chapter(title, *cells, prose="Some $x^2$."):
    code = "".join(f"```{{code-cell}} ipython3\n{cell.strip()}\n```\n\nNext.\n\n" for cell in cells)
    return f"{HEAD}# {title}\n\n{prose}\n\n{code}"


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    root = tmp_path_factory.mktemp("book")
    (root / "chapters").mkdir()
    (root / "utils").mkdir()
    (root / "data").mkdir()
    (root / "utils/__init__.py").write_text("value = 2\n")
    (root / "data/numbers.txt").write_text("1 2 3\n")
    (root / "_config.yml").write_text((ROOT / "_config.yml").read_text())
    (root / "_toc.yml").write_text(TOC)
    (root / "intro.md").write_text("# Tiny\n\nA book.\n\n## Chapters\n\n```{chapters}\n```\n")
    (root / "ledger.md").write_text("# Ledger\n\n```{ledger}\n```\n")
    cells = ("from utils import value\nvalue", "assert value < 10", RECORD, "Record()")
    (root / "chapters/one.md").write_text(chapter("One", *cells))
    (root / "chapters/two.md").write_text(chapter("Two", "40 + 2"))
    assert build(root) == []
    return root


@pytest.fixture
def changed(book):
    """The book, put back as it was afterwards (its pages are those of the last good build)."""
    files = [f for f in book.rglob("*") if f.is_file() and "_build" not in f.parts]
    kept = {file: file.read_bytes() for file in files}
    yield book
    for file, content in kept.items():
        file.write_bytes(content)


def executed(capsys):
    return set(re.findall(r"done +(\S+)", capsys.readouterr().out))


def page(book, name):
    return (book / f"_build/html/{name}.html").read_text(encoding="utf-8")


def words(book, name):
    return re.sub(r"<[^>]+>|\s+", " ", page(book, name))


def test_pages_hold_outputs_formulas_and_their_neighbours(book):
    assert 'class="cell_output' in page(book, "chapters/one")
    assert 'class="katex"' in page(book, "chapters/one")
    assert "$x^2$" not in page(book, "chapters/one")
    assert "Two" in page(book, "chapters/one")
    assert page(book, "index") == page(book, "intro")


def test_the_ledger_lists_the_recorded_step(book):
    found = {page.name: ledger for page, (_, ledger) in records(Book.load(book)).items()}
    assert [record["title"] for record in found["chapters/one"]] == ["Counting"]
    shown = words(book, "ledger")
    assert LEDGER.search(shown).end() < shown.index("Counting"), "the sum stands first"


def test_nothing_changed_means_nothing_done_in_under_five_seconds(book, capsys):
    before = {f: f.stat().st_mtime_ns for f in (book / "_build/html").rglob("*")}
    start = time.process_time()
    assert build(book) == []
    assert time.process_time() - start < 5
    assert "Nothing changed" in capsys.readouterr().out
    assert before == {f: f.stat().st_mtime_ns for f in (book / "_build/html").rglob("*")}


def test_editing_one_chapter_executes_only_that_one(changed, capsys):
    edit(changed / "chapters/two.md", "40 + 2", "40 + 3")
    assert build(changed) == []
    assert executed(capsys) == {"chapters/two"}
    assert "43" in page(changed, "chapters/two")
    assert LEDGER.search(words(changed, "ledger"))


def test_editing_prose_executes_nothing_and_a_new_title_reaches_every_page(changed, capsys):
    edit(changed / "chapters/two.md", "# Two", "# Deux")
    assert build(changed) == []
    assert executed(capsys) == set()
    assert all("Deux" in page(changed, name) for name in ("intro", "chapters/one", "chapters/two", "ledger"))


def test_a_change_in_the_package_executes_everything_again(changed, capsys):
    (changed / "utils/__init__.py").write_text("value = 7\n")
    assert build(changed) == []
    assert executed(capsys) == {"chapters/one", "chapters/two"}
    assert ">7\n<" in page(changed, "chapters/one")
    assert LEDGER.search(words(changed, "ledger"))


def test_the_chapter_that_says_it_takes_longest_is_executed_first(changed, capsys):
    (changed / "utils/__init__.py").write_text("value = 8\n")
    edit(changed / "chapters/two.md", "file_format: mystnb\n", "file_format: mystnb\nbook: {seconds: 30}\n")
    assert execute.execute(Book.load(changed), processes=1)
    assert re.findall(r"start +(\S+)", capsys.readouterr().out) == ["chapters/two", "chapters/one"]


@pytest.mark.parametrize("file", ["data/numbers.txt", "utils/new.py", "utils/sub/deep.py"])
def test_the_cache_key_holds_package_and_data(changed, file):
    before = environment_digest(Book.load(changed))
    (changed / file).parent.mkdir(exist_ok=True)
    (changed / file).write_text("changed = 1\n")
    assert environment_digest(Book.load(changed)) != before
    (changed / file).unlink()


def test_the_cache_key_holds_the_installed_versions(changed, monkeypatch):
    before = environment_digest(Book.load(changed))
    monkeypatch.setattr(inputs, "distributions", lambda: [])
    assert environment_digest(Book.load(changed)) != before


def test_a_failing_assertion_fails_the_build_and_names_page_and_cell(changed, capsys):
    edit(changed / "chapters/one.md", "value < 10", "value > 10")
    assert build(changed) == ["chapters/one.md: code cell 2 failed"]
    assert "AssertionError" in capsys.readouterr().out
    assert build(changed) == ["chapters/one.md: code cell 2 failed"], "a failure is not remembered as a success"


def test_a_tag_does_not_hide_an_error(changed):
    cell = "```{code-cell} ipython3\n:tags: [raises-exception]\n1 / 0\n```\n"
    with (changed / "chapters/two.md").open("a") as file:
        file.write(cell)
    assert build(changed) == ["chapters/two.md: code cell 2 failed"]


def test_a_folded_cell_that_only_claims_says_so(changed):
    for code in ("claim = max", "_ = claim(1, 2)", "claim(1, 2)"):
        with (changed / "chapters/two.md").open("a") as file:
            file.write(f"```{{code-cell}} ipython3\n:tags: [hide-input]\n{code}\n```\n\nNext.\n\n")
    assert build(changed) == []
    assert re.findall("Show the [a-z]+", words(changed, "chapters/two")) == [
        "Show the code",
        "Show the claims",
        "Show the code",
    ]


def test_a_dead_kernel_fails_the_build(changed):
    edit(changed / "chapters/two.md", "40 + 2", "import os; os._exit(1)")
    assert build(changed) == ["chapters/two.md: code cell 1 failed"]


def test_a_source_that_changes_while_chapters_run_is_not_rendered(changed, monkeypatch):
    run = execute.execute

    def disturbed(book, processes):
        done = run(book, processes)
        edit(changed / "chapters/two.md", "40 + 3", "40 + 4")
        return done

    edit(changed / "chapters/two.md", "40 + 2", "40 + 3")
    monkeypatch.setattr(execute, "execute", disturbed)
    assert build(changed) == ["the sources changed while the chapters were executed: build again"]
    monkeypatch.undo()
    assert build(changed) == []
    assert "44" in page(changed, "chapters/two")


def test_a_page_without_outputs_fails_the_build(changed):
    edit(changed / "chapters/two.md", "40 + 2", "answer = 42")
    assert build(changed) == ["chapters/two.md: the page holds no output"]


def test_a_chapter_without_a_kernel_fails_the_build(changed):
    (changed / "chapters/two.md").write_text("# Two\n\nNo code.\n")
    assert build(changed) == ["chapters/two.md: a chapter without a kernel in its front matter, nothing was executed"]


def test_a_missing_source_fails_the_build(changed, monkeypatch, capsys):
    (changed / "chapters/two.md").unlink()
    with pytest.raises(FileNotFoundError, match=r"_toc\.yml lists chapters/two\.md"):
        build(changed)
    monkeypatch.setattr("sys.argv", ["build", str(changed)])
    assert builder.main() == 1
    assert "ERROR _toc.yml lists chapters/two.md" in capsys.readouterr().err


@pytest.mark.parametrize(
    "prose", [r"A broken formula $\frac{1$.", "[a broken link](nowhere.md)"], ids=["formula", "link"]
)
def test_a_warning_of_the_renderer_fails_the_build(changed, prose):
    edit(changed / "chapters/two.md", "Some $x^2$.", prose)
    assert build(changed) == ["jupyter-book reported warnings or errors: see above"]
    assert build(changed) == ["jupyter-book reported warnings or errors: see above"], "the second build forgot it"


def test_a_missing_or_heavy_page_is_reported(book, monkeypatch):
    assert build(book) == []
    (book / "_build/html/chapters/one.html").unlink()
    monkeypatch.setattr(verify, "MAX_PAGE_BYTES", 10)
    problems = verify.verify(Book.load(book))
    assert any("chapters/one.md: expected" in p and "no such page" in p for p in problems)
    assert any("expected at most 10 bytes of HTML, received" in p for p in problems)


def test_a_lost_page_is_rendered_again(book):
    assert build(book) == []
    (book / "_build/html/chapters/one.html").unlink()
    assert build(book) == []
    assert (book / "_build/html/chapters/one.html").is_file()


def test_a_page_that_left_the_contents_leaves_the_site(changed):
    edit(changed / "_toc.yml", "      - file: chapters/two.md\n", "")
    assert build(changed) == []
    assert not (changed / "_build/html/chapters/two.html").exists()
    assert "Two" not in page(changed, "intro")


def test_progress_names_the_page_and_its_seconds(changed, capsys):
    edit(changed / "chapters/two.md", "40 + 2", "import time; time.sleep(6); 42")
    assert build(changed) == []
    out = capsys.readouterr().out
    assert re.search(r"start +chapters/two", out)
    assert re.search(r"\.\.\. +chapters/two +cell 1/1 +\d+ s", out)
    assert re.search(r"done +chapters/two +\d+\.\d s", out)


def test_chapters_run_with_one_thread_beside_nothing(changed):
    cells = 'import os; {k: os.environ.get(k) for k in ("OMP_NUM_THREADS", "BOOK_BUILD")} | {"files": os.listdir()}'
    edit(changed / "chapters/two.md", "40 + 2", cells)
    assert build(changed) == []
    text = re.sub(r"<[^>]+>", "", page(changed, "chapters/two")).replace("&#39;", "'")
    assert "{'OMP_NUM_THREADS': '1', 'BOOK_BUILD': '1', 'files': []}" in text


def test_the_stamp_is_gone_after_a_failure(changed):
    edit(changed / "chapters/one.md", "value < 10", "value > 10")
    assert build(changed)
    assert not (changed / "_build/stamp.json").exists()


def test_the_configuration_is_strict_json_in_the_stamp(book):
    assert build(book) == []
    stamp = json.loads((book / "_build/stamp.json").read_text())
    assert set(stamp["pages"]) == {"intro", "chapters/one", "chapters/two", "ledger"}
    assert os.environ.get("BOOK_CACHE") is None
