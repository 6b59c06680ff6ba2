"""What is on disk is never measured again, never mixed up and never lost."""

from __future__ import annotations

import importlib
import json
import math
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch

from harness import Implementation, Regime, Sample, Suite, Variant
from harness.errors import RunError
from harness.journal import Journal, SampleLog, cut_torn_line, journal_key
from harness.results import Finding, Result
from harness.run import json_lines, load_run, newest, read_results
from harness.sources import module_hash, source_hash
from harness.trial import parse_trial

LOSSGAUGE = Path(sys.executable).with_name("lossgauge")
TRIAL = parse_trial("s/mean/r/float32-cpu-b4-c3-t1/mine")
NUMBERS = {"a": math.nan, "b": math.inf, "c": -math.inf, "d": 0.1, "e": -0.0}
FINDING = Finding("inaccurate", "error", "accuracy", "loss", "worst 2×10⁵", {"truth": "0x1p-3"}, "known")
RESULT = Result(TRIAL, "accuracy", "ok", "fine", (FINDING,), NUMBERS, {"note": "λ\n"}, spent_seconds=0.5)


def test_a_line_round_trips_with_nan_and_infinities_as_words(tmp_path):
    path = tmp_path / "results.jsonl"
    journal = Journal(path)
    stored = journal.append(RESULT, "key")
    journal.close()
    (line,) = path.read_text(encoding="utf-8").splitlines()
    refused = []
    form = json.loads(line, parse_constant=refused.append)
    assert refused == []
    assert form["numbers"] == {"a": "nan", "b": "inf", "c": "-inf", "d": 0.1, "e": -0.0}
    ((back,), torn) = read_results(path)
    assert torn == 0
    assert (back.key, back.attempt) == ("key", 1)
    assert math.isnan(back.numbers["a"])
    assert math.copysign(1, back.numbers["e"]) == -1
    assert repr(back) == repr(stored)


def test_every_line_is_synced_before_append_returns(tmp_path, monkeypatch):
    path, seen = tmp_path / "results.jsonl", []
    monkeypatch.setattr(os, "fsync", lambda descriptor: seen.append(path.read_bytes().count(b"\n")))
    journal = Journal(path)
    for _ in range(3):
        journal.append(RESULT, "key")
    journal.close()
    assert seen == [1, 2, 3]


def test_attempts_count_up_per_question_and_the_newest_wins(tmp_path):
    path = tmp_path / "results.jsonl"
    journal = Journal(path)
    assert [journal.append(RESULT, "k").attempt for _ in range(2)] == [1, 2]
    journal.close()
    journal = Journal(path)
    assert journal.append(RESULT, "new").attempt == 3
    assert journal.append(Result(TRIAL, "memory", "ok"), "new").attempt == 1
    assert journal.reusable(TRIAL.id, "accuracy", "new").attempt == 3
    assert journal.reusable(TRIAL.id, "accuracy", "k") is None
    assert journal.reusable(TRIAL.id, "timing", "new") is None
    journal.close()
    found = newest(read_results(path)[0])
    assert [(r.probe, r.attempt) for r in found] == [("accuracy", 3), ("memory", 1)]


def written(path, lines=2):
    journal = Journal(path)
    for _ in range(lines):
        journal.append(RESULT, "key")
    journal.close()
    return path.read_bytes()


@pytest.mark.parametrize("where", ["middle", "one byte", "inside a character", "only the newline"])
def test_a_torn_last_line_is_dropped_counted_and_cut_before_appending(tmp_path, where):
    path = tmp_path / "results.jsonl"
    whole = written(path)
    first, last, _ = whole.split(b"\n")
    kept = {
        "middle": len(last) // 2,
        "one byte": 1,
        "inside a character": last.index("⁵".encode()) + 1,
        "only the newline": len(last),
    }[where]
    path.write_bytes(first + b"\n" + last[:kept])
    results, torn = read_results(path)
    assert len(results) + torn == 2
    journal = Journal(path)
    assert journal.torn_lines == torn
    journal.append(RESULT, "after")
    journal.close()
    results, torn = read_results(path)
    assert torn == 0
    assert [r.key for r in results][-1] == "after"
    assert path.read_bytes().startswith(first + b"\n")


def test_cutting_a_file_without_a_whole_line_empties_it(tmp_path):
    path = tmp_path / "samples.jsonl"
    path.write_bytes(b'{"trial":')
    assert json_lines(path) == ([], 1)
    cut_torn_line(path)
    assert path.read_bytes() == b""
    log = SampleLog(path)
    log.append({"trial": "x"})
    log.flush()
    log.close()
    assert json_lines(path) == ([{"trial": "x"}], 0)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda line: line[: len(line) // 2], "line 2 is not JSON"),
        (lambda line: b"3", "result 2 lacks or garbles"),
        (lambda line: line.replace(b'"status"', b'"stat"'), "result 2 lacks or garbles 'status'"),
        (lambda line: line.replace(b'"nan"', b'"nought"'), "result 2 lacks or garbles 'nought'"),
        (lambda line: b"\xff" + line, "line 2"),
        (lambda line: line.replace(b'"ok"', b'"fine"', 1), "result 2 lacks or garbles 'fine', allowed: ok, "),
        (lambda line: line.replace(b'"error"', b'"fatal"'), "garbles 'fatal', allowed: note, warning, error"),
    ],
    ids=["cut", "number", "key", "word", "bytes", "status", "severity"],
)
def test_damage_elsewhere_is_an_error_that_names_the_line(tmp_path, damage, words):
    path = tmp_path / "results.jsonl"
    lines = written(path, 3).split(b"\n")
    path.write_bytes(b"\n".join([lines[0], damage(lines[1]), *lines[2:]]))
    with pytest.raises(RunError) as raised:
        Journal(path)
    assert words in str(raised.value)
    assert "--fresh" in str(raised.value)


