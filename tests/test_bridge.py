"""One expression in SymPy and in torch: the same values, the same gradients, or a clear refusal."""

import math

import pytest
import sympy as sp
import torch
from expressions import CASES, exact, n, points, s, t, x, y

from utils.bridge import to_torch, to_vega

NAMES = pytest.mark.parametrize("name", CASES)
SMOOTH = [name for name in CASES if name not in {"integer quotient", "factorial"}]


def columns(case, rows):
    return [torch.tensor([row[v] for row in rows], dtype=torch.float64) for v in case.ranges]


@NAMES
def test_torch_has_sympys_value(name):
    case = CASES[name]
    rows = points(case.ranges)
    expected = torch.tensor([exact(case.expr, row) for row in rows], dtype=torch.float64)
    found = to_torch(case.expr, list(case.ranges))(*columns(case, rows))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", SMOOTH)
def test_torch_has_sympys_gradient(name):
    case = CASES[name]
    rows = points(case.ranges, count=4)
    tensors = [column.requires_grad_() for column in columns(case, rows)]
    found = torch.autograd.grad(to_torch(case.expr, list(case.ranges))(*tensors).sum(), tensors)
    for symbol, gradient in zip(case.ranges, found, strict=True):
        smooth, jumps = _differentiable(case.expr.doit())
        derivative = sp.diff(smooth, symbol).xreplace(jumps)
        expected = torch.tensor([exact(derivative, row) for row in rows], dtype=torch.float64)
        torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=1e-14)


def _differentiable(expr):
    """Return the expression in functions that SymPy can differentiate away from the jumps."""
    expr = expr.replace(sp.Mod, lambda a, b: a - b * sp.floor(a / b))
    flat = {f: sp.Dummy() for f in expr.atoms(sp.floor, sp.ceiling)}
    return expr.xreplace(flat), {dummy: f for f, dummy in flat.items()}


def test_second_derivative_passes():
    point = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad(to_torch(sp.exp(x**2), x)(point), point, create_graph=True)
    (second,) = torch.autograd.grad(first, point)
    assert float(second) == pytest.approx(exact(sp.diff(sp.exp(x**2), x, 2), {x: 0.7}), rel=1e-12)


@pytest.mark.parametrize("tiny", [1e-18, 1e-12, -1e-9])
def test_precision_survives_near_zero(tiny):
    at = torch.tensor(tiny, dtype=torch.float64)
    for expr in (sp.log(1 + x), sp.exp(x) - 1, 2 - 2 * sp.exp(-x), sp.sqrt(1 - sp.exp(-(x**2)))):
        assert float(to_torch(expr, x)(at)) == pytest.approx(exact(expr, {x: tiny}), rel=1e-12)


@pytest.mark.parametrize("constant", [sp.sqrt(2 * sp.pi), sp.Integer(3), sp.Rational(1, 3), sp.Max(1, sp.pi)])
def test_a_constant_has_the_shape_dtype_and_gradient_of_its_arguments(constant):
    a, b = torch.zeros(3, 1, requires_grad=True), torch.zeros(4)
    found = to_torch(constant, (x, y))(a, b)
    assert found.shape == (3, 4)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.detach(), torch.full((3, 4), float(constant)))
    assert torch.autograd.grad(found.sum(), a)[0].abs().max() == 0


def test_an_argument_that_does_not_occur_shapes_the_result_and_has_gradient_zero():
    a, b = (torch.ones(2, dtype=torch.float64, requires_grad=True) for _ in range(2))
    found = to_torch(2 * x, (x, y))(a, b)
    gradients = torch.autograd.grad(found.sum(), (a, b))
    torch.testing.assert_close(torch.stack(gradients), torch.tensor([[2.0, 2.0], [0.0, 0.0]], dtype=torch.float64))
    assert to_torch(x, (x, y))(torch.zeros(()), torch.zeros(5)).shape == (5,)


