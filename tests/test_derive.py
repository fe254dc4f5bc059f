import statistics
import subprocess
import sys
import threading
import time

import chapter
import pytest
import specimens
import sympy as sp
from sympy.stats import Normal

from utils.derive import Derivation, StepError, UnevaluableStep
from utils.derive.clock import time_limit
from utils.derive.errors import TimeLimitError

x, y = sp.symbols("x y", real=True)
t = sp.Symbol("t", positive=True)


def test_imports_only_sympy_and_stdlib() -> None:
    code = (
        "import sys, sympy, sympy.stats; before = set(sys.modules); import utils.derive;"
        "new = {n.split('.')[0] for n in set(sys.modules) - before};"
        "print(sorted(new - set(sys.stdlib_module_names) - {'sympy', 'mpmath', 'utils'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_steps_chain_and_record_what_is_known() -> None:
    d = Derivation("square", (x + y) ** 2, label="sq")
    assert d.equals(x**2 + 2 * x * y + y**2, because="expand", label="expanded") is d
    d.at_least(4 * x * y, because="(x - y)^2 is not negative")
    first, second = d.steps
    assert (first.relation, first.lhs, first.status) == ("=", (x + y) ** 2, "proved")
    assert (second.relation, second.lhs, second.rhs) == (">=", first.rhs, 4 * x * y)
    assert d.expr == 4 * x * y
    assert d["expanded"] == first.rhs
    assert first.seconds > 0
    assert "points" in first.detail


def test_an_unknown_label_names_the_known_ones() -> None:
    d = Derivation("d", x).equals(x, because="same", label="only")
    with pytest.raises(KeyError, match=r"no step is labelled 'other'; labels: \['only'\]"):
        d["other"]


def test_a_refuted_step_names_derivation_step_point_and_both_values() -> None:
    d = Derivation("root", sp.sqrt(x**2)).equals(sp.Abs(x), because="modulus")
    message = r"root, step 2 does not hold:\n  Abs\(x\)\n  = x\nat x = -\d+/997\n  left  \d\.\d+\n  right -\d\.\d+"
    with pytest.raises(StepError, match=message):
        d.equals(x, because="forgets the sign")
    assert len(d.steps) == 1


@pytest.mark.parametrize("because", ["", "   ", None, 3])
def test_an_empty_reason_is_refused(because: object) -> None:
    with pytest.raises(ValueError, match="d, step 1: an empty reason"):
        Derivation("d", x).equals(x, because=because)


@pytest.mark.parametrize("cite", ["", None])
def test_an_assumed_step_needs_its_source(cite: object) -> None:
    with pytest.raises(ValueError, match="needs `cite`"):
        Derivation("d", x).assume(x + 1, because="they say so", cite=cite)


def test_an_assumed_step_is_not_checked_but_named() -> None:
    step = Derivation("d", x).assume(x + 1, because="they say so", cite="Nobody (2020), theorem 1").steps[0]
    assert (step.status, step.detail) == ("assumed", "Nobody (2020), theorem 1")


@pytest.mark.parametrize("side", ["x", None, sp.Eq(x, y), sp.true, [x], sp.exp, True, sp.Interval(0, 1)])
def test_a_side_that_is_no_expression_is_refused(side: object) -> None:
    with pytest.raises(TypeError, match=r"d: left-hand side: expected a SymPy expression, received"):
        Derivation("d", side)
    with pytest.raises(TypeError, match=r"d, step 1: expected a SymPy expression, received"):
        Derivation("d", x).equals(side, because="no")


def test_floats_and_nan_are_refused() -> None:
    with pytest.raises(ValueError, match=r"write exact numbers .* received the floats \['0.5"):
        Derivation("d", x / 2).equals(0.5 * x, because="half")
    with pytest.raises(ValueError, match="is not a number"):
        Derivation("d", sp.zoo)


def test_symbols_without_assumptions_are_refused() -> None:
    with pytest.raises(ValueError, match=r"d, step 1: symbol w has no assumptions: declare it.*real=True"):
        Derivation("d", sp.Symbol("w")).equals(1, because="no")
    w = sp.Symbol("w")
    assert Derivation("d", w + w, domain={w: (0, 1)}).equals(2 * w, because="a domain will do").steps


def test_two_symbols_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two different symbols are both named x"):
        Derivation("d", x).equals(sp.Symbol("x", positive=True), because="looks equal")


def test_a_noncommuting_symbol_is_refused() -> None:
    a = sp.Symbol("A", commutative=False)
    with pytest.raises(ValueError, match="symbol A does not commute"):
        Derivation("d", a).equals(a + 1, because="no")


def test_a_step_that_cannot_be_evaluated_is_an_error() -> None:
    with pytest.raises(
        UnevaluableStep, match=r"d, step 1 can be neither refuted nor evaluated: .*leave the real numbers"
    ):
        Derivation("d", sp.log(-(x**2) - 1)).equals(sp.log(-(x**2) - 2), because="never real")


def test_a_divergent_integral_is_an_error() -> None:
    with pytest.raises(UnevaluableStep, match="can be neither refuted nor evaluated"):
        Derivation("d", sp.Integral(1 / x, (x, 0, t))).equals(t, because="diverges")


def test_an_indefinite_integral_is_an_error() -> None:
    with pytest.raises(UnevaluableStep, match="an indefinite integral has no value"):
        Derivation("d", sp.Integral(t, t)).equals(t**2 / 2, because="up to a constant")


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match=r"shapes differ: \(2, 2\) and scalar"):
        Derivation("d", sp.eye(2)).equals(1, because="no")


