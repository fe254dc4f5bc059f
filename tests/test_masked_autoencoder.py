"""The chapter on masked autoencoders against transformers' own, NumPy and its published mistakes."""

import numpy as np
import pytest
import sympy as sp
import torch
from sklearn.linear_model import LinearRegression
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode

from tests.chapter import load
from utils import data, encoders, training, weights
from utils.bridge import to_torch
from utils.derive import Derivation, StepError

F64 = torch.float64


@pytest.fixture(scope="module")
def mae():
    return load("representation/masked-autoencoder")


def positions(width):
    from transformers.models.vit_mae.modeling_vit_mae import build_2d_sinusoidal_position_embedding

    return build_2d_sinusoidal_position_embedding(4, 4, width, cls_token=True, dtype=F64)


@pytest.fixture(scope="module")
def theirs():
    from transformers import ViTMAEConfig, ViTMAEForPreTraining

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
    small = {"decoder_hidden_size": 16, "decoder_num_hidden_layers": 2, "decoder_num_attention_heads": 2}
    config = ViTMAEConfig(
        **sizes, **small, decoder_intermediate_size=64, image_size=8, patch_size=2, num_channels=1,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, attn_implementation="eager",
    )  # fmt: skip
    model = ViTMAEForPreTraining(config).double().eval()
    model.vit.embeddings.position_embeddings.data = positions(32)[None]
    model.decoder.decoder_pos_embed.data = positions(16)[None]
    for token in (model.vit.embeddings.cls_token, model.decoder.mask_token):
        torch.nn.init.normal_(token)
    return model


class Blocks(torch.nn.Module):
    """Blocks of the other library, which carry a class token that our rows do not have."""

    def __init__(self, layers, norm, first):
        super().__init__()
        self.layers, self.norm, self.first = layers, norm, first

    def forward(self, z):
        z = torch.cat([self.first().expand(len(z), 1, -1), z], 1)
        for layer in self.layers:
            z = layer(z)
            z = z[0] if isinstance(z, tuple) else z
        z = self.norm(z)
        self.token = z[:, :1]
        return z[:, 1:]


@pytest.fixture(scope="module")
def ours(mae, theirs):
    """The chapter's network with every weight of theirs: its masking, order, places, tokens and loss are its own."""
    net, vit, decoder = mae.MaskedAutoencoder(4, 4, d=32, small=16).double(), theirs.vit, theirs.decoder
    net.embed.weight.data = vit.embeddings.patch_embeddings.projection.weight.data.flatten(1)
    net.embed.bias.data = vit.embeddings.patch_embeddings.projection.bias.data
    net.places, net.small_places = vit.embeddings.position_embeddings[0, 1:], decoder.decoder_pos_embed[0, 1:]
    start = vit.embeddings.cls_token + vit.embeddings.position_embeddings[:, :1]
    net.encoder = Blocks(vit.layers if hasattr(vit, "layers") else vit.encoder.layer, vit.layernorm, lambda: start)
    net.narrow, net.out, net.token = decoder.decoder_embed, decoder.decoder_pred, decoder.mask_token

    def first():
        return decoder.decoder_embed(net.encoder.token) + decoder.decoder_pos_embed[:, :1]

    net.decoder = Blocks(decoder.decoder_layers, decoder.decoder_norm, first)
    return net


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(4)
    return torch.randn(3, 8, 8, generator=generator, dtype=F64), torch.rand(3, 16, generator=generator, dtype=F64)


def test_masks_order_and_visible_rows_are_those_of_transformers(mae, theirs, ours, batch):
    images, noise = batch
    visible, hidden, restore = mae.random_mask(noise, theirs.config.mask_ratio)
    z, mask, their_restore = theirs.vit.embeddings(images[:, None], noise=noise)
    assert torch.equal(restore, their_restore)
    assert torch.equal(torch.zeros(3, 16).scatter(1, hidden, 1.0), mask.float())
    x = encoders.patchify(images[:, None], 2)
    assert_close(mae.take(ours.embed(x) + ours.places, visible), z[:, 1:], rtol=0, atol=1e-14)
    assert_close(x, theirs.patchify(images[:, None]), rtol=0, atol=0)


