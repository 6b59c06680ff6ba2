"""The edges of the shape: no rows, one row, one class, a class count that divides by no block size.

Judged by the oracle alone, since there is no plain answer to compare with; findings of severity error
count, and of a kind that the plain answer is free of: the rest is the accuracy probe's to say. The
trap: zero rows are valid input (the last shard of a data set), whose mean is 0/0 by contract and whose
sum is 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from harness.observation import Observation, observe
from harness.probes.protocol.interview import NAME, Interview, Question
from harness.results import Finding
from harness.sample import Sample, Shape

# A prime beyond 512 and 1024, so that no block size of a kernel divides it.
PRIME_CLASSES = 1031


def _first_rows(count: int) -> Callable[[Interview], list[Finding]]:
    def ask(interview: Interview) -> list[Finding]:
        stored = interview.sample
        cut = stored.taken(torch.arange(count))
        return _judged(interview, f"first {count} rows", cut, interview.stand.options)

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
    bound = interview.bound_at(options) if rebound else interview.bound
    case = interview.case
    seen = interview.answered(observe(bound, stand, case.dtype, case.device, NAME, described_defects=False))
    # What is wrong at the usual shape as well is no edge's doing, and said elsewhere.
    usual = error_kinds(interview.plain)
    if error_kinds(seen) <= usual:
        return []
    found = (*seen.described(stand, NAME), *seen.findings)
    return [f for f in found if f.severity == "error" and f.kind not in usual]


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
)
