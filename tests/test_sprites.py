"""Emoji on photographs: boxes that hold what was pasted, and refusals."""

import pytest
import torch
from torch.testing import assert_close

from utils.sprites import SIDE, emoji_scenes, paste


@pytest.fixture(scope="module")
def emoji():
    return emoji_scenes()


def test_emoji_scenes_have_their_sizes_and_boxes(emoji):
    assert emoji.x_train.shape == (1000, 3, SIDE, SIDE)
    assert len(emoji.classes) == 10
    assert emoji.x_train.min() >= 0
    assert emoji.x_train.max() <= 1
    for name in ("new pictures", "new photographs", "new style"):
        assert emoji.x_test[name].shape == (200, 3, SIDE, SIDE)
        assert torch.cat([labels for _, labels in emoji.truth_test[name]]).bincount(minlength=10).min() >= 20
    for boxes, labels in emoji.truth_train:
        assert 1 <= len(boxes) == len(labels) <= 4
        assert ((boxes >= 0) & (boxes <= SIDE)).all()
        assert (boxes[:, 2:] - boxes[:, :2]).max() <= 48
        first, last = torch.maximum(boxes[:, None], boxes), torch.minimum(boxes[:, None], boxes)
        shared = (last[..., 2:] - first[..., :2]).clamp(min=0).prod(-1).fill_diagonal_(0)
        area = (boxes[:, 2:] - boxes[:, :2]).prod(-1)
        assert (shared / torch.minimum(area[:, None], area)).max() <= 0.1001


@pytest.mark.parametrize("opacity", [1.0, 0.75])
def test_a_square_covers_exactly_its_box_by_its_opacity(opacity):
    sprite = torch.ones(1, 4, 8, 8) * torch.tensor([1.0, 0.0, 0.0, opacity]).view(1, 4, 1, 1)
    grey = torch.full((3, 96, 128), 0.5)
    pictures, truths = paste(sprite, torch.tensor([7]), [grey], 5, torch.Generator().manual_seed(0))
    for picture, (boxes, labels) in zip(pictures, truths, strict=True):
        expected = torch.full((3, 96, 96), 0.5)
        for x1, y1, x2, y2 in boxes.long().tolist():
            for channel, colour in enumerate((1, 0, 0)):
                region = expected[channel, y1:y2, x1:x2]
                region.copy_(opacity * colour + (1 - opacity) * region)
        assert_close(picture, expected)
        assert set(labels.tolist()) == {7}


def test_wrong_sprites_photographs_and_styles_are_named():
    sprite, photo, generator = torch.ones(1, 4, 8, 8), torch.zeros(3, 96, 96), torch.Generator()
    with pytest.raises(ValueError, match="style of"):
        emoji_scenes("oil")
    with pytest.raises(ValueError, match=r"sprites \(N, 4, H, H\)"):
        paste(sprite[:, :3], torch.tensor([0]), [photo], 1, generator)
    with pytest.raises(ValueError, match="96 pixels or more"):
        paste(sprite, torch.tensor([0]), [photo[:, :90]], 1, generator)
