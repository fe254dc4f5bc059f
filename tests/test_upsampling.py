"""Upsampling: the scatter against matrices, ONNX and PyTorch; sizes, interpolation, shuffles and phase sums."""

import itertools

import numpy as np
import pytest
import sympy as sp
import torch
from skimage.transform import resize
from torch.nn import functional as F
from torch.testing import assert_close

from tests.chapter import load
from tests.oracles import by_onnx
from utils.derive import Derivation, StepError


@pytest.fixture(scope="module")
def chapter():
    return load("foundations/upsampling")


@pytest.mark.parametrize(("k", "s"), [*itertools.product((1, 2, 3, 5), (1, 2, 3))])
def test_gather_and_scatter_are_torchs_and_each_others_transposes(chapter, k, s):
    draw = torch.Generator().manual_seed(k + 10 * s)
    x, w = (torch.randn(length, generator=draw, dtype=torch.float64) for length in (11, k))
    seen = torch.stack(chapter.gather(x, w, s))
    assert_close(seen, F.conv1d(x[None, None], w[None, None], stride=s)[0, 0])
    u = torch.randn(seen.shape, generator=draw, dtype=torch.float64)
    back = torch.stack([torch.as_tensor(v).double() for v in chapter.scatter(u, w, s)])
    assert_close(back, F.conv_transpose1d(u[None, None], w[None, None], stride=s)[0, 0])
    assert_close(seen @ u, x[: len(back)] @ back)


def test_torchs_output_padding_is_the_remainder_that_the_convolution_dropped():
    for size, k, s, pad in itertools.product(range(3, 30), (1, 2, 3, 4, 5), (1, 2, 3, 4), (0, 1, 2)):
        if size + 2 * pad < k or pad >= k:
            continue
        ones, rest = torch.ones(1, 1, k), (size + 2 * pad - k) % s
        small = F.conv1d(torch.zeros(1, 1, size), ones, stride=s, padding=pad)
        assert F.conv_transpose1d(small, ones, None, s, pad, rest).shape[-1] == size


def test_the_adjoint_also_holds_for_several_channels_in_two_dimensions():
    x, w = torch.randn(1, 3, 9, 8).double().requires_grad_(), torch.randn(5, 3, 4, 3).double()
    seen = F.conv2d(x, w, stride=(2, 3), padding=1)
    u = torch.randn_like(seen)
    back = F.conv_transpose2d(u, w, None, (2, 3), 1, (1, 1))
    assert_close(torch.autograd.grad(seen, x, u)[0], back)


@pytest.mark.parametrize("factor", [2, 4, 6])
def test_tents_sum_to_one_in_each_phase_and_keep_a_line_straight(chapter, factor):
    kernel = chapter.bilinear(factor)
    assert_close(kernel.view(2, factor).sum(0), torch.ones(factor).double())
    line = torch.stack(chapter.scatter(torch.arange(6.0).double(), kernel, factor))[factor:-factor]
    assert_close(line.diff(), torch.full((len(line) - 1,), 1 / factor).double())


def test_bilinear_enlargement_is_that_of_onnx_and_scikit_image(chapter):
    picture = torch.rand(1, 1, 6, 7)
    ours = chapter.enlarged(picture)
    scales = np.array([1, 1, 2, 2], dtype=np.float32)
    empty = np.zeros(0, dtype=np.float32)
    assert_close(ours, by_onnx("Resize", picture.numpy(), empty, scales, mode="linear").float(), rtol=0, atol=2e-6)
    other = resize(picture[0, 0].numpy(), (12, 14), order=1, mode="edge", anti_aliasing=False)
    assert_close(ours[0, 0], torch.from_numpy(other), rtol=0, atol=2e-6)


def test_a_shuffle_is_that_of_onnx(chapter):
    coarse = torch.rand(2, 8, 3, 3)
    assert_close(F.pixel_shuffle(coarse, 2), by_onnx("DepthToSpace", coarse.numpy(), blocksize=2, mode="CRD"))


def test_nearest_is_a_transposed_convolution_with_ones(chapter):
    picture = torch.rand(1, 1, 4, 5)
    copies = F.conv_transpose2d(picture, torch.ones(1, 1, 3, 3), None, 3)
    assert_close(copies, F.interpolate(picture, scale_factor=3, mode="nearest"))


