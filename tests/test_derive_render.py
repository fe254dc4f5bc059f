import json
import re

import pytest
import specimens
import sympy as sp
from sympy.stats import Expectation, Normal

from utils.derive import Derivation
from utils.derive.formula import WIDTH, formula, latex
from utils.derive.render import LEDGER
from utils.derive.width import width

x, y = sp.symbols("x y", real=True)
t, sigma = sp.symbols("t sigma", positive=True)
LONG = sum((-1) ** i * sp.Symbol(f"theta_{i}", real=True) * sp.exp(-x * i) / (i + sigma) for i in range(2, 12))


def shown() -> Derivation:
    d = Derivation("conditional", sp.Abs(x * t), label="abs")
    d.equals(t * sp.Abs(x), because="$|t| = t$ | positive", label="out")
    d.at_least(0, because="a modulus\nis not negative")
    return d.assume(x, because="no reason", cite="Author (2020), theorem 1")


def rows(markdown: str) -> list[str]:
    return [line for line in markdown.splitlines() if line.startswith("|")]


def test_the_table_has_a_mark_a_step_and_a_reason_in_each_row() -> None:
    markdown = shown()._repr_mimebundle_()["text/markdown"]
    table = rows(markdown)
    assert [row.split("|")[1].strip() for row in table[3:]] == ["✓", "✓", "§"]
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 4 for row in table)
    assert r"\ge" in table[4]
    assert "a modulus is not negative" in table[4]
    assert "Author (2020), theorem 1" in table[5]
    assert markdown.startswith("**conditional**")


def test_a_bar_in_a_reason_is_a_formula_sign_inside_and_escaped_outside() -> None:
    assert r"$\vert t\vert  = t$ \| positive" in rows(shown()._repr_mimebundle_()["text/markdown"])[3]


@pytest.mark.parametrize("derivation", specimens.derivations(), ids=lambda d: d.title)
def test_no_raw_bar_in_any_formula(derivation: Derivation) -> None:
    for side in [derivation.lhs, *(step.rhs for step in derivation.steps)]:
        assert "|" not in formula(side, "=")


def test_the_text_form_is_legible() -> None:
    words = repr(shown())
    assert "conditional\n    t*Abs(x)" in words
    assert "✓   = t*Abs(x)" in words
    assert "✓   ≥ 0" in words
    assert "§   = x" in words


def test_definitions_stand_below_the_table() -> None:
    f = sp.Function("f")
    d = Derivation("d", f(t), where={f(x): x**2}).equals(t**2, because="put in")
    assert d._repr_mimebundle_()["text/markdown"].endswith("$.")
    assert r"where $f{\left(x \right)} = x^{2}$." in d._repr_mimebundle_()["text/markdown"]


def test_the_ledger_record_is_json_with_the_schema() -> None:
    record = json.loads(json.dumps(shown()._repr_mimebundle_()[LEDGER]))
    assert (record["kind"], record["title"], record["label"]) == ("derivation", "conditional", "abs")
    assert [s["status"] for s in record["steps"]] == ["proved", "proved", "assumed"]
    assert {"relation", "latex", "because", "status", "detail", "seconds"} <= set(record["steps"][0])


def test_a_family_displays_every_size() -> None:
    family = Derivation.for_each((2, 3), lambda n: Derivation("power", x**n).equals(x * x ** (n - 1), because="split"))
    bundle = family._repr_mimebundle_()
    assert bundle["text/markdown"].count("**power**") == 2
    assert "$n = 3$" in bundle["text/markdown"]
    assert [s["instance"] for s in bundle[LEDGER]["steps"]] == ["n = 2", "n = 3"]
    assert repr(family).count("power") == 2


def lines(printed: str) -> list[str]:
    return printed.removeprefix(r"\begin{aligned} ").removesuffix(r" \end{aligned}").split(r" \\ &\quad ")


def test_a_long_sum_breaks_into_lines_that_fit() -> None:
    printed = lines(formula(LONG, "="))
    assert len(printed) > 2
    assert all(width(line) <= WIDTH + 3 for line in printed)
    assert all(line.lstrip("&= ").startswith(("+", "-")) for line in printed[1:])


def test_breaking_loses_no_term() -> None:
    whole, broken = latex(LONG), "".join(lines(formula(LONG)))
    assert sorted(re.sub(r"[ &]", "", whole)) == sorted(re.sub(r"[ &]", "", broken))


@pytest.mark.parametrize(
    "expr",
    [
        LONG * (LONG + 1),
        -LONG,
        -LONG * sp.log(LONG),
        LONG / (x + t),
        sp.exp(LONG),
        sp.log(LONG),
        LONG**2,
        sp.sqrt(LONG),
    ],
)
def test_brackets_balance_in_broken_lines(expr: sp.Expr) -> None:
    printed = formula(expr, "=")
    assert printed.count(r"\bigl(") == printed.count(r"\bigr)")
    assert printed.count(r"\left") == printed.count(r"\right")
    assert printed.count("{") == printed.count("}")
    for line in lines(printed):
        assert line.count(r"\left") == line.count(r"\right")
        assert line.count("{") == line.count("}")


@pytest.mark.parametrize("wrap", [sp.Integral, sp.Sum])
def test_a_wide_integrand_breaks_inside_brackets(wrap: type) -> None:
    k = sp.Symbol("k", integer=True)
    variable = k if wrap is sp.Sum else x
    printed = formula(wrap(LONG.subs(x, variable), (variable, 0, 5)), "=")
    assert printed.count(r"\bigl(") == printed.count(r"\bigr)") == 1
    assert printed.startswith(r"\begin{aligned} &= \int" if wrap is sp.Integral else r"\begin{aligned} &= \sum")


def test_a_wide_derivative_breaks_inside_brackets() -> None:
    printed = formula(sp.Derivative(LONG, x), "=")
    assert printed.startswith(r"\begin{aligned} &= \frac{\partial}{\partial x} \bigl(")
    assert printed.count(r"\bigl(") == printed.count(r"\bigr)") == 1
    assert printed.count(r"\left") == printed.count(r"\right")


def test_a_short_formula_stays_on_one_line() -> None:
    assert formula(x + y, "=") == r"\displaystyle = x + y"


def test_an_expectation_is_printed_with_its_own_sign() -> None:
    assert latex(Expectation(Normal("z", 0, 1) ** 2)) == r"\mathbb{E}\left[z^{2}\right]"


@pytest.mark.parametrize(
    ("narrow", "wide"),
    [
        (r"\frac{a+b}{c}", "a+b+c"),
        (r"\frac{abc}{def}", "abcd"),
        ("x^{2}", "x 2 2"),
        (r"\operatorname{erf}", "erff"),
        (r"\alpha", "ab"),
    ],
)
def test_widths_are_ordered(narrow: str, wide: str) -> None:
    assert 0 < width(narrow) < width(wide)
