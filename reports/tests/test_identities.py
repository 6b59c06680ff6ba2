"""Which identities were asked, how near anybody came, which are broken, and who could not be asked."""

from __future__ import annotations

import re

from harness.results import Finding, Result
from harness.run import Run
from harness.trial import Case, Trial
from reports.declared import Declared
from reports.identities import broken, identities
from reports.matrix import matrices
from reports.ranking import standings
from reports.records import records
from reports.report import write_report

DECLARED = {"symmetric": "f(a, b) = f(b, a)", "shift_invariance": "f(x + c) = f(x)"}


def run_of(path, *answers):
    """Returns a run; (suite, implementation, dtype, share, findings, notes) each."""
    results = [
        Result(
            Trial(Case(suite, "mean", "r", dtype, "cpu", 4, 3, 1), name), "identity", "ok", "", findings,
            {"identities": 2.0 - len(notes), "identity_share": share}, notes,
        )
        for suite, name, dtype, share, findings, notes in answers
    ]  # fmt: skip
    forms = {suite: {"identities": DECLARED, "implementations": {}} for suite, *_ in answers}
    return Run(path, {"schema": 1, "plan": {}, "suites": forms}, tuple(results))


def tables(run):
    rows, declared = records(run), Declared(run.manifest)
    suites = {suite: [r for r in rows if r.trial.case.suite == suite] for suite in run.manifest["suites"]}
    return identities(suites, declared), broken(suites, declared)


def finding(name="symmetric", known=""):
    return (Finding("identity", "error", "identity", name, "loss 1 should be equal to 2", {}, known),)


LACKING = {"unsupported: shift_invariance": "takes no option weight"}


def test_a_suite_has_a_row_with_what_was_asked_and_the_nearest(tmp_path):
    asked, fallen = tables(
        run_of(tmp_path, ("s", "one", "float32", 0.42, (), {}), ("s", "two", "float16", 0.1, (), LACKING))
    )
    (row,) = asked.rows
    assert [cell.text for cell in row] == ["s", "2", "2", "0.42", "none", "1 implementation"]
    assert row[1].small == "symmetric, shift invariance"
    assert row[3].small == "one, float32"
    assert row[5].small == "two: takes no option weight"
    assert fallen is None


def test_a_broken_identity_is_named_with_its_equation_and_everybody_who_breaks_it(tmp_path):
    run = run_of(
        tmp_path,
        ("s", "one", "float32", 7.0, finding(), {}),
        ("s", "one", "float16", 0.3, (), {}),
        ("s", "two", "float32", 9.0, finding(), {}),
        ("s", "two", "float16", 9.0, finding(), {}),
        ("t", "one", "float32", 0.2, (), {}),
    )
    asked, fallen = tables(run)
    assert [(row[0].text, row[4].text, row[4].css) for row in asked.rows] == [
        ("s", "symmetric", "e"), ("t", "none", "fine"),
    ]  # fmt: skip
    assert asked.rows[0][3].text == "0.3"  # of those that hold
    (row,) = fallen.rows
    assert (row[0].text, row[1].text, row[1].css, row[1].small) == (
        "s",
        "symmetric",
        "e",
        "f(a, b) = f(b, a)",
    )
    assert row[2].text == "one (float32)\ntwo (both dtypes)"
    assert row[3].text == "loss 1 should be equal to 2"
    html = write_report(run).read_text(encoding="utf-8")
    part = re.search(r'<section id="identities">.*?</section>', html, re.DOTALL)[0]
    assert "Broken identities" in part
    assert "No identity was asked." not in part
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "## Do identities hold?" in text
    assert "one (float32)" in text


def test_a_known_broken_identity_is_shown_as_known_behind_an_open_one(tmp_path):
    _, fallen = tables(
        run_of(
            tmp_path,
            ("s", "one", "float32", 7.0, finding("shift_invariance", "listed"), {}),
            ("s", "two", "float32", 9.0, finding(), {}),
        )
    )
    assert [(row[1].text, row[1].css, row[3].small) for row in fallen.rows] == [
        ("symmetric", "e", ""), ("shift invariance", "k", "known: listed"),
    ]  # fmt: skip


def test_a_broken_identity_excludes_and_does_not_colour_the_regime(tmp_path):
    run = run_of(tmp_path, ("s", "one", "float32", 7.0, finding(), {}))
    rows = records(run)
    (standing,) = standings(rows).values()
    assert (standing.rank, standing.cause) == ("excluded", "identity in 1 of 1 case")
    (matrix,) = matrices(rows, Declared(run.manifest))
    assert matrix.bands[0].rows[0][1][0].css == ""


def test_an_older_manifest_without_identities_still_counts_them(tmp_path):
    run = run_of(tmp_path, ("s", "one", "float32", 7.0, finding(), LACKING))
    bare = Run(tmp_path, {"schema": 1, "plan": {}}, run.results)
    rows = records(bare)
    (row,) = identities({"s": rows}, Declared({})).rows
    assert (row[1].text, row[1].small) == ("2", "symmetric, shift invariance")


def test_who_was_not_asked_has_no_row(tmp_path):
    run = run_of(tmp_path, ("s", "one", "float32", 0.1, (), {}))
    silent = Run(tmp_path, run.manifest, (Result(run.results[0].trial, "accuracy", "ok"),))
    assert tables(silent) == (None, None)
    html = write_report(silent).read_text(encoding="utf-8")
    assert "No identity was asked." in html
    assert "## Do identities hold?" not in (tmp_path / "report.md").read_text(encoding="utf-8")
