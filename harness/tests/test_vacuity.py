"""A check that an answer out of thin air would pass is found out, and excused only for a declared reason."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from harness.block import OpenBlock
from harness.probes.accuracy import accuracy
from harness.probes.identity import identity
from harness.probes.overflow import overflow
from harness.probes.protocol.probe import protocol
from harness.run import load_run
from harness.sample import Sample
from harness.standard import standard
from harness.trial import Case
from harness.vacuity import (
    FAINT,
    SIZE,
    UNDERFLOW,
    Vacuous,
    coarsely_vacuous,
    notes_of,
    vacuous_checks,
)
from reports.nulls import sentences, tables
from reports.records import records
from suites.cross_entropy import SUITE
from suites.nll import SUITE as NLL
from suites.soft_margin import SUITE as SOFT_MARGIN

LOSSGAUGE = Path(sys.executable).with_name("lossgauge")
HUGE = 1e30
RIGHT, NEAR = "it is the right answer there", "it is within 2 ulp of the truth"
DEAF_SUITE = """
from dataclasses import replace

from suites.cross_entropy import SUITE as FAMILY

HUGE = 1e30


def sensitivity(terms):
    return FAMILY.oracle.sensitivity(terms) + HUGE


def gradient_sensitivity(terms):
    return {name: entries + HUGE for name, entries in FAMILY.oracle.gradient_sensitivity(terms).items()}


