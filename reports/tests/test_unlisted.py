"""Probes, kinds and numbers that this version has no words for are shown, counted and never lost."""

from __future__ import annotations

import math

from harness.results import Finding, Result
from harness.run import Run
from reports.frame import frame, read_csv
from reports.report import write_report
from reports.tests import synthetic

PROBES = ("protocol", "determinism", "invalid_input", "spread", "of_a_plug_in")


def run_of(path):
    """The readable run, where every trial of one regime also answered probes of another version."""
    run = synthetic.small(path)
    trials = {r.trial.id: r.trial for r in run.results if r.trial.case.regime == "unit_normal"}
    more = []
    for trial in trials.values():
        bad = trial.implementation == "logsumexp" and trial.case.dtype == "float32"
        found = (
            Finding("mutates_rng", "error", "protocol", "upstream 3", "the generator moved", {"seed": 1}),
            Finding("of_tomorrow", "note", "protocol", "", "only told"),
        )
        more.append(
            Result(trial, "protocol", "ok", findings=found if bad else (), numbers={"questions": 31.0},
                   notes={"asked": "31 questions"})
        )  # fmt: skip
        spread = math.nan if bad else 0.25
        more.append(Result(trial, "spread", "ok", numbers={"loss_ulps_spread": spread}))
        more.append(Result(trial, "determinism", "ok", notes={"threads": "1, 2"}))
        more.append(Result(trial, "invalid_input", "crashed" if bad else "ok", "killed by SIGABRT"))
        more.append(Result(trial, "of_a_plug_in", "skipped", "not on this machine"))
    blocks = [
        {**block, "probes": {name: [*probes, *PROBES] for name, probes in block["probes"].items()}}
        if "/unit_normal/" in block["case"] else block
        for block in run.manifest["plan"]["blocks"]
    ]  # fmt: skip
    return Run(path, {**run.manifest, "plan": {"hash": "0", "blocks": blocks}}, (*run.results, *more))


def test_their_numbers_are_columns_with_classes(tmp_path):
    run = run_of(tmp_path)
    write_report(run)
    for table in (frame(run), read_csv(tmp_path / "results.csv")):
        counted = table.loss_ulps_spread_class.value_counts().to_dict()
        assert counted["nan"] == sum(
            r.trial.implementation == "logsumexp" and r.trial.case.dtype == "float32" and r.probe == "spread"
            for r in run.results
        )
        assert counted["finite"] > counted["nan"] > 0
        assert set(table.questions.dropna()) == {31.0}


def test_their_findings_decide_and_speak_for_themselves(tmp_path):
    run = run_of(tmp_path)
    html = write_report(run).read_text(encoding="utf-8")
    rows = frame(run)
    hit = rows[
        (rows.implementation == "logsumexp") & (rows.dtype == "float32") & (rows.regime == "unit_normal")
    ]
    assert set(hit.outcome) == {"mutates_rng"}
    assert set(hit.rankable) == {"excluded"}
    assert set(hit.status) == {"crashed"}
    assert ">mutates rng" in html[html.index('<table class="matrix">') :]
    assert "the generator moved" in html[html.index('<section id="findings">') :]
    method = html[html.index('<section id="method">') :].replace("<wbr>", "")
    for words in ("mutates_rng: from a probe that", "of_tomorrow: from a probe that", "loss_ulps_spread"):
        assert words in method
    assert "mutates rng" in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_a_run_of_nothing_else_is_a_report(tmp_path):
    whole = run_of(tmp_path)
    alone = tuple(result for result in whole.results if result.probe in PROBES)
    run = Run(tmp_path, {"schema": 1, "plan": {}}, alone)
    html = write_report(run).read_text(encoding="utf-8")
    assert "crashed" in html
    assert set(frame(run).rankable) == {"unproven", "excluded"}
