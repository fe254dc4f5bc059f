"""The shared networks: shapes, order of patches, positions, and what they refuse."""

import itertools

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from utils import encoders


def test_patches_are_what_unfold_cuts():
    x = torch.rand(2, 3, 8, 12)
    assert_close(encoders.patchify(x, 4), F.unfold(x, 4, stride=4).mT)


def test_an_image_survives_the_round_trip():
    x = torch.rand(2, 3, 12, 12)
    assert torch.equal(encoders.unpatchify(encoders.patchify(x, 4), 4, channels=3), x)


def test_without_positions_a_transformer_cannot_tell_one_order_from_another():
    body, x, order = encoders.transformer(8, 2).double().eval(), torch.randn(3, 5, 8).double(), torch.randperm(5)
    with torch.no_grad():
        assert_close(body(x)[:, order], body(x[:, order]))


def test_each_place_has_its_own_position():
    for places in (encoders.sinusoid(50, 8), encoders.sinusoid_grid(7, 16)):
        assert torch.cdist(places, places).fill_diagonal_(1).min() > 0.01
        assert_close(places.square().mean(1), torch.full((len(places),), 0.5))


def test_a_grid_tells_rows_by_one_half_and_columns_by_the_other():
    places = encoders.sinusoid_grid(3, 8).view(3, 3, 8)
    assert_close(places[1, :, :4], encoders.sinusoid(3, 4)[1].expand(3, 4))
    assert_close(places[:, 2, 4:], encoders.sinusoid(3, 4)[2].expand(3, 4))


def test_features_of_a_convolutional_encoder():
    net, x = encoders.convolutional(1, 8, 5, width=4), torch.rand(2, 1, 8, 8)
    assert net(x).shape == (2, 5)
    assert net[:4](x).shape == (2, 8, 2, 2)
    assert_close(net[-1](net[:-1](x)), net(x))


def test_each_stage_of_a_backbone_halves_the_side_and_may_be_read_alone():
    net, x = encoders.backbone(3, (4, 8, 6)), torch.rand(2, 3, 16, 24)
    maps = list(itertools.accumulate(net, lambda x, stage: stage(x), initial=x))
    assert [tuple(level.shape[1:]) for level in maps] == [(3, 16, 24), (4, 8, 12), (8, 4, 6), (6, 2, 3)]
    net.eval()
    assert_close(net(x), net[2](net[1](net[0](x))))
    assert sum(p.numel() for p in net[0].parameters()) == 9 * 4 * (3 + 4) + 4 * 4


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: encoders.backbone(1, ()), r"widths=\(\)"),
        (lambda: encoders.backbone(1, (8, 0)), r"widths=\(8, 0\)"),
        (lambda: encoders.convolutional(1, 6, 2), "multiple of 4, got 6"),
        (lambda: encoders.transformer(6, 1, heads=4), "heads=4 width=6"),
        (lambda: encoders.transformer(8, 0), "layers=0"),
        (lambda: encoders.sinusoid(3, 5), "width=5"),
        (lambda: encoders.sinusoid_grid(3, 6), "width=6"),
        (lambda: encoders.patchify(torch.zeros(1, 1, 5, 4), 2), r"got \(1, 1, 5, 4\)"),
        (lambda: encoders.unpatchify(torch.zeros(1, 3, 4), 2), r"got \(1, 3, 4\)"),
        (lambda: encoders.unpatchify(torch.zeros(1, 4, 4), 2, channels=3), r"square, 12"),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
