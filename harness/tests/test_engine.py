"""Whatever an implementation does, it costs one Result of its own and nobody else anything."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path

import psutil
import pytest
import torch

from harness.discovery import Selection, discover
from harness.engines import MOST_HANGS, Limits
from harness.probes.timing import Measure
from harness.run import read_results
from harness.runner import Order, Runner
from harness.sweep import Sweep, planned
from harness.tests.suites_for_tests.misbehaving import SLEEP_SECONDS
from harness.transport import describe_end

LOSSGAUGE = Path(sys.executable).with_name("lossgauge")
SUITE = Path(__file__).parent / "suites_for_tests" / "misbehaving.py"
MARK = "MARK_OF_TEST_ENGINE"
APART = ("greedy", "raises_half_a_character", "cancels", "turns_gradients_off")
MIB = 1 << 20

# name: status of accuracy, kind of its finding, words of the reason or of the finding's message
EXPECTED = {
    "hangs": ("timed_out", None, "no answer within 5 s"),
    "raises": ("ok", "raises", "RuntimeError: a loss that does not want to"),
    "exits": ("crashed", None, "SystemExit(exits: enough)"),
    "exits_hard": ("crashed", None, "exited with status 3"),
    "segfaults": ("crashed", None, "killed by SIGSEGV"),
    "kills_itself": ("crashed", None, "killed by SIGKILL"),
    "shouts": ("ok", None, ""),
    "reads_stdin": ("ok", None, ""),
    "wrong_shape": ("ok", "shape", "loss has shape (4,), the contract says ()"),
    "returns_none": ("ok", "shape", "returned NoneType instead of a loss tensor"),
    "leaves_a_child": ("ok", None, ""),
    "empties_environment": ("ok", None, ""),
    "tires": ("ok", None, ""),
    "good": ("ok", None, ""),
}
RIGHT = ("shouts", "reads_stdin", "leaves_a_child", "empties_environment", "good")


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """The whole suite run once by the command line; processes it started carry a mark."""
    folder = tmp_path_factory.mktemp("engine")
    mark = uuid.uuid4().hex
    flags = "--probe accuracy,timing --dtype float32 --batch 4 --classes 3 --timeout 5s --processes 1"
    flags += " --rounds 2 --min-time 1ms --workers 2 --no-report --out run"
    done = subprocess.run(
        [LOSSGAUGE, "run", "--suite", SUITE, *flags.split(), "-f", f"impl!={','.join(APART)}"],
        cwd=folder,
        env={**os.environ, MARK: mark},
        input="0: this is the terminal of the driver, not of an implementation\n",
        capture_output=True,
        text=True,
        timeout=300,
    )
    results, torn = read_results(folder / "run" / "results.jsonl")
    assert torn == 0
    return done, results, mark, folder / "run"


def answers(results, name, probe):
    return [r for r in results if r.trial.implementation == name and r.probe == probe]


@pytest.mark.parametrize("name", EXPECTED)
def test_each_costs_one_accuracy_result_that_names_what_happened(ended, name):
    (result,) = answers(ended[1], name, "accuracy")
    status, kind, words = EXPECTED[name]
    assert result.status == status, result.reason
    assert [f.kind for f in result.findings if f.severity != "note"] == ([kind] if kind else [])
    assert words in (result.findings[0].message if kind else result.reason)


@pytest.mark.parametrize("name", [n for n, (status, _, _) in EXPECTED.items() if status != "ok"])
def test_what_died_is_not_timed_and_says_why(ended, name):
    (timing,) = answers(ended[1], name, "timing")
    assert timing.status == "skipped"
    assert "an earlier probe" in timing.reason


@pytest.mark.parametrize("name", ["raises", "wrong_shape", "returns_none"])
def test_what_gives_no_answer_is_not_timed(ended, name):
    (timing,) = answers(ended[1], name, "timing")
    assert (timing.status, timing.numbers) == ("skipped", {})


@pytest.mark.parametrize("name", RIGHT)
def test_what_is_right_is_clean_and_timed(ended, name):
    (accuracy,) = answers(ended[1], name, "accuracy")
    (timing,) = answers(ended[1], name, "timing")
    assert "loss_ulps" in accuracy.numbers
    assert timing.status == "ok", timing.reason
    assert timing.numbers["samples"] == 2
    assert timing.numbers["ratio_low"] <= timing.numbers["ratio"] <= timing.numbers["ratio_high"]


def test_a_death_during_timing_is_told_as_such(ended):
    (timing,) = answers(ended[1], "tires", "timing")
    assert timing.status == "crashed"
    assert timing.reason == "exited with status 7 during timing"
    assert "tires: last words" in timing.notes["output"]


@pytest.mark.parametrize("name", ["hangs", "exits_hard", "segfaults", "kills_itself"])
def test_the_last_words_of_a_worker_are_kept(ended, name):
    (result,) = answers(ended[1], name, "accuracy")
    assert f"{name}: last words" in result.notes["output"]
    assert len(result.notes["output"]) <= 2000


def test_the_run_says_that_it_is_incomplete_and_shows_no_traceback(ended):
    done = ended[0]
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert "! timed_out" in done.stderr
    assert done.stdout == "results run\n"


def test_nothing_that_implementations_print_reaches_the_terminal(ended):
    done = ended[0]
    assert "shout" not in done.stdout.replace("/shouts", "")
    assert "raw raw" not in done.stdout + done.stderr
    assert "last words" not in done.stdout + done.stderr


def test_coverage_counts_every_trial(ended):
    form = json.loads((ended[3] / "manifest.json").read_text())
    counted = dict(form["coverage"])
    assert counted.pop("expected") == len(EXPECTED) == sum(counted.values())
    assert (counted["timed_out"], counted["crashed"]) == (1, 5)


def test_no_process_of_the_run_is_left(ended):
    mark = ended[2]
    left = []
    for process in psutil.process_iter():
        try:
            marked = process.environ().get(MARK) == mark
            child = process.cmdline() == ["sleep", SLEEP_SECONDS]
        except psutil.Error:
            continue
        if (marked or child) and process.status() != psutil.STATUS_ZOMBIE:
            left.append(process.cmdline())
    assert left == []


def driven(folder, *names, limits=None, probes=("accuracy",), batches=(4,)):
    """Runs some implementations of the suite through the Runner in this very process."""
    selection = Selection(suites=(str(SUITE),), implementations=names)
    discovered = discover(selection)
    sweep = Sweep(dtypes=("float32",), devices=("cpu",), batches=batches, classes=(3,), probes=probes)
    order = Order(
        folder, selection, workers=1, limits=limits or Limits(20.0), measure=Measure(processes=1, rounds=2)
    )
    told = []
    runner = Runner(
        planned(sweep, discovered.suites),
        discovered,
        order,
        torch.__version__,
        lambda *words: told.append(words),
    )
    found = list(runner.results())
    results = {r.trial.implementation: r for r in found}
    assert set(results) == set(names)
    return (results if len(batches) == 1 else found), told


def test_memory_without_bound_is_out_of_memory_and_costs_nobody_else(tmp_path):
    results, told = driven(tmp_path, "greedy", "good", limits=Limits(20.0, 1536 * MIB))
    assert results["greedy"].status == "out_of_memory", results["greedy"].reason
    assert "memory" in results["greedy"].reason
    assert results["good"].status == "ok"
    assert results["good"].findings == ()
    assert told[-1] == ("answers", 2, 2)


def test_who_hangs_three_times_is_not_asked_again(tmp_path):
    # An innocent first answer takes more than one second where torch's modules have no bytecode yet.
    found, told = driven(tmp_path, "hangs", "good", limits=Limits(4.0), batches=(2, 3, 4, 5, 6))
    by_name = {name: [r for r in found if r.trial.implementation == name] for name in ("hangs", "good")}
    assert [r.status for r in by_name["hangs"]].count("timed_out") == MOST_HANGS == 3
    skipped = [r for r in by_name["hangs"] if r.status == "skipped"]
    assert len(skipped) == 2
    assert {r.reason for r in skipped} == {"gave no answer within its time on 3 other questions; see there"}
    assert [r.status for r in by_name["good"]] == ["ok"] * 5
    assert told[-1] == ("answers", 10, 10)


def test_an_exception_outside_exception_costs_only_its_own_trial(tmp_path):
    results, _ = driven(tmp_path, "cancels", "good")
    assert results["cancels"].status == "crashed"
    assert "CancelledError" in results["cancels"].reason
    assert results["good"].status == "ok"


def test_a_text_that_utf8_cannot_hold_costs_only_its_own_trial(tmp_path):
    results, _ = driven(tmp_path, "raises_half_a_character", "good")
    assert [f.kind for f in results["raises_half_a_character"].findings] == ["raises"]
    assert "no file" in results["raises_half_a_character"].findings[0].message
    assert results["good"].status == "ok"
    assert len(read_results(tmp_path / "results.jsonl")[0]) == 2


def test_state_that_one_leaves_behind_accuses_nobody_else(tmp_path):
    results, _ = driven(tmp_path, "turns_gradients_off", "good")
    assert [f.kind for f in results["turns_gradients_off"].findings] == ["no_gradient"]
    assert results["good"].findings == ()


@pytest.mark.parametrize(
    ("status", "words"),
    [(-9, "killed by SIGKILL"), (3, "exited with status 3"), (-200, "killed by signal 200"), (0, "status 0")],
)
def test_the_end_of_a_process_in_words(status, words):
    assert words in describe_end(status)
