"""A check that an answer knowing nothing would pass is listed; silence means that there is none."""

from __future__ import annotations

from harness.results import Result
from harness.run import Run
from harness.trial import Case, Trial
from reports.nulls import sentences, tables
from reports.records import records
from reports.report import write_report


def answered(path, *notes, status="ok"):
    """Returns a run of one case per entry, each answered by two implementations with the same notes."""
    results = tuple(
        Result(
            Trial(Case("s", "mean", f"r{n}", "float32", "cpu", 4, 10, 1), name),
            "accuracy",
            status,
            notes=note,
        )
        for n, note in enumerate(notes)
        for name in ("one", "two")
    )
    return Run(path, {"schema": 1, "plan": {}}, results)


def rows_of(run):
    found = tables(records(run))
    return [[cell.text for cell in row[:4]] for row in found[0].rows] if found else []


def test_every_statement_is_listed_once_with_its_cases(tmp_path):
    run = answered(
        tmp_path,
        {"vacuous": "loss accepts zeros; gradient accepts zeros"},
        {"vacuous": "loss accepts zeros", "vacuous_declared": "gradient accepts zeros: C=1"},
        {},
    )
    assert rows_of(run) == [
        ["s", "loss accepts zeros", "no", "2"],
        ["s", "gradient accepts zeros", "no", "1"],
        ["s", "gradient accepts zeros: C=1", "yes", "1"],
    ]
    assert sentences(records(run)) == []
    html = write_report(run).read_text(encoding="utf-8")
    assert "Checks that were vacuous" in html
    assert "rejected every null answer" not in html


def test_a_semicolon_inside_a_reason_does_not_end_a_statement(tmp_path):
    faint = "loss accepts zeros (a note; the gradient (of x) decides)"
    run = answered(tmp_path, {"vacuous_declared": f"{faint}; gradient accepts zeros (C=1)"})
    assert {row[1] for row in rows_of(run)} == {faint, "gradient accepts zeros (C=1)"}


def test_none_is_one_sentence(tmp_path):
    run = answered(tmp_path, {}, {})
    assert rows_of(run) == []
    assert sentences(records(run)) == [
        "Every check of accuracy rejected every null answer put to it, in 2 cases."
    ]
    assert "rejected every null answer put to it" in write_report(run).read_text(encoding="utf-8")


def test_declared_ones_alone_are_listed_and_named_in_the_sentence(tmp_path):
    run = answered(tmp_path, {"vacuous_declared": "loss accepts zeros: C=1"})
    assert rows_of(run) == [["s", "loss accepts zeros: C=1", "yes", "1"]]
    assert "but those that are declared right there, in 1 case." in sentences(records(run))[0]


def test_a_run_that_asked_nothing_says_nothing_about_it(tmp_path):
    run = answered(tmp_path, {}, status="crashed")
    assert sentences(records(run)) == []
    assert "null answer" not in write_report(run).read_text(encoding="utf-8")
