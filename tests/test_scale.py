"""The chapter on scale: blurs, phases, levels and recall against SciPy, torch and the receptive-field recurrence."""

import numpy as np
import pytest
import sympy as sp
import torch
from scipy import ndimage
from torch.testing import assert_close

from tests.chapter import derivations, load
from utils import sprites
from utils.derive import Derivation, StepError

TAPS = np.array([1, 4, 6, 4, 1]) / 16


@pytest.fixture(scope="module")
def ch():
    return load("detection/scale")


def test_a_level_is_scipys_blur_and_every_second_pixel(ch):
    x = torch.rand(2, 3, 20, 24, dtype=torch.float64)
    for picture, small in zip(x, ch.reduced(x), strict=True):
        for colour, ours in zip(picture, small, strict=True):
            blurred = ndimage.convolve1d(
                ndimage.convolve1d(colour.numpy(), TAPS, 0, mode="constant"), TAPS, 1, mode="constant"
            )
            assert_close(ours, torch.from_numpy(blurred[::2, ::2].copy()))


def test_the_weights_of_the_blur_have_variance_1_and_stop_stripes():
    place = np.arange(-2, 3)
    assert TAPS @ place == 0
    assert TAPS @ place**2 == 1
    assert TAPS @ (-1.0) ** place == 0


def test_a_grey_picture_stays_grey_and_a_pyramid_costs_less_than_four_thirds(ch):
    copies = ch.image_pyramid(torch.full((1, 1, 64, 64), 0.3), 3)
    assert [copy.shape[-1] for copy in copies] == [64, 32, 16, 8]
    assert_close(copies[1][..., 1:-1, 1:-1], torch.full((1, 1, 30, 30), 0.3))
    cost = sum(copy.numel() for copy in copies) / copies[0].numel()
    assert cost == pytest.approx(float(ch.cost.steps[0].rhs.subs({ch.r: sp.Rational(1, 2), ch.l: 3})))
    assert cost < 4 / 3


@pytest.mark.parametrize("branch", [0, 1, 2])
def test_a_branch_is_the_plain_network_on_each_phase(ch, branch):
    torch.manual_seed(0)
    net = ch.Trident().double().eval()
    for norm in net.norms:
        torch.nn.init.normal_(norm.running_mean, 0, 0.1)
    x, d = torch.randn(2, 1, 24, 24, dtype=torch.float64), net.dilations[branch]
    whole = net.maps(x, branch)
    for i, j in ((i, j) for i in range(d) for j in range(d)):
        assert_close(whole[..., i::d, j::d], net.maps(x[..., i::d, j::d], 0))


def test_three_branches_have_the_weights_of_one(ch):
    count = sum(p.numel() for p in ch.Trident().parameters())
    assert count == sum(p.numel() for p in ch.Trident(dilations=(2,)).parameters())


def test_fpns_rule_at_its_powers_of_two_and_its_limits(ch):
    sides = torch.tensor([32.0, 111, 112, 223, 224, 447, 448, 2000])
    assert ch.level(sides, 14, 2, 5).tolist() == [2, 2, 3, 3, 4, 4, 5, 5]


def test_an_object_spans_m_to_2m_cells_of_its_level(ch):
    sides = torch.rand(1000, dtype=torch.float64) * 100 + 1
    spanned = sides / 2.0 ** ch.level(sides, 2, -9, 99)
    assert spanned.min() >= 2
    assert spanned.max() < 4


def test_the_size_of_a_digit_names_its_branch(ch):
    assert [ch.branch_of(size) for size in ch.SIZES] == [0, 1, 1, 2, 2]


def test_a_digit_is_read_by_the_branch_or_the_copy_that_its_way_names(ch):
    seen, right = [], torch.nn.functional.one_hot(ch.mnist.y_test[:300], 10).float()

    def net(x, branch):  # the last branch is right and sure, the others are wrong and not
        seen.append((x.shape[-1], branch))
        return 9 * right if branch == 2 else right.roll(1, 1)

    shares = {(way, size): ch.read(net, size, way) for ways in ch.WAYS for way in ways for size in (8, 16, 32)}
    sure = {("dilation, surest", size) for size in (8, 16, 32)} | {("dilation, by size", 32)}
    assert shares == {key: float(key in sure) for key in shares}
    seen.clear()
    for size in (8, 16, 32):
        ch.read(net, size, "image pyramid, by size")
    assert seen == [(64, 1), (32, 1), (16, 1)]


