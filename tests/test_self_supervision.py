"""The chapter on self-supervision against numpy, scikit-image, SciPy, enumeration and its own published mistakes."""

import math

import numpy as np
import pytest
import sympy as sp
import torch
from scipy.stats import entropy, multivariate_normal
from skimage.transform import rotate
from torch.nn import functional as F
from torch.testing import assert_close

from tests.chapter import derivations, load
from utils import data, probes, training
from utils.derive import Derivation, StepError


@pytest.fixture(scope="module")
def ssl():
    return load("representation/self-supervision")


@pytest.fixture
def pictures():
    return torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("k", range(-5, 6))
def test_quarter_turns_are_numpys(ssl, pictures, k):
    expected = np.rot90(pictures.numpy(), k, axes=(-2, -1)).copy()
    assert_close(ssl.quarter(pictures, k), torch.from_numpy(expected), rtol=0, atol=0)


@pytest.mark.parametrize("k", range(4))
def test_a_quarter_turn_multiplies_places_by_i(ssl, k):
    x = torch.arange(36.0).view(1, 1, 6, 6)
    turned = ssl.quarter(x, k)
    for row in range(6):
        for column in range(6):
            place = 1j**k * complex(column - 2.5, 2.5 - row)
            assert turned[0, 0, round(2.5 - place.imag), round(place.real + 2.5)] == x[0, 0, row, column]


def test_copies_carry_their_own_number_of_turns(ssl, pictures):
    turned, k = ssl.copies(pictures)
    assert turned.shape == (20, 3, 8, 8)
    assert k.bincount().tolist() == [5, 5, 5, 5]
    for n in range(20):
        assert_close(torch.rot90(turned[n], -int(k[n]), (-2, -1)), pictures[n % 5], rtol=0, atol=0)


def test_a_mirror_after_a_turn_is_a_turn_back_after_a_mirror(ssl, pictures):
    assert_close(ssl.quarter(pictures, 1).flip(-1), ssl.quarter(pictures.flip(-1), 3), rtol=0, atol=0)
    assert not torch.equal(ssl.quarter(pictures, 1).flip(-1), ssl.quarter(pictures.flip(-1), 1))


@pytest.mark.parametrize("degrees", [17.0, 45.0, 160.0])
def test_turns_by_any_angle_are_scikit_images(ssl, pictures, degrees):
    expected = [rotate(channel.numpy(), degrees, order=1, mode="constant") for channel in pictures[0]]
    found = ssl.turn(pictures[:1], degrees)[0]
    inside = (slice(None), slice(2, 6), slice(2, 6))  # at the rim the two blend with nothing differently
    assert_close(found[inside], torch.from_numpy(np.stack(expected))[inside], atol=1e-10, rtol=0)


@pytest.mark.parametrize("k", range(4))
def test_turns_by_right_angles_interpolate_nothing(ssl, pictures, k):
    assert_close(ssl.turn(pictures, 90.0 * k), ssl.quarter(pictures, k), atol=1e-12, rtol=0)


def test_pretraining_sees_no_label_of_a_digit_and_learns_the_turn(ssl):
    x = ssl.x_train[:256]
    model = ssl.pretrained(x, 0, steps=60, batch=64)
    turned, k = ssl.copies(ssl.x_test)
    assert (model(turned).argmax(-1) == k).double().mean() > 0.5  # chance: 0.25
    again = ssl.pretrained(x, 0, steps=60, batch=64)
    assert_close(model(turned), again(turned), rtol=0, atol=0)


def test_features_averaged_over_the_turns_are_blind(ssl):
    training.seed(0)
    model = ssl.network(1, 8, 4).double().requires_grad_(False)
    turned, k = ssl.copies(ssl.x_test[:50].double())
    z = sum(model[0](ssl.quarter(turned, j)) for j in range(4)) / 4
    assert_close(z.view(4, 50, 64), z[:50].expand(4, 50, 64))
    assert F.cross_entropy(model[1](z), k) >= math.log(4)


def numbers(expr, values):
    return float(expr.subs(values).evalf())


def test_the_price_of_an_answer_is_entropy_and_divergence(ssl):
    p, q = np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.4, 0.3, 0.2, 0.1])
    values = dict(zip([*ssl.p, *ssl.q], [*p, *q], strict=True))
    assert numbers(ssl.price.lhs, values) == pytest.approx(entropy(p) + entropy(p, q))
    assert numbers(ssl.price.expr, values) == pytest.approx(entropy(p) + entropy(p, q))


def test_a_loss_proves_at_most_the_mutual_information(ssl):
    generator = np.random.default_rng(0)
    for _ in range(20):
        joint = generator.dirichlet(np.full(3, 0.3), size=4) / 4  # (k, z), all k equally frequent
        marginal = joint.sum(0)
        information = math.log(4) - (marginal * entropy(joint / marginal, axis=0)).sum()
        answers = generator.dirichlet(np.ones(4), size=3).T  # (k, z)
        assert math.log(4) + (joint * np.log(answers)).sum() <= information
        assert math.log(4) + (joint * np.log(joint / marginal)).sum() == pytest.approx(information)


