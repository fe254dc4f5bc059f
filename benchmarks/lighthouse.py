"""Lighthouse on each page of the built site, mobile defaults: `python benchmarks/lighthouse.py [--runs 3] [page ...]`.

Prints one row a page and exits 1 where a page is under its bar. The bars: accessibility and best practices 100;
performance 97 and at most 300 kB on first load, or 95 and 600 kB on a page with a widget. The column `machine` is
Lighthouse's own index of the processor: below 1000 the machine is busy or weak and the performance score says little.
Needs `make book`, Node, and a Chromium (CHROME_PATH, default /usr/bin/chromium).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from theme.book import Book
from theme.node import node, npm_command
from theme.serve import serving

HERE = Path(__file__).parent
PROGRAM = HERE / "node_modules" / "lighthouse" / "cli" / "index.js"
FLAGS = "--headless=new --no-sandbox --disable-background-networking"
CATEGORIES = ("performance", "accessibility", "best-practices", "seo")


def measure(url: str) -> dict:
    """Return the scores (0 to 100), the paint times and the compressed weight of one load."""
    command = [node(), str(PROGRAM), url, "--output=json", "--quiet", f"--chrome-flags={FLAGS}"]
    environment = {"CHROME_PATH": "/usr/bin/chromium", **os.environ}
    report = json.loads(subprocess.run(command, env=environment, check=True, capture_output=True).stdout)
    audits = report["audits"]
    row = {name: round(100 * report["categories"][name]["score"]) for name in CATEGORIES}
    row["machine"] = report["environment"]["benchmarkIndex"]
    row["kB"] = audits["total-byte-weight"]["numericValue"] / 1000
    row["LCP s"] = audits["largest-contentful-paint"]["numericValue"] / 1000
    row["TBT ms"] = audits["total-blocking-time"]["numericValue"]
    row["CLS"] = audits["cumulative-layout-shift"]["numericValue"]
    failing = [
        name
        for category in ("accessibility", "best-practices", "seo")
        for ref in report["categories"][category]["auditRefs"]
        if (audits[(name := ref["id"])].get("score") or 0) < 1 and audits[name]["scoreDisplayMode"] == "binary"
    ]
    return row | {"failing": failing}


def median(rows: list[dict]) -> dict:
    """Return the median of each number over several loads."""
    numbers = {key: statistics.median(row[key] for row in rows) for key in rows[0] if key != "failing"}
    return numbers | {"failing": sorted({name for row in rows for name in row["failing"]})}


def under_the_bar(row: dict, widget: bool) -> list[str]:
    """Return what a page fails, in words."""
    speed, weight = (95, 600) if widget else (97, 300)
    bars = {"performance": speed, "accessibility": 100, "best-practices": 100}
    failed = [f"{name} {row[name]:.0f} < {bar}" for name, bar in bars.items() if row[name] < bar]
    return failed + ([f"{row['kB']:.0f} kB > {weight} kB"] if row["kB"] > weight else [])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pages", nargs="*", help="page names without .html; default: all of _toc.yml")
    parser.add_argument("--runs", type=int, default=3, help="loads a page; the median counts")
    arguments = parser.parse_args()
    if not PROGRAM.is_file():
        subprocess.run([*npm_command(), "install", "--no-audit", "--no-fund", "--loglevel=error"], cwd=HERE, check=True)
    book = Book.load(HERE.parent)
    failures = 0
    print(f"{'page':42} perf  a11y  best   seo     kB  LCP s  TBT ms    CLS  machine")
    with serving(book.html) as address:
        for name in arguments.pages or [page.name for page in book.pages]:
            row = median([measure(f"{address}/{name}.html") for _ in range(arguments.runs)])
            widget = 'class="widget' in (book.html / f"{name}.html").read_text(encoding="utf-8")
            failed = under_the_bar(row, widget)
            failures += bool(failed)
            scores = "".join(f"{row[c]:6.0f}" for c in CATEGORIES)
            numbers = f"{row['kB']:7.0f}{row['LCP s']:7.2f}{row['TBT ms']:8.0f}{row['CLS']:7.3f}{row['machine']:9.0f}"
            print(f"{name + (' (widget)' if widget else ''):40}{scores}{numbers}  {'; '.join(failed)}", flush=True)
            if row["failing"]:
                print(f"    failing audits: {', '.join(row['failing'])}")
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
