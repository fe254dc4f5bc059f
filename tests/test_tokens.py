"""The networks around a codebook: shapes, the shift of the prior, and what they refuse."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from utils import tokens, training


def test_encoders_and_decoders_have_the_stated_shapes():
    flat, grey = torch.rand(3, 64), torch.rand(3, 1, 28, 28)
    encoder, decoder = tokens.perceptrons(64, T=4, d=8)
    assert encoder(flat).shape == (3, 8, 4)
    assert decoder(encoder(flat)).shape == flat.shape
    encoder, decoder = tokens.convolutions(8)
    assert encoder(grey).shape == (3, 8, 7, 7)
    assert decoder(encoder(grey)).shape == grey.shape
    assert tokens.classifier(28)(grey).shape == (3, 10)
    assert tokens.discriminator()(grey).shape == (3, 1, 7, 7)


def test_vectors_keep_their_places_in_the_grid():
    """Between an encoder and a decoder that do nothing, also when rows and columns differ."""
    model, x = (
        tokens.Coder(nn.Identity(), nn.Identity(), lambda z: (z, None, None), grid=(2, 3)),
        torch.rand(4, 5, 2, 3),
    )
    assert model.encode(x).shape == (4, 6, 5)
    assert_close(model.encode(x)[:, 4], x[:, :, 1, 1])
    assert_close(model(x)[0], x)


def test_a_later_token_never_reaches_an_earlier_logit():
    prior, k = tokens.Prior(5, 6, width=8, layers=2, classes=3).eval(), torch.randint(5, (4, 6))
    y, changed = torch.tensor([0, 1, 2, 0]), k.clone()
    changed[:, 3] = (k[:, 3] + 1) % 5
    with torch.no_grad():
        before, after = prior(k, y), prior(changed, y)
    assert_close(before[:, :4], after[:, :4])
    assert (before[:, 4:] - after[:, 4:]).abs().amax((0, 2)).min() > 1e-4  # the very next one, too


def test_drawn_words_have_the_frequencies_of_the_prior():
    training.seed(0)
    prior = tokens.Prior(2, 2, width=8, layers=1).eval().requires_grad_(False)
    nn.init.normal_(prior.head.weight)
    words = torch.cartesian_prod(torch.arange(2), torch.arange(2))
    drawn = prior.sample(torch.zeros(20_000, dtype=torch.long))
    frequency = torch.bincount(drawn @ torch.tensor([2, 1]), minlength=4) / 20_000
    assert_close(frequency, prior.nats(words).neg().exp(), atol=0.015, rtol=0)


def test_perceptual_distance_is_zero_for_a_copy_and_blind_to_no_image():
    net, x = tokens.classifier(16), torch.rand(3, 1, 16, 16)
    assert tokens.perceptual(net, x, x) == 0
    assert tokens.perceptual(net, x, x.flip(3)) > 0.1


def test_perceptual_distance_is_that_of_the_cosines_of_two_layers():
    training.seed(0)
    net, x, y = tokens.classifier(16), torch.rand(3, 1, 16, 16), torch.rand(3, 1, 16, 16)
    first, second = (torch.cosine_similarity(net[:layer](x), net[:layer](y)) for layer in (2, 4))
    expected = (2 - 2 * first).sum((1, 2)).mean() + (2 - 2 * second).sum((1, 2)).mean()
    assert_close(tokens.perceptual(net, x, y), expected, rtol=1e-3, atol=0)


@pytest.mark.parametrize(
    ("k", "y", "message"),
    [
        (torch.zeros(2, 7, dtype=torch.long), torch.zeros(2, dtype=torch.long), "1..6"),
        (torch.zeros(2, 0, dtype=torch.long), torch.zeros(2, dtype=torch.long), "1..6"),
        (torch.zeros(2, 6, dtype=torch.long), torch.zeros(3, dtype=torch.long), "1..6"),
        (torch.full((2, 6), 5), torch.zeros(2, dtype=torch.long), "tokens from 0 to 4"),
        (torch.zeros(2, 6, dtype=torch.long), torch.tensor([0, -1]), "classes from 0 to 2"),
        (torch.zeros(2, 6, dtype=torch.long), torch.tensor([0, 3]), "classes from 0 to 2"),
    ],
)
def test_a_prior_refuses_words_and_classes_that_it_does_not_know(k, y, message):
    with pytest.raises(ValueError, match=message):
        tokens.Prior(5, 6, width=8, layers=1, classes=3)(k, y)


def test_bad_shapes_are_refused():
    with pytest.raises(ValueError, match="multiple of 4"):
        tokens.classifier(30)
    with pytest.raises(ValueError, match="equal shapes"):
        tokens.perceptual(tokens.classifier(16), torch.rand(3, 1, 16, 16), torch.rand(1, 1, 16, 16))
