"""What breaks first, exact counts, usual error, ratios to a reference, certified truth, and the method."""

from __future__ import annotations

import csv
import math
import re

import pytest

from harness.results import Finding, Result
from harness.run import Run
from harness.trial import Case, Trial
from reports.breaks import breaks, exhaustive
from reports.declared import Declared
from reports.enclosures import exact_words, got_words, short_hex
from reports.findings import distinct, findings_table
from reports.frame import UNLISTED, frame, meanings
from reports.method import tables
from reports.ratios import ratio
from reports.records import records
from reports.report import write_report
from reports.tests import synthetic
from reports.usual import usual_error

NAN, INF = math.nan, math.inf


def run_of(path, *answers, **facts):
    """Returns a run of one case: (implementation, probe, numbers) each, with declared facts."""
    case = Case("s", "mean", "r", "float16", "cpu", 4, 3, 1)
    results = tuple(
        Result(Trial(case, name), probe, "ok", numbers=numbers) for name, probe, numbers in answers
    )
    suites = {"s": {"implementations": facts, "ladders": {"gap": "lead"}}}
    return Run(path, {"schema": 1, "plan": {}, "suites": suites}, results)


def rows_of(table):
    return [[cell.text for cell in row] for row in table.rows]


def test_first_failing_loss_and_gradient_stand_apart_and_the_same_rung_is_not_told_twice(tmp_path):
    both = {"first_failing_gap": 4.0, "loss_fails_gap": 8.25, "gradient_fails_gap": 4.0}
    run = run_of(tmp_path, ("a", "overflow", both), ("b", "overflow", both), ("c", "overflow", {}))
    assert rows_of(breaks(records(run), Declared(run.manifest))) == [
        ["gap", "loss wrong", "a, b", "8.25"],
        ["", "gradient wrong", "a, b", "4"],
    ]


def test_a_first_failure_that_is_neither_loss_nor_gradient_is_told(tmp_path):
    raises = {"first_failing_gap": 2.0, "gradient_fails_gap": 4.0}
    run = run_of(tmp_path, ("a", "overflow", raises), ("old", "overflow", {"first_failing_gap": 88.7}))
    assert rows_of(breaks(records(run), Declared(run.manifest))) == [
        ["gap", "gradient wrong", "a", "4"],
        ["", "stops being right", "a", "2"],
        ["", "", "old", "88.7"],
    ]


def test_every_gradient_of_several_has_a_row_and_a_column_in_place_of_one_for_all(tmp_path):
    climbed = {"first_failing_gap": 4.0, "gradient_fails_gap": 4.0, "first_dead_gap": 1.5}
    each = {"gradient_fails_gap/bias": 4.0, "gradient_fails_gap/weight": 8.25, "first_dead_gap/weight": 1.5}
    run = run_of(tmp_path, ("a", "overflow", climbed | each), ("old", "overflow", climbed))
    assert rows_of(breaks(records(run), Declared(run.manifest))) == [
        ["gap", "gradient wrong", "old", "4"],
        ["", "gradient of bias wrong", "a", "4"],
        ["", "gradient of weight wrong", "a", "8.25"],
        ["", "gradient is 0", "old", "1.5"],
        ["", "gradient of weight is 0", "a", "1.5"],
    ]
    said = dict(meanings(records(run)))
    assert (
        "wrong gradient on ladder 'gap', of the gradient of 'weight' alone"
        in said["gradient_fails_gap/weight"]
    )
    assert frame(run).set_index("implementation")["gradient_fails_gap/weight"]["a"] == 8.25


def test_quantities_of_one_gradient_have_the_words_of_the_quantity(tmp_path):
    numbers = {"gradient_ulps": 9.0, "gradient_ulps/weight": 9.0, "gradient_ulps/bias": 1.0, "odd/bias": 1.0}
    run = run_of(tmp_path, ("a", "accuracy", numbers))
    said = dict(meanings(records(run)))
    assert said["gradient_ulps/bias"] == f"{said['gradient_ulps']}, of the gradient of 'bias' alone"
    assert said["odd/bias"] == UNLISTED
    names = list(said)
    assert names.index("gradient_ulps/bias") < names.index("gradient_ulps/weight") < names.index("odd/bias")
    write_report(run)
    with (tmp_path / "results.csv").open(encoding="utf-8") as file:
        (line,) = csv.DictReader(file)
    assert (line["gradient_ulps/weight"], line["gradient_ulps/weight_class"]) == ("9.0", "finite")


