"""Bins, pyramids and region operators against PyTorch, ONNX, OpenVINO, enumeration and their own known mistakes."""

import numpy as np
import pytest
import sympy as sp
import torch
from openvino import opset9
from torch.nn import functional as F
from torch.testing import assert_close

from tests.chapter import derivations, load
from tests.oracles import by_onnx, by_openvino
from utils import regions
from utils.derive import Derivation, StepError

SLUG = "detection/spatial-pyramid-pooling"
STRIDE = 4


@pytest.fixture(scope="module")
def ch():
    return load(SLUG)


@pytest.fixture
def case():
    """One map of 3 channels and regions that lie well inside it, in pixels."""
    generator = torch.Generator().manual_seed(1)
    first = STRIDE + 40 * torch.rand(25, 2, generator=generator)
    boxes = torch.cat([first, first + 3 + 50 * torch.rand(25, 2, generator=generator)], 1)
    return torch.randn(3, 26, 30, generator=generator), boxes


def aligned_by_onnx(features, boxes, bins, samples, mode):
    setting = {"output_height": bins, "output_width": bins, "sampling_ratio": samples, "spatial_scale": 1 / STRIDE}
    arrays = features[None].numpy(), boxes.numpy(), np.zeros(len(boxes), np.int64)
    return by_onnx("RoiAlign", *arrays, **setting, coordinate_transformation_mode=mode)


@pytest.mark.parametrize("k", range(1, 13))
def test_adaptive_bins_are_pytorchs_for_all_sizes(ch, k):
    for a in range(1, 40):
        line = torch.arange(float(a))
        ends = [F.adaptive_max_pool1d(sign * line[None], k)[0] * sign for sign in (-1, 1)]
        assert ch.bins(a, k) == [(int(first), int(last) + 1) for first, last in zip(*ends, strict=True)]


