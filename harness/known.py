"""Which findings are already known, and which known ones no longer occur.

A finding that a Known entry of its implementation covers carries the entry's reason; it stays
visible and is counted `known`. One in an entry's scope whose error is larger than the entry covers is
another finding: it stays open, and its message says so. An entry that nothing in its scope met over a
complete run is stale, whatever the sizes. The trap: staleness can only be judged by a run that asked
everything in the entry's scope, so filtered runs say nothing about it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from harness.implementation import Implementation, Known
from harness.results import Finding, Result
from harness.suite import Suite
from harness.units import number

OUTGROWN = "; larger than the known one: "


def entry_for(
    implementation: Implementation, result: Result, finding: Finding, torch_version: str
) -> Known | None:
    """Returns the first Known entry that covers a finding, size included, or None."""
    facts = _facts(result, finding)
    return next(
        (entry for entry in implementation.known if entry.covers(facts, torch_version, finding.times)), None
    )


def met_by(
    implementation: Implementation, result: Result, finding: Finding, torch_version: str
) -> Known | None:
    """Returns the entry that a finding shows to be in use: the one that covers it, else the outgrown one."""
    entry = entry_for(implementation, result, finding, torch_version)
    return entry or outgrown(implementation, result, finding, torch_version)


def outgrown(
    implementation: Implementation, result: Result, finding: Finding, torch_version: str
) -> Known | None:
    """Returns, of the entries in whose scope a finding lies, the one of the largest `up_to`, or None."""
    facts = _facts(result, finding)
    scopes = [entry for entry in implementation.known if entry.covers(facts, torch_version)]
    return max(scopes, key=lambda entry: entry.up_to, default=None)


def _facts(result: Result, finding: Finding) -> dict[str, str]:
    return {**result.trial.facts(), "kind": finding.kind, "group": finding.group, "probe": finding.probe}


def annotated(result: Result, implementation: Implementation, torch_version: str) -> Result:
    """Returns the result with the reason of a Known entry on every finding that one covers.

    The message of one that is larger than its entry covers ends with both sizes; a result that was annotated
    before, as those that are resumed, is annotated anew.
    """
    findings = []
    for finding in result.findings:
        entry = entry_for(implementation, result, finding, torch_version)
        message = finding.message.partition(OUTGROWN)[0]
        if entry is not None:
            upstream = f" ({entry.upstream})" if entry.upstream else ""
            reason = f"{entry.reason}{upstream}"
            findings.append(replace(finding, known=reason, outside=entry.outside, message=message))
            continue
        small = outgrown(implementation, result, finding, torch_version)
        if small is not None and finding.times is not None:
            sizes = f"{number(finding.times)} error bounds, known up to {number(small.up_to)}"
            message = f"{message}{OUTGROWN}{sizes} ({small.reason})"
        findings.append(replace(finding, known="", outside=False, message=message))
    return replace(result, findings=tuple(findings))


def stale(suites: Mapping[str, Suite], results: Iterable[Result], torch_version: str) -> list[str]:
    """Returns a sentence for every Known entry that covered no finding of a complete run.

    An entry in whose scope nothing was answered (compiled forms beyond the number of artefacts) is not
    stale: nobody has looked.
    """
    met: set[tuple[str, str, int]] = set()
    asked: set[tuple[str, str, int]] = set()
    for result in results:
        suite = suites.get(result.trial.case.suite)
        if suite is None:
            continue
        implementation = suite.implementation(result.trial.implementation)
        if result.status == "ok":
            facts = {**result.trial.facts(), "probe": result.probe}
            for index, listed in enumerate(implementation.known):
                place = suite.name, implementation.name, index
                if place not in asked and listed.reaches(facts, torch_version):
                    asked.add(place)
        for finding in result.findings:
            entry = met_by(implementation, result, finding, torch_version)
            if entry is not None:
                met.add((suite.name, implementation.name, implementation.known.index(entry)))
    told = asked - met
    return [
        f"{suite.name}/{implementation.name}: Known({entry.kind!r}, reason={entry.reason!r}) did not occur; "
        "remove it or narrow its scope"
        for suite in suites.values()
        for implementation in suite.implementations
        for index, entry in enumerate(implementation.known)
        if (suite.name, implementation.name, index) in told
    ]
