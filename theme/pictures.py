"""The pictures inside a page, lighter: WebP in the place of PNG, the same pixels but for photographs."""

from __future__ import annotations

import base64
import io
import re

from PIL import Image

__all__ = ["lighter"]

PHOTOGRAPH = 10_000  # bytes; smaller pictures, and those with flat colours, keep every pixel
QUALITY = 90
_PNG = re.compile(r"data:image/png;base64,\s*([A-Za-z0-9+/=]+)")


def lighter(body: str) -> str:
    """Return a page's HTML with each embedded PNG as a lossless WebP.

    A photograph, recognised by what an encoding with losses saves, a third at least, gets that one.
    """
    return _PNG.sub(_webp, body)


def _webp(found: re.Match) -> str:
    picture = Image.open(io.BytesIO(base64.b64decode(found[1]))).convert("RGBA")
    best = _encoded(picture, lossless=True, quality=100)
    if len(best) > PHOTOGRAPH and len(fine := _encoded(picture, quality=QUALITY)) <= len(best) * 2 / 3:
        best = fine
    return f"data:image/webp;base64,{base64.b64encode(best).decode()}"


def _encoded(picture: Image.Image, **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "webp", **options)
    return buffer.getvalue()
