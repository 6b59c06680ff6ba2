"""The worst case decides a cell: outcome before number, NaN before every number."""

from __future__ import annotations

import math

import pytest

from harness.results import Finding, Result
from harness.run import Run
from harness.trial import Case, Trial
from reports.matrix import worst_cell
from reports.records import records


def rows(tmp_path, *results):
    made = [
        Result(
            Trial(Case("s", "mean", "r", "float32", "cpu", batch, 10, 1), "mine"), "accuracy", status,
            findings=(Finding(*finding),) if finding else (), numbers=numbers,
        )
        for batch, (status, finding, numbers) in enumerate(results, start=1)
    ]  # fmt: skip
    return records(Run(tmp_path, {"schema": 1, "plan": {}}, tuple(made)))


def finding(kind, severity, known=""):
    return (kind, severity, "accuracy", "loss", "seen", {}, known)


CLEAN = ("ok", None, {"loss_ulps": 0.5, "gradient_ulps": 1.5})
ROUGH = ("ok", None, {"loss_ulps": 7.5})
NAN = ("ok", finding("spurious_nan", "error"), {"loss_ulps": math.nan})
KNOWN = ("ok", finding("dead_gradient", "warning", "listed"), {"loss_ulps": 0.5})
KNOWN_ERROR = ("ok", finding("spurious_overflow", "error", "listed"), {"loss_ulps": math.inf})
WARNING = ("ok", finding("dead_gradient", "warning"), {"gradient_ulps": 3e7})
ROUGH_WARNING = ("ok", finding("inaccurate", "warning"), {"loss_ulps": 41.0})
NOTE = ("ok", finding("flushed", "note"), {"loss_ulps": 0.7})
OOM = ("out_of_memory", None, {})
SKIPPED, UNSUPPORTED = ("skipped", None, {}), ("unsupported", None, {})


@pytest.mark.parametrize(
    ("results", "text", "css"),
    [
        ((CLEAN,), "1.5", ""),
        ((CLEAN, ROUGH), "7.5", ""),
        ((NOTE,), "0.7", ""),
        ((CLEAN, NAN), "NaN", "e"),
        ((OOM, NAN), "NaN", "e"),
        ((CLEAN, OOM), "OOM", "f"),
        ((OOM, KNOWN_ERROR), "OOM", "f"),
        ((WARNING, KNOWN_ERROR), "known inf", "k"),
        ((KNOWN, WARNING), "grad 0", "w"),
        ((CLEAN, KNOWN), "known grad 0", "k"),
        ((ROUGH_WARNING, CLEAN), "41", "w"),
        ((CLEAN, UNSUPPORTED), "1.5", ""),
        ((UNSUPPORTED,), "n/a", "n"),
        ((SKIPPED,), "skip", "n"),
        ((("ok", None, {"loss_ulps": math.nan}), CLEAN), "NaN", ""),
    ],
)
def test_worst_decides(tmp_path, results, text, css):
    for order in (results, results[::-1]):
        cell = worst_cell(rows(tmp_path, *order))
        assert (cell.text, cell.css) == (text, css)