@torch.no_grad()
def test_the_whole_loss_is_that_of_transformers(mae, theirs, ours, batch):
    images, noise = batch
    found = theirs(images[:, None], noise=noise)
    visible, hidden, restore = mae.random_mask(noise, 0.75)
    x = encoders.patchify(images[:, None], 2)
    drawn = ours(x, visible, restore)
    assert_close(drawn, found.logits, rtol=0, atol=1e-12)
    assert_close(mae.hidden_error(drawn, x, hidden), found.loss, rtol=0, atol=1e-12)


@torch.no_grad()
def test_the_standardised_target_is_that_of_transformers(mae, theirs, batch):
    images, noise = batch
    patch = sp.symbols("x_1:5", real=True)
    x, (_, hidden, _) = encoders.patchify(images[:, None], 2), mae.random_mask(noise, 0.75)
    middle, variance = sum(patch) / 4, sum((p - sum(patch) / 4) ** 2 for p in patch) / 3
    exact = to_torch((patch[0] - middle) / sp.sqrt(variance), patch)(*x.unbind(-1))
    standard = (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True) + 1e-6) ** 0.5
    assert_close(standard[..., 0], exact, atol=1e-3, rtol=1e-3)
    theirs.config.norm_pix_loss = True
    try:
        found = theirs(images[:, None], noise=noise)
    finally:
        theirs.config.norm_pix_loss = False
    assert_close(mae.hidden_error(found.logits, standard, hidden), found.loss)


def test_the_places_are_those_of_transformers(mae):
    assert_close(mae.MaskedAutoencoder(4, 4, d=32).places.double(), positions(32)[1:], atol=1e-6, rtol=0)


def test_vit_base_has_the_parameters_of_the_formula():
    from transformers import ViTMAEConfig, ViTMAEModel

    with torch.device("meta"):
        model = ViTMAEModel(ViTMAEConfig())
        block = sum(p.numel() for p in encoders.transformer(768, 1, 12).layers.parameters())
    d, L, pixels = 768, 196, 16 * 16 * 3
    assert block == 12 * d**2 + 13 * d
    total = 12 * block + 2 * d + pixels * d + d + d + (L + 1) * d
    assert total == sum(p.numel() for p in model.parameters()) == 85_798_656


@pytest.mark.parametrize(("length", "width", "layers"), [(4, 64, 2), (16, 64, 1), (49, 32, 3)])
def test_multiply_adds_are_those_that_torch_counts(mae, length, width, layers):
    net = encoders.transformer(width, layers)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        net(torch.zeros(1, length, width))
    expected = 2 * layers * mae.block.expr.subs({mae.L: length, mae.d: width})
    assert counter.get_total_flops() == expected


def test_the_mask_hides_the_stated_share_and_every_patch_alike(mae):
    noise = torch.rand(20_000, 16, generator=torch.Generator().manual_seed(0))
    visible, hidden, restore = mae.random_mask(noise, 0.75)
    assert visible.shape == (20_000, 4)
    assert hidden.shape == (20_000, 12)
    assert torch.equal(torch.cat([visible, hidden], 1).gather(1, restore), torch.arange(16).expand(20_000, 16))
    share = torch.zeros(20_000, 16).scatter(1, hidden, 1.0).mean(0)
    assert_close(share, torch.full((16,), 0.75), atol=0.012, rtol=0)


def test_the_linear_fill_is_least_squares_of_each_hidden_pixel(mae):
    rng = np.random.default_rng(0)
    images = rng.normal(size=(500, 12)) @ rng.normal(size=(12, 12)) + 3
    visible, hidden = torch.tensor([[2, 0]]), torch.tensor([[1, 3]])
    x = torch.from_numpy(images)
    seen, out = [6, 7, 8, 0, 1, 2], [3, 4, 5, 9, 10, 11]
    fit = LinearRegression().fit(images[:, seen], images[:, out])
    found = mae.linear_fill(x[:1].view(1, 4, 3), visible, hidden, x.mean(0), torch.cov(x.T)).flatten()
    assert_close(found[out], torch.from_numpy(fit.predict(images[:1, seen]))[0])
    assert_close(found[seen], x[0, seen])


