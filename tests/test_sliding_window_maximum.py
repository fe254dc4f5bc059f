"""The queue, the blocks and the peaks, held against SciPy, scikit-image, PyTorch and lists of every kind."""

import itertools

import numpy as np
import pytest
import torch
from scipy.ndimage import maximum_filter, maximum_filter1d
from skimage.feature import peak_local_max
from torch.nn import functional as F
from torch.testing import assert_close

from tests.chapter import load

SLUG = "foundations/sliding-window-maximum"


@pytest.fixture(scope="module")
def chapter():
    return load(SLUG)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def test_the_examples_of_the_note(chapter):
    assert chapter.deque_max([1, 3, -1, -3, 5, 3, 6, 7], 3) == [3, 3, 5, 5, 6, 7]
    assert chapter.deque_max([1], 1) == [1]


@pytest.mark.parametrize("k", range(1, 6))
def test_the_queue_is_right_for_every_list_of_five_with_ties(chapter, k):
    for x in itertools.product((0, 1, 2), repeat=5):
        assert chapter.deque_max(x, k) == [max(x[i : i + k]) for i in range(6 - k)]


@pytest.mark.parametrize("k", [1, 2, 7, 30, 99, 100])
def test_blocks_are_max_pooling_and_scipys_filter_with_the_same_gradient(chapter, generator, k):
    x = torch.randn(3, 100, generator=generator, dtype=torch.float64, requires_grad=True)
    pooled = F.max_pool1d(x[None], k, 1)[0]
    found = chapter.block_max(x, k)
    assert_close(found, pooled)
    weights = torch.randn(found.shape, generator=generator, dtype=torch.float64)
    assert_close(torch.autograd.grad(found, x, weights)[0], torch.autograd.grad(pooled, x, weights)[0])
    filtered = maximum_filter1d(x.detach().numpy(), k, axis=1, mode="constant", cval=-np.inf)
    assert_close(found, torch.from_numpy(filtered[:, k // 2 : k // 2 + found.shape[1]].copy()))


@pytest.mark.parametrize("k", [0, 6])
def test_a_window_longer_than_the_list_is_refused(chapter, k):
    with pytest.raises(ValueError, match=f"a window of 1 to 5 numbers, got {k}"):
        chapter.block_max(torch.zeros(5), k)


@pytest.mark.parametrize("order", [1, -1])
def test_every_number_is_added_once_and_removed_at_most_once(chapter, order):
    x = [order * i for i in range(50)]
    *_, (queue, removed) = chapter.queues(x, 7)
    assert removed == 50 - len(queue)
    assert len(queue) == (1 if order > 0 else 7)


def test_the_queue_falls_from_old_to_new_and_starts_with_the_maximum(chapter, generator):
    x = torch.randint(5, (200,), generator=generator).tolist()
    for i, (queue, _) in enumerate(chapter.queues(x, 9)):
        values = [x[place] for place in queue]
        assert values == sorted(set(values), reverse=True)
        assert values[0] == max(x[max(0, i - 8) : i + 1])
        assert [*queue] == sorted(queue)


@pytest.mark.parametrize("k", [3, 9, 21])
def test_peaks_are_those_of_scipy_and_scikit_image(chapter, k):
    h = chapter.heat_map(chapter.photograph("yell_test"))
    found = chapter.peaks(h, k)
    top = maximum_filter(h.numpy(), k, mode="constant", cval=-np.inf)
    assert torch.equal(found, torch.from_numpy(h.numpy() == top))
    theirs = peak_local_max(h.numpy(), min_distance=k // 2, exclude_border=False, threshold_abs=-np.inf)
    assert {*map(tuple, theirs.tolist())} == {*map(tuple, found.nonzero().tolist())}


def test_peaks_are_counted_in_the_boxes_that_hold_them(chapter):
    peak = torch.zeros(10, 20, dtype=torch.bool)
    peak[3, 15] = peak[4, 16] = True
    boxes = torch.tensor([[14.0, 2.0, 17.0, 5.0], [0.0, 0.0, 9.0, 9.0], [15.5, 0.0, 19.0, 9.0]])
    assert chapter.peaks_in_boxes(peak, boxes).tolist() == [2, 0, 1]


def test_a_wider_blur_leaves_one_peak_in_most_trees_without_a_long_window(chapter):
    photo, boxes = chapter.photograph("yell_test"), chapter.trees.boxes["yell_test"]
    share = {}
    for width, k in itertools.product((2, 4), (3, 17, 45)):
        inside = chapter.peaks_in_boxes(chapter.peaks(chapter.heat_map(photo, width), k), boxes)
        share[width, k] = (inside == 1).double().mean().item()
    assert share[4, 3] > 0.6 > 0.2 > share[2, 3]
    assert abs(share[4, 17] - share[4, 3]) < 0.03
    assert share[4, 45] < 0.35
