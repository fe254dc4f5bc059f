"""Overlap and suppression against pycocotools and onnxruntime, and their properties on random boxes."""

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper
from pycocotools import mask
from torch.testing import assert_close

from utils.boxes import centred, corners, giou, iou, nms


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def some(count, generator, spread=50.0):
    first, size = torch.rand(2, count, 2, generator=generator, dtype=torch.float64)
    return torch.cat([spread * first, spread * first + 1 + 30 * size], -1)


def widths(boxes):
    return torch.cat([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], -1).numpy()


def test_overlap_is_that_of_pycocotools(generator):
    b, c = some(200, generator), some(150, generator)
    expected = mask.iou(widths(b), widths(c), np.zeros(len(c), dtype=np.uint8))
    assert_close(iou(b[:, None], c), torch.from_numpy(expected), atol=1e-9, rtol=0)


def test_overlap_counts_pixels_of_whole_numbered_boxes(generator):
    def covered(box):
        y, x = torch.meshgrid(torch.arange(80), torch.arange(80), indexing="ij")
        return (x >= box[0]) & (x < box[2]) & (y >= box[1]) & (y < box[3])

    b, c = some(40, generator).round(), some(40, generator).round()
    sets = [(covered(i), covered(j)) for i, j in zip(b, c, strict=True)]
    expected = torch.tensor([(i & j).sum() / (i | j).sum() for i, j in sets]).double()
    assert_close(iou(b, c), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("measure", [iou, giou])
def test_measures_are_symmetric_bounded_and_one_on_the_same_box(measure, generator):
    b, c = some(2000, generator), some(2000, generator)
    assert_close(measure(b, c), measure(c, b))
    assert_close(measure(b, b), torch.ones(2000, dtype=torch.float64))
    low = 0 if measure is iou else -1
    assert (measure(b, c) >= low).all()
    assert (measure(b, c) < 1).all()
    assert (giou(b, c) <= iou(b, c) + 1e-12).all()


@pytest.mark.parametrize("measure", [iou, giou])
def test_measures_know_neither_place_nor_unit_nor_the_names_of_the_axes(measure, generator):
    b, c = some(500, generator), some(500, generator)
    shift, scale = torch.tensor([3.0, -70.0, 3.0, -70.0]), torch.tensor([0.2, 9.0, 0.2, 9.0])
    for change in (lambda x: x + shift, lambda x: x * scale, lambda x: x[..., [1, 0, 3, 2]]):
        assert_close(measure(change(b), change(c)), measure(b, c), atol=1e-12, rtol=0)


@pytest.mark.parametrize("measure", [iou, giou])
def test_one_minus_a_measure_obeys_the_triangle_inequality(measure, generator):
    b, c, d = (some(20_000, generator) for _ in range(3))
    slack = (1 - measure(b, c)) + (1 - measure(c, d)) - (1 - measure(b, d))
    assert slack.min() > -1e-12


def test_only_giou_has_a_slope_where_boxes_do_not_touch():
    goal = torch.tensor([0.0, 0.0, 10.0, 10.0])
    for measure, moves in ((iou, False), (giou, True)):
        box = torch.tensor([15.0, 2.0, 25.0, 12.0], requires_grad=True)
        (slope,) = torch.autograd.grad(measure(box, goal), box)
        assert slope.any() == moves
        assert slope.isfinite().all()


def test_empty_boxes_have_values_and_finite_slopes():
    point = torch.zeros(4, requires_grad=True)
    assert (iou(point, point).item(), giou(point, point).item()) == (0, -1)
    assert torch.autograd.grad(giou(point, torch.zeros(4)), point)[0].isfinite().all()


def test_a_wrong_box_is_named():
    good = torch.tensor([0.0, 0.0, 1.0, 1.0])
    with pytest.raises(ValueError, match=r"iou: expected boxes with x1 <= x2 .*got \[2\.0, 0\.0, 1\.0, 1\.0\]"):
        iou(torch.tensor([[2.0, 0.0, 1.0, 1.0]]), good)
    with pytest.raises(ValueError, match="giou: expected boxes with"):
        giou(good, good * torch.nan)
    with pytest.raises(ValueError, match=r"iou: expected floating-point boxes \(..., 4\), got \(3,\)"):
        iou(good, good[:3])
    with pytest.raises(ValueError, match=r"got \(4,\) torch.int64"):
        iou(good.long(), good)


def test_corners_and_centres_are_inverse(generator):
    b = some(50, generator)
    assert_close(corners(centred(b)), b)
    assert_close(centred(b)[:, 2:].prod(-1), (b[:, 2:] - b[:, :2]).prod(-1))


def onnx_nms(boxes, scores, threshold):
    """Indices that onnxruntime's NonMaxSuppression keeps."""
    inputs = {"boxes": (1, len(boxes), 4), "scores": (1, 1, len(boxes))}
    graph = helper.make_graph(
        [helper.make_node("NonMaxSuppression", ["boxes", "scores", "most", "threshold"], ["kept"])],
        "nms",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info("kept", TensorProto.INT64, (None, 3))],
        [
            helper.make_tensor("most", TensorProto.INT64, (1,), [len(boxes)]),
            helper.make_tensor("threshold", TensorProto.FLOAT, (1,), [threshold]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    feeds = {"boxes": boxes[None].float().numpy(), "scores": scores[None, None].float().numpy()}
    return torch.from_numpy(session.run(None, feeds)[0][:, 2])


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.5, 0.8])
def test_suppression_keeps_what_onnxruntime_keeps(threshold, generator):
    b, scores = some(200, generator), torch.rand(200, generator=generator)
    assert nms(b, scores, threshold).tolist() == onnx_nms(b, scores, threshold).tolist()


@pytest.mark.parametrize("threshold", [0.0, 0.4, 1.0])
def test_a_second_pass_changes_nothing_and_what_is_kept_does_not_overlap(threshold, generator):
    b, scores = some(100, generator, 20.0), torch.rand(100, generator=generator)
    kept = nms(b, scores, threshold)
    assert nms(b[kept], scores[kept], threshold).tolist() == list(range(len(kept)))
    assert iou(b[kept][:, None], b[kept]).fill_diagonal_(0).max() <= threshold
    dropped = [i for i in range(100) if i not in kept.tolist()]
    assert all((iou(b[i], b[kept[scores[kept] > scores[i]]]) > threshold).any() for i in dropped)


def test_labels_keep_apart_and_equal_scores_keep_their_order():
    b, scores = torch.tensor([[0.0, 0.0, 4.0, 4.0]]).repeat(4, 1), torch.tensor([0.5, 0.9, 0.9, 0.5])
    assert nms(b, scores, 0.5).tolist() == [1]
    assert nms(b, scores, 0.5, torch.tensor([0, 1, 1, 0])).tolist() == [1, 0]
    assert nms(b[:0], scores[:0], 0.5).tolist() == []


def test_suppression_names_what_is_wrong():
    b, scores = torch.tensor([[0.0, 0.0, 4.0, 4.0]]), torch.tensor([0.5])
    with pytest.raises(ValueError, match=r"nms: expected boxes \(N, 4\) and scores .*got \[\(1, 4\), \(2,\)\]"):
        nms(b, scores.repeat(2), 0.5)
    with pytest.raises(ValueError, match="nms: expected finite scores, got nan"):
        nms(b, scores * torch.nan, 0.5)
    with pytest.raises(ValueError, match=r"nms: expected a threshold in \[0, 1\], got 50"):
        nms(b, scores, 50)
