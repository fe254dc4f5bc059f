"""The chapter against diffusers' schedulers over full runs, against closed forms, and against known mistakes."""

import math

import pytest
import sympy as sp
import torch
from chapter import load

from utils.bridge import to_torch
from utils.derive import Derivation, StepError

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # inside diffusers
book = load("diffusion-unification")
SD = 0.75


@pytest.fixture(scope="module")
def denoise():
    torch.manual_seed(0)
    return book.Denoiser(SD).double().requires_grad_(False)


def noise(rows=8, scale=80.0):
    return scale * torch.randn(rows, 64, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def sigmas_of(schedule):
    return torch.as_tensor(schedule, dtype=torch.float64)


@pytest.mark.parametrize("family", book.FAMILIES)
def test_every_family_draws_what_euler_draws(family, denoise):
    grid = book.karras(18)
    expected = book.heun(denoise, noise(), grid, second=False)
    torch.testing.assert_close(book.sample_as(family, denoise, noise(), grid), expected, rtol=0, atol=1e-12)


def test_edm_euler_scheduler_agrees_over_a_full_run(denoise):
    from diffusers import EDMEulerScheduler

    theirs = EDMEulerScheduler(sigma_min=0.002, sigma_max=80.0, sigma_data=SD, rho=7.0)
    theirs.set_timesteps(18)
    torch.testing.assert_close(theirs.sigmas.double(), book.karras(18), rtol=1e-5, atol=1e-7)
    assert theirs.init_noise_sigma == pytest.approx(math.sqrt(80.0**2 + 1))  # not 80
    sample, grid = noise(), sigmas_of(theirs.sigmas)
    for step, sigma in zip(theirs.timesteps, grid[:-1], strict=True):
        scaled = theirs.scale_model_input(sample, step)
        c_skip, c_out, c_in = book.precondition(sigma, SD)
        torch.testing.assert_close(scaled, c_in * sample)
        assert float(step) == pytest.approx(sigma.log().item() / 4, rel=1e-4, abs=1e-5)
        network = (denoise(sample, sigma) - c_skip * sample) / c_out
        sample = theirs.step(network, step, sample).prev_sample
    torch.testing.assert_close(book.heun(denoise, noise(), grid, second=False), sample, rtol=1e-5, atol=1e-5)


def test_flow_match_euler_scheduler_agrees_over_a_full_run(denoise):
    from diffusers import FlowMatchEulerDiscreteScheduler

    grid = book.karras(18)
    time = grid / (1 + grid)
    theirs = FlowMatchEulerDiscreteScheduler(shift=1.0)
    theirs.set_timesteps(sigmas=time[:-1].numpy())
    x = noise() / (1 + grid[0])
    for step, t in zip(theirs.timesteps, time[:-1], strict=True):
        x_0 = denoise(x / (1 - t), t / (1 - t))
        x = theirs.step(book.predict("u", x_0, x, 1 - t, t), step, x).prev_sample
    expected = book.sample_as("flow matching", denoise, noise(), grid)
    torch.testing.assert_close(x.double(), expected, rtol=1e-4, atol=1e-4)


def test_heun_scheduler_with_karras_sigmas_agrees_over_a_full_run(denoise):
    from diffusers import HeunDiscreteScheduler

    theirs = HeunDiscreteScheduler(beta_schedule="linear", beta_start=1e-4, beta_end=0.02, use_karras_sigmas=True)
    theirs.set_timesteps(18)
    grid = sigmas_of(torch.cat([theirs.sigmas[:-1:2], theirs.sigmas[-1:]]))
    own = book.karras(18, low=grid[-2].item(), high=grid[0].item())
    torch.testing.assert_close(own, grid, rtol=1e-5, atol=1e-7)
    start = noise(scale=grid[0])
    sample = start
    for step in theirs.timesteps:
        theirs.scale_model_input(sample, step)
        sigma = sigmas_of(theirs.sigmas[theirs.step_index])
        eps = (sample - denoise(sample, sigma)) / sigma
        sample = theirs.step(eps, step, sample).prev_sample
    assert len(theirs.timesteps) == 35
    torch.testing.assert_close(book.heun(denoise, start, grid), sample.double(), rtol=1e-4, atol=1e-4)


def test_ddim_scheduler_agrees_over_a_full_run(denoise):
    from diffusers import DDIMScheduler

    theirs = DDIMScheduler(beta_schedule="linear", clip_sample=False, set_alpha_to_one=True)
    theirs.set_timesteps(20)
    alpha_bar = theirs.alphas_cumprod.double()[theirs.timesteps]
    grid = torch.cat([((1 - alpha_bar) / alpha_bar).sqrt(), torch.zeros(1, dtype=torch.float64)])
    x = noise(scale=grid[0]) * book.vp(grid[0])
    for step, level in zip(theirs.timesteps, grid[:-1], strict=True):
        a = book.vp(level)
        eps = book.predict("eps", denoise(x / a, level), x, a, a * level)
        x = theirs.step(eps, step, x).prev_sample
    expected = book.sample_as("DDIM", denoise, noise(scale=grid[0]), grid)
    torch.testing.assert_close(x, expected, rtol=1e-4, atol=1e-5)


def test_the_sign_that_issue_1481_doubts_is_right():
    from diffusers import EulerDiscreteScheduler

    theirs = EulerDiscreteScheduler(prediction_type="v_prediction")
    theirs.set_timesteps(10)
    step, y = theirs.timesteps[3], noise(scale=5.0).float()
    theirs.scale_model_input(y, step)
    sigma = theirs.sigmas[theirs.step_index]
    x_0 = torch.randn(8, 64, generator=torch.Generator().manual_seed(2))
    a = book.vp(sigma)
    v = book.predict("v", x_0, a * y, a, a * sigma)
    torch.testing.assert_close(theirs.step(v, step, y).pred_original_sample, x_0, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("second", "order"), [(False, 1), (True, 2)])
def test_solvers_converge_with_their_order_to_the_closed_form(second, order):
    def normal(y, sigma):
        return book.precondition(sigma, SD)[0] * y

    ends = to_torch(book.exact.where[book.y_of].subs(book.sigma_data, sp.Rational(3, 4)), [book.sigma])
    start, truth = ends(torch.tensor([80.0, 0.002], dtype=torch.float64))[:, None]
    coarse, fine = (
        (book.heun(normal, start, book.karras(n + 1)[:-1], second=second) - truth).abs().item() for n in (128, 256)
    )
    assert math.log2(coarse / fine) == pytest.approx(order, abs=0.02)


def test_heun_evaluates_two_times_less_one():
    seen = []
    book.heun(lambda y, sigma: seen.append(float(sigma)) or y, noise(), book.karras(18))
    assert len(seen) == 2 * 18 - 1
    assert min(seen) > 0


def test_the_grid_is_the_one_the_widget_draws():
    drawn = to_torch(book.grid, (book.t, book.rho))
    ramp = torch.linspace(1, 0, 9, dtype=torch.float64)
    for rho in (1.0, 3.0, 7.0):
        torch.testing.assert_close(drawn(ramp, torch.full_like(ramp, rho)), book.karras(9, rho=rho)[:-1])


def test_preconditioned_input_and_target_have_unit_variance():
    generator = torch.Generator().manual_seed(3)
    x_0 = SD * torch.randn(400_000, generator=generator, dtype=torch.float64)
    eps = torch.randn(400_000, generator=generator, dtype=torch.float64)
    for sigma in (0.05, 0.75, 20.0):
        c_skip, c_out, c_in = book.precondition(sigma, SD)
        y = x_0 + sigma * eps
        assert (c_in * y).var().item() == pytest.approx(1, abs=0.01)
        assert ((x_0 - c_skip * y) / c_out).var().item() == pytest.approx(1, abs=0.01)


def test_v_prediction_is_edm_preconditioning_at_unit_variance():
    sigma = torch.logspace(-2, 2, 20, dtype=torch.float64)
    a, b = book.vp(sigma), book.vp(sigma) * sigma
    c_skip, c_out, c_in = book.precondition(sigma, 1.0)
    torch.testing.assert_close(a * a, c_skip)
    torch.testing.assert_close(b, c_out)  # v = -F
    torch.testing.assert_close(a, c_in)


def test_every_derivation_is_proved():
    for derivation in (book.move, book.score, book.flow, book.image, book.ddim, book.least, book.straight, book.share):
        assert {step.status for step in derivation.steps} == {"proved"}


def test_denoiser_takes_one_level_or_one_a_row(denoise):
    y, one = noise(3, 1.0), torch.tensor(0.3, dtype=torch.float64)
    torch.testing.assert_close(denoise(y, one), denoise(y, one.expand(3, 1)))
    assert denoise(y, one).shape == y.shape


def test_the_wrong_time_direction_is_refuted():
    t, x_0, eps = book.t, book.x_0, book.eps
    mixed = Derivation("Lipman's path with this chapter's velocity", sp.Derivative(t * x_0 + (1 - t) * eps, t))
    with pytest.raises(StepError):
        mixed.equals(eps - x_0, because="the velocity of the path that runs the other way")


def test_a_state_that_keeps_its_scale_is_refuted():
    twice = Derivation("the image from x instead of x / s", book.x - book.sigma * book.eps,
                       where={book.x: book.a * (book.x_0 + book.sigma * book.eps)})  # fmt: skip
    with pytest.raises(StepError):
        twice.equals(book.x_0, because="forgetting to divide by the scale")


def test_a_second_slope_at_zero_is_nan(denoise):
    y, zero = noise(2), torch.tensor(0.0, dtype=torch.float64)
    assert denoise(y, zero).isnan().any() or ((y - denoise(y, zero)) / zero).isinf().any()
