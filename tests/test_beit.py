"""The chapter on BEiT against transformers, scikit-learn, the book's own VQGAN and enumeration."""

import random

import pytest
import sympy as sp
import torch
from sklearn.cluster import KMeans
from sklearn.metrics import log_loss
from torch.testing import assert_close
from transformers import BeitConfig, BeitForMaskedImageModeling
from transformers.models.flava.image_processing_pil_flava import FlavaMaskingGenerator

from tests.chapter import derivations, load
from utils import data, encoders, tokens, training, weights
from utils.bridge import to_torch
from utils.derive import Derivation, StepError


@pytest.fixture(scope="module")
def ch():
    return load("representation/beit")


@pytest.fixture
def small(ch):
    training.seed(3)
    return ch.Beit(4, 16, 12, width=16, layers=2)


@pytest.mark.parametrize(("side", "total", "least"), [(14, 75, 16), (7, 19, 4), (4, 6, 2), (14, 118, 16)])
def test_block_masks_are_those_of_the_released_code(ch, side, total, least):
    """Transformers keeps BEiT's generator for FLAVA; the same random numbers give the same mask."""
    theirs = FlavaMaskingGenerator(side, total_mask_patches=total, mask_group_min_patches=least)
    for seed in range(60):
        random.seed(seed)
        expected = theirs().flatten().bool()
        assert_close(ch.block_mask(side, total, least, random.Random(seed)), expected)


def test_block_masks_never_hide_more_than_asked_and_scattered_ones_exactly_that(ch):
    chance = random.Random(0)
    hidden = torch.stack([ch.block_mask(14, 75, 16, chance) for _ in range(200)]).sum(1)
    assert hidden.max() == 75
    assert hidden.float().mean() > 73
    dots = torch.stack([ch.scattered_mask(7, 19, chance) for _ in range(2000)])
    assert (dots.sum(1) == 19).all()
    assert_close(dots.float().mean(0), torch.full((49,), 19 / 49), atol=0.05, rtol=0)


@pytest.mark.parametrize(("n", "h", "w"), [(14, 5, 3), (7, 7, 2), (4, 1, 4)])
def test_cover_is_the_share_of_positions(ch, n, h, w):
    share = ch.cover(n, h, w)
    assert_close(share.sum(), torch.tensor(float(h * w)))
    rows, columns = (
        torch.tensor([sum(t <= i < t + size for t in range(n - size + 1)) / (n - size + 1) for i in range(n)])
        for size in (h, w)
    )
    assert_close(share, torch.outer(rows, columns))


def _theirs(ours, side, patch, outputs, layers):
    """Transformers' BEiT with our weights: no relative positions, no layer scale, our fixed positions."""
    width = ours.place.shape[1]
    config = BeitConfig(
        vocab_size=outputs, hidden_size=width, num_hidden_layers=layers, num_attention_heads=4,
        intermediate_size=4 * width, image_size=side * patch, patch_size=patch, num_channels=1, use_mask_token=True,
        use_absolute_position_embeddings=True, layer_scale_init_value=0.0, layer_norm_eps=1e-5,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, drop_path_rate=0.0,
    )  # fmt: skip
    return BeitForMaskedImageModeling(config).double().eval()


def _copy(ours, theirs, patch):
    """Our weights into theirs; their keys have no bias, which cancels in the softmax anyway."""
    emb, width = theirs.beit.embeddings, ours.place.shape[1]
    conv = emb.patch_embeddings.projection
    conv.weight.data, conv.bias.data = ours.embed.weight.view(width, 1, patch, patch).data, ours.embed.bias.data
    emb.mask_token.data = ours.mask_token.data[None, None]
    emb.position_embeddings.data[0, 1:] = ours.place
    state = theirs.state_dict()
    names = [name for name in state if ".layer" in name and name.endswith(("weight", "bias"))]
    for number, layer in enumerate(ours.body.layers):
        parts = dict(zip("qkv", layer.self_attn.in_proj_weight.chunk(3), strict=True))
        biases = dict(zip("qkv", layer.self_attn.in_proj_bias.chunk(3), strict=True))
        for name in (n for n in names if f".layer.{number}." in n or f".layers.{number}." in n):
            state[name] = _piece(name, layer, parts, biases)
    for kind in ("weight", "bias"):
        state[f"layernorm.{kind}"] = getattr(ours.body.norm, kind)
        state[f"lm_head.{kind}"] = getattr(ours.head, kind)
    theirs.load_state_dict(state)


