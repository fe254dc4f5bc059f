"""The chapter on the variational autoencoder against torch.distributions, scikit-learn, quadrature and its mistakes."""

import math

import pytest
import sympy as sp
import torch
from sklearn.decomposition import PCA
from torch.distributions import Bernoulli, MultivariateNormal, Normal, kl_divergence
from torch.testing import assert_close

from tests.chapter import load
from utils import training
from utils.derive import Derivation, StepError


@pytest.fixture(scope="module")
def vae():
    return load("generative/variational-autoencoder")


@pytest.fixture
def small(vae):
    training.seed(3)
    return vae.VAE(6, 2, width=16).requires_grad_(False)


@pytest.fixture
def bits():
    return torch.bernoulli(torch.full((5, 6), 0.4, dtype=torch.float32), generator=torch.Generator().manual_seed(0))


def grid():
    return torch.linspace(-7, 7, 281)


def test_the_divergence_is_torchs(vae):
    mu, s = torch.randn(9, 4).double(), torch.rand(9, 4).double() + 0.05
    expected = kl_divergence(Normal(mu, s), Normal(torch.zeros_like(mu), 1)).sum(-1)
    assert_close(vae.kl(mu, s), expected, rtol=1e-12, atol=1e-12)


def test_a_weight_is_joint_over_guess(vae, small, bits):
    mu, s = small.guess(bits)
    training.seed(1)
    epsilon = torch.randn(3, 5, 2)
    z = mu + s * epsilon
    expected = Bernoulli(logits=small.decoder(z)).log_prob(bits).sum(-1)
    expected = expected + Normal(0.0, 1.0).log_prob(z).sum(-1) - Normal(mu, s).log_prob(z).sum(-1)
    training.seed(1)
    assert_close(small.log_weights(bits, 3), expected, rtol=1e-4, atol=1e-4)


def test_the_loss_is_minus_the_mean_log_weight(small, bits):
    training.seed(0)
    many = bits.repeat(40_000, 1)
    assert_close(small.loss(many), -small.log_weights(many, 1).mean(), atol=0.01, rtol=0)


@pytest.mark.parametrize("beta", [0.0, 0.5, 4.0])
def test_beta_weighs_the_divergence_alone(vae, small, bits, beta):
    training.seed(0)
    whole = small.loss(bits)
    training.seed(0)
    mu, s = small.guess(bits)
    assert_close(small.loss(bits, beta), whole + (beta - 1) * vae.kl(mu, s).mean())


def test_the_loss_reaches_the_encoder_through_the_draw(vae, bits):
    training.seed(0)
    model = vae.VAE(6, 2, width=16)
    model.loss(bits, beta=0.0).backward()
    assert model.encoder[0].weight.grad.norm() > 1e-4


def test_the_slopes_of_the_loss_are_those_of_its_value(vae, bits):
    training.seed(0)
    model = vae.VAE(6, 2, width=16).double()

    def loss():
        training.seed(1)
        return model.loss(bits.double(), beta=0.5)

    for bias in (model.encoder[2].bias, model.decoder[2].bias):
        (slopes,) = torch.autograd.grad(loss(), bias)
        assert slopes.abs().min() > 1e-3
        for slope, step in zip(slopes, 1e-6 * torch.eye(len(bias)).double(), strict=True):
            bias.data += step
            above = loss().item()
            bias.data -= 2 * step
            below = loss().item()
            bias.data += step
            assert slope.item() == pytest.approx((above - below) / 2e-6, rel=1e-4)


def test_bounds_are_ordered_on_the_same_draws(vae, small, bits):
    log_w = small.log_weights(bits, 256)
    ladder = torch.stack([vae.bounds(log_w, k) for k in (1, 2, 4, 16, 64, 256)])
    assert (ladder.diff(dim=0) >= -1e-5).all()
    assert_close(ladder[0], log_w.mean(0))
    assert_close(ladder[-1], log_w.logsumexp(0) - math.log(256))


def test_many_draws_meet_the_evidence_on_a_grid(vae, small, bits):
    training.seed(0)
    exact = vae.log_joint(small, bits, grid()).logsumexp(0)
    assert_close(vae.bounds(small.log_weights(bits, 100_000), 100_000), exact, atol=0.01, rtol=0)


def test_the_evidence_sums_to_one_over_all_images(vae, small):
    images = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 6)
    total = vae.log_joint(small, images, grid()).logsumexp(0).exp().sum()
    assert_close(total, torch.tensor(1.0), atol=1e-4, rtol=0)


def test_elbo_and_divergence_from_the_posterior_make_the_evidence(vae, small, bits):
    line = grid()
    joint = vae.log_joint(small, bits, line).double()
    z = torch.cartesian_prod(line, line)
    mu, s = small.guess(bits)
    log_q = Normal(mu[None], s[None]).log_prob(z[:, None]).sum(-1).double() + 2 * math.log(14 / 280)
    gap = (log_q.exp() * (log_q - joint + joint.logsumexp(0))).sum(0)
    training.seed(0)
    elbo = small.log_weights(bits, 200_000).double().mean(0)
    assert (gap > 1e-3).all()
    assert_close(elbo + gap, joint.logsumexp(0), atol=0.01, rtol=0)


