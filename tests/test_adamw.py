"""The chapter against torch.optim, plain NumPy, exact decay laws, and the mistakes of published code."""

import inspect
import itertools
import math

import numpy as np
import pytest
import sympy as sp
import torch

from tests.chapter import load
from utils.bridge import to_torch
from utils.derive import Derivation, StepError

F64 = torch.float64
OPTIMISERS = {False: torch.optim.Adam, True: torch.optim.AdamW}


@pytest.fixture(scope="module")
def book():
    return load("foundations/adamw")


def noise(*shape, seed=0, scale=1.0):
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def path(update, steps):
    return torch.stack([theta for theta, _ in itertools.islice(update, steps)])


def fed(adam, gradients, *settings, start=1.0, **options):
    feed = iter(gradients)
    updates = adam(torch.full_like(gradients[0], start), lambda _: next(feed), *settings, **options)
    return path(updates, len(gradients))


def theirs(kind, gradients, **options):
    weight, seen = torch.nn.Parameter(torch.ones_like(gradients[0])), []
    optimiser = kind([weight], **options)
    for g in gradients:
        weight.grad = g.clone()
        optimiser.step()
        seen.append(weight.detach().clone())
    return torch.stack(seen)


@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize(
    ("alpha", "lam", "betas"), [(1e-3, 0.0, (0.9, 0.999)), (0.02, 0.5, (0.8, 0.95)), (0.1, 3.0, (0.0, 0.5))]
)
def test_every_step_is_torchs(book, decoupled, alpha, lam, betas):
    g = noise(150, 9) * torch.logspace(-8, 8, 9, dtype=F64)
    ours = fed(book.adam, g, alpha, lam, decoupled, beta_1=betas[0], beta_2=betas[1])
    other = theirs(OPTIMISERS[decoupled], g, lr=alpha, weight_decay=lam, betas=betas)
    torch.testing.assert_close(ours, other, rtol=0, atol=1e-12)


@pytest.mark.parametrize("decoupled", [False, True])
def test_the_same_steps_on_a_loss_that_depends_on_the_weight(book, decoupled):
    target = noise(5, seed=3)
    ours = path(book.adam(torch.ones(5, dtype=F64), lambda w: 4 * (w - target) ** 3, 0.05, 0.2, decoupled), 100)[-1]
    weight = torch.nn.Parameter(torch.ones(5, dtype=F64))
    optimiser = OPTIMISERS[decoupled]([weight], lr=0.05, weight_decay=0.2)
    for _ in range(100):
        optimiser.zero_grad()
        ((weight - target) ** 4).sum().backward()
        optimiser.step()
    torch.testing.assert_close(ours, weight.detach(), rtol=0, atol=1e-12)


def test_decays_may_differ_from_row_to_row(book):
    g, lam = noise(40, 3, 2), torch.tensor([[0.0], [0.1], [1.0]], dtype=F64)
    together = fed(book.adam, g, 0.01, lam, True)
    for row in range(3):
        torch.testing.assert_close(together[:, row], fed(book.adam, g[:, row], 0.01, lam[row].item(), True))


def test_corrected_moments_are_weighted_means(book):
    g, weights = noise(30, 4), 0.999 ** np.arange(29, -1, -1)
    feed = iter(g)
    *_, (_, v_hat) = itertools.islice(book.adam(torch.ones(4, dtype=F64), lambda _: next(feed), 0.1, 0.0, True), 30)
    expected = np.average(g.numpy() ** 2, axis=0, weights=weights)
    torch.testing.assert_close(v_hat, torch.from_numpy(expected), rtol=1e-12, atol=0)


def test_a_unit_of_the_loss_changes_no_step(book):
    g = noise(60, 3)
    for decoupled, factor in ((True, 1.0), (False, 1e3)):  # the L2 setting has to grow with the loss
        small = fed(book.adam, g, 0.01, 0.2, decoupled, eps=0)
        large = fed(book.adam, 1e3 * g, 0.01, 0.2 * factor, decoupled, eps=0)
        torch.testing.assert_close(small, large)
    same_setting = fed(book.adam, 1e3 * g, 0.01, 0.2, False, eps=0)
    assert (same_setting - fed(book.adam, g, 0.01, 0.2, False, eps=0)).abs().max() > 0.01


