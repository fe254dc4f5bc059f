"""Does the build turn red? `python benchmarks/sabotage.py` breaks the book in ten places, one at a time.

Each sabotage is one small edit in a private copy of the repository: a sign in a derivation, a factor in an
implementation, a number in a claim. The copy shares the cache of executed pages, so that only the sabotaged page runs.
Prints what the build said of each; exits 1 if one stayed green, or if an edit applies nowhere or twice.
Needs `make book` first.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
AUTOREGRESSION = "chapters/generative/autoregression.md"
DIFFUSION = "chapters/generative/diffusion-unification.md"
TEMPORAL = "chapters/reinforcement/temporal-difference.md"
SABOTAGES = (
    ("derivation: a sign", "intro.md", "(mu**2 + sigma**2 - 1)", "(mu**2 - sigma**2 - 1)"),
    ("derivation: a lost factor", AUTOREGRESSION, "(total + K * alpha)", "(total + alpha)"),
    ("derivation: a lost square root", TEMPORAL, "equals(s / sp.sqrt(sp.pi)", "equals(s / sp.pi"),
    ("derivation: an exponent", DIFFUSION, "least.equals(1 / (1 / sigma**2 +", "least.equals(1 / (1 / sigma +"),
    ("implementation: a model that sees its own pixel", AUTOREGRESSION, "W.tril(-1)", "W.tril(0)"),
    ("implementation: a future after the end", TEMPORAL, "gamma * future * alive", "gamma * future"),
    ("implementation: a factor", DIFFUSION, "sigma * sigma_data / total,", "2 * sigma * sigma_data / total,"),
    ("claim: a bound", AUTOREGRESSION, "below=25.2,\n        above=25.1", "below=25.1,\n        above=25.0"),
    ("claim: a bound", TEMPORAL, "below=0.0501", "below=0.0301"),
    ("exercise: an answer", TEMPORAL, "sp.Rational(14, 17)", "sp.Rational(13, 17)"),
)


def copy(folder: Path) -> None:
    """Copy the tracked files and the executed pages of this repository; lend it the front-end packages."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, names.split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    (folder / "node_modules").symlink_to(ROOT / "node_modules")
    shutil.copytree(ROOT / "_build" / "cache", folder / "_build" / "cache")


def verdict(folder: Path) -> tuple[bool, str]:
    """Build the copy; return whether it stayed green, and the line that says what went wrong."""
    command = [sys.executable, "-m", "theme.build"]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    words = re.findall(r"^(?:\w*Error: |ERROR ).+$", done.stdout + done.stderr, re.MULTILINE)
    return done.returncode == 0, words[0] if words else "no error"


def main() -> int:
    """Run all sabotages; return the number that stayed green or no longer apply."""
    wrong = 0
    for name, file, old, new in SABOTAGES:
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            copy(folder)
            text = (folder / file).read_text()
            if text.count(old) != 1:
                print(f"LOST   {name} in {file}: {old!r} occurs {text.count(old)} times", flush=True)
                wrong += 1
                continue
            (folder / file).write_text(text.replace(old, new))
            green, words = verdict(folder)
        wrong += green
        seconds = time.perf_counter() - start
        print(f"{'GREEN' if green else 'red'}  {seconds:4.0f} s  {name} in {file}: {words[:160]}", flush=True)
    print(f"{len(SABOTAGES) - wrong} of {len(SABOTAGES)} turned the build red")
    return wrong


if __name__ == "__main__":
    sys.exit(min(main(), 1))