def _piece(name, layer, parts, biases):
    kind = name.rsplit(".", 1)[1]
    for letter, words in {"q": ("query", "q_proj"), "k": ("key", "k_proj"), "v": ("value", "v_proj")}.items():
        if any(word in name for word in words):
            return (parts if kind == "weight" else biases)[letter]
    found = {
        "layernorm_before": layer.norm1, "layernorm_after": layer.norm2, "fc1": layer.linear1, "fc2": layer.linear2,
        "intermediate": layer.linear1, "o_proj": layer.self_attn.out_proj, "attention.output": layer.self_attn.out_proj,
        "output": layer.linear2,
    }  # fmt: skip
    return getattr(next(part for word, part in found.items() if word in name), kind)


def test_parameters_of_beit_base_are_counted_by_formula():
    with torch.device("meta"):
        model = BeitForMaskedImageModeling(BeitConfig(use_mask_token=True)).beit
    d, layers = 768, 12
    attention, feed, norms, scales = 4 * d * d + 3 * d, 8 * d * d + 5 * d, 4 * d, 2 * d  # keys have no bias
    expected = layers * (attention + feed + norms + scales) + 16 * 16 * 3 * d + d + 2 * d  # patches, [CLS], mask
    assert sum(p.numel() for p in model.parameters()) == expected == 85_655_808


def test_our_transformer_is_theirs_place_by_place(ch, small):
    small = small.double()
    theirs = _theirs(small, 4, 4, 12, 2)
    with torch.no_grad():
        _copy(small, theirs, 4)
        x = torch.rand(3, 1, 16, 16, dtype=torch.float64)
        hidden = torch.rand(3, 16) < 0.4
        patches = encoders.patchify(x, 4)
        seen = theirs.beit.embeddings(x, bool_masked_pos=hidden)[:, 1:]  # without their [CLS]
        ours = torch.where(hidden[..., None], small.mask_token, small.embed(patches)) + small.place
        assert_close(seen, ours)
        z = ours
        for layer in theirs.beit.layers:
            z = layer(z)
        assert_close(theirs.lm_head(theirs.layernorm(z)), small(patches, hidden))


def test_the_loss_is_theirs_and_scikit_learns(ch, small):
    x, k = torch.randn(5, 16, 16), torch.randint(12, (5, 16))
    masks = torch.rand(1, 16) < 0.4
    logits, hidden = small(x, masks.expand(5, -1)), masks.expand(5, -1)
    loss = ch.masked_loss(small, masks, x, k)
    assert_close(loss, torch.nn.CrossEntropyLoss()(logits[hidden], k[hidden]))
    said = logits[hidden].double().softmax(-1).detach().numpy()
    assert loss.item() == pytest.approx(log_loss(k[hidden].numpy(), said, labels=range(12)), rel=1e-5)


def test_hidden_pixels_and_visible_targets_do_not_matter(ch, small):
    x, hidden = torch.randn(2, 16, 16), torch.rand(2, 16) < 0.5
    other = torch.where(hidden[..., None], torch.randn_like(x), x)
    assert_close(small(x, hidden), small(other, hidden))
    assert (small(x, hidden) - small(x, ~hidden)).abs().max() > 1e-3
    k, masks = torch.randint(12, (2, 16)), hidden[:1]
    changed = torch.where(masks, k, (k + 1) % 12)
    training.seed(0)
    assert_close(ch.masked_loss(small, masks, x, k), ch.masked_loss(small, masks, x, changed))
    assert (ch.masked_loss(small, masks, x, k) - ch.masked_loss(small, masks, x, (k + 1) % 12)).abs() > 1e-4


