import pytest
import torch

from utils import claims
from utils.claims import ClaimError, claim


@pytest.fixture(autouse=True)
def _fresh():
    claims.reset()
    yield
    claims.reset()


def test_a_value_inside_its_bound_is_recorded_with_its_source():
    made = claim("nll", torch.tensor(1.5), below=2, above=1, unit="nats", published=1.2, source="A (2020), table 1")
    assert made.value == 1.5
    assert made.bound == "1 to 2"
    bundle = claims.table()._repr_mimebundle_()
    assert bundle[claims.LEDGER_MIME]["claims"][0]["source"] == "A (2020), table 1"
    assert "1.2 (A (2020), table 1)" in bundle["text/markdown"]


@pytest.mark.parametrize(
    ("value", "bounds"), [(2.1, {"below": 2}), (0.9, {"above": 1}), (3.0, {"above": 1, "below": 2})]
)
def test_a_value_outside_its_bound_raises_and_names_the_twin(value, bounds):
    with pytest.raises(ClaimError, match=r"claim 'nll': measured .* bound .* Broken twin in mind: a leaky mask"):
        claim("nll", value, twin="a leaky mask", **bounds)
    with pytest.raises(ValueError, match="got none"):
        claims.table()


def test_bounds_are_inclusive():
    claim("edge", 2.0, above=2.0, below=2.0)


def test_a_rerun_cell_replaces_its_own_claim():
    claim("a", 1, below=2)
    claim("a", 1.5, below=2)
    assert [c.value for c in claims.table().claims] == [1.5]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": " ", "value": 1.0, "below": 2}, "expected a name"),
        ({"name": "a", "value": 1.0}, "expected a bound"),
        ({"name": "a", "value": 1.0, "above": 2, "below": 1}, "expected above <= below"),
        ({"name": "a", "value": float("nan"), "below": 1}, "expected a finite real number, got nan"),
        ({"name": "a", "value": True, "below": 1}, "expected a finite real number, got True"),
        ({"name": "a", "value": "1", "below": 1}, "expected a finite real number, got '1'"),
        ({"name": "a", "value": torch.ones(2), "below": 1}, r"expected one number, got shape \(2,\)"),
        ({"name": "a", "value": 0.5, "below": 1, "published": 2}, "expected a source"),
        ({"name": "a", "value": 0.5, "below": 1, "board": ("digits", "VAE")}, r"three names .*'VAE'\)"),
        ({"name": "a", "value": 0.5, "below": 1, "board": ("digits", "", "exact")}, "expected a board of three names"),
    ],
)
def test_bad_input_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        claim(arguments.pop("name"), arguments.pop("value"), **arguments)


def test_small_and_large_numbers_stay_readable():
    claim("tiny", 2.5e-16, below=1e-12)
    assert "2.50e-16" in claims.table()._repr_mimebundle_()["text/markdown"]
