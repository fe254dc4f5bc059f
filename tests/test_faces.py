"""Faces and other windows: the split, the variants, grey photographs and the shrunken windows against scikit-image."""

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data as photographs
from skimage.color import rgb2gray
from torch.testing import assert_close

from utils import faces


def test_a_window_is_learnt_or_tested():
    assert sorted([*faces.LEARNT.tolist(), *faces.TEST.tolist()]) == list(range(100))
    assert len(faces.TEST) == 30


def test_windows_are_scikit_images_faces_then_others():
    found, others = faces.windows()
    every = photographs.lfw_subset()
    assert_close(found[7, 0], torch.from_numpy(every[7]).float())
    assert_close(others[0, 0], torch.from_numpy(every[100]).float())


def test_grey_weighs_colours_nearly_as_scikit_image_and_refuses_an_unknown_name():
    ours = faces.grey("astronaut")
    assert ours.shape == (512, 512)
    assert (ours - torch.from_numpy(rgb2gray(photographs.astronaut())).float()).abs().max() < 0.12
    assert_close(faces.grey("camera"), torch.from_numpy(photographs.camera()).float() / 255)
    with pytest.raises(ValueError, match=r"expected a photograph of skimage.data, got 'nobody'"):
        faces.grey("nobody")


def test_no_photograph_is_both_mined_and_counted():
    assert not {*faces.MINED} & {*faces.COUNTED}


def test_twelve_is_pillows_bilinear_with_its_blur():
    for x in faces.windows()[0][:5]:
        theirs = Image.fromarray(x[0].numpy()).resize((12, 12), Image.Resampling.BILINEAR)
        assert_close(faces.twelve(x[None])[0, 0], torch.from_numpy(np.asarray(theirs).copy()), atol=1e-5, rtol=0)


def test_variants_differ_and_come_from_their_window():
    x = faces.windows()[0][:5]
    y = faces.varied(x, torch.Generator().manual_seed(0), copies=3)
    assert y.shape == (15, 1, 12, 12)
    assert not y[:5].equal(y[5:10])
    plain = faces.twelve(x).flatten(1)
    for copy in y.split(5):
        for a, b in zip(plain, copy, strict=True):
            likeness = [torch.corrcoef(torch.stack([a, c.flatten()]))[0, 1] for c in (b, b.flip(2))]
            assert max(likeness) > 0.4
    with pytest.raises(ValueError, match=r"expected windows \(B, 1, 25, 25\), got \(2, 1, 12, 12\)"):
        faces.varied(torch.zeros(2, 1, 12, 12), torch.Generator())
