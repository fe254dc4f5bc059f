"""The chapter from n-grams to CPC against NLTK, torch's cross-entropy, exact sums and its own published mistakes."""

import math
import re
from itertools import product

import pytest
import sympy as sp
import torch
from chapter import derivations, load
from nltk.lm import KneserNeyInterpolated, Laplace
from nltk.util import ngrams
from torch.nn import functional as F
from torch.testing import assert_close

from utils import training
from utils.derive import Derivation, StepError

TEXT = re.findall("[a-z]+", "the whale the white whale and the sea the white sea and the whale and a sea the whale")


@pytest.fixture(scope="module")
def cpc():
    return load("representation/from-n-grams-to-cpc")


@pytest.fixture
def spoken(cpc):
    """A small text as its words, their indices and the counts of their pairs."""
    words = sorted(set(TEXT))
    ids = torch.tensor([words.index(word) for word in TEXT])
    return words, cpc.bigrams(ids[:-1], ids[1:], len(words))


def test_bigrams_count_context_first(spoken):
    words, n = spoken
    assert n[words.index("the"), words.index("whale")] == 3
    assert n[words.index("whale"), words.index("the")] == 1
    assert n.sum() == len(TEXT) - 1


def nltk_table(model, words):
    # the last word is a context only where a word follows it, as in `bigrams`
    model.fit([list(ngrams(TEXT, 2)), [(word,) for word in TEXT]], vocabulary_text=words)
    return torch.tensor([[model.score(word, [context]) for word in words] for context in words]).double()


def test_kneser_ney_is_nltks(cpc, spoken):
    words, n = spoken
    theirs = nltk_table(KneserNeyInterpolated(2, discount=0.75), words)
    assert_close(cpc.kneser_ney(n), theirs, rtol=1e-6, atol=1e-6)
    assert_close(cpc.kneser_ney(n).sum(1), torch.ones(len(words)).double())


def test_adding_one_is_nltks_laplace_but_for_its_unknown_word(cpc, spoken):
    words, n = spoken
    padded = F.pad(n, (0, 1, 0, 1))  # NLTK counts one word more: <UNK>
    assert_close(cpc.additive(padded, 1)[:-1, :-1], nltk_table(Laplace(2), words), rtol=1e-6, atol=1e-6)


def test_no_added_count_and_no_discount_leave_the_relative_frequencies(cpc, spoken):
    _, n = spoken
    frequency = n / n.sum(1, keepdim=True)
    assert_close(cpc.additive(n, 0), frequency)
    assert_close(cpc.kneser_ney(n, 0), frequency)


def test_the_impostor_loss_is_torchs_binary_cross_entropy(cpc):
    s, correction = torch.randn(2, 7, 5).double()
    target = torch.zeros(7, 5).double()
    target[:, 0] = 1
    expected = F.binary_cross_entropy_with_logits(s - correction, target, reduction="none").sum(1)
    assert_close(cpc.impostor_loss(s, correction), expected)


def test_info_nce_is_torchs_cross_entropy(cpc):
    s = torch.randn(7, 5).double()
    expected = F.cross_entropy(s, torch.zeros(7).long(), reduction="none")
    assert_close(cpc.info_nce(s), expected)


def test_scores_of_candidates_are_columns_of_the_scores_of_all_words(cpc):
    training.seed(0)
    model, c, x = cpc.LogBilinear(11, 4), torch.tensor([3, 0, 10]), torch.randint(11, (3, 6))
    torch.nn.init.normal_(model.b)
    assert_close(model(c, x), model.every(c).gather(1, x))


@pytest.mark.parametrize("corrected", [True, False])
def test_a_drawn_loss_is_on_average_the_sum_over_all_impostors(cpc, corrected):
    training.seed(1)
    model, q, k = cpc.LogBilinear(4, 3), torch.tensor([0.1, 0.2, 0.3, 0.4]), 2
    correction = (k * q).log() if corrected else 0 * q
    c, x = torch.tensor([0, 1, 3]), torch.tensor([2, 2, 1])
    s = model.every(c) - correction
    exact = (F.softplus(-s.gather(1, x[:, None])[:, 0]) + k * (q * F.softplus(s)).sum(1)).mean()
    loss = cpc.with_impostors(model, q, k, correction)
    drawn = loss(c.repeat(30_000), x.repeat(30_000))
    assert_close(drawn, exact, rtol=0.005, atol=0)