SUITE = replace(
    FAMILY,
    name="deaf",
    oracle=replace(FAMILY.oracle, sensitivity=sensitivity, gradient_sensitivity=gradient_sensitivity),
)
"""


def deaf(*, loss=True, gradient=True):
    """Returns the family with sensitivities so large that the strict bound swallows everything."""
    form = SUITE.oracle

    def sensitivity(terms):
        return form.sensitivity(terms) + HUGE * loss

    def gradient_sensitivity(terms):
        return {name: n + HUGE * gradient for name, n in form.gradient_sensitivity(terms).items()}

    return replace(
        SUITE, oracle=replace(form, sensitivity=sensitivity, gradient_sensitivity=gradient_sensitivity)
    )


def opened(suite, variant="mean", regime="unit_normal", dtype="float32", rows=64, classes=10):
    return OpenBlock(suite, Case(suite.name, variant, regime, dtype, "cpu", rows, classes, 1), 0)


def checked(suite=SUITE, *case, **shape):
    return vacuous_checks(opened(suite, *case, **shape).standard("native"))


def of_rows(logits, target, suite=SUITE, dtype="float32", **options):
    """Returns the vacuous checks of rows that were written by hand."""
    sample = Sample(logits=torch.tensor(logits, dtype=getattr(torch, dtype)), target=torch.tensor(target))
    return vacuous_checks(standard(suite, sample, {**SUITE.options, **options}, dtype, {}))


def excuses(found, check):
    return {item.null: item.declared for item in found if item.check == check}


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16"])
@pytest.mark.parametrize("variant", ["mean", "sum", "none", "weighted", "probability", "images"])
def test_an_ordinary_case_rejects_every_null_answer(variant, dtype):
    assert checked(SUITE, variant, "unit_normal", dtype) == ()


@pytest.mark.parametrize("regime", [regime.name for regime in SUITE.regimes if "recorded" not in regime.name])
def test_no_regime_of_the_family_is_vacuous_without_excuse(regime):
    assert [item for item in checked(SUITE, "mean", regime) if not item.declared] == []


def test_one_class_makes_zeros_right():
    found = checked(SUITE, classes=1)
    assert excuses(found, "loss")["zeros"] == RIGHT
    assert excuses(found, "gradient of logits")["zeros"] == RIGHT
    assert all(item.declared for item in found)


def test_where_all_rows_are_ignored_everything_is_undefined_and_nothing_is_asked():
    found = checked(SUITE, "mean", "ignored_all")
    assert all(item.declared == RIGHT for item in found)
    assert {"zeros", "the sign flipped"} <= set(excuses(found, "gradient of logits"))
    # Zeros are no answer to a mean over nothing: only NaN is.
    assert "0.97 of it" in excuses(found, "loss")
    assert "zeros" not in excuses(found, "loss")


def test_an_untrained_model_has_log_c_for_its_loss_and_no_excuse_for_its_gradient():
    found = of_rows([[0.0, 0.0, 0.0], [1e-7, 0.0, -1e-7]], [0, 1])
    assert excuses(found, "loss")["the constant log C"] in (RIGHT, NEAR)
    assert "zeros" not in excuses(found, "loss")
    assert excuses(found, "gradient of logits") == {}


def test_underflow_excuses_zeros_for_loss_and_gradient():
    found = of_rows([[200.0, 0.0], [300.0, 0.0]], [0, 0])
    assert excuses(found, "loss")["zeros"] in (UNDERFLOW, RIGHT)
    subnormal = of_rows([[95.0, 0.0], [96.0, 0.0]], [0, 0])
    assert excuses(subnormal, "gradient of logits")["zeros"] == UNDERFLOW
    assert excuses(subnormal, "loss")["zeros"] == UNDERFLOW
    assert all(item.declared for item in (*found, *subnormal))


def test_a_faint_loss_is_excused_while_the_gradient_check_decides():
    rows = [[20.0, 0.0], [18.0, 0.0]], [0, 0]
    found = of_rows(*rows)
    assert excuses(found, "loss")["zeros"] == FAINT
    assert excuses(found, "gradient of logits") == {}
    without_guard = of_rows(*rows, suite=deaf(loss=False))
    assert excuses(without_guard, "gradient of logits")["zeros"] == ""
    assert excuses(without_guard, "loss")["zeros"] == ""


def test_a_loss_that_accepts_zeros_by_its_bound_is_not_excused_by_a_good_gradient():
    found = checked(deaf(gradient=False))
    assert excuses(found, "loss")["zeros"] == ""
    assert excuses(found, "gradient of logits") == {}


def test_a_bound_that_swallows_everything_is_vacuous_for_every_null():
    found = checked(deaf())
    assert excuses(found, "loss") == dict.fromkeys(
        ("zeros", "the constant log C", "the sign flipped", "0.97 of it"), ""
    )
    assert excuses(found, "gradient of logits") == dict.fromkeys(
        ("zeros", "the sign flipped", "0.97 of it", "another row's", "the one-hot part alone"), ""
    )


def test_notes_keep_what_is_declared_apart():
    found = (
        Vacuous("loss", "zeros"),
        Vacuous("loss", "0.97 of it"),
        Vacuous("gradient of x", "zeros", FAINT),
    )
    assert notes_of(found) == {
        "vacuous": "loss accepts zeros; loss accepts 0.97 of it",
        "vacuous_declared": f"gradient of x accepts zeros ({FAINT})",
    }
    assert notes_of(()) == {}


@pytest.mark.parametrize("name", ["native", "exact_gradient", "softmax_log"])
def test_the_accuracy_result_says_it_whoever_is_asked(name):
    vacuous = accuracy(opened(deaf()), name).notes["vacuous"]
    assert "loss accepts zeros" in vacuous
    assert "gradient of logits accepts the one-hot part alone" in vacuous
    assert "vacuous" not in accuracy(opened(SUITE), name).notes


@pytest.mark.parametrize(
    ("probe", "said"),
    [
        (protocol, "random upstream: gradient of logits accepts zeros"),
        (protocol, "a prime number of classes: gradient of logits accepts another row's"),
        (protocol, "new content in the same storage: loss accepts the sign flipped"),
        (overflow, "ladder gap: gradient of logits accepts the sign flipped"),
        (identity, "accepts the sign flipped"),
    ],
)
def test_every_probe_that_judges_by_bounds_says_it(probe, said):
    vacuous = probe(opened(deaf()), "native").notes["vacuous"]
    assert said in vacuous, vacuous
    notes = probe(opened(SUITE), "native").notes
    assert "vacuous" not in notes


def test_other_questions_excuse_what_is_right_there_and_sizes():
    declared = protocol(opened(SUITE), "native").notes["vacuous_declared"].split("; another")
    assert f"another question accepts a null answer ({RIGHT})" in declared[0]
    bound = coarsely_vacuous(opened(SUITE, dtype="bfloat16").standard("native"))
    assert {(item.null, item.declared) for item in bound} <= {
        ("0.97 of it", SIZE),
        ("the constant log C", SIZE),
    }
    assert ("0.97 of it", SIZE) in {(item.null, item.declared) for item in bound}


def test_an_edge_rejects_more_than_another_call_in_16_bits():
    stand = opened(SUITE, dtype="bfloat16", rows=3, classes=1031).standard("native")
    alone = "the one-hot part alone"
    assert alone in {item.null for item in coarsely_vacuous(stand) if not item.declared}
    assert alone not in {item.null for item in coarsely_vacuous(stand, "edge")}


def test_a_rung_of_many_classes_rejects_more_than_a_rung_of_scale_in_16_bits():
    (ladder,) = (item for item in SUITE.ladders if item.name == "classes")
    stand = opened(SUITE, dtype="bfloat16").rung(ladder, 8192.0, "native")
    alone = "the one-hot part alone"
    assert alone in {item.null for item in coarsely_vacuous(stand) if not item.declared}
    assert alone not in {item.null for item in coarsely_vacuous(stand, "garbage")}


@pytest.mark.parametrize(
    ("suite", "name"),
    [(SUITE, "native"), (NLL, "native"), (SOFT_MARGIN, "text_sum")],
    ids=["row", "mean", "sum"],
)
def test_sizes_at_the_end_of_float64_leave_no_bound_infinite(suite, name):
    """The sensitivity of a row, or of their sum, is beyond the largest number; the truth is not."""
    (ladder,) = (item for item in suite.ladders if item.name == "scale")
    top = ladder.rungs(torch.finfo(torch.float64))[-1]
    stand = opened(suite, dtype="float64").rung(ladder, top, name)
    assert np.isfinite(stand.loss.strict)
    assert stand.loss.strict < 1e-12 * abs(stand.loss.truth)
    assert [item for item in coarsely_vacuous(stand) if not item.declared] == []


def test_a_rung_that_accepts_a_null_answer_is_said_wherever_it_lies_on_the_ladder():
    form = SUITE.oracle

    def deaf_above(terms):
        found = form.sensitivity(terms)
        return torch.where(found > HUGE, math.inf, found)

    suite = replace(SUITE, oracle=replace(form, sensitivity=deaf_above))
    notes = overflow(opened(suite), "native").notes
    assert "ladder scale: loss accepts zeros" in notes["vacuous"]
    assert "vacuous" not in overflow(opened(SUITE), "native").notes


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A suite file with such a bound, run by the command line."""
    folder = tmp_path_factory.mktemp("deaf")
    (folder / "deaf.py").write_text(DEAF_SUITE, encoding="utf-8")
    flags = "--probe accuracy --dtype float32 --batch 8 --classes 5 --variant mean --regime unit_normal"
    flags += " --workers 1 --no-report --out run -f impl=native,exact_gradient"
    subprocess.run(
        [LOSSGAUGE, "run", "--suite", "deaf.py", *flags.split()],
        cwd=folder,
        check=True,
        capture_output=True,
        timeout=120,
    )
    return load_run(folder / "run")


def test_the_run_itself_reports_a_vacuous_check(ran):
    assert {r.trial.implementation for r in ran.results} == {"native", "exact_gradient"}
    for result in ran.results:
        assert result.status == "ok"
        assert "loss accepts zeros; " in result.notes["vacuous"]
        assert "gradient of logits accepts zeros" in result.notes["vacuous"]


def test_the_method_of_the_report_lists_it_and_does_not_claim_the_contrary(ran):
    rows = records(ran)
    assert sentences(rows) == []
    (table,) = tables(rows)
    said = [[cell.text for cell in row] for row in table.rows]
    assert ["deaf", "loss accepts zeros", "no", "1"] in [row[:4] for row in said]
    assert ["deaf", "gradient of logits accepts the one-hot part alone", "no", "1"] in [r[:4] for r in said]
