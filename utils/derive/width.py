"""How wide a formula is, counted in glyphs of ordinary size."""

import re

__all__ = ["width"]

_TOKEN = re.compile(r"\\[a-zA-Z]+|\\.|[{}^_&]|[^\\{}^_&]", re.DOTALL)
_INVISIBLE = {
    r"\left",
    r"\right",
    r"\bigl",
    r"\bigr",
    r"\limits",
    r"\displaystyle",
    r"\!",
    r"\tag",
    r"\hphantom",
}
_WORDS = {r"\log": 3, r"\exp": 3, r"\sin": 3, r"\cos": 3, r"\tan": 3, r"\max": 3, r"\min": 3, r"\lim": 3}
_SPACES = {r"\,": 0.2, r"\;": 0.4, r"\quad": 1.6, r"\ ": 0.4, " ": 0.0}
_NARROW = dict.fromkeys("(),.[]", 0.6) | dict.fromkeys("+-=<>", 1.7)


def width(latex: str) -> float:
    r"""Return the estimated width; a fraction is as wide as its wider part, an exponent is set smaller.

    >>> width(r"\frac{a + b}{2}") < width("a + b + 2")
    True
    """
    total, _ = _group(_TOKEN.findall(latex), 0)
    return total


def _group(tokens: list[str], start: int) -> tuple[float, int]:
    """Measure up to the closing brace; rows of a matrix stand above each other."""
    rows, total, i = [0.0], 0.0, start
    while i < len(tokens) and tokens[i] != "}":
        token = tokens[i]
        if token == r"\\":
            rows.append(0.0)
            i += 1
            continue
        part, i = _one(tokens, i)
        rows[-1] += part
    total = max(rows)
    return total, i + 1


def _one(tokens: list[str], i: int) -> tuple[float, int]:
    token = tokens[i]
    if token == "{":
        return _group(tokens, i + 1)
    if token in ("^", "_"):
        part, i = _one(tokens, i + 1) if i + 1 < len(tokens) else (0.0, i + 1)
        return 0.7 * part, i
    if token in (r"\frac", r"\binom"):
        above, i = _one(tokens, i + 1)
        below, i = _one(tokens, i)
        return max(above, below) + 0.3, i
    if token in (r"\begin", r"\end"):
        _, i = _one(tokens, i + 1)
        return 0.5, i
    if token == "&":
        return 1.0, i + 1
    return _glyph(token), i + 1


def _glyph(token: str) -> float:
    if token in _INVISIBLE or token.startswith((r"\math", r"\operatorname")):
        return 0.0
    for table in (_WORDS, _SPACES, _NARROW):
        if token in table:
            return float(table[token])
    return 1.0
