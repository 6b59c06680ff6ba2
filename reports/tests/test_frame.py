"""The frame keeps what pandas would merge: NaN that was measured, and a number that never was."""

from __future__ import annotations

import math

import numpy as np
import pytest

from harness.results import QUANTITIES, Finding, Result, dumps
from harness.run import Run, load_run
from harness.trial import parse_trial
from reports import load
from reports.frame import LABELS, frame, frame_of, read_csv, write_csv
from reports.ranking import standings
from reports.records import records
from reports.tests import synthetic

TRIAL = "cross_entropy/mean/unit_normal/float32-cpu-b64-c10-t1/naive"


def run_of(path, *results, plan=()):
    blocks = [{"case": TRIAL.rpartition("/")[0], "probes": dict(plan)}] if plan else []
    return Run(path, {"schema": 1, "plan": {"hash": "0", "blocks": blocks}}, tuple(results))


def accuracy(trial=TRIAL, status="ok", **numbers):
    return Result(parse_trial(trial), "accuracy", status, numbers=numbers)


def test_every_quantity_has_a_companion_class(tmp_path):
    table = frame(synthetic.small(tmp_path))
    assert list(table.columns[: len(LABELS)]) == list(LABELS)
    for quantity in QUANTITIES:
        assert {quantity.name, f"{quantity.name}_class"} <= set(table.columns)
    assert {"first_failing_scale", "first_dead_gap_class"} <= set(table.columns)


def test_one_row_per_trial_with_unique_ids(tmp_path):
    run = synthetic.small(tmp_path)
    table = frame(run)
    planned = sum(len(block["probes"]) for block in run.manifest["plan"]["blocks"])
    assert len(table) == planned == table.trial.nunique()


@pytest.mark.parametrize(
    ("value", "name"), [(1.5, "finite"), (math.nan, "nan"), (math.inf, "inf"), (-math.inf, "-inf")]
)
def test_classes_survive_csv(tmp_path, value, name):
    run = run_of(tmp_path, accuracy(loss_ulps=value))
    rows = records(run)
    write_csv(rows, standings(rows), tmp_path / "results.csv")
    for table in (frame(run), read_csv(tmp_path / "results.csv")):
        assert table.loss_ulps_class[0] == name
        assert table.gradient_ulps_class[0] == "absent"
        assert np.array_equal(table.loss_ulps, [value], equal_nan=True)
        assert math.isnan(table.gradient_ulps[0])


def test_csv_and_frame_agree(tmp_path):
    rows = records(synthetic.small(tmp_path))
    ranks = standings(rows)
    write_csv(rows, ranks, tmp_path / "results.csv")
    made, read = frame_of(rows, ranks), read_csv(tmp_path / "results.csv")
    assert list(made.columns) == list(read.columns)
    for name in made.columns:
        assert made[name].astype(str).tolist() == read[name].astype(str).tolist(), name


def test_numbers_of_a_failed_probe_are_not_read(tmp_path):
    table = frame(run_of(tmp_path, accuracy(status="out_of_memory", loss_ulps=0.5)))
    assert table.loss_ulps_class[0] == "absent"
    assert table.status[0] == "out_of_memory"


def test_planned_trial_without_result_is_a_row(tmp_path):
    table = frame(run_of(tmp_path, accuracy(), plan={"naive": ["accuracy"], "native": ["accuracy"]}))
    assert dict(zip(table.implementation, table.status, strict=True)) == {"naive": "ok", "native": "not_run"}
    assert table.outcome.tolist() == ["clean", "clean"]


def test_unanswered_probe_is_named(tmp_path):
    rows = records(run_of(tmp_path, accuracy(), plan={"naive": ["accuracy", "timing"]}))
    assert rows[0].unanswered == ("timing",)
    assert not rows[0].complete
    assert "timing" in rows[0].reason


def test_admission_ends_a_trial(tmp_path):
    refused = Result(parse_trial(TRIAL), "admission", "unsupported", reason="no kernel")
    rows = records(run_of(tmp_path, refused, plan={"naive": ["accuracy", "timing"]}))
    assert rows[0].complete
    assert (rows[0].status, rows[0].reason) == ("unsupported", "no kernel")


def test_severity_leaves_known_findings_out(tmp_path):
    known = Finding("dead_gradient", "error", "accuracy", "target", "0", {}, "listed")
    open_one = Finding("inaccurate", "warning", "accuracy", "loss", "41 ulp")
    result = Result(parse_trial(TRIAL), "accuracy", "ok", findings=(known, open_one))
    table = frame(run_of(tmp_path, result))
    assert table.severity[0] == "warning"
    assert table.outcome[0] == "inaccurate"
    assert table.findings[0] == "inaccurate:loss;dead_gradient:target"


def test_load_reads_a_run_directory(tmp_path):
    run = synthetic.small(tmp_path)
    (tmp_path / "manifest.json").write_text(dumps(run.manifest))
    (tmp_path / "results.jsonl").write_text("".join(f"{dumps(r.to_json())}\n" for r in run.results))
    assert len(load_run(tmp_path).results) == len(run.results)
    assert load(tmp_path).equals(frame(run))


def test_no_trial_at_all_is_an_empty_frame(tmp_path):
    rows = records(synthetic.empty(tmp_path))
    write_csv(rows, standings(rows), tmp_path / "results.csv")
    assert len(frame(synthetic.empty(tmp_path))) == 0
    assert list(read_csv(tmp_path / "results.csv").columns[:2]) == ["trial", "suite"]
