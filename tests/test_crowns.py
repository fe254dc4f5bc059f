"""Tree crowns: the split, crops, targets, and the measure against pycocotools."""

import contextlib
import io

import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch.testing import assert_close

from utils import crowns, data


def test_each_box_is_in_one_part_and_the_test_part_lies_below():
    found = crowns.parts()
    assert [sum(len(b) for _, b in part) for part in (found.train, found.test)] == [589, 264]
    for name, (above, _), (below, low) in zip(("yell_train", "yell_test"), found.train, found.test, strict=True):
        b, line = data.load("trees").boxes[name], above.shape[1]
        mine = b[(b[:, 1] + b[:, 3]) / 2 >= line] - torch.tensor([0.0, line, 0, line])
        assert line == int(0.7 * (line + below.shape[1]))
        assert_close(low, torch.stack([mine[:, 0], mine[:, 1].clamp(min=0), *mine[:, 2:].T], 1))


def test_a_crop_is_a_piece_of_a_photograph_or_its_mirror_and_its_boxes_lie_on_the_same_pixels():
    squares, found = crowns.crops(20, torch.Generator().manual_seed(3))
    photos = [photo for photo, _ in crowns.parts().train]
    for x, b in zip(squares, found, strict=True):
        assert (((b[:, :2] + b[:, 2:]) / 2 - 32).abs() < 32).all()
        place = None
        for axes in ((), (1,), (2,), (1, 2)):
            piece = x.flip(axes)
            for number, photo in enumerate(photos):
                same = (photo[:, : photo.shape[1] - 63, : photo.shape[2] - 63] == piece[:, :1, :1]).all(0)
                for top, left in same.nonzero().tolist():
                    if photo[:, top : top + 64, left : left + 64].equal(piece):
                        place = number, top, left, axes
        number, top, left, axes = place
        b = b.clone()
        for axis in axes:
            b[:, [2 - axis, 4 - axis]] = 64 - b[:, [4 - axis, 2 - axis]]
        truth = crowns.parts().train[number][1]
        middle = (truth[:, :2] + truth[:, 2:]) / 2 - torch.tensor([left, top])
        assert_close(b + torch.tensor([left, top, left, top]), truth[((middle - 32).abs() < 32).all(1)])


@pytest.mark.parametrize("arguments", [(0, 64), (3, 0), (3, 2000)])
def test_crops_that_do_not_fit_are_refused(arguments):
    with pytest.raises(ValueError, match="expected count >= 1 and a side from 1 to"):
        crowns.crops(arguments[0], torch.Generator(), arguments[1])


def test_the_smallest_box_has_the_cell_and_every_box_has_one():
    b = torch.tensor([[8.0, 8, 56, 56], [24, 24, 40, 40], [1, 1, 3, 3]])
    label, box = crowns.targets(b, 4)
    grid = box.view(16, 16, 4)
    assert label.sum() == (box.abs().sum(1) > 0).sum()
    assert grid[7, 7].equal(b[1])
    assert grid[0, 0].equal(b[2])
    assert grid[6, 6].equal(b[0])
    assert grid[3, 3].abs().sum() == 0


def test_answers_at_the_targets_have_no_loss_and_a_wrong_box_has():
    b = torch.tensor([[10.0, 10, 30, 34], [40, 20, 60, 44]])
    label, box = (x[None] for x in crowns.targets(b, 4))
    logits = 40 * label - 20
    far = box + torch.tensor([20.0, 0, 20, 0])
    assert crowns.loss(lambda x: (logits, box), None, label, box) < 1e-6
    assert crowns.loss(lambda x: (logits, far), None, label, box) > 0.5
    assert crowns.loss(lambda x: (-logits, box), None, label, box) > 10


def test_the_loss_is_the_focal_loss_in_closed_form():
    label, box = torch.tensor([[1.0, 0, 0]]), torch.tensor([[[0.0, 0, 4, 4]] * 3])
    logits = torch.tensor([[0.3, -1.2, 2.0]])
    p = logits[0].double().sigmoid()
    errors = -((1 - p[0]) ** 2 * p[0].log() + p[1] ** 2 * (1 - p[1]).log() + p[2] ** 2 * (1 - p[2]).log())
    found = crowns.loss(lambda x: (logits, box + torch.tensor([2.0, 0, 2, 0])), None, label, box)
    assert_close(found.double(), 4 * errors + 1 - 1 / 3, atol=1e-5, rtol=0)


