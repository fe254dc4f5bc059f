"""`Derivation`: a chain of steps, each attacked, then proved or sampled, or assumed by name."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import sympy as sp
from sympy.core import random as sympy_random

from . import render
from .attack import Refuted, attack, show_point
from .errors import StepError, UnevaluableStep
from .instances import Domain, check_symbols, free_symbols
from .prepare import as_side, entries, open_side, substitute
from .proof import prove

__all__ = ["Derivation", "Family", "Step", "check", "opened"]


@dataclass(frozen=True)
class Step:
    """One line of a derivation and what is known about it."""

    relation: str
    lhs: Any
    rhs: Any
    because: str
    label: str
    status: str
    seconds: float
    detail: str


def opened(side: Any, where: Mapping) -> Any:
    """Return what is really compared: definitions put in, expectations, derivatives and limits opened."""
    return open_side(substitute(side, where))


@contextmanager
def _repeatable() -> Iterator[None]:
    """Start SymPy's own draws anew: it picks points when it factors, and unlucky ones cost half a minute."""
    before = sympy_random.rng.getstate()
    sympy_random.seed(0)
    try:
        yield
    finally:
        sympy_random.rng.setstate(before)


@_repeatable()
def check(relation: str, left: Any, right: Any, domain: Domain, where: Mapping, seed: str) -> tuple[str, str]:
    """Return status and detail of `left relation right`.

    Raises: `Refuted` with the point; `UnevaluableStep` where nothing can be evaluated.
    """
    left, right = opened(left, where), opened(right, where)
    if getattr(left, "shape", ()) != getattr(right, "shape", ()):
        raise ValueError(f"shapes differ: {getattr(left, 'shape', 'scalar')} and {getattr(right, 'shape', 'scalar')}")
    check_symbols(free_symbols(left, right), domain.declared)
    pairs = list(zip(entries(left), entries(right), strict=True))
    tried = [attack(relation, one, other, domain, seed) for one, other in pairs if one != other]
    if not tried:
        _somewhere(domain, seed)
        return "proved", "identical"
    weakest = min(tried, key=lambda t: (t.digits, t.points))
    way = prove(relation, pairs, domain)
    if way:
        return "proved", f"{way}; {weakest}"
    if all(t.exhaustive for t in tried):
        return "proved", f"all {max(t.points for t in tried)} cases"
    return "sampled", str(weakest)


def _somewhere(domain: Domain, seed: str) -> None:
    """The definitions' declared signs must be possible: an identity may rest on what SymPy did with them."""
    symbols = sorted(set().union(*(test.symbols for test in domain.signs)), key=str)
    problems = [domain.admits(domain.point(symbols, f"{seed}/{i}")) for i in range(60 if symbols else 0)]
    if problems and all(problems):
        raise ValueError(problems[0])


@dataclass
class Derivation:
    """A derivation whose every displayed relation is checked when it is written.

    Args:
        title: what is derived.
        lhs: the expression the derivation starts from.
        label: a name for the ledger.
        where: definitions, put in before checking and printed below the table.
        domain: `{symbol: (lo, hi)}` or `{symbol: [values]}`, narrowing the symbol's assumptions.

    >>> x = sp.Symbol("x", real=True)
    >>> d = Derivation("square of a sum", (x + 1) ** 2).equals(x**2 + 2*x + 1, because="expand")
    >>> d.steps[0].status
    'proved'
    """

    title: str
    lhs: Any
    label: str = ""
    where: Mapping = field(default_factory=dict)
    domain: Mapping = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.lhs = as_side(self.lhs, f"{self.title}: left-hand side")
        self.where = {sp.sympify(k): as_side(v, f"{self.title}: where {k}") for k, v in dict(self.where).items()}
        self.sampling = Domain(self.domain, {name: opened(value, self.where) for name, value in self.where.items()})
        self._steps: list[Step] = []

    def equals(self, expr: Any, because: str, label: str = "") -> "Derivation":
        """Add a checked step `= expr`."""
        return self._checked("=", expr, because, label)

    def at_most(self, expr: Any, because: str, label: str = "") -> "Derivation":
        """Add a checked step `<= expr`."""
        return self._checked("<=", expr, because, label)

    def at_least(self, expr: Any, because: str, label: str = "") -> "Derivation":
        """Add a checked step `>= expr`."""
        return self._checked(">=", expr, because, label)

    def assume(self, expr: Any, because: str, cite: str, label: str = "", relation: str = "=") -> "Derivation":
        """Add a step that is not checked, with the source that proves it."""
        if not isinstance(cite, str) or not cite.strip():
            raise ValueError(f"{self._name()}: an assumed step needs `cite`, its source")
        return self._add(relation, expr, because, label, ("assumed", cite.strip()))

    @property
    def expr(self) -> Any:
        """The last right-hand side."""
        return self._steps[-1].rhs if self._steps else self.lhs

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps so far."""
        return tuple(self._steps)

    def __getitem__(self, label: str) -> Any:
        """Return the right-hand side of the step with this label."""
        for step in self._steps:
            if step.label == label:
                return step.rhs
        raise KeyError(
            f"{self.title}: no step is labelled {label!r}; labels: {[s.label for s in self._steps if s.label]}"
        )

    def _name(self) -> str:
        return f"{self.title}, step {len(self._steps) + 1}"

    def _checked(self, relation: str, expr: Any, because: str, label: str) -> "Derivation":
        return self._add(relation, expr, because, label, None)

    def _add(self, relation: str, expr: Any, because: str, label: str, outcome: tuple | None) -> "Derivation":
        if not isinstance(because, str) or not because.strip():
            raise ValueError(f"{self._name()}: an empty reason; say in `because` which one move this is")
        if label and any(step.label == label for step in self._steps):
            raise ValueError(f"{self._name()}: the label {label!r} is taken")
        left, right = self.expr, as_side(expr, self._name())
        started = time.process_time()
        status, detail = outcome or self._check(relation, left, right)
        seconds = time.process_time() - started
        self._steps.append(Step(relation, left, right, because.strip(), label, status, seconds, detail))
        return self

    def _check(self, relation: str, left: Any, right: Any) -> tuple[str, str]:
        try:
            return check(relation, left, right, self.sampling, self.where, self.title)
        except Refuted as found:
            values = render.apart(found.left, found.right)
            raise StepError(
                f"{self._name()} does not hold:\n  {left}\n  {relation} {right}\n"
                f"at {show_point(found.point)}\n  left  {values[0]}\n  right {values[1]}"
            ) from None
        except UnevaluableStep as problem:
            raise UnevaluableStep(f"{self._name()} can be neither refuted nor evaluated: {problem}") from None
        except (ValueError, TypeError) as problem:
            raise type(problem)(f"{self._name()}: {problem}") from None

    def __repr__(self) -> str:
        return render.text([self])

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict:
        return render.bundle([self])

    @staticmethod
    def for_each(values: Iterable, make: Callable[[Any], "Derivation"]) -> "Family":
        """Return one object that holds `make(n)` for every n, and displays them together."""
        return Family({value: make(value) for value in values})


class Family(dict):
    """The same derivation at several sizes: `{n: Derivation}`."""

    def __repr__(self) -> str:
        return render.text(list(self.values()))

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict:
        return render.bundle(list(self.values()), [f"n = {n}" for n in self])
