"""What `show` prints of a stored run: every form, the worst findings, reproducers, mistakes in a sentence."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys

import pytest

from harness.block import OpenBlock
from harness.cli import main
from harness.cli.show_verb import PARTS, WORST
from harness.oracle.chunks import one_thread
from harness.probes.accuracy import accuracy
from harness.results import Result, dumps
from harness.trial import Case, Trial
from suites.cross_entropy import SUITE

CONFIDENT = Case(SUITE.name, "mean", "confident", "float32", "cpu", 7, 10, 1)
OVERFLOWING = Case(SUITE.name, "mean", "near_overflow", "float32", "cpu", 7, 10, 1)
ASKED = [(CONFIDENT, "native"), (CONFIDENT, "exact_gradient"), (OVERFLOWING, "softmax_log")]
NATIVE, CLEAN, UNSTABLE = (Trial(*asked).id for asked in ASKED)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A run directory with three trials; the last finding of one was made by a question without a script."""
    folder = tmp_path_factory.mktemp("stored")
    lines = []
    with one_thread():
        for case, name in ASKED:
            answer = accuracy(OpenBlock(SUITE, case, 0), name)
            lines.append(
                Result(
                    Trial(case, name),
                    "accuracy",
                    answer.status,
                    "",
                    answer.findings,
                    answer.numbers,
                    answer.notes,
                )
            )
    (folder / "results.jsonl").write_text("".join(dumps(r.to_json()) + "\n" for r in lines), encoding="utf-8")
    identity = {"torch": "2.13.0+cpu", "aten_capability": "AVX512", "python": "3.11.7", "cpu": "one"}
    manifest = {"seed": 0, "config": {}, "command": "lossgauge run", "environment": {"identity": identity}}
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder


def shown(stored, capsys, *words, layout="text", code=0):
    assert main(["--format", layout, "show", *words, "--run", str(stored)]) == code
    out, err = capsys.readouterr()
    return err if code else out


def test_a_trial_is_shown_with_numbers_findings_and_witnesses(stored, capsys):
    out = shown(stored, capsys, NATIVE)
    assert out.startswith(f"{NATIVE}\n\naccuracy: ok\n")
    assert "  warning " in out
    assert "      truth: -0x" in out


def test_every_format_holds_every_number_finding_and_witness(stored, capsys):
    (form,) = json.loads(shown(stored, capsys, NATIVE, layout="json"))
    rows = list(csv.DictReader(io.StringIO(shown(stored, capsys, NATIVE, layout="csv"))))
    assert tuple(rows[0]) == PARTS
    assert (rows[0]["part"], rows[0]["name"]) == ("status", "ok")
    assert {row["name"] for row in rows if row["part"] == "number"} == set(form["numbers"])
    kinds = [(row["part"], row["name"]) for row in rows if row["part"] in ("note", "warning", "error")]
    assert [(f["severity"], f["kind"]) for f in form["findings"]] == [k for k in kinds if k[0] != "note"]
    witnesses = [row["name"] for row in rows if row["part"] == "witness"]
    assert witnesses == [part for f in form["findings"] for part in f["witness"]]
    lines = shown(stored, capsys, NATIVE, layout="md").splitlines()
    assert lines[0] == f"| {' | '.join(PARTS)} |"
    assert len(lines) == 2 + len(rows)


def test_a_certified_ball_is_said_in_words(stored, capsys):
    (form,) = json.loads(shown(stored, capsys, NATIVE, layout="json"))
    ball = next(f["witness"]["ball"] for f in form["findings"] if f["severity"] != "note")
    (line, *_) = [
        row for row in shown(stored, capsys, NATIVE).splitlines() if row.strip().startswith("ball:")
    ]
    assert line.strip() == (
        f"ball: |exact - ({ball['middle']} + {ball['tail']})| <= {ball['radius']} "
        f"(B2, {ball['precision']} bits)"
    )


def test_the_worst_findings_are_distinct_and_the_worst_severity_comes_first(stored, capsys):
    rows = json.loads(shown(stored, capsys, "--worst", "50", layout="json"))
    assert tuple(rows[0]) == WORST
    severities = [row["severity"] for row in rows]
    assert severities == sorted(severities, key=["error", "warning", "note"].index)
    assert severities[0] == "error"
    assert {row["trial"] for row in rows if row["severity"] == "error"} == {UNSTABLE}
    keys = [(row["implementation"], row["kind"], row["group"], row["probe"]) for row in rows]
    assert len(keys) == len(set(keys)) > 3
    assert len(json.loads(shown(stored, capsys, "--worst", "2", layout="json"))) == 2
    text = shown(stored, capsys, "--worst", "2").splitlines()
    assert text[0].startswith("error ")
    assert UNSTABLE in text[0]
    assert shown(stored, capsys, "--worst", "2", layout="csv").splitlines()[0] == ",".join(WORST)


