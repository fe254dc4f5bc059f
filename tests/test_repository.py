"""What must hold for the repository as a whole."""

import ast
import re
import runpy
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted((ROOT / "utils").rglob("*.py")) + sorted((ROOT / "theme").rglob("*.py"))


def requirements(name):
    lines = (ROOT / name).read_text().splitlines()
    return [line for line in lines if line and not line.startswith(("#", "-r"))]


def body_lines(function):
    """Lines of a function without its signature and its docstring."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return function.end_lineno - body[0].lineno + 1 if body else 0


@pytest.mark.parametrize("module", MODULES, ids=lambda m: str(m.relative_to(ROOT)))
def test_modules_and_functions_stay_small(module):
    source = module.read_text()
    assert source.count("\n") <= 220
    functions = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert {f.name: body_lines(f) for f in functions if body_lines(f) > 40} == {}


@pytest.mark.parametrize("module", sorted((ROOT / "utils").rglob("*.py")), ids=lambda m: str(m.relative_to(ROOT)))
def test_utils_never_imports_a_chapter_or_a_test(module):
    assert not re.search(r"^\s*(from|import) (chapters|tests|theme)\b", module.read_text(), re.M)


@pytest.mark.parametrize("file", ["requirements.txt", "requirements-test.txt"])
def test_direct_dependencies_are_pinned(file):
    assert all(re.fullmatch(r"[\w-]+==[\w.]+", line) for line in requirements(file))


def test_a_library_may_be_compiled_while_a_test_imports_it():
    """Warnings are errors here; Python's about a backslash in POT's docstrings came in a fresh environment alone."""
    assert eval(compile(r"'\d'", "library.py", "eval")) == r"\d"


def test_what_a_notebook_needs_is_what_the_book_is_built_with():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = {line.split("==")[0] for line in requirements("requirements.txt")}
    needed = {re.split(r"[<>=~]", line)[0] for line in project["dependencies"]}
    assert needed <= pinned
    assert all(re.search(r">=", line) and "==" not in line for line in project["dependencies"])


def test_every_data_file_is_checksummed_and_described():
    summed = {line.split()[1] for line in (ROOT / "data/SHA256SUMS").read_text().splitlines()}
    files = {str(f.relative_to(ROOT / "data")) for f in (ROOT / "data").rglob("*") if f.is_file()}
    documents = {"SHA256SUMS", "DATA.md"} | {f for f in files if f.startswith("licences/")}
    assert files - documents == summed
    described = (ROOT / "data/DATA.md").read_text()
    assert all(file.split("/")[0] in described for file in summed)


def test_the_lock_file_records_no_download_addresses():
    assert '"resolved"' not in (ROOT / "package-lock.json").read_text()


def test_the_repository_address_stands_in_config_alone():
    address = re.search(r"url: *(https://github\.com/\S+)", (ROOT / "_config.yml").read_text())[1]
    sources = [
        f
        for pattern in (
            "*.md",
            "*.py",
            "*.toml",
            "chapters/**/*.md",
            "utils/**/*.py",
            "theme/**/*.py",
            ".github/**/*.yml",
        )
        for f in ROOT.glob(pattern)
    ]
    assert [f.name for f in sources if address in f.read_text()] == []


def test_no_unfinished_marks():
    marks = re.compile(
        r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X|raise NotImplemented" + r"Error)\b|pytest\.(ski" + r"p|xfai" + r"l)"
    )
    for folder, pattern in (("utils", "*.py"), ("theme", "*.py"), ("tests", "*.py"), ("chapters", "*.md")):
        for file in (ROOT / folder).rglob(pattern):
            assert not marks.search(file.read_text()), file


def test_the_bibliography_is_whole_and_names_each_work_once():
    entries = re.split(r"\n(?=@)", (ROOT / "references.bib").read_text())
    assert all(entry.count("{") == entry.count("}") and entry.rstrip().endswith("}") for entry in entries)
    keys = [re.match(r"@\w+\{([\w-]+),", entry)[1] for entry in entries]
    assert len(keys) == len(set(keys)), sorted(key for key in set(keys) if keys.count(key) > 1)


def test_each_sabotage_finds_its_one_place():
    for name, file, old, _ in runpy.run_path(str(ROOT / "benchmarks/sabotage.py"))["SABOTAGES"]:
        assert (ROOT / file).read_text().count(old) == 1, f"{name} in {file}"
