"""Each notebook runs as in Colab: newest libraries beside the pinned torch, `utils` from its wheel, nothing else."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import pytest

from theme.book import Book

ROOT = Path(__file__).parents[1]
BOOK = Book.load(ROOT)
CHAPTERS = [page.name for page in BOOK.pages if page.is_chapter] or ["chapters/template"]
PACKAGED = ("utils", "data", "pyproject.toml", "README.md", "LICENSE", "LICENSE-TEXT")
OWN = "derivations-that-run"
PRINT_PIP = """
import sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.register_magic_function(lambda line: print("pip", line), "line", "pip")
shell.run_cell(sys.stdin.read()).raise_error()
"""


def bare_environment():
    """This process's environment without what would let a notebook see the repository."""
    hidden = {"PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV", "BOOK_BUILD", "BOOK_CACHE"}
    return {k: v for k, v in os.environ.items() if k not in hidden} | {"PYTHONNOUSERSITE": "1", "OMP_NUM_THREADS": "1"}


def run(*command, cwd, **options):
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=bare_environment(), text=True, capture_output=True, **options
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout[-2000:]}\n{done.stderr[-6000:]}"
    return done.stdout


def newest():
    """What Colab brings, by name alone; torch at the book's pin, because its wheels are large and change rarely."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {re.split(r"[<>=~!]", line)[0] for line in project["dependencies"]} - {"torch"}
    torch = re.search(r"^torch==.*$", (ROOT / "requirements.txt").read_text(), re.MULTILINE)[0]
    return [torch, *sorted(names), "ipykernel", "nbclient"]


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in PACKAGED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, source / name)
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", built, source, cwd=built)
    return next(built.glob("*.whl"))


@pytest.fixture(scope="session")
def colab(wheel, tmp_path_factory):
    """The programs folder of a fresh virtual environment, `utils` installed last."""
    folder = tmp_path_factory.mktemp("colab")
    run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    pip = [folder / "venv/bin/python", "-m", "pip", "--quiet", "--disable-pip-version-check"]
    run(*pip, "install", "--no-compile", *newest(), cwd=folder)
    before = set(run(*pip, "freeze", cwd=folder).splitlines())
    run(*pip, "install", wheel, cwd=folder)
    added = set(run(*pip, "freeze", cwd=folder).splitlines()) ^ before
    assert all(line.startswith(OWN) for line in added), f"installing utils changed Colab's own: {added}"
    yield folder / "venv/bin"
    shutil.rmtree(folder)


def test_the_package_and_its_data_come_from_the_wheel(colab, tmp_path):
    check = "import utils, utils.data as d; [d.load(name) for name in d.NAMES]; print(utils.__file__)"
    assert Path(run(colab / "python", "-c", check, cwd=tmp_path).strip()).is_relative_to(colab.parent)


@pytest.fixture(scope="session")
def executed(request, colab, tmp_path_factory):
    """The selected notebooks, each run alone in an empty folder, two at a time: name to a future of its cells."""

    def execute(name):
        folder = tmp_path_factory.mktemp("alone")
        notebook = folder / Path(name).with_suffix(".ipynb").name
        shutil.copy(ROOT / f"{name}.ipynb", notebook)
        run(colab / "jupyter-execute", "--inplace", "--timeout=600", notebook.name, cwd=folder)
        return [cell for cell in nbformat.read(notebook, as_version=4).cells if cell.cell_type == "code"]

    wanted = [item.callspec.params["name"] for item in request.session.items if "executed" in item.fixturenames]
    with ThreadPoolExecutor(2) as pool:
        yield {name: pool.submit(execute, name) for name in wanted}


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_notebook_alone_in_an_empty_folder_runs_from_top_to_bottom(executed, name):
    cells = executed[name].result()
    assert all(cell.execution_count for cell in cells if cell.source.strip())
    assert sum(bool(cell.outputs) for cell in cells) >= 3
    assert not any(output.output_type == "error" for cell in cells for output in cell.outputs)


@pytest.mark.parametrize("name", [*CHAPTERS, "chapters/template"])
def test_the_setup_cell_installs_from_the_configured_address_where_utils_is_missing(tmp_path, name):
    cells = nbformat.read(ROOT / f"{name}.ipynb", as_version=4).cells
    setup = next(cell.source for cell in cells if cell.cell_type == "code")
    said = run(sys.executable, "-c", PRINT_PIP, cwd=tmp_path, input=setup)
    assert said.strip() == f'pip install -q "git+{BOOK.repository}@{BOOK.branch}"'


def test_the_setup_cell_installs_nothing_where_utils_is_there(tmp_path):
    setup = next(c.source for c in nbformat.read(ROOT / "chapters/template.ipynb", 4).cells if c.cell_type == "code")
    script = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{PRINT_PIP}"
    assert run(sys.executable, "-c", script, cwd=tmp_path, input=setup) == ""
