"""The chapter on vector quantization against vector-quantize-pytorch, SciPy, scikit-learn and enumeration."""

import copy

import pytest
import sympy as sp
import torch
from scipy.cluster.vq import vq
from sklearn.cluster import KMeans
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close
from vector_quantize_pytorch import VectorQuantize

from tests.chapter import derivations, load
from utils import data, tokens, training, weights
from utils.derive import Derivation, StepError


@pytest.fixture(scope="module")
def ch():
    return load("generative/vector-quantization")


@pytest.fixture
def vectors():
    training.seed(2)
    return torch.randn(40, 6, 3)


def test_the_nearest_code_is_scipys_and_cdists(ch, vectors):
    e = torch.randn(11, 3)
    k = ch.nearest(vectors, e)
    assert_close(k, torch.cdist(vectors, e).argmin(-1))
    assert_close(k.flatten(), torch.from_numpy(vq(vectors.view(-1, 3).numpy(), e.numpy())[0]).long())


def test_quantiser_agrees_with_vector_quantize_pytorch(ch, vectors):
    """Codes, values, commitment and the next codebook of a library whose defaults are other tricks."""
    theirs = VectorQuantize(
        3, 8, decay=0.8, commitment_weight=1.0, rotation_trick=False, threshold_ema_dead_code=0, kmeans_init=False
    )
    book = theirs._codebook
    ours = ch.VectorQuantizer(8, 3, 0.8)
    ours.e.copy_(torch.randn(8, 3)), ours.N.fill_(20.0), ours.m.copy_(ours.N[:, None] * ours.e)
    book.embed.copy_(ours.e[None]), book.cluster_size.fill_(20.0), book.embed_avg.copy_(ours.m[None])
    old = ours.e.clone()
    value, k, commitment = theirs(vectors)
    assert_close(k, ch.nearest(vectors, old))
    assert_close(value, old[k])
    assert_close(commitment.squeeze(), (vectors - old[k]).square().mean())
    ours(vectors)
    assert_close(ours.e, book.embed[0], rtol=1e-4, atol=1e-4)


def test_without_memory_the_codebook_takes_lloyds_steps_to_kmeans(ch):
    training.seed(0)
    places = torch.cat([torch.randn(80, 2) + torch.tensor(at) for at in ([0.0, 9.0], [8.0, 0.0], [-7.0, -7.0])])
    start = places[[0, 100, 200]]
    quantizer = ch.VectorQuantizer(3, 2, decay=0.0)
    quantizer.e.copy_(start)
    for _ in range(10):
        quantizer(places[:, None])
    found = KMeans(3, init=start.numpy(), n_init=1).fit(places.numpy()).cluster_centers_
    assert_close(quantizer.e, torch.from_numpy(found).float(), atol=1e-4, rtol=0)


@pytest.mark.parametrize("decay", [0.5, 0.9, 0.99])
def test_an_update_is_the_derived_share_of_lloyds_step(ch, decay):
    training.seed(1)
    quantizer, z = ch.VectorQuantizer(1, 1, decay).double(), torch.randn(7, 5, 1).double()
    e = quantizer.e.item()
    quantizer(z)
    values = {ch.gamma: decay, ch.N: 1, ch.n: 35, ch.e: e, ch.z_bar: z.mean().item()}
    assert quantizer.e.item() == pytest.approx(float(ch.moving.expr.subs(values)), abs=1e-12)


def test_a_code_that_nobody_chooses_is_replaced_by_a_vector(ch, vectors):
    quantizer = ch.VectorQuantizer(4, 3, decay=0.5)
    quantizer.e[3] = 1e3
    quantizer.m.copy_(quantizer.e)
    for _ in range(12):
        quantizer(vectors)
    assert quantizer.e.norm(dim=1).max() < 10
    assert len(ch.nearest(vectors, quantizer.e).unique()) == 4


