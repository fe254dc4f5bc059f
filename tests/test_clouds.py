"""Clouds from meshes and digits: where their points lie, that their order means nothing, and clear refusals."""

import pytest
import torch
from torch.testing import assert_close

from utils import clouds, data

SQUARE = torch.tensor([[0.0, 0, 0], [3, 0, 0], [3, 1, 0], [0, 1, 0]]), torch.tensor([[0, 1, 2], [0, 2, 3]])


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def test_points_fill_a_flat_surface_evenly(generator):
    x = clouds.surface(SQUARE, 40_000, generator)
    assert (x[:, 2] == 0).all()
    assert x.min() >= 0
    assert (x.amax(0) <= torch.tensor([3.0, 1, 0]) + 1e-6).all()
    assert_close(x.mean(0), torch.tensor([1.5, 0.5, 0]), atol=0.02, rtol=0)
    assert_close(x.var(0), torch.tensor([9 / 12, 1 / 12, 0]), atol=0.02, rtol=0)


def test_large_triangles_get_more_points(generator):
    lopsided = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [-3, 0, 0]]), torch.tensor([[0, 1, 2], [0, 2, 3]])
    x = clouds.surface(lopsided, 20_000, generator)
    assert (x[:, 0] < 0).float().mean().item() == pytest.approx(0.75, abs=0.02)


@pytest.mark.parametrize("count", [0, -1])
def test_a_surface_without_points_is_refused(generator, count):
    with pytest.raises(ValueError, match="expected vertices"):
        clouds.surface(SQUARE, count, generator)
    with pytest.raises(ValueError, match=r"got \(4, 2\)"):
        clouds.surface((SQUARE[0][:, :2], SQUARE[1]), 5, generator)


def test_rotations_are_rotations_and_have_no_favourite(generator):
    Q = clouds.rotations(20_000, generator)
    assert_close(Q @ Q.mT, torch.eye(3).expand_as(Q), atol=1e-5, rtol=0)
    assert_close(torch.linalg.det(Q), torch.ones(20_000))
    assert_close(Q.mean(0), torch.zeros(3, 3), atol=0.02, rtol=0)
    assert_close(Q.square().mean(0), torch.full((3, 3), 1 / 3), atol=0.02, rtol=0)
    assert Q.diagonal(dim1=1, dim2=2).sum(1).mean().abs() < 0.03  # the mean trace of a uniform rotation is 0


def test_shuffling_keeps_each_cloud_and_gives_each_its_own_order(generator):
    x = torch.arange(60.0).reshape(2, 10, 3)
    y = clouds.shuffled(x, generator)
    assert_close(y.sort(1).values, x)
    assert not y[0].equal(x[0])
    assert not (y[1] - 30).equal(y[0])


def test_half_an_object_is_the_half_nearest_the_viewer(generator):
    ball = torch.nn.functional.normalize(torch.randn(2, 5000, 3, generator=generator), dim=-1)
    x, y = clouds.half_seen(ball, 400, generator, N=200, noise=0)
    assert x.shape == (400, 200, 3)
    assert set(y.tolist()) == {0, 1}
    assert_close(x.mean(1), torch.zeros(400, 3), atol=1e-5, rtol=0)
    depth = x[..., 2].amax(1) - x[..., 2].amin(1)  # half a ball is one radius deep
    assert depth.mean().item() == pytest.approx(1, abs=0.1)


def test_noise_has_its_standard_deviation(generator):
    x, _ = clouds.half_seen(torch.zeros(1, 10, 3), 200, generator, noise=0.1)
    assert x.std().item() == pytest.approx(0.1, rel=0.03)


def test_dots_are_the_darkest_pixels_at_their_places(generator):
    image = torch.zeros(1, 64)
    image[0, 8 * 2 + 5], image[0, 7] = 16, 8  # row 2, column 5; the right end of row 0
    x = clouds.dots(image, generator, count=2)[0]
    x = x[x[:, 2].argsort(descending=True)]
    assert_close(x, torch.tensor([[5 / 3.5 - 1, 2 / 3.5 - 1, 1], [1, -1, 0]]))
    assert clouds.dots(data.digits().x_test, generator).shape == (500, 48, 3)


def test_voxels_count_occupied_cells_in_their_places():
    x = torch.tensor([[[-0.9, -0.9, -0.9], [-0.8, -0.9, -0.9], [0.9, 0.1, -0.1]]])
    grid = clouds.voxels(x, side=2).reshape(2, 2, 2)
    assert grid.sum() == 2
    assert grid[0, 0, 0] == 1
    assert grid[1, 1, 0] == 1


def test_closeness_is_the_share_of_near_pairs_and_knows_no_turn(generator):
    x = torch.tensor([[[0.0, 0, 0], [1, 0, 0]]])
    assert clouds.closeness(x, bins=3, width=0.4).tolist() == [[0.5, 0.5, 1.0]]
    x, Q = torch.randn(4, 30, 3, generator=generator), clouds.rotations(4, generator)
    assert_close(clouds.closeness(x @ Q), clouds.closeness(x), atol=3 / 900, rtol=0)
