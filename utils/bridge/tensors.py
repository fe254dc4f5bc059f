"""SymPy to torch: a walk over the expression tree, with the precision and gradient traps handled."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import reduce

import sympy as sp
import torch
from sympy.functions.elementary.piecewise import ExprCondPair
from sympy.logic.boolalg import BooleanAtom
from torch import Tensor

from utils.bridge.common import is_constant, number, prepared

__all__ = ["to_torch"]


def _heaviside(x: Tensor, at_zero: Tensor) -> Tensor:
    return torch.where(x == 0, at_zero, (1 + torch.sign(x)) / 2)


def _gamma(x: Tensor) -> Tensor:
    negative = (x < 0) & (torch.remainder(torch.floor(x), 2) == 1)
    return torch.where(negative, -1.0, 1.0).to(x.dtype) * torch.exp(torch.lgamma(x))


def _beta(x: Tensor, y: Tensor) -> Tensor:
    return torch.exp(torch.lgamma(x) + torch.lgamma(y) - torch.lgamma(x + y))


def _polygamma(order: int, x: Tensor) -> Tensor:
    # torch's trigamma, which is also the derivative of its digamma, is right to 10 digits only (2.13).
    if order == 0:
        return torch.digamma(x + 10) - sum(1 / (x + k) for k in range(10))
    return (-1) ** (order + 1) * math.factorial(order) * torch.special.zeta(order + 1, x)


_SAME_NAME = (
    *("exp", "log", "sin", "cos", "tan", "asin", "acos", "atan", "atan2", "sinh", "cosh", "tanh"),
    *("asinh", "acosh", "atanh", "sign", "floor", "erf", "erfc", "erfinv"),
)
_TORCH: dict[type, Callable[..., Tensor]] = {
    **{getattr(sp, name): getattr(torch, name) for name in _SAME_NAME},
    sp.ceiling: torch.ceil,
    sp.Abs: torch.abs,
    sp.Mod: torch.remainder,
    sp.Heaviside: _heaviside,
    sp.loggamma: torch.lgamma,
    sp.gamma: _gamma,
    sp.beta: _beta,
    sp.digamma: lambda x: _polygamma(0, x),
    sp.factorial: lambda x: _gamma(x + 1),
    sp.Max: lambda *xs: reduce(torch.maximum, xs),
    sp.Min: lambda *xs: reduce(torch.minimum, xs),
    sp.And: lambda *xs: reduce(torch.logical_and, xs),
    sp.Or: lambda *xs: reduce(torch.logical_or, xs),
    sp.Not: torch.logical_not,
    **{getattr(sp, name): getattr(torch, name.lower()) for name in ("Lt", "Le", "Gt", "Ge", "Eq", "Ne")},
}
_STRUCTURE = (sp.Symbol, sp.Add, sp.Mul, sp.Pow, sp.Piecewise, ExprCondPair, BooleanAtom, sp.MatrixBase)


def _check_supported(node) -> None:
    """Raise for the first function of a tree that torch does not have."""
    if is_constant(node):
        number(node, "to_torch")
        return
    if isinstance(node, sp.polygamma) and node.args[0].is_Integer:
        node = node.args[1]
    if node.func not in _TORCH and not isinstance(node, _STRUCTURE):
        raise ValueError(f"to_torch: function {node.func.__name__} has no torch counterpart (in {node})")
    for child in node.args:
        _check_supported(child)


class _Walker:
    """Evaluate a tree on tensors; a shared subexpression is computed once."""

    def __init__(self, env: Mapping[sp.Symbol, Tensor], like: Tensor):
        self.env, self.like, self.memo = env, like, {}

    def __call__(self, node) -> Tensor:
        if node not in self.memo:
            self.memo[node] = self._evaluate(node)
        return self.memo[node]

    def _evaluate(self, node) -> Tensor:
        if node in self.env:
            return self.env[node]
        if isinstance(node, BooleanAtom):
            return torch.tensor(bool(node), device=self.like.device)
        if is_constant(node):
            return self.like.new_tensor(number(node, "to_torch"))
        rule = {
            sp.Add: self._sum,
            sp.Mul: self._product,
            sp.Pow: self._power,
            sp.log: self._log,
            sp.Piecewise: self._piecewise,
            sp.polygamma: lambda k, u: _polygamma(int(k), self(u)),
        }.get(node.func)
        return rule(*node.args) if rule else _TORCH[node.func](*map(self, node.args))

    def _sum(self, *terms: sp.Expr) -> Tensor:
        # k*exp(u) - k loses its digits near u = 0; k*expm1(u) does not.
        terms = list(terms)
        values = []
        for constant in [t for t in terms if t.is_Number]:
            for term in terms:
                k, factor = term.as_coeff_Mul()
                if k == -constant and isinstance(factor, sp.exp):
                    values.append(float(k) * torch.expm1(self(factor.args[0])))
                    terms = [t for t in terms if t is not term and t is not constant]
                    break
        return reduce(torch.add, [*values, *map(self, terms)])

    def _product(self, *factors: sp.Expr) -> Tensor:
        below = [f for f in factors if f.is_Pow and f.args[1].is_Number and f.args[1] < 0]
        above = [f for f in factors if f not in below] or [sp.S.One]
        result = reduce(torch.mul, map(self, above))
        return reduce(torch.div, (self(1 / f) for f in below), result)

    def _power(self, base: sp.Expr, exponent: sp.Expr) -> Tensor:
        if exponent.is_Number and exponent < 0:
            return 1 / self._power(base, -exponent)
        if exponent == 1:
            return self(base)
        if exponent == sp.S.Half:
            return torch.sqrt(self(base))
        constant = is_constant(exponent)
        return torch.pow(self(base), number(exponent, "to_torch") if constant else self(exponent))

    def _log(self, argument: sp.Expr) -> Tensor:
        constant, rest = argument.as_coeff_Add()
        return torch.log1p(self(rest)) if constant == 1 else torch.log(self(argument))

    def _piecewise(self, *branches: ExprCondPair) -> Tensor:
        # Where a branch is not selected it sees detached inputs: a derivative of 0 * inf there (x*log(x)
        # at 0) cannot reach the gradient.
        result = self.like.new_tensor(math.nan)
        for value, condition in reversed(branches):
            mask = self(condition)
            gated = {symbol: torch.where(mask, x, x.detach()) for symbol, x in self.env.items()}
            result = torch.where(mask, _Walker(gated, self.like)(value), result)
        return result


def _tensors(values: Sequence, args: Sequence[sp.Symbol]) -> list[Tensor]:
    """Return the call's arguments as tensors of one floating dtype on one device."""
    if len(values) != len(args):
        names = ", ".join(map(str, args))
        raise ValueError(f"expected {len(args)} tensors ({names}), received {len(values)}")
    given = [v for v in values if isinstance(v, Tensor)]
    dtype = reduce(torch.promote_types, (v.dtype for v in given)) if given else torch.float64
    if not dtype.is_floating_point:
        dtype = torch.get_default_dtype()
    device = given[0].device if given else "cpu"
    return [torch.as_tensor(v, dtype=dtype, device=device) for v in values]


