"""Receptive fields and influence, held against gradients, published tables and the known ways to count wrong."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from tests.chapter import load

SLUG = "foundations/receptive-fields"
MIXED = [(3, 2, 1), (5, 1, 2), (1, 2, 1), (2, 3, 3)]


@pytest.fixture(scope="module")
def chapter():
    return load(SLUG)


@pytest.mark.parametrize("seed", range(10))
def test_both_directions_agree_with_the_reach_of_a_unit_counted_one_by_one(chapter, seed):
    draw = torch.Generator().manual_seed(seed)
    layers = [tuple(torch.randint(1, 5, (3,), generator=draw).tolist()) for _ in range(5)]
    places = {0}
    for k, s, d in reversed(layers):
        places = {s * place + d * tap for place in places for tap in range(k)}
    assert chapter.top_down(layers) == chapter.bottom_up(layers)[0] == max(places) - min(places) + 1


def test_the_jump_is_the_distance_of_neighbours_also_in_two_dimensions(chapter):
    r, jump = chapter.bottom_up(MIXED)
    image = torch.zeros(1, 1, r + jump, r + jump, dtype=torch.float64, requires_grad=True)
    y = image
    for k, s, d in MIXED:
        y = F.conv2d(y, torch.ones(1, 1, k, k, dtype=torch.float64), stride=s, dilation=d)
    assert y.shape[-2:] == (2, 2)
    first = [
        torch.autograd.grad(y[0, 0, row, 0], image, retain_graph=True)[0][0, 0].nonzero().amin(0) for row in (0, 1)
    ]
    assert (first[1] - first[0]).tolist() == [jump, 0]


def test_padding_moves_the_view_and_does_not_widen_it(chapter):
    image = torch.zeros(1, 1, 41, dtype=torch.float64, requires_grad=True)
    seen = []
    for pad in (0, 1):
        y = image
        for _ in range(3):
            y = F.conv1d(y, torch.ones(1, 1, 3, dtype=torch.float64), padding=pad)
        seen.append(torch.autograd.grad(y[0, 0, 15], image)[0][0, 0].nonzero())
    assert [len(places) for places in seen] == [7, 7] == [chapter.top_down([(3, 1, 1)] * 3)] * 2
    assert (seen[0] - seen[1]).unique().tolist() == [3]


def test_pooling_counts_like_a_convolution(chapter):
    image = torch.rand(1, 1, 30, 30, dtype=torch.float64, requires_grad=True)
    y = F.avg_pool2d(F.conv2d(image, torch.ones(1, 1, 3, 3).double()), 2)
    y[0, 0, 0, 0].backward()
    assert image.grad[0, 0].sum(0).count_nonzero() == chapter.top_down([(3, 1, 1), (2, 2, 1)]) == 4


@pytest.mark.parametrize(("early", "expected"), [(True, 483), (False, 427)])
def test_resnet_50_has_53_convolutions_of_depth_and_its_published_view(chapter, early, expected):
    layers = chapter.resnet(early)
    assert len(layers) == 2 + 3 * 16
    assert chapter.bottom_up(layers) == (expected, 32)


def test_the_stride_at_the_end_of_the_stage_before_sees_as_far_as_in_the_first_1x1(chapter):
    layers = [(7, 2, 1), (3, 2, 1)]
    for blocks, stride in ((3, 2), (4, 2), (6, 2), (3, 1)):  # the table of Araujo et al. has this layout
        for s in [1] * (blocks - 1) + [stride]:
            layers += [(1, 1, 1), (3, s, 1), (1, 1, 1)]
    assert chapter.bottom_up(layers) == chapter.bottom_up(chapter.resnet(True)) == (483, 32)


def test_equal_dilations_leave_gaps(chapter):
    seen = chapter.influence(chapter.even([(3, 1, 2)] * 3), 13)[0].nonzero().flatten()
    assert seen.tolist() == [0, 2, 4, 6, 8, 10, 12]


@pytest.mark.parametrize("upto", [5, 9, 13, 17])
def test_vgg_16_between_the_layers(chapter, upto):
    layers = chapter.VGG[:upto]
    assert chapter.top_down(layers) == chapter.bottom_up(layers)[0]
    assert chapter.bottom_up(chapter.VGG[:17])[0] == 196  # conv5_3


def test_influence_is_the_convolution_of_the_kernels(chapter):
    net = chapter.even([(3, 1, 1), (3, 1, 2)])
    ways = torch.zeros(7, dtype=torch.float64)
    for first in range(3):
        for second in range(3):
            ways[first + 2 * second] += 1 / 9
    assert_close(chapter.influence(net, 7)[0], ways)
    assert_close(chapter.variance(ways).item(), chapter.spread([(3, 1, 1), (3, 1, 2)]))


def test_the_place_of_a_pixel_varies_as_a_histogram_says(chapter):
    weights = torch.tensor([1.0, 0, 0, 3.0]).double()
    assert chapter.variance(weights).item() == pytest.approx(27 / 16)


def test_the_five_networks_see_what_they_are_named_after(chapter):
    for r, layers in chapter.eyes.items():
        assert chapter.bottom_up(layers)[0] == r
        net = chapter.bag_of_patches(layers).double().eval()
        for layer in net:
            if isinstance(layer, nn.Conv2d):
                nn.init.uniform_(layer.weight, 0.1, 1)
        image = torch.rand(1, 1, 28, 28, dtype=torch.float64, requires_grad=True)
        votes = net(image)
        votes[0, 0, votes.shape[2] // 2, votes.shape[3] // 2].backward()
        rows = image.grad[0, 0].sum(1).nonzero()
        assert rows.max() - rows.min() + 1 <= r
        if r <= 15:
            assert rows.max() - rows.min() + 1 == r
