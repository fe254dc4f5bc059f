"""The chapter on small objects: shifts, cells, tiles, windows and faces against SciPy, scikit-image and enumeration."""

import math
from itertools import pairwise

import numpy as np
import pytest
import sympy as sp
import torch
from scipy.integrate import quad
from skimage import data as photographs
from skimage.feature import Cascade
from skimage.util import view_as_windows
from torch.testing import assert_close

from tests.chapter import derivations, load
from utils import boxes, crowns, faces, learning_curves
from utils.bridge import to_torch
from utils.derive import Derivation, StepError


@pytest.fixture(scope="module")
def ch():
    return load("detection/small-objects")


def refused(derivation, wrong, relation="equals"):
    with pytest.raises(StepError, match="does not hold"):
        getattr(derivation, relation)(wrong, because="a twin")


def test_every_step_is_proved(ch):
    status = [step.status for derivation in derivations(ch) for step in derivation.steps]
    assert status == ["proved"] * len(status)
    assert len(status) >= 8


@pytest.mark.parametrize(("side", "stride"), [(12.0, 8.0), (20.0, 16.0), (40.0, 4.0), (8.0, 16.0)])
def test_the_mean_iou_is_scipys_integral_of_moved_boxes(ch, side, stride):
    def moved(d):
        still = torch.tensor([0.0, 0, side, side], dtype=torch.float64)
        return boxes.iou(still, still + torch.tensor([d, 0, d, 0], dtype=torch.float64)).item()

    mean = quad(moved, 0, stride / 2)[0] * 2 / stride
    assert float(ch.rounded.expr.subs({ch.w: side, ch.s: stride})) == pytest.approx(mean, abs=1e-9)


@pytest.mark.parametrize(("side", "stride"), [(12.0, 8.0), (20.0, 16.0), (8.0, 16.0), (8.0, 32.0), (4.0, 29.0)])
def test_the_widget_draws_the_derived_mean_and_the_worst_and_the_mean_below_half_a_stride_too(ch, side, stride):
    def moved(d):
        return max(0.0, (side - d) / (side + d))

    at = {ch.w: side, ch.s: stride}
    mean = quad(moved, 0, stride / 2, points=[min(side, stride / 2)])[0] * 2 / stride
    assert float(ch.rounding["mean"].subs(at)) == pytest.approx(mean, abs=1e-9)
    assert float(ch.rounding["worst"].subs(at)) == pytest.approx(moved(stride / 2), abs=1e-9)
    assert sp.simplify(ch.rounding["mean"].args[0].expr - ch.rounded.expr) == 0


def test_twins_of_the_shift_are_refuted(ch):
    w, d, s, u = ch.w, ch.delta, ch.s, ch.u
    refused(Derivation("a", ch.iou.subs(ch.O, w * (w - d))), (w - d) / w)
    refused(Derivation("b", ch.iou, where={ch.O: w**2 / 4}), sp.Rational(1, 4))
    refused(
        Derivation("c", 2 / s * sp.Integral((w - d) / (w + d), (d, 0, s / 2))), 2 * w / s * sp.log(1 + s / (2 * w)) - 1
    )
    whole = Derivation("d", (w - s / 2) / (w + s / 2) - sp.S.Half, where={s: w * u}, domain={u: (0, 1)})
    refused(whole, 0, "at_least")


def test_centres_on_cells_are_the_nearest_and_boxes_keep_their_size(ch):
    b = crowns.parts().test[0][1]
    for stride in (4, 16):
        moved, cell = ch.on_cells(b, stride)
        assert_close(moved[:, 2:] - moved[:, :2], b[:, 2:] - b[:, :2], atol=1e-4, rtol=0)
        gone = ((moved - b)[:, :2]).abs()
        assert gone.max() <= stride / 2 + 1e-4
        assert_close(((moved[:, :2] + moved[:, 2:]) / 2), (cell + 0.5) * stride, atol=1e-4, rtol=0)


def test_along_one_axis_a_stride_of_two_thirds_of_the_side_never_fails_and_a_larger_one_does(ch):
    place = torch.arange(0, 60, 0.25)
    b = torch.stack([place, 0 * place, place + 12, 0 * place + 12], 1)
    along = [ch.on_cells(b, stride)[0] for stride in (8, 9)]
    worst = [boxes.iou(b, torch.stack([x[:, 0], b[:, 1], x[:, 2], b[:, 3]], 1)).min() for x in along]
    assert worst[0] >= 0.5 - 1e-6
    assert worst[1] < 0.5


