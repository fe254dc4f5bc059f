"""The chapter against scikit-learn, SciPy, torch's BatchNorm, closed forms, and known mistakes."""

import math

import numpy as np
import pytest
import sympy as sp
import torch
from chapter import derivations, load
from scipy.stats import norm
from sklearn.linear_model import Perceptron

from utils.bridge import to_torch
from utils.derive import Derivation, StepError

book = load("bias")


def two_classes(seed, n=40, d=3):
    """Separable with margin 0.2 by a boundary off the origin."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(10 * n, d, generator=generator, dtype=torch.float64)
    z = x @ torch.randn(d, generator=generator, dtype=torch.float64) - 0.7
    far = z.abs() > 0.2
    return x[far][:n], z[far][:n].sign()


@pytest.mark.parametrize("seed", range(5))
def test_the_perceptron_is_scikit_learns(seed):
    x, y = two_classes(seed)
    theirs = Perceptron(shuffle=False, tol=None, max_iter=1000, eta0=1.0).fit(x.numpy(), y.numpy())
    w, _ = book.perceptron(book.with_one(x), y)
    np.testing.assert_allclose(w, [*theirs.coef_[0], theirs.intercept_[0]], rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_the_perceptron_separates_within_novikoffs_bound(seed):
    x, y = two_classes(seed)
    w, mistakes = book.perceptron(book.with_one(x), y)
    assert (y * (book.with_one(x) @ w) > 0).all()
    assert 0 < mistakes <= book.novikoff(book.with_one(x), y)


def test_novikoffs_bound_of_two_points_is_known():
    x, y = torch.tensor([[3.0, 0.0], [0.0, 4.0]], dtype=torch.float64), torch.tensor([1.0, 1.0])
    assert book.novikoff(x, y) == pytest.approx((4 / (12 / 5)) ** 2)  # margin: height of a 3-4-5 triangle


def test_the_margin_cannot_be_widened_by_turning_the_boundary():
    x, y = two_classes(0, d=1)
    z = (y[:, None] * book.with_one(x)).numpy()
    turns = np.linspace(0, 2 * math.pi, 200_001)
    margins = (z @ np.stack([np.cos(turns), np.sin(turns)])).min(0)
    assert book.novikoff(book.with_one(x), y) == pytest.approx((z**2).sum(1).max() / margins.max() ** 2, rel=1e-5)


def test_a_perceptron_without_the_constant_input_never_separates_what_needs_a_bias():
    _, mistakes = book.perceptron(torch.tensor([[1.0], [2.0]]), torch.tensor([-1, 1]), epochs=50)
    assert mistakes >= 50
    _, mistakes = book.perceptron(book.with_one(torch.tensor([[1.0], [2.0]])), torch.tensor([-1, 1]))
    assert mistakes < 20


@pytest.mark.parametrize(("bias", "length"), [(-2.0, 0.5), (0.0, 1.0), (1.3, 2.0)])
def test_how_often_a_unit_fires_is_scipys_normal(bias, length):
    built = to_torch(book.fires.expr, (book.b, book.r))(*torch.tensor([bias, length], dtype=torch.float64))
    assert built.item() == pytest.approx(norm.sf(0, bias, length), rel=1e-12)


def test_a_unit_fires_as_often_as_derived():
    generator = torch.Generator().manual_seed(0)
    x, w = torch.randn(100_000, 5, generator=generator), torch.randn(5, generator=generator)
    share = ((x @ w + 0.8) > 0).double().mean().item()
    assert share == pytest.approx(norm.cdf(0.8 / w.norm().item()), abs=0.006)  # four standard errors


def test_the_log_odds_of_one_per_cent_are_retinanets():
    assert float(book.log_odds.subs(book.p, sp.Rational(1, 100))) == pytest.approx(-math.log(99), rel=1e-12)


def test_networks_without_biases_scale_and_with_biases_do_not():
    generator = torch.Generator().manual_seed(0)
    weights, offsets, learnt = book.draw_network(False, 3, generator)
    assert len(learnt) == 2
    x = torch.rand(20, 64, generator=generator)
    torch.testing.assert_close(book.logits(0.01 * x, weights, offsets), 0.01 * book.logits(x, weights, offsets))
    shifted = [offset + 1 for offset in offsets]
    assert not torch.allclose(book.logits(0.01 * x, weights, shifted), 0.01 * book.logits(x, weights, shifted))


def test_a_network_is_two_linear_layers_of_torch():
    (W, U), (b, c), learnt = book.draw_network(True, 2, torch.Generator().manual_seed(1))
    b, c = b.detach() + 0.3, c.detach() - 0.2
    x = torch.rand(5, 64)
    for run, out in enumerate(book.logits(x, (W, U), (b, c))):
        hidden = torch.nn.functional.linear(x, W[run].T, b[run, 0]).relu()
        torch.testing.assert_close(out, torch.nn.functional.linear(hidden, U[run].T, c[run, 0]))
    assert len(learnt) == 4


@pytest.mark.parametrize("shift", [0.5, -3.0])
def test_batchnorm_does_not_see_a_bias(shift):
    x = torch.randn(30, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    layer = torch.nn.BatchNorm1d(4).double()
    torch.testing.assert_close(layer(x + shift), layer(x), rtol=1e-10, atol=1e-12)


def test_the_gradient_of_a_bias_vanishes_before_batchnorm_only():
    x = torch.randn(50, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert book.bias_gradient(book.layers(True), x) < 1e-12
    assert book.bias_gradient(book.layers(False), x) > 0.01


def test_layernorm_sees_a_bias_unless_all_units_share_it():
    generator = torch.Generator().manual_seed(0)
    x, bias = torch.randn(30, 4, generator=generator), torch.randn(4, generator=generator)
    layer = torch.nn.LayerNorm(4)
    assert not torch.allclose(layer(x + bias), layer(x), atol=0.1)
    torch.testing.assert_close(layer(x + 0.7), layer(x), rtol=1e-4, atol=1e-5)


def test_every_step_of_the_twelve_derivations_is_proved():
    found = derivations(book)
    assert len({d.title for d in found}) == 12
    assert {step.status for d in found for step in d.steps} == {"proved"}


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Derivation("sign", -book.T, where={book.b: book.T}).equals(book.b, because="no"),
        lambda: Derivation("far", book.away.lhs, where=book.away.where).at_least(2 * book.b**2, because="no"),
        lambda: Derivation("slope", book.slope.lhs, domain=book.share).equals(
            book.p - 1 / (1 + sp.exp(-book.b)), because="the sign turned"
        ),
        lambda: Derivation("scale", book.unit(book.c)).equals(book.c**2 * book.unit(1), because="two layers"),
    ],
)
def test_known_mistakes_are_refuted(wrong):
    with pytest.raises(StepError):
        wrong()