def test_windows_are_those_of_a_pooling_layer_with_the_published_size_and_step(ch):
    for a in range(3, 40):
        for k in range(1, min(a, 8) + 1):
            size, step = -(-a // k), a // k
            assert ch.windows(a, k) == [(i * step, i * step + size) for i in range(k)]
            assert ch.windows(a, k)[-1][1] == a - max(a % k - 1, 0)
            assert F.max_pool1d(torch.zeros(1, a), size, step).shape[1] >= k
    assert F.max_pool1d(torch.zeros(1, 11), 3, 2).shape[1] == 5  # where four are wanted


def test_the_published_network_loses_cells_at_its_second_size_only(ch):
    lost = {(a, k): a - ch.windows(a, k)[-1][1] for a in (13, 10) for k in (1, 2, 3, 6)}
    assert lost.pop((10, 6)) == 3
    assert set(lost.values()) == {0}


@pytest.mark.parametrize("shape", [(4, 4), (7, 13), (24, 5)])
@pytest.mark.parametrize("k", [1, 3, 4])
def test_pooled_is_adaptive_pooling(ch, shape, k):
    x = torch.randn(2, 3, *shape)
    assert_close(ch.pooled(x, k), F.adaptive_max_pool2d(x, k))
    assert_close(ch.pooled(x, k, reduce=torch.mean), F.adaptive_avg_pool2d(x, k))


def test_the_pyramid_has_21_numbers_a_channel_whatever_the_size_and_coarse_levels_follow_from_the_finest(ch):
    for shape in ((4, 4), (9, 31), (50, 6)):
        x = torch.randn(2, 5, *shape)
        whole = ch.spp(x)
        assert whole.shape == (2, 5 * 21)
        fine = whole[:, 25:].unflatten(1, (5, 4, 4))
        assert_close(F.max_pool2d(fine, 2).flatten(1), whole[:, 5:25])
        assert_close(fine.amax((2, 3)), whole[:, :5])


def test_windows_do_not_see_the_last_rows_and_columns_of_eleven_cells_and_bins_do(ch):
    x = torch.rand(1, 1, 11, 11)
    changed = x.clone()
    changed[..., 9:, :] = changed[..., 9:] = 2
    assert_close(ch.spp(x, (4,), ch.windows), ch.spp(changed, (4,), ch.windows))
    assert (ch.spp(x, (4,)) != ch.spp(changed, (4,))).any()


def test_each_bin_of_maxima_hands_its_gradient_to_one_cell(ch):
    x = torch.randn(1, 1, 15, 11, requires_grad=True)
    (gradient,) = torch.autograd.grad(ch.spp(x).sum(), x)
    assert gradient.sum() == 21
    assert gradient.count_nonzero() <= 16
    assert gradient.flatten()[x.argmax()] >= 3  # it wins at every level


def test_roi_pooling_is_openvinos_and_that_of_the_later_chapters(ch, case):
    features, boxes = case
    ours = torch.stack([ch.roi_pool(features, box, 3, STRIDE) for box in boxes])
    rows = F.pad(boxes, (1, 0)).numpy()
    theirs = by_openvino(
        opset9.roi_pooling, features[None].numpy(), rows, output_roi=[3, 3], spatial_scale=1 / STRIDE, method="max"
    )
    assert_close(ours, theirs, rtol=0, atol=0)
    none = torch.zeros(len(boxes)).long()
    assert_close(ours, regions.roi_pool(features[None], boxes, none, 3, 1 / STRIDE))


@pytest.mark.parametrize("samples", [1, 2, 3])
def test_roi_align_is_that_of_onnx_openvino_and_the_later_chapters(ch, case, samples):
    features, boxes = case
    ours = torch.stack([ch.roi_align(features, box, 3, STRIDE, samples) for box in boxes])
    assert_close(ours, aligned_by_onnx(features, boxes, 3, samples, "half_pixel"), rtol=1e-5, atol=5e-6)
    none = np.zeros(len(boxes), np.int32)
    settings = {"pooled_h": 3, "pooled_w": 3, "sampling_ratio": samples, "spatial_scale": 1 / STRIDE, "mode": "avg"}
    arrays = features[None].numpy(), boxes.numpy(), none
    theirs = by_openvino(opset9.roi_align, *arrays, **settings, aligned_mode="half_pixel_for_nn")
    assert_close(ours, theirs, rtol=1e-5, atol=5e-6)
    ours_too = regions.roi_align(features[None], boxes, torch.from_numpy(none).long(), 3, 1 / STRIDE, samples)
    assert_close(ours, ours_too, rtol=1e-5, atol=5e-6)


def test_half_a_cell_off_is_the_legacy_operator(ch, case):
    features, boxes = case[0], case[1].clone()
    boxes[:, 2:] = torch.maximum(boxes[:, 2:], boxes[:, :2] + STRIDE)  # the legacy operator enlarges smaller ones
    off = torch.stack([ch.roi_align(features, box + STRIDE / 2, 3, STRIDE) for box in boxes])
    legacy = aligned_by_onnx(features, boxes, 3, 2, "output_half_pixel")
    assert_close(off, legacy, rtol=1e-5, atol=5e-6)
    right = torch.stack([ch.roi_align(features, box, 3, STRIDE) for box in boxes])
    assert (off - right).abs().mean() > 0.1


def test_a_rounded_region_is_one_cell_too_wide_on_average_and_without_the_extra_cell_it_is_not(ch):
    features = torch.ones(1, 12, 12)
    for extra, expected in ((1, 40 / 16 + 1), (0, 40 / 16)):
        boxes = [torch.tensor([16.0 + o, 16, 56 + o, 32]) for o in range(16)]
        read = [ch.roi_pool(features, box, 1, 16, lambda x, axis: x.sum(axis), extra) for box in boxes]
        assert torch.stack(read).mean() / (1 + extra) == pytest.approx(expected)


def test_interpolation_errs_by_the_derived_amount_on_a_parabola(ch):
    bent = (torch.arange(8).double() + 0.5)[None, None] ** 2  # curvature 2, stride 1
    at = torch.linspace(2.5, 3.5, 9).double()
    found = regions.bilinear(bent, at, torch.full_like(at, 0.5))[0] - at**2
    derived = [float(ch.between.expr.subs({ch.f_2: 2, ch.s: 1, ch.u: u})) for u in (at - 2.5).tolist()]
    assert_close(found, torch.tensor(derived).double())


def test_the_pull_on_an_edge_is_the_derived_one(ch):
    features = torch.tensor([[[2.0, 7.0]]]).double()
    box = torch.tensor([5.0, 0, 25, 16]).double().requires_grad_()
    (pull,) = torch.autograd.grad(ch.roi_align(features, box, 1, 16, samples=1).sum(), box)
    at = {ch.v: sp.Rational(1, 2), ch.F_1: 2, ch.F_2: 7, ch.s: 16}
    assert pull[0].item() == pytest.approx(float(ch.left.expr.subs(at)))
    assert torch.autograd.functional.jacobian(lambda b: ch.roi_pool(features, b, 1, 16), box).abs().sum() == 0


@pytest.mark.parametrize(
    "wrong",
    [
        lambda ch: sp.Mod(ch.a, ch.k),
        lambda ch: sp.Max(sp.Mod(ch.a, ch.k) - 1, 0) + 1,
        lambda ch: sp.Piecewise((0, sp.Eq(sp.Mod(ch.a, ch.k), 0)), (1, True)),
    ],
)
def test_other_counts_of_missed_cells_are_refuted(ch, wrong):
    with pytest.raises(StepError, match="does not hold"):
        Derivation("missed", ch.a - ch.reached, domain=ch.sizes).equals(wrong(ch), because="it is said")


def test_the_width_without_the_extra_cell_is_refuted(ch):
    with pytest.raises(StepError, match="does not hold"):
        Derivation("w", ch.wide.lhs, domain={ch.s: [4], ch.w: [*range(1, 9)]}).equals(ch.w / ch.s, because="as wide")


def test_every_step_is_proved_but_one(ch):
    status = [step.status for derivation in derivations(ch) for step in derivation.steps]
    assert status.count("proved") >= 7
    assert set(status) <= {"proved", "sampled"}
    assert status.count("sampled") <= 1  # the slope of a maximum


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("unread_share", lambda ch: 1 - (1 - (ch.r - 1) / ch.a) ** 2, lambda ch: ((ch.r - 1) / ch.a) ** 2),
        (
            "kept_iou",
            lambda ch: (2 * ch.w - ch.s) ** 2 / (8 * ch.w**2 - (2 * ch.w - ch.s) ** 2),
            lambda ch: (ch.w - ch.s / 2) / (ch.w + ch.s / 2),
        ),
        ("wider", lambda ch: ch.f_1 / 2, lambda ch: ch.f_1),
    ],
)
def test_exercises_accept_the_answer_and_refuse_another(ch, name, right, wrong):
    assert getattr(ch, name).check(right(ch))
    assert not getattr(ch, name).check(wrong(ch))
