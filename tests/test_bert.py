"""The chapter on BERT against transformers, torch's own attention, counting, and its published mistakes."""

import pytest
import sympy as sp
import torch
from scipy.stats import geom
from torch import nn
from torch.testing import assert_close
from transformers import AlbertConfig, AlbertModel, BertConfig, BertModel

from tests.chapter import load
from utils import training
from utils.derive import Derivation, StepError


@pytest.fixture(scope="module")
def bert():
    return load("representation/bert")


@pytest.fixture
def pair(bert):
    """Our encoder and that of transformers with the same random weights, in float64."""
    training.seed(0)
    ours = bert.Bert(40, 12, width=32, layers=3, heads=4).double()
    for part in ours.parameters():
        nn.init.normal_(part, std=0.3)
    sizes = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 128}
    config = BertConfig(vocab_size=41, max_position_embeddings=12, attn_implementation="eager", **sizes)
    theirs = BertModel(config, add_pooling_layer=False).double().eval()
    names = {"word_embeddings": ours.word, "token_type_embeddings": ours.segment, "LayerNorm": ours.norm}
    state = {
        f"embeddings.{name}.{key}": value for name, part in names.items() for key, value in part.state_dict().items()
    }
    state["embeddings.position_embeddings.weight"] = ours.position.data
    for n, block in enumerate(ours.blocks):
        parts = {"attention.output.dense": block.attention.out, "attention.output.LayerNorm": block.norms[0]}
        parts |= {"intermediate.dense": block.up, "output.dense": block.down, "output.LayerNorm": block.norms[1]}
        for name, part in parts.items():
            state |= {f"encoder.layer.{n}.{name}.{key}": value for key, value in part.state_dict().items()}
        for key, value in block.attention.qkv.state_dict().items():
            for name, piece in zip(("query", "key", "value"), value.chunk(3), strict=True):
                state[f"encoder.layer.{n}.attention.self.{name}.{key}"] = piece
    missing = theirs.load_state_dict(state, strict=False)
    assert not missing.unexpected_keys
    assert not missing.missing_keys
    return ours, theirs


def test_the_encoder_is_that_of_transformers(pair):
    ours, theirs = pair
    x, segment = torch.randint(41, (5, 12)), torch.arange(12).expand(5, 12) // 6
    hidden = torch.arange(12) >= torch.tensor([[12], [11], [7], [3], [1]])
    expected = theirs(x, attention_mask=(~hidden).long(), token_type_ids=segment).last_hidden_state
    found = ours.encode(x, segment, hidden)
    assert_close(found[~hidden], expected[~hidden], rtol=1e-11, atol=1e-12)


def test_the_gradient_of_the_encoder_is_that_of_transformers(pair):
    ours, theirs = pair
    x = torch.randint(41, (3, 9))
    ours.encode(x).pow(3).sum().backward()
    theirs(x).last_hidden_state.pow(3).sum().backward()
    assert_close(ours.word.weight.grad, theirs.embeddings.word_embeddings.weight.grad)
    assert_close(ours.segment.weight.grad, theirs.embeddings.token_type_embeddings.weight.grad)
    assert_close(ours.position.grad, theirs.embeddings.position_embeddings.weight.grad)


@pytest.mark.parametrize("d", [1, 4, 64])
def test_attention_is_torch_s_own_with_and_without_a_mask(bert, d):
    training.seed(d)
    q, k, v = torch.randn(3, 2, 5, 7, d).double()
    mask = torch.rand(2, 1, 1, 7) < 0.3
    mask[..., 0] = False
    expected = nn.functional.scaled_dot_product_attention(q, k, v)
    assert_close(bert.attend(q, k, v), expected)
    q, k, v = q[:, :, None], k[:, :, None], v[:, :, None]
    expected = nn.functional.scaled_dot_product_attention(q, k, v, ~mask[:, :, None])
    assert_close(bert.attend(q, k, v, mask[:, :, None]), expected)


def test_bert_base_has_the_published_number_of_parameters(bert):
    with torch.device("meta"):
        theirs, ours = BertModel(BertConfig()), bert.Bert(30_521, 512, width=768, layers=12, heads=12)
    count = sum(part.numel() for part in theirs.parameters())
    head = sum(part.numel() for part in ours.head.parameters())
    assert count == 109_482_240
    assert sum(part.numel() for part in ours.parameters()) - head + 768 * 769 == count


