"""Markdown for a pull request: verdict first, tables that no text can break, never above 60 kB."""

from __future__ import annotations

import re

from harness.results import Finding, Result
from harness.run import Run
from harness.trial import Case, Trial
from reports.markdown import MOST_BYTES
from reports.report import write_report
from reports.tests import synthetic


def markdown(run):
    write_report(run)
    return (run.path / "report.md").read_text(encoding="utf-8")


def test_the_verdict_comes_first_then_the_counts(tmp_path):
    lines = markdown(synthetic.small(tmp_path)).splitlines()
    assert lines[0].startswith("Incomplete, 5 of 273 trials without a full answer.")
    assert lines[2].startswith("clean 207 · known 3")


def test_tables_keep_their_columns(tmp_path):
    text = markdown(synthetic.small(tmp_path))
    tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert len(tables) == 3
    for table in tables:
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1
    assert len(tables[1].splitlines()) <= 2 + 20


def test_hostile_text_is_escaped(tmp_path):
    case = Case("s", "mean", "r", "float32", "cpu", 64, 10, 1)
    found = Finding("raises", "error", "accuracy", "loss", "a | b\n</details><script>`x` @everyone")
    run = Run(
        tmp_path,
        {"schema": 1, "plan": {}},
        (Result(Trial(case, "mine"), "accuracy", "ok", findings=(found,)),),
    )
    text = markdown(run)
    assert "<script>" not in text
    assert "a \\| b" in text
    assert "@everyone" not in text
    assert text.count("</details>") == text.count("<details>")


def test_a_flood_of_findings_stays_below_the_limit(tmp_path):
    case = Case("s", "mean", "r", "float32", "cpu", 64, 10, 1)
    long = "é" * 20_000
    found = (Finding("raises", "error", "accuracy", "loss", long),)
    results = tuple(Result(Trial(case, f"mine_{n}"), "accuracy", "ok", findings=found) for n in range(40))
    text = markdown(Run(tmp_path, {"schema": 1, "plan": {}, "broken_suites": [long] * 9}, results))
    assert len(text.encode()) <= MOST_BYTES
    assert "report.html holds everything" in text


def test_an_empty_run_has_a_verdict_too(tmp_path):
    assert markdown(synthetic.empty(tmp_path)).startswith("Nothing was planned and nothing was measured")


def test_a_fused_implementation_is_said_to_be_so_and_the_word_is_explained(tmp_path):
    text = markdown(synthetic.small(tmp_path))
    speed = text[text.index("<summary>Speed</summary>") :]
    timed = [line for line in speed.splitlines() if line.startswith("| ") and "compiled" in line]
    assert timed
    assert all("compiled fused |" in line for line in timed)
    assert "fused" not in next(line for line in speed.splitlines() if "| logsumexp" in line)
    assert "★ compiled fused (" in text
    assert "fused: forward already computes the gradient" in text
    unfused = synthetic.without(synthetic.small(tmp_path), "timing")
    assert "fused" not in markdown(unfused)
