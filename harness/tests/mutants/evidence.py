"""What the default sweep says about every mutant and control under one seed, asked in this process.

The plan is the quick profile's over the whole extended suite; of its blocks the mutants and controls
are kept, of its probes those that judge answers. Cross-entropy is asked everything, timing at its smallest
timed case; under a brief sweep a mutant is asked only until it is killed. Mutants of other families always
are, at the case that killed them before first of all; a brief sweep asks their controls the questions that
killed. The trap: a probe that breaks down on a mutant has found nothing, so breakdowns are kept apart and
are never counted as a kill.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch

from harness.block import OpenBlock
from harness.known import entry_for
from harness.plan import PROBES, Block
from harness.probes.registry import ask
from harness.probes.timing import Measure, time_block
from harness.results import INCOMPLETE, Finding, Result
from harness.suite import Suite
from harness.sweep import Sweep, planned
from harness.tests.mutants.catalogue import CROSS_ENTROPY, FAMILIES, PLANTED, mutants_of, planted_suite
from harness.tests.mutants.mutant import Mutant
from harness.tests.mutants.suite import SUITE
from harness.trial import Trial

# Memory and compilation judge no answers, and timing is asked in a phase of its own.
JUDGING = tuple(probe for probe in PROBES if probe not in ("compilation", "memory", "timing"))
# As many rounds as the first process of a default run takes at least; the others repeat it.
SHORT = Measure(rounds=16, most_rounds=16, processes=1, budget_seconds=60.0)


class Sighting(NamedTuple):
    """A finding above note, or a note that the mutant is expected by, and the case that showed it."""

    kind: str
    severity: str
    probe: str
    group: str
    case: str


@dataclass
class Evidence:
    """Sightings by implementation, breakdowns as sentences, and cases in which a null passed."""

    seed: int
    sightings: dict[str, list[Sighting]] = field(default_factory=dict)
    breakdowns: list[str] = field(default_factory=list)
    vacuous: dict[str, list[str]] = field(default_factory=dict)
    probes: dict[str, None] = field(default_factory=dict)
    cpu_seconds: float = 0.0

    def kill(self, mutant: Mutant) -> Sighting | None:
        """Returns the first sighting that says what is wrong with a mutant, None while it survives."""
        found = self.sightings.get(mutant.name, [])
        return next((s for s in found if s.kind in mutant.kinds and s.probe in mutant.probes), None)

    def cases(self, name: str, kind: str, probe: str) -> int:
        """Counts the cases that showed a kind by a probe."""
        return len({s.case for s in self.sightings.get(name, []) if (s.kind, s.probe) == (kind, probe)})

    def first_cases(self) -> dict[str, str]:
        """Returns the case that killed each mutant, by its name."""
        kills = {mutant.name: self.kill(mutant) for mutant in PLANTED.values()}
        return {name: kill.case for name, kill in kills.items() if kill is not None}

    def joined(self, other: Evidence) -> Evidence:
        """Returns the evidence of two parts of one sweep."""
        both = Evidence(self.seed, probes=self.probes | other.probes)
        both.cpu_seconds = self.cpu_seconds + other.cpu_seconds
        both.breakdowns = self.breakdowns + other.breakdowns
        for part in (self, other):
            for name, sightings in part.sightings.items():
                both.sightings.setdefault(name, []).extend(sightings)
            for name, cases in part.vacuous.items():
                both.vacuous.setdefault(name, []).extend(cases)
        return both


def watched(suite: Suite) -> tuple[str, ...]:
    """Returns the names of the mutants and of every clean control of the suite."""
    return tuple(i.name for i in suite.implementations if i.control or i.name in PLANTED)


def watched_groups(suite: Suite) -> list[tuple[Block, ...]]:
    """Returns the default sweep's blocks by artefact, with the watched implementations alone."""
    names = watched(suite)
    groups = []
    for group in planned(Sweep(devices=("cpu",)), {suite.name: suite}).groups():
        kept = [Block(b.case, {n: p for n, p in b.probes.items() if n in names}) for b in group]
        groups.append(tuple(block for block in kept if block.probes))
    return groups


def gather(
    seed: int,
    part: int = 0,
    parts: int = 1,
    *,
    brief: bool = False,
    before: Mapping[str, str] | None = None,
) -> Evidence:
    """Asks one part of the sweep of one seed and returns what was seen; part 0 asks timing.

    `before` names the cases that killed mutants before; they are asked first, the others if that fails.
    """
    torch.set_num_threads(1)
    evidence, began = Evidence(seed), time.process_time()
    _gather_cross_entropy(evidence, part, parts, brief=brief)
    others = [family for family in FAMILIES if family != CROSS_ENTROPY]
    for family in others[part::parts]:
        gather_family(evidence, family, brief=brief, before=before or {})
    evidence.cpu_seconds = time.process_time() - began
    return evidence


