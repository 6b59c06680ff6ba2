"""The distinct findings of a run: one of each (suite, implementation, kind, group, probe), worst first.

A sweep shows the same defect in many trials; a reader wants it once, with how often and in which dtypes it
was seen and one trial to look at. The trap: the trial told is the first in which the defect was worst, so
a defect that is an error anywhere is told as that error.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from harness.results import SEVERITIES, Finding, Result
from harness.trial import DTYPES, Trial


@dataclass(frozen=True)
class Distinct:
    """A defect: the finding that shows it worst, the trial of that finding, and where else it was seen."""

    finding: Finding
    trial: Trial
    trials: int
    dtypes: tuple[str, ...]


def by_severity(findings: Iterable[Finding]) -> list[Finding]:
    """Returns findings worst first, unknown before known where the severity is the same."""
    return sorted(findings, key=_rank)


def distinct(results: Iterable[Result]) -> list[Distinct]:
    """Returns what was found in results, each defect once, worst first and then as it was found."""
    seen: dict[tuple[str, ...], list[tuple[Finding, Trial]]] = {}
    for result in results:
        case = result.trial.case
        for finding in result.findings:
            key = (case.suite, result.trial.implementation, finding.kind, finding.group, finding.probe)
            seen.setdefault(key, []).append((finding, result.trial))
    found = []
    for shown in seen.values():
        finding, trial = min(shown, key=lambda pair: _rank(pair[0]))
        dtypes = {trial.case.dtype for _, trial in shown}
        found.append(Distinct(finding, trial, len(shown), tuple(sorted(dtypes, key=DTYPES.index))))
    return sorted(found, key=lambda one: _rank(one.finding))


def _rank(finding: Finding) -> tuple[int, bool]:
    return -SEVERITIES.index(finding.severity), bool(finding.known)