def test_every_part_of_the_question_changes_the_key():
    parts = [("t", "accuracy", 0, "h"), ("u", "accuracy", 0, "h"), ("t", "memory", 0, "h")]
    parts += [("t", "accuracy", 1, "h"), ("t", "accuracy", 0, "i")]
    assert len({journal_key(*part) for part in parts}) == len(parts)
    assert journal_key(*parts[0]) == journal_key(*parts[0])


def per_row(p, t, scale=1.0):
    return scale * (p - t).abs().mean(1)


def normal(shape, finfo, generator):
    return Sample(p=torch.randn(shape, generator=generator, dtype=torch.float64))


def family(*variants, **changes):
    item = Implementation(partial(torch.nn.functional.l1_loss, **changes), name="l1")
    return Suite(
        "f", per_row, (item,), (Regime(normal),), variants or (Variant("mean"),), options={"scale": 1.0}
    )


@pytest.mark.parametrize(
    "changed",
    [family(reduction="sum"), family(Variant("mean", scale=2.0))],
    ids=["argument of a partial", "option of a variant"],
)
def test_what_a_declaration_binds_is_part_of_the_source_hash(changed):
    before = family()
    assert source_hash(before, before.implementations[0]) == source_hash(
        family(), family().implementations[0]
    )
    assert source_hash(before, before.implementations[0]) != source_hash(changed, changed.implementations[0])