def gather_family(evidence: Evidence, family: str, *, brief: bool, before: Mapping[str, str]) -> None:
    """Asks the mutants of a family until they are killed, its controls everything or what killed."""
    suite = planted_suite(family)
    blocks = [block for group in watched_groups(suite) for block in group]
    remembered = set(before.values())
    # What no question finds is asked all of them, so a brief sweep leaves it out.
    asked = [m.name for m in mutants_of(family) if not (brief and m.unseen)]
    for block in sorted(blocks, key=lambda block: block.case.id not in remembered):
        opened = OpenBlock(suite, block.case, evidence.seed)
        killing: dict[str, None] = {}
        for probe, name in block.questions():
            if name in asked and probe in JUDGING and not _is_settled(evidence, probe, name):
                _ask(evidence, probe, opened, name)
                if _is_settled(evidence, probe, name):
                    killing[probe] = None
        for probe, name in block.questions():
            if name not in PLANTED and probe in (killing if brief else JUDGING):
                _ask(evidence, probe, opened, name)
        if brief and all(evidence.kill(PLANTED[name]) for name in asked):
            return


def _gather_cross_entropy(evidence: Evidence, part: int, parts: int, *, brief: bool) -> None:
    suite, seed = SUITE, evidence.seed
    groups = watched_groups(suite)
    for blocks in groups[part::parts]:
        before: OpenBlock | None = None
        for block in blocks:
            opened = OpenBlock(suite, block.case, seed)
            if before is not None:
                opened.adopt(before)
            before = opened
            for probe, name in block.questions():
                if probe in JUDGING and not (brief and _is_settled(evidence, probe, name)):
                    _ask(evidence, probe, opened, name)
    if part == 0:
        timed = [b for blocks in groups for b in blocks if b.timed() and b.case.dtype == "float32"]
        smallest = min(timed, key=lambda block: block.case.batch * block.case.classes)
        names = [n for n in smallest.timed() if not (brief and _is_settled(evidence, "timing", n))]
        _time(evidence, OpenBlock(suite, smallest.case, seed), tuple(names))


def _is_settled(evidence: Evidence, probe: str, name: str) -> bool:
    """Tells whether a brief sweep need not ask: a mutant killed, or a probe that is not to kill it."""
    mutant = PLANTED.get(name)
    return mutant is not None and (probe not in mutant.probes or evidence.kill(mutant) is not None)


def _ask(evidence: Evidence, probe: str, opened: OpenBlock, name: str) -> None:
    answer = ask(probe, opened, name)
    evidence.probes[probe] = None
    if answer.status in INCOMPLETE:
        sentence = f"{opened.case.id}/{name} {probe}: {answer.status}: {answer.reason}"
        evidence.breakdowns.append(sentence)
    _keep(evidence, name, opened.case.id, _unknown(opened, name, probe, answer.findings))
    is_null = name in PLANTED and PLANTED[name].row == "c1"
    passed = answer.status == "ok" and all(finding.severity == "note" for finding in answer.findings)
    if is_null and probe == "accuracy" and passed:
        evidence.vacuous.setdefault(name, []).append(opened.case.id)


def _unknown(opened: OpenBlock, name: str, probe: str, found: Iterable[Finding]) -> list[Finding]:
    """Returns the findings that no Known entry of a control covers; mutants have none."""
    item, result = opened.suite.implementation(name), Result(Trial(opened.case, name), probe, "ok")
    return [f for f in found if entry_for(item, result, f, torch.__version__) is None]


def _keep(evidence: Evidence, name: str, case: str, findings: Iterable[Finding]) -> None:
    expected = PLANTED[name].kinds if name in PLANTED else ()
    for finding in findings:
        if finding.severity != "note" or finding.kind in expected:
            sighting = Sighting(finding.kind, finding.severity, finding.probe, finding.group, case)
            evidence.sightings.setdefault(name, []).append(sighting)


def _time(evidence: Evidence, opened: OpenBlock, names: tuple[str, ...]) -> None:
    def hear(message: dict[str, Any]) -> None:
        if "finding" in message:
            finding = Finding.from_json(message["finding"]["finding"])
            _keep(evidence, message["finding"]["name"], opened.case.id, [finding])

    evidence.probes["timing"] = None
    time_block(opened, names, 0, SHORT, hear, lambda name: None)