def test_a_bias_of_any_gradient_is_one_and_is_told(tmp_path):
    spread = {"seeds": 8.0, "norm_error_low": 1e-7, "norm_error_median": 2e-7, "norm_error_high": 3e-7}
    spread |= {"norm_error_median/weight": 1e-7, "norm_error_median/bias": 2e-7}
    # What stands out most is no bias by its size, another one is.
    spread |= {"bias_ulps": 0.2, "bias_standard_error_ulps": 0.001}
    spread |= {"bias_ulps/weight": 0.2, "bias_standard_error_ulps/weight": 0.001}
    calm = spread | {"bias_ulps/bias": 0.1, "bias_standard_error_ulps/bias": 0.1}
    tilted = spread | {"bias_ulps/bias": -3.0, "bias_standard_error_ulps/bias": 0.5}
    run = run_of(tmp_path, ("calm", "spread", calm), ("tilted", "spread", tilted))
    by_name = {row[1].text: row for row in usual_error(records(run)).rows}
    assert by_name["calm"][7].text == "none"
    assert by_name["tilted"][7].text == "1 of 1"
    assert by_name["tilted"][4].text == "0.2 ± 0.001"
    assert "bias: -3 ± 0.5" in by_name["tilted"][4].title.replace("−", "-")
    assert by_name["tilted"][3].title == "weight: 1×10⁻⁷\nbias: 2×10⁻⁷"


def test_exact_counts_are_counts_and_zero_is_one(tmp_path):
    run = synthetic.questioned(tmp_path)
    table = exhaustive(records(run), Declared(run.manifest))
    assert table.heads == ("scalar", "all values", "implementation", "grad 0", "inaccurate", "NaN")
    by_name = {(row[0].text, row[2].text): [cell.text for cell in row[3:]] for row in table.rows}
    assert by_name["", "softmax_log"] == ["315", "4,399", "49,522"]
    assert by_name["", "upcast"] == ["0", "0", "0"]
    assert {row[1].text for row in table.rows} == {"63,488", "65,280", ""}
    assert "exact counts" in table.caption
    assert "lower bound" in table.note
    assert exhaustive(records(synthetic.small(tmp_path)), Declared(run.manifest)) is None


@pytest.mark.parametrize(
    ("error", "reference", "expected"),
    [(0.1, 0.2, 1.0), (8.0, 0.2, 16.0), (0.2, 8.0, 0.0625), (INF, 1.0, INF), (NAN, 1.0, NAN),
     (1.0, NAN, None), (1.0, INF, None), (None, 1.0, None), (1.0, None, None)],
)  # fmt: skip
def test_rho_is_taken_between_errors_of_half_an_ulp_at_least(error, reference, expected):
    assert ratio(error, reference) == pytest.approx(expected, nan_ok=True)


def test_ratios_come_from_the_same_case_and_stand_in_frame_and_csv(tmp_path):
    run = run_of(
        tmp_path,
        ("mine", "accuracy", {"loss_ulps": 4.0, "gradient_ulps": NAN}),
        ("native", "accuracy", {"loss_ulps": 2.0, "gradient_ulps": 73.0}),
        ("upcast", "accuracy", {"loss_ulps": 0.4, "gradient_ulps": 0.5}),
        native={"baseline": True},
    )
    table = frame(run).set_index("implementation")
    assert table.loss_ratio_to_baseline["mine"] == 2.0
    assert table.loss_ratio_to_upcast["mine"] == 8.0
    assert table.gradient_ratio_to_upcast["native"] == 146.0
    assert table.gradient_ratio_to_baseline_class["mine"] == "nan"
    write_report(run)
    with (tmp_path / "results.csv").open(encoding="utf-8") as file:
        read = {line["implementation"]: line for line in csv.DictReader(file)}
    assert float(read["upcast"]["gradient_ratio_to_baseline"]) == pytest.approx(0.5 / 73)
    elsewhere = Result(Trial(Case("s", "mean", "other", "float16", "cpu", 4, 3, 1), "mine"), "accuracy", "ok",
                       numbers={"loss_ulps": 4.0})  # fmt: skip
    lonely = frame(Run(tmp_path, run.manifest, (elsewhere, *run.results[1:])))
    assert lonely.set_index("implementation").loss_ratio_to_baseline_class["mine"] == "absent"


def test_the_usual_error_is_over_finite_regimes_and_names_the_lost_ones(tmp_path):
    rows = usual_error(records(synthetic.questioned(tmp_path))).rows
    found = {row[1].text: row for row in rows if row[0].text in ("float32", "")}
    naive = next(row for name, row in found.items() if name.startswith("naive"))
    assert naive[3].text == "3×10⁻⁷"
    assert naive[4].text == "2.5 ± 0.1"
    assert naive[7].text == "1 of 1"
    lost = next(row for name, row in found.items() if name == "softmax_log")
    assert lost[2].text == "every regime lost"
    assert lost[8].css == "w"
    assert usual_error(records(synthetic.small(tmp_path))) is None


BALL = {"kind": "enclosed", "middle": "0x1.8000000000000p-3", "tail": "0x0.0p+0", "radius": "0x1.4p-119",
        "tier": "B2", "precision": 128}  # fmt: skip


