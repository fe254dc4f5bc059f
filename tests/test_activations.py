"""The chapter against torch, SciPy, transformers' own gated block, closed forms, and known mistakes."""

import math

import jupytext
import numpy as np
import pytest
import sympy as sp
import torch
from chapter import derivations, load, source
from scipy import integrate, special, stats
from torch.nn import functional as F

from utils.bridge import to_torch
from utils.derive import Derivation, StepError

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # inside diffusers
book = load("activations")
THEIRS = {
    "sigmoid": (book.sigmoid, torch.sigmoid),
    "ReLU": (book.relu, F.relu),
    "GELU": (book.gelu, F.gelu),
    "SiLU": (book.swish, F.silu),
    "Swish of 1.7": (lambda x: book.swish(x, 1.7), lambda x: x * torch.sigmoid(1.7 * x)),
    "threshold": (book.step, lambda x: torch.heaviside(x, torch.tensor(0.5, dtype=x.dtype))),
}
INDEPENDENT = {
    "sigmoid": (book.sigmoid, special.expit, lambda z: special.expit(z) * special.expit(-z)),
    "tanh": (torch.tanh, np.tanh, lambda z: 1 / np.cosh(z) ** 2),
    "ReLU": (book.relu, lambda z: np.maximum(z, 0), lambda z: float(z > 0)),
    "GELU": (book.gelu, lambda z: z * stats.norm.cdf(z), lambda z: stats.norm.cdf(z) + z * stats.norm.pdf(z)),
    "SiLU": (book.swish, lambda z: z * special.expit(z), lambda z: special.expit(z) * (1 + z * special.expit(-z))),
}


def as_tanh(layers):
    """The chapter's function, from the cell that also trains."""
    cells = [c.source for c in jupytext.read(source("activations")).cells if "def as_tanh" in c.source]
    exec(cells[0].split("\n\n")[0], scope := {})
    return scope["as_tanh"](layers)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", THEIRS)
