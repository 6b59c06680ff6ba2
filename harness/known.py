"""Which findings are already known, and which known ones no longer occur.

A finding that a Known entry of its implementation covers carries the entry's reason; it stays
visible and is counted `known`. An entry that covers nothing over a complete run is stale. The trap:
staleness can only be judged by a run that asked everything in the entry's scope, so filtered runs
say nothing about it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from harness.implementation import Implementation, Known
from harness.results import Finding, Result
from harness.suite import Suite


def entry_for(
    implementation: Implementation, result: Result, finding: Finding, torch_version: str
) -> Known | None:
    """Returns the first Known entry that covers a finding, or None."""
    facts = {**result.trial.facts(), "kind": finding.kind, "group": finding.group, "probe": finding.probe}
    return next((entry for entry in implementation.known if entry.covers(facts, torch_version)), None)


def annotated(result: Result, implementation: Implementation, torch_version: str) -> Result:
    """Returns the result with the reason of a Known entry on every finding that one covers."""
    findings = []
    for finding in result.findings:
        entry = entry_for(implementation, result, finding, torch_version)
        if entry is None:
            findings.append(replace(finding, known="", outside=False))
        else:
            upstream = f" ({entry.upstream})" if entry.upstream else ""
            findings.append(replace(finding, known=f"{entry.reason}{upstream}", outside=entry.outside))
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
            entry = entry_for(implementation, result, finding, torch_version)
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
