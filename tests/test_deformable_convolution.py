"""Deformable convolution and pooling against OpenVINO, onnx and torch, and the known ways to get them wrong."""

from types import SimpleNamespace

import pytest
import sympy as sp
import torch
from openvino import opset1, opset8
from torch.nn import functional as F
from torch.testing import assert_close

from tests.chapter import derivations, load
from tests.oracles import by_onnx, by_openvino
from utils import training
from utils.derive import Derivation, StepError


@pytest.fixture(scope="module")
def ch():
    return load("detection/deformable-convolution")


@pytest.fixture
def case():
    generator = torch.Generator().manual_seed(0)
    f = torch.randn(2, 3, 6, 7, generator=generator)
    offset = 1.5 * torch.randn(2, 18, 6, 7, generator=generator)
    weight = torch.randn(4, 3, 3, 3, generator=generator)
    return f, offset, weight


def convolution(edge):
    return lambda f, o, w: opset8.deformable_convolution(
        f, o, w, [1, 1], [1, 1], [1, 1], [1, 1], bilinear_interpolation_pad=edge
    )


def test_deformable_convolution_is_that_of_openvino_down_before_right_zero_outside(ch, case):
    ours, arrays = ch.deform_conv2d(*case), [t.numpy() for t in case]
    assert_close(ours, by_openvino(convolution(True), *arrays), atol=2e-5, rtol=0)
    other_edge = by_openvino(convolution(False), *arrays)
    assert (ours - other_edge).abs().max() > 0.1
    f, offset, weight = case
    right_first = offset.unflatten(1, (9, 2)).flip(2).flatten(1, 2)
    assert (ch.deform_conv2d(f, right_first, weight) - ours).abs().max() > 0.1


