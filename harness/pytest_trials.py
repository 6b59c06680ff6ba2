"""Identities and trials as tests: the probes of a run, asked here, and the Known entries they must meet.

The open block is kept from one trial to the next, so that inputs and truth of a case are made once.
The trap: an entry is stale only when all that it could have covered was asked, so a session that
was filtered, stopped or spread over processes says nothing about it.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import pytest
import torch

from harness.block import Answer, OpenBlock, reset_compiler
from harness.calling import admission
from harness.implementation import Implementation, Known
from harness.known import annotated, met_by
from harness.outcome import ranked
from harness.plan import Plan, Refusal
from harness.probes.identity import NAME as IDENTITY
from harness.probes.identity import holding
from harness.probes.registry import PROBE_FUNCTIONS
from harness.pytest_items import SuiteItem, fail, wrong
from harness.pytest_settings import Settings
from harness.results import INCOMPLETE, Finding, Result, to_json_number
from harness.suite import Identity, Suite
from harness.sweep import Sweep, planned
from harness.trial import DTYPES, Case, Trial

# Not invalid_input: it may end the process that asks.
ASKED_PROBES = ("accuracy", "protocol", "overflow", "determinism")


def trials_of(parent: pytest.Module, suite: Suite, settings: Settings) -> Iterator[pytest.Item]:
    """Yields identities, the profile's trials, refused ones behind them, and the Known entries last."""
    plan = planned(Sweep(profile=settings.profile), {suite.name: suite})
    desk = Desk(suite, settings)
    yield from _identities(parent, desk)
    yield from _asked_trials(parent, desk, plan)
    for refusal in plan.refusals:
        if _is_asked(desk, refusal.trial.case):
            yield RefusedItem.from_parent(parent, name=refusal.trial.id, refusal=refusal)
    for item in suite.implementations:
        for index, entry in enumerate(item.known):
            yield KnownItem.from_parent(
                parent, name=f"known/{item.name}/{index + 1}", desk=desk, implementation=item, entry=entry
            )


def _identities(parent: pytest.Module, desk: Desk) -> Iterator[pytest.Item]:
    eager = [item for item in desk.suite.implementations if not item.compiled]
    for one, item in product(desk.suite.identities, eager):
        name = f"{IDENTITY}/{one.name}/{item.name}"
        desk.expect(Trial(desk.identity_case(DTYPES[0]), item.name), name)
        yield IdentityItem.from_parent(parent, name=name, desk=desk, identity=one, implementation=item)


def _asked_trials(parent: pytest.Module, desk: Desk, plan: Plan) -> Iterator[pytest.Item]:
    for block in (block for group in plan.groups() for block in group):
        if _is_asked(desk, block.case):
            for name, planned_probes in block.probes.items():
                probes = tuple(probe for probe in ASKED_PROBES if probe in planned_probes)
                if probes:
                    trial = Trial(block.case, name)
                    desk.expect(trial)
                    yield TrialItem.from_parent(parent, name=trial.id, desk=desk, trial=trial, probes=probes)


def _is_asked(desk: Desk, case: Case) -> bool:
    """Tells whether a case is asked here; shapes that quick has for timing are left to the timed tests."""
    if desk.settings.profile != "quick":
        return True
    shapes, regime = desk.suite.shapes, desk.suite.regime(case.regime)
    told = {entry.shown_at for item in desk.suite.implementations for entry in item.known}
    return case.shape in {regime.shape(shape) for shape in (shapes.usual, *shapes.covering)} | told


