"""Execute the chapters into jupyter-cache: two at a time, one thread each, progress printed as it happens."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from myst_nb.core.read import read_myst_markdown_notebook
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

from theme.book import Book, Page
from theme.inputs import environment_digest

__all__ = ["LEDGER", "Execution", "cache_folder", "execute", "read_notebook"]

LEDGER = "application/vnd.book.ledger+json"
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
KEPT_CACHES = 3


@dataclass
class Execution:
    """One page while it executes: what ran, for how long, and what went wrong."""

    page: Page
    notebook: nbformat.NotebookNode
    cell: int = 0
    started: float = 0.0
    seconds: float = 0.0
    error: str = ""
    cells: int = field(init=False)

    def __post_init__(self):
        self.cells = sum(cell.cell_type == "code" for cell in self.notebook.cells)


def read_notebook(book: Book, page: Page) -> nbformat.NotebookNode:
    """Return the page as a notebook, read exactly as the renderer reads it."""
    path = book.source(page)
    return read_myst_markdown_notebook(path.read_text(encoding="utf-8"), add_source_map=True, path=path)


def cache_folder(book: Book) -> Path:
    """The cache of the present environment: see `theme.inputs.environment_digest`."""
    return book.root / "_build" / "cache" / environment_digest(book)


def _prune(folder: Path) -> None:
    """Keep the caches of the last few environments: going back to one costs nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.touch()
    for old in sorted(folder.parent.iterdir(), key=lambda p: p.stat().st_mtime, reverse=True)[KEPT_CACHES:]:
        shutil.rmtree(old)


def _environment(book: Book) -> dict[str, str]:
    paths = [str(book.root), os.environ.get("PYTHONPATH", "")]
    one = dict.fromkeys(THREADS, "1")
    return {**os.environ, **one, "BOOK_BUILD": "1", "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def _split_ledger(notebook: nbformat.NotebookNode) -> list[dict]:
    """Take the ledger records out of the outputs: they are data, the renderer has no use for them."""
    bundles = (o.get("data", {}) for c in notebook.cells for o in c.get("outputs", []))
    return [data.pop(LEDGER) for data in bundles if LEDGER in data]


async def _run(run: Execution, book: Book, cache, say) -> None:
    def on_cell_execute(cell, cell_index):
        run.cell += cell.cell_type == "code"

    with tempfile.TemporaryDirectory() as folder:  # as in Colab: nothing of the repository lies beside it
        client = NotebookClient(
            run.notebook,
            timeout=book.config.get("execute", {}).get("timeout", 300),
            kernel_name="python3",
            extra_arguments=["--IPKernelApp.log_level=ERROR"],
            resources={"metadata": {"path": folder}},
            record_timing=False,  # the time stamps would change the key of the cache
            force_raise_errors=True,  # "Run all" in Colab stops at an error, tag or no tag
            on_cell_execute=on_cell_execute,
            shutdown_kernel="immediate",  # it has nothing left to say, and good manners take it most of a second
        )
        run.started = time.perf_counter()
        say(f"  start  {run.page.name}")
        try:
            await client.async_execute(env=_environment(book))
        except (CellExecutionError, CellTimeoutError, DeadKernelError, RuntimeError) as error:
            run.error = str(error)
    run.seconds = time.perf_counter() - run.started
    if run.error:
        plain = run.error if sys.stdout.isatty() else re.sub(r"\x1b\[[0-9;]*m", "", run.error)
        say(f"  FAILED {run.page.name} in code cell {run.cell} of {run.cells}\n{plain}")
        return
    data = {"execution_seconds": run.seconds, "ledger": _split_ledger(run.notebook)}
    bundle = CacheBundleIn(run.notebook, str(book.source(run.page)), data=data)
    cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)
    say(f"  done   {run.page.name}  {run.seconds:.1f} s")


async def _report(runs: list[Execution], every: float) -> None:
    """Say every few seconds which cell each running page has reached."""
    while True:
        await asyncio.sleep(every)
        now = time.perf_counter()
        for run in runs:
            if run.started and not run.seconds:
                place = f"cell {run.cell}/{run.cells}"
                print(f"  ...    {run.page.name}  {place}  {now - run.started:.0f} s", flush=True)


async def _run_all(runs: list[Execution], book: Book, cache, processes: int) -> None:
    gate = asyncio.Semaphore(processes)

    async def guarded(run):
        async with gate:
            await _run(run, book, cache, lambda text: print(text, flush=True))

    report = asyncio.create_task(_report(runs, every=5.0))
    try:
        await asyncio.gather(*(guarded(run) for run in runs))
    finally:
        report.cancel()


def execute(book: Book, processes: int = 2) -> list[Execution]:
    """Execute the pages that the cache does not hold; return those executed, with their errors."""
    folder = cache_folder(book)
    _prune(folder)
    cache = get_cache(folder)
    runs = []
    for page in book.notebooks():
        notebook = read_notebook(book, page)
        try:
            known = "ledger" in cache.match_cache_notebook(notebook).data  # not if the renderer executed it
        except KeyError:
            known = False
        if not known:
            runs.append(Execution(page, notebook))
    # The longest first: none is left to run alone at the end.
    runs.sort(key=lambda run: -run.notebook.metadata.get("book", {}).get("seconds", 0))
    print(f"{len(runs)} of {len(book.notebooks())} notebooks to execute", flush=True)
    if runs:
        asyncio.run(_run_all(runs, book, cache, processes))
    return runs
