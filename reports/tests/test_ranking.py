"""Who may be recommended: an error excludes, known or not; a warning does not; silence proves nothing."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from harness.results import Finding, Result
from harness.run import Run
from harness.trial import Case, Trial
from reports.ranking import Group, standings, worst_number
from reports.records import records
from reports.speed import choices
from reports.summary import summary_lines
from reports.tests import synthetic

CASE = Case("cross_entropy", "mean", "unit_normal", "float32", "cpu", 64, 10, 1)
ERROR = Finding("spurious_nan", "error", "accuracy", "loss", "NaN")
WARNING = Finding("inaccurate", "warning", "accuracy", "loss", "41 ulp")
KNOWN = Finding("spurious_nan", "error", "accuracy", "loss", "NaN", {}, "listed upstream")
BREAK = Finding("graph_break", "warning", "compilation", "graph", "1 graph break")


def answers(
    name, *findings, seconds=1e-3, probes=("accuracy", "protocol", "overflow", "timing"), error=1.0, **numbers
):
    trial = Trial(CASE, name)
    timed = {"seconds": seconds, "seconds_low": seconds * 0.99, "seconds_high": seconds * 1.01, **numbers}
    content = {"accuracy": {"loss_ulps": 0.5, "gradient_ulps": error}, "timing": timed}
    return [
        Result(trial, probe, "ok", "", findings if probe == "accuracy" else (), content.get(probe, {}))
        for probe in probes
    ]


def decided(tmp_path, *parts, **facts):
    manifest = {"schema": 1, "plan": {"blocks": []}, "suites": {"cross_entropy": {"implementations": facts}}}
    rows = records(Run(tmp_path, manifest, tuple(result for part in parts for result in part)))
    ranks = standings(rows)
    return choices(rows, ranks)[0], {group.implementation: standing for group, standing in ranks.items()}


@pytest.mark.parametrize(
    ("findings", "rank"),
    [((), "rankable"), ((WARNING,), "rankable"), ((ERROR,), "excluded"), ((KNOWN,), "excluded")],
)
def test_rank_follows_the_worst_finding(tmp_path, findings, rank):
    _, ranks = decided(tmp_path, answers("mine", *findings))
    assert ranks["mine"].rank == rank


@pytest.mark.parametrize("probe", ["accuracy", "protocol", "overflow"])
def test_without_a_needed_probe_it_is_unproven_and_not_recommended(tmp_path, probe):
    probes = tuple(p for p in ("accuracy", "protocol", "overflow", "timing") if p != probe)
    choice, ranks = decided(tmp_path, answers("mine", probes=probes))
    assert ranks["mine"].rank == "unproven"
    assert probe in ranks["mine"].cause
    assert choice.recommended is None


def test_a_crash_in_one_case_leaves_it_unproven(tmp_path):
    other = Trial(Case("cross_entropy", "mean", "ties", "float32", "cpu", 64, 10, 1), "mine")
    _, ranks = decided(tmp_path, answers("mine"), [Result(other, "accuracy", "crashed")])
    assert (ranks["mine"].rank, ranks["mine"].cause) == ("unproven", "accuracy crashed in 1 of 2 cases")


def test_a_suite_without_ladders_needs_no_overflow(tmp_path):
    run = synthetic.small(tmp_path)
    suites = {"cross_entropy": {**run.manifest["suites"]["cross_entropy"], "ladders": {}}}
    bare = synthetic.without(Run(tmp_path, {**run.manifest, "suites": suites}, run.results), "overflow")
    ranks = standings(records(bare))
    assert ranks[Group("cross_entropy", "cpu", "bfloat16", "logsumexp")].rank == "rankable"


def test_the_fastest_is_recommended_only_if_it_is_right(tmp_path):
    choice, _ = decided(
        tmp_path, answers("wrong", ERROR, seconds=1e-4), answers("slow"), answers("slower", seconds=2e-3)
    )
    assert choice.recommended.group.implementation == "slow"
    assert choice.runner_up.group.implementation == "slower"
    assert "2.00x slower" in choice.runner_up_words
    assert [s.group.implementation for s in choice.rejected] == ["wrong"]


def test_a_known_error_is_not_recommended(tmp_path):
    choice, ranks = decided(tmp_path, answers("native", KNOWN, seconds=1e-4), answers("mine"))
    assert choice.recommended.group.implementation == "mine"
    assert "(known)" in ranks["native"].cause


def test_a_warning_yields_to_one_without_and_is_named(tmp_path):
    choice, _ = decided(tmp_path, answers("fast", WARNING, seconds=1e-4), answers("quiet"))
    assert choice.recommended.group.implementation == "quiet"
    assert "10.00x faster" in choice.runner_up_words
    assert "inaccurate in 1 of 1 case" in choice.runner_up_words


def test_a_warning_alone_is_recommended_and_named(tmp_path):
    choice, _ = decided(tmp_path, answers("fast", WARNING))
    assert choice.recommended.group.implementation == "fast"
    assert "warnings: inaccurate in 1 of 1 case" in choice.reason


def test_a_graph_break_is_no_numerical_warning(tmp_path):
    choice, _ = decided(tmp_path, answers("broken", BREAK, seconds=1e-4), answers("quiet"))
    assert choice.recommended.group.implementation == "broken"


@pytest.mark.parametrize("fact", [{"control": True}, {"known_bad": "wrong call"}])
def test_controls_and_known_bad_are_never_recommended(tmp_path, fact):
    choice, _ = decided(tmp_path, answers("special", seconds=1e-4), answers("mine"), special=fact)
    assert choice.recommended.group.implementation == "mine"
    assert choice.runner_up is None


def test_without_times_the_most_accurate_is_recommended_and_it_is_said(tmp_path):
    probes = ("accuracy", "protocol", "overflow")
    choice, _ = decided(tmp_path, answers("rough", probes=probes, error=9.0), answers("fine", probes=probes))
    assert choice.recommended.group.implementation == "fine"
    assert "not timed" in choice.reason
    assert "finite on the one regime of variant mean" in choice.reason


def test_overlapping_intervals_are_said(tmp_path):
    choice, _ = decided(
        tmp_path, answers("one"), answers("two", seconds=1.005e-3), answers("three", seconds=2e-3)
    )
    assert choice.recommended.group.implementation == "one"
    assert choice.reason.startswith("among the fastest of the 3")
    assert "time not shown to differ from two" in choice.reason
    assert "three" not in choice.reason
    assert "time not shown to differ" in choice.runner_up_words


def test_the_baseline_wins_a_tie(tmp_path):
    facts = {"two": {"baseline": True}}
    choice, _ = decided(tmp_path, answers("one"), answers("two", seconds=1.005e-3), **facts)
    assert choice.recommended.group.implementation == "two"
    choice, _ = decided(tmp_path, answers("one"), answers("two", seconds=1.5e-3), **facts)
    assert choice.recommended.group.implementation == "one"


def test_an_error_on_a_ladder_excludes(tmp_path):
    rung = Finding("spurious_overflow", "error", "overflow", "ladder scale", "from 88 on")
    climbed = Result(Trial(CASE, "mine"), "overflow", "ok", "", (rung,), {"first_failing_scale": 88.72})
    _, ranks = decided(tmp_path, answers("mine", probes=("accuracy", "protocol", "timing")), [climbed])
    assert ranks["mine"].rank == "excluded"


def test_a_dead_gradient_on_a_ladder_is_a_limit_beside_the_rank(tmp_path):
    rung = Finding("dead_gradient", "warning", "overflow", "ladder gap", "from 16.75 on")
    climbed = Result(Trial(CASE, "mine"), "overflow", "ok", "", (rung,), {"first_dead_gap": 16.75})
    choice, ranks = decided(tmp_path, answers("mine", probes=("accuracy", "protocol", "timing")), [climbed])
    assert ranks["mine"].rank == "rankable"
    assert "limits: gradient dead from gap 16.75" in choice.reason


def test_an_error_in_another_variant_is_named_but_does_not_exclude(tmp_path):
    other = replace(CASE, variant="probability")
    wrong = Finding("spurious_nan", "error", "accuracy", "loss", "NaN for 2.07", known="0 * inf")
    elsewhere = Result(Trial(other, "mine"), "accuracy", "ok", "", (wrong,), {"loss_ulps": math.nan})
    choice, ranks = decided(tmp_path, answers("mine"), [elsewhere])
    assert ranks["mine"].rank == "rankable"
    assert "errors in other variants: probability: NaN in 1 of 1 case (known)" in choice.reason


def test_where_nobody_is_right_the_nearest_is_named(tmp_path):
    choice, _ = decided(tmp_path, answers("wrong", ERROR))
    assert choice.recommended is None
    assert choice.nearest == "nobody is free of errors; nearest is wrong: NaN in 1 of 1 case"


@pytest.mark.parametrize(
    ("ratio", "low", "high", "words"),
    [(0.5, 0.49, 0.51, "2.00x faster than native"), (2.0, 1.9, 2.1, "2.00x slower than native"),
     (0.99, 0.97, 1.01, "not shown to differ from native")],
)  # fmt: skip
def test_the_baseline_is_compared_in_words(tmp_path, ratio, low, high, words):
    choice, _ = decided(
        tmp_path,
        answers("mine", seconds=1e-4, ratio=ratio, ratio_low=low, ratio_high=high),
        answers("native"),
        native={"baseline": True},
    )
    assert words in choice.reason


def test_worst_number_puts_nan_first():
    assert math.isnan(worst_number([1.0, math.nan, math.inf, None]))
    assert worst_number([1.0, math.inf, None]) == math.inf
    assert worst_number([None]) is None


def test_summary_names_choice_noise_and_the_unsafe(tmp_path):
    (line,) = summary_lines(synthetic.small(tmp_path))
    assert line.startswith("cross_entropy cpu  float32: compiled (6.1 ulp, 2.69 ms ±2 %)")
    assert "naive unsafe: NaN in 1 of 11" in line


def test_summary_of_an_unproven_run_recommends_nothing(tmp_path):
    (line,) = summary_lines(synthetic.without(synthetic.small(tmp_path), "accuracy"))
    assert "none proven (accuracy was not run)" in line
    assert summary_lines(synthetic.empty(tmp_path)) == ["nothing was planned, nothing was measured"]


def test_a_nan_outside_of_what_is_promised_is_not_the_worst_error(tmp_path):
    leak = Finding(
        "nan_leak", "error", "accuracy", "logits", "NaN", {}, "an ignored row of NaN", outside=True
    )
    poisoned = Trial(replace(CASE, regime="poisoned"), "mine")
    lost = Result(poisoned, "accuracy", "ok", "", (leak,), {"gradient_ulps": math.nan})
    choice, ranks = decided(tmp_path, answers("mine", error=7.0), [lost])
    assert ranks["mine"].worst_gradient == 7.0
    assert "worst error 7.0 ulp" in choice.reason
    inside = replace(lost, findings=(replace(leak, outside=False),))
    _, ranks = decided(tmp_path, answers("mine", error=7.0), [inside])
    assert math.isnan(ranks["mine"].worst_gradient)


def test_a_nan_outside_of_what_is_promised_does_not_make_a_standing_nonfinite(tmp_path):
    outside = Finding("nan_leak", "error", "accuracy", "logits/ignored", "NaN", {}, "promises nothing", True)
    _, ranks = decided(tmp_path, answers("mine", outside))
    (standing,) = ranks.values()
    assert standing.rank == "rankable"
    assert not standing.nonfinite
    assert standing.lost_elsewhere
    _, ranks = decided(tmp_path, answers("mine", KNOWN))
    assert all(standing.nonfinite for standing in ranks.values())