def test_evaluation_leaves_the_codebook_alone(ch, vectors):
    quantizer = ch.VectorQuantizer(4, 3).eval()
    before = copy.deepcopy(quantizer.state_dict())
    quantizer(vectors)
    assert_close(dict(quantizer.state_dict()), dict(before))


def test_values_are_codes_slopes_pass_through_and_the_commitment_pulls(ch, vectors):
    quantizer, z = ch.VectorQuantizer(4, 3).eval(), vectors.clone().requires_grad_()
    value, k, commitment = quantizer(z)
    assert_close(value, quantizer.e[k])
    slope = torch.randn_like(value)
    assert_close(torch.autograd.grad(value, z, slope)[0], slope)
    assert_close(torch.autograd.grad(commitment, z)[0], 2 * (z - quantizer.e[k]).detach() / len(z))
    assert not quantizer.e.requires_grad


def test_the_exact_nats_are_those_of_a_small_enumeration(ch):
    training.seed(0)
    model = tokens.Coder(*tokens.perceptrons(5, T=2, d=3, width=8), ch.VectorQuantizer(3, 3), grid=(2,)).eval()
    prior = tokens.Prior(3, 2, width=8, layers=1).eval()
    images = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 5)
    with torch.no_grad():
        nats, price = ch.exact_nats(model, prior, images)
        p = torch.zeros(32)
        for i in range(3):
            for j in range(3):
                word = torch.tensor([[i, j]])
                bits = torch.distributions.Bernoulli(logits=model.decode(model.codes.e[word]))
                p += (bits.log_prob(images).sum(1) - prior.nats(word)).exp()
    assert_close(nats, -p.log())
    assert_close(nats.neg().exp().sum(), torch.tensor(1.0))
    assert_close(price.neg().exp().sum(), torch.tensor(1.0))


def test_the_bound_is_short_by_the_posterior_of_the_word(ch):
    likelihood, prior = torch.rand(3).double(), torch.rand(3).double().softmax(0)
    joint = likelihood * prior
    names = (ch.like_1, ch.like_2, ch.like_3, ch.p_1, ch.p_2, ch.p_3)
    derived = float(ch.gap.expr.subs(dict(zip(names, [*likelihood.tolist(), *prior.tolist()], strict=True))))
    # the last line of the derivation is 0: a lower bound; its first line is the shortfall
    shortfall = float(ch.gap.lhs.subs(dict(zip(names, [*likelihood.tolist(), *prior.tolist()], strict=True))))
    assert derived == 0
    assert shortfall == pytest.approx(-(joint[0] / joint.sum()).log().item())


def test_the_adaptive_weight_is_the_ratio_of_two_lengths(ch):
    last = nn.Parameter(torch.tensor([1.0, 2.0]))
    first, second = torch.tensor([3.0, 4.0]), torch.tensor([0.0, 0.5])
    weight = ch.adaptive_weight(last @ first, last @ second, last, delta=0.0)
    assert weight.item() == pytest.approx(10)
    assert not weight.requires_grad
    joint = (first + weight * second).norm() ** 2
    omega = torch.acos(first @ second / first.norm() / second.norm()).item()
    assert joint.item() == pytest.approx(float(ch.joint.expr.subs({ch.r: 5.0, ch.omega: omega})), rel=1e-5)
    assert ch.adaptive_weight(last @ first, last @ (0 * second), last).item() == pytest.approx(1e4)


def test_training_moves_the_decoder_by_the_stated_losses_only(ch):
    """One step without and with judges: the first has no adversarial weight, D moves only when it judges."""
    training.seed(0)
    x = torch.rand(64, 1, 16, 16)
    model = tokens.Coder(*tokens.convolutions(8), ch.VectorQuantizer(64, 8), grid=(4, 4))
    critic, net = tokens.discriminator(), tokens.classifier(16)
    start = copy.deepcopy(critic.state_dict())
    found = list(ch.train_vqgan(model, iter([(x,)] * 6), 6, net=net, D=critic))
    assert found[:2] == [0, 0]
    assert min(found[2:]) > 0
    assert not torch.equal(start["0.weight"], critic.state_dict()["0.weight"])


