"""Autoregression held against independent libraries, brute force and known mistakes."""

import itertools
import math

import nltk.lm
import pytest
import sympy as sp
import torch
import zuko
from chapter import load
from nltk.util import ngrams
from sklearn.linear_model import LogisticRegression
from torch.testing import assert_close

from utils import data
from utils.bridge import to_torch
from utils.derive import StepError

chapter = load("autoregression")


def cube(n):
    return torch.tensor(list(itertools.product((0.0, 1.0), repeat=n)), dtype=torch.float64)


def randomised(model, scale=1.0):
    """The model in float64 with every parameter drawn at random."""
    model = model.double().eval()
    torch.manual_seed(5)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=scale)
    return model


MODELS = {
    "FVSBN": lambda n: chapter.FVSBN(n),
    "NADE": lambda n: chapter.NADE(n, 7),
    "MADE": lambda n: chapter.MADE(n, 30),
    "MADE with fewer units than pixels": lambda n: chapter.MADE(n, 4),
    "MADE in four orders": lambda n: chapter.MADE(n, 30, orders=4),
}


@pytest.fixture(params=MODELS)
def model(request):
    return randomised(MODELS[request.param](12))


def test_probabilities_of_all_4096_images_sum_to_one(model):
    assert_close(model(cube(12)).exp().sum().item(), 1.0)


def test_no_logit_moves_with_its_own_or_a_later_pixel(model):
    x = torch.rand(12, dtype=torch.float64)
    for order in range(model.orders):
        rank = getattr(model, "ranks", [torch.arange(12)])[order]
        jacobian = torch.func.jacrev(lambda x, order=order: model.logits(x[None], order)[0])(x)
        later = rank[:, None] <= rank
        assert (jacobian[later] == 0).all()
        assert (jacobian[~later] != 0).sum() > 30


def test_samples_have_the_model_s_frequencies():
    model = randomised(chapter.FVSBN(3)).requires_grad_(False)
    torch.manual_seed(0)
    drawn = model.sample(torch.zeros(40_000, 3, dtype=torch.float64))
    frequency = (drawn[:, None] == cube(3)).all(-1).double().mean(0)
    assert (frequency - model(cube(3)).exp()).abs().max() < 0.01


def test_completion_keeps_the_given_pixels_and_leaves_its_argument_alone():
    model = randomised(chapter.MADE(12, 20)).requires_grad_(False)
    given = torch.bernoulli(torch.full((50, 12), 0.5, dtype=torch.float64))
    before = given.clone()
    drawn = model.sample(given, given=5)
    assert (drawn[:, :5] == given[:, :5]).all()
    assert (drawn[:, 5:] != given[:, 5:]).any()
    assert (given == before).all()
    assert ((drawn == 0) | (drawn == 1)).all()


def test_fvsbn_is_scikit_learn_s_logistic_regressions():
    x = (data.digits().x_train > 7).double()
    x = x[:, x.var(0).topk(12).indices]  # pixels that vary
    fitted = chapter.FVSBN(12).double()
    for i in range(1, 12):
        one = LogisticRegression(C=1e3, solver="newton-cholesky", tol=1e-12, max_iter=500)
        one.fit(x[:, :i].numpy(), x[:, i].numpy())
        with torch.no_grad():
            fitted.W[i, :i], fitted.b[i] = torch.from_numpy(one.coef_[0]), one.intercept_[0]
        probabilities = torch.from_numpy(one.predict_proba(x[:, :i].numpy())[:, 1])
        assert_close(torch.sigmoid(fitted.logits(x)[:, i]), probabilities)
    with torch.no_grad():
        fitted.b[0] = torch.logit(x[:, 0].mean())
    loss = -fitted(x).mean() + (fitted.W.tril(-1) ** 2).sum() / (2e3 * len(x))  # scikit-learn's penalty
    assert max(g.abs().max() for g in torch.autograd.grad(loss, fitted.parameters())) < 1e-7


def test_gradient_of_the_likelihood_is_the_derived_one():
    model = randomised(chapter.FVSBN(4))
    x = cube(4)
    derived = to_torch(chapter.gradient.expr, (chapter.x, chapter.ell))(x, model.logits(x))
    grad_w, grad_b = torch.autograd.grad(model(x).sum(), (model.W, model.b))
    assert_close(grad_b, derived.sum(0))
    assert_close(grad_w, (derived.T @ x).tril(-1))


def test_nade_s_running_sum_is_the_masked_product():
    model = randomised(chapter.NADE(9, 5))
    x = torch.rand(6, 9, dtype=torch.float64)
    direct = torch.stack([model.c + x[:, :i] @ model.W[:, :i].T for i in range(9)], 1)
    assert_close(model.hidden(x), direct)
    assert_close(model.logits(x), model.b + torch.einsum("bnd,nd->bn", torch.sigmoid(direct), model.V))