def test_a_picture_that_is_its_own_half_turn_costs_log_two(ssl):
    x = torch.rand(1, 1, 8, 8, dtype=torch.float64)
    x = x + ssl.quarter(x, 2)
    turned, k = ssl.copies(x)
    training.seed(0)
    model = ssl.network(1, 8, 4).double()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(150):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(turned), k)
        loss.backward()
        optimizer.step()
    assert loss.item() == pytest.approx(math.log(2), abs=0.02)
    assert loss.item() >= math.log(2)


def test_the_best_line_leaves_what_the_conditional_normal_leaves(ssl):
    values = {ssl.rho: 0.8, ssl.s_x: 2, ssl.s_y: 1}
    assert numbers(ssl.rest, values) == pytest.approx(0.36)
    joint = multivariate_normal(cov=[[4, 1.6], [1.6, 1]])
    y = np.linspace(-9, 9, 20_001)
    density = joint.pdf(np.stack([np.full_like(y, 1.5), y], 1))
    density /= density.sum()
    assert (density * y).sum() == pytest.approx(0.8 / 2 * 1.5)  # on the line rho s_y / s_x x
    assert (density * y**2).sum() - (density * y).sum() ** 2 == pytest.approx(0.36)


def test_noise_keeps_the_derived_share_of_its_variance(ssl):
    noise = torch.randn(4000, 1, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    right, down = 0.3, 0.8
    matrix = torch.tensor([[1, 0, 2 * right / 3], [0, 1, 2 * down / 3]], dtype=torch.float64).expand(4000, 2, 3)
    moved = F.grid_sample(noise, F.affine_grid(matrix, noise.shape, align_corners=False), align_corners=False)
    expected = numbers(ssl.kept.steps[0].rhs, {ssl.u: right, ssl.v: down})
    assert moved[:, 0, 1, 1].var().item() == pytest.approx(expected, rel=0.1)
    assert expected == pytest.approx((0.7**2 + 0.3**2) * (0.2**2 + 0.8**2))
    assert sp.integrate(ssl.kept.lhs, (ssl.u, 0, 1), (ssl.v, 0, 1)) == sp.Rational(4, 9)


def test_the_digits_give_away_whether_they_lie(ssl):
    turned, k = ssl.copies(ssl.x_train)
    ends = turned[:, 0, [0, -1]].sum((1, 2)) > turned[:, 0, :, [0, -1]].sum((1, 2))
    assert (ends == (k % 2 == 0)).double().mean() > 0.999


def test_raw_pixels_on_the_board_are_the_protocols(ssl):
    digits = data.digits()
    found = probes.linear(digits.x_train, digits.y_train, digits.x_test, digits.y_test, labels=5)
    assert found == pytest.approx(0.821, abs=0.006)


def test_every_step_is_proved(ssl):
    found = derivations(ssl)
    assert len({d.title for d in found}) == 8
    assert {step.status for d in found for step in d.steps} == {"proved"}


@pytest.mark.parametrize(
    "wrong",
    [
        lambda b: Derivation("mirror", b.mirror.lhs, domain=b.turns).equals(b.i**b.k * -sp.conjugate(b.place), "no"),
        lambda b: Derivation("three", b.i ** (b.k + 3) * b.place, domain=b.turns).equals(b.i**b.k * b.place, "no"),
        lambda b: Derivation("price", b.paid, where=b.shares).equals(b.entropy, "the excess left out"),
        lambda b: Derivation("turned round", b.paid, where=b.shares).equals(
            b.entropy + sum(q * b.h(p / q) for p, q in zip(b.p, b.q, strict=True)), "the other divergence"
        ),
        lambda b: Derivation("median", b.cost(b.a), where=b.three).equals(b.cost(b.y_j[1]) + (b.a - b.m) ** 2, "no"),
        lambda b: Derivation("line", b.line_cost, domain={b.rho: (-1, 1)}).at_least(b.s_y**2 * (1 - b.rho), "no root"),
        lambda b: Derivation("noise", b.kept.lhs, domain=b.kept.domain).at_least(sp.Rational(4, 9), "the mean"),
    ],
)
def test_known_mistakes_are_refuted(ssl, wrong):
    with pytest.raises(StepError):
        wrong(ssl)


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("floor", lambda b: b.coin / 2, lambda b: b.coin),
        ("jigsaw", lambda b: 1 / sp.gamma(b.b + 1), lambda b: 1 / b.b),
        ("middle", lambda b: 1 - 2 * b.rho**2 / (1 + b.rho**2), lambda b: (1 - b.rho**2) / 2),
    ],
)
def test_exercises_accept_the_answer_and_refuse_another(ssl, name, right, wrong):
    assert getattr(ssl, name).check(right(ssl))
    assert not getattr(ssl, name).check(wrong(ssl))


def test_the_middle_pixel_is_the_inverse_covariances(ssl):
    row = sp.Matrix(3, 3, lambda i, j: ssl.rho ** abs(i - j))
    assert ssl.middle.check(1 / row.inv()[1, 1])


def test_the_zero_is_the_digit_most_like_its_own_half_turn_and_the_six_the_least(ssl):
    alike = F.cosine_similarity(ssl.x_test.flatten(1), torch.rot90(ssl.x_test, 2, (-2, -1)).flatten(1))
    of_digit = torch.stack([alike[ssl.digits.y_test == y].mean() for y in range(10)])
    assert of_digit.argmax() == 0
    assert of_digit.argmin() == 6
    assert of_digit[8] > of_digit[1]