def test_a_branch_not_taken_does_not_spoil_the_gradient():
    at = torch.tensor([0.0, 1.0, -2.0], dtype=torch.float64, requires_grad=True)
    f = to_torch(sp.Piecewise((x * sp.log(x), x > 0), (0, True)), x)
    (gradient,) = torch.autograd.grad(f(at).sum(), at)
    torch.testing.assert_close(gradient, torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64))


def test_a_case_left_out_is_not_a_number():
    f = to_torch(sp.Piecewise((x, x > 0)), x)
    assert f(torch.tensor([-1.0, 1.0])).isnan().tolist() == [True, False]


def test_a_matrix_is_stacked_behind_the_batch():
    found = to_torch(sp.Matrix([[x, 1, s], [x * s, 0, sp.pi]]), (x, s))(torch.arange(4.0), torch.ones(5, 1))
    assert found.shape == (5, 4, 2, 3)
    torch.testing.assert_close(found[0, 3], torch.tensor([[3.0, 1.0, 1.0], [3.0, 0.0, math.pi]]))


def test_numbers_and_integer_tensors_are_accepted():
    half = to_torch(x / 2, x)
    assert half(torch.tensor([1, 2])).tolist() == [0.5, 1.0]
    assert to_torch(x + s, (x, s))(0.1, torch.tensor(0.2, dtype=torch.float64)).item() == 0.1 + 0.2
    assert to_torch(sp.pi, ())().item() == math.pi


def test_it_can_be_vectorised_and_differentiated_by_torch_func():
    f = to_torch(sp.Piecewise((sp.log(s), s > 1), (s - 1, True)), s)
    at = torch.tensor([0.5, 2.0], dtype=torch.float64)
    torch.testing.assert_close(torch.func.vmap(torch.func.grad(f))(at), torch.tensor([1.0, 0.5], dtype=torch.float64))


UNKNOWN = sp.Function("p")(x)
REFUSED = {
    "symbol y is not in the arguments": x + y,
    "undefined function p": UNKNOWN,
    "undefined function p(x)": sp.diff(UNKNOWN, x),
    "expected a real expression": sp.I * x,
    "has no torch counterpart|not in Vega's language": sp.besselj(0, x),
    "expected a real constant": sp.log(-1, evaluate=False) * x,
    "expects a SymPy expression": sp.S.EmptySet,
}


@pytest.mark.parametrize("message", REFUSED)
@pytest.mark.parametrize("translate", [to_torch, lambda e, args: to_vega(e, dict.fromkeys(args, "datum.x"))])
def test_what_cannot_be_translated_is_refused_by_name(message, translate):
    with pytest.raises(ValueError, match=message.replace("(", r"\(").replace(")", r"\)")):
        translate(REFUSED[message], (x,))


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match=r"expected 2 tensors \(x, s\), received 1"):
        to_torch(x * s, (x, s))(torch.zeros(2))
    with pytest.raises(ValueError, match="distinct symbols"):
        to_torch(x, (x, x))
    with pytest.raises(ValueError, match="distinct symbols"):
        to_torch(x, (x, 2))


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not case.vega])
def test_vega_refuses_what_it_does_not_have(name):
    with pytest.raises(ValueError, match="is not in Vega's language"):
        to_vega(CASES[name].expr, dict.fromkeys(CASES[name].ranges, "datum.x"))


def test_vega_expressions_name_no_javascript_object():
    for case in CASES.values():
        if case.vega:
            text = to_vega(case.expr, {v: f"datum.{v}" for v in case.ranges})
            assert "Math" not in text
            assert "--" not in text


def test_vega_refuses_a_matrix_and_protects_names():
    with pytest.raises(ValueError, match="scalar"):
        to_vega(sp.Matrix([x]), {x: "p0"})
    assert to_vega(-x, {x: "-datum.x"}) == "((-1.0) * (-datum.x))"
    assert to_vega(n + t, {n: "p0", t: "datum.t"}) in {"(p0 + datum.t)", "(datum.t + p0)"}