@pytest.mark.parametrize("d", [1, 3])
def test_the_linear_bound_is_below_the_likelihood_and_touches_it_for_orthogonal_columns(vae, d):
    training.seed(d)
    x = torch.randn(50, 5).double() @ torch.randn(5, 5).double()
    S, v = x.T @ x / 50, torch.tensor(0.3).double()
    axes, _ = torch.linalg.qr(torch.randn(5, d).double())
    for W, touches in ((axes * torch.rand(d).double(), True), (torch.randn(5, d).double(), d == 1)):
        model = MultivariateNormal(torch.zeros(5).double(), W @ W.T + v * torch.eye(5).double())
        short = model.log_prob(x).mean() - vae.linear_elbo(W, *vae.best_encoder(W, v), v, S)
        assert short >= -1e-10
        assert (short < 1e-10) == touches


def test_no_encoder_beats_the_best(vae):
    training.seed(0)
    W, v = torch.randn(64, 4).double(), torch.tensor(0.4).double()
    A, s = (t.requires_grad_() for t in vae.best_encoder(W, v))
    best = vae.linear_elbo(W, A, s, v, vae.S)
    slopes = torch.autograd.grad(best, (A, s))
    assert_close(slopes, (torch.zeros(4, 64).double(), torch.zeros(4).double()), atol=1e-9, rtol=0)
    for _ in range(5):
        other = vae.linear_elbo(W, A + 0.01 * torch.randn(4, 64), s * (1 + 0.1 * torch.randn(4)), v, vae.S)
        assert other < best


def principal(vae, d, v=None):
    """Columns and noise that Tipping and Bishop derive."""
    values, vectors = torch.linalg.eigh(vae.S)
    values, vectors = values.flip(0), vectors.flip(1)
    v = values[d:].mean() if v is None else torch.tensor(v).double()
    return vectors[:, :d] * (values[:d] - v).clamp(min=0).sqrt(), v


def test_the_linear_bound_at_the_principal_axes_is_scikit_learns_score(vae):
    W, v = principal(vae, 10)
    bound = vae.linear_elbo(W, *vae.best_encoder(W, v), v, vae.S)
    count = len(vae.centred)
    unbiased = vae.centred * math.sqrt((count - 1) / count)  # scikit-learn divides by N - 1
    model = PCA(10).fit(unbiased.numpy())
    score = MultivariateNormal(torch.zeros(64).double(), torch.from_numpy(model.get_covariance()))
    assert_close(bound, score.log_prob(vae.centred).mean(), rtol=1e-9, atol=0)
    assert model.score(vae.centred.numpy()) == pytest.approx(bound.item(), rel=1e-3)


def test_the_likelihood_without_bound_or_encoder_drops_the_same_latents(vae):
    W, v = principal(vae, 20, 0.2)
    assert (W.square().sum(0) > 0).sum() == 18
    x = vae.centred

    def likelihood(W):
        return MultivariateNormal(torch.zeros(64).double(), W @ W.T + v * torch.eye(64).double()).log_prob(x).mean()

    training.seed(0)
    dead = torch.zeros_like(W)
    dead[:, 18:] = 1e-2 * torch.randn(64, 2).double()
    assert likelihood(W + dead) < likelihood(W)
    assert likelihood(W * 1.01) < likelihood(W)
    assert likelihood(W * 0.99) < likelihood(W)


@pytest.mark.parametrize("beta", [0.25, 1.0, 8.0])
def test_a_weight_is_noise_for_any_decoder(vae, beta):
    v, e, divergence, n = 0.3, 7.0, 2.5, 64
    weighted = -n * math.log(2 * math.pi * v) / 2 - e / (2 * v) - beta * divergence
    values = {vae.v: v, vae.e: e, vae.K: divergence, vae.n: n, vae.beta: beta}
    assert float(vae.weighted.expr.subs(values)) == pytest.approx(weighted)


def test_a_wrong_divergence_does_not_close_the_gap(vae):
    with pytest.raises(StepError, match="does not hold"):
        Derivation("gap", vae.gap.lhs).equals(vae.divergence, because="the prior's")


def test_training_is_repeatable_and_lowers_the_loss(vae):
    x = (vae.digits.x_train > 7).float()
    first, again = (vae.trained(x, 2, steps=40, width=20) for _ in range(2))
    assert_close(first.encoder[0].weight, again.encoder[0].weight)
    training.seed(0)
    assert first.loss(x) < vae.VAE(64, 2, width=20).loss(x) - 5


def test_training_draws_bits_anew_and_passes_the_weight_on(vae, monkeypatch):
    seen, loss = [], vae.VAE.loss

    def spy(model, x, beta):
        seen.append((x, beta))
        return loss(model, x, beta)

    monkeypatch.setattr(vae.VAE, "loss", spy)
    vae.trained(torch.full((200, 40), 0.3), 2, beta=3.0, steps=5, width=4)
    drawn = torch.stack([x for x, _ in seen])
    assert {beta for _, beta in seen} == {3.0}
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    assert drawn.mean().item() == pytest.approx(0.3, abs=0.02)
    assert (drawn.mean(0) % 1 != 0).any()


def test_every_step_is_proved(vae):
    found = {id(d): d for d in vars(vae).values() if isinstance(d, Derivation)}.values()
    assert len(found) == 8
    for derivation in found:
        for step in derivation.steps:
            assert step.status == "proved", (derivation.title, step.because)


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("rate", lambda c: sp.log(c.lam) / 2 - sp.log(c.v) / 2, lambda c: sp.log(c.lam / c.v)),
        ("tilted", lambda c: -sp.log(sp.sqrt(1 - c.rho**2)), lambda c: c.rho**2 / 2),
        ("total", lambda c: sp.tanh(c.ell / 2) / c.ell, lambda c: sp.tanh(c.ell) / c.ell),
    ],
)
def test_exercises_accept_the_answer_and_refuse_another(vae, name, right, wrong):
    assert getattr(vae, name).check(right(vae))
    assert not getattr(vae, name).check(wrong(vae))