def test_without_gradients_the_l2_setting_is_lost_and_decay_is_exact(book):
    still = torch.zeros(50, 2, dtype=F64)
    weak, strong = (fed(book.adam, still, 0.01, lam, False, eps=0) for lam in (1e-3, 1e3))
    torch.testing.assert_close(weak, strong)
    torch.testing.assert_close(weak[0], torch.full((2,), 1 - 0.01, dtype=F64))
    decayed = fed(book.adam, still, 0.01, 0.3, True)
    torch.testing.assert_close(decayed[-1], torch.full((2,), (1 - 0.003) ** 50, dtype=F64))


def test_mirrored_noise_leaves_adamw_exactly_its_decay(book):
    half = noise(300, 20) * torch.logspace(-2, 2, 20, dtype=F64)
    ends = fed(book.adam, torch.cat([half, -half], 1), 1e-3, 0.4, True)
    steps = torch.arange(1.0, 301, dtype=F64)[:, None]
    mean = (ends[:, :20] + ends[:, 20:]) / 2
    torch.testing.assert_close(mean, ((1 - 4e-4) ** steps).expand(-1, 20), rtol=0, atol=1e-12)


def test_the_steps_of_the_widget_are_the_integral_of_one_over_the_speed(book):
    at = {book.alpha: sp.Rational(1, 1000), book.lam: sp.Rational(1, 10), book.sigma: sp.Rational(1, 5)}
    slowness = (1 / book.speed.expr).subs(at)
    integral = sp.Integral(slowness, (book.theta, sp.Rational(3, 10), 1)).evalf(20)
    counted = book.adam_steps.subs(at | {book.theta: sp.Rational(3, 10)}).evalf(20)
    assert float(counted) == pytest.approx(float(integral), rel=1e-12)


@pytest.mark.parametrize("scale", [0.3, 3.0])
def test_adam_with_l2_takes_the_steps_that_the_widget_draws(book, scale):
    count = to_torch(book.adam_steps, (book.alpha, book.lam, book.sigma, book.theta))
    steps = int(count(*torch.tensor([2e-3, 0.2, scale, 0.8], dtype=F64)))
    half = noise(steps, 200, seed=5, scale=scale)
    ends = fed(book.adam, torch.cat([half, -half], 1), 2e-3, 0.2, False, beta_2=0.99)
    assert ends[-1].mean().item() == pytest.approx(0.8, abs=0.02)
    assert fed(book.adam, torch.cat([half, -half], 1), 2e-3, 0.2, True)[-1].mean().item() == pytest.approx(
        (1 - 4e-4) ** steps, abs=1e-12
    )


def test_adamw_rests_at_the_border_of_its_box_and_l2_at_the_penalised_minimum(book):
    g = torch.tensor([1e-3, -5.0, 100.0], dtype=F64).expand(4000, 3)
    torch.testing.assert_close(fed(book.adam, g, 1e-2, 0.5, True)[-1], -2 * g[0].sign(), rtol=0, atol=1e-4)
    push = torch.full((6000, 1), -0.1, dtype=F64)
    torch.testing.assert_close(
        fed(book.adam, push, 1e-3, 0.5, False)[-1], torch.tensor([0.2], dtype=F64), rtol=0, atol=1e-3
    )


def test_uncorrected_steps_are_as_long_as_the_widget_says(book):
    length = to_torch(book.too_long, (book.n, book.beta_1, book.beta_2))
    steps = torch.arange(1.0, 200, dtype=F64)
    drawn = length(steps, torch.full_like(steps, 0.9), torch.full_like(steps, 0.999))
    m = v = 0.0
    for n, expected in enumerate(drawn.tolist(), 1):
        m, v = 0.9 * m + 0.1, 0.999 * v + 0.001
        assert m / math.sqrt(v) == pytest.approx(expected, rel=1e-9), n
    assert drawn[0].item() == pytest.approx(0.1 / math.sqrt(0.001))
    assert drawn.argmax().item() + 1 in (11, 12, 13)
    assert drawn.max().item() == pytest.approx(6.57, abs=0.01)


