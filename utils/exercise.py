"""An answer checker that says where an answer differs, never just "wrong"."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from numbers import Number
from typing import Any

import sympy as sp

from .derive.attack import Refuted, show_point
from .derive.errors import UnevaluableStep
from .derive.instances import Domain
from .derive.render import number
from .derive.steps import check

__all__ = ["Exercise", "Verdict"]


@dataclass(frozen=True)
class Verdict:
    """The outcome of one attempt; true if and only if it is correct."""

    correct: bool
    message: str

    def __bool__(self) -> bool:
        return self.correct

    def __repr__(self) -> str:
        return self.message

    def _repr_markdown_(self) -> str:
        return f"**{'Correct.' if self.correct else 'Not yet.'}** {self.message.removeprefix('Correct. ')}"


@dataclass
class Exercise:
    """A question with a checker.

    Args:
        name: what is asked.
        answer: a SymPy expression or matrix, a number, or a function.
        tolerance: for numbers and functions, the largest relative (or, below 1, absolute) difference accepted.
        domain: where the symbols of an expression live, as in `Derivation`.
        inputs: for functions, `inputs(rng)` returns one tuple of random arguments.

    >>> x = sp.Symbol("x", real=True)
    >>> Exercise("the slope of x^2", answer=2 * x).check(x)
    At x = -632/997 your answer is -0.6339017051153461 and the expected value is -1.2678034102306921.
    """

    name: str
    answer: Any
    tolerance: float = 1e-6
    domain: Mapping = field(default_factory=dict)
    inputs: Callable[[random.Random], tuple] | None = None

    def check(self, attempt: Any) -> Verdict:
        """Compare an attempt with the answer."""
        if isinstance(self.answer, sp.Basic | sp.MatrixBase):
            return self._expression(attempt)
        if isinstance(self.answer, Number) and not isinstance(self.answer, bool):
            return self._number(attempt)
        return self._function(attempt)

    def _expression(self, attempt: Any) -> Verdict:
        try:
            attempt = sp.nsimplify(sp.sympify(attempt), rational=True)
            check("=", self.answer, attempt, Domain(self.domain), {}, self.name)
        except Refuted as found:
            return Verdict(
                False,
                f"At {show_point(found.point)} your answer is {number(found.right)} "
                f"and the expected value is {number(found.left)}.",
            )
        except (UnevaluableStep, ValueError, TypeError) as problem:
            return Verdict(False, f"Your answer could not be compared: {problem}")
        return Verdict(True, "Correct.")

    def _number(self, attempt: Any) -> Verdict:
        value, expected = float(attempt), float(self.answer)
        if abs(value - expected) <= self.tolerance * max(1, abs(expected)):
            return Verdict(True, "Correct.")
        return Verdict(False, f"Your number is {value}, which differs from the expected one by more than {self.tolerance}.")

    def _function(self, attempt: Any) -> Verdict:
        rng = random.Random(self.name)
        for _ in range(20):
            arguments = self.inputs(rng)
            mine, expected = attempt(*arguments), self.answer(*arguments)
            if abs(float(mine) - float(expected)) > self.tolerance * max(1, abs(float(expected))):
                return Verdict(False, f"At {arguments} your function returns {mine}; expected is {expected}.")
        return Verdict(True, "Correct.")