def test_the_linear_fill_is_the_derived_one(mae):
    S = torch.tensor([[2, 0.5, 0.3], [0.5, 1, -0.2], [0.3, -0.2, 1.5]]).double()
    x = torch.tensor([[[9], [1], [-2]]]).double()
    found = mae.linear_fill(x, torch.tensor([[1, 2]]), torch.tensor([[0]]), torch.zeros(3).double(), S)[0, 0, 0]
    assert_close(found, torch.linalg.solve(S[1:, 1:], S[1:, 0]) @ x[0, 1:, 0])


@pytest.mark.parametrize("wrong", ["places after the shuffle", "order lost", "hidden patches encoded"])
def test_each_published_mistake_breaks_one_of_the_three_facts(mae, wrong):
    training.seed(0)
    net, x = mae.MaskedAutoencoder(4, 4).double().requires_grad_(False), torch.randn(3, 16, 4, dtype=F64)
    visible, hidden, restore = mae.random_mask(torch.rand(3, 16), 0.75)
    turned = torch.cat([visible, hidden.flip(1)], 1).argsort(1)
    seen_turned, back = visible.flip(1), torch.cat([visible.flip(1), hidden], 1).argsort(1)
    assert_close(net(x, visible, restore), net(x, visible, turned))
    assert_close(net(x, visible, restore), net(x, seen_turned, back))
    if wrong == "places after the shuffle":
        net.encode = lambda x, visible: net.encoder(mae.take(net.embed(x), visible) + net.places[: visible.shape[1]])
        assert (net(x, visible, restore) - net(x, seen_turned, back)).abs().max() > 0.01
    elif wrong == "order lost":

        def queued(restore):
            z = torch.cat([net.narrow(net.encode(x, visible)), net.token.expand(3, 12, -1)], 1)
            return mae.take(net.out(net.decoder(z + net.small_places)), restore)

        assert (queued(restore) - queued(turned)).abs().max() > 0.01
    else:
        other = torch.where((restore >= 4)[..., None], torch.randn_like(x), x)
        net.encode = lambda x, visible: mae.take(net.encoder(net.embed(x) + net.places), visible)
        assert (net(x, visible, restore) - net(other, visible, restore)).abs().max() > 0.01


def test_an_error_over_all_patches_would_reward_copying(mae):
    x = torch.randn(3, 16, 4)
    visible, hidden, restore = mae.random_mask(torch.rand(3, 16), 0.75)
    copied = torch.zeros_like(x).scatter(1, visible[..., None].expand(-1, -1, 4), mae.take(x, visible))
    assert_close(mae.hidden_error(copied, x, hidden), mae.take(x, hidden).square().mean())
    assert mae.hidden_error(copied, x, restore) < 0.9 * mae.hidden_error(copied, x, hidden)


def test_the_shipped_network_draws_the_pictures_of_the_widget(mae):
    shipped, mnist = weights.load("masked_autoencoder"), data.load("mnist_10k")
    net = mae.MaskedAutoencoder(7, 16).eval().requires_grad_(False)
    net.load_state_dict({key: shipped[key] for key in net.state_dict()})
    images = mnist.x_test[[9, 30, 35, 5]].float() / 255
    x, noise = encoders.patchify(images[:, None], 4), torch.rand(4, 49, generator=torch.Generator().manual_seed(3))
    for k, r in enumerate((0.25, 0.5, 0.65, 0.75, 0.85, 0.94)):
        visible, hidden, restore = mae.random_mask(noise, r)
        drawn = (net((x - 0.13) / 0.31, visible, restore) * 0.31 + 0.13).clamp(0, 1)
        drawn = x.scatter(1, hidden[..., None].expand(-1, -1, 16), mae.take(drawn, hidden))
        seen = torch.zeros_like(x).scatter(1, visible[..., None].expand(-1, -1, 16), 1.0)
        shown, seen = encoders.unpatchify(drawn, 4)[:, 0], encoders.unpatchify(seen, 4)[:, 0]
        assert torch.equal(shipped["seen"][:, k].bool(), seen.bool())
        assert_close(shipped["pictures"][:, k, 0].float() / 255, images)
        assert_close(shipped["pictures"][:, k, 1].float() / 255, shown, atol=0.006, rtol=0)


