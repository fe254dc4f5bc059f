"""The notation page: how a table is read, and that the book's letters keep their meanings."""

import pytest

from theme.book import Book
from theme.notation import HEAD, collect, entries, letter, spread

ROW = r"| $x$, $x_i$; $\rho$ | `x`; `rho` | (n,); () | data: images, $a; b$; importance weight |"

# Letters for which even the chapters of one part follow different habits of the literature. Do not add: rename.
WITHIN_A_PART = set("AabcDdghkmrstuVvw") | {rf"\{name}" for name in ("beta", "gamma", "lambda", "rho", "sigma", "tau")}


def table(*rows):
    return "\n".join(["## Notation", "", HEAD, "|:--|:--|:--|:--|", *rows, "", "After it."])


@pytest.mark.parametrize(
    ("symbol", "expected"),
    [
        ("$x_i$", "x"),
        ("$x_0$", "x_0"),
        ("$W_1$", "W_1"),
        (r"$\bar\alpha_t$", r"\bar\alpha"),
        (r"$q(z \mid x)$", "q"),
        (r"$\mu_\theta(s)$", r"\mu"),
        ("$C_{ij}$", "C"),
        (r"$\sigma_{data}$", r"\sigma_{data}"),
        ("$s'$", "s'"),
        ("rank", "rank"),
    ],
)
def test_an_index_and_arguments_do_not_make_a_new_letter(symbol, expected):
    assert letter(symbol) == expected


def test_symbols_joined_by_a_comma_share_the_meaning_and_details_are_left_out():
    assert entries(table(ROW)) == [("x", "data"), (r"\rho", "importance weight")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no table", "expected a notation table"),
        (table("| $x$; $y$ | `x` | () | data |"), "expected as many meanings as symbols, got 1 and 2"),
        (table(ROW, "| $x_j$ | `x` | () | label |"), "expected one meaning of 'x', got 'data' and 'label'"),
    ],
)
def test_a_table_that_leaves_a_letter_in_doubt_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        entries(text)


def test_a_letter_has_one_meaning_in_a_part_unless_it_is_listed():
    found = collect(Book.load())
    assert {name for name, meanings in found.items() if spread(meanings) == 2} == WITHIN_A_PART


def test_the_letters_that_run_through_the_book_mean_the_same_everywhere():
    found = collect(Book.load())
    fixed = {
        "x": "data",
        "p": "probability",
        r"\theta": "parameters",
        r"\alpha": "step size",
        "N": "number",
        "f": "function",
    }
    assert {name: [*found[name]] for name in fixed} == {name: [meaning] for name, meaning in fixed.items()}
