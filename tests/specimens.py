"""Derivations of every kind that the engine knows: the tests' own set."""

import functools

import sympy as sp
from sympy.stats import Bernoulli, Expectation, Normal, Poisson, Variance

from utils.derive import Derivation

x, y, mu, nu = sp.symbols("x y mu nu", real=True)
sigma, tau, t = sp.symbols("sigma tau t", positive=True)
p, q, gamma = sp.symbols("p q gamma", positive=True)
n, k = sp.symbols("n k", integer=True, positive=True)
z = sp.Symbol("z", complex=True)
bits = sp.symbols("b_1:4", integer=True)
s, f = sp.Function("s", positive=True), sp.Function("f", real=True)
UNIT = {p: (0, 1), q: (0, 1)}


def normal(x: sp.Expr, mean: sp.Expr, deviation: sp.Expr) -> sp.Expr:
    return sp.exp(-((x - mean) ** 2) / (2 * deviation**2)) / sp.sqrt(2 * sp.pi * deviation**2)


def closed_forms() -> list[Derivation]:
    kl = p * sp.log(p / q) + (1 - p) * sp.log((1 - p) / (1 - q))
    split = p * sp.log(p) - p * sp.log(q) + (1 - p) * sp.log(1 - p) - (1 - p) * sp.log(1 - q)
    ratio = sp.log(normal(x, mu, sigma) / normal(x, nu, tau))
    logs = sp.log(tau / sigma) - (x - mu) ** 2 / (2 * sigma**2) + (x - nu) ** 2 / (2 * tau**2)
    sigmoid = 1 / (1 + sp.exp(-x))
    return [
        Derivation("square", (x + y) ** 2).equals(x**2 + 2 * x * y + y**2, because="expand"),
        Derivation("two coins", kl, domain=UNIT).equals(split, because="split").at_least(0, because="Gibbs"),
        Derivation("ratio of Gaussians", ratio).equals(logs, because="split the logarithm"),
        Derivation("sigmoid", sp.Derivative(sigmoid, x)).equals(sigmoid * (1 - sigmoid), because="quotient rule"),
        Derivation("hyperbolic", sp.tanh(x)).equals(2 / (1 + sp.exp(-2 * x)) - 1, because="by exponentials"),
        Derivation("root", sp.sqrt(x**2 * sigma)).equals(sp.Abs(x) * sp.sqrt(sigma), because="take out x"),
        Derivation("phase", sp.exp(sp.I * x)).equals(sp.cos(x) + sp.I * sp.sin(x), because="Euler"),
        Derivation("modulus", z * sp.conjugate(z)).equals(sp.re(z) ** 2 + sp.im(z) ** 2, because="Pythagoras"),
        Derivation("tail", sp.erfc(x)).equals(1 - sp.erf(x), because="the two tails"),
        Derivation("gamma", sp.gamma(t + 2) / sp.gamma(t)).equals(t * (t + 1), because="recursion twice"),
        Derivation("relu", sp.Max(x, 0)).equals((x + sp.Abs(x)) / 2, because="both halves"),
        Derivation("limit", sp.Limit(sp.sin(x * t) / t, t, 0)).equals(x, because="slope at 0"),
    ]


def bounds() -> list[Derivation]:
    return [
        Derivation("tangent", sp.log(t)).at_most(t - 1, because="concave"),
        Derivation("means", x * y).at_most((x**2 + y**2) / 2, because="a square is not negative"),
        Derivation("Jensen", (sp.log(t) + sp.log(tau)) / 2).at_most(sp.log((t + tau) / 2), because="concave"),
        Derivation("softplus", sp.log(1 + sp.exp(x))).at_least(sp.Max(x, 0), because="drop a term"),
    ]


def sums_and_integrals() -> list[Derivation]:
    series = sp.Sum(gamma**k, (k, 0, sp.oo))
    moment = sp.Integral(x**2 * normal(x, mu, sigma), (x, -sp.oo, sp.oo))
    path = sp.Derivative(sp.log(s(t)) + f(t) ** 2, t)
    return [
        Derivation("doubling", sp.Sum(2 ** (k - 1), (k, 1, n))).equals(2**n - 1, because="geometric"),
        Derivation("discount", series, domain={gamma: (0, 1)}).equals(1 / (1 - gamma), because="geometric"),
        Derivation("second moment", moment).equals(mu**2 + sigma**2, because="shift"),
        Derivation("generic functions", path).equals(
            s(t).diff(t) / s(t) + 2 * f(t) * f(t).diff(t), because="chain rule"
        ),
        Derivation("kink", sp.Integral(sp.Abs(x - p), (x, 0, 1)), domain={p: (0, 1)}).equals(
            (p**2 + (1 - p) ** 2) / 2, because="two triangles"
        ),
    ]


def finite_and_matrices() -> list[Derivation]:
    a = sp.Matrix(2, 2, sp.symbols("a_:2_:2", real=True))
    zero = sp.Mul(*(1 - b for b in bits))
    chosen = sp.Piecewise((1, sp.Eq(sum(bits), 0)), (0, True))
    return [
        Derivation("all zero", zero, domain={b: [0, 1] for b in bits}).equals(chosen, because="each bit is 0"),
        Derivation("Cayley-Hamilton", a**2).equals(a.trace() * a - a.det() * sp.eye(2), because="characteristic"),
    ]


def expectations() -> list[Derivation]:
    u, v, w = Normal("u", 0, sigma), Normal("v", 0, sigma), Normal("w", 0, sigma)
    coin, count = Bernoulli("coin", sp.Rational(1, 3)), Poisson("count", t)
    return [
        Derivation("variance", Variance(u + 2 * v)).equals(5 * sigma**2, because="independent"),
        Derivation("coin times square", Expectation(coin * u**2)).equals(sigma**2 / 3, because="independent"),
        Derivation("counts", Expectation(count**2)).equals(t + t**2, because="factorial moments"),
        Derivation("largest of three", Expectation(sp.Max(u, v, w))).equals(
            3 * sigma / (2 * sp.sqrt(sp.pi)), because="order statistics"
        ),
    ]


@functools.cache
def derivations() -> list[Derivation]:
    groups = (closed_forms, bounds, sums_and_integrals, finite_and_matrices, expectations)
    return [d for group in groups for d in group()]
