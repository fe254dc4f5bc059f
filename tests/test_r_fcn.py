"""Position-sensitive pooling against OpenVINO, the head against a linear layer, costs against PyTorch's own count."""

import pytest
import sympy as sp
import torch
from openvino import opset9
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode
from transformers import ResNetConfig
from transformers.models.resnet.modeling_resnet import ResNetStage

from tests.chapter import derivations, load
from tests.oracles import by_openvino
from utils import boxes
from utils.regions import roi_align


@pytest.fixture(scope="module")
def ch():
    return load("detection/r-fcn")


def some(*shape, seed=0, side=48):
    first, size = torch.rand(2, *shape, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    size = 4 + (side / 2 - 4) * size
    return torch.cat([first * (side - size), first * (side - size) + size], -1)


def multiply_adds(module, *inputs):
    with FlopCounterMode(display=False) as counter:
        module(*inputs)
    return counter.get_total_flops() // 2


@pytest.mark.parametrize("k", [1, 2, 4])
def test_pooling_is_that_of_openvino_where_bins_end_on_cells(ch, k):
    m, corner = torch.randn(2, 4 * k * k, 12, 12), torch.randint(0, 5, (2, 15, 2))
    size = k * torch.randint(1, 8 // k, (2, 15, 2))  # cells; elsewhere the released code rounds
    regions = 4.0 * torch.cat([corner, corner + size], -1)
    ends = regions - torch.tensor([0, 0, 1, 1])  # it counts the last pixel in
    rows = torch.cat([torch.arange(2.0).repeat_interleave(15)[:, None], ends.flatten(0, 1)], 1)
    setting = {"output_dim": 4, "group_size": k, "spatial_scale": 0.25, "spatial_bins_x": 1, "spatial_bins_y": 1}
    theirs = by_openvino(opset9.psroi_pooling, m.numpy(), rows.numpy(), **setting, mode="average")
    expected = theirs.unflatten(0, (2, 15))
    assert_close(ch.psroi_pool(m, regions, k, 4), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_exact_shares_are_means_over_finely_cut_cells(ch, k):
    x, corner = torch.randn(1, 2, 12, 12).double(), torch.randint(0, 48 - 5 * k, (1, 9, 2))
    regions = torch.cat([corner, corner + torch.tensor([5 * k, 3 * k])], -1).double()
    fine = x.repeat_interleave(4, 2).repeat_interleave(4, 3)  # one cell a pixel
    pooled = ch.average_pool(x, regions, k, 4)
    for n, (x1, y1) in enumerate(corner[0].tolist()):
        for i in range(k):
            for j in range(k):
                part = fine[0, :, y1 + 3 * i : y1 + 3 * i + 3, x1 + 5 * j : x1 + 5 * j + 5]
                assert_close(pooled[0, n, :, i, j], part.mean((1, 2)))


def test_on_a_slope_exact_means_and_roi_align_agree_where_bins_end_on_cells(ch):
    slope = torch.arange(12.0).double().expand(1, 1, 12, 12) + 3 * torch.arange(12.0).double()[:, None]
    region = torch.tensor([[8.0, 4.0, 32.0, 40.0]]).double()
    ours = ch.average_pool(slope, region[None], 3, 4)[0]
    assert_close(ours, roi_align(slope, region, torch.zeros(1, dtype=torch.int64), 3, 0.25))


def test_what_lies_outside_the_picture_is_left_out(ch):
    x, region = torch.randn(1, 2, 6, 6).double(), torch.tensor([[[-8.0, 4, 8, 20], [30, 4, 40, 20]]]).double()
    part, outside = ch.average_pool(x, region, 1, 4)[0, :, :, 0, 0]
    assert_close(part, x[0, :, 1:5, :2].mean((1, 2)))
    assert not outside.any()


def test_a_constant_map_has_its_constant_as_vote(ch):
    m = torch.arange(5.0).repeat_interleave(9)[None, :, None, None].expand(1, 45, 12, 12)
    vote = ch.psroi_pool(m, some(1, 20).float(), 3, 4).mean((-2, -1))
    assert_close(vote, torch.arange(5.0).expand(1, 20, 5))


@pytest.mark.parametrize("k", [1, 2, 3])
def test_the_voting_head_is_one_linear_layer_on_the_pooled_averages(ch, k):
    torch.manual_seed(k)
    head, x, regions = ch.Voting(6, k).double(), torch.randn(2, 6, 12, 12).double(), some(2, 7)
    layer = torch.nn.Linear(6 * k * k, 15).double()
    layer.weight.data = head.maps.weight.view(15, k * k, 6).mT.flatten(1) / k**2
    layer.bias.data = head.maps.bias.view(15, k * k).mean(1)
    assert_close(layer(ch.average_pool(x, regions, k, 4).flatten(2)), head(x, regions))


@pytest.mark.parametrize("axis", [0, 1])
def test_with_one_map_a_half_scores_at_least_as_much_and_with_nine_it_need_not(ch, axis):
    m, regions = torch.randn(1, 9, 12, 12).double(), some(1, 200)
    one, two = regions.clone(), regions.clone()
    one[..., 2 + axis] = two[..., axis] = boxes.centred(regions)[..., axis]
    for k, always in ((1, True), (3, False)):
        score = [ch.psroi_pool(m[:, : k * k], box, k, 4).mean((-2, -1)) for box in (regions, one, two)]
        assert bool((torch.maximum(*score[1:]) >= score[0] - 1e-12).all()) is always
        if k == 1:
            assert_close(score[0], (score[1] + score[2]) / 2)


def test_one_map_does_not_know_the_order_of_cells_and_nine_do(ch):
    m, region = torch.randn(1, 9, 6, 6).double(), torch.tensor([[[0.0, 0.0, 24.0, 24.0]]]).double()
    mixed = m.flatten(2)[..., torch.randperm(36)].view_as(m)
    assert_close(ch.psroi_pool(m[:, :1], region, 1, 4), ch.psroi_pool(mixed[:, :1], region, 1, 4))
    assert (ch.psroi_pool(m, region, 3, 4) - ch.psroi_pool(mixed, region, 3, 4)).abs().max() > 0.1


def test_conv5_takes_the_multiply_adds_that_pytorch_counts(ch):
    setting = ResNetConfig(depths=[3, 4, 23, 3], layer_type="bottleneck", downsample_in_bottleneck=True)
    with torch.device("meta"):
        stage, region = ResNetStage(setting, 1024, 2048, stride=2, depth=3), torch.zeros(1, 1024, 14, 14)
    assert multiply_adds(stage, region) == 49 * ch.conv5 == 732_168_192
    with torch.device("meta"):
        after = torch.nn.Sequential(torch.nn.Conv2d(2048, 1024, 1), torch.nn.Conv2d(1024, 49 * (21 + 4), 1))
        assert multiply_adds(after, torch.zeros(1, 2048, 38, 63)) == 38 * 63 * ch.score


def test_the_heads_of_the_chapter_break_even_at_sixteen_regions(ch):
    net = ch.Detector()
    maps = multiply_adds(net.heads["nine maps"].maps, torch.zeros(1, 48, 12, 12))
    region = multiply_adds(net.heads["hidden layer"].layers, torch.zeros(1, 1, 48, 3, 3))
    assert (maps, region) == (144 * 48 * 135, 9 * 48 * 128 + 128 * 15)
    assert maps // region == 16


def test_every_step_is_proved(ch):
    assert {step.status for derivation in derivations(ch) for step in derivation.steps} == {"proved"}


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("coco", lambda ch: 49 * 85, lambda ch: 49 * 81),
        ("doubled", lambda ch: sp.Rational(1, 9), lambda ch: sp.Rational(1, 4)),
        ("steep", lambda ch: (1 + ch.t - ch.k * (1 - ch.t)) / (1 + ch.t), lambda ch: 1 - ch.k * (1 - ch.t)),
    ],
)
def test_exercises_accept_the_answer_and_refuse_another(ch, name, right, wrong):
    assert getattr(ch, name).check(right(ch))
    assert not getattr(ch, name).check(wrong(ch))