PACKAGE = {
    "__init__": "",
    "base": (
        "import torch\nfrom harness import Regime, Sample\n"
        "def per_row(p, t): return (p - t).abs().mean(1)\n"
        "def normal(shape, finfo, generator):\n"
        "    p, t = torch.randn(2, *shape, generator=generator, dtype=torch.float64)\n"
        "    return Sample(p=p, t=t)\n"
    ),
    "helper": "FACTOR = 1.0\n",
    "one": "from .helper import FACTOR\ndef one(p, t): return FACTOR * (p - t).abs().mean()\n",
    "two": (
        "import pathlib, time\nSLOW = pathlib.Path(__file__).with_name('slow')\n"
        "def two(p, t):\n    time.sleep(0.4 if SLOW.exists() else 0.0)\n    return (p - t).abs().mean()\n"
    ),
    "suite": (
        "from harness import Implementation, Regime, Suite\nfrom . import base, one, two\n"
        "SUITE = Suite(name='packed', oracle=base.per_row, regimes=(Regime(base.normal),),\n"
        "    implementations=(Implementation(one.one), Implementation(two.two)))\n"
    ),
}
FLAGS = "--suite packed_losses.suite:SUITE --probe accuracy --batch 4 --classes 3 --no-report --workers 1"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working directory with a small package of losses in it."""
    path = tmp_path_factory.mktemp("journal")
    (path / "packed_losses").mkdir()
    for name, text in PACKAGE.items():
        (path / "packed_losses" / f"{name}.py").write_text(text, encoding="utf-8")
    return path


def run(folder, *more, flags=FLAGS):
    command = [LOSSGAUGE, "run", *flags.split(), *more]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def first(folder):
    done = run(folder)
    assert done.returncode == 0, done.stderr
    (path,) = [p for p in (folder / "runs").iterdir() if not p.is_symlink()]
    return path / "results.jsonl", (path / "results.jsonl").read_bytes()


def test_the_same_command_again_measures_nothing(folder, first):
    path, content = first
    assert (folder / "runs" / "latest").resolve() == path.parent
    done = run(folder)
    assert done.returncode == 0, done.stderr
    lines = content.count(b"\n")
    assert f"{lines} answers reused from runs/{path.parent.name}\n" in done.stderr
    assert path.read_bytes() == content


def test_a_changed_source_is_measured_again_and_nothing_else(folder, first, monkeypatch):
    path, content = first
    (folder / "packed_losses" / "helper.py").write_text("FACTOR = 0.97\n", encoding="utf-8")
    try:
        done = run(folder)
    finally:
        (folder / "packed_losses" / "helper.py").write_text(PACKAGE["helper"], encoding="utf-8")
    assert done.returncode == 0, done.stderr
    after = path.read_bytes()
    assert after.startswith(content)
    added = [json.loads(line) for line in after[len(content) :].splitlines()]
    assert {form["implementation"] for form in added} == {"one"}
    assert {form["attempt"] for form in added} == {2}
    assert all(form["findings"] for form in added)
    assert 2 * len(added) == content.count(b"\n")
    assert f"{len(added)} answers reused" in done.stderr


def test_module_hashes_follow_imports_within_the_package(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    hashes = {
        name: module_hash(importlib.import_module(f"packed_losses.{name}").__name__) for name in PACKAGE
    }
    (folder / "packed_losses" / "helper.py").write_text("FACTOR = 1.5\n", encoding="utf-8")
    module_hash.cache_clear()
    changed = {name for name in PACKAGE if module_hash(f"packed_losses.{name}") != hashes[name]}
    (folder / "packed_losses" / "helper.py").write_text(PACKAGE["helper"], encoding="utf-8")
    module_hash.cache_clear()
    for name in PACKAGE:
        sys.modules.pop(f"packed_losses.{name}", None)
    assert changed == {"helper", "one", "suite"}


def test_fresh_starts_anew_and_the_default_does_not(folder, first):
    path, content = first
    marked = content.replace(b'"reason":""', b'"reason":"marked by hand"')
    assert marked != content
    path.write_bytes(marked)
    assert run(folder).returncode == 0
    assert path.read_bytes() == marked
    done = run(folder, "--fresh")
    assert done.returncode == 0, done.stderr
    assert "reused" not in done.stderr
    forms = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert len(forms) == content.count(b"\n")
    assert {(form["attempt"], form["reason"]) for form in forms} == {(1, "")}
    path.write_bytes(content)


def test_a_run_of_another_machine_is_refused_with_the_difference(folder, first):
    manifest = first[0].with_name("manifest.json")
    text = manifest.read_text(encoding="utf-8")
    form = json.loads(text)
    was = form["environment"]["identity"]["torch"]
    form["environment"]["identity"]["torch"] = "1.0.0"
    manifest.write_text(json.dumps(form), encoding="utf-8")
    before = first[0].read_bytes()
    done = run(folder)
    assert done.returncode == 2
    assert f"torch was '1.0.0', is '{was}'" in done.stderr
    assert "--allow-different" in done.stderr
    assert done.stderr.count("\n") == 1
    assert first[0].read_bytes() == before
    assert run(folder, "--allow-different").returncode == 0
    assert json.loads(manifest.read_text())["environment"]["identity"]["torch"] == was


def test_an_interrupted_run_keeps_its_lines_and_is_continued(folder):
    slow = folder / "packed_losses" / "slow"
    slow.touch()
    results = folder / "stopped" / "results.jsonl"
    # A shell without job control starts its background jobs with SIGINT ignored, and children inherit
    # that; a caught signal becomes the default one at exec.
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(
            [LOSSGAUGE, "run", *FLAGS.split(), "--out", "stopped"],
            cwd=folder,
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
    finally:
        signal.signal(signal.SIGINT, inherited)
    while process.poll() is None and not (results.exists() and results.read_bytes().count(b"\n") > 2):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=240)
    slow.unlink()
    assert process.returncode == 130, err
    assert out == ""
    assert f"continue with: lossgauge run {FLAGS} --out stopped" in err
    assert "Traceback" not in err
    kept = results.read_bytes()
    assert kept.endswith(b"\n")
    run_before = load_run(folder / "stopped")
    assert run_before.manifest["finished"] is None
    assert run_before.manifest["coverage"]["not_run"] > 0
    done = run(folder, "--out", "stopped")
    assert done.returncode == 0, done.stderr
    assert results.read_bytes().startswith(kept)
    whole = load_run(folder / "stopped")
    assert whole.manifest["coverage"] == {
        "expected": len(whole.results),
        "ok": len(whole.results),
    }
    assert max(r.attempt for r in whole.results) == 1


def test_a_timing_phase_that_was_stopped_between_processes_is_continued(folder):
    flags = FLAGS.replace("accuracy", "timing") + " --dtype float32 --rounds 2 --min-time 1ms --processes 2"
    done = run(folder, "--out", "timed", flags=flags)
    assert done.returncode == 0, done.stderr
    results, samples = folder / "timed" / "results.jsonl", folder / "timed" / "samples.jsonl"
    lines = samples.read_bytes().splitlines(keepends=True)
    assert {json.loads(line)["process"] for line in lines} == {0, 1}
    kept = b"".join(line for line in lines if json.loads(line)["process"] == 0)
    samples.write_bytes(kept + b'{"trial":"packed/mean/nor')
    whole = [json.loads(line) for line in results.read_bytes().splitlines()]
    results.write_bytes(b"")
    done = run(folder, "--out", "timed", flags=flags)
    assert done.returncode == 0, done.stderr
    after = samples.read_bytes()
    assert after.startswith(kept)
    assert {json.loads(line)["process"] for line in after[len(kept) :].splitlines()} == {1}
    again = [json.loads(line) for line in results.read_bytes().splitlines()]
    assert [(f["trial"], f["status"], f["key"]) for f in again] == [
        (f["trial"], f["status"], f["key"]) for f in whole
    ]
    assert {f["numbers"]["processes"] for f in again} == {2.0}
    assert {f["numbers"]["samples"] for f in again} == {4.0}
