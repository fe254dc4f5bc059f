import math

import pytest
import sympy as sp
import torch

from utils.exercise import Exercise

x = sp.Symbol("x", positive=True)
a, b = sp.symbols("a b", real=True)


def test_an_equivalent_expression_is_correct() -> None:
    slope = Exercise("slope", answer=2 * x)
    assert slope.check(x + x)
    assert slope.check(sp.log(sp.exp(2 * x)))
    assert slope.check(2.0 * x)
    assert slope.check(2 * sp.Symbol("x"))
    assert repr(slope.check(2 * x)) == "Correct."
    assert slope.check(2 * x)._repr_markdown_() == "**Correct.**"


def test_a_wrong_expression_is_told_where_it_differs() -> None:
    verdict = Exercise("slope", answer=2 * x).check(x**2)
    assert not verdict
    assert verdict.message.startswith("At x = ")
    assert "your answer is" in verdict.message
    assert "expected is" in verdict.message
    assert verdict._repr_markdown_().startswith("**Not yet.** At x = ")


def test_a_strange_symbol_is_named() -> None:
    verdict = Exercise("slope", answer=2 * a).check(2 * b)
    assert "The symbol b does not belong to the answer." in verdict.message


@pytest.mark.parametrize(
    ("attempt", "message"),
    [
        ("2*x", "received the text '2*x': write it with SymPy, without quotes"),
        (None, "Expected an expression of x, received nothing"),
        (sp.Eq(x, 2), "Expected an expression of x, received"),
        (math.sin, "Expected an expression of x, received builtin"),
        (sp.eye(2), "could not be compared: shapes differ: scalar and (2, 2)"),
        (sp.Integral(x, x), "could not be compared: the sides could not be evaluated"),
    ],
)
def test_input_that_is_no_expression_is_explained(attempt: object, message: str) -> None:
    verdict = Exercise("slope", answer=2 * x).check(attempt)
    assert not verdict
    assert message in verdict.message


def test_a_matrix_is_compared_entry_by_entry() -> None:
    ex = Exercise("inverse", answer=sp.Matrix([[a, b], [0, a]]))
    assert ex.check(sp.Matrix([[a, b], [0, a]]))
    assert not ex.check(sp.Matrix([[a, b], [0, -a]]))


def test_a_domain_makes_answers_equal() -> None:
    assert Exercise("root", answer=1 - x, domain={x: (0, 1)}).check(sp.sqrt((1 - x) ** 2))
    assert not Exercise("root", answer=1 - x).check(sp.sqrt((1 - x) ** 2))


def test_a_number_is_compared_by_tolerance() -> None:
    ex = Exercise("ln 2", answer=math.log(2), tolerance=1e-3)
    assert ex.check(0.6932)
    assert ex.check(sp.log(2))
    assert ex.check(torch.tensor(0.6931))
    assert ex.check(0.8).message == "Your number is 0.8: too large by 0.107 (allowed: 0.001)."
    assert "too small by 0.193" in ex.check(0.5).message
    assert ex.check(math.nan).message == "Your number is nan."
    assert ex.check("two").message == "Expected a number, received str two."
    assert ex.check(None).message == "Expected a number, received nothing."


def test_an_exact_number_is_an_expression_without_symbols() -> None:
    assert Exercise("ln 2", answer=sp.log(2)).check(-sp.log(sp.Rational(1, 2)))
    assert Exercise("count", answer=258).check(258)
    assert not Exercise("count", answer=258).check(257)


def softplus(v: torch.Tensor) -> torch.Tensor:
    return torch.log1p(torch.exp(v))


def draw(rng: object) -> tuple:
    return (torch.tensor([rng.uniform(-1, 1) for _ in range(3)], dtype=torch.float64),)


def test_a_function_is_compared_on_random_inputs() -> None:
    ex = Exercise("softplus", answer=softplus, inputs=draw)
    assert ex.check(torch.nn.functional.softplus)
    assert "entry 0 of your result is" in ex.check(torch.relu).message
    assert "your function raised RuntimeError" in ex.check(lambda v: v @ torch.zeros(2, dtype=v.dtype)).message
    assert "returns 1 numbers, not 3" in ex.check(torch.sum).message
    assert ex.check(3).message == "Expected a function, received int 3."


def test_a_function_needs_inputs() -> None:
    with pytest.raises(ValueError, match="'softplus': a function is compared on random inputs: give `inputs`"):
        Exercise("softplus", answer=softplus)


def test_an_answer_that_is_no_expression_is_refused() -> None:
    with pytest.raises(TypeError, match="exercise 'bad': expected a SymPy expression, received str"):
        Exercise("bad", answer="2*x")
