"""The page on writing a suite: its ten lines run, its snippets are the file's, and the file is a suite."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from harness.block import Answer, OpenBlock
from harness.conformance import departures, main
from harness.discovery import Selection, discover
from harness.known import annotated, stale
from harness.oracle.certification import certificates
from harness.probes.registry import ask
from harness.results import Result
from harness.sample import Shape
from harness.sweep import Sweep, planned
from harness.trial import Case, Trial

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "write_a_suite.md").read_text(encoding="utf-8")
FENCES = re.findall(r"```(python)?\n(.*?)```", PAGE, re.DOTALL)
# What is indented is a part of the file's constant.
TEN_LINES, *PARTS, EXTENDED = [text for python, text in FENCES if python or text.startswith("    ")]
CAUCHY = discover(Selection(suites=(str(DOCS / "cauchy.py"),), known_bad=True)).suites["cauchy"]


def written(path: Path, text: str):
    path.write_text(text, encoding="utf-8")
    (suite,) = discover(Selection(suites=(str(path),))).suites.values()
    return suite


def accuracy(suite, name: str, dtype: str) -> Answer:
    home = suite.regimes[0].name
    case = Case(suite.name, suite.variants[0].name, home, dtype, "cpu", *suite.shapes.usual, 1)
    return ask("accuracy", OpenBlock(suite, case, 0), name)


def test_the_ten_lines_find_what_the_page_says(tmp_path):
    statements = [line for line in TEN_LINES.splitlines() if line.strip(" )],")]
    assert len(statements) <= 13
    suite = written(tmp_path / "cauchy.py", TEN_LINES)
    assert not [f for f in accuracy(suite, "mine", "float32").findings if f.severity == "error"]
    assert "spurious_overflow" in {f.kind for f in accuracy(suite, "mine", "float16").findings}


@pytest.mark.parametrize("part", PARTS)
def test_every_other_snippet_stands_in_the_file(part):
    assert part in (DOCS / "cauchy.py").read_text(encoding="utf-8")


def test_an_implementation_is_added_to_a_family_in_three_lines(tmp_path):
    suite = written(tmp_path / "mine.py", EXTENDED)
    assert suite.implementations[-1].name == "mine"
    answer = accuracy(suite, "mine", "float32")
    assert answer.status == "ok"
    assert not [finding for finding in answer.findings if finding.severity == "error"]


def test_the_file_conforms_and_is_certified(capsys):
    assert departures(CAUCHY) == []
    assert main([str(DOCS / "cauchy.py")]) == 0
    assert capsys.readouterr().out == "cauchy: conforms\n"
    for certificate in certificates([CAUCHY], shapes=(Shape(5, 7),)):
        assert certificate.misses == ()


def test_a_suite_that_is_not_there_is_a_mistake_of_the_call_and_owes_nothing(capsys):
    assert main(["cross_entrophy"]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("conformance: ")
    assert "Did you mean 'cross_entropy'?" in told.err
    assert told.err.count("\n") == 1


def test_a_suite_that_owes_something_is_1(tmp_path, capsys):
    path = tmp_path / "owing.py"
    text = (DOCS / "cauchy.py").read_text(encoding="utf-8")
    path.write_text(text.replace("baseline=True", "baseline=False"), encoding="utf-8")
    assert main([str(path)]) == 1
    assert "no implementation is the baseline" in capsys.readouterr().out


def test_everything_found_in_the_file_is_listed_in_it_and_its_mistake_is_found():
    results = []
    for block in planned(Sweep(devices=("cpu",)), {CAUCHY.name: CAUCHY}).blocks:
        opened = OpenBlock(CAUCHY, block.case, 0)
        for probe, name in block.questions():
            if probe in ("accuracy", "overflow", "identity"):
                answer = ask(probe, opened, name)
                assert answer.status == "ok", answer.reason
                made = Result(Trial(block.case, name), probe, answer.status, findings=answer.findings)
                results.append(annotated(made, CAUCHY.implementation(name), torch.__version__))
    unlisted = {
        (result.trial.implementation, finding.kind)
        for result in results
        for finding in result.findings
        if finding.severity != "note" and not finding.known
    }
    assert {name for name, _ in unlisted} == {"log_of_the_mean"}
    assert ("log_of_the_mean", "inaccurate") in unlisted
    assert stale({CAUCHY.name: CAUCHY}, results, torch.__version__) == []


def test_the_page_is_short():
    assert len(PARTS) == 4
    assert PAGE.count("\n") <= 120