def test_a_reproducer_fails_alone_and_passes_with_another_implementation_in_its_place(
    stored, capsys, tmp_path
):
    with one_thread():
        text = shown(stored, capsys, NATIVE, "--repro")
        mended = shown(stored, capsys, NATIVE, "--repro", "--stand-in", "exact_gradient")
    for script, code in ((text, 1), (mended, 0)):
        path = tmp_path / "script.py"
        path.write_text(script, encoding="utf-8")
        done = subprocess.run([sys.executable, "-I", path], capture_output=True, text=True, timeout=120)
        assert done.returncode == code, done.stderr
    assert "NOTE     exact_gradient stands in the place of native" in mended
    assert "# measured torch 2.13.0+cpu, CPU capability AVX512" in text


def test_the_finding_of_a_reproducer_is_the_worst_or_the_one_that_is_named(stored, capsys):
    with one_thread():
        first = shown(stored, capsys, UNSTABLE, "--repro")
        named = shown(stored, capsys, UNSTABLE, "--repro", "--finding", "spurious_overflow")
    assert "# finding  error " in first
    assert "# finding  error spurious_overflow [loss]" in named


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "give one trial id, or --worst N"),
        ((NATIVE, "--worst", "3"), "give one trial id, or --worst N"),
        ((NATIVE, "--finding", "inaccurate"), "choose what --repro prints; add --repro"),
        ((CLEAN, "--repro"), "nothing was found there; it is clean."),
        ((UNSTABLE, "--repro", "--finding", "spurious_nam"), "Did you mean 'spurious_nan'?"),
        ((NATIVE, "--repro", "--stand-in", "exact_gradent"), "Did you mean 'exact_gradient'?"),
        ((NATIVE.replace("native", "nativ"),), f"Did you mean '{NATIVE}'?"),
    ],
)
def test_mistakes_are_one_sentence_and_exit_code_2(words, said, stored, capsys):
    err = shown(stored, capsys, *words, code=2)
    assert said in err
    assert err.count("\n") == 1


def test_a_question_without_a_script_says_so_and_where_to_look(stored, capsys, tmp_path):
    lines = [json.loads(line) for line in (stored / "results.jsonl").read_text().splitlines()]
    for line in lines:
        for finding in line["findings"]:
            finding["witness"] = {**finding["witness"], "question": "layout: transposed"}
    (tmp_path / "results.jsonl").write_text("".join(dumps(line) + "\n" for line in lines), encoding="utf-8")
    (tmp_path / "manifest.json").write_text((stored / "manifest.json").read_text(), encoding="utf-8")
    err = shown(tmp_path, capsys, NATIVE, "--repro", code=2)
    assert f"no reproducer yet for question layout: transposed: see `lossgauge show {NATIVE}`" in err


def test_showing_imports_no_torch(stored):
    code = (
        "import sys; from harness.cli import main; main(sys.argv[1:]); "
        "sys.exit('torch' in sys.modules or 'pandas' in sys.modules)"
    )
    for words in ([NATIVE], ["--worst", "3"]):
        command = [sys.executable, "-c", code, "show", *words, "--run", str(stored)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def from_a_stranger(stored, tmp_path):
    """A copy of the run whose manifest asks for a suite file that writes a mark when it is loaded."""
    mark, suite, folder = tmp_path / "mark", tmp_path / "theirs.py", tmp_path / "run"
    suite.write_text(
        f"import pathlib; pathlib.Path({str(mark)!r}).touch()\nfrom suites.cross_entropy import SUITE\n",
        encoding="utf-8",
    )
    folder.mkdir()
    (folder / "results.jsonl").write_bytes((stored / "results.jsonl").read_bytes())
    manifest = json.loads((stored / "manifest.json").read_text(encoding="utf-8"))
    selection = {"suites": [str(suite)], "implementations": [], "inputs": "", "known_bad": False}
    text = json.dumps({**manifest, "selection": selection})
    (folder / "manifest.json").write_text(text, encoding="utf-8")
    return folder, suite, mark


def test_a_run_directory_is_not_trusted_to_load_code(from_a_stranger, capsys):
    folder, suite, mark = from_a_stranger
    err = shown(folder, capsys, NATIVE, "--repro", code=2)
    assert f"add --suite {suite}" in err
    assert not mark.exists()


def test_code_that_the_user_names_is_loaded(from_a_stranger, capsys):
    folder, suite, mark = from_a_stranger
    assert "def main():" in shown(folder, capsys, NATIVE, "--repro", "--suite", str(suite))
    assert mark.exists()


@pytest.mark.parametrize("reference", ["theirs:SUITE", "somewhere/theirs.py"])
def test_a_command_text_is_not_trusted_either(reference, stored, capsys, tmp_path):
    (tmp_path / "results.jsonl").write_bytes((stored / "results.jsonl").read_bytes())
    manifest = json.loads((stored / "manifest.json").read_text(encoding="utf-8"))
    config = {"suite": {"value": [reference]}}
    text = json.dumps({**manifest, "config": config, "command": f"lossgauge run --suite {reference}"})
    (tmp_path / "manifest.json").write_text(text, encoding="utf-8")
    assert f"add --suite {reference}" in shown(tmp_path, capsys, NATIVE, "--repro", code=2)
