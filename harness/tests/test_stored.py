"""Damage in the files of a run is one sentence with file and key, whatever is damaged; never a traceback."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from itertools import cycle

import pytest

from harness import __version__, stored
from harness.block import OpenBlock
from harness.cli import main
from harness.discovery import Discovered, Selection
from harness.environment import context, identity
from harness.errors import RunError
from harness.journal import SampleLog
from harness.manifest import (
    manifest_form,
    refuse_other_machine,
    refuse_other_plan,
    stored_manifest,
    suite_forms,
)
from harness.oracle.chunks import one_thread
from harness.plan import Plan
from harness.probes.registry import ask
from harness.results import Result, dumps
from harness.run import load_run, read_manifest, read_samples
from harness.sweep import Sweep, planned
from harness.trial import Trial
from suites.cross_entropy import SUITE

NAMES = ("native", "softmax_log")
PROBES = ("accuracy", "protocol", "determinism", "identity")
FAMILY = replace(SUITE, implementations=tuple(SUITE.implementation(name) for name in NAMES))
MEND = "restore it, or remove it and give the run's command again, which keeps results.jsonl."


@pytest.fixture(scope="module")
def written():
    """The manifest and the lines of a real run, as JSON values."""
    suites = {FAMILY.name: FAMILY}
    sweep = Sweep(
        variants=("mean",), regimes=("confident",), dtypes=("float32",), devices=("cpu",), probes=PROBES,
        batches=(7,), classes=(10,),
    )  # fmt: skip
    plan = planned(sweep, suites)
    environment = {"identity": identity(), "context": context()}
    manifest = manifest_form(
        plan, Discovered(suites), name="x", version=__version__, command="lossgauge run", profile="quick",
        seed=0, environment=environment, suites=suite_forms(suites),
        config={"suite": {"value": ["cross_entropy"], "source": "--suite"}},
        selection=Selection(suites=("cross_entropy",)).to_json(),
    )  # fmt: skip
    manifest["spent_seconds"] = {"answers": {"oracle": 0.5, "worker_lifetime": 2.0, "wall": 1.0}}
    manifest |= {"stale_known": ["x"], "left_out": ["y"], "method": ["z"], "wall_seconds": 1.0}
    manifest["questions"] = manifest["questions"][:1]
    with one_thread():
        lines = [
            Result(
                Trial(block.case, name), probe, given.status, given.reason, given.findings, given.numbers,
                given.notes, 1, "key",
            ).to_json()
            for block in plan.blocks
            for opened in [OpenBlock(FAMILY, block.case, 0)]
            for probe, name in block.questions()
            for given in [ask(probe, opened, name)]
        ]  # fmt: skip
    return json.loads(dumps(manifest)), json.loads(json.dumps(lines, allow_nan=False))


def put(folder, manifest, lines):
    folder.mkdir(exist_ok=True)
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    (folder / "results.jsonl").write_text(
        "".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8"
    )
    return folder


def places(value, place=()):
    """Yields the places of the parts of a JSON value; one entry stands for a list, two for many words."""
    if place:
        yield place
    items = []
    if isinstance(value, dict):
        words = [key for key, inner in value.items() if isinstance(inner, str)] if len(place) > 2 else []
        items = [item for item in value.items() if item[0] not in words[2:]]
    elif isinstance(value, list):
        items = list(enumerate(value[:1]))
    for key, inner in items:
        yield from places(inner, (*place, key))


DELETED = object()


def changed(value, place, new):
    """Returns a copy of a JSON value with another one at a place, or without that place."""
    whole = part = json.loads(json.dumps(value))
    for key in place[:-1]:
        part = part[key]
    if new is DELETED:
        del part[place[-1]]
    else:
        part[place[-1]] = new
    return whole


def resumed(folder):
    """Does what `run` does with the manifest of an earlier attempt."""
    before = stored_manifest(folder)
    refuse_other_machine(folder, before, {"identity": before["environment"]["identity"]})
    with suppress(RunError):  # all of it is another plan, which is looked for and not the question here
        refuse_other_plan(folder, before, Plan(()), before["seed"])


def told(folder, trial, capsys):
    """Runs the verbs that read a run and returns the sentences of those that refuse."""
    asked = (
        ("report", str(folder), "--no-raw"),
        ("show", "--run", str(folder), "--worst", "3"),
        ("show", "--run", str(folder), trial),
    )
    sentences = []
    for words in asked:
        code = main(words)
        said = capsys.readouterr().err
        assert code in (0, 2), said
        assert "Traceback" not in said
        if code:
            assert said.startswith("lossgauge: ")
            assert said.count("\n") == 1
            sentences.append(said)
    return sentences


def test_the_real_run_is_read(written, tmp_path, capsys):
    manifest, lines = written
    folder = put(tmp_path / "run", manifest, lines)
    assert any(line["findings"] for line in lines)
    assert told(folder, lines[0]["trial"], capsys) == []
    assert stored_manifest(folder) == manifest


# Each place gets one of them in turn: all types of JSON come by, and numbers that no float holds.
STRANGE = (None, "x", 0, {}, [], True, -1, 1.5, {"x": 0}, [0], float("nan"), 10**400)


def test_whatever_is_deleted_or_retyped_in_a_manifest_is_no_traceback(written, tmp_path, capsys, monkeypatch):
    manifest, lines = written
    refused = 0
    for place, new in zip(places(manifest), cycle(STRANGE), strict=False):
        for value in (DELETED, new):
            folder = put(tmp_path / "run", changed(manifest, place, value), lines[:2])
            sentences = told(folder, lines[0]["trial"], capsys)
            assert all("manifest.json" in sentence for sentence in sentences), (place, value, sentences)
            try:
                resumed(folder)
            except RunError:
                refused += 1
    assert refused > 50


def test_whatever_is_deleted_or_retyped_in_a_line_is_no_traceback(written, tmp_path, capsys):
    manifest, lines = written
    chosen = {(line["probe"], bool(line["findings"])): line for line in reversed(lines)}
    refused = 0
    for line in chosen.values():
        for place, new in zip(places(line), cycle(STRANGE), strict=False):
            for value in (DELETED, new):
                folder = put(tmp_path / "run", manifest, [changed(line, place, value)])
                sentences = told(folder, line["trial"], capsys)
                refused += any("results.jsonl: result 1 lacks or garbles" in each for each in sentences)
    assert refused > 50


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (("plan",), [], "garbles 'plan' (it is a list; allowed: an object)"),
        (("environment",), "x", "garbles 'environment' (it is 'x'; allowed: an object)"),
        (("config",), 3, "garbles 'config' (it is a whole number; allowed: an object)"),
        (("selection",), [], "garbles 'selection' (it is a list; allowed: an object)"),
        (("selection", "suites"), "x", "garbles 'selection.suites' (it is 'x'; allowed: a list)"),
        (("plan", "blocks", 0, "case"), "x/y", "garbles 'plan.blocks[0].case' (it is 'x/y'; allowed: suite/"),
        (
            ("plan", "blocks", 0, "batch"),
            -1,
            "'plan.blocks[0].batch' (it is -1; allowed: a whole number from",
        ),
        (("seed",), True, "garbles 'seed' (it is true or false; allowed: a whole number)"),
        (("wall_seconds",), "1", "garbles 'wall_seconds' (it is '1'; allowed: a finite number)"),
    ],
)
def test_the_sentence_names_file_key_and_what_is_allowed(place, value, words, written, tmp_path, capsys):
    manifest, lines = written
    folder = put(tmp_path / "run", changed(manifest, place, value), lines)
    sentences = told(folder, lines[0]["trial"], capsys)
    assert len(sentences) == 3
    for sentence in sentences:
        assert sentence.startswith(f"lossgauge: {folder / 'manifest.json'}: ")
        assert words in sentence
        assert sentence.endswith(f"; {MEND}\n")


@pytest.mark.parametrize(
    ("place", "named"),
    [
        (("seed",), "'seed'"),
        (("environment",), "'environment'"),
        (("environment", "identity"), "'environment.identity'"),
        (("plan",), "'plan'"),
        (("plan", "blocks"), "'plan.blocks'"),
        (("plan", "blocks", 0, "probes"), "'plan.blocks[0].probes'"),
    ],
)
def test_what_continuing_cannot_do_without_is_named_and_a_report_can(place, named, written, tmp_path, capsys):
    manifest, lines = written
    folder = put(tmp_path / "run", changed(manifest, place, DELETED), lines)
    with pytest.raises(RunError, match="lacks ") as raised:
        resumed(folder)
    assert str(raised.value) == f"{folder / 'manifest.json'}: lacks {named}; {MEND}"
    assert told(folder, lines[0]["trial"], capsys) == []


@pytest.mark.parametrize("key", ["seed", "environment", "selection", "config"])
def test_a_reproducer_says_what_the_manifest_lacks(key, written, tmp_path, capsys):
    manifest, lines = written
    damaged = changed(manifest, (key,), DELETED)
    damaged = damaged if key != "config" else changed(damaged, ("selection",), DELETED)
    folder = put(tmp_path / "run", damaged, lines)
    trial = next(line["trial"] for line in lines if line["findings"])
    # Without a selection the configuration says what was loaded.
    assert main(["show", "--run", str(folder), trial, "--repro"]) == (0 if key == "selection" else 2)
    said = capsys.readouterr().err
    assert key == "selection" or f"manifest.json: lacks '{key}" in said


def test_a_damaged_run_hides_no_other_in_the_list(written, tmp_path, capsys, monkeypatch):
    manifest, lines = written
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    put(tmp_path / "runs" / "a", {**manifest, "coverage": []}, lines)
    put(tmp_path / "runs" / "b", manifest, lines)
    assert main(["list", "runs"]) == 0
    out = capsys.readouterr().out
    assert "garbles 'coverage' (it is a list; allowed: an object)" in out
    assert "lossgauge run" in out


@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 5000, '{"seed": 0, "plan"'])
def test_what_is_no_json_is_a_sentence(text, tmp_path):
    path = tmp_path / "manifest.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RunError, match=r"manifest\.json: not JSON"):
        read_manifest(path)
    (tmp_path / "results.jsonl").write_text(f"{text}\n", encoding="utf-8")
    path.write_text("{}", encoding="utf-8")
    with pytest.raises(RunError, match=r"results\.jsonl: line 1 is not JSON"):
        load_run(tmp_path)


TIMED = {"trial": "s/v/r/float32-cpu-b1-c1-t1/i", "process": 0, "round": 0, "pass": "both", "loops": 3,
         "wall_seconds": 0.5}  # fmt: skip
COMPLETE = {"complete": "s/v/r/float32-cpu-b1-c1-t1", "process": 0, "key": "k", "findings": {},
            "stopped": {"rounds": 2, "reason": "rounds spent", "traffic_bytes": 8},
            "failed": {"i": ["crashed", "killed by SIGKILL"]}}  # fmt: skip


@pytest.mark.parametrize("line", [TIMED, COMPLETE], ids=["timed", "complete"])
def test_the_lines_of_the_timing_phase_are_checked_alike(line, tmp_path):
    path = tmp_path / "samples.jsonl"

    def read(*forms):
        path.unlink(missing_ok=True)
        log = SampleLog(path)
        for form in forms:
            log.append(form)
        log.close()
        return read_samples(path)

    assert read(TIMED, line) == ([TIMED, line], 0)
    for key in line.keys() - {"complete"}:
        with pytest.raises(RunError, match=r"samples\.jsonl: line 2 lacks or garbles ") as raised:
            read(TIMED, changed(line, (key,), DELETED))
        assert key in str(raised.value)
        for new in (None, [0]):
            with pytest.raises(RunError, match=f"line 2 lacks or garbles '{key}'"):
                read(TIMED, changed(line, (key,), new))
    with pytest.raises(RunError, match=r"'failed\.i' \(it is \['crashed'\]; allowed: a list of 2\)"):
        read({**COMPLETE, "failed": {"i": ["crashed"]}})
    with pytest.raises(RunError, match="lacks or garbles 'severity'"):
        read({**COMPLETE, "findings": {"i": [{"kind": "x"}]}})


def test_a_form_names_the_first_place_where_a_value_parts_from_it():
    form = stored.Fields({"a": stored.Many(stored.COUNT)}, others=stored.TEXT)
    assert stored.damage({"a": [0, 1], "b": "x"}, form) == ""
    assert stored.damage({}, form) == ""
    assert stored.damage({"a": [0, -2, True]}, form) == "'a[1]' (it is -2; allowed: a whole number from 0 on)"
    assert stored.damage({"a": []}, stored.Many(form)).startswith("everything")
    assert stored.damage([{}], stored.Many(stored.Fields(needed=("a",)))) == "'[0].a' (it is missing)"
    assert stored.damage({"b": None}, form) == "'b' (it is null; allowed: text)"
    assert stored.damage(3, form) == "everything (it is a whole number; allowed: an object)"
