"""A run joined trial by trial: one record per trial, planned or measured, newest attempt per probe.

`status` says whether it ran, `outcome` what was found; numbers are taken only from probes whose
status is ok, and the ratios to a reference are added to them. The trap: a planned trial without a
result is a record too (not_run), and a planned probe without one makes its trial incomplete although
the others may have answered.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from harness.columns import parted
from harness.outcome import outcome, ranked, trial_status
from harness.results import (
    EXHAUSTIVE_PREFIX,
    INCOMPLETE,
    LADDER_PREFIXES,
    QUANTITIES,
    Finding,
    Result,
    Status,
)
from harness.run import Run
from harness.trial import Trial
from reports.declared import Declared, Maker
from reports.ratios import DERIVED, add_ratios

# Answers that end a trial: its other planned probes were never due.
_FINAL = frozenset({"unsupported", "skipped"})


@dataclass(frozen=True, slots=True)
class Record:
    """Everything known about one trial; `unanswered` names the planned probes without a result.

    `notes` holds by probe what it said beside its numbers; a probe that said nothing is not in it.
    """

    trial: Trial
    maker: Maker
    status: Status
    outcome: str
    findings: tuple[Finding, ...]
    numbers: dict[str, float]
    answers: dict[str, Status]
    unanswered: tuple[str, ...]
    reason: str
    notes: Mapping[str, Mapping[str, str]]

    def ran(self, probe: str) -> bool:
        """Tells whether a probe was run to its end."""
        return self.answers.get(probe) == "ok"

    def note(self, probe: str, key: str) -> str:
        """Returns what a probe said under a key, "" when it said nothing."""
        return str(self.notes.get(probe, {}).get(key) or "")

    @property
    def open_findings(self) -> tuple[Finding, ...]:
        """The findings that no Known entry covers."""
        return tuple(finding for finding in self.findings if not finding.known)

    @property
    def severity(self) -> str:
        """The highest severity that no Known entry covers, "" when there is none."""
        found = self.open_findings
        return found[0].severity if found else ""

    @property
    def complete(self) -> bool:
        """Whether every planned probe has an answer and none of them is a failure to run."""
        return not self.unanswered and self.status not in INCOMPLETE


def records(run: Run) -> list[Record]:
    """Returns one record per trial: the plan's order first, then trials that no plan names."""
    declared = Declared(run.manifest)
    planned: dict[tuple[object, ...], tuple[Trial, tuple[str, ...]]] = {
        _key(trial): (trial, probes) for trial, probes in declared.planned()
    }
    answers: dict[tuple[object, ...], list[Result]] = {key: [] for key in planned}
    for result in run.results:
        answers.setdefault(_key(result.trial), []).append(result)
    makers: dict[tuple[str, str], Maker] = {}
    joined: list[Record] = []
    for key, results in answers.items():
        trial, probes = planned[key] if key in planned else (results[0].trial, ())
        name = (trial.case.suite, trial.implementation)
        if name not in makers:
            makers[name] = declared.maker(*name)
        joined.append(_record(trial, makers[name], results, probes))
    add_ratios(joined)
    return joined


def ladder_names(rows: Iterable[Record]) -> list[str]:
    """Returns the names of all numbers that a climbed ladder left behind, sorted."""
    names: set[str] = set()
    for row in rows:
        if "overflow" in row.answers:
            names.update(row.numbers)
    return sorted(name for name in names if name.startswith(LADDER_PREFIXES))


def exhaustive_names(rows: Iterable[Record]) -> list[str]:
    """Returns the names of all exact counts over the values of a 16-bit dtype, in order of appearance."""
    names: dict[str, None] = {}
    for row in rows:
        if row.ran("overflow"):
            names.update(dict.fromkeys(name for name in row.numbers if name.startswith(EXHAUSTIVE_PREFIX)))
    return list(names)


def gradient_names(rows: Iterable[Record]) -> list[str]:
    """Returns the names of the quantities of one gradient among several, sorted."""
    listed = {quantity.name for quantity in QUANTITIES}
    names = {name for row in rows for name in row.numbers}
    return sorted(name for name in names if name not in listed and parted(name)[0] in listed)


def unlisted_names(rows: Iterable[Record]) -> list[str]:
    """Returns the names of numbers that QUANTITIES, ratios, ladders and counts do not explain, sorted.

    A quantity of one gradient is explained by the quantity.

    A probe of a newer version, or of a plug-in, may measure what this version has no words for.
    """
    listed = {quantity.name for quantity in (*QUANTITIES, *DERIVED)}
    climbed: set[str] = set()
    others: set[str] = set()
    for row in rows:
        (climbed if "overflow" in row.answers else others).update(row.numbers)
    ladders = {name for name in climbed if name.startswith((*LADDER_PREFIXES, EXHAUSTIVE_PREFIX))}
    return sorted(name for name in (climbed | others) - ladders if parted(name)[0] not in listed)


def _key(trial: Trial) -> tuple[object, ...]:
    # A plain tuple: hashing nested frozen dataclasses costs five times as much, 100,000 times over.
    case = trial.case
    return (
        case.suite,
        case.variant,
        case.regime,
        case.dtype,
        case.device,
        case.batch,
        case.classes,
        case.threads,
        trial.implementation,
    )


def _record(trial: Trial, maker: Maker, results: list[Result], probes: Iterable[str]) -> Record:
    findings: list[Finding] = []
    numbers: dict[str, float] = {}
    reasons: dict[str, None] = {}
    final = False
    for result in results:
        findings.extend(result.findings)
        if result.status == "ok":
            numbers.update(result.numbers)
        else:
            final = final or (result.status in _FINAL and result.probe == "admission")
            text = result.reason or result.status.replace("_", " ")
            reasons[text if result.probe == "admission" else f"{result.probe}: {text}"] = None
    answered = {result.probe: result.status for result in results}
    unanswered = () if final else tuple(probe for probe in probes if probe not in answered)
    if not results:
        reasons["planned, no result"] = None
    elif unanswered:
        reasons[f"no answer from {', '.join(unanswered)}"] = None
    return Record(
        trial,
        maker,
        trial_status(results),
        outcome(findings),
        tuple(ranked(findings)),
        numbers,
        answered,
        unanswered,
        "; ".join(reasons),
        {result.probe: result.notes for result in results if result.notes},
    )
