"""A reproducer is a claim: run on its own it must fail, and pass once a right implementation stands there.

Findings come from blocks opened in process; scripts run in a child interpreter without this project's
directory on its path. One trial per (kind, probe) is enough here: what differs between trials is data.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from harness.block import OpenBlock
from harness.discovery import load_reference
from harness.inputs import draw
from harness.oracle.chunks import one_thread
from harness.probes.accuracy import accuracy
from harness.probes.overflow import overflow
from harness.reproducer.reproduction import NoReproducerError
from harness.reproducer.search import reproduced
from harness.tests.reproducing import PLANTED, case_of, found_in, outcomes, written
from harness.trial import Case, Trial
from suites.mse import SUITE as MSE

# One trial per (kind, probe): probe, kind, tensor, implementation, variant, regime, dtype, rows, classes.
CASES = [
    ("accuracy", "inaccurate", "logits", "native", "mean", "confident", "float32", 64, 10),
    ("accuracy", "inaccurate", "loss", "logsumexp_gather", "mean", "offset", "float32", 64, 10),
    ("accuracy", "inaccurate", "logits", "native", "images", "unit_normal", "bfloat16", 64, 10),
    ("accuracy", "inaccurate", "logits", "native", "weighted_smoothed_ignored", "wide", "float16", 64, 10),
    ("accuracy", "dead_gradient", "logits", "native", "mean", "wide", "float32", 64, 10),
    ("accuracy", "inaccurate", "logits", "native_module", "sum", "wide", "float32", 64, 10),
    ("accuracy", "dead_loss", "loss", "native", "none", "confident", "float64", 7, 10),
    ("accuracy", "flushed", "logits", "native", "mean", "confident", "float16", 64, 10),
    ("accuracy", "negative_zero", "loss", "native", "none", "unit_normal", "float32", 7, 1),
    ("accuracy", "spurious_nan", "logits", "softmax_log", "mean", "near_overflow", "float32", 64, 10),
    ("accuracy", "spurious_nan", "loss", "native", "probability", "masked", "float32", 64, 10),
    ("accuracy", "spurious_overflow", "loss", "softmax_log", "mean", "near_overflow", "float32", 64, 10),
    ("accuracy", "spurious_overflow", "loss", "native", "smoothed", "wide", "float16", 64, 1001),
    ("accuracy", "loss_gradient_split", "", "native", "probability", "masked", "float32", 64, 10),
    ("accuracy", "negative", "loss", "planted_negative", "mean", "unit_normal", "float32", 7, 10),
    ("accuracy", "nan_swallowed", "loss", "planted_nanless", "mean", "ignored_all", "float32", 7, 10),
    ("accuracy", "raises", "", "planted_raise", "mean", "unit_normal", "float32", 7, 10),
    ("accuracy", "raises", "", "planted_prepare", "mean", "unit_normal", "float32", 7, 10),
    ("accuracy", "shape", "", "planted_shape", "mean", "unit_normal", "float32", 7, 10),
    ("accuracy", "shape", "", "returns_pair", "mean", "unit_normal", "float32", 7, 10),
    ("accuracy", "overwrites", "", "planted_overwrite", "mean", "unit_normal", "float32", 7, 10),
    ("accuracy", "no_gradient", "", "planted_detach", "mean", "unit_normal", "float32", 7, 10),
    ("overflow", "dead_gradient", "logits", "native", "mean", "unit_normal", "float32", 64, 10),
    ("overflow", "inaccurate", "", "native", "mean", "unit_normal", "float16", 64, 10),
    ("overflow", "spurious_overflow", "loss", "native", "mean", "unit_normal", "float16", 64, 10),
    ("overflow", "spurious_nan", "logits", "softmax_log", "mean", "unit_normal", "float32", 64, 10),
]


@pytest.fixture(autouse=True, scope="module")
def _on_one_thread():
    with one_thread():
        yield


@pytest.fixture(scope="module")
def suite():
    return load_reference(str(PLANTED))


def stand_in_for(suite, found):
    """Returns a right implementation of a case: the suite's clean control, or one for dense targets."""
    options = found.stand.options
    plain = found.stand.sample["target"].dtype == torch.int64 and not options["label_smoothing"]
    return suite.implementation("exact_gradient" if plain else "dense")


def test_every_kind_of_every_probe_fails_on_its_own_and_passes_with_a_right_implementation(suite, tmp_path):
    failing, passing = [], []
    for probe, kind, tensor, name, *axes in CASES:
        trial, finding = found_in(suite, probe, kind, tensor, name, *axes)
        found = reproduced(suite, trial, finding, 0)
        assert found.again, (probe, kind, name)
        assert found.seen.kind == kind
        failing.append(written(found))
        for package in ("harness", "suites", "flint", "numpy"):
            assert f"import {package}" not in failing[-1]
            assert f"from {package}" not in failing[-1]
        assert trial.id in failing[-1]
        passing.append(written(found, stand_in=stand_in_for(suite, found)))
    said = outcomes(tmp_path, failing)
    for case, (error, message) in zip(CASES, said, strict=True):
        assert error == "AssertionError", (case, error, message)
        assert message, case
    assert [error for error in outcomes(tmp_path, passing) if error != ("", "")] == []
    by_case = dict(zip(CASES, (message for _, message in said), strict=True))
    told = {kind: message for (_, kind, *_), message in by_case.items()}
    assert "returned as 0 although the exact gradient is a normal number" in told["dead_gradient"]
    assert "raised on valid input" in told["raises"]
    assert "instead of a loss tensor" in told["shape"]
    assert told["overwrites"] == "wrote into logits, an input"