def test_a_flat_image_stays_flat_where_all_phase_sums_agree(chapter):
    for k, s in itertools.product(range(1, 9), (2, 3, 4)):
        w = torch.randn(k).double()
        for level in (False, True):
            sums = torch.stack([w[c::s].sum() for c in range(s)])
            if level:
                if k < s:
                    continue
                w = w.clone()
                for c in range(s):
                    w[c] += 1 - sums[c]
            middle = torch.stack([torch.as_tensor(v) for v in chapter.scatter([1.0] * 20, w, s)])[9 * s : 10 * s]
            assert_close(middle, torch.stack([w[c::s].sum() for c in range(s)]).to(middle))
            assert bool((middle - middle[0]).abs().max() < 1e-9) == level


def test_an_equal_start_is_flat_and_its_filters_are_not_shared(chapter):
    layer = chapter.EqualShuffle(3)
    image = layer(torch.ones(1, 3, 12, 12))
    assert chapter.unevenness(image) < 1e-7
    layer[0].weight.data[1] += 0.1
    assert chapter.unevenness(layer(torch.ones(1, 3, 12, 12))) > 0.01


def test_unevenness_is_the_spread_of_phase_means(chapter):
    image = torch.zeros(1, 1, 16, 16)
    image[..., ::2, ::2] = 4
    assert_close(chapter.unevenness(image), torch.tensor([4.0, 0, 0, 0]).std(correction=0))


def test_decibels_are_those_of_a_known_error(chapter):
    x = torch.zeros(1, 1, 20, 20)
    assert_close(chapter.decibels(x + 0.1, x), torch.tensor(20.0))


@pytest.mark.parametrize("wrong", ["no flip", "other order"])
def test_a_shuffle_woven_wrongly_is_refuted(chapter, wrong):
    a, b = chapter.a, chapter.b
    kernel = chapter.weave(a, b) if wrong == "no flip" else chapter.weave(b[::-1], a[::-1])
    with pytest.raises(StepError, match="does not hold"):
        Derivation("woven", chapter.woven.expr).equals(
            sp.Matrix(chapter.scatter(chapter.line, kernel, 2)[4:10]), because="a known mistake"
        )


def test_an_odd_factor_has_another_tent(chapter):
    with pytest.raises(StepError, match="does not hold"):
        Derivation("off centre", chapter.both + sp.Rational(1, 2) / chapter.r).equals(1, because="a known mistake")


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("margin", lambda ch: ch.k / 2 - ch.s / 2, lambda ch: (ch.k - 1) / 2),
        (
            "tents",
            lambda ch: sp.Matrix([sp.Rational(tap, 3) for tap in (1, 2, 3, 2, 1)]),
            lambda ch: sp.Matrix([1, 2, 3, 2, 1]),
        ),
        (
            "doubled",
            lambda ch: sp.Matrix([ch.a[2], ch.a[2] + ch.a[1], ch.a[1] + ch.a[0], ch.a[0]]),
            lambda ch: sp.Matrix([ch.a[0], ch.a[0] + ch.a[1], ch.a[1] + ch.a[2], ch.a[2]]),
        ),
    ],
)
def test_exercises_accept_the_answer_and_refuse_another(chapter, name, right, wrong):
    assert getattr(chapter, name).check(right(chapter))
    assert not getattr(chapter, name).check(wrong(chapter))


def test_the_padding_of_the_exercise_makes_an_exact_multiple():
    for size, k, s in itertools.product((3, 7), range(2, 9), (2, 3)):
        if k >= s and (k - s) % 2 == 0:
            back = F.conv_transpose1d(torch.zeros(1, 1, size), torch.ones(1, 1, k), None, s, (k - s) // 2)
            assert back.shape[-1] == s * size


def test_the_doubled_kernel_is_nearest_enlargement_and_a_convolution(chapter):
    a = torch.tensor([2.0, 3.0, 7.0])
    kernel = torch.tensor([a[2], a[1] + a[2], a[0] + a[1], a[0]])
    line = torch.randn(1, 1, 6)
    found = F.conv_transpose1d(line, kernel[None, None], None, 2)[..., 3:-3]
    twice = F.interpolate(line, scale_factor=2)
    assert_close(found, F.conv1d(twice, a[None, None])[..., 1:-1])
