"""The chapter against diffusers' schedulers, bit for bit where both use float32; against closed forms and mistakes."""

import math

import pytest
import sympy as sp
import torch
from chapter import derivations, load

from utils import data, weights
from utils.denoisers import DigitNet, UNet, waves
from utils.derive import Derivation, StepError

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # inside diffusers
book = load("denoising-diffusion")


def draw(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return DigitNet(32, 2).requires_grad_(False)


def exact(variance):
    """The best noise predictor for data N(0, variance)."""
    return lambda x, now: (1 - now) ** 0.5 * x / (now * variance + 1 - now)


@pytest.mark.parametrize("steps", [1000, 200])
def test_linear_chain_is_diffusers_bit_for_bit(steps):
    from diffusers import DDPMScheduler

    theirs = DDPMScheduler(num_train_timesteps=steps, beta_schedule="linear").alphas_cumprod
    ours = book.linear(steps, scaled=False, dtype=torch.float32)
    assert ours[0] == 1
    assert torch.equal(ours[1:], theirs)  # theirs counts from 0 and leaves out the 1


def test_cosine_chain_is_diffusers():
    from diffusers import DDPMScheduler

    theirs = DDPMScheduler(beta_schedule="squaredcos_cap_v2").alphas_cumprod.double()
    torch.testing.assert_close(book.cosine(1000)[1:], theirs, rtol=2e-4, atol=1e-6)


@pytest.mark.parametrize("clip", [True, False])
def test_ddim_is_diffusers_bit_for_bit_over_a_full_run(net, clip):
    from diffusers import DDIMScheduler

    theirs = DDIMScheduler(beta_schedule="linear", clip_sample=clip, set_alpha_to_one=True)
    theirs.set_timesteps(20)
    ours = torch.cat([torch.ones(1), theirs.alphas_cumprod[theirs.timesteps.flip(0)]])
    x, start = draw(8, 64), draw(8, 64)
    for t in theirs.timesteps:
        eps = net(x, theirs.alphas_cumprod[t])
        x = theirs.step(eps, t, x, use_clipped_model_output=clip).prev_sample
    assert torch.equal(book.sample(net, start, ours, clip=clip), x)


def test_ddpm_step_has_the_mean_and_variance_of_diffusers(net):
    from diffusers import DDPMScheduler

    theirs, x = DDPMScheduler(beta_schedule="linear", clip_sample=True), draw(20_000, 64)
    ours = book.linear(1000, dtype=torch.float32)
    for t in (999, 400, 10):
        torch.manual_seed(1)
        eps = net(x, ours[t + 1])
        moved = theirs.step(eps, t, x).prev_sample
        mean, sigma = book.step(*book.denoise(net, x, ours[t + 1]), ours[t + 1], ours[t], 1.0)
        noise = (moved - mean) / sigma
        assert abs(noise.mean()) < 0.005
        assert noise.std() == pytest.approx(1, abs=0.005)
        torch.testing.assert_close(theirs._get_variance(t), sigma**2, rtol=1e-3, atol=0)


def test_noisy_is_add_noise():
    from diffusers import DDPMScheduler

    theirs, t = DDPMScheduler(beta_schedule="linear"), torch.tensor([0, 500, 999])
    now = book.linear(1000, dtype=torch.float32)[t + 1][:, None]
    torch.testing.assert_close(book.noisy(draw(3, 64), draw(3, 64, seed=1), now),
                               theirs.add_noise(draw(3, 64), draw(3, 64, seed=1), t))  # fmt: skip


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_every_member_of_the_family_ends_with_the_variance_of_the_data(eta):
    torch.manual_seed(0)
    x = book.sample(exact(0.25), torch.randn(20_000, 1, dtype=torch.float64), book.linear(1000), eta, clip=False)
    assert x.var().item() == pytest.approx(0.25, rel=0.03)


def test_a_step_along_the_chain_and_the_jump_have_the_same_moments():
    chain = book.linear(50)
    beta = 1 - chain[1:] / chain[:-1]
    mean, variance = torch.tensor(1.0, dtype=torch.float64), torch.tensor(0.0, dtype=torch.float64)
    for t in range(50):
        mean, variance = (1 - beta[t]) ** 0.5 * mean, (1 - beta[t]) * variance + beta[t]
    torch.testing.assert_close(mean, chain[-1] ** 0.5)
    torch.testing.assert_close(variance, 1 - chain[-1])


def test_bound_is_the_entropy_when_the_model_is_exact():
    """For N(0, v) data and its exact predictor, the steps and the end cost what the chain loses of information."""
    torch.manual_seed(0)
    variance, chain = 0.25, book.cosine(4000)
    x_0 = variance**0.5 * torch.randn(100_000, 1, dtype=torch.float64)
    snr = chain / (1 - chain)
    first = 40
    tail = chain[[0, *range(first, len(chain))]]
    total = 0.0
    for t in range(2, len(tail)):
        if t % 10 == 0:  # every tenth, times ten: the integrand is smooth
            x_t = book.noisy(x_0, torch.randn_like(x_0), tail[t])
            error = (x_0 - book.denoise(exact(variance), x_t, tail[t], clip=False)[0]).square().mean()
            ratio = tail / (1 - tail)
            total += 10 * ((ratio[t - 1] - ratio[t]) / 2 * error).item()
    assert total == pytest.approx(0.5 * math.log1p(variance * snr[first].item()), rel=0.03)


def test_decoder_reads_without_loss_at_small_noise_and_costs_the_prior_at_large():
    torch.manual_seed(0)
    x_0 = torch.randint(0, 17, (2000, 64)) / 8 - 1
    flat = torch.full((64, 17), -math.log(17.0))
    assert book.decoder(x_0, torch.tensor(0.9999), flat) < 1e-3
    assert book.decoder(x_0, torch.tensor(1e-6), flat) == pytest.approx(64 * math.log(17.0), rel=1e-3)


def test_bound_needs_every_part():
    torch.manual_seed(0)
    x_0, flat = torch.randint(0, 17, (50, 64)) / 8 - 1, torch.full((64, 17), -math.log(17.0))
    nats = book.bound(exact(0.5), x_0, book.linear(100), flat)
    assert nats.shape == (101,)
    assert (nats > -1e-6).all()
    assert nats.sum() > 64 * math.log(17.0)  # uniform pixels: no model is better than log 17 each


def test_bound_is_its_formula_term_by_term():
    x_0, chain = (
        torch.randint(0, 17, (7, 64), generator=torch.Generator().manual_seed(0)) / 8 - 1,
        book.linear(40).float(),
    )
    prior = draw(64, 17).log_softmax(-1)
    torch.manual_seed(3)
    nats = book.bound(lambda x, now: (x - now**1.5) / (1 - now) ** 0.5, x_0, chain, prior)  # its guess of x_0 is `now`
    torch.manual_seed(3)
    torch.testing.assert_close(nats[0], book.decoder(x_0, chain[1], prior))
    snr, miss = chain / (1 - chain), (x_0[:, None] - chain[2:, None]).square().sum(2).mean(0)
    torch.testing.assert_close(nats[1:-1], (snr[1:-1] - snr[2:]) / 2 * miss, rtol=1e-3, atol=1e-5)
    end = torch.distributions.Normal(chain[-1] ** 0.5 * x_0.double(), (1 - chain[-1].double()) ** 0.5)
    kl = torch.distributions.kl_divergence(end, torch.distributions.Normal(0.0, 1.0)).sum(1).mean()
    assert nats[-1].item() == pytest.approx(kl.item(), rel=1e-3)


def test_decoder_is_bayes_rule():
    x_0, now, prior = torch.tensor([[-1.0, 0.25] * 32]), torch.tensor(0.9), draw(64, 17).log_softmax(-1)
    torch.manual_seed(4)
    x = 0.9**0.5 * x_0 + 0.1**0.5 * torch.randn(1, 64)
    seen = torch.distributions.Normal(0.9**0.5 * (torch.arange(17) / 8 - 1), 0.1**0.5).log_prob(x[0, :, None])
    log_p = (prior + seen).log_softmax(1)[torch.arange(64), (8 * x_0[0] + 8).long()]
    torch.manual_seed(4)
    torch.testing.assert_close(book.decoder(x_0, now, prior), -log_p.sum(), rtol=1e-4, atol=1e-4)


def test_langevin_in_finite_steps_has_the_derived_variance():
    generator, x = torch.Generator().manual_seed(0), torch.zeros(50_000)
    for _ in range(60):
        x = x - 0.5 * x + torch.randn(x.shape, generator=generator)  # h = 0.5: sqrt(2h) = 1
    assert x.var().item() == pytest.approx(float(book.biased.where[book.settled].subs(book.h, 0.5)), rel=0.03)


def test_clipped_image_and_noise_stay_consistent(net):
    x, now = 3 * draw(5, 64), torch.tensor(0.5)
    x_hat, eps_hat = book.denoise(net, x, now)
    assert x_hat.abs().max() <= 1
    torch.testing.assert_close(book.noisy(x_hat, eps_hat, now), x)


def test_shipped_unet_guesses_noise_on_test_digits():
    unet = UNet().requires_grad_(False)
    unet.load_state_dict(weights.load("denoising_diffusion"))
    x_0, chain = data.load("mnist_10k").x_test[:200, None].float() / 127.5 - 1, book.linear(1000).float()
    t = torch.randint(1, 1001, (200, 1, 1, 1), generator=torch.Generator().manual_seed(0))
    eps = draw(*x_0.shape)
    loss = (unet(book.noisy(x_0, eps, chain[t]), chain[t]) - eps).square().mean()
    assert loss < 0.035  # 1 if it guessed nothing


def test_networks_take_one_level_or_one_a_row(net):
    x, now = draw(3, 64), torch.tensor(0.3)
    torch.testing.assert_close(net(x, now), net(x, now.expand(3, 1)))
    image = draw(2, 1, 28, 28)
    unet = UNet(8, 16).requires_grad_(False)
    assert unet(image, now).shape == image.shape
    with pytest.raises(ValueError, match="expected 1 or 3 values of alpha_bar, got"):
        waves(torch.rand(2), x, 4)


def test_networks_name_the_shape_they_expect(net):
    for wrong in (draw(2, 1, 8, 8), draw(2, 63)):
        with pytest.raises(ValueError, match=r"DigitNet: expected x \(B, 64\), got"):
            net(wrong, torch.tensor(0.5))
    for wrong in (draw(2, 64), draw(2, 3, 28, 28), draw(2, 1, 28, 30)):
        with pytest.raises(ValueError, match=r"UNet: expected x \(B, 1, H, W\), H and W divisible by 4, got"):
            UNet(8, 16)(wrong, torch.tensor(0.5))


def test_every_derivation_is_proved():
    found = derivations(book)
    assert len(found) >= 13
    for derivation in found:
        assert {step.status for step in derivation.steps} == {"proved"}, derivation.title


@pytest.mark.parametrize(
    "wrong",
    [book.drop, book.snr / 2, sp.sqrt(book.now) / (4 - 2 * book.now), sp.sqrt(book.now) / (4 - 4 * book.now)],
)
def test_other_weights_are_refuted(wrong):
    with pytest.raises(StepError):
        Derivation("weight", book.weight.lhs, where=book.chain_of).equals(wrong, because="as published")