def test_a_shared_block_is_stored_once_and_used_as_often(bert):
    shared, own = bert.Bert(27, 32, shared=True), bert.Bert(27, 32)
    block = sum(part.numel() for part in shared.blocks[0].parameters())
    assert len(shared.blocks) == len(own.blocks) == 2
    assert sum(p.numel() for p in own.parameters()) - sum(p.numel() for p in shared.parameters()) == block
    with torch.device("meta"):
        albert = AlbertModel(AlbertConfig(vocab_size=30_000, embedding_size=128, hidden_size=768))
    table = albert.embeddings.word_embeddings.weight.numel()
    assert table + albert.encoder.embedding_hidden_mapping_in.weight.numel() == 3_938_304


def test_attention_follows_a_reordering_until_positions_are_added(bert):
    training.seed(1)
    attention, h, order = bert.Attention(16, 4).double(), torch.randn(2, 7, 16).double(), torch.randperm(7)
    assert_close(attention(h[:, order]), attention(h)[:, order])
    model, x = bert.Bert(27, 32).double(), torch.randint(27, (2, 32))
    order = torch.randperm(32)
    assert not torch.allclose(model(x[:, order]), model(x)[:, order])
    model.position.data.zero_()
    assert_close(model(x[:, order]), model(x)[:, order])


