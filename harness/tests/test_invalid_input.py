"""Who refuses what is no input, who answers it, and who dies of it: the last through a worker alone."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from harness import Implementation, above
from harness.block import OpenBlock
from harness.discovery import Selection, discover
from harness.engines import Limits
from harness.probes import invalid_input as probe
from harness.probes.invalid_input import FEW_ROWS, ROWS, invalid_input
from harness.probes.timing import Measure
from harness.run import read_results
from harness.runner import Order, Runner
from harness.sweep import Sweep, planned
from harness.trial import Case
from suites.cross_entropy import SUITE

ABORTING = Path(__file__).parent / "suites_for_tests" / "aborting.py"


@pytest.fixture(autouse=True)
def two_processors(monkeypatch):
    """Several threads are asked even where the machine has one processor."""
    monkeypatch.setattr(probe.os, "cpu_count", lambda: 2)


def asked(function, variant="mean", **declared):
    family = SUITE.extended(Implementation(function, name="planted", **declared))
    case = Case(family.name, variant, "unit_normal", "float32", "cpu", 64, 10, 1)
    return invalid_input(OpenBlock(family, case, 0), "planted")


def clamps(logits, target):
    return F.cross_entropy(logits, target.clamp(0, logits.shape[1] - 1))


def wraps_around(logits, target):
    """Python's indices: a negative label counts from the end."""
    rows = torch.arange(len(target))
    return -logits.log_softmax(1)[rows, target].mean()


def answers_nan(logits, target):
    good = bool(((target >= 0) & (target < logits.shape[1])).all())
    return F.cross_entropy(logits, target) if good else logits.sum() * torch.nan


def checks_its_first_block(logits, target):
    """Labels are checked in the first thousand rows alone."""
    if bool((target[:1000] >= logits.shape[1]).any() | (target[:1000] < 0).any()):
        raise IndexError("label out of range")
    return clamps(logits, target)


def checks_in_one_thread(logits, target):
    return clamps(logits, target) if torch.get_num_threads() > 1 else F.cross_entropy(logits, target)


@pytest.mark.parametrize("variant", ["mean", "sum", "none", "ignore_index"])
def test_who_refuses_everything_is_clean_and_counted(variant):
    case = Case(SUITE.name, variant, "unit_normal", "float32", "cpu", 64, 10, 1)
    answer = invalid_input(OpenBlock(SUITE, case, 0), "native")
    assert (answer.status, answer.findings) == ("ok", ())
    # Three labels, two counts of rows, two counts of threads.
    assert answer.numbers == {"invalid_inputs": 12.0, "invalid_inputs_refused": 12.0}
    assert set(answer.notes) == {invalid.name for invalid in SUITE.invalid}
    assert "out of bounds" in answer.notes["label_beyond_classes"]


def test_who_answers_everything_is_named_once_per_input():
    answer = asked(clamps)
    assert [(f.kind, f.severity, f.group) for f in answer.findings] == [
        ("accepts_invalid", "warning", invalid.name) for invalid in SUITE.invalid
    ]
    assert f"at {FEW_ROWS} rows and 1 threads" in answer.findings[0].message
    assert answer.numbers["invalid_inputs_refused"] == 0


def test_who_answers_one_of_them_is_named_for_that_one():
    answer = asked(wraps_around)
    assert [f.group for f in answer.findings] == ["label_negative"]
    assert answer.numbers == {"invalid_inputs": 12.0, "invalid_inputs_refused": 8.0}


def test_nan_is_a_note_and_no_finding():
    answer = asked(answers_nan)
    assert answer.findings == ()
    assert set(answer.notes.values()) == {"answers NaN"}
    assert answer.numbers["invalid_inputs_refused"] == 0


def test_who_checks_few_rows_only_is_found_among_many():
    answer = asked(checks_its_first_block)
    assert {f.kind for f in answer.findings} == {"accepts_invalid"}
    assert all(f"at {ROWS} rows and 1 threads" in f.message for f in answer.findings)
    assert ROWS > FEW_ROWS
    assert answer.numbers["invalid_inputs_refused"] == 6


def test_who_checks_in_one_thread_only_is_found_with_two():
    before = torch.get_num_threads()
    answer = asked(checks_in_one_thread)
    assert len(answer.findings) == 3
    assert all(f"at {FEW_ROWS} rows and 2 threads" in f.message for f in answer.findings)
    assert torch.get_num_threads() == before


COMPILES = partial(torch.compile, backend="eager", dynamic=False)


def forgets_its_check(logits, target):
    """Labels are checked as it is; the compiled form has lost the check."""
    return clamps(logits, target) if torch.compiler.is_compiling() else F.cross_entropy(logits, target)