def test_deformable_convolution_is_that_of_the_onnx_reference(ch, case):
    f, offset, weight = case
    arrays = f.numpy(), weight.numpy(), offset.numpy()
    theirs = by_onnx("DeformConv", *arrays, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    assert_close(ch.deform_conv2d(f, offset, weight), theirs, atol=2e-5, rtol=0)


@pytest.mark.parametrize(("k", "dilation"), [(1, 1), (3, 1), (3, 2), (5, 1)])
def test_offsets_that_stretch_the_grid_are_a_dilation(ch, k, dilation):
    generator = torch.Generator().manual_seed(1)
    f = torch.randint(-5, 6, (2, 2, 8, 9), generator=generator).double()
    weight = torch.randint(-5, 6, (3, 2, k, k), generator=generator).double()
    side = (dilation - 1) * (torch.arange(k) - k // 2)
    moves = torch.stack(torch.meshgrid(side, side, indexing="ij"), -1).reshape(1, -1, 1, 1).double()
    expected = F.conv2d(f, weight, padding=dilation * (k // 2), dilation=dilation)
    assert ch.deform_conv2d(f, moves.expand(2, -1, 8, 9), weight).equal(expected)


def test_one_cell_alone_is_that_cell_of_the_whole_map(ch, case):
    f, offset, weight = case
    alone = ch.deform_conv2d(f, offset[..., 2:4, 5:6], weight, first=(2, 5))
    assert_close(alone, ch.deform_conv2d(f, offset, weight)[..., 2:4, 5:6])


def test_the_slope_along_an_offset_is_weight_times_slope(ch):
    f = torch.randn(1, 1, 5, 5, dtype=torch.float64)
    weight = torch.randn(1, 1, 3, 3, dtype=torch.float64)
    offset = (0.8 * torch.rand(1, 18, 1, 1, dtype=torch.float64) + 0.1).requires_grad_()
    (ours,) = torch.autograd.grad(ch.deform_conv2d(f, offset, weight, first=(2, 2)).sum(), offset)
    symbols = [ch.a, ch.d, *ch.f.values()]
    for tap in range(9):
        down, right = offset[0, 2 * tap : 2 * tap + 2, 0, 0].detach()
        row, column = 1 + tap // 3, 1 + tap % 3
        near = [
            f[0, 0, row + j, column + i] if 0 <= row + j < 5 and 0 <= column + i < 5 else torch.tensor(0.0).double()
            for i, j in ch.near
        ]
        expected = weight.flatten()[tap] * ch.to_torch(ch.slope.expr, symbols)(right, down, *near)
        assert_close(ours[0, 2 * tap + 1, 0, 0], expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_and_slopes_are_those_of_grid_sample(ch, dtype):
    generator = torch.Generator().manual_seed(2)
    f = torch.randn(3, 5, 6, generator=generator, dtype=dtype)
    at = [(torch.rand(300, generator=generator, dtype=dtype) * 9 - 1.5).requires_grad_() for _ in range(2)]
    grid = torch.stack([2 * at[0] / 6 - 1, 2 * at[1] / 5 - 1], -1)[None, None]
    ours, theirs = ch.sample(f, *at), F.grid_sample(f[None], grid, align_corners=False)[0, :, 0]
    slack = {"atol": 1e-4, "rtol": 1e-4} if dtype == torch.float32 else {}
    assert_close(ours, theirs, **slack)
    assert_close(torch.autograd.grad(ours.sum(), at), torch.autograd.grad(theirs.sum(), at), **slack)


def test_one_sided_slopes_differ_at_a_centre_by_the_second_difference(ch):
    row, down = torch.tensor([[[1.0, 4.0, 9.0]]], dtype=torch.float64), torch.tensor([0.5]).double()
    step = 1e-6

    def value(u):
        return ch.sample(row, torch.tensor([u], dtype=torch.float64), down)[0, 0]

    before, after = (value(1.5) - value(1.5 - step)) / step, (value(1.5 + step) - value(1.5)) / step
    assert_close(torch.stack([before, after]), torch.tensor([3.0, 5.0]).double(), atol=1e-6, rtol=0)
    symbols = {ch.f[-1, 0]: 1, ch.f[0, 0]: 4, ch.f[1, 0]: 9}
    assert ch.jump.expr.subs(symbols) == 2


def test_deformable_pooling_is_that_of_openvino_whose_offsets_put_right_first(ch):
    """OpenVINO rounds the box, adds a cell, and samples at the start of each of the parts where we take the middle."""
    generator = torch.Generator().manual_seed(3)
    k, samples = 3, 2
    f = torch.randn(1, 2, 16, 18, generator=generator)
    offset = torch.randn(1, 2, k, k, generator=generator)
    box = torch.tensor([4.0, 5.0, 12.0, 11.0])  # their region is 4 to 13 and 5 to 12
    arrays = f.repeat_interleave(k * k, 1), torch.cat([torch.zeros(1), box])[None], offset.flip(1)
    theirs = by_openvino(
        lambda f, b, o: opset1.deformable_psroi_pooling(
            f, b, 2, 1.0, k, "bilinear_deformable", samples, samples, 0.1, k, o
        ),
        *(array.numpy() for array in arrays),
    )
    w, h = 9, 7
    back = torch.tensor([w, h, w, h]) / (2 * k * samples)
    region = torch.tensor([4.0, 5.0, 13.0, 12.0]) - back
    assert_close(ch.deform_roi_pool(f[0], region, offset[0], 0.1, samples), theirs[0], atol=1e-5, rtol=0)
    swapped = ch.deform_roi_pool(f[0], region, offset[0].flip(0), 0.1, samples)
    assert (swapped - theirs[0]).abs().max() > 0.1


def test_pooling_with_offsets_0_averages_the_bins_and_has_the_gradients_of_differences(ch):
    f = torch.randn(1, 12, 12, dtype=torch.float64)
    box, offset = torch.tensor([0.0, 0, 12, 12]).double(), torch.zeros(2, 3, 3).double()
    assert_close(ch.deform_roi_pool(f, box, offset, samples=4), F.avg_pool2d(f, 4))
    inner = torch.tensor([2.3, 1.9, 8.1, 9.4]).double().requires_grad_()
    moved = (0.4 * torch.rand(2, 3, 3).double()).requires_grad_()
    assert torch.autograd.gradcheck(lambda b, o: ch.deform_roi_pool(f, b, o, samples=2), (inner, moved))


def test_a_bin_of_a_ramp_moves_in_proportion_to_the_box(ch):
    ramp = torch.arange(40.0).expand(1, 40, 40).double()
    for w in (6.0, 12.0):
        box = torch.tensor([10.0, 12.0, 10 + w, 15.0]).double()
        still, moved = (
            ch.deform_roi_pool(ramp, box, torch.stack([0 * x, x]))
            for x in torch.eye(3).double()[None] * torch.tensor([[[0.0]], [[1.0]]])
        )
        assert_close((moved - still)[0], 0.1 * w * torch.eye(3).double())


def test_a_digit_keeps_its_middle_and_grows_with_the_map(ch):
    x = torch.zeros(1, 28, 28)
    x[0, 14:16, 18:20] = 255  # 5 right of and 1 below the middle
    seen = ch.mapped(x, torch.tensor([[[0.0, -2.0], [2.0, 0.0]]]))[0, 0]  # a quarter turn, twice the size
    down, right = (seen / seen.sum()).nonzero().float().mul((seen / seen.sum())[seen > 0][:, None]).sum(0)
    assert_close(torch.stack([right + 0.5 - 14, down + 0.5 - 14]), torch.tensor([-2.0, 10.0]), atol=0.05, rtol=0)


def test_random_maps_enlarge_and_turn_as_far_as_the_text_says(ch):
    M = ch.maps(4000, torch.Generator().manual_seed(0))
    size, angle = torch.linalg.det(M).sqrt(), torch.atan2(M[:, 1, 0], M[:, 0, 0]).rad2deg()
    found = torch.stack([size.min(), size.max(), angle.min(), angle.max()])
    assert_close(found, torch.tensor([0.5, 1.4, -45, 45]), atol=0.2, rtol=0.003)
    upright = torch.linalg.solve(torch.stack([M[:, :, 0], M[:, :, 0].flip(1) * torch.tensor([-1, 1])], -1), M[:, :, 1])
    assert_close(upright[:, 1], torch.ones(4000))
    assert 0.29 < upright[:, 0].abs().max() < 0.3


def test_readers_learn_from_training_digits_and_are_judged_by_others(ch, monkeypatch):
    kept = ch.mnist
    monkeypatch.setattr(ch, "mnist", SimpleNamespace(x_train=kept.x_train, y_train=kept.y_train))
    reader = [*ch.training_run("fixed", seed=0, steps=2)][-1]
    monkeypatch.setattr(ch, "mnist", SimpleNamespace(x_test=kept.x_test, y_test=kept.y_test))
    assert 0 < ch.accuracy(reader) < 1


@pytest.mark.parametrize("kind", ["fixed", "shared", "deformable"])
def test_readers_start_alike_and_only_some_move(ch, kind):
    training.seed(0)
    reader, x = ch.Reader(kind), torch.rand(4, 1, 28, 28)
    f = reader.stem(x)
    assert not reader.offsets(f).any()
    torch.nn.init.normal_(reader.offset.weight)
    torch.nn.init.normal_(reader.offset.bias)
    moves = reader.offsets(f)[..., 0, 0]
    assert bool(moves.any()) == (kind != "fixed")
    assert bool((moves - moves[:1]).abs().max() > 1e-3) == (kind == "deformable")
    assert reader(x).shape == (4, 10)


def test_a_shorter_training_run_ends_in_training_mode_and_learns(ch):
    for reader in ch.training_run("deformable", seed=0, steps=3):
        assert reader.training
        ch.accuracy(reader)
    assert reader.offset.weight.abs().max() > 0


def test_places_that_are_spread_by_the_derived_moves_grow_in_proportion(ch):
    size = 1.7
    side = torch.arange(3) - 1.0
    moves = (size - 1) * torch.stack(torch.meshgrid(side, side, indexing="ij"), -1).reshape(1, -1, 1, 1)
    regular, grown = (torch.stack(ch.taps(x, 3))[..., 0, 0] for x in (0 * moves, moves))
    assert_close(ch.spread(grown) / ch.spread(regular), torch.tensor(size))
    assert ch.spread(regular).item() == pytest.approx(float(ch.regular.answer.subs(ch.k, 3)))


def test_moves_counted_by_another_side_do_not_follow_the_box(ch):
    h = sp.Symbol("h", positive=True)

    def look(x_1, x_2):
        return x_1 + (x_2 - x_1) * (ch.j + ch.s) / ch.k + ch.gamma * h * ch.D

    wrong = Derivation("A look, box widened", look(ch.rho * ch.x_1, ch.rho * ch.x_2))
    with pytest.raises(StepError, match="does not hold"):
        wrong.equals(ch.rho * look(ch.x_1, ch.x_2), because="the height has not changed")


def test_every_step_is_proved(ch):
    status = [step.status for derivation in derivations(ch) for step in derivation.steps]
    assert len(status) == 5
    assert set(status) == {"proved"}


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("count", lambda ch: 41_490, lambda ch: 9 * 256 * 18),
        ("regular", lambda ch: sp.sqrt((ch.k**2 - 1) / 6), lambda ch: sp.sqrt((ch.k**2 - 1) / 12)),
        (
            "rotated",
            lambda ch: sp.Matrix([sp.cos(ch.phi) - 1, sp.sin(ch.phi)]),
            lambda ch: sp.Matrix([sp.sin(ch.phi), sp.cos(ch.phi) - 1]),
        ),
    ],
)
def test_exercises_accept_the_answer_and_refuse_another(ch, name, right, wrong):
    assert getattr(ch, name).check(right(ch))
    assert not getattr(ch, name).check(wrong(ch))