def test_segments_tell_the_two_texts_apart(bert):
    training.seed(1)
    model, x = bert.Bert(27, 32), torch.randint(27, (2, 32))
    assert_close(model.encode(x), model.encode(x, torch.zeros(32, dtype=torch.long)))
    assert not torch.allclose(model.encode(x), model.encode(x, torch.arange(32) // 16))


@pytest.mark.parametrize(("split", "rate"), [((0.8, 0.1), 0.15), ((1.0, 0.0), 0.15), ((0.0, 1.0), 0.3)])
def test_corruption_has_its_shares(bert, split, rate):
    x, generator = torch.randint(27, (1_000_000,)), torch.Generator().manual_seed(0)
    picked = bert.pick(x.shape, rate, generator)
    seen = bert.corrupt(x, picked, split, 27, generator)
    assert (seen[~picked] == x[~picked]).all()
    masked, same = (seen == 27)[picked].double().mean(), (seen == x)[picked].double().mean()
    assert abs(picked.double().mean() - rate) < 2e-3
    assert abs(masked - split[0]) < 5e-3
    assert abs(same - (1 - sum(split)) - split[1] / 27) < 5e-3


def test_shown_letters_are_wrong_and_trusted_as_often_as_derived(bert):
    generator = torch.Generator().manual_seed(0)
    chances = torch.tensor([0.5, 0.3, 0.15, 0.05])
    x = torch.multinomial(chances, 2_000_000, replacement=True, generator=generator)
    picked = bert.pick(x.shape, 0.15, generator)
    seen = bert.corrupt(x, picked, (0.7, 0.2), 4, generator)
    point = {bert.r: 0.15, bert.m: 0.7, bert.u: 0.2, bert.c: 0.1, bert.n: 4}
    assert abs((x != seen)[seen < 4].double().mean() - float(bert.wrong.expr.subs(point))) < 5e-4
    for a, chance in enumerate(chances.tolist()):
        found = (x == seen)[picked & (seen == a)].double().mean().item()
        assert abs(found - float(bert.trust.expr.subs(point | {bert.context: chance}))) < 0.015


def test_at_bert_s_setting_one_shown_word_in_59_is_wrong(bert):
    point = {bert.r: sp.Rational(15, 100), bert.m: sp.Rational(8, 10), bert.u: sp.Rational(1, 10), bert.n: 30_522}
    assert abs(float(bert.wrong.expr.subs(point)) - 0.017045) < 1e-6


def test_the_limits_of_trust(bert):
    assert sp.simplify(bert.trust.expr.subs(bert.c, 0) - bert.context) == 0
    assert sp.simplify(bert.trust.expr.subs(bert.u, 0)) == 1
    half = bert.trust.expr.subs(
        {bert.c: sp.Rational(1, 10), bert.u: sp.Rational(1, 10), bert.context: 1 / (bert.n + 2)}
    )
    assert sp.simplify(half - sp.Rational(1, 2)) == 0


def test_the_loss_asks_for_picked_places_alone(bert, monkeypatch):
    model, x = bert.Bert(27, 32), torch.randint(27, (64, 32))
    asked = []
    monkeypatch.setattr(bert.F, "cross_entropy", lambda logits, y: asked.append((logits, y)) or logits.sum() * 0)
    list(bert.pretrain(model, x, 3, torch.Generator().manual_seed(0)))
    assert all(y.ndim == 1 and 80 < len(y) < 230 and logits.shape == (len(y), 27) for logits, y in asked)
    assert bert.pretrain.__defaults__ == ((0.8, 0.1), 0.15)


def test_a_network_that_copies_reads_as_one(bert):
    def echo(x):
        return nn.functional.one_hot(x, 28)[..., :27]

    echo.head = nn.Linear(1, 27)
    x = torch.randint(1, 27, (100, 32))
    assert bert.reading(echo, x) == [0, 1, 0]
    echo_of_one = type("Model", (), {"head": echo.head, "__call__": lambda self, seen: echo(x)})()
    assert bert.reading(echo_of_one, x) == [1, 1, 1]


def test_scores_have_variance_d(bert):
    q, k = torch.randn(2, 400_000, 8, generator=torch.Generator().manual_seed(0))
    assert abs((q * k).sum(1).var() / float(bert.variance.expr.subs(bert.d, 8)) - 1) < 0.01


def test_pytorch_refuses_a_label_that_another_number_was_to_leave_out(bert):
    logits, labels = torch.randn(2, 27, 5), torch.tensor([[1, -100, 2, -100, 3]]).expand(2, 5)
    with pytest.raises(IndexError, match="Target -100 is out of bounds"):
        bert.F.cross_entropy(logits, labels, ignore_index=-1)


def test_positions_start_with_products_that_depend_on_the_distance(bert):
    products = bert.Bert(27, 32).position.detach()
    products = products @ products.T
    assert_close(products[:-3, 3:].diagonal(), products[0, 3].expand(29), rtol=1e-5, atol=1e-5)


def test_every_text_has_its_size_and_one_poem_alone_is_in_both_parts(bert):
    x, x_test = bert.lines()
    assert not {*map(tuple, x.tolist())} & {*map(tuple, x_test.tolist())}
    assert (tuple(x.shape), tuple(x_test.shape)) == ((32314, 32), (3590, 32))
    tang, tang_test = bert.quatrains()
    assert (tuple(tang.shape), tuple(tang_test.shape)) == ((7290, 28), (811, 28))
    assert len({*map(tuple, tang.tolist())} & {*map(tuple, tang_test.tolist())}) == 1  # as the chapter says
    assert tang.min() == 0
    assert tang.max() == bert.RARE
    assert (tang == bert.RARE).double().mean() < 0.12


def test_halves_are_exchanged_half_of_the_time(bert):
    x = torch.arange(2000)[:, None].expand(2000, 32)
    seen, own = bert.halves(x, torch.Generator().manual_seed(0))
    assert (seen[:, :16] == x[:, :16]).all()
    assert ((seen[:, 16:] == x[:, 16:]).all(1) == own).all()
    assert abs(own.double().mean() - 0.5) < 0.05


def test_the_mean_of_a_span(bert):
    lengths = geom(0.2).pmf(range(1, 11))
    assert abs(sum(n * p for n, p in enumerate(lengths, 1)) / sum(lengths) - 3.797098) < 1e-5


def test_a_field_of_conditionals_has_others_and_a_lost_square_is_refuted(bert):
    a = sp.Symbol("a", positive=True)
    with pytest.raises(StepError, match="does not hold"):
        Derivation("field", a**2 / (a**2 + (1 - a) ** 2), domain={a: (0, 1)}).equals(a, because="as reported")
    with pytest.raises(StepError, match="does not hold"):
        Derivation("wrong", bert.jacobian.lhs, where=bert.softmax).equals(
            sp.Matrix(bert.p) * sp.Matrix(bert.p).T - sp.diag(*bert.p), because="a sign"
        )


def test_a_row_with_nobody_to_look_at_is_no_number(bert):
    h = torch.randn(1, 5, 8)
    assert bert.attend(h, h, h, torch.ones(1, 5, dtype=torch.bool)).isnan().all()


def test_every_step_is_proved(bert):
    found = {id(value): value for value in vars(bert).values() if isinstance(value, Derivation)}
    assert len(found) == 6
    assert all(step.status == "proved" for d in found.values() for step in d.steps)