def test_noise_contrastive_estimation_learns_density_and_normaliser(cpc):
    training.seed(2)
    p, q = torch.tensor([0.5, 0.3, 0.15, 0.05]), torch.tensor([0.1, 0.4, 0.3, 0.2])
    model, x = cpc.LogBilinear(4, 2), torch.multinomial(p, 40_000, True)
    loss = cpc.with_impostors(model, q, 5, (5 * q).log())
    training.train(model, loss, torch.zeros_like(x), x, steps=400, lr=0.1, batch=2000)
    learnt = model.every(torch.tensor([0]))[0]
    assert_close(learnt.exp(), p, atol=0.02, rtol=0)
    assert abs(learnt.logsumexp(0)) < 0.03


@pytest.mark.parametrize("information", [0.5, 2.0])
def test_the_scores_are_the_log_ratios_of_torchs_normals(cpc, information):
    """Rebuild clue and candidates from the same draws."""
    d, N, games = 5, 4, 50
    scores = cpc.gaussian_scores(information, N, games, torch.Generator().manual_seed(3), spread=1.5)
    draw = torch.Generator().manual_seed(3)
    c, x = torch.randn(games, 1, d, generator=draw), torch.randn(games, N, d, generator=draw)
    rho = math.sqrt(1 - math.exp(-2 * information / d))
    x = torch.cat([rho * c + math.sqrt(1 - rho**2) * x[:, :1], 1.5 * x[:, 1:]], 1)
    posterior, noise = torch.distributions.Normal(rho * c, math.sqrt(1 - rho**2)), torch.distributions.Normal(0.0, 1.5)
    assert_close(scores, (posterior.log_prob(x) - noise.log_prob(x)).sum(-1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("information", [0.5, 1.0, 3.0])
def test_the_mean_score_of_the_true_candidate_is_the_information(cpc, information):
    s = cpc.gaussian_scores(information, 2, 200_000, torch.Generator().manual_seed(0))
    assert_close(s[:, 0].mean(), torch.tensor(information), atol=0.02, rtol=0)


def test_any_critic_stays_under_information_and_ceiling_in_an_exact_sum(cpc):
    """All games of three words and three candidates, with random densities and random critics."""
    training.seed(4)
    for _ in range(20):
        joint = torch.rand(3, 3).double() ** 3
        joint /= joint.sum()
        given, q = joint / joint.sum(1, keepdim=True), joint.sum(0)
        information = (joint * (given / q).log()).sum()
        for s in (3 * torch.randn(3, 3).double(), (given / q).log()):
            reading = math.log(3) - sum(
                joint[c, x[0]] * q[x[1]] * q[x[2]] * cpc.info_nce(s[c, list(x)][None])[0]
                for c in range(3)
                for x in product(range(3), repeat=3)
            )
            assert reading <= min(information, math.log(3)) + 1e-12


def test_readings_approach_the_information_and_never_pass_the_ceiling(cpc):
    read = cpc.readings(2, [2, 8, 64, 1024], 4000)
    assert [*read.values()] == sorted(read.values())
    assert all(value <= math.log(N) for N, value in read.items())
    assert abs(read[1024] - 2) < 0.1


def test_every_step_is_proved(cpc):
    found = derivations(cpc)
    assert len(found) == 11
    assert all(step.status == "proved" for d in found for step in d.steps)


def test_equation_ten_of_cpc_holds_only_where_the_word_is_likelier_with_its_context(cpc):
    r, N = sp.Symbol("r", positive=True), cpc.N
    with pytest.raises(StepError):
        Derivation("everywhere", 1 + (N - 1) * r, domain={N: (2, 100)}).at_least(N * r, because="?")
    d = Derivation("r <= 1", 1 + (N - 1) * r, domain={N: (2, 100), r: (0, 1)}).at_least(N * r, because="r <= 1")
    assert d.steps[0].status == "proved"


def test_without_the_true_candidate_the_advantage_has_no_ceiling(cpc):
    s = torch.tensor([[9.0, 0.0, 0.0]])
    assert math.log(3) - cpc.info_nce(s) < math.log(3)
    assert math.log(2) - (s[:, 1:].logsumexp(1) - s[:, 0]) > math.log(3)


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("flattened", lambda c: sp.log(c.p * c.Z / c.k / c.q_x ** sp.Rational(3, 4)), lambda c: sp.log(c.p / c.q_x)),
        ("blind", lambda c: sp.log((1 + c.k) ** (1 + c.k) / c.k**c.k), lambda c: (1 + c.k) * sp.log(2)),
        ("copies", lambda c: (c.M - 1) * sp.log(2) / c.M, lambda c: sp.log(2)),
    ],
)
def test_exercises_accept_the_answer_and_refuse_another(cpc, name, right, wrong):
    assert getattr(cpc, name).check(right(cpc))
    assert not getattr(cpc, name).check(wrong(cpc))
