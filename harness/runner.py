"""Plan to results: correctness first in parallel workers, then timing with the machine alone.

Everything that is measured is on disk before it is yielded; a run that is stopped continues where it
was. The trap: timing results need every process of a block, so complete (process, block) pairs are
kept in `samples.jsonl` with the key of their sources and only missing pairs are measured again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from harness.discovery import Discovered, Selection
from harness.engines import EngineFactory, Limits, LocalEngine, Task
from harness.journal import Journal, SampleLog, cut_torn_line, journal_key
from harness.known import annotated
from harness.plan import Block, Plan
from harness.probes.timing import Measure
from harness.results import Finding, Result
from harness.run import RESULTS, SAMPLES, read_samples
from harness.sources import source_hash
from harness.timings import Stopwatch, TimedBlock, timing_results
from harness.trial import Trial

Tell = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Order:
    """How a plan is to be carried out."""

    folder: Path
    selection: Selection
    seed: int = 0
    workers: int = 2
    limits: Limits = field(default_factory=Limits)
    measure: Measure = field(default_factory=Measure)
    retry: tuple[str, ...] = ()
    engine: EngineFactory = LocalEngine


class Runner:
    """Carries out a plan; `reused` counts the questions that were answered by the journal."""

    def __init__(
        self, plan: Plan, discovered: Discovered, order: Order, torch_version: str, tell: Tell
    ) -> None:
        self._plan, self._suites, self._order = plan, discovered.suites, order
        self._torch_version, self._tell = torch_version, tell
        self._hashes: dict[tuple[str, str], str] = {}
        self.reused = 0
        self.stopwatch = Stopwatch()
        self.spent_seconds: dict[str, dict[str, float]] = {}

    def results(self) -> Iterator[Result]:
        """Yields every result, stored ones first; closing the iterator keeps all that is on disk."""
        self._order.folder.mkdir(parents=True, exist_ok=True)
        journal = Journal(self._order.folder / RESULTS)
        try:
            for refusal in self._plan.refusals:
                yield self._kept(journal, refusal.result())
            failed: set[str] = set()
            for result in self._phase_one(journal):
                if result.status in ("crashed", "timed_out", "out_of_memory", "error"):
                    failed.add(result.trial.id)
                yield result
            yield from self._phase_two(journal, failed)
        finally:
            journal.close()

    def _key(self, trial: Trial, probe: str) -> str:
        pair = (trial.case.suite, trial.implementation)
        if pair not in self._hashes:
            suite = self._suites[pair[0]]
            self._hashes[pair] = source_hash(suite, suite.implementation(pair[1]))
        words = self._hashes[pair]
        if probe == "timing":
            words += json.dumps(self._order.measure.to_json(), sort_keys=True)
        return journal_key(trial.id, probe, self._order.seed, words)

    def _stored(self, journal: Journal, trial: Trial, probe: str) -> Result | None:
        found = journal.reusable(trial.id, probe, self._key(trial, probe))
        if found is None or found.status == "not_run" or self._again(found):
            return None
        self.reused += 1
        return self._annotated(found)

    def _again(self, found: Result) -> bool:
        """Tells whether a stored answer is to be measured again: by status, finding kind or severity."""
        words = {found.status, *(f.kind for f in found.findings), *(f.severity for f in found.findings)}
        return not words.isdisjoint(self._order.retry)

    def _annotated(self, result: Result) -> Result:
        implementation = self._suites[result.trial.case.suite].implementation(result.trial.implementation)
        return annotated(result, implementation, self._torch_version)

    def _kept(self, journal: Journal, result: Result) -> Result:
        key = self._key(result.trial, result.probe)
        found = journal.reusable(result.trial.id, result.probe, key)
        if found is not None and (found.status, found.reason) == (result.status, result.reason):
            self.reused += 1
            return found
        return journal.append(self._annotated(result), key)

    def _phase_one(self, journal: Journal) -> Iterator[Result]:
        tasks: list[Task] = []
        for group in self._plan.groups():
            blocks: list[Block] = []
            questions: dict[tuple[str, str], None] = {}
            for block in group:
                probes: dict[str, list[str]] = {}
                for probe, name in block.questions():
                    trial = Trial(block.case, name)
                    stored = self._stored(journal, trial, probe)
                    if stored is not None:
                        yield stored
                        continue
                    probes.setdefault(name, []).append(probe)
                    questions[trial.id, probe] = None
                if probes:
                    blocks.append(Block(block.case, {n: tuple(p) for n, p in probes.items()}))
            if blocks:
                tasks.append(self._task("answer", len(tasks), blocks, questions, {}))
        engine = self._order.engine(self._order.workers, self._order.limits, lambda message: None)
        total, done = sum(len(task.open) for task in tasks), 0
        results = engine.run(tasks)
        try:
            for result in results:
                done += 1
                self._tell("answers", done, total)
                yield journal.append(self._annotated(result), self._key(result.trial, result.probe))
        finally:
            results.close()  # type: ignore[attr-defined]
            self.spent_seconds["answers"] = dict(engine.spent_seconds)

    def _task(
        self,
        kind: str,
        number: int,
        blocks: list[Block],
        questions: Mapping[tuple[str, str], None],
        extra: Mapping[str, Any],
    ) -> Task:
        message = {
            "id": number,
            "kind": kind,
            "selection": self._order.selection.to_json(),
            "seed": self._order.seed,
            "blocks": [block.to_json() for block in blocks],
            **extra,
        }
        return Task(message, blocks[0].case.threads, dict(questions))

    def _phase_two(self, journal: Journal, failed: set[str]) -> Iterator[Result]:
        wanted: list[Block] = []
        for block in self._plan.blocks:
            names = []
            for name in block.timed():
                trial = Trial(block.case, name)
                stored = self._stored(journal, trial, "timing")
                if stored is not None:
                    yield stored
                elif trial.id in failed:
                    reason = "an earlier probe crashed, hung or ran out of memory; see there"
                    yield journal.append(
                        Result(trial, "timing", "skipped", reason), self._key(trial, "timing")
                    )
                else:
                    names.append(name)
            if names:
                wanted.append(Block(block.case, dict.fromkeys(names, ("timing",))))
        if wanted:
            yield from self._timed(journal, wanted)

    def _timed(self, journal: Journal, wanted: list[Block]) -> Iterator[Result]:
        path = self._order.folder / SAMPLES
        keys = {block.case.id: self._block_key(block) for block in wanted}
        self._resume(path, keys)
        processes = self._order.measure.processes
        tasks = []
        for process in range(processes):
            todo = [b for b in wanted if process not in self.stopwatch.complete.get(b.case.id, {})]
            for _, blocks in groupby(
                sorted(todo, key=lambda b: b.case.threads), key=lambda b: b.case.threads
            ):
                listed = list(blocks)
                questions = {(f"{b.case.id}/{name}", "timing"): None for b in listed for name in b.timed()}
                extra = {"process": process, "measure": self._order.measure.to_json()}
                tasks.append(self._task("timing", process, listed, questions, extra))
        log = SampleLog(path)
        total, done = sum(len(task.message["blocks"]) for task in tasks), 0
        dead: dict[str, Result] = {}

        def hear(message: dict[str, Any]) -> None:
            nonlocal done
            finished = self.stopwatch.hear(message)
            if finished is not None:
                case, process = finished
                done += 1
                self._tell("timing", done, total)
                _store(log, case, process, keys[case], self.stopwatch.complete[case][process])

        engine = self._order.engine(1, self._order.limits, hear)
        results = engine.run(tasks, fresh=True)
        try:
            for result in results:
                dead[result.trial.id] = result
        finally:
            results.close()  # type: ignore[attr-defined]
            log.close()
            self.spent_seconds["timing"] = dict(engine.spent_seconds)
        for block in wanted:
            yield from self._block_results(journal, block, dead)

    def _block_results(self, journal: Journal, block: Block, dead: Mapping[str, Result]) -> Iterator[Result]:
        measured = self.stopwatch.complete.get(block.case.id, {})
        baseline = self._suites[block.case.suite].baseline.name
        by_process = [measured[process] for process in sorted(measured)]
        for result in timing_results(block, by_process, baseline, self.stopwatch.copy_bandwidth):
            final = dead.get(result.trial.id, result)
            yield journal.append(self._annotated(final), self._key(final.trial, "timing"))

    def _block_key(self, block: Block) -> str:
        return "/".join(self._key(Trial(block.case, name), "timing")[:8] for name in block.timed())

    def _resume(self, path: Path, keys: Mapping[str, str]) -> None:
        """Takes over the complete (process, case) pairs of an earlier, interrupted timing phase."""
        if not path.exists():
            return
        lines, torn = read_samples(path)
        if torn:
            cut_torn_line(path)
        pending: dict[tuple[int, str], TimedBlock] = {}
        for line in lines:
            if "complete" in line:
                case, process = line["complete"], line["process"]
                timed = pending.pop((process, case), TimedBlock())
                if keys.get(case) == line["key"]:
                    timed.stopped = line["stopped"]
                    timed.failed = {
                        name: (status, reason) for name, (status, reason) in line["failed"].items()
                    }
                    timed.findings = {
                        name: [Finding.from_json(f) for f in found]
                        for name, found in line["findings"].items()
                    }
                    self.stopwatch.complete[case][process] = timed
            else:
                case = line["trial"].rpartition("/")[0]
                pending.setdefault((line["process"], case), TimedBlock()).samples.append(line)


def _store(log: SampleLog, case: str, process: int, key: str, timed: TimedBlock) -> None:
    for sample in timed.samples:
        log.append(sample)
    log.append(
        {
            "complete": case,
            "process": process,
            "key": key,
            "stopped": timed.stopped,
            "failed": {name: list(failure) for name, failure in timed.failed.items()},
            "findings": {name: [f.to_json() for f in found] for name, found in timed.findings.items()},
        }
    )
    log.flush()