def test_a_script_ends_with_1_as_it_is_and_with_0_once_the_implementation_is_right(suite, tmp_path):
    found = reproduced(suite, *found_in(suite, *CASES[4]), 0)
    for given, code in (({}, 1), ({"stand_in": suite.implementation("exact_gradient")}, 0)):
        path = tmp_path / "script.py"
        path.write_text(written(found, **given), encoding="utf-8")
        done = subprocess.run([sys.executable, "-I", path], capture_output=True, text=True, timeout=120)
        assert done.returncode == code, done.stderr
        assert ("AssertionError" in done.stderr) == bool(code)


def test_inputs_are_reduced_to_the_row_of_the_witness_where_one_row_shows_it(suite):
    trial, finding = found_in(suite, *CASES[4])
    found = reproduced(suite, trial, finding, 0)
    assert list(found.kept) == finding.witness["place"][:1]
    sample, _ = draw(trial.case, suite, seed=0)
    assert torch.equal(found.stand.sample["logits"], sample["logits"][list(found.kept)])
    assert found.place[0] == 0
    assert found.rows_drawn == 64


def test_a_defect_of_the_sum_keeps_the_rows_that_it_takes_and_says_how_they_repeat(suite):
    trial, finding = found_in(suite, *CASES[23])
    found = reproduced(suite, trial, finding, 0)
    assert len(found.kept) == found.rows_drawn > 4096
    text = written(found)
    assert f"% 61]  # {found.rows_drawn} rows repeat 61" in text
    assert len(text) < 8000


def test_a_finding_over_every_value_of_a_dtype_is_shown_by_the_row_of_one_value(suite, tmp_path):
    case = case_of("mean", "unit_normal", "float16")
    found = overflow(OpenBlock(suite, case, 0), "softmax_log").findings
    finding = next(f for f in found if f.witness.get("question") == "exhaustive gap")
    again = reproduced(suite, Trial(case, "softmax_log"), finding, 0)
    assert (len(again.kept), again.stand.options["reduction"]) == (1, "none")
    assert again.rows_drawn == 63488
    assert again.stand.upstream.tolist() == [1.0]
    ((error, _),) = outcomes(tmp_path, [written(again)])
    assert error == "AssertionError"
    right = written(again, stand_in=suite.implementation("exact_gradient"))
    assert outcomes(tmp_path, [right]) == [("", "")]


def test_another_seed_draws_other_inputs_and_says_so_when_the_finding_does_not_come_back(suite):
    trial, finding = found_in(suite, *CASES[4])
    stranger = Trial(replace(trial.case, regime="tiny"), "exact_gradient")
    found = reproduced(suite, stranger, finding, 0)
    assert not found.again
    assert len(found.kept) == 64
    assert "this machine did not show the finding again" in written(found)
    other = reproduced(suite, trial, finding, 1)
    assert "seed 1" in written(other)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"witness": {"question": "layout: transposed"}},
            "no reproducer yet for question layout: transposed",
        ),
        ({"kind": "autocast"}, "no reproducer yet for question autocast"),
    ],
)
def test_what_no_script_is_known_for_is_refused_in_a_sentence(change, words, suite):
    trial, finding = found_in(suite, *CASES[4])
    with pytest.raises(NoReproducerError, match=words) as caught:
        reproduced(suite, trial, replace(finding, **change), 0)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


def test_a_compiled_implementation_is_compiled_in_its_script(suite, tmp_path):
    axes = ("mean", "wide", "float32", 64, 10)
    for name in ("compiled", "compiled_native"):
        trial, finding = found_in(suite, "accuracy", "dead_gradient", "logits", name, *axes)
        found = reproduced(suite, trial, finding, 0)
        text = written(found)
        assert "functools.partial(torch.compile, dynamic=False)" in text
        assert len(found.kept) == 1
    path = tmp_path / "script.py"
    path.write_text(text, encoding="utf-8")
    done = subprocess.run([sys.executable, "-I", path], capture_output=True, text=True, timeout=300)
    assert done.returncode == 1, done.stderr
    assert "AssertionError: gradient of logits" in done.stderr


def test_a_split_of_entries_whose_truth_is_not_finite_everywhere_is_shown_on_those_where_it_is(tmp_path):
    case = Case(MSE.name, "weighted_sum", "infinite", "float32", "cpu", 64, 10, 1)
    found = accuracy(OpenBlock(MSE, case, 0), "native").findings
    (finding,) = [f for f in found if f.kind == "loss_gradient_split"]
    again = reproduced(MSE, Trial(case, "native"), finding, 0)
    assert "countable_0" in written(again)
    right = written(again, stand_in=MSE.implementation("exact_gradient"))
    said = outcomes(tmp_path, [written(again), right])
    assert said == [
        ("AssertionError", "one of loss and gradient is finite, the other is not; both should be"),
        ("", ""),
    ]