def test_a_matrix_of_unknown_size_is_an_error() -> None:
    n = sp.Symbol("n", integer=True, positive=True)
    a = sp.MatrixSymbol("A", n, n)
    with pytest.raises(UnevaluableStep, match="sizes 2, 3, 4"):
        Derivation("d", a * a).equals(a**3, because="no")


@pytest.mark.parametrize(
    ("domain", "message"),
    [
        ({x: 3}, r"expected \(lo, hi\) or a list"),
        ({x: []}, r"expected \(lo, hi\)"),
        ({x: (1, 0)}, "expected lo < hi"),
    ],
)
def test_a_bad_domain_is_refused(domain: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Derivation("d", x, domain=domain).equals(2 * x, because="no")


def test_a_domain_key_must_be_a_symbol() -> None:
    with pytest.raises(TypeError, match="expected symbols as keys"):
        Derivation("d", x, domain={"x": (0, 1)})


def test_a_label_is_used_once() -> None:
    d = Derivation("d", x).equals(x, because="same", label="a")
    with pytest.raises(ValueError, match="the label 'a' is taken"):
        d.equals(x, because="same", label="a")


def test_circular_definitions_are_refused() -> None:
    with pytest.raises(ValueError, match="circular"):
        Derivation("d", x, where={x: y + 1, y: x + 1}).equals(y, because="no")


def test_definitions_are_put_in_and_may_chain() -> None:
    f = sp.Function("f")
    d = Derivation("d", f(t) + y, where={f(x): x**2 + y, y: 3 * t})
    assert d.equals(t**2 + 6 * t, because="put in").steps[0].status == "proved"
    with pytest.raises(StepError, match="does not hold"):
        d.equals(t**2 + 5 * t, because="wrong")


def test_a_definition_declared_positive_restricts_the_domain() -> None:
    assert Derivation("root", sp.Abs(x - 1) + t - t, where={t: x - 1}).equals(x - 1, because="it is t").steps
    with pytest.raises(UnevaluableStep, match=r"t is not positive where it is -x\*\*2 - 1"):
        Derivation("root", sp.Abs(x), where={t: -(x**2) - 1}).equals(x, because="nowhere")
    with pytest.raises(ValueError, match=r"nowhere, step 1: t is not positive where it is -x\*\*2 - 1"):
        Derivation("nowhere", sp.sqrt(t**2), where={t: -(x**2) - 1}).equals(-(x**2) - 1, because="SymPy took the root")


def test_values_are_shown_to_enough_digits_to_differ() -> None:
    with pytest.raises(StepError, match=r"left  1\.0{27}1\d*\n  right 1\.0"):
        Derivation("d", 1 + sp.exp(-100) + sp.Rational(1, 10**28)).equals(1 + sp.exp(-100), because="tiny")


def test_a_loose_random_symbol_is_refused() -> None:
    with pytest.raises(ValueError, match=r"random symbols outside an expectation: \['z'\]"):
        Derivation("d", Normal("z", 0, 1) + x).equals(x, because="no")


def test_for_each_holds_one_derivation_a_size() -> None:
    def total(n: int) -> Derivation:
        a = sp.symbols(f"a_:{n}", real=True)
        return Derivation("mean", sum(a) / n).equals(sum(v / n for v in a), because="linear")

    family = Derivation.for_each((2, 3, 4), total)
    assert set(family) == {2, 3, 4}
    assert all(d.steps[0].status == "proved" for d in family.values())
    with pytest.raises(StepError, match="mean, step 2"):
        Derivation.for_each((2, 3), lambda n: total(n).equals(x, because="no"))


def forever() -> None:
    for _ in range(50_000_000):
        abs(-1)


def limited(seconds: float) -> None:
    with time_limit(seconds):
        forever()


@pytest.mark.parametrize("in_thread", [False, True], ids=["signal", "profile"])
def test_the_time_limit_interrupts(in_thread: bool) -> None:
    outcome = []

    def spin() -> None:
        started = time.process_time()
        try:
            limited(0.2)
        except TimeLimitError:
            outcome.append(time.process_time() - started)

    if in_thread:
        thread = threading.Thread(target=spin)
        thread.start()
        thread.join()
    else:
        spin()
    assert 0.15 < outcome[0] < 2


def test_an_enclosing_limit_stays_in_force() -> None:
    def work() -> None:
        with time_limit(0.3):
            with pytest.raises(TimeLimitError):
                limited(0.05)
            forever()

    started = time.process_time()
    with pytest.raises(TimeLimitError):
        work()
    assert 0.2 < time.process_time() - started < 2


def test_a_limit_that_is_reached_in_a_destructor_is_raised_after_it() -> None:
    class Slow:
        def __del__(self) -> None:
            started = time.process_time()
            while time.process_time() < started + 0.3:
                pass

    def work() -> None:
        with time_limit(0.1):
            Slow()  # pytest makes an error of an exception that is ignored
            forever()

    with pytest.raises(TimeLimitError):
        work()


def test_a_derivation_runs_in_a_thread() -> None:
    found = []
    thread = threading.Thread(
        target=lambda: found.append(Derivation("d", (x + 1) ** 2).equals(x**2 + 2 * x + 1, because="expand"))
    )
    thread.start()
    thread.join()
    assert found[0].steps[0].status == "proved"


def test_the_median_step_takes_at_most_50_ms() -> None:
    found = list(specimens.derivations())
    for slug in chapter.slugs():
        found += chapter.derivations(chapter.load(slug))
    seconds = [s.seconds for d in found for s in d.steps if s.status != "assumed"]
    assert statistics.median(seconds) <= 0.05


def test_an_error_shown_by_a_notebook_keeps_its_lines() -> None:
    with pytest.raises(StepError) as refuted:
        Derivation("A sign", sp.Integer(1)).equals(2, because="no reason")
    assert repr(refuted.value).splitlines()[0] == "StepError: A sign, step 1 does not hold:"
    assert len(repr(refuted.value).splitlines()) > 3
