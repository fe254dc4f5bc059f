"""Region operators against the ONNX reference and OpenVINO, on boxes with edges anywhere."""

import numpy as np
import pytest
import torch
from openvino import opset9
from torch.testing import assert_close

from tests.oracles import by_onnx, by_openvino
from utils.regions import bilinear, roi_align, roi_pool


@pytest.fixture
def case():
    """Two maps of 9 x 12 cells and 40 regions of a picture with stride 4, some of them partly outside."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 3, 9, 12, generator=generator)
    first = torch.rand(40, 2, generator=generator) * torch.tensor([44.0, 32.0]) - 3
    regions = torch.cat([first, first + 1 + 24 * torch.rand(40, 2, generator=generator)], 1)
    return features, regions, torch.randint(0, 2, (40,), generator=generator)


@pytest.mark.parametrize("samples", [1, 2, 3])
def test_roi_align_is_that_of_onnx(case, samples):
    features, regions, picture = case
    setting = {"output_height": 4, "output_width": 4, "sampling_ratio": samples, "spatial_scale": 0.25}
    arrays = (t.numpy() for t in case)
    reference = by_onnx("RoiAlign", *arrays, **setting, coordinate_transformation_mode="half_pixel")
    assert_close(roi_align(features, regions, picture, 4, 0.25, samples), reference, rtol=1e-5, atol=3e-6)


def test_roi_align_is_that_of_openvino(case):
    arrays = case[0].numpy(), case[1].numpy(), case[2].numpy().astype(np.int32)
    settings = {"pooled_h": 3, "pooled_w": 3, "sampling_ratio": 2, "spatial_scale": 0.25, "mode": "avg"}
    reference = by_openvino(opset9.roi_align, *arrays, **settings, aligned_mode="half_pixel_for_nn")
    assert_close(roi_align(*case, 3, 0.25), reference, rtol=1e-5, atol=3e-6)


def test_roi_pool_is_that_of_openvino(case):
    features, regions, picture = case
    rows = torch.cat([picture[:, None].float(), regions.clamp(min=0)], 1)
    reference = by_openvino(
        opset9.roi_pooling, features.numpy(), rows.numpy(), output_roi=[3, 3], spatial_scale=0.25, method="max"
    )
    assert_close(roi_pool(features, regions.clamp(min=0), picture, 3, 0.25), reference, rtol=0, atol=0)


def test_a_plane_is_read_exactly_between_pixels():
    y, x = torch.meshgrid(torch.arange(5.0) + 0.5, torch.arange(7.0) + 0.5, indexing="ij")
    at = torch.tensor([[0.5, 3.1, 6.49], [2.2, 4.0, 0.9]]), torch.tensor([[0.5, 2.7, 4.3], [1.1, 4.5, 0.6]])
    assert_close(bilinear(2 * x[None] - 3 * y + 1, *at), (2 * at[0] - 3 * at[1] + 1)[None])


def test_a_batch_is_read_map_by_map():
    features, x, y = torch.randn(3, 2, 5, 6), 6 * torch.rand(3, 4, 4), 5 * torch.rand(3, 4, 4)
    assert_close(bilinear(features, x, y), torch.stack([bilinear(*one) for one in zip(features, x, y, strict=True)]))


def test_pixels_outside_count_as_zero():
    ones = torch.ones(1, 3, 3)
    assert_close(
        bilinear(ones, torch.tensor([0.25, -0.5, 2.75, 9.0]), torch.full((4,), 1.5)), torch.tensor([[0.75, 0, 0.75, 0]])
    )


def test_at_a_pixels_centre_the_slope_is_that_of_the_right_or_lower_side():
    line, at = torch.tensor([1.0, 4.0, 9.0]), torch.tensor([1.5], requires_grad=True)
    for value in (
        bilinear(line[None, None], at, torch.tensor([0.5])),
        bilinear(line[None, :, None], torch.tensor([0.5]), at),
    ):
        assert torch.autograd.grad(value.sum(), at)[0].item() == 9 - 4


def test_gradients_are_those_of_differences():
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(1, 2, 5, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    regions = torch.tensor([[0.3, 0.6, 4.1, 4.2], [1.2, 0.4, 5.7, 3.3]], dtype=torch.float64, requires_grad=True)
    picture = torch.zeros(2, dtype=torch.int64)
    assert torch.autograd.gradcheck(lambda f, r: roi_align(f, r, picture, 2), (features, regions))
    assert torch.autograd.gradcheck(lambda f: roi_pool(f, regions, picture, 2), (features,))


def test_a_region_without_cells_and_no_region_are_empty():
    features, nowhere = torch.ones(1, 2, 4, 4), torch.tensor([[50.0, 50.0, 60.0, 60.0]])
    picture = torch.zeros(1, dtype=torch.int64)
    for pool in (roi_pool, roi_align):
        assert_close(pool(features, nowhere, picture, 2), torch.zeros(1, 2, 2, 2))
        assert pool(features, nowhere[:0], picture[:0], 2).shape == (0, 2, 2, 2)


WRONG = {
    "features": (torch.ones(2, 4, 4), torch.ones(1, 4), torch.zeros(1, dtype=torch.int64), 2),
    "regions": (torch.ones(1, 2, 4, 4), torch.ones(1, 5), torch.zeros(1, dtype=torch.int64), 2),
    "int64": (torch.ones(1, 2, 4, 4), torch.ones(1, 4), torch.zeros(1), 2),
    "pictures 0 to 0": (torch.ones(1, 2, 4, 4), torch.ones(1, 4), torch.ones(1, dtype=torch.int64), 2),
    "bins >= 1": (torch.ones(1, 2, 4, 4), torch.ones(1, 4), torch.zeros(1, dtype=torch.int64), 0),
}


@pytest.mark.parametrize("pool", [roi_pool, roi_align])
@pytest.mark.parametrize("words", WRONG)
def test_wrong_arguments_are_named(pool, words):
    with pytest.raises(ValueError, match=words):
        pool(*WRONG[words])


def test_positions_of_another_shape_or_dtype_are_named():
    with pytest.raises(ValueError, match="of one shape"):
        bilinear(torch.ones(1, 3, 3), torch.ones(2), torch.ones(3))
    with pytest.raises(ValueError, match="float64"):
        bilinear(torch.ones(1, 3, 3), torch.ones(2).double(), torch.ones(2).double())
    with pytest.raises(ValueError, match="bilinear"):
        bilinear(torch.ones(2, 1, 3, 3), torch.ones(3, 2), torch.ones(3, 2))