@pytest.mark.parametrize("stride", [4, 8, 16])
def test_a_detector_answers_where_its_cells_lie(ch, stride):
    torch.manual_seed(0)
    net = ch.Detector(stride).eval()
    scores, b = net(torch.rand(1, 3, 64, 96))
    assert scores.shape == (1, 64 // stride * 96 // stride)
    middle = crowns.centres((64 // stride, 96 // stride), stride).view(-1, 2)
    assert ((b[0, :, :2] < middle) & (middle < b[0, :, 2:])).all()
    assert scores.sigmoid().mean() < 0.1
    torch.nn.init.zeros_(net.head[-1].weight)
    torch.nn.init.zeros_(net.head[-1].bias)
    assert_close(net(torch.rand(1, 3, 64, 96))[1][0], torch.cat([middle - 8, middle + 8], 1))


def test_all_detectors_have_the_same_layers(ch):
    counts = {sum(p.numel() for p in ch.Detector(stride).parameters()) for stride in (4, 8, 16)}
    assert len(counts) == 1


def test_the_fine_map_hears_the_coarse_one(ch):
    torch.manual_seed(0)
    net, x = ch.Detector(4).double().eval(), torch.rand(1, 3, 160, 160, dtype=torch.float64, requires_grad=True)
    net(x)[0][0, 20 * 40 + 20].backward()
    reach = x.grad[0].abs().sum(0).nonzero() + 0.5 - 20.5 * 4
    assert 40 < reach.max() < -reach.min() < 64  # stride 2 looks around pixel 0, not around a cell's middle


@pytest.mark.parametrize("overlap", [0, 7, 16, 33])
@pytest.mark.parametrize("length", [30, 50, 97, 333])
def test_an_object_up_to_the_overlap_is_whole_in_a_tile_and_one_pixel_more_may_not_be(ch, overlap, length):
    starts = ch.starts(length, 50, overlap)
    assert starts[0] == 0
    assert starts[-1] + 50 >= length
    assert all(b - a == 50 - overlap for a, b in pairwise(starts))
    for size, always in ((overlap, True), (overlap + 1, length <= 50)):
        place = torch.arange(0, max(length - size, 0) + 1e-6, 0.5)
        b = torch.stack([place, 0 * place, place + min(size, length), 0 * place + 1], 1)
        assert bool(ch.cut(b, (10, length), 50, overlap).any()) != always
        assert bool(ch.cut(b[:, [1, 0, 3, 2]], (length, 10), 50, overlap).any()) != always


def test_twins_of_the_tile_lemma_are_refuted(ch):
    a, h, v, g, k, u, w = ch.a, ch.h, ch.v, ch.g, ch.k, ch.u, ch.w
    larger = Derivation(
        "an object above the overlap", k * h + h + v - (a + w), where={a: (k + u) * h, w: v + g}, domain={u: (0, 1)}
    )
    refused(larger, 0, "at_least")
    later = Derivation("the next tile", k * h + v - (a + w), where={a: (k + u) * h, w: v - g}, domain={u: (0, 1)})
    refused(later, 0, "at_least")


def test_tiles_report_boxes_where_they_lie_and_each_object_once(ch):
    truth = torch.tensor([[10.0, 12, 30, 30], [70, 40, 100, 60], [120, 100, 140, 118]])

    def stub(photo):  # a "photograph" whose first two channels hold every pixel's place
        left, top = photo[0, 0, 0], photo[1, 0, 0]
        b = truth - torch.stack([left, top, left, top])
        whole = ((b[:, :2] >= 0) & (b[:, 2:] <= torch.tensor(photo.shape[:0:-1]))).all(1)
        b = b[whole]
        return b, torch.ones(len(b)), torch.zeros(len(b), dtype=torch.long)

    y, x = torch.meshgrid(torch.arange(128.0), torch.arange(160.0), indexing="ij")
    kept, crowns.detect = crowns.detect, lambda net, photo: stub(photo)
    try:
        found = ch.detect_in_tiles(None, torch.stack([x, y]), 64, 32)
    finally:
        crowns.detect = kept
    assert sorted(found[0].tolist()) == sorted(truth.tolist())


def test_scores_in_a_tile_are_those_of_the_picture_beyond_the_reach(ch):
    torch.manual_seed(1)
    net = ch.Detector(4).double().eval()
    photo = crowns.parts().test[0][0][None, :, :320, :320].double()
    whole, part = net(photo)[0].view(80, 80)[16:64, 16:64], net(photo[..., 64:256, 64:256])[0].view(48, 48)
    assert_close(part[13:-13, 13:-13], whole[13:-13, 13:-13], atol=1e-12, rtol=0)
    assert (part - whole).abs()[0].max() > 1e-6
    shifted = net(photo[..., 72:264, 72:264])[0].view(48, 48)  # begins at no multiple of 16
    assert (shifted - net(photo)[0].view(80, 80)[18:66, 18:66])[13:-13, 13:-13].abs().max() > 1e-6


def test_inner_cells_of_tiles_that_overlap_by_112_are_the_whole_picture(ch):
    torch.manual_seed(1)
    net, photo = ch.Detector(4).double().eval(), crowns.parts().test[0][0][None, :, :352, :192].double()
    whole = net(photo)[0].view(88, 48)
    starts = [start for start in ch.starts(352, 192, 112) if start + 192 <= 352]
    assert starts == [0, 80, 160]
    for start in starts:
        part = net(photo[:, :, start : start + 192])[0].view(48, 48)
        first, last = 14 * (start > 0), 48 - 14 * (start < 160)
        assert_close(part[first:last], whole[start // 4 + first : start // 4 + last], atol=1e-12, rtol=0)
        assert last - first >= 80 // 4  # inner cells of neighbours leave none out


def test_p_net_on_a_picture_is_p_net_on_scikit_images_windows(ch):
    torch.manual_seed(0)
    net, x = ch.p_net().double(), torch.rand(30, 45, dtype=torch.float64)
    windows = torch.from_numpy(view_as_windows(x.numpy(), (12, 12), 2).copy())
    one = net(windows.reshape(-1, 1, 12, 12)).view(windows.shape[:2])
    assert_close(net(x[None, None])[0, 0], one)


@pytest.mark.parametrize(("shape", "least"), [((600, 512), 40), ((100, 300), 12), ((512, 512), 60)])
def test_copies_end_where_a_window_no_longer_fits_and_cost_what_is_derived(ch, shape, least):
    found = ch.scales(shape, least, 0.709)
    assert min(shape) * found[-1] >= 12 > min(shape) * found[-1] * 0.709
    cost = to_torch(ch.work.steps[0].rhs, [ch.r, ch.least, ch.l])
    promised = cost(*torch.tensor([0.709, least, len(found) - 1], dtype=torch.float64)).item()
    assert sum(scale**2 for scale in found) == pytest.approx(promised)
    assert promised < (12 / least) ** 2 / (1 - 0.709**2)


def test_a_bound_without_the_largest_copies_is_refuted(ch):
    work = Derivation("work", ch.work.steps[0].rhs, domain={ch.r: (0, 1)})
    refused(work, (12 / ch.least) ** 2, "at_most")


def test_a_scan_finds_a_pattern_at_its_place_and_size(ch):
    def net(x):  # answers the mean of the window, less 0.3
        mean = torch.nn.functional.avg_pool2d(x, 12, 2)
        return mean - 0.3

    x = torch.zeros(200, 260)
    x[53:133, 107:187] = 1
    b, scores, windows = ch.scan(net, x, 80)
    best = scores.argmax()
    assert boxes.iou(b[best], torch.tensor([107.0, 53, 187, 133])) > 0.95
    assert windows[best].mean() > 0.8
    assert windows.shape[1:] == (1, 12, 12)


def test_scores_and_windows_of_a_scan_belong_together(ch):
    torch.manual_seed(0)
    net = ch.p_net()
    _, scores, windows = ch.scan(net, faces.grey("astronaut")[:200, :200], 40)
    assert scores.equal(scores.sort(descending=True).values)
    assert len(scores) > 1
    assert_close(net(windows - 0.5)[:, 0, 0, 0], scores, atol=1e-5, rtol=1e-4)


def test_the_astronauts_face_is_where_scikit_images_cascade_finds_it():
    cascade = Cascade(photographs.lbp_frontal_face_cascade_filename())
    found = cascade.detect_multi_scale(
        img=photographs.astronaut(), scale_factor=1.2, step_ratio=1, min_size=(60, 60), max_size=(200, 200)
    )
    corners = [[one["c"], one["r"], one["c"] + one["width"], one["r"] + one["height"]] for one in found]
    face = torch.tensor([175.0, 70, 268, 163])
    assert boxes.iou(torch.tensor(corners).float(), face).max() > 0.85


def test_mining_reads_the_photographs_to_learn_from_and_no_other_and_learns_from_70_faces(ch, monkeypatch):
    read, lengths, grey, train = [], [], faces.grey, ch.training.train
    monkeypatch.setattr(faces, "grey", lambda name: read.append(name) or grey(name)[:120, :120])

    def seen(net, loss, x, y, **settings):
        lengths.append((len(x), int(y.sum())))
        assert x[: int(y.sum())].equal(x[y > 0])
        right, wrong = 2 * y - 1, 1 - 2 * y
        answers = iter([right, wrong, 0 * y])
        net.forward = lambda x: 9 * next(answers)[:, None, None, None]
        assert loss(x, y) < 0.01 < loss(x, y)
        assert_close(loss(x, y).item(), 2 * math.log(2) * (1 - y.mean().item()))  # both kinds count alike
        del net.forward
        return train(net, loss, x, y, **settings)

    monkeypatch.setattr(ch.training, "train", seen)
    nets = list(ch.rounds(seed=0, count=2, steps=3))
    assert set(read) == {*faces.MINED}
    assert lengths[0] == (840, 420)
    assert lengths[1][1] == 420
    assert lengths[1][0] <= 840 + 100 * len(faces.MINED)
    assert len(nets) == 2


def test_the_best_scored_hundred_mistakes_of_a_photograph_join_the_examples(ch, monkeypatch):
    learnt, ranks = [], torch.arange(150.0).view(-1, 1, 1, 1).expand(-1, 1, 12, 12)
    monkeypatch.setattr(ch, "scan", lambda net, x: (None, None, ranks))
    monkeypatch.setattr(ch.training, "train", lambda net, loss, x, y, **settings: learnt.append((x, y)))
    assert len(list(ch.rounds(count=2))) == 2
    x, y = learnt[1]
    assert x[840:].equal(ranks[:100].repeat(len(faces.MINED), 1, 1, 1))
    assert (y[420:] == 0).all()


def test_the_port_is_right_at_the_windows_own_size_alone(ch):
    width = ch.port.expr if hasattr(ch, "port") else 11 * ch.least / 12 + 1
    assert width.subs(ch.least, 12) == 12
    for side in (24, 40, 120):
        first, last = np.array([1, 12]) * side / 12  # numbers of pixels, counted from 1, both inside
        assert last - (first - 1) == pytest.approx(float(width.subs(ch.least, side)))
        assert width.subs(ch.least, side) < side


def test_the_stored_numbers_tell_the_strides_apart():
    found = {stride: learning_curves.load(f"small_objects_{stride}").returns for stride in (16, 8, 4)}
    assert all(rows.shape == (5, 8) for rows in found.values())
    assert found[16][:, 0].max() < min(found[8][:, 0].min(), found[4][:, 0].min())
    assert found[8][:, 4].mean() > 1.8 * found[16][:, 4].mean()
    assert found[8][:, 0].mean() > 2.8 * found[16][:, 0].mean()
    assert found[4][:, 4].mean() < found[8][:, 4].mean() + 0.02
    assert max(rows[:, 5].mean() for rows in found.values()) < 0.2


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("stride", lambda ch: 2 * ch.w / 7, lambda ch: 2 * ch.w / 3),
        ("both", lambda ch: 1 - sp.sqrt(sp.Rational(2, 3)), lambda ch: sp.Rational(1, 3)),
        ("levels", lambda ch: 8, lambda ch: 7),
    ],
)
def test_exercises_accept_the_answer_and_refuse_another(ch, name, right, wrong):
    assert getattr(ch, name).check(right(ch))
    assert not getattr(ch, name).check(wrong(ch))