def test_nearest_codes_are_kmeans_labels(ch):
    z = torch.randn(300, 4)
    means = KMeans(7, n_init=1, random_state=0).fit(z.numpy())
    assert_close(ch.nearest(z, torch.from_numpy(means.cluster_centers_)), torch.from_numpy(means.labels_).long())


def test_tokens_are_those_of_the_chapter_that_made_the_tokenizer(ch):
    vq, stored = load("generative/vector-quantization"), weights.load("vector_quantization")
    state = {key.removeprefix("vqgan."): value for key, value in stored.items() if key.startswith("vqgan.")}
    model = tokens.Coder(*tokens.convolutions(8), vq.VectorQuantizer(64, 8), grid=(7, 7))
    model.load_state_dict(state), model.eval()
    x = data.load("mnist_10k").x_test[:60, None].float() / 255
    with torch.no_grad():
        ours = ch.nearest(model.encoder(x).flatten(2).mT, state["codes.e"])
        assert_close(ours, model(x)[1])
        x.requires_grad_(True)
    seen = torch.autograd.grad(model.encode(x)[:, 24].sum(), x)[0].abs().sum((0, 1)) > 0
    assert (int(seen.any(0).sum()), int(seen.any(1).sum())) == (18, 18)  # the window of the middle token


def test_entropy_less_loss_never_exceeds_the_information(ch):
    training.seed(1)
    for _ in range(50):
        joint, guess = torch.rand(4, 5).double(), torch.randn(4, 5).double().softmax(1)
        joint = joint / joint.sum()
        of_k, seen = joint.sum(0), joint.sum(1, keepdim=True)
        information = (joint * (joint / (of_k * seen)).log()).sum()
        at_one_pair = to_torch(ch.learnt.expr, (ch.p_xk, ch.p_x, ch.p_k, ch.t))
        assert_close(at_one_pair(joint, seen, of_k, guess), guess.log() - of_k.log())
        learnt = (joint * at_one_pair(joint, seen, of_k, guess)).sum()
        assert learnt <= information
        assert_close((joint * at_one_pair(joint, seen, of_k, joint / seen)).sum(), information)


def test_both_masks_of_two_tokens_average_to_the_joint_entropy(ch):
    training.seed(2)
    joint = torch.rand(5, 5).double()
    joint = joint / joint.sum()
    price = lambda part: -(joint * part.log()).sum()  # noqa: E731
    a, b = joint.sum(1, keepdim=True), joint.sum(0, keepdim=True)
    shared = (joint * (joint / a / b).log()).sum()
    assert_close(price(a) + price(b), price(joint) + shared)
    assert_close(price(joint / a) + price(joint / b), price(joint) - shared)
    for d, expected in ((ch.both, price(joint) + shared), (ch.alone, price(joint) - shared)):
        assert_close((joint * to_torch(d.lhs, (ch.p_ab, ch.p_a, ch.p_b))(joint, a, b)).sum(), expected)


def test_a_bound_without_the_entropy_of_the_tokenizer_is_refuted(ch):
    wrong = Derivation("One bound, two stages", ch.one)
    with pytest.raises(StepError, match="does not hold"):
        wrong.equals(sp.log(ch.ell) + sp.log(ch.p), because="no doubt")


def test_every_step_is_proved(ch):
    found = derivations(ch)
    assert len(found) == 9
    assert all(step.status == "proved" for d in found for step in d.steps)


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("pairs", lambda ch: 256**2, lambda ch: 256),
        ("centre", lambda ch: 25, lambda ch: 5),
        ("twins", lambda ch: sp.log(ch.K_words), lambda ch: 2 * sp.log(ch.K_words)),
    ],
)
def test_exercises_accept_the_answer_and_refuse_another(ch, name, right, wrong):
    assert getattr(ch, name).check(right(ch))
    assert not getattr(ch, name).check(wrong(ch))