def test_every_step_is_proved(book):
    for name in ("fading", "weights", "unbiased", "steady", "unitless", "sgd", "coupled"):
        assert {step.status for step in getattr(book, name).steps} == {"proved"}, name
    for name in ("mirrored", "decay", "speed", "slope", "few", "many"):
        assert {step.status for step in getattr(book, name).steps} == {"proved"}, name


def test_adam_with_l2_is_not_decoupled(book):
    claimed = Derivation("Adam's weight_decay", book.coupled.lhs, domain=book.kept)
    with pytest.raises(StepError):
        claimed.equals(book.mean_g / sp.sqrt(book.v_hat) + book.lam * book.theta_3, because="as its name says")
    alike = {book.v_hat: 1} | dict.fromkeys(book.thetas, book.theta)
    assert sp.simplify(book.coupled.lhs.subs(alike) - book.mean_g - book.lam * book.theta) == 0


def test_pure_noise_moves_a_weight_by_a_fifth_of_the_learning_rate(book):
    ends = fed(book.adam, noise(3000, 300), 1.0, 0.0, True, start=0.0)
    assert ends[1500:].diff(dim=0).square().mean().sqrt().item() == pytest.approx(math.sqrt(0.1 / 1.9), rel=0.01)


def test_after_a_long_silence_the_twelfth_step_is_longer_than_the_rare_one(book):
    ends = fed(book.adam, torch.cat([torch.zeros(20_000, 1), torch.ones(40, 1)]).double(), 1.0, 0.0, True, start=0.0)
    lengths = ends[19_999:].diff(dim=0).abs()
    rare = book.rare.answer.subs({book.beta_1: 0.9, book.beta_2: 0.999})
    assert lengths[0].item() == pytest.approx(float(rare), rel=1e-6)
    assert lengths.argmax().item() + 1 == 12
    assert lengths.max().item() == pytest.approx(6.57, abs=0.01)


def test_a_correction_that_counts_from_zero_is_refuted(book):
    late = Derivation("late", book.average(book.n, book.mu) / (1 - book.beta ** (book.n - 1)),
                      domain=book.kept | {book.n: [2, 3, 4]})  # fmt: skip
    with pytest.raises(StepError):
        late.equals(book.mu, because="the first step has number 0")


MISTAKES = {
    "eps inside": ("v_hat.sqrt() + eps", "(v_hat + eps).sqrt()"),
    "from zero": ("count(1)", "count(0)"),
    "no correction of v": ("v / (1 - beta_2**n)", "v"),
    "no correction of m": ("m / (1 - beta_1**n)", "m"),
    "decay without the rate": ("step + lam * theta", "step + lam * theta / alpha"),
    "decay of the new weight": ("step + lam * theta", "step + lam * (theta - alpha * step)"),
    "growth": ("step + lam * theta", "step - lam * theta"),
    "betas swapped": ("beta_1 * m + (1 - beta_1)", "beta_2 * m + (1 - beta_2)"),
    "no square": ("g**2", "g.abs()"),
    "no root": ("v_hat.sqrt()", "v_hat"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_comparison_with_torch_sees_every_mistake(book, mistake):
    source, (old, new) = inspect.getsource(book.adam), MISTAKES[mistake]
    assert old in source
    exec(source.replace(old, new), vars(book), broken := {})
    g = noise(100, 7) * torch.logspace(-3, 3, 7, dtype=F64)
    gap = (fed(broken["adam"], g, 0.01, 0.3, True) - theirs(torch.optim.AdamW, g, lr=0.01, weight_decay=0.3)).abs()
    assert gap.nan_to_num(torch.inf).max() > 1e-6
