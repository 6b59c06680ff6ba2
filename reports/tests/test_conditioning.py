"""An error near 0 is told in what one rounding of the inputs changes; a dead gradient never is."""

from __future__ import annotations

import math

import pytest

from harness.results import Finding, Result
from harness.run import Run
from harness.trial import Case, Trial
from reports.conditioning import conditioned, inputs_words, lost, told_in_inputs
from reports.figures import _error
from reports.matrix import worst_cell
from reports.ranking import standings
from reports.records import records
from reports.speed import choices
from reports.summary import summary_lines

NAN, INF = math.nan, math.inf
ERROR = Finding("inaccurate", "error", "accuracy", "loss", "10^36 ulp")
WARNING = Finding("dead_gradient", "warning", "accuracy", "target", "0 for 1e-12")


def rows_of(path, **numbers):
    """Returns run and records; by name (loss in ulp, in u N, gradient in ulp, in u N, findings)."""
    results = []
    for name, (loss, loss_eta, gradient, eta, *found) in numbers.items():
        trial = Trial(Case("s", "mean", "r", "float32", "cpu", 4, 3, 1), name)
        accuracy = {
            "loss_ulps": loss, "loss_eta_shift": loss_eta, "gradient_ulps": gradient, "gradient_eta": eta
        }  # fmt: skip
        results.append(Result(trial, "accuracy", "ok", "", tuple(found), accuracy))
        results += [Result(trial, probe, "ok") for probe in ("protocol", "overflow")]
    run = Run(path, {"schema": 1, "plan": {}, "suites": {}}, tuple(results))
    return run, records(run)


def choice_of(path, **numbers):
    _, rows = rows_of(path, **numbers)
    ranks = standings(rows)
    return choices(rows, ranks)[0], {group.implementation: s for group, s in ranks.items()}


@pytest.mark.parametrize(
    ("error", "other", "expected"),
    [(1e30, 0.7, 0.7), (2.0, 1e9, 2.0), (NAN, 0.7, NAN), (INF, 0.7, INF), (5.0, None, 5.0), (None, 0.7, None),
     (5.0, NAN, 5.0)],
)  # fmt: skip
def test_the_smaller_of_two_measures_counts_and_nan_stays(error, other, expected):
    numbers = {} if other is None else {"loss_eta_shift": other}
    found = conditioned(numbers, "loss_ulps", error)
    assert found is None if expected is None else found == pytest.approx(expected, nan_ok=True)


def test_an_error_near_zero_is_told_in_words_and_not_in_ulp(tmp_path):
    choice, ranks = choice_of(tmp_path, mine=(1.6e36, 4.12, 1.0, 0.9))
    assert choice.recommended is ranks["mine"]
    assert "worst error 4.1 u N, within what the inputs' conditioning allows" in choice.reason
    assert "the exact value is near 0" in choice.reason
    assert "10³⁶" not in choice.reason
    run, _ = rows_of(tmp_path, mine=(1.6e36, 4.12, 1.0, 0.9))
    assert summary_lines(run) == ["s cpu  float32: mine (4.1 u N, not timed)"]


def test_below_the_digits_of_the_dtype_the_ulp_are_kept_beside(tmp_path):
    choice, _ = choice_of(tmp_path, mine=(1.8e5, 1.33, 1.0, 0.9))
    assert "worst error 1.3 u N, within what the inputs' conditioning allows (1.8×10⁵ ulp)" in choice.reason
    assert lost(2.0**24, "float32")
    assert not lost(2.0**24 - 1, "float32")
    assert lost(256.0, "bfloat16")
    assert "256 ulp" in inputs_words(256.0, 0.5, "float16")


def test_where_a_warning_stands_the_ulp_stand_beside_it(tmp_path):
    choice, _ = choice_of(tmp_path, mine=(1.0, 0.9, 1.6e7, 0.9, WARNING))
    assert "worst error 1.6×10⁷ ulp" in choice.reason
    assert "conditioning" not in choice.reason