def test_made_is_zuko_s_masked_network():
    made = chapter.MADE(8, 40, orders=3).double()
    for order, rank in enumerate(made.ranks):
        torch.manual_seed(order)
        other = zuko.nn.MaskedMLP(rank[:, None] > rank, hidden_features=[40]).double()
        first, _, second = other
        made.degree = first.mask.sum(1) - 1  # a unit that sees the first r places has degree r - 1
        with torch.no_grad():
            made.W.weight.copy_(first.weight), made.W.bias.copy_(first.bias)
            made.V.weight.copy_(second.weight), made.V.bias.copy_(second.bias)
        assert_close(made.logits(cube(8), order), other(cube(8)))


def test_without_hidden_weights_made_is_an_fvsbn():
    made, fvsbn = randomised(chapter.MADE(10, 6)), randomised(chapter.FVSBN(10))
    with torch.no_grad():
        made.V.weight.zero_()
        made.U.copy_(fvsbn.W)
        made.V.bias.copy_(fvsbn.b)
    assert_close(made(cube(10)), fvsbn(cube(10)))


def test_the_mixture_averages_probabilities_and_beats_the_average_of_its_members():
    made = randomised(chapter.MADE(8, 20, orders=5), 0.5)
    x = cube(8)
    members = torch.stack([made.log_prob(x, order) for order in range(5)])
    assert_close(made(x).exp(), members.exp().mean(0))
    assert (made(x) >= members.mean(0)).all()
    assert members.mean(0).exp().sum() < 0.99  # the mean of logarithms is no distribution


@pytest.mark.parametrize("k", [0, 1, 2, 3])
@pytest.mark.parametrize("alpha", [0.1, 1.0])
def test_n_gram_is_nltk_s_lidstone(k, alpha):
    text, probe = "the whale the white whale and the sea " * 3, "the sea and the whale was white"
    letters = sorted(set(text + probe))
    ours = chapter.NGram(text, k).prob(probe, alpha, letters=len(letters) + 1)  # nltk counts <UNK> as a letter
    theirs = nltk.lm.Lidstone(alpha, order=k + 1)
    theirs.fit([ngrams(text, k + 1)], vocabulary_text=letters)
    # nltk counts a context only where a letter follows, as the chapter does.
    expected = [theirs.score(probe[t + k], tuple(probe[t : t + k]) or None) for t in range(len(probe) - k)]
    assert_close(ours, torch.tensor(expected, dtype=torch.float64))


def test_n_gram_probabilities_of_the_next_letter_sum_to_one():
    model = chapter.NGram("abracadabra", 2)
    assert_close(sum(model.prob("ab" + letter, 0.3, letters=5) for letter in "abcdr").item(), 1.0)


def test_posterior_mean_is_the_ratio_of_two_beta_integrals():
    u, a, b = sp.Symbol("u"), sp.Integer(3), sp.Integer(5)
    moment = sp.integrate(u * u ** (a - 1) * (1 - u) ** (b - 1), (u, 0, 1))
    assert moment / sp.integrate(u ** (a - 1) * (1 - u) ** (b - 1), (u, 0, 1)) == chapter.smoothed.lhs.subs(
        {chapter.A: a, chapter.B: b}
    )


def test_equality_in_the_output_mask_is_refuted():
    with pytest.raises(StepError, match="does not hold"):
        chapter.path(chapter.upto)


def test_equality_in_the_output_mask_leaks_the_pixel_and_breaks_the_sum():
    class Leaky(chapter.MADE):
        def masks(self, rank):
            return self.degree[:, None] >= rank, rank[:, None] >= self.degree, rank[:, None] > rank

    leaky = randomised(Leaky(8, 40))
    jacobian = torch.func.jacrev(lambda x: leaky.logits(x[None])[0])(torch.rand(8).double())
    assert (jacobian.diagonal() != 0).any()
    assert abs(leaky(cube(8)).exp().sum() - 1) > 0.01


def test_a_wrong_sign_in_the_gradient_is_refuted():
    wrong = chapter.Derivation("gradient", chapter.gradient.lhs, domain=chapter.bit)
    with pytest.raises(StepError, match="does not hold"):
        wrong.equals(chapter.sigmoid - chapter.x, because="a sign was lost")


def test_three_bits_know_no_order_and_four_do():
    def interaction(n):
        model = randomised(chapter.FVSBN(n))
        sign = (-1.0) ** (3 - cube(n)[:, :3].sum(1))
        return (sign * model(cube(n)))[(cube(n)[:, 3:] == 0).all(1)].sum().item()

    assert abs(interaction(3)) < 1e-12
    assert abs(interaction(4)) > 1e-3


def test_a_logistic_regression_of_parity_is_a_coin():
    x = cube(2)
    parity = (x.sum(1) == 1).int()
    fit = LogisticRegression(C=1e6).fit(x.numpy(), parity.numpy())
    assert_close(-torch.from_numpy(fit.predict_log_proba(x.numpy()))[range(4), parity].mean().item(), math.log(2))
