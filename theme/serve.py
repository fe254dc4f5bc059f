"""Serve the rendered site as a public host does, compressed: `python -m theme.serve [folder] [--port 8000]`."""

from __future__ import annotations

import argparse
import functools
import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

__all__ = ["main", "serving"]

COMPRESSED = {".html", ".css", ".js", ".svg", ".json", ".md", ".ipynb", ".txt"}


@functools.cache
def _compressed(path: str, modified: float) -> bytes:
    return gzip.compress(Path(path).read_bytes(), 9)


class _Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path = Path(self.translate_path(self.path))
        if path.is_dir():
            path /= "index.html"
        accepted = "gzip" in self.headers.get("Accept-Encoding", "")
        if not path.is_file() or path.suffix not in COMPRESSED or not accepted:
            return super().do_GET()
        body = _compressed(str(path), path.stat().st_mtime)
        self.send_response(200)
        self.send_header("Content-Type", f"{self.guess_type(str(path))}; charset=utf-8")
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        return None

    def end_headers(self):
        self.send_header("Cache-Control", "max-age=600")  # what Pages answers
        super().end_headers()

    def log_message(self, *arguments):
        pass


@contextmanager
def serving(folder: Path | str, port: int = 0) -> Iterator[str]:
    """Serve a folder on a free port of this machine while the block runs; give its address.

    Raises:
        FileNotFoundError: the folder holds no `index.html`.
    """
    if not (Path(folder) / "index.html").is_file():
        raise FileNotFoundError(f"serve: expected {folder}/index.html; run `make book`")
    handler = functools.partial(_Handler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def main() -> None:
    """Run the command line until it is interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", default="_build/html")
    parser.add_argument("--port", type=int, default=8000)
    arguments = parser.parse_args()
    with serving(arguments.folder, arguments.port) as address:
        print(f"{address} (Ctrl-C ends)", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print()


if __name__ == "__main__":
    main()