def test_an_error_that_is_warned_of_stands_beside_that_of_the_other_cases(tmp_path):
    results = []
    numbers = {"r": (2.0, 1.4, 1.6e7, 9.2e5), "usual": (1.0, 0.9, 13.0, 12.0), "zero": (1e30, 2.5, 1.0, 0.9)}
    for regime, (loss, loss_eta, gradient, eta) in numbers.items():
        trial = Trial(Case("s", "mean", regime, "float32", "cpu", 4, 3, 1), "mine")
        accuracy = {
            "loss_ulps": loss, "loss_eta_shift": loss_eta, "gradient_ulps": gradient, "gradient_eta": eta
        }  # fmt: skip
        found = (WARNING,) if regime == "r" else ()
        results.append(Result(trial, "accuracy", "ok", "", found, accuracy))
        results += [Result(trial, probe, "ok") for probe in ("protocol", "overflow")]

    def told(*regimes):
        kept = [result for result in results if result.trial.case.regime in regimes]
        run = Run(tmp_path, {"schema": 1, "plan": {}, "suites": {}}, tuple(kept))
        rows = records(run)
        return choices(rows, standings(rows))[0].reason, summary_lines(run)[0]

    reason, line = told("r", "usual")
    assert "worst error 1.6×10⁷ ulp (no digit right) where it is warned of, 13 ulp elsewhere" in reason
    assert line == "s cpu  float32: mine (13 ulp, where warned 1.6×10⁷ ulp, not timed)"
    reason, line = told("r")
    assert "worst error 1.6×10⁷ ulp (no digit right); not timed" in reason
    assert line == "s cpu  float32: mine (1.6×10⁷ ulp, not timed)"
    # The worst in ulp is one near 0, which the inputs explain and nobody is warned of.
    reason, line = told("r", "usual", "zero")
    assert "worst error 1.6×10⁷ ulp (no digit right) where it is warned of, 12 u N elsewhere" in reason
    assert line == "s cpu  float32: mine (12 u N, where warned 1.6×10⁷ ulp, not timed)"
    reason, line = told("usual")
    assert "worst error 13 ulp; not timed" in reason
    assert line == "s cpu  float32: mine (13 ulp, not timed)"


@pytest.mark.parametrize(
    ("ulps", "over_inputs", "told"),
    [(1e30, 0.7, True), (101.0, 1.0, True), (100.0, 1.0, False), (1e30, 1e30, False), (NAN, 1.0, False),
     (1e30, None, False), (None, 1.0, False)],
)  # fmt: skip
def test_only_many_ulp_that_are_few_roundings_of_the_inputs_are_told_so(ulps, over_inputs, told):
    assert told_in_inputs(ulps, over_inputs) is told


def test_candidates_are_ordered_by_the_number_that_means_something(tmp_path):
    numbers = {"rough": (900.0, 700.0, 1.0, 0.9), "fine": (1.6e36, 0.5, 1.0, 0.9)}
    choice, _ = choice_of(tmp_path, **numbers)
    assert choice.recommended.group.implementation == "fine"
    assert choice.runner_up.group.implementation == "rough"


def test_the_ulp_decide_between_those_that_are_alike(tmp_path):
    choice, _ = choice_of(tmp_path, more=(9.0, 0.5, 1.0, 0.5), less=(7.0, 0.5, 1.0, 0.5))
    assert choice.recommended.group.implementation == "less"


def test_a_cell_near_zero_says_so_and_a_warned_one_keeps_its_word(tmp_path):
    _, (fine, dead, broken) = rows_of(
        tmp_path,
        fine=(1.6e36, 4.12, 1.0, 0.9),
        dead=(1.0, 0.9, 1.6e36, 0.9, WARNING),
        broken=(1.6e36, 1.6e36, 1.0, 0.9),
    )
    cell = worst_cell([fine])
    assert (cell.text, cell.css) == ("near 0", "")
    assert cell.title == "1.6×10³⁶ ulp of a value near 0, 4.1 u N"
    assert worst_cell([dead]).text == "grad 0"
    assert worst_cell([broken]).text == "1.6×10³⁶"


def test_the_picture_does_not_stretch_over_36_decades(tmp_path):
    _, ranks = choice_of(
        tmp_path,
        fine=(1.0, 0.9, 1.6e36, 4.12),
        dead=(1.0, 0.9, 1.6e7, 0.9, WARNING),
        plain=(1.0, 0.9, 7.0, 3.0),
        wrong=(1.0, 0.9, 1.6e36, 2000.0, ERROR),
    )
    assert _error(ranks["fine"]) == 4.12
    assert _error(ranks["dead"]) == 1.6e7
    assert _error(ranks["wrong"]) == 1.6e36
    assert _error(ranks["plain"]) == 7.0