@pytest.mark.parametrize(
    ("ball", "words"),
    [
        (BALL, "exact 0x1.8p-3 ± 2^-118 (Arb, 128 bit)"),
        ({**BALL, "radius": "0x1.0p-80"}, "exact 0x1.8p-3 ± 2^-80 (Arb, 128 bit)"),
        ({**BALL, "tail": "-0x1.6000000000000p-64"}, "exact 0x1.8p-3 - 0x1.6p-64 ± 2^-118 (Arb, 128 bit)"),
        ({**BALL, "tier": "B1 bound", "precision": 53},
         "exact 0x1.8p-3 ± 2^-118 (B1 bound, not certified by Arb)"),
        ({**BALL, "kind": "zero"}, "exact 0 (Arb, 128 bit)"),
        ({**BALL, "kind": "infinite", "middle": "-inf"}, "exact -infinite (Arb, 128 bit)"),
        ({**BALL, "kind": "undefined", "middle": "nan"}, "exact undefined (Arb, 128 bit)"),
        ("uncertified: the suite states no exact form",
         "exact 0x1.8p-3 (uncertified: the suite states no exact form)"),
        (None, "exact 0x1.8p-3 (uncertified)"),
    ],
)  # fmt: skip
def test_the_ball_is_told_with_its_source(ball, words):
    witness = {"truth": "0x1.8000000000000p-3", **({} if ball is None else {"ball": ball})}
    assert exact_words(witness) == words


def test_what_came_back_is_told_with_its_place():
    assert got_words({"got": "0x1.f800000000000p-9", "tensor": "logits", "place": [19, 4]}) == (
        "got 0x1.f8p-9 at logits[19, 4]"
    )
    assert got_words({"got": "nan", "tensor": "loss", "place": []}) == "got nan at loss"
    assert exact_words({}) == got_words({}) == ""
    assert (short_hex("0x1.0000000000000p+3"), short_hex("inf"), short_hex("7")) == ("0x1p+3", "inf", "7")


def test_every_finding_has_its_ball_and_the_command_that_reproduces_it(tmp_path):
    witness = {"truth": "0x1.8p-3", "got": "0x1p-3", "tensor": "loss", "place": [], "ball": BALL,
               "inputs": {"logits": ["0x1.8000000000000p+0"], "target": 2}, "ladder": "gap"}  # fmt: skip
    trial = Trial(Case("s", "mean", "r", "float16", "cpu", 4, 3, 1), "mine")
    found = (
        Finding("inaccurate", "warning", "accuracy", "loss", "41 ulp", witness),
        Finding("graph_break", "warning", "compilation", "graph", "1 graph break"),
    )
    run = Run(tmp_path, {"schema": 1, "plan": {}}, (Result(trial, "accuracy", "ok", findings=found),))
    cells = {row[3].text: row[5] for row in findings_table(distinct(records(run)), 10).rows}
    assert cells["inaccurate"].small.split("\n") == [
        "exact 0x1.8p-3 ± 2^-118 (Arb, 128 bit)",
        "got 0x1p-3 at loss",
        "for logits [0x1.8p+0], target 2",
        "ladder: gap",
    ]
    assert cells["inaccurate"].code == f"lossgauge show {trial.id} --repro --finding inaccurate"
    assert cells["graph break"].code == f"lossgauge show {trial.id}"
    html = write_report(run).read_text(encoding="utf-8")
    assert f"<code>lossgauge show {trial.id} --repro --finding inaccurate</code>" in html


def test_method_states_tiers_bounds_and_questions(tmp_path):
    run = synthetic.questioned(tmp_path)
    found = {table.caption: rows_of(table) for table in tables(Declared(run.manifest), records(run))}
    tiers = next(rows for caption, rows in found.items() if "Oracle tiers" in caption)
    assert [row[1] for row in tiers] == ["B0", "B1", "B2"]
    assert tiers[0][2] == "float32, bfloat16, float16"
    assert tiers[1][4].startswith("2^-64 N")
    assert "radius" in tiers[2][4]
    assert (
        next(rows for caption, rows in found.items() if "Protocol questions" in caption)[0][0] == "zero rows"
    )
    captions = [table.caption for table in tables(Declared({}), [])]
    assert not [caption for caption in captions if "tiers" in caption or "Protocol" in caption]


def test_every_number_column_is_described(tmp_path):
    run = synthetic.questioned(tmp_path)
    write_report(run)
    with (tmp_path / "results.csv").open(encoding="utf-8") as file:
        header = next(csv.reader(file))
    described = dict(meanings(records(run)))
    numbers = [name for name in header if f"{name}_class" in header]
    assert set(numbers) == set(described)
    for name in ("exhaustive_gap_inputs", "first_dead_gap", "norm_error_median", "loss_eta_reduction",
                 "gradient_ratio_to_upcast"):  # fmt: skip
        assert "no words for" not in described[name]
    html = (tmp_path / "report.html").read_text(encoding="utf-8").replace("<wbr>", "")
    for name in numbers:
        assert re.search(rf"<th scope=\"row\">{name}</th>", html), name


def test_a_note_stands_below_a_known_error(tmp_path):
    trial = Trial(Case("s", "mean", "r", "float16", "cpu", 4, 3, 1), "mine")
    found = (
        Finding("flushed", "note", "accuracy", "logits", "3 of 64"),
        Finding("spurious_nan", "error", "accuracy", "loss", "NaN", {}, "listed"),
        Finding("inaccurate", "warning", "accuracy", "loss", "41 ulp"),
    )
    run = Run(tmp_path, {"schema": 1, "plan": {}}, (Result(trial, "accuracy", "ok", findings=found),))
    assert [item.finding.severity for item in distinct(records(run))] == ["warning", "error", "note"]