def checks_compiled_only(logits, target):
    if torch.compiler.is_compiling():
        return F.cross_entropy(logits, target)
    return clamps(logits, target)


def test_a_compiled_form_that_lost_a_check_is_told_beside_what_it_is_uncompiled():
    answer = asked(forgets_its_check, prepare=COMPILES)
    parity = [f for f in answer.findings if f.kind == "error_parity"]
    assert [f.group for f in parity] == [invalid.name for invalid in SUITE.invalid]
    assert {f.severity for f in parity} == {"warning"}
    assert all("answers" in f.message.partition("; uncompiled it raises")[0] for f in parity)
    assert {f.kind for f in answer.findings} == {"error_parity", "accepts_invalid"}
    assert answer.numbers["invalid_inputs_uneven"] == answer.numbers["invalid_inputs"]


def test_a_check_that_only_the_compiled_form_makes_is_uneven_as_well():
    answer = asked(checks_compiled_only, prepare=COMPILES)
    assert {f.kind for f in answer.findings} == {"error_parity"}
    assert all("; uncompiled it answers" in f.message for f in answer.findings)


def test_forms_that_agree_have_no_parity_to_tell():
    for function in (F.cross_entropy, clamps):
        answer = asked(lambda logits, target, f=function: f(logits, target), prepare=COMPILES)
        assert "error_parity" not in {f.kind for f in answer.findings}
        assert answer.numbers["invalid_inputs_uneven"] == 0


def test_a_compiled_form_that_is_not_called_with_many_rows_is_asked_with_few():
    answer = asked(forgets_its_check, prepare=COMPILES, skip=above(batch=1000))
    parity = [f for f in answer.findings if f.kind == "error_parity"]
    assert [f.group for f in parity] == [invalid.name for invalid in SUITE.invalid]
    assert all(f"at {FEW_ROWS} rows" in f.message for f in parity)
    assert asked(forgets_its_check, prepare=COMPILES, skip=above(batch=1)).numbers["invalid_inputs"] == 0


def test_a_declared_skip_is_honoured():
    assert asked(clamps, skip=above(batch=1000)).numbers["invalid_inputs"] == 6


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """The aborting family carried out by the local engine, timing included."""
    folder = tmp_path_factory.mktemp("aborting")
    selection = Selection(suites=(str(ABORTING),))
    discovered = discover(selection)
    sweep = Sweep(
        dtypes=("float32",),
        devices=("cpu",),
        batches=(64,),
        classes=(10,),
        probes=("accuracy", "determinism", "invalid_input", "timing"),
    )
    measure = Measure(block_seconds=0.001, rounds=2, most_rounds=2, processes=1)
    order = Order(folder, selection, workers=1, limits=Limits(30.0), measure=measure)
    plan = planned(sweep, discovered.suites)
    runner = Runner(plan, discovered, order, torch.__version__, lambda *words: None)
    return {(r.trial.implementation, r.probe): r for r in runner.results()}, folder


def test_a_death_by_a_bad_label_is_the_answer_and_no_crash(ran):
    result = ran[0]["aborts", "invalid_input"]
    assert result.status == "ok"
    (found,) = result.findings
    assert (found.kind, found.severity, found.probe) == ("kills_process", "warning", "invalid_input")
    assert "SIGABRT" in found.message
    assert "aborts: last words" in result.notes["output"]


@pytest.mark.parametrize("probe_name", ["accuracy", "determinism"])
@pytest.mark.parametrize("name", ["aborts", "clamps", "good"])
def test_the_other_questions_of_the_block_survive(ran, name, probe_name):
    result = ran[0][name, probe_name]
    assert result.status == "ok", result.reason
    assert [f for f in result.findings if f.severity != "note"] == []


def test_the_others_are_asked_the_bad_label_as_well(ran):
    assert [f.kind for f in ran[0]["clamps", "invalid_input"].findings] == ["accepts_invalid"]
    good = ran[0]["good", "invalid_input"]
    assert (good.status, good.findings) == ("ok", ())
    assert good.numbers["invalid_inputs"] == good.numbers["invalid_inputs_refused"] > 0


def test_who_died_of_a_bad_label_is_timed_all_the_same(ran):
    for name in ("aborts", "clamps", "good"):
        timing = ran[0][name, "timing"]
        assert timing.status == "ok", timing.reason
        assert timing.numbers["samples"] == 2


def test_everything_is_in_the_journal_once(ran):
    stored, torn = read_results(ran[1] / "results.jsonl")
    assert torn == 0
    assert sorted((r.trial.implementation, r.probe) for r in stored) == sorted(ran[0])