def test_detect_fills_up_to_16_and_suppresses():
    def net(x):
        assert x.shape[2:] == (48, 64)
        b = torch.tensor([[[0.0, 0, 20, 20], [1, 0, 21, 20], [30, 0, 50, 20]]])
        return torch.tensor([[1.0, 2, 0]]), b

    b, scores, labels = crowns.detect(net, torch.zeros(3, 40, 50))
    assert b.tolist() == [[1, 0, 21, 20], [30, 0, 50, 20]]
    assert_close(scores, torch.tensor([2.0, 0]).sigmoid())
    assert labels.tolist() == [0, 0]


def test_average_precision_by_size_is_pycocotools():
    generator, found = torch.Generator().manual_seed(0), {}
    for photo, b in crowns.parts().test:
        moved = (b + 2.5 * torch.randn(b.shape, generator=generator)).clamp(min=0)
        moved[:, 2:] = torch.maximum(moved[:, 2:], moved[:, :2] + 1)
        found[photo.shape[1]] = moved, torch.rand(len(b), generator=generator), torch.zeros(len(b), dtype=torch.long)
    ours = crowns.judged(lambda photo: found[photo.shape[1]])

    def wide(b):
        return [b[0], b[1], b[2] - b[0], b[3] - b[1]]

    truth, results = [], []
    for image, (photo, b) in enumerate(crowns.parts().test, 1):
        for one in b.double().tolist():
            x = wide(one)
            truth.append(
                {
                    "id": len(truth) + 1,
                    "image_id": image,
                    "category_id": 1,
                    "bbox": x,
                    "area": x[2] * x[3],
                    "iscrowd": 0,
                }
            )
        moved, scores, _ = found[photo.shape[1]]
        results += [
            {"image_id": image, "category_id": 1, "bbox": wide(one), "score": score}
            for one, score in zip(moved.double().tolist(), scores.tolist(), strict=True)
        ]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {"images": [{"id": 1}, {"id": 2}], "categories": [{"id": 1}], "annotations": truth}
        coco.createIndex()
        judge = COCOeval(coco, coco.loadRes(results), "bbox")
        judge.params.maxDets, judge.params.iouThrs = [1000], judge.params.iouThrs[:1]
        judge.params.areaRng = [[low**2, high**2] for low, high in crowns.BANDS.values()]
        judge.params.areaRngLbl = list(crowns.BANDS)
        judge.evaluate(), judge.accumulate()
    theirs = judge.eval["precision"][0, :, 0, :, 0].mean(0)
    assert_close(torch.tensor(ours[:4]), torch.from_numpy(theirs).to(torch.float32), atol=1e-6, rtol=0)


def test_the_truth_itself_scores_1_everywhere():
    truth = {photo.shape[1]: b for photo, b in crowns.parts().test}

    def exact(photo):
        b = truth[photo.shape[1]]
        return b, torch.ones(len(b)), torch.zeros(len(b), dtype=torch.long)

    assert crowns.judged(exact) == pytest.approx([1] * 8)


def test_a_detector_that_is_trained_is_made_by_the_seed():
    class Small(torch.nn.Module):
        def __init__(self, cell):
            super().__init__()
            self.cell, self.conv = cell, torch.nn.Conv2d(3, 1, cell, cell)

        def forward(self, x):
            scores = self.conv(x).flatten(1)
            middle = crowns.centres(tuple(n // self.cell for n in x.shape[2:]), self.cell).view(1, -1, 2)
            return scores, torch.cat([middle - 8, middle + 8], 2).expand(len(x), -1, -1)

    first, again, other = (crowns.trained(Small, 16, seed=seed, steps=2).conv.weight for seed in (0, 0, 1))
    assert first.equal(again)
    assert not first.equal(other)


def test_the_cells_of_the_middle_third_answer_and_no_others():
    label, box = crowns.targets(torch.tensor([[8.0, 8.0, 44.0, 32.0]]), 4.0)
    y, x = label.view(16, 16).nonzero(as_tuple=True)
    assert x.unique().tolist() == [5, 6, 7]  # middles 22, 26, 30 within 6 of 26, its edge excluded
    assert y.unique().tolist() == [4, 5]  # middles 18, 22 within 4 of 20
    assert box[label > 0].eq(torch.tensor([8.0, 8.0, 44.0, 32.0])).all()