@pytest.mark.parametrize(("r", "kept"), [(0.125, 14), (0.75, 4), (0.875, 2)])
def test_the_encoder_in_training_sees_the_visible_share_alone(mae, monkeypatch, r, kept):
    seen, encode = set(), mae.MaskedAutoencoder.encode
    monkeypatch.setattr(
        mae.MaskedAutoencoder,
        "encode",
        lambda net, x, visible: seen.add(tuple(visible.shape)) or encode(net, x, visible),
    )
    net = mae.pretrained(r, seed=1, steps=2)
    assert seen == {(64, kept)}
    assert not net.training
    assert not any(p.requires_grad for p in net.parameters())


def test_the_error_of_the_average_image_is_the_variance_of_ink(mae):
    average = mae.patches(mae.digits.x_train).mean(0)
    expected = (mae.digits.x_test - mae.digits.x_train.mean(0)).div(16).square().mean()
    assert_close(mae.test_error(lambda x, *_: average.expand_as(x), 0.9375), expected, rtol=0.03, atol=0)
    assert mae.test_error(lambda x, *_: x, 0.5) == 0


def test_the_masks_of_the_test_are_the_same_for_every_model(mae):
    masks = []
    for _ in range(2):
        torch.rand(7)
        mae.test_error(lambda x, visible, hidden, restore: masks.append(restore) or x, 0.5)
    assert torch.equal(*masks)


def test_the_probe_learns_from_training_digits_and_is_judged_on_test_digits(mae, monkeypatch):
    calls = []
    monkeypatch.setattr(mae.probes, "linear", lambda *sides, labels: calls.append((*sides, labels)))
    mae.probed(lambda x: x)
    digits = data.digits()
    for found, expected in zip(calls[0], (digits.x_train, digits.y_train, digits.x_test, digits.y_test), strict=False):
        assert torch.equal(found, expected)
    assert calls[0][4] == 5


def test_every_step_is_proved(mae):
    found = [value for value in vars(mae).values() if isinstance(value, Derivation) and value is not mae.rootless]
    assert len(found) == 7
    assert all(step.status == "proved" for d in found for step in d.steps)


@pytest.mark.parametrize(
    ("lhs", "wrong"),
    [
        (lambda m: m.block.lhs.subs(m.parts), lambda m: 12 * m.L * m.d**2 + m.L**2 * m.d),
        (lambda m: m.saved.lhs, lambda m: (6 * m.d + m.L) / ((1 - m.r) * (6 * m.d + m.L))),
        (lambda m: m.hole.lhs, lambda m: m.p * (m.y_1 - m.y_2) ** 2 + (m.c - m.mean) ** 2),
        (lambda m: m.gauss.lhs, lambda m: (m.h + m.s_1 / m.S_11 * m.v) ** 2 / (m.S_hh - m.s_1**2 / m.S_11)),
        (lambda m: m.shift.lhs, lambda m: m.turn.T * m.wave(m.t)),
    ],
    ids=["half the pairs", "pairs linear", "spread", "sign of the covariance", "turned the other way"],
)
def test_wrong_steps_are_refuted(mae, lhs, wrong):
    with pytest.raises(StepError, match="does not hold"):
        Derivation("broken", lhs(mae), domain={mae.p: (0, 1), mae.r: (0, 1)}).equals(wrong(mae), because="broken")


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("together", lambda m: 146 * 145 * 144 * 143 / (195 * 194 * 193 * 192), lambda m: 0.75**4),
        ("tenth", lambda m: 0.8967, lambda m: 0.9),
        ("twins", lambda m: 1 - 2 * m.rho**2 / (1 + m.c), lambda m: 1 - 2 * m.rho**2),
    ],
)
def test_exercises_accept_the_answer_and_refuse_another(mae, name, right, wrong):
    assert getattr(mae, name).check(right(mae))
    assert not getattr(mae, name).check(wrong(mae))