def test_a_step_of_the_vqgan_has_the_stated_slopes(ch):
    """All slopes of one judged step, of the coder and of the discriminator, against the losses written out here."""
    training.seed(0)
    x = torch.rand(32, 1, 16, 16)
    model = tokens.Coder(*tokens.convolutions(8), ch.VectorQuantizer(64, 8), grid=(4, 4))
    critic, net = tokens.discriminator(), tokens.classifier(16)
    model_2, critic_2 = copy.deepcopy(model), copy.deepcopy(critic)
    weight = next(ch.train_vqgan(model, iter([(x,)]), 2, net=net, D=critic))
    x_hat, _, commitment = model_2(x)
    error = (x - x_hat).square().sum() / 32 + 0.3 * tokens.perceptual(net, x, x_hat)
    last, opinion = model_2.decoder[-2].weight, critic_2(x_hat).mean()
    lengths = [torch.autograd.grad(loss, last, retain_graph=True)[0].norm().item() for loss in (error, opinion)]
    assert weight == pytest.approx(lengths[0] / (lengths[1] + 1e-4), rel=1e-4)
    (error + 0.25 * commitment - weight / 2 * opinion).backward()
    critic_2.zero_grad()
    hinge = (1 - critic_2(x)).clamp(min=0).mean() + (1 + critic_2(x_hat.detach())).clamp(min=0).mean()
    (hinge / 2).backward()
    for found, expected in ((model, model_2), (critic, critic_2)):
        for p, q in zip(found.parameters(), expected.parameters(), strict=True):
            assert_close(p.grad, q.grad, rtol=1e-3, atol=1e-4)


def test_the_shipped_models_copy_digits_and_know_their_words(ch):
    state = weights.load("vector_quantization")
    model = tokens.Coder(*tokens.convolutions(8), ch.VectorQuantizer(64, 8), grid=(7, 7))
    prior = tokens.Prior(64, 49, width=96, layers=3, classes=10)
    for name, part in {"vqgan.": model, "prior.": prior}.items():
        part.load_state_dict({k.removeprefix(name): v for k, v in state.items() if k.startswith(name)})
        part.eval().requires_grad_(False)
    mnist = data.load("mnist_10k")
    x, y = mnist.x_test[:200, None].float() / 255, mnist.y_test[:200]
    x_hat, k, _ = model(x)
    assert (x - x_hat).square().sum((1, 2, 3)).mean() < 6.5
    right, wrong = prior.nats(k, y).mean(), prior.nats(k, (y + 1) % 10).mean()
    assert right < 95
    assert wrong > right + 10


def test_a_mean_in_place_of_the_sum_is_refused_by_the_commitment(ch, vectors):
    quantizer = ch.VectorQuantizer(4, 3).eval()
    _, k, commitment = quantizer(vectors)
    assert_close(commitment, 18 * F.mse_loss(vectors, quantizer.e[k]))


def test_the_divergence_cannot_be_dropped(ch):
    wrong = Derivation("A word for nothing", ch.gap.lhs)
    with pytest.raises(StepError):
        wrong.at_most(-sp.log(ch.p_1), because="the divergence is constant")


def test_every_step_is_proved(ch):
    found = derivations(ch)
    assert len(found) == 9
    assert all(step.status == "proved" for d in found for step in d.steps)


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("vocabulary", sp.Integer(16), sp.Integer(4)),
        ("one_bit", 1 - 2 / sp.pi, sp.sqrt(2 / sp.pi)),
        ("vote", 2 * sp.pi / 3, sp.pi / 2),
    ],
)
def test_exercises_accept_the_answer_and_refuse_another(ch, name, right, wrong):
    assert getattr(ch, name).check(right)
    assert not getattr(ch, name).check(wrong)