@dataclass
class Desk:
    """A suite while it is asked: the block that is open, and what its trials have answered."""

    suite: Suite
    settings: Settings
    answered: set[str] = field(default_factory=set)
    met: set[tuple[str, int]] = field(default_factory=set)
    _expected: dict[str, dict[str, Trial]] = field(default_factory=dict)
    _open: OpenBlock | None = None
    _identity_blocks: dict[str, OpenBlock] = field(default_factory=dict)

    def expect(self, trial: Trial, name: str = "") -> None:
        """Notes a trial, or a test named so, that is answered before a Known entry can be called stale."""
        self._expected.setdefault(trial.implementation, {})[name or trial.id] = trial

    def expected(self, implementation: str) -> Mapping[str, Trial]:
        """Returns the collected trials of an implementation by id."""
        return self._expected.get(implementation, {})

    def opened(self, case: Case) -> OpenBlock:
        """Returns the block of a case: the open one when it is that case's."""
        before = self._open
        if before is not None and before.case == case:
            return before
        self._open = OpenBlock(self.suite, case, self.settings.seed)
        if before is not None and before.case.artefact == case.artefact:
            self._open.adopt(before)
        elif self.settings.compiled:
            reset_compiler()
        return self._open

    def identity_case(self, dtype: str) -> Case:
        """Returns the case in whose name identities are asked: the usual variant, regime and shape."""
        suite = self.suite
        home = suite.regimes[0]
        shape = home.shape(suite.shapes.usual)
        return Case(suite.name, suite.variants[0].name, home.name, dtype, "cpu", *shape, 1)

    def identity_block(self, dtype: str) -> OpenBlock:
        """Returns the block of that case, kept for the truths that implementations share."""
        if dtype not in self._identity_blocks:
            case = self.identity_case(dtype)
            self._identity_blocks[dtype] = OpenBlock(self.suite, case, self.settings.seed)
        return self._identity_blocks[dtype]

    def heard(self, result: Result) -> Result:
        """Returns a result with its known findings named, and remembers which entries were met."""
        implementation = self.suite.implementation(result.trial.implementation)
        for finding in result.findings:
            entry = met_by(implementation, result, finding, torch.__version__)
            if entry is not None:
                self.met.add((implementation.name, implementation.known.index(entry)))
        return annotated(result, implementation, torch.__version__)


class IdentityItem(SuiteItem):
    """Two ways to say the same number, computed with one implementation in every dtype."""

    def __init__(
        self, *, desk: Desk, identity: Identity, implementation: Implementation, **given: Any
    ) -> None:
        super().__init__(**given)
        self._desk, self._identity, self._implementation = desk, identity, implementation
        self.marked(
            IDENTITY,
            suite=desk.suite.name,
            implementation=implementation.name,
            variant=identity.variant,
            regime=identity.regime,
        )

    def ask(self) -> None:
        """Computes both sides in every dtype; skips where no dtype takes them."""
        desk, item = self._desk, self._implementation
        results: list[Result] = []
        reasons: list[str] = []
        for dtype in DTYPES:
            block = desk.identity_block(dtype)
            if (refused := admission(desk.suite, item, block.case)) is not None:
                reasons.append(refused[1])
                continue
            found = holding(block, item.name, self._identity)
            if found.unsupported:
                reasons.append(found.unsupported)
                continue
            findings = () if found.finding is None else (found.finding,)
            result = Result(Trial(block.case, item.name), IDENTITY, "ok", findings=findings)
            results.append(desk.heard(result))
            self.user_properties.append((f"share_of_bound_{dtype}", to_json_number(found.share)))
        desk.answered.add(self.name)
        if not results:
            pytest.skip(f"unsupported: {reasons[0]}")
        conclude(item, results)


class RefusedItem(SuiteItem):
    """A trial that cannot be asked; shown, so that nothing is left out in silence."""

    def __init__(self, *, refusal: Refusal, **given: Any) -> None:
        super().__init__(**given)
        self._refusal = refusal
        self.marked("trial", **trial_facts(refusal.trial))

    def ask(self) -> None:
        """Skips with the reason."""
        pytest.skip(f"{self._refusal.status}: {self._refusal.reason}")


class TrialItem(SuiteItem):
    """One trial: the accuracy probe and, where the plan has it, the overflow probe."""

    def __init__(self, *, desk: Desk, trial: Trial, probes: tuple[str, ...], **given: Any) -> None:
        super().__init__(**given)
        self._desk, self._trial, self._probes = desk, trial, probes
        self.marked("trial", **trial_facts(trial))

    def ask(self) -> None:
        """Asks every probe, records its numbers, and passes, fails, skips or is known."""
        results = [self._answered(probe) for probe in self._probes]
        self._desk.answered.add(self._trial.id)
        for result in results:
            self.user_properties += properties_of(result)
        implementation = self._desk.suite.implementation(self._trial.implementation)
        conclude(implementation, results)

    def _answered(self, probe: str) -> Result:
        name = self._trial.implementation
        return self._desk.heard(asked(probe, self._desk.opened(self._trial.case), name))


