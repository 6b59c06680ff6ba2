"""The edges of the shape: no rows, one row, one class, and counts that divide by no block size.

Judged by the oracle alone, since there is no plain answer to compare with; findings of severity error
count, and of a kind that the plain answer is free of: the rest is the accuracy probe's to say. In 16 bits
so does what nobody computed (`harness.garbage`), however small it is. The trap: zero rows are valid input
(the last shard of a data set), whose mean is 0/0 by contract and whose sum is 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from harness.garbage import FEW_BOUNDS, few, garbage, sharpened
from harness.judge import Defect, Yardstick, judge
from harness.observation import Observation, compared_with, observe
from harness.probes.protocol.interview import NAME, Interview, Question
from harness.results import Finding
from harness.sample import Sample, Shape
from harness.standard import Standard
from harness.witness import described

# A prime beyond 512 and 1024, so that no block size of a kernel divides it.
PRIME_CLASSES = 1031
# Three rows behind the blocks of 16, 32, 64 and 128; of few classes, for they are not what is asked.
PRIME_ROWS, FEW_CLASSES = 131, 10


def _first_rows(count: int) -> Callable[[Interview], list[Finding]]:
    def ask(interview: Interview) -> list[Finding]:
        stored, options = interview.sample, interview.stand.options
        whole = stored.tensors[0].shape
        cut = {
            name: value[:count] if isinstance(value, Tensor) and value.shape == whole else value
            for name, value in options.items()
        }
        # A weight for every entry goes with its entries, and is bound to a form that is built anew.
        changed = any(cut[name] is not value for name, value in options.items())
        taken = stored.taken(torch.arange(count))
        return _judged(interview, f"first {count} rows", taken, cut, rebound=changed)

    return ask


def _at(shape: Callable[[Shape], Shape]) -> Callable[[Interview], list[Finding]]:
    def ask(interview: Interview) -> list[Finding]:
        asked = shape(interview.case.shape)
        drawn = interview.drawn_at(asked)
        return [] if drawn is None else _judged(interview, asked, *drawn, rebound=True)

    return ask


def _judged(
    interview: Interview,
    edge: object,
    sample: Sample,
    options: Mapping[str, Any],
    *,
    rebound: bool = False,
) -> list[Finding]:
    stand = interview.standard_of(edge, sample, options)
    interview.holds(stand, "edge")
    bound = interview.bound_at(options) if rebound else interview.bound
    case = interview.case
    seen = interview.answered(observe(bound, stand, case.dtype, case.device, NAME, described_defects=False))
    # What is wrong at the usual shape as well is no edge's doing, and said elsewhere.
    usual = error_kinds(interview.plain)
    found = [f for f in seen.findings if f.severity == "error" and f.kind not in usual]
    if not error_kinds(seen) <= usual:
        found += [
            described(defect, stick, got, stand, NAME, tensor)
            for tensor, stick, got in compared_with(stand, seen)
            for defect in judge(stick, got).defects
            if defect.severity == "error" and not _as_usual(stick, defect, usual) and not few(stick, defect)
        ]
    # Whose plain answer is off by errors of rounding has slopes that are lost to it at every shape.
    return found or ([] if "inaccurate" in usual else _uncomputed(interview, seen, stand))


def _as_usual(stick: Yardstick, defect: Defect, usual: set[str]) -> bool:
    """Tells whether the plain answer has such defects; a slope lost to 16-bit rounding is an inaccuracy."""
    small = stick.form.precision < 24 and defect.times is not None and defect.times <= FEW_BOUNDS
    lost = small and defect.kind == "dead_gradient" and "inaccurate" in usual
    return lost or defect.kind in usual


def _uncomputed(interview: Interview, seen: Observation, stand: Standard) -> list[Finding]:
    """Returns the garbage in an answer, of a kind that the plain answer has none of."""
    usual = {
        defect.kind
        for _, stick, got in compared_with(interview.stand, interview.plain)
        for defect in judge(sharpened(stick), got).defects
        if defect.severity == "error"
    }
    return [
        described(defect, stick, got, stand, NAME, tensor)
        for tensor, stick, got in compared_with(stand, seen)
        for defect in garbage(stick, got)
        if defect.kind not in usual
    ]


def error_kinds(seen: Observation) -> set[str]:
    """Returns the kinds of what is wrong with an answer to the degree of an error."""
    defects = {defect.kind for defect in seen.defects if defect.severity == "error"}
    return defects | {finding.kind for finding in seen.findings if finding.severity == "error"}


QUESTIONS = (
    Question("zero rows", "edge_shape", _first_rows(0), recompiles=True),
    Question("one row", "edge_shape", _first_rows(1), recompiles=True),
    Question("one class", "edge_shape", _at(lambda shape: Shape(shape.batch, 1)), recompiles=True),
    Question(
        "a prime number of classes",
        "edge_shape",
        _at(lambda shape: Shape(min(shape.batch, 3), PRIME_CLASSES)),
        recompiles=True,
    ),
    Question(
        "a prime number of rows",
        "edge_shape",
        _at(lambda shape: Shape(PRIME_ROWS, min(shape.classes, FEW_CLASSES))),
        recompiles=True,
    ),
)
