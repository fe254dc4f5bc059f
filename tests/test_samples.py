import pytest
import scipy.linalg
import torch
from sklearn.neighbors import KNeighborsClassifier

from utils import claims, data, samples
from utils.samples import Quality, frechet, judge, quality, two_sample

WIDE = dict.fromkeys(Quality._fields, (0, 9))


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


@pytest.fixture(autouse=True)
def _fresh():
    claims.reset()
    yield
    claims.reset()


def test_frechet_distance_is_scipys_square_root_formula(generator):
    x, y = (torch.randn(40, 5, generator=generator, dtype=torch.float64) * s + s for s in (1.0, 2.0))
    c_x, c_y = x.T.cov().numpy(), y.T.cov().numpy()
    root = scipy.linalg.sqrtm(c_x @ c_y).real
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum() + (c_x + c_y - 2 * root).trace()
    assert frechet(x, y) == pytest.approx(float(expected), rel=1e-9)
    assert frechet(x, y) == pytest.approx(frechet(y, x), rel=1e-9)


def test_frechet_distance_of_a_sample_to_itself_is_zero_even_with_constant_pixels():
    assert frechet(data.digits().x_test, data.digits().x_test) == pytest.approx(0, abs=1e-5)


def test_two_sample_accuracy_is_scikit_learns_leave_one_out(generator):
    x, y = torch.randn(30, 3, generator=generator), torch.randn(30, 3, generator=generator) + 0.7
    both, own = torch.cat([x, y]).numpy(), [1] * 30 + [0] * 30
    second = KNeighborsClassifier(2).fit(both, own).kneighbors(both, return_distance=False)[:, 1]
    right = [own[j] == own[i] for i, j in enumerate(second)]
    assert two_sample(x, y) == pytest.approx((sum(right[:30]) / 30, sum(right[30:]) / 30))


def test_a_tie_counts_by_its_share():
    x, y = torch.tensor([[0.0], [0.0]]), torch.tensor([[0.0], [1.0]])
    assert two_sample(x, y) == pytest.approx((1 / 2, 1 / 6))


def test_training_images_pass_three_tests_and_fail_the_memory_check():
    measured = quality(data.digits().x_train[:500])
    assert measured.frechet < 0.12
    assert abs(measured.fake - 0.5) < 0.05
    assert abs(measured.real - 0.5) < 0.05
    assert measured.classes < 0.06
    assert measured.nearest == 0


def test_a_gaussian_with_the_right_moments_fools_the_frechet_distance_alone(generator):
    x = data.digits().x_train
    values, vectors = torch.linalg.eigh(x.T.cov())
    noise = torch.randn(500, 64, generator=generator) * values.clamp(min=0).sqrt()
    measured = quality(noise @ vectors.T + x.mean(0))
    assert measured.frechet < 0.16
    assert measured.real > 0.95


def test_bits_are_compared_with_bits():
    assert quality((data.digits().x_test > 7).double(), binary=True).frechet == pytest.approx(0, abs=1e-6)
    assert quality(16.0 * (data.digits().x_test > 7)).frechet > 0.9


def test_one_class_alone_is_seen_by_the_class_histogram():
    digits = data.digits()
    zeros = digits.x_train[digits.y_train == 0]
    measured = quality(zeros.repeat(5, 1)[:500])
    assert measured.classes == pytest.approx(0.9, abs=0.02)


def test_judge_puts_five_claims_on_the_board():
    measured = judge("copies", data.digits().x_train[:500], **WIDE)
    made = claims.table().claims
    assert [c.value for c in made] == list(measured)
    assert {c.board[:2] for c in made} == {("samples of digits", "copies")}
    assert [c.board[2] for c in made] == list(samples.COLUMNS)


def test_judge_refuses_a_measurement_outside_its_interval():
    with pytest.raises(claims.ClaimError, match="copies: distance to training images"):
        judge("copies", data.digits().x_train[:500], **WIDE | {"nearest": (0.5, 2)})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: frechet(torch.zeros(3, 2), torch.zeros(3, 4)), r"got \(3, 2\) and \(3, 4\)"),
        (lambda: frechet(torch.zeros(1, 2), torch.zeros(3, 2)), r"expected \(N >= 2, D\)"),
        (lambda: two_sample(torch.zeros(3, 2), torch.zeros(4, 2)), r"expected twice \(N >= 2, D\), got \(3, 2\)"),
        (lambda: quality(torch.zeros(10, 64)), r"expected 500 digits \(500, 64\), got \(10, 64\)"),
        (lambda: quality(torch.full((500, 64), torch.nan)), "expected finite grey levels"),
        (lambda: quality(torch.full((500, 64), 0.5), binary=True), "expected bits 0 and 1"),
        (lambda: judge("a", torch.zeros(500, 64), fake=(0, 1)), r"one interval for each of .*, got \('fake',\)"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
