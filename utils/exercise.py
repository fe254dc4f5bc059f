"""An answer checker that says where an answer differs, never just "wrong"."""

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from numbers import Number
from typing import Any

import sympy as sp

from .derive.attack import Refuted, show_point
from .derive.errors import UnevaluableStep
from .derive.instances import Domain, free_symbols
from .derive.prepare import as_side
from .derive.render import number
from .derive.steps import check

__all__ = ["Exercise", "Verdict"]

_TRIALS = 20


@dataclass(frozen=True)
class Verdict:
    """The outcome of one attempt; true if and only if it is correct."""

    correct: bool
    message: str

    def __bool__(self) -> bool:
        return self.correct

    def __repr__(self) -> str:
        return "Correct." if self.correct else f"Not yet. {self.message}"

    def _repr_markdown_(self) -> str:
        return "**Correct.**" if self.correct else f"**Not yet.** {self.message}"


@dataclass
class Exercise:
    """A question with a checker.

    Args:
        name: what is asked.
        answer: a SymPy expression or matrix, a number, or a function.
        tolerance: for numbers and functions, the largest difference accepted, relative above 1, absolute below.
        domain: where the symbols of an expression live, as in `Derivation`.
        inputs: for functions, `inputs(rng)` returns one tuple of arguments; `rng` is a `random.Random`.

    >>> x = sp.Symbol("x", positive=True)
    >>> slope = Exercise("the slope of x^2", answer=2 * x)
    >>> slope.check(x + x)
    Correct.
    >>> slope.check("2x")
    Not yet. Expected an expression of x, received the text '2x': write it with SymPy, without quotes.
    """

    name: str
    answer: Any
    tolerance: float = 1e-6
    domain: Mapping = field(default_factory=dict)
    inputs: Callable[[random.Random], tuple] | None = None

    def __post_init__(self) -> None:
        self._kind = "number" if _is_number(self.answer) else "expression"
        if callable(self.answer) and not isinstance(self.answer, sp.Basic | sp.MatrixBase):
            self._kind = "function"
            if not callable(self.inputs):
                raise ValueError(f"exercise {self.name!r}: a function is compared on random inputs: give `inputs`")
        elif self._kind == "expression":
            self.answer = as_side(self.answer, f"exercise {self.name!r}")

    def check(self, attempt: Any) -> Verdict:
        """Compare an attempt with the answer and say where they differ."""
        problem = {"number": self._number, "expression": self._expression, "function": self._function}[self._kind](
            attempt
        )
        return Verdict(problem is None, problem or "")

    def _expression(self, attempt: Any) -> str | None:
        symbols = free_symbols(self.answer)
        wanted = f"an expression of {', '.join(map(str, symbols))}" if symbols else "an expression without symbols"
        if isinstance(attempt, str):
            return f"Expected {wanted}, received the text {attempt!r}: write it with SymPy, without quotes."
        try:
            attempt = _exact(attempt, symbols)
        except (TypeError, ValueError, AttributeError):
            return f"Expected {wanted}, received {_article(attempt)}."
        strange = [str(s) for s in free_symbols(attempt) if s not in symbols]
        try:
            check("=", self.answer, attempt, Domain(self.domain), {}, self.name)
        except Refuted as found:
            hint = f" The symbol {', '.join(strange)} does not belong to the answer." if strange else ""
            return (
                f"At {show_point(found.point)} your answer is {number(found.right, 8)}, "
                f"expected is {number(found.left, 8)}.{hint}"
            )
        except (UnevaluableStep, ValueError, TypeError) as problem:
            return f"Your answer could not be compared: {problem}."
        return None

    def _number(self, attempt: Any) -> str | None:
        try:
            value = float(attempt)
        except (TypeError, ValueError):
            return f"Expected a number, received {_article(attempt)}."
        expected = float(self.answer)
        return _off(value, expected, self.tolerance, "Your number")

    def _function(self, attempt: Any) -> str | None:
        if not callable(attempt):
            return f"Expected a function, received {_article(attempt)}."
        rng = random.Random(self.name)
        for _ in range(_TRIALS):
            arguments = self.inputs(rng)
            arguments = arguments if isinstance(arguments, tuple) else (arguments,)
            expected = list(_flat(self.answer(*arguments)))
            shown = ", ".join(map(_short, arguments))
            try:
                mine = list(_flat(attempt(*arguments)))
            except Exception as problem:
                return f"With the arguments ({shown}) your function raised {type(problem).__name__}: {problem}."
            if len(mine) != len(expected):
                return f"With the arguments ({shown}) your function returns {len(mine)} numbers, not {len(expected)}."
            for place, (value, wanted) in enumerate(zip(mine, expected, strict=True)):
                where = f"With the arguments ({shown}), entry {place} of your result"
                problem = _off(value, wanted, self.tolerance, where)
                if problem:
                    return problem
        return None


def _is_number(value: Any) -> bool:
    if isinstance(value, sp.Expr):
        return not free_symbols(value) and bool(value.is_number) and value.has(sp.Float)
    return isinstance(value, Number) and not isinstance(value, bool)


def _exact(attempt: Any, symbols: list) -> Any:
    """Return the attempt with exact numbers and with the answer's own symbols, matched by name."""
    if not isinstance(attempt, sp.MatrixBase):
        attempt = sp.sympify(attempt, strict=True)
    same = {s: mine for s in attempt.free_symbols for mine in symbols if str(s) == str(mine)}
    attempt = attempt.xreplace(same)
    if isinstance(attempt, sp.MatrixBase):
        return attempt.applyfunc(lambda e: sp.nsimplify(e, rational=True) if e.has(sp.Float) else e)
    return as_side(sp.nsimplify(attempt, rational=True) if attempt.has(sp.Float) else attempt, "your answer")


def _off(value: float, expected: float, tolerance: float, what: str) -> str | None:
    allowed = tolerance * max(1.0, abs(expected))
    difference = value - expected
    if abs(difference) <= allowed:
        return None
    if difference != difference:
        return f"{what} is {value}."
    way = "large" if difference > 0 else "small"
    return f"{what} is {value:.8g}: too {way} by {abs(difference):.3g} (allowed: {allowed:.1g})."


def _flat(value: Any) -> Iterator[float]:
    """Yield the numbers in a number, a list, an array or a tensor."""
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, list | tuple):
        for part in value:
            yield from _flat(part)
    else:
        yield float(value)


def _short(value: Any) -> str:
    words = " ".join(str(value).split())
    return words if len(words) <= 80 else words[:77] + "..."


def _article(value: Any) -> str:
    return "nothing" if value is None else f"{type(value).__name__} {_short(value)}"
