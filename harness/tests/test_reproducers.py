"""Every script of a run is run alone, and one that does not fail is told and is red."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner

from harness.block import OpenBlock
from harness.cli.reproduce import main
from harness.distinct import distinct
from harness.oracle.chunks import one_thread
from harness.probes.accuracy import accuracy
from harness.reproducer.child import said_alone
from harness.results import Result, dumps
from harness.trial import Case, Trial
from suites.cross_entropy import SUITE

IDENTITY = {"torch": "2.13.0", "aten_capability": "AVX512", "python": "3.11", "cpu": "one"}


def answered(regime, name, dtype="float32"):
    case = Case(SUITE.name, "mean", regime, dtype, "cpu", 7, 10, 1)
    with one_thread():
        answer = accuracy(OpenBlock(SUITE, case, 0), name)
    return Result(Trial(case, name), "accuracy", answer.status, "", answer.findings)


@pytest.fixture(scope="module")
def native():
    return answered("confident", "native")


def stored(folder, *results):
    (folder / "results.jsonl").write_text("".join(dumps(r.to_json()) + "\n" for r in results))
    manifest = {"seed": 0, "config": {}, "command": "lossgauge run", "environment": {"identity": IDENTITY}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return str(folder)


def run(*words):
    return CliRunner().invoke(main, list(words))


def test_each_script_is_run_and_its_words_stand_on_the_page(native, tmp_path):
    worst = native.findings[0].kind
    page = tmp_path / "page.md"
    ended = run(stored(tmp_path, native), "--kind", worst, "--workers", "1", "-o", str(page))
    assert ended.exit_code == 0, ended.output
    text = page.read_text()
    rows = [line for line in text.splitlines() if line.startswith("| native |")]
    assert len(rows) == len([f for f in native.findings if f.kind == worst])
    assert f"{len(rows)} of {len(rows)} scripts fail on their own" in ended.output
    assert "## cross_entropy" in text
    assert all("logits" in row or "loss" in row for row in rows)


def test_a_finding_that_does_not_come_back_is_red_and_told(native, tmp_path):
    """Stored of one implementation, asked of one that is right: its script shows nothing."""
    forged = replace(native, trial=Trial(native.trial.case, "exact_gradient"), findings=native.findings[:1])
    ended = run(stored(tmp_path, forged), "--impl", "exact*", "--workers", "1")
    assert ended.exit_code == 1
    assert "**shows nothing**" in ended.output
    assert "0 of 1 scripts fail on their own" in ended.output


def test_without_a_finding_of_that_name_the_sentence_lists_who_is_there(native, tmp_path):
    ended = run(stored(tmp_path, native), "--impl", "nativ")
    assert ended.exit_code == 2
    assert "no finding of nativ there; it holds native." in ended.output
    assert "Traceback" not in ended.output
    assert run(str(tmp_path / "nowhere")).exit_code == 2


def test_the_same_defect_is_told_once_where_it_is_worst(native):
    milder = tuple(replace(f, severity="note") for f in native.findings)
    elsewhere = replace(native.trial.case, dtype="float64")
    other = Result(Trial(elsewhere, "native"), "accuracy", "ok", "", milder)
    found = distinct([other, native])
    assert {one.trials for one in found} == {2}
    for results in ([other, native], [native, other]):
        assert {one.dtypes for one in distinct(results)} == {("float64", "float32")}
    assert all(one.trial == native.trial for one in found if one.finding.severity != "note")
    assert [one.finding for one in distinct([native])] == [one.finding for one in found]


@pytest.mark.parametrize(
    ("text", "shows", "words"),
    [
        ("raise AssertionError('loss is 3, exact is 2')", True, "loss is 3, exact is 2"),
        ("", False, "passes"),
        ("raise KeyError('x')", False, "ended with 1: KeyError: 'x'"),
        ("import os; os.abort()", False, "ended with -6: no word"),
    ],
)
def test_only_a_failed_assertion_shows_a_finding(text, shows, words):
    said = said_alone(text)
    assert said.shows is shows
    assert said.words.startswith(words)


def test_who_does_not_end_shows_nothing():
    said = said_alone("import time; time.sleep(60)", seconds=0.5)
    assert (said.shows, said.words) == (False, "did not end within 0.5 s")