class KnownItem(SuiteItem):
    """A Known entry: red when everything in its scope was asked and nothing met it."""

    def __init__(self, *, desk: Desk, implementation: Implementation, entry: Known, **given: Any) -> None:
        super().__init__(**given)
        self._desk, self._implementation, self._entry = desk, implementation, entry
        self.marked("known", suite=desk.suite.name, implementation=implementation.name)

    def ask(self) -> None:
        """Fails when the entry is stale; skips when this session cannot tell."""
        name, desk = self._implementation.name, self._desk
        if (name, self._implementation.known.index(self._entry)) in desk.met:
            return
        expected = desk.expected(name)
        missing = len(expected.keys() - desk.answered)
        if missing:
            pytest.skip(
                f"{missing} of {len(expected)} trials of {name} were not asked in this process; run the "
                "suite unfiltered to judge it"
            )
        if not any(self._covers(trial) for trial in expected.values()):
            pytest.skip(f"nothing in its scope is asked here under torch {torch.__version__}")
        sentence = (
            f"stale: Known({self._entry.kind!r}, reason={self._entry.reason!r}) of {name} did not occur in "
            f"{len(expected)} trials; remove it or narrow its scope"
        )
        if platform.machine().lower() not in ("x86_64", "amd64"):
            pytest.skip(f"{sentence} (a note on {platform.machine()}: bits differ by CPU)")
        fail(sentence)

    def _covers(self, trial: Trial) -> bool:
        """Tells whether a finding of some kind in a trial could be this one."""
        anything = replace(self._entry, kind=(), group=())
        facts = {**trial.facts(), "kind": "", "group": ""}
        return any(
            anything.covers({**facts, "probe": probe}, torch.__version__)
            for probe in (*ASKED_PROBES, IDENTITY)
        )


def asked(probe: str, block: OpenBlock, name: str) -> Result:
    """Returns the result of a probe; unlike in a worker, Ctrl-C belongs to the person at the keyboard."""
    try:
        answer = PROBE_FUNCTIONS[probe](block, name)
    except SystemExit as error:
        answer = Answer("crashed", f"{name} ended the interpreter by SystemExit({error})")
    trial = Trial(block.case, name)
    return Result(trial, probe, answer.status, answer.reason, answer.findings, answer.numbers, answer.notes)


def conclude(implementation: Implementation, results: Iterable[Result]) -> None:
    """Passes, or raises pytest's failure, skip or xfail for the results of one trial."""
    results = list(results)
    for result in results:
        if result.status in INCOMPLETE:
            fail(f"{result.probe}: {result.status}: {result.reason}")
    first = results[0]
    if first.status != "ok":
        pytest.skip(f"{first.status}: {first.reason}")
    findings = ranked(finding for result in results for finding in result.findings)
    counted = [finding for finding in findings if finding.severity != "note"]
    unlisted = [finding for finding in counted if not finding.known]
    if any(finding.severity == "error" for finding in unlisted):
        wrong(implementation, "\n".join(sentence(finding) for finding in unlisted))
    reasons = dict.fromkeys(finding.known for finding in counted if finding.known)
    if reasons:
        pytest.xfail("; ".join(reasons))
        # Reached under --runxfail alone, which asks to see them.
        fail("\n".join(sentence(finding) for finding in counted))


def sentence(finding: Finding) -> str:
    """Returns a finding as text, with the place and the exact numbers of its witness."""
    known = f" [known: {finding.known}]" if finding.known else ""
    text = f"{finding.severity}: {finding.kind} ({finding.probe}, {finding.group}): {finding.message}{known}"
    witness = finding.witness
    if "got" not in witness:
        return text
    return f"{text}\n  {witness['tensor']}{witness['place']}: got {witness['got']}, exact {witness['truth']}"


def properties_of(result: Result) -> list[tuple[str, object]]:
    """Returns what JUnit files carry of a result: numbers by name, findings as text."""
    numbers: list[tuple[str, object]] = [
        (name, to_json_number(value)) for name, value in result.numbers.items()
    ]
    return [
        (f"{result.probe}_status", result.status),
        *numbers,
        *(("finding", sentence(finding)) for finding in result.findings),
    ]


def trial_facts(trial: Trial) -> dict[str, str]:
    """Returns the axes of a trial that tests are selected by."""
    facts = trial.facts()
    return {name: facts[name] for name in ("suite", "implementation", "variant", "regime", "dtype")}
