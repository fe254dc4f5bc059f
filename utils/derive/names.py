"""The functions that mpmath and SymPy share, by mpmath's name."""

import sympy as sp

__all__ = ["NAMES"]

NAMES = {
    sp.exp: "exp", sp.sin: "sin", sp.cos: "cos", sp.tan: "tan", sp.sinh: "sinh", sp.cosh: "cosh",
    sp.tanh: "tanh", sp.asin: "asin", sp.acos: "acos", sp.atan: "atan", sp.asinh: "asinh", sp.acosh: "acosh",
    sp.atanh: "atanh", sp.gamma: "gamma", sp.loggamma: "loggamma", sp.erf: "erf", sp.erfc: "erfc",
    sp.erfi: "erfi", sp.erfinv: "erfinv", sp.factorial: "factorial", sp.binomial: "binomial", sp.beta: "beta",
    sp.polygamma: "psi", sp.digamma: "digamma", sp.LambertW: "lambertw", sp.besselj: "besselj",
    sp.besseli: "besseli", sp.besselk: "besselk", sp.zeta: "zeta", sp.Ei: "ei", sp.Abs: "fabs",
    sp.re: "re", sp.im: "im", sp.conjugate: "conj", sp.floor: "floor", sp.ceiling: "ceil", sp.atan2: "atan2",
    sp.polylog: "polylog", sp.sign: "sign", sp.li: "li", sp.Si: "si", sp.Ci: "ci", sp.hyper: None,
}  # fmt: skip
