"""The protocol of the linear probe and of retrieval: known answers, no leak, clear refusals."""

import pytest
import torch
from sklearn.metrics.pairwise import cosine_similarity
from torch.testing import assert_close

from utils import claims, data, probes


@pytest.fixture(autouse=True)
def _fresh():
    claims.reset()
    yield
    claims.reset()


def test_a_probe_of_noise_is_at_chance_and_of_the_answer_perfect():
    digits, generator = data.digits(), torch.Generator().manual_seed(0)
    noise = [torch.randn(n, 8, generator=generator) for n in (1297, 500)]
    assert 0.05 < probes.linear(noise[0], digits.y_train, noise[1], digits.y_test) < 0.16
    answer = [torch.eye(10)[y] for y in (digits.y_train, digits.y_test)]
    assert probes.linear(answer[0], digits.y_train, answer[1], digits.y_test, labels=1) == 1


def test_a_probe_does_not_care_about_scale_and_shift_of_a_feature():
    digits = data.digits()
    features = [x[:, 20:24] for x in (digits.x_train, digits.x_test)]
    plain = probes.linear(features[0], digits.y_train, features[1], digits.y_test)
    moved = probes.linear(100 * features[0] + 7, digits.y_train, 100 * features[1] + 7, digits.y_test)
    assert plain == pytest.approx(moved, abs=0.005)


def test_labels_are_drawn_per_class_and_alike_for_every_model():
    y = data.digits().y_train.numpy()
    first, again, other = (probes._choice(y, 5, draw) for draw in (3, 3, 4))
    assert (first == again).all()
    assert (first != other).any()
    assert torch.bincount(torch.as_tensor(y[first])).tolist() == [5] * 10


def test_raw_pixels_on_the_digits_are_claimed_on_the_board():
    wide = dict.fromkeys(probes.Probe._fields, (0, 1))
    measured = probes.judge("raw pixels", lambda x: x, **wide)
    assert 0.5 < measured.one < measured.five < measured.every
    assert measured.every > 0.95
    boards = [claim.board for claim in claims._recorded.values()]
    assert boards == [("probe of digits", "raw pixels", column) for column in probes.COLUMNS]


def test_recall_is_the_share_of_nearest_by_cosine():
    a, b = torch.randn(30, 4), torch.randn(30, 4)
    b = a + 0.5 * b
    nearest = cosine_similarity(a.numpy(), b.numpy()).argmax(1)
    assert probes.recall(a, b) == pytest.approx((nearest == range(30)).mean())


def test_emoji_are_found_by_themselves_and_not_by_a_constant():
    same = probes.recall(*[data.emoji().x_test[:, 0].flatten(1)] * 2)
    assert same == pytest.approx(1, abs=0.02)
    assert probes.retrieval("constant", lambda x: torch.ones(len(x), 2), bound=(0, 0.01)) == pytest.approx(1 / 201)


def test_emoji_lie_on_white_and_are_split_without_overlap():
    emoji = data.emoji()
    assert len({*emoji.name_train} & {*emoji.name_test}) <= 2
    assert emoji.x_train.min() >= 0
    assert emoji.x_train.max() <= 1
    raw = data.load("emoji32")
    row = raw.name.index(emoji.name_test[5])
    pixel = raw.images[row, 1, 16, 16].float() / 255
    assert_close(emoji.x_test[5, 1, :, 16, 16], pixel[:3] * pixel[3] + 1 - pixel[3])
    assert_close(emoji.x_test[:, 0, :, 0, 0].median(), torch.tensor(1.0))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, y: probes.linear(x, y, x[:, :1], y), r"got \(4, 2\) and \(4, 1\)"),
        (lambda x, y: probes.linear(x, y[:3], x, y), "a class a row"),
        (lambda x, y: probes.linear(x / 0, y, x, y), "finite features"),
        (lambda x, y: probes.linear(x, y, x, y, labels=3), "1 to 2 labels a class, got 3"),
        (lambda x, y: probes.recall(x, x[:2]), r"twice \(N, d\)"),
        (lambda x, y: probes.judge("a", lambda x: x, one=(0, 1)), "one interval for each"),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(torch.randn(4, 2), torch.tensor([0, 0, 1, 1]))