def to_torch(expr, args) -> Callable[..., Tensor]:
    """Return a differentiable function of tensors that evaluates `expr`.

    The result has the broadcast shape of the arguments (a constant expression too), their dtype and
    device; a matrix gives (..., rows, columns). `log(1 + u)` and `exp(u) - 1` keep their precision near
    u = 0, and a branch of a `Piecewise` that is not selected cannot spoil the gradient.

    Args:
        expr: a SymPy expression or matrix whose free symbols are all in `args`.
        args: the symbol or symbols that the returned function takes, in order.

    Raises:
        ValueError: a symbol not in `args`, an undefined function, a function that torch does not have,
            a complex constant; in the call, another number of tensors than of symbols.

    >>> x = sp.Symbol("x")
    >>> to_torch(sp.exp(-x**2 / 2) / sp.sqrt(2 * sp.pi), x)(torch.zeros(2, dtype=torch.float64))
    tensor([0.3989, 0.3989], dtype=torch.float64)
    """
    args = (args,) if isinstance(args, sp.Symbol) else tuple(args)
    if not all(isinstance(a, sp.Symbol) for a in args) or len(set(args)) != len(args):
        raise ValueError(f"to_torch expects distinct symbols as args, received {args}")
    expr = prepared(expr, args, "to_torch")
    matrix = isinstance(expr, sp.MatrixBase)
    entries = list(expr) if matrix else [expr]
    for entry in entries:
        _check_supported(entry)
    unused = [i for i, symbol in enumerate(args) if symbol not in expr.free_symbols]

    def compiled(*values) -> Tensor:
        tensors = _tensors(values, args)
        shape = torch.broadcast_shapes(*(t.shape for t in tensors))
        like = tensors[0] if tensors else torch.zeros((), dtype=torch.float64)
        walk = _Walker(dict(zip(args, tensors, strict=True)), like)
        results = [walk(entry).expand(shape) for entry in entries]
        for i in unused:  # the derivative with respect to an argument that does not occur is 0, not an error
            nowhere = torch.zeros_like(tensors[i], dtype=torch.bool)
            results[0] = torch.where(nowhere, tensors[i], results[0])
        return torch.stack(results, dim=-1).reshape(*shape, *expr.shape) if matrix else results[0]

    return compiled