def test_functions_and_slopes_are_torchs(name):
    mine, theirs = THEIRS[name]
    x = torch.linspace(-30, 30, 1001, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(mine(x), theirs(x), rtol=1e-12, atol=1e-14)
    if name != "threshold":
        slopes = [torch.autograd.grad(f(x[x != 0]).sum(), x)[0] for f in (mine, theirs)]
        torch.testing.assert_close(*slopes, rtol=1e-9, atol=1e-14)


def test_no_function_overflows_far_away():
    far = torch.tensor([-1e4, -800.0, 800.0, 1e4], requires_grad=True)
    for f in (book.sigmoid, book.swish, book.gelu, book.relu):
        value = f(far)
        (slope,) = torch.autograd.grad(value.sum(), far)
        assert value.isfinite().all()
        assert slope.isfinite().all()


@pytest.mark.parametrize("name", INDEPENDENT)
@pytest.mark.parametrize("m", [0.25, 1.0, 3.0])
def test_averages_are_scipys_integrals(name, m):
    built, value, slope = INDEPENDENT[name]
    expected = [
        sum(
            integrate.quad(lambda u, f=f: f(math.sqrt(m) * u) ** 2 * stats.norm.pdf(u), *ends, epsabs=1e-11)[0]
            for ends in ((-12, 0), (0, 12))
        )
        for f in (value, slope)
    ]
    assert book.averages(built, m) == pytest.approx(expected, rel=2e-5)


def test_gelu_has_the_closed_averages():
    third = 1 / 3
    closed = third + 1 / (2 * math.sqrt(3) * math.pi), third + 2 / (3 * math.sqrt(3) * math.pi)
    assert book.averages(book.gelu) == pytest.approx(closed, rel=1e-10)


def test_he_and_lecun_gains_are_torchs():
    assert book.own_gain(book.relu) == pytest.approx(torch.nn.init.calculate_gain("relu"), rel=1e-6)
    assert book.own_gain(lambda x: x) == pytest.approx(torch.nn.init.calculate_gain("linear"), rel=1e-6)


@pytest.mark.parametrize("gain", [0.8, 1.0, 2**0.5])
def test_prediction_for_relu_is_a_power_of_half_the_squared_gain(gain):
    factor = gain**2 / 2
    signal, gradient = book.predict(book.relu, gain, 6)
    assert signal == pytest.approx([factor**layer for layer in range(6)], rel=1e-3)
    assert gradient == pytest.approx([factor ** (5 - layer) for layer in range(6)], rel=1e-3)


@pytest.mark.parametrize(
    ("name", "gain"), [*((n, None) for n in ("sigmoid", "tanh", "ReLU", "GELU")), ("sigmoid", 1.0)]
)
def test_signal_and_gradient_of_wide_layers_follow_the_prediction(name, gain):
    f, draw = INDEPENDENT[name][0], generator()
    gain = gain or book.own_gain(f)
    torch.manual_seed(0)
    runs = [book.measure(f, gain, book.x_test[:40].clone(), draw) for _ in range(3)]
    signal, gradient = torch.tensor(runs).mean(0).tolist()
    predicted = book.predict(f, gain, 10)
    assert signal[3] == pytest.approx(predicted[0][3], rel=0.12)
    assert gradient[6] == pytest.approx(predicted[1][6], rel=0.15)


@pytest.mark.parametrize(("name", "holds"), [("sigmoid", True), ("tanh", True), ("GELU", False), ("SiLU", False)])
@pytest.mark.parametrize("start", [0.8, 1.2])
def test_the_gain_that_keeps_the_signal_holds_it_only_for_sigmoid_and_tanh(name, holds, start):
    f, m = INDEPENDENT[name][0], start
    for _ in range(6):
        m = book.own_gain(f) ** 2 * book.averages(f, m)[0]
    assert (abs(m - 1) < abs(start - 1)) == holds


def test_a_sigmoid_layer_never_returns_a_sixteenth_of_the_squared_gradient():
    for m in (0.01, 0.3, 1.0, 10.0):
        assert book.averages(book.sigmoid, m)[1] <= 1 / 16


def test_layers_have_the_variance_that_he_prescribes():
    first, second = book.draw_layers(2**0.5, [50, 400, 300], 20, generator())
    assert first[0].var().item() == pytest.approx(1 / 50, rel=0.02)
    assert second[0].var().item() == pytest.approx(2 / 400, rel=0.02)
    reference = torch.empty(300, 400)
    torch.nn.init.kaiming_normal_(reference, nonlinearity="relu", generator=generator())
    assert second[0].var().item() == pytest.approx(reference.var().item(), rel=0.03)


def test_parallel_networks_are_separate_networks():
    layers = book.draw_layers(1.3, [64, 7, 5], 3, generator())
    x = book.x_test[:4]
    together = book.pre_activations(torch.tanh, layers, x)[-1]
    for k in range(3):
        (W, b), (W_out, b_out) = [(W[k], b[k]) for W, b in layers]
        torch.testing.assert_close(together[k], torch.tanh(x @ W + b) @ W_out + b_out)


def test_swiglu_is_the_gated_unit_of_diffusers():
    from diffusers.models.activations import SwiGLU

    theirs = SwiGLU(12, 32, bias=False).double()
    x = torch.randn(5, 12, dtype=torch.float64, generator=generator())
    V, W = theirs.proj.weight.T.split(32, dim=1)  # value first, gate second
    torch.testing.assert_close(book.swiglu(x, W, V, torch.eye(32, dtype=torch.float64)), theirs(x))


def test_swiglu_written_with_torch_functions():
    x, W, V, W_2 = (
        torch.randn(*s, dtype=torch.float64, generator=generator()) for s in ((9, 4), (4, 6), (4, 6), (6, 4))
    )
    torch.testing.assert_close(book.swiglu(x, W, V, W_2), F.linear(F.silu(x @ W) * (x @ V), W_2.T))


def test_one_gated_unit_and_its_gradients_are_the_expression_that_the_widget_draws():
    pair = torch.randn(50, 2, dtype=torch.float64, generator=generator(), requires_grad=True)
    one, other = torch.eye(2, dtype=torch.float64).split(1, 1)
    built = book.swiglu(pair, one, other, torch.ones(1, 1, dtype=torch.float64))
    unit = to_torch(book.drawn["Swish times v"].subs(book.beta, 1), (book.x, book.v))(pair[:, :1], pair[:, 1:])
    torch.testing.assert_close(built, unit)
    torch.testing.assert_close(*(torch.autograd.grad(part.sum(), pair)[0] for part in (built, unit)))


def test_a_gated_layer_raises_the_squared_gradient_as_derived():
    A, B = book.averages(book.swish)
    x = book.x_test[:50].expand(100, 50, 64).clone().requires_grad_()
    W, V, W_2 = torch.randn(3, 100, 64, 64, generator=generator()) / 8
    out = book.swiglu(x, W, V, W_2) / A**0.5
    (down,) = torch.autograd.grad(out, x, torch.randn(out.shape, generator=generator(1)))
    assert down.square().mean().item() == pytest.approx(1 + B / A, rel=0.06)


@pytest.mark.parametrize("depth", [2, 5, 9])
def test_a_tanh_network_can_be_said_with_sigmoids(depth):
    layers = book.draw_layers(1.2, [64] * depth + [10], 2, generator())
    layers = [(W.double(), torch.randn(b.shape, generator=generator(), dtype=torch.float64)) for W, b in layers]
    x = book.x_test[:20].double()
    wanted = book.pre_activations(torch.tanh, layers, x)[-1]
    torch.testing.assert_close(book.pre_activations(book.sigmoid, as_tanh(layers), x)[-1], wanted)
    torch.testing.assert_close(book.pre_activations(torch.sigmoid, as_tanh(layers), x)[-1], wanted)


@pytest.mark.parametrize(("width", "depth"), [(2, 6), (3, 10)])
def test_born_dead_is_as_likely_as_derived(width, depth):
    shut = book.pre_activations(
        book.relu, book.draw_layers(1.0, [64] + [width] * depth, 6000, generator()), book.x_test[:1]
    )
    found = (shut[-1] <= 0).all(-1).double().mean().item()
    expected = float(book.dead.expr.subs({book.width: width, book.depth: depth}))
    assert found == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / 6000))


def test_every_step_is_proved():
    assert {step.status for d in derivations(book) for step in d.steps} == {"proved"}


def test_a_bound_of_an_eighth_for_the_sigmoid_is_refuted():
    slope = Derivation("slope", sp.Derivative(1 / (1 + sp.exp(-book.x)), book.x))
    with pytest.raises(StepError):
        slope.at_most(sp.Rational(1, 8), because="a bound that is too good")


def test_he_without_the_half_is_refuted():
    signal = Derivation("A of ReLU", sp.Integral(book.x**2 * book.wide, (book.x, 0, sp.oo)))
    with pytest.raises(StepError):
        signal.equals(book.m, because="as if ReLU were linear")


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("leaky", lambda a: 2 / (1 + a**2), lambda a: 2 / (1 + a)),
        ("spread", lambda a: sp.pi / (sp.pi - 1), lambda a: sp.pi / (sp.pi - 2)),
        ("enough", lambda a: 13, lambda a: 12),
    ],
)
def test_exercises_tell_right_from_wrong(name, right, wrong):
    exercise, a = getattr(book, name), sp.Symbol("a", real=True)
    assert exercise.check(right(a))
    assert not exercise.check(wrong(a))