def test_the_merge_adds_every_coarser_map_where_it_lies(ch):
    maps = [torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 2, 2)]
    maps[2][0, 0, 0, 1] = 1
    maps[1][0, 0, 3, 0] = 2
    fine, middle, coarse = ch.top_down(maps)
    assert coarse.equal(maps[2])
    assert middle[0, 0].nonzero().tolist() == [[0, 2], [0, 3], [1, 2], [1, 3], [3, 0]]
    assert fine[0, 0, :4, 4:].eq(1).all()
    assert fine[0, 0, 6:, :2].eq(2).all()
    assert fine.sum() == 16 + 8


@pytest.mark.parametrize(("merge", "fewest", "most"), [(False, 27, 27), (True, 95, 123)])
def test_what_an_answer_of_the_finest_level_sees(ch, merge, fewest, most):
    torch.manual_seed(0)
    net, picture = (
        ch.Detector(merge=merge).double().eval(),
        torch.randn(1, 3, 288, 288, dtype=torch.float64).requires_grad_(),
    )
    net(picture)[0, 36 * 72 + 36].sum().backward()
    assert fewest <= picture.grad[0].abs().sum((0, 2)).count_nonzero() <= most
    bottom_up = load("foundations/receptive-fields").bottom_up
    assert bottom_up([(3, 2, 1), (3, 1, 1)] * 2) == (19, 4)
    assert bottom_up([(3, 2, 1), (3, 1, 1)] * 2 + [(3, 1, 1)])[0] == 27


def test_cells_lie_where_their_strides_say(ch):
    cells = ch.centres((3, 4), side=32)
    assert cells.shape == (16 + 4, 3)
    assert cells[:2].tolist() == [[4, 4, 8], [12, 4, 8]]
    assert cells[16:].tolist() == [[8, 8, 16], [24, 8, 16], [8, 24, 16], [24, 24, 16]]


def test_answers_at_the_targets_are_found_and_each_object_has_one_level(ch):
    for truth in sprites.emoji_scenes().truth_train[:20]:
        label, box = ch.targets(truth, (2, 3, 4))
        stride = ch.centres((2, 3, 4))[:, 2]
        for corners in box[label >= 0].unique(dim=0):
            mine = (box == corners).all(1) & (label >= 0)
            side = (corners[2:] - corners[:2]).prod().sqrt()
            assert stride[mine].unique().tolist() == [4 if side < 16 else 8 if side < 32 else 16]


def test_a_detector_that_answers_with_the_targets_has_recall_1_and_a_loss_near_0(ch):
    truth = sprites.emoji_scenes().truth_train[0]
    label, box = ch.targets(truth, (2, 3, 4))
    middle, stride = ch.centres((2, 3, 4)).split([2, 1], 1)
    scores = torch.full((len(label), 10), -20.0)
    scores[label >= 0, label[label >= 0]] = 20.0
    distance = torch.cat([middle - box[:, :2], box[:, 2:] - middle], 1) / stride

    class Oracle(torch.nn.Module):
        levels = (2, 3, 4)

        def forward(self, x):
            return torch.cat([scores, distance.clamp(min=1e-6).log()], 1).expand(len(x), -1, -1)

    x = torch.zeros(1, 3, 96, 96)
    assert ch.detections.recall(list(ch.detect(Oracle(), x)), [truth]) == 1
    assert ch.emoji_loss(Oracle(), x, label[None], box[None]) < 1e-3


def test_a_cell_learns_the_object_of_its_level_that_lies_near_and_of_two_the_smaller(ch):
    b = torch.tensor([[10.0, 10, 30, 30], [12, 12, 36, 36], [0, 0, 8, 8]])
    label, box = ch.targets((b, torch.tensor([4, 7, 1])), (2, 3, 4))
    middle, stride = ch.centres((2, 3, 4)).split([2, 1], 1)
    at = {name: (label == name).nonzero()[:, 0] for name in (4, 7, 1)}
    assert stride[at[4], 0].unique().tolist() == stride[at[7], 0].unique().tolist() == [8]
    assert stride[at[1], 0].unique().tolist() == [4]
    assert middle[at[4]].tolist() == [[20, 20]]  # also near the middle of the larger one, 24
    assert middle[at[7]].tolist() == [[28, 20], [20, 28], [28, 28]]
    assert middle[at[1]].tolist() == [[2, 2], [6, 2], [2, 6], [6, 6]]
    assert all(box[at[name]].eq(b[n]).all() for n, name in enumerate((4, 7, 1)))
    assert len(label) - (label < 0).sum() == 8


