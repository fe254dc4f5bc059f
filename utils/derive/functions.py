"""Random smooth functions that stand for undefined ones, the same on both sides of a step."""

import random
from collections.abc import Iterable

import sympy as sp
from sympy.core.function import AppliedUndef

from .instances import Domain

__all__ = ["smooth_instances"]


def smooth_instances(sides: Iterable[sp.Basic], domain: Domain, seed: str) -> dict:
    """Return a random smooth function for every undefined one: `{function class: Lambda}`.

    Positive functions are positive; a function integrated over an infinite range decays like a Gaussian.
    """
    functions: dict = {}
    decaying = set()
    for side in sides:
        for applied in side.atoms(AppliedUndef):
            functions.setdefault((applied.func, len(applied.args)), applied)
        for integral in side.atoms(sp.Integral):
            for variable, *ends in integral.limits:
                if any(not sp.sympify(end).is_finite for end in ends):
                    inside = integral.function.atoms(AppliedUndef)
                    decaying |= {a.func for a in inside if variable in a.free_symbols}
    return {
        function: _smooth(applied, function in decaying, domain, random.Random(f"{seed}/{function}"))
        for (function, _), applied in sorted(functions.items(), key=lambda item: str(item[0]))
    }


def _smooth(applied: AppliedUndef, decays: bool, domain: Domain, rng: random.Random) -> sp.Lambda:
    arguments = sp.symbols(f"a_:{len(applied.args)}", cls=sp.Dummy, real=True)

    def small() -> sp.Rational:
        return sp.Rational(rng.randint(20, 90) * rng.choice((-1, 1)), 97)

    waves = sp.Rational(0)
    for argument in arguments:
        waves += small() * sp.sin(small() * argument + small())
    if not decays:
        waves += small() * sp.cos(small() * sum(arguments) + small())
    bounds = domain.declared.get(applied, domain.declared.get(applied.func))
    if isinstance(bounds, tuple):
        value = bounds[0] + (bounds[1] - bounds[0]) / (1 + sp.exp(waves))
    elif applied.is_positive or applied.is_nonnegative:
        value = sp.exp(waves)
    elif applied.is_negative:
        value = -sp.exp(waves)
    else:
        value = waves + sum((small() * a for a in arguments), sp.Rational(rng.randint(30, 90), 97))
    if decays:
        value *= sp.exp(-sum(((a - small()) ** 2 for a in arguments), sp.Integer(0)) / (1 + abs(small())))
    return sp.Lambda(arguments, value)