def test_easy_cells_count_little_and_a_box_counts_1_less_its_giou(ch):
    class Stub(torch.nn.Module):
        levels = (4,)

        def forward(self, x):
            return torch.cat([torch.full((36, 10), -2.0), torch.zeros(36, 4)], 1).expand(len(x), -1, -1)

    label, box = torch.full((1, 36), -1), torch.zeros(1, 36, 4)
    label[0, 0], box[0, 0] = 3, torch.tensor([40.0, -8, 72, 24])  # the answer's square, 48 pixels further right
    p = torch.tensor(-2.0).sigmoid()
    entropy = -((1 - p) ** 2) * p.log() - 359 * p**2 * (1 - p).log()  # Lin et al. (2017b), gamma = 2
    assert_close(ch.emoji_loss(Stub(), torch.zeros(1, 3, 96, 96), label, box), 4 * entropy + 1.2)


def test_training_begins_with_hardly_an_answer_and_lowers_the_loss(ch, monkeypatch):
    seen = []
    loss = ch.emoji_loss
    monkeypatch.setattr(
        ch,
        "emoji_loss",
        lambda net, *batch: seen.append((net.head[-1].bias[:10].clone(), loss(net, *batch))) or seen[-1][1],
    )
    ch.train_emoji(0, (4,), False, 12)
    assert seen[0][0].eq(-4).all()
    assert sum(value for _, value in seen[-3:]) / 3 < 0.85 * seen[0][1]


def test_rounding_is_refuted_and_the_floor_is_not(ch):
    late = Derivation("late", ch.a / 2 ** (ch.l + 1), where=ch.rule, domain={ch.u: (sp.Rational(1, 2), 1)})
    with pytest.raises(StepError, match="does not hold"):
        late.at_least(ch.m, because="it is said")
    assert late.at_most(ch.m, because="one level too high").steps


def test_a_spread_kernel_read_with_another_stride_is_refuted(ch):
    wrong = Derivation("phase", ch.network(ch.x, ch.d)(ch.d * ch.i + ch.j))
    with pytest.raises(StepError, match="does not hold"):
        wrong.equals(ch.network(lambda i: ch.x(i + ch.j), 1)(ch.i), because="a crop is no phase")


def test_every_step_is_proved(ch):
    status = [step.status for derivation in derivations(ch) for step in derivation.steps]
    assert set(status) == {"proved"}
    assert len(status) >= 10


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("enlarged", lambda ch: sp.Rational(16, 3), lambda ch: sp.Rational(4, 3)),
        ("factor", lambda ch: 1 / sp.sqrt(2), lambda ch: sp.Rational(1, 2)),
        ("offset", lambda ch: (2**ch.l - 1) / sp.Integer(2), lambda ch: 2 ** (ch.l - 1)),
    ],
)
def test_exercises_accept_the_answer_and_refuse_another(ch, name, right, wrong):
    assert getattr(ch, name).check(right(ch))
    assert not getattr(ch, name).check(wrong(ch))


def test_a_stage_looks_around_pixel_0_and_so_half_a_cell_too_early(ch):
    for levels in (1, 2, 3):
        picture = torch.rand(1, 1, 33, 33, dtype=torch.float64, requires_grad=True)
        y = picture
        for _ in range(levels):
            y = torch.nn.functional.conv2d(y, torch.ones(1, 1, 3, 3).double(), stride=2, padding=1)
        seen = torch.autograd.grad(y[0, 0, 1, 1], picture)[0][0, 0].sum(0).nonzero().double() + 0.5
        offset = 1.5 * 2**levels - seen.mean()  # unit 1, to stay away from the padding
        assert float(ch.offset.answer.subs(ch.l, levels)) == offset


def test_suppression_is_within_a_class_and_ten_answers_stay(ch):
    class Stub(torch.nn.Module):
        levels = (4,)

        def forward(self, x):
            scores = torch.full((36, 10), -9.0)
            scores[0, 3], scores[0, 5] = 2.0, 1.0
            return torch.cat([scores, torch.zeros(36, 4)], 1).expand(len(x), -1, -1)

    b, s, names = next(ch.detect(Stub(), torch.zeros(1, 3, 96, 96)))
    assert names[:2].tolist() == [3, 5]
    assert b[0].equal(b[1])
    assert b[0].tolist() == [8 - 16, 8 - 16, 8 + 16, 8 + 16]
    assert len(s) == 10
